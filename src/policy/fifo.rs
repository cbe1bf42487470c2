//! First in, first out: a hit changes nothing, the oldest entry goes.
//!
//! An update keeps the entry's place. It must not look at marks: a hit leaves none.

use super::parts::Line;
use super::recorders::Forget;
use super::{Newcomer, Policy, Residents};
use crate::{RemovalCause, Slot};

/// First in, first out. A hit costs nothing at all; the hit ratio is what is left of it.
#[derive(Debug, Default)]
pub struct Fifo {
    line: Line,
}

impl Fifo {
    /// The policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for Fifo {
    type Recorder = Forget;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        (0..stripes).map(|_| Self::default()).collect()
    }

    fn recorder(&self) -> Forget {
        Forget
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

    fn set_capacity(&mut self, _: u64, _: u64) {}

    fn clear(&mut self) {
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
    use super::Fifo;
    use crate::policy::sim::Sim;

    crate::policy::suite::policy_suite!(Fifo::new());

    #[test]
    fn the_oldest_goes_whatever_was_hit() {
        let mut sim = Sim::new(Fifo::new(), 3);
        sim.victims = Some(Vec::new());
        sim.access_all([1, 2, 3, 1, 1, 4, 2, 5, 1, 6]);
        assert_eq!(sim.victims, Some(vec![1, 2, 3, 4]));
        assert_eq!(sim.hits, 3);
    }
}
