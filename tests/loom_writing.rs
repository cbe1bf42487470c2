//! Models of what a cache with a loader bounds and what it writes: the cap on loads, the write queue.
//! See `loom.rs`, which also says how to run them.

#![cfg(larder_loom)]

mod common;
#[path = "common/models.rs"]
mod models;

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use common::Identity;
use larder::{
    Cache, LoadingCache, WhenFull,
    loader::{Loaded, Loader, Writer},
    policy::Fifo,
    time::ManualTicker,
};
use loom::{sync::Mutex, thread};
use models::{key, model, together};

/// Keeps the newest value of one key, and all that were ever written.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Vec<u64>>>);

impl Store {
    fn written(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

impl Loader<u64, u64> for Store {
    type Error = Infallible;

    async fn load(&self, _: &u64) -> Result<Loaded<u64>, Infallible> {
        Ok(self.written().last().copied().into())
    }
}

impl Writer<u64, u64> for Store {
    type Error = Infallible;

    async fn put(&self, _: &u64, value: &u64) -> Result<(), Infallible> {
        self.0.lock().unwrap().push(*value);
        Ok(())
    }

    async fn remove(&self, _: &u64) -> Result<(), Infallible> {
        self.0.lock().unwrap().clear();
        Ok(())
    }
}

fn build<L: Loader<u64, u64>>(loader: L, most: usize) -> LoadingCache<u64, u64, L, Fifo, Identity> {
    Cache::<u64, u64>::builder()
        .capacity(4)
        .stripes(1)
        .policy(Fifo::default())
        .hasher(Identity::default())
        .clock(ManualTicker::new())
        .loader(loader)
        .max_loads(most, WhenFull::Queue)
        .build()
}

/// What was written behind before a flush is in the store when that returns, unless something newer is;
/// and the store ends with what the cache ends with.
#[test]
fn writing_behind_against_a_flush() {
    model(|| {
        let store = Store::default();
        let cache = build(store.clone(), 9);
        let (one, two) = (cache.clone(), cache.clone());
        let flushed = store.clone();
        together(
            move || {
                one.put_behind(key(0), 1).unwrap();
                one.flush();
                assert!(!flushed.written().is_empty(), "flushed, and not written");
            },
            move || {
                two.put_behind(key(0), 2).unwrap();
                assert!(two.get_if_present(&key(0)).is_some());
            },
        );
        cache.flush();
        assert_eq!(cache.unwritten(), 0);
        assert_eq!(store.written().last().copied(), cache.get_if_present(&key(0)));
        assert_eq!(cache.flights(), 0);
    });
}

/// Two who flush while each batch is of one key: each job ends with its batch, and whoever still waits goes
/// on with the next.
#[test]
fn flushes_that_drive_each_other_on() {
    model(|| {
        let store = Store::default();
        let cache = Cache::<u64, u64>::builder()
            .capacity(4)
            .stripes(1)
            .policy(Fifo::default())
            .hasher(Identity::default())
            .clock(ManualTicker::new())
            .loader(store.clone())
            .write_queue(2, 1)
            .build();
        let flush = |content: u64| {
            let (cache, store) = (cache.clone(), store.clone());
            move || {
                cache.put_behind(key(content), content).unwrap();
                cache.flush();
                assert!(store.written().contains(&content), "flushed, and not written");
            }
        };
        together(flush(1), flush(2));
        assert_eq!(store.written().len(), 2, "written more than once");
        assert_eq!((cache.unwritten(), cache.flights()), (0, 0));
    });
}

/// A write through the cache and one behind it reach the store in the order in which the cache saw
/// them.
#[test]
fn writing_through_against_writing_behind() {
    model(|| {
        let store = Store::default();
        let cache = build(store.clone(), 9);
        let (one, two) = (cache.clone(), cache.clone());
        let through = store.clone();
        together(
            move || one.put_behind(key(0), 1).unwrap(),
            move || {
                two.put_through(key(0), 2).unwrap();
                assert!(through.written().contains(&2), "accepted, and not written");
            },
        );
        cache.flush();
        assert_eq!(store.written().last().copied(), cache.get_if_present(&key(0)));
        assert_eq!((cache.unwritten(), cache.flights()), (0, 0));
    });
}

/// A load against a write behind: whoever comes second finds the newer value, though the cache has
/// lost it and the store does not have it yet.
#[test]
fn loading_against_writing_behind_p16() {
    model(|| {
        let cache = build(Store::default(), 9);
        let (one, two) = (cache.clone(), cache.clone());
        let (_, loaded) = together(
            move || {
                one.put_behind(key(0), 1).unwrap();
                one.remove(&key(0));
                assert_eq!(one.get(&key(0)), Ok(1), "it is queued");
            },
            move || two.get(&key(0)),
        );
        assert!(loaded.is_err() || loaded == Ok(1));
        assert_eq!(cache.get(&key(0)), Ok(1), "a load brought back what was there before");
        assert_eq!(cache.flights(), 0);
    });
}

/// Fails if two loads run at once.
#[derive(Clone, Default)]
struct Alone {
    /// Not the model's own: it must hide no schedules.
    is_running: Arc<AtomicBool>,
}

impl Loader<u64, u64> for Alone {
    type Error = Infallible;

    async fn load(&self, key: &u64) -> Result<Loaded<u64>, Infallible> {
        assert!(!self.is_running.swap(true, SeqCst), "more loads than may be");
        thread::yield_now();
        self.is_running.store(false, SeqCst);
        Ok((*key).into())
    }
}

/// One load at a time, whoever comes and goes; and the permit is there afterwards.
#[test]
fn loads_that_queue_against_one_that_is_given_up() {
    model(|| {
        let cache = build(Alone::default(), 1);
        let (one, two) = (cache.clone(), cache.clone());
        let (got, _) = together(
            move || one.get(&key(0)),
            move || {
                let other = key(1);
                let asked = pin!(two.get_async(&other));
                // Dropped in the queue, or with the permit just given.
                matches!(asked.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
            },
        );
        assert_eq!(got, Ok(key(0)));
        assert_eq!(cache.get(&key(2)), Ok(key(2)), "the permit is lost");
        assert_eq!(cache.flights(), 0);
    });
}

/// Those who queue are served.
#[test]
fn loads_that_queue_are_served() {
    model(|| {
        let cache = build(Alone::default(), 1);
        let (one, two) = (cache.clone(), cache.clone());
        let both = together(move || one.get(&key(0)), move || two.get(&key(1)));
        assert_eq!(both, (Ok(key(0)), Ok(key(1))));
        assert_eq!(cache.flights(), 0);
    });
}
