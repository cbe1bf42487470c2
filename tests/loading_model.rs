//! Random interleavings of loads, their callers and writers, on one thread that polls by hand,
//! against a naive model.
//!
//! After every step:
//! - at most one load (or held entry) per key is running (P15);
//! - whoever waits was woken, or waits for a load of its key that is running (P17);
//! - what is stored is exactly what the model says, so nothing that was overtaken by a write is
//!   (P16), unless the listener was told that it was evicted or refused;
//! - every invariant of the cache holds.
//!
//! A cache can be told to remember more than values in their time: that nothing was found, that loading failed
//! (for a time that grows with every failure in a row, less a part by chance), and values past
//! their time. Who asks for a key of which the model knows what is remembered is given that at once,
//! and no load begins, unless the value is old enough to be loaded anew: then one begins, and only
//! one. Who asks later than anything can be remembered is not given it.
//!
//! **What a caller may be given.** A value is *dead* from the moment it was replaced, removed or
//! expired; one that is being loaded, from the moment its key was written or removed. A caller is
//! given a value (or an error) of its key that was not dead when it was first polled; an error of a
//! load that was over then must have been remembered. If the value was stored then, it is given that
//! one, at once. With the check of what is stored this makes operations on one key linearizable, where
//! a call that shares a load stands at its beginning.
//!
//! At the end all loads come to their end and all callers to theirs; no flight is left, and no value.

#[path = "common/book.rs"]
mod book;
mod common;
#[path = "common/memory.rs"]
mod memory;
#[path = "common/ops.rs"]
mod ops;
#[path = "common/subjects.rs"]
mod subjects;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Poll,
    time::Duration,
};

use book::{Answer, Overtaken, Shelf, Told, Value, Why};
use larder::{RemovalCause, time::ManualTicker};
use memory::{KEEPINGS, Keeping, Kept, Memory, Must, PLAIN};
use ops::{Op, Write, ops};
use proptest::prelude::*;
use subjects::{Adhoc, Kind, Loading, Options, Subject};
use tasks::Task;

const KEYS: u16 = 5;
/// How long values live, in milliseconds.
const TTL: u64 = 700;
/// Keys have the tag of their remainder.
const TAGS: u16 = 3;

/// Somebody who asked, or who runs a load in the background.
struct Caller {
    keys: Vec<u16>,
    kind: Kind,
    /// When it was first polled.
    began: Option<u64>,
    /// What was remembered of its keys then, where they had no value.
    remembered: Vec<(u16, Why)>,
    task: Task<Vec<Answer>>,
}

impl Caller {
    fn new(keys: Vec<u16>, kind: Kind, task: Task<Vec<Answer>>) -> Self {
        Self { keys, kind, began: None, remembered: vec![], task }
    }
}

struct Run<S: Subject> {
    subject: S,
    shelf: Shelf,
    options: Options,
    ticker: ManualTicker,
    callers: Vec<Caller>,
    /// The values that are resident.
    model: HashMap<u16, Kept>,
    /// What is remembered of other keys.
    memory: Memory,
    /// When values died.
    dead: HashMap<u64, u64>,
    now: u64,
    told: usize,
}

impl<S: Subject> Run<S> {
    fn new(options: Options) -> Self {
        let (shelf, ticker) = (Shelf::default(), ManualTicker::new());
        Self {
            subject: S::new(&options, &shelf, &ticker),
            shelf,
            options,
            ticker,
            callers: Vec::new(),
            model: HashMap::new(),
            memory: Memory::default(),
            dead: HashMap::new(),
            now: 0,
            told: 0,
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Ask(key, kind) => self.ask(key, kind),
            Op::Poll(index) if !self.callers.is_empty() => {
                self.poll(usize::from(index) % self.callers.len());
            }
            Op::PollWoken(index) => drop(self.poll_woken(index.into())),
            Op::Tell(load, told) => drop(self.shelf.tell(load.into(), told)),
            Op::Drop(index) if !self.callers.is_empty() => {
                drop(self.callers.swap_remove(usize::from(index) % self.callers.len()));
            }
            // What was spawned and did not begin yet would not while this blocks.
            Op::Block(key, told, overtake)
                if !self.shelf.is_running(key) && !self.options.spawns =>
            {
                self.block(key, told, overtake);
            }
            Op::Fail(key, times) => (0..times).for_each(|_| self.fail(key)),
            Op::Write(write) => self.write(write),
            Op::Advance(by) => {
                self.now += u64::from(by);
                self.ticker.advance(Duration::from_millis(by.into()));
            }
            _ => {}
        }
        self.after_step();
    }

