//! The policies by name, with seeds.

use ahash::RandomState;
use larder::policy::{Adaptive, AnyPolicy, Random, UnknownPolicy};

/// The policy of this name; one that draws lots does so from `seed`.
///
/// # Errors
/// If there is no such policy.
pub fn seeded(name: &str, seed: u64) -> Result<AnyPolicy, UnknownPolicy> {
    match name {
        "adaptive" => Ok(AnyPolicy::new(Adaptive::with_seed(seed))),
        "random" => Ok(AnyPolicy::new(Random::with_seed(seed))),
        other => other.parse(),
    }
}

/// The hasher of a cache that is to do the same every time.
#[must_use]
pub fn hasher(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, 2, 3, 4)
}
