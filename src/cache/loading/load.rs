//! Asking, loading, and keeping what came of it.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hash, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use hashbrown::Equivalent;

use super::{
    LoadingCache, Shared,
    builder::Options,
    kept::{Kept, NEVER, Verdict, What},
    limit::Permit,
    loader::{Loaded, Loader},
    timer::Alarm,
};
use crate::{
    LoadError,
    cache::{load::Started, write::Own},
    flight::{
        Asker, BoxFuture, Flights, Job, Joined, Landing, Lead, Outcome, Running, Wait, Waited,
        block_on,
    },
    outbox::forget_panic,
    policy::Policy,
    stats::Event,
    sync::Arc,
    table::deny_reentry,
    time::nanos,
};

/// The flights of a loading cache, as loads hold them.
pub(super) type Hangar<K, V, E> = Arc<Flights<K, Kept<V, E>>>;

/// What asking for a key came to.
pub(super) enum Step<K, V, E> {
    Done(Result<V, LoadError<E>>),
    /// Somebody loads it.
    Wait(Wait<Hangar<K, V, E>>),
}

/// What is to be kept, and how long its entry lives.
type Keeping<V, E> = (Kept<V, E>, Own);

/// Starts a load, now or a little later, and waits for it.
type Start<'a, K, V, E> = &'a mut dyn FnMut(Lead<Hangar<K, V, E>>, K) -> Wait<Hangar<K, V, E>>;

/// Why somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// To get the value; counted as a use.
    Value,
    /// The same again, after waiting for a load that left nothing.
    Again,
    /// To have it loaded anew, whatever there is.
    Reload,
}

impl<K, V, L, P, S> LoadingCache<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value of `key`, loaded if there is none. Blocks the thread while it is loaded.
    ///
    /// This thread drives the load while it waits; a loader that needs a runtime must be given one
    /// with [`spawner`](crate::LoadingBuilder::spawner), or this be called from within it.
    ///
    /// # Errors
    /// What the load came to, if not to a value. See [`LoadError`].
    pub fn get<Q>(&self, key: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.wait_for(key, Want::Value, || None)
    }

    /// [`get`](Self::get) that waits no longer than `patience`. The load goes on if others wait for
    /// it.
    ///
    /// # Errors
    /// The same, and [`LoadError::TimedOut`].
    pub fn get_within<Q>(&self, key: &Q, patience: Duration) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let clock = &self.shared.cache.inner.context.clock;
        let deadline = clock.now().saturating_add(nanos(patience));
        self.wait_for(key, Want::Value, || Some(clock.sleep_until(deadline)))
    }

    /// [`get`](Self::get) for async code. To give up after a while drop it, with the time-out of your
    /// runtime: the load goes on if others wait for it. A hit allocates nothing.
    ///
    /// # Errors
    /// What the load came to, if not to a value. See [`LoadError`].
    ///
    /// ```
    /// # async fn example() {
    /// use larder::{Cache, loader};
    /// let squares = Cache::<u64, u64>::builder()
    ///     .capacity(100)
    ///     .loader(loader::from_fn(async |n: u64| Ok::<u64, std::io::Error>(n * n)))
    ///     .build();
    /// assert_eq!(squares.get_async(&7).await.unwrap(), 49);
    /// # }
    /// ```
    pub async fn get_async<Q>(&self, key: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.wait_for_async(key, Want::Value).await
    }

    /// Loads the value of `key` anew, or waits for who does, and returns it. The old value is served
    /// to others meanwhile. If the key is written or removed during the load, that wins.
    ///
    /// # Errors
    /// What the load came to. If the old value is still of use, that is returned instead.
    pub fn refresh<Q>(&self, key: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.wait_for(key, Want::Reload, || None)
    }

    /// [`refresh`](Self::refresh) for async code.
    ///
    /// # Errors
    /// The same.
    pub async fn refresh_async<Q>(&self, key: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.wait_for_async(key, Want::Reload).await
    }

    fn wait_for<Q>(
        &self,
        key: &Q,
        want: Want,
        patience: impl Fn() -> Option<Duration>,
    ) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &self.shared;
        let hash = shared.cache.inner.hash(key);
        let mut step = shared.ask_alone((hash, key), want);
        loop {
            let mut wait = match step {
                Step::Done(result) => return result,
                Step::Wait(wait) => wait,
            };
            let waited = block_on(|context| wait.poll(context), &patience);
            step = shared.resume((hash, key), waited.ok_or(LoadError::TimedOut)?);
        }
    }

    async fn wait_for_async<Q>(&self, key: &Q, want: Want) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let shared = &self.shared;
        let hash = shared.cache.inner.hash(key);
        let mut step = shared.ask_alone((hash, key), want);
        loop {
            let mut wait = match step {
                Step::Done(result) => return result,
                Step::Wait(wait) => wait,
            };
            let waited = poll_fn(|context| wait.poll(context)).await;
            step = shared.resume((hash, key), waited);
        }
    }
}

