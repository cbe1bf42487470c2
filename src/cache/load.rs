//! Read-through with the caller's own closure or future.
//!
//! Blocking and async calls take the same steps: look up, join the key's flight, look up again as
//! its leader, compute, store, land. Only computing and waiting differ.

use std::{
    convert::Infallible,
    hash::{BuildHasher, Hash},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use hashbrown::Equivalent;

use super::{
    Cache, Departures, Inner,
    load_future::{Certain, Load, Sure},
    same,
    write::Own,
};
use crate::{
    LoadError, ToKey,
    flight::{Asker, Flights, Hangar, Joined, Landing, Lead, Outcome, Waited, block_on},
    outbox::forget_panic,
    policy::Policy,
    stats::Event,
    stripe::{Admission, Condition, Over, When, Write},
    sync::Arc,
    table::deny_reentry,
    time::nanos,
};

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// The value of `key`; if there is none, what `load` makes, which is stored.
    ///
    /// Of all that ask for a key at the same time, here, with [a future](Self::get_or_insert_async),
    /// through [`entry`](Self::entry) or a [`LoadingCache`](crate::LoadingCache), one computes; the
    /// others wait for it and share its value. `load` runs under no lock and may take its time: it
    /// keeps nobody waiting but those who ask for this key. It may use the cache, other keys' loads
    /// included. Should it panic, one of those who wait runs its own.
    ///
    /// If the key is written or removed while `load` runs, or the cache cleared, what it returns goes
    /// to those who asked before, and is not stored. Who asks after that waits until `load` has
    /// returned, and then loads afresh.
    ///
    /// The key is made owned ([`ToKey`]) only on a miss. A hit costs what [`get`](Self::get) does.
    ///
    /// # Panics
    /// If `load` panics, or would wait for itself ([`LoadError::Reentrant`]).
    ///
    /// ```
    /// # fn query(name: &str) -> usize { name.len() }
    /// # let cache = larder::Cache::<String, usize>::new(10);
    /// assert_eq!(cache.get_or_insert_with("ada", || query("ada")), 3);
    /// assert_eq!(cache.get_or_insert_with("ada", || unreachable!()), 3);
    /// ```
    #[inline]
    pub fn get_or_insert_with<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> V
    where
        Q: ToKey<K> + ?Sized,
    {
        let hash = self.inner.hash(key);
        if let Some(value) = self.inner.get(hash, key) {
            return value;
        }
        let load = || Ok::<V, Infallible>(load());
        certain(self.inner.load((hash, key), load, || None))
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) with a `load` that can fail.
    ///
    /// An error is not stored. Those who wait for the same load and expect the same type of error
    /// share it; those who expect another type run their own `load`.
    ///
    /// # Errors
    /// [`LoadError::Failed`] if the load failed; [`LoadError::Reentrant`] for whoever asks where
    /// waiting would never end.
    ///
    /// ```
    /// # let cache = larder::Cache::<String, u32>::new(10);
    /// let parsed = cache.try_get_or_insert_with("36", || "36".parse());
    /// assert_eq!(parsed.ok(), Some(36));
    /// let wrong = cache.try_get_or_insert_with("x", || "x".parse());
    /// assert_eq!(wrong.unwrap_err().to_string(), "the load failed: invalid digit found in string");
    /// ```
    #[inline]
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.inner.hash(key);
        match self.inner.get(hash, key) {
            Some(value) => Ok(value),
            None => self.inner.load((hash, key), load, || None),
        }
    }

    /// [`try_get_or_insert_with`](Self::try_get_or_insert_with) that waits for another's load no
    /// longer than `patience` (of the cache's clock). That load goes on; the own one is never
    /// interrupted.
    ///
    /// # Errors
    /// The same, and [`LoadError::TimedOut`].
    pub fn try_get_or_insert_within<Q, E>(
        &self,
        key: &Q,
        patience: Duration,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.inner.hash(key);
        if let Some(value) = self.inner.get(hash, key) {
            return Ok(value);
        }
        let clock = &self.inner.context.clock;
        let deadline = clock.now().saturating_add(nanos(patience));
        self.inner.load((hash, key), load, || Some(clock.sleep_until(deadline)))
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) with a future.
    ///
    /// Nothing happens before the returned future is polled, and `load` is polled only on a miss,
    /// by the task that awaits this. Dropping the returned future while it waits harms nobody;
    /// dropping it while it leads makes one of those who wait run its own. But as `load` may borrow,
    /// nobody else can drive it: a task that leads and is not polled keeps the others waiting until
    /// it is dropped. Where that can happen use
    /// [`get_or_insert_shared`](Self::get_or_insert_shared) or a
    /// [`LoadingCache`](crate::LoadingCache), whose loads are driven by any who wait.
    ///
    /// Works in every runtime and needs none. A hit allocates nothing.
    ///
    /// # Panics
    /// As there.
    ///
    /// ```
    /// # async fn query(name: &str) -> usize { name.len() }
    /// # async fn example() {
    /// # let cache = larder::Cache::<String, usize>::new(10);
    /// assert_eq!(cache.get_or_insert_async("ada", query("ada")).await, 3);
    /// # }
    /// ```
    pub fn get_or_insert_async<'a, Q, F>(
        &'a self,
        key: &'a Q,
        load: F,
    ) -> impl Future<Output = V> + use<'a, K, V, P, S, Q, F>
    where
        Q: ToKey<K> + ?Sized,
        F: Future<Output = V>,
    {
        Certain { load: Load::new(&self.inner, key, Sure { load }) }
    }

    /// [`try_get_or_insert_with`](Self::try_get_or_insert_with) with a future: see
    /// [`get_or_insert_async`](Self::get_or_insert_async).
    ///
    /// # Errors
    /// As in the blocking call.
    ///
    /// ```
    /// # #[derive(Debug)] struct Oops;
    /// # async fn query(name: &str) -> Result<usize, Oops> { Ok(name.len()) }
    /// # async fn example() -> Result<(), larder::LoadError<Oops>> {
    /// # let cache = larder::Cache::<String, usize>::new(10);
    /// assert_eq!(cache.try_get_or_insert_async("ada", query("ada")).await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_get_or_insert_async<'a, Q, F, E>(
        &'a self,
        key: &'a Q,
        load: F,
    ) -> impl Future<Output = Result<V, LoadError<E>>> + use<'a, K, V, P, S, Q, F, E>
    where
        Q: ToKey<K> + ?Sized,
        F: Future<Output = Result<V, E>>,
        E: Send + Sync + 'static,
    {
        Load::new(&self.inner, key, load)
    }
}

