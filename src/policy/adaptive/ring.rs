//! A lossy ring of sampled events: many threads push without waiting, the stripe's owner drains.
//!
//! Invariant: it holds events only. One that is overwritten, read too early or read twice costs a
//! little accuracy of the shadows and nothing else, so every access is relaxed.

use crate::Slot;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Events in a ring: room for twice the largest batch while another stripe feeds the shadows.
const LEN: usize = 128;
/// The most events that wait before a drain is asked for.
pub(super) const MAX_BATCH: u32 = 48;

/// A sampled access: which key, and where its entry lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// 32 bits of the key's hash.
    pub(super) id: u32,
    pub(super) slot: Slot,
}

/// The ring. Its first line is written by every push.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Ring {
    /// Pushes so far, those included that found the ring full.
    head: AtomicU32,
    /// Pushes drained or given up. Written by the stripe's owner alone.
    tail: AtomicU32,
    /// An event as its identity above its slot plus 1; 0 where there is none.
    cells: Box<[AtomicU64]>,
}

impl Ring {
    pub(super) fn new() -> Self {
        let cells = (0..LEN).map(|_| AtomicU64::new(0)).collect();
        Self { head: AtomicU32::new(0), tail: AtomicU32::new(0), cells }
    }

    /// The events that wait (more than fit if some were lost).
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        // Relaxed: a stale count only delays a drain.
        self.head.load(Ordering::Relaxed).wrapping_sub(self.tail.load(Ordering::Relaxed))
    }

    /// Adds an event, or loses it if the ring is full; answers how many wait now.
    #[inline]
    pub(super) fn push(&self, event: Event) -> u32 {
        // Relaxed: the counter only hands out cells; see the top of the file.
        let at = self.head.fetch_add(1, Ordering::Relaxed);
        // 0 if a drain has passed this cell already: the event then goes with the next one.
        let pending = at.wrapping_sub(self.tail.load(Ordering::Relaxed)).wrapping_add(1);
        if pending as usize <= LEN {
            let content = u64::from(event.id) << 32 | (u64::from(event.slot.as_u32()) + 1);
            // Relaxed: an event publishes nothing.
            self.cells[at as usize % LEN].store(content, Ordering::Relaxed);
        }
        pending
    }

    /// Takes the events that wait, in the order of their pushes. For the stripe's owner.
    pub(super) fn drain(&self, mut take: impl FnMut(Event)) {
        // Relaxed: see the top of the file.
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        let waiting = (head.wrapping_sub(tail) as usize).min(LEN) as u32;
        for at in 0..waiting {
            let cell = &self.cells[tail.wrapping_add(at) as usize % LEN];
            // Relaxed: an event publishes nothing. An empty cell is one whose push is still under
            // way; its event shows up a round later.
            let content = cell.load(Ordering::Relaxed);
            if content != 0 {
                cell.store(0, Ordering::Relaxed);
                let slot = Slot::new((content as u32).wrapping_sub(1));
                take(Event { id: (content >> 32) as u32, slot });
            }
        }
        self.tail.store(head, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, LEN, Ring};
    use crate::Slot;

    #[test]
    fn events_come_out_in_order_and_only_a_full_ring_loses_some() {
        let ring = Ring::new();
        for round in 0..5 {
            let pushed: Vec<Event> = (0..60 + round * 40)
                .map(|i| Event { id: i | round << 16, slot: Slot::new(i) })
                .collect();
            for (before, &event) in pushed.iter().enumerate() {
                assert_eq!(ring.push(event) as usize, before + 1);
            }
            assert_eq!(ring.pending() as usize, pushed.len());
            let mut drained = Vec::new();
            ring.drain(|event| drained.push(event));
            assert_eq!(drained, pushed[..pushed.len().min(LEN)]);
            assert_eq!(ring.pending(), 0);
        }
    }
}
