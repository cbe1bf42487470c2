//! One queue of entries that may be evicted, and beside it those that weigh nothing.
//!
//! Invariant: an entry is in the queue exactly if it weighs something. Evicting one that does not
//! would make no room, so policies look for victims in the queue only. It must not know why an
//! entry has its place.

use super::queue::{Links, Queue};
use crate::Slot;

const QUEUE: u8 = 0;
const WEIGHTLESS: u8 = 1;

/// The queue, the entries without weight, and the links of both.
#[derive(Debug)]
pub(crate) struct Line {
    links: Links,
    queue: Queue,
    weightless: Queue,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            links: Links::default(),
            queue: Queue::new(QUEUE),
            weightless: Queue::new(WEIGHTLESS),
        }
    }
}

impl Line {
    /// Takes a newcomer in, at the front.
    #[inline]
    pub(crate) fn insert(&mut self, slot: Slot, weight: u64) {
        let queue = if weight == 0 { &mut self.weightless } else { &mut self.queue };
        queue.push_front(&mut self.links, slot);
    }

    /// Takes an entry out.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) {
        let cut = self.links.cut(slot);
        let queue = if cut.queue() == QUEUE { &mut self.queue } else { &mut self.weightless };
        queue.close(&mut self.links, slot, cut);
    }

    /// Follows a change of weight: an entry keeps its place unless it gains its first weight (then
    /// it comes in at the front) or loses its last.
    pub(crate) fn reweigh(&mut self, slot: Slot, old: u64, new: u64) {
        if (old == 0) != (new == 0) {
            self.remove(slot);
            self.insert(slot, new);
        }
    }

    /// Gives the place of `from` to `to`.
    pub(crate) fn replace(&mut self, from: Slot, to: Slot) {
        let queue = if self.queues(from) { &mut self.queue } else { &mut self.weightless };
        queue.replace(&mut self.links, from, to);
    }

    /// Moves an entry of the queue to the front; anything else stays where it is.
    #[inline]
    pub(crate) fn refresh(&mut self, slot: Slot) {
        if self.queues(slot) {
            self.queue.move_to_front(&mut self.links, slot);
        }
    }

    /// Whether `slot` is in the queue.
    #[inline]
    pub(crate) fn queues(&self, slot: Slot) -> bool {
        self.queue.contains(&self.links, slot)
    }

    /// The back of the queue.
    #[inline]
    pub(crate) fn back(&self) -> Option<Slot> {
        self.queue.back()
    }

    /// The neighbour of an entry, towards the front.
    #[inline]
    pub(crate) fn ahead(&self, slot: Slot) -> Option<Slot> {
        self.links.ahead(slot)
    }

    /// The queue from the back to the front, then the entries without weight.
    pub(crate) fn iter_from_back(&self) -> impl Iterator<Item = Slot> + '_ {
        self.queue.iter_from_back(&self.links).chain(self.iter_weightless())
    }

    /// The entries without weight.
    pub(crate) fn iter_weightless(&self) -> impl Iterator<Item = Slot> + '_ {
        self.weightless.iter_from_front(&self.links)
    }

    /// The number of entries, with and without weight.
    pub(crate) const fn len(&self) -> usize {
        self.queue.len() + self.weightless.len()
    }

    /// Gives the memory back. Every entry must have left.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Checks every link, and that exactly `slots` are here.
    ///
    /// # Panics
    /// If something does not agree.
    pub(crate) fn validate(&self, slots: &[Slot], weight: impl Fn(Slot) -> u64) {
        self.queue.validate(&self.links);
        self.weightless.validate(&self.links);
        assert_eq!(self.links.count(), self.len(), "a link belongs to a queue");
        assert_eq!(slots.len(), self.len(), "the number of entries");
        for &slot in slots {
            assert!(self.links.queue_of(slot).is_some(), "{slot:?} is tracked");
            assert_eq!(self.queues(slot), weight(slot) != 0, "{slot:?} is in the right queue");
        }
    }
}
