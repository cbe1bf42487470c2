//! Looking up.

use std::{
    hash::{BuildHasher, Hash},
    time::Duration,
};

use hashbrown::Equivalent;

use super::{Cache, Inner, same};
use crate::{
    context::Context,
    expiry::Lifetime,
    policy::Policy,
    stats::Event,
    stripe::{Hit, Stripe},
    table::{Bare, Further, Glance, Open, UserCode, enter_user_code},
    time::{Tick, nanos},
};

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq,
    V: Clone,
    P: Policy,
    S: BuildHasher,
{
    /// The value of `key`, cloned; counts as a use of the entry.
    ///
    /// The key may be borrowed: a `Cache<String, _>` takes `&str`. The value is cloned under its
    /// bucket's lock (a number is mostly copied under none, see [`Cache`]'s cost), so the clone should
    /// be cheap: keep large values behind an `Arc`, or look at them with [`read`](Self::read).
    ///
    /// ```
    /// # let cache = larder::Cache::<String, u32>::new(10);
    /// cache.insert("ada".to_string(), 36);
    /// assert_eq!(cache.get("ada"), Some(36));
    /// assert_eq!(cache.get("bob"), None);
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.inner.get(self.inner.hash(key), key)
    }

    /// The values of many keys, in their order.
    ///
    /// ```
    /// # let cache = larder::Cache::new(10);
    /// cache.insert(1, "one");
    /// assert_eq!(cache.get_many([&1, &2]), [Some("one"), None]);
    /// ```
    pub fn get_many<'a, Q>(&self, keys: impl IntoIterator<Item = &'a Q>) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
    {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// The value of `key`, cloned, without counting as a use: neither the policy, nor the time to
    /// idle, nor the statistics notice.
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.inner.peek(self.inner.hash(key), key)
    }
}

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq,
    P: Policy,
    S: BuildHasher,
{
    /// Runs `read` on the value of `key` without cloning it; counts as a use of the entry.
    ///
    /// The closure runs under the lock of the entry's bucket: keep it short, and do not call this
    /// cache from it, nor another one.
    ///
    /// ```
    /// # let cache = larder::Cache::new(10);
    /// cache.insert("page", vec![0_u8; 5000]);
    /// assert_eq!(cache.read("page", |page| page.len()), Some(5000));
    /// ```
    ///
    /// # Panics
    /// If the closure calls a cache, this or another, and that would have to wait for a lock: which
    /// of them it would wait for is not told apart. The same holds for a value's `Clone`.
    pub fn read<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (inner, hash) = (&*self.inner, self.inner.hash(key));
        inner.use_watched(inner.stripe(hash), hash, key, |value| {
            let _running = UserCode::enter();
            read(value)
        })
    }

    /// Whether there is a living entry for `key`. Does not count as a use.
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.inner.glimpse(self.inner.hash(key), key, |_| ()).is_some()
    }

    /// Uses the entry without reading it: the policy keeps it longer, its time to idle starts anew.
    /// Answers whether there is one. Not counted as a hit or miss.
    pub fn touch<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let inner = &*self.inner;
        let hash = inner.hash(key);
        let stripe = inner.stripe(hash);
        let (spot, now) = (stripe.table.approach(hash), inner.context.time_of_use());
        let equals = same::<K, V, Q>(key);
        let is_used = match stripe.hit_at(&inner.context, spot, hash, equals, (now, None)) {
            Hit::Used(_) => true,
            Hit::Absent => false,
            Hit::Further(further) => inner.use_further(further, hash, key, |_| ()).is_some(),
        };
        inner.tidy(now);
        is_used
    }

    /// How long the entry of `key` has to live; `None` if there is none, [`Duration::MAX`] if it
    /// does not expire. Does not count as a use.
    #[must_use]
    pub fn expires_in<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let inner = &*self.inner;
        let hash = inner.hash(key);
        let (stripe, now) = inner.approach(hash);
        let equals = same::<K, V, Q>(key);
        let life = stripe.life(&inner.context, hash, equals, now)?;
        Some(match life.deadline {
            Tick::NEVER => Duration::MAX,
            deadline => Duration::from_nanos(deadline.nanos_after(now)),
        })
    }

    /// Gives the entry of `key` a new time to live, from now; answers whether there is one.
    /// [`Duration::MAX`] means for ever. It takes the place of the cache's own, and may be longer,
    /// otherwise than with [`insert_with_ttl`](Self::insert_with_ttl). A time to idle goes on applying.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let cache = larder::Cache::new(10);
    /// cache.insert("session", 7);
    /// assert!(cache.set_ttl("session", Duration::from_secs(60)));
    /// assert!(cache.expires_in("session").unwrap() <= Duration::from_secs(60));
    /// ```
    pub fn set_ttl<Q>(&self, key: &Q, time_to_live: Duration) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let inner = &*self.inner;
        inner.context.make_timed();
        let hash = inner.hash(key);
        let (stripe, now) = inner.approach(hash);
        let limit = Tick::deadline(now, nanos(time_to_live));
        let life = Lifetime { limit, deadline: inner.context.rules.idle_from(now, limit) };
        let found = {
            let (context, equals) = (&inner.context, same::<K, V, Q>(key));
            stripe.amend(context, hash, equals, (now, life), None, |_| ())
        };
        inner.tidy(now);
        found
    }

    /// The version of `key`'s value: a number that is never used again for this key and that
    /// changes whenever the value does. For [`replace_if_version`](Self::replace_if_version).
    ///
    /// Takes the stripe's lock. Versions are kept only from the first call on (or with a removal
    /// listener); they cost eight bytes an entry.
    #[must_use]
    pub fn version<Q>(&self, key: &Q) -> Option<u64>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.inner.version(self.inner.hash(key), key)
    }
}

