//! One stripe: a table, the policy that decides who leaves it, and the lock that both are under.
//!
//! This is the only place where a stripe's lock is taken. Hits go through [`read`] without it. No
//! method runs the user's code under it but `Hash` and `Eq`; what leaves goes back to the caller
//! as [`Effects`](crate::event::Effects), to be dropped and told after the lock is released. Two
//! stripes are never locked at once.

mod arrival;
mod expire;
mod life;
mod light;
mod moves;
mod read;
mod room;
mod write;

pub(crate) use life::Renewal;
pub(crate) use light::Admission;
pub(crate) use read::Hit;
pub(crate) use room::{Given, Source};
pub(crate) use write::{Condition, Look, Outcome, Over, When, Write};

use std::{
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    Slot,
    context::Context,
    event::Ticket,
    expiry::{deadlines::Deadlines, wheel::Wheel},
    outbox::Outbox,
    panics::forget_panic,
    policy::{Mark, Policy, Residents},
    sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    table::{
        Arena, Bare, Cursor, Guard, Guarded, Lane, Side, Table, deny_reentry, enter_user_code,
        in_user_code,
    },
    tags::TagCell,
};

/// One stripe of a cache.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Stripe<K, V, P: Policy> {
    pub(crate) table: Table<K, V>,
    pub(crate) recorder: P::Recorder,
    /// See [`Swept`](crate::expiry::deadlines::Swept).
    swept: AtomicU64,
    /// The same, announced before the sweep begins.
    sweeping: AtomicU64,
    /// The tick at which the timer wheel may have something to do.
    due: AtomicU64,
    /// Whether entries' versions are kept already.
    versioned: AtomicBool,
    /// The entry that the holder of the stripe's lock has decided about: its value is not replaced
    /// in place meanwhile. A slot plus one, or 0. Written and read under the entry's bucket's lock;
    /// left standing after the decision, it only sends that entry's updates the longer way.
    pinned: AtomicU32,
    sides: Sides,
    number: usize,
    pub(crate) outbox: Outbox<K, V>,
    counts: Line<Counts>,
    shard: Line<Guarded<Shard<K, V, P>>>,
}

/// Keeps what writers change off the cache lines that hits read.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

/// What all may know of the shard without its lock.
#[derive(Debug)]
struct Counts {
    len: AtomicUsize,
    weight: AtomicU64,
}

/// What only some caches keep of their entries, by slot. Guarded by the bucket's lock.
#[derive(Debug)]
struct Sides {
    weights: Side<AtomicU64>,
    deadlines: Deadlines,
    /// The deadlines that use does not extend, where those above may be nearer.
    limits: Deadlines,
    versions: Side<AtomicU64>,
    tags: Side<TagCell>,
}

/// What the stripe's lock guards. In this order, as what changes with every insertion is on the lock's
/// own line, or in the policy: each line more must come from the processor that had the lock before.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shard<K, V, P> {
    /// The sum of the entries' weights.
    weight: u64,
    arena: Arena<K, V>,
    policy: P,
    wheel: Wheel,
    /// The version given last.
    version: u64,
    /// The number of the next notice.
    notices: u64,
    /// How far a sweep for entries that a tag's removal killed has come.
    tag_sweep: Option<Cursor>,
    /// Whether a tag was removed since that began.
    tag_sweep_again: bool,
}

impl<K, V, P: Policy> Stripe<K, V, P> {
    /// The stripe of this number, for about `entries` entries.
    pub(crate) fn new(number: usize, entries: Option<u64>, bare: Bare<K, V>, policy: P) -> Self {
        let (table, arena) = Table::new(entries, bare);
        Self {
            table,
            recorder: policy.recorder(),
            swept: AtomicU64::new(0),
            sweeping: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            versioned: AtomicBool::new(false),
            pinned: AtomicU32::new(0),
            sides: Sides {
                weights: Side::new(),
                deadlines: Deadlines::new(),
                limits: Deadlines::new(),
                versions: Side::new(),
                tags: Side::new(),
            },
            number,
            outbox: Outbox::new(),
            counts: Line(Counts { len: AtomicUsize::new(0), weight: AtomicU64::new(0) }),
            shard: Line(Guarded::new(Shard {
                weight: 0,
                arena,
                policy,
                wheel: Wheel::new(),
                version: 0,
                notices: 0,
                tag_sweep: None,
                tag_sweep_again: false,
            })),
        }
    }

    /// Makes room for this many entries in the table.
    pub(crate) fn reserve(&self, entries: usize) {
        let mut shard = self.lock();
        while shard.arena.room() < entries {
            // There are no keys to hash yet.
            if shard.arena.grow(&self.table, |_| None, |_, _| {}).is_none() {
                return;
            }
        }
    }

