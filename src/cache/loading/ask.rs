//! Asking for a key: from what is kept, or by waiting for a load.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hash},
    mem,
    task::{Context, Poll},
    time::Duration,
};

use hashbrown::Equivalent;

use super::{
    LoadingCache, Shared,
    kept::{Kept, Verdict},
    loader::Loader,
};
use crate::{
    LoadError, ToKey,
    flight::{Asker, Flights, Joined, Landing, Lead, Outcome, Wait, Waited, block_on},
    policy::Policy,
    stats::Event,
    sync::Arc,
    table::{deny_reentry, enter_user_code},
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

/// The right to load a key, for as long as the cache is borrowed.
pub(super) type Leader<'a, K, V, E> = Lead<&'a Flights<K, Kept<V, E>>>;

/// Starts a load, now or a little later. It may replace the entry of that version.
type Start<'s, 'a, K, V, E> =
    &'s mut dyn FnMut(Leader<'a, K, V, E>, K, Option<u64>) -> Step<K, V, E>;

/// Why somebody asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// To have it loaded anew, whatever there is.
    is_reload: bool,
    /// Once more, after waiting for a load that left nothing: not counted as a use.
    is_again: bool,
    /// As one who waits for another's load.
    is_counted: bool,
}

impl Want {
    pub(super) const VALUE: Self = Self { is_reload: false, is_again: false, is_counted: false };
    const RELOAD: Self = Self { is_reload: true, ..Self::VALUE };

