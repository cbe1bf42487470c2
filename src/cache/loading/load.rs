//! Running the loader, as a job of nobody in particular.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

use super::{
    Shared,
    ask::{Hangar, Leader, Step},
    kept::Kept,
    limit::Permit,
    loader::{Loaded, Loader},
    timer::Alarm,
};
use crate::{
    LoadError,
    cache::load::Started,
    flight::{self, BoxFuture, Code, Flights, Job, Lead, Mark, Wait},
    outbox::forget_panic,
    policy::Policy,
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
    /// Starts a load. If it is over at once, that was all; if not, it is waited for as anybody does,
    /// in a seat that `own_key` is for.
    pub(super) fn start_load(
        self: &Arc<Self>,
        lead: Leader<'_, K, V, L::Error>,
        (key, own_key): (K, impl FnOnce() -> K),
        over: Option<u64>,
        may_spawn: bool,
    ) -> Step<K, V, L::Error> {
        let must_spawn = may_spawn && self.spawner.is_some();
        if L::IS_BLOCKING && self.limit.is_none() && !must_spawn {
            return Step::Done(self.load_here(lead, key, over));
        }
        let flights = &self.cache.inner.flights;
        let hash = lead.hash();
        let is_nested = self.limit.is_some() && flights.is_running_here();
        let lead = lead.held_by(Arc::clone(flights));
        let shared = Arc::clone(self);
        let load = async move { shared.load(lead, key, over, is_nested).await };
        let mut load = Box::pin(Attempt { load, result: None });
        if !must_spawn {
            // Whoever drives it on polls it with a waker of its own.
            if load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                let result = load.as_mut().project().result.take();
                return Step::Done(result.expect("it is over"));
            }
        }
        // Where the landing is its own, nothing lands there, and it asks again.
        let (mut wait, _) = Flights::seat(Arc::clone(flights), hash, own_key());
        if let Some(job) = self.run(load, &[hash], may_spawn) {
            wait.drive(job);
        }
        Step::Wait(wait)
    }

    /// Runs a load that waits for nothing, to its end.
    fn load_here(
        &self,
        lead: Leader<'_, K, V, L::Error>,
        key: K,
        over: Option<u64>,
    ) -> Result<V, LoadError<L::Error>> {
        match pin!(self.load(lead, key, over, false)).poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(result) => result,
            Poll::Pending => Err(LoadError::Panicked),
        }
    }

    /// Gives a load to the spawner, or else to all who wait for its flights, as a job.
    pub(super) fn run(&self, load: BoxFuture, hashes: &[u64], may_spawn: bool) -> Option<Arc<Job>> {
        if let Some(spawn) = self.spawner.as_ref().filter(|_| may_spawn) {
            // A runtime that is not there panics. Then the load is given up, and whoever waits begins anew
            // and drives it.
            forget_panic(catch_unwind(AssertUnwindSafe(|| spawn(load))));
            return None;
        }
        let job = Job::new(load);
        for &hash in hashes {
            self.cache.inner.flights.share(hash, &job);
        }
        Some(job)
    }

    /// A load, from beginning to end.
    async fn load<R>(
        &self,
        mut lead: Lead<R>,
        key: K,
        over: Option<u64>,
        is_nested: bool,
    ) -> Result<V, LoadError<L::Error>>
    where
        R: flight::Hangar<K = K, V = Kept<V, L::Error>>,
    {
        // Nobody writes the key behind while this leads.
        let unwritten = self.behind.unwritten(&key);
        let permit = match self.limit {
            Some(_) if unwritten.is_none() => self.permit(is_nested, &[lead.hash()], None).await,
            _ => Ok(None),
        };
        let inner = &self.cache.inner;
        let started = inner.start(self.options.is_early()).over(over);
        let known = match &permit {
            Err(refused) => Some(Err(refused.clone())),
            Ok(_) => unwritten.map(|unwritten| Ok(unwritten.into_loaded())),
        };
        if let Some(known) = known {
            let mut leaving = inner.departures();
            // In this order: even after a panic it is given back before anything is sent out.
            let permit = permit;
            let result = self.settle(lead, started, &key, known, &mut leaving);
            drop(permit);
            drop(leaving);
            return result;
        }
        self.cache.inner.begin(&mut lead);
        let running = || lead.run_loader(!L::IS_BLOCKING);
        let loaded = self.attempt(running, async { self.loader.load(&key).await }).await;
        let loaded = match loaded {
            Ok(loaded) => loaded.map_err(|error| LoadError::Failed(Arc::new(error))),
            Err(error) => Err(error),
        };
        self.count_load(started, &loaded);
        let mut leaving = self.cache.inner.departures();
        // In this order, as above.
        let permit = permit;
        let result = self.settle(lead, started, &key, loaded, &mut leaving);
        drop(permit);
        drop(leaving);
        result
    }

    /// Waits until there may be one more load, of these flights. Loads that a load asks for may always
    /// be.
    pub(super) async fn permit(
        &self,
        is_nested: bool,
        hashes: &[u64],
        group: Option<Mark>,
    ) -> Result<Option<Permit>, LoadError<L::Error>> {
        let Some(limit) = self.limit.as_ref().filter(|_| !is_nested) else { return Ok(None) };
        let flights = &self.cache.inner.flights;
        let mut queued = None;
        // In this order: who comes to wait for it after the second tells this.
        let is_needed = |waker: &Waker| {
            queued.get_or_insert_with(|| flights.queue(hashes, group)).set(waker);
            hashes.iter().any(|&hash| flights.is_needed(hash))
                || group.is_some_and(|group| flights.is_needed_group(group))
        };
        limit.acquire(is_needed).await.map(Some).ok_or(LoadError::Overloaded)
    }

    /// Lets a load that a load waits for go ahead of those that wait for their turn.
    pub(super) fn hurry(&self, wait: &Wait<Hangar<K, V, L::Error>>) {
        let flights = &self.cache.inner.flights;
        if let Some(limit) = &self.limit
            && flights.is_running_here()
        {
            flights.need(wait.place());
            limit.nudge();
        }
    }

    /// Runs the loader's future; a panic or a time-out is an error like others. `running` says what
    /// this thread does while it is polled.
    pub(super) async fn attempt<T, R>(
        &self,
        running: impl Fn() -> R,
        load: impl Future<Output = T>,
    ) -> Result<T, LoadError<L::Error>> {
        let clock = &self.cache.inner.context.clock;
        let timeout = self.options.timeout;
        let deadline = timeout.map(|timeout| clock.now().saturating_add(timeout));
        let mut alarm = Alarm::default();
        let mut load = pin!(Code::new(load, running));
        poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
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
            alarm.set_for(deadline, clock, context.waker());
            Poll::Pending
        })
        .await
    }

    pub(super) fn count_load(
        &self,
        started: Started,
        loaded: &Result<Loaded<V>, LoadError<L::Error>>,
    ) {
        let inner = &self.cache.inner;
        if inner.context.counters.is_some() {
            let is_success = matches!(loaded, Ok(Loaded { value: Some(_), .. }));
            inner.count_load(inner.took(started), is_success);
        }
    }
}

pin_project! {
    /// A load as a job, which leaves what it gave to whoever has it in hands.
    struct Attempt<F: Future> {
        #[pin]
        load: F,
        result: Option<F::Output>,
    }
}

impl<F: Future> Future for Attempt<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.load.poll(context).map(|result| *this.result = Some(result))
    }
}
