//! A loading cache whose loads and writes end when the input says so, by hand-polled futures.
//!
//! Every value has a serial number. What may be returned for a key follows from when it was loaded or
//! written, and when something else was: see [`Shelf::check`].

mod shelf;
mod tasks;

use std::{sync::Arc, time::Duration};

use larder::{
    Cache, Expiry, LoadError, LoadingCache, WhenFull,
    loader::{Loaded, LoadedMany, Loader, Write, Writer},
    policy::AnyPolicy,
};

use crate::{
    bytes::Bytes,
    fuse,
    kinds::{Hashing, Key, Kind, Owned, Value},
};
use shelf::{Shelf, Told};
use tasks::Task;

/// The cache that is tried.
type Tried = LoadingCache<Key, Value, Store, AnyPolicy, Hashing>;

/// The most operations on one cache.
const MOST_STEPS: usize = 400;
/// The keys are those below.
const KEYS: u16 = 6;

/// Why a load or write failed.
#[derive(Debug)]
struct Refused;

/// What is behind the cache.
struct Store(Arc<Shelf>);

impl Loader<Key, Value> for Store {
    type Error = Refused;

    async fn load(&self, key: &Key) -> Result<Loaded<Value>, Refused> {
        let shelf = Arc::clone(&self.0);
        let number = Owned::number(key);
        let job = shelf.begin_load(&[number]);
        match shelf.told(&job).await {
            Told::Ask(other) => {
                let asked = shelf.ask();
                let cache = shelf.cache();
                let got = cache.get_async(&Owned::key(other)).await;
                shelf.check(asked, other, &got);
                shelf.loaded(&job, 0, if got.is_ok() { Told::Fine } else { Told::Error })
            }
            told => shelf.loaded(&job, 0, told),
        }
    }

    async fn load_many(&self, keys: &[Key]) -> LoadedMany<Value, Refused> {
        let shelf = Arc::clone(&self.0);
        let numbers: Vec<u16> = keys.iter().map(Owned::number).collect();
        let job = shelf.begin_load(&numbers);
        let told = shelf.told(&job).await;
        if told == Told::Error {
            return Err(Refused);
        }
        let is_short = told == Told::Nothing && !shelf.is_through;
        let count = if is_short { numbers.len() / 2 } else { numbers.len() };
        let one = |at: usize| if at % 3 == 2 { told } else { Told::Fine };
        Ok((0..count).map(|at| shelf.loaded(&job, at, one(at))).collect())
    }
}

impl Writer<Key, Value> for Store {
    type Error = Refused;

    async fn put(&self, key: &Key, value: &Value) -> Result<(), Refused> {
        self.write(&[(Owned::number(key), Some(Owned::serial(value)))]).await
    }

    async fn remove(&self, key: &Key) -> Result<(), Refused> {
        self.write(&[(Owned::number(key), None)]).await
    }

    async fn write_many(&self, writes: &[(Key, Write<Value>)]) -> Result<(), Refused> {
        let write = |write: &Write<Value>| match write {
            Write::Put(value) => Some(Owned::serial(value)),
            Write::Remove => None,
        };
        let writes: Vec<_> = writes.iter().map(|(key, w)| (Owned::number(key), write(w))).collect();
        self.write(&writes).await
    }
}

impl Store {
    async fn write(&self, writes: &[(u16, Option<u32>)]) -> Result<(), Refused> {
        let keys: Vec<u16> = writes.iter().map(|&(key, _)| key).collect();
        let job = self.0.begin_write(&keys);
        match self.0.told(&job).await {
            Told::Fine | Told::Mortal(_) | Told::Ask(_) => {
                self.0.written(writes);
                Ok(())
            }
            Told::Panic => std::panic::resume_unwind(Box::new(fuse::Planned)),
            Told::Nothing | Told::Error => Err(Refused),
        }
    }
}

/// Values with short lives of their own, which go on when they are replaced.
struct Brief;

impl Expiry<Key, Value> for Brief {
    fn after_create(&self, _: &Key, value: &Value) -> Option<Duration> {
        let class = Owned::serial(value) % 4;
        (class > 0).then(|| Duration::from_millis(u64::from(class) * 100))
    }

    fn after_update(&self, _: &Key, _: &Value, remaining: Option<Duration>) -> Option<Duration> {
        remaining
    }
}

/// What is tried.
struct Run {
    cache: Tried,
    shelf: Arc<Shelf>,
    tasks: Vec<Task>,
    /// Those that are never polled again.
    lost: Vec<Task>,
    /// Whether all that is written is written to the store.
    is_through: bool,
    capacity: u64,
}

