//! The tests every policy must pass: `policy_suite!(Sieve::default())` in its test module.

use std::cell::Cell;

use super::{
    Mark, Policy, Residents,
    sim::{Sim, Slots, hash_of},
};
use crate::Slot;

/// Instantiates the suite for one policy, made by the expression.
macro_rules! policy_suite {
    ($make:expr) => {
        #[test]
        fn stays_consistent_under_random_operations() {
            $crate::policy::suite::random_operations(|| $make);
        }
        #[test]
        fn tiny_capacities_work() {
            $crate::policy::suite::tiny_capacities(|| $make);
        }
        #[test]
        fn weightless_entries_stay_and_heavy_ones_fit() {
            $crate::policy::suite::extreme_weights(|| $make);
        }
        #[test]
        fn capacity_changes_and_clearing_work() {
            $crate::policy::suite::resizing(|| $make);
        }
        #[test]
        fn each_entry_is_ranked_once_while_hits_go_on() {
            $crate::policy::suite::ranks(|| $make);
        }
        #[test]
        fn an_exchange_is_what_its_steps_are() {
            $crate::policy::suite::exchanges(|| $make);
        }
        #[test]
        fn shares_are_made_for_every_stripe() {
            $crate::policy::suite::stripes(|| $make);
        }
    };
}
pub(crate) use policy_suite;

/// A reproducible stream of numbers.
#[derive(Clone, Copy)]
struct Stream(u64);

impl Stream {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        hash_of(self.0) % bound
    }
}

pub(crate) fn random_operations<P: Policy>(make: impl Fn() -> P) {
    for (seed, capacity, keys) in [(1, 10, 30), (2, 100, 150), (3, 64, 1000), (4, 300, 300)] {
        let mut stream = Stream(seed << 32);
        let mut sim = Sim::new(make(), capacity);
        for _ in 0..3_000 {
            // The smaller of two draws: some keys are more popular than others.
            let key = stream.below(keys).min(stream.below(keys));
            match stream.below(20) {
                0 => sim.remove(key),
                1 => sim.relocate(key),
                2 => sim.reweigh(key, stream.below(4) * stream.below(4)),
                3 => _ = sim.access_weighted(key, stream.below(capacity + 2)),
                4 => _ = sim.access_weighted(key, 0),
                5 if stream.below(100) == 0 => sim.clear(),
                6 if stream.below(20) == 0 => sim.set_capacity(stream.below(capacity) + 1),
                7 if stream.below(10) == 0 => sim.set_capacity(capacity),
                _ => _ = sim.access(key),
            }
            sim.validate();
        }
    }
}

pub(crate) fn exchanges<P: Policy>(make: impl Fn() -> P) {
    for (capacity, keys) in [(1, 3), (10, 30), (400, 1000)] {
        let mut stream = Stream(capacity << 32);
        let [mut steps, mut exchanging] = [Sim::new(make(), capacity), Sim::new(make(), capacity)];
        exchanging.exchanges = true;
        for sim in [&mut steps, &mut exchanging] {
            sim.victims = Some(Vec::new());
        }
        for _ in 0..10_000 {
            let key = stream.below(keys).min(stream.below(keys));
            let is_removal = stream.below(50) == 0;
            for sim in [&mut steps, &mut exchanging] {
                if is_removal {
                    sim.remove(key);
                } else {
                    sim.access(key);
                }
            }
        }
        exchanging.validate();
        assert_eq!(steps.victims, exchanging.victims, "{capacity} of {keys}");
    }
}

pub(crate) fn tiny_capacities<P: Policy>(make: impl Fn() -> P) {
    for capacity in 0..=4 {
        let mut sim = Sim::new(make(), capacity);
        let mut stream = Stream(capacity);
        for _ in 0..500 {
            sim.access(stream.below(8));
            sim.access_weighted(100 + stream.below(3), 2);
            sim.access_weighted(200 + stream.below(2), 0);
            sim.validate();
        }
        assert!(sim.weight() <= capacity);
        sim.access_weighted(200, 0);
        assert!(sim.access_weighted(200, 0), "a weightless entry always fits");
        sim.clear();
        assert_eq!(sim.len(), 0);
        sim.validate();
    }
    let mut sim = Sim::new(make(), 2);
    sim.access_all(0..100);
    assert_eq!(sim.weight(), 2, "a full cache stays full");
}

pub(crate) fn extreme_weights<P: Policy>(make: impl Fn() -> P) {
    let mut sim = Sim::new(make(), u64::MAX);
    for key in 0..200 {
        sim.access_weighted(key, 0);
        sim.access_weighted(key + 1000, u64::MAX / 100);
        sim.validate();
    }
    assert_eq!(sim.len(), 300, "200 weightless entries and 100 that fill the cache");
    for _ in 0..8 {
        sim.access_weighted(5000, u64::MAX);
        sim.access_weighted(5001, u64::MAX);
        sim.validate();
    }
    assert!(sim.len() >= 200, "the weightless stay");
    (0..200).for_each(|key| assert!(sim.access(key), "{key} weighs nothing"));
    for key in 0..200 {
        sim.reweigh(key, 1 + u64::MAX / 50);
        sim.validate();
    }
    (0..200).for_each(|key| sim.reweigh(key, 0));
    sim.validate();
}

pub(crate) fn resizing<P: Policy>(make: impl Fn() -> P) {
    let mut sim = Sim::new(make(), 1000);
    let mut stream = Stream(9);
    for capacity in [1000, 10, 500, 1, 0, 3000, 1000] {
        sim.set_capacity(capacity);
        sim.validate();
        for _ in 0..4000 {
            sim.access(stream.below(2000));
        }
        assert_eq!(sim.weight(), capacity.min(sim.weight()));
        assert!(sim.weight() >= capacity.min(800), "the room is used");
        sim.validate();
    }
    sim.clear();
    sim.validate();
    sim.access_all(0..2000);
    assert_eq!(sim.weight(), 1000);
    sim.validate();
}

/// Entries that are hit all the time: a mark is another whenever it is looked at.
struct Restless<'a>(&'a Slots, Cell<Stream>);

impl Residents for Restless<'_> {
    fn mark(&self, slot: Slot) -> &Mark {
        let mut stream = self.1.get();
        let mark = self.0.mark(slot);
        mark.set(u8::try_from(stream.below(256)).expect("below"));
        self.1.set(stream);
        mark
    }
    fn hash(&self, slot: Slot) -> u64 {
        self.0.hash(slot)
    }
    fn weight(&self, slot: Slot) -> u64 {
        self.0.weight(slot)
    }
}

pub(crate) fn ranks<P: Policy>(make: impl Fn() -> P) {
    let mut sim = Sim::new(make(), 300);
    for key in 0..900 {
        sim.access_weighted(key, key % 7);
        sim.access_weighted(key / 2, 1);
    }
    let sorted = |mut slots: Vec<Slot>| {
        slots.sort_unstable();
        slots
    };
    let at_rest = sorted(sim.policy.ranking(&sim.slots));
    for seed in 0..20 {
        let restless = Restless(&sim.slots, Cell::new(Stream(seed << 32)));
        assert_eq!(sorted(sim.policy.ranking(&restless)), at_rest, "each once");
    }
}

pub(crate) fn stripes<P: Policy>(make: impl Fn() -> P) {
    for (stripes, capacity) in [(1, 0), (4, 10), (16, 1 << 20), (3, u64::MAX)] {
        let policies = make().for_stripes(stripes, capacity);
        assert_eq!(policies.len(), stripes);
        assert!(policies.iter().all(Policy::is_empty));
    }
}
