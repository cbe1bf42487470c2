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
