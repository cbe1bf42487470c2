//! Random operations with every invariant checked, small capacities, and hit ratios on traces.

use super::{Adaptive, Setting};
use crate::policy::sim::Sim;

crate::policy::suite::policy_suite!(Adaptive::with_seed(1));

fn next(random: &mut u64) -> u64 {
    super::xorshift(random)
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

/// The mean and worst regret: how far below the best online policy of a recorded table, at each of
/// its points. `LARDER_TRACES` names the folder of traces, `LARDER_BASELINES` a Markdown table with
/// a line per point: trace, capacity, the offline optimum, then a column per policy, LRU last.
#[test]
#[ignore = "takes a while; needs the traces"]
fn regret_on_the_traces() {
    let (Ok(folder), Ok(table)) =
        (std::env::var("LARDER_TRACES"), std::env::var("LARDER_BASELINES"))
    else {
        return println!("skipped");
    };
    let folder = std::path::Path::new(&folder);
    let table = std::fs::read_to_string(table).expect("the table");
    let seeds: u64 = std::env::var("LARDER_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut last = (String::new(), Vec::new());
    let (mut sum, mut worst, mut worst_lru, mut near, mut points) = (0.0, 0.0_f64, 0.0_f64, 0, 0);
    for line in table.lines().filter(|line| line.starts_with("| ") && line.contains('.')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(capacity) = cells[1].parse::<u64>() else { continue };
        if cells.len() < 15 {
            continue;
        }
        if last.0 != cells[0] {
            last = (cells[0].to_owned(), trace(&folder.join(format!("{}.txt.zst", cells[0]))));
        }
        let numbers: Vec<f64> =
            cells[2..].iter().map(|cell| cell.parse().expect("a number")).collect();
        let best = numbers[1..].iter().copied().fold(0.0, f64::max).min(numbers[0]);
        let lru = numbers[numbers.len() - 1];
        for seed in 0..seeds {
            let mut sim = Sim::new(Adaptive::with_seed(seed), capacity);
            for &key in &last.1 {
                sim.access(key);
            }
            let hit = sim.hit_percent();
            let regret = (best - hit).max(0.0);
            println!("{} {capacity} seed {seed} hit {hit:.2} regret {regret:.2}", cells[0]);
            sum += regret;
            worst = worst.max(regret);
            worst_lru = worst_lru.min(hit - lru);
            near += i32::from(regret <= 0.5);
            points += 1;
        }
    }
    println!(
        "mean regret {:.3} worst {worst:.2} vs LRU {worst_lru:.2} near {near}/{points}",
        sum / f64::from(points)
    );
}

fn trace(path: &std::path::Path) -> Vec<u64> {
    let packed = std::fs::read(path).expect("the trace");
    let text = zstd::decode_all(packed.as_slice()).expect("zstd");
    let text = String::from_utf8(text).expect("text");
    text.lines().filter_map(|line| line.split([' ', '\t', ',']).next()?.parse().ok()).collect()
}
