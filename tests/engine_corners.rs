//! Corners of the engine: panics on top of panics, lifetimes that change as they are asked for.

mod common;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Ledger, Token};
use larder::{Cache, Compute, Expiry, RemovalCause, time::ManualTicker};

/// What a panic may carry: its drop panics too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("planned");
    }
}

#[test]
fn every_value_is_dropped_though_the_panics_of_their_drops_panic_when_dropped_p12() {
    #[derive(Clone)]
    struct Brittle(Arc<AtomicU64>);
    impl Drop for Brittle {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            if !std::thread::panicking() {
                panic_any(Bomb);
            }
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let cache = Cache::<u64, Brittle>::builder().capacity(100).stripes(1).build();
    (0..12).for_each(|key| _ = cache.insert(key, Brittle(Arc::clone(&dropped))));
    let panic = catch_unwind(AssertUnwindSafe(|| drop(cache))).expect_err("the first is passed on");
    std::mem::forget(panic);
    assert_eq!(dropped.load(Ordering::Relaxed), 12);
}

type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Values live as many seconds as they say, anew with each read. While it is asked after a read it does
/// what is planned, as another thread might.
#[derive(Default)]
struct Sliding(Meanwhile);

impl<V: Clone + Into<Seconds>> Expiry<u64, V> for Sliding {
    fn after_create(&self, _: &u64, value: &V) -> Option<Duration> {
        Some(value.clone().into().0)
    }

    fn after_read(&self, value: &V, _: Option<Duration>) -> Option<Duration> {
        let planned = self.0.lock().unwrap().take();
        planned.into_iter().for_each(|meanwhile| meanwhile());
        Some(value.clone().into().0)
    }

    fn watches_reads(&self) -> bool {
        true
    }
}

/// What a value says of its lifetime.
struct Seconds(Duration);

impl From<u64> for Seconds {
    fn from(value: u64) -> Self {
        Self(Duration::from_secs(value))
    }
}

impl From<Arc<u64>> for Seconds {
    fn from(value: Arc<u64>) -> Self {
        Self(Duration::from_secs(*value))
    }
}

/// Runs `test` with a cache of such values, their clock, and what may be planned.
fn with_sliding<V>(test: impl Fn(&Cache<u64, V>, &ManualTicker, &Meanwhile))
where
    V: Clone + Into<Seconds> + Send + Sync + 'static,
{
    let (ticker, planned) = (ManualTicker::new(), Meanwhile::default());
    let expiry = Sliding(Arc::clone(&planned));
    let cache = Cache::builder().capacity(10).expiry(expiry).clock(ticker.clone()).build();
    test(&cache, &ticker, &planned);
    cache.validate();
}

fn a_read_leaves_what_came_meanwhile_alone<V>(value: fn(u64) -> V)
where
    V: Clone + Into<Seconds> + Send + Sync + 'static,
{
    with_sliding(|cache, ticker, planned| {
        cache.insert(1, value(3600));
        for _ in 0..3 {
            ticker.advance(Duration::from_secs(3599));
            assert!(cache.get(&1).is_some(), "each read begins its time anew");
        }
        let handle = cache.clone();
        *planned.lock().unwrap() = Some(Box::new(move || _ = handle.insert(1, value(1))));
        assert_eq!(cache.get(&1).unwrap().into().0, Duration::from_secs(3600));
        assert_eq!(cache.peek(&1).unwrap().into().0, Duration::from_secs(1));
        assert!(cache.expires_in(&1) <= Some(Duration::from_secs(1)), "{:?}", cache.expires_in(&1));
    });
    with_sliding(|cache, _, planned| {
        cache.insert(1, value(3600));
        let handle = cache.clone();
        let shorter = Duration::from_secs(7);
        *planned.lock().unwrap() = Some(Box::new(move || _ = handle.set_ttl(&1, shorter)));
        assert!(cache.get(&1).is_some());
        assert!(cache.expires_in(&1) <= Some(shorter), "a lifetime that was set meanwhile stays");
    });
}

#[test]
fn a_read_gives_its_lifetime_only_to_the_value_that_was_read_p9() {
    a_read_leaves_what_came_meanwhile_alone(|seconds| seconds);
    a_read_leaves_what_came_meanwhile_alone(Arc::new);
}

/// A time of an entry's own, and the cache's.
#[test]
fn no_read_makes_an_entry_outlive_a_time_to_live_p9() {
    let seconds = Duration::from_secs;
    with_sliding::<u64>(|cache, ticker, _| {
        cache.insert_with_ttl(1, 3600, seconds(10));
        cache.insert_with_ttl(2, 6, seconds(10));
        cache.insert(3, 3600);
        assert!(cache.set_ttl(&3, seconds(10)));
        cache.insert_with_ttl(4, 3600, seconds(10));
        cache.insert(4, 3600);
        let read = || (1..=4).filter(|key| cache.get(key).is_some()).collect::<Vec<_>>();
        for _ in 0..3 {
            ticker.advance(seconds(3));
            assert_eq!(read(), [1, 2, 3, 4], "reads prolong the second's time");
        }
        ticker.advance(seconds(1));
        assert_eq!(read(), [4], "which was replaced by one without such a time");
    });
    let ticker = ManualTicker::new();
    let builder = Cache::<u64, u64>::builder().capacity(10).expiry(Sliding::default());
    let cache = builder.time_to_live(seconds(10)).clock(ticker.clone()).build();
    cache.insert(1, 6);
    for _ in 0..3 {
        ticker.advance(seconds(3));
        assert_eq!(cache.get(&1), Some(6), "up to the cache's");
    }
    ticker.advance(seconds(1));
    assert_eq!(cache.get(&1), None);
    cache.validate();
}

#[test]
fn what_compute_answers_is_not_lost_if_the_drop_of_what_was_there_panics_p12() {
    /// Panics when so many of the first kind have been dropped.
    #[derive(Debug)]
    struct Brittle(u64, Arc<AtomicI64>, Token);
    impl Clone for Brittle {
        fn clone(&self) -> Self {
            Self(self.0, Arc::clone(&self.1), self.2.clone())
        }
    }
    impl Drop for Brittle {
        fn drop(&mut self) {
            assert!(self.0 != 1 || self.1.fetch_sub(1, Ordering::Relaxed) != 0, "planned");
        }
    }
    // The resident one, and the copy that was looked at.
    for nth in [0, 1] {
        let (ledger, fuse) = (Arc::new(Ledger::default()), Arc::new(AtomicI64::new(-1)));
        let value = |kind| Brittle(kind, Arc::clone(&fuse), Token::new(kind, &ledger));
        let cache = Cache::<u64, Brittle>::new(10);
        cache.insert(1, value(1));
        let computed = catch_unwind(AssertUnwindSafe(|| {
            cache.entry(1).compute(|seen| {
                drop(seen);
                fuse.store(nth, Ordering::Relaxed);
                Compute::Put(value(2))
            })
        }));
        fuse.store(-1, Ordering::Relaxed);
        assert!(computed.is_err());
        assert_eq!((cache.len(), ledger.live()), (1, 1), "drop {nth}");
    }
}

/// Counts when the cache cannot be called as it is dropped.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Calling(u64);

static CALLED: OnceLock<Cache<Calling, Fragile>> = OnceLock::new();
static REFUSED: AtomicU64 = AtomicU64::new(0);
static BREAKS: AtomicBool = AtomicBool::new(false);

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some(cache) = CALLED.get()
            && BREAKS.load(Ordering::Relaxed)
            && catch_unwind(AssertUnwindSafe(|| cache.set_capacity(20))).is_err()
        {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Cannot be cloned any more once it breaks.
struct Fragile;

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!BREAKS.load(Ordering::Relaxed), "planned");
        Self
    }
}

