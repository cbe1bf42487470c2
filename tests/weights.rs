//! Weights that have nothing to do with use cost next to no hits: a cache whose entries weigh this and
//! that has as many as one of the same capacity whose entries all weigh the mean.

mod common;

use common::Identity;
use larder::{Cache, policy::AnyPolicy};

const CAPACITY: u64 = 500;
const ACCESSES: usize = 100_000;
/// The mean of both kinds of weights.
const MEAN: u64 = 1000;
/// By how many points of hit ratio a cache may be behind.
const MOST_BEHIND: f64 = 0.8;

/// Spreads numbers over all hashes, one-to-one.
fn scatter(number: u64) -> u64 {
    let bits = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Popular keys and less popular ones, out of forty capacities of them.
fn keys() -> impl Iterator<Item = u64> {
    let chance = |step| (scatter(step) >> 11) as f64 / (1_u64 << 53) as f64;
    (0..ACCESSES as u64).map(move |step| {
        let rank = chance(step).powi(6) * (40 * CAPACITY) as f64;
        scatter(!(rank as u64))
    })
}

/// From a fifth of the mean to nine.
fn about_the_mean(key: u64) -> u64 {
    MEAN / 5 + scatter(key ^ 1) % (8 * MEAN / 5)
}

/// A few are fifty times as heavy as the others.
fn rarely_heavy(key: u64) -> u64 {
    if scatter(key ^ 1).is_multiple_of(50) { 25 * MEAN } else { MEAN / 2 }
}

/// The hits of a hundred accesses.
fn hit_ratio(policy: &str, stripes: usize, weigh: fn(u64) -> u64) -> f64 {
    let policy: AnyPolicy = policy.parse().expect("a listed name");
    let builder = Cache::builder().capacity(CAPACITY * MEAN).weigher(|_, &weight: &u64| weight);
    let cache = builder.policy(policy).hasher(Identity::default()).stripes(stripes).build();
    let mut hits = 0;
    for key in keys() {
        if cache.get(&key).is_some() {
            hits += 1;
        } else {
            cache.insert(key, weigh(key));
        }
    }
    cache.validate();
    100.0 * f64::from(hits) / ACCESSES as f64
}

#[test]
fn weights_that_have_nothing_to_do_with_use_cost_next_to_no_hits() {
    for policy in AnyPolicy::NAMES {
        for stripes in [1, 4] {
            let even = hit_ratio(policy, stripes, |_| MEAN);
            for weigh in [about_the_mean, rarely_heavy] {
                let uneven = hit_ratio(policy, stripes, weigh);
                println!("{policy}, {stripes} stripes: {even:.2} %, {uneven:.2} %");
                assert!(
                    uneven >= even - MOST_BEHIND,
                    "{policy}, {stripes} stripes: {even} and {uneven}"
                );
            }
        }
    }
}
