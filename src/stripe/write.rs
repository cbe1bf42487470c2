//! Writing under the stripe's lock: inserting, replacing, removing.

use std::{
    hash::{BuildHasher, Hash},
    mem,
};

use super::{
    Shard, Stripe,
    arrival::Arrival,
    room::{Kept, Room, Source},
};
use crate::{
    Slot,
    context::Context,
    event::{Effects, Leaving, RemovalCause},
    expiry::Lifetime,
    policy::{Newcomer, Policy, Recorder},
    stats::Event,
    table::{UserCode, enter_user_code},
    tags::TagSet,
    time::Tick,
};

/// A value on its way in.
#[derive(Debug)]
pub(crate) struct Write<K, V> {
    pub(crate) hash: u64,
    /// Key and value, until they have found their place.
    pub(crate) entry: Option<(K, V)>,
    pub(crate) weight: u64,
    pub(crate) tags: Option<Box<TagSet>>,
    pub(crate) when: When,
    /// Whether the leader of the key's flight writes, whom nobody need tell.
    pub(crate) is_led: bool,
    /// For whoever asks: set to the version of the value once it replaced another.
    pub(crate) version: Option<u64>,
}

/// When something is written, in nanoseconds, and how long it lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) now: u64,
    pub(crate) life: Lifetime,
}

impl<K, V> Write<K, V> {
    /// The key.
    pub(crate) fn key(&self) -> &K {
        self.entry.as_ref().map(|(key, _)| key).expect("not yet written")
    }

    /// Whether one of the value's tags was removed since it was made.
    pub(crate) fn has_dead_tag(&self) -> bool {
        self.tags.as_deref().is_some_and(TagSet::is_dead)
    }

    pub(super) fn take(&mut self) -> (K, V) {
        self.entry.take().expect("written once")
    }
}

impl When {
    /// Where nothing expires and no clock is read.
    pub(crate) const ALWAYS: Self = Self { now: 0, life: Lifetime::FOR_EVER };

    /// Whether the lifetime ends before it begins.
    pub(super) fn is_over(self) -> bool {
        self.life.deadline != Tick::NEVER && self.life.deadline <= Tick::of(self.now)
    }
}

/// Looks at what is resident: nothing, or a value and its version.
pub(crate) type Look<'a, V> = dyn Fn(Option<(&V, u64)>) -> bool + 'a;

/// Whether to write.
pub(crate) enum Condition<'a, V> {
    /// Given what is resident: runs under the bucket's lock if there is anything. If so, the second
    /// runs under the stripe's lock, before anything is done.
    Present(&'a Look<'a, V>, &'a dyn Fn()),
    /// Given that this is resident, which is [bare](crate::table::Bare).
    Still(&'a V),
    /// Given that a flight still stands and no tag of the value was removed meanwhile.
    Leading(&'a dyn Fn() -> bool, Over),
}

/// What the outcome of a flight may take the place of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    /// An entry of this version, if there was one, unless it is gone by itself.
    Version(Option<u64>),
    /// The same, which must still be there.
    Remaining(Option<u64>),
}

impl<V> Clone for Condition<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Condition<'_, V> {}

/// What a write came to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// The key is new.
    Inserted,
    /// The value replaced another, which went into the effects last.
    Replaced,
    /// The newcomer was not admitted; it is in the effects.
    Rejected,
    /// The new value weighs more than the whole cache and was not stored, but the old one is gone:
    /// it went into the effects last.
    Displaced,
    /// The condition did not hold: nothing changed.
    Unwanted,
    /// This stripe should not, or cannot, make that much room: try again with so much reserved, and
    /// with what else is missing from there.
    Elsewhere(u64, Source),
}

