//! Read-through and writing where the user's code panics, waits or calls back at an awkward moment:
//! each in the shape in which it once went wrong.

#[path = "common/tasks.rs"]
mod tasks;

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::Debug,
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use larder::{
    Cache, Compute, Expiry, LoadError, LoadingCache, WhenFull, WriteError,
    loader::{self, Loaded, Loader, Writer},
    policy::Lru,
    time::{ManualTicker, Ticker},
};
use tasks::{Gate, Task, in_time};

const SECOND: Duration = Duration::from_secs(1);

fn panics<T>(run: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

/// A store whose methods do their work when they are called, not when their futures are polled.
#[derive(Clone, Default)]
struct Store(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<HashMap<u32, u32>>,
    cache: OnceLock<LoadingCache<u32, u32, Store>>,
    /// Panics once it has written.
    breaks: AtomicBool,
    /// Asks the cache for the key that is being written.
    asks: AtomicBool,
}

impl Store {
    fn row(&self, key: u32) -> Option<u32> {
        self.0.rows.lock().unwrap().get(&key).copied()
    }
}

impl Loader<u32, u32> for Store {
    type Error = &'static str;

    fn load(&self, key: &u32) -> impl Future<Output = Result<Loaded<u32>, &'static str>> + Send {
        ready(Ok(self.row(*key).into()))
    }
}

impl Writer<u32, u32> for Store {
    type Error = &'static str;

    fn put(&self, key: &u32, value: &u32) -> impl Future<Output = Result<(), &'static str>> + Send {
        self.0.rows.lock().unwrap().insert(*key, *value);
        assert!(!self.0.breaks.load(Ordering::Relaxed), "as planned");
        if self.0.asks.load(Ordering::Relaxed) {
            let seen = self.0.cache.get().expect("set").get(key);
            assert!(matches!(seen, Err(LoadError::Reentrant)), "{seen:?}");
        }
        ready(Ok(()))
    }

    fn remove(&self, key: &u32) -> impl Future<Output = Result<(), &'static str>> + Send {
        self.0.rows.lock().unwrap().remove(key);
        assert!(!self.0.breaks.load(Ordering::Relaxed), "as planned");
        ready(Ok(()))
    }
}

#[test]
fn a_writer_that_panics_after_writing_leaves_no_old_value() {
    let store = Store::default();
    let cache = Cache::<u32, u32>::builder().capacity(10).loader(store.clone()).build();
    cache.put_through(1, 1).unwrap();
    store.0.breaks.store(true, Ordering::Relaxed);
    assert!(panics(|| cache.put_through(1, 2)));
    assert_eq!((store.row(1), cache.get(&1)), (Some(2), Ok(2)));
    assert!(panics(|| cache.remove_through(1)));
    assert_eq!((store.row(1), cache.get(&1)), (None, Err(LoadError::NotFound)));
    assert_eq!(cache.flights(), 0);
}

#[test]
fn a_writer_that_asks_for_the_key_it_writes_is_told_p14() {
    let store = Store::default();
    let cache = Cache::<u32, u32>::builder().capacity(10).loader(store.clone()).build();
    assert!(store.0.cache.set(cache.clone()).is_ok());
    store.0.asks.store(true, Ordering::Relaxed);
    let written = in_time(move || cache.put_through(1, 1));
    assert_eq!(written, Ok(None));
}

#[test]
fn a_weigher_that_panics_at_what_was_written_leaves_no_old_value_p13() {
    for is_behind in [false, true] {
        let store = Store::default();
        let cache = Cache::<u32, u32>::builder()
            .capacity(10)
            .weigher(|_, &value| if value == 13 { panic!("as planned") } else { 1 })
            .loader(store.clone())
            .build();
        cache.put_through(1, 1).unwrap();
        let put = || if is_behind { cache.put_behind(1, 13) } else { cache.put_through(1, 13) };
        assert!(panics(put));
        assert_eq!(cache.peek(&1), None);
        cache.flush();
        assert_eq!(store.row(1), Some(13));
        assert_eq!(cache.flights(), 0);
    }
}

