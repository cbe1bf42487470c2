//! A few entries that weigh a good part of the capacity do not cost the others their hits: the default
//! policy, whose miniatures cannot hold them, does as well as greedy-dual.

mod common;

use common::Identity;
use larder::{
    Cache,
    policy::{Adaptive, Gdsf, Policy},
};

const CAPACITY: u64 = 100_000;
const KEYS: u64 = 10_000;
/// What all weigh but one key in a thousand: together they just fit.
const LIGHT: u64 = CAPACITY / KEYS;

/// Of a hundred accesses to keys at random, how many are hits once the cache has settled.
fn hit_ratio(policy: impl Policy, giant: u64, stripes: usize) -> f64 {
    let cache = Cache::<u64, u64>::builder()
        .capacity(CAPACITY)
        .weigher(|_, &weight| weight)
        .policy(policy)
        .hasher(Identity::default())
        .stripes(stripes)
        .build();
    let (settling, measured) = (20 * KEYS, 10 * KEYS);
    let (mut hits, mut random) = (0, 1_u64);
    for step in 0..settling + measured {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let number = (random >> 33) % KEYS;
        let key = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if cache.get(&key).is_some() {
            hits += u64::from(step >= settling);
        } else {
            cache.insert(key, if number.is_multiple_of(1000) { giant } else { LIGHT });
        }
    }
    cache.validate();
    100.0 * hits as f64 / measured as f64
}

#[test]
fn giants_cost_the_light_ones_nothing() {
    for giant in [CAPACITY / 2, CAPACITY / 4, CAPACITY / 10, CAPACITY / 40] {
        let best = hit_ratio(Gdsf::default(), giant, 1);
        assert!(best > 95.0, "{best} under greedy-dual, where one weighs {giant}");
        for seed in 0..4 {
            let ratio = hit_ratio(Adaptive::with_seed(seed), giant, 1);
            assert!(ratio > best - 1.0, "{ratio} of {best} where one weighs {giant}, seed {seed}");
        }
    }
}

#[test]
fn nor_in_several_stripes() {
    for giant in [CAPACITY / 2, CAPACITY / 10, CAPACITY / 40] {
        let best = hit_ratio(Gdsf::default(), giant, 4);
        let ratio = hit_ratio(Adaptive::with_seed(1), giant, 4);
        assert!(ratio > best - 2.0, "{ratio} of {best} where one weighs {giant}");
    }
}
