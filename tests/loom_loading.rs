//! Models of read-through: what loaders, waiters, writers and the clumsy can do to each other, in
//! every schedule of up to two preemptions. See `loom.rs`, which also says how to run them.
//!
//! A value that must not be found again is one that the loaders' source held before the writer
//! changed it: the source is a lock of the model's, so every order of the two is tried.

#![cfg(larder_loom)]
#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;
#[path = "common/models.rs"]
mod models;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use common::Identity;
use larder::{
    Cache, Compute, LoadError, LoadingCache,
    loader::{Loaded, Loader},
    policy::Fifo,
    time::ManualTicker,
};
use loom::{
    sync::Mutex,
    thread::{self, Thread},
};
use models::{Model, key, model, together};

fn cache() -> Model<Fifo> {
    models::cache(Fifo::default(), 4)
}

/// What loaders read: 1 until somebody writes 2.
#[derive(Clone)]
struct Source(Arc<Mutex<u64>>);

impl Source {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(1)))
    }

    fn read(&self) -> u64 {
        *self.0.lock().unwrap()
    }

    fn write(&self) {
        *self.0.lock().unwrap() = 2;
    }
}

/// Counts loads, and fails if two run at once. Not the model's own: it must hide no schedules.
#[derive(Clone, Default)]
struct Loads(Arc<(AtomicU64, AtomicU64)>);

impl Loads {
    fn run(&self, source: &Source) -> u64 {
        let (running, count) = &*self.0;
        assert_eq!(running.fetch_add(1, SeqCst), 0, "two loads of one key");
        let read = source.read();
        running.fetch_sub(1, SeqCst);
        count.fetch_add(1, SeqCst);
        read
    }

    fn count(&self) -> u64 {
        self.0.1.load(SeqCst)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (mut future, waker) = (pin!(future), waker());
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ready) => return ready,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls a future once and drops it.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(&waker())) {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}

/// The key can be loaded afresh: no flight was left behind.
fn assert_landed(cache: &Model<Fifo>) {
    cache.remove(&key(0));
    assert_eq!(cache.get_or_insert_with(&key(0), || 77), 77);
    cache.validate();
}

/// P15: one loads, the other shares or finds it.
#[test]
fn two_loaders_of_one_key() {
    for is_async in [false, true] {
        model(move || {
            let (cache, source, loads) = (cache(), Source::new(), Loads::default());
            let one = {
                let (cache, source, loads) = (cache.clone(), source.clone(), loads.clone());
                move || cache.get_or_insert_with(&key(0), || loads.run(&source))
            };
            let two = {
                let (cache, source, loads) = (cache.clone(), source.clone(), loads.clone());
                move || match is_async {
                    false => cache.get_or_insert_with(&key(0), || loads.run(&source)),
                    true => {
                        block_on(cache.get_or_insert_async(&key(0), async { loads.run(&source) }))
                    }
                }
            };
            assert_eq!(together(one, two), (1, 1));
            assert_eq!((loads.count(), cache.get(&key(0))), (1, Some(1)));
            assert_landed(&cache);
        });
    }
}

/// P15: three threads, one of which only comes for what the others load.
#[test]
fn three_loaders_of_one_key() {
    model(|| {
        let (cache, source, loads) = (cache(), Source::new(), Loads::default());
        let load = || {
            let (cache, source, loads) = (cache.clone(), source.clone(), loads.clone());
            move || cache.get_or_insert_with(&key(0), || loads.run(&source))
        };
        let (one, two) = (thread::spawn(load()), thread::spawn(load()));
        assert_eq!(load()(), 1);
        assert_eq!((one.join().unwrap(), two.join().unwrap()), (1, 1));
        assert_eq!(loads.count(), 1);
    });
}

/// P15: computing through an entry and loading exclude each other and share.
#[test]
fn an_entry_against_a_loader() {
    model(|| {
        let (cache, source, loads) = (cache(), Source::new(), Loads::default());
        let one = {
            let (cache, source, loads) = (cache.clone(), source.clone(), loads.clone());
            move || cache.entry(key(0)).or_insert_with(|| loads.run(&source))
        };
        let two = {
            let (cache, source, loads) = (cache.clone(), source.clone(), loads.clone());
            move || cache.get_or_insert_with(&key(0), || loads.run(&source))
        };
        assert_eq!(together(one, two), (1, 1));
        assert_eq!(loads.count(), 1);
        assert_landed(&cache);
    });
}

