//! A cache that loads what it does not have.
//!
//! Loads belong to no caller: each is a [`Job`](crate::flight::Job) that whoever waits drives on, or
//! that a spawner runs. A key's entry is a [`Kept`](kept::Kept): a value, or what is known instead
//! (nothing found, or an error), with the times that decide what is served and what is loaded anew.
//! So everything obeys the same capacity, policy, expiry and removals, and whatever supersedes a
//! load supersedes what it found out as well.

mod ask;
mod behind;
mod builder;
mod bulk;
mod dates;
mod keep;
mod kept;
mod limit;
mod load;
pub mod loader;
mod queue;
mod sending;
mod timer;
mod writer;

pub use builder::LoadingBuilder;
pub use limit::WhenFull;
pub use writer::WriteError;

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use hashbrown::Equivalent;

use super::Cache;
use crate::{
    Expiry, Stats,
    policy::{Adaptive, Advice, Policy},
    sync::Arc,
};
use behind::Behind;
use builder::{Options, Spawner};
use dates::NEVER;
use kept::Kept;
use limit::Limit;
use loader::Loader;

/// A cache with a [`Loader`] that it calls itself for keys it does not have. Cloning it gives another
/// handle to the same cache. Made by [`Builder::loader`](crate::Builder::loader).
///
/// One load per key runs at a time, over all ways of asking: blocking and async, single and bulk, on
/// a miss and for a refresh. All who ask meanwhile share what it gives, a value or an error. None
/// depends on another: any who waits drives the load on, so it does not matter who asked first,
/// whether he is still there, or is ever polled again. A load that nobody waits for is dropped,
/// unless there is a [`spawner`](LoadingBuilder::spawner), which runs every load to its end.
///
/// [`insert`](Self::insert), [`remove`](Self::remove), [`clear`](Self::clear),
/// [`retain`](Self::retain) and [`remove_tag`](Self::remove_tag) win over a load under way: what it
/// gives goes to those who asked before, and is not stored.
///
/// An entry takes sixteen bytes more than in a plain [`Cache`]. If something is remembered of
/// keys without a value ([`negative_ttl`](LoadingBuilder::negative_ttl),
/// [`error_backoff`](LoadingBuilder::error_backoff)), that is an entry too, which counts in
/// [`len`](Self::len) and [`weight`](Self::weight), and can be evicted.
///
/// ```
/// use larder::{Cache, loader};
/// # fn query(name: &str) -> Result<usize, std::io::Error> { Ok(name.len()) }
/// let cache = Cache::<String, usize>::builder()
///     .capacity(1000)
///     .loader(loader::blocking(|name: &String| query(name)))
///     .build();
/// assert_eq!(cache.get("ada").unwrap(), 3);
/// ```
pub struct LoadingCache<K, V, L: Loader<K, V>, P: Policy = Adaptive, S = ahash::RandomState> {
    shared: Arc<Shared<K, V, L, P, S>>,
}

/// What all handles and loads of a loading cache share.
struct Shared<K, V, L: Loader<K, V>, P: Policy, S> {
    cache: Cache<K, Kept<V, L::Error>, P, S>,
    loader: L,
    options: Options,
    expiry: Option<Box<dyn Expiry<K, V>>>,
    limit: Option<Arc<Limit>>,
    behind: Arc<Behind<K, V>>,
    spawner: Option<Box<Spawner>>,
}

