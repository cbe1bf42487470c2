//! Entries: reading, computing and writing a key as one step.

use std::{
    cell::Cell,
    convert::Infallible,
    fmt,
    future::poll_fn,
    hash::{BuildHasher, Hash},
    pin::pin,
};

use super::{Cache, Departures, Inner, load::Started, same, write::Own};
use crate::{
    LoadError,
    flight::{Asker, Circle, Code, Flights, Joined, Lead, Outcome, Waited, block_on},
    policy::Policy,
    stats::Event,
    stripe::{Condition, When},
    table::deny_reentry,
};

/// How often an entry is looked at anew, should somebody write it each time: an
/// [`Expiry`](crate::Expiry) might. Then what is computed counts as overtaken.
const MOST_LOOKS: u32 = 8;

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// The entry of `key`, to be looked at and changed as one step.
    ///
    /// Computations through `entry` exclude each other per key, and loads, so a counter counted this
    /// way loses nothing, as long as its entry is not evicted between two computations; this waits for
    /// another's. They do not exclude plain [`insert`](Self::insert) and [`remove`](Self::remove): what
    /// these do while a closure runs wins, and the closure's result is returned but not stored, as if
    /// it had come just before.
    /// (A tag counts only if the new value has it: that the old one was removed by a tag of its own does not
    /// keep a value without that tag out.)
    /// Closures run under no lock, and may use the cache, entries of other keys included.
    ///
    /// Two threads that each hold an [`Entry`] and ask for the other's wait for ever, as with any locks
    /// (closures that do so are told): ask for entries of several keys in one order everywhere. Do not hold an entry across an
    /// `await`.
    ///
    /// Values are written with the cache's own lifetime, which begins anew with each. To count within a
    /// fixed window let the entry keep the deadline it has: give the cache an
    /// [`Expiry`](crate::Expiry) whose `after_update` answers with what `remaining` there is.
    ///
    /// # Panics
    /// If this thread holds an entry of the same key already, or a closure asks for a key whose load or
    /// closure waits for it: it would wait for itself. (Keys are
    /// told apart by their hash here, and an entry that was moved to another thread still counts as
    /// held by the one that asked for it.)
    ///
    /// ```
    /// # let counters = larder::Cache::new(10);
    /// for word in ["a", "b", "a"] {
    ///     counters.entry(word).and_modify(|count| *count += 1).or_insert(1);
    /// }
    /// assert_eq!(counters.get("a"), Some(2));
    /// ```
    pub fn entry(&self, key: K) -> Entry<'_, K, V, P, S> {
        let hash = self.inner.hash(&key);
        loop {
            let mut wait = match self.hold(hash, Asker::Holder) {
                Joined::Lead(lead) => return self.enter(key, lead),
                Joined::Reentrant => refuse(),
                Joined::Wait(wait) => wait,
            };
            let waited = block_on(|context| wait.poll(context), || None);
            match waited.expect("without end") {
                Waited::Lead(lead) => return self.enter(key, lead),
                Waited::Reentrant => refuse(),
                Waited::Landed(_) | Waited::Retry => {}
            }
        }
    }

    /// [`entry`](Self::entry) for async code: waits without blocking the thread, and the entry may
    /// be held across an `await`, though those who ask for the key wait meanwhile.
    ///
    /// # Panics
    /// If a load or an `entry` closure asks for it that it waits for: it would wait for itself. A task
    /// that holds an entry and asks for the same one waits for ever.
    ///
    /// ```
    /// # async fn example() {
    /// # let rates = larder::Cache::<String, f64>::new(10);
    /// # async fn fetch() -> Result<f64, String> { Ok(1.0) }
    /// let entry = rates.entry_async("EUR".to_string()).await;
    /// let rate = entry.or_try_insert_async(fetch()).await;
    /// # }
    /// ```
    pub async fn entry_async(&self, key: K) -> Entry<'_, K, V, P, S> {
        let hash = self.inner.hash(&key);
        loop {
            let mut wait = match self.hold(hash, Asker::Wanderer) {
                Joined::Lead(lead) => return self.enter(key, lead),
                Joined::Reentrant => refuse(),
                Joined::Wait(wait) => wait,
            };
            match std::future::poll_fn(|context| wait.poll(context)).await {
                Waited::Lead(lead) => return self.enter(key, lead),
                Waited::Reentrant => refuse(),
                Waited::Landed(_) | Waited::Retry => {}
            }
        }
    }

    /// Joins the flight of a key for oneself.
    fn hold(&self, hash: u64, asker: Asker) -> Joined<&Flights<K, V>> {
        deny_reentry();
        let no_key = || unreachable!("only a load makes keys for others");
        Flights::join(&*self.inner.flights, hash, asker, no_key, |_| false)
    }

    fn enter<'a>(&'a self, key: K, mut lead: Lead<&'a Flights<K, V>>) -> Entry<'a, K, V, P, S> {
        let mut looks = 0;
        let (seen, entered) = loop {
            let entered = self.inner.start(false);
            let seen = self.look(&key, &lead, looks == 0);
            looks += 1;
            if lead.stands() || looks == MOST_LOOKS {
                break (seen, entered);
            }
            // Somebody wrote or removed: perhaps before the look, and what comes after it must be told.
            lead.renew();
        };
        Entry { lead, leaving: self.inner.departures(), cache: self, key, seen, entered }
    }

    /// The value of `key`. Counts as a use, if it `is_use`.
    fn look(&self, key: &K, lead: &Lead<&Flights<K, V>>, is_use: bool) -> Option<Seen<V>> {
        let (inner, hash) = (&*self.inner, lead.hash());
        let stripe = inner.stripe(hash);
        let get = |is_use| {
            if is_use {
                // An `Expiry` is told if it asks for the key.
                let _running = inner.context.rules.expiry.is_some().then(|| lead.run());
                // Under the bucket's lock, so that who takes that later, to change it, sees this flight.
                inner.get_held(stripe, hash, key).0
            } else {
                inner.peek_alone(hash, key)
            }
        };
        if stripe.table.bare.has_bare_values() {
            match get(is_use) {
                Some(value) => Some(Seen { witness: Witness::Itself(value.clone()), value }),
                // Who removed it may not have said so yet: he has where the stripe's lock can be had.
                None => self.look_for_version(key, hash, || get(false)),
            }
        } else {
            let is_use = Cell::new(is_use);
            let seen = self.look_for_version(key, hash, || get(is_use.replace(false)));
            if seen.is_none() && is_use.get() {
                inner.context.count(Event::Miss);
            }
            seen
        }
    }

    /// The value that `get` gives, with its version.
    fn look_for_version(&self, key: &K, hash: u64, get: impl Fn() -> Option<V>) -> Option<Seen<V>> {
        let inner = &*self.inner;
        loop {
            let (stripe, now) = inner.approach(hash);
            let version = stripe.version(&inner.context, hash, same::<K, V, K>(key), now)?;
            // If it is gone in between: see `look`.
            let Some(value) = get() else { continue };
            match stripe.version(&inner.context, hash, same::<K, V, K>(key), now) {
                Some(another) if another != version => {}
                // Unchanged, so the two belong together; or gone (its lifetime may end with a read), and
                // nothing that is there can be mistaken for it.
                _ => return Some(Seen { value, witness: Witness::Version(version) }),
            }
        }
    }
}

