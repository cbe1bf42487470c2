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
//! **What a caller may be given.** A value is *dead* from the moment it was replaced, removed or
//! expired; one that is being loaded, from the moment its key was written or removed. A caller is
//! given a value (or an error) of its key that was not dead when it was first polled. If the value was
//! stored then, it is given that one, at once. With the check of what is stored this makes
//! operations on one key linearizable, where a call that shares a load stands at its beginning.
//!
//! At the end all loads come to their end and all callers to theirs; no flight is left, and no value.

#[path = "common/book.rs"]
mod book;
mod common;
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

use book::{Answer, Overtaken, Shelf, Told, Value};
use larder::{RemovalCause, time::ManualTicker};
use proptest::prelude::*;
use subjects::{Adhoc, Kind, Loading, Options, Subject};
use tasks::Task;

const KEYS: u16 = 5;
/// How long values live, in milliseconds: less than until a reload that failed is tried again.
const TTL: u64 = 700;
/// Keys have the tag of their remainder.
const TAGS: u16 = 3;

#[derive(Clone, Debug)]
enum Op {
    Ask(u16, Kind),
    /// Polls one of the callers, woken or not.
    Poll(u8),
    /// Polls one that was woken.
    PollWoken(u8),
    Tell(u8, Told),
    Drop(u8),
    /// A blocking call whose load, if it comes to one, is overtaken in this way.
    Block(u16, Told, Option<Write>),
    Write(Write),
    Advance(u16),
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Insert(u16),
    InsertIfAbsent(u16),
    ReplaceIf(u16, bool),
    Remove(u16),
    Clear,
    Retain(u8),
    RemoveTag(u16),
    /// And back.
    NoCapacity,
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        6 => Just(Told::Value),
        2 => Just(Told::Error),
        1 => Just(Told::Panic),
        1 => Just(Told::Mixed),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (0..KEYS).prop_map(Write::Insert),
        1 => (0..KEYS).prop_map(Write::InsertIfAbsent),
        1 => (0..KEYS, any::<bool>()).prop_map(|(key, wanted)| Write::ReplaceIf(key, wanted)),
        4 => (0..KEYS).prop_map(Write::Remove),
        1 => Just(Write::Clear),
        1 => (0..3_u8).prop_map(Write::Retain),
        1 => (0..TAGS).prop_map(Write::RemoveTag),
        1 => Just(Write::NoCapacity),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        10 => (0..KEYS, any::<Kind>()).prop_map(|(key, kind)| Op::Ask(key, kind)),
        3 => any::<u8>().prop_map(Op::Poll),
        10 => any::<u8>().prop_map(Op::PollWoken),
        8 => (any::<u8>(), told()).prop_map(|(load, told)| Op::Tell(load, told)),
        5 => any::<u8>().prop_map(Op::Drop),
        2 => (0..KEYS, told(), prop::option::of(write()))
            .prop_map(|(key, told, write)| Op::Block(key, told, write)),
        7 => write().prop_map(Op::Write),
        1 => (1..800_u16).prop_map(Op::Advance),
    ];
    prop::collection::vec(op, 1..160)
}

/// Somebody who asked, or who runs a load in the background.
struct Caller {
    keys: Vec<u16>,
    kind: Kind,
    /// When it was first polled.
    began: Option<u64>,
    task: Task<Vec<Answer>>,
}

