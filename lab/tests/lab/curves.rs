//! Curves against replays.

use larder_lab::curve::miniature::{Plan, estimate};
use larder_lab::curve::reuse::{Effort, LruCurve};
use larder_lab::curve::{self, sample};
use larder_lab::progress::Progress;
use larder_lab::replay::{Setup, replay, replay_textbook};
use larder_lab::trace::Trace;

use crate::made::{self, Random};

fn setup(policy: &str, capacity: u64, by_size: bool) -> Setup {
    let policy = policy.to_owned();
    Setup { policy, capacity, by_size, stripes: Some(1), time_to_live: None, seed: 1 }
}

/// Sizes that a key keeps.
fn with_sizes(mut trace: Trace) -> Trace {
    let mut random = Random(9);
    let sizes: Vec<u64> = (0..trace.distinct).map(|_| 1 + random.below(100)).collect();
    trace.sizes = Some(trace.keys.iter().map(|&key| sizes[key as usize]).collect());
    trace
}

#[test]
fn the_exact_curve_is_what_replays_come_to() {
    for trace in [made::zipf(20_000), made::cycle(5000), made::scans(20_000), made::phases(30_000)]
    {
        let curve = LruCurve::new(&trace, false, Effort::Exact);
        for capacity in [1, 2, 10, 100, 999, 1000, 1001, 5000] {
            let counts =
                replay_textbook(&trace, &setup("lru", capacity, false), &Progress::hidden());
            let (expected, name) = (trace.percent(counts.hits), &trace.name);
            assert!((curve.hit_percent(capacity) - expected).abs() < 1e-9, "{name} {capacity}");
        }
    }
}

#[test]
fn the_exact_curve_of_sizes_is_near_to_replays() {
    // A replay leaves a gap at the end where an object does not fit any more; the curve fills it.
    let trace = with_sizes(made::zipf(30_000));
    let curve = LruCurve::new(&trace, true, Effort::Exact);
    for capacity in [5000, 20_000, 80_000] {
        let counts = replay_textbook(&trace, &setup("lru", capacity, true), &Progress::hidden());
        let apart = curve.hit_percent(capacity) - trace.percent(counts.hits);
        assert!(apart.abs() < 0.3, "{apart} at {capacity}");
    }
}

/// Popular keys of which a few weigh as much as all the others.
fn with_heavy_keys(mut trace: Trace) -> Trace {
    let size = |key: u32| if key % 100 == 7 { 100_000 } else { 1 + u64::from(key % 50) };
    trace.sizes = Some(trace.keys.iter().map(|&key| size(key)).collect());
    trace
}

#[test]
fn what_is_heavier_than_the_cache_takes_no_room_in_its_curve() {
    let trace = with_heavy_keys(made::zipf(100_000));
    let capacities = [2000, 20_000, 60_000, 99_999, 100_000, 1_000_000];
    let curve = LruCurve::at(&trace, &capacities, true, Effort::Exact);
    for capacity in capacities {
        let counts = replay_textbook(&trace, &setup("lru", capacity, true), &Progress::hidden());
        let apart = curve.hit_percent(capacity) - trace.percent(counts.hits);
        assert!(apart.abs() < 0.3, "{apart} at {capacity}");
    }
}

/// Recency over many keys: each access is near to one some time before.
fn recency() -> Trace {
    let mut random = Random(4);
    let mut keys: Vec<u64> = (0..60_000).collect();
    for step in 0..240_000_u64 {
        let back = random.zipf(60_000.0) as usize;
        let key = if step % 8 == 0 { 60_000 + step } else { keys[keys.len() - back] };
        keys.push(key);
    }
    Trace::of_keys("recency", keys)
}

/// Popularity over many keys.
fn popularity() -> Trace {
    let mut random = Random(5);
    Trace::of_keys("popularity", (0..300_000).map(|_| random.zipf(500_000.0)))
}

#[test]
fn a_sampled_curve_is_within_a_point_for_a_twentieth_of_the_sums() {
    for trace in [recency(), popularity()] {
        let (name, distinct) = (&trace.name, trace.distinct as u64);
        assert!(trace.distinct >= curve::MANY, "{name} has {distinct} keys");
        let exact = LruCurve::new(&trace, false, Effort::Exact);
        let is_near = |seed: &u64| {
            let sampled = LruCurve::new(&trace, false, curve::effort(&trace, *seed));
            let sums = (sampled.sums(), exact.sums());
            assert!(20 * sums.0 <= sums.1, "{name}: {sums:?}");
            let capacities = [1, 3, 10, 30, 100, 300].into_iter();
            let mut capacities = capacities.chain((1..=100).map(|part| distinct * part / 100));
            capacities.all(|capacity| {
                (sampled.hit_percent(capacity) - exact.hit_percent(capacity)).abs() < 1.0
            })
        };
        let near = (1..=40).filter(is_near).count();
        assert!(near >= 38, "{name}: {near} of 40 are within a point");
    }
}

