//! Callers that wait for the same load: who comes, goes, gives up or is never polled again. A test for
//! each way in which another cache (named where it is) was seen to forget one.

#[path = "common/numbers.rs"]
mod numbers;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use larder::{Cache, LoadError, time::ManualTicker};
use numbers::{Numbers, ask, cache, get, loading};
use tasks::{Gate, Task};

/// A leader that is alive but never polled again holds up nobody, where the load can be shared.
/// moka-rs/moka#240: it held up everybody.
#[test]
fn a_leader_nobody_polls_holds_up_nobody_p17() {
    let cache = cache();
    let gate = Gate::new();
    let shared = |number| {
        let (cache, gate) = (cache.clone(), gate.clone());
        let load = async move {
            gate.pass().await;
            number
        };
        Task::new(async move { cache.get_or_insert_shared("a", load).await })
    };
    let (mut leader, mut waiter) = (shared(1), shared(2));
    assert!(leader.poll().is_pending() && waiter.poll().is_pending());
    gate.open();
    assert_eq!(waiter.poll(), Poll::Ready(1), "the leader was not polled again");
    let numbers = Numbers::default();
    let gate = numbers.close();
    let cache = loading(&numbers);
    let (mut leader, mut waiter) = (get(&cache, "a"), get(&cache, "a"));
    assert!(leader.poll().is_pending() && waiter.poll().is_pending());
    gate.open();
    assert_eq!(waiter.poll(), Poll::Ready(Ok(1)), "the leader was not polled again");
}

/// Callers who give up sooner than a load takes fill the cache all the same, as long as there is
/// always one. moka-rs/moka#240: each began anew, and the cache stayed empty.
#[test]
fn impatient_callers_fill_the_cache_p17() {
    let numbers = Numbers::default();
    let gate = numbers.close();
    let cache = loading(&numbers);
    let mut caller = get(&cache, "a");
    assert!(caller.poll().is_pending());
    for _ in 0..10 {
        let mut next = get(&cache, "a");
        assert!(next.poll().is_pending());
        caller = next;
    }
    gate.open();
    assert!(caller.is_woken());
    assert_eq!(caller.poll(), Poll::Ready(Ok(1)));
    assert_eq!((cache.get_if_present("a"), numbers.loads.load(SeqCst)), (Some(1), 1));
}

/// Any number of leaders may be dropped one after the other. moka gave up after 200.
#[test]
fn hundreds_of_dropped_leaders_are_replaced_p17() {
    let cache = cache();
    let mut waiting: Vec<_> = (0..300).map(|_| ask(&cache, "a", std::future::pending())).collect();
    waiting.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
    let mut last = ask(&cache, "a", async { 7 });
    assert!(last.poll().is_pending());
    while let Some(leader) = waiting.first_mut() {
        assert!(leader.poll().is_pending());
        drop(waiting.remove(0));
        assert!(last.is_woken());
        if let Some(next) = waiting.first_mut() {
            assert!(next.poll().is_pending());
            assert!(last.poll().is_pending());
        }
    }
    assert_eq!(last.poll(), Poll::Ready(7));
    assert_eq!(cache.flights(), 0);
}

/// Calls that expect different errors exclude each other like any. moka kept one list of waiters for
/// each type of error, and ran one load for each at the same time.
#[test]
fn loads_with_different_errors_exclude_each_other_p15() {
    let cache = cache();
    let gate = Gate::new();
    let held = gate.clone();
    let mut numbers = Task::new({
        let cache = cache.clone();
        async move {
            let load = async {
                held.pass().await;
                Err::<u32, u8>(1)
            };
            cache.try_get_or_insert_async("a", load).await
        }
    });
    assert!(numbers.poll().is_pending());
    let is_running = |error: LoadError<String>| error == LoadError::TimedOut;
    let words = cache.try_get_or_insert_within("a", Duration::ZERO, || Ok::<_, String>(2));
    assert!(words.is_err_and(is_running));
    let mut certain = ask(&cache, "a", async { 3 });
    assert!(certain.poll().is_pending());
    let mut entry = Task::new({
        let cache = cache.clone();
        async move { cache.entry_async("a".into()).await.or_insert(4) }
    });
    assert!(entry.poll().is_pending());
    gate.open();
    assert_eq!(numbers.poll(), Poll::Ready(Err(LoadError::Failed(Arc::new(1)))));
    assert_eq!(certain.poll(), Poll::Ready(3));
    assert_eq!(entry.poll(), Poll::Ready(3));
}

/// All who wait share a failure: one load, not one for each in turn (quick_cache) or for each at once
/// (pingora's `RTCache`).
#[test]
fn a_failure_is_shared_by_all_who_wait() {
    let numbers = Numbers::default();
    let gate = numbers.close();
    let cache = cache();
    let loads = Arc::new(AtomicU32::new(0));
    let fail = || {
        let (cache, gate, loads) = (cache.clone(), gate.clone(), Arc::clone(&loads));
        Task::new(async move {
            let load = async {
                loads.fetch_add(1, SeqCst);
                gate.pass().await;
                Err::<u32, &str>("down")
            };
            cache.try_get_or_insert_async("a", load).await
        })
    };
    let mut waiting: Vec<_> = (0..10).map(|_| fail()).collect();
    waiting.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
    gate.open();
    for task in &mut waiting {
        assert_eq!(task.poll(), Poll::Ready(Err(LoadError::Failed(Arc::new("down")))));
    }
    assert_eq!(loads.load(SeqCst), 1);
    // Ben-manes/caffeine#254: whoever looked just then saw the failed load as if it were an entry.
    assert_eq!((cache.get("a"), cache.len()), (None, 0));
}

