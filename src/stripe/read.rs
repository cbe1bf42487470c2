//! What goes without the stripe's lock: hits, and replacing a value in place.

use std::{
    hash::{BuildHasher, Hash},
    mem,
};

use super::{Stripe, When};
use crate::{
    Slot,
    context::Context,
    expiry::{
        Lifetime,
        deadlines::{OfBucket, Swept},
        hint,
    },
    policy::{Policy, Recorder},
    sync::{AtomicU8, Ordering},
    table::{BucketGuard, Found, Further, Lane, Locked, Look, Spot, enter_user_code},
    time::Tick,
};

/// An entry that was looked up as a use of it: its bucket is locked until this is dropped, and then
/// what the use leaves to do is done.
pub(crate) struct Used<'a, K: Hash, V, P: Policy, S: BuildHasher> {
    pub(crate) value: &'a mut V,
    /// In this order: the lock is released first.
    _guard: BucketGuard<'a>,
    _rest: Rest<'a, K, V, P, S>,
}

/// The lifetime of a value that is about to replace another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal<'a> {
    pub(crate) when: When,
    /// Those in the bucket that was picked, if there are any yet.
    pub(crate) deadlines: Option<OfBucket<'a>>,
}

/// What a use leaves to do once its lock is released.
struct Rest<'a, K: Hash, V, P: Policy, S: BuildHasher> {
    stripe: &'a Stripe<K, V, P>,
    context: &'a Context<K, V, S>,
    hash: u64,
    /// Whether the recorder asked for maintenance.
    is_due: bool,
    /// Whether the recorder may sample the use.
    may_sample: bool,
}

impl<K: Hash, V, P: Policy, S: BuildHasher> Drop for Rest<'_, K, V, P, S> {
    #[inline(always)]
    fn drop(&mut self) {
        let Self { stripe, context, hash, is_due, may_sample } = *self;
        if is_due || (may_sample && stripe.recorder.samples(hash)) {
            stripe.follow_up(context, hash, is_due);
        }
    }
}

/// What a first look for an entry to use came to. The rest is apart, so that the usual case needs
/// neither the stack nor many saved registers for it.
pub(crate) enum Hit<'a, K: Hash, V, P: Policy, S: BuildHasher> {
    Used(Used<'a, K, V, P, S>),
    Absent,
    /// See [`Stripe::hit_further`].
    Further(Further<'a, K, V>),
}

impl<K: Hash, V, P: Policy> Stripe<K, V, P> {
    /// Whether the policy's recorder samples the uses of keys of this hash.
    #[inline(always)]
    pub(crate) fn samples(&self, hash: u64) -> bool {
        self.recorder.samples(hash)
    }

    /// Looks an entry up as a use of it. The recorder does not [sample](Self::samples) the hash.
    #[inline(always)]
    pub(crate) fn hit<'a, S: BuildHasher>(
        &'a self,
        context: &'a Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
    ) -> Hit<'a, K, V, P, S> {
        match self.table.look(self.table.approach(hash), hash, &equals) {
            Look::Found(locked) if is_immortal(locked.found.lane) => {
                Hit::Used(self.used(context, locked, hash, false))
            }
            Look::Found(_) => Hit::Further(Further::Again),
            Look::Absent => Hit::Absent,
            Look::Further(further) => Hit::Further(further),
        }
    }

    /// [`hit`](Self::hit) in the bucket that was picked, where entries have deadlines.
    #[inline(always)]
    pub(crate) fn hit_at<'a, S: BuildHasher>(
        &'a self,
        context: &'a Context<K, V, S>,
        spot: Spot<'a, K, V>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        now: u64,
    ) -> Hit<'a, K, V, P, S> {
        match self.table.look(spot, hash, &equals) {
            Look::Found(locked) if self.use_alive(context, locked.found.lane, now) => {
                Hit::Used(self.used(context, locked, hash, true))
            }
            Look::Found(_) | Look::Absent => Hit::Absent,
            Look::Further(further) => Hit::Further(further),
        }
    }

    /// Goes on where [`hit`](Self::hit) was not the usual case.
    #[cold]
    pub(crate) fn hit_further<'a, S: BuildHasher>(
        &'a self,
        context: &'a Context<K, V, S>,
        further: Further<'a, K, V>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
    ) -> Option<Used<'a, K, V, P, S>> {
        let locked = self.table.look_further(further, hash, equals)?;
        let is_alive = self.use_alive(context, locked.found.lane, context.time_of_use());
        is_alive.then(|| self.used(context, locked, hash, true))
    }

    /// Tells the recorder of a use. Without `may_sample` it is known already that the recorder does
    /// not sample the hash.
    #[inline(always)]
    fn used<'a, S: BuildHasher>(
        &'a self,
        context: &'a Context<K, V, S>,
        locked: Locked<'a, K, V>,
        hash: u64,
        may_sample: bool,
    ) -> Used<'a, K, V, P, S> {
        let Locked { found: Found { value, lane, .. }, guard } = locked;
        let is_due = self.recorder.on_hit(lane.slot(), &lane.state.mark);
        Used {
            value,
            _guard: guard,
            _rest: Rest { stripe: self, context, hash, is_due, may_sample },
        }
    }

    #[cold]
    #[inline(never)]
    fn follow_up<S: BuildHasher>(&self, context: &Context<K, V, S>, hash: u64, mut is_due: bool) {
        if self.recorder.samples(hash) {
            is_due |= self.recorder.on_sample(hash);
        }
        if is_due {
            self.maintain_policy(context);
        }
    }
}