struct Run<S: Subject> {
    subject: S,
    shelf: Shelf,
    options: Options,
    ticker: ManualTicker,
    callers: Vec<Caller>,
    /// What may be resident, with its deadline in milliseconds.
    model: HashMap<u16, (Value, u64)>,
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
        self.callers.push(Caller { keys, kind, began: None, task });
        self.poll(self.callers.len() - 1);
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
        let caller = &mut self.callers[index];
        let is_first = caller.began.is_none();
        let began = *caller.began.get_or_insert_with(|| self.shelf.tick());
        let polled = catch_unwind(AssertUnwindSafe(|| caller.task.poll()));
        let hit = self.model.get(&caller.keys.first().copied().unwrap_or(KEYS)).cloned();
        if is_first && let Some((value, _)) = hit.filter(|_| caller.kind.is_served_at_once()) {
            assert_eq!(polled.ok(), Some(Poll::Ready(vec![Ok(value)])), "not what is stored");
            self.callers.swap_remove(index);
            return;
        }
        self.land();
        let answers = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(answers)) => answers,
            Err(panic) if panic.is::<book::Planned>() => vec![],
            Err(panic) => resume_unwind(panic),
        };
        let caller = self.callers.swap_remove(index);
        for (key, answer) in caller.keys.iter().zip(answers) {
            self.check(*key, began, &answer);
        }
    }

    /// Whether a caller may be given that.
    fn check(&self, key: u16, began: u64, answer: &Answer) {
        let (whose, died) = match answer {
            Ok(value) => (value.key, self.dead.get(&value.serial).copied()),
            Err(why) => self.shelf.whose(why, key, began),
        };
        assert_eq!(whose, key, "another key's {answer:?}");
        assert!(died.is_none_or(|died| died > began), "{answer:?} was dead when it was asked for");
    }

    /// A blocking call, which finds nobody to wait for.
    fn block(&mut self, key: u16, told: Told, overtake: Option<Write>) {
        let began = self.shelf.tick();
        let hit = self.model.get(&key).map(|(value, _)| value.clone());
        self.shelf.tell_next(told);
        let (subject, shelf) = (self.subject.clone(), self.shelf.clone());
        let answer = catch_unwind(AssertUnwindSafe(|| {
            subject.block(key, &shelf, || {
                if let Some(write) = overtake {
                    self.write(write);
                }
            })
        }));
        self.shelf.take_next();
        match answer {
            Ok(answer) if hit.is_some() => assert_eq!(answer.ok(), hit, "not what is stored"),
            Ok(answer) => {
                self.land();
                self.check(key, began, &answer);
            }
            Err(panic) if panic.is::<book::Planned>() => {}
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Stores in the model what was loaded since.
    fn land(&mut self) {
        for (key, value, overtaken) in self.shelf.take_landed() {
            if value.is_none() && !S::FORGETS {
                continue;
            }
            let is_stored = match overtaken {
                Overtaken::No => true,
                Overtaken::At(when) => {
                    value.as_ref().map(|value| self.dead.insert(value.serial, when));
                    false
                }
                Overtaken::Maybe => self.was_stored(key, value.as_ref()),
                Overtaken::Over(seen) => {
                    let known = self.model.get(&key).map(|(known, _)| known.serial);
                    known == Some(seen) && self.was_stored(key, value.as_ref())
                }
            };
            match value {
                Some(value) if is_stored => self.put(value),
                None if is_stored => self.kill(|other, _| other == key),
                _ => {}
            }
        }
    }

    fn was_stored(&self, key: u16, value: Option<&Value>) -> bool {
        let was_reported = |value| self.shelf.was_reported(value, self.told);
        self.subject.peek(key).as_ref() == value || value.is_some_and(was_reported)
    }

    fn put(&mut self, value: Value) {
        let deadline = self.now + TTL;
        if let Some((old, _)) = self.model.insert(value.key, (value, deadline)) {
            self.dead.insert(old.serial, self.shelf.tick());
        }
    }

    fn kill(&mut self, is_dead: impl Fn(u16, &Value) -> bool) {
        let died = self.shelf.tick();
        let dead = &mut self.dead;
        self.model.retain(|&key, (value, _)| {
            let dies = is_dead(key, value);
            if dies {
                dead.insert(value.serial, died);
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
                let known = self.model.get(&key).map(|(value, _)| value.clone());
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
                let known = self.model.get(&key).map(|(value, _)| value.clone());
                assert_eq!(removed, known, "another value was removed");
                self.kill(|other, _| other == key);
            }
            Write::Clear => {
                shelf.overtake(|_| true);
                subject.clear();
                self.kill(|_, _| true);
            }
            Write::Retain(third) => {
                shelf.overtake(|_| true);
                subject.retain(move |value| value.serial % 3 != u64::from(third));
                self.kill(|_, value| value.serial % 3 == u64::from(third));
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
            let is_known = self.model.get(&value.key).is_some_and(|(known, _)| *known == value);
            if is_known && matches!(cause, RemovalCause::Size | RemovalCause::Rejected) {
                self.model.remove(&value.key);
            }
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        let expired = |(_, deadline): &(Value, u64)| *deadline <= now;
        let keys: Vec<u16> =
            self.model.iter().filter(|(_, entry)| expired(entry)).map(|(&key, _)| key).collect();
        if !keys.is_empty() {
            self.kill(|key, _| keys.contains(&key));
        }
    }

    /// What is to be run in the background begins.
    fn spawn(&mut self) {
        for load in self.shelf.take_spawned() {
            let task = Task::new(async move {
                load.await;
                vec![]
            });
            self.callers.push(Caller { keys: vec![], kind: Kind::Load, began: None, task });
            self.poll(self.callers.len() - 1);
        }
    }

    fn after_step(&mut self) {
        self.spawn();
        self.land();
        self.settle();
        self.expire();
        for key in 0..KEYS {
            let known = self.model.get(&key).map(|(value, _)| value.clone());
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
fn each(test: impl Fn(Options)) {
    for (policy, capacity) in [("lru", 100), ("sieve", 2), ("adaptive", 3)] {
        for &stripes in common::STRIPES {
            for spawns in [false, true] {
                test(Options { policy, capacity, stripes, spawns });
            }
        }
    }
}

/// A few cases; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(24, |_| asked.cases);
    ProptestConfig { cases, max_shrink_iters: 2000, failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn callers_own_loads_agree_with_the_model(ops in ops()) {
        each(|options| if !options.spawns { run::<Adhoc>(&ops, options) });
    }

    #[test]
    fn the_loaders_loads_agree_with_the_model(ops in ops()) {
        each(|options| run::<Loading>(&ops, options));
    }
}
