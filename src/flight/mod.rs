//! Flights: one computation per key at a time, and everybody who waits for it.
//!
//! A flight begins when somebody joins a key that nobody computes and becomes its leader; who joins
//! later waits. The leader *lands* it with an outcome for all, or *abandons* it (an error in the
//! caller's code, a dropped future), and a waiter takes over. One list of flights serves loads,
//! entries, bulk loads and writes through the cache alike, in blocking and in async code: it is the
//! one place that knows who computes what.
//!
//! Flights are told apart by the key's hash. Should two keys share it, they wait for each other, but
//! never share an outcome: that is only given to those whose key equals the leader's.
//!
//! **Superseding.** Whoever writes or removes a key supersedes its flight *before* acting. The
//! leader looks whether it still stands under the stripe's lock, at the moment of storing. So
//! either it sees that, or it stores first and the writer's act comes after it: the outcome of a
//! load never outlives a write that began after the load did. Whoever wrote or removed tells the flight once
//! more when that is done: one that began in between may have been computed from the old value.
//!
//! Under a list's lock runs none of the user's code, no waker is woken, nothing of the user's is
//! dropped, and no other lock is taken but that of the [ties](circle).

mod circle;
mod code;
mod error;
mod job;
mod lead;
mod list;
#[cfg(all(test, larder_loom))]
mod models;
mod park;
mod running;
mod seats;
mod wait;

pub use error::LoadError;

pub(crate) use circle::{Circle, OptionalTie, Queued, Tie};
pub(crate) use code::Code;
pub(crate) use job::{BoxFuture, Driver, Job};
pub(crate) use lead::Lead;
pub(crate) use park::block_on;
pub(crate) use running::{Group, Mark, Running};
pub(crate) use seats::wake_all;
pub(crate) use wait::{Wait, Waited};

use std::{any::Any, fmt, ops::Deref};

use crate::{
    sync::{self, Arc, OnceLock, ThreadId},
    table::await_changes,
};
use list::{List, mark};

/// The flights of a cache.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    /// Many, so that unrelated keys seldom meet; a power of two.
    lists: Box<[List<K, V>]>,
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
    fn new(key: K) -> Arc<Self> {
        Arc::new(Self { key, outcome: OnceLock::new() })
    }

    /// Leaves the outcome, once.
    pub(crate) fn set(&self, outcome: Outcome<V>) {
        let _ = self.outcome.set(outcome);
    }

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

impl<V: Clone> Outcome<V> {
    /// Of a load that came to its end.
    pub(crate) fn of<E: Send + Sync + 'static>(loaded: &Result<V, Arc<E>>) -> Self {
        match loaded {
            Ok(value) => Self::Value(value.clone()),
            Err(error) => {
                let error: Arc<E> = Arc::clone(error);
                Self::Failed(error)
            }
        }
    }
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

impl Asker {
    fn owner(self) -> Option<ThreadId> {
        matches!(self, Self::Holder).then(sync::this_thread)
    }
}

impl<K, V> Flights<K, V> {
    /// `lists` is a power of two.
    pub(crate) fn new(lists: usize) -> Self {
        Self { lists: (0..lists).map(|_| List::new()).collect() }
    }

    #[inline]
    fn list(&self, hash: u64) -> &List<K, V> {
        &self.lists[(hash >> 32) as usize & (self.lists.len() - 1)]
    }

    /// Tells a flight of this hash that the key is about to be written or removed. To be called
    /// before that is done. Answers whether there is one. One that begins later reads what this thread
    /// changed, in any cache.
    #[inline]
    pub(crate) fn supersede(&self, hash: u64) -> bool {
        await_changes();
        let list = self.list(hash);
        list.may_have(hash) && supersede_in(list, hash)
    }