type Overtake = fn(&Model<Fifo>);

/// P16: whatever the writer does after it changed the source, the old value is not found once it is
/// done, and who asks then loads the new one.
fn overtaking(writers: &[Overtake], build: fn() -> Model<Fifo>) {
    for &overtake in writers {
        model(move || {
            let (cache, source) = (build(), Source::new());
            let loader = {
                let (cache, source) = (cache.clone(), source.clone());
                move || cache.get_or_insert_with(&key(0), || source.read())
            };
            let writer = {
                let (cache, source) = (cache.clone(), source.clone());
                move || {
                    source.write();
                    overtake(&cache);
                    assert_ne!(cache.get(&key(0)), Some(1), "a stale value was stored");
                }
            };
            together(loader, writer);
            assert_ne!(cache.get(&key(0)), Some(1), "a stale value was stored");
            assert_eq!(cache.get_or_insert_with(&key(0), || source.read()), 2);
            cache.validate();
        });
    }
}

#[test]
fn writing_a_key_against_its_load_p16() {
    overtaking(
        &[
            |cache| drop(cache.insert(key(0), 2)),
            |cache| drop(cache.remove(&key(0))),
            |cache| {
                cache.insert(key(0), 2);
                cache.remove(&key(0));
            },
        ],
        cache,
    );
}

#[test]
fn removing_many_against_a_load_p16() {
    overtaking(
        &[
            Cache::clear,
            |cache| cache.retain(|_, _| false),
            |cache| {
                cache.set_capacity(0);
                cache.set_capacity(4);
            },
        ],
        cache,
    );
}

/// Every value has the tag 7.
fn tagged() -> Model<Fifo> {
    Cache::builder()
        .capacity(4)
        .stripes(1)
        .policy(Fifo::default())
        .hasher(Identity::default())
        .tags(|_, _| [7])
        .build()
}

/// P16: of a tag that no entry has yet, and of one that some have.
#[test]
fn removing_a_tag_against_a_load_p16() {
    overtaking(&[|cache| drop(cache.remove_tag(&7))], tagged);
    overtaking(&[|cache| drop(cache.remove_tag(&7))], || {
        let cache = tagged();
        cache.insert(key(1), 0);
        cache
    });
}

/// P16: who asks after the removal is not given what was loaded before, by waiting for it either.
#[test]
fn asking_after_a_removal_p16() {
    model(|| {
        let (cache, source) = (cache(), Source::new());
        let ask = |cache: &Model<Fifo>, source: &Source| {
            let (cache, source) = (cache.clone(), source.clone());
            move || cache.get_or_insert_with(&key(0), || source.read())
        };
        let writer = {
            let (cache, source) = (cache.clone(), source.clone());
            move || {
                source.write();
                cache.remove(&key(0));
                cache.get_or_insert_with(&key(0), || source.read())
            }
        };
        let loaders = (thread::spawn(ask(&cache, &source)), thread::spawn(writer));
        ask(&cache, &source)();
        assert_eq!(loaders.1.join().unwrap(), 2, "it was removed before this was asked");
        loaders.0.join().unwrap();
        assert_ne!(cache.get(&key(0)), Some(1));
        cache.validate();
    });
}

/// P17: a leader whose future is dropped, against one and two who come to wait.
#[test]
fn a_leader_dropped_against_waiters_p17() {
    for waiters in [1, 2] {
        model(move || {
            let (cache, source, loads) = (cache(), Source::new(), Loads::default());
            let dropped = {
                let cache = cache.clone();
                move || poll_once(cache.get_or_insert_async(&key(0), std::future::pending()))
            };
            let wait = || {
                let (cache, source, loads) = (cache.clone(), source.clone(), loads.clone());
                move || cache.get_or_insert_with(&key(0), || loads.run(&source))
            };
            let dropped = thread::spawn(dropped);
            let waiter = (waiters == 2).then(|| thread::spawn(wait()));
            assert_eq!(wait()(), 1);
            waiter.map(|waiter| assert_eq!(waiter.join().unwrap(), 1));
            assert!(dropped.join().unwrap().is_none_or(|value| value == 1));
            assert_eq!(loads.count(), 1);
            assert_landed(&cache);
        });
    }
}