/// A look-up, counted and recorded when this is dropped: under no lock, so it must outlive them.
struct LookUp<'a, K, V, S> {
    context: &'a Context<K, V, S>,
    hash: u64,
    is_hit: bool,
}

impl<K, V, S> Drop for LookUp<'_, K, V, S> {
    #[inline]
    fn drop(&mut self) {
        self.context.count(if self.is_hit { Event::Hit } else { Event::Miss });
        self.context.record_look(self.hash, self.is_hit);
    }
}

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq,
    P: Policy,
    S: BuildHasher,
{
    /// [`get`](Cache::get) by hash.
    #[inline(always)]
    pub(super) fn get<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let stripe = self.stripe(hash);
        if self.is_special(stripe, hash) {
            return self.get_watched(stripe, hash, key);
        }
        // Whatever is called from here on is called last, so that no register has to be saved.
        if !Bare::<K, V>::MAY_BE {
            return self.get_locked(stripe, hash, key);
        }
        let Some(table) = stripe.table.open() else {
            return self.get_closed(stripe, hash, key);
        };
        match stripe.glance(&self.context, &table, hash, same::<K, V, Q>(key)) {
            Glance::Found(value, _) => {
                self.context.count_here(Event::Hit);
                Some(value)
            }
            Glance::Absent => {
                self.context.count_here(Event::Miss);
                None
            }
            Glance::Further => self.get_behind(stripe, hash, key),
            Glance::Unclear => self.get_further(hash, key, Further::Again),
        }
    }

    /// Goes on with a [`get`](Cache::get) without a lock.
    #[inline(never)]
    fn get_behind<Q>(&self, stripe: &Stripe<K, V, P>, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut look = LookUp { context: &self.context, hash, is_hit: false };
        let glance = stripe.glance_further(&self.context, hash, same::<K, V, Q>(key));
        let found = self.glanced(glance, hash, key);
        look.is_hit = found.is_some();
        found
    }

    /// What a look without a lock found, or else one with it does.
    fn glanced<Q>(&self, glance: Glance<'_, V>, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match glance {
            Glance::Found(value, _) => Some(value),
            Glance::Absent => None,
            Glance::Further | Glance::Unclear => {
                self.use_further(Further::Again, hash, key, V::clone)
            }
        }
    }

    /// Goes on with a [`get`](Cache::get) under the bucket's lock.
    #[inline(always)]
    fn get_locked<Q>(&self, stripe: &Stripe<K, V, P>, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match stripe.hit(&self.context, hash, same::<K, V, Q>(key)) {
            Hit::Used(found) => {
                self.context.count_here(Event::Hit);
                let _running = enter_user_code::<K, V>();
                // A large value is cloned to where it is returned: the entry's lock is released as
                // this is dropped.
                Some(found.value.clone())
            }
            Hit::Absent => {
                self.context.count_here(Event::Miss);
                None
            }
            Hit::Further(further) => self.get_further(hash, key, further),
        }
    }

    /// The same where entries might be bare but are not.
    #[inline(never)]
    fn get_closed<Q>(&self, stripe: &Stripe<K, V, P>, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.get_locked(stripe, hash, key)
    }

    /// Looks `key` up as a use that is counted, where reading changes no lifetime.
    #[inline]
    pub(super) fn use_value<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        then: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let stripe = self.stripe(hash);
        if self.is_special(stripe, hash) {
            return self.use_watched(stripe, hash, key, then);
        }
        match stripe.hit(&self.context, hash, same::<K, V, Q>(key)) {
            Hit::Used(used) => {
                self.context.count_here(Event::Hit);
                Some(then(&used.value))
            }
            Hit::Absent => {
                self.context.count_here(Event::Miss);
                None
            }
            Hit::Further(further) => self.go_on(further, hash, key, then),
        }
    }

    /// Whether a look-up must do more than look up and add to a counter.
    #[inline(always)]
    fn is_special(&self, stripe: &Stripe<K, V, P>, hash: u64) -> bool {
        let context = &self.context;
        context.special.contains(hash) || stripe.samples(hash) || !context.can_count_here()
    }

    /// [`version`](Cache::version) by hash.
    pub(super) fn version<Q>(&self, hash: u64, key: &Q) -> Option<u64>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if self.is_surely_absent(hash) {
            return None;
        }
        let (stripe, now) = self.approach(hash);
        stripe.version(&self.context, hash, same::<K, V, Q>(key), now)
    }

    /// Whether no entry can have this hash: certain at some moment during the call. Takes no lock.
    #[inline]
    pub(super) fn is_surely_absent(&self, hash: u64) -> bool {
        self.stripe(hash).table.surely_absent(hash)
    }

    /// [`peek`](Cache::peek) by hash.
    pub(super) fn peek<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (stripe, now) = self.approach(hash);
        let value = self.peek_at(stripe, hash, key, now);
        self.tidy(now);
        value
    }

    /// Shows the value of `key` to code of ours, under its bucket's lock, without counting as a use.
    pub(super) fn glimpse<Q, R>(&self, hash: u64, key: &Q, show: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (stripe, now) = self.approach(hash);
        let equals = same::<K, V, Q>(key);
        let seen = stripe.peek(&self.context, hash, equals, now, |found| show(&found.value));
        self.tidy(now);
        seen
    }

    /// [`peek`](Cache::peek) without maintenance: for who leads a flight, whose key the listener may ask for.
    pub(super) fn peek_alone<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (stripe, now) = self.approach(hash);
        self.peek_at(stripe, hash, key, now)
    }

    #[inline]
    fn peek_at<Q>(&self, stripe: &Stripe<K, V, P>, hash: u64, key: &Q, now: u64) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        stripe.peek(&self.context, hash, same::<K, V, Q>(key), now, |found| {
            let _running = enter_user_code::<K, V>();
            found.value.clone()
        })
    }

    /// Goes on with a [`get`](Cache::get).
    #[cold]
    #[inline(never)]
    fn get_further<Q>(&self, hash: u64, key: &Q, further: Further<'_, K, V>) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.go_on(further, hash, key, |value| {
            let _running = enter_user_code::<K, V>();
            value.clone()
        })
    }

    /// Goes on with a look-up, and counts it.
    #[inline]
    fn go_on<Q, R>(
        &self,
        further: Further<'_, K, V>,
        hash: u64,
        key: &Q,
        then: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut look = LookUp { context: &self.context, hash, is_hit: false };
        self.use_further(further, hash, key, |value| {
            // At once: what follows may panic.
            look.is_hit = true;
            then(value)
        })
    }

    /// [`get`](Cache::get) where there is more to do: a clock to read, tags to see to, the policy or
    /// a recording to tell. Kept apart, so that elsewhere nothing is spent on it.
    #[inline(never)]
    fn get_watched<Q>(&self, stripe: &Stripe<K, V, P>, hash: u64, key: &Q) -> Option<V>
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (value, now) = self.get_alone(stripe, hash, key);
        self.tidy(now);
        value
    }

    /// The same without maintenance, as [`peek_alone`](Self::peek_alone). Answers what time it is, too.
    #[inline]
    pub(super) fn get_alone<Q>(
        &self,
        stripe: &Stripe<K, V, P>,
        hash: u64,
        key: &Q,
    ) -> (Option<V>, u64)
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // Uses that put a deadline off need the lock, and so does looking at tags.
        let is_plain = self.context.rules.time_to_idle.is_none() && self.context.tagger.is_none();
        let Some(table) = stripe.table.open().filter(|_| is_plain) else {
            return self.get_held(stripe, hash, key);
        };
        let (value, now) = self.glance_alone(stripe, &table, hash, key);
        self.after_get((hash, key), value.as_ref(), None);
        (value, now)
    }

    /// The same, always under the bucket's lock.
    #[inline]
    pub(super) fn get_held<Q>(
        &self,
        stripe: &Stripe<K, V, P>,
        hash: u64,
        key: &Q,
    ) -> (Option<V>, u64)
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let version = self.before_get(stripe, hash, key);
        let (value, now) = self.use_alone(stripe, hash, key, |value| {
            let _running = enter_user_code::<K, V>();
            value.clone()
        });
        self.after_get((hash, key), value.as_ref(), version);
        (value, now)
    }

    /// [`use_alone`](Self::use_alone) without a lock.
    #[inline]
    fn glance_alone<'a, Q>(
        &'a self,
        stripe: &'a Stripe<K, V, P>,
        table: &Open<'a, K, V>,
        hash: u64,
        key: &Q,
    ) -> (Option<V>, u64)
    where
        V: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut look = LookUp { context: &self.context, hash, is_hit: false };
        let spot = table.approach(hash);
        // Meanwhile it comes near.
        let now = self.context.time_of_use();
        let equals = same::<K, V, Q>(key);
        let mut glance = stripe.glance_at(&self.context, (table, spot), hash, equals, now);
        if matches!(glance, Glance::Further) {
            glance = stripe.glance_further(&self.context, hash, equals);
        }
        let found = self.glanced(glance, hash, key);
        look.is_hit = found.is_some();
        (found, now)
    }

    /// Looks `key` up as a use that is counted, and does what is due.
    #[inline]
    fn use_watched<Q, R>(
        &self,
        stripe: &Stripe<K, V, P>,
        hash: u64,
        key: &Q,
        then: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (found, now) = self.use_alone(stripe, hash, key, then);
        self.tidy(now);
        found
    }

    #[inline]
    fn use_alone<Q, R>(
        &self,
        stripe: &Stripe<K, V, P>,
        hash: u64,
        key: &Q,
        then: impl FnOnce(&V) -> R,
    ) -> (Option<R>, u64)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut look = LookUp { context: &self.context, hash, is_hit: false };
        let equals = same::<K, V, Q>(key);
        let spot = stripe.table.approach(hash);
        let puts_off = self.context.rules.time_to_idle.is_some();
        let deadlines = if puts_off { stripe.approach_deadlines(&spot, hash) } else { None };
        // Meanwhile they come near.
        let now = self.context.time_of_use();
        let found = match stripe.hit_at(&self.context, spot, hash, equals, (now, deadlines)) {
            Hit::Used(used) => {
                // At once: what follows may panic.
                look.is_hit = true;
                Some(then(&used.value))
            }
            Hit::Absent => None,
            Hit::Further(further) => self.use_further(further, hash, key, |value| {
                look.is_hit = true;
                then(value)
            }),
        };
        (found, now)
    }

    #[cold]
    #[inline(never)]
    fn use_further<Q, R>(
        &self,
        further: Further<'_, K, V>,
        hash: u64,
        key: &Q,
        then: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let equals = same::<K, V, Q>(key);
        let found = self.stripe(hash).hit_further(&self.context, further, hash, equals);
        found.map(|used| then(&used.value))
    }
}