#[test]
fn a_sampled_curve_of_sizes_is_near_to_the_exact_one() {
    let trace = with_sizes(popularity());
    let footprint = trace.footprint().expect("sizes");
    let exact = LruCurve::new(&trace, true, Effort::Exact);
    let sampled = LruCurve::new(&trace, true, curve::effort(&trace, 1));
    for percent in 1..=100 {
        let capacity = footprint * percent / 100;
        let apart = sampled.hit_percent(capacity) - exact.hit_percent(capacity);
        assert!(apart.abs() < 1.0, "{apart:.2} points at {percent} %");
    }
}

#[test]
fn with_few_keys_the_curve_is_exact() {
    let trace = made::zipf(20_000);
    let effort = curve::effort(&trace, 1);
    assert_eq!(effort, Effort::Exact);
}

#[test]
fn a_sample_has_all_accesses_to_some_keys() {
    let trace = with_sizes(made::zipf(50_000));
    let sampled = sample(&trace, 0.25, 1);
    let share = sampled.distinct as f64 / trace.distinct as f64;
    assert!((share - 0.25).abs() < 0.03, "{share}");
    let sizes = sampled.first_sizes().expect("sizes");
    for (&key, size) in sampled.keys.iter().zip(sampled.sizes.as_ref().expect("sizes")) {
        assert_eq!(sizes[key as usize], *size);
    }
    assert_ne!(sample(&trace, 0.25, 2).keys, sampled.keys);
    assert_eq!(sample(&trace, 1.0, 2).keys, trace.keys);
}

fn plan(policies: &[&str], capacities: &[u64]) -> Plan {
    Plan {
        policies: policies.iter().map(|&policy| policy.to_owned()).collect(),
        capacities: capacities.to_vec(),
        by_size: false,
        entries: 128,
        samples: 4,
        seed: 1,
    }
}

#[test]
fn miniatures_are_within_the_error_shown() {
    let trace = made::zipf(80_000);
    let lru = LruCurve::new(&trace, false, Effort::Exact);
    let plan = plan(&["s3-fifo", "fifo", "lfu"], &[1100, 2500]);
    let truth = |policy: &str, capacity| {
        let counts = replay(&trace, &setup(policy, capacity, false), &Progress::hidden());
        trace.percent(counts.expect("a cache").hits)
    };
    let (mut within, mut errors) = (Vec::new(), 0.0);
    for seed in 1..=10 {
        for estimate in estimate(&trace, &Plan { seed, ..plan.clone() }, &lru).expect("policies") {
            let truth = truth(&estimate.policy, estimate.capacity);
            assert!(estimate.error > 0.0, "{estimate:?}");
            errors += estimate.error;
            within.push((estimate.hit_percent - truth).abs() <= estimate.error);
        }
    }
    let count = within.iter().filter(|&&is_within| is_within).count();
    assert!(within.len() == 60 && count >= 57, "{count} of {}", within.len());
    assert!(errors / 60.0 < 2.0, "±{:.2} on average", errors / 60.0);
}

#[test]
fn what_saves_too_little_or_does_not_scale_is_replayed_whole() {
    let trace = made::zipf(80_000);
    let lru = LruCurve::new(&trace, false, Effort::Exact);
    let plan = plan(&["adaptive", "sieve"], &[500, 2000]);
    for estimate in estimate(&trace, &plan, &lru).expect("policies") {
        let is_whole = estimate.policy == "sieve" || estimate.capacity == 500;
        assert_eq!(estimate.error == 0.0, is_whole, "{estimate:?}");
        let setup = setup(&estimate.policy, estimate.capacity, false);
        let counts = replay(&trace, &setup, &Progress::hidden()).expect("a cache");
        let apart = (estimate.hit_percent - trace.percent(counts.hits)).abs();
        assert!(apart < if is_whole { 1e-9 } else { 1.5 }, "{estimate:?} is {apart:.2} off");
    }
}
