//! What goes without the stripe's lock: hits, and replacing a value in place.

use std::{
    hash::{BuildHasher, Hash},
    mem,
};

use super::{Stripe, When};
use crate::{
    Slot,
    context::Context,
    expiry::{Lifetime, hint},
    policy::{Policy, Recorder},
    sync::Ordering,
    table::{Found, Further, Lane, Locked, Look, enter_user_code},
    time::Tick,
};

impl<K, V, P: Policy> Stripe<K, V, P> {
    /// Looks an entry up as a use of it and runs `then` on its value under the bucket's lock.
    ///
    /// The usual case alone is here, and everything else is out of its way: the compiler then needs
    /// neither the stack nor saved registers for it.
    #[inline(always)]
    pub(crate) fn hit<S: BuildHasher, R>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        then: impl FnOnce(&mut V) -> R,
    ) -> Option<R>
    where
        K: Hash,
    {
        let Locked { found, guard } =
            match self.table.look(self.table.approach(hash), hash, &equals) {
                Look::Found(locked) => locked,
                Look::Absent => return None,
                Look::Further(further) => {
                    return self.hit_further(context, further, hash, equals, then);
                }
            };
        // Relaxed: guarded by the bucket's lock.
        if found.lane.state.hint.load(Ordering::Relaxed) != hint::NEVER {
            drop(guard);
            return self.hit_mortal(context, hash, equals, then);
        }
        let is_due = self.recorder.on_hit(found.lane.slot(), &found.lane.state.mark);
        let read = then(found.value);
        drop(guard);
        self.follow_up(context, found.lane, hash, is_due);
        Some(read)
    }

    /// [`hit`](Self::hit) where the time must be known, which is answered too.
    #[inline(always)]
    pub(crate) fn hit_timed<S: BuildHasher, R>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        then: impl FnOnce(&mut V) -> R,
    ) -> (Option<R>, u64)
    where
        K: Hash,
    {
        let spot = self.table.approach(hash);
        let now = context.time_of_use();
        let used = match self.table.look(spot, hash, &equals) {
            Look::Found(locked) => self.use_found(context, locked, (hash, now), then),
            Look::Absent => None,
            Look::Further(further) => self
                .table
                .look_further(further, hash, equals)
                .and_then(|locked| self.use_found(context, locked, (hash, now), then)),
        };
        (used, now)
    }

    #[cold]
    #[inline(never)]
    fn hit_further<S: BuildHasher, R>(
        &self,
        context: &Context<K, V, S>,
        further: Further<'_, K, V>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        then: impl FnOnce(&mut V) -> R,
    ) -> Option<R>
    where
        K: Hash,
    {
        let locked = self.table.look_further(further, hash, equals)?;
        self.use_found(context, locked, (hash, context.time_of_use()), then)
    }

    /// [`hit`](Self::hit) of an entry that has a deadline, in a cache where few have.
    #[cold]
    #[inline(never)]
    fn hit_mortal<S: BuildHasher, R>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        then: impl FnOnce(&mut V) -> R,
    ) -> Option<R>
    where
        K: Hash,
    {
        self.hit_timed(context, hash, equals, then).0
    }

    /// Uses an entry, if it is alive.
    #[inline(always)]
    fn use_found<S: BuildHasher, R>(
        &self,
        context: &Context<K, V, S>,
        locked: Locked<'_, K, V>,
        (hash, now): (u64, u64),
        then: impl FnOnce(&mut V) -> R,
    ) -> Option<R>
    where
        K: Hash,
    {
        let Locked { found, guard } = locked;
        // Relaxed: guarded by the bucket's lock.
        let hint = found.lane.state.hint.load(Ordering::Relaxed);
        if hint != hint::NEVER && !self.use_mortal(context, found.lane, hint, now) {
            return None;
        }
        let is_due = self.recorder.on_hit(found.lane.slot(), &found.lane.state.mark);
        let read = then(found.value);
        drop(guard);
        self.follow_up(context, found.lane, hash, is_due);
        Some(read)
    }

    /// What a hit leaves to do once its lock is released. `is_due` says that the recorder asked for
    /// maintenance.
    #[inline(always)]
    fn follow_up<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        hash: u64,
        is_due: bool,
    ) where
        K: Hash,
    {
        if is_due || self.recorder.samples(hash) {
            self.follow_up_on(context, lane.slot(), hash, is_due);
        }
    }

    #[cold]
    #[inline(never)]
    fn follow_up_on<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        slot: Slot,
        hash: u64,
        mut is_due: bool,
    ) where
        K: Hash,
    {
        if self.recorder.samples(hash) {
            is_due |= self.recorder.on_sample(slot, hash);
        }
        if is_due {
            self.maintain_policy(context);
        }
    }

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
        // Relaxed: guarded by the bucket's lock.
        let hint = lane.state.hint.load(Ordering::Relaxed);
        hint == hint::NEVER || self.is_mortal_alive(context, lane, hint, now)
    }

    /// Uses an entry that has a deadline or tags; answers whether it is alive.
    #[inline(always)]
    fn use_mortal<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        hint: u8,
        now: u64,
    ) -> bool {
        let is_alive = self.is_mortal_alive(context, lane, hint, now);
        if is_alive && context.rules.time_to_idle.is_some() {
            self.extend_idle(context, lane, now);
        }
        is_alive
    }

    #[inline(always)]
    fn is_mortal_alive<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        hint: u8,
        now: u64,
    ) -> bool {
        // Acquire: pairs with the Release in `Stripe::finish_sweep`: entries that the sweep removed
        // are not found.
        let swept = Tick(self.swept.load(Ordering::Acquire));
        hint::is_alive(hint, Tick::of(now), swept, context.quantum)
            || self.look_up_life(context, lane, now)
    }

    /// Reads the deadline itself, and improves the hint if it can be; looks at the tags.
    #[cold]
    fn look_up_life<S>(&self, context: &Context<K, V, S>, lane: Lane<'_>, now: u64) -> bool {
        let deadline = self.sides.deadlines.get(lane.slot());
        if deadline != Tick::NEVER {
            // The time so far may have been the coarse clock's.
            let now = now.max(context.clock.now());
            if Tick::of(now) >= deadline {
                return false;
            }
        }
        let hint = self.hint_for(context, deadline, now);
        // Relaxed: guarded by the bucket's lock.
        lane.state.hint.store(hint, Ordering::Relaxed);
        context.tagger.is_none() || !self.is_tag_dead(lane.slot())
    }

    /// The hint for a deadline; the bucket is locked, or the entry not yet published.
    pub(super) fn hint_for<S>(&self, context: &Context<K, V, S>, deadline: Tick, now: u64) -> u8 {
        // Relaxed: a sweep announces itself before it takes the bucket's lock, so who holds that
        // later sees the announcement, and an entry of who held it earlier is seen by the sweep.
        let sweeping = Tick(self.sweeping.load(Ordering::Relaxed));
        if context.tagger.is_some() {
            // An entry with tags may be dead at any time.
            return hint::ASK;
        }
        hint::encode(deadline, Tick::of(now), sweeping, context.quantum)
    }

    fn is_tag_dead(&self, slot: Slot) -> bool {
        self.sides.tags.get(slot).is_some_and(crate::tags::TagCell::is_dead)
    }

    /// A use puts the idle deadline off. It stays in the timer wheel where it was: that fires, sees
    /// the new deadline, and puts it back.
    fn extend_idle<S>(&self, context: &Context<K, V, S>, lane: Lane<'_>, now: u64) {
        let limit = self.sides.limits.get(lane.slot());
        let deadline = context.rules.idle_from(now, limit);
        if deadline > self.sides.deadlines.get(lane.slot()) {
            self.write_deadline(context, lane, deadline, now);
        }
    }

    fn write_deadline<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        deadline: Tick,
        now: u64,
    ) {
        self.sides.deadlines.set(lane.slot(), deadline);
        let hint = self.hint_for(context, deadline, now);
        // Relaxed: guarded by the bucket's lock.
        lane.state.hint.store(hint, Ordering::Relaxed);
    }

    /// The lifetime of an entry whose bucket is locked.
    pub(super) fn lifetime_of<S>(&self, context: &Context<K, V, S>, slot: Slot) -> Lifetime {
        let deadline = self.sides.deadlines.get(slot);
        let limit = match context.rules.time_to_idle {
            Some(_) => self.sides.limits.get(slot),
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
        hint: &crate::sync::AtomicU8,
        life: Lifetime,
        now: u64,
    ) {
        self.sides.deadlines.set(slot, life.deadline);
        if context.rules.time_to_idle.is_some() {
            self.sides.limits.set(slot, life.limit);
        }
        // Relaxed: guarded by the bucket's lock, or published with the entry.
        hint.store(self.hint_for(context, life.deadline, now), Ordering::Relaxed);
    }

    /// Swaps the value of a living entry without the stripe's lock, for caches without weigher,
    /// listener and tags, whose stripes have nothing to keep up to date. Changes nothing if there
    /// is no such entry, or if its deadline would come nearer (which the timer wheel would have to
    /// know). Answers whether it swapped.
    #[inline(always)]
    pub(crate) fn replace_in_place<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        key: &K,
        value: &mut V,
        when: When,
    ) -> bool
    where
        K: Hash + Eq,
    {
        let equals = |resident: &K| {
            let _running = enter_user_code::<K, V>();
            resident == key
        };
        match self.table.look_lightly(self.table.approach(hash), hash, &equals) {
            Look::Found(locked) => self.swap(context, locked, hash, value, when),
            Look::Absent => false,
            Look::Further(further) => {
                self.swap_further(context, further, (hash, equals), value, when)
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
        when: When,
    ) -> bool
    where
        K: Hash,
    {
        let locked = self.table.look_further(further, hash, equals);
        locked.is_some_and(|locked| self.swap(context, locked, hash, value, when))
    }

    #[inline(always)]
    fn swap<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        locked: Locked<'_, K, V>,
        hash: u64,
        value: &mut V,
        when: When,
    ) -> bool
    where
        K: Hash,
    {
        let Locked { found, guard } = locked;
        // Relaxed: guarded by the bucket's lock.
        let is_mortal = found.lane.state.hint.load(Ordering::Relaxed) != hint::NEVER;
        if (is_mortal || when.life.deadline != Tick::NEVER)
            && !self.prolong(context, found.lane, when)
        {
            return false;
        }
        if self.is_pinned(found.lane) {
            return false;
        }
        // Relaxed: a version asked for under the bucket's lock is asked for after this is set.
        if self.versioned.load(Ordering::Relaxed) {
            self.renew_version(found.lane.slot());
        }
        let is_due = self.recorder.on_hit(found.lane.slot(), &found.lane.state.mark);
        mem::swap(found.value, value);
        drop(guard);
        self.follow_up(context, found.lane, hash, is_due);
        true
    }

    /// Gives an entry the lifetime of the value that will replace its own, if it is alive and its
    /// deadline does not come nearer.
    fn prolong<S>(&self, context: &Context<K, V, S>, lane: Lane<'_>, when: When) -> bool {
        // Relaxed: guarded by the bucket's lock.
        let hint = lane.state.hint.load(Ordering::Relaxed);
        let later = hint != hint::NEVER
            && self.is_mortal_alive(context, lane, hint, when.now)
            && self.sides.deadlines.put_off(lane.slot(), when.life.deadline);
        if later {
            if context.rules.time_to_idle.is_some() {
                self.sides.limits.set(lane.slot(), when.life.limit);
            }
            let hint = self.hint_for(context, when.life.deadline, when.now);
            // Relaxed: guarded by the bucket's lock.
            lane.state.hint.store(hint, Ordering::Relaxed);
        }
        later
    }
}
