//! A newcomer on its way in: what takes it out again should its policy panic.

use std::{
    hash::{BuildHasher, Hash},
    mem::{self, needs_drop},
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Shard, Stripe};
use crate::{
    RemovalCause, Slot,
    context::Context,
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
        let gone = self.stripe.undo(self.context, self.shard, slot, how);
        if needs_drop::<(K, V)>() {
            *self.entry = Some(gone);
        }
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
    ) -> (K, V) {
        if weight > 0 {
            // It may panic again.
            forget_panic(catch_unwind(AssertUnwindSafe(|| {
                if is_tracked || shard.policy.len() > self.count_tracked(context, shard) {
                    let (policy, view) = self.policy(context, shard);
                    policy.on_remove(slot, RemovalCause::Rejected, &view);
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
