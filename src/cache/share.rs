//! Read-through with a future of the caller's that others may drive.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use super::{
    Cache, Inner,
    load::Upshot,
    load_future::{Asking, Certain, Sure},
};
use crate::{
    LoadError, ToKey,
    flight::{Code, Flights, Job, Landing, Lead, Outcome, Wait},
    outbox::forget_panic,
    policy::Policy,
    sync::Arc,
};

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// [`get_or_insert_async`](Self::get_or_insert_async) with a future that borrows nothing, so that
    /// all who wait for it drive it: it does not matter whether the caller who brought it is still
    /// there, or is ever polled again. It is dropped when nobody waits any more. A miss takes some
    /// allocations more.
    ///
    /// # Panics
    /// If `load` waits for itself, or panics. (Others who wait then run their own.)
    ///
    /// ```
    /// # async fn query(name: String) -> usize { name.len() }
    /// # async fn example() {
    /// # let cache = larder::Cache::<String, usize>::new(10);
    /// assert_eq!(cache.get_or_insert_shared("ada", query("ada".into())).await, 3);
    /// # }
    /// ```
    pub fn get_or_insert_shared<'a, Q, F>(
        &'a self,
        key: &'a Q,
        load: F,
    ) -> impl Future<Output = V> + use<'a, K, V, P, S, Q, F>
    where
        Q: ToKey<K> + ?Sized,
        F: Future<Output = V> + Send + 'static,
    {
        Certain { load: SharedLoad::new(&self.inner, key, Sure { load }) }
    }

    /// [`get_or_insert_shared`](Self::get_or_insert_shared) with a `load` that can fail.
    ///
    /// # Errors
    /// As [`try_get_or_insert_async`](Self::try_get_or_insert_async), and [`LoadError::Panicked`] if
    /// the own `load` did.
    pub fn try_get_or_insert_shared<'a, Q, F, E>(
        &'a self,
        key: &'a Q,
        load: F,
    ) -> impl Future<Output = Result<V, LoadError<E>>> + use<'a, K, V, P, S, Q, F, E>
    where
        Q: ToKey<K> + ?Sized,
        F: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        SharedLoad::new(&self.inner, key, load)
    }
}

/// A read-through call whose load others may drive.
struct SharedLoad<'a, K, V, P: Policy, S, Q: ?Sized, F> {
    inner: &'a Arc<Inner<K, V, P, S>>,
    key: &'a Q,
    hash: u64,
    /// Until it is made a job of; never polled here.
    load: Option<F>,
    asking: Asking<Hangar<K, V>>,
}

// The load is not polled before it is moved to where it stays.
impl<K, V, P: Policy, S, Q: ?Sized, F> Unpin for SharedLoad<'_, K, V, P, S, Q, F> {}

impl<'a, K, V, P: Policy, S, Q: ?Sized, F> SharedLoad<'a, K, V, P, S, Q, F> {
    fn new(inner: &'a Arc<Inner<K, V, P, S>>, key: &'a Q, load: F) -> Self {
        Self { inner, key, hash: 0, load: Some(load), asking: Asking::New }
    }
}

impl<K, V, P, S, Q, F, E> Future for SharedLoad<'_, K, V, P, S, Q, F>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
    Q: ToKey<K> + ?Sized,
    F: Future<Output = Result<V, E>> + Send + 'static,
    E: Send + Sync + 'static,
{
    type Output = Result<V, LoadError<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.load.is_some() && matches!(self.asking, Asking::New) {
            self.hash = self.inner.hash(self.key);
            if let Some(value) = self.inner.get(self.hash, self.key) {
                return Poll::Ready(Ok(value));
            }
        }
        self.poll_missed(context)
    }
}

impl<K, V, P, S, Q, F, E> SharedLoad<'_, K, V, P, S, Q, F>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
    Q: ToKey<K> + ?Sized,
    F: Future<Output = Result<V, E>> + Send + 'static,
    E: Send + Sync + 'static,
{
    #[inline(never)]
    fn poll_missed(&mut self, context: &mut Context<'_>) -> Poll<Result<V, LoadError<E>>> {
        let (inner, key) = (self.inner, self.key);
        let hangar = || Arc::clone(&inner.flights);
        loop {
            let upshot = ready!(self.asking.poll(inner, hangar, (self.hash, key), context));
            let lead = match upshot {
                Upshot::Over(loaded) => return Poll::Ready(loaded),
                Upshot::Lead(lead) => lead,
            };
            if let Some(value) = inner.present(&lead, key) {
                lead.leave_to_see();
                return Poll::Ready(Ok(value));
            }
            // Brought once, it left nothing only if it panicked.
            let Some(load) = self.load.take() else {
                return Poll::Ready(Err(LoadError::Panicked));
            };
            self.asking = Asking::Waiting(inner.start_shared(lead, key.to_key(), load));
        }
    }
}

/// The flights as jobs hold them.
type Hangar<K, V> = Arc<Flights<K, V>>;

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Makes a job of a load, and waits for it as anybody does.
    fn start_shared<E>(
        self: &Arc<Self>,
        lead: Lead<Hangar<K, V>>,
        key: K,
        load: impl Future<Output = Result<V, E>> + Send + 'static,
    ) -> Wait<Hangar<K, V>>
    where
        E: Send + Sync + 'static,
    {
        let hash = lead.hash();
        let (mut wait, own) = Flights::seat(Arc::clone(&self.flights), hash, key.clone());
        let job = Job::new(Box::pin(Arc::clone(self).load_shared(lead, key, own, load)));
        wait.drive(Arc::clone(&job));
        self.flights.share(hash, &job);
        wait
    }

    async fn load_shared<E>(
        self: Arc<Self>,
        mut lead: Lead<Hangar<K, V>>,
        key: K,
        own: Option<Arc<Landing<K, V>>>,
        load: impl Future<Output = Result<V, E>>,
    ) where
        E: Send + Sync + 'static,
    {
        self.begin(&mut lead);
        let started = self.start(false);
        let loaded = {
            let mut load = pin!(Code::new(load, || lead.run_future()));
            poll_fn(|context| {
                match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
                    Ok(polled) => polled.map(|loaded| Some(loaded.map_err(Arc::new))),
                    Err(panic) => {
                        forget_panic::<()>(Err(panic));
                        Poll::Ready(None)
                    }
                }
            })
            .await
        };
        match loaded {
            Some(loaded) => {
                if let Some(own) = own {
                    own.set(Outcome::of(&loaded));
                }
                drop(self.finish(lead, started, &key, loaded));
            }
            None => {
                if self.context.counters.is_some() {
                    self.count_load(self.took(started), false);
                }
                lead.note("panicked");
                lead.land(|other| *other == key, || Outcome::Panicked);
            }
        }
    }
}
