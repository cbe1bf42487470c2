//! Entries: reading, computing and writing a key as one step.

use std::{
    fmt,
    hash::{BuildHasher, Hash},
};

use super::{Cache, Inner, same, write::Own};
use crate::{claims::Claim, policy::Policy, stats::Event, table::deny_reentry};

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// The entry of `key`, to be looked at and changed as one step.
    ///
    /// Computations through `entry` exclude each other per key, so a counter counted this way loses
    /// nothing; this waits for another thread's. They do not exclude plain
    /// [`insert`](Self::insert) and [`remove`](Self::remove): what these do while a closure runs
    /// wins, and the closure's result is returned but not stored, as if it had come just before.
    /// Closures run under no lock, and may use the cache, entries of other keys included.
    ///
    /// Two threads that each hold an entry and ask for the other's wait for ever, as with any locks:
    /// ask for entries of several keys in one order everywhere. Do not hold an entry across an
    /// `await`. Values are written with the cache's own lifetime.
    ///
    /// # Panics
    /// If this thread holds an entry of the same key already: it would wait for itself. (Keys are
    /// told apart by their full 64-bit hash here.)
    ///
    /// ```
    /// # let counters = larder::Cache::new(10);
    /// for word in ["a", "b", "a"] {
    ///     counters.entry(word).and_modify(|count| *count += 1).or_insert(1);
    /// }
    /// assert_eq!(counters.get("a"), Some(2));
    /// ```
    pub fn entry(&self, key: K) -> Entry<'_, K, V, P, S> {
        deny_reentry();
        let hash = self.inner.hash(&key);
        let claim = self.inner.claims.claim(hash);
        let seen = self.look(&key, hash);
        if seen.is_none() {
            self.inner.context.count(Event::Miss);
        }
        Entry { cache: self, key, hash, seen, _claim: claim }
    }

    /// The value of `key` and its version. Counts as a use.
    fn look(&self, key: &K, hash: u64) -> Option<(V, u64)> {
        let inner = &*self.inner;
        loop {
            let (stripe, now) = inner.approach(hash);
            let version = stripe.version(&inner.context, hash, same::<K, V, K>(key), now)?;
            let value = self.get(key)?;
            // Unchanged, so the two belong together.
            if stripe.version(&inner.context, hash, same::<K, V, K>(key), now) == Some(version) {
                return Some((value, version));
            }
        }
    }
}

/// What a closure given to [`Entry::compute`] wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute<V> {
    /// Leave the entry, or its absence, as it is.
    Keep,
    /// Store this value.
    Put(V),
    /// Remove the entry.
    Remove,
}

/// The entry of one key, claimed: see [`Cache::entry`].
pub struct Entry<'a, K, V, P: Policy, S> {
    cache: &'a Cache<K, V, P, S>,
    key: K,
    hash: u64,
    /// The value and its version when it was last looked at.
    seen: Option<(V, u64)>,
    _claim: Claim<'a>,
}

impl<K, V, P, S> Entry<'_, K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<&V> {
        self.seen.as_ref().map(|(value, _)| value)
    }

    /// The value; if there is none, `value`, which is stored.
    pub fn or_insert(self, value: V) -> V {
        self.or_insert_with(|| value)
    }

    /// The value; if there is none, what `make` makes, which is stored.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> V {
        let made = self.compute(|seen| match seen {
            Some(_) => Compute::Keep,
            None => Compute::Put(make()),
        });
        made.expect("kept or put")
    }

    /// Changes the value, if there is one, and stores it.
    pub fn and_modify(mut self, modify: impl FnOnce(&mut V)) -> Self
    where
        K: Clone,
    {
        let Some((mut value, version)) = self.seen.take() else { return self };
        modify(&mut value);
        let stored = self.cache.inner.put_over(self.key.clone(), value.clone(), Some(version));
        // Overtaken or refused: the old version stands for what will not be stored over.
        self.seen = Some((value, stored.unwrap_or(version)));
        self
    }

    /// Computes what to do from the value, does it, and returns the value that results.
    ///
    /// ```
    /// use larder::Compute;
    /// # let tokens = larder::Cache::new(10);
    /// # tokens.insert("ada", 1);
    /// let left = tokens.entry("ada").compute(|tokens| match tokens {
    ///     Some(0) => Compute::Remove,
    ///     Some(n) => Compute::Put(n - 1),
    ///     None => Compute::Keep,
    /// });
    /// assert_eq!(left, Some(0));
    /// ```
    pub fn compute(mut self, compute: impl FnOnce(Option<V>) -> Compute<V>) -> Option<V> {
        let (value, version) = self.seen.take().unzip();
        match compute(value.clone()) {
            Compute::Keep => value,
            Compute::Put(new) => {
                self.cache.inner.put_over(self.key, new.clone(), version);
                Some(new)
            }
            Compute::Remove => {
                let is_unchanged =
                    |now: Option<(&V, u64)>| now.map(|(_, version)| version) == version;
                self.cache.inner.remove(&self.key, Some(&is_unchanged));
                None
            }
        }
    }
}

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// Stores a value unless somebody else wrote since the key had this version (`None`: no
    /// entry). Answers the version of the value if it replaced another.
    fn put_over(&self, key: K, value: V, version: Option<u64>) -> Option<u64> {
        let mut write = self.prepare(key, value, Own::Rules);
        write.version = Some(0);
        let is_unchanged = |now: Option<(&V, u64)>| now.map(|(_, version)| version) == version;
        drop(self.write(&mut write, Some(&is_unchanged)));
        write.version.filter(|&version| version != 0)
    }
}

impl<K, V, P: Policy, S> fmt::Debug for Entry<'_, K, V, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("hash", &self.hash)
            .field("is_present", &self.seen.is_some())
            .finish_non_exhaustive()
    }
}
