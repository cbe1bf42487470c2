//! Read-through on many threads, with everybody impatient: tasks that time out, are aborted or dropped
//! in the middle, loads that fail and panic, blocking threads among them, and writers that change the
//! source and remove what is stored. Runs under the thread sanitizer too.
//!
//! Each key's source counts its changes. A load reads the count; a writer raises it, removes the key
//! from the cache, and then says that readers who come from now on must not see less (P16). At most
//! one load of a key runs (P15), and all tasks come to their end (P17), with no flight left.
//!
//! `LARDER_STRESS_MS` sets how long each test runs, in milliseconds.

#![allow(clippy::disallowed_methods, reason = "real threads run for a real time")]

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::Poll,
    time::{Duration, Instant},
};

use larder::{
    Cache, LoadError, LoadingCache,
    loader::{Loaded, LoadedMany, Loader},
};
use tokio::runtime::{Builder, Runtime};

const KEYS: u64 = 24;
const WRITERS: u64 = 2;
const TASKS: u64 = 24;
const THREADS: u64 = 2;

fn duration() -> Duration {
    let millis = std::env::var("LARDER_STRESS_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(700))
}

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Says whose it is and how new, twice, so that a torn or freed one is noticed.
#[derive(Clone, Debug, PartialEq)]
struct Value {
    key: u64,
    version: u64,
    check: Box<(u64, u64)>,
}

#[derive(Default)]
struct Source {
    /// How often each key was changed.
    changes: [AtomicU64; KEYS as usize],
    /// What a reader who comes now must see at least.
    floors: [AtomicU64; KEYS as usize],
    running: [AtomicU64; KEYS as usize],
    loads: AtomicU64,
}

/// The payload of panics that are part of the plan.
struct Planned;

/// A load under way; ends when dropped.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn new(running: &'a AtomicU64) -> Self {
        assert_eq!(running.fetch_add(1, SeqCst), 0, "two loads of one key");
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Lets others run so many times.
async fn pause(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

impl Source {
    fn read(&self, key: u64) -> Value {
        let version = self.changes[key as usize].load(SeqCst);
        Value { key, version, check: Box::new((key, version)) }
    }

    fn number(&self) -> u64 {
        self.loads.fetch_add(1, SeqCst)
    }

    /// A load: some fail, some panic, some take longer than others.
    fn come_to(number: u64, value: Value) -> Result<Value, &'static str> {
        match number % 16 {
            0 => Err("as planned"),
            1 => resume_unwind(Box::new(Planned)),
            _ => Ok(value),
        }
    }

    fn load(&self, key: u64) -> Result<Value, &'static str> {
        let number = self.number();
        let _running = Running::new(&self.running[key as usize]);
        let value = self.read(key);
        (0..number % 4).for_each(|_| std::thread::yield_now());
        Self::come_to(number, value)
    }

    async fn load_async(&self, key: u64) -> Result<Value, &'static str> {
        let number = self.number();
        let _running = Running::new(&self.running[key as usize]);
        let value = self.read(key);
        pause(number % 5).await;
        Self::come_to(number, value)
    }

    fn floor(&self, key: u64) -> u64 {
        self.floors[key as usize].load(SeqCst)
    }

    /// Checks what a reader was given who saw this floor before he asked.
    fn check(key: u64, floor: u64, value: &Value) {
        assert_eq!((value.key, value.version), *value.check, "a torn value");
        assert_eq!(value.key, key, "another key's value");
        assert!(value.version >= floor, "a value of before the change: {value:?}, {floor}");
    }

    /// Changes these keys, has them removed, and raises their floors.
    fn change(&self, keys: &[u64], remove: impl FnOnce()) {
        let changed: Vec<u64> =
            keys.iter().map(|&key| self.changes[key as usize].fetch_add(1, SeqCst) + 1).collect();
        remove();
        for (&key, version) in keys.iter().zip(changed) {
            self.floors[key as usize].store(version, SeqCst);
        }
    }
}

/// A cache of either kind.
trait Reading: Clone + Send + Sync + 'static {
    fn source(&self) -> &Source;
    /// Asks in one of several ways.
    fn ask(
        &self,
        key: u64,
        way: u64,
    ) -> impl Future<Output = Result<Value, LoadError<&'static str>>> + Send;
    fn block(&self, key: u64, way: u64) -> Result<Value, LoadError<&'static str>>;
    /// Removes keys that this writer alone changes.
    fn remove(&self, writer: u64, random: &mut Random);
    fn check(&self);
}

/// The keys that a writer changes; they have its number as a tag.
fn keys_of(writer: u64) -> Vec<u64> {
    (0..KEYS).filter(|key| key % WRITERS == writer).collect()
}

#[derive(Clone)]
struct Adhoc(Cache<u64, Value>, Arc<Source>);

impl Reading for Adhoc {
    fn source(&self) -> &Source {
        &self.1
    }

