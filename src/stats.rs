//! Statistics: counters that every thread keeps for itself.
//!
//! A thread owns one cell of each cache's counters, so counting is a plain load and store. Threads
//! beyond the last cell share it and count atomically.

use std::{ops::Index, time::Duration};

use crate::{
    RemovalCause,
    event::CAUSES,
    sync::{AtomicU64, Ordering},
    threads,
};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Hit,
    Miss,
    Insert,
    Update,
    ListenerPanic,
    Load,
    LoadSuccess,
    LoadFailure,
    Coalesced,
    Superseded,
    /// A value of weight 1 was replaced by another: an update and the removal of the former one.
    Swap,
    /// An entry of weight 1 came in, and another was evicted for it: an insertion and a removal.
    Exchange,
}

const EVENTS: usize = 12;

/// Cells, the last of which is shared.
const CELLS: usize = 64;

/// One thread's counters.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    events: [AtomicU64; EVENTS],
    removals: [AtomicU64; CAUSES],
    weights: [AtomicU64; CAUSES],
}

// As `Builder::stats` says.
#[cfg(not(larder_loom))]
const _: () = assert!(size_of::<[Counts; CELLS]>() == 16 << 10);

/// The counters of one cache.
#[derive(Debug)]
pub(crate) struct Counters {
    cells: Box<[Counts; CELLS]>,
    load_times: LoadTimeCounters,
}

/// Loads are slow, so their times are counted in one place.
#[derive(Debug)]
struct LoadTimeCounters {
    /// Loads that took less than 2^(i+1) nanoseconds, but not less than 2^i (the first one: less
    /// than 2).
    buckets: [AtomicU64; TIMES],
    /// Nanoseconds.
    total: AtomicU64,
}

/// Buckets of load times: up to 2^40 ns, eighteen minutes.
const TIMES: usize = 40;

impl Counters {
    pub(crate) fn new() -> Self {
        let load_times = LoadTimeCounters {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            total: AtomicU64::new(0),
        };
        Self { cells: Box::new(std::array::from_fn(|_| Counts::default())), load_times }
    }

    #[inline]
    pub(crate) fn count(&self, event: Event) {
        let cell = cell_of_thread();
        add(&self.cells[cell].events[event as usize], 1, cell);
    }

    /// Whether this thread has a cell of its own.
    #[inline]
    pub(crate) fn has_cell() -> bool {
        threads::known_number() < CELLS - 1
    }

    /// [`count`](Self::count) of a thread that [has a cell](Self::has_cell): without a call or a
    /// branch.
    #[inline]
    pub(crate) fn count_here(&self, event: Event) {
        // (The remainder spares a check.)
        let counter = &self.cells[threads::known_number() % CELLS].events[event as usize];
        // Relaxed (both): as in `add`.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Counts a load that took so many nanoseconds.
    pub(crate) fn load(&self, took: u64, is_success: bool) {
        self.count(if is_success { Event::LoadSuccess } else { Event::LoadFailure });
        let bucket = (took.max(1).ilog2() as usize).min(TIMES - 1);
        // Relaxed (both): counters.
        self.load_times.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.load_times.total.fetch_add(took, Ordering::Relaxed);
    }

    pub(crate) fn removal(&self, cause: RemovalCause, weight: u64) {
        let cell = cell_of_thread();
        add(&self.cells[cell].removals[cause as usize], 1, cell);
        add(&self.cells[cell].weights[cause as usize], weight, cell);
    }

    /// Counts a value of this weight that was replaced.
    #[inline]
    pub(crate) fn update(&self, weight: u64) {
        if weight == 1 {
            return self.count(Event::Swap);
        }
        let cell = cell_of_thread();
        let counts = &self.cells[cell];
        add(&counts.events[Event::Update as usize], 1, cell);
        add(&counts.removals[RemovalCause::Replaced as usize], 1, cell);
        add(&counts.weights[RemovalCause::Replaced as usize], weight, cell);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        // Relaxed: counters publish nothing, and a snapshot is not of one moment.
        let sum = |of: &dyn Fn(&Counts) -> &AtomicU64| {
            self.cells
                .iter()
                .map(|counts| of(counts).load(Ordering::Relaxed))
                .fold(0, u64::wrapping_add)
        };
        let event = |event: Event| sum(&|counts| &counts.events[event as usize]);
        let (swaps, exchanges) = (event(Event::Swap), event(Event::Exchange));
        let removals = std::array::from_fn(|cause| {
            let more = match RemovalCause::ALL[cause] {
                RemovalCause::Replaced => swaps,
                RemovalCause::Size => exchanges,
                _ => 0,
            };
            Removals {
                count: sum(&|counts| &counts.removals[cause]) + more,
                weight: sum(&|counts| &counts.weights[cause]) + more,
            }
        });
        Stats {
            hits: event(Event::Hit),
            misses: event(Event::Miss),
            inserts: event(Event::Insert) + exchanges,
            updates: event(Event::Update) + swaps,
            listener_panics: event(Event::ListenerPanic),
            loads: event(Event::Load),
            load_successes: event(Event::LoadSuccess),
            load_failures: event(Event::LoadFailure),
            coalesced: event(Event::Coalesced),
            superseded: event(Event::Superseded),
            // Relaxed (both): as above.
            load_time: Duration::from_nanos(self.load_times.total.load(Ordering::Relaxed)),
            load_times: LoadTimes(std::array::from_fn(|bucket| {
                self.load_times.buckets[bucket].load(Ordering::Relaxed)
            })),
            removals: ByCause(removals),
        }
    }
}

#[inline]
fn add(counter: &AtomicU64, by: u64, cell: usize) {
    if cell < CELLS - 1 {
        // Relaxed (both): this thread is the only writer, and counters publish nothing.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    } else {
        // Relaxed: as above, but for the writers.
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// This thread's cell: that of its number, as far as there are so many.
#[inline]
fn cell_of_thread() -> usize {
    threads::number().min(CELLS - 1)
}

/// How many entries left for one cause, and what they weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    /// Entries.
    pub count: u64,
    /// The sum of their weights.
    pub weight: u64,
}

/// Removals by cause: `stats.removals[RemovalCause::Size].count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByCause([Removals; CAUSES]);

impl ByCause {
    /// Every cause with its removals.
    pub fn iter(&self) -> impl Iterator<Item = (RemovalCause, Removals)> + '_ {
        RemovalCause::ALL.iter().map(|&cause| (cause, self[cause]))
    }
}

impl Index<RemovalCause> for ByCause {
    type Output = Removals;

