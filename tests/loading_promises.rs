//! Read-through where two options or two callers meet: each keeps what its documentation promises.

#[path = "common/source.rs"]
mod source;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use larder::{
    Cache, Expiry, LoadError, LoadingCache, WhenFull,
    loader::{self, Loaded, Loader, Writer},
    time::{ManualTicker, Ticker},
};
use source::{Answer, SECOND, Setup, failed, get, plain, setup};
use tasks::{Gate, Task, in_time};

/// A bulk load drives all that it waits for, and keeps them from being dropped: whoever began them may be
/// gone, or not polled any more.
#[test]
fn a_bulk_drives_whatever_it_waits_for_p17() {
    let Setup { source, cache, .. } = plain();
    let first = source.close();
    let mut one = get(&cache, 1);
    assert!(one.poll().is_pending());
    let second = source.close();
    let mut two = get(&cache, 2);
    assert!(two.poll().is_pending());
    let third = source.close();
    let mut three = get(&cache, 3);
    assert!(three.poll().is_pending());
    let own = cache.clone();
    let mut many = Task::new(async move { own.get_many_async(&[1, 2, 3]).await });
    assert!(many.poll().is_pending());
    drop(three);
    second.open();
    assert!(many.is_woken(), "nobody else is polled");
    assert!(many.poll().is_pending());
    assert_eq!(cache.get_if_present(&2), Some(20));
    third.open();
    first.open();
    assert_eq!(many.poll(), Poll::Ready(vec![Ok(10), Ok(20), Ok(30)]));
    assert_eq!(source.calls(), [[1], [2], [3]], "none was thrown away and begun again");
    drop((one, two));
}

/// One of them may even hold what another needs.
#[test]
fn a_bulk_may_ask_in_any_order_p17() {
    for keys in [[1, 2], [2, 1]] {
        let Setup { source, cache, .. } =
            setup(|builder| builder, |loading| loading.max_loads(1, WhenFull::Queue));
        let gate = source.close();
        let (mut two, mut one) = (get(&cache, 2), get(&cache, 1));
        assert!(two.poll().is_pending(), "it is loaded");
        assert!(one.poll().is_pending(), "it queues");
        gate.open();
        let own = cache.clone();
        let values = in_time(move || own.get_many(&keys));
        assert_eq!(values, keys.map(|key| Ok(key * 10)));
        drop((one, two));
    }
}

/// Failures are counted however long they take and however seldom a key is asked for.
#[test]
fn back_off_grows_for_slow_loads_and_seldom_keys() {
    for (takes, pause) in [(SECOND * 5, SECOND / 4), (Duration::ZERO, SECOND * 3)] {
        let (ticker, calls) = (ManualTicker::new(), Arc::new(AtomicUsize::new(0)));
        let (slow, counted) = (ticker.clone(), Arc::clone(&calls));
        let load = loader::blocking(move |_: &u32| {
            counted.fetch_add(1, SeqCst);
            slow.advance(takes);
            Err::<u32, _>("down")
        });
        let builder = Cache::<u32, u32>::builder().capacity(100).clock(ticker.clone());
        let cache = builder.loader(load).error_backoff(SECOND, SECOND * 600).build();
        for _ in 0..600 {
            assert_eq!(cache.get(&1), Err(failed("down")));
            ticker.advance(pause);
        }
        let calls = calls.load(SeqCst);
        assert!((5..20).contains(&calls), "{calls} loads");
    }
}

/// A clock of the user's that goes on by itself, and tells nobody: by a millisecond for each look.
#[derive(Debug, Default)]
struct Restless(AtomicU64);

impl Ticker for Restless {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, SeqCst))
    }
}

const MOMENT: Duration = Duration::from_millis(5);

#[test]
fn loads_time_out_by_any_clock() {
    let load = loader::from_fn(|_: u32| pending::<Result<u32, &'static str>>());
    let builder = Cache::<u32, u32>::builder().capacity(10).clock(Restless::default());
    let cache = builder.loader(load).load_timeout(MOMENT).build();
    assert_eq!(in_time(move || cache.get(&1)), Err(LoadError::TimedOut));
}

/// A store that refuses the first write, and whose loads wait at a gate.
#[derive(Default)]
struct Store {
    writes: AtomicUsize,
    gate: Gate,
}

impl Loader<u32, u32> for Store {
    type Error = &'static str;

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, &'static str> {
        self.gate.pass().await;
        Ok((*key).into())
    }
}

impl Writer<u32, u32> for Store {
    type Error = &'static str;

    async fn put(&self, _: &u32, _: &u32) -> Result<(), &'static str> {
        if self.writes.fetch_add(1, SeqCst) == 0 { Err("not yet") } else { Ok(()) }
    }

    async fn remove(&self, _: &u32) -> Result<(), &'static str> {
        Ok(())
    }
}

