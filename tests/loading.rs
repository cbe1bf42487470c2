//! Read-through with closures and futures: one load per key, whatever happens to the callers.

#[path = "common/tasks.rs"]
mod tasks;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use larder::{Cache, LoadError, time::ManualTicker};
use tasks::{Gate, Task};

fn cache() -> Cache<String, u32> {
    Cache::builder().capacity(100).stats(true).build()
}

#[test]
fn a_hit_runs_nothing_and_a_miss_loads_and_stores() {
    let cache = cache();
    assert_eq!(cache.get_or_insert_with("a", || 1), 1);
    assert_eq!(cache.get_or_insert_with("a", || panic!("resident")), 1);
    assert_eq!(cache.get("a"), Some(1));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_successes, stats.misses, stats.hits), (1, 1, 1, 2));
}

#[test]
fn a_borrowed_key_becomes_whatever_the_cache_keeps() {
    let cache = Cache::<Arc<str>, usize>::new(10);
    assert_eq!(cache.get_or_insert_with("ada", || 3), 3);
    assert_eq!(cache.get_or_insert_with("ada", || unreachable!()), 3);
    let bytes = Cache::<Box<[u8]>, usize>::new(10);
    let loading = bytes.get_or_insert_async(&[1_u8, 2][..], async { 2 });
    assert_eq!(smol::block_on(loading), 2);
    assert_eq!(bytes.get(&[1_u8, 2][..]), Some(2));
}

#[test]
fn an_error_is_returned_and_not_stored() {
    let cache = cache();
    let failed = cache.try_get_or_insert_with("a", || Err::<u32, _>("no"));
    assert_eq!(failed, Err(LoadError::Failed(Arc::new("no"))));
    assert_eq!(cache.get("a"), None);
    assert_eq!(cache.try_get_or_insert_with("a", || Ok::<_, &str>(2)), Ok(2));
    assert_eq!(cache.stats().load_failures, 1);
}

/// Starts a thread that leads a load of "a" until told what to return.
fn lead(cache: &Cache<String, u32>) -> (mpsc::Sender<u32>, thread::JoinHandle<u32>) {
    let (tell, told) = mpsc::channel();
    let (started, is_started) = mpsc::channel();
    let cache = cache.clone();
    let leader = thread::spawn(move || {
        cache.get_or_insert_with("a", || {
            started.send(()).unwrap();
            told.recv().unwrap()
        })
    });
    is_started.recv().unwrap();
    (tell, leader)
}

/// Waits until so many callers have joined another's load.
fn await_coalesced(cache: &Cache<String, u32>, callers: u64) {
    while cache.stats().coalesced < callers {
        thread::yield_now();
    }
}

#[test]
fn threads_and_tasks_share_one_load_p15() {
    let cache = cache();
    let (tell, leader) = lead(&cache);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let cache = cache.clone();
            thread::spawn(move || cache.get_or_insert_with("a", || panic!("one load")))
        })
        .collect();
    let other = cache.clone();
    let mut task =
        Task::new(
            async move { other.get_or_insert_async("a", async { panic!("one load") }).await },
        );
    assert_eq!(task.poll(), Poll::Pending);
    await_coalesced(&cache, 5);
    tell.send(7).unwrap();
    assert_eq!(leader.join().unwrap(), 7);
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 7);
    }
    assert!(task.is_woken());
    assert_eq!(task.poll(), Poll::Ready(7));
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn errors_are_shared_by_those_who_expect_them() {
    let cache = cache();
    let gate = Gate::new();
    let led = Task::new({
        let (cache, gate) = (cache.clone(), gate.clone());
        async move {
            cache
                .try_get_or_insert_async("a", async {
                    gate.pass().await;
                    Err("down")
                })
                .await
        }
    });
    let same = Task::new({
        let cache = cache.clone();
        async move { cache.try_get_or_insert_async("a", async { Ok::<_, &str>(1) }).await }
    });
    let other = Task::new({
        let cache = cache.clone();
        async move { cache.try_get_or_insert_async("a", async { Ok::<_, u8>(2) }).await }
    });
    let (mut led, mut same, mut other) = (led, same, other);
    assert!(led.poll().is_pending());
    assert!(same.poll().is_pending());
    assert!(other.poll().is_pending());
    gate.open();
    assert_eq!(led.poll(), Poll::Ready(Err(LoadError::Failed(Arc::new("down")))));
    assert_eq!(same.poll(), Poll::Ready(Err(LoadError::Failed(Arc::new("down")))));
    assert_eq!(other.poll(), Poll::Ready(Ok(2)));
}

#[test]
fn a_dropped_leader_is_replaced_p17() {
    let cache = cache();
    let mut led = Task::new({
        let cache = cache.clone();
        async move { cache.get_or_insert_async("a", std::future::pending()).await }
    });
    let mut waiting = Task::new({
        let cache = cache.clone();
        async move { cache.get_or_insert_async("a", async { 2 }).await }
    });
    assert!(led.poll().is_pending());
    assert!(waiting.poll().is_pending());
    drop(led);
    assert!(waiting.is_woken());
    assert_eq!(waiting.poll(), Poll::Ready(2));
    assert_eq!(cache.get("a"), Some(2));
}

