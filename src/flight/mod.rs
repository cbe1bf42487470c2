//! Flights: one computation per key at a time, and everybody who waits for it.
//!
//! A flight begins when somebody joins a key that nobody computes and becomes its leader; who joins
//! later waits. The leader *lands* it with an outcome for all, or *abandons* it (an error in the
//! caller's code, a dropped future), and a waiter takes over. One list of flights serves loads,
//! entries, bulk loads and writes through the cache alike, in blocking and in async code: it is the
//! one place that knows who computes what.
//!
//! Flights are told apart by the key's 64-bit hash. Should two keys share it, they wait for each
//! other, but never share an outcome: that is only given to those whose key equals the leader's.
//!
//! **Superseding.** Whoever writes or removes a key supersedes its flight *before* acting. The
//! leader looks whether it still stands under the stripe's lock, at the moment of storing. So
//! either it sees that, or it stores first and the writer's act comes after it: the outcome of a
//! load never outlives a write that began after the load did.
//!
//! A list's lock is a leaf: under it runs none of the user's code, no waker is woken, nothing of the
//! user's is dropped.

mod error;
mod job;
#[cfg(all(test, larder_loom))]
mod models;
mod park;
mod running;
mod wait;

pub use error::LoadError;

pub(crate) use job::{BoxFuture, Driver, Job};
pub(crate) use park::block_on;
pub(crate) use running::Running;
pub(crate) use wait::{Wait, Waited};

use std::{any::Any, fmt, ops::Deref, sync::Weak, task::Waker};

use hashbrown::HashTable;

use crate::sync::{
    self, Arc, AtomicU64, AtomicUsize, Mutex, MutexGuard, OnceLock, Ordering, ThreadId, lock,
};

/// The flights of a cache.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    /// Many, so that unrelated keys seldom meet; a power of two.
    lists: Box<[List<K, V>]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct List<K, V> {
    /// The number of flights here.
    active: AtomicUsize,
    /// How many flights here were superseded so far.
    superseded: AtomicU64,
    air: Mutex<Air<K, V>>,
}

#[derive(Debug)]
struct Air<K, V> {
    /// The number given last to a flight or a seat.
    number: u64,
    flights: HashTable<Flight<K, V>>,
}

#[derive(Debug)]
struct Flight<K, V> {
    id: u64,
    hash: u64,
    /// Whether somebody leads it. If not, the first waiter that is polled will.
    is_led: bool,
    /// Whether the key was written or removed since the leader began.
    is_superseded: bool,
    /// Whether some keys were removed since, which may include this one: who comes later does not
    /// share the outcome, and sees what was stored.
    is_closed: bool,
    /// Whether another flight waits for it.
    is_needed: bool,
    /// The thread that must not wait for it, because it holds it.
    owner: Option<ThreadId>,
    /// Where the outcome will be, once somebody waits for it.
    landing: Option<Arc<Landing<K, V>>>,
    /// What any waiter can drive, if the load is shared.
    job: Option<Weak<Job>>,
    seats: Vec<Seat>,
}

/// A waiter's place.
#[derive(Debug)]
struct Seat {
    ticket: u64,
    /// `None` until it was polled.
    waker: Option<Waker>,
}

/// Where waiters find a flight's outcome.
#[derive(Debug)]
pub(crate) struct Landing<K, V> {
    /// The key of the first who waited, by which the others and the leader know whether they speak
    /// of the same one.
    pub(crate) key: K,
    outcome: OnceLock<Outcome<V>>,
}

impl<K, V> Landing<K, V> {
    pub(crate) fn outcome(&self) -> Option<&Outcome<V>> {
        self.outcome.get()
    }
}

/// What a flight came to.
#[derive(Clone)]
pub(crate) enum Outcome<V> {
    Value(V),
    /// The loader's error, an `Arc<E>`, and whoever asks knows for which `E`.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The loader said that there is no such thing.
    NotFound,
    Panicked,
    TimedOut,
    Overloaded,
    /// Nothing that others could use: each sees for itself.
    Unshared,
}

impl<V> fmt::Debug for Outcome<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value",
            Self::Failed(_) => "Failed",
            Self::NotFound => "NotFound",
            Self::Panicked => "Panicked",
            Self::TimedOut => "TimedOut",
            Self::Overloaded => "Overloaded",
            Self::Unshared => "Unshared",
        })
    }
}

/// Who joins a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A load: it shares the outcome.
    Load,
    /// A caller that may hold the key for long, on this thread: it wants the key for itself.
    Holder,
    /// The same, free to move between threads.
    Wanderer,
}

