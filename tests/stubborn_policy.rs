//! Custom policies that will not name who goes, or name the same entry for ever: no call waits for
//! them in vain.

mod common;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use common::Identity;
use larder::{
    Cache, RemovalCause, Slot,
    policy::{Fifo, Mark, Newcomer, Policy, Recorder, Residents},
};

/// First in, first out, unless it is stubborn.
#[derive(Debug, Default)]
struct Stubborn {
    policy: Fifo,
    stripe: u64,
    /// A bit for each stripe that names nobody.
    silent: Arc<AtomicU64>,
    /// Whether the first entry is named whatever is told of it.
    repeats: Arc<AtomicU64>,
    first: Option<Slot>,
    asked: u64,
    /// What it was told of entries that come, change and leave.
    told: Arc<Mutex<Vec<Notice>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Notice {
    Use,
    Insert { weight: u64, has_room: bool },
    Weight(u64, u64),
    Remove(RemovalCause),
}

/// Tells of uses among the rest.
#[derive(Debug)]
struct Telling(Arc<Mutex<Vec<Notice>>>);

impl Recorder for Telling {
    fn on_hit(&self, _: Slot, _: &Mark) -> bool {
        self.0.lock().unwrap().push(Notice::Use);
        false
    }
}

impl Policy for Stubborn {
    type Recorder = Telling;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        let stripe = |stripe| Self {
            stripe,
            silent: Arc::clone(&self.silent),
            repeats: Arc::clone(&self.repeats),
            told: Arc::clone(&self.told),
            ..Self::default()
        };
        (0..stripes as u64).map(stripe).collect()
    }

    fn recorder(&self) -> Self::Recorder {
        Telling(Arc::clone(&self.told))
    }

    fn on_insert(&mut self, newcomer: Newcomer, residents: &impl Residents) {
        let Newcomer { weight, has_room, .. } = newcomer;
        self.told.lock().unwrap().push(Notice::Insert { weight, has_room });
        self.first.get_or_insert(newcomer.slot);
        self.policy.on_insert(newcomer, residents);
    }

    fn on_weight(&mut self, slot: Slot, old: u64, new: u64) {
        self.told.lock().unwrap().push(Notice::Weight(old, new));
        self.policy.on_weight(slot, old, new);
    }

    fn on_remove(&mut self, slot: Slot, cause: RemovalCause, residents: &impl Residents) {
        self.told.lock().unwrap().push(Notice::Remove(cause));
        if self.repeats.load(Ordering::Relaxed) == 0 {
            self.policy.on_remove(slot, cause, residents);
        }
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        self.policy.on_move(from, to);
    }

