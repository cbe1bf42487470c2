//! A lossy ring of sampled events: many threads push without waiting, one at a time drains.
//!
//! All stripes have it in common, so that the events stay in order: those of a stripe at a time
//! would look as if nothing had happened in the others meanwhile.
//!
//! Invariant: it holds events only. One that is overwritten, read too early or read twice costs a
//! little accuracy of the shadows and nothing else, so every access is relaxed.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Events in a ring: room for several batches while a slow thread feeds the shadows.
const LEN: usize = 256;
/// The most events that wait before a drain is asked for.
pub(super) const MAX_BATCH: u32 = 48;

/// A sampled access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// 32 bits of the key's hash.
    pub(super) id: u32,
    /// What the entry weighs, to seven digits; 0 if that is not at hand.
    pub(super) weight: u64,
}

impl Event {
    /// Both halves in one number that is not 0.
    #[inline]
    fn pack(self) -> u64 {
        u64::from(self.id) << 32 | (u64::from((self.weight as f32).to_bits()) + 1)
    }

    #[inline]
    fn unpack(content: u64) -> Self {
        let weight = f32::from_bits((content as u32).wrapping_sub(1));
        Self { id: (content >> 32) as u32, weight: weight as u64 }
    }
}

/// The ring. Its first line is written by every push.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Ring {
    /// Pushes so far, those included that found the ring full.
    head: AtomicU32,
    /// Pushes drained or given up. Written by whoever has the shadows.
    tail: AtomicU32,
    /// Packed events; 0 where there is none.
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
            // Relaxed: an event publishes nothing.
            self.cells[at as usize % LEN].store(event.pack(), Ordering::Relaxed);
        }
        pending
    }

    /// Takes the events that wait, in the order of their pushes. For whoever has the shadows.
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
                take(Event::unpack(content));
            }
        }
        self.tail.store(head, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, LEN, Ring};

    #[test]
    fn events_come_out_in_order_and_only_a_full_ring_loses_some() {
        let ring = Ring::new();
        for round in 0..5 {
            let pushed: Vec<Event> = (0..120 + round * 80)
                .map(|i| Event { id: i | round << 16, weight: u64::from(i) })
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

    #[test]
    fn weights_keep_seven_digits() {
        for weight in [0, 1, 1 << 24, 123_456_789_012, u64::MAX] {
            let event = Event { id: u32::MAX, weight };
            assert_ne!(event.pack() as u32, 0);
            let unpacked = Event::unpack(event.pack());
            assert_eq!(unpacked.id, event.id);
            assert!(unpacked.weight.abs_diff(weight) <= weight / 10_000_000, "{unpacked:?}");
        }
    }
}