    fn ask(&mut self, key: u16, kind: Kind) {
        let keys = match kind {
            Kind::Many => vec![key, (key + 1) % KEYS, (key + 3) % KEYS],
            _ => vec![key],
        };
        let task = self.subject.ask(&keys, kind, &self.shelf);
        self.callers.push(Caller::new(keys, kind, task));
        self.poll(self.callers.len() - 1);
    }

    /// Has a key loaded anew; if that load begins now, it fails.
    fn fail(&mut self, key: u16) {
        self.shelf.tell_next(Told::Error);
        self.ask(key, Kind::Refresh);
        self.after_step();
        self.shelf.take_next();
    }

    fn poll_woken(&mut self, index: usize) -> bool {
        let woken = self.callers.iter().enumerate().filter(|(_, caller)| caller.task.is_woken());
        let woken: Vec<usize> = woken.map(|(number, _)| number).collect();
        if !woken.is_empty() {
            self.poll(woken[index % woken.len()]);
        }
        !woken.is_empty()
    }

    fn poll(&mut self, index: usize) {
        if self.callers[index].began.is_none() {
            return self.poll_first(index);
        }
        let caller = &mut self.callers[index];
        let polled = catch_unwind(AssertUnwindSafe(|| caller.task.poll()));
        self.polled(index, polled);
    }

    /// Polls a caller who has just come.
    fn poll_first(&mut self, index: usize) {
        let must = self.must(index);
        let (now, begun) = (self.now, self.shelf.begun());
        let caller = &mut self.callers[index];
        caller.began = Some(self.shelf.tick());
        caller.remembered = self.memory.of(&caller.keys, now);
        let polled = catch_unwind(AssertUnwindSafe(|| caller.task.poll()));
        let begun = self.shelf.begun() - begun;
        match must {
            Must::May => return self.polled(index, polled),
            Must::Load => {
                assert!(polled.is_ok_and(|polled| polled.is_pending()), "it was due");
                return assert_eq!(begun, 1, "loads of what is old");
            }
            Must::Serve(answer) => {
                assert_eq!(polled.ok(), Some(Poll::Ready(vec![answer])), "not what is kept");
                assert_eq!(begun, 0, "loads of what is good");
            }
            Must::ServeAndSpawn(value) => {
                assert_eq!(polled.ok(), Some(Poll::Ready(vec![Ok(value)])), "not what is stored");
                assert_eq!(begun, 1, "loads of what is old");
            }
        }
        self.callers.swap_remove(index);
    }

    /// What must come of polling this one for the first time.
    fn must(&self, index: usize) -> Must {
        let caller = &self.callers[index];
        let Some(&key) = caller.keys.first().filter(|_| caller.kind.is_served_at_once()) else {
            return Must::May;
        };
        let others = self.callers.iter().enumerate().filter(|(other, _)| *other != index);
        let is_asked = others.map(|(_, other)| other).any(|other| other.keys.contains(&key));
        self.must_of(key, is_asked)
    }

    /// The same of asking for a key, for which others may wait.
    fn must_of(&self, key: u16, is_asked: bool) -> Must {
        if let Some(known) = self.memory.get(key) {
            let is_told = known.is_sure && self.now < known.until.0;
            return if is_told { Must::Serve(Err(known.why.clone())) } else { Must::May };
        }
        let Some(kept) = self.model.get(&key) else { return Must::May };
        let value = kept.value.clone();
        let is_served_meanwhile = self.now < kept.stale_until;
        if self.now < kept.due.0 || is_served_meanwhile && self.shelf.is_running(key) {
            return Must::Serve(Ok(value));
        }
        match () {
            () if !is_served_meanwhile => Must::May,
            () if is_asked || self.now < kept.due.1 => Must::May,
            () if self.options.spawns => Must::ServeAndSpawn(value),
            () => Must::Load,
        }
    }