/// A load that cannot fail gives a value, unless it waits for itself.
pub(super) fn certain<V>(loaded: Result<V, LoadError<Infallible>>) -> V {
    match loaded {
        Ok(value) => value,
        Err(LoadError::Failed(never)) => match *never {},
        Err(error) => panic!("{error}"),
    }
}

/// What waiting for another's load comes to.
pub(super) enum Heard<R: Hangar, E> {
    Loaded(Result<R::V, LoadError<E>>),
    /// There is nothing that can be used here.
    Nothing,
    Lead(Lead<R>),
}

/// What waiting for a key came to.
pub(super) enum Upshot<R: Hangar, E> {
    Over(Result<R::V, LoadError<E>>),
    Lead(Lead<R>),
}

/// Takes from an outcome what a caller that expects errors of type `E` can use.
pub(super) fn hear<R, E>(waited: Waited<R>) -> Heard<R, E>
where
    R: Hangar,
    R::V: Clone,
    E: Send + Sync + 'static,
{
    match waited {
        Waited::Lead(lead) => Heard::Lead(lead),
        Waited::Retry => Heard::Nothing,
        Waited::Reentrant => Heard::Loaded(Err(LoadError::Reentrant)),
        Waited::Landed(landing) => take_from(&landing).map_or(Heard::Nothing, Heard::Loaded),
    }
}