/// What joining a flight came to.
pub(crate) enum Joined<R: Hangar> {
    Lead(Lead<R>),
    Wait(Wait<R>),
    /// This thread is computing that very key, or holds its entry: waiting would never end.
    Reentrant,
}

/// A way to the flights: borrowed, or shared by what outlives the call.
pub(crate) trait Hangar: Deref<Target = Flights<Self::K, Self::V>> + Clone {
    type K;
    type V;
}

impl<K, V> Hangar for &Flights<K, V> {
    type K = K;
    type V = V;
}

impl<K, V> Hangar for Arc<Flights<K, V>> {
    type K = K;
    type V = V;
}

impl<K, V> List<K, V> {
    fn lock(&self) -> MutexGuard<'_, Air<K, V>> {
        lock(&self.air)
    }
}

impl<K, V> Air<K, V> {
    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn get(&mut self, hash: u64, id: u64) -> Option<&mut Flight<K, V>> {
        self.flights.find_mut(hash, |flight| flight.id == id)
    }

    fn remove(&mut self, hash: u64, id: u64) -> Option<Flight<K, V>> {
        let flight = self.flights.find_entry(hash, |flight| flight.id == id).ok()?;
        Some(flight.remove().0)
    }
}

impl<K, V> Flight<K, V> {
    /// Begins it anew under another leader.
    fn lead(&mut self, owner: Option<ThreadId>) {
        self.is_led = true;
        self.is_superseded = false;
        self.is_closed = false;
        self.owner = owner;
        self.job = None;
    }

    /// Gives up a seat.
    fn leave(&mut self, ticket: u64) -> Option<Seat> {
        let seat = self.seats.iter().position(|seat| seat.ticket == ticket)?;
        Some(self.seats.swap_remove(seat))
    }

