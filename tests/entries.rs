//! Entries: what is computed from a value is stored if nobody else wrote meanwhile, and only then (P16).
//! Numbers are compared as they are, other values by their version, so all holds for both.

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Waker},
    thread,
    time::Duration,
};

use common::{Identity, for_each_kind};
use larder::{Cache, Compute, Expiry, RemovalCause, policy::AnyPolicy, time::ManualTicker};

trait Value: Clone + PartialEq + Debug + Send + Sync + 'static {}

impl<V: Clone + PartialEq + Debug + Send + Sync + 'static> Value for V {}

/// What somebody does to key 1 while it is computed, and what is there afterwards.
type Meanwhile<V> = (fn(&Cache<u64, V, AnyPolicy>), Option<V>);

/// Both for values that are compared as they are, and for such as take a version.
fn what_is_done_meanwhile_wins<V: Value>(five: &V, six: &V, meanwhile: &[Meanwhile<V>]) {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, V>(100).build();
        for (number, (act, left)) in meanwhile.iter().enumerate() {
            let at_first = || {
                cache.remove(&1);
                cache.insert(1, five.clone());
            };
            at_first();
            let changed = cache.entry(1).and_modify(|value| {
                act(&cache);
                *value = six.clone();
            });
            assert_eq!(changed.get(), Some(six), "{number}");
            // What was overtaken is not stored by a later step either.
            drop(changed.and_modify(|_| ()));
            assert_eq!(&cache.get(&1), left, "{number}: changed");
            at_first();
            let computed = cache.entry(1).compute(|_| {
                act(&cache);
                Compute::Put(six.clone())
            });
            assert_eq!(
                (computed.as_ref(), &cache.get(&1)),
                (Some(six), left),
                "{number}: computed"
            );
            at_first();
            let removed = cache.entry(1).compute(|_| {
                act(&cache);
                Compute::Remove
            });
            assert_eq!((removed, &cache.get(&1)), (None, left), "{number}: removed");
            cache.validate();
        }
    });
}

#[test]
fn what_is_done_while_an_entry_is_computed_wins_p16() {
    what_is_done_meanwhile_wins::<u64>(
        &5,
        &6,
        &[
            (|cache| drop(cache.insert(1, 9)), Some(9)),
            (|cache| drop(cache.insert(1, 5)), Some(5)),
            (|cache| drop(cache.remove(&1)), None),
            (|cache| cache.retain(|_, _| false), None),
            (
                |cache| {
                    cache.clear();
                    cache.insert(1, 5);
                },
                Some(5),
            ),
        ],
    );
    let owned = str::to_string;
    what_is_done_meanwhile_wins::<String>(
        &owned("5"),
        &owned("6"),
        &[
            (|cache| drop(cache.insert(1, "9".into())), Some(owned("9"))),
            (|cache| drop(cache.insert(1, "5".into())), Some(owned("5"))),
            (|cache| drop(cache.remove(&1)), None),
        ],
    );
}

#[test]
fn entries_are_counted_as_gets_and_inserts_are_p14() {
    for value in [5_u64, 6] {
        let cache = Cache::<u64, u64>::builder().capacity(10).stats(true).build();
        assert_eq!(cache.entry(1).and_modify(|_| ()).or_insert(5), 5);
        assert_eq!(cache.entry(1).and_modify(|count| *count = value).or_insert(0), value);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.inserts, stats.updates), (1, 1, 1, 1));
        assert_eq!(stats.removals[RemovalCause::Replaced].count, 1);
    }
}

#[test]
fn a_window_that_is_counted_in_ends_when_it_should_p9() {
    /// Keeps the deadline that an entry has.
    #[derive(Debug)]
    struct Window;
    impl Expiry<u64, u64> for Window {
        fn after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
            Some(Duration::from_secs(60))
        }
        fn after_update(&self, _: &u64, _: &u64, remaining: Option<Duration>) -> Option<Duration> {
            remaining
        }
    }
    for_each_kind(|kind| {
        let ticker = ManualTicker::new();
        let builder = kind.builder::<u64, u64>(10).clock(ticker.clone());
        let cache = builder.expiry(Window).build();
        let count = || cache.entry(1).and_modify(|count| *count += 1).or_insert(1);
        assert_eq!((count(), count()), (1, 2));
        ticker.advance(Duration::from_secs(59));
        assert_eq!(count(), 3);
        ticker.advance(Duration::from_secs(1));
        assert_eq!((count(), count()), (1, 2), "a new window");
        cache.validate();
    });
}

/// What somebody does to others while key 0 is computed.
type Elsewhere<V> = fn(&Cache<u64, V>);

