//! One queue with links of its own.
//!
//! Invariant: exactly the entries that came and have not left are in it. It must not know why an
//! entry has its place.

use super::queue::{Links, Queue};
use crate::Slot;

/// The queue and its links.
#[derive(Debug)]
pub(crate) struct Line {
    links: Links,
    queue: Queue,
}

impl Default for Line {
    fn default() -> Self {
        Self { links: Links::default(), queue: Queue::new(0) }
    }
}

impl Line {
    /// Takes a newcomer in, at the front.
    #[inline]
    pub(crate) fn insert(&mut self, slot: Slot) {
        self.queue.push_front(&mut self.links, slot);
    }

    /// Takes an entry out.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.queue.unlink(&mut self.links, slot);
    }

    /// Gives the place of `from` to `to`.
    pub(crate) fn replace(&mut self, from: Slot, to: Slot) {
        self.queue.replace(&mut self.links, from, to);
    }

    /// Moves an entry to the front, if there is one in `slot`.
    #[inline]
    pub(crate) fn refresh(&mut self, slot: Slot) {
        if self.queue.contains(&self.links, slot) {
            self.queue.move_to_front(&mut self.links, slot);
        }
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

    /// The entries from the back to the front.
    pub(crate) fn iter_from_back(&self) -> impl Iterator<Item = Slot> + '_ {
        self.queue.iter_from_back(&self.links)
    }

    /// The number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.queue.len()
    }

    /// Gives the memory back. Every entry must have left.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Checks every link, and that exactly `slots` are here.
    ///
    /// # Panics
    /// If something does not agree.
    pub(crate) fn validate(&self, slots: &[Slot]) {
        self.queue.validate(&self.links);
        assert_eq!(self.links.count(), self.len(), "a link belongs to the queue");
        assert_eq!(slots.len(), self.len(), "the number of entries");
        for &slot in slots {
            assert!(self.queue.contains(&self.links, slot), "{slot:?} is tracked");
        }
    }
}