impl<K, V, L: Loader<K, V>, P: Policy, S> Clone for LoadingCache<K, V, L, P, S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V, L, P, S> LoadingCache<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value of `key` if there is one, without loading, cloned; counts as a use of the entry. It
    /// may be past its time, if it is still of use should loading fail.
    pub fn get_if_present<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.shared.cache.get(key).and_then(Kept::into_value)
    }

    /// The same, without counting as a use.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.shared.cache.peek(key).and_then(Kept::into_value)
    }

    /// Whether there is a value for `key`. Does not count as a use.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let inner = &*self.shared.cache.inner;
        inner.glimpse(inner.hash(key), key, |kept| kept.value().is_some()).unwrap_or(false)
    }

    /// Stores `value` and returns the one it replaces. Wins over a load under way.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        let (kept, own) = self.shared.fresh(&key, value, None, 0);
        self.shared.cache.inner.upsert(key, kept, own).and_then(Kept::into_value)
    }

    /// [`insert`](Self::insert) with a time to live for this entry alone; the nearest deadline wins.
    pub fn insert_with_ttl(&self, key: K, value: V, time_to_live: Duration) -> Option<V> {
        let (kept, own) = self.shared.fresh(&key, value, Some(time_to_live), 0);
        self.shared.cache.inner.upsert(key, kept, own).and_then(Kept::into_value)
    }

    /// Removes the entry of `key` and returns its value. Wins over a load under way.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.shared.cache.remove(key).and_then(Kept::into_value)
    }

    /// Removes the value of `key` if `condition` holds for it, which is returned then: when it is
    /// known to be out of date only if it is older than something, say. A load under way is overtaken
    /// if it holds, and goes on if it does not, or if there is no value. The condition runs under the
    /// bucket's lock, as in [`Cache::remove_if`].
    ///
    /// ```
    /// use larder::{Cache, loader};
    /// # fn query(_: &str) -> Result<(u64, &'static str), std::io::Error> { Ok((7, "ada")) }
    /// let users = Cache::<String, (u64, &str)>::builder()
    ///     .capacity(1000)
    ///     .loader(loader::blocking(|id: &String| query(id)))
    ///     .build();
    /// assert_eq!(users.get("1").unwrap(), (7, "ada"));
    /// // The store has told of version 7 and then of version 8.
    /// assert_eq!(users.remove_if("1", |&(version, _)| version < 7), None);
    /// assert_eq!(users.remove_if("1", |&(version, _)| version < 8), Some((7, "ada")));
    /// ```
    pub fn remove_if<Q>(&self, key: &Q, condition: impl Fn(&V) -> bool) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let holds = |kept: &Kept<V, L::Error>| kept.value().is_some_and(&condition);
        self.shared.cache.remove_if(key, holds).and_then(Kept::into_value)
    }

    /// Removes all entries. Wins over all loads under way.
    pub fn clear(&self) {
        self.shared.cache.clear();
    }

    /// Removes the values for which `keep` answers `false`, and all that is remembered of keys
    /// without a value. Wins over all loads under way. The closure runs as in [`Cache::retain`].
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.shared.cache.retain(|key, kept| kept.value().is_some_and(|value| keep(key, value)));
    }

    /// Removes every value that has this tag, and those that are being loaded: see
    /// [`Cache::remove_tag`]. What is remembered of keys without a value has no tags and stays, but
    /// what loads under way find out about such keys is not remembered.
    pub fn remove_tag<T: Hash + ?Sized>(&self, tag: &T) -> bool {
        self.shared.cache.remove_tag(tag)
    }

    /// How long the value of `key` is fresh, to 64 microseconds; `None` if there is none,
    /// [`Duration::MAX`] for ever, zero if it is past its time.
    pub fn fresh_for<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let inner = &*self.shared.cache.inner;
        match inner.glimpse(inner.hash(key), key, Kept::fresh_until)?? {
            NEVER => Some(Duration::MAX),
            until => Some(Duration::from_nanos(until.saturating_sub(self.shared.now()))),
        }
    }

    /// Every key with its value, as [`Cache::iter`].
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + '_ {
        self.shared.cache.iter().filter_map(|(key, kept)| Some((key, kept.into_value()?)))
    }

    /// Up to `limit` keys with their values that the policy would keep longest, the hottest first: see
    /// [`Cache::hottest`]. Fewer if keys without a value are among them.
    ///
    /// ```
    /// use larder::{Cache, loader};
    /// # let build = || Cache::<u64, u64>::builder().capacity(1000).loader(loader::blocking(|id: &u64| Ok::<_, std::io::Error>(*id))).build();
    /// # let (cache, next) = (build(), build());
    /// # cache.get(&7).unwrap();
    /// // Before the process ends; and in the next one, the coldest first.
    /// let saved = cache.hottest(100);
    /// for (id, value) in saved.into_iter().rev() {
    ///     next.insert(id, value);
    /// }
    /// # assert_eq!(next.get_if_present(&7), Some(7));
    /// ```
    #[must_use]
    pub fn hottest(&self, limit: usize) -> Vec<(K, V)> {
        values(self.shared.cache.hottest(limit))
    }

    /// Up to `limit` keys with their values that the policy would evict first, the coldest first; see
    /// [`hottest`](Self::hottest).
    #[must_use]
    pub fn coldest(&self, limit: usize) -> Vec<(K, V)> {
        values(self.shared.cache.coldest(limit))
    }

    /// The number of entries, what is remembered of keys without a value included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.cache.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.cache.is_empty()
    }

    /// The sum of the entries' weights; see [`Cache::weight`].
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.shared.cache.weight()
    }

    /// The most that the entries may weigh together; see [`Cache::capacity`].
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.shared.cache.capacity()
    }

    /// Changes the capacity; see [`Cache::set_capacity`].
    pub fn set_capacity(&self, capacity: u64) {
        self.shared.cache.set_capacity(capacity);
    }

    /// What the cache is called where it is observed; see [`Builder::name`](crate::Builder::name).
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.cache.name()
    }

    /// What was counted so far; see [`Cache::stats`]. What is served of a key without a value counts
    /// as a hit.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.cache.stats()
    }

    /// Does all outstanding maintenance now; see [`Cache::run_maintenance`].
    pub fn run_maintenance(&self) {
        self.shared.cache.run_maintenance();
    }

    /// The loader.
    #[must_use]
    pub fn loader(&self) -> &L {
        &self.shared.loader
    }

    /// How many keys are being computed. For tests.
    #[doc(hidden)]
    pub fn flights(&self) -> usize {
        self.shared.cache.flights()
    }

    /// Checks every internal invariant. For tests, while no other thread uses the cache.
    ///
    /// # Panics
    /// If one does not hold, saying which.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.shared.cache.validate();
    }
}

impl<K, V, L: Loader<K, V>, S> LoadingCache<K, V, L, Adaptive, S> {
    /// What half and twice the capacity would be worth: see [`Cache::advise`]. Keys of which it is
    /// remembered that there is no value count like others.
    #[must_use]
    pub fn advise(&self) -> Option<Advice> {
        self.shared.cache.advise()
    }
}

/// The values among what is kept.
fn values<K, V, E>(kept: Vec<(K, Kept<V, E>)>) -> Vec<(K, V)> {
    kept.into_iter().filter_map(|(key, kept)| Some((key, kept.into_value()?))).collect()
}

impl<K, V, L: Loader<K, V>, P: Policy, S> fmt::Debug for LoadingCache<K, V, L, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingCache")
            .field("cache", &self.shared.cache)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}
