//! Least recently used, exactly, as far as hits can be put in order.
//!
//! A hit notes its slot in a lossy ring of its thread's; draining moves those entries to the front,
//! before anything else happens to the stripe. So a stripe used by one thread is the textbook's LRU. Of
//! the hits of many threads between two drains, those of each keep their order, and bursts that fill a
//! ring before anyone can drain it lose the oldest of them.
//!
//! A drained slot may have left or been taken over by another entry in the meantime: then a hit is
//! ignored or counts for the wrong one, by contract harmless. Ignored are also hits on what weighs
//! nothing, which the rings hold although the policy is not told of it.

use super::parts::{Buffer, Line};
use super::recorders::Log;
use super::{Newcomer, Policy, Residents};
use crate::{RemovalCause, Slot};

/// Least recently used. Every hit is noted in a ring, so it takes about twice the time of one under
/// the cheaper policies.
#[derive(Debug, Default)]
pub struct Lru {
    line: Line,
    hits: Buffer,
}

impl Lru {
    /// The policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for Lru {
    type Recorder = Log;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        (0..stripes).map(|_| Self::default()).collect()
    }

    fn recorder(&self) -> Log {
        Log::new(self.hits.clone())
    }

    fn on_insert(&mut self, newcomer: Newcomer, _: &impl Residents) {
        self.line.insert(newcomer.slot);
    }

    fn on_remove(&mut self, slot: Slot, _: RemovalCause, _: &impl Residents) {
        self.line.remove(slot);
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        self.line.replace(from, to);
    }

    fn victim(&mut self, _: &impl Residents) -> Option<Slot> {
        self.line.back()
    }

    fn maintain(&mut self, _: &impl Residents) {
        self.hits.drain(|slot| self.line.refresh(slot));
    }

    fn set_capacity(&mut self, _: u64, _: u64) {}

    fn clear(&mut self) {
        self.hits.drain(drop);
        self.line.clear();
    }

    fn ranking(&self, _: &impl Residents) -> Vec<Slot> {
        self.line.iter_from_back().collect()
    }

    fn len(&self) -> usize {
        self.line.len()
    }

    fn validate(&self, slots: &[Slot], _: &impl Residents) {
        self.line.validate(slots);
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;
    use crate::policy::sim::{Sim, hash_of};

    crate::policy::suite::policy_suite!(Lru::new());

    #[test]
    fn the_least_recently_used_goes() {
        let mut sim = Sim::new(Lru::new(), 3);
        sim.victims = Some(Vec::new());
        sim.access_all([1, 2, 3, 1, 4, 1, 3, 5, 6]);
        assert_eq!(sim.victims, Some(vec![2, 4, 1]));
    }

    #[test]
    fn it_is_the_textbooks_lru() {
        let mut sim = Sim::new(Lru::new(), 40);
        sim.victims = Some(Vec::new());
        let mut model: Vec<u64> = Vec::new();
        let mut victims = Vec::new();
        for step in 0..20_000 {
            let key = (hash_of(step) % 100).min(hash_of(step + 1) % 100);
            let at = model.iter().position(|&other| other == key);
            assert_eq!(sim.access(key), at.is_some());
            match at {
                Some(at) => _ = model.remove(at),
                None if model.len() == 40 => victims.push(model.remove(0)),
                None => {}
            }
            model.push(key);
        }
        assert_eq!(sim.victims, Some(victims));
    }
}
