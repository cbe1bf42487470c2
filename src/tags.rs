//! Tags: names that many entries share, so that all of them can be removed at once.
//!
//! Removing a tag only notes the moment. An entry is dead if one of its tags was removed after the
//! entry came in; whoever comes across it sees that, and a sweep, a few buckets per operation,
//! gives back what it holds. Tags are told apart by their hash of 64 bits, keyed like the cache's
//! own hasher.

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use hashbrown::{HashTable, hash_table::Entry};

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// Gives the hashes of an entry's tags.
pub(crate) type TagsOf<K, V> = dyn Fn(&K, &V) -> Vec<u64> + Send + Sync;

/// A cache's tags.
pub(crate) struct Tagger<K, V> {
    pub(crate) tags_of: Box<TagsOf<K, V>>,
    pub(crate) hasher: ahash::RandomState,
    pub(crate) registry: Registry,
}

impl<K, V> fmt::Debug for Tagger<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tagger").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// What is known of one tag.
#[derive(Debug)]
struct Tag {
    hash: u64,
    /// The number of the tag's last removal, or of a later one of tags that were forgotten; 0 for
    /// none.
    removed: AtomicU64,
}

/// The tags of an entry, and the number of removals there had been when it came in.
#[derive(Debug)]
pub(crate) struct TagSet {
    born: u64,
    tags: Box<[Arc<Tag>]>,
}

impl TagSet {
    pub(crate) fn is_dead(&self) -> bool {
        // Acquire: pairs with the Release in `Registry::remove`, so that what the remover saw
        // before is older than what this thread does next.
        self.tags.iter().any(|tag| tag.removed.load(Ordering::Acquire) > self.born)
    }
}

/// The place of an entry's tags beside the table.
#[derive(Debug, Default)]
pub(crate) struct TagCell(Mutex<Option<Box<TagSet>>>);

impl TagCell {
    pub(crate) fn set(&self, tags: Option<Box<TagSet>>) {
        let old = std::mem::replace(&mut *lock(&self.0), tags);
        drop(old);
    }

    pub(crate) fn take(&self) -> Option<Box<TagSet>> {
        lock(&self.0).take()
    }

    /// Whether one of the tags was removed since the entry came in.
    pub(crate) fn is_dead(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|tags| tags.is_dead())
    }
}

/// All tags that entries have.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// How many removals there have been.
    removals: AtomicU64,
    tags: Mutex<Tags>,
}

/// Tags by their hashes.
#[derive(Debug, Default)]
struct Tags {
    known: HashTable<Arc<Tag>>,
    /// The number of the last removal of a tag that is not known any more; 0 for none.
    forgotten: u64,
}

/// Tags above which unused ones are looked for, at least.
const FEW: usize = 64;

impl Registry {
    /// The hash of a tag.
    pub(crate) fn hash<S: BuildHasher, T: Hash + ?Sized>(hasher: &S, tag: &T) -> u64 {
        hasher.hash_one(tag)
    }

    /// How many removals there have been: an entry that is made from now on is newer.
    pub(crate) fn removals(&self) -> u64 {
        // Acquire: pairs with the Release in `remove`.
        self.removals.load(Ordering::Acquire)
    }

    /// Notes what tags an entry has whose value is of the time when there had been `born` removals (`None`:
    /// of now). Call it before the value can become visible.
    pub(crate) fn tag(&self, hashes: &[u64], born: Option<u64>) -> Option<Box<TagSet>> {
        if hashes.is_empty() {
            return None;
        }
        let mut tags = lock(&self.tags);
        // Under the lock: a tag that is forgotten in between would seem to be removed since.
        let born = born.unwrap_or_else(|| self.removals());
        if tags.known.len() >= FEW && tags.known.len() == tags.known.capacity() {
            tags.forget_unused();
        }
        let tags = hashes.iter().map(|&hash| tags.find_or_make(hash)).collect();
        Some(Box::new(TagSet { born, tags }))
    }

    /// Kills every entry that has this tag. Answers whether any entry may have it.
    pub(crate) fn remove(&self, hash: u64) -> bool {
        let tags = lock(&self.tags);
        let Some(tag) = tags.known.find(hash, |tag| tag.hash == hash) else { return false };
        // Release (both): pair with the Acquires in `tag` and `TagSet::is_dead`. Under the lock, so
        // a tag's removals are stored in their order.
        let number = self.removals.fetch_add(1, Ordering::AcqRel) + 1;
        tag.removed.store(number, Ordering::Release);
        true
    }

    pub(crate) fn clear_unused(&self) {
        let mut tags = lock(&self.tags);
        tags.forget_unused();
        tags.known.shrink_to_fit(|tag| tag.hash);
    }
}

impl Tags {
    /// Forgets the tags that no entry has. That they were removed must not be: what has been loading
    /// since before may turn out to have one of them.
    fn forget_unused(&mut self) {
        let Self { known, forgotten } = self;
        known.retain(|tag| {
            let is_used = Arc::strong_count(tag) > 1;
            if !is_used {
                // Relaxed: written under the lock, which the caller holds.
                *forgotten = tag.removed.load(Ordering::Relaxed).max(*forgotten);
            }
            is_used
        });
    }

    /// One that is not known may have been removed as late as any that was forgotten. So what is
    /// older than that removal and has a tag that no entry has is dead at once, even if it was another
    /// tag: a load in vain now and then, for not keeping every tag there ever was.
    fn find_or_make(&mut self, hash: u64) -> Arc<Tag> {
        match self.known.entry(hash, |tag| tag.hash == hash, |tag| tag.hash) {
            Entry::Occupied(tag) => Arc::clone(tag.get()),
            Entry::Vacant(place) => {
                let tag = Arc::new(Tag { hash, removed: AtomicU64::new(self.forgotten) });
                place.insert(Arc::clone(&tag));
                tag
            }
        }
    }
}
