//! Per-slot data that only some caches have (weights, deadlines, versions, tags): arrays beside
//! the table, made piece by piece when first needed and read without the stripe's lock.

use std::{fmt, sync::OnceLock};

use crate::Slot;

/// Slots of a piece.
const PIECE: usize = if cfg!(larder_loom) { 32 } else { 1024 };
/// Pieces of the first segment; each further segment has twice as many.
const FIRST: usize = 16;
/// Enough segments for every slot there can be.
const SEGMENTS: usize = 19;

type Segment<T> = Box<[OnceLock<Box<[T]>>]>;

/// An array indexed by slot whose elements never move. Every `SHARE` slots have one together.
pub(crate) struct Side<T, const SHARE: usize = 1>([OnceLock<Segment<T>>; SEGMENTS]);

/// The segment of a piece and the piece's place in it.
#[inline]
fn split(piece: usize) -> (usize, usize) {
    let number = piece + FIRST;
    let highest = number.ilog2();
    ((highest - FIRST.ilog2()) as usize, number ^ (1 << highest))
}

impl<T: Default, const SHARE: usize> Side<T, SHARE> {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }

    /// The element of `slot`, if its piece was ever made.
    #[inline(always)]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let (segment, piece) = split(slot.index() / PIECE);
        let piece = self.0[segment].get()?[piece].get()?;
        Some(&piece[slot.index() % PIECE / SHARE])
    }

    /// The `N` elements of the `N * SHARE` slots of which `slot` is the first, if their piece was
    /// ever made.
    #[inline(always)]
    pub(crate) fn run<const N: usize>(&self, slot: Slot) -> Option<&[T; N]> {
        let (segment, piece) = split(slot.index() / PIECE);
        let piece = self.0[segment].get()?[piece].get()?;
        piece[slot.index() % PIECE / SHARE..].first_chunk()
    }

    /// The element of `slot`, made with its piece's if need be.
    pub(crate) fn get_or_make(&self, slot: Slot) -> &T {
        let (segment, piece) = split(slot.index() / PIECE);
        let pieces = self.0[segment]
            .get_or_init(|| (0..FIRST << segment).map(|_| OnceLock::new()).collect());
        let make = || (0..PIECE / SHARE).map(|_| T::default()).collect();
        &pieces[piece].get_or_init(make)[slot.index() % PIECE / SHARE]
    }
}

impl<T, const SHARE: usize> fmt::Debug for Side<T, SHARE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.0.iter().filter_map(OnceLock::get).flatten();
        let made = pieces.filter(|piece| piece.get().is_some()).count();
        f.debug_struct("Side").field("pieces", &made).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
