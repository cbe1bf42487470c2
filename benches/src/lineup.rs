//! Who takes part: the list of caches, made for the kinds of key and value of a column.

use std::sync::Arc;

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

/// The caches that [`contenders`] knows for every kind of key and value.
pub const PEERS: [&str; 9] = [
    "quick_cache",
    "moka",
    "mini-moka",
    "foyer-lru",
    "foyer-s3fifo",
    "scc-hashcache",
    "fibre-s3fifo",
    "lru-mutex",
    "hashbrown",
];

/// Fills the named caches for this column.
#[must_use]
pub fn contenders(column: &Column, names: &[String]) -> Vec<Contender> {
    macro_rules! all {
        ($key:ty, $value:ty $(, $more:ident)*) => {
            contenders!(column, names, $key, $value:
                QuickCache Moka FoyerLru FoyerS3Fifo SccHashCache FibreS3Fifo LruMutex Hashbrown
                $($more)*)
        };
    }
    match (column.keys, column.values) {
        (Keys::U64, Values::U64) => all!(u64, u64, MiniMoka),
        (Keys::U64, Values::ArcU64) => all!(u64, Arc<u64>, MiniMoka),
        (Keys::U64, Values::Kib) => all!(u64, [u8; 1024], MiniMoka),
        (Keys::U64, Values::ArcKib) => all!(u64, Arc<[u8; 1024]>, MiniMoka),
        (Keys::String, _) => all!(String, u64),
    }
}
