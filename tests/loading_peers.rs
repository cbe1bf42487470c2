//! How caches lose values, hang or serve what was removed, when loads meet cancellation, panics and
//! writes: a test for each way that was seen in another cache (named where it is), and for each that
//! was found here.

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

#[path = "common/numbers.rs"]
mod numbers;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, OnceLock, Weak, atomic::Ordering::SeqCst},
    task::Poll,
    time::Duration,
};

use larder::{
    Cache, Compute, LoadError, LoadingCache, WhenFull,
    loader::{Loaded, Loader},
    time::ManualTicker,
};
use numbers::{Numbers, Plain, ask, cache, get, loading, refresh};
use tasks::{Gate, Task};

/// Runs a closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What was removed while an entry computed it is not stored: there is no version by which to see
/// that something came and went.
#[test]
fn a_removal_during_a_computation_of_an_absent_key_wins_p16() {
    let ways: &[fn(&Plain)] = &[
        |cache| drop(cache.remove("a")),
        |cache| {
            cache.insert("a".into(), 2);
            cache.remove("a");
        },
        Cache::clear,
        |cache| cache.retain(|_, _| true),
        |cache| drop(cache.remove_tag(&1)),
        |cache| {
            cache.insert("b".into(), 1);
            cache.remove_tag(&1);
        },
    ];
    for overtake in ways {
        let cache = cache();
        let computed = cache.entry("a".into()).compute(|_| {
            overtake(&cache);
            Compute::Put(1)
        });
        assert_eq!((computed, cache.get("a")), (Some(1), None));
        let loaded = cache.entry("a".into()).or_insert_with(|| {
            overtake(&cache);
            1
        });
        assert_eq!((loaded, cache.get("a")), (1, None));
        cache.validate();
    }
}

/// A load that is dropped is gone before another may begin: what it holds (a lock on a file, a
/// transaction) is free for the next.
#[test]
fn a_dropped_load_ends_before_the_next_begins_p15() {
    let cache = cache();
    let (seen, told) = std::sync::mpsc::channel();
    let mut led = Task::new({
        let cache = cache.clone();
        async move {
            let other = cache.clone();
            let load = async move {
                let _held = OnDrop(move || {
                    let load = || Ok::<_, ()>(2);
                    seen.send(other.try_get_or_insert_within("a", Duration::ZERO, load)).unwrap();
                });
                std::future::pending::<u32>().await
            };
            cache.get_or_insert_async("a", load).await
        }
    });
    assert!(led.poll().is_pending());
    drop(led);
    assert_eq!(told.recv(), Ok(Err(LoadError::Reentrant)), "the first is still there");
    assert_eq!(cache.get_or_insert_with("a", || 3), 3);
}

/// Who asked for a reload gets one, even if the first who asked is gone or was overtaken: the old
/// value is not what he wants.
#[test]
fn a_reload_that_is_taken_over_is_made() {
    let numbers = Numbers::open();
    let cache = loading(&numbers);
    assert_eq!(cache.get("a"), Ok(1));
    // The load under way is overtaken before the second comes.
    let gate = numbers.close();
    let (mut first, mut second) = (refresh(&cache, "a"), refresh(&cache, "a"));
    assert!(first.poll().is_pending());
    cache.insert("a".into(), 100);
    assert!(second.poll().is_pending());
    gate.open();
    assert_eq!(first.poll(), Poll::Ready(Ok(2)));
    assert_eq!(second.poll(), Poll::Ready(Ok(3)));
    assert_eq!(cache.get_if_present("a"), Some(3));
    cache.validate();
    assert_eq!(cache.flights(), 0);
    // What was to be done in the background never was.
    let options = Cache::<String, u32>::builder().capacity(100).loader(Numbers::open());
    let cache = options.spawner(drop).build();
    assert_eq!(cache.get("a"), Ok(1));
    assert_eq!(cache.refresh("a"), Ok(2));
}