    fn victim(&mut self, residents: &impl Residents) -> Option<Slot> {
        self.asked += 1;
        assert!(self.asked < 1000, "asked without end");
        if self.silent.load(Ordering::Relaxed) & 1 << self.stripe != 0 {
            None
        } else if self.repeats.load(Ordering::Relaxed) > 0 {
            self.first
        } else {
            self.policy.victim(residents)
        }
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
}

type Told = Arc<Mutex<Vec<(u64, RemovalCause)>>>;

/// A cache for ten entries of weight 1, whose keys say in which stripe they are.
fn cache(stripes: usize) -> (Cache<u64, u64, Stubborn, Identity>, Arc<AtomicU64>, Told) {
    let (policy, told) = (Stubborn::default(), Told::default());
    let (silent, seen) = (Arc::clone(&policy.silent), Arc::clone(&told));
    let cache = Cache::<u64, u64>::builder()
        .capacity(10)
        .stripes(stripes)
        .hasher(Identity::default())
        .weigher(|_, &value| value)
        .on_removal(move |&key, _, removal| seen.lock().unwrap().push((key, removal.cause)))
        .policy(policy)
        .build();
    (cache, silent, told)
}

fn key(stripe: u64, number: u64) -> u64 {
    stripe << 32 | number
}

#[test]
fn a_smaller_capacity_is_not_waited_for_where_nobody_is_named() {
    for stripes in [1, 4] {
        let (cache, silent, _) = cache(stripes);
        (0..10).for_each(|number| _ = cache.insert(key(0, number), 1));
        silent.store(!0, Ordering::Relaxed);
        cache.set_capacity(5);
        assert_eq!((cache.weight(), cache.capacity()), (10, 10));
        (0..4).for_each(|number| _ = cache.remove(&key(0, number)));
        assert_eq!((cache.weight(), cache.capacity()), (6, 6));
        silent.store(0, Ordering::Relaxed);
        cache.insert(key(0, 99), 1);
        cache.set_capacity(5);
        assert_eq!((cache.weight(), cache.capacity()), (5, 5));
        cache.validate();
    }
}

#[test]
fn what_needs_room_that_no_stripe_gives_is_refused() {
    let (cache, silent, told) = cache(4);
    (0..9).for_each(|number| _ = cache.insert(key(0, number), 1));
    cache.insert(key(1, 0), 1);
    silent.store(!0, Ordering::Relaxed);
    cache.insert(key(2, 0), 1);
    assert_eq!(cache.get(&key(2, 0)), None);
    assert_eq!(cache.insert(key(1, 0), 2), Some(1), "no older value is left behind");
    assert_eq!(cache.get(&key(1, 0)), None);
    let refused = [(key(2, 0), RemovalCause::Rejected), (key(1, 0), RemovalCause::Rejected)];
    let replaced = (key(1, 0), RemovalCause::Replaced);
    assert_eq!(*told.lock().unwrap(), [refused[0], replaced, refused[1]]);
    assert_eq!((cache.len(), cache.weight()), (9, 9));
    cache.validate();
}

#[test]
fn a_stripe_that_gives_no_room_leaves_it_to_others() {
    let (cache, silent, _) = cache(4);
    (0..7).for_each(|number| _ = cache.insert(key(0, number), 1));
    (0..3).for_each(|number| _ = cache.insert(key(1, number), 1));
    silent.store(1, Ordering::Relaxed);
    cache.insert(key(2, 0), 2);
    assert_eq!(cache.get(&key(2, 0)), Some(2));
    assert_eq!(cache.get(&key(1, 2)), Some(1), "the first two had to go");
    cache.set_capacity(8);
    assert!(cache.weight() <= 8 && cache.capacity() == 8);
    assert!((0..7).all(|number| cache.contains_key(&key(0, number))));
    cache.validate();
}

/// A cache for a weight of ten, in which values are what they weigh.
fn weighed(policy: Stubborn) -> Cache<u64, u64, Stubborn> {
    let builder = Cache::<u64, u64>::builder().capacity(10).stripes(1);
    builder.weigher(|_, &value| value).policy(policy).build()
}

#[test]
fn a_policy_that_names_an_updated_entry_again_is_told_so() {
    let policy = Stubborn::default();
    let repeats = Arc::clone(&policy.repeats);
    let cache = weighed(policy);
    cache.insert(1, 5);
    cache.insert(2, 5);
    repeats.store(1, Ordering::Relaxed);
    let panic = catch_unwind(AssertUnwindSafe(|| cache.insert(1, 8))).unwrap_err();
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("of whose removal it was told"), "{message}");
    assert_eq!((cache.get(&1), cache.get(&2), cache.weight()), (Some(5), Some(5), 10));
}

#[test]
fn a_policy_that_names_an_updated_entry_gets_it_back() {
    let policy = Stubborn::default();
    let told = Arc::clone(&policy.told);
    let cache = weighed(policy);
    cache.insert(1, 4);
    cache.insert(2, 6);
    told.lock().unwrap().clear();
    // 1 has been there longest.
    assert_eq!(cache.insert(1, 8), Some(4));
    assert_eq!((cache.peek(&1), cache.peek(&2)), (Some(8), None));
    let expected = [
        Notice::Remove(RemovalCause::Replaced),
        Notice::Remove(RemovalCause::Size),
        Notice::Insert { weight: 4, has_room: true },
        Notice::Use,
        Notice::Weight(4, 8),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    cache.validate();
}

#[test]
fn a_new_value_is_a_use() {
    let policy = Stubborn::default();
    let told = Arc::clone(&policy.told);
    let cache = Cache::<u64, u64>::builder().capacity(10).policy(policy).build();
    cache.insert(1, 4);
    told.lock().unwrap().clear();
    cache.insert(1, 5);
    assert_eq!(cache.replace_if(1, 6, |_| true), Ok(5));
    assert_eq!((cache.get(&1), cache.peek(&1)), (Some(6), Some(6)));
    assert_eq!(*told.lock().unwrap(), [Notice::Use; 3], "two writes and a look-up");
}