    fn index(&self, cause: RemovalCause) -> &Removals {
        &self.0[cause as usize]
    }
}

/// How many loads took how long, in buckets that double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadTimes([u64; TIMES]);

impl Default for LoadTimes {
    fn default() -> Self {
        Self([0; TIMES])
    }
}

impl LoadTimes {
    /// Every bucket's end (loads that took less) and count, the fastest first. The last bucket has
    /// the slower ones too.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.0.iter().enumerate().map(|(i, &count)| (Duration::from_nanos(2 << i), count))
    }

    /// A bound that this share (from 0 to 1) of all loads stayed below, at most twice what they
    /// took; zero if there were none.
    ///
    /// ```
    /// let cache = larder::Cache::<u32, u32>::builder().capacity(10).stats(true).build();
    /// cache.get_or_insert_with(&1, || 2);
    /// assert!(!cache.stats().load_times.quantile(0.99).is_zero());
    /// ```
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        let found = self.iter().find(|&(_, count)| {
            seen += count;
            count > 0 && seen >= wanted
        });
        found.map_or(Duration::ZERO, |(below, _)| below)
    }
}

/// What a cache has counted since it was built. See [`Builder::stats`](crate::Builder::stats).
///
/// Counters are exact once the operations they count have returned; a snapshot taken meanwhile is
/// not of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Look-ups that found a living entry. In a [`LoadingCache`](crate::LoadingCache) that may be one that
    /// was loaded anew before it was served, such as a value past its time that is kept for
    /// [`stale_if_error`](crate::LoadingBuilder::stale_if_error).
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries that came in under a key that was not resident.
    pub inserts: u64,
    /// Values that replaced another.
    pub updates: u64,
    /// Times the removal listener panicked.
    pub listener_panics: u64,
    /// Loads that were started: closures and futures of read-through calls, and those of a loader. A
    /// bulk load counts once for each key.
    pub loads: u64,
    /// Loads that gave a value.
    pub load_successes: u64,
    /// Loads that gave an error, nothing, or panicked. Loads that were dropped count as neither.
    pub load_failures: u64,
    /// Calls that waited for another's load instead of loading themselves (or, should that have given
    /// nothing to share, before they did).
    pub coalesced: u64,
    /// Loads whose value was not stored because the key was written or removed meanwhile.
    pub superseded: u64,
    /// How long all loads took together.
    pub load_time: Duration,
    /// How long loads took.
    pub load_times: LoadTimes,
    /// Entries that left, by cause, with their weights. Refused newcomers are under
    /// [`RemovalCause::Rejected`].
    pub removals: ByCause,
}

impl Stats {
    /// Hits as a share of all look-ups, from 0 to 1; 0 before the first look-up.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let all = self.hits + self.misses;
        if all == 0 { 0.0 } else { self.hits as f64 / all as f64 }
    }

    /// Newcomers that were not admitted.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.removals[RemovalCause::Rejected].count
    }
}