/// Who asks after a tag was removed is not given what a load under way brings, whether or not any
/// entry had the tag before; but what turns out not to have it is stored.
#[test]
fn who_asks_after_the_removal_of_a_tag_gets_a_fresh_load_p16() {
    for is_known in [false, true] {
        let numbers = Numbers::open();
        let options = Cache::<String, u32>::builder().capacity(100).tags(|_, &value| [value % 2]);
        let cache = options.loader(numbers.clone()).build();
        if is_known {
            cache.insert("b".into(), 11);
        }
        let gate = numbers.close();
        let (mut before, mut other) = (get(&cache, "a"), get(&cache, "c"));
        assert!(before.poll().is_pending() && other.poll().is_pending());
        assert_eq!(cache.remove_tag(&1_u32), is_known);
        let mut after = get(&cache, "a");
        assert!(after.poll().is_pending());
        gate.open();
        assert_eq!(before.poll(), Poll::Ready(Ok(1)));
        assert_eq!(after.poll(), Poll::Ready(Ok(3)), "loaded before the tag was removed");
        assert_eq!(other.poll(), Poll::Ready(Ok(2)));
        assert_eq!(cache.get_if_present("c"), is_known.then_some(2));
        assert_eq!(cache.get_if_present("a"), Some(3));
        assert_eq!(cache.flights(), 0);
        cache.validate();
    }
}

/// A loader that waits at a gate of each key's own.
#[derive(Clone, Default)]
struct Gated(Arc<Mutex<HashMap<String, Gate>>>);

impl Gated {
    fn gate(&self, key: &str) -> Gate {
        self.0.lock().unwrap().entry(key.to_owned()).or_default().clone()
    }
}

/// Asks for `b` from within the load of `a`.
struct Nested {
    gated: Gated,
    cache: OnceLock<Weak<LoadingCache<String, u32, Nested>>>,
}

impl Loader<String, u32> for Nested {
    type Error = &'static str;

    async fn load(&self, key: &String) -> Result<Loaded<u32>, Self::Error> {
        self.gated.gate(key).pass().await;
        if key != "a" {
            return Ok(1.into());
        }
        let cache = self.cache.get().unwrap().upgrade().unwrap();
        let other = cache.get_async("b").await.map_err(|_| "nested")?;
        Ok((other + 1).into())
    }
}

/// A load that may run asks for a key whose load waits in the queue for its turn: that one may pass,
/// or the two would wait for each other.
#[test]
fn a_load_that_needs_a_queued_one_does_not_wait_for_ever() {
    let gated = Gated::default();
    let loader = Nested { gated: gated.clone(), cache: OnceLock::new() };
    let cache = Cache::<String, u32>::builder().capacity(100).loader(loader);
    let cache = Arc::new(cache.max_loads(1, WhenFull::Queue).build());
    cache.loader().cache.set(Arc::downgrade(&cache)).unwrap();
    let ask = |key: &'static str| {
        let cache = Arc::clone(&cache);
        Task::new(async move { cache.get_async(key).await })
    };
    let (mut a, mut b) = (ask("a"), ask("b"));
    assert!(a.poll().is_pending() && b.poll().is_pending());
    gated.gate("b").open();
    gated.gate("a").open();
    for _ in 0..4 {
        if let Poll::Ready(a) = a.poll() {
            assert_eq!(a, Ok(2));
            assert_eq!(b.poll(), Poll::Ready(Ok(1)));
            return;
        }
    }
    panic!("the two wait for each other");
}

/// An insert during a load wins, whoever leads when. foyer-rs/foyer#1289 and #1310: a leader that was
/// overtaken put its own value over it; moka, fibre_cache and `RTCache` stored it in any case.
/// MystenLabs/sui#20236: users took for granted that one of the two excludes the other.
#[test]
fn an_insert_wins_over_a_load_that_changes_hands_p16() {
    let cache = cache();
    let gate = Gate::new();
    let load = |number| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            number
        }
    };
    let mut first = ask(&cache, "a", load(1));
    let mut second = ask(&cache, "a", load(2));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    cache.insert("a".into(), 10);
    // Who asks now is served at once, and the second finds the value when he takes over.
    assert_eq!(cache.get_or_insert_with("a", || unreachable!()), 10);
    drop(first);
    assert_eq!(second.poll(), Poll::Ready(10));
    let mut third = ask(&cache, "b", load(3));
    assert!(third.poll().is_pending());
    cache.insert("b".into(), 11);
    gate.open();
    assert_eq!(third.poll(), Poll::Ready(3), "who asked before gets what was loaded");
    assert_eq!(cache.get("b"), Some(11), "who asks later what was inserted");
}