    /// The wakers of all who wait, to be woken once the lock is released.
    fn take_wakers(&mut self) -> Vec<Waker> {
        self.seats.iter_mut().filter_map(|seat| seat.waker.take()).collect()
    }
}

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl<K, V> Flights<K, V> {
    /// `lists` is a power of two.
    pub(crate) fn new(lists: usize) -> Self {
        let air = || Air { number: 0, flights: HashTable::new() };
        let list = |_| List {
            active: AtomicUsize::new(0),
            superseded: AtomicU64::new(0),
            air: Mutex::new(air()),
        };
        Self { lists: (0..lists).map(list).collect() }
    }

    #[inline]
    fn list(&self, hash: u64) -> &List<K, V> {
        &self.lists[(hash >> 32) as usize & (self.lists.len() - 1)]
    }

    /// Tells a flight of this hash that the key is about to be written or removed. To be called
    /// before that is done. Answers whether there is one.
    #[inline]
    pub(crate) fn supersede(&self, hash: u64) -> bool {
        let list = self.list(hash);
        // SeqCst: pairs with the addition in `join`. If what the loader read is older than what
        // this caller wrote elsewhere before, the flight is seen here.
        list.active.load(Ordering::SeqCst) != 0 && list.supersede(|flight| flight.hash == hash)
    }

    /// The same for all keys.
    pub(crate) fn supersede_all(&self) {
        for list in &self.lists {
            // SeqCst: see `supersede`.
            if list.active.load(Ordering::SeqCst) != 0 {
                list.supersede(|_| true);
            }
        }
    }

    /// Keeps who joins later from sharing the outcome of any flight there is.
    pub(crate) fn close_all(&self) {
        for list in &self.lists {
            // SeqCst: see `supersede`.
            if list.active.load(Ordering::SeqCst) != 0 {
                list.lock().flights.iter_mut().for_each(|flight| flight.is_closed = true);
            }
        }
    }

    /// Leads the flight of a key, or waits for who does. `key` makes an owned key, and runs only if
    /// there is somebody to wait for; `equals` compares with another's.
    pub(crate) fn join<R>(
        hangar: R,
        hash: u64,
        asker: Asker,
        key: impl Fn() -> K,
        equals: impl Fn(&K) -> bool,
    ) -> Joined<R>
    where
        R: Hangar<K = K, V = V>,
    {
        let mut landing = None;
        loop {
            let list = hangar.list(hash);
            let mut air = list.lock();
            let Some(flight) = air.flights.find_mut(hash, |flight| flight.hash == hash) else {
                return Joined::Lead(begin(&hangar, air, hash, asker));
            };
            let id = flight.id;
            if !flight.is_led {
                flight.lead(asker.owner());
                return Joined::Lead(Lead::new(&hangar, hash, id));
            }
            if flight.owner.is_some_and(|owner| owner == sync::current().id())
                || Running::is_on_this_thread((hangar.address(), hash, id))
            {
                return Joined::Reentrant;
            }
            let mut shares =
                matches!(asker, Asker::Load) && !flight.is_superseded && !flight.is_closed;
            if shares && flight.landing.is_none() {
                let Some(made) = landing.take() else {
                    drop(air);
                    landing = Some(Arc::new(Landing { key: key(), outcome: OnceLock::new() }));
                    continue;
                };
                flight.landing = Some(made);
            }
            let found = shares.then(|| flight.landing.clone()).flatten();
            let ticket = air.number();
            let flight = air.get(hash, id).expect("found above");
            flight.seats.push(Seat { ticket, waker: None });
            drop(air);
            // From here on the seat is given up with `wait`, whatever `equals` does.
            let mut wait = Wait::new(hangar.clone(), (hash, id), ticket, asker);
            shares &= found.as_ref().is_some_and(|landing| equals(&landing.key));
            wait.share(found.filter(|_| shares));
            return Joined::Wait(wait);
        }
    }

    /// A seat for the leader itself, where the load is to be driven by whoever waits.
    pub(crate) fn seat<R>(hangar: R, (hash, id): (u64, u64), key: K) -> Wait<R>
    where
        R: Hangar<K = K, V = V>,
        K: Eq,
    {
        let made = Arc::new(Landing { key, outcome: OnceLock::new() });
        let mut air = hangar.list(hash).lock();
        let ticket = air.number();
        let landing = air.get(hash, id).map(|flight| {
            flight.seats.push(Seat { ticket, waker: None });
            Arc::clone(flight.landing.get_or_insert_with(|| Arc::clone(&made)))
        });
        drop(air);
        let mut wait = Wait::new(hangar, (hash, id), ticket, Asker::Load);
        wait.share(landing.filter(|landing| landing.key == made.key));
        wait
    }

    /// Whether somebody computes a key of this hash.
    pub(crate) fn is_led(&self, hash: u64) -> bool {
        let mut air = self.list(hash).lock();
        air.flights.find_mut(hash, |flight| flight.hash == hash).is_some_and(|flight| flight.is_led)
    }

    /// Lets waiters drive a flight's load.
    pub(crate) fn share(&self, (hash, id): (u64, u64), job: &Arc<Job>) {
        let mut air = self.list(hash).lock();
        let Some(flight) = air.get(hash, id) else { return };
        flight.job = Some(Arc::downgrade(job));
        let wakers = flight.take_wakers();
        drop(air);
        // They drive it from now on.
        wake_all(wakers);
    }

    /// Notes that another flight waits for this one.
    pub(crate) fn need(&self, (hash, id): (u64, u64)) {
        if let Some(flight) = self.list(hash).lock().get(hash, id) {
            flight.is_needed = true;
        }
    }

    /// Whether another flight waits for this one.
    pub(crate) fn is_needed(&self, (hash, id): (u64, u64)) -> bool {
        self.list(hash).lock().get(hash, id).is_some_and(|flight| flight.is_needed)
    }

    /// Whether this thread is computing any key of this cache.
    pub(crate) fn is_running_here(&self) -> bool {
        Running::is_in(self.address())
    }

    /// Where it is, to tell it from others.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The number of flights.
    pub(crate) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.lock().flights.len()).sum()
    }
}

/// Begins a flight.
fn begin<R: Hangar>(
    hangar: &R,
    mut air: MutexGuard<'_, Air<R::K, R::V>>,
    hash: u64,
    asker: Asker,
) -> Lead<R> {
    let id = air.number();
    let flight = Flight {
        id,
        hash,
        is_led: true,
        is_superseded: false,
        is_closed: false,
        is_needed: false,
        owner: asker.owner(),
        landing: None,
        job: None,
        seats: Vec::new(),
    };
    air.flights.insert_unique(hash, flight, |flight| flight.hash);
    // SeqCst: pairs with the loads in `supersede` and `supersede_all`.
    hangar.list(hash).active.fetch_add(1, Ordering::SeqCst);
    Lead::new(hangar, hash, id)
}

impl Asker {
    fn owner(self) -> Option<ThreadId> {
        matches!(self, Self::Holder).then(|| sync::current().id())
    }
}