#[test]
fn no_copy_of_a_key_is_dropped_under_a_lock_p12() {
    let cache = CALLED.get_or_init(|| Cache::new(10));
    (0..3).for_each(|key| _ = cache.insert(Calling(key), Fragile));
    BREAKS.store(true, Ordering::Relaxed);
    let calls: [&dyn Fn(); 2] = [&|| _ = cache.iter().count(), &|| _ = cache.hottest(3)];
    for call in calls {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        assert_eq!(REFUSED.load(Ordering::Relaxed), 0);
    }
    BREAKS.store(false, Ordering::Relaxed);
    assert_eq!(cache.keys().count(), 3);
}

#[test]
fn what_a_condition_let_in_may_have_to_leave_at_once() {
    let none = Cache::<u64, u64>::new(0);
    assert_eq!((none.insert_if_absent(1, 3), none.get(&1)), (Ok(()), None));
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let cache = Cache::<u64, u64>::builder()
        .capacity(10)
        .weigher(|_, &value| value)
        .on_removal(move |_, &value, removal| seen.lock().unwrap().push((value, removal.cause)))
        .build();
    cache.insert(1, 3);
    assert_eq!(cache.replace_if(1, 11, |_| true), Ok(3));
    assert_eq!(cache.get(&1), None);
    told.lock().unwrap().sort_by_key(|&(value, _)| value);
    let causes = [(3, RemovalCause::Replaced), (11, RemovalCause::Rejected)];
    assert_eq!(*told.lock().unwrap(), causes);
}

#[test]
fn statistics_add_up() {
    let cache = Cache::<u64, u64>::builder().capacity(10).stats(true).build();
    cache.insert(1, 1);
    // They come in and leave.
    cache.insert_with_ttl(2, 2, Duration::ZERO);
    cache.insert_with_ttl(1, 2, Duration::ZERO);
    cache.insert(3, 3);
    let stats = cache.stats();
    let left: u64 = stats.removals.iter().map(|(_, removals)| removals.count).sum();
    assert_eq!(stats.inserts + stats.updates - left, cache.len() as u64, "{stats:?}");

    let read = catch_unwind(AssertUnwindSafe(|| cache.read(&3, |_| panic!("planned"))));
    assert!(read.is_err());
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 0), "it was found");
}
