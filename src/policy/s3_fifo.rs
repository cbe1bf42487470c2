//! S3-FIFO: a small queue that most entries only pass through, a main queue, and ghosts.
//!
//! After Yang, Zhang, Qiu, Yue and Rashmi, "FIFO Queues are All You Need for Cache Eviction", SOSP
//! 2023, with the defaults of its authors' simulator: a tenth of the capacity is for the small
//! queue; two hits there earn a place in the main queue, which reinserts what was hit; who leaves
//! the small queue unpromoted is remembered, for as many evictions as nine tenths of the entries,
//! and comes back straight into the main queue. Deviations:
//!
//! * until something is evicted, what does not fit the small queue goes to the main one (so does
//!   the simulator);
//! * the small queue's tenth is of what the stripe holds, which may differ from its fair share;
//! * ghosts are fingerprints, counted in entries, not in weight: rarely, one is taken for another;
//! * an entry heavier than the small queue is admitted to it and leaves with the next newcomer;
//! * a search passes at most [`MAX_STEPS`] entries, then takes whom it has reached.

use super::parts::{Duo, Ghost, Mixed, Place};
use super::recorders::Count;
use super::{Newcomer, Policy, Residents};
use crate::{RemovalCause, Slot};

/// How many entries one search for a victim may promote or reinsert.
const MAX_STEPS: usize = 1024;
/// The hits that earn a place in the main queue.
const PROMOTE_AT: u8 = 2;
/// One part in so many of the weight is the small queue's.
const SMALL_PART: u64 = 10;

/// S3-FIFO. A hit counts to three in the entry's mark; one-hit wonders leave quickly.
#[derive(Debug, Default)]
pub struct S3Fifo {
    duo: Duo,
    ghosts: Ghost,
    /// The number of entries for which the ghosts' table was made.
    ghosts_sized_for: usize,
    /// How many ghosts were made and how many returned of late: halved once the former exceeds the
    /// number of entries.
    remembered: u64,
    returned: u64,
    /// The fair share of the capacity, which only decides where entries go at first.
    share: u64,
    has_evicted: bool,
}

impl S3Fifo {
    /// The policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many evictions back a ghost is still known, so that about nine tenths as many are known
    /// as there are entries. Those that came back have left gaps; they are taken to be spread evenly
    /// over the window, so that half of them still lay in it.
    fn ghost_window(&self) -> usize {
        let wanted = self.duo.len() as u64 * 9 / 10;
        let (remembered, returned) = (2 * self.remembered, self.returned.min(self.remembered));
        (wanted * remembered / (remembered - returned).max(1)).max(wanted) as usize
    }

    fn remember(&mut self, hash: u64) {
        // The number of entries is not known beforehand where they have weights. An outgrown table
        // is replaced by an empty one, at most once per doubling.
        let entries = self.duo.len();
        if !self.ghosts.is_allocated() || entries / 2 > self.ghosts_sized_for {
            self.ghosts.reset(entries);
            self.ghosts_sized_for = entries;
        }
        self.ghosts.push(Mixed::new(hash));
        self.remembered += 1;
        if self.remembered >= entries as u64 {
            self.remembered /= 2;
            self.returned /= 2;
        }
    }

    /// Whether the small queue has its part of the weight without the newcomer.
    fn small_is_full(&self) -> bool {
        let (mut small, mut total) = (self.duo.small_weight(), self.duo.weight());
        if let Some((weight, in_small)) = self.duo.newcomer() {
            total -= u128::from(weight);
            small -= if in_small { u128::from(weight) } else { 0 };
        }
        // The same as `small >= total / SMALL_PART`, as a multiplication.
        total < (small + 1) * u128::from(SMALL_PART)
    }

    /// The back of the small queue, unless room is being made for it.
    fn small_candidate(&self) -> Option<Slot> {
        self.duo.small_back().filter(|&slot| !self.duo.is_newcomer(slot))
    }

    /// The back of the main queue, unless room is being made for it.
    fn main_candidate(&self) -> Option<Slot> {
        self.duo.main_back().filter(|&slot| !self.duo.is_newcomer(slot))
    }

    /// Promotes from the back of the small queue until a victim is there, if there is one.
    fn small_victim(&mut self, residents: &impl Residents, steps: &mut usize) -> Option<Slot> {
        while let Some(slot) = self.small_candidate() {
            let mark = residents.mark(slot);
            if mark.get() < PROMOTE_AT || *steps == 0 {
                return Some(slot);
            }
            *steps -= 1;
            mark.set(0);
            self.duo.promote(slot, residents.weight(slot));
        }
        None
    }

