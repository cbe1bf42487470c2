//! The options of a cache to be tried.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder::{Cache, Expiry, Removal, policy::AnyPolicy, time::Ticker};

use crate::{
    bytes::Bytes,
    fuse::{Site, pass},
    kinds::{Hashing, Kind},
};

/// The cache that is tried.
pub type Tried<T> = Cache<<T as Kind>::K, <T as Kind>::V, <T as Kind>::P, Hashing>;

/// A cache's options, and how it is used.
#[derive(Clone, Debug)]
pub struct Settings {
    pub policy: &'static str,
    pub capacity: u64,
    pub stripes: usize,
    pub initial: usize,
    pub weights: Weights,
    pub time_to_live: Option<Duration>,
    pub time_to_idle: Option<Duration>,
    pub expiry: Option<Ruling>,
    pub has_tags: bool,
    pub is_heard: bool,
    pub is_counted: bool,
    pub hashing: Hashing,
    pub panics: bool,
    pub keys: u16,
}

const CAPACITIES: &[u64] =
    &[0, 1, 2, 3, 5, 8, 13, 21, 40, 60, 100, 150, 300, 1000, 1 << 32, 1 << 63, u64::MAX];

impl Settings {
    pub fn of(bytes: &mut Bytes<'_>) -> Self {
        // What is not the usual case takes other ways, so the usual one should be usual here, too.
        let rare = if bytes.byte().is_multiple_of(3) { 0b1010_0000 } else { 0xff };
        let switches = bytes.byte() & rare;
        let has = |bit: u8| switches & 1 << bit != 0;
        let capacity = bytes.pick(CAPACITIES);
        Self {
            policy: bytes.pick(AnyPolicy::NAMES),
            capacity,
            stripes: 1 << bytes.below(4),
            initial: usize::from(bytes.byte()) * bytes.below(4),
            weights: Weights { mode: bytes.byte() & rare, capacity },
            time_to_live: has(0).then(|| bytes.duration()),
            time_to_idle: has(1).then(|| bytes.duration()),
            expiry: has(2).then(|| Ruling(bytes.byte())),
            has_tags: has(3),
            is_heard: has(4),
            is_counted: has(5),
            hashing: Hashing(bytes.byte()),
            panics: has(6),
            keys: if has(7) { 300 } else { 12 },
        }
    }

    /// Builds the cache.
    pub fn build<T: Kind>(&self, clock: &Clock) -> Tried<T> {
        let mut builder = Cache::<T::K, T::V>::builder()
            .capacity(self.capacity)
            .policy(T::policy(self.policy))
            .hasher(self.hashing)
            .stripes(self.stripes)
            .initial_capacity(self.initial)
            .stats(self.is_counted)
            .clock(clock.clone());
        if self.weights.is_weighted() {
            let weights = self.weights;
            builder = builder.weigher(move |_, value| {
                pass(Site::Weigh);
                weights.of(T::serial(value))
            });
        }
        if let Some(time) = self.time_to_live {
            builder = builder.time_to_live(time);
        }
        if let Some(time) = self.time_to_idle {
            builder = builder.time_to_idle(time);
        }
        if let Some(ruling) = self.expiry {
            builder = builder.expiry(Ruled::<T>(ruling, std::marker::PhantomData));
        }
        if self.has_tags {
            builder = builder.tags(|key, value| {
                pass(Site::Tag);
                tags(T::number(key), T::serial(value))
            });
        }
        if self.is_heard {
            builder = builder.on_removal(|key, value, removal| {
                let notice = Notice { key: T::number(key), serial: T::serial(value), removal };
                NOTICES.with_borrow_mut(|notices| notices.push(notice));
                pass(Site::Listen);
            });
        }
        NOTICES.with_borrow_mut(Vec::clear);
        builder.build()
    }
}

