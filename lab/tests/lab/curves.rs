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

#[test]
fn a_sampled_curve_is_within_a_point_for_a_twentieth_of_the_work() {
    let mut random = Random(4);
    // Recency over many keys: each access is near to one some time before.
    let mut keys: Vec<u64> = (0..60_000).collect();
    for step in 0..240_000_u64 {
        let back =
            1 + (60_000.0_f64).powf(random.below(1 << 20) as f64 / f64::from(1 << 20)) as usize;
        let key = if step % 8 == 0 { 60_000 + step } else { keys[keys.len() - back] };
        keys.push(key);
    }
    let trace = Trace::of_keys("recency", keys);
    assert!(trace.distinct >= curve::MANY);
    let exact = LruCurve::new(&trace, false, Effort::Exact);
    let sampled = LruCurve::new(&trace, false, curve::effort(&trace, 1));
    assert!(20 * sampled.sums() <= exact.sums(), "{} of {}", sampled.sums(), exact.sums());
    for percent in 1..=100 {
        let capacity = trace.distinct as u64 * percent / 100;
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

#[test]
fn miniatures_are_near_to_replays_and_say_how_near() {
    let trace = made::zipf(80_000);
    let plan = Plan {
        policies: ["adaptive", "s3-fifo", "fifo"].map(str::to_owned).into(),
        capacities: vec![200, 2000],
        by_size: false,
        entries: 128,
        samples: 4,
        seed: 1,
    };
    let lru = LruCurve::new(&trace, false, Effort::Exact);
    for estimate in estimate(&trace, &plan, &lru).expect("policies") {
        let setup = setup(&estimate.policy, estimate.capacity, false);
        let counts = replay(&trace, &setup, &Progress::hidden()).expect("a cache");
        let apart = (estimate.hit_percent - trace.percent(counts.hits)).abs();
        assert!(apart < 1.5, "{estimate:?} is {apart:.2} points off");
        // At 200 entries the whole trace is replayed, which leaves nothing to guess.
        assert_eq!(estimate.error == 0.0, estimate.capacity == 200, "{estimate:?}");
        assert!(estimate.capacity > 200 || apart < 1e-9);
    }
}