/// What a closure given to [`Entry::compute`] wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute<V> {
    /// Leave the entry, or its absence, as it is.
    Keep,
    /// Store this value.
    Put(V),
    /// Remove the entry.
    Remove,
}

/// A value as it was last looked at.
struct Seen<V> {
    value: V,
    witness: Witness<V>,
}

/// By what can be told later whether the value is still the same.
enum Witness<V> {
    Version(u64),
    /// The value itself, where that is a number. Who writes tells the flight that holds the key, or else
    /// does so at the same time as the look: if that leaves the same number, it came before.
    Itself(V),
}

/// The entry of one key, held: see [`Cache::entry`].
pub struct Entry<'a, K: Hash + Eq, V, P: Policy, S: BuildHasher> {
    // First: the key is free before anything of the user's is dropped or told.
    lead: Lead<&'a Flights<K, V>>,
    leaving: Departures<'a, K, V, P, S>,
    cache: &'a Cache<K, V, P, S>,
    key: K,
    seen: Option<Seen<V>>,
    /// What is stored may have been made from then on.
    entered: Started,
}

impl<K, V, P, S> Entry<'_, K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<&V> {
        self.seen.as_ref().map(|seen| &seen.value)
    }

    /// The value; if there is none, `value`, which is stored.
    pub fn or_insert(self, value: V) -> V {
        self.or_insert_with(|| value)
    }

    /// The value; if there is none, the type's default, which is stored.
    pub fn or_default(self) -> V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The value; if there is none, what `load` makes, which is stored. Calls of
    /// [`get_or_insert_with`](Cache::get_or_insert_with) and its kin wait for it meanwhile.
    pub fn or_insert_with(self, load: impl FnOnce() -> V) -> V {
        match self.or_try_insert_with(|| Ok::<V, Infallible>(load())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value; if there is none, what `load` makes, which is stored if it is no error.
    ///
    /// # Errors
    /// What `load` returns. It is not shared: those who wait see for themselves.
    pub fn or_try_insert_with<E>(mut self, load: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if let Some(Seen { value, .. }) = self.seen.take() {
            drop(self);
            return Ok(value);
        }
        self.cache.inner.begin(&mut self.lead);
        let started = self.cache.inner.start(false).as_old_as(self.entered);
        let loaded = {
            let _running = self.lead.run();
            self.cache.inner.run_load(started, load)
        };
        self.finish(started, loaded)
    }

    /// [`or_insert_with`](Self::or_insert_with) with a future.
    pub async fn or_insert_async(self, load: impl Future<Output = V>) -> V {
        let load = async { Ok::<V, Infallible>(load.await) };
        match self.or_try_insert_async(load).await {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// [`or_try_insert_with`](Self::or_try_insert_with) with a future.
    ///
    /// # Errors
    /// What `load` returns.
    pub async fn or_try_insert_async<E>(
        mut self,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        if let Some(Seen { value, .. }) = self.seen.take() {
            drop(self);
            return Ok(value);
        }
        self.cache.inner.begin(&mut self.lead);
        let started = self.cache.inner.start(false).as_old_as(self.entered);
        let loaded = {
            let (mut load, mut tie) = (pin!(Code::new(load, || self.lead.run_future())), None);
            poll_fn(|context| {
                let polled = self.cache.inner.run_load(started, || load.as_mut().poll(context));
                if polled.is_pending() {
                    tie = self.lead.tie_caller(tie.take()).unwrap_or_else(|Circle| refuse());
                }
                polled
            })
            .await
        };
        self.finish(started, loaded)
    }

    fn finish<E>(self, started: Started, loaded: Result<V, E>) -> Result<V, E> {
        let Self { cache, key, mut leaving, lead, .. } = self;
        let inner = &*cache.inner;
        if inner.context.counters.is_some() {
            inner.count_load(inner.took(started), loaded.is_ok());
        }
        let value = match loaded {
            Ok(value) => value,
            Err(error) => {
                // Whoever waits leads.
                drop(lead);
                drop(leaving);
                // Before the answer is made, which nobody would drop should this panic.
                drop(key);
                return Err(error);
            }
        };
        lead.note("value");
        let awaited = lead.is_awaited_for(|other| *other == key);
        inner.store(&lead, started, (key, value.clone()), Own::Rules, &mut leaving);
        lead.land(|_| awaited, || Outcome::Value(value.clone()));
        drop(leaving);
        Ok(value)
    }

    /// Changes the value, if there is one, and stores it. The old one is dropped, and the removal listener
    /// told of it, once the entry is released: do not hold it for long, as later notices wait for that.
    pub fn and_modify(mut self, modify: impl FnOnce(&mut V)) -> Self
    where
        K: Clone,
    {
        let Some(Seen { mut value, witness }) = self.seen.take() else { return self };
        let running = self.lead.run();
        modify(&mut value);
        drop(running);
        let inner = &*self.cache.inner;
        let (key, leaving) = (&self.key, &mut self.leaving);
        let witness = match inner.swap_number(&self.lead, (key, &value), &witness, leaving) {
            Swap::Done => Witness::Itself(value.clone()),
            Swap::Not(rated) => {
                let (entry, how) = ((key.clone(), value.clone()), (Some(&witness), rated));
                let stored = inner.put(&self.lead, self.entered, entry, how, leaving);
                // Where the old one had gone, what is there now is this, unless it was overtaken or
                // refused: then the old witness stands for what will not be stored over.
                let version_now = || inner.version(self.lead.hash(), key);
                // In this order: who writes supersedes first.
                let stored = stored.or_else(|| version_now().filter(|_| self.lead.stands()));
                match (witness, stored) {
                    (Witness::Version(_), Some(version)) => Witness::Version(version),
                    (Witness::Itself(_), Some(_)) => Witness::Itself(value.clone()),
                    (witness, None) => witness,
                }
            }
        };
        self.seen = Some(Seen { value, witness });
        self
    }

    /// Computes what to do from the value, does it, and returns the value that results.
    ///
    /// ```
    /// use larder::Compute;
    /// # let tokens = larder::Cache::new(10);
    /// # tokens.insert("ada", 1);
    /// let left = tokens.entry("ada").compute(|tokens| match tokens {
    ///     Some(0) => Compute::Remove,
    ///     Some(n) => Compute::Put(n - 1),
    ///     None => Compute::Keep,
    /// });
    /// assert_eq!(left, Some(0));
    /// ```
    pub fn compute(mut self, compute: impl FnOnce(Option<V>) -> Compute<V>) -> Option<V> {
        let (value, witness) = self.seen.take().map(|seen| (seen.value, seen.witness)).unzip();
        let Self { cache, key, entered, mut leaving, lead, .. } = self;
        let inner = &*cache.inner;
        let running = lead.run();
        let done = compute(value.clone());
        drop(running);
        let (result, key, old) = match done {
            Compute::Keep => (value, Some(key), None),
            Compute::Put(new) => {
                let swap = match &witness {
                    Some(witness) => inner.swap_number(&lead, (&key, &new), witness, &mut leaving),
                    None => Swap::Not(None),
                };
                match swap {
                    Swap::Done => (Some(new), Some(key), value),
                    Swap::Not(rated) => {
                        let (entry, how) = ((key, new.clone()), (witness.as_ref(), rated));
                        inner.put(&lead, entered, entry, how, &mut leaving);
                        (Some(new), None, value)
                    }
                }
            }
            Compute::Remove => {
                let is_unchanged = |now: Option<(&V, u64)>| match &witness {
                    Some(witness) => inner.is_unchanged(&lead, witness, now),
                    None => now.is_none(),
                };
                inner.remove_into(&key, Some(&is_unchanged), &mut leaving);
                (None, Some(key), value)
            }
        };
        drop(lead);
        drop(leaving);
        // Before the answer is made, which nobody would drop should one of these panic.
        drop((key, old, witness));
        result
    }
}

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// Whether what is there `now`, a value and its version, is what was seen.
    fn is_unchanged(
        &self,
        lead: &Lead<&Flights<K, V>>,
        witness: &Witness<V>,
        now: Option<(&V, u64)>,
    ) -> bool {
        match (now, witness) {
            (None, _) => false,
            (Some((_, now)), Witness::Version(version)) => now == *version,
            (Some((now, _)), Witness::Itself(before)) => self.is_still(lead, before, now),
        }
    }

    /// The same of a number, under its bucket's lock.
    fn is_still(&self, lead: &Lead<&Flights<K, V>>, before: &V, now: &V) -> bool {
        self.stripe(lead.hash()).table.bare.are_same(before, now) && lead.is_untouched()
    }

    /// [`put`](Self::put) over a number, where nothing beside it changes, without the stripe's lock.
    fn swap_number(
        &self,
        lead: &Lead<&Flights<K, V>>,
        (key, value): (&K, &V),
        witness: &Witness<V>,
        leaving: &mut Departures<'_, K, V, P, S>,
    ) -> Swap {
        let Witness::Itself(before) = witness else { return Swap::Not(None) };
        if !self.context.is_swappable {
            return Swap::Not(None);
        }
        let (hash, mut value) = (lead.hash(), value.clone());
        let may_write = |now: &V| self.is_still(lead, before, now);
        let running = lead.run();
        let (is_swapped, when, weight) =
            self.replace(self.stripe(hash), hash, (key, &mut value), Own::Rules, may_write);
        drop(running);
        if !is_swapped {
            return Swap::Not(Some((when, weight)));
        }
        leaving.operated = Some(when.now);
        Swap::Done
    }

    /// Stores a value unless somebody else wrote or removed since the key had the one that was seen
    /// (`None`: no entry). Answers the version of the value if it replaced another. If it is known already
    /// when it is written and what it weighs, nobody is asked again.
    fn put(
        &self,
        lead: &Lead<&Flights<K, V>>,
        entered: Started,
        entry: (K, V),
        (witness, rated): (Option<&Witness<V>>, Option<Rated>),
        leaving: &mut Departures<'_, K, V, P, S>,
    ) -> Option<u64> {
        let entry = match witness {
            Some(witness) => match self.put_over(lead, entered, entry, (witness, rated), leaving) {
                Over::Done(version) => return version,
                // It expired or was evicted meanwhile.
                Over::Gone(entry) => entry,
            },
            None => entry,
        };
        // Where nothing is there, no version tells of a removal meanwhile, but the flight does.
        self.store(lead, entered, entry, Own::Rules, leaving);
        None
    }

    /// [`put`](Self::put) where there was an entry.
    fn put_over(
        &self,
        lead: &Lead<&Flights<K, V>>,
        entered: Started,
        entry: (K, V),
        (witness, rated): (&Witness<V>, Option<Rated>),
        leaving: &mut Departures<'_, K, V, P, S>,
    ) -> Over<(K, V)> {
        let running = lead.run();
        let mut write = match rated {
            // There are no tags where it is known.
            Some((when, weight)) => self.tag((lead.hash(), None), entry, weight, when),
            None => self.prepare_dated(lead.hash(), entered, entry),
        };
        drop(running);
        if write.has_dead_tag() {
            leaving.unwanted.extend(write.entry);
            return Over::Done(None);
        }
        (write.is_led, write.version) = (true, Some(0));
        let is_gone = Cell::new(false);
        let is_unchanged = |now: Option<(&V, u64)>| {
            is_gone.set(now.is_none());
            self.is_unchanged(lead, witness, now)
        };
        // The only flight there can be is the caller's own, which goes on standing.
        let condition = Condition::Present(&is_unchanged, &|| ());
        self.write_into(&mut write, Some(condition), leaving);
        match write.entry {
            Some(entry) if is_gone.get() => return Over::Gone(entry),
            entry => leaving.unwanted.extend(entry),
        }
        Over::Done(write.version.filter(|&version| version != 0))
    }
}

/// When a value is written and for how long, and its weight.
type Rated = (When, u64);

/// What came of swapping a number in place.
enum Swap {
    Done,
    /// It could not be done in that way. What was asked about the value by then.
    Not(Option<Rated>),
}

/// What came of storing over an entry.
enum Over<T> {
    /// The version of the value, if it was stored.
    Done(Option<u64>),
    /// There was no entry any more.
    Gone(T),
}

impl<K: Hash + Eq, V, P: Policy, S: BuildHasher> fmt::Debug for Entry<'_, K, V, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("hash", &self.lead.hash())
            .field("is_present", &self.seen.is_some())
            .finish_non_exhaustive()
    }
}

#[cold]
fn refuse() -> ! {
    panic!("{}", LoadError::<Infallible>::Reentrant)
}
