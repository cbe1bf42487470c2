//! Read-through calls as futures.

use std::{
    convert::Infallible,
    hash::{BuildHasher, Hash},
    mem,
    pin::Pin,
    task::{Context as Polling, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    Inner,
    load::{Heard, Started, Upshot, certain, hear},
};
use crate::{
    LoadError, ToKey,
    flight::{Flights, Hangar, Joined, Lead, OptionalTie, Wait},
    policy::Policy,
    sync::Arc,
    table::deny_reentry,
};

pin_project! {
    /// A read-through call in async code.
    pub(super) struct Load<'a, K, V, P: Policy, S, Q: ?Sized, F> {
        inner: &'a Inner<K, V, P, S>,
        key: &'a Q,
        hash: u64,
        // Dropped before the right to load is given up with `stage`: who takes over may load at once.
        #[pin]
        load: Option<F>,
        stage: Stage<'a, K, V>,
    }

    impl<'a, K, V, P: Policy, S, Q: ?Sized, F> PinnedDrop for Load<'a, K, V, P, S, Q, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Stage::Leading(_, lead, _) = this.stage {
                // What it drops is told if it asks for the key.
                let _running = lead.run_future();
                this.load.set(None);
            }
        }
    }
}

enum Stage<'a, K, V> {
    Asking(Asking<&'a Flights<K, V>>),
    /// With what ties the caller to it, which goes first.
    Leading(OptionalTie, Lead<&'a Flights<K, V>>, Started),
    Over,
}

/// Asking for the right to load.
pub(super) enum Asking<R: Hangar> {
    New,
    /// Once more, as one who is counted: waiting was in vain.
    Again,
    Waiting(Wait<R>),
}

impl<'a, K, V, P, S, Q, F> Load<'a, K, V, P, S, Q, F>
where
    P: Policy,
    Q: ?Sized,
{
    pub(super) fn new(inner: &'a Inner<K, V, P, S>, key: &'a Q, load: F) -> Self {
        Self { inner, key, hash: 0, load: Some(load), stage: Stage::Asking(Asking::New) }
    }
}

impl<K, V, P, S, Q, F, E> Future for Load<'_, K, V, P, S, Q, F>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
    Q: ToKey<K> + ?Sized,
    F: Future<Output = Result<V, E>>,
    E: Send + Sync + 'static,
{
    type Output = Result<V, LoadError<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Polling<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if matches!(this.stage, Stage::Asking(Asking::New)) {
            *this.hash = this.inner.hash(*this.key);
            if let Some(value) = this.inner.get(*this.hash, *this.key) {
                return Poll::Ready(Ok(value));
            }
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
    Q: ToKey<K> + ?Sized,
    F: Future<Output = Result<V, E>>,
    E: Send + Sync + 'static,
{
    #[inline(never)]
    fn poll_missed(
        self: Pin<&mut Self>,
        context: &mut Polling<'_>,
    ) -> Poll<Result<V, LoadError<E>>> {
        let this = self.project();
        let (inner, key) = (*this.inner, *this.key);
        let (lead, started, tie) = if let Stage::Asking(asking) = this.stage {
            let place = (*this.hash, key);
            let upshot = ready!(asking.poll(inner, || &*inner.flights, place, context));
            *this.stage = Stage::Over;
            let mut lead = match upshot {
                Upshot::Over(loaded) => return Poll::Ready(loaded),
                Upshot::Lead(lead) => lead,
            };
            if let Some(value) = inner.present(&lead, key) {
                lead.leave_to_see();
                return Poll::Ready(Ok(value));
            }
            inner.begin(&mut lead);
            (lead, inner.start(false), None)
        } else {
            // Taken out, so that a panic below gives it up at once.
            let Stage::Leading(tie, lead, started) = mem::replace(this.stage, Stage::Over) else {
                panic!("a load was polled after it was ready");
            };
            (lead, started, tie)
        };
        let load = this.load.as_pin_mut().expect("until this is dropped");
        let polled = {
            let _running = lead.run_future();
            inner.run_load(started, || load.poll(context))
        };
        let Poll::Ready(loaded) = polled else {
            let Ok(tie) = lead.tie_caller(tie) else {
                return Poll::Ready(Err(LoadError::Reentrant));
            };
            *this.stage = Stage::Leading(tie, lead, started);
            return Poll::Pending;
        };
        // Before the flight ends: the caller does not wait for the key's next one.
        drop(tie);
        Poll::Ready(inner.finish(lead, started, key, loaded.map_err(Arc::new)))
    }
}

impl<R: Hangar> Asking<R> {
    /// Asks until the caller leads, or has what somebody else loaded.
    #[inline]
    pub(super) fn poll<P, S, Q, E>(
        &mut self,
        inner: &Inner<R::K, R::V, P, S>,
        hangar: impl Fn() -> R,
        place: (u64, &Q),
        context: &mut Polling<'_>,
    ) -> Poll<Upshot<R, E>>
    where
        R::K: Hash + Eq,
        R::V: Clone,
        P: Policy,
        S: BuildHasher,
        Q: ToKey<R::K> + ?Sized,
        E: Send + Sync + 'static,
    {
        if matches!(self, Self::New) {
            deny_reentry();
            if let Some(lead) = Flights::lead(hangar(), place.0) {
                return Poll::Ready(Upshot::Lead(lead));
            }
        }
        self.poll_listed(inner, &hangar, place, context)
    }

    #[cold]
    #[inline(never)]
    fn poll_listed<P, S, Q, E>(
        &mut self,
        inner: &Inner<R::K, R::V, P, S>,
        hangar: &dyn Fn() -> R,
        place: (u64, &Q),
        context: &mut Polling<'_>,
    ) -> Poll<Upshot<R, E>>
    where
        R::K: Hash + Eq,
        R::V: Clone,
        P: Policy,
        S: BuildHasher,
        Q: ToKey<R::K> + ?Sized,
        E: Send + Sync + 'static,
    {
        loop {
            let Self::Waiting(wait) = self else {
                match inner.join(hangar(), place, matches!(self, Self::Again)) {
                    Joined::Reentrant => {
                        return Poll::Ready(Upshot::Over(Err(LoadError::Reentrant)));
                    }
                    Joined::Lead(lead) => return Poll::Ready(Upshot::Lead(lead)),
                    Joined::Wait(wait) => *self = Self::Waiting(wait),
                }
                continue;
            };
            let heard = hear(ready!(wait.poll(context)));
            *self = if wait.is_sharing() { Self::Again } else { Self::New };
            match heard {
                Heard::Loaded(loaded) => return Poll::Ready(Upshot::Over(loaded)),
                Heard::Lead(lead) => return Poll::Ready(Upshot::Lead(lead)),
                Heard::Nothing => {}
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