/// P13, P17: the same with a load that panics.
#[test]
fn a_leader_that_panics_against_a_waiter_p17() {
    model(|| {
        let cache = cache();
        let panicking = {
            let cache = cache.clone();
            move || {
                catch_unwind(AssertUnwindSafe(|| {
                    cache.get_or_insert_with(&key(0), || panic!("as planned"))
                }))
            }
        };
        let waiting = {
            let cache = cache.clone();
            move || cache.get_or_insert_with(&key(0), || 1)
        };
        let (panicked, waited) = together(panicking, waiting);
        assert_eq!(waited, 1);
        assert!(panicked.is_err() || panicked.is_ok_and(|value| value == 1));
        assert_landed(&cache);
    });
}

/// P17: a waiter that is dropped, against the landing and against the other waiter's being woken.
#[test]
fn a_waiter_dropped_against_the_landing_p17() {
    model(|| {
        let (cache, source, loads) = (cache(), Source::new(), Loads::default());
        let load = || {
            let (cache, source, loads) = (cache.clone(), source.clone(), loads.clone());
            move || cache.get_or_insert_with(&key(0), || loads.run(&source))
        };
        let dropped = {
            let cache = cache.clone();
            move || poll_once(cache.get_or_insert_async(&key(0), std::future::pending()))
        };
        let (loader, dropped) = (thread::spawn(load()), thread::spawn(dropped));
        assert_eq!(load()(), 1);
        assert_eq!(loader.join().unwrap(), 1);
        assert!(dropped.join().unwrap().is_none_or(|value| value == 1));
        assert_eq!(loads.count(), 1);
        assert_landed(&cache);
    });
}

/// Who expects another type of error cannot use the failure, and loads for itself, once the first
/// is over.
#[test]
fn a_failure_of_another_type_against_a_waiter() {
    model(|| {
        let cache = cache();
        let failing = {
            let cache = cache.clone();
            move || cache.try_get_or_insert_with(&key(0), || Err::<u64, u8>(3))
        };
        let other = {
            let cache = cache.clone();
            move || cache.try_get_or_insert_with(&key(0), || Err::<u64, u16>(4))
        };
        let (failed, other) = together(failing, other);
        assert_eq!(failed, Err(LoadError::Failed(Arc::new(3))));
        assert_eq!(other, Err(LoadError::Failed(Arc::new(4))));
        assert_landed(&cache);
    });
}

/// P1, P16: a write that the load's flight could not be told of, as it began after the notice, but
/// that takes effect during the load.
#[test]
fn inserting_against_a_load_of_something_else() {
    let ways: [fn(&Model<Fifo>) -> u64; 3] = [
        |cache| cache.get_or_insert_with(&key(0), || 1),
        |cache| cache.entry(key(0)).or_insert(1),
        |cache| cache.entry(key(0)).compute(|seen| Compute::Put(seen.unwrap_or(1))).unwrap(),
    ];
    for load in ways {
        model(move || {
            let cache = cache();
            let loader = cache.clone();
            let writer = cache.clone();
            let (loaded, _) = together(
                move || load(&loader),
                move || {
                    writer.insert(key(0), 2);
                    assert_eq!(writer.get(&key(0)), Some(2));
                },
            );
            assert!(loaded == 1 || loaded == 2);
            assert_eq!(cache.get(&key(0)), Some(2), "the insert was lost");
            cache.validate();
        });
    }
}

/// Fails.
struct Broken;

impl Loader<u64, u64> for Broken {
    type Error = ();

    async fn load(&self, _: &u64) -> Result<Loaded<u64>, ()> {
        Err(())
    }
}

