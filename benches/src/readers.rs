//! Read-through: each cache asked for a key together with a way to load it.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use larder::{Cache, LoadingCache, loader};
use tokio::runtime::{Builder, Runtime};

use crate::rival::scramble;
use crate::rounds::{Contender, round};

/// A cache under measurement, with `u64` keys and values. Statically dispatched.
pub trait Reader: Send + Sync + 'static {
    /// The row in the tables.
    const NAME: &'static str;

    /// A cache for `capacity` entries.
    fn with_capacity(capacity: usize) -> Self;
    /// Asks for all keys in turn and counts the right answers. Never inlined, so that an instruction
    /// counter can be told to look at this function alone (`--toggle-collect='*measured*'`).
    fn measured(&self, keys: &[u64]) -> u64;
}

/// Runs the futures of all caches, and the tasks that some of them spawn, on the thread that waits.
pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("nothing it could lack"));

/// What is loaded for a key: almost nothing to do.
#[must_use]
pub fn load(key: u64) -> u64 {
    !key
}

fn load_surely(key: u64) -> Result<u64, Infallible> {
    Ok(load(key))
}

type Load = fn(u64) -> std::future::Ready<Result<u64, Infallible>>;

fn loading(capacity: usize) -> LoadingCache<u64, u64, loader::FromFn<Load>> {
    let load: Load = |key| std::future::ready(load_surely(key));
    Cache::builder().capacity(capacity as u64).loader(loader::from_fn(load)).build()
}

/// Defines a reader for each line: type, row, the cache, how to make it for a capacity, and how to
/// ask it. Those that are `async` are awaited one after the other in one task.
macro_rules! readers {
    (@loop blocking, $cache:ident, $key:ident, $keys:ident, $read:expr) => {
        $keys.iter().filter(|&&$key| black_box($read) == load($key)).count() as u64
    };
    (@loop async, $cache:ident, $key:ident, $keys:ident, $read:expr) => {
        RUNTIME.block_on(async {
            let mut right = 0;
            for &$key in $keys {
                right += u64::from(black_box($read) == load($key));
            }
            right
        })
    };
    ($($kind:tt $Reader:ident = $name:literal, $Cache:ty,
        |$capacity:ident| $new:expr, |$cache:ident, $key:ident| $read:expr;)*) => {$(
        #[doc = concat!("The row `", $name, "`.")]
        pub struct $Reader($Cache);

        impl Reader for $Reader {
            const NAME: &'static str = $name;

            fn with_capacity($capacity: usize) -> Self {
                let _within = RUNTIME.enter();
                Self($new)
            }

            #[inline(never)]
            fn measured(&self, keys: &[u64]) -> u64 {
                let $cache = &self.0;
                readers!(@loop $kind, $cache, $key, keys, $read)
            }
        }
    )*};
}

