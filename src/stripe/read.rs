//! What goes without the stripe's lock: hits, and replacing a value in place.

use std::{
    hash::{BuildHasher, Hash},
    mem,
};

use super::{
    Stripe,
    life::{Renewal, is_immortal},
};
use crate::{
    context::Context,
    expiry::deadlines::OfBucket,
    policy::{Policy, Recorder},
    sync::Ordering,
    table::{
        BucketGuard, Found, Further, Glance, Lane, Locked, Look, Open, Spot, Value,
        enter_user_code, note_change,
    },
};

/// An entry that was looked up as a use of it: its bucket is locked until this is dropped, and then
/// what the use leaves to do is done.
pub(crate) struct Used<'a, K: Hash, V, P: Policy, S: BuildHasher> {
    pub(crate) value: Value<'a, K, V>,
    /// In this order: the lock is released first.
    _guard: BucketGuard<'a>,
    _rest: Rest<'a, K, V, P, S>,
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

    /// [`hit`](Self::hit) under no lock, in the stripe's table: what is answered held at some moment
    /// meanwhile.
    #[inline(always)]
    pub(crate) fn glance<'a, S: BuildHasher>(
        &'a self,
        context: &Context<K, V, S>,
        table: &Open<'a, K, V>,
        hash: u64,
        equals: impl Fn(&K) -> bool,
    ) -> Glance<'a, V> {
        let glance = table.glance(table.approach(hash), hash, &equals, is_immortal);
        self.glanced(context, glance, hash, false)
    }

    /// [`hit_at`](Self::hit_at) under no lock, where uses put nothing off.
    #[inline(always)]
    pub(crate) fn glance_at<'a, S: BuildHasher>(
        &'a self,
        context: &Context<K, V, S>,
        (table, spot): (&Open<'a, K, V>, Spot<'a, K, V>),
        hash: u64,
        equals: impl Fn(&K) -> bool,
        now: u64,
    ) -> Glance<'a, V> {
        let accepts = |lane: Lane<'_>| self.is_seen_alive(context, lane, now);
        let glance = table.glance(spot, hash, &equals, accepts);
        self.glanced(context, glance, hash, true)
    }

    /// Goes on where these did not say.
    #[inline]
    pub(crate) fn glance_further<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        hash: u64,
        equals: impl Fn(&K) -> bool,
    ) -> Glance<'_, V> {
        let Some(table) = self.table.open() else { return Glance::Unclear };
        let now = context.time_of_use();
        let accepts = |lane: Lane<'_>| self.is_seen_alive(context, lane, now);
        let glance = table.glance_further(hash, equals, accepts);
        self.glanced(context, glance, hash, true)
    }

    /// Tells the recorder of what was found, as [`used`](Self::used). The entry may have left since; the
    /// policy knows how to live with that.
    #[inline(always)]
    fn glanced<'a, S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        glance: Glance<'a, V>,
        hash: u64,
        may_sample: bool,
    ) -> Glance<'a, V> {
        if let Glance::Found(_, lane) = &glance {
            let is_due = self.recorder.on_hit(lane.slot(), &lane.state.mark);
            if is_due || (may_sample && self.recorder.samples(hash)) {
                self.follow_up(context, hash, is_due);
            }
        }
        glance
    }

    /// [`hit`](Self::hit) in the bucket that was picked, where entries have deadlines: those there, if
    /// the use is about to put one off and they are at hand.
    #[inline(always)]
    pub(crate) fn hit_at<'a, S: BuildHasher>(
        &'a self,
        context: &'a Context<K, V, S>,
        spot: Spot<'a, K, V>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
        (now, deadlines): (u64, Option<OfBucket<'_>>),
    ) -> Hit<'a, K, V, P, S> {
        match self.table.look(spot, hash, &equals) {
            Look::Found(locked) if self.use_alive(context, locked.found.lane, now, deadlines) => {
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
        let is_alive = self.use_alive(context, locked.found.lane, context.time_of_use(), None);
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

    /// The version of an entry that was given one, dead or alive.
    pub(crate) fn version_at_hand(
        &self,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
    ) -> Option<u64> {
        let locked = self.table.find(hash, equals)?;
        // Relaxed: guarded by the bucket's lock.
        let version = self.sides.versions.get(locked.found.lane.slot())?.load(Ordering::Relaxed);
        (version != 0).then_some(version)
    }

    /// Swaps the value of a living entry without the stripe's lock, for caches without listener and
    /// tags, whose stripes have nothing to keep up to date. Changes nothing if there is no such entry,
    /// if its weight would change, if its deadline would come nearer (which the timer wheel would
    /// have to know), or if it is not to be written, which is asked of the resident value under its lock.
    /// Answers whether it swapped. `renewal` is told where entries have deadlines or weights.
    #[inline(always)]
    pub(crate) fn replace_in_place<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        spot: Spot<'_, K, V>,
        hash: u64,
        (key, value): (&K, &mut V),
        renewal: Option<Renewal<'_>>,
        may_write: impl Fn(&V) -> bool,
    ) -> bool
    where
        K: Hash + Eq,
    {
        let equals = |resident: &K| {
            let _running = enter_user_code::<K, V>();
            resident == key
        };
        match self.table.look_lightly(spot, hash, &equals) {
            Look::Found(locked) => {
                may_write(&locked.found.value) && self.swap(context, locked, hash, value, renewal)
            }
            Look::Absent => false,
            Look::Further(further) => {
                self.swap_further(context, further, (hash, equals, may_write), value, renewal)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn swap_further<S: BuildHasher>(
        &self,
        context: &Context<K, V, S>,
        further: Further<'_, K, V>,
        (hash, equals, may_write): (u64, impl Fn(&K) -> bool + Copy, impl Fn(&V) -> bool),
        value: &mut V,
        renewal: Option<Renewal<'_>>,
    ) -> bool
    where
        K: Hash,
    {
        let locked = self.table.look_further(further, hash, equals);
        // It may lie in an overflow group, or in another bucket after a split.
        let renewal = renewal.map(|renewal| Renewal { deadlines: None, ..renewal });
        locked.is_some_and(|locked| {
            may_write(&locked.found.value) && self.swap(context, locked, hash, value, renewal)
        })
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
        let Locked { found: Found { value: mut resident, lane, .. }, guard } = locked;
        if self.is_pinned(lane) {
            return false;
        }
        let may_stay = match renewal {
            None => is_immortal(lane),
            Some(renewal) if self.weighs(context, lane.slot(), renewal.weight) => {
                self.renew(context, lane, renewal)
            }
            Some(_) => false,
        };
        if !may_stay {
            return false;
        }
        // Relaxed: a version asked for under the bucket's lock is asked for after this is set.
        if self.versioned.load(Ordering::Relaxed) {
            self.renew_version(lane.slot());
        }
        let is_due = self.recorder.on_hit(lane.slot(), &lane.state.mark);
        resident.change(|resident| mem::swap(resident, value));
        note_change();
        drop(guard);
        if is_due || (renewal.is_some() && self.recorder.samples(hash)) {
            self.follow_up(context, hash, is_due);
        }
        true
    }
}
