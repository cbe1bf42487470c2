//! What touches all stripes: maintenance, changing the capacity, removing many.

use std::hash::{BuildHasher, Hash};

use super::{Cache, Inner};
use crate::{
    event::Effects,
    panics::Panics,
    policy::Policy,
    stripe::{Given, Stripe, hash_of},
    sync::{AtomicU64, Ordering, lock},
    table::UserCode,
    tags::Registry,
};

/// Maintenance steps (a bucket each) that one operation does on the side.
const STEPS_ON_THE_SIDE: usize = 16;
/// The same for thorough maintenance, between two releases of the stripe's lock.
const STEPS_AT_ONCE: usize = 64;
/// Entries evicted in one go for another stripe or a smaller capacity.
const EVICTIONS_AT_ONCE: usize = 64;

impl<K, V, P, S> Cache<K, V, P, S>
where
    K: Hash + Eq,
    P: Policy,
    S: BuildHasher,
{
    /// Does all outstanding maintenance now: reclaims every expired entry and every entry of a
    /// removed tag.
    ///
    /// There is no need to call it: operations do a little on the side, within a second of a
    /// deadline. It is for caches that nobody uses for long (see also
    /// [`Builder::maintenance_thread`](crate::Builder::maintenance_thread)) and for tests.
    pub fn run_maintenance(&self) {
        self.inner.run_maintenance();
    }

    /// Changes the capacity.
    ///
    /// When it returns, the entries weigh at most as much. To get there, entries are evicted in
    /// small steps, between which others use the cache; that takes time in proportion to what goes.
    /// New entries obey the new capacity at once. Keys and values of what goes are dropped; the table
    /// keeps their places for entries to come, as after [`clear`](Self::clear).
    ///
    /// Should a policy of one's own name no entry that may go, what is there stays, and
    /// [`capacity`](Self::capacity) tells of it until it goes in another way.
    ///
    /// ```
    /// # let cache = larder::Cache::new(1000);
    /// # for i in 0..1000 { cache.insert(i, i); }
    /// cache.set_capacity(10);
    /// assert_eq!(cache.weight(), 10);
    /// ```
    pub fn set_capacity(&self, capacity: u64) {
        let inner = &*self.inner;
        let resizing = lock(&inner.resizing);
        inner.context.budget.set_target(capacity);
        if capacity == 0 {
            inner.flights.supersede_all();
        }
        let share = inner.context.share();
        // Whoever has read the former target is done with it once its stripe's lock was taken.
        for stripe in &inner.stripes {
            stripe.set_capacity(share, capacity, inner.context.weigher.is_some());
        }
        drop(resizing);
        let mut panics = Panics::default();
        loop {
            let excess = inner.context.budget.excess();
            if excess == 0 {
                break;
            }
            let mut leaving = inner.departures();
            let given = inner.take_room(usize::MAX, excess, &mut leaving.effects);
            leaving.credit = given.weight;
            panics.catch(|| drop(leaving));
            if given.is_refused {
                break;
            }
            if given.weight == 0 {
                // The excess is reserved by writers who are about to use it or give it back.
                crate::sync::yield_now();
            }
        }
        panics.pass_on();
    }

    /// Removes all entries. Those inserted while it runs may or may not stay; what is being loaded
    /// meanwhile is not stored.
    ///
    /// Memory for entries is kept for those to come (see `design`); what the policy remembers of
    /// the past is forgotten.
    pub fn clear(&self) {
        let inner = &*self.inner;
        let panics = inner.remove_where(|_, _| true);
        for stripe in &inner.stripes {
            stripe.forget();
        }
        panics.pass_on();
    }

    /// Removes the entries for which `keep` answers `false`. Entries inserted while it runs may or
    /// may not be asked about; what is being loaded meanwhile is not stored.
    ///
    /// The closure runs under a bucket's lock, and under the stripe's: keep it short, and do not
    /// call this cache from it.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        let panics = self.inner.remove_where(|key, value| {
            let _running = UserCode::enter();
            !keep(key, value)
        });
        panics.pass_on();
    }

    /// Removes every entry that has this tag, in O(1): they are dead at once. What they hold is
    /// given back by a sweep that the following operations share, or by
    /// [`run_maintenance`](Self::run_maintenance).
    ///
    /// Hash the tag like those that the function given to [`Builder::tags`](crate::Builder::tags)
    /// returns. Answers whether any entry may have had it; always `false` without such a function.
    pub fn remove_tag<T: Hash + ?Sized>(&self, tag: &T) -> bool {
        let context = &self.inner.context;
        let Some(tagger) = &context.tagger else { return false };
        let tag = Registry::hash(&tagger.hasher, tag);
        let mut is_known = tagger.registry.remove(tag);
        if !is_known {
            // What is being loaded may have it, and nothing is kept of an unknown tag. What was
            // loaded just before this has made it known.
            self.inner.flights.supersede_all();
            is_known = tagger.registry.remove(tag);
        }
        if is_known {
            // What is being loaded and has it will not be stored; nor may those who ask from now on
            // be given it.
            self.inner.flights.close_all();
            for stripe in &self.inner.stripes {
                stripe.ask_tag_sweep(context);
            }
        }
        is_known
    }

    /// How many keys are being computed. For tests: when nobody is, there must be none.
    #[doc(hidden)]
    pub fn flights(&self) -> usize {
        self.inner.flights.len()
    }

    /// Checks every internal invariant of the cache. For tests, while no other thread uses it.
    ///
    /// # Panics
    /// If one does not hold, saying which.
    pub fn validate(&self) {
        let inner = &*self.inner;
        for stripe in &inner.stripes {
            stripe.validate(&inner.context);
        }
        let weight: u64 = inner.stripes.iter().map(Stripe::weight).sum();
        assert_eq!(weight, self.weight(), "the budget differs from what is resident");
        assert!(weight <= self.capacity(), "over capacity");
    }
}

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq,
    P: Policy,
    S: BuildHasher,
{
    /// The number of the stripe for this hash.
    #[inline]
    pub(super) fn number(&self, hash: u64) -> usize {
        // The number of stripes is a power of two.
        (hash >> 32) as usize & (self.stripes.len() - 1)
    }

    /// Does a little maintenance if some is due.
    #[inline]
    pub(super) fn tidy(&self, now: u64) {
        if self.context.is_due(now) {
            self.maintain_some(now);
        }
    }

    #[cold]
    fn maintain_some(&self, now: u64) {
        let _again = AskAgain(&self.context.due);
        // AcqRel: before the stripes' own are read; see `Stripe::ask`.
        self.context.due.swap(u64::MAX, Ordering::AcqRel);
        let tick = crate::time::Tick::of(now).0;
        let mut steps = STEPS_ON_THE_SIDE;
        let mut leaving = self.departures();
        for stripe in &self.stripes {
            if steps > 0 && stripe.due() <= tick {
                steps = stripe.maintain(&self.context, now, (steps, false), &mut leaving.effects);
            }
            self.context.due.fetch_min(stripe.due(), Ordering::AcqRel);
        }
    }

    pub(super) fn run_maintenance(&self) {
        let now = self.context.now();
        let mut panics = Panics::default();
        for stripe in &self.stripes {
            loop {
                let mut leaving = self.departures();
                let steps = (STEPS_AT_ONCE, true);
                let left = stripe.maintain(&self.context, now, steps, &mut leaving.effects);
                panics.catch(|| drop(leaving));
                if left > 0 {
                    break;
                }
            }
        }
        if let Some(tagger) = &self.context.tagger {
            tagger.registry.clear_unused();
        }
        panics.pass_on();
    }

    /// Evicts up to `wanted` (weight) from the stripe that holds most, except stripe `not`, or if its
    /// policy gives nothing up from another. The weight stays reserved and is the caller's.
    pub(super) fn take_room(&self, not: usize, wanted: u64, effects: &mut Effects<K, V>) -> Given {
        let others = self.stripes.iter().enumerate().filter(|&(number, _)| number != not);
        let donor = others.clone().max_by_key(|(_, stripe)| stripe.weight());
        let mut ask = |donor: &Stripe<K, V, P>| {
            donor.give_room(&self.context, wanted, EVICTIONS_AT_ONCE, effects)
        };
        let given = donor.map_or(Given::NOTHING, |(_, donor)| ask(donor));
        if !given.is_refused {
            return given;
        }
        let mut rest = others.filter(|(_, donor)| donor.weight() > 0).map(|(_, donor)| ask(donor));
        rest.find(|given| given.weight > 0).unwrap_or(given)
    }

    /// Removes the entries for which `remove` says so. A panic of a removed one's `Drop` keeps no
    /// other from being removed; one of `remove` ends it.
    fn remove_where(&self, mut remove: impl FnMut(&K, &V) -> bool) -> Panics {
        self.flights.supersede_all();
        // Once more, as in `remove_into`.
        let supersede = |key: &K| {
            match hash_of(&self.context.hasher, key) {
                Some(hash) => _ = self.flights.supersede(hash),
                // It panicked.
                None => self.flights.supersede_all(),
            }
        };
        let now = self.context.now();
        let mut panics = Panics::default();
        for stripe in &self.stripes {
            let mut at = Some(stripe.table.start());
            while let Some(cursor) = at {
                let mut leaving = self.departures();
                let how = (&mut remove, supersede);
                let effects = &mut leaving.effects;
                at = stripe.retain_step(&self.context, cursor, now, how, effects);
                panics.catch(|| drop(leaving));
            }
        }
        panics
    }
}

/// Asks for maintenance again if a panic ends it: of a clock, a policy, or the `Drop` of what goes.
struct AskAgain<'a>(&'a AtomicU64);

impl Drop for AskAgain<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // AcqRel: as in `Stripe::ask`.
            self.0.fetch_min(0, Ordering::AcqRel);
        }
    }
}
