//! A custom policy may panic: the cache loses nothing by it (P13).

mod common;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Constant, Ledger, Token};
use larder::{
    Cache, RemovalCause, Slot,
    policy::{Fifo, Newcomer, Policy, Residents},
    time::ManualTicker,
};

/// First in, first out; it panics once, as planned, or whenever an entry moves.
#[derive(Debug, Default)]
struct Faulty {
    policy: Fifo,
    /// At what to panic next, and at what always if it is [`MOVES`].
    plan: Arc<AtomicU64>,
}

/// Before a newcomer is noted.
const NEWCOMER: u64 = 1;
const REMOVAL: u64 = 2;
const MOVES: u64 = 3;
/// When a newcomer was noted.
const NOTED: u64 = 4;
const VICTIM: u64 = 5;
const WEIGHT: u64 = 6;

/// What a panic may carry: its drop panics too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("planned");
    }
}

impl Faulty {
    fn panic_at(&self, event: u64) -> bool {
        self.plan.compare_exchange(event, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Policy for Faulty {
    type Recorder = <Fifo as Policy>::Recorder;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        (0..stripes).map(|_| Self { plan: Arc::clone(&self.plan), ..Self::default() }).collect()
    }

    fn recorder(&self) -> Self::Recorder {
        self.policy.recorder()
    }

    fn on_insert(&mut self, newcomer: Newcomer, residents: &impl Residents) {
        assert!(!self.panic_at(NEWCOMER), "planned");
        self.policy.on_insert(newcomer, residents);
        assert!(!self.panic_at(NOTED), "planned");
    }

    fn on_weight(&mut self, slot: Slot, old: u64, new: u64) {
        self.policy.on_weight(slot, old, new);
        assert!(!self.panic_at(WEIGHT), "planned");
    }

    fn on_remove(&mut self, slot: Slot, cause: RemovalCause, residents: &impl Residents) {
        assert!(!self.panic_at(REMOVAL), "planned");
        self.policy.on_remove(slot, cause, residents);
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        self.policy.on_move(from, to);
        if self.plan.load(Ordering::Relaxed) == MOVES {
            panic_any(Bomb);
        }
    }

    fn victim(&mut self, residents: &impl Residents) -> Option<Slot> {
        assert!(!self.panic_at(VICTIM), "planned");
        self.policy.victim(residents)
    }

    fn set_capacity(&mut self, share: u64, whole: u64) {
        self.policy.set_capacity(share, whole);
    }

    fn clear(&mut self) {
        self.policy.clear();
    }

    fn ranking(&self, residents: &impl Residents) -> Vec<Slot> {
        self.policy.ranking(residents)
    }

    fn len(&self) -> usize {
        self.policy.len()
    }

    fn validate(&self, slots: &[Slot], residents: &impl Residents) {
        self.policy.validate(slots, residents);
    }
}

#[test]
fn a_policy_that_panics_at_a_newcomer_in_a_chain_does_no_harm() {
    let policy = Faulty::default();
    let plan = Arc::clone(&policy.plan);
    let cache = Cache::<u64, u64>::builder()
        .capacity(100)
        .stripes(1)
        .hasher(Constant(0))
        .policy(policy)
        .build();
    // The next lies alone in a group of the chain's.
    (0..20).for_each(|key| _ = cache.insert(key, key));
    plan.store(NEWCOMER, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(20, 20))).is_err());
    cache.remove(&3);
    assert_eq!(cache.get(&19), Some(19), "it may return now");
    assert_eq!(cache.replace_if(0, 1, |_| true), Ok(0));
    cache.set_capacity(18);
    assert_eq!((cache.get(&20), cache.get(&0), cache.get(&18)), (None, None, Some(18)));
    cache.validate();
}

#[test]
fn a_newcomer_that_its_policy_panics_at_leaves_no_trace() {
    for plan in [NEWCOMER, NOTED, VICTIM, REMOVAL] {
        for weight in [None, Some(3)] {
            for is_full in [false, true] {
                println!("panics at {plan}, weight {weight:?}, full: {is_full}");
                insert_in_vain(plan, weight, is_full);
            }
        }
    }
}

