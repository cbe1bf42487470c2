//! Corners of read-through: keys of one hash, crowds, writes that change nothing, what is counted.

mod common;
#[path = "common/tasks.rs"]
mod tasks;

use std::{convert::Infallible, future::pending, task::Poll, time::Duration};

use common::Constant;
use larder::{Cache, loader, policy::Adaptive, time::ManualTicker};
use tasks::{Gate, Task};

/// All keys have the same hash.
type Same = Cache<u64, u32, Adaptive, Constant>;

fn same(capacity: u64) -> Same {
    Cache::builder().capacity(capacity).hasher(Constant(7)).stats(true).build()
}

fn ask(cache: &Same, key: u64, load: impl Future<Output = u32> + 'static) -> Task<u32> {
    let cache = cache.clone();
    Task::new(async move { cache.get_or_insert_async(&key, load).await })
}

fn through(gate: &Gate, value: u32) -> impl Future<Output = u32> + Send + use<> {
    let passed = gate.pass();
    async move {
        passed.await;
        value
    }
}

/// Who takes a flight over, from a key with the same hash, gets what his own load gives, even if that
/// is not stored.
#[test]
fn a_shared_load_reaches_its_caller_whoever_else_has_its_hash_p17() {
    for capacity in [0, 10] {
        let cache = same(capacity);
        let (mut leader, mut waiter) = (ask(&cache, 2, pending()), ask(&cache, 2, pending()));
        let own = cache.clone();
        let mut own = Task::new(async move { own.get_or_insert_shared(&1, async { 5 }).await });
        let other = cache.clone();
        let failing = async { Err::<u32, _>("no") };
        let mut other = Task::new(async move { other.try_get_or_insert_shared(&3, failing).await });
        assert!(leader.poll().is_pending() && waiter.poll().is_pending());
        assert!(own.poll().is_pending() && other.poll().is_pending());
        drop(leader);
        assert_eq!(own.poll(), Poll::Ready(5));
        assert_eq!(cache.get(&1), (capacity > 0).then_some(5));
        let Poll::Ready(Err(failed)) = other.poll() else { panic!("nothing to wait for") };
        assert_eq!(failed.failure(), Some(&"no"));
        assert!(waiter.is_woken());
        drop(waiter);
        assert_eq!(cache.flights(), 0);
    }
}

/// A caller counts as one who shares a load once, however often it has to join one.
#[test]
fn who_joins_anew_is_counted_once() {
    let cache = same(10);
    let (first, second) = (Gate::new(), Gate::new());
    let mut leader = ask(&cache, 1, through(&first, 1));
    let mut heir = ask(&cache, 2, through(&second, 2));
    let mut waiter = ask(&cache, 2, pending());
    for task in [&mut leader, &mut heir, &mut waiter] {
        assert!(task.poll().is_pending());
    }
    first.open();
    assert_eq!(leader.poll(), Poll::Ready(1));
    assert!(heir.poll().is_pending() && waiter.poll().is_pending());
    second.open();
    assert_eq!(heir.poll(), Poll::Ready(2));
    assert_eq!(waiter.poll(), Poll::Ready(2));
    assert_eq!(cache.stats().coalesced, 2);
}

/// The same where the cache has a loader; and who only waits for another key's load shares none.
#[test]
fn who_waits_for_another_key_shares_no_load() {
    let gates = [Gate::new(), Gate::new()];
    let load = {
        let gates = gates.clone();
        move |key: u64| {
            let passed = through(&gates[key as usize], key as u32);
            async { Ok::<_, Infallible>(passed.await) }
        }
    };
    let cache = Cache::<u64, u32>::builder()
        .capacity(10)
        .hasher(Constant(7))
        .stats(true)
        .loader(loader::from_fn(load))
        .build();
    let get = |key: u64| {
        let cache = cache.clone();
        Task::new(async move { cache.get_async(&key).await })
    };
    let (mut leader, mut heir, mut waiter) = (get(0), get(1), get(1));
    for task in [&mut leader, &mut heir, &mut waiter] {
        assert!(task.poll().is_pending());
    }
    assert_eq!(cache.stats().coalesced, 0);
    gates[0].open();
    assert_eq!(leader.poll(), Poll::Ready(Ok(0)));
    assert!(heir.poll().is_pending() && waiter.poll().is_pending());
    gates[1].open();
    assert_eq!(heir.poll(), Poll::Ready(Ok(1)));
    assert_eq!(waiter.poll(), Poll::Ready(Ok(1)));
    assert_eq!((cache.stats().coalesced, cache.stats().loads), (1, 2));
}

