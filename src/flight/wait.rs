//! Waiting for a flight: one state machine for blocking and for async code.

use std::task::{Context, Poll, Waker};

use super::{
    Asker, Driver, Hangar, Job, Landing, Lead,
    circle::{Circle, Tie},
    mark,
};
use crate::sync::Arc;

/// A seat in a flight, given up when dropped.
pub(crate) struct Wait<R: Hangar> {
    hangar: R,
    /// The hash and the number of the flight.
    place: (u64, u64),
    /// `None` once the caller leads.
    seat: Option<usize>,
    asker: Asker,
    /// Where the outcome will be, if it can be shared.
    landing: Option<Arc<Landing<R::K, R::V>>>,
    driver: Option<Driver>,
    /// Where another flight's code waits here, and for which of its leaders.
    tie: Option<(Box<Tie>, u32)>,
}

/// What waiting came to.
pub(crate) enum Waited<R: Hangar> {
    /// There is an outcome.
    Landed(Arc<Landing<R::K, R::V>>),
    /// The flight is over and left nothing to share: look again.
    Retry,
    /// Its leader gave up: now the caller leads.
    Lead(Lead<R>),
    /// It waits, itself or by way of others, for the flight whose code waits here.
    Reentrant,
}

impl<R: Hangar> Wait<R> {
    /// Has a seat that was taken already.
    pub(super) fn new(hangar: R, place: (u64, u64), seat: usize, asker: Asker) -> Self {
        Self { hangar, place, seat: Some(seat), asker, landing: None, driver: None, tie: None }
    }

    /// Wants the outcome that will be there.
    pub(super) fn share(&mut self, landing: Option<Arc<Landing<R::K, R::V>>>) {
        self.landing = landing;
    }

    /// Where the flight is listed.
    pub(crate) fn place(&self) -> (u64, u64) {
        self.place
    }

    /// Whether the outcome will be shared.
    pub(crate) fn is_sharing(&self) -> bool {
        self.landing.is_some()
    }

    /// Looks whether the flight is over, and drives its job on if it has one.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Waited<R>> {
        loop {
            if let Poll::Ready(waited) = self.look(context.waker().clone()) {
                return Poll::Ready(waited);
            }
            let Some(driver) = &mut self.driver else { return Poll::Pending };
            if driver.poll(context).is_pending() {
                return Poll::Pending;
            }
            // The job is done and the flight over, unless somebody leads it anew.
            self.driver = None;
        }
    }

    fn look(&mut self, waker: Waker) -> Poll<Waited<R>> {
        if let Some(landing) = self.landed() {
            return Poll::Ready(Waited::Landed(landing));
        }
        let list = self.hangar.list(self.place.0);
        let mut listed = list.lock();
        let seen = list.seen();
        let Some(flight) = listed.get(self.place) else {
            drop(listed);
            return Poll::Ready(self.landed().map_or(Waited::Retry, Waited::Landed));
        };
        if !flight.is_led {
            flight.lead(self.asker.owner());
            let waker = self.seat.take().and_then(|seat| flight.crowd().seats.leave(seat));
            drop(listed);
            drop(waker);
            return Poll::Ready(Waited::Lead(Lead::new(self.hangar.clone(), self.place.0, seen)));
        }
        let leading = flight.leading;
        // What there was before is cut, or goes first: it is not to be found on the way.
        let before = self.tie.take().filter(|&(_, to)| to == leading).map(|(tie, _)| tie);
        match Tie::renewed(before, (self.hangar.address(), mark(self.place.0))) {
            Ok(tie) => self.tie = tie.map(|tie| (tie, leading)),
            Err(Circle) => return Poll::Ready(Waited::Reentrant),
        }
        let crowd = flight.crowd();
        crowd.is_tied |= self.tie.is_some();
        let former = self.seat.and_then(|seat| crowd.seats.set(seat, waker));
        let job = crowd.job.clone();
        drop(listed);
        drop(former);
        if let Some((tie, _)) = &mut self.tie {
            tie.tell();
        }
        // Upgraded with no lock held: this may turn out to be the last to let go of it.
        if let Some(job) = job.and_then(|job| job.upgrade()) {
            self.drive(job);
        }
        Poll::Pending
    }

    fn landed(&self) -> Option<Arc<Landing<R::K, R::V>>> {
        self.landing.as_ref().filter(|landing| landing.outcome().is_some()).cloned()
    }

    /// Drives that job from now on.
    pub(crate) fn drive(&mut self, job: Arc<Job>) {
        if !self.driver.as_ref().is_some_and(|driver| driver.drives(&job)) {
            self.driver = Some(Driver::new(job));
        }
    }
}

impl<R: Hangar> Drop for Wait<R> {
    fn drop(&mut self) {
        let Some(seat) = self.seat.filter(|_| self.landed().is_none()) else {
            // Given up already, or the flight is over and the seat with it.
            return;
        };
        let mut listed = self.hangar.list(self.place.0).lock();
        let Some(flight) = listed.get(self.place) else { return };
        let waker = flight.crowd().seats.leave(seat);
        let is_deserted = !flight.is_led && flight.is_deserted();
        let retired = if is_deserted { listed.retire(self.place.0) } else { None };
        drop(listed);
        drop((waker, retired));
        // The driver goes last: if nobody else wants its job, that abandons the flight.
    }
}