fn insert_in_vain(plan: u64, weight: Option<u64>, is_full: bool) {
    let policy = Faulty::default();
    let (control, ledger) = (Arc::clone(&policy.plan), Arc::new(Ledger::default()));
    let builder = Cache::<u64, Token>::builder().policy(policy).hasher(Constant(0)).stripes(1);
    let cache = match weight {
        Some(weight) => builder.capacity(20 * weight).weigher(move |_, _| weight).build(),
        None => builder.capacity(20).build(),
    };
    let insert = |key| {
        let value = Token::new(key, &ledger);
        catch_unwind(AssertUnwindSafe(|| drop(cache.insert(key, value))))
    };
    let held = if is_full { 20 } else { 19 };
    (0..held).for_each(|key| insert(key).unwrap());
    for key in 100..103 {
        control.store(plan, Ordering::Relaxed);
        let is_asked = is_full || [NEWCOMER, NOTED].contains(&plan);
        assert_eq!(insert(key).is_err(), is_asked);
        control.store(0, Ordering::Relaxed);
        if !is_asked {
            cache.remove(&key);
        }
        assert_eq!((cache.len() as u64, ledger.live()), (held, held), "entries, values");
        cache.validate();
    }
    (0..40).for_each(|key| insert(key).unwrap());
    assert_eq!(cache.len(), 20, "there is room for as many as ever");
    cache.validate();
}

#[test]
fn a_policy_that_panics_at_a_change_of_weight_loses_no_room_and_no_notice() {
    let (policy, told) = (Faulty::default(), Arc::new(AtomicU64::new(0)));
    let (plan, seen) = (Arc::clone(&policy.plan), Arc::clone(&told));
    let cache = Cache::<u64, u64>::builder()
        .capacity(20)
        .stripes(1)
        .weigher(|_, &value| value)
        .policy(policy)
        .on_removal(move |_, _, _| _ = seen.fetch_add(1, Ordering::Relaxed))
        .build();
    cache.insert(1, 20);
    for (count, weight) in [(1, 5), (2, 15), (3, 2)] {
        plan.store(WEIGHT, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(1, weight))).is_err());
        assert_eq!((cache.get(&1), told.load(Ordering::Relaxed)), (Some(weight), count));
        cache.insert(2, 20 - weight);
        assert_eq!(cache.weight(), 20);
        cache.remove(&2);
        told.fetch_sub(1, Ordering::Relaxed);
        cache.validate();
    }
}

#[test]
fn a_policy_that_panics_while_dead_entries_are_removed_loses_none_of_them() {
    // All of them are due in a tick that has only begun, or long past.
    for (steps, after) in [(1, 10), (40, 10), (1, 20), (40, 20)] {
        let policy = Faulty::default();
        let (plan, ticker) = (Arc::clone(&policy.plan), ManualTicker::new());
        let cache = Cache::<u64, u64>::builder()
            .capacity(100)
            .stripes(1)
            .time_to_live(Duration::from_secs(10))
            .clock(ticker.clone())
            .policy(policy)
            .build();
        (0..40).for_each(|key| _ = cache.insert(key, key));
        ticker.advance(Duration::from_secs(after));
        for _ in 0..steps {
            plan.store(REMOVAL, Ordering::Relaxed);
            assert!(catch_unwind(AssertUnwindSafe(|| cache.run_maintenance())).is_err());
        }
        cache.run_maintenance();
        assert_eq!(cache.len(), 0, "after {steps} panics, {after} s");
        cache.validate();
    }
}

#[test]
fn panics_at_moves_that_panic_once_more_when_dropped_double_no_entry() {
    let (policy, counted) = (Faulty::default(), Arc::new(()));
    let plan = Arc::clone(&policy.plan);
    let cache =
        Cache::<u64, Arc<()>>::builder().capacity(100_000).stripes(1).policy(policy).build();
    (0..600).for_each(|key| _ = cache.insert(key, Arc::clone(&counted)));
    plan.store(MOVES, Ordering::Relaxed);
    let mut panics = 0;
    for key in 600..800 {
        let value = Arc::clone(&counted);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| cache.insert(key, value))) {
            std::mem::forget(panic);
            panics += 1;
        }
    }
    plan.store(0, Ordering::Relaxed);
    assert!(panics > 10, "buckets were split");
    assert_eq!(Arc::strong_count(&counted), 1 + cache.len(), "one for each entry");
    cache.validate();
    drop(cache);
    assert_eq!(Arc::strong_count(&counted), 1);
}
