//! One more mix of a key's hash.
//!
//! The cache picks the stripe, the bucket and the lane by bits of the hash, so within a stripe some
//! of its bits are the same for all entries. Structures of a policy pick by the bits of this mix.

/// An odd constant with its bits spread evenly (the golden ratio, as in Fibonacci hashing).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A mix in which every bit depends on many bits of `hash`: the two halves of a 128-bit product.
#[inline]
pub(crate) fn spread(hash: u64) -> u64 {
    let product = u128::from(hash ^ (hash >> 32)) * u128::from(FACTOR);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A key's hash after that mix: made once and handed to every structure that goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mixed(u64);

impl Mixed {
    /// The mix of this hash.
    #[inline]
    pub(crate) fn new(hash: u64) -> Self {
        Self(spread(hash))
    }

    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn hashes_that_differ_in_few_bits_spread_over_both_ends() {
        for shift in [0, 20, 40, 48] {
            let spreads: Vec<u64> = (0..4096_u64).map(|i| spread(i << shift)).collect();
            let distinct = |f: fn(u64) -> u64| {
                let mut seen: Vec<u64> = spreads.iter().map(|&s| f(s)).collect();
                seen.sort_unstable();
                seen.dedup();
                seen.len()
            };
            assert!(distinct(|s| s >> 48) > 3000, "the top bits at shift {shift}");
            assert!(distinct(|s| s & 0xffff) > 3000, "the bottom bits at shift {shift}");
        }
    }
}
