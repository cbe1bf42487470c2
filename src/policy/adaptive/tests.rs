//! Random operations with every invariant checked, and small capacities.

use super::{Adaptive, Setting};
use crate::policy::sim::Sim;

crate::policy::suite::policy_suite!(Adaptive::with_seed(1));

fn next(random: &mut u64) -> u64 {
    super::shadow::xorshift(random)
}

#[test]
fn random_operations_keep_every_invariant() {
    for (capacity, keys) in [(0, 10), (1, 10), (2, 10), (3, 10), (20, 60), (300, 900)] {
        let mut sim = Sim::new(Adaptive::with_seed(7), capacity);
        let mut random = 1 + capacity;
        for _ in 0..6_000 {
            let key = next(&mut random) % keys * (next(&mut random) % 3) / 2;
            match next(&mut random) % 16 {
                0 => sim.remove(key),
                _ => {
                    sim.access(key);
                }
            }
            sim.validate();
        }
    }
}

#[test]
fn weighted_random_operations_keep_every_invariant() {
    for (capacity, heaviest) in [(10, 4), (1000, 30), (1 << 40, 1 << 34)] {
        let mut sim = Sim::new(Adaptive::with_seed(3), capacity);
        let mut random = 99;
        for _ in 0..6_000 {
            let key = next(&mut random) % 400 * (next(&mut random) % 3) / 2;
            match next(&mut random) % 16 {
                0 => sim.remove(key),
                _ => {
                    sim.access_weighted(key, key * 7919 % (heaviest + 1));
                }
            }
            sim.validate();
        }
    }
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| {
        let mut sim = Sim::new(Adaptive::with_seed(seed), 600);
        let mut random = 5;
        let hits: Vec<bool> = (0..30_000)
            .map(|_| {
                let (a, b) = (next(&mut random) % 3000, next(&mut random) % 3000);
                sim.access(a.min(b))
            })
            .collect();
        hits
    };
    assert_eq!(run(1), run(1));
}

#[test]
fn the_live_setting_follows_the_workload() {
    let mut sim = Sim::new(Adaptive::with_seed(1), 1000);
    assert_eq!(sim.policy.setting(), Setting::START);
    // Each key comes back once, a while later: pure recency, nothing to filter.
    for key in 300..40_000 {
        sim.access(key);
        sim.access(key - 300);
    }
    assert!(matches!(sim.policy.setting(), Setting::Clock | Setting::Small20));
    assert!(sim.hit_percent() > 45.0, "{} % of 50 %", sim.hit_percent());
    // A loop larger than the cache: only keeping a part of it helps.
    sim.access_all((0..60).flat_map(|_| 0..3000));
    assert!(!matches!(sim.policy.setting(), Setting::Clock | Setting::Small20));
    let (hits, accesses) = (sim.hits, sim.accesses);
    sim.access_all((0..20).flat_map(|_| 0..3000));
    let percent = 100 * (sim.hits - hits) / (sim.accesses - accesses);
    assert!(percent >= 25, "{percent} % of a loop whose third fits");
}

/// Popular keys, one in eight of them a hundred times as heavy as the others.
fn weigh_in(policy: Adaptive) -> (Setting, f64, f64) {
    let mut sim = Sim::new(policy, 20_000);
    let mut random = 11;
    let (mut hit, mut all) = (0, 0);
    for _ in 0..60_000 {
        let (a, b) = (next(&mut random) % 4000, next(&mut random) % 4000);
        let key = a.min(b);
        let weight = if key % 8 == 0 { 100 } else { 1 };
        all += weight;
        hit += if sim.access_weighted(key, weight) { weight } else { 0 };
    }
    sim.validate();
    (sim.policy.setting(), sim.hit_percent(), 100.0 * f64::from(hit as u32) / f64::from(all as u32))
}

#[test]
fn a_weighted_cache_goes_by_what_it_should_have_most_of() {
    let (setting, hits, weight) = weigh_in(Adaptive::with_seed(1));
    let (_, other_hits, other_weight) = weigh_in(Adaptive::with_seed(1).by_weight());
    assert_eq!(setting, Setting::GreedyDual);
    assert!(hits > other_hits + 3.0, "{hits} and {other_hits} % of the accesses");
    assert!(other_weight > weight, "{weight} and {other_weight} % of the weight");
}

#[test]
fn where_all_weigh_the_same_it_does_not_go_by_weight() {
    let run = |weight| {
        let mut sim = Sim::new(Adaptive::with_seed(1), 600 * weight);
        let mut random = 5;
        for _ in 0..30_000 {
            let (a, b) = (next(&mut random) % 3000, next(&mut random) % 3000);
            sim.access_weighted(a.min(b), weight);
            assert_ne!(sim.policy.setting(), Setting::GreedyDual);
        }
        sim.hit_percent()
    };
    assert!((run(1) - run(4096)).abs() < 1.0, "{} {}", run(1), run(4096));
}

#[test]
fn weighted_random_operations_through_every_switch_keep_every_invariant() {
    for (seed, policy) in
        [Adaptive::with_seed(3), Adaptive::with_seed(5).by_weight()].into_iter().enumerate()
    {
        let mut sim = Sim::new(policy, 600);
        let (mut random, mut seen) = (77 + seed as u64, Vec::new());
        for step in 0..40_000_u64 {
            // Loops, then popularity, then recency.
            let key = match step / 4000 % 3 {
                0 => step % 300,
                1 => (next(&mut random) % 900).min(next(&mut random) % 900),
                _ => 1000 + step / 2,
            };
            match next(&mut random) % 64 {
                0 => sim.remove(key),
                1 => sim.reweigh(key, next(&mut random) % 30),
                2 => sim.relocate(key),
                _ => _ = sim.access_weighted(key, 1 + key * 7919 % 13),
            }
            if step % 50 == 0 {
                sim.validate();
            }
            if !seen.contains(&sim.policy.setting()) {
                seen.push(sim.policy.setting());
            }
        }
        assert!(seen.len() > 2, "{seen:?}");
        sim.clear();
        sim.validate();
    }
}

/// Popular keys, of which one in eight weighs a hundred times what the others do.
fn run_weighted(sim: &mut Sim<Adaptive>, random: &mut u64, steps: u64) {
    for _ in 0..steps {
        let key = (next(random) % 4000).min(next(random) % 4000).min(next(random) % 4000);
        sim.access_weighted(key, if key.is_multiple_of(8) { 100 } else { 1 });
    }
}

#[test]
fn another_capacity_does_not_make_it_forget_that_weights_differ() {
    let mut sim = Sim::new(Adaptive::with_seed(1), 20_000);
    let mut random = 11;
    run_weighted(&mut sim, &mut random, 60_000);
    for capacity in [19_999, 20_000, 19_998] {
        sim.set_capacity(capacity);
        run_weighted(&mut sim, &mut random, 20_000);
        assert_eq!(sim.policy.setting(), Setting::GreedyDual);
    }
}
