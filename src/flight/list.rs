//! A list of flights, and the word that mostly stands for it.
//!
//! Nearly every flight begins and lands with nobody else coming by. Such a one is never listed: all
//! there is of it is the list's word, which it takes when it begins and gives back when it lands.
//! Whoever wants more of any flight of the list (to wait for it, to supersede it, to begin another)
//! locks the list. That turns the word into [`LISTED`], and what it stood for into a flight like
//! others; it stays so until no flight is left.

use std::{mem, sync::Weak};

use hashbrown::HashTable;

use super::{Job, Landing, seats::Seats};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, ThreadId, lock};

/// No flight.
const FREE: u64 = 0;
/// The lock's holder decides. Every other word is the mark of the one flight there is.
const LISTED: u64 = 2;
/// What every mark has. The highest bit, as keys that are their own hashes are seldom so large.
const MARKED: u64 = 1 << 63;

/// What flights are told apart by: the key's hash, but for one bit.
pub(super) fn mark(hash: u64) -> u64 {
    hash | MARKED
}

/// The flights of some keys.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct List<K, V> {
    word: AtomicU64,
    /// How many flights here were superseded so far.
    superseded: AtomicU64,
    air: Mutex<Air<K, V>>,
}

/// The flights that are listed.
#[derive(Debug)]
pub(super) struct Air<K, V> {
    /// The number given last to a flight.
    number: u64,
    flights: HashTable<Flight<K, V>>,
}

/// A flight that is listed.
#[derive(Debug)]
pub(super) struct Flight<K, V> {
    pub(super) id: u64,
    mark: u64,
    /// Whether somebody leads it. If not, the first waiter that is polled will.
    pub(super) is_led: bool,
    /// How many led it before, which is what ties to their flights are told by.
    pub(super) leading: u32,
    /// Whether the key was written or removed since the leader began.
    pub(super) is_superseded: bool,
    /// The same of its own key, not only of all.
    pub(super) is_touched: bool,
    /// Whether some keys were removed since, which may include this one: who comes later does not
    /// share the outcome, and sees what was stored.
    pub(super) is_closed: bool,
    /// Whether another flight waits for it.
    pub(super) is_needed: bool,
    /// The thread that must not wait for it, because it holds it.
    pub(super) owner: Option<ThreadId>,
    /// What is there only once somebody waits, which is seldom.
    crowd: Option<Box<Crowd<K, V>>>,
}

/// Those who wait for a flight.
#[derive(Debug)]
pub(super) struct Crowd<K, V> {
    /// Where the outcome will be, if somebody wants to share it.
    pub(super) landing: Option<Arc<Landing<K, V>>>,
    /// What any of them can drive, if the load is shared.
    pub(super) job: Option<Weak<Job>>,
    pub(super) seats: Seats,
    /// Whether there may be [ties](super::circle) to the flight.
    pub(super) is_tied: bool,
}

impl<K, V> Flight<K, V> {
    fn new(id: u64, mark: u64, owner: Option<ThreadId>) -> Self {
        Self {
            id,
            mark,
            is_led: true,
            leading: 0,
            is_superseded: false,
            is_touched: false,
            is_closed: false,
            is_needed: false,
            owner,
            crowd: None,
        }
    }

    /// Begins it anew under another leader.
    pub(super) fn lead(&mut self, owner: Option<ThreadId>) {
        self.is_led = true;
        self.leading = self.leading.wrapping_add(1);
        (self.is_superseded, self.is_touched) = (false, false);
        self.is_closed = false;
        self.owner = owner;
        if let Some(crowd) = &mut self.crowd {
            crowd.job = None;
        }
    }

    pub(super) fn crowd(&mut self) -> &mut Crowd<K, V> {
        self.crowd.get_or_insert_with(|| {
            Box::new(Crowd { landing: None, job: None, seats: Seats::default(), is_tied: false })
        })
    }

    pub(super) fn landing(&self) -> Option<&Arc<Landing<K, V>>> {
        self.crowd.as_ref()?.landing.as_ref()
    }

    /// Whether somebody wants to share its outcome.
    pub(super) fn is_shared(&self) -> bool {
        self.landing().is_some()
    }

    pub(super) fn waiters(&self) -> usize {
        self.crowd.as_ref().map_or(0, |crowd| crowd.seats.taken())
    }

    /// Whether there may be ties to it.
    pub(super) fn is_tied(&self) -> bool {
        self.crowd.as_ref().is_some_and(|crowd| crowd.is_tied)
    }

    /// Whether there were ties to it, which are to be undone now.
    pub(super) fn lose_ties(&mut self) -> bool {
        self.crowd.as_mut().is_some_and(|crowd| mem::take(&mut crowd.is_tied))
    }

    pub(super) fn is_deserted(&self) -> bool {
        self.waiters() == 0
    }
}

impl<K, V> Air<K, V> {
    fn insert(&mut self, mark: u64, owner: Option<ThreadId>) {
        self.number += 1;
        let flight = Flight::new(self.number, mark, owner);
        self.flights.insert_unique(mark, flight, |flight| flight.mark);
    }
}

