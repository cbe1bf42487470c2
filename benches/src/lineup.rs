//! Who takes part: the list of caches, made for the kinds of key and value of a column.

use std::sync::Arc;

use crate::larders::*;
use crate::peers::*;
use crate::rival::Rival;
use crate::rounds::Contender;
use crate::workload::{Column, Keys, Streams, Values};

/// Expands to the contenders among the listed types whose names are wanted.
macro_rules! contenders {
    ($column:ident, $names:ident, $key:ty, $value:ty: $($rival:ident)*) => {{
        let streams = Arc::new(Streams::<$key>::new($column));
        let mut list = Vec::new();
        $(
            if $names.iter().any(|name| name == <$rival<$key, $value> as Rival<_, _>>::NAME) {
                list.extend(Contender::new::<$rival<$key, $value>, $key, $value>($column, &streams));
            }
        )*
        list
    }};
}

/// larder and its peers, by name. mini-moka does not take part with `String` keys.
pub const PEERS: [&str; 10] = [
    "quick_cache",
    "larder",
    "moka",
    "mini-moka",
    "foyer-lru",
    "foyer-s3fifo",
    "scc-hashcache",
    "fibre-s3fifo",
    "lru-mutex",
    "hashbrown",
];

/// larder as it comes and with one option changed at a time, for u64 keys and values only.
pub const VARIANTS: [&str; 14] = [
    "larder",
    "larder-ttl",
    "larder-tti",
    "larder-listener",
    "larder-weigher",
    "larder-stats",
    "larder-lru",
    "larder-lfu",
    "larder-tinylfu",
    "larder-s3fifo",
    "larder-sieve",
    "larder-fifo",
    "larder-random",
    "larder-any",
];

/// Fills the named caches for this column.
#[must_use]
pub fn contenders(column: &Column, names: &[String]) -> Vec<Contender> {
    macro_rules! all {
        ($key:ty, $value:ty $(, $more:ident)*) => {
            contenders!(column, names, $key, $value:
                QuickCache Larder Moka FoyerLru FoyerS3Fifo SccHashCache FibreS3Fifo LruMutex Hashbrown
                $($more)*)
        };
    }
    match (column.keys, column.values) {
        (Keys::U64, Values::U64) => all!(
            u64,
            u64,
            MiniMoka,
            LarderTtl,
            LarderTti,
            LarderListener,
            LarderWeigher,
            LarderStats,
            LarderLru,
            LarderLfu,
            LarderTinyLfu,
            LarderS3Fifo,
            LarderSieve,
            LarderFifo,
            LarderRandom,
            LarderAny
        ),
        (Keys::U64, Values::ArcU64) => all!(u64, Arc<u64>, MiniMoka),
        (Keys::U64, Values::Kib) => all!(u64, [u8; 1024], MiniMoka),
        (Keys::U64, Values::ArcKib) => all!(u64, Arc<[u8; 1024]>, MiniMoka),
        (Keys::String, _) => all!(String, u64),
    }
}
