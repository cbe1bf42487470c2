//! Inserting, replacing, removing.

use std::{
    hash::{BuildHasher, Hash},
    mem::needs_drop,
    time::Duration,
};

use hashbrown::Equivalent;

use super::{Cache, Departures, Inner, same};
use crate::{
    Removal,
    event::{Effects, Leaving, RemovalCause, Ticket},
    expiry::Lifetime,
    policy::Policy,
    stats::Event,
    stripe::{Admission, Condition, Given, Look, Outcome, Renewal, Source, Stripe, When, Write},
};

/// How long an entry lives by a rule of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own {
    /// The cache's rules alone.
    Rules,
    /// The nearer of the two.
    Ttl(Duration),
    /// Whatever the cache's time to live is.
    Alone(Duration),
}

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// Stores `value` under `key` and returns the value it replaces, if there was one.
    ///
    /// Replacing always takes effect. A newcomer may be refused by the policy, or for being
    /// heavier than the whole capacity; the listener is told then, and no older value of the key
    /// is left behind (a value too heavy for the cache drives its predecessor out). What is evicted to
    /// make room is dropped before this returns; where there is a listener, after that was told, for which
    /// this does not wait if another thread is telling it of something. A load of the key that is under
    /// way is overtaken.
    ///
    /// ```
    /// # let cache = larder::Cache::new(10);
    /// assert_eq!(cache.insert("ada", 36), None);
    /// assert_eq!(cache.insert("ada", 37), Some(36));
    /// ```
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.inner.upsert(key, value, Own::Rules)
    }

    /// [`insert`](Self::insert) with a time to live for this entry alone. Where the cache has rules of its
    /// own too (a time to live or to idle, an [`Expiry`](crate::Expiry)), the nearest deadline wins (for
    /// an [`Expiry`](crate::Expiry) beside a time to idle see [`after_read`](crate::Expiry::after_read)).
    /// [`Duration::MAX`] means for ever, zero at once.
    ///
    /// It belongs to this value: the next one that is written without, by whatever method, lives by the
    /// cache's own rules. For a deadline that writes leave alone see
    /// [`after_update`](crate::Expiry::after_update).
    pub fn insert_with_ttl(&self, key: K, value: V, time_to_live: Duration) -> Option<V> {
        self.inner.context.make_timed();
        self.inner.upsert(key, value, Own::Ttl(time_to_live))
    }

    /// Stores `value` only if there is no living entry for `key`; answers whether there was none. If so,
    /// a load of the key that is under way is overtaken. As with [`insert`](Self::insert), the newcomer
    /// may be refused then, as always where the capacity is 0: the listener is told.
    ///
    /// # Errors
    /// Gives key and value back if there is an entry.
    ///
    /// ```
    /// # let cache = larder::Cache::new(10);
    /// assert!(cache.insert_if_absent("ada", 36).is_ok());
    /// assert_eq!(cache.insert_if_absent("ada", 37), Err(("ada", 37)));
    /// ```
    pub fn insert_if_absent(&self, key: K, value: V) -> Result<(), (K, V)> {
        let mut write = self.inner.prepare(key, value, Own::Rules);
        match self.inner.write_if(&mut write, &|resident| resident.is_none()) {
            Written::Unwanted(key, value) => Err((key, value)),
            Written::Done(_) => Ok(()),
        }
    }

    /// Replaces the value of `key` if `condition` holds for the present one; answers whether that was
    /// so, with the old value. Nothing happens if there is no entry. As with [`insert`](Self::insert), a
    /// new value too heavy for the cache drives the old one out and is not stored: the listener is told.
    ///
    /// The condition runs under the bucket's lock. If it holds, a load of the key that is under way is
    /// overtaken.
    ///
    /// # Errors
    /// Gives the new value back if there is no entry or the condition does not hold.
    ///
    /// ```
    /// # let cache = larder::Cache::new(10);
    /// cache.insert("stock", 3);
    /// assert_eq!(cache.replace_if("stock", 2, |&now| now == 3), Ok(3));
    /// assert_eq!(cache.replace_if("stock", 1, |&now| now == 3), Err(1));
    /// ```
    pub fn replace_if(&self, key: K, value: V, condition: impl Fn(&V) -> bool) -> Result<V, V> {
        let condition =
            |resident: Option<(&V, u64)>| resident.is_some_and(|(now, _)| condition(now));
        self.replace_where(key, value, &condition)
    }

    /// Replaces the value of `key` if it still has the version that [`version`](Self::version)
    /// told; answers with the old value, as [`replace_if`](Self::replace_if) does.
    ///
    /// # Errors
    /// Gives the new value back if there is no entry or it has another version.
    pub fn replace_if_version(&self, key: K, value: V, version: u64) -> Result<V, V> {
        let condition =
            |resident: Option<(&V, u64)>| resident.is_some_and(|(_, now)| now == version);
        self.replace_where(key, value, &condition)
    }

    fn replace_where(&self, key: K, value: V, condition: &Look<'_, V>) -> Result<V, V> {
        let mut write = self.inner.prepare(key, value, Own::Rules);
        match self.inner.write_if(&mut write, condition) {
            Written::Unwanted(key, value) => {
                // Before the answer is made, which nobody would drop should this panic.
                drop(key);
                Err(value)
            }
            Written::Done(old) => Ok(old.expect("a conditional replacement replaces")),
        }
    }

    /// Removes the entry of `key` and returns its value.
    ///
    /// A load of the key that is under way is overtaken: to be called *after* its source has changed, so
    /// that a load either sees the change or is not stored. (Should the source be no more than an atomic
    /// that is stored to, a `fence(SeqCst)` belongs between the two; a lock, a channel, another cache or
    /// a database needs none.)
    ///
    /// ```
    /// # let cache = larder::Cache::new(10);
    /// # let prices = std::sync::RwLock::new(std::collections::HashMap::from([("tea", 3)]));
    /// let price = |name| cache.get_or_insert_with(name, || prices.read().unwrap()[name]);
    /// assert_eq!(price(&"tea"), 3);
    /// prices.write().unwrap().insert("tea", 4);
    /// assert_eq!(cache.remove(&"tea"), Some(3));
    /// assert_eq!(price(&"tea"), 4);
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.inner.remove(key, None)
    }

    /// Removes the entry of `key` if `condition` holds for its value, which is returned then. If there
    /// is no entry, nothing happens, and a load of the key that is under way goes on; otherwise than
    /// with [`remove`](Self::remove).
    ///
    /// The condition runs under the bucket's lock.
    pub fn remove_if<Q>(&self, key: &Q, condition: impl Fn(&V) -> bool) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let condition =
            |resident: Option<(&V, u64)>| resident.is_some_and(|(value, _)| condition(value));
        self.inner.remove(key, Some(&condition))
    }
}

