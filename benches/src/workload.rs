//! What the caches are put through.

use std::hint::black_box;

use crate::rival::{Key, Payload, Rival};
use crate::zipf::Zipf;

/// What each step of a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// Get; every key is resident.
    Hit,
    /// Three gets, then an insertion.
    Reads,
    /// Insert, evicting when the key is new.
    Insert,
    /// Get, and insert after a miss.
    ReadThrough,
    /// Get, and every thread reads the same resident key.
    HotKey,
}

impl Operation {
    /// As the head of a column.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Reads => "75 % reads",
            Self::Insert => "insert with eviction",
            Self::ReadThrough => "read-through",
            Self::HotKey => "one hot key",
        }
    }
}

/// The kinds of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// `u64`.
    U64,
    /// `String`s of 20 bytes, looked up by `&str`.
    String,
}

/// The kinds of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// `u64`.
    U64,
    /// `Arc<u64>`.
    ArcU64,
    /// `[u8; 1024]`, cloned by every hit.
    Kib,
    /// `Arc<[u8; 1024]>`.
    ArcKib,
}

/// One measurement, a column of the tables.
#[derive(Clone, Debug)]
pub struct Column {
    /// What it says at the head.
    pub label: String,
    /// What the threads do.
    pub operation: Operation,
    /// With which keys.
    pub keys: Keys,
    /// And which values.
    pub values: Values,
    /// How many distinct keys there are.
    pub distinct: usize,
    /// The capacity of each cache, in entries.
    pub capacity: usize,
    /// How many threads share the work.
    pub threads: usize,
    /// Operations of one round, all threads together.
    pub ops: usize,
}

/// The exponent of the Zipf distribution of the keys.
pub const EXPONENT: f64 = 0.99;

/// So many rounds have streams of their own; then the first come again. One stream, repeated,
/// would ask for too few distinct keys.
const VARIETY: usize = 4;

/// The keys that each thread asks for, the same for every cache.
pub struct Streams<K: Key>(Vec<Vec<Vec<K::Item>>>);

impl<K: Key> Streams<K> {
    /// The streams of one column.
    #[must_use]
    pub fn new(column: &Column) -> Self {
        let each = (column.ops / column.threads).max(1);
        if column.operation == Operation::HotKey {
            return Self(vec![vec![vec![K::item(0); each]; column.threads]]);
        }
        let mut zipf = Zipf::new(column.distinct, EXPONENT, 42);
        let mut thread = |_| zipf.take(each).map(K::item).collect();
        let mut round = |_| (0..column.threads).map(&mut thread).collect();
        Self((0..VARIETY).map(&mut round).collect())
    }

    /// The streams of one round, one a thread.
    #[must_use]
    pub fn round(&self, number: usize) -> &[Vec<K::Item>] {
        &self.0[number % self.0.len()]
    }
}

/// Runs one thread's stream and counts the hits. Never inlined, so that an instruction counter can
/// be told to look at this function alone (`--toggle-collect='*measured*'`).
#[inline(never)]
pub fn measured<R, K, V>(cache: &R, operation: Operation, items: &[K::Item]) -> u64
where
    R: Rival<K, V>,
    K: Key,
    V: Payload,
{
    let mut hits = 0;
    let mut get = |item| {
        let found = black_box(cache.get(K::lookup(item))).is_some();
        hits += u64::from(found);
        found
    };
    let insert = |item, number| cache.insert(K::own(item), V::make(number));
    match operation {
        Operation::Hit | Operation::HotKey => items.iter().for_each(|item| _ = get(item)),
        Operation::Insert => (0..).zip(items).for_each(|(number, item)| insert(item, number)),
        Operation::Reads => (0..).zip(items).for_each(|(number, item)| match number % 4 {
            3 => insert(item, number),
            _ => _ = get(item),
        }),
        Operation::ReadThrough => (0..).zip(items).for_each(|(number, item)| {
            if !get(item) {
                insert(item, number);
            }
        }),
    }
    hits
}