/// Whatever the order in which a crowd comes, is polled and goes, nobody is forgotten.
#[test]
fn a_crowd_comes_and_goes_in_any_order_p17() {
    const CROWD: usize = 3000;
    let cache = same(10);
    let gate = Gate::new();
    let mut leader = ask(&cache, 1, pending());
    assert!(leader.poll().is_pending());
    let mut crowd: Vec<_> =
        (0..CROWD).map(|value| ask(&cache, 1, through(&gate, value as u32))).collect();
    crowd.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
    // Every third goes; those who come get the empty seats.
    let mut number = 0;
    crowd.retain(|_| {
        number += 1;
        number % 3 != 0
    });
    crowd.extend((0..CROWD / 6).map(|_| ask(&cache, 1, pending())));
    crowd.iter_mut().rev().for_each(|task| assert!(task.poll().is_pending()));
    drop(leader);
    assert!(crowd.iter().all(Task::is_woken));
    crowd.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
    gate.open();
    assert!(crowd[0].is_woken());
    assert!(crowd.iter_mut().all(|task| task.poll() == Poll::Ready(0)));
    assert_eq!(cache.flights(), 0);
}

/// A conditional write whose condition does not hold has changed nothing, so no load is overtaken.
#[test]
fn a_write_that_changes_nothing_overtakes_no_load_p16() {
    let cache = same(10);
    let gate = Gate::new();
    let mut load = ask(&cache, 1, through(&gate, 1));
    assert!(load.poll().is_pending());
    assert_eq!(cache.remove_if(&1, |_| true), None);
    assert_eq!(cache.replace_if(1, 9, |_| true), Err(9));
    assert_eq!(cache.replace_if_version(1, 9, 1), Err(9));
    gate.open();
    assert_eq!(load.poll(), Poll::Ready(1));
    assert_eq!(cache.get(&1), Some(1), "nothing overtook the load");
    assert_eq!(cache.stats().superseded, 0);
}

/// The same where an entry has expired and was not reclaimed yet.
#[test]
fn a_conditional_removal_of_what_is_dead_overtakes_no_load_p16() {
    let ticker = ManualTicker::new();
    let cache = Cache::<u64, u32>::builder()
        .capacity(10)
        .clock(ticker.clone())
        .time_to_live(Duration::from_millis(5))
        .stats(true)
        .build();
    cache.insert(1, 7);
    ticker.advance(Duration::from_millis(5));
    let load = || {
        assert_eq!(cache.len(), 1, "it is still there");
        assert_eq!(cache.remove_if(&1, |_| true), None);
        8
    };
    assert_eq!(cache.get_or_insert_with(&1, load), 8);
    assert_eq!(cache.get(&1), Some(8), "nothing overtook the load");
    assert_eq!(cache.stats().superseded, 0);
}

/// One whose condition holds overtakes a load like any.
#[test]
fn a_conditional_write_that_is_made_overtakes_a_load_p16() {
    for is_removed in [false, true] {
        let cache = same(10);
        let gate = Gate::new();
        let mut load = ask(&cache, 1, through(&gate, 1));
        assert!(load.poll().is_pending());
        assert_eq!(cache.insert_if_absent(1, 8), Ok(()));
        assert_eq!(cache.insert_if_absent(1, 7), Err((1, 7)));
        assert_eq!(cache.replace_if(1, 9, |&now| now == 8), Ok(8));
        assert_eq!(cache.remove_if(&1, |_| is_removed), is_removed.then_some(9));
        gate.open();
        assert_eq!(load.poll(), Poll::Ready(1));
        assert_eq!(cache.get(&1), (!is_removed).then_some(9));
        assert_eq!(cache.stats().superseded, 1);
    }
}

/// A loader that blocks is run where it is called, and its panic is an error like any.
#[test]
fn a_blocking_loader_that_panics_or_waits_after_all_leaves_nothing_behind_p13() {
    struct Odd;

    impl loader::Loader<u64, u32> for Odd {
        type Error = Infallible;
        const IS_BLOCKING: bool = true;

        async fn load(&self, key: &u64) -> Result<loader::Loaded<u32>, Infallible> {
            match key {
                0 => Ok(7.into()),
                1 => panic!("on purpose"),
                _ => pending().await,
            }
        }
    }

    let cache = Cache::builder().capacity(10).loader(Odd).build();
    assert_eq!(cache.get(&0), Ok(7));
    for key in [1, 2] {
        assert_eq!(cache.get(&key), Err(larder::LoadError::Panicked));
    }
    assert_eq!((cache.len(), cache.flights()), (1, 0));
}
