//! A cap on loads under way.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Poll, Waker},
};

use crate::{
    flight::wake_all,
    sync::{Arc, Mutex, lock},
};

/// What happens to a load when as many are under way as there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits for its turn; who came first goes first.
    #[default]
    Queue,
    /// It fails with [`LoadError::Overloaded`](crate::LoadError::Overloaded).
    Fail,
}

/// Gives out so many permits at a time, in the order in which they are asked for.
#[derive(Debug)]
pub(super) struct Limit {
    when_full: WhenFull,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Permits that nobody has.
    free: usize,
    number: u64,
    /// By number.
    queue: VecDeque<Place>,
}

impl State {
    fn place_of(&self, number: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&number, |place| place.number).ok()
    }
}

#[derive(Debug)]
struct Place {
    number: u64,
    waker: Option<Waker>,
    /// Whether it was given a permit.
    is_served: bool,
}

/// The right to load; given back when dropped, unless it came on top of those there are.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<Limit>>);

/// A place in the queue; given up, or its permit given on, when dropped.
struct Turn {
    limit: Arc<Limit>,
    number: u64,
}

impl Limit {
    pub(super) fn new(permits: usize, when_full: WhenFull) -> Arc<Self> {
        let state = State { free: permits, number: 0, queue: VecDeque::new() };
        Arc::new(Self { when_full, state: Mutex::new(state) })
    }

    /// Waits for a permit; `None` if there is none and waiting is not wanted. Who `is_needed` by a
    /// load that has a permit need not wait for that to be given back.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        mut is_needed: impl FnMut(&Waker) -> bool,
    ) -> Option<Permit> {
        if self.take() {
            return Some(Permit(Some(Arc::clone(self))));
        }
        if self.when_full == WhenFull::Fail {
            return None;
        }
        let turn = self.line_up();
        let served = poll_fn(|context| match turn.poll(context.waker().clone()) {
            Poll::Ready(()) => Poll::Ready(Some(Arc::clone(self))),
            // Asked after the waker was left: see `nudge`.
            Poll::Pending if is_needed(context.waker()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        Some(Permit(served.await))
    }

    /// Has all who queue look whether they are needed.
    pub(super) fn nudge(&self) {
        let mut state = lock(&self.state);
        let wakers: Vec<_> =
            state.queue.iter_mut().filter_map(|place| place.waker.take()).collect();
        drop(state);
        wake_all(wakers);
    }

    /// Takes a permit if there is one. (Then nobody waits for it.)
    fn take(&self) -> bool {
        let mut state = lock(&self.state);
        let is_free = state.free > 0;
        state.free -= usize::from(is_free);
        is_free
    }

    /// Takes a place at the end of the queue, or the permit that was given back just now.
    fn line_up(self: &Arc<Self>) -> Turn {
        let mut state = lock(&self.state);
        let is_served = state.free > 0;
        state.free -= usize::from(is_served);
        state.number += 1;
        let number = state.number;
        state.queue.push_back(Place { number, waker: None, is_served });
        Turn { limit: Arc::clone(self), number }
    }

    /// Gives a permit to the next in the queue, or back.
    fn give(&self, mut state: crate::sync::MutexGuard<'_, State>) {
        let Some(next) = state.queue.iter_mut().find(|place| !place.is_served) else {
            state.free += 1;
            return;
        };
        next.is_served = true;
        let waker = next.waker.take();
        drop(state);
        wake_all(waker);
    }
}

impl Turn {
    fn poll(&self, waker: Waker) -> Poll<()> {
        let mut state = lock(&self.limit.state);
        let Some(own) = state.place_of(self.number) else { return Poll::Ready(()) };
        if state.queue[own].is_served {
            state.queue.remove(own);
            return Poll::Ready(());
        }
        let former = state.queue[own].waker.replace(waker);
        drop(state);
        drop(former);
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.limit.state);
        let own = state.place_of(self.number);
        let Some(place) = own.and_then(|own| state.queue.remove(own)) else { return };
        if place.is_served {
            self.limit.give(state);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limit) = &self.0 {
            limit.give(lock(&limit.state));
        }
    }
}