fn build(bytes: &mut Bytes<'_>, shelf: &Arc<Shelf>) -> (Tried, u64) {
    let switches = bytes.short();
    let has = |bit: u16| switches & 1 << bit != 0;
    let capacity = bytes.pick(&[0, 1, 2, 4, 100]);
    let mut builder = Cache::<Key, Value>::builder()
        .capacity(capacity)
        .stripes(1 << bytes.below(2))
        .policy(Owned::policy(bytes.pick(AnyPolicy::NAMES)))
        .hasher(Hashing(bytes.pick(&[0, 0, 0, 3, 5])))
        .clock(shelf.clock.clone())
        .stats(has(0));
    let short = |bytes: &mut Bytes<'_>| Duration::from_millis(u64::from(bytes.byte()) * 10);
    let (mut grace, mut lives) = (Duration::ZERO, None);
    if has(1) {
        lives = Some(short(bytes));
        builder = builder.time_to_live(lives.unwrap_or_default());
    }
    if has(2) {
        builder = builder.time_to_idle(short(bytes));
    }
    if has(3) {
        builder = builder.tags(|key, _| [Owned::number(key) % 3]);
    }
    if has(4) {
        builder = builder.on_removal(|_, _, _| {});
    }
    if has(5) {
        builder = builder.weigher(|_, value| u64::from(Owned::serial(value) % 3));
    }
    if has(15) {
        builder = builder.expiry(Brief);
    }
    let mut loading = builder.loader(Store(Arc::clone(shelf)));
    if has(6) {
        loading = loading.negative_ttl(short(bytes)).negative_weight(bytes.below(3) as u64);
    }
    if has(7) {
        loading = loading.error_backoff(short(bytes), short(bytes));
    }
    if has(8) {
        loading = loading.refresh_after(short(bytes));
    }
    if has(9) {
        let time = short(bytes);
        grace = grace.max(time);
        loading = loading.stale_while_revalidate(time);
    }
    if has(10) {
        let time = short(bytes);
        grace = grace.max(time);
        loading = loading.stale_if_error(time);
    }
    if has(11) {
        loading = loading.early_refresh(bytes.pick(&[0.5, 1.0, 100.0, 1e300]));
    }
    if has(12) {
        loading = loading.load_timeout(short(bytes));
    }
    if has(13) {
        let when_full = bytes.pick(&[WhenFull::Queue, WhenFull::Fail]);
        loading = loading.max_loads(bytes.below(3) + 1, when_full);
    }
    loading = loading.write_queue(bytes.below(4) + 1, bytes.below(3) + 1);
    loading = loading.write_retry(short(bytes), short(bytes));
    if has(14) {
        shelf.set_spawning();
        let shelf = Arc::clone(shelf);
        loading = loading.spawner(move |future| shelf.spawn(future));
    }
    shelf.set_lives(lives, grace);
    (loading.build(), capacity)
}

/// Runs an input.
pub fn run(bytes: &mut Bytes<'_>) {
    fuse::forget();
    let is_through = bytes.flag();
    let shelf = Arc::new(Shelf::new(is_through));
    let (cache, capacity) = build(bytes, &shelf);
    shelf.set_cache(Some(cache.clone()));
    let mut run = Run { cache, shelf, tasks: vec![], lost: vec![], is_through, capacity };
    for _ in 0..MOST_STEPS {
        if bytes.is_over() {
            break;
        }
        fuse::catch(|| run.step(bytes));
        assert!(run.cache.weight() <= run.cache.capacity());
        run.cache.validate();
    }
    run.finish();
    drop(run);
    assert_eq!(fuse::alive(), 0, "keys or values were leaked, or dropped twice");
}

