//! Claims: one computation per key at a time.
//!
//! A claim excludes other claims of the same key, not plain reads and writes. Keys are told apart
//! by their 64-bit hash; should two share it, they wait for each other. No lock is held while a
//! claim is: the lock here only guards the list.

use crate::sync::{self, Condvar, Mutex, ThreadId, lock, wait};

/// Lists, so that unrelated keys seldom meet.
const LISTS: usize = if cfg!(larder_loom) { 1 } else { 16 };

/// The claims of a cache.
#[derive(Debug)]
pub(crate) struct Claims(Box<[List]>);

#[derive(Debug)]
#[repr(align(128))]
struct List {
    held: Mutex<Vec<(u64, ThreadId)>>,
    released: Condvar,
}

/// A key's claim, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    list: &'a List,
    hash: u64,
}

impl Claims {
    pub(crate) fn new() -> Self {
        let list = |_| List { held: Mutex::new(Vec::new()), released: Condvar::new() };
        Self((0..LISTS).map(list).collect())
    }

    /// Waits until nobody else claims the key of this hash, and claims it.
    ///
    /// # Panics
    /// If this thread claims it already: it would wait for itself.
    pub(crate) fn claim(&self, hash: u64) -> Claim<'_> {
        let list = &self.0[(hash >> 17) as usize % LISTS];
        let own = sync::current().id();
        let mut held = lock(&list.held);
        while let Some(&(_, owner)) = held.iter().find(|&&(claimed, _)| claimed == hash) {
            assert!(
                owner != own,
                "the key is being computed by this very thread: an `entry` closure, or code that \
                 holds an `Entry`, asked for an entry of the same key; finish the first one before"
            );
            held = wait(&list.released, held);
        }
        held.push((hash, own));
        Claim { list, hash }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.list.held).retain(|&(claimed, _)| claimed != self.hash);
        self.list.released.notify_all();
    }
}
