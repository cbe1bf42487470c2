//! The loads and writes under way, and what may be returned.

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Poll, Waker},
    time::Duration,
};

use larder::{LoadError, loader::Loaded};

use super::{Got, KEYS, Refused, Tried, tasks::Task};
use crate::{
    bytes::Bytes,
    fuse::Planned,
    kinds::{Kind, Owned, Value},
    settings::Clock,
};

/// How much longer than they should values may be served (nanoseconds): the cache's times have this
/// grain.
const GRAIN: u64 = 200_000;

/// What a load or write is told to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Fine,
    /// The same, with a time to live of so many hundredths of a second.
    Mortal(u8),
    Nothing,
    Error,
    Panic,
    /// For another key first.
    Ask(u16),
}

/// A load or write under way, which is over when this is dropped.
pub(super) struct Job {
    id: usize,
    keys: Vec<u16>,
    serials: Vec<Option<u32>>,
    is_load: bool,
    shelf: Arc<Shelf>,
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut state = self.shelf.lock();
        state.told.remove(&self.id);
        state.waiting.retain(|&id| id != self.id);
        for key in &self.keys {
            let running = if self.is_load { &mut state.loading } else { &mut state.writing };
            running.remove(key);
        }
        for serial in self.serials.iter().flatten() {
            state.underway.remove(serial);
        }
    }
}

/// A value's life.
struct Fate {
    key: u16,
    /// When it cannot be served any more (nanoseconds).
    until: u64,
    /// When something newer took its place, as a sequence number.
    ended: Option<u64>,
}

/// When somebody asked: the sequence number, and the time.
#[derive(Clone, Copy)]
pub(super) struct Asked(u64, u64);

#[derive(Default)]
struct State {
    sequence: u64,
    serial: u32,
    next_job: usize,
    told: HashMap<usize, (Option<Told>, Option<Waker>)>,
    /// The jobs that were not told anything.
    waiting: Vec<usize>,
    /// What jobs that begin are told at once.
    ready: Option<Told>,
    loading: HashSet<u16>,
    writing: HashSet<u16>,
    /// The values that loads under way will give.
    underway: HashSet<u32>,
    fates: HashMap<u32, Fate>,
    /// When there was no value of a key.
    absent: HashMap<u16, Vec<(u64, Option<u64>)>>,
    store: HashMap<u16, u32>,
    newest: HashMap<u16, Option<u32>>,
    spawned: Vec<Task>,
    cache: Option<Tried>,
    lives: Option<u64>,
    grace: u64,
    /// Whether there is a spawner, whose tasks somebody must poll.
    is_spawning: bool,
}

pub(super) struct Shelf {
    pub(super) clock: Clock,
    pub(super) is_through: bool,
    state: Mutex<State>,
}

