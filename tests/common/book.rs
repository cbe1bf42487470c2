//! The book of all loads: what runs, what it is told to come to, and by which write it was overtaken.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use larder::RemovalCause;

/// A value that is never made twice, and counted.
#[derive(Clone, Debug)]
pub struct Value {
    pub key: u16,
    pub serial: u64,
    _alive: Arc<()>,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

/// What a caller was given.
pub type Answer = Result<Value, Why>;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// The load of this number failed.
    Failed(usize),
    NotFound,
    Panicked,
    Other(String),
}

/// What a load is to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Value,
    Error,
    Panic,
    /// Values for some keys, errors for others, nothing for the rest.
    Mixed,
}

/// The payload of panics that are part of the plan.
pub struct Planned;

/// Whether something came between the beginning of a load and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overtaken {
    No,
    /// The write was conditional and did nothing; a load may take it as it likes.
    Maybe,
    At(u64),
    /// It may be stored over the value of this number, whatever else was written; and where that has gone
    /// by itself, which is if nothing was.
    Over(u64, bool),
}

struct Load {
    keys: Vec<u16>,
    overtaken: Vec<Overtaken>,
    ended: Option<u64>,
    told: Option<Told>,
    is_running: bool,
    waker: Option<Waker>,
}

/// What a load came to for a key.
pub type Landed = (u16, Answer, Overtaken);

/// A future to be run in the background.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct Book {
    now: u64,
    serial: u64,
    alive: Arc<()>,
    loads: Vec<Load>,
    /// What the next load is told at once.
    next: Option<Told>,
    landed: Vec<Landed>,
    reported: Vec<(Value, RemovalCause)>,
    spawned: Vec<Background>,
}

/// A way to the book.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Book>>);

impl Book {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn value(&mut self, key: u16) -> Value {
        self.serial += 1;
        Value { key, serial: self.serial, _alive: Arc::clone(&self.alive) }
    }

    fn running(&self) -> impl Iterator<Item = &Load> {
        self.loads.iter().filter(|load| load.is_running)
    }

