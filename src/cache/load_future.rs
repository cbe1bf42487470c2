//! Read-through calls as futures.

use std::{
    convert::Infallible,
    hash::{BuildHasher, Hash},
    pin::Pin,
    task::{Context as Polling, Poll},
};

use hashbrown::Equivalent;
use pin_project_lite::pin_project;

use super::{
    Inner,
    load::{Heard, Leader, Started, certain, hear},
};
use crate::{
    LoadError,
    flight::{Flights, Joined, Running, Wait},
    policy::Policy,
};

pin_project! {
    /// A read-through call in async code.
    pub(super) struct Load<'a, K, V, P: Policy, S, Q: ?Sized, F> {
        inner: &'a Inner<K, V, P, S>,
        key: &'a Q,
        hash: u64,
        // Dropped before the right to load is given up with `stage`: who takes over may load at once.
        #[pin]
        load: F,
        stage: Stage<'a, K, V>,
    }
}

enum Stage<'a, K, V> {
    /// Not polled yet.
    New,
    /// Not found; to be joined.
    Missed,
    Waiting(Wait<&'a Flights<K, V>>),
    Leading(Leader<'a, K, V>, Started),
    Over,
}

impl<'a, K, V, P, S, Q, F> Load<'a, K, V, P, S, Q, F>
where
    P: Policy,
    Q: ?Sized,
{
    pub(super) fn new(inner: &'a Inner<K, V, P, S>, key: &'a Q, load: F) -> Self {
        Self { inner, key, hash: 0, load, stage: Stage::New }
    }
}

impl<K, V, P, S, Q, F, E> Future for Load<'_, K, V, P, S, Q, F>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
    Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    F: Future<Output = Result<V, E>>,
    E: Send + Sync + 'static,
{
    type Output = Result<V, LoadError<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Polling<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if matches!(this.stage, Stage::New) {
            *this.hash = this.inner.hash(*this.key);
            if let Some(value) = this.inner.get(*this.hash, *this.key) {
                *this.stage = Stage::Over;
                return Poll::Ready(Ok(value));
            }
            *this.stage = Stage::Missed;
        }
        self.poll_missed(context)
    }
}

impl<K, V, P, S, Q, F, E> Load<'_, K, V, P, S, Q, F>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
    Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    F: Future<Output = Result<V, E>>,
    E: Send + Sync + 'static,
{
    #[inline(never)]
    fn poll_missed(
        self: Pin<&mut Self>,
        context: &mut Polling<'_>,
    ) -> Poll<Result<V, LoadError<E>>> {
        let mut this = self.project();
        let place = (*this.hash, *this.key);
        loop {
            // Taken out, so that a panic below gives it up at once.
            match std::mem::replace(this.stage, Stage::Over) {
                Stage::New | Stage::Missed => match this.inner.join(place) {
                    Joined::Reentrant => return Poll::Ready(Err(LoadError::Reentrant)),
                    Joined::Wait(wait) => *this.stage = Stage::Waiting(wait),
                    Joined::Lead(lead) => match this.inner.present_or_start(lead, place) {
                        Ok(value) => return Poll::Ready(Ok(value)),
                        Err((lead, started)) => *this.stage = Stage::Leading(lead, started),
                    },
                },
                Stage::Waiting(mut wait) => {
                    let Poll::Ready(waited) = wait.poll(context) else {
                        *this.stage = Stage::Waiting(wait);
                        return Poll::Pending;
                    };
                    match hear(waited) {
                        Heard::Loaded(loaded) => return Poll::Ready(loaded),
                        Heard::Nothing => *this.stage = Stage::Missed,
                        Heard::Lead(lead) => match this.inner.present_or_start(lead, place) {
                            Ok(value) => return Poll::Ready(Ok(value)),
                            Err((lead, started)) => *this.stage = Stage::Leading(lead, started),
                        },
                    }
                }
                Stage::Leading(lead, started) => {
                    let running = Running::enter(lead.mark());
                    let polled = this.load.as_mut().poll(context);
                    drop(running);
                    let Poll::Ready(loaded) = polled else {
                        *this.stage = Stage::Leading(lead, started);
                        return Poll::Pending;
                    };
                    return Poll::Ready(this.inner.finish(lead, started, *this.key, loaded));
                }
                Stage::Over => panic!("a load was polled after it was ready"),
            }
        }
    }
}

pin_project! {
    /// A future that cannot fail as one that could.
    pub(super) struct Sure<F> {
        #[pin]
        pub(super) load: F,
    }
}

impl<F: Future> Future for Sure<F> {
    type Output = Result<F::Output, Infallible>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Polling<'_>) -> Poll<Self::Output> {
        self.project().load.poll(context).map(Ok)
    }
}

pin_project! {
    /// A load that cannot fail, as its value.
    pub(super) struct Certain<L> {
        #[pin]
        pub(super) load: L,
    }
}

impl<V, L: Future<Output = Result<V, LoadError<Infallible>>>> Future for Certain<L> {
    type Output = V;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Polling<'_>) -> Poll<V> {
        self.project().load.poll(context).map(certain)
    }
}
