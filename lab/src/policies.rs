//! The policies by name, with seeds.

use ahash::RandomState;
use larder::policy::{Adaptive, AnyPolicy, Random, TinyLfu, UnknownPolicy};

/// The policy of this name; one that draws lots does so from `seed`.
///
/// # Errors
/// If there is no such policy.
pub fn seeded(name: &str, seed: u64) -> Result<AnyPolicy, UnknownPolicy> {
    match name {
        "adaptive" => Ok(AnyPolicy::new(Adaptive::with_seed(seed))),
        "random" => Ok(AnyPolicy::new(Random::with_seed(seed))),
        "tiny-lfu" => Ok(AnyPolicy::new(TinyLfu::with_seed(seed))),
        other => other.parse(),
    }
}

/// The hasher of a cache that is to do the same every time.
#[must_use]
pub fn hasher(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, 2, 3, 4)
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
