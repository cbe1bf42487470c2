//! What the integration tests share: every policy, and both striped and unstriped caches.

#![allow(dead_code, reason = "each test file uses a part")]

use larder::policy::AnyPolicy;

/// The names of all policies that come with the cache.
pub const POLICIES: &[&str] = AnyPolicy::NAMES;

/// The numbers of stripes that everything is tested with.
pub const STRIPES: &[usize] = &[1, 8];

/// Runs `test` for every policy and number of stripes.
pub fn for_each(test: impl Fn(AnyPolicy, usize)) {
    for name in POLICIES {
        for &stripes in STRIPES {
            let policy = name.parse().expect("a listed name");
            println!("{name}, {stripes} stripes");
            test(policy, stripes);
        }
    }
}