/// Clearing a cache and asking it at the same time. maypok86/otter#137 and #139: it panicked, or the
/// load was not the only one.
#[test]
fn clearing_between_two_calls_makes_two_loads_p16() {
    let numbers = Numbers::default();
    let gate = numbers.close();
    let cache = loading(&numbers);
    let (mut before, mut after) = (get(&cache, "a"), get(&cache, "a"));
    assert!(before.poll().is_pending());
    cache.clear();
    assert!(after.poll().is_pending());
    assert_eq!(numbers.loads.load(SeqCst), 1, "one at a time");
    gate.open();
    assert_eq!(before.poll(), Poll::Ready(Ok(1)));
    assert_eq!(after.poll(), Poll::Ready(Ok(2)));
    assert_eq!(cache.get_if_present("a"), Some(2));
}

/// Loads that ask for each other in a circle are told, at whatever distance. ben-manes/caffeine#89,
/// #160 and #209, jaemk/cached#174: they hung.
#[test]
fn a_circle_of_loads_is_reported_p14() {
    let cache = cache();
    let circle = cache.try_get_or_insert_with("a", || {
        cache.try_get_or_insert_with("b", || {
            cache.try_get_or_insert_with("c", || {
                cache.try_get_or_insert_with("a", || Ok::<u32, &str>(1)).map_err(
                    |error| match error {
                        LoadError::Reentrant => "reported",
                        _ => "otherwise",
                    },
                )
            })
        })
    });
    // Each load failed with the error of the one that it asked for.
    let failure = circle.as_ref().err().and_then(LoadError::failure);
    let failure = failure.and_then(LoadError::failure).and_then(LoadError::failure);
    assert_eq!(failure, Some(&"reported"));
    let other = cache.clone();
    let nested = async move {
        let nested = async { other.get_or_insert_async("a", async { 1 }).await };
        other.get_or_insert_async("b", nested).await
    };
    let mut task = ask(&cache, "a", nested);
    assert!(catch_unwind(AssertUnwindSafe(|| task.poll())).is_err());
    drop(task);
    assert_eq!(cache.flights(), 0);
    assert_eq!(cache.get_or_insert_with("a", || 1), 1);
}

/// Who waits for a load that panics is told so, or loads for himself; he does not panic too (as in
/// fibre_cache), nor hears of a channel that was closed (foyer-rs/foyer#1118).
#[test]
fn a_panic_is_the_callers_own_p13() {
    struct Fragile(Gate);
    impl Loader<String, u32> for Fragile {
        type Error = ();
        async fn load(&self, _: &String) -> Result<Loaded<u32>, ()> {
            self.0.pass().await;
            resume_unwind(Box::new("as planned"))
        }
    }
    let gate = Gate::new();
    let loading = Cache::<String, u32>::builder().capacity(9).loader(Fragile(gate.clone())).build();
    let ask_it = || {
        let loading = loading.clone();
        Task::new(async move { loading.get_async("a").await })
    };
    let (mut first, mut second) = (ask_it(), ask_it());
    assert!(first.poll().is_pending() && second.poll().is_pending());
    gate.open();
    assert_eq!(second.poll(), Poll::Ready(Err(LoadError::Panicked)));
    assert_eq!(first.poll(), Poll::Ready(Err(LoadError::Panicked)));
    assert_eq!(loading.flights(), 0);
    let cache = cache();
    let gate = Gate::new();
    let held = gate.clone();
    let mut leader = ask(&cache, "a", async move {
        held.pass().await;
        resume_unwind(Box::new("as planned"))
    });
    let mut waiter = ask(&cache, "a", async { 2 });
    assert!(leader.poll().is_pending() && waiter.poll().is_pending());
    gate.open();
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    assert_eq!(waiter.poll(), Poll::Ready(2));
}

