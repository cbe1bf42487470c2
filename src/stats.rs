//! Statistics: counters that every thread keeps for itself.
//!
//! A thread owns one cell of each cache's counters, so counting is a plain load and store. The
//! cell numbers of threads that ended are given to new ones; threads beyond the last cell share it
//! and count atomically.

use std::{cell::Cell, ops::Index};

use crate::{
    RemovalCause,
    event::CAUSES,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Hit,
    Miss,
    Insert,
    Update,
    ListenerPanic,
}

const EVENTS: usize = 5;

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

/// The counters of one cache.
#[derive(Debug)]
pub(crate) struct Counters(Box<[Counts]>);

impl Counters {
    pub(crate) fn new() -> Self {
        Self((0..CELLS).map(|_| Counts::default()).collect())
    }

    #[inline]
    pub(crate) fn count(&self, event: Event) {
        let cell = cell_of_thread();
        add(&self.0[cell].events[event as usize], 1, cell);
    }

    pub(crate) fn removal(&self, cause: RemovalCause, weight: u64) {
        let cell = cell_of_thread();
        add(&self.0[cell].removals[cause as usize], 1, cell);
        add(&self.0[cell].weights[cause as usize], weight, cell);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        // Relaxed: counters publish nothing, and a snapshot is not of one moment.
        let sum = |of: &dyn Fn(&Counts) -> &AtomicU64| {
            self.0
                .iter()
                .map(|counts| of(counts).load(Ordering::Relaxed))
                .fold(0, u64::wrapping_add)
        };
        let event = |event: Event| sum(&|counts| &counts.events[event as usize]);
        let removals = std::array::from_fn(|cause| Removals {
            count: sum(&|counts| &counts.removals[cause]),
            weight: sum(&|counts| &counts.weights[cause]),
        });
        Stats {
            hits: event(Event::Hit),
            misses: event(Event::Miss),
            inserts: event(Event::Insert),
            updates: event(Event::Update),
            listener_panics: event(Event::ListenerPanic),
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

/// Cell numbers not in use: those given back, and the first never used.
static FREE: std::sync::LazyLock<Mutex<(Vec<usize>, usize)>> =
    std::sync::LazyLock::new(|| Mutex::new((Vec::new(), 0)));

/// A thread's cell number, given back when the thread ends.
struct Ticket(usize);

impl Ticket {
    fn take() -> Self {
        let mut free = lock(&FREE);
        let cell = free.0.pop().unwrap_or_else(|| {
            free.1 += 1;
            free.1 - 1
        });
        Self(cell)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // From now on, should the thread count once more, it counts in the shared cell.
        let _ = CELL.try_with(|cell| cell.set(CELLS - 1));
        lock(&FREE).0.push(self.0);
    }
}

thread_local! {
    /// The thread's cell, or `usize::MAX` before it has one.
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
    static TICKET: Ticket = Ticket::take();
}

#[inline]
fn cell_of_thread() -> usize {
    let cell = CELL.with(Cell::get);
    if cell == usize::MAX { assign_cell() } else { cell }
}

#[cold]
fn assign_cell() -> usize {
    let cell = TICKET.try_with(|ticket| ticket.0.min(CELLS - 1)).unwrap_or(CELLS - 1);
    CELL.with(|own| own.set(cell));
    cell
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

/// What a cache has counted since it was built. See [`Builder::stats`](crate::Builder::stats).
///
/// Counters are exact once the operations they count have returned; a snapshot taken meanwhile is
/// not of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Look-ups that found a living entry.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries that came in under a key that was not resident.
    pub inserts: u64,
    /// Values that replaced another.
    pub updates: u64,
    /// Times the removal listener panicked.
    pub listener_panics: u64,
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
