//! Fingerprints: one byte of each key's hash, compared for a whole bucket at once.
//!
//! They are read without any lock by whoever only wants to know that a key is certainly absent or
//! [copies](super::bare) what is there, and written under the stripe's lock. A fingerprint of 0 marks an empty lane; storing one that is
//! not 0 publishes the entry in its lane.

#![cfg_attr(target_arch = "x86_64", allow(unsafe_code, reason = "compares sixteen bytes at once"))]

use crate::sync::{AtomicU64, Ordering};

/// The fingerprints of `8 * WORDS` lanes.
#[derive(Debug)]
pub(super) struct Prints<const WORDS: usize>([AtomicU64; WORDS]);

/// The fingerprint of an empty lane.
pub(super) const EMPTY: u8 = 0;

/// The fingerprint of a hash: never [`EMPTY`].
#[inline]
pub(super) fn fingerprint(hash: u64) -> u8 {
    ((hash >> 40) as u8).max(1)
}

/// A set of lanes, lowest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes(u32);

impl Lanes {
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn first(self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as usize)
    }

    /// The first of the lowest `count` from `lane` on, or else before it. (Without a branch for which of the
    /// two, as that cannot be foretold.)
    #[inline]
    pub(super) fn first_from(self, lane: usize, count: usize) -> Option<usize> {
        let lanes = self.0 & ((1 << count) - 1);
        let ahead = ((lanes | lanes << count) >> lane).trailing_zeros() as usize;
        (lanes != 0).then_some((lane + ahead) % count)
    }

    /// Those after the first, which there is.
    #[inline]
    pub(super) fn but_first(self) -> Self {
        Self(self.0 & (self.0 - 1))
    }
}

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let lane = self.first()?;
        *self = self.but_first();
        Some(lane)
    }
}

impl<const WORDS: usize> Prints<WORDS> {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    #[inline]
    fn load(&self) -> [u64; WORDS] {
        // Acquire: pairs with the Release in `set`, so that the entry of a lane whose fingerprint
        // is seen is seen too, and so that what a split published before it cleared a lane is.
        std::array::from_fn(|word| self.0[word].load(Ordering::Acquire))
    }

    /// The lanes whose fingerprint is `print`.
    #[inline]
    pub(super) fn matching(&self, print: u8) -> Lanes {
        Lanes(equal_bytes(&self.load(), print))
    }

    /// The lanes that hold an entry.
    pub(super) fn occupied(&self) -> Lanes {
        let all = (1_u64 << (8 * WORDS)) - 1;
        Lanes(!self.matching(EMPTY).0 & all as u32)
    }

    /// The fingerprint of `lane`.
    #[inline]
    pub(super) fn get(&self, lane: usize) -> u8 {
        // Acquire: as in `load`.
        (self.0[lane / 8 % WORDS].load(Ordering::Acquire) >> (8 * (lane % 8))) as u8
    }

    /// Sets the fingerprint of `lane`. Only one thread may do so at a time: the holder of the
    /// stripe's lock.
    #[inline]
    pub(super) fn set(&self, lane: usize, print: u8) {
        let shift = 8 * (lane % 8);
        let word = &self.0[lane / 8 % WORDS];
        // Relaxed: this thread, holding the stripe's lock, is the only writer.
        let old = word.load(Ordering::Relaxed);
        let new = (old & !(0xff << shift)) | (u64::from(print) << shift);
        // Release: pairs with the Acquire in `load`; it publishes the entry in the lane.
        word.store(new, Ordering::Release);
    }
}

/// Which of the bytes in `words` equal `byte`, as a bit mask.
#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_bytes<const WORDS: usize>(words: &[u64; WORDS], byte: u8) -> u32 {
    let mut found = 0;
    for (pair, chunk) in words.chunks(2).enumerate() {
        let high = chunk.get(1).copied().unwrap_or(0);
        // SAFETY: every x86-64 processor has SSE2.
        let equal = unsafe { equal_of_16(chunk[0], high, byte) };
        // The bytes of a missing second word are no lanes.
        found |= (equal & ((1 << (8 * chunk.len())) - 1)) << (16 * pair);
    }
    found
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn equal_of_16(low: u64, high: u64, byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let group = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
    let equal = _mm_cmpeq_epi8(group, _mm_set1_epi8(byte.cast_signed()));
    _mm_movemask_epi8(equal).cast_unsigned()
}

/// Which of the bytes in `words` equal `byte`, as a bit mask.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn equal_bytes<const WORDS: usize>(words: &[u64; WORDS], byte: u8) -> u32 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut found = 0;
    for (index, word) in words.iter().enumerate() {
        let differs = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
        // The top bit of each byte that is 0, exactly (no carries between bytes).
        let zero = !(((differs & LOW) + LOW) | differs | LOW);
        // Gathers the eight top bits into one byte.
        let mask = (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        found |= (mask as u32) << (8 * index);
    }
    found
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sets_and_finds() {
        let prints = Prints::<2>::new();
        prints.set(3, 9);
        prints.set(15, 9);
        prints.set(8, 255);
        assert_eq!(prints.matching(9).collect::<Vec<_>>(), [3, 15]);
        assert_eq!(prints.matching(255).collect::<Vec<_>>(), [8]);
        assert_eq!(prints.occupied().collect::<Vec<_>>(), [3, 8, 15]);
        prints.set(3, EMPTY);
        assert_eq!(prints.occupied().count(), 2);
        let vacant = prints.matching(EMPTY);
        let found =
            [(0, 16), (8, 16), (15, 16), (8, 9)].map(|(at, count)| vacant.first_from(at, count));
        assert_eq!(found, [Some(0), Some(9), Some(0), Some(0)]);
        assert_eq!(prints.matching(255).first_from(3, 8), None);
        let small = Prints::<1>::new();
        assert_eq!(small.matching(EMPTY).count(), 8);
        small.set(7, 1);
        assert_eq!(small.occupied().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn no_hash_has_the_empty_fingerprint() {
        assert_ne!(fingerprint(0), EMPTY);
    }
}