#[test]
fn one_key_of_many_that_panics_keeps_none_of_the_others_from_coming() {
    let load = |&key: &u32| if key == 2 { panic!("as planned") } else { Ok::<u32, String>(key) };
    let cache = Cache::<u32, u32>::builder()
        .capacity(10)
        .stats(true)
        .loader(loader::blocking(load))
        .error_backoff(60 * SECOND, 60 * SECOND)
        .build();
    assert_eq!(cache.get_many([&1, &2, &3]), [Ok(1), Err(LoadError::Panicked), Ok(3)]);
    assert_eq!((cache.get(&1), cache.get(&2)), (Ok(1), Err(LoadError::Panicked)));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_successes, stats.load_failures), (3, 2, 1));
}

#[test]
fn loads_that_panic_count_as_failed() {
    let cache = Cache::<u32, u32>::builder().capacity(10).stats(true).build();
    fn fail() -> u32 {
        panic!("as planned")
    }
    assert!(panics(|| cache.get_or_insert_with(&1, fail)));
    assert!(panics(|| cache.entry(1).or_insert_with(fail)));
    for mut task in [
        Task::new({
            let cache = cache.clone();
            async move { _ = cache.get_or_insert_async(&1, async { fail() }).await }
        }),
        Task::new({
            let cache = cache.clone();
            async move { _ = cache.entry_async(1).await.or_insert_async(async { fail() }).await }
        }),
    ] {
        assert!(panics(|| task.poll()));
    }
    let load = async { Ok::<u32, ()>(fail()) };
    let own = cache.clone();
    let mut task = Task::new(async move { own.try_get_or_insert_shared(&1, load).await.is_err() });
    assert!(task.poll().is_ready());
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_successes, stats.load_failures), (5, 0, 5));
}

/// Of key 1 it waits until it may go on, then writes key 2, which others queue to load.
#[derive(Clone, Default)]
struct Writing {
    cache: Arc<OnceLock<LoadingCache<u32, u32, Self>>>,
    has_begun: Arc<AtomicBool>,
    goes_on: Arc<AtomicBool>,
    is_behind: bool,
}

impl Loader<u32, u32> for Writing {
    type Error = &'static str;

    async fn load(&self, &key: &u32) -> Result<Loaded<u32>, &'static str> {
        if key == 1 {
            self.has_begun.store(true, Ordering::Relaxed);
            while !self.goes_on.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            let cache = self.cache.get().expect("set");
            let written: Result<_, WriteError<_>> = match self.is_behind {
                true => cache.put_behind_async(2, 22).await,
                false => cache.put_through_async(2, 22).await,
            };
            assert!(written.is_ok());
        }
        Ok(key.into())
    }
}

impl Writer<u32, u32> for Writing {
    type Error = &'static str;

    async fn put(&self, _: &u32, _: &u32) -> Result<(), &'static str> {
        Ok(())
    }

    async fn remove(&self, _: &u32) -> Result<(), &'static str> {
        Ok(())
    }
}

#[test]
fn a_loader_that_writes_a_key_whose_load_waits_for_its_turn_need_not_wait_p14() {
    for is_behind in [false, true] {
        let writing = Writing { is_behind, ..Writing::default() };
        let cache = Cache::<u32, u32>::builder()
            .capacity(10)
            .loader(writing.clone())
            .max_loads(1, WhenFull::Queue)
            .build();
        assert!(writing.cache.set(cache.clone()).is_ok());
        let (one, two) = (cache.clone(), cache.clone());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(one.get(&1)));
        while !writing.has_begun.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let mut waits = Task::new(async move { two.get_async(&2).await });
        assert!(waits.poll().is_pending(), "there is one turn");
        writing.goes_on.store(true, Ordering::Relaxed);
        let (mut one, mut two) = (None, None);
        for _ in 0..2000 {
            if two.is_none()
                && let Poll::Ready(loaded) = waits.poll()
            {
                two = Some(loaded);
            }
            if one.is_some() && two.is_some() {
                break;
            }
            one = one.or(told.recv_timeout(Duration::from_millis(10)).ok());
        }
        assert_eq!(one, Some(Ok(1)), "hangs");
        assert!(matches!(two, Some(Ok(2 | 22))), "{two:?}");
    }
}

