//! Going through all entries.

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    vec,
};

use super::Cache;
use crate::{
    policy::Policy,
    table::{Cursor, enter_user_code},
};

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// All entries, cloned, in no order.
    ///
    /// Weakly consistent: an entry that stays throughout is met exactly once, no key twice unless
    /// it was removed and inserted again meanwhile; an entry that comes or goes may be met or not.
    /// A dozen entries are cloned at a time under the locks of their stripe and bucket; no lock is
    /// held between calls of `next`. Does not count as a use.
    ///
    /// ```
    /// # let cache = larder::Cache::new(10);
    /// cache.insert(1, "one");
    /// cache.insert(2, "two");
    /// let mut all: Vec<_> = cache.iter().collect();
    /// all.sort();
    /// assert_eq!(all, [(1, "one"), (2, "two")]);
    /// for (number, name) in &cache {
    ///     assert_eq!(cache.peek(&number), Some(name)); // no lock is held
    /// }
    /// ```
    #[must_use]
    pub fn iter(&self) -> Iter<K, V, P, S> {
        Iter(Walk::through(self))
    }

    /// All keys, cloned, in no order; see [`iter`](Self::iter). No value is cloned.
    #[must_use]
    pub fn keys(&self) -> Keys<K, V, P, S> {
        Keys(Walk::through(self))
    }

    /// Up to `limit` entries that the policy would keep longest, the hottest first. Entries that
    /// weigh nothing come before all others, as they are never evicted for room. Over several
    /// stripes an estimate: each ranks its own, all its entries under its lock, one stripe after the
    /// other.
    #[must_use]
    pub fn hottest(&self, limit: usize) -> Vec<(K, V)> {
        self.ranked(limit, false)
    }

    /// Up to `limit` entries that the policy would evict first, the coldest first; see
    /// [`hottest`](Self::hottest).
    #[must_use]
    pub fn coldest(&self, limit: usize) -> Vec<(K, V)> {
        self.ranked(limit, true)
    }

    fn ranked(&self, limit: usize, coldest: bool) -> Vec<(K, V)> {
        let inner = &*self.inner;
        let now = inner.context.now();
        let (mut ranked, mut half) = (Vec::new(), None);
        for stripe in &inner.stripes {
            let mut rank = 0;
            stripe.visit_ranked(&inner.context, coldest, limit, now, |weighs, key, value| {
                let _running = enter_user_code::<K, V>();
                // What weighs nothing stays longest, however few entries its stripe has.
                let entry = copy(&mut half, key, value);
                ranked.push(((weighs != coldest, rank), entry));
                rank += 1;
            });
        }
        // Stripes share keys out evenly, so equal ranks are about equally hot.
        ranked.sort_by_key(|&(rank, _)| rank);
        ranked.into_iter().map(|(_, entry)| entry).take(limit).collect()
    }
}

/// `for (key, value) in &cache`: as [`iter`](Cache::iter).
impl<K, V, P, S> IntoIterator for &Cache<K, V, P, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    type Item = (K, V);
    type IntoIter = Iter<K, V, P, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The way through all entries of a cache, of each of which something is copied.
struct Walk<K, V, P: Policy, S, T> {
    cache: Cache<K, V, P, S>,
    /// The stripe to look at next.
    stripe: usize,
    /// Where to go on in it.
    at: Option<Cursor>,
    batch: vec::IntoIter<T>,
}

impl<K, V, P: Policy, S, T> Walk<K, V, P, S, T> {
    fn through(cache: &Cache<K, V, P, S>) -> Self {
        Self { cache: cache.clone(), stripe: 0, at: None, batch: Vec::new().into_iter() }
    }

    /// What `copy` made of the next entry, under the locks that it is reached by.
    fn next(&mut self, mut copy: impl FnMut(&K, &V) -> T) -> Option<T>
    where
        K: Hash,
    {
        loop {
            if let Some(copied) = self.batch.next() {
                return Some(copied);
            }
            let inner = &*self.cache.inner;
            let stripe = inner.stripes.get(self.stripe)?;
            let at = self.at.unwrap_or_else(|| stripe.table.start());
            let mut batch = Vec::new();
            let now = inner.context.now();
            self.at = stripe.visit_step(&inner.context, at, now, |key, value| {
                let _running = enter_user_code::<K, V>();
                batch.push(copy(key, value));
            });
            if self.at.is_none() {
                self.stripe += 1;
            }
            self.batch = batch.into_iter();
        }
    }
}

/// All entries of a cache; see [`Cache::iter`].
pub struct Iter<K, V, P: Policy, S>(Walk<K, V, P, S, (K, V)>);

impl<K, V, P, S> Iterator for Iter<K, V, P, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let mut half = None;
        self.0.next(|key, value| copy(&mut half, key, value))
    }
}

/// Copies an entry under a lock. Should the value's clone panic, the key's is left in `half`, which the
/// caller drops under none.
fn copy<K: Clone, V: Clone>(half: &mut Option<K>, key: &K, value: &V) -> (K, V) {
    *half = Some(key.clone());
    let value = value.clone();
    (half.take().expect("just put there"), value)
}

/// All keys of a cache; see [`Cache::keys`].
pub struct Keys<K, V, P: Policy, S>(Walk<K, V, P, S, K>);

impl<K, V, P, S> Iterator for Keys<K, V, P, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    type Item = K;

    fn next(&mut self) -> Option<K> {
        self.0.next(|key, _| key.clone())
    }
}

impl<K, V, P: Policy, S> fmt::Debug for Iter<K, V, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("cache", &self.0.cache).finish_non_exhaustive()
    }
}

impl<K, V, P: Policy, S> fmt::Debug for Keys<K, V, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("cache", &self.0.cache).finish_non_exhaustive()
    }
}
