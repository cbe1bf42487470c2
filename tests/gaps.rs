//! A full cache has gaps where a heavy entry left or a dead one was reclaimed. They cost next to no hits:
//! a cache whose entries weigh this and that has as many as one of the same capacity whose entries all
//! weigh the mean, if weights have nothing to do with use, and the default policy has as many as the best
//! of the others where lifetimes are short.

mod common;

use std::time::Duration;

use common::Identity;
use larder::{Cache, policy::AnyPolicy, time::ManualTicker};

const CAPACITY: u64 = 500;
const ACCESSES: usize = 100_000;
/// The mean of both kinds of weights.
const MEAN: u64 = 1000;
/// By how many points of hit ratio a cache may be behind. Uncompared, what fills gaps costs two.
const MOST_BEHIND: f64 = 1.2;

type Builder = larder::Builder<u64, u64, AnyPolicy, Identity>;

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

/// A cache of this policy, before its capacity is known.
fn builder(policy: &str, stripes: usize) -> Builder {
    let policy: AnyPolicy = policy.parse().expect("a listed name");
    Cache::builder().policy(policy).hasher(Identity::default()).stripes(stripes)
}

/// Of a hundred accesses, how many are hits. So many a second.
fn hit_ratio(builder: Builder, weigh: fn(u64) -> u64, rate: usize) -> f64 {
    let ticker = ManualTicker::new();
    let cache = builder.clock(ticker.clone()).build();
    let mut hits = 0;
    for (step, key) in keys().enumerate() {
        if step.is_multiple_of(rate) {
            ticker.advance(Duration::from_secs(1));
        }
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
    let weighed = |policy, stripes, weigh| {
        let builder = builder(policy, stripes).capacity(CAPACITY * MEAN);
        hit_ratio(builder.weigher(|_, &weight| weight), weigh, ACCESSES)
    };
    for policy in AnyPolicy::NAMES {
        for stripes in [1, 4] {
            let even = weighed(policy, stripes, |_| MEAN);
            for weigh in [about_the_mean, rarely_heavy] {
                let uneven = weighed(policy, stripes, weigh);
                println!("{policy}, {stripes} stripes: {even:.2} %, {uneven:.2} %");
                assert!(uneven >= even - MOST_BEHIND, "{policy}, {stripes} stripes");
            }
        }
    }
}

#[test]
fn where_lifetimes_are_short_the_default_has_about_as_many_hits_as_any_policy() {
    for stripes in [1, 4] {
        let hits = |&policy: &&str| {
            let lifetime = Duration::from_secs(3);
            let builder = builder(policy, stripes).capacity(CAPACITY).time_to_live(lifetime);
            let percent = hit_ratio(builder, |key| key, 500);
            println!("{policy}, {stripes} stripes: {percent:.2} %");
            percent
        };
        let best = AnyPolicy::NAMES.iter().map(hits).fold(0.0, f64::max);
        assert!(hits(&"adaptive") >= best - MOST_BEHIND, "{stripes} stripes");
    }
}
