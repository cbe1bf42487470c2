//! Operations on a cache, as the input says, and what must come of them.

mod compute;
mod look;
mod panics;
mod steer;
mod sweep;
mod walk;
mod write;

use std::{
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use larder::RemovalCause;

use crate::{
    bytes::Bytes,
    fuse,
    kinds::Kind,
    model::{Doing, Expected, Model, Span},
    settings::{Clock, Settings, Tried, notices, ruled_at_read, ruled_at_write, tags},
};
use walk::Walk;

/// The most operations on one cache.
const MOST_STEPS: usize = 600;
/// How much earlier than asked entries may expire: a tick.
const TICK: u64 = 1100;
/// The same far ahead.
const FAR_TICK: u64 = 1_100_000;
/// From when on that is far (nanoseconds).
const FAR: u64 = 36_000_000_000_000;

/// Whether something that is being computed was overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Overtaken {
    No,
    Perhaps,
    Yes,
}

/// A key whose value is being computed.
#[derive(Clone, Copy, Debug)]
struct Computing {
    key: u16,
    overtaken: Overtaken,
    /// Whether there is a value already.
    has_value: bool,
}

/// How long a value lives that is written.
#[derive(Clone, Copy, Debug)]
enum Own {
    Rules,
    Ttl(Duration),
}

pub struct Run<T: Kind> {
    settings: Settings,
    cache: Tried<T>,
    clock: Clock,
    model: Model,
    serial: u32,
    /// Look-ups that found something, and that did not.
    looks: (u64, u64),
    loads: u64,
    /// Versions that were asked for, with what had them.
    noted: Vec<(u16, u64, u32)>,
    walk: Option<Walk<T>>,
    /// What is being computed.
    computing: Vec<Computing>,
    early: u64,
    /// Whether a panic left the statistics unknown.
    has_panicked: bool,
    steps: usize,
}

/// Runs an input.
pub fn run<T: Kind>(bytes: &mut Bytes<'_>) {
    fuse::forget();
    let settings = Settings::of(bytes);
    if is_watched() {
        eprintln!("{settings:?}");
    }
    let clock = Clock::default();
    let cache = settings.build::<T>(&clock);
    let model = Model { capacity: settings.capacity, ..Model::default() };
    let mut run = Run::<T> {
        settings,
        cache,
        clock,
        model,
        serial: 0,
        looks: (0, 0),
        loads: 0,
        noted: Vec::new(),
        walk: None,
        computing: Vec::new(),
        early: TICK,
        has_panicked: false,
        steps: 0,
    };
    let lives = [run.settings.time_to_live, run.settings.time_to_idle];
    lives.into_iter().flatten().for_each(|time| run.note_time(time));
    if run.settings.expiry.is_some() {
        run.early = FAR_TICK;
    }
    run.call_back(bytes.byte());
    while !bytes.is_over() && run.steps < MOST_STEPS {
        run.steps += 1;
        run.model.doing = Doing::default();
        let done = fuse::catch(|| run.step(bytes));
        if fuse::disarm() {
            run.recover();
        } else {
            assert!(done.is_some());
            run.check();
        }
    }
    run.check_each();
    fuse::call_back(None);
    drop(run);
    assert_eq!(fuse::alive(), 0, "keys or values were leaked, or dropped twice");
}

impl<T: Kind> Run<T> {
    fn now(&self) -> u64 {
        self.clock.nanos()
    }

    fn expect(&self, key: u16) -> Expected {
        self.model.expect(key, self.now())
    }

    /// What the user's code does with the cache.
    fn call_back(&self, how: u8) {
        let cache = self.cache.clone();
        fuse::call_back(match how % 4 {
            0 | 1 => None,
            how => Some(Box::new(move || {
                assert!(cache.weight() <= cache.capacity());
                drop(cache.peek(&T::key(1)));
                if how == 3 {
                    cache.run_maintenance();
                }
            })),
        });
    }

    fn note_time(&mut self, time: Duration) {
        if time.as_nanos() >= u128::from(FAR) && time != Duration::MAX {
            self.early = FAR_TICK;
        }
    }

    fn key(&self, bytes: &mut Bytes<'_>) -> u16 {
        bytes.short() % self.settings.keys
    }

    /// A new value's serial number; its lowest byte says what it weighs, and how long it lives.
    fn fresh(&mut self, bytes: &mut Bytes<'_>) -> u32 {
        self.serial += 1;
        self.serial << 8 | u32::from(bytes.byte())
    }

    fn after(&self, time: Option<Duration>) -> Span {
        let Some(time) = time else { return Span::NEVER };
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Span::after(self.now(), nanos, self.early)
    }