#[test]
fn a_listener_may_load_while_queued_writes_are_read_back_p14() {
    let slot: Arc<OnceLock<LoadingCache<u32, u32, Writing, Lru>>> = Arc::default();
    let is_armed = Arc::new(AtomicBool::new(false));
    let (cache, armed) = (Arc::clone(&slot), Arc::clone(&is_armed));
    let loading = Cache::<u32, u32>::builder()
        .capacity(1)
        .stripes(1)
        .policy(Lru::default())
        .on_removal(move |_, _, _| {
            if armed.swap(false, Ordering::Relaxed) {
                assert_eq!(cache.get().expect("set").get(&99), Ok(99));
            }
        })
        .loader(Writing::default())
        .max_loads(1, WhenFull::Queue)
        .build();
    assert!(slot.set(loading.clone()).is_ok());
    loading.put_behind(1, 1).unwrap();
    loading.put_behind(2, 2).unwrap();
    loading.insert(50, 50);
    is_armed.store(true, Ordering::Relaxed);
    let asking = loading.clone();
    assert_eq!(in_time(move || asking.get_many([&1, &2])), [Ok(1), Ok(2)]);
    assert!(!is_armed.load(Ordering::Relaxed), "the listener was told");
}

#[test]
fn who_has_no_patience_for_a_reload_gets_the_value_there_is() {
    let ticker = ManualTicker::new();
    let loads = AtomicUsize::new(0);
    let load = move |key: u32| {
        let is_first = loads.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if !is_first {
                pending::<()>().await;
            }
            Ok::<u32, ()>(key)
        }
    };
    let cache = Cache::<u32, u32>::builder()
        .capacity(10)
        .clock(ticker.clone())
        .time_to_live(60 * SECOND)
        .loader(loader::from_fn(load))
        .refresh_after(SECOND)
        .build();
    assert_eq!(cache.get(&1), Ok(1));
    ticker.advance(2 * SECOND);
    for _ in 0..3 {
        assert_eq!(cache.get_within(&1, Duration::ZERO), Ok(1));
    }
    ticker.advance(60 * SECOND);
    assert_eq!(cache.get_within(&1, Duration::ZERO), Err(LoadError::TimedOut));
}

#[test]
fn a_reload_that_is_refused_for_others_is_no_failure_of_the_loader() {
    let (ticker, gate) = (ManualTicker::new(), Gate::new());
    let loads = Arc::new(AtomicUsize::new(0));
    let (counted, passing) = (Arc::clone(&loads), gate.clone());
    let load = move |key: u32| {
        let passed = (key == 2).then(|| passing.pass());
        counted.fetch_add(usize::from(key == 1), Ordering::Relaxed);
        async move {
            if let Some(passed) = passed {
                passed.await;
            }
            Ok::<u32, ()>(key)
        }
    };
    let cache = Cache::<u32, u32>::builder()
        .capacity(10)
        .clock(ticker.clone())
        .time_to_live(1000 * SECOND)
        .loader(loader::from_fn(load))
        .refresh_after(SECOND)
        .error_backoff(60 * SECOND, 600 * SECOND)
        .max_loads(1, WhenFull::Fail)
        .build();
    assert_eq!(cache.get(&1), Ok(1));
    let other = cache.clone();
    let mut other = Task::new(async move { other.get_async(&2).await });
    assert!(other.poll().is_pending());
    ticker.advance(2 * SECOND);
    assert_eq!((cache.get(&1), loads.load(Ordering::Relaxed)), (Ok(1), 1));
    gate.open();
    assert!(other.poll().is_ready());
    assert_eq!((cache.get(&1), loads.load(Ordering::Relaxed)), (Ok(1), 2));
}

