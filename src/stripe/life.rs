//! Until when an entry lives, and whether it still does: under its bucket's lock, or by the hint alone.

use std::hash::{BuildHasher, Hash};

use super::{Condition, Stripe, When};
use crate::{
    Slot,
    context::Context,
    expiry::{
        Lifetime,
        deadlines::{OfBucket, Swept},
        hint,
    },
    policy::Policy,
    sync::{AtomicU8, Ordering},
    table::{Lane, Spot},
    time::Tick,
};

/// The lifetime and the weight of a value that is about to replace another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal<'a> {
    pub(crate) when: When,
    pub(crate) weight: u64,
    /// Those in the bucket that was picked, if there are any yet.
    pub(crate) deadlines: Option<OfBucket<'a>>,
}

/// Whether the entry has neither deadline nor tags. Its bucket need not be locked.
#[inline(always)]
pub(super) fn is_immortal(lane: Lane<'_>) -> bool {
    // Acquire: pairs with the Release in `write_hint` and wherever else it is written, for who copies the
    // entry without the lock.
    lane.state.hint.load(Ordering::Acquire) == hint::NEVER
}

/// Writes a hint; the bucket is locked, or the entry not yet published.
#[inline(always)]
fn write_hint(hint: &AtomicU8, content: u8) {
    // Release: pairs with the Acquire in `is_immortal`.
    hint.store(content, Ordering::Release);
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
    pub(super) fn use_alive<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        now: u64,
        deadlines: Option<OfBucket<'_>>,
    ) -> bool {
        if is_immortal(lane) {
            return true;
        }
        let swept = self.swept();
        let is_alive = self.is_mortal_alive(context, lane, now, swept);
        if is_alive && context.rules.time_to_idle.is_some() {
            self.extend_idle(context, lane, now, (swept, deadlines));
        }
        is_alive
    }

    /// Whether the hint alone says that the entry may be seen. Its bucket need not be locked.
    #[inline(always)]
    pub(super) fn is_seen_alive<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        now: u64,
    ) -> bool {
        let swept = self.swept();
        // Acquire: as in `is_immortal`.
        let hint = lane.state.hint.load(Ordering::Acquire);
        hint == hint::NEVER || context.scale.is_alive(hint, Tick::of(now), swept.done)
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
            || self.look_up_life(context, lane.slot(), &lane.state.hint, (now, swept))
    }

    /// Reads the deadline itself, and improves the hint if it can be; looks at the tags.
    #[cold]
    fn look_up_life<S>(
        &self,
        context: &Context<K, V, S>,
        slot: Slot,
        hint: &AtomicU8,
        (now, swept): (u64, Swept),
    ) -> bool {
        let deadline = self.sides.deadlines.get(slot, swept);
        if deadline != Tick::NEVER {
            // The time so far may have been the coarse clock's.
            let now = now.max(context.clock.now());
            if Tick::of(now) >= deadline {
                return false;
            }
        }
        write_hint(hint, hint_for(context, deadline, now, swept));
        context.tagger.is_none() || !self.is_tag_dead(slot)
    }

    fn is_tag_dead(&self, slot: Slot) -> bool {
        self.sides.tags.get(slot).is_some_and(crate::tags::TagCell::is_dead)
    }

    /// A use puts the idle deadline off. It stays in the timer wheel where it was: that fires, sees
    /// the new deadline, and puts it back.
    #[inline(always)]
    fn extend_idle<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        now: u64,
        (swept, deadlines): (Swept, Option<OfBucket<'_>>),
    ) {
        let deadline = context.rules.idle_from(now, self.sides.limits.get(lane.slot(), swept));
        if self.put_off(lane, deadline, (swept, deadlines)) {
            write_hint(&lane.state.hint, hint_for(context, deadline, now, swept));
        }
    }

    /// Gives an entry, whose bucket is locked, a deadline that is no nearer; answers whether it is not.
    #[inline(always)]
    fn put_off(
        &self,
        lane: Lane<'_>,
        deadline: Tick,
        (swept, deadlines): (Swept, Option<OfBucket<'_>>),
    ) -> bool {
        match deadlines {
            Some(deadlines) => deadlines.put_off(lane.slot(), deadline, swept),
            None => self.sides.deadlines.put_off(lane.slot(), deadline, swept),
        }
    }

    /// How far the stripe was swept, as seen by a holder of the lock of the bucket in question, or of
    /// an entry not yet published. Who copies an entry without the lock may rely on `done` only: if it has
    /// changed meanwhile, so has the lock of every bucket swept.
    #[inline]
    pub(super) fn swept(&self) -> Swept {
        // In this order, so that what is done had begun.
        // Acquire: pairs with the Release in `end_sweep`: entries that the sweep removed are not
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
        let limit = match context.rules.keeps_limits {
            true => self.sides.limits.get(slot, self.swept()),
            false => deadline,
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
        if context.rules.keeps_limits {
            self.sides.limits.set(slot, life.limit, swept);
        }
        write_hint(hint, hint_for(context, life.deadline, now, swept));
    }

    /// Gives an entry the lifetime of the value that will replace its own, if it is alive and its
    /// deadline does not come nearer.
    #[inline(always)]
    pub(super) fn renew<S>(
        &self,
        context: &Context<K, V, S>,
        lane: Lane<'_>,
        renewal: Renewal<'_>,
    ) -> bool {
        if is_immortal(lane) {
            renewal.when.life.deadline == Tick::NEVER
        } else {
            self.prolong(context, lane, renewal)
        }
    }

    #[inline(always)]
    fn prolong<S>(&self, context: &Context<K, V, S>, lane: Lane<'_>, renewal: Renewal<'_>) -> bool {
        let Renewal { when, deadlines, .. } = renewal;
        let (swept, deadline) = (self.swept(), when.life.deadline);
        let later = self.is_mortal_alive(context, lane, when.now, swept)
            && self.put_off(lane, deadline, (swept, deadlines));
        if later {
            if context.rules.keeps_limits {
                self.sides.limits.set(lane.slot(), when.life.limit, swept);
            }
            let hint = hint_for(context, deadline, when.now, swept);
            write_hint(&lane.state.hint, hint);
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

impl<K: Hash + Eq, V, P: Policy> Stripe<K, V, P> {
    /// Gives an entry a new lifetime and changes its value a little, if it lives and `condition` holds;
    /// answers whether that is so. The weight must stay the same, and it stays the same version.
    pub(crate) fn amend<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool,
        (now, life): (u64, Lifetime),
        condition: Option<Condition<'_, V>>,
        change: impl FnOnce(&mut V),
    ) -> bool {
        let mut guard = self.lock();
        let shard = &mut *guard;
        self.catch_up(shard, now);
        let Some(slot) = shard.arena.find(&self.table, hash, equals) else { return false };
        if self.cause_of_death(context, shard, slot, now).is_some()
            || condition.is_some_and(|condition| !self.wants(shard, Some(slot), condition, None))
        {
            return false;
        }
        shard.arena.with(slot, |mut found| {
            found.value.change(change);
            self.set_lifetime(context, slot, &found.lane.state.hint, life, now);
        });
        self.schedule(context, shard, slot, life.deadline);
        self.publish_counts(shard);
        true
    }

    /// Gives an entry that was read a new lifetime, if `condition` holds, and if it still has the one that
    /// it had `before`.
    pub(crate) fn renew_read<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool,
        (now, before, life): (u64, Lifetime, Lifetime),
        condition: Condition<'_, V>,
    ) {
        let mut guard = self.lock();
        let shard = &mut *guard;
        self.catch_up(shard, now);
        let Some(slot) = shard.arena.find(&self.table, hash, equals) else { return };
        if self.cause_of_death(context, shard, slot, now).is_some()
            || !self.wants(shard, Some(slot), condition, None)
        {
            return;
        }
        let is_given = shard.arena.with(slot, |found| {
            let is_given = context.rules.are_same(self.lifetime_of(context, slot), before);
            if is_given {
                self.set_lifetime(context, slot, &found.lane.state.hint, life, now);
            }
            is_given
        });
        if is_given {
            self.schedule(context, shard, slot, life.deadline);
        }
        self.publish_counts(shard);
    }
}