impl Run {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(34) {
            0..6 => self.get(bytes),
            6 => self.refresh(bytes),
            7 | 8 => self.get_many(bytes),
            9..14 => self.poll(bytes, true),
            14 => self.poll(bytes, false),
            15..19 => self.shelf.tell(bytes),
            19 => self.lose(bytes),
            20 => {
                if !self.tasks.is_empty() {
                    let at = bytes.below(self.tasks.len());
                    drop(self.tasks.swap_remove(at));
                }
            }
            21..25 => self.write(bytes),
            25 => self.forget(bytes),
            26 | 27 => self.shelf.advance(bytes),
            28 => self.look(bytes),
            29 => self.shelf.set_ready(bytes),
            30 => self.spawned(bytes),
            31 | 32 => self.block(bytes),
            _ => self.resize(bytes),
        }
    }

    fn start(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let mut task = Task::new(task);
        if !task.poll() {
            self.tasks.push(task);
        }
    }

    fn get(&mut self, bytes: &mut Bytes<'_>) {
        let number = bytes.short() % KEYS;
        let (cache, shelf) = (self.cache.clone(), Arc::clone(&self.shelf));
        self.start(async move {
            let asked = shelf.ask();
            let got = cache.get_async(&Owned::key(number)).await;
            shelf.check(asked, number, &got);
        });
    }

    fn refresh(&mut self, bytes: &mut Bytes<'_>) {
        let number = bytes.short() % KEYS;
        let (cache, shelf) = (self.cache.clone(), Arc::clone(&self.shelf));
        self.start(async move {
            let asked = shelf.ask();
            let got = cache.refresh_async(&Owned::key(number)).await;
            shelf.check(asked, number, &got);
        });
    }

    fn get_many(&mut self, bytes: &mut Bytes<'_>) {
        let numbers: Vec<u16> = (0..bytes.below(5)).map(|_| bytes.short() % KEYS).collect();
        let (cache, shelf) = (self.cache.clone(), Arc::clone(&self.shelf));
        self.start(async move {
            let asked = shelf.ask();
            let keys: Vec<Key> = numbers.iter().map(|&number| Owned::key(number)).collect();
            let got = cache.get_many_async(keys.iter()).await;
            assert_eq!(got.len(), numbers.len());
            for (&number, got) in numbers.iter().zip(&got) {
                shelf.check(asked, number, got);
            }
        });
    }

    fn poll(&mut self, bytes: &mut Bytes<'_>, is_woken: bool) {
        let candidates: Vec<usize> =
            (0..self.tasks.len()).filter(|&at| !is_woken || self.tasks[at].is_woken()).collect();
        if candidates.is_empty() {
            return;
        }
        let at = bytes.pick(&candidates);
        let mut task = self.tasks.swap_remove(at);
        if !task.poll() {
            self.tasks.push(task);
        }
    }

    fn lose(&mut self, bytes: &mut Bytes<'_>) {
        if self.tasks.is_empty() {
            return;
        }
        let at = bytes.below(self.tasks.len());
        if !self.tasks[at].is_writer {
            let task = self.tasks.swap_remove(at);
            self.lost.push(task);
        }
    }

    fn write(&mut self, bytes: &mut Bytes<'_>) {
        let (number, how) = (bytes.short() % KEYS, bytes.byte());
        let (cache, shelf) = (self.cache.clone(), Arc::clone(&self.shelf));
        let key = Owned::key(number);
        if !self.is_through {
            let serial = shelf.fresh(number);
            match how % 4 {
                0 | 1 => drop(cache.insert(key, Owned::value(serial))),
                2 => {
                    let time = Duration::from_millis(u64::from(how) * 5);
                    drop(cache.insert_with_ttl(key, Owned::value(serial), time));
                }
                _ => {
                    drop(cache.remove(&key));
                    return shelf.overtake(|key| key == number, None);
                }
            }
            return shelf.overtake(|key| key == number, Some(serial));
        }
        if how % 8 == 7 {
            let task = Task::new(async move { cache.flush_async().await });
            return self.begin(task);
        }
        let is_put = how % 3 > 0;
        let is_behind = how & 8 != 0;
        let task = Task::new(async move {
            let serial = is_put.then(|| shelf.fresh(number));
            let value = || Owned::value(serial.unwrap_or_default());
            let written = match (is_put, is_behind) {
                (true, false) => cache.put_through_async(key, value()).await.is_ok(),
                (true, true) => cache.put_behind_async(key, value()).await.is_ok(),
                (false, false) => cache.remove_through_async(key).await.is_ok(),
                (false, true) => cache.remove_behind_async(key).await.is_ok(),
            };
            if written {
                shelf.commit(number, serial);
            }
        });
        self.begin(task);
    }

    fn begin(&mut self, mut task: Task) {
        task.is_writer = true;
        if !task.poll() {
            self.tasks.push(task);
        }
    }

    /// Asks or writes in blocking code, where nothing is under way that would have to be polled.
    fn block(&mut self, bytes: &mut Bytes<'_>) {
        let (number, how) = (bytes.short() % KEYS, bytes.byte());
        let Some(ready) = self.shelf.is_quiet() else { return };
        if !self.tasks.is_empty() || !self.lost.is_empty() {
            return;
        }
        let (cache, shelf) = (&self.cache, &self.shelf);
        let (key, asked) = (Owned::key(number), shelf.ask());
        match how % 8 {
            0..2 => shelf.check(asked, number, &cache.get(&key)),
            2 => {
                let patience = Duration::from_millis(how.into());
                shelf.check(asked, number, &cache.get_within(&key, patience));
            }
            3 => shelf.check(asked, number, &cache.refresh(&key)),
            4 => {
                let other = bytes.short() % KEYS;
                let got = cache.get_many([&key, &Owned::key(other)]);
                for (number, got) in [number, other].into_iter().zip(&got) {
                    shelf.check(asked, number, got);
                }
            }
            _ if !self.is_through || ready != Told::Fine => {}
            5 => {
                cache.flush();
                assert_eq!(cache.unwritten(), 0);
            }
            6 => {
                let is_behind = how & 8 != 0;
                let removed = match is_behind {
                    true => cache.remove_behind(key),
                    false => cache.remove_through(key),
                };
                assert!(removed.is_ok());
                shelf.commit(number, None);
            }
            _ => {
                let serial = shelf.fresh(number);
                let value = Owned::value(serial);
                let put = match how & 8 != 0 {
                    true => cache.put_behind(key, value),
                    false => cache.put_through(key, value),
                };
                assert!(put.is_ok());
                shelf.commit(number, Some(serial));
            }
        }
    }

    /// Drops what is in the cache.
    fn forget(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(4) {
            0 => {
                self.cache.clear();
                self.shelf.overtake(|_| true, None);
            }
            1 => {
                let number = bytes.short() % KEYS;
                self.cache.remove(&Owned::key(number));
                self.shelf.overtake(|key| key == number, None);
            }
            2 => {
                let odd = bytes.below(2) as u16;
                self.cache.retain(|key, _| Owned::number(key) % 2 == odd);
                self.shelf.overtake(|key| key % 2 != odd, None);
                self.shelf.overtake_loads();
            }
            _ => {
                let tag = bytes.short() % 3;
                if self.cache.remove_tag(&tag) {
                    self.shelf.overtake(|key| key % 3 == tag, None);
                }
            }
        }
    }

    fn look(&mut self, bytes: &mut Bytes<'_>) {
        let number = bytes.short() % KEYS;
        let key = Owned::key(number);
        let asked = self.shelf.ask();
        let peeked = self.cache.peek(&key);
        let is_there = self.cache.contains_key(&key);
        assert_eq!(peeked.is_some(), is_there);
        for value in [peeked, self.cache.get_if_present(&key)].into_iter().flatten() {
            self.shelf.check(asked, number, &Ok(value));
        }
        if self.cache.fresh_for(&key).is_some() {
            assert!(is_there);
        }
        for (key, value) in self.cache.iter() {
            let number = Owned::number(&key);
            self.shelf.check(asked, number, &Ok(value));
        }
        self.cache.run_maintenance();
        assert!(!format!("{:?}", self.cache).is_empty());
    }

    fn spawned(&mut self, bytes: &mut Bytes<'_>) {
        let Some(mut task) = self.shelf.take_spawned(bytes.byte()) else { return };
        if bytes.byte().is_multiple_of(16) {
            return;
        }
        if !task.poll() {
            self.shelf.give_back(task);
        }
    }

    fn resize(&mut self, bytes: &mut Bytes<'_>) {
        let to = bytes.pick(&[0, 1, 3, 100]);
        self.cache.set_capacity(to);
        if to == 0 {
            self.shelf.overtake_loads();
        }
        self.cache.set_capacity(self.capacity);
    }

    /// Everything ends, and nothing is left behind.
    fn finish(&mut self) {
        self.lost.clear();
        self.shelf.tell_all();
        self.drive();
        if self.is_through {
            let cache = self.cache.clone();
            self.begin(Task::new(async move { cache.flush_async().await }));
            self.drive();
        }
        assert!(self.tasks.is_empty(), "{} tasks hang", self.tasks.len());
        assert!(self.shelf.has_no_spawned(), "what was spawned hangs");
        assert_eq!(self.cache.flights(), 0, "a flight was left behind");
        self.cache.validate();
        if self.is_through {
            assert_eq!(self.cache.unwritten(), 0);
            self.shelf.check_store();
        }
        self.shelf.set_cache(None);
    }
}

impl Run {
    /// Polls everything until nothing is under way.
    fn drive(&mut self) {
        for _ in 0..100 {
            self.shelf.tell_all();
            for mut task in std::mem::take(&mut self.tasks) {
                if fuse::catch(|| task.poll()) == Some(false) {
                    self.tasks.push(task);
                }
            }
            for mut task in self.shelf.take_all_spawned() {
                if fuse::catch(|| task.poll()) == Some(false) {
                    self.shelf.give_back(task);
                }
            }
            if self.tasks.is_empty() && self.shelf.has_no_spawned() {
                break;
            }
            self.shelf.skip(Duration::from_secs(30));
        }
    }
}

/// What came of asking.
type Got = Result<Value, LoadError<Refused>>;
