//! A small, fast stream of random numbers that nobody outside can foretell.
//!
//! Not for secrets: whoever sees many of its numbers can tell the next.

use std::hash::{BuildHasher, RandomState};

/// A SplitMix64 stream (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub(crate) struct Stream {
    state: u64,
}

impl Default for Stream {
    /// Seeded from the standard library's randomly keyed hasher.
    fn default() -> Self {
        Self::seeded(RandomState::new().hash_one(0))
    }
}

impl Stream {
    /// The stream of this seed.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    #[inline]
    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0; the bias is at most one in 2^32.
    #[inline]
    pub(crate) const fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * bound as u64) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;

    #[test]
    fn numbers_are_spread_and_seeds_differ() {
        let mut stream = Stream::seeded(1);
        let mut counts = [0; 8];
        (0..8000).for_each(|_| counts[stream.below(8) as usize] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_ne!(Stream::default().next(), Stream::default().next());
    }
}
