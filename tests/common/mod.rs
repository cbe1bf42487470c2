//! What the integration tests share: every policy, and both striped and unstriped caches.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use larder::{Builder, Cache, policy::AnyPolicy};

/// The names of all policies that come with the cache.
pub const POLICIES: &[&str] = AnyPolicy::NAMES;

/// The numbers of stripes that everything is tested with.
pub const STRIPES: &[usize] = &[1, 8];

/// Runs `test` for every policy and number of stripes.
pub fn for_each(test: impl Fn(AnyPolicy, usize)) {
    for name in POLICIES {
        for &stripes in STRIPES {
            let policy = name.parse().expect("a listed name");
            println!("{name}, {stripes} stripes");
            test(policy, stripes);
        }
    }
}

/// What every entry of a [`Kind`]'s weighted caches weighs.
pub const WEIGHT: u64 = 3;

/// One of the kinds of cache that the interface is tested with.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub policy: &'static str,
    pub stripes: usize,
    pub weighted: bool,
}

impl Kind {
    /// A builder of a cache for so many entries.
    pub fn builder<K, V>(&self, entries: u64) -> Builder<K, V, AnyPolicy>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let policy: AnyPolicy = self.policy.parse().expect("a listed name");
        let builder = Cache::<K, V>::builder().stripes(self.stripes).policy(policy);
        if self.weighted {
            builder.capacity(entries * WEIGHT).weigher(|_, _| WEIGHT)
        } else {
            builder.capacity(entries)
        }
    }

    /// What so many entries weigh.
    pub fn weight(&self, entries: u64) -> u64 {
        if self.weighted { entries * WEIGHT } else { entries }
    }
}

/// Runs `test` for every policy, number of stripes, with and without a weigher.
pub fn for_each_kind(test: impl Fn(Kind)) {
    for &policy in POLICIES {
        for &stripes in STRIPES {
            for weighted in [false, true] {
                let kind = Kind { policy, stripes, weighted };
                println!("{kind:?}");
                test(kind);
            }
        }
    }
}

/// Gives every key the same hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Constant(pub u64);

/// Takes an integer key itself as its hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity(u64);

impl BuildHasher for Constant {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
}

impl BuildHasher for Identity {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        panic!("this hasher is for integers only")
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Counts the tokens made and dropped.
#[derive(Debug, Default)]
pub struct Ledger {
    pub made: AtomicU64,
    pub dropped: AtomicU64,
}

impl Ledger {
    /// How many tokens there are.
    pub fn live(&self) -> u64 {
        self.made.load(Ordering::SeqCst) - self.dropped.load(Ordering::SeqCst)
    }
}

const ALIVE: u64 = 0x1a2b_3c4d_5e6f_7788;

/// A key or value whose every copy is counted, and that notices being dropped twice.
#[derive(Debug)]
pub struct Token {
    pub id: u64,
    alive: u64,
    ledger: Arc<Ledger>,
}

impl Token {
    pub fn new(id: u64, ledger: &Arc<Ledger>) -> Self {
        ledger.made.fetch_add(1, Ordering::SeqCst);
        Self { id, alive: ALIVE, ledger: Arc::clone(ledger) }
    }
}

impl Clone for Token {
    fn clone(&self) -> Self {
        assert_eq!(self.alive, ALIVE, "cloned after its drop");
        Self::new(self.id, &self.ledger)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        assert_eq!(self.alive, ALIVE, "dropped twice");
        self.alive = 0;
        self.ledger.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        assert_eq!((self.alive, other.alive), (ALIVE, ALIVE), "compared after its drop");
        self.id == other.id
    }
}

impl Eq for Token {}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}
