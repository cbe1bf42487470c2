//! How caches lose values, hang or serve what was removed, when loads meet cancellation, panics and
//! writes: a test for each way that was seen in another cache (named where it is), and for each that
//! was found here.

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

#[path = "common/tasks.rs"]
mod tasks;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use larder::{
    Cache, Compute, LoadError, LoadingCache, WhenFull,
    loader::{Loaded, Loader},
};
use tasks::{Gate, Task};

type Plain = Cache<String, u32>;

fn cache() -> Plain {
    Cache::builder().capacity(100).stats(true).tags(|_, value: &u32| [*value]).build()
}

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
    assert_eq!(told.recv(), Ok(Err(LoadError::TimedOut)), "the first was still there");
    assert_eq!(cache.get_or_insert_with("a", || 3), 3);
}

/// Loads numbers: of each key the next one, once told so.
#[derive(Clone, Default)]
struct Numbers {
    gate: Arc<Mutex<Gate>>,
    loads: Arc<AtomicU32>,
}

impl Numbers {
    /// From now on loads wait at this gate.
    fn close(&self) -> Gate {
        let gate = Gate::new();
        *self.gate.lock().unwrap() = gate.clone();
        gate
    }

    fn open() -> Self {
        let numbers = Self::default();
        numbers.close().open();
        numbers
    }
}

impl Loader<String, u32> for Numbers {
    type Error = &'static str;

    async fn load(&self, _: &String) -> Result<Loaded<u32>, Self::Error> {
        let number = self.loads.fetch_add(1, SeqCst) + 1;
        let gate = self.gate.lock().unwrap().clone();
        gate.pass().await;
        Ok(number.into())
    }
}

type Loading = LoadingCache<String, u32, Numbers>;

fn loading(numbers: &Numbers) -> Loading {
    Cache::builder().capacity(100).stats(true).loader(numbers.clone()).build()
}

fn get(cache: &Loading, key: &'static str) -> Task<Result<u32, LoadError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.get_async(key).await })
}

fn refresh(cache: &Loading, key: &'static str) -> Task<Result<u32, LoadError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.refresh_async(key).await })
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