    /// What is wanted after that was waited for in vain.
    pub(super) fn after<K, V, E>(self, wait: &Wait<Hangar<K, V, E>>) -> Self {
        let is_counted = self.is_counted || wait.is_sharing();
        Self { is_again: true, is_counted, ..self }
    }
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
    /// This thread drives the load while it waits, or, if there is a
    /// [`spawner`](crate::LoadingBuilder::spawner), only waits. So do not call this on a thread that a
    /// runtime needs for the load to go on (in tokio: in a task, unless by `spawn_blocking`): it would
    /// wait for ever. There is [`get_async`](Self::get_async) for that. The same holds for everything
    /// here that blocks.
    ///
    /// # Errors
    /// What the load came to, if not to a value. See [`LoadError`].
    pub fn get<Q>(&self, key: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: ToKey<K> + ?Sized,
    {
        self.wait_for(key, Want::VALUE, || None)
    }

    /// [`get`](Self::get) that waits no longer than `patience`: a value that was to be loaded anew, but is
    /// still of use, is returned then. The load goes on if others wait for it. (One that blocks, and is run
    /// by this thread, ends when it ends.)
    ///
    /// # Errors
    /// The same, and [`LoadError::TimedOut`].
    pub fn get_within<Q>(&self, key: &Q, patience: Duration) -> Result<V, LoadError<L::Error>>
    where
        Q: ToKey<K> + ?Sized,
    {
        let clock = &self.shared.cache.inner.context.clock;
        let deadline = clock.now().saturating_add(nanos(patience));
        self.wait_for(key, Want::VALUE, || Some(clock.sleep_until(deadline)))
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
        Q: ToKey<K> + ?Sized,
    {
        self.wait_for_async(key, Want::VALUE).await
    }

    /// Loads the value of `key` anew, or waits for who does, and returns it. The old value is served
    /// to others meanwhile. If the key is written or removed during the load, that wins.
    ///
    /// # Errors
    /// What the load came to. If the old value is still of use, that is returned instead.
    pub fn refresh<Q>(&self, key: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: ToKey<K> + ?Sized,
    {
        self.wait_for(key, Want::RELOAD, || None)
    }

    /// [`refresh`](Self::refresh) for async code.
    ///
    /// # Errors
    /// The same.
    pub async fn refresh_async<Q>(&self, key: &Q) -> Result<V, LoadError<L::Error>>
    where
        Q: ToKey<K> + ?Sized,
    {
        self.wait_for_async(key, Want::RELOAD).await
    }

    fn wait_for<Q>(
        &self,
        key: &Q,
        mut want: Want,
        patience: impl Fn() -> Option<Duration>,
    ) -> Result<V, LoadError<L::Error>>
    where
        Q: ToKey<K> + ?Sized,
    {
        let shared = &self.shared;
        let place = (shared.cache.inner.hash(key), key);
        let kept = match shared.look(place, want) {
            Some(Ok(value)) => return Ok(value),
            kept => kept.and_then(Result::err),
        };
        let mut step = shared.answer_alone(place, want, kept);
        if let Step::Done(result) = step {
            return result;
        }
        let result =
            block_on(|context| shared.poll(place, &mut want, &mut step, context), patience);
        result.unwrap_or_else(|| self.shared.kept_after_all(place, LoadError::TimedOut))
    }

    async fn wait_for_async<Q>(&self, key: &Q, mut want: Want) -> Result<V, LoadError<L::Error>>
    where
        Q: ToKey<K> + ?Sized,
    {
        let shared = &self.shared;
        let place = (shared.cache.inner.hash(key), key);
        let kept = match shared.look(place, want) {
            Some(Ok(value)) => return Ok(value),
            kept => kept.and_then(Result::err),
        };
        let mut step = shared.answer_alone(place, want, kept);
        poll_fn(|context| shared.poll(place, &mut want, &mut step, context)).await
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
    /// For who does not wait: the value that a reload was to replace, if that is of use.
    #[cold]
    fn kept_after_all<Q>(
        &self,
        (hash, key): (u64, &Q),
        error: LoadError<L::Error>,
    ) -> Result<V, LoadError<L::Error>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let kept = self.cache.inner.peek(hash, key).filter(|kept| self.is_of_use(kept));
        kept.and_then(Kept::into_value).ok_or(error)
    }

    /// What is kept of a key: just the value, where that is surely good for some time.
    #[inline]
    fn look<Q>(&self, (hash, key): (u64, &Q), want: Want) -> Option<Result<V, Kept<V, L::Error>>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let inner = &*self.cache.inner;
        match want {
            Want { is_reload: true, .. } => None,
            Want { is_again: true, .. } => inner.peek(hash, key).map(Err),
            _ => {
                // Before the lock is taken: the clock may be the user's.
                let latest = self.latest();
                let good = inner.use_value(hash, key, |kept| {
                    let _running = enter_user_code::<K, V>();
                    self.surely_good(kept, latest).cloned()
                });
                match good? {
                    Some(value) => Some(Ok(value)),
                    None => inner.peek(hash, key).map(Err),
                }
            }
        }
    }

    /// Asks once more for one key.
    fn ask_alone<Q>(self: &Arc<Self>, place: (u64, &Q), want: Want) -> Step<K, V, L::Error>
    where
        Q: ToKey<K> + ?Sized,
    {
        match self.look(place, want) {
            Some(Ok(value)) => Step::Done(Ok(value)),
            kept => self.answer_alone(place, want, kept.and_then(Result::err)),
        }
    }

    /// [`answer`](Self::answer) for one key.
    fn answer_alone<Q>(
        self: &Arc<Self>,
        place: (u64, &Q),
        want: Want,
        kept: Option<Kept<V, L::Error>>,
    ) -> Step<K, V, L::Error>
    where
        Q: ToKey<K> + ?Sized,
    {
        let own_key = || place.1.to_key();
        self.answer(place, want, kept, &mut |lead, key, over| {
            self.start_load(lead, (key, own_key), over, true)
        })
    }

    /// Answers from what is kept, or starts a load, or joins one.
    pub(super) fn ask<'a, Q>(
        &'a self,
        place: (u64, &Q),
        start: Start<'_, 'a, K, V, L::Error>,
    ) -> Step<K, V, L::Error>
    where
        Q: ToKey<K> + ?Sized,
    {
        match self.look(place, Want::VALUE) {
            Some(Ok(value)) => Step::Done(Ok(value)),
            kept => self.answer(place, Want::VALUE, kept.and_then(Result::err), start),
        }
    }

    /// Answers from this that is kept, or starts a load, or joins one.
    #[inline(never)]
    fn answer<'a, Q>(
        &'a self,
        (hash, key): (u64, &Q),
        want: Want,
        kept: Option<Kept<V, L::Error>>,
        start: Start<'_, 'a, K, V, L::Error>,
    ) -> Step<K, V, L::Error>
    where
        Q: ToKey<K> + ?Sized,
    {
        if let Some(kept) = kept {
            match self.judge(&kept) {
                Verdict::Serve => return Step::Done(kept.into_result()),
                Verdict::ServeAndReload => return self.serve_and_reload((hash, key), kept, start),
                Verdict::Reload => {}
            }
        }
        deny_reentry();
        if let Some(lead) = Flights::lead(&*self.cache.inner.flights, hash) {
            return self.lead(key, want, lead, start);
        }
        match self.join((hash, key), Asker::Load) {
            Joined::Reentrant => Step::Done(self.kept_after_all((hash, key), LoadError::Reentrant)),
            Joined::Wait(wait) => {
                if !want.is_counted && wait.is_sharing() {
                    self.cache.inner.context.count(Event::Coalesced);
                }
                self.hurry(&wait);
                Step::Wait(wait)
            }
            Joined::Lead(lead) => self.lead(key, want, self.own(lead), start),
        }
    }