#[test]
fn refused_writes_are_sent_again_by_any_clock() {
    let builder = Cache::builder().capacity(10).clock(Restless::default());
    let cache: LoadingCache<u32, u32, Store> =
        builder.loader(Store::default()).write_retry(MOMENT, MOMENT).build();
    assert_eq!(cache.put_behind(1, 1), Ok(None));
    let own = cache.clone();
    in_time(move || own.flush());
    assert_eq!(cache.loader().writes.load(SeqCst), 2);
}

/// What is queued to be written is no load, so none of those that may be under way.
#[test]
fn what_is_not_yet_written_is_found_however_many_loads_there_are() {
    let builder = Cache::<u32, u32>::builder().capacity(10);
    let cache = builder.loader(Store::default()).max_loads(1, WhenFull::Fail).build();
    assert_eq!(cache.put_behind(1, 100), Ok(None));
    cache.remove(&1);
    let own = cache.clone();
    let mut other = Task::new(async move { own.get_async(&2).await });
    assert!(other.poll().is_pending());
    assert_eq!(cache.get(&1), Ok(100));
    cache.remove(&1);
    assert_eq!(cache.get_many(&[1, 3]), [Ok(100), Err(LoadError::Overloaded)]);
}

/// Ten seconds from the first write on, which later ones do not prolong.
struct Fixed;

impl Expiry<u32, u32> for Fixed {
    fn after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
        Some(SECOND * 10)
    }

    fn after_update(&self, _: &u32, _: &u32, left: Option<Duration>) -> Option<Duration> {
        left
    }
}

/// A value that takes the place of one past its time is new, even if that was still of use.
#[test]
fn an_expiry_that_keeps_the_deadline_begins_anew_past_it() {
    for grace in [Duration::ZERO, SECOND * 60] {
        let Setup { source, ticker, cache } =
            setup(|builder| builder.expiry(Fixed), |loading| loading.stale_if_error(grace));
        assert_eq!(cache.get(&1), Ok(10));
        ticker.advance(SECOND * 4);
        assert_eq!(cache.refresh(&1), Ok(10));
        assert_eq!(cache.fresh_for(&1), Some(SECOND * 6));
        ticker.advance(SECOND * 7);
        source.say(1, Answer::Value(11));
        assert_eq!(cache.get(&1), Ok(11));
        assert_eq!(cache.fresh_for(&1), Some(SECOND * 10), "with a grace of {grace:?}");
    }
}

/// Who gives up waiting, or would wait for ever, gets what is kept for the case that loading fails.
#[test]
fn who_does_not_wait_gets_what_is_of_use() {
    let Setup { source, ticker, cache } = setup(
        |builder| builder.time_to_live(SECOND * 10),
        |loading| loading.stale_if_error(SECOND * 60),
    );
    assert_eq!(cache.get(&1), Ok(10));
    ticker.advance(SECOND * 11);
    let _gate = source.close();
    assert_eq!(cache.get_within(&1, Duration::ZERO), Ok(10));
    assert_eq!(cache.get_within(&2, Duration::ZERO), Err(LoadError::TimedOut));
    ticker.advance(SECOND * 60);
    assert_eq!(cache.get_within(&1, Duration::ZERO), Err(LoadError::TimedOut));
}

/// A spawner that panics, as that of a runtime does which is not there, is as good as none.
#[test]
fn a_spawner_that_panics_leaves_loads_to_those_who_wait() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let spawn = |is_gone: &Arc<AtomicBool>| {
        let is_gone = Arc::clone(is_gone);
        move |load: Pin<Box<dyn Future<Output = ()> + Send>>| {
            assert!(!is_gone.load(SeqCst), "as planned");
            assert!(Task::new(load).poll().is_ready());
        }
    };
    let Setup { source, ticker, cache } = setup(
        |builder| builder.time_to_live(SECOND * 10),
        |loading| loading.stale_while_revalidate(SECOND * 60).spawner(spawn(&is_gone)),
    );
    assert_eq!(cache.get(&1), Ok(10));
    is_gone.store(true, SeqCst);
    ticker.advance(SECOND * 12);
    source.say(1, Answer::Value(11));
    assert_eq!(cache.get(&1), Ok(10), "it is stale, and served");
    assert_eq!(cache.get(&2), Ok(20));
    assert_eq!(cache.get_many(&[2, 3]), [Ok(20), Ok(30)]);
    ticker.advance(SECOND * 60);
    assert_eq!(cache.get(&1), Ok(11));
    assert_eq!(cache.flights(), 0);
}

/// However late it is on an injected clock.
#[test]
fn values_run_out_after_centuries() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    for years in [8, 9, 10, 100, 500] {
        let Setup { source, ticker, cache } = setup(
            |builder| builder.time_to_live(SECOND),
            |loading| loading.stale_if_error(SECOND * 60),
        );
        ticker.advance(YEAR * years);
        assert_eq!(cache.get(&1), Ok(10));
        source.say(1, Answer::Lives(11, Duration::ZERO));
        assert_eq!(cache.get(&1), Ok(10));
        ticker.advance(SECOND * 2);
        assert_eq!(cache.get(&1), Ok(11), "after {years} years");
        source.say(1, Answer::Value(12));
        assert_eq!(cache.get(&1), Ok(12), "zero means at once");
    }
}
