//! A lossy ring of slots between many hits and the one who drains it.
//!
//! Pushing is one addition and one store, never waits and never fails; if the ring is not drained
//! in time, the oldest are overwritten. Invariant: at most one drains at a time (the policy's
//! `&mut` half does); a thread that pushes and drains by itself loses nothing. It must not know
//! what a slot means.

use crate::Slot;
use crate::sync::{Arc, AtomicU32, Ordering};

/// How many slots it holds.
const SIZE: usize = 128;
/// Draining is asked for once per so many pushes: half, so that a request that could not be met at
/// once has another chance before anything is lost.
const BATCH: u32 = SIZE as u32 / 2;
/// A cell that holds no slot.
const EMPTY: u32 = u32::MAX;

/// The ring; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Buffer(Arc<Ring>);

/// Padded to a pair of cache lines, so that two stripes' rings do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Ring {
    /// How many were ever pushed, wrapping: the next goes to this cell, modulo the size.
    pushed: AtomicU32,
    /// How many were ever drained or given up, wrapping. Only the one who drains touches it.
    drained: AtomicU32,
    cells: [AtomicU32; SIZE],
}

impl Default for Buffer {
    fn default() -> Self {
        Self(Arc::new(Ring {
            pushed: AtomicU32::new(0),
            drained: AtomicU32::new(0),
            cells: std::array::from_fn(|_| AtomicU32::new(EMPTY)),
        }))
    }
}

impl Buffer {
    /// Notes a slot; answers whether the ring should be drained soon.
    #[inline]
    pub(crate) fn push(&self, slot: Slot) -> bool {
        // Relaxed: the addition only gives this push a cell of its own. It pairs with the load of
        // `pushed` in `drain`, which needs no more: a cell says by itself whether it is filled.
        let at = self.0.pushed.fetch_add(1, Ordering::Relaxed);
        // Relaxed: the slot is the whole message and publishes nothing else; pairs with the load of
        // the cell in `drain`. Whoever is ordered before the drain by the stripe's lock is seen.
        self.0.cells[at as usize % SIZE].store(slot.as_u32(), Ordering::Relaxed);
        at.wrapping_add(1).is_multiple_of(BATCH)
    }

    /// Takes out what was pushed, oldest first. Only one may drain at a time.
    pub(crate) fn drain(&self, mut take: impl FnMut(Slot)) {
        // Relaxed: pairs with the addition in `push`; a push not seen yet is drained next time.
        let pushed = self.0.pushed.load(Ordering::Relaxed);
        // Relaxed: only the drainers touch it, and the stripe's lock orders them.
        let mut at = self.0.drained.load(Ordering::Relaxed);
        if pushed.wrapping_sub(at) as usize > SIZE {
            // The older ones were overwritten.
            at = pushed.wrapping_sub(SIZE as u32);
        }
        while at != pushed {
            let cell = &self.0.cells[at as usize % SIZE];
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
        self.0.drained.store(at, Ordering::Relaxed);
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
