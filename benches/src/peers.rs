//! The peers, each set up as its documentation recommends.
//!
//! Where the hasher can be chosen it is larder's default, `ahash`, except where the crate's own
//! default is of that speed (quick_cache and lru come with foldhash). Everything else is left at
//! its default: shards, queue shares, background work.

use std::borrow::Borrow;
use std::sync::Arc;

use ahash::RandomState;
use parking_lot::Mutex;

use crate::rival::{Key, Payload, Rival};

/// quick_cache: sharded CLOCK-Pro; the reference of the tables.
pub struct QuickCache<K, V>(quick_cache::sync::Cache<K, V>);

impl<K: Key, V: Payload> Rival<K, V> for QuickCache<K, V> {
    const NAME: &'static str = "quick_cache";

    fn with_capacity(capacity: usize) -> Self {
        Self(quick_cache::sync::Cache::new(capacity))
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get(key)
    }

    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn held(&self) -> usize {
        self.0.len()
    }
}

/// moka, synchronous: W-TinyLFU.
pub struct Moka<K, V>(moka::sync::Cache<K, V, RandomState>);

impl<K: Key, V: Payload> Rival<K, V> for Moka<K, V> {
    const NAME: &'static str = "moka";

    fn with_capacity(capacity: usize) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(capacity as u64);
        Self(builder.build_with_hasher(RandomState::new()))
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get(key)
    }

    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn held(&self) -> usize {
        self.0.run_pending_tasks();
        self.0.entry_count() as usize
    }
}

/// mini-moka, synchronous: W-TinyLFU. It looks `String`s up by `&String` only.
pub struct MiniMoka<K, V>(mini_moka::sync::Cache<K, V, RandomState>);

impl<K: Key, V: Payload> Rival<K, V> for MiniMoka<K, V>
where
    Arc<K>: Borrow<K::Lookup>,
{
    const NAME: &'static str = "mini-moka";

    fn with_capacity(capacity: usize) -> Self {
        let builder = mini_moka::sync::Cache::builder().max_capacity(capacity as u64);
        Self(builder.build_with_hasher(RandomState::new()))
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get(key)
    }

    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn held(&self) -> usize {
        mini_moka::sync::ConcurrentCacheExt::sync(&self.0);
        self.0.entry_count() as usize
    }
}

type Foyer<K, V> = foyer_memory::Cache<K, V, RandomState>;

fn foyer<K: Key, V: Payload>(
    capacity: usize,
    policy: impl Into<foyer_memory::EvictionConfig>,
) -> Foyer<K, V> {
    foyer_memory::CacheBuilder::new(capacity)
        .with_hash_builder(RandomState::new())
        .with_eviction_config(policy)
        .build()
}

/// foyer-memory with LRU.
pub struct FoyerLru<K: Key, V: Payload>(Foyer<K, V>);

impl<K: Key, V: Payload> Rival<K, V> for FoyerLru<K, V> {
    const NAME: &'static str = "foyer-lru";

    fn with_capacity(capacity: usize) -> Self {
        Self(foyer(capacity, foyer_memory::LruConfig::default()))
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }

    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn held(&self) -> usize {
        self.0.entries()
    }
}

/// foyer-memory with S3-FIFO.
pub struct FoyerS3Fifo<K: Key, V: Payload>(Foyer<K, V>);

impl<K: Key, V: Payload> Rival<K, V> for FoyerS3Fifo<K, V> {
    const NAME: &'static str = "foyer-s3fifo";

    fn with_capacity(capacity: usize) -> Self {
        Self(foyer(capacity, foyer_memory::S3FifoConfig::default()))
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }

    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn held(&self) -> usize {
        self.0.entries()
    }
}

/// scc::HashCache: 32-way associative LRU. It rounds its capacity up to a power of two.
pub struct SccHashCache<K: Key, V: Payload>(scc::HashCache<K, V, RandomState>);

impl<K: Key, V: Payload> Rival<K, V> for SccHashCache<K, V> {
    const NAME: &'static str = "scc-hashcache";

    fn with_capacity(capacity: usize) -> Self {
        Self(scc::HashCache::with_capacity_and_hasher(0, capacity, RandomState::new()))
    }

    // `read_sync` would take a shared lock, but does not tell the policy of the use.
    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get_sync(key).map(|entry| entry.get().clone())
    }

    // `put_sync` refuses a resident key.
    fn insert(&self, key: K, value: V) {
        self.0.entry_sync(key).put_entry(value);
    }

    fn held(&self) -> usize {
        self.0.len()
    }
}

/// fibre_cache with S3-FIFO. Its background thread's time is not charged to it.
pub struct FibreS3Fifo<K: Key, V: Payload>(fibre_cache::Cache<K, V, RandomState>);

impl<K: Key, V: Payload> Rival<K, V> for FibreS3Fifo<K, V> {
    const NAME: &'static str = "fibre-s3fifo";

    fn with_capacity(capacity: usize) -> Self {
        let builder = fibre_cache::CacheBuilder::<K, V, RandomState>::default();
        let cache = builder.hasher(RandomState::new()).capacity(capacity as u64).s3fifo().build();
        Self(cache.expect("a capacity is all it needs"))
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get(key, V::clone)
    }

    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value, 1);
    }

    fn held(&self) -> usize {
        self.0.metrics().current_cost as usize
    }
}

/// The lru crate under one parking_lot mutex.
pub struct LruMutex<K: Key, V>(Mutex<lru::LruCache<K, V>>);

impl<K: Key, V: Payload> Rival<K, V> for LruMutex<K, V> {
    const NAME: &'static str = "lru-mutex";

    fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.try_into().expect("not 0");
        Self(Mutex::new(lru::LruCache::new(capacity)))
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.lock().get(key).cloned()
    }

    fn insert(&self, key: K, value: V) {
        // What leaves is dropped after the lock.
        let _evicted = self.0.lock().push(key, value);
    }

    fn held(&self) -> usize {
        self.0.lock().len()
    }
}

/// Raw hashbrown: evicts nothing and is not synchronised. The floor for any hash table.
pub struct Hashbrown<K, V>(hashbrown::HashMap<K, V, RandomState>);

impl<K: Key, V: Payload> Rival<K, V> for Hashbrown<K, V> {
    const NAME: &'static str = "hashbrown";
    const SHARED: bool = false;

    fn with_capacity(_: usize) -> Self {
        Self(hashbrown::HashMap::default())
    }

    fn get(&self, key: &K::Lookup) -> Option<V> {
        self.0.get(key).cloned()
    }

    fn insert(&self, _: K, _: V) {
        unreachable!("it is only filled and read")
    }

    fn held(&self) -> usize {
        self.0.len()
    }

    fn fill(&mut self, key: K, value: V) {
        self.0.insert(key, value);
    }
}
