//! An array indexed by slot that grows piece by piece.
//!
//! Invariant: an element never moves, so growing costs one small allocation, never a copy of what
//! is there and never twice the memory. It must not know what the elements mean.
//!
//! Pieces stay, and how many of their slots are occupied is not counted: that
//! would be another cache line to write for each entry that comes and for each that goes.

use crate::Slot;

/// How many elements lie in a piece.
const PIECE: usize = 256;

/// A map from slot to `T`, kept as fixed-size pieces that are made where slots are occupied.
#[derive(Debug)]
pub(crate) struct PerSlot<T> {
    pieces: Vec<Option<Box<[T; PIECE]>>>,
    vacant: T,
}

impl<T: Copy + PartialEq> PerSlot<T> {
    /// An empty array. `vacant` is what an unoccupied slot holds; no occupied one may equal it.
    pub(crate) const fn new(vacant: T) -> Self {
        Self { pieces: Vec::new(), vacant }
    }

    /// The element of `slot`; the vacant value if it has none.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> T {
        match self.pieces.get(slot.index() / PIECE) {
            Some(Some(piece)) => piece[slot.index() % PIECE],
            _ => self.vacant,
        }
    }

    /// The element of `slot`, which must be occupied and must stay so.
    ///
    /// # Panics
    /// May panic if it is vacant.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.piece(slot)[slot.index() % PIECE]
    }

    /// Occupies `slot` with `value`.
    #[inline]
    pub(crate) fn insert(&mut self, slot: Slot, value: T) {
        debug_assert!(value != self.vacant, "the vacant value cannot occupy a slot");
        let at = slot.index() / PIECE;
        if !matches!(self.pieces.get(at), Some(Some(_))) {
            self.add_piece(at);
        }
        self.piece(slot)[slot.index() % PIECE] = value;
    }

    /// Vacates the occupied `slot` and answers what it held.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) -> T {
        let vacant = self.vacant;
        let value = std::mem::replace(self.get_mut(slot), vacant);
        debug_assert!(value != vacant, "{slot:?} is vacant");
        value
    }

    /// The piece of an occupied slot.
    #[inline]
    fn piece(&mut self, slot: Slot) -> &mut [T; PIECE] {
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
        self.pieces[at] = Some(Box::new([vacant; PIECE]));
    }

    /// The occupied slots, lowest first, and what they hold.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, T)> + '_ {
        let pieces = self.pieces.iter().enumerate();
        let items = pieces.flat_map(|(at, piece)| {
            let items = piece.iter().flat_map(|piece| piece.iter());
            items.enumerate().map(move |(within, item)| (at * PIECE + within, *item))
        });
        items
            .filter(|(_, item)| *item != self.vacant)
            .map(|(index, item)| (Slot::new(index as u32), item))
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
        assert_eq!(array.iter().collect::<Vec<_>>(), [(Slot::new(100_000), 8)]);
    }
}