/// The deadline of the first who asked is his own. In otter all who waited got his context's error,
/// and none could have a deadline of his own.
#[test]
fn one_callers_deadline_is_not_the_others_p17() {
    let numbers = Numbers::default();
    let gate = numbers.close();
    let ticker = ManualTicker::new();
    let cache = Cache::<String, u32>::builder().capacity(100).clock(ticker.clone());
    let cache = cache.loader(numbers.clone()).build();
    let mut waiter = get(&cache, "a");
    std::thread::scope(|scope| {
        // He asks first, for an hour.
        let hurried = scope.spawn(|| cache.get_within("a", Duration::from_secs(3600)));
        // The load is polled once to begin with, and then as one that others can drive on.
        while gate.polls() < 2 {
            std::thread::yield_now();
        }
        assert!(waiter.poll().is_pending());
        ticker.advance(Duration::from_secs(3600));
        assert_eq!(hurried.join().unwrap(), Err(LoadError::TimedOut));
    });
    assert_eq!(cache.get_within("a", Duration::ZERO), Err(LoadError::TimedOut));
    gate.open();
    assert_eq!(waiter.poll(), Poll::Ready(Ok(1)));
    assert_eq!(numbers.loads.load(SeqCst), 1);
}

/// A leader that is dropped when nobody waits leaves nothing behind. In pingora's `RTCache` its lock
/// stayed, and the key was never cached again.
#[test]
fn a_dropped_leader_leaves_nothing_behind_p17() {
    let cache = cache();
    for polls in 0..3 {
        let mut leader = ask(&cache, "a", std::future::pending());
        (0..polls).for_each(|_| assert!(leader.poll().is_pending()));
        drop(leader);
        assert_eq!(cache.flights(), 0);
    }
    let entry = cache.entry("a".into());
    drop(entry);
    assert_eq!(cache.flights(), 0);
    assert_eq!(cache.get_or_insert_with("a", || 1), 1);
    assert_eq!(cache.get("a"), Some(1));
}

/// Waiters that are dropped at any point leave nothing behind, nor take the wake-up of others with
/// them. arthurprs/quick-cache#104 and #120: a race of wakers, and a leak.
#[test]
fn dropped_waiters_leave_nothing_behind_p17() {
    for dropped in 0..4 {
        for lands in [true, false] {
            let cache = cache();
            let gate = Gate::new();
            let held = gate.clone();
            let mut leader = ask(&cache, "a", async move {
                held.pass().await;
                1
            });
            assert!(leader.poll().is_pending());
            let mut waiting: Vec<_> = (0..4).map(|_| ask(&cache, "a", async { 2 })).collect();
            waiting.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
            if lands {
                gate.open();
                assert_eq!(leader.poll(), Poll::Ready(1));
            } else {
                drop(leader);
            }
            // It was woken, and is never polled.
            drop(waiting.swap_remove(dropped));
            for task in &mut waiting {
                assert!(task.is_woken());
                assert_eq!(task.poll(), Poll::Ready(if lands { 1 } else { 2 }));
            }
            assert_eq!(cache.flights(), 0);
        }
    }
}

/// A task that moved to another executor is woken there. (The waker of the last poll counts.)
#[test]
fn the_waker_of_the_last_poll_is_woken_p17() {
    struct Flag(AtomicU32);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let flags = [(); 2].map(|()| Arc::new(Flag(AtomicU32::new(0))));
    for kind in 0..3 {
        let numbers = Numbers::default();
        let gate = numbers.close();
        let (plain, loading) = (cache(), loading(&numbers));
        let leader = gate.clone();
        let mut leader = ask(&plain, "a", async move {
            leader.pass().await;
            1
        });
        assert!(leader.poll().is_pending());
        let mut waiter: Pin<Box<dyn Future<Output = u32>>> = match kind {
            0 => Box::pin(plain.get_or_insert_async("a", async { 2 })),
            1 => Box::pin(async { plain.entry_async("a".into()).await.or_insert(2) }),
            _ => Box::pin(async { loading.get_async("a").await.unwrap() }),
        };
        for flag in &flags {
            let waker = Waker::from(Arc::clone(flag));
            assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let before = flags.each_ref().map(|flag| flag.0.load(SeqCst));
        gate.open();
        assert_eq!(leader.poll(), Poll::Ready(1));
        assert_eq!(flags[0].0.load(SeqCst), before[0], "a waker of long ago");
        assert!(flags[1].0.load(SeqCst) > before[1], "{kind}: forgotten");
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(waiter.as_mut().poll(&mut context), Poll::Ready(1));
    }
}
