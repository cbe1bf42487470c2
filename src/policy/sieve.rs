//! SIEVE: one queue, one bit, and a hand that sifts the unvisited out.
//!
//! After Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is Simpler than LRU: an Efficient Turn-Key
//! Eviction Algorithm for Web Caches", NSDI 2024. Entries never move: the hand goes from the back
//! to the front, clears the bit of a visited entry and stops at the first unvisited one, which is
//! the victim. Deviation: the hand clears at most [`MAX_STEPS`] bits for one victim; then the entry
//! it has reached goes, visited or not, so that one insert cannot sweep a whole stripe.
//!
//! Invariant: the hand, if set, is in the queue.

use super::parts::Line;
use super::recorders::Visit;
use super::{Newcomer, Policy, Residents};
use crate::{RemovalCause, Slot};

/// How many visited entries the hand passes for one victim.
const MAX_STEPS: usize = 1024;

/// SIEVE. A hit sets a bit if it is not set already; scans pass through without harm.
#[derive(Debug, Default)]
pub struct Sieve {
    line: Line,
    /// Where the next search starts; at the back if unset.
    hand: Option<Slot>,
    /// The entry for which room is being made. The paper makes room first, so its search does not
    /// see it.
    newcomer: Option<Slot>,
}

impl Sieve {
    /// The policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry after `slot` on the hand's way; `None` at the end of it.
    #[inline]
    fn next(&self, slot: Slot) -> Option<Slot> {
        self.line.ahead(slot).filter(|&ahead| Some(ahead) != self.newcomer)
    }

    /// The queue in the order in which the hand will reach it.
    fn iter_from_hand(&self) -> impl Iterator<Item = Slot> + '_ {
        let start = self.hand.or(self.line.back());
        let to_front = std::iter::successors(start, |&slot| self.line.ahead(slot));
        let from_back = std::iter::successors(self.line.back(), |&slot| self.line.ahead(slot));
        to_front.chain(from_back.take_while(move |&slot| Some(slot) != start))
    }
}

impl Policy for Sieve {
    type Recorder = Visit;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        (0..stripes).map(|_| Self::default()).collect()
    }

    fn recorder(&self) -> Visit {
        Visit
    }

    fn on_insert(&mut self, newcomer: Newcomer, _: &impl Residents) {
        self.line.insert(newcomer.slot);
        self.newcomer = (!newcomer.has_room).then_some(newcomer.slot);
    }

    fn on_remove(&mut self, slot: Slot, _: RemovalCause, _: &impl Residents) {
        if self.hand == Some(slot) {
            self.hand = self.next(slot);
        }
        if self.newcomer == Some(slot) {
            self.newcomer = None;
        }
        self.line.remove(slot);
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        self.line.replace(from, to);
        for holder in [&mut self.hand, &mut self.newcomer] {
            if *holder == Some(from) {
                *holder = Some(to);
            }
        }
    }

    fn victim(&mut self, residents: &impl Residents) -> Option<Slot> {
        let mut at = self.hand.or(self.line.back())?;
        for _ in 0..MAX_STEPS {
            let mark = residents.mark(at);
            if mark.get() == 0 && Some(at) != self.newcomer {
                break;
            }
            mark.set(0);
            // The newcomer is named only if nobody else is left.
            at = self.next(at).or(self.line.back())?;
        }
        self.hand = Some(at);
        self.hand
    }

    fn set_capacity(&mut self, _: u64, _: u64) {}

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn ranking(&self, residents: &impl Residents) -> Vec<Slot> {
        let (unvisited, visited): (Vec<_>, Vec<_>) =
            self.iter_from_hand().partition(|&slot| residents.mark(slot).get() == 0);
        [unvisited, visited].concat()
    }

    fn len(&self) -> usize {
        self.line.len()
    }

    fn validate(&self, slots: &[Slot], _: &impl Residents) {
        self.line.validate(slots);
        if let Some(hand) = self.hand {
            assert!(slots.contains(&hand), "the hand is on an entry");
        }
        if let Some(newcomer) = self.newcomer {
            assert!(slots.contains(&newcomer), "the newcomer is an entry");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sieve;
    use crate::policy::sim::Sim;

    crate::policy::suite::policy_suite!(Sieve::new());

    /// The example of the paper's figure 1: A to G in the queue, A, B and G visited, the hand at
    /// the back; H, A, D, I, B and J are asked for.
    #[test]
    fn the_papers_example() {
        let mut sim = Sim::new(Sieve::new(), 7);
        sim.access_all(b"GFEDCBA".map(u64::from));
        b"ABG".iter().for_each(|&key| assert!(sim.access(key.into())));
        sim.victims = Some(Vec::new());
        sim.access_all(b"HADIBJ".map(u64::from));
        let victims = sim.victims.take().expect("recorded");
        assert_eq!(victims, [b'F', b'E', b'C'].map(u64::from));
        sim.validate();
    }

    #[test]
    fn a_hand_at_the_front_starts_again_at_the_back() {
        let mut sim = Sim::new(Sieve::new(), 3);
        sim.victims = Some(Vec::new());
        sim.access_all([1, 2, 3, 1, 2, 4, 4, 5, 6, 7]);
        // 3 was the only one unvisited and in front: the hand comes round to 1, then 2; then it
        // clears 4 and takes 5, and at the front comes round once more.
        assert_eq!(sim.victims, Some(vec![3, 1, 2, 5]));
    }
}
