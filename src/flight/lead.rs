//! Leading a flight: the right to compute a key, and what becomes of it.

use std::mem;

use super::{
    Hangar, Mark, Outcome, Running,
    circle::{self, Circle, OptionalTie, Tie},
    list::{Flight, List, Listed},
    mark, wake_all,
};
use crate::{
    sync::{AtomicBool, Ordering},
    trace::{LoadSpan, Within},
};

/// The right to compute a key, and the duty to land. Abandoned when dropped: then a waiter leads.
pub(crate) struct Lead<R: Hangar> {
    hangar: R,
    hash: u64,
    /// The list's count of superseded flights when this began.
    seen: u64,
    is_over: bool,
    /// Whether its code waited for other flights.
    is_tied: AtomicBool,
    /// Of the load, from its beginning on.
    span: LoadSpan,
}

impl<R: Hangar> Lead<R> {
    /// Of the flight of this hash, which was just begun. `seen` is from before that.
    #[inline]
    pub(super) fn new(hangar: R, hash: u64, seen: u64) -> Self {
        let is_tied = AtomicBool::new(false);
        Self { hangar, hash, seen, is_over: false, is_tied, span: LoadSpan::none() }
    }

    fn list(&self) -> &List<R::K, R::V> {
        self.hangar.list(self.hash)
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The same, by way of another hangar of the same flights.
    pub(crate) fn held_by<S>(mut self, hangar: S) -> Lead<S>
    where
        S: Hangar<K = R::K, V = R::V>,
    {
        debug_assert_eq!(hangar.address(), self.hangar.address(), "other flights");
        self.is_over = true;
        let span = mem::replace(&mut self.span, LoadSpan::none());
        // Relaxed: there is no other hand on it.
        let is_tied = AtomicBool::new(self.is_tied.load(Ordering::Relaxed));
        Lead { hangar, hash: self.hash, seen: self.seen, is_over: false, is_tied, span }
    }

    /// Says that the load begins.
    pub(crate) fn begin(&mut self, cache: &str) {
        self.span = LoadSpan::load(cache);
    }

    /// Says what came of the load; before it lands.
    pub(crate) fn note(&self, outcome: &'static str) {
        self.span.outcome(outcome);
    }

    /// To be held while this thread runs a closure that computes the key, or other code of the user's.
    pub(crate) fn run(&self) -> (Running<'_>, Within<'_>) {
        (Running::enter(self.mark(), false, &self.is_tied), self.span.enter())
    }

    /// To be held while this thread polls the future that computes the key.
    pub(crate) fn run_future(&self) -> (Running<'_>, Within<'_>) {
        self.run_loader(true)
    }

    /// The same of a future that may be a closure in fact.
    pub(crate) fn run_loader(&self, is_future: bool) -> (Running<'_>, Within<'_>) {
        (Running::enter(self.mark(), is_future, &self.is_tied), self.span.enter())
    }

    fn mark(&self) -> Mark {
        (self.hangar.address(), mark(self.hash))
    }

    /// Ties the flight whose code polls the future of this one, which is pending; `before` is what this
    /// answered the last time.
    #[inline]
    pub(crate) fn tie_caller(&self, before: OptionalTie) -> Result<OptionalTie, Circle> {
        let mut tie = Tie::renewed(before, self.mark())?;
        tie.iter_mut().for_each(|tie| tie.tell());
        Ok(tie)
    }

    /// Whether nobody wrote or removed the key since this began, or all keys. Who asks under the stripe's
    /// lock sees whatever was done under it before.
    #[inline]
    pub(crate) fn stands(&self) -> bool {
        self.list().is_as_seen(self.seen) || !self.is_superseded()
    }

    /// Whether nobody wrote or removed this very key since this began. Likewise, under the bucket's lock.
    #[inline]
    pub(crate) fn is_untouched(&self) -> bool {
        self.list().is_as_seen(self.seen) || !self.is_touched()
    }

    #[cold]
    fn is_touched(&self) -> bool {
        self.list().lock().of(self.hash).is_none_or(|flight| flight.is_touched)
    }

    /// Begins anew for who looks at the key once more: what was written or removed so far does not count.
    #[cold]
    pub(crate) fn renew(&mut self) {
        let list = self.hangar.list(self.hash);
        let mut listed = list.lock();
        self.seen = list.seen();
        if let Some(flight) = listed.of(self.hash) {
            (flight.is_superseded, flight.is_touched) = (false, false);
        }
    }

    #[cold]
    fn is_superseded(&self) -> bool {
        self.list().lock().of(self.hash).is_none_or(|flight| flight.is_superseded)
    }

    /// Whether somebody waits who wants to share the outcome and whose key `is_same`. Who comes
    /// later can still want that, and will have to see for himself.
    pub(crate) fn is_awaited_for(&self, is_same: impl FnOnce(&R::K) -> bool) -> bool {
        if self.list().is_unlisted(self.hash) {
            return false;
        }
        let landing = self.list().lock().of(self.hash).and_then(|flight| flight.landing().cloned());
        landing.is_some_and(|landing| is_same(&landing.key))
    }

    /// Keeps who joins later from sharing the outcome. For an outcome that is taken from the cache: a
    /// removal that this flight was not told of may be under way, and they may ask after it.
    pub(crate) fn close(&self) {
        if let Some(flight) = self.list().lock().of(self.hash) {
            flight.is_closed = true;
        }
    }

    /// Ends the flight with what was found in the cache. Those who wait look for themselves: this
    /// flight may have begun while a removal was already under way that it knows nothing of, and they
    /// may have asked after that.
    #[cold]
    pub(crate) fn leave_to_see(self) {
        self.land(|_| false, || Outcome::Unshared);
    }

    /// Ends the flight. `outcome` runs only if somebody waits whose key `is_same`.
    #[inline]
    pub(crate) fn land(
        mut self,
        is_same: impl FnOnce(&R::K) -> bool,
        outcome: impl FnOnce() -> Outcome<R::V>,
    ) {
        self.free();
        if self.list().end(self.hash) {
            self.is_over = true;
            self.span.waiters(|| 0);
        } else {
            self.land_listed(is_same, outcome);
        }
    }

    #[cold]
    #[inline(never)]
    fn land_listed(
        mut self,
        is_same: impl FnOnce(&R::K) -> bool,
        outcome: impl FnOnce() -> Outcome<R::V>,
    ) {
        let mut listed = self.list().lock();
        if let Some(landing) = listed.of(self.hash).and_then(|own| own.landing().cloned()) {
            drop(listed);
            // A panic of the user's code leaves the flight to a waiter.
            let outcome = if is_same(&landing.key) { outcome() } else { Outcome::Unshared };
            listed = self.list().lock();
            // Under the lock, so that who cannot use the outcome does not come back to this flight.
            landing.set(outcome);
        }
        self.release(&mut listed);
        let flight = listed.retire(self.hash);
        drop(listed);
        self.is_over = true;
        self.span.waiters(|| flight.as_ref().map_or(0, |flight| flight.waiters()));
        if let Some(mut flight) = flight
            && !flight.is_deserted()
        {
            wake_all(flight.crowd().seats.take_wakers());
        }
    }

    /// Nobody waits for this leader any more.
    fn release(&self, listed: &mut Listed<'_, R::K, R::V>) {
        if listed.of(self.hash).is_some_and(Flight::lose_ties) {
            circle::release(self.mark());
        }
    }

    /// This leader waits for nobody any more, whatever becomes of what it waited with.
    #[inline]
    fn free(&self) {
        // Relaxed: set by guards of this leader's, which were dropped before.
        if self.is_tied.load(Ordering::Relaxed) {
            circle::free(self.mark());
        }
    }

    /// Leaves the flight to whoever waits.
    #[cold]
    fn abandon(&self) {
        self.note("abandoned");
        self.free();
        let list = self.list();
        if list.end(self.hash) {
            return;
        }
        let mut listed = list.lock();
        self.release(&mut listed);
        let Some(flight) = listed.of(self.hash) else { return };
        flight.is_led = false;
        flight.owner = None;
        if flight.is_deserted() {
            let retired = listed.retire(self.hash);
            drop(listed);
            return drop(retired);
        }
        // All are woken: one alone might never be polled again.
        let wakers = flight.crowd().seats.take_wakers();
        drop(listed);
        wake_all(wakers);
    }
}

impl<R: Hangar> Drop for Lead<R> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_over {
            self.abandon();
        }
    }
}
