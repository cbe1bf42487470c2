//! The optimum and its bounds against every choice there is, and the textbook's LRU against the
//! cache's.

use std::time::Duration;

use larder_lab::optimum::{self, Bound, Goal};
use larder_lab::progress::Progress;
use larder_lab::replay::{Setup, replay, replay_textbook};
use larder_lab::trace::{Access, Key, Sink, Trace};
use proptest::prelude::*;

use crate::made;

/// One entry of a cache: key, size, and the moment from which on it is dead.
type Held = (u32, u64, u64);

/// What a cache could do at its best, by trying everything: at a miss the newcomer may be let in or
/// not, and any of the others may go.
struct Exhaustive<'a> {
    trace: &'a Trace,
    capacity: u64,
    lifetime: u64,
    goal: Goal,
}

impl Exhaustive<'_> {
    fn best(&self, index: usize, held: &[Held]) -> u64 {
        let Some(&key) = self.trace.keys.get(index) else { return 0 };
        let now = self.trace.times.as_ref().map_or(0, |times| times[index]);
        let size = self.trace.size(index);
        let alive: Vec<Held> = held.iter().copied().filter(|held| now < held.2).collect();
        if alive.iter().any(|held| held.0 == key) {
            let value = if self.goal == Goal::Hits { 1 } else { size };
            return value + self.best(index + 1, &alive);
        }
        let choices = 0..1_u32 << alive.len();
        let kept = choices.map(|choice| {
            let mut kept: Vec<Held> = (0..alive.len())
                .filter(|entry| choice & 1 << entry != 0)
                .map(|entry| alive[entry])
                .collect();
            let without = self.best(index + 1, &kept);
            kept.push((key, size, now.saturating_add(self.lifetime)));
            let fits = kept.iter().map(|held| held.1).sum::<u64>() <= self.capacity;
            if fits { without.max(self.best(index + 1, &kept)) } else { without }
        });
        kept.max().unwrap_or_default()
    }
}

fn trace_of(accesses: &[(u64, u64, u64)]) -> Trace {
    let mut sink = Sink::new("random", false);
    let mut now = 0;
    for &(key, size, gap) in accesses {
        now += gap;
        let (size, time) = (Some(size), Some(Duration::from_nanos(now)));
        sink.accept(Access { key: Key::Number(key), size, time }).expect("an access");
    }
    sink.finish()
}

/// Accesses (key, size, time since the one before) that are few enough to try everything.
fn few() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    prop::collection::vec((0..5_u64, 1..4_u64, 0..4_u64), 1..11)
}

fn many() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    prop::collection::vec((0..60_u64, 1..6_u64, 0..4_u64), 1..600)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn min_is_the_best_there_is(accesses in few(), capacity in 1..4_u64) {
        let mut trace = trace_of(&accesses);
        trace.sizes = None;
        let hits = optimum::min(&trace, &trace.next_uses(None), capacity);
        let all = Exhaustive { trace: &trace, capacity, lifetime: u64::MAX, goal: Goal::Hits };
        prop_assert_eq!(hits, all.best(0, &[]));
    }

    #[test]
    fn no_choice_beats_the_bounds(accesses in few(), capacity in 1..8_u64, lifetime in 1..20_u64) {
        let trace = trace_of(&accesses);
        let next_uses = trace.next_uses(Some(Duration::from_nanos(lifetime)));
        for goal in [Goal::Hits, Goal::Bytes] {
            let bound = Bound::new(&trace, &next_uses, goal).at(capacity);
            let best = Exhaustive { trace: &trace, capacity, lifetime, goal }.best(0, &[]);
            prop_assert!(bound > best as f64 - 1e-6, "{goal:?}: {bound}, but {best} is possible");
        }
        let unit = Trace { sizes: None, ..trace };
        let min = optimum::min(&unit, &next_uses, capacity);
        let all = Exhaustive { trace: &unit, capacity, lifetime, goal: Goal::Hits };
        prop_assert!(min >= all.best(0, &[]));
    }

    #[test]
    fn the_caches_lru_is_the_textbooks(
        accesses in many(),
        capacity in 1..80_u64,
        by_size: bool,
        lifetime in prop::option::of(1..200_u64),
    ) {
        // The cache may keep what is dead for a second: here nothing happens within ten of a
        // deadline.
        let mut trace = trace_of(&accesses);
        trace.times.iter_mut().flatten().for_each(|time| *time *= 20_000_000_000);
        let time_to_live = lifetime.map(|time| Duration::from_secs(time * 20 - 10));
        let policy = "lru".to_owned();
        let setup = Setup { policy, capacity, by_size, stripes: Some(1), time_to_live, seed: 1 };
        let cache = replay(&trace, &setup, &Progress::hidden()).expect("a cache");
        let textbook = replay_textbook(&trace, &setup, &Progress::hidden());
        prop_assert_eq!(cache.hits, textbook.hits);
        prop_assert_eq!(cache.hit_bytes, textbook.hit_bytes);
        prop_assert_eq!(cache.evictions, textbook.evictions);
    }
}

#[test]
fn times_may_count_from_1970() {
    let year = 365 * 24 * 60 * 60 * 1_000_000_000;
    for start in [0, 10 * year, 54 * year] {
        // A key every 100 s, each again after 4000.
        let mut trace = Trace::of_keys("t", (0..2000).map(|step| step % 40));
        trace.times = Some((0..2000).map(|step| start + step * 100_000_000_000).collect());
        let hits = |seconds| {
            let setup = Setup {
                policy: "lru".to_owned(),
                capacity: 100,
                by_size: false,
                stripes: None,
                time_to_live: Some(Duration::from_secs(seconds)),
                seed: 1,
            };
            replay(&trace, &setup, &Progress::hidden()).expect("a cache").hits
        };
        assert_eq!((hits(3600), hits(1 << 33)), (0.0, 1960.0), "from {start} on");
    }
}

#[test]
fn no_policy_beats_the_optimum() {
    for trace in [made::zipf(20_000), made::phases(30_000)] {
        let next_uses = trace.next_uses(None);
        for capacity in [10, 100, 1000] {
            let optimum = optimum::min(&trace, &next_uses, capacity) as f64;
            let bound = Bound::new(&trace, &next_uses, Goal::Hits).at(capacity);
            assert!(optimum <= bound, "{}: {optimum} hits, at most {bound}", trace.name);
            for policy in larder_lab::simulate::all_policies() {
                let setup = Setup {
                    policy,
                    capacity,
                    by_size: false,
                    stripes: None,
                    time_to_live: None,
                    seed: 1,
                };
                let hits = replay(&trace, &setup, &Progress::hidden()).expect("a cache").hits;
                assert!(hits <= optimum, "{} at {capacity}", setup.policy);
            }
        }
    }
}
