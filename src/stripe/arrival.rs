//! A newcomer on its way in: what takes it out again should its policy panic, and whether it is welcome.

use std::{
    hash::{BuildHasher, Hash},
    mem::{self, needs_drop},
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    Shard, Stripe,
    room::{Kept, Room},
    write::Write,
};
use crate::{
    RemovalCause, Slot,
    context::Context,
    event::Effects,
    panics::forget_panic,
    policy::{Newcomer, Policy},
};

/// A newcomer that has a place but is not yet published. If this is dropped, which only a panic does,
/// it goes back to where it came from: it is dropped under no lock there.
pub(super) struct Arrival<'a, K: Hash, V, P: Policy, S: BuildHasher> {
    stripe: &'a Stripe<K, V, P>,
    context: &'a Context<K, V, S>,
    pub(super) shard: &'a mut Shard<K, V, P>,
    entry: &'a mut Option<(K, V)>,
    slot: Slot,
    /// It is counted already.
    weight: u64,
    /// What must be given back to the budget.
    reserved: u64,
    /// Whether the policy has it for sure.
    pub(super) is_tracked: bool,
}

impl<'a, K: Hash, V, P: Policy, S: BuildHasher> Arrival<'a, K, V, P, S> {
    /// One in that slot, of that weight, and with so much to give back.
    #[inline(always)]
    pub(super) fn new(
        stripe: &'a Stripe<K, V, P>,
        context: &'a Context<K, V, S>,
        shard: &'a mut Shard<K, V, P>,
        entry: &'a mut Option<(K, V)>,
        (slot, weight, reserved): (Slot, u64, u64),
    ) -> Self {
        Self { stripe, context, shard, entry, slot, weight, reserved, is_tracked: false }
    }

    /// Shows it to the policy.
    #[inline(always)]
    pub(super) fn show(&mut self, newcomer: Newcomer) {
        let (policy, view) = self.stripe.policy(self.context, self.shard);
        policy.on_insert(newcomer, &view);
        self.is_tracked = true;
    }

    /// Shows it to the policy, which names the entry that leaves instead.
    #[inline(always)]
    pub(super) fn exchange(&mut self, newcomer: Newcomer) -> Slot {
        let (policy, view) = self.stripe.policy(self.context, self.shard);
        let victim = policy.exchange(newcomer, &view);
        self.is_tracked = true;
        victim
    }

    /// It goes back to where it came from, for now or for good.
    pub(super) fn turn_back(self, cause: RemovalCause) {
        let Self { slot, weight, reserved, .. } = self;
        let how = (weight, reserved, true);
        *self.entry = Some(self.stripe.undo(self.context, self.shard, slot, how, cause));
        self.end();
    }

    /// It came in, or was refused.
    #[inline(always)]
    pub(super) fn end(self) {
        mem::forget(self);
    }
}

impl<K: Hash, V, P: Policy, S: BuildHasher> Drop for Arrival<'_, K, V, P, S> {
    // Inlined, so that where nothing panics this need not be in memory.
    #[inline(always)]
    fn drop(&mut self) {
        let Self { slot, weight, reserved, is_tracked, .. } = *self;
        let how = (weight, reserved, is_tracked);
        let cause = RemovalCause::Rejected;
        let gone = self.stripe.undo(self.context, self.shard, slot, how, cause);
        if needs_drop::<(K, V)>() {
            *self.entry = Some(gone);
        }
    }
}

impl<K: Hash + Eq, V, P: Policy> Stripe<K, V, P> {
    /// Whether the policy would have a newcomer for which all that this stripe holds is not enough. Others
    /// give it their room without being asked, so this must be known before: or what is refused in the end
    /// would have cost them all they have. This stripe gives as large a part of what it holds as they will,
    /// while the policy names residents and not the newcomer, which is gone again afterwards.
    #[cold]
    #[inline(never)]
    pub(super) fn is_welcome<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        write: &mut Write<K, V>,
        credit: &mut u64,
        effects: &mut Effects<K, V>,
    ) -> bool {
        let missing = write.weight - *credit;
        let held = context.budget.used().saturating_sub(*credit).max(missing);
        let part = u128::from(shard.weight) * u128::from(missing) / u128::from(held);
        // No more than the stripe's weight.
        let part = part as u64;
        if part == 0 {
            return true;
        }
        if shard.arena.is_crowded() {
            self.grow(context, shard);
        }
        let (key, value) = write.take();
        let &mut Write { hash, weight, .. } = write;
        let slot = shard.arena.place(&self.table, hash, key, value);
        self.set_weight(slot, weight, context.weigher.is_some());
        // As in `Stripe::insert`.
        shard.weight = shard.weight.wrapping_add(weight);
        let mut arrival = Arrival::new(self, context, shard, &mut write.entry, (slot, weight, 0));
        arrival.show(Newcomer { slot, hash, weight, has_room: false });
        let (needed, kept) = (credit.saturating_add(part), Kept::Newcomer(slot));
        let (room, _) = self.evict_for(context, arrival.shard, needed, kept, credit, effects);
        let is_welcome = room != Room::Refused;
        // It comes back once others have made room.
        let cause = if is_welcome { RemovalCause::Replaced } else { RemovalCause::Rejected };
        arrival.turn_back(cause);
        is_welcome
    }
}

impl<K: Hash, V, P: Policy> Stripe<K, V, P> {
    /// Takes a newcomer out of everything, as if it had not come.
    #[cold]
    #[inline(never)]
    fn undo<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        (weight, reserved, is_tracked): (u64, u64, bool),
        cause: RemovalCause,
    ) -> (K, V) {
        if weight > 0 {
            // It may panic again.
            forget_panic(catch_unwind(AssertUnwindSafe(|| {
                if is_tracked || shard.policy.len() > self.count_tracked(context, shard) {
                    let (policy, view) = self.policy(context, shard);
                    policy.on_remove(slot, cause, &view);
                }
            })));
        }
        let gone = shard.arena.take(slot);
        if let Some(tags) = self.sides.tags.get(slot) {
            tags.set(None);
        }
        // Wrapping: see `Stripe::insert`.
        shard.weight = shard.weight.wrapping_sub(weight);
        context.budget.release(reserved);
        self.publish_counts(shard);
        gone
    }

    /// How many entries the policy should track, without the one that is not yet published.
    fn count_tracked<S>(&self, context: &Context<K, V, S>, shard: &Shard<K, V, P>) -> usize {
        if context.weigher.is_none() {
            return shard.arena.len() - 1;
        }
        let mut tracked = 0;
        let mut at = self.table.start();
        while let Some((bucket, next)) = shard.arena.step(&self.table, at) {
            let slots = shard.arena.slots_of(bucket).into_iter();
            tracked += slots.filter(|&slot| self.weight_of(slot) > 0).count();
            at = next;
        }
        tracked
    }
}
