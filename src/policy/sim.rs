//! A one-stripe cache of hashes for testing policies without the table, the locks and the values.

use std::collections::HashMap;

use super::{Mark, Newcomer, Policy, Recorder, Residents};
use crate::{RemovalCause, Slot};

/// The stripe's slots: what a policy sees.
#[derive(Debug, Default)]
struct Slots {
    marks: Vec<Mark>,
    hashes: Vec<u64>,
    weights: Vec<u64>,
}

impl Residents for Slots {
    fn mark(&self, slot: Slot) -> &Mark {
        &self.marks[slot.index()]
    }
    fn hash(&self, slot: Slot) -> u64 {
        self.hashes[slot.index()]
    }
    fn weight(&self, slot: Slot) -> u64 {
        self.weights[slot.index()]
    }
}

/// The cache of hashes, driven one access at a time.
#[derive(Debug)]
pub(crate) struct Sim<P: Policy> {
    pub(crate) policy: P,
    recorder: P::Recorder,
    slots: Slots,
    free: Vec<Slot>,
    index: HashMap<u64, Slot>,
    capacity: u64,
    weight: u64,
    pub(crate) hits: u64,
    pub(crate) accesses: u64,
}

impl<P: Policy> Sim<P> {
    pub(crate) fn new(pattern: P, capacity: u64) -> Self {
        let policy = pattern.for_stripes(1, capacity).pop().expect("one stripe");
        let recorder = policy.recorder();
        Self {
            policy,
            recorder,
            slots: Slots::default(),
            free: Vec::new(),
            index: HashMap::new(),
            capacity,
            weight: 0,
            hits: 0,
            accesses: 0,
        }
    }

    /// Gets `key`, inserting it on a miss; answers whether it hit.
    pub(crate) fn access(&mut self, key: u64) -> bool {
        self.access_weighted(key, 1)
    }

    pub(crate) fn access_weighted(&mut self, key: u64, weight: u64) -> bool {
        self.accesses += 1;
        let hash = hash_of(key);
        if let Some(&slot) = self.index.get(&hash) {
            self.hits += 1;
            if self.recorder.on_hit(slot, self.slots.mark(slot), hash) {
                self.policy.maintain(&self.slots);
            }
            return true;
        }
        if weight <= self.capacity {
            self.insert(hash, weight);
        }
        false
    }

    fn insert(&mut self, hash: u64, weight: u64) {
        self.policy.maintain(&self.slots);
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = Slot::new(u32::try_from(self.slots.marks.len()).expect("few entries"));
            self.slots.marks.push(Mark::new());
            self.slots.hashes.push(0);
            self.slots.weights.push(0);
            slot
        });
        self.slots.marks[slot.index()].set(0);
        self.slots.hashes[slot.index()] = hash;
        self.slots.weights[slot.index()] = weight;
        let has_room = self.weight + weight <= self.capacity;
        self.policy.on_insert(Newcomer { slot, hash, weight, has_room }, &self.slots);
        self.index.insert(hash, slot);
        self.weight += weight;
        while self.weight > self.capacity {
            let victim = self.policy.victim(&self.slots).expect("something to evict");
            let cause = if victim == slot { RemovalCause::Rejected } else { RemovalCause::Size };
            self.take_out(victim, cause);
            if victim == slot {
                break;
            }
        }
    }

    /// Removes `key` as a user would.
    pub(crate) fn remove(&mut self, key: u64) {
        if let Some(&slot) = self.index.get(&hash_of(key)) {
            self.policy.maintain(&self.slots);
            self.take_out(slot, RemovalCause::Explicit);
        }
    }

    fn take_out(&mut self, slot: Slot, cause: RemovalCause) {
        self.policy.on_remove(slot, cause, &self.slots);
        self.index.remove(&self.slots.hashes[slot.index()]);
        self.weight -= self.slots.weights[slot.index()];
        self.free.push(slot);
    }

    pub(crate) fn validate(&self) {
        let slots: Vec<Slot> = self.index.values().copied().collect();
        assert!(self.weight <= self.capacity, "over capacity");
        self.policy.validate(&slots, &self.slots);
    }

    pub(crate) fn hit_percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.accesses as f64
    }
}

/// A bijective mix of the key (splitmix64), standing in for the cache's hasher.
fn hash_of(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
