//! Entries in the order of what keeping them is worth for its weight.
//!
//! Greedy-dual (Cao and Irani, USITS 1997) with frequencies (Cherkasova, HPL-98-69, 1998): an
//! entry's priority is its value, which is the number of its uses per weight, plus the age when it
//! was last ranked; who has the lowest priority goes, and its priority becomes the age. So what was
//! valuable once leaves when it is used no more.
//!
//! Values are rounded to powers of the square root of two, and each has a queue. In a queue all came
//! in with the same value and at a growing age, so the lowest of all is at the back of one of them,
//! and no heap is needed. Uses since the last ranking count when an entry would have to go, as in
//! CLOCK: hits move nothing.
//!
//! Invariant: an entry is in the queue of its level. It must not know where uses are noted.

use std::cmp::Ordering;

use super::PerSlot;
use super::queue::{Links, Queue};
use crate::Slot;

/// The number of different values: one bit of a word each.
const LEVELS: usize = 128;
/// The level of the value 1, that of weight 1 used once. Below it is room for values up to 2^12 (light
/// entries used often), above it for values down to 2^-51: heavier ones are not told apart.
const LEVEL_OF_ONE: f64 = 24.0;
/// The power of the number of uses in a value. A little more than the 1 of the paper makes up for
/// uses that are not counted, and gains a tenth of a point.
const USES_POWER: f64 = 1.2;
/// How many entries are ranked anew for one victim at most.
const MAX_MOVES: u32 = 64;

/// The entries, by value.
#[derive(Debug)]
pub(crate) struct GreedyDual {
    links: Links,
    ranks: PerSlot<Rank>,
    /// The most valuable first; none until there is an entry.
    levels: Vec<Queue>,
    lows: Lows,
    len: usize,
    age: f64,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rank {
    priority: f64,
    /// How often it had been used when it was ranked.
    uses: u16,
    level: u8,
}

impl Rank {
    /// What a slot without entry has.
    const NONE: Self = Self { priority: 0.0, uses: 0, level: 0 };

    fn new(age: f64, uses: u16, weight: u64) -> Self {
        let cost = (weight.max(1) as f64).log2() - USES_POWER * f64::from(uses).log2();
        let level = (2.0 * cost + LEVEL_OF_ONE).round().clamp(0.0, LEVELS as f64 - 1.0);
        let value = ((LEVEL_OF_ONE - level) / 2.0).exp2();
        Self { priority: age + value, uses, level: level as u8 }
    }
}

/// The lowest priority in each level, and the level of the lowest of all: a tournament, in which a level
/// that changes plays its matches again, one for each doubling of the levels.
#[derive(Debug, Default)]
struct Lows {
    /// Infinite where a level has no entry.
    lows: Vec<f64>,
    /// The levels that won: node n has the one of its two children, 2n and 2n + 1, that is lower, the
    /// second of equals. Node 1 is the final; the levels themselves come last.
    winners: Vec<u8>,
}

impl Lows {
    /// Those of empty levels.
    fn infinite() -> Self {
        let mut lows = Self {
            lows: vec![f64::INFINITY; LEVELS],
            winners: (0..LEVELS as u8).cycle().take(2 * LEVELS).collect(),
        };
        for node in (1..LEVELS).rev() {
            lows.winners[node] = lows.winner(node);
        }
        lows
    }

    fn of(&self, level: usize) -> f64 {
        self.lows[level]
    }

    /// The level of the lowest priority; of equals, the one that is worth least.
    fn lowest(&self) -> Option<usize> {
        self.winners.get(1).map(|&level| level.into())
    }

    fn set(&mut self, level: usize, low: f64) {
        self.lows[level] = low;
        for round in 1..=LEVELS.ilog2() {
            let node = (LEVELS + level) >> round;
            self.winners[node] = self.winner(node);
        }
    }

    /// The winner of a node's match.
    fn winner(&self, node: usize) -> u8 {
        let [one, other] = [self.winners[2 * node], self.winners[2 * node + 1]];
        let is_other = self.lows[usize::from(other)] <= self.lows[usize::from(one)];
        if is_other { other } else { one }
    }

    /// # Panics
    /// If a match was won by the wrong one.
    fn validate(&self) {
        for node in 1..self.winners.len() / 2 {
            assert_eq!(self.winners[node], self.winner(node), "the winner of node {node}");
        }
    }
}

impl Default for GreedyDual {
    fn default() -> Self {
        Self {
            links: Links::default(),
            ranks: PerSlot::new(Rank::NONE),
            levels: Vec::new(),
            lows: Lows::default(),
            len: 0,
            age: 0.0,
        }
    }
}

impl GreedyDual {
    /// Takes in an entry of this weight that was used so often.
    pub(crate) fn insert(&mut self, slot: Slot, weight: u64, uses: u16) {
        let rank = Rank::new(self.age, uses.max(1), weight);
        self.ranks.insert(slot, rank);
        if self.levels.is_empty() {
            self.levels.resize_with(LEVELS, || Queue::new(0));
            self.lows = Lows::infinite();
        }
        let level = usize::from(rank.level);
        self.levels[level].push_front(&mut self.links, slot);
        if rank.priority < self.lows.of(level) {
            self.lows.set(level, rank.priority);
        }
        self.len += 1;
    }

