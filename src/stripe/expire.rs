//! Reclaiming what is dead: expired entries by the timer wheel, entries of removed tags by a sweep.

use std::{
    hash::{BuildHasher, Hash},
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use super::{Shard, Stripe};
use crate::{
    Slot,
    context::Context,
    event::{Effects, RemovalCause},
    expiry::{
        hint,
        wheel::{Advance, TICK_SHIFT, Wheel},
    },
    policy::Policy,
    sync::Ordering,
    table::Cursor,
    tags::TagCell,
    time::Tick,
};

/// How many quanta the sweep may lag before a stripe with deadlines asks for maintenance.
const LAG: u64 = 16;
/// How many ticks it may: most of a day, or deadlines would be rounded that need not be.
const LONGEST_LAG: u64 = 1 << 36;

impl<K, V, P: Policy> Stripe<K, V, P> {
    /// The tick from which this stripe wants maintenance.
    pub(crate) fn due(&self) -> u64 {
        // Acquire: pairs with the Release in `ask`.
        self.due.load(Ordering::Acquire)
    }

    /// Asks for maintenance from `tick` on.
    fn ask<S>(&self, context: &Context<K, V, S>, tick: u64) {
        // Release: pairs with the Acquire in `due`; `Cache` clears the common minimum before it
        // reads the stripes', so no request is lost.
        self.due.store(tick, Ordering::Release);
        // AcqRel: ordered after the store above.
        context.due.fetch_min(tick, Ordering::AcqRel);
    }

    /// The wheel was told of a deadline: ask for maintenance in time.
    pub(super) fn ask_for<S>(&self, context: &Context<K, V, S>, deadline: Tick) {
        // Relaxed: written under the stripe's lock, which the caller holds.
        let due = self.due.load(Ordering::Relaxed);
        if due == u64::MAX {
            // The first deadline since long: the sweep must first catch up with the time.
            self.ask(context, 0);
        } else {
            let fires = (Wheel::tick(deadline) + 1) << TICK_SHIFT;
            if fires < due {
                self.ask(context, fires);
            }
        }
    }

    /// A deadline is about to be written. Where there was none for long, the sweep has stood still, and
    /// it would be rounded; but then there is nothing to sweep.
    #[inline]
    pub(super) fn catch_up(&self, shard: &mut Shard<K, V, P>, now: u64) {
        let lag = Tick::of(now).0.saturating_sub(self.swept().done.0);
        if lag > LONGEST_LAG && shard.wheel.next_due().is_none() {
            let target = self.begin_sweep(Tick::of(now));
            shard.wheel.advance(target);
            self.end_sweep(target);
        }
    }

    /// Announces a sweep up to the last tick of the wheel; answers which that is.
    fn begin_sweep(&self, now: Tick) -> u64 {
        let target = Wheel::tick(now);
        // Relaxed: see `Stripe::swept`.
        self.sweeping.fetch_max(target << TICK_SHIFT, Ordering::Relaxed);
        target
    }

    /// All deadlines up to the wheel's tick are dealt with.
    fn end_sweep(&self, target: u64) {
        // Release: pairs with the Acquire in `Stripe::swept`.
        self.swept.fetch_max(target << TICK_SHIFT, Ordering::Release);
    }

    /// Why an entry under the stripe's lock is dead, if it is.
    pub(super) fn cause_of_death<S>(
        &self,
        context: &Context<K, V, S>,
        shard: &Shard<K, V, P>,
        slot: Slot,
        now: u64,
    ) -> Option<RemovalCause> {
        // Relaxed: an entry that is given its first deadline is given it under the stripe's lock.
        if shard.arena.state(slot).hint.load(Ordering::Relaxed) != hint::NEVER
            && self.is_expired(context, shard, slot, now)
        {
            return Some(RemovalCause::Expired);
        }
        let is_tag_dead =
            context.tagger.is_some() && self.sides.tags.get(slot).is_some_and(TagCell::is_dead);
        is_tag_dead.then_some(RemovalCause::Explicit)
    }

    /// Whether the entry's deadline has passed; if so it is pinned, so that it stays so.
    fn is_expired<S>(
        &self,
        context: &Context<K, V, S>,
        shard: &Shard<K, V, P>,
        slot: Slot,
        now: u64,
    ) -> bool {
        shard.arena.with(slot, |_| {
            let deadline = self.deadline(slot);
            // The time so far may be the coarse clock's.
            let is_near = deadline.0 <= Tick::of(now).0.saturating_add(hint::LATENESS);
            let is_over = deadline != Tick::NEVER
                && is_near
                && Tick::of(now.max(context.clock.now())) >= deadline;
            if is_over {
                self.pin(slot);
            }
            is_over
        })
    }

    /// Asks for a sweep for entries that a tag's removal killed.
    pub(crate) fn ask_tag_sweep<S>(&self, context: &Context<K, V, S>) {
        let mut shard = self.lock();
        // A sweep under way goes on to its end first, or many removals could keep it from getting
        // anywhere.
        if shard.tag_sweep.is_some() {
            shard.tag_sweep_again = true;
        } else {
            shard.tag_sweep = Some(self.table.start());
        }
        self.ask(context, 0);
    }

    pub(super) fn validate_deadlines(&self, shard: &Shard<K, V, P>, slots: &[Slot]) {
        for &slot in slots {
            // Relaxed: for tests.
            let hint = shard.arena.state(slot).hint.load(Ordering::Relaxed);
            let deadline = self.deadline(slot);
            if hint == hint::NEVER {
                assert_eq!(deadline, Tick::NEVER, "a deadline that no hint tells of");
            } else if deadline != Tick::NEVER {
                let due = shard.wheel.due(shard.arena.home(slot)).expect("bucket not in the wheel");
                let fires = Wheel::tick(deadline) + 1;
                // Later only where it had passed already when it was set.
                let is_near = self.sides.deadlines.is_near(slot);
                let latest = if is_near { fires } else { fires.max(shard.wheel.now() + 1) };
                assert!(due <= latest, "bucket fires too late");
                let limit = self.sides.limits.get(slot, self.swept());
                // Both may be rounded.
                assert!(limit.0 + 1024 > deadline.0, "a deadline beyond the limit");
            }
        }
        shard.wheel.validate();
    }
}

impl<K: Hash, V, P: Policy> Stripe<K, V, P> {
    /// Reclaims dead entries, at most `steps` buckets' worth. Answers how many steps are left.
    ///
    /// Thoroughly means up to this very moment, waiting for the lock if need be; otherwise up to the
    /// last tick of the wheel, and only if the lock is free.
    pub(crate) fn maintain<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        now: u64,
        (steps, thoroughly): (usize, bool),
        effects: &mut Effects<K, V>,
    ) -> usize {
        let guard = if thoroughly { Some(self.lock()) } else { self.try_lock() };
        let Some(mut guard) = guard else { return steps };
        let shard = &mut *guard;
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        let left = self.sweep_wheel(context, shard, now, steps, effects);
        if thoroughly && left > 0 {
            // The wheel has not fired for the tick that has only begun.
            for bucket in shard.wheel.due_by(Wheel::tick(Tick::of(now)) + 1) {
                self.expire_bucket(context, shard, bucket, now, effects);
            }
        }
        let left = self.sweep_tags(context, shard, now, left, effects);
        self.publish_counts(shard);
        if left == 0 || shard.tag_sweep.is_some() {
            self.ask(context, 0);
        }
        left
    }

    fn sweep_wheel<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        now: u64,
        mut steps: usize,
        effects: &mut Effects<K, V>,
    ) -> usize {
        let tick = Tick::of(now);
        let target = self.begin_sweep(tick);
        while steps > 0 {
            match shard.wheel.advance(target) {
                Advance::Due(bucket) => self.expire_bucket(context, shard, bucket, now, effects),
                Advance::Step => {}
                Advance::Done => {
                    self.end_sweep(target);
                    let lag = context.scale.quanta(LAG).min(LONGEST_LAG);
                    let latest = tick.0.saturating_add(lag);
                    let due = shard.wheel.next_due();
                    let due = due.map_or(u64::MAX, |due| (due << TICK_SHIFT).min(latest));
                    self.ask(context, due);
                    return steps;
                }
            }
            steps -= 1;
        }
        0
    }

    /// Removes a bucket's expired entries and puts it back into the wheel.
    fn expire_bucket<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        bucket: u32,
        now: u64,
        effects: &mut Effects<K, V>,
    ) {
        let mut next = Tick::NEVER;
        let expired = catch_unwind(AssertUnwindSafe(|| {
            for slot in shard.arena.slots_of(bucket) {
                if !self.is_expired(context, shard, slot, now) {
                    let deadline = shard.arena.with(slot, |_| self.deadline(slot));
                    next = next.min(deadline);
                } else {
                    let leaving = self.remove_slot(context, shard, slot, RemovalCause::Expired);
                    effects.push(leaving);
                }
            }
        }));
        // After a panic of a policy or a clock: again at the next tick.
        shard.wheel.schedule(bucket, if expired.is_ok() { next } else { Tick(0) });
        if let Err(panic) = expired {
            resume_unwind(panic);
        }
    }

    fn sweep_tags<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        now: u64,
        mut steps: usize,
        effects: &mut Effects<K, V>,
    ) -> usize {
        while let Some(at) = shard.tag_sweep {
            if steps == 0 {
                return 0;
            }
            steps -= 1;
            let step = shard.arena.step(&self.table, at);
            if let Some((bucket, _)) = step {
                for slot in shard.arena.slots_of(bucket) {
                    if let Some(cause) = self.cause_of_death(context, shard, slot, now) {
                        let leaving = self.remove_slot(context, shard, slot, cause);
                        effects.push(leaving);
                    }
                }
            }
            shard.tag_sweep = match step {
                Some((_, next)) => Some(next),
                None => mem::take(&mut shard.tag_sweep_again).then(|| self.table.start()),
            };
        }
        steps
    }

    /// Removes the entries of one bucket for which `remove` says so, under the bucket's lock. `after` is
    /// called for each under the stripe's. Answers where to go on.
    pub(crate) fn retain_step<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        at: Cursor,
        now: u64,
        (mut remove, after): (impl FnMut(&K, &V) -> bool, impl Fn(&K)),
        effects: &mut Effects<K, V>,
    ) -> Option<Cursor> {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        let (bucket, next) = shard.arena.step(&self.table, at)?;
        for slot in shard.arena.slots_of(bucket) {
            let cause = self.cause_of_death(context, shard, slot, now).or_else(|| {
                let remove = shard.arena.with(slot, |found| {
                    self.pin(slot);
                    remove(found.key, &found.value)
                });
                remove.then_some(RemovalCause::Explicit)
            });
            if let Some(cause) = cause {
                let leaving = self.remove_slot(context, shard, slot, cause);
                if cause == RemovalCause::Explicit {
                    after(&leaving.key);
                }
                effects.push(leaving);
            }
        }
        Some(next)
    }

    /// Runs `visit` on the living entries of one bucket, under its lock. Answers where to go on.
    pub(crate) fn visit_step<S>(
        &self,
        context: &Context<K, V, S>,
        at: Cursor,
        now: u64,
        mut visit: impl FnMut(&K, &V),
    ) -> Option<Cursor> {
        let guard = self.lock();
        let (bucket, next) = guard.arena.step(&self.table, at)?;
        for slot in guard.arena.slots_of(bucket) {
            if self.cause_of_death(context, &guard, slot, now).is_none() {
                guard.arena.with(slot, |found| visit(found.key, &found.value));
            }
        }
        Some(next)
    }

    /// Runs `visit` on up to `limit` entries in the policy's order, and says whether they weigh
    /// anything. Those that do not need never go: they are the last.
    pub(crate) fn visit_ranked<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        coldest: bool,
        limit: usize,
        now: u64,
        mut visit: impl FnMut(bool, &K, &V),
    ) {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        let mut slots = policy.ranking(&view);
        if policy.len() < shard.arena.len() {
            self.add_weightless(shard, &mut slots);
        }
        if !coldest {
            slots.reverse();
        }
        slots.retain(|&slot| self.cause_of_death(context, shard, slot, now).is_none());
        for slot in slots.into_iter().take(limit) {
            let weighs = self.weight_of(slot) > 0;
            shard.arena.with(slot, |found| visit(weighs, found.key, &found.value));
        }
    }

    /// Adds the entries of which the policy is not told.
    fn add_weightless(&self, shard: &Shard<K, V, P>, slots: &mut Vec<Slot>) {
        let mut at = self.table.start();
        while let Some((bucket, next)) = shard.arena.step(&self.table, at) {
            let resident = shard.arena.slots_of(bucket);
            slots.extend(resident.into_iter().filter(|&slot| self.weight_of(slot) == 0));
            at = next;
        }
    }

    /// The whole cache's capacity changed.
    pub(crate) fn set_capacity(&self, share: u64, whole: u64, is_weighted: bool) {
        let mut shard = self.lock();
        shard.policy.set_capacity(share, whole);
        if !is_weighted {
            shard.arena.plan(&self.table, share);
        }
    }

    /// Forgets what the policy remembers of the departed, if nothing is resident.
    pub(crate) fn forget(&self) {
        let mut shard = self.lock();
        if shard.arena.len() == 0 {
            shard.policy.clear();
        }
    }
}