    async fn ask(&self, key: u64, way: u64) -> Result<Value, LoadError<&'static str>> {
        let load = self.1.load_async(key);
        match way % 4 {
            0 => {
                let source = Arc::clone(&self.1);
                let load = async move { source.load_async(key).await };
                self.0.try_get_or_insert_shared(&key, load).await
            }
            1 => {
                let entry = self.0.entry_async(key).await;
                let loaded = entry.or_try_insert_async(load).await;
                loaded.map_err(|error| LoadError::Failed(Arc::new(error)))
            }
            _ => self.0.try_get_or_insert_async(&key, load).await,
        }
    }

    fn block(&self, key: u64, way: u64) -> Result<Value, LoadError<&'static str>> {
        let load = || self.1.load(key);
        match way % 3 {
            0 => {
                let entry = self.0.entry(key);
                entry.or_try_insert_with(load).map_err(|error| LoadError::Failed(Arc::new(error)))
            }
            1 => {
                let patience = Duration::from_micros(way % 50);
                self.0.try_get_or_insert_within(&key, patience, load)
            }
            _ => self.0.try_get_or_insert_with(&key, load),
        }
    }

    fn remove(&self, writer: u64, random: &mut Random) {
        let (keys, cache) = (keys_of(writer), &self.0);
        let key = keys[random.next(keys.len() as u64) as usize];
        match random.next(32) {
            0 => self.1.change(&keys, || cache.clear()),
            1 => self.1.change(&keys, || {
                cache.remove_tag(&writer);
            }),
            2 => self.1.change(&keys, || cache.retain(|key, _| key % WRITERS != writer)),
            3 => self.1.change(&keys, || {
                cache.set_capacity(0);
                cache.set_capacity(KEYS);
            }),
            4..10 => self.1.change(&[key], || {
                cache.insert(key, self.1.read(key));
            }),
            _ => self.1.change(&[key], || {
                cache.remove(&key);
            }),
        }
    }

    fn check(&self) {
        self.0.validate();
        assert_eq!(self.0.flights(), 0, "a flight was left");
    }
}

/// Loads from the source.
struct FromSource(Arc<Source>);

impl Loader<u64, Value> for FromSource {
    type Error = &'static str;

    async fn load(&self, key: &u64) -> Result<Loaded<Value>, &'static str> {
        self.0.load_async(*key).await.map(Loaded::new)
    }

    async fn load_many(&self, keys: &[u64]) -> LoadedMany<Value, &'static str> {
        let number = self.0.number();
        let running = keys.iter().map(|&key| Running::new(&self.0.running[key as usize]));
        let _running: Vec<_> = running.collect();
        let values: Vec<Value> = keys.iter().map(|&key| self.0.read(key)).collect();
        pause(number % 5).await;
        Ok(values
            .into_iter()
            .map(|value| Source::come_to(number, value).map(Loaded::new))
            .collect())
    }
}

#[derive(Clone)]
struct Loading(LoadingCache<u64, Value, FromSource>);

impl Reading for Loading {
    fn source(&self) -> &Source {
        &self.0.loader().0
    }

    async fn ask(&self, key: u64, way: u64) -> Result<Value, LoadError<&'static str>> {
        match way % 4 {
            0 => {
                let keys = [key, (key + 5) % KEYS, (key + 11) % KEYS];
                let floors = keys.map(|key| self.source().floor(key));
                let mut values = self.0.get_many_async(&keys).await;
                for ((key, floor), value) in keys.into_iter().zip(floors).zip(&values) {
                    value.iter().for_each(|value| Source::check(key, floor, value));
                }
                values.swap_remove(0)
            }
            1 => self.0.refresh_async(&key).await,
            _ => self.0.get_async(&key).await,
        }
    }

    fn block(&self, key: u64, way: u64) -> Result<Value, LoadError<&'static str>> {
        match way % 3 {
            0 => self.0.get_many([&key]).remove(0),
            1 => self.0.get_within(&key, Duration::from_micros(way % 50)),
            _ => self.0.get(&key),
        }
    }

    fn remove(&self, writer: u64, random: &mut Random) {
        let (keys, cache, source) = (keys_of(writer), &self.0, self.source());
        let key = keys[random.next(keys.len() as u64) as usize];
        match random.next(32) {
            0 => source.change(&keys, || cache.clear()),
            1 => source.change(&keys, || {
                cache.remove_tag(&writer);
            }),
            2 => source.change(&keys, || cache.retain(|key, _| key % WRITERS != writer)),
            3 => source.change(&keys, || {
                cache.set_capacity(0);
                cache.set_capacity(KEYS);
            }),
            4..10 => source.change(&[key], || {
                cache.insert(key, source.read(key));
            }),
            _ => source.change(&[key], || {
                cache.remove(&key);
            }),
        }
    }

    fn check(&self) {
        self.0.validate();
        assert_eq!(self.0.flights(), 0, "a flight was left");
    }
}