fn take_from<K, V, E>(landing: &Landing<K, V>) -> Option<Result<V, LoadError<E>>>
where
    V: Clone,
    E: Send + Sync + 'static,
{
    match landing.outcome()? {
        Outcome::Value(value) => Some(Ok(value.clone())),
        Outcome::Failed(error) => {
            Some(Err(LoadError::Failed(Arc::clone(error).downcast::<E>().ok()?)))
        }
        // These are for those who asked the same loader.
        _ => None,
    }
}

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// Joins the flight of a key that cannot be led at once. A caller who shares another's load is
    /// counted, once.
    pub(super) fn join<R, Q>(
        &self,
        hangar: R,
        (hash, key): (u64, &Q),
        is_counted: bool,
    ) -> Joined<R>
    where
        R: Hangar<K = K, V = V>,
        Q: ToKey<K> + ?Sized,
    {
        let equals = |other: &K| key.equivalent(other);
        let joined = Flights::join(hangar, hash, Asker::Load, || key.to_key(), equals);
        if let Joined::Wait(wait) = &joined
            && !is_counted
            && wait.is_sharing()
        {
            self.context.count(Event::Coalesced);
        }
        joined
    }

    /// Loads a key that was not found, or waits for who does.
    #[inline(never)]
    fn load<Q, E>(
        &self,
        (hash, key): (u64, &Q),
        load: impl FnOnce() -> Result<V, E>,
        patience: impl Fn() -> Option<Duration>,
    ) -> Result<V, LoadError<E>>
    where
        Q: ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        deny_reentry();
        let mut lead = match Flights::lead(&*self.flights, hash) {
            Some(lead) => lead,
            None => match self.wait_for_load((hash, key), &patience) {
                Upshot::Over(loaded) => return loaded,
                Upshot::Lead(lead) => lead,
            },
        };
        if let Some(value) = self.present(&lead, key) {
            lead.leave_to_see();
            return Ok(value);
        }
        self.begin(&mut lead);
        let started = self.start(false);
        let loaded = {
            let _running = lead.run();
            self.run_load(started, load)
        };
        self.finish(lead, started, key, loaded.map_err(Arc::new))
    }

    /// Waits for another's load, or until there is none.
    #[cold]
    #[inline(never)]
    fn wait_for_load<Q, E>(
        &self,
        place: (u64, &Q),
        patience: &dyn Fn() -> Option<Duration>,
    ) -> Upshot<&Flights<K, V>, E>
    where
        Q: ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let mut is_counted = false;
        loop {
            let mut wait = match self.join(&*self.flights, place, is_counted) {
                Joined::Reentrant => return Upshot::Over(Err(LoadError::Reentrant)),
                Joined::Lead(lead) => return Upshot::Lead(lead),
                Joined::Wait(wait) => wait,
            };
            is_counted |= wait.is_sharing();
            let Some(waited) = block_on(|context| wait.poll(context), patience) else {
                return Upshot::Over(Err(LoadError::TimedOut));
            };
            match hear(waited) {
                Heard::Loaded(loaded) => return Upshot::Over(loaded),
                Heard::Lead(lead) => return Upshot::Lead(lead),
                Heard::Nothing => {}
            }
        }
    }

    /// The value of a key, as a new leader looks once more: who led before may have stored it. If it
    /// is there, [leave those who wait to see](Lead::leave_to_see) for themselves.
    #[inline]
    pub(super) fn present<R, Q>(&self, lead: &Lead<R>, key: &Q) -> Option<V>
    where
        R: Hangar<K = K, V = V>,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = lead.hash();
        if self.is_surely_absent(hash) { None } else { self.peek_alone(hash, key) }
    }

    /// Begins a load of the caller's, and counts it.
    #[inline]
    pub(super) fn begin<R>(&self, lead: &mut Lead<R>)
    where
        R: Hangar<K = K, V = V>,
    {
        self.context.count(Event::Load);
        lead.begin(&self.context.name);
    }

    /// What has to be known of the moment a load starts.
    #[inline]
    pub(super) fn start(&self, is_timed: bool) -> Started {
        let born = self.context.tagger.as_ref().map_or(0, |tagger| tagger.registry.removals());
        let is_timed = is_timed || self.context.counters.is_some();
        Started { born, at: if is_timed { self.context.clock.now() } else { 0 }, over: None }
    }

    /// Whether some tag was removed since a load started.
    pub(super) fn has_lost_tags(&self, started: Started) -> bool {
        let tagger = self.context.tagger.as_ref();
        tagger.is_some_and(|tagger| tagger.registry.removals() != started.born)
    }

    /// Weighs, tags and dates a value that may have been made from that moment on.
    pub(super) fn prepare_dated(
        &self,
        hash: u64,
        started: Started,
        (key, value): (K, V),
    ) -> Write<K, V> {
        let when = self.when(hash, &key, &value, Own::Rules);
        self.weigh((hash, Some(started.born)), (key, value), when)
    }

    /// How long a load took that is timed, in nanoseconds.
    pub(super) fn took(&self, started: Started) -> u64 {
        self.context.clock.now().saturating_sub(started.at)
    }

    /// Stores what was loaded, unless it was overtaken, and tells those who wait.
    pub(super) fn finish<R, Q, E>(
        &self,
        lead: Lead<R>,
        started: Started,
        key: &Q,
        loaded: Result<V, Arc<E>>,
    ) -> Result<V, LoadError<E>>
    where
        R: Hangar<K = K, V = V>,
        Q: ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        if self.context.counters.is_some() {
            self.count_load(self.took(started), loaded.is_ok());
        }
        lead.note(if loaded.is_ok() { "value" } else { "failed" });
        let is_same = |other: &K| key.equivalent(other);
        let Ok(value) = &loaded else {
            lead.land(is_same, || Outcome::of(&loaded));
            return loaded.map_err(LoadError::Failed);
        };
        let entry = (key.to_key(), value.clone());
        match self.store_lightly(&lead, entry, Own::Rules) {
            Ok((admission, left, now)) => {
                // In this order: what left is dropped once the key is free.
                lead.land(is_same, || Outcome::of(&loaded));
                self.part(admission, left);
                self.tidy(now);
            }
            Err((entry, when)) => {
                let mut leaving = self.departures();
                // In this order: even after a panic the key is free before anything is sent out.
                let lead = lead;
                self.store_weighed(&lead, started, entry, when, &mut leaving);
                lead.land(is_same, || Outcome::of(&loaded));
                drop(leaving);
            }
        }
        loaded.map_err(LoadError::Failed)
    }

    /// Runs the code of a load, or some of it: should it panic, the load is over and has failed.
    #[inline]
    pub(super) fn run_load<T>(&self, started: Started, code: impl FnOnce() -> T) -> T {
        let failing = OnPanic(|| {
            if self.context.counters.is_some() {
                // The clock may panic too.
                let count = || self.count_load(self.took(started), false);
                forget_panic(catch_unwind(AssertUnwindSafe(count)));
            }
        });
        let done = code();
        mem::forget(failing);
        done
    }

    /// Counts a load that took so many nanoseconds.
    pub(super) fn count_load(&self, took: u64, is_success: bool) {
        if let Some(counters) = &self.context.counters {
            counters.load(took, is_success);
        }
    }

    /// Stores what a flight's leader has, if it still stands and nobody stored anything since it began
    /// (who writes tells flights *before*, so one that begins between the two does not know). What leaves
    /// is to be sent out once the flight is over.
    pub(super) fn store<R>(
        &self,
        lead: &Lead<R>,
        started: Started,
        entry: (K, V),
        own: Own,
        leaving: &mut Departures<'_, K, V, P, S>,
    ) where
        R: Hangar<K = K, V = V>,
    {
        match self.store_lightly(lead, entry, own) {
            Ok((admission, left, now)) => {
                self.part_into(admission, left, leaving);
                leaving.operated = Some(now);
            }
            Err((entry, when)) => self.store_weighed(lead, started, entry, when, leaving),
        }
    }

    /// [`store`](Self::store) where nothing beside the entry depends on it: answers what came of it, what
    /// had to leave, and when that was. Otherwise gives the entry back, with its time.
    #[inline]
    fn store_lightly<R>(
        &self,
        lead: &Lead<R>,
        (key, value): (K, V),
        own: Own,
    ) -> Result<Light<K, V>, Undecided<K, V>>
    where
        R: Hangar<K = K, V = V>,
    {
        let when = {
            let _running = self.context.rules.expiry.is_some().then(|| lead.run());
            self.when(lead.hash(), &key, &value, own)
        };
        let mut entry = Some((key, value));
        if self.context.is_plain {
            let stands = || lead.stands();
            let stripe = self.stripe(lead.hash());
            let admission = stripe.admit(&self.context, lead.hash(), &mut entry, when, stands);
            if admission != Admission::Undecided {
                self.context.record_write(lead.hash(), 1);
                return Ok((admission, entry, when.now));
            }
        }
        Err((entry.expect("undecided"), when))
    }

    /// [`store`](Self::store) in the general way.
    #[inline(never)]
    fn store_weighed<R>(
        &self,
        lead: &Lead<R>,
        started: Started,
        entry: (K, V),
        when: When,
        leaving: &mut Departures<'_, K, V, P, S>,
    ) where
        R: Hangar<K = K, V = V>,
    {
        let mut write = {
            let _running = lead.run();
            Write { is_led: true, ..self.weigh((lead.hash(), Some(started.born)), entry, when) }
        };
        let stands = || lead.stands();
        let condition = Condition::Leading(&stands, Over::Version(started.over));
        self.write_into(&mut write, Some(condition), leaving);
        if let Some(unwanted) = write.entry {
            leaving.unwanted.push(unwanted);
            self.context.count(Event::Superseded);
        }
    }

    /// Changes what was there when a flight began, if it is there still, and how long it lives; nobody
    /// is told.
    pub(super) fn amend<R>(
        &self,
        lead: &Lead<R>,
        started: Started,
        (key, value): (&K, &V),
        own: Own,
        change: impl FnOnce(&mut V),
    ) where
        R: Hangar<K = K, V = V>,
    {
        let hash = lead.hash();
        let When { now, life } = self.when(hash, key, value, own);
        let stands = || lead.stands();
        let condition = Condition::Leading(&stands, Over::Remaining(started.over));
        let equals = same::<K, V, K>(key);
        let (context, stripe) = (&self.context, self.stripe(hash));
        stripe.amend(context, hash, equals, (now, life), Some(condition), change);
    }
}

/// Acts when dropped, which is left to a panic.
struct OnPanic<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What came of storing in the light way, what had to leave, and when that was.
type Light<K, V> = (Admission, Option<(K, V)>, u64);

/// What could not be stored in that way, with its time.
type Undecided<K, V> = ((K, V), When);

/// The moment a load started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    /// How many tags had been removed.
    born: u64,
    /// The time in nanoseconds, where loads are timed.
    at: u64,
    /// The version of the entry there was, if there was one, which the load may replace.
    over: Option<u64>,
}

impl Started {
    /// For what may have been made since another moment.
    pub(super) fn as_old_as(self, other: Self) -> Self {
        Self { born: other.born, ..self }
    }

    /// For a load that replaces what has this version now.
    pub(super) fn over(self, version: Option<u64>) -> Self {
        Self { over: version, ..self }
    }
}