    fn each_running(&mut self, mut act: impl FnMut(u16, &mut Overtaken)) {
        for load in self.loads.iter_mut().filter(|load| load.is_running) {
            for (key, overtaken) in load.keys.iter().zip(&mut load.overtaken) {
                act(*key, overtaken);
            }
        }
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A new moment.
    pub fn tick(&self) -> u64 {
        self.lock().tick()
    }

    /// A new value.
    pub fn value(&self, key: u16) -> Value {
        self.lock().value(key)
    }

    /// The values there are.
    pub fn alive(&self) -> usize {
        let mut book = self.lock();
        book.reported.clear();
        book.landed.clear();
        Arc::strong_count(&book.alive) - 1
    }

    /// A load of these keys, which begins when it is first polled.
    pub fn load(&self, keys: Vec<u16>) -> Loading {
        Loading { shelf: self.clone(), keys, number: None }
    }

    pub fn is_running(&self, key: u16) -> bool {
        self.lock().running().any(|load| load.keys.contains(&key))
    }

    /// Whether the load of this key that is running was told what to come to.
    pub fn is_told(&self, key: u16) -> bool {
        let book = self.lock();
        book.running().any(|load| load.keys.contains(&key) && load.told.is_some())
    }

    /// Tells one of the loads that run what to come to; answers whether there was one to be told.
    pub fn tell(&self, index: usize, told: Told) -> bool {
        let mut book = self.lock();
        let waiting = |load: &&mut Load| load.is_running && load.told.is_none();
        let mut waiting: Vec<&mut Load> = book.loads.iter_mut().filter(waiting).collect();
        if waiting.is_empty() {
            return false;
        }
        let index = index % waiting.len();
        waiting[index].told = Some(told);
        let waker = waiting[index].waker.take();
        drop(book);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// The next load will find that it was told already.
    pub fn tell_next(&self, told: Told) {
        self.lock().next = Some(told);
    }

    /// Takes back what the next load was to be told.
    pub fn take_next(&self) -> Option<Told> {
        self.lock().next.take()
    }

    /// Tells the load that began last.
    pub fn tell_last(&self, told: Option<Told>) {
        self.lock().loads.last_mut().expect("a load").told = told;
    }

    /// What a load gave last will be stored through an entry that saw this value.
    pub fn entered_last(&self, seen: Option<&Value>) {
        let mut book = self.lock();
        let Some((_, _, overtaken)) = book.landed.last_mut() else { return };
        *overtaken = match (seen, *overtaken) {
            (Some(seen), other) => Overtaken::Over(seen.serial, matches!(other, Overtaken::At(_))),
            (None, Overtaken::No) => Overtaken::Maybe,
            (None, other) => other,
        };
    }

    /// The keys of which this holds are written or removed.
    pub fn overtake(&self, which: impl Fn(u16) -> bool) {
        let mut book = self.lock();
        let now = book.tick();
        book.each_running(|key, overtaken| {
            if which(key) && !matches!(overtaken, Overtaken::At(_)) {
                *overtaken = Overtaken::At(now);
            }
        });
    }

    /// The same of a write that did nothing.
    pub fn maybe_overtake(&self, which: impl Fn(u16) -> bool) {
        self.lock().each_running(|key, overtaken| {
            if which(key) && *overtaken == Overtaken::No {
                *overtaken = Overtaken::Maybe;
            }
        });
    }

    /// What was loaded since this was last asked.
    pub fn take_landed(&self) -> Vec<Landed> {
        std::mem::take(&mut self.lock().landed)
    }

    pub fn report(&self, value: &Value, cause: RemovalCause) {
        self.lock().reported.push((value.clone(), cause));
    }

    /// What left after the first `seen` that did.
    pub fn reported(&self, seen: usize) -> Vec<(Value, RemovalCause)> {
        self.lock().reported[seen..].to_vec()
    }

    pub fn was_reported(&self, value: &Value, seen: usize) -> bool {
        self.lock().reported[seen..].iter().any(|(left, _)| left == value)
    }

    pub fn spawn(&self, load: Background) {
        self.lock().spawned.push(load);
    }

    pub fn take_spawned(&self) -> Vec<Background> {
        std::mem::take(&mut self.lock().spawned)
    }

    /// How many loads began, or will when they are spawned.
    pub fn begun(&self) -> usize {
        let book = self.lock();
        book.loads.len() + book.spawned.len()
    }

    /// Whose failure that is, and when it was overtaken or over.
    pub fn whose(&self, why: &Why, key: u16, began: u64) -> (u16, Option<u64>) {
        let book = self.lock();
        let of = |load: &Load| {
            let at = load.keys.iter().position(|&other| other == key)?;
            let died = match load.overtaken[at] {
                Overtaken::At(when) => Some(when),
                _ => load.ended,
            };
            Some((key, died))
        };
        let is_alive = |found: &(u16, Option<u64>)| found.1.is_none_or(|died| died > began);
        match *why {
            Why::Failed(number) => of(&book.loads[number]).unwrap_or((u16::MAX, None)),
            Why::NotFound | Why::Panicked => {
                let as_told = if *why == Why::Panicked { Told::Panic } else { Told::Mixed };
                let told = book.loads.iter().filter(|load| load.told == Some(as_told));
                told.filter_map(of).find(is_alive).unwrap_or((u16::MAX, None))
            }
            Why::Other(ref what) => panic!("{what}"),
        }
    }
}

/// A load: runs from its first poll until it was told what to come to.
pub struct Loading {
    shelf: Shelf,
    keys: Vec<u16>,
    number: Option<usize>,
}

impl Loading {
    fn begin(&mut self) -> usize {
        let mut book = self.shelf.lock();
        for key in &self.keys {
            let others = book.running().any(|load| load.keys.contains(key));
            assert!(!others, "two loads of {key} at once");
        }
        let told = book.next.take();
        let overtaken = vec![Overtaken::No; self.keys.len()];
        let (keys, ended) = (self.keys.clone(), None);
        book.loads.push(Load { keys, overtaken, ended, told, is_running: true, waker: None });
        book.loads.len() - 1
    }

    fn end(&mut self, number: usize, told: Told) -> Vec<Answer> {
        let mut book = self.shelf.lock();
        let now = book.tick();
        book.loads[number].is_running = false;
        book.loads[number].ended = Some(now);
        let each = self.keys.clone().into_iter().enumerate();
        let answers: Vec<Answer> = each
            .map(|(at, key)| {
                let answer = match (told, at % 3) {
                    (Told::Value, _) | (Told::Mixed, 1) => Ok(book.value(key)),
                    (Told::Mixed, 0) => Err(Why::NotFound),
                    (Told::Panic, _) => Err(Why::Panicked),
                    _ => Err(Why::Failed(number)),
                };
                let overtaken = book.loads[number].overtaken[at];
                book.landed.push((key, answer.clone(), overtaken));
                answer
            })
            .collect();
        drop(book);
        if told == Told::Panic {
            resume_unwind(Box::new(Planned));
        }
        answers
    }
}

impl Future for Loading {
    type Output = Vec<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<Answer>> {
        let number = match self.number {
            Some(number) => number,
            None => self.begin(),
        };
        self.number = Some(number);
        let mut book = self.shelf.lock();
        let Some(told) = book.loads[number].told else {
            book.loads[number].waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        drop(book);
        Poll::Ready(self.end(number, told))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = {
                let mut book = self.shelf.lock();
                book.loads[number].is_running = false;
                book.loads[number].waker.take()
            };
            drop(waker);
        }
    }
}