/// Whether the entry, whose bucket is locked, has neither deadline nor tags.
#[inline(always)]
fn is_immortal(lane: Lane<'_>) -> bool {
    // Relaxed: guarded by the bucket's lock.
    lane.state.hint.load(Ordering::Relaxed) == hint::NEVER
}

/// The hint for a deadline; the bucket is locked, or the entry not yet published.
#[inline]
fn hint_for<K, V, S>(context: &Context<K, V, S>, deadline: Tick, now: u64, swept: Swept) -> u8 {
    if context.tagger.is_some() {
        // An entry with tags may be dead at any time.
        return hint::ASK;
    }
    context.scale.encode(deadline, Tick::of(now), swept.begun)
}

impl<K, V, P: Policy> Stripe<K, V, P> {
    /// Looks an entry up without using it.
    #[inline]
    pub(crate) fn peek<S, R>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        now: u64,
        then: impl FnOnce(Found<'_, K, V>) -> R,
    ) -> Option<R> {
        let locked = self.table.find(hash, equals)?;
        self.is_alive(context, locked.found.lane, now).then(|| then(locked.found))
    }

    /// The lifetime of a living entry.
    pub(crate) fn life<S>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        now: u64,
    ) -> Option<Lifetime> {
        self.peek(context, hash, equals, now, |found| self.lifetime_of(context, found.lane.slot()))
    }

    /// Whether the entry, whose bucket is locked, may still be seen.
    #[inline]
    pub(super) fn is_alive<S>(&self, context: &Context<K, V, S>, lane: Lane<'_>, now: u64) -> bool {
        is_immortal(lane) || self.is_mortal_alive(context, lane, now, self.swept())
    }

    /// Answers whether the entry, whose bucket is locked, is alive, and if so puts its idle deadline
    /// off.
    #[inline(always)]
    fn use_alive<S>(&self, context: &Context<K, V, S>, lane: Lane<'_>, now: u64) -> bool {
        if is_immortal(lane) {
            return true;
        }
        let is_alive = self.is_mortal_alive(context, lane, now, self.swept());
        if is_alive && context.rules.time_to_idle.is_some() {
            self.extend_idle(context, lane.slot(), &lane.state.hint, now);
        }
        is_alive
    }

    #[inline(always)]
    fn is_mortal_alive<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        now: u64,
        swept: Swept,
    ) -> bool {
        // Relaxed: guarded by the bucket's lock.
        let hint = lane.state.hint.load(Ordering::Relaxed);
        context.scale.is_alive(hint, Tick::of(now), swept.done)
            || self.look_up_life(context, lane.slot(), &lane.state.hint, now)
    }

    /// Reads the deadline itself, and improves the hint if it can be; looks at the tags.
    #[cold]
    fn look_up_life<S>(
        &self,
        context: &Context<K, V, S>,
        slot: Slot,
        hint: &AtomicU8,
        now: u64,
    ) -> bool {
        let deadline = self.deadline(slot);
        if deadline != Tick::NEVER {
            // The time so far may have been the coarse clock's.
            let now = now.max(context.clock.now());
            if Tick::of(now) >= deadline {
                return false;
            }
        }
        // Relaxed: guarded by the bucket's lock.
        hint.store(hint_for(context, deadline, now, self.swept()), Ordering::Relaxed);
        context.tagger.is_none() || !self.is_tag_dead(slot)
    }

    fn is_tag_dead(&self, slot: Slot) -> bool {
        self.sides.tags.get(slot).is_some_and(crate::tags::TagCell::is_dead)
    }

    /// A use puts the idle deadline off. It stays in the timer wheel where it was: that fires, sees
    /// the new deadline, and puts it back.
    fn extend_idle<S>(&self, context: &Context<K, V, S>, slot: Slot, hint: &AtomicU8, now: u64) {
        let deadline = context.rules.idle_from(now, self.sides.limits.get(slot, self.swept()));
        if deadline > self.deadline(slot) {
            self.sides.deadlines.set(slot, deadline, self.swept());
            // Relaxed: guarded by the bucket's lock.
            hint.store(hint_for(context, deadline, now, self.swept()), Ordering::Relaxed);
        }
    }

    /// How far the stripe was swept, as seen by a holder of the lock of the bucket in question, or of
    /// an entry not yet published.
    #[inline]
    pub(super) fn swept(&self) -> Swept {
        // In this order, so that what is done had begun.
        // Acquire: pairs with the Release in `finish_sweep`: entries that the sweep removed are not
        // found.
        let done = Tick(self.swept.load(Ordering::Acquire));
        // Relaxed: a sweep announces itself before it takes the bucket's lock, so who holds that
        // later sees the announcement, and an entry of who held it earlier is seen by the sweep.
        Swept { done, begun: Tick(self.sweeping.load(Ordering::Relaxed)) }
    }

    /// The deadline of an entry whose bucket is locked.
    pub(super) fn deadline(&self, slot: Slot) -> Tick {
        self.sides.deadlines.get(slot, self.swept())
    }

    /// The lifetime of an entry whose bucket is locked.
    pub(super) fn lifetime_of<S>(&self, context: &Context<K, V, S>, slot: Slot) -> Lifetime {
        let deadline = self.deadline(slot);
        let limit = match context.rules.time_to_idle {
            Some(_) => self.sides.limits.get(slot, self.swept()),
            None => deadline,
        };
        Lifetime { limit, deadline }
    }

    /// Writes an entry's lifetime; its bucket is locked or it is not yet published. The caller sees
    /// to the timer wheel.
    pub(super) fn set_lifetime<S>(
        &self,
        context: &Context<K, V, S>,
        slot: Slot,
        hint: &AtomicU8,
        life: Lifetime,
        now: u64,
    ) {
        let swept = self.swept();
        self.sides.deadlines.set(slot, life.deadline, swept);
        if context.rules.time_to_idle.is_some() {
            self.sides.limits.set(slot, life.limit, swept);
        }
        // Relaxed: guarded by the bucket's lock, or published with the entry.
        hint.store(hint_for(context, life.deadline, now, swept), Ordering::Relaxed);
    }

    /// Swaps the value of a living entry without the stripe's lock, for caches without weigher,
    /// listener and tags, whose stripes have nothing to keep up to date. Changes nothing if there
    /// is no such entry, or if its deadline would come nearer (which the timer wheel would have to
    /// know). Answers whether it swapped. `renewal` is told where entries have deadlines.
    #[inline(always)]
    pub(crate) fn replace_in_place<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        spot: Spot<'_, K, V>,
        hash: u64,
        (key, value): (&K, &mut V),
        renewal: Option<Renewal<'_>>,
    ) -> bool
    where
        K: Hash + Eq,
    {
        let equals = |resident: &K| {
            let _running = enter_user_code::<K, V>();
            resident == key
        };
        match self.table.look_lightly(spot, hash, &equals) {
            Look::Found(locked) => self.swap(context, locked, hash, value, renewal),
            Look::Absent => false,
            Look::Further(further) => {
                self.swap_further(context, further, (hash, equals), value, renewal)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn swap_further<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        further: Further<'_, K, V>,
        (hash, equals): (u64, impl Fn(&K) -> bool + Copy),
        value: &mut V,
        renewal: Option<Renewal<'_>>,
    ) -> bool
    where
        K: Hash,
    {
        let locked = self.table.look_further(further, hash, equals);
        // It lies in an overflow group, or the bucket was split since it was picked.
        let renewal = renewal.map(|renewal| Renewal { deadlines: None, ..renewal });
        locked.is_some_and(|locked| self.swap(context, locked, hash, value, renewal))
    }

    #[inline(always)]
    fn swap<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        locked: Locked<'_, K, V>,
        hash: u64,
        value: &mut V,
        renewal: Option<Renewal<'_>>,
    ) -> bool
    where
        K: Hash,
    {
        let lane = locked.found.lane;
        let may_stay = match renewal {
            None => is_immortal(lane),
            Some(Renewal { when, .. }) if is_immortal(lane) => when.life.deadline == Tick::NEVER,
            Some(renewal) => self.prolong(context, lane, renewal),
        };
        if !may_stay || self.is_pinned(lane) {
            return false;
        }
        // Relaxed: a version asked for under the bucket's lock is asked for after this is set.
        if self.versioned.load(Ordering::Relaxed) {
            self.renew_version(lane.slot());
        }
        mem::swap(self.used(context, locked, hash, true).value, value);
        true
    }

    /// Gives an entry the lifetime of the value that will replace its own, if it is alive and its
    /// deadline does not come nearer.
    #[inline(always)]
    fn prolong<S>(&self, context: &Context<K, V, S>, lane: Lane<'_>, renewal: Renewal<'_>) -> bool {
        let Renewal { when, deadlines } = renewal;
        let (slot, swept, deadline) = (lane.slot(), self.swept(), when.life.deadline);
        let later = self.is_mortal_alive(context, lane, when.now, swept)
            && match deadlines {
                Some(deadlines) => deadlines.put_off(slot, deadline, swept),
                None => self.sides.deadlines.put_off(slot, deadline, swept),
            };
        if later {
            if context.rules.time_to_idle.is_some() {
                self.sides.limits.set(slot, when.life.limit, swept);
            }
            let hint = hint_for(context, deadline, when.now, swept);
            // Relaxed: guarded by the bucket's lock.
            lane.state.hint.store(hint, Ordering::Relaxed);
        }
        later
    }

    /// The deadlines in the bucket that was picked; begins to fetch the one that is probably wanted.
    #[inline(always)]
    pub(crate) fn approach_deadlines(
        &self,
        spot: &Spot<'_, K, V>,
        hash: u64,
    ) -> Option<OfBucket<'_>> {
        let (first, probable) = spot.slots(hash);
        let deadlines = self.sides.deadlines.of_bucket(first)?;
        deadlines.prefetch(probable);
        Some(deadlines)
    }
}