readers! {
    blocking Get = "larder get", Cache<u64, u64>,
        |capacity| Cache::new(capacity as u64),
        |cache, key| cache.get(&key).unwrap_or_else(|| {
            cache.insert(key, load(key));
            load(key)
        });
    blocking Larder = "larder", Cache<u64, u64>,
        |capacity| Cache::new(capacity as u64),
        |cache, key| cache.get_or_insert_with(&key, || load(key));
    blocking Loading = "larder loading", LoadingCache<u64, u64, loader::FromFn<Load>>,
        |capacity| loading(capacity),
        |cache, key| cache.get(&key).unwrap_or_default();
    blocking QuickCache = "quick_cache", quick_cache::sync::Cache<u64, u64>,
        |capacity| quick_cache::sync::Cache::new(capacity),
        |cache, key| cache.get_or_insert_with(&key, || load_surely(key)).unwrap_or_default();
    blocking Moka = "moka", moka::sync::Cache<u64, u64, RandomState>,
        |capacity| moka::sync::Cache::builder()
            .max_capacity(capacity as u64)
            .build_with_hasher(RandomState::new()),
        |cache, key| cache.get_with(key, || load(key));
    blocking Fibre = "fibre-s3fifo", fibre_cache::Cache<u64, u64, RandomState>,
        |capacity| fibre_cache::CacheBuilder::<u64, u64, RandomState>::default()
            .hasher(RandomState::new())
            .capacity(capacity as u64)
            .s3fifo()
            .loader(|key| (load(key), 1))
            .build()
            .expect("a capacity is all it needs"),
        |cache, key| *cache.fetch_with(&key);

    async LarderAsync = "larder, async", Cache<u64, u64>,
        |capacity| Cache::new(capacity as u64),
        |cache, key| cache.get_or_insert_async(&key, async { load(key) }).await;
    async LoadingAsync = "larder loading, async", LoadingCache<u64, u64, loader::FromFn<Load>>,
        |capacity| loading(capacity),
        |cache, key| cache.get_async(&key).await.unwrap_or_default();
    async QuickCacheAsync = "quick_cache, async", quick_cache::sync::Cache<u64, u64>,
        |capacity| quick_cache::sync::Cache::new(capacity),
        |cache, key| {
            cache.get_or_insert_async(&key, async { load_surely(key) }).await.unwrap_or_default()
        };
    async MokaAsync = "moka, async", moka::future::Cache<u64, u64, RandomState>,
        |capacity| moka::future::Cache::builder()
            .max_capacity(capacity as u64)
            .build_with_hasher(RandomState::new()),
        |cache, key| cache.get_with(key, async { load(key) }).await;
    async FoyerAsync = "foyer-s3fifo, async", foyer_memory::Cache<u64, u64, RandomState>,
        |capacity| foyer_memory::CacheBuilder::new(capacity)
            .with_hash_builder(RandomState::new())
            .with_eviction_config(foyer_memory::S3FifoConfig::default())
            .build(),
        |cache, key| {
            let fetched = cache.get_or_fetch(&key, || std::future::ready(load_surely(key)));
            fetched.await.map(|entry| *entry.value()).unwrap_or_default()
        };
    async FibreAsync = "fibre-s3fifo, async", fibre_cache::AsyncCache<u64, u64, RandomState>,
        |capacity| fibre_cache::CacheBuilder::<u64, u64, RandomState>::default()
            .hasher(RandomState::new())
            .capacity(capacity as u64)
            .s3fifo()
            .async_loader(|key| std::future::ready((load(key), 1)))
            .build_async()
            .expect("a capacity is all it needs"),
        |cache, key| *cache.fetch_with(&key).await;
}

/// What a reader is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ask {
    /// Keys that are resident, by Zipf's law.
    Hit,
    /// New keys, into a cache that is empty and has room for all.
    Cold,
    /// New keys, into a full cache: each evicts another.
    Evict,
}

impl Ask {
    /// As the head of a column.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Cold => "cold load",
            Self::Evict => "cold load with eviction",
        }
    }
}

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Distinct keys that are resident where all are hits, and the capacity where all evict.
    pub keys: usize,
    /// Operations in a round.
    pub ops: usize,
}

/// A reader that is ready to run rounds.
#[must_use]
pub fn contender<R: Reader>(ask: Ask, size: Size, hits: &Arc<Vec<Vec<u64>>>) -> Contender {
    let Size { keys, ops } = size;
    // Every round has its own new keys.
    let fresh = move |number: usize| {
        let first = keys + number * ops;
        vec![(first..first + ops).map(|rank| scramble(rank as u64)).collect::<Vec<_>>()]
    };
    let filled = |capacity| {
        let cache = R::with_capacity(capacity);
        let residents: Vec<u64> = (0..keys as u64).rev().map(scramble).collect();
        assert_eq!(cache.measured(&residents), keys as u64, "{} answers wrongly", R::NAME);
        cache
    };
    match ask {
        Ask::Hit => {
            let (cache, hits) = (filled(2 * keys), Arc::clone(hits));
            Contender::of(R::NAME, move |number| {
                round(&hits[number % hits.len()..][..1], &|keys: &[u64]| cache.measured(keys))
            })
        }
        Ask::Cold => Contender::of(R::NAME, move |number| {
            let cache = R::with_capacity(2 * ops);
            round(&fresh(number), &|keys: &[u64]| cache.measured(keys))
        }),
        Ask::Evict => {
            let cache = filled(keys);
            Contender::of(R::NAME, move |number| {
                round(&fresh(number), &|keys: &[u64]| cache.measured(keys))
            })
        }
    }
}