    /// Takes the stripe's lock.
    ///
    /// # Panics
    /// If the user's code under a bucket's lock calls: it may hold the very bucket that is wanted
    /// next, and by then something would be half done.
    pub(crate) fn lock(&self) -> Guard<'_, Shard<K, V, P>> {
        deny_reentry();
        self.shard.0.lock()
    }

    /// The same, if that needs no waiting.
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, Shard<K, V, P>>> {
        if in_user_code() { None } else { self.shard.0.try_lock() }
    }

    /// The number of entries; exact for whoever made or saw the last change.
    pub(crate) fn len(&self) -> usize {
        // Relaxed: a counter, written under the stripe's lock.
        self.counts.0.len.load(Ordering::Relaxed)
    }

    /// The sum of the entries' weights.
    pub(crate) fn weight(&self) -> u64 {
        // Relaxed: a counter, written under the stripe's lock.
        self.counts.0.weight.load(Ordering::Relaxed)
    }

    /// Keeps the entry in `slot`, whose bucket is locked, from being replaced in place.
    fn pin(&self, slot: Slot) {
        // Relaxed: guarded by the bucket's lock.
        self.pinned.store(slot.as_u32() + 1, Ordering::Relaxed);
    }

    /// Whether this entry, whose bucket is locked, must not be replaced in place.
    #[inline]
    fn is_pinned(&self, lane: Lane<'_>) -> bool {
        // Relaxed: guarded by the bucket's lock.
        let pinned = self.pinned.load(Ordering::Relaxed);
        pinned != 0 && pinned == lane.slot().as_u32() + 1
    }

    /// Publishes the counters after a change, and ends what [`pin`](Self::pin) began.
    fn publish_counts(&self, shard: &Shard<K, V, P>) {
        // Relaxed (both): an update in place that misses it takes the longer way. Written only if it
        // changes, as every such update reads it.
        if self.pinned.load(Ordering::Relaxed) != 0 {
            self.pinned.store(0, Ordering::Relaxed);
        }
        // Relaxed (all): counters. In a full cache one comes and one goes: then nothing is written, and
        // other processors keep the line.
        let Counts { len, weight } = &self.counts.0;
        if len.load(Ordering::Relaxed) != shard.arena.len() {
            len.store(shard.arena.len(), Ordering::Relaxed);
        }
        if weight.load(Ordering::Relaxed) != shard.weight {
            weight.store(shard.weight, Ordering::Relaxed);
        }
    }

    /// The weight of an entry; to be read under the bucket's or the stripe's lock.
    fn weight_of(&self, slot: Slot) -> u64 {
        // Relaxed: guarded by the locks.
        self.sides.weights.get(slot).map_or(1, |weight| weight.load(Ordering::Relaxed))
    }

    /// Whether the entry, whose bucket is locked, has this weight.
    #[inline(always)]
    fn weighs<S>(&self, context: &Context<K, V, S>, slot: Slot, weight: u64) -> bool {
        context.weigher.is_none() || self.weight_of(slot) == weight
    }

    fn set_weight(&self, slot: Slot, weight: u64, is_weighted: bool) {
        if is_weighted {
            // Relaxed: guarded by the locks.
            self.sides.weights.get_or_make(slot).store(weight, Ordering::Relaxed);
        }
    }

    /// The version of an entry, or `next`, which becomes its version if it has none yet. Under the
    /// bucket's lock; the stripe's is enough where nothing is replaced in place.
    fn version_or(&self, slot: Slot, next: u64) -> u64 {
        // Relaxed (all): guarded by the bucket's lock, which in-place updates take.
        if !self.versioned.load(Ordering::Relaxed) {
            self.versioned.store(true, Ordering::Relaxed);
        }
        let version = self.sides.versions.get_or_make(slot);
        if version.load(Ordering::Relaxed) == 0 {
            version.store(next, Ordering::Relaxed);
        }
        version.load(Ordering::Relaxed)
    }

    /// The version of an entry of a cache with a listener, where only the holder of the stripe's
    /// lock writes values.
    fn version_heard(&self, shard: &mut Shard<K, V, P>, slot: Slot) -> u64 {
        let version = self.version_or(slot, shard.version + 1);
        shard.version = shard.version.max(version);
        version
    }

    /// The value in `slot` is a new one: its predecessor's version is void.
    fn renew_version(&self, slot: Slot) {
        if let Some(version) = self.sides.versions.get(slot) {
            // Relaxed: guarded by the bucket's lock.
            version.store(0, Ordering::Relaxed);
        }
    }

    /// The number for a notice of something that leaves now.
    fn ticket(&self, shard: &mut Shard<K, V, P>) -> Ticket {
        shard.notices += 1;
        Ticket { stripe: self.number, number: shard.notices - 1 }
    }

    /// What the shard keeps beside the table follows an entry that moved.
    fn move_sides(sides: &Sides, is_weighted: bool, from: Slot, to: Slot) {
        // Relaxed (all): guarded by both buckets' locks.
        if is_weighted && let Some(weight) = sides.weights.get(from) {
            let weight = weight.load(Ordering::Relaxed);
            sides.weights.get_or_make(to).store(weight, Ordering::Relaxed);
        }
        sides.deadlines.copy(from, to);
        sides.limits.copy(from, to);
        // What the last entry in the new slot left there must not stay.
        if let Some(version) = sides.versions.get(from) {
            let version = version.load(Ordering::Relaxed);
            sides.versions.get_or_make(to).store(version, Ordering::Relaxed);
        } else if let Some(version) = sides.versions.get(to) {
            version.store(0, Ordering::Relaxed);
        }
        if let Some(tags) = sides.tags.get(from) {
            sides.tags.get_or_make(to).set(tags.take());
        } else if let Some(tags) = sides.tags.get(to) {
            tags.set(None);
        }
    }
}