fn what_is_done_elsewhere_does_not_matter<V: Value>(one: &V, two: &V) {
    let elsewhere: [Elsewhere<V>; 4] = [
        |cache| cache.retain(|_, _| true),
        |cache| cache.retain(|key, _| *key == 0),
        |cache| drop(cache.remove_tag(&1_u64)),
        |cache| drop(cache.remove_tag(&77_u64)),
    ];
    for (number, act) in elsewhere.iter().enumerate() {
        let cache = Cache::<u64, V>::builder().capacity(10).tags(|key: &u64, _: &V| [*key]).build();
        let plain = Cache::<u64, V>::builder().capacity(10).build();
        for cache in [&cache, &plain] {
            (0..3).for_each(|key| drop(cache.insert(key, one.clone())));
            let computed = cache.entry(0).compute(|_| {
                act(cache);
                Compute::Put(two.clone())
            });
            assert_eq!(
                (computed.as_ref(), cache.get(&0).as_ref()),
                (Some(two), Some(two)),
                "{number}"
            );
            cache.insert(1, one.clone());
            cache.entry(0).and_modify(|value| {
                act(cache);
                *value = one.clone();
            });
            assert_eq!(cache.get(&0).as_ref(), Some(one), "{number}");
        }
    }
}

#[test]
fn what_happens_to_other_keys_costs_no_count() {
    what_is_done_elsewhere_does_not_matter::<u64>(&1, &2);
    what_is_done_elsewhere_does_not_matter::<String>(&"1".into(), &"2".into());
}

/// A write that has told the flight there may be, and then waits until an entry has looked; what is
/// computed by that entry when it was done and `afterwards` has happened.
fn compute_beside_a_write<V: Value>(
    [five, six, nine]: [V; 3],
    time_to_live: Duration,
    afterwards: fn(&Cache<u64, V>, &ManualTicker, &V),
) {
    let (told, looked) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let is_armed = Arc::new(AtomicBool::new(false));
    let tags = {
        let (told, looked, is_armed) = (told.clone(), looked.clone(), is_armed.clone());
        move |_: &u64, _: &V| {
            if is_armed.swap(false, Ordering::SeqCst) {
                told.wait();
                looked.wait();
            }
            Vec::<u64>::new()
        }
    };
    let ticker = ManualTicker::new();
    let builder = Cache::<u64, V>::builder().capacity(10).clock(ticker.clone());
    let cache = builder.tags(tags).build();
    cache.insert(1, five.clone());
    is_armed.store(true, Ordering::SeqCst);
    let writer = {
        let cache = cache.clone();
        thread::spawn(move || cache.insert_with_ttl(1, nine, time_to_live))
    };
    told.wait();
    let entry = cache.entry(1);
    assert_eq!(entry.get(), Some(&five));
    let computed = entry.compute(|_| {
        looked.wait();
        assert_eq!(writer.join().unwrap(), Some(five));
        afterwards(&cache, &ticker, &six);
        assert_eq!(cache.get(&1), None);
        Compute::Put(six.clone())
    });
    assert_eq!((computed, cache.get(&1)), (Some(six), None));
}

fn compute_beside_writes<V: Value>(values: &[V; 3]) {
    // It only takes the old value out.
    compute_beside_a_write(values.clone(), Duration::ZERO, |_, _, _| ());
    // It is gone by then.
    let minute = Duration::from_secs(60);
    compute_beside_a_write(values.clone(), minute, |_, ticker, _| {
        ticker.advance(2 * Duration::from_secs(60))
    });
    compute_beside_a_write(values.clone(), minute, |cache, _, other| {
        (10..2000).for_each(|key| drop((cache.insert(key, other.clone()), cache.get(&key))));
    });
}

#[test]
fn nothing_is_computed_from_a_value_that_a_write_took_the_place_of_p16() {
    compute_beside_writes(&[5_u64, 6, 9]);
    compute_beside_writes(&["5", "6", "9"].map(String::from));
}

#[test]
fn a_step_that_was_refused_does_not_stop_the_next() {
    let cache = Cache::<u64, u64>::builder().capacity(10).weigher(|_, &value| value).build();
    cache.insert(1, 5);
    drop(cache.entry(1).and_modify(|value| *value = 100).and_modify(|value| *value = 6));
    assert_eq!(cache.get(&1), Some(6));
    let weigher = |_: &u64, value: &String| value.len() as u64;
    let cache = Cache::<u64, String>::builder().capacity(10).weigher(weigher).build();
    cache.insert(1, "x".into());
    let entry = cache.entry(1).and_modify(|value| *value = "x".repeat(100));
    assert_eq!(entry.compute(|_| Compute::Put("y".into())).as_deref(), Some("y"));
    assert_eq!(cache.get(&1).as_deref(), Some("y"));
}

#[test]
fn a_writer_that_panics_costs_no_count() {
    let weigher = |_: &u64, &value: &u64| if value == 99 { panic!("as planned") } else { 1 };
    let cache = Cache::<u64, u64>::builder().capacity(10).weigher(weigher).build();
    cache.insert(1, 5);
    cache.entry(1).compute(|_| {
        assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(1, 99))).is_err());
        Compute::Put(6)
    });
    assert_eq!(cache.get(&1), Some(6));
}