/// What a write through all stripes came to.
pub(super) enum Written<K, V> {
    /// The value that was replaced, if one was.
    Done(Option<V>),
    Unwanted(K, V),
}

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    #[inline]
    pub(super) fn upsert(&self, key: K, mut value: V, own: Own) -> Option<V> {
        let hash = self.hash(&key);
        let stripe = self.stripe(hash);
        if !self.context.is_plain || self.context.is_timed() || stripe.samples(hash) {
            return self.upsert_watched(stripe, hash, (key, value), own);
        }
        let (spot, entry) = (stripe.table.approach_to_write(hash), (&key, &mut value));
        let may_write = |_: &V| !self.flights.may_have(hash);
        if stripe.replace_in_place(&self.context, spot, hash, entry, None, may_write) {
            self.count_update(hash, 1);
            // Before the answer is made, which nobody would drop should this panic.
            drop(key);
            return Some(value);
        }
        self.bring_in(hash, (key, value), 1, When::ALWAYS)
    }

    /// Counts a value that was replaced in place.
    #[inline]
    fn count_update(&self, hash: u64, weight: u64) {
        self.context.record_write(hash, weight);
        self.context.updated(weight);
    }

    /// [`upsert`](Self::upsert) where there is a clock to read, a value to weigh or a use to be
    /// sampled.
    #[inline(never)]
    fn upsert_watched(
        &self,
        stripe: &Stripe<K, V, P>,
        hash: u64,
        (key, mut value): (K, V),
        own: Own,
    ) -> Option<V> {
        let may_write = |_: &V| !self.flights.may_have(hash);
        let (is_replaced, when, weight) =
            self.replace(stripe, hash, (&key, &mut value), own, may_write);
        if is_replaced {
            self.tidy(when.now);
            // As in `upsert`.
            drop(key);
            return Some(value);
        }
        self.bring_in(hash, (key, value), weight, when)
    }

    /// Replaces a value in place, and counts that, if `may_write` says so of the resident one under its
    /// bucket's lock, and if nothing beside it changes that the stripe would have to know of. Answers
    /// whether it did, in which case `value` is the other one, when that was, and the weight.
    #[inline(always)]
    pub(super) fn replace(
        &self,
        stripe: &Stripe<K, V, P>,
        hash: u64,
        (key, value): (&K, &mut V),
        own: Own,
        may_write: impl Fn(&V) -> bool,
    ) -> (bool, When, u64) {
        let spot = stripe.table.approach_to_write(hash);
        let deadlines = stripe.approach_deadlines(&spot, hash);
        // Meanwhile both come near.
        let when = self.when(hash, key, value, own);
        let weight = self.weight_of(key, value);
        let renewal = Some(Renewal { when, weight, deadlines });
        let is_replaced = self.context.is_swappable
            && stripe.replace_in_place(&self.context, spot, hash, (key, value), renewal, may_write);
        if is_replaced {
            self.count_update(hash, weight);
        }
        (is_replaced, when, weight)
    }

    /// Writes what could not be replaced in place: most often a new key. Supersedes loads.
    #[inline(never)]
    fn bring_in(&self, hash: u64, entry: (K, V), weight: u64, when: When) -> Option<V> {
        let mut entry = Some(entry);
        if self.context.is_plain {
            let may_write = || !self.flights.may_have(hash);
            let stripe = self.stripe(hash);
            let admission = stripe.admit(&self.context, hash, &mut entry, when, may_write);
            if admission != Admission::Undecided {
                self.context.record_write(hash, 1);
                self.part(admission, entry);
                self.tidy(when.now);
                return None;
            }
        }
        let entry = entry.expect("undecided");
        self.flights.supersede(hash);
        match self.write(&mut self.tag((hash, None), entry, weight, when), None) {
            Written::Done(old) => old,
            Written::Unwanted(..) => None,
        }
    }

    /// Counts what came of bringing a key in, and drops what had to leave.
    #[inline]
    pub(super) fn part(&self, admission: Admission, left: Option<(K, V)>) {
        if self.context.is_silent {
            return drop(left);
        }
        match admission {
            Admission::Evicted => self.context.exchanged(),
            _ => {
                let removal = self.count_admission(admission);
                if left.is_some() {
                    self.context.left(removal);
                }
            }
        }
        drop(left);
    }

    /// [`part`](Self::part) where what had to leave must not be dropped yet.
    #[inline]
    pub(super) fn part_into(
        &self,
        admission: Admission,
        left: Option<(K, V)>,
        leaving: &mut Departures<'_, K, V, P, S>,
    ) {
        if self.context.is_silent {
            return leaving.unwanted.extend(left.filter(|_| needs_drop::<(K, V)>()));
        }
        let removal = self.count_admission(admission);
        if let Some((key, value)) = left {
            // Nobody listens, so it has no place among the notices.
            let ticket = Ticket { stripe: 0, number: 0 };
            leaving.effects.push(Leaving { key, value, removal, ticket });
        }
    }

    /// Counts what came in; answers what is to be said of what had to leave.
    fn count_admission(&self, admission: Admission) -> Removal {
        let is_refused = admission == Admission::Refused;
        if !is_refused {
            self.context.count(Event::Insert);
        }
        let cause = if is_refused { RemovalCause::Rejected } else { RemovalCause::Size };
        Removal { cause, version: 0, weight: 1 }
    }

    /// Weighs, tags and dates a value, before any lock.
    pub(super) fn prepare(&self, key: K, value: V, own: Own) -> Write<K, V> {
        let hash = self.hash(&key);
        let when = self.when(hash, &key, &value, own);
        self.weigh((hash, None), (key, value), when)
    }

    /// Weighs and tags a value.
    ///
    /// `born` is how many tags had been removed when the value was made, if that was before now.
    pub(super) fn weigh(
        &self,
        dated_hash: (u64, Option<u64>),
        entry: (K, V),
        when: When,
    ) -> Write<K, V> {
        let weight = self.weight_of(&entry.0, &entry.1);
        self.tag(dated_hash, entry, weight, when)
    }

    #[inline]
    fn weight_of(&self, key: &K, value: &V) -> u64 {
        self.context.weigher.as_ref().map_or(1, |weigher| weigher(key, value))
    }

    #[inline]
    pub(super) fn tag(
        &self,
        (hash, born): (u64, Option<u64>),
        (key, value): (K, V),
        weight: u64,
        when: When,
    ) -> Write<K, V> {
        let tags = self.context.tagger.as_ref().and_then(|tagger| {
            let hashes = (tagger.tags_of)(&key, &value);
            tagger.registry.tag(&hashes, born)
        });
        let entry = Some((key, value));
        Write { hash, entry, weight, tags, when, is_led: false, version: None }
    }

    #[inline]
    pub(super) fn when(&self, hash: u64, key: &K, value: &V, own: Own) -> When {
        let context = &self.context;
        if !context.is_timed() {
            When::ALWAYS
        } else if matches!(own, Own::Rules) && context.rules.expiry.is_none() {
            let now = context.time_of_write();
            When { now, life: context.rules.lifetime(now, None) }
        } else {
            self.when_alone(hash, key, value, own)
        }
    }

    /// [`when`](Self::when) for an entry with a lifetime of its own.
    #[inline(never)]
    fn when_alone(&self, hash: u64, key: &K, value: &V, own: Own) -> When {
        let now = match own {
            Own::Rules => self.context.time_of_write(),
            Own::Ttl(_) | Own::Alone(_) => self.context.clock.now(),
        };
        When { now, life: self.lifetime(hash, key, value, own, now) }
    }

    /// How long a value lives if it is written now. Should the key come or go before that is done,
    /// it lives as long as it would have without.
    fn lifetime(&self, hash: u64, key: &K, value: &V, own: Own, now: u64) -> Lifetime {
        let rules = &self.context.rules;
        let limit = match own {
            Own::Rules => None,
            Own::Ttl(ttl) => Some(ttl),
            Own::Alone(ttl) => return rules.lifetime_alone(now, ttl),
        };
        let Some(expiry) = &rules.expiry else { return rules.lifetime(now, limit) };
        let present = self.stripe(hash).life(&self.context, hash, same::<K, V, K>(key), now);
        let ruled = match present {
            None => expiry.after_create(key, value),
            Some(present) => expiry.after_update(key, value, rules.remaining(present, now)),
        };
        rules.lifetime_ruled(now, limit, ruled)
    }

    /// Writes if `condition` holds, which supersedes loads then.
    pub(super) fn write_if(
        &self,
        write: &mut Write<K, V>,
        condition: &Look<'_, V>,
    ) -> Written<K, V> {
        let hash = write.hash;
        let supersede = || {
            self.flights.supersede(hash);
        };
        self.write(write, Some(Condition::Present(condition, &supersede)))
    }

    /// Writes under the stripe's lock, taking room from other stripes where its own should not or
    /// cannot give it.
    #[inline(never)]
    fn write(&self, write: &mut Write<K, V>, condition: Option<Condition<'_, V>>) -> Written<K, V> {
        let mut leaving = self.departures();
        let written = match self.write_into(write, condition, &mut leaving) {
            Outcome::Replaced | Outcome::Displaced => {
                Written::Done(Some(self.hand_out(&mut leaving.effects)))
            }
            Outcome::Unwanted => {
                let (key, value) = write.entry.take().expect("not written");
                Written::Unwanted(key, value)
            }
            Outcome::Inserted | Outcome::Rejected | Outcome::Elsewhere(..) => Written::Done(None),
        };
        drop(leaving);
        written
    }

    /// The same, but what leaves is not sent out yet, a value that was replaced included.
    pub(super) fn write_into(
        &self,
        write: &mut Write<K, V>,
        condition: Option<Condition<'_, V>>,
        leaving: &mut Departures<'_, K, V, P, S>,
    ) -> Outcome {
        let hash = write.hash;
        let number = self.number(hash);
        let stripe = &self.stripes[number];
        let mut source = Source::Fair;
        let outcome = loop {
            let Departures { effects, credit, .. } = &mut *leaving;
            let budget = (&mut *credit, source);
            // As in `remove_into`.
            let is_led = write.is_led;
            let supersede = || {
                if !is_led {
                    self.flights.supersede(hash);
                }
            };
            let how = (condition, &supersede as &dyn Fn());
            let outcome = stripe.put(&self.context, write, how, budget, effects);
            let Outcome::Elsewhere(wanted, next) = outcome else { break outcome };
            let given = self.take_room(number, wanted.saturating_sub(*credit), effects);
            *credit += given.weight;
            source = match given {
                Given { is_refused: true, .. } => Source::Last,
                Given { weight: 0, .. } => Source::Own,
                // Who is welcome stays so.
                _ if source == Source::Others => source,
                _ => next,
            };
            if given.weight == 0 && !given.is_refused {
                // All that is missing is reserved by others on their way in. Give them what was
                // gathered here, or all might wait for each other.
                self.context.budget.release(std::mem::take(credit));
                crate::sync::yield_now();
            }
        };
        if !matches!(outcome, Outcome::Unwanted) {
            self.context.record_write(write.hash, write.weight);
        }
        match outcome {
            Outcome::Inserted => self.context.count(Event::Insert),
            Outcome::Replaced => self.context.count(Event::Update),
            _ => {}
        }
        // What is left of it is not needed any more.
        self.context.budget.release(std::mem::take(&mut leaving.credit));
        leaving.operated = Some(write.when.now);
        outcome
    }

    /// Writes whatever is there. What leaves is not sent out yet. Answers whether a value was replaced,
    /// which went into the effects last then.
    pub(super) fn upsert_into(
        &self,
        write: &mut Write<K, V>,
        leaving: &mut Departures<'_, K, V, P, S>,
    ) -> bool {
        self.flights.supersede(write.hash);
        matches!(self.write_into(write, None, leaving), Outcome::Replaced | Outcome::Displaced)
    }

    /// Takes the last value out of the effects for the caller; the listener, if there is one, is
    /// told of it all the same, and the caller gets a clone.
    pub(super) fn hand_out(&self, effects: &mut Effects<K, V>) -> V {
        if self.context.listener.is_some() {
            return effects.last().expect("an entry left").value.clone();
        }
        let Leaving { key, value, removal, .. } = effects.pop().expect("an entry left");
        self.context.left(removal);
        drop(key);
        value
    }

    /// Removes an entry, if `condition` holds for it. Supersedes loads, unless it does not hold.
    pub(super) fn remove<Q>(&self, key: &Q, condition: Option<&Look<'_, V>>) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut leaving = self.departures();
        let is_removed = self.remove_into(key, condition, &mut leaving);
        let removed = is_removed.then(|| self.hand_out(&mut leaving.effects));
        drop(leaving);
        removed
    }

    /// The same, but what leaves is not sent out yet. Answers whether the entry was removed, which went
    /// into the effects last then.
    pub(super) fn remove_into<Q>(
        &self,
        key: &Q,
        condition: Option<&Look<'_, V>>,
        leaving: &mut Departures<'_, K, V, P, S>,
    ) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let (stripe, now) = self.approach(hash);
        leaving.operated = Some(now);
        let supersede = || self.flights.supersede(hash);
        // A load that looked whether it stands before this may be about to store: then only the
        // stripe's lock tells.
        let may_come = condition.is_none() && supersede();
        if !may_come && self.is_surely_absent(hash) {
            if condition.is_none() {
                supersede();
            }
            return false;
        }
        let equals = same::<K, V, Q>(key);
        let supersede = || {
            supersede();
        };
        let condition = condition.map(|condition| Condition::Present(condition, &supersede));
        // Once more when the entry is gone: whoever began to compute its value anew in between, and saw it,
        // must not store that.
        let when = (condition, &supersede as &dyn Fn());
        stripe.remove(&self.context, hash, equals, now, when, &mut leaving.effects)
    }
}