    fn idle(&self) -> Span {
        self.after(self.settings.time_to_idle)
    }

    /// Whether an entry's limits are apart from what its expiry says.
    fn limits_reads(&self) -> bool {
        self.settings.time_to_idle.is_none()
            && self.settings.expiry.is_some_and(|ruling| ruling.watches_reads())
    }

    /// The limit and the deadline of what is written now.
    fn life(&self, own: Own, ruled: Option<Option<Duration>>) -> (Span, Span) {
        let own = match own {
            Own::Rules => Span::NEVER,
            Own::Ttl(time) => self.after(Some(time)),
        };
        let limit = own.min(self.after(self.settings.time_to_live));
        let ruled = ruled.map_or(Span::NEVER, |ruled| self.after(ruled));
        if self.limits_reads() {
            (limit, limit.min(ruled))
        } else {
            let limit = limit.min(ruled);
            (limit, limit.min(self.idle()))
        }
    }

    /// An entry was used.
    fn used(&mut self, key: u16, is_read: bool) {
        let ruled = ruled_at_read().filter(|_| is_read).map(|ruled| self.after(ruled));
        let watches = self.settings.expiry.is_some_and(|ruling| ruling.watches_reads());
        assert!(!is_read || !watches || ruled.is_some(), "the expiry was not asked");
        let (limits_reads, idle) = (self.limits_reads(), self.idle());
        let is_idle = self.settings.time_to_idle.is_some();
        let is_limited = self.settings.time_to_live.is_some();
        let Some(item) =
            self.model.current.get(&key).and_then(|serial| self.model.items.get_mut(serial))
        else {
            return;
        };
        if let Some(ruled) = ruled {
            if limits_reads {
                item.deadline = item.limit.min(ruled);
                return;
            }
            item.limit = if is_limited { ruled.min(item.limit) } else { ruled };
            item.deadline = item.limit.min(idle);
        } else if is_idle {
            item.deadline = item.limit.min(idle);
        }
    }

    /// A look-up's answer.
    fn check_look(&mut self, key: u16, got: Option<u32>) {
        let expected = self.expect(key);
        assert!(expected.allows(got), "key {key}: {got:?}, and not {expected:?}");
        // What is dead lives again if the clock goes back.
        if got.is_none() && !self.model.has_gone_back {
            self.model.lose(key, self.settings.is_heard);
        }
    }

    /// A look-up that is counted, and a use of the entry.
    fn check_use(&mut self, key: u16, got: Option<u32>, is_read: bool) {
        self.check_look(key, got);
        if got.is_some() {
            self.looks.0 += 1;
            self.used(key, is_read);
        } else {
            self.looks.1 += 1;
        }
    }

    /// Takes what the listener was told since into the model.
    fn settle(&mut self) {
        for notice in notices() {
            if is_watched() {
                eprintln!("  told of {notice:?}");
            }
            self.model.hear(notice);
        }
    }

    /// A value is about to be given to the cache.
    fn offer(&mut self, key: u16, serial: u32) {
        ruled_at_write();
        let weight = self.settings.weights.of(serial);
        if is_watched() {
            eprintln!("  offers {serial} for {key}, of {weight}, at {}", self.now());
        }
        self.model.offer(key, serial, weight, self.cache.weight());
    }

    /// A value was written unless the cache refused it.
    fn wrote(&mut self, key: u16, serial: u32, own: Own, before: Expected) {
        let ruled = ruled_at_write();
        let (limit, deadline) = self.life(own, ruled);
        if let Some(item) = self.model.items.get_mut(&serial) {
            (item.limit, item.deadline) = (limit, deadline);
        }
        self.settle();
        let (now, is_heard) = (self.now(), self.settings.is_heard);
        let Some(item) = self.model.items.get_mut(&serial) else {
            // It was told of.
            let weight = self.settings.weights.of(serial);
            let may_be_refused = weight > self.model.capacity || deadline.may_be_over(now);
            assert!(!before.is_sure() || may_be_refused, "an update was refused");
            return self.model.lose(key, is_heard);
        };
        item.is_stored = true;
        let is_over = deadline.is_over(now);
        let is_refused = item.weight > self.model.capacity || is_over;
        let is_vague =
            deadline.may_be_over(now) || (self.model.doing.is_crowded && !before.is_sure());
        if is_heard {
            assert!(!is_refused || self.model.has_gone_back, "it was refused, and not told of");
        } else if is_refused {
            self.model.items.remove(&serial);
            return self.model.lose(key, is_heard);
        }
        if !is_heard && self.model.doing.is_crowded {
            self.model.blur();
        }
        if !before.is_sure() {
            self.model.changed.insert(key);
        }
        if !is_heard && let Some(old) = self.model.current.get(&key) {
            self.model.items.remove(old);
        }
        self.model.current.insert(key, serial);
        let item = self.model.items.get_mut(&serial).expect("just seen");
        item.is_vague = is_vague && !is_heard;
    }