#[test]
fn a_panicking_leader_is_replaced_p17() {
    let cache = cache();
    let barrier = Arc::new(Barrier::new(2));
    let leader = thread::spawn({
        let (cache, barrier) = (cache.clone(), Arc::clone(&barrier));
        move || {
            cache.get_or_insert_with("a", || {
                barrier.wait();
                await_coalesced(&cache, 1);
                panic!("as planned")
            })
        }
    });
    barrier.wait();
    assert_eq!(cache.get_or_insert_with("a", || 3), 3);
    assert!(leader.join().is_err());
}

#[test]
fn a_waiter_gives_up_and_harms_nobody() {
    let ticker = ManualTicker::new();
    let cache =
        Cache::<String, u32>::builder().capacity(9).stats(true).clock(ticker.clone()).build();
    let (tell, leader) = lead(&cache);
    let waiter = thread::spawn({
        let cache = cache.clone();
        move || cache.try_get_or_insert_within("a", Duration::from_secs(1), || Ok::<_, ()>(0))
    });
    await_coalesced(&cache, 1);
    ticker.advance(Duration::from_secs(1));
    assert_eq!(waiter.join().unwrap(), Err(LoadError::TimedOut));
    tell.send(1).unwrap();
    assert_eq!(leader.join().unwrap(), 1);
    assert_eq!(cache.get("a"), Some(1));
}

#[test]
fn what_overtakes_a_load_wins_p16() {
    type Overtake = fn(&Cache<String, u32>);
    let ways: &[(&str, Overtake, Option<u32>)] = &[
        ("insert", |cache| assert_eq!(cache.insert("a".into(), 9), None), Some(9)),
        ("insert_if_absent", |cache| drop(cache.insert_if_absent("a".into(), 9)), Some(9)),
        ("remove", |cache| assert_eq!(cache.remove("a"), None), None),
        (
            "insert and remove",
            |cache| {
                cache.insert("a".into(), 9);
                cache.remove("a");
            },
            None,
        ),
        ("clear", Cache::clear, None),
        ("retain", |cache| cache.retain(|_, _| true), None),
        ("remove_tag", |cache| assert!(!cache.remove_tag("1")), None),
        ("capacity 0", |cache| cache.set_capacity(0), None),
    ];
    for stripes in [1, 8] {
        for &(name, overtake, left) in ways {
            let cache = Cache::<String, u32>::builder()
                .capacity(100)
                .stripes(stripes)
                .stats(true)
                .tags(|_, value| [value.to_string()])
                .build();
            let (tell, leader) = lead(&cache);
            let mut before = Task::new({
                let cache = cache.clone();
                async move { cache.get_or_insert_async("a", async { panic!("shared") }).await }
            });
            assert!(before.poll().is_pending());
            overtake(&cache);
            tell.send(1).unwrap();
            assert_eq!(leader.join().unwrap(), 1, "{name}: who asked before gets the value");
            assert_eq!(before.poll(), Poll::Ready(1), "{name}: so does who waited");
            assert_eq!(cache.get("a"), left, "{name}: but it is not stored");
            cache.validate();
        }
    }
}

#[test]
fn who_asks_after_a_removal_gets_a_fresh_load_p16() {
    let cache = cache();
    let (tell, leader) = lead(&cache);
    cache.remove("a");
    let mut after = Task::new({
        let cache = cache.clone();
        async move { cache.get_or_insert_async("a", async { 2 }).await }
    });
    assert!(after.poll().is_pending(), "one load at a time");
    tell.send(1).unwrap();
    assert_eq!(leader.join().unwrap(), 1);
    assert_eq!(after.poll(), Poll::Ready(2));
    assert_eq!(cache.get("a"), Some(2));
}

#[test]
fn asking_for_the_key_that_is_being_loaded_is_reported_p14() {
    let cache = cache();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        cache.get_or_insert_with("a", || cache.get_or_insert_with("a", || 1))
    }));
    assert!(panicked.is_err());
    let nested = Cell::new(None);
    let loaded = cache.try_get_or_insert_with("a", || {
        nested.set(Some(cache.try_get_or_insert_with("a", || Ok::<_, ()>(1))));
        Ok::<_, ()>(2)
    });
    assert_eq!((loaded, nested.take()), (Ok(2), Some(Err(LoadError::Reentrant))));
    let mut task = Task::new({
        let cache = cache.clone();
        async move {
            let inner =
                async { cache.try_get_or_insert_async("b", async { Ok::<_, ()>(1) }).await };
            cache
                .try_get_or_insert_async("b", inner)
                .await
                .map_err(|error| error.failure().cloned())
        }
    });
    assert_eq!(task.poll(), Poll::Ready(Err(Some(LoadError::Reentrant))));
    let held = cache.entry("c".into());
    assert_eq!(cache.try_get_or_insert_with("c", || Ok::<_, ()>(1)), Err(LoadError::Reentrant));
    assert_eq!(held.or_insert(3), 3);
}

