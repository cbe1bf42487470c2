//! A one-stripe cache of keys for testing policies without the table, the locks and the values.
//!
//! It calls a policy the way the cache does: `maintain` before every structural call and right
//! after a hit that asked for it, `victim` until the newcomer fits. The policy's recorder sees hits
//! on entries of weight 0, but the policy is not told of them.

use std::collections::HashMap;

use super::{Mark, Newcomer, Policy, Recorder, Residents};
use crate::{RemovalCause, Slot};

/// The stripe's slots: what a policy sees.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    marks: Vec<Mark>,
    keys: Vec<u64>,
    weights: Vec<u64>,
}

impl Residents for Slots {
    fn mark(&self, slot: Slot) -> &Mark {
        &self.marks[slot.index()]
    }
    fn hash(&self, slot: Slot) -> u64 {
        hash_of(self.keys[slot.index()])
    }
    fn weight(&self, slot: Slot) -> u64 {
        self.weights[slot.index()]
    }
}

/// The cache of keys, driven one access at a time.
#[derive(Debug)]
pub(crate) struct Sim<P: Policy> {
    pub(crate) policy: P,
    recorder: P::Recorder,
    pub(crate) slots: Slots,
    free: Vec<Slot>,
    index: HashMap<u64, Slot>,
    capacity: u64,
    /// Wide, as it exceeds the capacity until room is made.
    weight: u128,
    pub(crate) hits: u64,
    pub(crate) accesses: u64,
    /// Whether newcomers of weight 1 for which there is no room are exchanged in one step.
    pub(crate) exchanges: bool,
    /// The victims' keys in order, if asked for.
    pub(crate) victims: Option<Vec<u64>>,
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
            exchanges: false,
            victims: None,
        }
    }

    /// Gets `key`, inserting it on a miss; answers whether it hit.
    pub(crate) fn access(&mut self, key: u64) -> bool {
        self.access_weighted(key, 1)
    }

    pub(crate) fn access_all(&mut self, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            self.access(key);
        }
    }

    pub(crate) fn access_weighted(&mut self, key: u64, weight: u64) -> bool {
        self.accesses += 1;
        if let Some(&slot) = self.index.get(&key) {
            self.hits += 1;
            if self.record_hit(slot) {
                self.policy.maintain(&self.slots);
            }
            return true;
        }
        if weight <= self.capacity {
            self.insert(key, weight);
        }
        false
    }

    /// Answers whether the policy should be maintained soon.
    fn record_hit(&self, slot: Slot) -> bool {
        let (mark, hash) = (self.slots.mark(slot), self.slots.hash(slot));
        let is_due = self.recorder.on_hit(slot, mark);
        is_due | (self.recorder.samples(hash) && self.recorder.on_sample(hash))
    }

    fn insert(&mut self, key: u64, weight: u64) {
        self.policy.maintain(&self.slots);
        let slot = self.free.pop().unwrap_or_else(|| self.new_slot());
        self.slots.marks[slot.index()].set(0);
        self.slots.keys[slot.index()] = key;
        self.slots.weights[slot.index()] = weight;
        let has_room = self.weight + u128::from(weight) <= u128::from(self.capacity);
        self.index.insert(key, slot);
        self.weight += u128::from(weight);
        if weight == 0 {
            return;
        }
        let newcomer = Newcomer { slot, hash: hash_of(key), weight, has_room };
        if self.exchanges && weight == 1 && !has_room {
            let victim = self.policy.exchange(newcomer, &self.slots);
            self.forget(victim);
            return;
        }
        self.policy.on_insert(newcomer, &self.slots);
        self.make_room(Some(slot));
    }

    fn new_slot(&mut self) -> Slot {
        let slot = Slot::new(u32::try_from(self.slots.marks.len()).expect("few entries"));
        self.slots.marks.push(Mark::new());
        self.slots.keys.push(0);
        self.slots.weights.push(0);
        slot
    }

    /// Shows a resident entry to the policy as a newcomer for which there is room.
    fn track(&mut self, slot: Slot) {
        self.slots.mark(slot).set(0);
        let (hash, weight) = (self.slots.hash(slot), self.slots.weight(slot));
        self.policy.on_insert(Newcomer { slot, hash, weight, has_room: true }, &self.slots);
    }

    /// Evicts until the capacity is kept.
    fn make_room(&mut self, newcomer: Option<Slot>) {
        while self.weight > u128::from(self.capacity) {
            let victim = self.victim();
            let cause =
                if Some(victim) == newcomer { RemovalCause::Rejected } else { RemovalCause::Size };
            self.policy.on_remove(victim, cause, &self.slots);
            self.forget(victim);
        }
    }

    /// Evicts others until the entry in `slot` may weigh so much more. If the policy names the entry
    /// itself, it is out of the policy's sight meanwhile.
    fn make_room_beside(&mut self, slot: Slot, more: u64) {
        let mut is_hidden = false;
        while self.weight + u128::from(more) > u128::from(self.capacity) {
            let victim = self.victim();
            if victim == slot {
                self.policy.on_remove(slot, RemovalCause::Replaced, &self.slots);
                is_hidden = true;
                continue;
            }
            self.policy.on_remove(victim, RemovalCause::Size, &self.slots);
            self.forget(victim);
        }
        if is_hidden {
            self.track(slot);
        }
    }

    fn victim(&mut self) -> Slot {
        let victim = self.policy.victim(&self.slots).expect("something to evict");
        assert_ne!(self.slots.weight(victim), 0, "evicting {victim:?} makes no room");
        victim
    }

    /// Removes `key` as a user would.
    pub(crate) fn remove(&mut self, key: u64) {
        if let Some(&slot) = self.index.get(&key) {
            self.policy.maintain(&self.slots);
            if self.slots.weight(slot) > 0 {
                self.policy.on_remove(slot, RemovalCause::Explicit, &self.slots);
            }
            self.take_out(slot);
        }
    }

    /// Takes a victim out that the policy knows of no more.
    fn forget(&mut self, victim: Slot) {
        let key = self.slots.keys[victim.index()];
        self.victims.iter_mut().for_each(|victims| victims.push(key));
        self.take_out(victim);
    }

    fn take_out(&mut self, slot: Slot) {
        assert_eq!(self.index.remove(&self.slots.keys[slot.index()]), Some(slot));
        self.weight -= u128::from(self.slots.weights[slot.index()]);
        self.free.push(slot);
    }

    /// Replaces the value of `key` by one of another weight, which is also a hit. Room is made first:
    /// whoever weighs something again has it.
    pub(crate) fn reweigh(&mut self, key: u64, weight: u64) {
        let Some(&slot) = self.index.get(&key) else { return };
        if weight > self.capacity {
            return self.remove(key);
        }
        self.policy.maintain(&self.slots);
        let old = self.slots.weight(slot);
        self.make_room_beside(slot, weight.saturating_sub(old));
        if old > 0 && weight == 0 {
            self.policy.on_remove(slot, RemovalCause::Replaced, &self.slots);
        }
        self.slots.weights[slot.index()] = weight;
        self.weight = self.weight - u128::from(old) + u128::from(weight);
        // What the recorder asks for is done at the next structural call.
        self.record_hit(slot);
        match (old, weight) {
            (0, 1..) => self.track(slot),
            (1.., 1..) if old != weight => self.policy.on_weight(slot, old, weight),
            _ => {}
        }
    }

    /// Moves the entry of `key` to a free slot, as the table does when it grows or shrinks.
    pub(crate) fn relocate(&mut self, key: u64) {
        let Some(&from) = self.index.get(&key) else { return };
        self.policy.maintain(&self.slots);
        let to = if self.free.is_empty() { self.new_slot() } else { self.free.remove(0) };
        self.slots.marks[to.index()].set(self.slots.marks[from.index()].get());
        self.slots.keys[to.index()] = key;
        self.slots.weights[to.index()] = self.slots.weights[from.index()];
        if self.slots.weight(to) > 0 {
            self.policy.on_move(from, to);
        }
        self.index.insert(key, to);
        self.free.push(from);
    }

    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.policy.maintain(&self.slots);
        self.capacity = capacity;
        self.policy.set_capacity(capacity, capacity);
        self.make_room(None);
    }

    pub(crate) fn clear(&mut self) {
        let keys: Vec<u64> = self.index.keys().copied().collect();
        keys.into_iter().for_each(|key| self.remove(key));
        self.policy.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn weight(&self) -> u64 {
        u64::try_from(self.weight).expect("within the capacity")
    }

    /// Checks the policy, and that its ranking names all entries that weigh something, each once.
    pub(crate) fn validate(&self) {
        let slots = self.index.values().copied();
        let mut slots: Vec<Slot> = slots.filter(|&slot| self.slots.weight(slot) > 0).collect();
        slots.sort_unstable();
        assert!(self.weight() <= self.capacity, "over capacity");
        assert_eq!(self.policy.len(), slots.len(), "tracked entries");
        self.policy.validate(&slots, &self.slots);
        let mut ranking = self.policy.ranking(&self.slots);
        ranking.sort_unstable();
        assert_eq!(ranking, slots, "a ranking of all tracked entries");
    }

    pub(crate) fn hit_percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.accesses as f64
    }
}

/// A bijective mix of the key (splitmix64), standing in for the cache's hasher.
pub(crate) fn hash_of(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
