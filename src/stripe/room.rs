//! Making room: choosing victims until what comes in fits.

use std::{
    hash::{BuildHasher, Hash},
    mem::needs_drop,
};

use super::{Shard, Stripe};
use crate::{
    Slot,
    context::Context,
    event::{Effects, Leaving, Removal, RemovalCause, Ticket},
    policy::Policy,
};

/// How making room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Made,
    /// The policy would rather keep its residents than admit the newcomer.
    Refused,
    /// The policy names nobody, though there are entries.
    Kept,
}

/// From where the room for what comes in may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From this stripe, unless another should give it.
    Fair,
    /// From this stripe if it has enough.
    Own,
    /// From others as long as they have any: this one gave its part, and admits the newcomer.
    Others,
    /// The same, and if it has not there is none.
    Last,
}

/// What a stripe gave for another, or several did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) weight: u64,
    /// Whether that is nothing because a policy names nothing, though it has entries.
    pub(crate) is_refused: bool,
}

impl Given {
    pub(crate) const NOTHING: Self = Self { weight: 0, is_refused: false };
}

impl<K: Hash, V, P: Policy> Stripe<K, V, P> {
    /// Takes an entry out of everything: policy, table, counters. Its weight is not released.
    pub(super) fn take_out<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        cause: RemovalCause,
    ) -> Leaving<K, V> {
        let weight = self.weight_of(slot);
        if weight > 0 {
            let (policy, view) = self.policy(context, shard);
            policy.on_remove(slot, cause, &view);
        }
        let removal = self.removal(context, shard, slot, cause, weight);
        let (key, value) = shard.arena.take(slot);
        // Only now: without its tags an entry that one of them killed would look alive.
        if let Some(tags) = self.sides.tags.get(slot) {
            tags.set(None);
        }
        // Wrapping: see `Stripe::insert`.
        shard.weight = shard.weight.wrapping_sub(weight);
        let ticket = self.ticket_if_heard(context, shard);
        Leaving { key, value, removal, ticket }
    }

    /// Takes an entry out in favour of another; answers the weight that is free now.
    #[inline]
    fn evict<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        effects: &mut Effects<K, V>,
    ) -> u64 {
        if context.is_silent && !needs_drop::<(K, V)>() {
            // The same without what nobody will miss.
            let (policy, view) = self.policy(context, shard);
            policy.on_remove(slot, RemovalCause::Size, &view);
            drop(shard.arena.take(slot));
            shard.weight = shard.weight.wrapping_sub(1);
            return 1;
        }
        let leaving = self.take_out(context, shard, slot, RemovalCause::Size);
        let weight = leaving.removal.weight;
        effects.push(leaving);
        weight
    }

    /// What the listener will be told of an entry.
    pub(super) fn removal<S>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        cause: RemovalCause,
        weight: u64,
    ) -> Removal {
        let version = match context.listener {
            Some(_) => self.version_heard(shard, slot),
            None => 0,
        };
        Removal { cause, version, weight }
    }

    /// A place in the order of notices, if anybody listens.
    pub(super) fn ticket_if_heard<S>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
    ) -> Ticket {
        match context.listener {
            Some(_) => self.ticket(shard),
            None => Ticket { stripe: self.number, number: 0 },
        }
    }

    /// Removes an entry for good: its weight is free for anybody.
    pub(super) fn remove_slot<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        cause: RemovalCause,
    ) -> Leaving<K, V> {
        let leaving = self.take_out(context, shard, slot, cause);
        context.budget.release(leaving.removal.weight);
        self.publish_counts(shard);
        leaving
    }

    /// Evicts until `credit`, the weight already reserved, covers `needed`. If the policy names
    /// `newcomer` it is refused; if it names `spared`, that entry is taken out of the policy's
    /// sight (and `true` is answered, so that the caller brings it back).
    pub(super) fn evict_for<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        needed: u64,
        kept: Kept,
        credit: &mut u64,
        effects: &mut Effects<K, V>,
    ) -> (Room, bool) {
        let mut hidden = false;
        while *credit < needed {
            let (policy, view) = self.policy(context, shard);
            let Some(victim) = policy.victim(&view) else {
                // Whoever comes in must go.
                return (Room::Kept, hidden);
            };
            match kept {
                Kept::Newcomer(slot) if slot == victim => return (Room::Refused, hidden),
                Kept::Resident(slot) if slot == victim => {
                    assert!(!hidden, "the policy named {slot:?}, of whose removal it was told");
                    policy.on_remove(slot, RemovalCause::Replaced, &view);
                    hidden = true;
                    continue;
                }
                _ => {}
            }
            *credit = credit.saturating_add(self.evict(context, shard, victim, effects));
        }
        (Room::Made, hidden)
    }

    /// Evicts up to `wanted` (weight) for another stripe, or to shrink the cache, at most `most`
    /// entries. The weight stays reserved, and is the caller's.
    pub(crate) fn give_room<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        wanted: u64,
        most: usize,
        effects: &mut Effects<K, V>,
    ) -> Given {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let mut given = Given::NOTHING;
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        for _ in 0..most {
            if given.weight >= wanted || shard.weight == 0 {
                break;
            }
            let (policy, view) = self.policy(context, shard);
            let Some(victim) = policy.victim(&view) else {
                given.is_refused = given.weight == 0;
                break;
            };
            let weight = self.evict(context, shard, victim, effects);
            given.weight = given.weight.saturating_add(weight);
        }
        self.publish_counts(shard);
        given
    }
}

/// The entry on whose behalf room is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    Newcomer(Slot),
    Resident(Slot),
}
