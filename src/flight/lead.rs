//! Leading a flight: the right to compute a key, and what becomes of it.

use super::{Flight, Hangar, List, Outcome, Running, wake_all};
use crate::{
    sync::Ordering,
    trace::{LoadSpan, Within},
};

/// The right to compute a key, and the duty to land. Abandoned when dropped: then a waiter leads.
pub(crate) struct Lead<R: Hangar> {
    hangar: R,
    hash: u64,
    id: u64,
    /// The list's count of superseded flights when this began.
    seen: u64,
    is_over: bool,
    /// Of the load, from its beginning on.
    span: LoadSpan,
}

impl<R: Hangar> Lead<R> {
    /// To be called under the list's lock.
    pub(super) fn new(hangar: &R, hash: u64, id: u64) -> Self {
        let hangar = hangar.clone();
        let seen = hangar.list(hash).seen();
        Self { hangar, hash, id, seen, is_over: false, span: LoadSpan::none() }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Says that the load begins.
    pub(crate) fn begin(&mut self, cache: &str) {
        self.span = LoadSpan::load(cache);
    }

    /// Says what came of the load; before it lands.
    pub(crate) fn note(&self, outcome: &'static str) {
        self.span.outcome(outcome);
    }

    /// To be held while this thread runs the closure, or polls the future, that computes the key.
    pub(crate) fn run(&self) -> (Running, Within<'_>) {
        let mark = (self.hangar.address(), self.hash, self.id);
        (Running::enter(mark), self.span.enter())
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
        let landing = flight.and_then(|flight| flight.landing().cloned());
        drop(air);
        landing.is_some_and(|landing| is_same(&landing.key))
    }

    /// Keeps who joins later from sharing the outcome. For an outcome that is taken from the cache: a
    /// removal that this flight was not told of may be under way, and they may ask after it.
    pub(crate) fn close(&self) {
        if let Some(flight) = self.hangar.list(self.hash).lock().get(self.hash, self.id) {
            flight.is_closed = true;
        }
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
        let mut flight = list.retire_unless(&mut air, self.hash, self.id, Flight::is_shared);
        if flight.is_none()
            && let Some(landing) =
                air.get(self.hash, self.id).and_then(|own| own.landing().cloned())
        {
            drop(air);
            // A panic of the user's code leaves the flight to a waiter.
            let outcome = if is_same(&landing.key) { outcome() } else { Outcome::Unshared };
            air = list.lock();
            // Under the lock, so that who cannot use the outcome does not come back to this flight.
            let _ = landing.outcome.set(outcome);
            flight = list.retire(&mut air, self.hash, self.id);
        }
        drop(air);
        self.is_over = true;
        self.span.waiters(|| flight.as_ref().map_or(0, Flight::waiters));
        if let Some(mut flight) = flight
            && !flight.is_deserted()
        {
            wake_all(flight.take_wakers());
        }
    }
}

impl<R: Hangar> Drop for Lead<R> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.note("abandoned");
        let list = self.hangar.list(self.hash);
        let mut air = list.lock();
        let Some(flight) = air.get(self.hash, self.id) else { return };
        flight.is_led = false;
        flight.owner = None;
        // All are woken: one alone might never be polled again.
        let wakers = flight.take_wakers();
        let retired =
            if flight.is_deserted() { list.retire(&mut air, self.hash, self.id) } else { None };
        drop(air);
        drop(retired);
        wake_all(wakers);
    }
}