#[test]
fn what_expires_while_it_is_computed_loses_nothing() {
    let ticker = ManualTicker::new();
    let new = || {
        let builder = Cache::<u32, u32>::builder().capacity(10).clock(ticker.clone());
        builder.time_to_live(SECOND).tags(|_, _| [0]).build()
    };
    let cache = new();
    cache.insert(1, 1);
    let computed = cache.entry(1).compute(|value| {
        ticker.advance(2 * SECOND);
        Compute::Put(value.unwrap_or(0) + 1)
    });
    assert_eq!((computed, cache.get(&1)), (Some(2), Some(2)));
    let changed = cache.entry(1).and_modify(|value| {
        ticker.advance(2 * SECOND);
        *value += 1;
    });
    assert_eq!(changed.compute(|value| Compute::Put(value.unwrap() + 1)), Some(4));
    assert_eq!(cache.get(&1), Some(4));
    // One step after the other.
    cache.insert(1, 1);
    let changed = cache.entry(1).and_modify(|value| *value += 10);
    let computed = changed.compute(|value| {
        ticker.advance(2 * SECOND);
        Compute::Put(value.unwrap() + 1)
    });
    assert_eq!((computed, cache.get(&1)), (Some(12), Some(12)));
    // What is removed meanwhile wins, by its key as well as by its tag.
    let removals: [fn(&Cache<u32, u32>); 2] =
        [|cache| _ = cache.remove(&1), |cache| _ = cache.remove_tag(&0)];
    for remove in removals {
        let cache = new();
        cache.insert(1, 1);
        let computed = cache.entry(1).compute(|_| {
            ticker.advance(2 * SECOND);
            remove(&cache);
            Compute::Put(2)
        });
        assert_eq!((computed, cache.get(&1)), (Some(2), None));
    }
}

#[test]
fn what_is_computed_with_a_tag_that_is_removed_meanwhile_is_not_stored_p16() {
    for is_present in [false, true] {
        let tags = |_: &u32, value: &u32| (*value > 99).then_some(7);
        let cache = Cache::<u32, u32>::builder().capacity(10).tags(tags).build();
        cache.insert(9, 100);
        if is_present {
            cache.insert(1, 1);
        }
        let computed = cache.entry(1).compute(|_| {
            assert!(cache.remove_tag(&7));
            Compute::Put(101)
        });
        assert_eq!((computed, cache.get(&1)), (Some(101), is_present.then_some(1)));
        cache.validate();
    }
}

/// Loads by way of another's default `load_many`.
struct Outer;
struct Panicking;

impl Loader<u32, u32> for Panicking {
    type Error = ();

    async fn load(&self, _: &u32) -> Result<Loaded<u32>, ()> {
        panic!("as planned")
    }
}

impl Loader<u32, u32> for Outer {
    type Error = ();

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, ()> {
        Panicking.load_many(&[*key]).await?.pop().expect("one")
    }
}

#[test]
fn a_panic_stays_one_through_a_bulk_of_another_loader() {
    let builder = Cache::<u32, u32>::builder().capacity(10).loader(Outer);
    assert_eq!(builder.negative_ttl(SECOND).build().get(&1), Err(LoadError::Panicked));
}

/// A clock behind a lock, which a panic poisons.
#[derive(Clone, Debug, Default)]
struct Locked(Arc<Mutex<Duration>>);

impl Ticker for Locked {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

#[test]
fn a_clock_that_panics_while_a_load_does_aborts_nothing_p13() {
    let clock = Locked::default();
    let cache = Cache::<u32, u32>::builder().capacity(10).stats(true).clock(clock.clone()).build();
    let load = || -> u32 {
        let _held = clock.0.lock().unwrap();
        panic!("as planned")
    };
    assert!(panics(|| cache.get_or_insert_with(&1, load)));
    assert_eq!(cache.flights(), 0);
}

/// An entry lives for a minute, or until it is read.
#[derive(Debug)]
struct Once;

impl Expiry<u32, u32> for Once {
    fn after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
        Some(60 * SECOND)
    }

    fn after_read(&self, _: &u32, _: Option<Duration>) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn watches_reads(&self) -> bool {
        true
    }
}

#[test]
fn an_entry_whose_lifetime_ends_as_it_is_read_was_read() {
    let cache = Cache::<u32, u32>::builder().capacity(10).stats(true).expiry(Once).build();
    cache.insert(1, 7);
    assert_eq!(cache.entry(1).get(), Some(&7));
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 0));
    assert_eq!(cache.peek(&1), None);
}

struct Last(Cache<u32, u32>);

impl Drop for Last {
    fn drop(&mut self) {
        assert_eq!(self.0.get_or_insert_with(&2, || 2), 2);
    }
}

#[test]
fn a_thread_s_last_destructors_may_load() {
    thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let cache = Cache::<u32, u32>::new(10);
    let own = cache.clone();
    let thread = thread::spawn(move || {
        LAST.set(Some(Last(own.clone())));
        // So that what is the cache's own goes before.
        own.get_or_insert_with(&1, || 1);
    });
    thread.join().unwrap();
    assert_eq!(cache.get(&2), Some(2));
}