    /// Takes out an entry; answers how often it had been used.
    pub(crate) fn remove(&mut self, slot: Slot) -> u16 {
        let Rank { uses, level, .. } = self.ranks.remove(slot);
        let level = usize::from(level);
        let queue = &mut self.levels[level];
        let was_lowest = queue.back() == Some(slot);
        queue.unlink(&mut self.links, slot);
        if was_lowest {
            let back = queue.back();
            self.lows.set(level, back.map_or(f64::INFINITY, |back| self.ranks.get(back).priority));
        }
        self.len -= 1;
        uses
    }

    /// Whether the entry is here.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.ranks.get(slot) != Rank::NONE
    }

    /// Ranks the entry anew: it weighs that now, and was used so many times more.
    pub(crate) fn renew(&mut self, slot: Slot, weight: u64, hits: u16) {
        let uses = self.remove(slot);
        self.insert(slot, weight, uses.saturating_add(hits));
    }

    /// Gives the place of `from` to `to`.
    pub(crate) fn replace(&mut self, from: Slot, to: Slot) {
        let rank = self.ranks.remove(from);
        self.ranks.insert(to, rank);
        self.levels[usize::from(rank.level)].replace(&mut self.links, from, to);
    }

    /// The entry of the lowest priority; of equals, the heaviest for its uses.
    pub(crate) fn lowest(&self) -> Option<Slot> {
        self.levels[self.lows.lowest()?].back()
    }

    /// The entry that should go. `look` tells what an entry weighs, and takes the hits since it was
    /// looked at last; those that were hit are ranked anew.
    pub(crate) fn victim(&mut self, mut look: impl FnMut(Slot) -> (u64, u8)) -> Option<Slot> {
        for _ in 0..MAX_MOVES {
            let level = self.lows.lowest()?;
            let lowest = self.levels[level].back()?;
            self.age = self.age.max(self.lows.of(level));
            match look(lowest) {
                (_, 0) => return Some(lowest),
                (weight, hits) => self.renew(lowest, weight, hits.into()),
            }
        }
        self.lowest()
    }

    /// The number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The entries, the lowest priority first.
    pub(crate) fn coldest(&self) -> Vec<Slot> {
        let backs = self.levels.iter().rev().flat_map(|queue| queue.iter_from_back(&self.links));
        let mut slots: Vec<Slot> = backs.collect();
        let priority = |slot: &Slot| self.ranks.get(*slot).priority;
        slots.sort_by(|one, other| priority(one).total_cmp(&priority(other)));
        slots
    }

    /// Checks every link and level.
    ///
    /// # Panics
    /// If something does not agree.
    pub(crate) fn validate(&self) {
        self.lows.validate();
        let mut len = 0;
        for (level, queue) in self.levels.iter().enumerate() {
            queue.validate(&self.links);
            let priority = |slot| self.ranks.get(slot).priority;
            let low = queue.back().map_or(f64::INFINITY, priority);
            assert_eq!(low.total_cmp(&self.lows.of(level)), Ordering::Equal, "the low of {level}");
            assert!(
                queue.iter_from_back(&self.links).is_sorted_by_key(priority),
                "who came first is lowest in {level}"
            );
            for slot in queue.iter_from_back(&self.links) {
                assert_eq!(usize::from(self.ranks.get(slot).level), level, "{slot:?}'s level");
            }
            len += queue.len();
        }
        assert_eq!((len, self.links.count(), self.ranks.iter().count()), (self.len, len, len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(weights: &[u64]) -> GreedyDual {
        let mut entries = GreedyDual::default();
        for (index, &weight) in weights.iter().enumerate() {
            entries.insert(Slot::new(index as u32), weight, 1);
        }
        entries.validate();
        entries
    }

    #[test]
    fn the_heaviest_for_its_uses_goes_first() {
        let mut entries = with(&[100, 10, 1000, 1]);
        let mut order = Vec::new();
        while let Some(slot) = entries.victim(|_| (1, 0)) {
            order.push(slot.index());
            entries.remove(slot);
            entries.validate();
        }
        assert_eq!(order, [2, 0, 1, 3]);
    }

    #[test]
    fn uses_count_when_an_entry_would_have_to_go() {
        let mut entries = with(&[8, 8, 8]);
        let mut hits = [3, 0, 0];
        let victim = entries.victim(|slot| (8, std::mem::take(&mut hits[slot.index()])));
        assert_eq!(victim, Some(Slot::new(1)), "the first was used");
        assert_eq!(entries.coldest(), [1, 2, 0].map(Slot::new));
        assert_eq!(entries.remove(Slot::new(0)), 4);
    }

    #[test]
    fn what_is_valuable_ages() {
        let mut entries = with(&[1]);
        for index in 1..400 {
            entries.insert(Slot::new(index), 100, 1);
            let victim = entries.victim(|_| (1, 0)).expect("there are two");
            entries.remove(victim);
            if victim == Slot::new(0) {
                assert!((90..120).contains(&index), "after {index} that are worth a hundredth");
                return;
            }
        }
        panic!("it is there for good");
    }

    #[test]
    fn values_are_told_apart_from_light_to_heavy() {
        let level = |uses, weight| Rank::new(0.0, uses, weight).level;
        assert_eq!((level(1, 1), level(2, 1), level(1, 2)), (24, 22, 26));
        assert_eq!((level(u16::MAX, 1), level(1, u64::MAX)), (0, 127));
        assert_eq!((level(1, 0), level(1, 1 << 51)), (24, 126));
    }
}