/// One caller after the other, each more or less patient.
async fn ask_on(cache: impl Reading, seed: u64, until: Instant) {
    let mut random = Random::new(seed);
    while Instant::now() < until {
        let (key, way) = (random.next(KEYS), random.next(1 << 20));
        let floor = cache.source().floor(key);
        let mut ask = Box::pin(cache.ask(key, way));
        let mut polls = random.next(6);
        let asked = match random.next(8) {
            // Polled a few times, and dropped.
            0..3 => {
                let select = poll_fn(|context| match ask.as_mut().poll(context) {
                    Poll::Ready(ready) => Poll::Ready(Some(ready)),
                    Poll::Pending if polls == 0 => Poll::Ready(None),
                    Poll::Pending => {
                        polls -= 1;
                        context.waker().wake_by_ref();
                        Poll::Pending
                    }
                });
                catch(select).await.flatten()
            }
            3 => {
                let patience = Duration::from_micros(random.next(300));
                let asked = catch(pin!(tokio::time::timeout(patience, ask))).await;
                asked.and_then(Result::ok)
            }
            // Polled, and then left alone for a while.
            4 => {
                let first = catch(poll_fn(|context| Poll::Ready(ask.as_mut().poll(context)))).await;
                match first {
                    None => None,
                    Some(Poll::Ready(ready)) => Some(ready),
                    Some(Poll::Pending) => {
                        pause(random.next(20)).await;
                        catch(ask).await
                    }
                }
            }
            _ => catch(ask).await,
        };
        if let Some(Ok(value)) = asked {
            Source::check(key, floor, &value);
        }
        pause(1).await;
    }
}

/// `None` if the future panics as planned.
async fn catch<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or_else(planned, |polled| polled.map(Some))
    })
    .await
}

fn planned<T>(panic: Box<dyn std::any::Any + Send>) -> Poll<Option<T>> {
    if panic.is::<Planned>() { Poll::Ready(None) } else { resume_unwind(panic) }
}

fn block_on(cache: &impl Reading, seed: u64, until: Instant) {
    let mut random = Random::new(seed);
    while Instant::now() < until {
        let (key, way) = (random.next(KEYS), random.next(1 << 20));
        let floor = cache.source().floor(key);
        match catch_unwind(AssertUnwindSafe(|| cache.block(key, way))) {
            Ok(Ok(value)) => Source::check(key, floor, &value),
            Ok(Err(_)) => {}
            Err(panic) => drop(planned::<()>(panic)),
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
}

fn stress(runtime: &Runtime, cache: &impl Reading, until: Instant) {
    let asking: Vec<_> =
        (0..TASKS).map(|seed| runtime.spawn(ask_on(cache.clone(), seed, until))).collect();
    std::thread::scope(|scope| {
        let block = |seed| scope.spawn(move || block_on(cache, 200 + seed, until));
        let blocking: Vec<_> = (0..THREADS).map(block).collect();
        let write = |writer| {
            scope.spawn(move || {
                let mut random = Random::new(300 + writer);
                while Instant::now() < until {
                    cache.remove(writer, &mut random);
                    std::thread::yield_now();
                }
            })
        };
        let writing: Vec<_> = (0..WRITERS).map(write).collect();
        // Tasks that do not come to their end.
        let mut random = Random::new(400);
        while Instant::now() < until {
            let task = runtime.spawn(ask_on(cache.clone(), random.next(1 << 20), until));
            (0..random.next(100)).for_each(|_| std::thread::yield_now());
            task.abort();
            let fault = runtime.block_on(task).err().filter(tokio::task::JoinError::is_panic);
            assert!(fault.is_none(), "{fault:?}");
        }
        blocking.into_iter().chain(writing).for_each(|thread| thread.join().unwrap());
    });
    for task in asking {
        runtime.block_on(task).expect("no task finds a fault");
    }
}

#[test]
fn callers_own_loads_survive_everything_p15_p16_p17() {
    for stripes in [1, 8] {
        let until = Instant::now() + duration() / 2;
        let tags = |key: &u64, _: &Value| [key % WRITERS];
        let cache = Cache::<u64, Value>::builder().capacity(KEYS).stripes(stripes).tags(tags);
        let cache = Adhoc(cache.build(), Arc::default());
        let runtime = runtime();
        stress(&runtime, &cache, until);
        drop(runtime);
        cache.check();
    }
}

#[test]
fn the_loaders_loads_survive_everything_p15_p16_p17() {
    for (stripes, spawns) in [(1, false), (8, false), (8, true)] {
        let until = Instant::now() + duration() / 3;
        let runtime = runtime();
        let tags = |key: &u64, _: &Value| [key % WRITERS];
        let cache = Cache::<u64, Value>::builder().capacity(KEYS).stripes(stripes).tags(tags);
        let cache = cache.loader(FromSource(Arc::default()));
        let cache = Loading(if spawns {
            let handle = runtime.handle().clone();
            cache.spawner(move |load| drop(handle.spawn(load))).build()
        } else {
            cache.build()
        });
        stress(&runtime, &cache, until);
        // Tasks that were aborted, and loads in the background, end with the runtime.
        drop(runtime);
        cache.check();
    }
}
