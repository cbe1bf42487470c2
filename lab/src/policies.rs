//! What a cache is made of, with seeds: policies by name, and a hasher.

use std::hash::BuildHasher;

use larder::policy::{Adaptive, AnyPolicy, Random, TinyLfu, UnknownPolicy};

/// The name of the default policy with the weight of hits as its goal.
pub const BY_WEIGHT: &str = "adaptive-by-weight";

/// The policy of this name; one that draws lots does so from `seed`.
///
/// # Errors
/// If there is no such policy.
pub fn seeded(name: &str, seed: u64) -> Result<AnyPolicy, UnknownPolicy> {
    match name {
        "adaptive" => Ok(AnyPolicy::new(Adaptive::with_seed(seed))),
        BY_WEIGHT => Ok(AnyPolicy::new(Adaptive::with_seed(seed).by_weight())),
        "random" => Ok(AnyPolicy::new(Random::with_seed(seed))),
        "tiny-lfu" => Ok(AnyPolicy::new(TinyLfu::with_seed(seed))),
        other => other.parse(),
    }
}

/// Hashes numbers, the same on every machine: the cache's own hasher would not.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

impl Hasher {
    /// Other seeds hash otherwise.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(spread(seed))
    }
}

impl BuildHasher for Hasher {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl std::hash::Hasher for Hasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = spread(self.0 ^ number);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Mixes the bits well (a step of splitmix64).
pub(crate) fn spread(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crate::replay::{Setup, replay};
    use crate::trace::Trace;

    #[test]
    fn the_same_seed_does_the_same() {
        let trace =
            Trace::of_keys("", (0..20_000).flat_map(|step| [step * step % 997, step % 301]));
        for policy in AnyPolicy::NAMES {
            let hits = || {
                let policy = (*policy).to_owned();
                let (capacity, stripes) = (100, Some(4));
                let setup = Setup {
                    policy,
                    capacity,
                    by_size: false,
                    stripes,
                    time_to_live: None,
                    seed: 1,
                };
                replay(&trace, &setup, &Progress::hidden()).expect("a cache").hits
            };
            let first = hits();
            assert!((0..3).all(|_| hits() == first), "{policy}");
        }
    }
}
