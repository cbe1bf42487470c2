//! Lossy rings of slots between many hits and the one who drains them.
//!
//! Pushing is one addition and one store, never waits and never fails; if a ring is not drained
//! in time, the oldest are overwritten. There are as many rings as processors, within limits, and each
//! thread has one that it shares with few others, so that seldom two write to the same cache line.
//!
//! Invariant: at most one drains at a time (the policy's `&mut` half does); a thread that pushes and
//! drains by itself loses nothing, and what it pushed keeps its order. It must not know what a slot
//! means.

use std::{sync::LazyLock, thread};

use crate::Slot;
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::threads;

/// How many slots a ring holds.
const SIZE: usize = 128;
/// Draining is asked for once per so many pushes: half, so that a request that could not be met at
/// once has another chance before anything is lost.
const BATCH: u32 = SIZE as u32 / 2;
/// A cell that holds no slot.
const EMPTY: u32 = u32::MAX;

/// The most rings: all must be looked at to drain them.
const MOST_RINGS: usize = 8;
/// How many there are.
static RINGS: LazyLock<usize> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.next_power_of_two().min(MOST_RINGS)
});

/// The rings; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Buffer(Arc<[Ring]>);

/// Padded to a pair of cache lines, so that two rings do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Ring {
    /// How many were ever pushed, wrapping: the next goes to this cell, modulo the size.
    pushed: AtomicU32,
    /// How many were ever drained or given up, wrapping. Only the one who drains touches it.
    drained: AtomicU32,
    cells: [AtomicU32; SIZE],
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            pushed: AtomicU32::new(0),
            drained: AtomicU32::new(0),
            cells: std::array::from_fn(|_| AtomicU32::new(EMPTY)),
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self((0..*RINGS).map(|_| Ring::default()).collect())
    }
}

impl Buffer {
    /// Notes a slot; answers whether it should be drained soon.
    #[inline]
    pub(crate) fn push(&self, slot: Slot) -> bool {
        // (There is one at least, and as many as a power of two.)
        self.0[threads::number() & (self.0.len() - 1)].push(slot)
    }

    /// Takes out what was pushed, what one thread pushed in its order. Only one may drain at a time.
    pub(crate) fn drain(&self, mut take: impl FnMut(Slot)) {
        for ring in &*self.0 {
            ring.drain(&mut take);
        }
    }
}

impl Ring {
    #[inline]
    fn push(&self, slot: Slot) -> bool {
        // Relaxed: the addition only gives this push a cell of its own. It pairs with the load of
        // `pushed` in `drain`, which needs no more: a cell says by itself whether it is filled.
        let at = self.pushed.fetch_add(1, Ordering::Relaxed);
        // Relaxed: the slot is the whole message and publishes nothing else; pairs with the load of
        // the cell in `drain`. Whoever is ordered before the drain by the stripe's lock is seen.
        self.cells[at as usize % SIZE].store(slot.as_u32(), Ordering::Relaxed);
        at.wrapping_add(1).is_multiple_of(BATCH)
    }

    /// Takes out what was pushed, oldest first. Only one may drain at a time.
    fn drain(&self, mut take: impl FnMut(Slot)) {
        // Relaxed: pairs with the addition in `push`; a push not seen yet is drained next time.
        let pushed = self.pushed.load(Ordering::Relaxed);
        // Relaxed: only the drainers touch it, and the stripe's lock orders them.
        let mut at = self.drained.load(Ordering::Relaxed);
        if pushed.wrapping_sub(at) as usize > SIZE {
            // The older ones were overwritten.
            at = pushed.wrapping_sub(SIZE as u32);
        }
        while at != pushed {
            let cell = &self.cells[at as usize % SIZE];
            // Relaxed: pairs with the store in `push`. A cell that is claimed but not filled yet is
            // passed over; its slot then counts when the ring comes round, or not at all.
            let index = cell.load(Ordering::Relaxed);
            if index != EMPTY {
                // Relaxed: as above; it may undo a push that races with it, which is a lost hit.
                cell.store(EMPTY, Ordering::Relaxed);
                take(Slot::new(index));
            }
            at = at.wrapping_add(1);
        }
        // Relaxed: see its load.
        self.drained.store(at, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(buffer: &Buffer) -> Vec<u32> {
        let mut slots = Vec::new();
        buffer.drain(|slot| slots.push(slot.as_u32()));
        slots
    }

    #[test]
    fn one_thread_loses_nothing() {
        let buffer = Buffer::default();
        let mut seen = Vec::new();
        for index in 0..10_000 {
            let full = buffer.push(Slot::new(index));
            if full || index % 77 == 0 {
                seen.append(&mut drained(&buffer));
            }
        }
        seen.append(&mut drained(&buffer));
        assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn the_newest_stay_if_nobody_drains() {
        let buffer = Buffer::default();
        for index in 0..1000 {
            buffer.push(Slot::new(index));
        }
        assert_eq!(drained(&buffer), (1000 - SIZE as u32..1000).collect::<Vec<_>>());
        assert!(drained(&buffer).is_empty());
    }

    #[test]
    fn many_threads_push_while_one_drains() {
        let buffer = Buffer::default();
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let buffer = buffer.clone();
                scope.spawn(move || {
                    for push in 0..10_000 {
                        buffer.push(Slot::new(thread * 10_000 + push));
                    }
                });
            }
            (0..1000).for_each(|_| seen.append(&mut drained(&buffer)));
        });
        seen.append(&mut drained(&buffer));
        assert!(seen.iter().all(|&index| index < 30_000), "nothing is made up");
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "nothing comes twice");
        assert!(seen.len() >= SIZE, "the newest are not lost");
    }
}