    /// Waits on, for blocking and for async callers alike.
    fn poll<Q>(
        self: &Arc<Self>,
        place: (u64, &Q),
        want: &mut Want,
        step: &mut Step<K, V, L::Error>,
        context: &mut Context<'_>,
    ) -> Poll<Result<V, LoadError<L::Error>>>
    where
        Q: ToKey<K> + ?Sized,
    {
        loop {
            // What is left in its place is never seen: the caller is done then.
            *step = match mem::replace(step, Step::Done(Err(LoadError::NotFound))) {
                Step::Done(result) => return Poll::Ready(result),
                Step::Wait(mut wait) => match wait.poll(context) {
                    Poll::Ready(waited) => {
                        *want = want.after(&wait);
                        self.resume(place, *want, waited)
                    }
                    Poll::Pending => {
                        *step = Step::Wait(wait);
                        return Poll::Pending;
                    }
                },
            };
        }
    }

    /// What comes after waiting.
    pub(super) fn resume<Q>(
        self: &Arc<Self>,
        (hash, key): (u64, &Q),
        want: Want,
        waited: Waited<Hangar<K, V, L::Error>>,
    ) -> Step<K, V, L::Error>
    where
        Q: ToKey<K> + ?Sized,
    {
        match waited {
            Waited::Landed(landing) => match hear(&landing) {
                Some(result) => Step::Done(result),
                None => self.ask_alone((hash, key), want),
            },
            Waited::Retry => self.ask_alone((hash, key), want),
            Waited::Reentrant => Step::Done(self.kept_after_all((hash, key), LoadError::Reentrant)),
            // Whoever led gave up. If that was a spawner, it may do so again.
            Waited::Lead(lead) => {
                let own_key = || key.to_key();
                let start =
                    &mut |lead, key, over| self.start_load(lead, (key, own_key), over, false);
                self.lead(key, want, self.own(lead), start)
            }
        }
    }

    /// As the leader: looks once more, as who led before may have stored something, and loads; at
    /// once if that is what is wanted.
    fn lead<'a, Q>(
        &'a self,
        key: &Q,
        want: Want,
        lead: Leader<'a, K, V, L::Error>,
        start: Start<'_, 'a, K, V, L::Error>,
    ) -> Step<K, V, L::Error>
    where
        Q: ToKey<K> + ?Sized,
    {
        let inner = &*self.cache.inner;
        if inner.is_surely_absent(lead.hash()) {
            return start(lead, key.to_key(), None);
        }
        let kept = if want.is_reload { None } else { inner.peek_alone(lead.hash(), key) };
        match kept {
            Some(kept) if self.judge(&kept) == Verdict::Serve => {
                lead.leave_to_see();
                Step::Done(kept.into_result())
            }
            _ => {
                let over = inner.version(lead.hash(), key);
                start(lead, key.to_key(), over)
            }
        }
    }

    /// A lead by way of what is borrowed anyway.
    fn own(&self, lead: Lead<Hangar<K, V, L::Error>>) -> Leader<'_, K, V, L::Error> {
        lead.held_by(&*self.cache.inner.flights)
    }

    /// Serves what is kept and has it loaded anew; without a spawner this caller must.
    fn serve_and_reload<'a, Q>(
        &'a self,
        (hash, key): (u64, &Q),
        kept: Kept<V, L::Error>,
        start: Start<'_, 'a, K, V, L::Error>,
    ) -> Step<K, V, L::Error>
    where
        Q: ToKey<K> + ?Sized,
    {
        if self.cache.inner.flights.is_led(hash) {
            return Step::Done(kept.into_result());
        }
        let Joined::Lead(lead) = self.join((hash, key), Asker::Wanderer) else {
            return Step::Done(kept.into_result());
        };
        let now = self.cache.inner.peek_alone(hash, key);
        if !now.is_some_and(|now| now.is_as_old_as(&kept)) {
            // Loaded meanwhile, or gone.
            return Step::Done(kept.into_result());
        }
        let over = self.cache.inner.version(hash, key);
        let step = start(self.own(lead), key.to_key(), over);
        if self.spawner.is_some() { Step::Done(kept.into_result()) } else { step }
    }

    fn join<Q>(&self, (hash, key): (u64, &Q), asker: Asker) -> Joined<Hangar<K, V, L::Error>>
    where
        Q: ToKey<K> + ?Sized,
    {
        deny_reentry();
        let flights = Arc::clone(&self.cache.inner.flights);
        Flights::join(flights, hash, asker, || key.to_key(), |other| key.equivalent(other))
    }
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
