//! The places of those who wait for one thing, each with the waker to wake.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

use crate::outbox::forget_panic;

/// Places in a row. Who takes one is told its number, and gives it up himself.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// `None` for a place that is free, and until who has it was polled.
    wakers: Vec<Option<Waker>>,
    /// The numbers of the free places.
    free: Vec<usize>,
}

impl Seats {
    /// Takes a place.
    pub(super) fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            self.wakers.len() - 1
        })
    }

    /// Gives a place up; its waker is to be dropped once the lock is released.
    pub(super) fn leave(&mut self, seat: usize) -> Option<Waker> {
        self.free.push(seat);
        self.wakers[seat].take()
    }

    /// Leaves a waker; the one there was is to be dropped once the lock is released.
    pub(super) fn set(&mut self, seat: usize, waker: Waker) -> Option<Waker> {
        self.wakers[seat].replace(waker)
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.wakers.len() - self.free.len()
    }

    /// All wakers, to be woken once the lock is released.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }
}

/// Wakes all, with no lock held. One that panics must not keep the others asleep.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        forget_panic(catch_unwind(AssertUnwindSafe(|| waker.wake())));
    }
}