    /// A write or removal that wins over what is being computed.
    fn overtake(&mut self, key: u16) {
        let is_good = self.settings.hashing.is_good();
        for Computing { key: other, overtaken, .. } in &mut self.computing {
            if *other == key {
                *overtaken = Overtaken::Yes;
            } else if !is_good {
                *overtaken = Overtaken::Perhaps.max(*overtaken);
            }
        }
    }

    fn overtake_all(&mut self, overtaken: Overtaken) {
        for computing in &mut self.computing {
            computing.overtaken = overtaken.max(computing.overtaken);
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let op = bytes.below(44);
        self.step_as(op, bytes);
    }

    fn step_as(&mut self, op: usize, bytes: &mut Bytes<'_>) {
        if is_watched() {
            eprintln!("{op} {:?}", bytes.rest().get(..6));
        }
        match op {
            0..4 => self.get(bytes),
            4 => self.peek(bytes),
            5..10 => self.insert(bytes, false),
            10 => self.insert(bytes, true),
            11 => self.insert_if_absent(bytes),
            12 | 13 => self.replace(bytes),
            14 => self.remove(bytes),
            15 => self.note_version(bytes),
            16..19 => self.compute(bytes),
            19..22 => self.load(bytes),
            22 => self.touch(bytes),
            23 => self.set_ttl(bytes),
            24 => self.expires_in(bytes),
            25 => self.get_many(bytes),
            26 => self.iterate(bytes),
            27 => self.rank(bytes),
            28 => self.retain(bytes),
            29 | 30 => self.remove_tag(bytes),
            31 => self.set_capacity(bytes),
            32 => self.clear(),
            33 => self.maintain(),
            34..37 => self.advance(bytes),
            37 => self.go_back(bytes),
            38 | 39 => self.fill(bytes),
            40 | 41 => self.walk(bytes),
            42 => self.arm(bytes),
            _ => self.look_around(),
        }
    }

    /// What holds after every operation.
    fn check(&mut self) {
        if is_watched() {
            let there: Vec<_> = self.cache.iter().map(|(key, _)| T::number(&key)).collect();
            let known: Vec<_> = (0..self.settings.keys).map(|key| self.expect(key)).collect();
            eprintln!("  {:?} {there:?} {known:?} {:?}", self.cache, self.model.doing);
        }
        self.settle();
        self.model.is_lenient = false;
        let Doing { is_crowded, is_blurred, .. } = self.model.doing;
        if !self.settings.is_heard && is_crowded && !is_blurred {
            self.model.blur();
        }
        assert!(self.cache.weight() <= self.cache.capacity());
        self.cache.validate();
        if self.settings.is_heard {
            assert_eq!(self.cache.len(), self.model.items.len(), "{:?}", self.model);
            assert_eq!(u128::from(self.cache.weight()), self.model.weight());
        }
        if self.settings.is_counted && !self.has_panicked {
            self.check_stats();
        }
        if self.steps.is_multiple_of(8) {
            self.check_each();
        }
    }

    fn check_stats(&self) {
        let stats = self.cache.stats();
        assert_eq!((stats.hits, stats.misses), self.looks, "look-ups");
        assert_eq!(stats.loads, self.loads, "loads");
        if self.settings.is_heard {
            for cause in RemovalCause::ALL {
                let counted = stats.removals[cause];
                let told = self.model.told.get(&cause).copied().unwrap_or_default();
                assert_eq!((counted.count, counted.weight), told, "{cause}");
            }
            let came = stats.inserts + stats.updates;
            assert_eq!(came - self.model.left, self.cache.len() as u64, "{stats:?}");
        }
    }

    /// Every key has the value that it should have.
    fn check_each(&mut self) {
        for number in 0..self.settings.keys {
            let got = self.cache.peek(&T::key(number)).as_ref().map(T::serial);
            self.check_look(number, got);
        }
        self.settle();
    }
}

/// Whether to tell what is done.
fn is_watched() -> bool {
    static IS_WATCHED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("WATCH").is_some());
    *IS_WATCHED
}

/// What a future comes to that need not wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for nothing"),
    }
}

/// Whether a value has this tag.
fn has_tag(key: u16, serial: u32, tag: u16) -> bool {
    tags(key, serial).contains(&tag)
}