/// The tags of a value.
pub fn tags(key: u16, serial: u32) -> Vec<u16> {
    match serial % 3 {
        0 => vec![],
        1 => vec![key % 5],
        _ => vec![key % 5, 100 + (serial >> 4) as u16 % 3],
    }
}

/// What the listener was told.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    pub key: u16,
    pub serial: u32,
    pub removal: Removal,
}

thread_local! {
    static NOTICES: RefCell<Vec<Notice>> = const { RefCell::new(Vec::new()) };
    /// What the expiry answered last.
    static WRITTEN: Cell<Option<Option<Duration>>> = const { Cell::new(None) };
    static READ: Cell<Option<Option<Duration>>> = const { Cell::new(None) };
}

/// What the listener was told since this was asked last.
pub fn notices() -> Vec<Notice> {
    NOTICES.take()
}

/// What the expiry answered since about a value that was written.
pub fn ruled_at_write() -> Option<Option<Duration>> {
    WRITTEN.take()
}

/// The same about one that was read.
pub fn ruled_at_read() -> Option<Option<Duration>> {
    READ.take()
}

/// What values weigh.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    mode: u8,
    capacity: u64,
}

impl Weights {
    pub fn is_weighted(self) -> bool {
        !self.mode.is_multiple_of(4)
    }

    pub fn of(self, serial: u32) -> u64 {
        let class = usize::from(serial as u8);
        match self.mode % 4 {
            0 => 1,
            1 => [0, 1, 2, 3, 4, 5, 6, 7][class % 8],
            2 => [0, 1, 1, 2, 5, 10, 30, self.capacity / 2][class % 8],
            _ => [
                0,
                1,
                self.capacity,
                self.capacity.saturating_add(1),
                self.capacity.saturating_sub(1),
                self.capacity / 2 + 1,
                u64::MAX,
                1 << 32,
            ][class % 8],
        }
    }
}

/// An expiry's rules.
#[derive(Clone, Copy, Debug)]
pub struct Ruling(u8);

impl Ruling {
    pub fn watches_reads(self) -> bool {
        self.0 & 4 != 0
    }

    fn time(self, serial: u32) -> Option<Duration> {
        Some(match (serial >> 3) % 10 {
            0 => return None,
            1 => Duration::MAX,
            2 => Duration::ZERO,
            3 => Duration::from_nanos(1),
            4 => Duration::from_micros(1),
            5 => Duration::from_millis(2),
            6 | 7 => Duration::from_secs(1),
            8 => Duration::from_secs(80_000),
            _ => Duration::from_secs(86_400 * 365 * 12),
        })
    }
}

/// An expiry that follows them.
struct Ruled<T>(Ruling, std::marker::PhantomData<fn() -> T>);

impl<T: Kind> Expiry<T::K, T::V> for Ruled<T> {
    fn after_create(&self, _: &T::K, value: &T::V) -> Option<Duration> {
        pass(Site::Expiry);
        let answer = self.0.time(T::serial(value));
        WRITTEN.set(Some(answer));
        answer
    }

    fn after_update(&self, key: &T::K, value: &T::V, rest: Option<Duration>) -> Option<Duration> {
        if self.0.0 & 1 == 0 {
            return self.after_create(key, value);
        }
        pass(Site::Expiry);
        WRITTEN.set(Some(rest));
        rest
    }

    fn after_read(&self, value: &T::V, rest: Option<Duration>) -> Option<Duration> {
        pass(Site::Expiry);
        let answer = match self.0.0 >> 4 & 3 {
            0 => rest,
            1 => rest.map(|rest| rest / 2),
            2 => self.0.time(T::serial(value)),
            _ => Some(Duration::from_secs(1)),
        };
        READ.set(Some(answer));
        answer
    }

    fn watches_reads(&self) -> bool {
        self.0.watches_reads()
    }
}

/// The time, as it is set.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }
}

impl Ticker for Clock {
    fn now(&self) -> Duration {
        pass(Site::Tick);
        Duration::from_nanos(self.nanos())
    }
}
