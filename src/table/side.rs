//! Per-slot data that only some caches have (weights, deadlines, versions, tags): arrays beside
//! the table, made piece by piece when first needed and read without the stripe's lock.

use std::{fmt, sync::OnceLock};

use crate::Slot;

/// Elements of a piece.
const PIECE: usize = if cfg!(larder_loom) { 32 } else { 256 };
/// Pieces of the first segment; each further segment has twice as many.
const FIRST: usize = 16;
/// Enough segments for every slot there can be.
const SEGMENTS: usize = 21;

type Piece<T> = OnceLock<Box<[T; PIECE]>>;
type Segment<T> = OnceLock<Box<[Piece<T>]>>;

/// An array indexed by slot whose elements never move. Every `SHARE` slots have one together.
pub(crate) struct Side<T, const SHARE: usize = 1>([Segment<T>; SEGMENTS]);

/// The segment of a piece and the piece's place in it.
#[inline(always)]
fn split(piece: usize) -> (usize, usize) {
    let number = piece + FIRST;
    let highest = number.ilog2();
    ((highest - FIRST.ilog2()) as usize, number ^ (1 << highest))
}

impl<T: Default, const SHARE: usize> Side<T, SHARE> {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }

    /// The piece of this number, if it was ever made.
    #[inline(always)]
    fn piece(&self, number: usize) -> Option<&[T; PIECE]> {
        let (segment, piece) = split(number);
        self.0[segment].get()?[piece].get().map(|piece| &**piece)
    }

    /// The element of `slot`, if its piece was ever made.
    #[inline(always)]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let index = slot.index() / SHARE;
        self.piece(index / PIECE).map(|piece| &piece[index % PIECE])
    }

    /// The `N` elements of the `N * SHARE` slots of which `slot` is the first, if their piece was
    /// ever made.
    #[inline(always)]
    pub(crate) fn run<const N: usize>(&self, slot: Slot) -> Option<&[T; N]> {
        let index = slot.index() / SHARE;
        self.piece(index / PIECE).map(|piece| &piece.as_chunks().0[index % PIECE / N])
    }

    /// The element of `slot`, made with its piece's if need be.
    pub(crate) fn get_or_make(&self, slot: Slot) -> &T {
        let index = slot.index() / SHARE;
        let (segment, piece) = split(index / PIECE);
        let pieces = self.0[segment]
            .get_or_init(|| (0..FIRST << segment).map(|_| OnceLock::new()).collect());
        let make = || {
            let elements: Box<[T]> = (0..PIECE).map(|_| T::default()).collect();
            elements.try_into().unwrap_or_else(|_| unreachable!("as many as were asked for"))
        };
        &pieces[piece].get_or_init(make)[index % PIECE]
    }
}

impl<T, const SHARE: usize> fmt::Debug for Side<T, SHARE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.0.iter().filter_map(OnceLock::get).flatten();
        let made = pieces.filter(|piece| piece.get().is_some()).count();
        f.debug_struct("Side").field("pieces", &made).finish()
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;
    use crate::sync::{AtomicU32, Ordering};

    #[test]
    fn pieces_are_numbered_without_gaps() {
        let mut expected = (0, 0);
        for piece in 0..1000 {
            assert_eq!(split(piece), expected);
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(split(u32::MAX as usize / PIECE).0 < SEGMENTS);
    }

    #[test]
    fn every_slot_has_an_element_of_its_own_unless_they_share() {
        let slots = || (0..40).map(|n| Slot::new(n * 997)).chain([Slot::new(3_000_000)]);
        let side = Side::<AtomicU32>::new();
        assert!(slots().all(|slot| side.get(slot).is_none()));
        for slot in slots() {
            side.get_or_make(slot).store(slot.as_u32(), Ordering::Relaxed);
        }
        for slot in slots() {
            let element = side.get(slot).expect("made");
            assert_eq!(element.load(Ordering::Relaxed), slot.as_u32());
        }
        let shared = Side::<u64, 4>::new();
        let element = std::ptr::from_ref(shared.get_or_make(Slot::new(18_006)));
        let run = shared.run::<4>(Slot::new(18_000)).expect("made");
        assert_eq!(std::ptr::from_ref(&run[1]), element);
    }
}