#[test]
fn a_load_may_load_other_keys() {
    let cache = cache();
    let sum = cache.get_or_insert_with("sum", || {
        cache.get_or_insert_with("a", || 1) + cache.get_or_insert_with("b", || 2)
    });
    assert_eq!(sum, 3);
    assert_eq!(cache.len(), 3);
}

#[test]
fn entries_and_loads_exclude_each_other_p15() {
    let cache = cache();
    let running = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|i| {
            let (cache, running) = (cache.clone(), Arc::clone(&running));
            thread::spawn(move || {
                for round in 0..200 {
                    let load = || {
                        assert_eq!(running.fetch_add(1, SeqCst), 0, "two loads of one key");
                        thread::yield_now();
                        running.fetch_sub(1, SeqCst);
                        round
                    };
                    if i % 2 == 0 {
                        cache.get_or_insert_with("a", load);
                    } else {
                        cache.entry("a".into()).or_insert_with(load);
                    }
                    cache.remove("a");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    cache.validate();
}

#[test]
fn an_entry_shares_what_it_loads() {
    let cache = cache();
    let mut held = Task::new({
        let cache = cache.clone();
        async move {
            let entry = cache.entry_async("a".into()).await;
            let gate = Gate::new();
            gate.open();
            entry
                .or_insert_async(async {
                    gate.pass().await;
                    4
                })
                .await
        }
    });
    let first = held.poll();
    let mut waiting = Task::new({
        let cache = cache.clone();
        async move { cache.get_or_insert_async("a", async { 5 }).await }
    });
    if first.is_pending() {
        assert!(waiting.poll().is_pending());
        assert_eq!(held.poll(), Poll::Ready(4));
    }
    assert_eq!(waiting.poll(), Poll::Ready(4));
}

#[test]
fn keys_with_the_same_hash_do_not_share_p2() {
    #[derive(Clone, Default)]
    struct Constant;
    impl std::hash::Hasher for Constant {
        fn finish(&self) -> u64 {
            42
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let hasher = std::hash::BuildHasherDefault::<Constant>::default();
    let cache = Cache::<String, u32>::builder().capacity(9).hasher(hasher).build();
    let gate = Gate::new();
    let mut one = Task::new({
        let (cache, gate) = (cache.clone(), gate.clone());
        async move {
            cache
                .get_or_insert_async("one", async {
                    gate.pass().await;
                    1
                })
                .await
        }
    });
    let mut two = Task::new({
        let cache = cache.clone();
        async move { cache.get_or_insert_async("two", async { 2 }).await }
    });
    let mut also_one = Task::new({
        let cache = cache.clone();
        async move { cache.get_or_insert_async("one", async { panic!("shared") }).await }
    });
    assert!(one.poll().is_pending());
    assert!(also_one.poll().is_pending());
    assert!(two.poll().is_pending());
    gate.open();
    assert_eq!(one.poll(), Poll::Ready(1));
    assert_eq!(two.poll(), Poll::Ready(2));
    assert_eq!(also_one.poll(), Poll::Ready(1));
}

#[test]
fn a_shared_load_is_driven_by_any_who_wait_p17() {
    let cache = cache();
    let gate = Gate::new();
    let shared = |value: u32| {
        let (cache, pass) = (cache.clone(), gate.pass());
        Task::new(async move {
            let load = async move {
                pass.await;
                value
            };
            cache.get_or_insert_shared("a", load).await
        })
    };
    let (mut one, mut two) = (shared(1), shared(2));
    let other = cache.clone();
    let mut plain =
        Task::new(async move { other.get_or_insert_async("a", async { panic!("shared") }).await });
    assert!(one.poll().is_pending());
    assert!(two.poll().is_pending());
    assert!(plain.poll().is_pending());
    gate.open();
    // The first is never polled again, the second is gone.
    drop(two);
    assert_eq!(plain.poll(), Poll::Ready(1));
    assert_eq!(cache.get("a"), Some(1));
    assert_eq!(cache.flights(), 0);
    assert_eq!(one.poll(), Poll::Ready(1));
}

#[test]
fn futures_are_small() {
    let cache = cache();
    let load = cache.try_get_or_insert_async("a", async { Ok::<_, ()>(1) });
    assert!(size_of_val(&load) <= 256, "{} bytes", size_of_val(&load));
    let load = cache.get_or_insert_async("a", async { 1 });
    assert!(size_of_val(&load) <= 256, "{} bytes", size_of_val(&load));
    // The loader's own is there once.
    let large = [1; 1000];
    let shared = cache.get_or_insert_shared("a", async move { large[std::future::ready(1).await] });
    let most = 256 + size_of_val(&large) + 16;
    assert!(size_of_val(&shared) <= most, "{} bytes", size_of_val(&shared));
    fn is_send<T: Send>(_: &T) {}
    is_send(&load);
}