    /// Reinserts from the back of the main queue until a victim is there, if there is one.
    fn main_victim(&mut self, residents: &impl Residents, steps: &mut usize) -> Option<Slot> {
        while let Some(slot) = self.main_candidate() {
            let mark = residents.mark(slot);
            let count = mark.get();
            if count == 0 || *steps == 0 {
                return Some(slot);
            }
            *steps -= 1;
            mark.set(count - 1);
            self.duo.reinsert(slot);
        }
        None
    }
}

impl Policy for S3Fifo {
    type Recorder = Count;

    fn for_stripes(self, stripes: usize, capacity: u64) -> Vec<Self> {
        let share = capacity / (stripes as u64).max(1);
        (0..stripes).map(|_| Self { share, ..Self::default() }).collect()
    }

    fn recorder(&self) -> Count {
        Count
    }

    fn on_insert(&mut self, newcomer: Newcomer, _: &impl Residents) {
        let returns = self.ghosts.take(Mixed::new(newcomer.hash), self.ghost_window());
        self.returned += u64::from(returns);
        let small_part = u128::from(self.share / SMALL_PART);
        let fills_up = !self.has_evicted && self.duo.small_weight() >= small_part;
        self.duo.insert(newcomer, returns || (fills_up && newcomer.has_room));
    }

    fn on_weight(&mut self, slot: Slot, old: u64, new: u64) {
        self.duo.reweigh(slot, old, new);
    }

    fn on_remove(&mut self, slot: Slot, cause: RemovalCause, residents: &impl Residents) {
        let place = self.duo.remove(slot, residents.weight(slot));
        let evicted = matches!(cause, RemovalCause::Size | RemovalCause::Rejected);
        if evicted && place == Place::Small {
            self.remember(residents.hash(slot));
        }
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        self.duo.replace(from, to);
    }

    fn victim(&mut self, residents: &impl Residents) -> Option<Slot> {
        self.has_evicted = true;
        let mut steps = MAX_STEPS;
        let from_small =
            if self.small_is_full() { self.small_victim(residents, &mut steps) } else { None };
        from_small
            .or_else(|| self.main_victim(residents, &mut steps))
            .or_else(|| self.small_victim(residents, &mut steps))
            // Only the newcomer is left.
            .or(self.duo.small_back())
            .or(self.duo.main_back())
    }

    fn set_capacity(&mut self, share: u64, _: u64) {
        self.has_evicted &= share <= self.share;
        self.share = share;
    }

    fn clear(&mut self) {
        *self = Self { share: self.share, ..Self::default() };
    }

    /// The next victims are the cheaply dropped, in order of what they would survive.
    fn ranking(&self, residents: &impl Residents) -> Vec<Slot> {
        self.duo.ranking(|slot, place| {
            let count = residents.mark(slot).get().min(Count::MAX);
            match place {
                Place::Small if count < PROMOTE_AT => 0,
                Place::Small => 2,
                Place::Main if count == 0 => 1,
                Place::Main => 2 + count,
            }
        })
    }

    fn len(&self) -> usize {
        self.duo.len()
    }

    fn validate(&self, slots: &[Slot], residents: &impl Residents) {
        self.duo.validate(slots, residents);
        assert!(self.ghosts.is_allocated() || self.ghosts_sized_for == 0, "the ghosts' table");
    }
}

#[cfg(test)]
mod tests {
    use super::S3Fifo;
    use crate::policy::sim::Sim;

    crate::policy::suite::policy_suite!(S3Fifo::new());

    #[test]
    fn two_hits_promote_and_a_ghost_returns_to_the_main_queue() {
        let mut sim = Sim::new(S3Fifo::new(), 20);
        // 0 and 1 fill the small queue, the others go to the main one.
        sim.access_all(0..20);
        sim.access_all([0, 0, 1]);
        sim.victims = Some(Vec::new());
        // 0 is promoted and 1, hit only once, goes; with one left in the small queue, the main
        // queue is above its part: 2 goes. Then the small queue is at its part again.
        sim.access_all([20, 21, 22, 23]);
        assert_eq!(sim.victims.take(), Some(vec![1, 2, 20, 21]));
        // 1 is remembered: it comes back into the main queue and outlives the small one.
        sim.access_all([1]);
        sim.access_all(100..110);
        assert!(sim.access(1));
        sim.validate();
    }
}
