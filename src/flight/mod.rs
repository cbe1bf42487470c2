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
mod lead;
#[cfg(all(test, larder_loom))]
mod models;
mod park;
mod running;
mod wait;

pub use error::LoadError;

pub(crate) use job::{BoxFuture, Driver, Job};
pub(crate) use lead::Lead;
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
    /// What is there only once somebody waits, which is seldom.
    crowd: Option<Box<Crowd<K, V>>>,
}

/// Those who wait for a flight.
#[derive(Debug)]
struct Crowd<K, V> {
    /// Where the outcome will be, if somebody wants to share it.
    landing: Option<Arc<Landing<K, V>>>,
    /// What any of them can drive, if the load is shared.
    job: Option<Weak<Job>>,
    /// Who came last is last, mostly.
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
}

impl<K, V> Flight<K, V> {
    /// Begins it anew under another leader.
    fn lead(&mut self, owner: Option<ThreadId>) {
        self.is_led = true;
        self.is_superseded = false;
        self.is_closed = false;
        self.owner = owner;
        if let Some(crowd) = &mut self.crowd {
            crowd.job = None;
        }
    }

    fn crowd(&mut self) -> &mut Crowd<K, V> {
        let empty = || Box::new(Crowd { landing: None, job: None, seats: Vec::new() });
        self.crowd.get_or_insert_with(empty)
    }

    fn landing(&self) -> Option<&Arc<Landing<K, V>>> {
        self.crowd.as_ref()?.landing.as_ref()
    }

    /// Whether somebody wants to share its outcome.
    fn is_shared(&self) -> bool {
        self.landing().is_some()
    }

    fn waiters(&self) -> usize {
        self.crowd.as_ref().map_or(0, |crowd| crowd.seats.len())
    }

    fn is_deserted(&self) -> bool {
        self.waiters() == 0
    }

    /// Takes a seat.
    fn sit(&mut self, ticket: u64) {
        self.crowd().seats.push(Seat { ticket, waker: None });
    }

    fn seat(&mut self, ticket: u64) -> Option<&mut Seat> {
        self.crowd.as_mut()?.seats.iter_mut().rfind(|seat| seat.ticket == ticket)
    }

    /// Gives up a seat.
    fn leave(&mut self, ticket: u64) -> Option<Seat> {
        let seats = &mut self.crowd.as_mut()?.seats;
        let seat = seats.iter().rposition(|seat| seat.ticket == ticket)?;
        Some(seats.swap_remove(seat))
    }

    /// The wakers of all who wait, to be woken once the lock is released.
    fn take_wakers(&mut self) -> Vec<Waker> {
        let seats = self.crowd.as_mut().map(|crowd| crowd.seats.iter_mut());
        seats.into_iter().flatten().filter_map(|seat| seat.waker.take()).collect()
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
            if shares && !flight.is_shared() {
                let Some(made) = landing.take() else {
                    drop(air);
                    landing = Some(Arc::new(Landing { key: key(), outcome: OnceLock::new() }));
                    continue;
                };
                flight.crowd().landing = Some(made);
            }
            let found = shares.then(|| flight.landing().cloned()).flatten();
            let ticket = air.number();
            let flight = air.get(hash, id).expect("found above");
            flight.sit(ticket);
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
            flight.sit(ticket);
            Arc::clone(flight.crowd().landing.get_or_insert_with(|| Arc::clone(&made)))
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
        flight.crowd().job = Some(Arc::downgrade(job));
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
        crowd: None,
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
        self.retire_unless(air, hash, id, |_| false)
    }

    fn retire_unless(
        &self,
        air: &mut Air<K, V>,
        hash: u64,
        id: u64,
        keep: impl FnOnce(&Flight<K, V>) -> bool,
    ) -> Option<Flight<K, V>> {
        let flight = air.flights.find_entry(hash, |flight| flight.id == id).ok()?;
        if keep(flight.get()) {
            return None;
        }
        let flight = flight.remove().0;
        // Release: pairs with the loads in `supersede` and `supersede_all`; what the flight stored
        // was stored before. It is written under the lock alone.
        self.active.store(air.flights.len(), Ordering::Release);
        Some(flight)
    }
}