/// What is counted through an entry while others insert is never lost nor counted twice, and the
/// answer says what came of it. moka-rs/moka#574 and #593.
#[test]
fn a_computation_that_was_overtaken_changes_nothing() {
    let cache = cache();
    cache.insert("a".into(), 1);
    let computed = cache.entry("a".into()).compute(|count| {
        cache.insert("a".into(), 10);
        Compute::Put(count.unwrap() + 1)
    });
    assert_eq!((computed, cache.get("a")), (Some(2), Some(10)));
    let computed = cache.entry("a".into()).compute(|_| {
        cache.insert("a".into(), 20);
        Compute::Remove
    });
    assert_eq!((computed, cache.get("a")), (None, Some(20)));
}

/// A listener may load, even what is just leaving, and the notice says which value it is about.
/// moka-rs/moka#298, ben-manes/caffeine#1065: it could hang; rustfs/rustfs#4657: a notice of the old
/// value came while the new one was loaded, and was taken for its own.
#[test]
fn a_listener_may_load_what_leaves() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (log, own) = (Arc::clone(&told), Arc::new(OnceLock::<Plain>::new()));
    let cell = Arc::clone(&own);
    let ticker = ManualTicker::new();
    let cache: Plain = Cache::builder()
        .capacity(10)
        .stripes(1)
        .clock(ticker.clone())
        .time_to_live(Duration::from_secs(1))
        .on_removal(move |key: &String, value, removal| {
            log.lock().unwrap().push((*value, removal.version));
            if *value < 3 {
                let cache = cell.get().unwrap();
                cache.get_or_insert_with(key.as_str(), || value + 1);
            }
        })
        .build();
    own.set(cache.clone()).unwrap();
    cache.insert("a".into(), 1);
    cache.remove("a");
    assert_eq!(cache.get("a"), Some(2));
    ticker.advance(Duration::from_secs(2));
    // The one that expired is loaded by the listener when somebody comes across it.
    assert_eq!(cache.get_or_insert_with("a", || 5), 3);
    cache.run_maintenance();
    let told = told.lock().unwrap().clone();
    let values: Vec<u32> = told.iter().map(|&(value, _)| value).collect();
    assert_eq!(values, [1, 2], "each once");
    assert!(told[0].1 < told[1].1);
    assert_eq!(cache.get("a"), Some(3));
}

/// A removed tag that no entry has any more is not kept, but what was being loaded may have it.
#[test]
fn a_tag_that_was_forgotten_stays_removed_for_what_was_being_loaded_p16() {
    type Tagged = Cache<u64, u64>;
    let forget: [fn(&Tagged); 2] = [Tagged::run_maintenance, |cache| {
        // So many tags are new that room is made among them.
        (1000..3000).for_each(|key| drop(cache.insert(key, key)));
    }];
    for forget in forget {
        let cache = Cache::<u64, u64>::builder().capacity(10_000).tags(|_, &value| [value]).build();
        let overtake = || {
            cache.insert(1, 7);
            assert!(cache.remove_tag(&7_u64));
            forget(&cache);
            7
        };
        assert_eq!((cache.get_or_insert_with(&2, overtake), cache.peek(&2)), (7, None));
        let computed = cache.entry(3).or_insert_with(overtake);
        assert_eq!((computed, cache.peek(&3)), (7, None));
        // What has a tag that is known and was not removed is stored, and so is what begins now.
        cache.insert(4, 8);
        let other = cache.get_or_insert_with(&5, || overtake() + 1);
        assert_eq!((other, cache.peek(&5)), (8, Some(8)));
        cache.insert(6, 7);
        cache.get_or_insert_with(&7, || 7);
        assert_eq!((cache.peek(&6), cache.peek(&7)), (Some(7), Some(7)));
        cache.validate();
    }
}