/// A hash of the user's that does not unwind: `None` if it panicked.
pub(crate) fn hash_of<K: Hash, S: BuildHasher>(hasher: &S, key: &K) -> Option<u64> {
    let _running = enter_user_code::<K, ()>();
    match catch_unwind(AssertUnwindSafe(|| hasher.hash_one(key))) {
        Ok(hash) => Some(hash),
        panicked => {
            forget_panic(panicked);
            None
        }
    }
}

/// The entries as the policy sees them.
pub(crate) struct View<'a, K, V, S> {
    arena: &'a Arena<K, V>,
    weights: &'a Side<AtomicU64>,
    hasher: &'a S,
}

impl<K: Hash, V, S: BuildHasher> Residents for View<'_, K, V, S> {
    #[inline]
    fn mark(&self, slot: Slot) -> &Mark {
        &self.arena.state(slot).mark
    }

    fn hash(&self, slot: Slot) -> u64 {
        hash_of(self.hasher, self.arena.key(slot)).unwrap_or(0)
    }

    fn weight(&self, slot: Slot) -> u64 {
        // Relaxed: guarded by the stripe's lock.
        self.weights.get(slot).map_or(1, |weight| weight.load(Ordering::Relaxed))
    }
}

impl<K, V, S> std::fmt::Debug for View<'_, K, V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("arena", &self.arena).finish_non_exhaustive()
    }
}

impl<K: Hash, V, P: Policy> Stripe<K, V, P> {
    /// The policy, and the entries as it sees them.
    fn policy<'a, S: BuildHasher>(
        &'a self,
        context: &'a Context<K, V, S>,
        shard: &'a mut Shard<K, V, P>,
    ) -> (&'a mut P, View<'a, K, V, S>) {
        let view =
            View { arena: &shard.arena, weights: &self.sides.weights, hasher: &context.hasher };
        (&mut shard.policy, view)
    }

    /// Drains the policy's buffers if the stripe's lock is free.
    #[cold]
    pub(crate) fn maintain_policy<S: BuildHasher>(&self, context: &Context<K, V, S>) {
        if let Some(mut guard) = self.try_lock() {
            let (policy, view) = self.policy(context, &mut guard);
            policy.maintain(&view);
        }
    }

    /// Checks every invariant of the stripe.
    ///
    /// # Panics
    /// If one does not hold, saying which.
    pub(crate) fn validate<S: BuildHasher>(&self, context: &Context<K, V, S>) {
        let mut guard = self.lock();
        let shard = &mut *guard;
        let slots = shard.arena.validate(&self.table, |key| context.hasher.hash_one(key));
        let weight: u64 = slots.iter().map(|&slot| self.weight_of(slot)).sum();
        assert_eq!(weight, shard.weight, "weights miscounted");
        assert_eq!(self.weight(), shard.weight, "another weight was published");
        assert_eq!(self.len(), slots.len(), "another length was published");
        let tracked: Vec<Slot> =
            slots.iter().copied().filter(|&slot| self.weight_of(slot) > 0).collect();
        let (policy, view) = self.policy(context, shard);
        policy.maintain(&view);
        policy.validate(&tracked, &view);
        self.validate_deadlines(shard, &slots);
    }
}

// On other processors the compiler may order the fields in other ways, which costs a line.
#[cfg(all(test, not(larder_loom), any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::Stripe;
    use crate::{policy::Adaptive, table::Bare};

    #[test]
    fn what_insertions_write_lies_on_few_lines() {
        let stripe =
            Stripe::<u64, u64, _>::new(0, Some(100), Bare::find_out(), Adaptive::default());
        let lock = (&raw const stripe.shard).addr();
        let guard = stripe.lock();
        let [weight, policy] = [(&raw const guard.weight).addr(), (&raw const guard.policy).addr()];
        assert_eq!((lock % 128, policy % 64), (0, 0), "the lock and the policy begin a line");
        assert!(weight - lock <= 16, "what comes first is on the lock's line");
    }
}