    fn polled(&mut self, index: usize, polled: std::thread::Result<Poll<Vec<Answer>>>) {
        self.land();
        let answers = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(answers)) => answers,
            Err(panic) if panic.is::<book::Planned>() => vec![],
            Err(panic) => resume_unwind(panic),
        };
        let caller = self.callers.swap_remove(index);
        let began = caller.began.expect("was polled");
        for (key, answer) in caller.keys.iter().zip(answers) {
            self.check(*key, began, &answer, &caller.remembered);
        }
    }

    /// Whether a caller may be given that.
    fn check(&self, key: u16, began: u64, answer: &Answer, remembered: &[(u16, Why)]) {
        let is_remembered = |why: &Why| remembered.iter().any(|known| *known == (key, why.clone()));
        let (whose, died) = match answer {
            Ok(value) => (value.key, self.dead.get(&value.serial).copied()),
            Err(why) if is_remembered(why) => return,
            Err(why) => self.shelf.whose(why, key, began),
        };
        assert_eq!(whose, key, "another key's {answer:?}");
        assert!(died.is_none_or(|died| died > began), "{answer:?} was dead when it was asked for");
    }

    /// A blocking call, which finds nobody to wait for.
    fn block(&mut self, key: u16, told: Told, overtake: Option<Write>) {
        let began = self.shelf.tick();
        let is_asked = self.callers.iter().any(|caller| caller.keys.contains(&key));
        let must = self.must_of(key, is_asked);
        let remembered = self.memory.of(&[key], self.now);
        self.shelf.tell_next(told);
        let (subject, shelf) = (self.subject.clone(), self.shelf.clone());
        let answer = catch_unwind(AssertUnwindSafe(|| {
            subject.block(key, &shelf, || {
                if let Some(write) = overtake {
                    self.write(write);
                }
            })
        }));
        let is_loaded = self.shelf.take_next().is_none();
        self.land();
        match (must, answer) {
            (Must::Serve(kept), answer) => {
                assert_eq!(answer.ok(), Some(kept), "not what is kept");
                assert!(!is_loaded, "what is good was loaded");
            }
            (_, Ok(answer)) => self.check(key, began, &answer, &remembered),
            (_, Err(panic)) if panic.is::<book::Planned>() => {}
            (_, Err(panic)) => resume_unwind(panic),
        }
    }

    /// Stores in the model what was loaded since.
    fn land(&mut self) {
        for (key, answer, overtaken) in self.shelf.take_landed() {
            match answer {
                Ok(value) => self.land_value(value, overtaken),
                Err(why) if S::FORGETS => self.land_nothing(key, why, overtaken),
                Err(_) => {}
            }
        }
    }

    fn land_value(&mut self, value: Value, overtaken: Overtaken) {
        let is_stored = match overtaken {
            Overtaken::No => true,
            Overtaken::At(when) => {
                self.dead.insert(value.serial, when);
                false
            }
            Overtaken::Maybe => self.was_stored(&value),
            Overtaken::Over(seen, is_written) => {
                let known = self.model.get(&value.key).map(|kept| kept.value.serial);
                known.map_or(!is_written, |known| known == seen) && self.was_stored(&value)
            }
        };
        if is_stored {
            self.put(value);
        }
    }

    fn was_stored(&self, value: &Value) -> bool {
        self.subject.peek(value.key).as_ref() == Some(value)
            || self.shelf.was_reported(value, self.told)
    }

    /// A load found nothing, or failed. What some tag's removal overtook is not remembered.
    fn land_nothing(&mut self, key: u16, why: Why, overtaken: Overtaken) {
        if matches!(overtaken, Overtaken::At(_)) {
            return;
        }
        let is_unsure = overtaken != Overtaken::No;
        let (now, keeping) = (self.now, self.options.keeping);
        let is_absence = why == Why::NotFound;
        // What the same load brought for other keys may have driven the value out.
        let is_there = self.subject.peek(key).is_some();
        let useful = self.model.get_mut(&key).filter(|kept| now < kept.ends && is_there);
        if let Some(kept) = useful.filter(|_| !is_absence) {
            return keeping.fail_again(kept, now, is_unsure);
        }
        let known = if is_absence {
            keeping.nothing(now)
        } else {
            let before = self.memory.failures(key, self.model.get(&key), now);
            keeping.failed(why, before, now)
        };
        if is_unsure {
            self.memory.doubt(key);
            if is_absence && !is_there {
                self.kill(|other, _| other == key);
            }
        } else if is_absence || known.is_some() {
            self.kill(|other, _| other == key);
            self.memory.forget(|other| other == key);
            if let Some(mut known) = known {
                // Where there is not room for all, nobody is told that it was evicted.
                known.is_sure = self.options.capacity >= KEYS.into();
                self.memory.keep(key, known);
            }
        }
    }

    fn put(&mut self, value: Value) {
        let key = value.key;
        self.memory.forget(|other| other == key);
        let kept = self.options.keeping.value(value, self.now);
        if let Some(old) = self.model.insert(key, kept) {
            self.dead.insert(old.value.serial, self.shelf.tick());
        }
    }

    fn kill(&mut self, is_dead: impl Fn(u16, &Value) -> bool) {
        let died = self.shelf.tick();
        let dead = &mut self.dead;
        self.model.retain(|&key, kept| {
            let dies = is_dead(key, &kept.value);
            if dies {
                dead.insert(kept.value.serial, died);
            }
            !dies
        });
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each operation")]
    fn write(&mut self, write: Write) {
        self.settle();
        let subject = self.subject.clone();
        let shelf = self.shelf.clone();
        match write {
            Write::Insert(key) => {
                shelf.overtake(|other| other == key);
                let value = shelf.value(key);
                let old = subject.insert(key, value.clone());
                let known = self.stored(key);
                assert_eq!(old, known, "another value was replaced");
                self.put(value);
            }
            Write::InsertIfAbsent(key) | Write::ReplaceIf(key, _) => {
                let is_there = self.model.contains_key(&key);
                let (value, is_wanted) = (
                    shelf.value(key),
                    match write {
                        Write::ReplaceIf(_, wanted) => wanted && is_there,
                        _ => !is_there,
                    },
                );
                let stored = match write {
                    Write::ReplaceIf(_, wanted) => subject.replace_if(key, value.clone(), wanted),
                    _ => subject.insert_if_absent(key, value.clone()),
                };
                let Some(stored) = stored else { return };
                assert_eq!(stored, is_wanted);
                // One that changes nothing overtakes nothing.
                if stored {
                    shelf.overtake(|other| other == key);
                    self.put(value);
                }
            }
            Write::Remove(key) => {
                shelf.overtake(|other| other == key);
                let removed = subject.remove(key);
                let known = self.stored(key);
                assert_eq!(removed, known, "another value was removed");
                self.kill(|other, _| other == key);
                self.memory.forget(|other| other == key);
            }
            Write::Clear => {
                shelf.overtake(|_| true);
                subject.clear();
                self.kill(|_, _| true);
                self.memory.forget(|_| true);
            }
            Write::Retain(third) => {
                shelf.overtake(|_| true);
                subject.retain(move |value| value.serial % 3 != u64::from(third));
                self.kill(|_, value| value.serial % 3 == u64::from(third));
                self.memory.forget(|_| true);
            }
            Write::RemoveTag(tag) => {
                // Those of other keys too, if no value has the tag yet.
                shelf.maybe_overtake(|key| key % TAGS != tag);
                shelf.overtake(|key| key % TAGS == tag);
                subject.remove_tag(tag);
                self.kill(|key, _| key % TAGS == tag);
            }
            Write::NoCapacity => {
                shelf.overtake(|_| true);
                subject.set_capacity(0);
                assert_eq!(subject.weight(), 0);
                self.memory.forget(|_| true);
                self.settle();
                assert!(self.model.is_empty(), "not reported");
                subject.set_capacity(self.options.capacity);
            }
        }
    }

    /// Takes what the listener was told since into the model.
    fn settle(&mut self) {
        for (value, cause) in self.shelf.reported(self.told) {
            self.told += 1;
            let is_known = self.stored(value.key).is_some_and(|known| known == value);
            if is_known && matches!(cause, RemovalCause::Size | RemovalCause::Rejected) {
                self.model.remove(&value.key);
            }
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        let expired = self.model.iter().filter(|(_, kept)| kept.ends <= now);
        let keys: Vec<u16> = expired.map(|(&key, _)| key).collect();
        if !keys.is_empty() {
            self.kill(|key, _| keys.contains(&key));
        }
        self.memory.expire(now);
    }

    fn stored(&self, key: u16) -> Option<Value> {
        self.model.get(&key).map(|kept| kept.value.clone())
    }

    /// What is to be run in the background begins.
    fn spawn(&mut self) {
        for load in self.shelf.take_spawned() {
            let task = Task::new(async move {
                load.await;
                vec![]
            });
            self.callers.push(Caller::new(vec![], Kind::Load, task));
            self.poll(self.callers.len() - 1);
        }
    }

    fn after_step(&mut self) {
        self.spawn();
        self.land();
        self.settle();
        self.expire();
        for key in 0..KEYS {
            let known = self.stored(key);
            assert_eq!(self.subject.peek(key), known, "stored under {key}");
        }
        self.subject.validate();
        self.check_wakes();
    }

    /// Nobody waits for nothing.
    fn check_wakes(&self) {
        let is_woken = |key| {
            let mut on_key = self
                .callers
                .iter()
                .filter(|caller| caller.keys.contains(&key) || caller.kind == Kind::Load);
            on_key.any(|caller| caller.task.is_woken())
        };
        for caller in self.callers.iter().filter(|caller| !caller.task.is_woken()) {
            let runs = |&key: &u16| {
                self.shelf.is_running(key) && (!self.shelf.is_told(key) || is_woken(key))
            };
            // Who runs a load in the background has no keys of his own.
            assert!(
                caller.keys.is_empty() || caller.keys.iter().any(runs) || is_woken(KEYS),
                "{:?} of {:?} waits for nothing",
                caller.kind,
                caller.keys
            );
        }
    }

    /// Lets everything come to its end.
    fn finish(mut self) {
        loop {
            while self.poll_woken(0) {
                self.after_step();
            }
            if !self.shelf.tell(0, Told::Value) {
                break;
            }
        }
        if let Some(Caller { kind, keys, .. }) = self.callers.first() {
            panic!("{kind:?} of {keys:?} was forgotten");
        }
        assert_eq!(self.subject.flights(), 0, "a flight was left");
        self.subject.clear();
        self.subject.validate();
        self.model.clear();
        let Self { subject, shelf, .. } = self;
        drop(subject);
        assert_eq!(shelf.alive(), 0, "values were left");
    }
}

fn run<S: Subject>(ops: &[Op], options: Options) {
    println!("{options:?}");
    let mut run = Run::<S>::new(options);
    for op in ops {
        run.step(op);
    }
    run.finish();
}

/// Every number of stripes, with several policies, with room for all and not.
fn each(keeping: Keeping, test: impl Fn(Options)) {
    for (policy, capacity) in [("lru", 100), ("sieve", 2), ("adaptive", 3)] {
        for &stripes in common::STRIPES {
            for spawns in [false, true] {
                test(Options { policy, capacity, stripes, spawns, keeping });
            }
        }
    }
}

/// A few cases; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(48, |_| asked.cases);
    ProptestConfig { cases, max_shrink_iters: 2000, failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn callers_own_loads_agree_with_the_model(ops in ops()) {
        each(PLAIN, |options| if !options.spawns { run::<Adhoc>(&ops, options) });
    }

    #[test]
    fn the_loaders_loads_agree_with_the_model(ops in ops()) {
        each(PLAIN, |options| run::<Loading>(&ops, options));
    }

    #[test]
    fn what_is_remembered_agrees_with_the_model(ops in ops()) {
        for keeping in KEEPINGS {
            each(keeping, |options| run::<Loading>(&ops, options));
        }
    }
}
