//! Entries that move to other slots: what is kept beside them follows, and the policy is told.

use std::hash::{BuildHasher, Hash};

use super::{Shard, Stripe, hash_of};
use crate::{Slot, context::Context, panics::Panics, policy::Policy, sync::Ordering};

impl<K: Hash + Eq, V, P: Policy> Stripe<K, V, P> {
    /// Splits a bucket.
    pub(super) fn grow<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
    ) {
        let Shard { arena, policy, .. } = shard;
        let mut panics = Panics::default();
        let hash_of = |key: &K| hash_of(&context.hasher, key);
        let moved = self.follow(context, policy, &mut panics);
        if let Some((parent, child)) = arena.grow(&self.table, hash_of, moved) {
            shard.wheel.share(parent, child);
        }
        panics.pass_on();
    }

    /// Lets entries that are used return from a chain to their bucket, where there is room now. Not while
    /// a slot is in hand: it may become another.
    #[inline]
    pub(super) fn settle<S>(&self, context: &Context<K, V, S>, shard: &mut Shard<K, V, P>) {
        if !self.table.is_loose() {
            return;
        }
        let Shard { arena, policy, .. } = shard;
        let mut panics = Panics::default();
        arena.settle(&self.table, self.follow(context, policy, &mut panics));
        panics.pass_on();
    }

    /// What must be done when an entry moves to another slot. The table is not in order then, so a
    /// panic of the policy's must wait.
    fn follow<'a, S>(
        &'a self,
        context: &'a Context<K, V, S>,
        policy: &'a mut P,
        panics: &'a mut Panics,
    ) -> impl FnMut(Slot, Slot) + 'a {
        let is_weighted = context.weigher.is_some();
        move |from, to| {
            let weight = if is_weighted { self.weight_of(from) } else { 1 };
            // Relaxed: see `is_timed`, and `Stripe::swap`.
            if is_weighted || context.has_hints() || self.versioned.load(Ordering::Relaxed) {
                Self::move_sides(&self.sides, is_weighted, from, to);
            }
            if weight > 0 {
                panics.catch(|| policy.on_move(from, to));
            }
        }
    }
}
