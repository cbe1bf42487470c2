//! Random operations against a naive model, with every invariant checked after each step.
//!
//! The model knows what each key's value should be if it is still there, and what left; it does not
//! know whom a policy evicts, so a miss of a key that nobody removed must have been reported.

mod common;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use larder::{Cache, RemovalCause, policy::AnyPolicy, time::ManualTicker};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Get(u16),
    Peek(u16),
    Insert(u16, u8),
    InsertTtl(u16, u8),
    InsertIfAbsent(u16, u8),
    ReplaceIf(u16, u8),
    Remove(u16),
    Increment(u16),
    SetTtl(u16, u8),
    Touch(u16),
    Advance(u16),
    Retain(u8),
    RemoveTag(u8),
    SetCapacity(u16),
    Maintain,
    Iterate,
    Clear,
}

fn ops(keys: u16) -> impl Strategy<Value = Vec<Op>> {
    let key = move || 0..keys;
    let op = prop_oneof![
        8 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::Peek),
        12 => (key(), any::<u8>()).prop_map(|(k, w)| Op::Insert(k, w)),
        2 => (key(), 0..20_u8).prop_map(|(k, t)| Op::InsertTtl(k, t)),
        1 => (key(), any::<u8>()).prop_map(|(k, w)| Op::InsertIfAbsent(k, w)),
        1 => (key(), any::<u8>()).prop_map(|(k, w)| Op::ReplaceIf(k, w)),
        3 => key().prop_map(Op::Remove),
        2 => key().prop_map(Op::Increment),
        1 => (key(), 0..20_u8).prop_map(|(k, t)| Op::SetTtl(k, t)),
        1 => key().prop_map(Op::Touch),
        2 => (0..4000_u16).prop_map(Op::Advance),
        1 => any::<u8>().prop_map(Op::Retain),
        1 => (0..7_u8).prop_map(Op::RemoveTag),
        1 => (0..200_u16).prop_map(Op::SetCapacity),
        1 => Just(Op::Maintain),
        1 => Just(Op::Iterate),
        1 => Just(Op::Clear),
    ];
    prop::collection::vec(op, 1..300)
}

/// A value knows its weight and is never used twice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    serial: u64,
    weight: u64,
    count: u64,
}

type Left = Arc<Mutex<Vec<(u16, Value, RemovalCause, u64)>>>;

struct Run {
    cache: Cache<u16, Value, AnyPolicy>,
    ticker: ManualTicker,
    left: Left,
    /// What may be resident, with its deadline in milliseconds.
    model: HashMap<u16, (Value, Option<u64>)>,
    now: u64,
    serial: u64,
    weighted: bool,
    seen: usize,
    versions: HashMap<u16, u64>,
}

impl Run {
    fn new(policy: AnyPolicy, stripes: usize, weighted: bool, capacity: u64) -> Self {
        let ticker = ManualTicker::new();
        let left = Left::default();
        let log = Arc::clone(&left);
        let mut builder = Cache::<u16, Value>::builder()
            .capacity(capacity)
            .stripes(stripes)
            .policy(policy)
            .clock(ticker.clone())
            .tags(|key, _| [key % 7])
            .on_removal(move |key, value: &Value, removal| {
                log.lock().unwrap().push((*key, value.clone(), removal.cause, removal.version));
            });
        if weighted {
            builder = builder.weigher(|_, value| value.weight);
        }
        Self {
            cache: builder.build(),
            ticker,
            left,
            model: HashMap::new(),
            now: 0,
            serial: 0,
            weighted,
            seen: 0,
            versions: HashMap::new(),
        }
    }

    fn value(&mut self, weight: u8) -> Value {
        self.serial += 1;
        let weight = if self.weighted { u64::from(weight) / 8 } else { 1 };
        Value { serial: self.serial, weight, count: 0 }
    }

