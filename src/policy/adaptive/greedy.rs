//! The miniature of greedy-dual, in caches whose entries differ in weight: sampled keys without
//! values, as in `shadow.rs`, but ranked by what they are worth for their weight.

use super::records::Records;
use super::setting::Goal;
use crate::Slot;
use crate::policy::parts::GreedyDual;

/// What a record that is held has beside its hits.
const HELD: u64 = 1 << 2;
/// The hits since it was ranked.
const HITS: u64 = HELD - 1;

/// The miniature. Records are ranked by position.
#[derive(Debug)]
pub(super) struct Greedy {
    records: Records,
    ranked: GreedyDual,
    weight: u64,
    capacity: u64,
    limit: usize,
    goal: Goal,
}

impl Greedy {
    /// None yet, of which all may weigh `capacity`.
    pub(super) fn new(capacity: u64, goal: Goal) -> Box<Self> {
        let (records, ranked) = (Records::default(), GreedyDual::default());
        Box::new(Self { records, ranked, weight: 0, capacity, limit: usize::MAX, goal })
    }

    /// Bounds the number of entries.
    pub(super) fn limit(&mut self, entries: usize) {
        self.limit = entries;
    }

    /// Accesses the key `id`, of this weight; answers whether that was a hit. Where the weight
    /// `is_known`, it may be another than it was.
    pub(super) fn access(&mut self, id: u32, weight: u32, is_known: bool) -> bool {
        let at = self.records.find_or_add(id, weight);
        let record = &mut self.records.records[at];
        if record.states == 0 {
            self.admit(at, weight);
            return false;
        }
        record.states = HELD | (record.states & HITS).saturating_add(1).min(HITS);
        if is_known && record.weight != weight {
            let old = std::mem::replace(&mut record.weight, weight);
            self.weight = self.weight - u64::from(old) + u64::from(weight);
            self.ranked.renew(Slot::new(at as u32), self.goal.cost(weight.into()), 0);
        }
        true
    }

    /// Lets a key in; whoever is worth least leaves, which may be the same.
    fn admit(&mut self, at: usize, weight: u32) {
        if u64::from(weight) > self.capacity {
            return self.records.remove(at);
        }
        self.records.records[at].states = HELD;
        self.ranked.insert(Slot::new(at as u32), self.goal.cost(weight.into()), 1);
        self.weight += u64::from(weight);
        while self.weight > self.capacity || self.ranked.len() > self.limit {
            let records = &mut self.records.records;
            let Some(victim) = self.ranked.victim(|slot| {
                let record = &mut records[slot.index()];
                let hits = record.states & HITS;
                record.states = HELD;
                (self.goal.cost(record.weight.into()), hits as u8)
            }) else {
                return;
            };
            self.ranked.remove(victim);
            self.weight -= u64::from(records[victim.index()].weight);
            self.records.remove(victim.index());
        }
    }

    /// Checks every count.
    ///
    /// # Panics
    /// If one is wrong.
    pub(super) fn validate(&self) {
        self.ranked.validate();
        assert_eq!(self.records.len, self.ranked.len(), "every record is ranked");
        let held = self.ranked.coldest();
        let weights = held.iter().map(|slot| self.records.records[slot.index()].weight);
        assert_eq!(weights.map(u64::from).sum::<u64>(), self.weight, "the weight held");
    }
}
