//! Bringing a new key in where nothing beside its entry depends on it: no weigher, no listener, no
//! tags. The same as the general way of `write`, without what only others need.

use std::hash::{BuildHasher, Hash};

use super::{Stripe, When, arrival::Arrival, room::Source};
use crate::{
    context::Context,
    policy::{Newcomer, Policy},
    sync::Ordering,
    table::enter_user_code,
};

/// What came of bringing a key in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is in, and nothing had to leave.
    Free,
    /// It is in, and what made room for it lies where it lay.
    Evicted,
    /// It was refused, and lies where it lay.
    Refused,
    /// Not a case for this way: nothing was done.
    Undecided,
}

impl<K: Hash + Eq, V, P: Policy> Stripe<K, V, P> {
    /// Brings the key and value in `entry` in, for caches without weigher, listener and tags, and
    /// leaves there what had to leave instead. `is_wanted` is asked last, under the stripe's lock.
    #[inline]
    pub(crate) fn admit<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        entry: &mut Option<(K, V)>,
        when: When,
        is_wanted: impl FnOnce() -> bool,
    ) -> Admission {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        let mut home = shard.arena.home_of(&self.table, hash);
        let resident = shard.arena.find_in(home, hash, |resident| {
            let _running = enter_user_code::<K, V>();
            entry.as_ref().is_some_and(|(key, _)| key == resident)
        });
        if resident.is_some() || when.is_over() || !is_wanted() {
            return Admission::Undecided;
        }
        if shard.arena.is_crowded() {
            self.grow(context, shard);
            home = shard.arena.home_of(&self.table, hash);
        }
        let has_room = context.budget.reserve_some(1) == 1;
        if !has_room && self.should_take_elsewhere(context, shard, 1, Source::Fair) {
            return Admission::Undecided;
        }
        let (key, value) = entry.take().expect("the caller's");
        let slot = shard.arena.place_at(home, hash, key, value);
        if context.has_hints() {
            self.catch_up(shard, when.now);
            let hint = &shard.arena.state(slot).hint;
            self.set_lifetime(context, slot, hint, when.life, when.now);
        }
        // Relaxed: written under the stripe's lock too.
        if self.versioned.load(Ordering::Relaxed) {
            self.renew_version(slot);
        }
        shard.weight += 1;
        let newcomer = Newcomer { slot, hash, weight: 1, has_room };
        let admission = if has_room {
            let mut arrival = Arrival::new(self, context, shard, entry, (slot, 1, 1));
            arrival.show(newcomer);
            arrival.end();
            Admission::Free
        } else {
            let mut arrival = Arrival::new(self, context, shard, entry, (slot, 1, 0));
            let victim = arrival.exchange(newcomer);
            let gone = arrival.shard.arena.take(victim);
            arrival.end();
            *entry = Some(gone);
            shard.weight -= 1;
            if victim == slot { Admission::Refused } else { Admission::Evicted }
        };
        if admission != Admission::Refused {
            shard.arena.publish(slot, hash);
            self.schedule(context, shard, slot, when.life.deadline);
        }
        self.publish_counts(shard);
        self.settle(context, shard);
        admission
    }
}