    fn expire(&mut self) {
        let now = self.now;
        self.model.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now < deadline));
    }

    /// Takes what the listener was told since into the model.
    fn settle(&mut self) {
        let left = self.left.lock().unwrap();
        for (key, value, cause, version) in &left[self.seen..] {
            let last = self.versions.insert(*key, *version);
            assert!(last < Some(*version), "notices of one key out of order");
            let is_resident = self.model.get(key).is_some_and(|(now, _)| now == value);
            if is_resident && matches!(cause, RemovalCause::Size | RemovalCause::Rejected) {
                self.model.remove(key);
            }
        }
        self.seen = left.len();
    }

    fn put(&mut self, key: u16, value: Value, ttl: Option<u64>) {
        self.model.insert(key, (value, ttl.map(|ttl| self.now + ttl)));
    }

    fn check(&mut self, key: u16, got: Option<Value>) {
        let expected = self.model.get(&key).map(|(value, _)| value.clone());
        assert_eq!(got, expected, "key {key}");
    }

    fn step(&mut self, op: Op) {
        self.expire();
        match op {
            Op::Get(key) => self.check(key, self.cache.get(&key)),
            Op::Peek(key) => self.check(key, self.cache.peek(&key)),
            Op::Insert(key, weight) => {
                let value = self.value(weight);
                let old = self.cache.insert(key, value.clone());
                self.check(key, old);
                self.put(key, value, None);
            }
            Op::InsertTtl(key, ttl) => {
                let value = self.value(ttl);
                let ttl = u64::from(ttl) * 500;
                self.cache.insert_with_ttl(key, value.clone(), Duration::from_millis(ttl));
                self.put(key, value, Some(ttl));
            }
            Op::InsertIfAbsent(key, weight) => {
                let value = self.value(weight);
                let is_absent = !self.model.contains_key(&key);
                assert_eq!(self.cache.insert_if_absent(key, value.clone()).is_ok(), is_absent);
                if is_absent {
                    self.put(key, value, None);
                }
            }
            Op::ReplaceIf(key, weight) => {
                let value = self.value(weight);
                let is_wanted = self.model.get(&key).is_some_and(|(now, _)| now.serial % 2 == 0);
                let replaced = self.cache.replace_if(key, value.clone(), |now| now.serial % 2 == 0);
                assert_eq!(replaced.is_ok(), is_wanted);
                if is_wanted {
                    self.put(key, value, None);
                }
            }
            Op::Remove(key) => {
                let removed = self.cache.remove(&key);
                self.check(key, removed);
                self.model.remove(&key);
            }
            Op::Increment(key) => self.increment(key),
            Op::SetTtl(key, ttl) => {
                let ttl = u64::from(ttl) * 500;
                let found = self.cache.set_ttl(&key, Duration::from_millis(ttl));
                assert_eq!(found, self.model.contains_key(&key));
                if let Some((_, deadline)) = self.model.get_mut(&key) {
                    *deadline = Some(self.now + ttl);
                }
            }
            Op::Touch(key) => assert_eq!(self.cache.touch(&key), self.model.contains_key(&key)),
            Op::Advance(by) => {
                self.now += u64::from(by);
                self.ticker.advance(Duration::from_millis(by.into()));
            }
            other => self.step_on_all(&other),
        }
        self.after_step();
    }

    fn increment(&mut self, key: u16) {
        let mut value = self.value(9);
        if let Some((old, _)) = self.model.get(&key) {
            value = Value { count: old.count + 1, ..old.clone() };
        }
        let fresh = value.clone();
        let got =
            self.cache.entry(key).and_modify(|value| value.count += 1).or_insert_with(|| fresh);
        assert_eq!(got, value);
        self.put(key, value, None);
    }

    fn step_on_all(&mut self, op: &Op) {
        match *op {
            Op::Retain(of) => {
                self.cache.retain(|_, value| value.serial % 5 != u64::from(of % 5));
                self.model.retain(|_, (value, _)| value.serial % 5 != u64::from(of % 5));
            }
            Op::RemoveTag(tag) => {
                self.cache.remove_tag(&u16::from(tag));
                self.model.retain(|key, _| key % 7 != u16::from(tag));
            }
            Op::SetCapacity(capacity) => {
                self.cache.set_capacity(capacity.into());
                assert!(self.cache.weight() <= u64::from(capacity));
            }
            Op::Maintain => {
                self.cache.run_maintenance();
                self.settle();
                assert_eq!(self.cache.len(), self.model.len(), "the dead are still there");
            }
            Op::Iterate => {
                self.settle();
                let mut all: Vec<_> = self.cache.iter().collect();
                all.sort_by_key(|(key, _)| *key);
                let mut expected: Vec<_> =
                    self.model.iter().map(|(key, (value, _))| (*key, value.clone())).collect();
                expected.sort_by_key(|(key, _)| *key);
                assert_eq!(all, expected);
            }
            Op::Clear => {
                self.cache.clear();
                self.model.clear();
                assert_eq!(self.cache.len(), 0);
            }
            _ => unreachable!("handled by `step`"),
        }
    }

    fn after_step(&mut self) {
        self.settle();
        self.expire();
        assert!(self.cache.weight() <= self.cache.capacity());
        self.cache.validate();
        // Whoever is in the model and was not reported is there.
        for (key, (value, _)) in &self.model {
            assert_eq!(self.cache.peek(key).as_ref(), Some(value), "key {key} lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(ops in ops(120), capacity in 0..150_u64, weighted in any::<bool>()) {
        common::for_each(|policy, stripes| {
            let mut run = Run::new(policy, stripes, weighted, capacity);
            for op in ops.clone() {
                run.step(op);
            }
        });
    }
}

/// Enough entries for the table to split many times and for every policy to be in its stride.
#[test]
fn stays_consistent_while_it_grows_and_evicts() {
    common::for_each(|policy, stripes| {
        let cache: Cache<u64, u64, AnyPolicy> =
            Cache::builder().capacity(3000).stripes(stripes).policy(policy).build();
        let mut state = 1_u64;
        for step in 0..30_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (state >> 33) % (1 + (state >> 45) % 9000);
            match step % 8 {
                7 if step % 3 == 0 => drop(cache.remove(&key)),
                0..5 => {
                    if let Some(value) = cache.get(&key) {
                        assert_eq!(value, key);
                    } else {
                        cache.insert(key, key);
                        assert!(cache.len() <= 3000);
                    }
                }
                _ => drop(cache.insert(key, key)),
            }
            if step % 1000 == 0 {
                cache.validate();
            }
        }
        cache.validate();
        assert_eq!(cache.len(), cache.iter().count());
    });
}