impl Shelf {
    pub(super) fn new(is_through: bool) -> Self {
        let shelf = Self { clock: Clock::default(), is_through, state: Mutex::default() };
        let mut state = shelf.lock();
        for key in 0..KEYS {
            state.absent.insert(key, vec![(0, None)]);
        }
        drop(state);
        shelf
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn set_spawning(&self) {
        self.lock().is_spawning = true;
    }

    pub(super) fn set_lives(&self, lives: Option<Duration>, grace: Duration) {
        let mut state = self.lock();
        state.lives = lives.map(|lives| lives.as_nanos() as u64);
        state.grace = grace.as_nanos() as u64;
    }

    pub(super) fn set_cache(&self, cache: Option<Tried>) {
        let before = std::mem::replace(&mut self.lock().cache, cache);
        drop(before);
    }

    pub(super) fn cache(&self) -> Tried {
        self.lock().cache.clone().expect("it is set")
    }

    /// What every job comes to, if none has to be told or polled.
    pub(super) fn is_quiet(&self) -> Option<Told> {
        let state = self.lock();
        let ready = state.ready.filter(|told| !matches!(told, Told::Ask(_)));
        ready.filter(|_| state.told.is_empty() && state.spawned.is_empty() && !state.is_spawning)
    }

    /// A new value's serial number.
    pub(super) fn fresh(&self, key: u16) -> u32 {
        let mut state = self.lock();
        state.serial += 1;
        let serial = state.serial;
        state.fates.insert(serial, Fate { key, until: u64::MAX, ended: None });
        serial
    }

    pub(super) fn begin_load(self: &Arc<Self>, keys: &[u16]) -> Job {
        let serials = keys.iter().map(|&key| match self.is_through {
            true => self.lock().store.get(&key).copied(),
            false => Some(self.fresh(key)),
        });
        let serials: Vec<_> = serials.collect();
        let mut state = self.lock();
        for key in keys {
            assert!(state.loading.insert(*key), "key {key} is loaded twice at a time");
            assert!(!state.writing.contains(key), "key {key} is loaded while it is written");
        }
        if !self.is_through {
            state.underway.extend(serials.iter().flatten());
        }
        drop(state);
        self.begin(keys, serials, true)
    }

    pub(super) fn begin_write(self: &Arc<Self>, keys: &[u16]) -> Job {
        let mut state = self.lock();
        for key in keys {
            assert!(state.writing.insert(*key), "key {key} is written twice at a time");
            assert!(!state.loading.contains(key), "key {key} is written while it is loaded");
        }
        drop(state);
        self.begin(keys, Vec::new(), false)
    }

    fn begin(self: &Arc<Self>, keys: &[u16], serials: Vec<Option<u32>>, is_load: bool) -> Job {
        let mut state = self.lock();
        let (id, ready) = (state.next_job, state.ready);
        state.next_job += 1;
        state.told.insert(id, (ready, None));
        if ready.is_none() {
            state.waiting.push(id);
        }
        drop(state);
        Job { id, keys: keys.to_vec(), serials, is_load, shelf: Arc::clone(self) }
    }

    /// Waits until the job is told what to come to.
    pub(super) async fn told(&self, job: &Job) -> Told {
        poll_fn(|context| {
            let mut state = self.lock();
            let (told, waker) = state.told.get_mut(&job.id).expect("not over");
            match *told {
                Some(told) => Poll::Ready(told),
                None => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What a load of the key at this place comes to.
    pub(super) fn loaded(
        &self,
        job: &Job,
        at: usize,
        told: Told,
    ) -> Result<Loaded<Value>, Refused> {
        match told {
            Told::Error => return Err(Refused),
            Told::Panic => resume_unwind(Box::new(Planned)),
            Told::Nothing if !self.is_through => return Ok(Loaded::not_found()),
            _ => {}
        }
        let Some(serial) = job.serials[at] else { return Ok(Loaded::not_found()) };
        let own = match told {
            Told::Mortal(time) => Some(Duration::from_millis(u64::from(time) * 10)),
            _ => None,
        };
        let mut state = self.lock();
        self.date(&mut state, serial, own);
        drop(state);
        let loaded = Loaded::new(Owned::value(serial));
        Ok(match own {
            Some(own) => loaded.with_ttl(own),
            None => loaded,
        })
    }

    /// A value is stored now, with a time to live of its own.
    fn date(&self, state: &mut State, serial: u32, own: Option<Duration>) {
        let own = own.map(|own| own.as_nanos() as u64);
        let lives = [own, state.lives].into_iter().flatten().min();
        let until =
            lives.map_or(u64::MAX, |lives| self.clock.nanos() + lives + state.grace + GRAIN);
        // In the store it may be loaded again later.
        if let Some(fate) = state.fates.get_mut(&serial)
            && !self.is_through
        {
            fate.until = until;
        }
    }

    /// The store has these.
    pub(super) fn written(&self, writes: &[(u16, Option<u32>)]) {
        let mut state = self.lock();
        for &(key, serial) in writes {
            match serial {
                Some(serial) => _ = state.store.insert(key, serial),
                None => _ = state.store.remove(&key),
            }
        }
    }

    /// A write has returned: nothing older may be returned to who asks from now on.
    pub(super) fn commit(&self, key: u16, serial: Option<u32>) {
        let mut state = self.lock();
        state.sequence += 1;
        let now = state.sequence;
        let before = state.newest.insert(key, serial).flatten();
        if let Some(before) = before {
            state.fates.get_mut(&before).expect("it was written").ended = Some(now);
        } else if let Some((_, end)) = state.absent.get_mut(&key).and_then(|times| times.last_mut())
        {
            *end = Some(now);
        }
        if serial.is_none() {
            state.absent.get_mut(&key).expect("a key").push((now, None));
        }
    }

    /// Something took the place of these keys' values.
    pub(super) fn overtake(&self, keys: impl Fn(u16) -> bool, by: Option<u32>) {
        if self.is_through {
            return;
        }
        let mut state = self.lock();
        state.sequence += 1;
        let now = state.sequence;
        for (&serial, fate) in &mut state.fates {
            if keys(fate.key) && fate.ended.is_none() && Some(serial) != by {
                fate.ended = Some(now);
            }
        }
        if let Some(by) = by {
            self.date(&mut state, by, None);
        }
    }

    /// What is being loaded will not be stored.
    pub(super) fn overtake_loads(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.sequence += 1;
        for serial in &state.underway {
            let fate = state.fates.get_mut(serial).expect("begun");
            fate.ended.get_or_insert(state.sequence);
        }
    }

    /// Somebody asks now.
    pub(super) fn ask(&self) -> Asked {
        Asked(self.lock().sequence, self.clock.nanos())
    }

    /// Whether who asked then may get this.
    pub(super) fn check(&self, Asked(asked, time): Asked, key: u16, got: &Got) {
        let state = self.lock();
        match got {
            Ok(value) => {
                let serial = Owned::serial(value);
                let fate = &state.fates[&serial];
                assert_eq!(fate.key, key, "{serial} of another key");
                assert!(fate.ended.is_none_or(|ended| ended > asked), "{serial} was overtaken");
                assert!(fate.until >= time, "{serial} was of use until {}, not {time}", fate.until);
            }
            Err(LoadError::NotFound) if self.is_through => {
                let was_absent =
                    state.absent[&key].iter().any(|(_, end)| end.is_none_or(|end| end > asked));
                assert!(was_absent, "key {key} was there");
            }
            Err(_) => {}
        }
    }

    /// Tells one of the jobs what to come to.
    pub(super) fn tell(&self, bytes: &mut Bytes<'_>) {
        let told = told(bytes);
        let mut state = self.lock();
        if state.waiting.is_empty() {
            return;
        }
        let at = bytes.below(state.waiting.len());
        let id = state.waiting.swap_remove(at);
        let job = state.told.get_mut(&id).expect("it waits");
        job.0 = Some(told);
        let waker = job.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// All jobs come to something good, from now on.
    pub(super) fn tell_all(&self) {
        let mut state = self.lock();
        state.ready = Some(Told::Fine);
        state.waiting.clear();
        let mut wakers = Vec::new();
        for (told, waker) in state.told.values_mut() {
            told.get_or_insert(Told::Fine);
            wakers.extend(waker.take());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn set_ready(&self, bytes: &mut Bytes<'_>) {
        self.lock().ready = bytes.flag().then(|| told(bytes));
    }

    pub(super) fn advance(&self, bytes: &mut Bytes<'_>) {
        self.skip(Duration::from_millis(u64::from(bytes.byte()) * 10));
    }

    pub(super) fn skip(&self, by: Duration) {
        self.clock.set(self.clock.nanos() + by.as_nanos() as u64);
    }

    pub(super) fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let task = Task::new(future);
        self.lock().spawned.push(task);
    }

    pub(super) fn take_spawned(&self, which: u8) -> Option<Task> {
        let mut state = self.lock();
        let count = state.spawned.len();
        (count > 0).then(|| state.spawned.swap_remove(usize::from(which) % count))
    }

    pub(super) fn give_back(&self, task: Task) {
        self.lock().spawned.push(task);
    }

    pub(super) fn has_no_spawned(&self) -> bool {
        self.lock().spawned.is_empty()
    }

    pub(super) fn take_all_spawned(&self) -> Vec<Task> {
        std::mem::take(&mut self.lock().spawned)
    }

    /// The store ends with what was written last.
    pub(super) fn check_store(&self) {
        let state = self.lock();
        for (key, newest) in &state.newest {
            assert_eq!(state.store.get(key), newest.as_ref(), "key {key}");
        }
    }
}

fn told(bytes: &mut Bytes<'_>) -> Told {
    match bytes.below(12) {
        0..5 => Told::Fine,
        5 => Told::Mortal(bytes.byte()),
        6 | 7 => Told::Nothing,
        8 | 9 => Told::Error,
        10 => Told::Panic,
        _ => Told::Ask(bytes.short() % KEYS),
    }
}