#[test]
fn neighbours_among_keys_that_are_their_own_hashes_do_not_matter() {
    let cache = Cache::<u64, u64>::builder().capacity(100).hasher(Identity::default()).build();
    for is_removed in [false, true] {
        cache.insert(2, 5);
        cache.insert(3, 5);
        cache.entry(2).compute(|_| {
            if is_removed {
                cache.retain(|key, _| *key != 3);
            } else {
                cache.insert(3, 5);
            }
            Compute::Put(6)
        });
        assert_eq!(cache.get(&2), Some(6));
        let held = cache.entry(2);
        assert_eq!(cache.entry(3).or_insert(7), cache.get(&3).unwrap());
        drop(held);
    }
}

#[test]
fn who_dates_and_weighs_is_asked_once() {
    #[derive(Debug, Default)]
    struct Counting(Arc<AtomicU64>);
    impl Expiry<u64, u64> for Counting {
        fn after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
            Some(Duration::from_secs(60))
        }
        fn after_update(&self, _: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
            self.0.fetch_add(1, Ordering::Relaxed);
            // Nearer than before, so that it cannot be done in place.
            Some(Duration::from_secs(30))
        }
    }
    for is_heard in [false, true] {
        let (dated, weighed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&weighed);
        let builder = Cache::<u64, u64>::builder().capacity(10).clock(ManualTicker::new());
        let builder = builder.expiry(Counting(Arc::clone(&dated))).weigher(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            1
        });
        let cache =
            if is_heard { builder.on_removal(|_, _, _| ()).build() } else { builder.build() };
        cache.insert(1, 1);
        weighed.store(0, Ordering::Relaxed);
        cache.entry(1).and_modify(|count| *count += 1);
        assert_eq!((dated.swap(0, Ordering::Relaxed), weighed.swap(0, Ordering::Relaxed)), (1, 1));
        cache.entry(1).compute(|_| Compute::Put(7));
        assert_eq!((dated.load(Ordering::Relaxed), weighed.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(cache.get(&1), Some(7));
    }
}

/// The way from an expiry back to its cache. To be cut at the end, as it closes a circle.
type WayBack<V> = Arc<Mutex<Option<Cache<u64, V>>>>;

/// An expiry that does something to the cache whenever a value is read.
struct OnRead<V> {
    cache: WayBack<V>,
    act: fn(&Cache<u64, V>),
}

impl<V: Value> Expiry<u64, V> for OnRead<V> {
    fn after_create(&self, _: &u64, _: &V) -> Option<Duration> {
        None
    }
    fn after_read(&self, _: &V, remaining: Option<Duration>) -> Option<Duration> {
        let cache = self.cache.lock().unwrap().clone();
        cache.iter().for_each(self.act);
        remaining
    }
    fn watches_reads(&self) -> bool {
        true
    }
}

fn acting_on_reads<V: Value>(value: V, act: fn(&Cache<u64, V>), test: impl FnOnce(&Cache<u64, V>)) {
    let way_back = WayBack::default();
    let expiry = OnRead { cache: Arc::clone(&way_back), act };
    let cache = Cache::<u64, V>::builder().capacity(10).stats(true).expiry(expiry).build();
    cache.insert(1, value);
    *way_back.lock().unwrap() = Some(cache.clone());
    test(&cache);
    drop(way_back.lock().unwrap().take());
}

#[test]
fn an_expiry_that_writes_what_is_read_keeps_nobody_looking() {
    let write = |cache: &Cache<u64, u64>| drop(cache.insert(1, 7));
    acting_on_reads(1, write, |cache| {
        assert_eq!(cache.entry(1).compute(|count| Compute::Put(count.unwrap() + 1)), Some(8));
        assert_eq!((cache.stats().hits, cache.peek(&1)), (1, Some(8)), "one use");
    });
    let write = |cache: &Cache<u64, String>| drop(cache.insert(1, "7".into()));
    acting_on_reads("1".to_string(), write, |cache| {
        assert_eq!(cache.entry(1).get().map(String::as_str), Some("7"));
        assert_eq!(cache.stats().hits, 1, "one use");
    });
}

#[test]
fn an_expiry_that_waits_for_the_entry_that_asks_it_is_told_so_p14() {
    let ask = |cache: &Cache<u64, u64>| {
        cache.remove(&1);
        cache.get_or_insert_with(&1, || 5);
    };
    acting_on_reads(1, ask, |cache| {
        let told = catch_unwind(AssertUnwindSafe(|| drop(cache.entry(1))));
        assert!(told.is_err());
        cache.insert(1, 1);
        let told = catch_unwind(AssertUnwindSafe(|| {
            let entry = pin!(cache.entry_async(1));
            entry.poll(&mut Context::from_waker(Waker::noop())).is_ready()
        }));
        assert!(told.is_err());
        assert_eq!(cache.flights(), 0);
    });
}
