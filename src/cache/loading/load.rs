//! Running the loader, as a job of nobody in particular.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use super::{
    Shared,
    ask::Hangar,
    limit::Permit,
    loader::{Loaded, Loader},
    timer::Alarm,
};
use crate::{
    LoadError,
    cache::load::Started,
    flight::{BoxFuture, Job, Lead, Running, Wait},
    outbox::forget_panic,
    policy::Policy,
    stats::Event,
    sync::Arc,
};

impl<K, V, L, P, S> Shared<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Starts a load, and waits for it as anybody does.
    pub(super) fn start_load(
        self: &Arc<Self>,
        lead: Lead<Hangar<K, V, L::Error>>,
        key: K,
        may_spawn: bool,
    ) -> Wait<Hangar<K, V, L::Error>> {
        let mut wait = lead.seat(key.clone());
        let place = lead.place();
        let is_nested = self.cache.inner.flights.is_running_here();
        let load = Box::pin(Arc::clone(self).load(lead, key, is_nested));
        if let Some(job) = self.run(load, &[place], may_spawn) {
            wait.drive(job);
        }
        wait
    }

    /// Gives a load to the spawner, or else to all who wait for its flights, as a job.
    pub(super) fn run(
        &self,
        load: BoxFuture,
        places: &[(u64, u64)],
        may_spawn: bool,
    ) -> Option<Arc<Job>> {
        if let Some(spawn) = self.spawner.as_ref().filter(|_| may_spawn) {
            spawn(load);
            return None;
        }
        let job = Job::new(load);
        for &place in places {
            self.cache.inner.flights.share(place, &job);
        }
        Some(job)
    }

    /// A load, from beginning to end.
    async fn load(self: Arc<Self>, lead: Lead<Hangar<K, V, L::Error>>, key: K, is_nested: bool) {
        let permit = self.permit(is_nested).await;
        let started = self.cache.inner.start(true).over(self.cache.version(&key));
        if let Err(refused) = permit {
            return self.settle(lead, started, &key, Err(refused));
        }
        if let Some(unwritten) = self.behind.unwritten(&key) {
            return self.settle(lead, started, &key, Ok(unwritten.into_loaded()));
        }
        self.cache.inner.context.count(Event::Load);
        let running = || vec![Running::enter(lead.mark())];
        let loaded = self.attempt(running, async { self.loader.load(&key).await }).await;
        let loaded = match loaded {
            Ok(loaded) => loaded.map_err(|error| LoadError::Failed(Arc::new(error))),
            Err(error) => Err(error),
        };
        self.count_load(started, &loaded);
        self.settle(lead, started, &key, loaded);
        drop(permit);
    }

    /// Waits until there may be one more load. Loads that a load asks for may always be.
    pub(super) async fn permit(
        &self,
        is_nested: bool,
    ) -> Result<Option<Permit>, LoadError<L::Error>> {
        match &self.limit {
            Some(limit) if !is_nested => {
                limit.acquire().await.map(Some).ok_or(LoadError::Overloaded)
            }
            _ => Ok(None),
        }
    }

    /// Runs the loader's future; a panic or a time-out is an error like others. `running` says what
    /// this thread does while it is polled.
    pub(super) async fn attempt<T>(
        &self,
        running: impl Fn() -> Vec<Running>,
        load: impl Future<Output = T>,
    ) -> Result<T, LoadError<L::Error>> {
        let clock = &self.cache.inner.context.clock;
        let timeout = self.options.timeout;
        let deadline = timeout.map(|timeout| clock.now().saturating_add(timeout));
        let mut alarm = None;
        let mut load = pin!(load);
        poll_fn(|context| {
            let polled = {
                let _running = running();
                catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context)))
            };
            match polled {
                Ok(Poll::Ready(loaded)) => return Poll::Ready(Ok(loaded)),
                Ok(Poll::Pending) => {}
                Err(panic) => {
                    forget_panic::<()>(Err(panic));
                    return Poll::Ready(Err(LoadError::Panicked));
                }
            }
            let Some(deadline) = deadline else { return Poll::Pending };
            let left = deadline.saturating_sub(clock.now());
            if left == 0 {
                return Poll::Ready(Err(LoadError::TimedOut));
            }
            if alarm.is_none() && !clock.is_injected() {
                alarm = Some(Alarm::after(Duration::from_nanos(left), context.waker().clone()));
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn count_load(
        &self,
        started: Started,
        loaded: &Result<Loaded<V>, LoadError<L::Error>>,
    ) {
        let is_success = matches!(loaded, Ok(Loaded { value: Some(_), .. }));
        self.cache.inner.count_load(self.cache.inner.took(started), is_success);
    }
}
