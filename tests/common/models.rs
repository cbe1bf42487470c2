//! What the models have in common: a small cache whose keys choose their own place, and how
//! schedules are explored.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use larder::{Cache, policy::Policy};
use loom::thread;

use super::common::Identity;

pub type Model<P, V = u64> = Cache<u64, V, P, Identity>;

/// A number that the cache does not know for one: it is read under its bucket's lock, as most values
/// are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(u64);

impl From<u64> for Held {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// What values can be: numbers, which are read without a lock, or others.
pub trait Value: From<u64> + Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static {}

impl<V: From<u64> + Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static> Value for V {}

/// Keys are their own hashes: the low bits choose the bucket, bits 40 to 47 are the fingerprint.
pub fn key(number: u64) -> u64 {
    number | (number + 1) << 40
}

pub fn cache<P: Policy, V: Value>(policy: P, capacity: u64) -> Model<P, V> {
    Cache::builder()
        .capacity(capacity)
        .stripes(1)
        .policy(policy)
        .hasher(Identity::default())
        .build()
}

/// Explores every schedule of up to two preemptions.
pub fn model(explore: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 100_000;
    let schedules = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&schedules);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        explore();
    });
    println!("{} schedules", schedules.load(Ordering::Relaxed));
}

/// Runs the two as threads of their own: the model's main thread would hide schedules from it.
pub fn together<A: 'static, B: 'static>(
    one: impl FnOnce() -> A + 'static,
    two: impl FnOnce() -> B + 'static,
) -> (A, B) {
    let (one, two) = (thread::spawn(one), thread::spawn(two));
    (one.join().unwrap(), two.join().unwrap())
}