impl<K: Hash + Eq, V, P: Policy> Stripe<K, V, P> {
    /// Writes. `credit` is weight that was reserved for this beforehand; what is left of it stays
    /// the caller's. `source` says whether this stripe must find the room itself. `after` is called under
    /// the stripe's lock if anything was done.
    pub(crate) fn put<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        write: &mut Write<K, V>,
        (condition, after): (Option<Condition<'_, V>>, &dyn Fn()),
        (credit, source): (&mut u64, Source),
        effects: &mut Effects<K, V>,
    ) -> Outcome {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        self.catch_up(shard, write.when.now);
        let mut resident = shard.arena.find(&self.table, write.hash, |key| {
            let _running = enter_user_code::<K, V>();
            key == write.key()
        });
        if let Some(slot) = resident
            && let Some(cause) = self.cause_of_death(context, shard, slot, write.when.now)
        {
            let leaving = self.remove_slot(context, shard, slot, cause);
            effects.push(leaving);
            resident = None;
        }
        if let Some(condition) = condition
            && !self.wants(shard, resident, condition, write.tags.as_deref())
        {
            return Outcome::Unwanted;
        }
        let put = match resident {
            _ if write.weight > context.budget.target() => {
                self.reject(context, shard, resident, write, RemovalCause::Rejected, effects)
            }
            _ if write.when.is_over() => {
                self.reject(context, shard, resident, write, RemovalCause::Expired, effects)
            }
            Some(slot) => self.replace(context, shard, slot, write, (credit, source), effects),
            None => self.insert(context, shard, write, (credit, source), effects),
        };
        if !matches!(put, Outcome::Elsewhere(..)) {
            after();
        }
        self.publish_counts(shard);
        self.settle(context, shard);
        put
    }

    pub(super) fn wants(
        &self,
        shard: &mut Shard<K, V, P>,
        resident: Option<Slot>,
        condition: Condition<'_, V>,
        tags: Option<&TagSet>,
    ) -> bool {
        let (condition, before) = match condition {
            Condition::Present(condition, before) => (condition, before),
            Condition::Still(value) => {
                return resident.is_some_and(|slot| {
                    shard.arena.with(slot, |found| {
                        self.pin(slot);
                        self.table.bare.are_same(value, &found.value)
                    })
                });
            }
            Condition::Leading(stands, over) => {
                return self.is_over(shard, resident, over)
                    && stands()
                    && !tags.is_some_and(TagSet::is_dead);
            }
        };
        let wanted = match resident {
            None => condition(None),
            Some(slot) => {
                let next = shard.version + 1;
                let (version, wanted) = shard.arena.with(slot, |found| {
                    self.pin(slot);
                    let version = self.version_or(slot, next);
                    let _running = UserCode::enter();
                    (version, condition(Some((&found.value, version))))
                });
                shard.version = shard.version.max(version);
                wanted
            }
        };
        if wanted {
            before();
        }
        wanted
    }

    /// Whether what is resident is what may be replaced. It stays so until the write.
    fn is_over(&self, shard: &mut Shard<K, V, P>, resident: Option<Slot>, over: Over) -> bool {
        let (Over::Version(version) | Over::Remaining(version)) = over;
        let Some(slot) = resident else { return matches!(over, Over::Version(_)) };
        let Some(version) = version else { return false };
        // Who swaps the value in place from here on finds the pin, and waits.
        shard.arena.with(slot, |_| self.pin(slot));
        self.locked_version(shard, slot) == version
    }