impl<K, V, L, P, S> Shared<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// [`ask`](Self::ask) for one key.
    fn ask_alone<Q>(self: &Arc<Self>, place: (u64, &Q), want: Want) -> Step<K, V, L::Error>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        self.ask(place, want, &mut |lead, key| self.start_load(lead, key, true))
    }

    /// Answers from what is kept, or starts a load, or joins one.
    pub(super) fn ask<Q>(
        &self,
        (hash, key): (u64, &Q),
        want: Want,
        start: Start<'_, K, V, L::Error>,
    ) -> Step<K, V, L::Error>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        let kept = match want {
            Want::Value => self.cache.inner.get(hash, key),
            Want::Again => self.cache.inner.peek(hash, key),
            Want::Reload => None,
        };
        if let Some(kept) = kept {
            match self.judge(&kept) {
                Verdict::Serve => return Step::Done(kept.into_result()),
                Verdict::ServeAndReload => return self.serve_and_reload((hash, key), kept, start),
                Verdict::Reload => {}
            }
        }
        match self.join((hash, key), Asker::Load) {
            Joined::Reentrant => Step::Done(Err(LoadError::Reentrant)),
            Joined::Wait(wait) => {
                self.cache.inner.context.count(Event::Coalesced);
                Step::Wait(wait)
            }
            Joined::Lead(lead) if want == Want::Reload => Step::Wait(start(lead, key.to_owned())),
            Joined::Lead(lead) => self.lead((hash, key), lead, start),
        }
    }

    /// What comes after waiting.
    pub(super) fn resume<Q>(
        self: &Arc<Self>,
        (hash, key): (u64, &Q),
        waited: Waited<Hangar<K, V, L::Error>>,
    ) -> Step<K, V, L::Error>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        match waited {
            Waited::Landed(landing) => match hear(&landing) {
                Some(result) => Step::Done(result),
                None => self.ask_alone((hash, key), Want::Again),
            },
            Waited::Retry => self.ask_alone((hash, key), Want::Again),
            // Whoever led gave up. If that was a spawner, it may do so again.
            Waited::Lead(lead) => {
                self.lead((hash, key), lead, &mut |lead, key| self.start_load(lead, key, false))
            }
        }
    }

    /// As the leader: looks once more, as who led before may have stored something, and loads.
    fn lead<Q>(
        &self,
        (hash, key): (u64, &Q),
        lead: Lead<Hangar<K, V, L::Error>>,
        start: Start<'_, K, V, L::Error>,
    ) -> Step<K, V, L::Error>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        match self.cache.inner.peek(hash, key) {
            Some(kept) if self.judge(&kept) == Verdict::Serve => {
                // Not shared: see `Inner::present_or_start`.
                lead.land(|_| false, || Outcome::Unshared);
                Step::Done(kept.into_result())
            }
            _ => Step::Wait(start(lead, key.to_owned())),
        }
    }

    /// Serves what is kept and has it loaded anew; without a spawner this caller must.
    fn serve_and_reload<Q>(
        &self,
        (hash, key): (u64, &Q),
        kept: Kept<V, L::Error>,
        start: Start<'_, K, V, L::Error>,
    ) -> Step<K, V, L::Error>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        if self.cache.inner.flights.is_led(hash) {
            return Step::Done(kept.into_result());
        }
        let Joined::Lead(lead) = self.join((hash, key), Asker::Wanderer) else {
            return Step::Done(kept.into_result());
        };
        let now = self.cache.inner.peek(hash, key);
        if !now.is_some_and(|now| now.is_as_old_as(&kept)) {
            // Loaded meanwhile, or gone.
            return Step::Done(kept.into_result());
        }
        let wait = start(lead, key.to_owned());
        if self.spawner.is_some() { Step::Done(kept.into_result()) } else { Step::Wait(wait) }
    }

    fn join<Q>(&self, (hash, key): (u64, &Q), asker: Asker) -> Joined<Hangar<K, V, L::Error>>
    where
        Q: Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        deny_reentry();
        let flights = Arc::clone(&self.cache.inner.flights);
        Flights::join(flights, hash, asker, || key.to_owned(), |other| key.equivalent(other))
    }

    /// Starts a load, and waits for it as anybody does.
    fn start_load(
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
        self.cache.inner.context.count(Event::Load);
        let running = || vec![Running::enter(lead.mark())];
        let loaded = self.attempt(running, async { self.loader.load(&key).await }).await;
        let loaded = match loaded {
            Ok(loaded) => loaded.map_err(|error| LoadError::Failed(Arc::new(error))),
            Err(error) => Err(error),
        };
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

    /// Keeps what a load came to, and tells those who wait.
    pub(super) fn settle(
        &self,
        lead: Lead<Hangar<K, V, L::Error>>,
        started: Started,
        key: &K,
        loaded: Result<Loaded<V>, LoadError<L::Error>>,
    ) {
        let inner = &self.cache.inner;
        let took = inner.took(started);
        if !matches!(loaded, Err(LoadError::Overloaded)) {
            let is_success = matches!(loaded, Ok(Loaded { value: Some(_), .. }));
            inner.count_load(took, is_success);
        }
        let result = match loaded {
            Ok(Loaded { value: Some(value), time_to_live }) => {
                let (kept, own) = self.fresh(key, value, time_to_live, took);
                inner.store(&lead, started, (key.clone(), kept.clone()), own);
                Ok(kept)
            }
            Ok(Loaded { value: None, time_to_live }) => {
                self.forget(&lead, started, key, time_to_live);
                Err(LoadError::NotFound)
            }
            Err(error) => self.fall_back(&lead, started, key, error),
        };
        let outcome = match result {
            Ok(kept) => Outcome::Value(kept),
            Err(LoadError::Failed(error)) => Outcome::Failed(error),
            Err(LoadError::NotFound) => Outcome::NotFound,
            Err(LoadError::TimedOut) => Outcome::TimedOut,
            Err(LoadError::Overloaded) => Outcome::Overloaded,
            Err(LoadError::Panicked | LoadError::Reentrant) => Outcome::Panicked,
        };
        lead.land(|other| other == key, || outcome);
    }

    /// A value that was loaded or written now, and how long its entry lives.
    pub(super) fn fresh(
        &self,
        key: &K,
        value: V,
        time_to_live: Option<Duration>,
        cost: u64,
    ) -> Keeping<V, L::Error> {
        let Options { time_to_live: for_all, refresh_after, grace, .. } = self.options;
        let own = self.expiry.as_ref().and_then(|expiry| self.ask_expiry(&**expiry, key, &value));
        let lives = [for_all, own.map(nanos), time_to_live.map(nanos)].into_iter().flatten().min();
        let now = self.now();
        let fresh_until = lives.map_or(NEVER, |lives| now.saturating_add(lives));
        let refresh_at = refresh_after.map_or(NEVER, |after| now.saturating_add(after));
        let kept = Kept {
            what: What::Value(value),
            reload_at: refresh_at.min(fresh_until),
            fresh_until,
            cost,
            failures: 0,
        };
        (kept, self.life(lives.map(|lives| lives.saturating_add(grace.longest()))))
    }

    fn ask_expiry(&self, expiry: &dyn crate::Expiry<K, V>, key: &K, value: &V) -> Option<Duration> {
        match self.cache.peek(key).filter(|kept| kept.value().is_some()) {
            None => expiry.after_create(key, value),
            Some(kept) => {
                let left = kept.fresh_until.saturating_sub(self.now());
                let is_mortal = kept.fresh_until != NEVER;
                let left = is_mortal.then(|| Duration::from_nanos(left));
                expiry.after_update(key, value, left)
            }
        }
    }

    /// How long an entry lives that is given so many nanoseconds, `None` for ever.
    fn life(&self, lives: Option<u64>) -> Own {
        let Some(lives) = lives else { return Own::Rules };
        self.cache.inner.context.make_timed();
        Own::Ttl(Duration::from_nanos(lives))
    }

    /// Nothing was found: remembers that, or at least forgets the value there was.
    fn forget(
        &self,
        lead: &Lead<Hangar<K, V, L::Error>>,
        started: Started,
        key: &K,
        time_to_live: Option<Duration>,
    ) {
        let lives = time_to_live.or(self.options.negative_ttl);
        if lives.is_none() && self.cache.inner.peek(lead.hash(), key).is_none() {
            return;
        }
        let lives = nanos(lives.unwrap_or(Duration::ZERO));
        let until = self.now().saturating_add(lives);
        let kept = Kept {
            what: What::NotFound,
            reload_at: until,
            fresh_until: until,
            cost: 0,
            failures: 0,
        };
        self.cache.inner.store(lead, started, (key.clone(), kept), self.life(Some(lives)));
    }

    /// A load failed: what is kept now, if it is a value that is still of use; or else remembers the
    /// error, if errors are remembered.
    fn fall_back(
        &self,
        lead: &Lead<Hangar<K, V, L::Error>>,
        started: Started,
        key: &K,
        error: LoadError<L::Error>,
    ) -> Result<Kept<V, L::Error>, LoadError<L::Error>> {
        let Options { grace, backoff, .. } = self.options;
        let now = self.now();
        let resident = self.cache.inner.peek(lead.hash(), key);
        let failures = resident.as_ref().map_or(0, |kept| kept.failures).saturating_add(1);
        let delay = jittered(self.options.delay(failures));
        if let Some(mut kept) = resident.filter(|kept| {
            kept.value().is_some() && now < kept.fresh_until.saturating_add(grace.error)
        }) {
            kept.failures = failures;
            kept.reload_at = now.saturating_add(delay);
            let ends = kept.fresh_until.saturating_add(grace.longest());
            let lives = (ends != NEVER).then(|| ends.saturating_sub(now));
            let entry = (key.clone(), kept.clone());
            self.cache.inner.store_again(lead, started, entry, self.life(lives));
            return Ok(kept);
        }
        if backoff.is_some() && !matches!(error, LoadError::Overloaded) {
            let kept = Kept {
                what: What::Failed(error.clone()),
                reload_at: now.saturating_add(delay),
                fresh_until: now.saturating_add(delay),
                cost: 0,
                failures,
            };
            // Longer than the error is served, so that the next failure knows of it.
            let life = self.life(Some(delay.saturating_mul(2)));
            self.cache.inner.store(lead, started, (key.clone(), kept), life);
        }
        Err(error)
    }

    /// What to do with what is kept.
    fn judge(&self, kept: &Kept<V, L::Error>) -> Verdict {
        if kept.reload_at == NEVER {
            return Verdict::Serve;
        }
        kept.judge(self.now(), self.early(kept), self.options.grace)
    }

    /// By how much earlier than it must a value should be loaded anew, this time.
    fn early(&self, kept: &Kept<V, L::Error>) -> u64 {
        if self.options.early == 0.0 || kept.cost == 0 {
            return 0;
        }
        (kept.cost as f64 * self.options.early * -uniform().ln()) as u64
    }

    /// The time in nanoseconds.
    pub(super) fn now(&self) -> u64 {
        self.cache.inner.context.clock.now()
    }
}

/// A delay less up to a quarter of it.
fn jittered(delay: u64) -> u64 {
    delay - (delay as f64 * 0.25 * uniform()) as u64
}

/// A random number above 0 and at most 1.
fn uniform() -> f64 {
    // Every state of the standard library's hasher has keys of its own.
    let bits = RandomState::new().hash_one(()) >> 11;
    (bits + 1) as f64 / (1_u64 << 53) as f64
}

/// What an outcome is to a caller of this loader; `None` if it says nothing.
fn hear<K, V, E>(landing: &Landing<K, Kept<V, E>>) -> Option<Result<V, LoadError<E>>>
where
    V: Clone,
    E: Send + Sync + 'static,
{
    Some(match landing.outcome()? {
        Outcome::Value(kept) => kept.clone().into_result(),
        Outcome::Failed(error) => Err(LoadError::Failed(Arc::clone(error).downcast::<E>().ok()?)),
        Outcome::NotFound => Err(LoadError::NotFound),
        Outcome::Panicked => Err(LoadError::Panicked),
        Outcome::TimedOut => Err(LoadError::TimedOut),
        Outcome::Overloaded => Err(LoadError::Overloaded),
        Outcome::Unshared => return None,
    })
}
