//! The default hasher, keyed at random for every cache, and samples by hash.

use std::hash::{BuildHasher, RandomState};

/// An ahash state whose keys come from the standard library's, which the operating system's
/// randomness seeds: nobody outside can choose keys that collide.
pub(crate) fn random_state() -> ahash::RandomState {
    let seed = |index: u64| RandomState::new().hash_one(index);
    ahash::RandomState::with_seeds(seed(0), seed(1), seed(2), seed(3))
}

/// A set of hashes: those that, times an odd factor, are at most the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampled {
    pub(crate) factor: u64,
    pub(crate) limit: u64,
}

impl Sampled {
    #[inline]
    pub(crate) fn contains(self, hash: u64) -> bool {
        hash.wrapping_mul(self.factor) <= self.limit
    }
}