    /// Refuses a value that is heavier than the whole cache, or expired already, and drops the older
    /// one of that key.
    fn reject<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        resident: Option<Slot>,
        write: &mut Write<K, V>,
        cause: RemovalCause,
        effects: &mut Effects<K, V>,
    ) -> Outcome {
        let displaced =
            resident.map(|slot| self.remove_slot(context, shard, slot, RemovalCause::Replaced));
        if cause == RemovalCause::Expired {
            // It came in and left.
            context.count(if resident.is_some() { Event::Update } else { Event::Insert });
        }
        let version = match context.listener {
            Some(_) => {
                shard.version += 1;
                shard.version
            }
            None => 0,
        };
        let removal = crate::Removal { cause, version, weight: write.weight };
        let ticket = self.ticket_if_heard(context, shard);
        let (key, value) = write.take();
        effects.push(Leaving { key, value, removal, ticket });
        let Some(displaced) = displaced else { return Outcome::Rejected };
        effects.push(displaced);
        Outcome::Displaced
    }

    /// Puts a new value in a resident key's place.
    fn replace<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        write: &mut Write<K, V>,
        (credit, source): (&mut u64, Source),
        effects: &mut Effects<K, V>,
    ) -> Outcome {
        let (old, new) = (self.weight_of(slot), write.weight);
        let more = new.saturating_sub(old);
        if !reserve(context, more, credit) {
            if shard.weight - old + *credit < more {
                if source == Source::Last {
                    let cause = RemovalCause::Rejected;
                    return self.reject(context, shard, Some(slot), write, cause, effects);
                }
                return Outcome::Elsewhere(more, Source::Own);
            }
            let kept = Kept::Resident(slot);
            let (room, hidden) = self.evict_for(context, shard, more, kept, credit, effects);
            if hidden {
                // The policy named the entry itself: to it, the new value is a newcomer.
                self.track(context, shard, slot, write.hash, (old, true));
            }
            if room != Room::Made {
                let cause = RemovalCause::Rejected;
                return self.reject(context, shard, Some(slot), write, cause, effects);
            }
        }
        *credit -= more.min(*credit);
        let removal = self.removal(context, shard, slot, RemovalCause::Replaced, old);
        self.renew_version(slot);
        if context.listener.is_some() {
            self.version_heard(shard, slot);
        }
        let (key, value) = write.take();
        let &mut Write { hash, when: When { now, life }, .. } = write;
        let is_weighted = context.weigher.is_some();
        if old > 0 && new == 0 {
            // Weightless entries are none of the policy's business.
            let (policy, view) = self.policy(context, shard);
            policy.on_remove(slot, RemovalCause::Replaced, &view);
        }
        // First: the policy's recorder may panic below.
        self.schedule(context, shard, slot, life.deadline);
        let next = shard.version + 1;
        let tags = write.tags.take();
        let value = shard.arena.with(slot, |mut found| {
            self.set_tags(context, slot, tags);
            self.set_weight(slot, new, is_weighted);
            if context.has_hints() {
                self.set_lifetime(context, slot, &found.lane.state.hint, life, now);
            }
            // What the recorder asks for is done at the next write.
            self.recorder.on_hit(slot, &found.lane.state.mark);
            if self.recorder.samples(hash) {
                self.recorder.on_sample(hash);
            }
            if let Some(version) = &mut write.version {
                *version = self.version_or(slot, next);
            }
            found.value.change(|resident| mem::replace(resident, value))
        });
        shard.version = shard.version.max(write.version.unwrap_or(0));
        context.budget.release(old.saturating_sub(new));
        // At once: a number that is taken must be delivered.
        let ticket = self.ticket_if_heard(context, shard);
        effects.push(Leaving { key, value, removal, ticket });
        // Last: the policy may panic.
        self.reweigh(context, shard, slot, hash, (old, new));
        Outcome::Replaced
    }

    /// Tells the policy and the counters of a changed weight, unless it fell to 0.
    fn reweigh<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        hash: u64,
        (old, new): (u64, u64),
    ) {
        shard.weight = shard.weight - old + new;
        match (old, new) {
            (0, 1..) => self.track(context, shard, slot, hash, (new, true)),
            (1.., 1..) if old != new => shard.policy.on_weight(slot, old, new),
            // Told before, or nothing to tell.
            _ => {}
        }
    }

    /// Shows an entry to the policy as a newcomer.
    fn track<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        hash: u64,
        (weight, has_room): (u64, bool),
    ) {
        let (policy, view) = self.policy(context, shard);
        shard_mark(&view, slot);
        policy.on_insert(Newcomer { slot, hash, weight, has_room }, &view);
    }

    /// Brings a new key in.
    fn insert<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        write: &mut Write<K, V>,
        (credit, source): (&mut u64, Source),
        effects: &mut Effects<K, V>,
    ) -> Outcome {
        let weight = write.weight;
        let has_room = reserve(context, weight, credit);
        if !has_room && self.should_take_elsewhere(context, shard, weight - *credit, source) {
            let is_asked = source == Source::Fair && shard.weight < weight - *credit;
            let is_refused = source == Source::Last
                || is_asked && !self.is_welcome(context, shard, write, credit, effects);
            if is_refused {
                return self.reject(context, shard, None, write, RemovalCause::Rejected, effects);
            }
            return Outcome::Elsewhere(weight, if is_asked { Source::Others } else { Source::Own });
        }
        if shard.arena.is_crowded() {
            self.grow(context, shard);
        }
        let (key, value) = write.take();
        let &mut Write { hash, when: When { now, life }, .. } = write;
        let slot = shard.arena.place(&self.table, hash, key, value);
        self.dress(context, shard, slot, weight, (life, now));
        self.set_tags(context, slot, write.tags.take());
        // May pass the end of a `u64` until room has been made.
        shard.weight = shard.weight.wrapping_add(weight);
        let entry = &mut write.entry;
        // What is reserved is the caller's.
        let mut arrival = Arrival::new(self, context, shard, entry, (slot, weight, 0));
        if weight > 0 {
            arrival.show(Newcomer { slot, hash, weight, has_room });
        }
        let mut room = Room::Made;
        if !has_room {
            let kept = Kept::Newcomer(slot);
            (room, _) = self.evict_for(context, arrival.shard, weight, kept, credit, effects);
        }
        if room != Room::Made {
            // The policy is about to be told.
            arrival.is_tracked = false;
            let leaving = self.take_out(context, arrival.shard, slot, RemovalCause::Rejected);
            arrival.end();
            effects.push(leaving);
            return Outcome::Rejected;
        }
        arrival.end();
        *credit -= weight;
        shard.arena.publish(slot, hash);
        self.schedule(context, shard, slot, life.deadline);
        Outcome::Inserted
    }

    /// Whether room for a newcomer should come from another stripe: this one has too little to
    /// give, or much less than its fair share.
    pub(super) fn should_take_elsewhere<S>(
        &self,
        context: &Context<K, V, S>,
        shard: &Shard<K, V, P>,
        missing: u64,
        source: Source,
    ) -> bool {
        if shard.weight < missing || source == Source::Others {
            return true;
        }
        let share = context.share();
        source == Source::Fair && context.stripes > 1 && shard.weight < share - share / 8
    }

    /// Writes what is kept beside a new entry.
    fn dress<S>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        weight: u64,
        (life, now): (Lifetime, u64),
    ) {
        self.set_weight(slot, weight, context.weigher.is_some());
        if context.has_hints() {
            self.set_lifetime(context, slot, &shard.arena.state(slot).hint, life, now);
        }
        self.renew_version(slot);
        if context.listener.is_some() {
            self.version_heard(shard, slot);
        }
    }

    fn set_tags<S>(&self, context: &Context<K, V, S>, slot: Slot, tags: Option<Box<TagSet>>) {
        if context.tagger.is_some() {
            self.sides.tags.get_or_make(slot).set(tags);
        }
    }

    /// Removes a living entry if `wanted` says so of its value (under the bucket's lock). `after` is called
    /// before the stripe's lock is released, unless something is wanted that is not so. It went into the
    /// effects last if `true` is answered.
    pub(crate) fn remove<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool,
        now: u64,
        (wanted, after): (Option<Condition<'_, V>>, &dyn Fn()),
        effects: &mut Effects<K, V>,
    ) -> bool {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        let Some(slot) = shard.arena.find(&self.table, hash, equals) else {
            if wanted.is_none() {
                after();
            }
            return false;
        };
        let death = self.cause_of_death(context, shard, slot, now);
        if death.is_none()
            && let Some(wanted) = wanted
            && !self.wants(shard, Some(slot), wanted, None)
        {
            return false;
        }
        let cause = death.unwrap_or(RemovalCause::Explicit);
        let leaving = self.remove_slot(context, shard, slot, cause);
        effects.push(leaving);
        // To a condition, what was dead was not there.
        if death.is_none() || wanted.is_none() {
            after();
        }
        death.is_none()
    }

    /// The version of a living entry.
    pub(crate) fn version<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool,
        now: u64,
    ) -> Option<u64> {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let slot = shard.arena.find(&self.table, hash, equals)?;
        if self.cause_of_death(context, shard, slot, now).is_some() {
            return None;
        }
        Some(self.locked_version(shard, slot))
    }

    /// Reads or gives a version under the bucket's lock, which updates in place take too.
    pub(crate) fn locked_version(&self, shard: &mut Shard<K, V, P>, slot: Slot) -> u64 {
        let next = shard.version + 1;
        let version = shard.arena.with(slot, |_| self.version_or(slot, next));
        shard.version = shard.version.max(version);
        version
    }

    /// Tells the timer wheel of a deadline.
    pub(super) fn schedule<S>(
        &self,
        context: &Context<K, V, S>,
        shard: &mut Shard<K, V, P>,
        slot: Slot,
        deadline: Tick,
    ) {
        if deadline != Tick::NEVER {
            shard.wheel.schedule(shard.arena.home(slot), deadline);
            self.ask_for(context, deadline);
        }
    }
}

/// Reserves what `credit` does not cover of `weight`, or what there is of it; answers whether that
/// is all.
fn reserve<K, V, S>(context: &Context<K, V, S>, weight: u64, credit: &mut u64) -> bool {
    if *credit < weight {
        *credit += context.budget.reserve_some(weight - *credit);
    }
    *credit >= weight
}

/// A newcomer's mark is 0.
fn shard_mark(view: &impl crate::policy::Residents, slot: Slot) {
    view.mark(slot).set(0);
}
