//! Two queues with weights, a small one for newcomers and a main one for the proven.
//!
//! Invariant: an entry is in exactly one of them, and the weights are the sums over the queues. It
//! must not know what makes an entry worth keeping.

use super::queue::{Links, Queue};
use crate::Slot;
use crate::policy::{Newcomer, Residents};

/// The two queues.
#[derive(Debug)]
pub(crate) struct Duo {
    links: Links,
    small: Weighed,
    main: Weighed,
    /// The entry for which room is being made. Policies are mostly written as if it came in only
    /// afterwards.
    newcomer: Option<(Slot, u64)>,
}

/// A queue and what its entries weigh: wide, as a stripe exceeds any capacity until room is made.
#[derive(Debug)]
struct Weighed {
    queue: Queue,
    weight: u128,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Small,
    Main,
}

impl Place {
    #[inline]
    const fn of(queue: u8) -> Self {
        if queue == SMALL { Self::Small } else { Self::Main }
    }
}

const SMALL: u8 = 0;
const MAIN: u8 = 1;

impl Default for Duo {
    fn default() -> Self {
        Self {
            links: Links::default(),
            small: Weighed { queue: Queue::new(SMALL), weight: 0 },
            main: Weighed { queue: Queue::new(MAIN), weight: 0 },
            newcomer: None,
        }
    }
}

impl Duo {
    /// Takes a newcomer in at the front of the main or of the small queue.
    #[inline]
    pub(crate) fn insert(&mut self, newcomer: Newcomer, to_main: bool) {
        let weighed = if to_main { &mut self.main } else { &mut self.small };
        weighed.queue.push_front(&mut self.links, newcomer.slot);
        weighed.weight += u128::from(newcomer.weight);
        self.newcomer = (!newcomer.has_room).then_some((newcomer.slot, newcomer.weight));
    }

    /// Takes out an entry of this weight; answers where it was.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot, weight: u64) -> Place {
        if self.is_newcomer(slot) {
            self.newcomer = None;
        }
        let cut = self.links.cut(slot);
        let place = Place::of(cut.queue());
        let weighed = match place {
            Place::Small => &mut self.small,
            Place::Main => &mut self.main,
        };
        weighed.queue.close(&mut self.links, slot, cut);
        weighed.weight -= u128::from(weight);
        place
    }

    /// Follows a change of weight: an entry keeps its place.
    pub(crate) fn reweigh(&mut self, slot: Slot, old: u64, new: u64) {
        if self.is_newcomer(slot) {
            self.newcomer = None;
        }
        let weighed = if self.is_small(slot) { &mut self.small } else { &mut self.main };
        weighed.weight = weighed.weight - u128::from(old) + u128::from(new);
    }

    /// Gives the place of `from` to `to`.
    pub(crate) fn replace(&mut self, from: Slot, to: Slot) {
        let weighed = if self.is_small(from) { &mut self.small } else { &mut self.main };
        weighed.queue.replace(&mut self.links, from, to);
        if let Some((slot, weight)) = self.newcomer
            && slot == from
        {
            self.newcomer = Some((to, weight));
        }
    }

    /// Moves an entry of the small queue, of this weight, to the front of the main one.
    #[inline]
    pub(crate) fn promote(&mut self, slot: Slot, weight: u64) {
        self.small.queue.unlink(&mut self.links, slot);
        self.small.weight -= u128::from(weight);
        self.main.queue.push_front(&mut self.links, slot);
        self.main.weight += u128::from(weight);
        self.lead_newcomer();
    }

    /// Moves an entry of the main queue to its front.
    #[inline]
    pub(crate) fn reinsert(&mut self, slot: Slot) {
        self.main.queue.move_to_front(&mut self.links, slot);
        self.lead_newcomer();
    }

    /// The back of the small queue.
    #[inline]
    pub(crate) fn small_back(&self) -> Option<Slot> {
        self.small.queue.back()
    }

    /// The back of the main queue.
    #[inline]
    pub(crate) fn main_back(&self) -> Option<Slot> {
        self.main.queue.back()
    }

    /// What the small queue weighs.
    pub(crate) const fn small_weight(&self) -> u128 {
        self.small.weight
    }

    /// What both queues weigh.
    pub(crate) const fn weight(&self) -> u128 {
        self.small.weight + self.main.weight
    }

    /// The weight of the newcomer for which room is being made, and whether it is in the small
    /// queue.
    #[inline]
    pub(crate) fn newcomer(&self) -> Option<(u64, bool)> {
        self.newcomer.map(|(slot, weight)| (weight, self.is_small(slot)))
    }

    /// Whether room is being made for `slot`.
    #[inline]
    pub(crate) fn is_newcomer(&self, slot: Slot) -> bool {
        self.newcomer.is_some_and(|(newcomer, _)| newcomer == slot)
    }

    /// The number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.small.queue.len() + self.main.queue.len()
    }

    /// The slots by rank, the oldest of a rank first and those in small before those in main.
    pub(crate) fn ranking(&self, rank: impl Fn(Slot, Place) -> u8) -> Vec<Slot> {
        let small = self.small.queue.iter_from_back(&self.links);
        let main = self.main.queue.iter_from_back(&self.links);
        // Each is ranked once: hits change marks meanwhile.
        let small = small.map(|slot| (rank(slot, Place::Small), slot));
        let main = main.map(|slot| (rank(slot, Place::Main), slot));
        let mut ranked: Vec<_> = small.chain(main).collect();
        ranked.sort_by_key(|&(rank, _)| rank);
        ranked.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Checks every link and sum, and that exactly `slots` are here.
    ///
    /// # Panics
    /// If something does not agree.
    pub(crate) fn validate(&self, slots: &[Slot], residents: &impl Residents) {
        for weighed in [&self.small, &self.main] {
            weighed.queue.validate(&self.links);
            let weights = weighed.queue.iter_from_back(&self.links).map(|s| residents.weight(s));
            let sum: u128 = weights.map(u128::from).sum();
            assert_eq!(sum, weighed.weight, "the weight of a queue");
        }
        assert_eq!(self.links.count(), self.len(), "a link belongs to a queue");
        assert_eq!(slots.len(), self.len(), "the number of entries");
        for &slot in slots {
            assert!(self.links.queue_of(slot).is_some(), "{slot:?} is tracked");
        }
        if let Some((slot, weight)) = self.newcomer {
            assert!(slots.contains(&slot), "the newcomer is an entry");
            assert_eq!(residents.weight(slot), weight, "the newcomer's weight");
        }
    }

    #[inline]
    fn is_small(&self, slot: Slot) -> bool {
        self.small.queue.contains(&self.links, slot)
    }

    /// Keeps a newcomer in the main queue in front of what moves there while room is made for it.
    #[inline]
    fn lead_newcomer(&mut self) {
        if let Some((slot, _)) = self.newcomer
            && !self.is_small(slot)
        {
            self.main.queue.move_to_front(&mut self.links, slot);
        }
    }
}
