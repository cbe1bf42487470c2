//! Whoever the die names: the yardstick that a policy must beat to be worth its memory.
//!
//! Invariant: the entries lie in a gapless list, and each knows its place in it. It must not look at
//! marks or hashes.

use super::parts::{PerSlot, Stream};
use super::recorders::Forget;
use super::{Newcomer, Policy, Residents};
use crate::{RemovalCause, Slot};

/// What lies in either array where there is nothing.
const NOTHING: u32 = u32::MAX;

/// A victim drawn evenly from all entries. A hit costs nothing at all.
#[derive(Debug)]
pub struct Random {
    /// The list: slots by place.
    list: PerSlot<u32>,
    /// Where in the list the entry of a slot is.
    places: PerSlot<u32>,
    listed: u32,
    /// The victim named last, until it or the list changes: asked again, name it again.
    named: Option<Slot>,
    /// The entry for which room is being made, which the die passes over.
    newcomer: Option<Slot>,
    stream: Stream,
    seed: Option<u64>,
}

impl Default for Random {
    fn default() -> Self {
        Self::seeded(None)
    }
}

impl Random {
    /// The policy, its victims differing from run to run.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The policy, its victims the same for the same accesses.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::seeded(Some(seed))
    }

    fn seeded(seed: Option<u64>) -> Self {
        Self {
            list: PerSlot::new(NOTHING),
            places: PerSlot::new(NOTHING),
            listed: 0,
            named: None,
            newcomer: None,
            stream: seed.map_or_else(Stream::default, Stream::seeded),
            seed,
        }
    }

    fn at(&self, place: u32) -> Slot {
        Slot::new(self.list.get(Slot::new(place)))
    }
}

impl Policy for Random {
    type Recorder = Forget;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        let seed = |stripe: usize| self.seed.map(|seed| seed ^ (stripe as u64) << 32);
        (0..stripes).map(|stripe| Self::seeded(seed(stripe))).collect()
    }

    fn recorder(&self) -> Forget {
        Forget
    }

    fn on_insert(&mut self, newcomer: Newcomer, _: &impl Residents) {
        self.places.insert(newcomer.slot, self.listed);
        self.list.insert(Slot::new(self.listed), newcomer.slot.as_u32());
        self.listed += 1;
        self.newcomer = (!newcomer.has_room).then_some(newcomer.slot);
    }

    fn on_remove(&mut self, slot: Slot, _: RemovalCause, _: &impl Residents) {
        for holder in [&mut self.named, &mut self.newcomer] {
            if *holder == Some(slot) {
                *holder = None;
            }
        }
        let place = self.places.remove(slot);
        // The last in the list fills the gap.
        self.listed -= 1;
        let last = self.list.remove(Slot::new(self.listed));
        if place != self.listed {
            *self.list.get_mut(Slot::new(place)) = last;
            *self.places.get_mut(Slot::new(last)) = place;
        }
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        let place = self.places.remove(from);
        self.places.insert(to, place);
        *self.list.get_mut(Slot::new(place)) = to.as_u32();
        for holder in [&mut self.named, &mut self.newcomer] {
            if *holder == Some(from) {
                *holder = Some(to);
            }
        }
    }

    fn victim(&mut self, _: &impl Residents) -> Option<Slot> {
        if self.named.is_none() && self.listed > 0 {
            let place = self.stream.below(self.listed);
            let drawn = self.at(place);
            // The newcomer's neighbour stands in for it, so that it is named only if it is alone.
            let stand_in = self.at((place + 1) % self.listed);
            self.named = Some(if Some(drawn) == self.newcomer { stand_in } else { drawn });
        }
        self.named
    }

    fn set_capacity(&mut self, _: u64, _: u64) {}

    fn clear(&mut self) {
        *self = Self::seeded(self.seed);
    }

    /// There is no order but that of the list.
    fn ranking(&self, _: &impl Residents) -> Vec<Slot> {
        (0..self.listed).map(|place| self.at(place)).collect()
    }

    fn len(&self) -> usize {
        self.listed as usize
    }

    fn validate(&self, slots: &[Slot], _: &impl Residents) {
        assert_eq!(self.list.iter().count(), self.len(), "the list has no gap");
        assert_eq!(self.places.iter().count(), self.len(), "every entry has a place");
        assert_eq!(slots.len(), self.len(), "the number of entries");
        for &slot in slots {
            let place = self.places.get(slot);
            assert_ne!(place, NOTHING, "{slot:?} is tracked");
            assert_eq!(self.at(place), slot, "{slot:?} is at its place");
        }
        for slot in [self.named, self.newcomer].into_iter().flatten() {
            assert!(slots.contains(&slot), "{slot:?} is an entry");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;
    use crate::policy::sim::Sim;

    crate::policy::suite::policy_suite!(Random::with_seed(1));

    #[test]
    fn a_seed_decides_the_victims_and_all_are_drawn_alike() {
        let victims = |seed| {
            let mut sim = Sim::new(Random::with_seed(seed), 10);
            sim.victims = Some(Vec::new());
            sim.access_all(0..20_000);
            sim.victims.expect("recorded")
        };
        assert_eq!(victims(7), victims(7));
        assert_ne!(victims(7), victims(8));
        // Of ten entries each is drawn with a chance of a tenth: it lives ten evictions.
        let ages = victims(7).iter().enumerate().map(|(at, key)| at as u64 + 10 - key).sum::<u64>();
        let mean = ages as f64 / 19_990.0;
        assert!((mean - 10.0).abs() < 0.5, "{mean}");
    }
}
