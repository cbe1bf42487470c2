//! What the store does not have yet, in order. Knows no lock and nobody who waits.
//!
//! The user's code is asked whether keys are equal, before anything is changed, and for nothing else: hashes
//! come with the writes and are kept, keys are moved and never cloned, and what leaves is handed out, to be
//! dropped elsewhere. So a panic there leaves the queue as it was.

use std::{collections::VecDeque, mem, ops::Range};

use hashbrown::HashTable;

use super::writer::Write;
use crate::sync::Arc;

/// Writes on their way to the store.
pub(super) type Batch<K, V> = Arc<[(K, Write<V>)]>;

/// Writes, numbered in their order: those on their way, and behind them those that wait.
pub(super) struct Queue<K, V> {
    /// The number below which all are written.
    written: u64,
    /// They may have arrived already.
    batch: Batch<K, V>,
    /// Of the batch's keys.
    hashes: Vec<u64>,
    waiting: VecDeque<Waiting<K, V>>,
    /// Where the newest write of each key is.
    places: HashTable<Place>,
}

/// A write that waits, or will.
pub(super) struct Waiting<K, V> {
    pub(super) hash: u64,
    pub(super) key: K,
    pub(super) write: Write<V>,
}

#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    /// Of the write.
    number: u64,
}

impl<K: Eq, V> Queue<K, V> {
    pub(super) fn new() -> Self {
        Self {
            written: 0,
            batch: Arc::new([]),
            hashes: Vec::new(),
            waiting: VecDeque::new(),
            places: HashTable::new(),
        }
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The number below which all are written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The number of the first that waits.
    fn first(&self) -> u64 {
        self.written + self.batch.len() as u64
    }

    /// The numbers of all writes.
    pub(super) fn numbers(&self) -> Range<u64> {
        self.written..self.first() + self.waiting.len() as u64
    }

    fn get(&self, number: u64) -> (&K, &Write<V>) {
        match number.checked_sub(self.first()) {
            Some(index) => {
                let waiting = &self.waiting[index as usize];
                (&waiting.key, &waiting.write)
            }
            None => {
                let (key, write) = &self.batch[(number - self.written) as usize];
                (key, write)
            }
        }
    }

    /// The number of the newest write of a key.
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<u64> {
        let is_its = |place: &Place| place.hash == hash && self.get(place.number).0 == key;
        self.places.find(hash, is_its).map(|place| place.number)
    }

    /// The newest write of a key.
    pub(super) fn newest(&self, hash: u64, key: &K) -> Option<&Write<V>> {
        self.find(hash, key).map(|number| self.get(number).1)
    }

    /// Queues a write, unless its key is new and there are as many as may be. `former` is the number of the
    /// newest write of its key. Answers with the one whose place it took, or gives it back.
    pub(super) fn push(
        &mut self,
        former: Option<u64>,
        mut write: Waiting<K, V>,
        most: usize,
    ) -> Result<Option<Waiting<K, V>>, Waiting<K, V>> {
        let first = self.first();
        if let Some(index) = former.and_then(|former| former.checked_sub(first)) {
            mem::swap(&mut self.waiting[index as usize].write, &mut write.write);
            return Ok(Some(write));
        }
        let Waiting { hash, .. } = write;
        let (number, is_full) = (self.numbers().end, self.len() >= most);
        let is_former = |place: &Place| Some(place.number) == former;
        match self.places.find_mut(hash, is_former) {
            Some(place) => place.number = number,
            None if is_full => return Err(write),
            None => {
                self.places.insert_unique(hash, Place { hash, number }, |place| place.hash);
            }
        }
        self.waiting.push_back(write);
        Ok(None)
    }

    /// The next batch of at most that many, or the last one if that was not accepted. Empty if there is
    /// nothing left.
    pub(super) fn send(&mut self, most: usize) -> Batch<K, V> {
        if self.batch.is_empty() {
            let size = self.waiting.len().min(most);
            self.hashes.extend(self.waiting.range(..size).map(|waiting| waiting.hash));
            let sent = self.waiting.drain(..size);
            self.batch = sent.map(|waiting| (waiting.key, waiting.write)).collect();
        }
        Arc::clone(&self.batch)
    }

    /// The store has the batch.
    pub(super) fn accept(&mut self) -> Batch<K, V> {
        for (number, hash) in (self.written..).zip(self.hashes.drain(..)) {
            // A key that was written again meanwhile stays, at its newer place.
            if let Ok(place) = self.places.find_entry(hash, |place| place.number == number) {
                place.remove();
            }
        }
        self.written = self.first();
        mem::replace(&mut self.batch, Arc::new([]))
    }
}