impl<K, V> List<K, V> {
    pub(super) fn new() -> Self {
        let air = Air { number: 0, flights: HashTable::new() };
        Self { word: AtomicU64::new(FREE), superseded: AtomicU64::new(0), air: Mutex::new(air) }
    }

    /// Begins a flight without listing it, if there is no other.
    #[inline]
    pub(super) fn begin(&self, hash: u64) -> bool {
        // SeqCst: pairs with the load in `may_have`. If what the loader reads is older than what a
        // writer wrote elsewhere before he looked there, he sees the flight. It pairs with the
        // Release in `end` and `Listed::drop` too: what the one before stored is there.
        self.word.compare_exchange(FREE, mark(hash), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Ends a flight that was never listed.
    #[inline]
    pub(super) fn end(&self, hash: u64) -> bool {
        // Release: pairs with the SeqCst in `begin` and `may_have`; what the flight stored was
        // stored before.
        self.word.compare_exchange(mark(hash), FREE, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Whether a flight of that hash was begun and is not over, as far as can be told without the
    /// lock: if not, there is none, and one that begins will read what this thread changed before it took
    /// a lock by an exchange, if it took one.
    #[inline]
    pub(super) fn may_have(&self, hash: u64) -> bool {
        // SeqCst: see `begin`.
        let word = self.word.load(Ordering::SeqCst);
        word == LISTED || word == mark(hash)
    }

    /// Whether a flight of that hash is not listed.
    #[inline]
    pub(super) fn is_unlisted(&self, hash: u64) -> bool {
        // Relaxed: for its leader, who knows that it is either this or listed.
        self.word.load(Ordering::Relaxed) == mark(hash)
    }

    /// Whether there is no flight.
    pub(super) fn is_free(&self) -> bool {
        // SeqCst: see `begin`.
        self.word.load(Ordering::SeqCst) == FREE
    }

    /// Lists what is in the air, and keeps the lock.
    pub(super) fn lock(&self) -> Listed<'_, K, V> {
        let mut air = lock(&self.air);
        // SeqCst: as in `begin`, should a flight begin now. Nobody but the lock's holder changes the
        // word from here on.
        let word = self.word.swap(LISTED, Ordering::SeqCst);
        if word & MARKED != 0 {
            air.insert(word, None);
        }
        Listed { list: self, air }
    }

    /// How many flights were superseded: a leader remembers it from before he begins.
    #[inline]
    pub(super) fn seen(&self) -> u64 {
        // Relaxed: one that is too old makes the leader look at his flight, that is all.
        self.superseded.load(Ordering::Relaxed)
    }

    /// Whether no flight was superseded since there were so many.
    #[inline]
    pub(super) fn is_as_seen(&self, seen: u64) -> bool {
        // Acquire: pairs with the Release in `Listed::supersede`; a writer that is not seen here
        // has yet to take the stripe's lock, and will find what is stored now.
        self.superseded.load(Ordering::Acquire) == seen
    }
}

/// A list that is locked.
pub(super) struct Listed<'a, K, V> {
    list: &'a List<K, V>,
    air: MutexGuard<'a, Air<K, V>>,
}

impl<K, V> Listed<'_, K, V> {
    /// The flight of that hash.
    pub(super) fn of(&mut self, hash: u64) -> Option<&mut Flight<K, V>> {
        self.air.flights.find_mut(mark(hash), |flight| flight.mark == mark(hash))
    }

    /// The flight of that hash, if it still is the one with this number.
    pub(super) fn get(&mut self, (hash, id): (u64, u64)) -> Option<&mut Flight<K, V>> {
        self.of(hash).filter(|flight| flight.id == id)
    }

    /// Begins a flight where there is none of that hash.
    pub(super) fn begin(&mut self, hash: u64, owner: Option<ThreadId>) {
        self.air.insert(mark(hash), owner);
    }

    /// Takes the flight of that hash off the list.
    pub(super) fn retire(&mut self, hash: u64) -> Option<Flight<K, V>> {
        let found = self.air.flights.find_entry(mark(hash), |flight| flight.mark == mark(hash));
        found.ok().map(|flight| flight.remove().0)
    }

    /// Marks the flight of that hash as superseded; answers whether there is one.
    pub(super) fn supersede(&mut self, hash: u64) -> bool {
        let Some(flight) = self.of(hash) else { return false };
        (flight.is_superseded, flight.is_touched) = (true, true);
        self.tell_leaders();
        true
    }

    /// The same for all.
    pub(super) fn supersede_all(&mut self) {
        self.all().for_each(|flight| flight.is_superseded = true);
        self.tell_leaders();
    }

    fn tell_leaders(&self) {
        // Release: pairs with the Acquire in `List::is_as_seen`.
        self.list.superseded.fetch_add(1, Ordering::Release);
    }

    /// Every flight.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Flight<K, V>> {
        self.air.flights.iter_mut()
    }

    /// How many flights there are.
    pub(super) fn len(&self) -> usize {
        self.air.flights.len()
    }
}

impl<K, V> Drop for Listed<'_, K, V> {
    fn drop(&mut self) {
        if self.air.flights.is_empty() {
            // Release: pairs with the SeqCst in `List::begin` and `List::may_have`. The lock is held.
            self.list.word.store(FREE, Ordering::Release);
        }
    }
}
