//! Least frequently used, with ageing, so that yesterday's favourites leave.
//!
//! LFU with dynamic ageing after Arlitt, Cherkasova, Dilley, Friedrich and Jin, "Evaluating content
//! management techniques for Web proxy caches", 1999: an entry's priority is the number of its hits
//! plus the stripe's age when the last of them came; the lowest priority goes, and becomes the age.
//! Where priorities are equal, who has been there longest goes. Deviations:
//!
//! * hits come through lossy rings (as in `lru.rs`): exact with one thread, nearly so with many;
//! * hits are counted up to a million, and priorities end at 2^44, when ageing would.
//!
//! Invariant: an entry is in the queue of its priority.

use super::parts::queue::Links;
use super::parts::{Buffer, Levels, PerSlot};
use super::recorders::Log;
use super::{Newcomer, Policy, Residents};
use crate::{RemovalCause, Slot};

/// Least frequently used, with ageing. Every hit is noted in a ring and moves its entry to another
/// queue, so it takes about four times as long as one under the cheaper policies, and an entry costs
/// twice their memory.
#[derive(Debug, Default)]
pub struct Lfu {
    ranking: Ranking,
    hits: Buffer,
}

/// How often an entry was used, and the priority that follows: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rank(u64);

impl Rank {
    /// What a slot without priority has: more than any frequency with the largest priority.
    const NONE: Self = Self(u64::MAX);
    const FREQUENCY_BITS: u32 = 20;
    const MAX_FREQUENCY: u64 = (1 << Self::FREQUENCY_BITS) - 2;
    const MAX_PRIORITY: u64 = (1 << (64 - Self::FREQUENCY_BITS)) - 1;

    fn new(frequency: u64, age: u64) -> Self {
        let frequency = frequency.min(Self::MAX_FREQUENCY);
        let priority = (frequency + age).min(Self::MAX_PRIORITY);
        Self(priority << Self::FREQUENCY_BITS | frequency)
    }

    const fn frequency(self) -> u64 {
        self.0 & ((1 << Self::FREQUENCY_BITS) - 1)
    }

    const fn priority(self) -> u64 {
        self.0 >> Self::FREQUENCY_BITS
    }
}

/// The entries by priority.
#[derive(Debug)]
struct Ranking {
    links: Links,
    ranks: PerSlot<Rank>,
    levels: Levels,
    len: usize,
    /// The priority of the last victim.
    age: u64,
    /// The entry for which room is being made: it comes in as if after that.
    newcomer: Option<Slot>,
}

impl Default for Ranking {
    fn default() -> Self {
        Self {
            links: Links::default(),
            ranks: PerSlot::new(Rank::NONE),
            levels: Levels::default(),
            len: 0,
            age: 0,
            newcomer: None,
        }
    }
}

impl Ranking {
    fn add(&mut self, slot: Slot) {
        let rank = Rank::new(1, self.age);
        self.ranks.insert(slot, rank);
        self.levels.join(&mut self.links, slot, rank.priority());
        self.len += 1;
    }

    /// Takes an entry out; answers its priority.
    fn take(&mut self, slot: Slot) -> u64 {
        if self.newcomer == Some(slot) {
            self.newcomer = None;
        }
        let rank = self.ranks.remove(slot);
        self.levels.leave(&mut self.links, slot, rank.priority());
        self.len -= 1;
        rank.priority()
    }

    /// Counts a hit, unless the entry left or weighs nothing.
    fn count(&mut self, slot: Slot) {
        let rank = self.ranks.get(slot);
        if rank != Rank::NONE {
            if self.newcomer == Some(slot) {
                self.newcomer = None;
            }
            self.change(slot, rank, Rank::new(rank.frequency() + 1, self.age));
        }
    }

    /// Lets time pass: an entry of this priority was evicted.
    fn grow_older(&mut self, priority: u64) {
        self.age = self.age.max(priority);
        if let Some(slot) = self.newcomer {
            self.change(slot, self.ranks.get(slot), Rank::new(1, self.age));
        }
    }

    fn change(&mut self, slot: Slot, old: Rank, new: Rank) {
        self.levels.leave(&mut self.links, slot, old.priority());
        *self.ranks.get_mut(slot) = new;
        self.levels.join(&mut self.links, slot, new.priority());
    }

    fn replace(&mut self, from: Slot, to: Slot) {
        if self.newcomer == Some(from) {
            self.newcomer = Some(to);
        }
        let rank = self.ranks.remove(from);
        self.ranks.insert(to, rank);
        self.levels.replace(&mut self.links, (from, to), rank.priority());
    }

