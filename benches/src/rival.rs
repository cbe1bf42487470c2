//! What a cache must do to take part, and the kinds of key and value it is run with.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

/// A cache under measurement. One implementation a crate, statically dispatched.
pub trait Rival<K: Key, V: Payload>: Send + Sync + 'static {
    /// The row in the tables and the name on the command line.
    const NAME: &'static str;
    /// Whether threads may share it and write to it; raw hashbrown is only filled and read.
    const SHARED: bool = true;

    /// A cache for `capacity` entries.
    fn with_capacity(capacity: usize) -> Self;
    /// Looks a key up, as a use that the cache's policy is told of.
    fn get(&self, key: &K::Lookup) -> Option<V>;
    /// Stores a value, replacing the one before.
    fn insert(&self, key: K, value: V);
    /// The number of entries held, once pending work is done.
    fn held(&self) -> usize;

    /// Stores a value before the measurement starts.
    fn fill(&mut self, key: K, value: V) {
        self.insert(key, value);
    }
}

/// A kind of key. Streams hold `Item`s, which lie side by side in memory, so that what is measured
/// is the cache and not the fetching of the next key.
pub trait Key: Borrow<Self::Lookup> + Clone + Eq + Hash + Send + Sync + 'static {
    /// What a lookup borrows.
    type Lookup: ?Sized + Eq + Hash;
    /// The key in a stream.
    type Item: Copy + Send + Sync + 'static;

    /// The `rank`th key, scrambled: neighbours in rank are not neighbours in any order.
    fn item(rank: u64) -> Self::Item;
    /// The item as a lookup sees it.
    fn lookup(item: &Self::Item) -> &Self::Lookup;
    /// The item as an insertion stores it.
    fn own(item: &Self::Item) -> Self;
}

impl Key for u64 {
    type Lookup = u64;
    type Item = u64;

    fn item(rank: u64) -> u64 {
        scramble(rank)
    }

    fn lookup(item: &u64) -> &u64 {
        item
    }

    fn own(item: &u64) -> u64 {
        *item
    }
}

/// Twenty bytes, looked up by `&str`.
impl Key for String {
    type Lookup = str;
    type Item = [u8; 20];

    fn item(rank: u64) -> [u8; 20] {
        let text = format!("user{:016x}", scramble(rank));
        text.as_bytes().try_into().expect("the format has 20 characters")
    }

    fn lookup(item: &[u8; 20]) -> &str {
        std::str::from_utf8(item).expect("items are ASCII")
    }

    fn own(item: &[u8; 20]) -> String {
        Self::lookup(item).to_owned()
    }
}

/// A bijection of the 64-bit numbers (the finisher of splitmix64).
#[must_use]
pub fn scramble(rank: u64) -> u64 {
    let x = (rank ^ (rank >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A kind of value.
pub trait Payload: Clone + Send + Sync + 'static {
    /// A value to store.
    fn make(number: u64) -> Self;
}

impl Payload for u64 {
    fn make(number: u64) -> Self {
        number
    }
}

impl Payload for [u8; 1024] {
    fn make(number: u64) -> Self {
        [number as u8; 1024]
    }
}

impl<T: Payload> Payload for Arc<T> {
    fn make(number: u64) -> Self {
        Self::new(T::make(number))
    }
}