/// P16: a reload that fails leaves the old value, but does not bring it back.
#[test]
fn removing_against_a_reload_that_fails_p16() {
    model(|| {
        let cache = Cache::<u64, u64>::builder()
            .capacity(4)
            .stripes(1)
            .policy(Fifo::default())
            .hasher(Identity::default())
            .clock(ManualTicker::new())
            .loader(Broken)
            .stale_if_error(Duration::from_secs(1))
            .build();
        cache.insert(key(0), 1);
        let (reloader, writer) = (cache.clone(), cache.clone());
        let (reloaded, ()) = together(
            move || reloader.refresh(&key(0)),
            move || {
                writer.remove(&key(0));
                assert_eq!(writer.get_if_present(&key(0)), None, "the old value came back");
                assert!(writer.get(&key(0)).is_err(), "the old value was given to who came later");
            },
        );
        assert!(reloaded.is_err() || reloaded == Ok(1));
        assert_eq!(cache.get_if_present(&key(0)), None, "the old value came back");
        assert_eq!(cache.flights(), 0);
        cache.validate();
    });
}

/// Loads from the source, one at a time for each of two keys.
struct Careful(Source, [Loads; 2]);

impl Loader<u64, u64> for Careful {
    type Error = ();

    async fn load(&self, of: &u64) -> Result<Loaded<u64>, ()> {
        let number = usize::from(*of == key(1));
        Ok(self.1[number].run(&self.0).into())
    }
}

type Loading = LoadingCache<u64, u64, Careful, Fifo, Identity>;

fn loading(source: &Source) -> Loading {
    Cache::<u64, u64>::builder()
        .capacity(4)
        .stripes(1)
        .policy(Fifo::default())
        .hasher(Identity::default())
        .clock(ManualTicker::new())
        .loader(Careful(source.clone(), Default::default()))
        .build()
}

/// P15: a bulk load and a single one of one of its keys.
#[test]
fn a_bulk_load_against_a_single_one() {
    model(|| {
        let cache = loading(&Source::new());
        let (many, one) = (cache.clone(), cache.clone());
        let keys = [key(0), key(1)];
        let (many, one) = together(move || many.get_many(&keys), move || one.get(&key(1)));
        assert_eq!((many, one), (vec![Ok(1), Ok(1)], Ok(1)));
        let loads = &cache.loader().1;
        assert_eq!((loads[0].count(), loads[1].count()), (1, 1));
        assert_eq!(cache.flights(), 0);
    });
}

/// P16, P17: a load that is shared by two, one of whom leaves, against a removal.
#[test]
fn a_shared_load_against_a_removal_p16() {
    model(|| {
        let source = Source::new();
        let cache = loading(&source);
        let (leaver, writer) = (cache.clone(), cache.clone());
        let leaver = thread::spawn(move || poll_once(leaver.get_async(&key(0))));
        let writer = thread::spawn(move || {
            source.write();
            writer.remove(&key(0));
            assert_eq!(writer.get(&key(0)), Ok(2), "it was removed before this was asked");
        });
        assert!(cache.get(&key(0)).is_ok());
        leaver.join().unwrap();
        writer.join().unwrap();
        assert_ne!(cache.get_if_present(&key(0)), Some(1), "a stale value was stored");
        assert_eq!(cache.flights(), 0);
        cache.validate();
    });
}

/// P14: two loads, each of which asks for the other's key: none hangs, whatever the order. Either both
/// have a value, or each was told or heard of it.
#[test]
fn loads_that_ask_for_each_other_p14() {
    model(|| {
        let cache = cache();
        let ask = |own, other| {
            let cache = cache.clone();
            move || {
                cache.try_get_or_insert_with(&key(own), || {
                    cache.try_get_or_insert_with(&key(other), || Ok::<u64, ()>(7)).map_err(drop)
                })
            }
        };
        let (one, two) = together(ask(0, 1), ask(1, 0));
        match (one, two) {
            (Ok(7), Ok(7)) => {}
            (Err(LoadError::Failed(_)), Err(LoadError::Failed(_))) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(cache.flights(), 0);
        cache.validate();
    });
}