impl<K, V> List<K, V> {
    /// How many flights were superseded; under the lock, for a leader to compare with later.
    fn seen(&self) -> u64 {
        // Relaxed: written under the lock.
        self.superseded.load(Ordering::Relaxed)
    }

    #[cold]
    fn supersede(&self, mut which: impl FnMut(&Flight<K, V>) -> bool) -> bool {
        let mut air = self.lock();
        let mut any = false;
        for flight in air.flights.iter_mut().filter(|flight| which(flight)) {
            flight.is_superseded = true;
            any = true;
        }
        if any {
            // Release: pairs with the Acquire in `Lead::stands`.
            self.superseded.fetch_add(1, Ordering::Release);
        }
        any
    }

    /// Takes a flight off the list.
    fn retire(&self, air: &mut Air<K, V>, hash: u64, id: u64) -> Option<Flight<K, V>> {
        let flight = air.remove(hash, id)?;
        // SeqCst: see `begin`. What the flight stored was stored before.
        self.active.fetch_sub(1, Ordering::SeqCst);
        Some(flight)
    }
}

/// The right to compute a key, and the duty to land. Abandoned when dropped: then a waiter leads.
pub(crate) struct Lead<R: Hangar> {
    hangar: R,
    hash: u64,
    id: u64,
    /// The list's count of superseded flights when this began.
    seen: u64,
    is_over: bool,
}

impl<R: Hangar> Lead<R> {
    /// To be called under the list's lock.
    fn new(hangar: &R, hash: u64, id: u64) -> Self {
        let hangar = hangar.clone();
        let seen = hangar.list(hash).seen();
        Self { hangar, hash, id, seen, is_over: false }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// What a computation of this flight is known by while it runs.
    pub(crate) fn mark(&self) -> running::Mark {
        (self.hangar.address(), self.hash, self.id)
    }

    /// Whether nobody wrote or removed the key since this began. Ask under the stripe's lock.
    pub(crate) fn stands(&self) -> bool {
        let list = self.hangar.list(self.hash);
        // Acquire: pairs with the Release in `List::supersede`; a writer that is not seen here
        // has yet to take the stripe's lock, and will find what is stored now.
        list.superseded.load(Ordering::Acquire) == self.seen || !self.is_superseded(list)
    }

    #[cold]
    fn is_superseded(&self, list: &List<R::K, R::V>) -> bool {
        list.lock().get(self.hash, self.id).is_none_or(|flight| flight.is_superseded)
    }

    /// Whether somebody waits who wants to share the outcome and whose key `is_same`. Who comes
    /// later can still want that, and will have to see for himself.
    pub(crate) fn is_awaited_for(&self, is_same: impl FnOnce(&R::K) -> bool) -> bool {
        let mut air = self.hangar.list(self.hash).lock();
        let flight = air.get(self.hash, self.id);
        let landing = flight.and_then(|flight| flight.landing.clone());
        drop(air);
        landing.is_some_and(|landing| is_same(&landing.key))
    }

    /// Where the flight is listed.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.hash, self.id)
    }

    /// Ends the flight. `outcome` runs only if somebody waits whose key `is_same`.
    pub(crate) fn land(
        mut self,
        is_same: impl FnOnce(&R::K) -> bool,
        outcome: impl FnOnce() -> Outcome<R::V>,
    ) {
        let list = self.hangar.list(self.hash);
        let mut air = list.lock();
        let landing = air.get(self.hash, self.id).and_then(|flight| flight.landing.clone());
        if let Some(landing) = landing {
            drop(air);
            // A panic of the user's code leaves the flight to a waiter.
            let outcome = if is_same(&landing.key) { outcome() } else { Outcome::Unshared };
            air = list.lock();
            // Under the lock, so that who cannot use the outcome does not come back to this flight.
            let _ = landing.outcome.set(outcome);
        }
        let flight = list.retire(&mut air, self.hash, self.id);
        drop(air);
        self.is_over = true;
        if let Some(mut flight) = flight {
            wake_all(flight.take_wakers());
        }
    }
}

impl<R: Hangar> Drop for Lead<R> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let list = self.hangar.list(self.hash);
        let mut air = list.lock();
        let Some(flight) = air.get(self.hash, self.id) else { return };
        flight.is_led = false;
        flight.owner = None;
        // All are woken: one alone might never be polled again.
        let wakers = flight.take_wakers();
        let retired =
            if flight.seats.is_empty() { list.retire(&mut air, self.hash, self.id) } else { None };
        drop(air);
        drop(retired);
        wake_all(wakers);
    }
}