    fn validate(&self, slots: &[Slot]) {
        let queued = self.levels.validate(&self.links, |slot| self.ranks.get(slot).priority());
        let counts = [queued, self.ranks.iter().count(), self.links.count(), slots.len()];
        assert_eq!(counts, [self.len; 4], "queued, ranked, linked and expected entries");
        for &slot in slots {
            assert_ne!(self.ranks.get(slot), Rank::NONE, "{slot:?} is tracked");
        }
        assert!(self.newcomer.is_none_or(|slot| slots.contains(&slot)), "the newcomer is there");
    }
}

impl Lfu {
    /// The policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for Lfu {
    type Recorder = Log;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        (0..stripes).map(|_| Self::default()).collect()
    }

    fn recorder(&self) -> Log {
        Log::new(self.hits.clone())
    }

    fn on_insert(&mut self, newcomer: Newcomer, _: &impl Residents) {
        self.ranking.add(newcomer.slot);
        self.ranking.newcomer = (!newcomer.has_room).then_some(newcomer.slot);
    }

    fn on_remove(&mut self, slot: Slot, cause: RemovalCause, _: &impl Residents) {
        let priority = self.ranking.take(slot);
        if cause == RemovalCause::Size {
            self.ranking.grow_older(priority);
        }
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        self.ranking.replace(from, to);
    }

    fn victim(&mut self, _: &impl Residents) -> Option<Slot> {
        self.ranking.levels.lowest(self.ranking.newcomer)
    }

    fn maintain(&mut self, _: &impl Residents) {
        self.hits.drain(|slot| self.ranking.count(slot));
    }

    fn set_capacity(&mut self, _: u64, _: u64) {}

    fn clear(&mut self) {
        self.hits.drain(drop);
        self.ranking = Ranking::default();
    }

    fn ranking(&self, _: &impl Residents) -> Vec<Slot> {
        let Ranking { links, levels, .. } = &self.ranking;
        let levels = levels.sorted().into_iter();
        levels.flat_map(|(_, level)| level.iter_from_back(links)).collect()
    }

    fn len(&self) -> usize {
        self.ranking.len
    }

    fn validate(&self, slots: &[Slot], _: &impl Residents) {
        self.ranking.validate(slots);
    }
}

#[cfg(test)]
mod tests {
    use super::{Lfu, Rank};
    use crate::policy::sim::{Sim, hash_of};

    crate::policy::suite::policy_suite!(Lfu::new());

    #[test]
    fn the_least_frequent_goes_and_favourites_age() {
        let mut sim = Sim::new(Lfu::new(), 3);
        sim.victims = Some(Vec::new());
        sim.access_all([1, 1, 1, 2, 2, 3, 4]);
        assert_eq!(sim.victims, Some(vec![3]), "the only one hit once");
        // The age is 1, so 4 came in with 2 like entry 2, which has had it for longer; then the age
        // is 2 and 5 comes in with 3, like the favourite 1, which has to go after 4.
        sim.access_all([5, 6, 7]);
        assert_eq!(sim.victims, Some(vec![3, 2, 4, 1]));
    }

    /// The textbook's algorithm by exhaustive search.
    #[test]
    fn it_is_the_textbooks_lfu_with_dynamic_ageing() {
        let mut sim = Sim::new(Lfu::new(), 40);
        sim.victims = Some(Vec::new());
        let (mut model, mut age, mut victims) = (Vec::<(u64, u64, u64, u64)>::new(), 0, Vec::new());
        for step in 0..20_000 {
            let key = (hash_of(step) % 100).min(hash_of(step + 1) % 100) + step / 5000 * 50;
            let at = model.iter().position(|entry| entry.3 == key);
            assert_eq!(sim.access(key), at.is_some());
            let frequency = match at {
                Some(at) => model.swap_remove(at).2 + 1,
                None => 1,
            };
            if model.len() == 40 {
                let lowest = *model.iter().min().expect("full");
                model.retain(|entry| *entry != lowest);
                age = lowest.0;
                victims.push(lowest.3);
            }
            model.push((frequency + age, step, frequency, key));
        }
        assert_eq!(sim.victims, Some(victims));
    }

    #[test]
    fn ranks_saturate() {
        let rank = Rank::new(u64::MAX, Rank::MAX_PRIORITY);
        assert_eq!(rank.frequency(), Rank::MAX_FREQUENCY);
        assert_eq!(rank.priority(), Rank::MAX_PRIORITY);
        assert_ne!(rank, Rank::NONE);
    }
}