    /// Whether there may be a flight of this hash.
    #[inline]
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        self.list(hash).may_have(hash)
    }

    /// The same for all keys.
    pub(crate) fn supersede_all(&self) {
        await_changes();
        let lists = self.lists.iter().filter(|list| !list.is_free());
        lists.for_each(|list| list.lock().supersede_all());
    }

    /// Keeps who joins later from sharing the outcome of any flight there is.
    pub(crate) fn close_all(&self) {
        await_changes();
        let lists = self.lists.iter().filter(|list| !list.is_free());
        lists.for_each(|list| list.lock().all().for_each(|flight| flight.is_closed = true));
    }

    /// Leads the flight of a key if that can be had for a word: nobody else leads one of the list. If
    /// not, [`join`](Self::join) it.
    #[inline]
    pub(crate) fn lead<R>(hangar: R, hash: u64) -> Option<Lead<R>>
    where
        R: Hangar<K = K, V = V>,
    {
        let list = hangar.list(hash);
        let seen = list.seen();
        list.begin(hash).then(|| Lead::new(hangar, hash, seen))
    }

    /// Leads the flight of a key, or waits for who does. `key` makes an owned key, and runs only if
    /// there is somebody to wait for; `equals` compares with another's.
    #[cold]
    #[inline(never)]
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
            let mut listed = list.lock();
            let seen = list.seen();
            let Some(flight) = listed.of(hash) else {
                listed.begin(hash, asker.owner());
                drop(listed);
                return Joined::Lead(Lead::new(hangar, hash, seen));
            };
            if !flight.is_led {
                flight.lead(asker.owner());
                drop(listed);
                return Joined::Lead(Lead::new(hangar, hash, seen));
            }
            if flight.owner.is_some_and(|owner| owner == sync::this_thread())
                || Running::is_on_this_thread((hangar.address(), mark(hash)))
            {
                return Joined::Reentrant;
            }
            let mut shares =
                matches!(asker, Asker::Load) && !flight.is_superseded && !flight.is_closed;
            if shares && !flight.is_shared() {
                let Some(made) = landing.take() else {
                    drop(listed);
                    landing = Some(Landing::new(key()));
                    continue;
                };
                flight.crowd().landing = Some(made);
            }
            let found = shares.then(|| flight.landing().cloned()).flatten();
            let place = (hash, flight.id);
            let seat = flight.crowd().seats.take();
            drop(listed);
            // From here on the seat is given up with `wait`, whatever `equals` does.
            let mut wait = Wait::new(hangar, place, seat, asker);
            shares &= found.as_ref().is_some_and(|landing| equals(&landing.key));
            wait.share(found.filter(|_| shares));
            return Joined::Wait(wait);
        }
    }

    /// A seat for the leader itself, where the load is to be driven by whoever waits. Should those who
    /// wait already want another key, there is a landing for the leader alone, which is to be
    /// [set](Landing::set) before the flight lands.
    pub(crate) fn seat<R>(hangar: R, hash: u64, key: K) -> (Wait<R>, Option<Arc<Landing<K, V>>>)
    where
        R: Hangar<K = K, V = V>,
        K: Eq,
    {
        let own = Landing::new(key);
        let mut listed = hangar.list(hash).lock();
        let flight = listed.of(hash).expect("its leader asks");
        let place = (hash, flight.id);
        let crowd = flight.crowd();
        let seat = crowd.seats.take();
        let all = Arc::clone(crowd.landing.get_or_insert_with(|| Arc::clone(&own)));
        drop(listed);
        let mut wait = Wait::new(hangar, place, seat, Asker::Load);
        let is_shared = Arc::ptr_eq(&all, &own) || all.key == own.key;
        wait.share(Some(if is_shared { all } else { Arc::clone(&own) }));
        (wait, (!is_shared).then_some(own))
    }

    /// Whether somebody computes a key of this hash.
    pub(crate) fn is_led(&self, hash: u64) -> bool {
        let list = self.list(hash);
        list.is_unlisted(hash)
            || list.may_have(hash) && list.lock().of(hash).is_some_and(|flight| flight.is_led)
    }

    /// Lets waiters drive the load of a flight that is not over.
    pub(crate) fn share(&self, hash: u64, job: &Arc<Job>) {
        let mut listed = self.list(hash).lock();
        let Some(flight) = listed.of(hash) else { return };
        let crowd = flight.crowd();
        crowd.job = Some(Arc::downgrade(job));
        let wakers = crowd.seats.take_wakers();
        drop(listed);
        // They drive it from now on.
        wake_all(wakers);
    }

    /// Notes that another flight waits for this one.
    pub(crate) fn need(&self, place: (u64, u64)) {
        if let Some(flight) = self.list(place.0).lock().get(place) {
            flight.is_needed = true;
        }
    }

    /// Whether another flight here waits for that of this hash, which is not over: itself, or by way of
    /// others.
    pub(crate) fn is_needed(&self, hash: u64) -> bool {
        let mut listed = self.list(hash).lock();
        let Some(flight) = listed.of(hash) else { return false };
        let own = (self.address(), mark(hash));
        flight.is_needed || flight.is_tied() && circle::is_awaited_within(own, self.address())
    }

    /// The same of a group.
    pub(crate) fn is_needed_group(&self, group: Mark) -> bool {
        circle::is_awaited_within(group, self.address())
    }

    /// Whether this thread is computing any key of this cache.
    pub(crate) fn is_running_here(&self) -> bool {
        Running::is_in(self.address())
    }

    /// Says that flights of these hashes, and their group if they are one, queue for a place among loads.
    pub(crate) fn queue(&self, hashes: &[u64], group: Option<Mark>) -> Queued {
        let flights = hashes.iter().map(|&hash| (self.address(), mark(hash)));
        Queued(flights.chain(group).collect())
    }

    /// Several of them, as one.
    pub(crate) fn group(&self) -> Group {
        Group::new(self.address())
    }

    /// Where it is, to tell it from others.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The number of flights.
    pub(crate) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.lock().len()).sum()
    }
}

#[cold]
#[inline(never)]
fn supersede_in<K, V>(list: &List<K, V>, hash: u64) -> bool {
    list.lock().supersede(hash)
}
