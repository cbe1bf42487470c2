//! An array indexed by slot that grows piece by piece.
//!
//! Invariant: an element never moves, so growing costs one small allocation, never a copy of what
//! is there and never twice the memory; a piece exists while one of its slots is occupied. It must
//! not know what the elements mean.

use crate::Slot;

/// How many elements lie in a piece: 2 KiB of queue links.
const PIECE: usize = 256;

/// A map from slot to `T`, kept as fixed-size pieces that exist only where slots are occupied.
#[derive(Debug)]
pub(crate) struct PerSlot<T> {
    pieces: Vec<Option<Box<Piece<T>>>>,
    /// The piece that emptied last, kept so that an entry that comes and goes alone in its piece
    /// does not allocate each time.
    spare: Option<Box<Piece<T>>>,
    vacant: T,
}

#[derive(Debug)]
struct Piece<T> {
    items: [T; PIECE],
    /// How many of them are not vacant: never 0, but in the spare piece.
    occupied: u32,
}

impl<T: Copy + PartialEq> PerSlot<T> {
    /// An empty array. `vacant` is what an unoccupied slot holds; no occupied one may equal it.
    pub(crate) const fn new(vacant: T) -> Self {
        Self { pieces: Vec::new(), spare: None, vacant }
    }

    /// The element of `slot`; the vacant value if it has none.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> T {
        match self.pieces.get(slot.index() / PIECE) {
            Some(Some(piece)) => piece.items[slot.index() % PIECE],
            _ => self.vacant,
        }
    }

    /// The element of `slot`, which must be occupied and must stay so.
    ///
    /// # Panics
    /// May panic if it is vacant.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.piece(slot).items[slot.index() % PIECE]
    }

    /// Occupies the vacant `slot` with `value`.
    #[inline]
    pub(crate) fn insert(&mut self, slot: Slot, value: T) {
        debug_assert!(value != self.vacant, "the vacant value cannot occupy a slot");
        let at = slot.index() / PIECE;
        if !matches!(self.pieces.get(at), Some(Some(_))) {
            self.add_piece(at);
        }
        let piece = self.piece(slot);
        piece.items[slot.index() % PIECE] = value;
        piece.occupied += 1;
    }

    /// Vacates the occupied `slot` and answers what it held.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) -> T {
        let vacant = self.vacant;
        let piece = self.piece(slot);
        let value = std::mem::replace(&mut piece.items[slot.index() % PIECE], vacant);
        debug_assert!(value != vacant, "{slot:?} is vacant");
        piece.occupied -= 1;
        if piece.occupied == 0 {
            self.drop_piece(slot.index() / PIECE);
        }
        value
    }

    /// The piece of an occupied slot.
    #[inline]
    fn piece(&mut self, slot: Slot) -> &mut Piece<T> {
        match self.pieces.get_mut(slot.index() / PIECE) {
            Some(Some(piece)) => piece,
            _ => not_occupied(slot),
        }
    }

    #[cold]
    fn add_piece(&mut self, at: usize) {
        if at >= self.pieces.len() {
            self.pieces.resize_with(at + 1, || None);
        }
        let vacant = self.vacant;
        let new = || Box::new(Piece { items: [vacant; PIECE], occupied: 0 });
        self.pieces[at] = Some(self.spare.take().unwrap_or_else(new));
    }

    /// Every element of it is vacant again, so it can serve as it is.
    #[cold]
    fn drop_piece(&mut self, at: usize) {
        self.spare = self.pieces[at].take();
    }

    /// Vacates every slot and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.pieces = Vec::new();
        self.spare = None;
    }

    /// The occupied slots, lowest first, and what they hold.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, T)> + '_ {
        let pieces = self.pieces.iter().enumerate();
        let items = pieces.flat_map(|(at, piece)| {
            let items = piece.iter().flat_map(|piece| piece.items.iter());
            items.enumerate().map(move |(within, item)| (at * PIECE + within, *item))
        });
        items
            .filter(|(_, item)| *item != self.vacant)
            .map(|(index, item)| (Slot::new(index as u32), item))
    }

    /// The number of occupied slots, after checking it against every element.
    ///
    /// # Panics
    /// If a count is wrong.
    pub(crate) fn validate(&self) -> usize {
        let mut total = 0;
        for piece in self.pieces.iter().flatten() {
            let occupied = piece.items.iter().filter(|item| **item != self.vacant).count();
            assert_eq!(occupied, piece.occupied as usize, "occupied slots of a piece");
            assert_ne!(occupied, 0, "an empty piece is given back");
            total += occupied;
        }
        total
    }
}

#[cold]
fn not_occupied(slot: Slot) -> ! {
    panic!("{slot:?} is not occupied")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_slots_cost_only_their_pieces() {
        let mut array = PerSlot::new(0_u32);
        array.insert(Slot::new(5), 7);
        array.insert(Slot::new(100_000), 8);
        assert_eq!(array.pieces.iter().flatten().count(), 2);
        assert_eq!(array.get(Slot::new(5)), 7);
        assert_eq!(array.get(Slot::new(50_000)), 0);
        assert_eq!(array.get(Slot::new(u32::MAX)), 0);
        *array.get_mut(Slot::new(5)) = 9;
        assert_eq!(array.remove(Slot::new(5)), 9);
        assert_eq!(array.validate(), 1);
        assert_eq!(array.iter().collect::<Vec<_>>(), [(Slot::new(100_000), 8)]);
        array.insert(Slot::new(300), 1);
        assert!(array.spare.is_none(), "the spare piece is used first");
        array.clear();
        assert_eq!((array.validate(), array.pieces.capacity()), (0, 0));
    }
}
