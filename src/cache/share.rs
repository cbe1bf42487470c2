//! Read-through with a future of the caller's that others may drive.

use std::{
    convert::Infallible,
    future::poll_fn,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use hashbrown::Equivalent;

use super::{
    Cache, Inner,
    load::{Heard, certain, hear},
};
use crate::{
    LoadError,
    flight::{Asker, Flights, Job, Joined, Lead, Outcome, Wait},
    outbox::forget_panic,
    policy::Policy,
    stats::Event,
    sync::Arc,
    table::deny_reentry,
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
    /// If `load` asks for the same key, or panics. (Others who wait then run their own.)
    ///
    /// ```
    /// # async fn query(name: String) -> usize { name.len() }
    /// # async fn example() {
    /// # let cache = larder::Cache::<String, usize>::new(10);
    /// assert_eq!(cache.get_or_insert_shared("ada", query("ada".into())).await, 3);
    /// # }
    /// ```
    pub async fn get_or_insert_shared<Q>(
        &self,
        key: &Q,
        load: impl Future<Output = V> + Send + 'static,
    ) -> V
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        certain(self.try_get_or_insert_shared(key, async { Ok::<V, Infallible>(load.await) }).await)
    }

    /// [`get_or_insert_shared`](Self::get_or_insert_shared) with a `load` that can fail.
    ///
    /// # Errors
    /// As [`try_get_or_insert_async`](Self::try_get_or_insert_async), and [`LoadError::Panicked`] if
    /// the own `load` did.
    pub async fn try_get_or_insert_shared<Q, E>(
        &self,
        key: &Q,
        load: impl Future<Output = Result<V, E>> + Send + 'static,
    ) -> Result<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let inner = &self.inner;
        let place = (inner.hash(key), key);
        if let Some(value) = inner.get(place.0, key) {
            return Ok(value);
        }
        let mut load = Some(load);
        let mut joined = inner.join_shared(place);
        loop {
            let mut wait = match joined {
                Joined::Reentrant => return Err(LoadError::Reentrant),
                Joined::Wait(wait) => wait,
                Joined::Lead(lead) => {
                    if let Some(value) = inner.present(&lead, key) {
                        lead.leave_to_see();
                        return Ok(value);
                    }
                    // Brought once, it gave nothing that could be shared only if it panicked.
                    let Some(load) = load.take() else { return Err(LoadError::Panicked) };
                    inner.start_shared(lead, key.to_owned(), load)
                }
            };
            let waited = poll_fn(|context| wait.poll(context)).await;
            joined = match hear(waited) {
                Heard::Loaded(loaded) => return loaded,
                Heard::Lead(lead) => Joined::Lead(lead),
                Heard::Nothing => inner.join_shared(place),
            };
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
    fn join_shared<Q>(&self, (hash, key): (u64, &Q)) -> Joined<Hangar<K, V>>
    where
        Q: Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        deny_reentry();
        let flights = Arc::clone(&self.flights);
        let equals = |other: &K| key.equivalent(other);
        let joined = Flights::join(flights, hash, Asker::Load, || key.to_owned(), equals);
        if let Joined::Wait(wait) = &joined
            && wait.is_sharing()
        {
            self.context.count(Event::Coalesced);
        }
        joined
    }

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
        let mut wait = Flights::seat(Arc::clone(&self.flights), hash, key.clone());
        let job = Job::new(Box::pin(Arc::clone(self).load_shared(lead, key, load)));
        wait.drive(Arc::clone(&job));
        self.flights.share(hash, &job);
        wait
    }

    async fn load_shared<E>(
        self: Arc<Self>,
        mut lead: Lead<Hangar<K, V>>,
        key: K,
        load: impl Future<Output = Result<V, E>>,
    ) where
        E: Send + Sync + 'static,
    {
        self.begin(&mut lead);
        let started = self.start(false);
        let mut load = pin!(load);
        let loaded = poll_fn(|context| {
            let _running = lead.run();
            match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
                Ok(polled) => polled.map(Some),
                Err(panic) => {
                    forget_panic::<()>(Err(panic));
                    Poll::Ready(None)
                }
            }
        });
        match loaded.await {
            Some(loaded) => drop(self.finish(lead, started, &key, loaded)),
            None => {
                lead.note("panicked");
                lead.land(|other| *other == key, || Outcome::Panicked);
            }
        }
    }
}
