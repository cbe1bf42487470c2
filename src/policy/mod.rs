//! Who goes next: the seam between the cache and its eviction policies.
//!
//! A policy knows slots, hashes and weights. It never sees a key, a value, a lock or the time.
//! Each stripe of a cache has a policy of its own, in two halves:
//!
//! * the **policy** itself, reached with `&mut self` under the stripe's lock: inserting, removing
//!   and choosing a victim;
//! * its **recorder** ([`Recorder`]), reached with `&self` from every hit, without the stripe's
//!   lock and from many threads at once. It may set the entry's [`Mark`], a byte that lies in the
//!   cache line the hit has already touched, or push to a buffer that
//!   [`maintain`](Policy::maintain) drains.

mod any;
mod mark;
mod parts;
pub mod recorders;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod suite;

pub use adaptive::{AdaptiveRecorder, Advice, Outlook, Setting};
pub use any::{AnyPolicy, AnyRecorder, UnknownPolicy};
pub use mark::Mark;
pub use tiny_lfu::InvalidWindow;

/// The policies that come with the cache, one line each: the file, the type, and the name by which
/// [`AnyPolicy`] knows it.
macro_rules! policies {
    ($($file:ident::$Policy:ident = $name:literal,)*) => {
        $(mod $file;)*
        $(pub use $file::$Policy;)*

        /// The names that can be parsed as an [`AnyPolicy`].
        pub(crate) const NAMES: &[&str] = &[$($name),*];

        /// The policy of this name.
        fn by_name(name: &str) -> Option<AnyPolicy> {
            match name {
                $($name => Some(AnyPolicy::new($Policy::default())),)*
                _ => None,
            }
        }
    };
}

policies! {
    adaptive::Adaptive = "adaptive",
    fifo::Fifo = "fifo",
    gdsf::Gdsf = "gdsf",
    lfu::Lfu = "lfu",
    lru::Lru = "lru",
    random::Random = "random",
    s3_fifo::S3Fifo = "s3-fifo",
    sieve::Sieve = "sieve",
    tiny_lfu::TinyLfu = "tiny-lfu",
}

use std::fmt::Debug;

use crate::{RemovalCause, Slot};

/// What a hit does: the half of a policy that runs without the stripe's lock.
///
/// It races with itself and with the policy's other half; a lost update may cost a little hit
/// ratio but never correctness. It must neither block nor panic.
pub trait Recorder: Debug + Send + Sync + 'static {
    /// Notes a hit on `slot`, or that its value was replaced, which is a use too.
    ///
    /// Runs under the lock of the entry's bucket, so keep it to a few nanoseconds; where keys and values
    /// are numbers under none, so that the entry may have left its slot by now, and another come. Hits on
    /// entries of weight 0, of which the policy is not told, are noted too. Answers
    /// whether [`Policy::maintain`] should be called soon (a buffer is full); the cache then tries,
    /// without waiting, to take the stripe's lock and to call it.
    fn on_hit(&self, slot: Slot, mark: &Mark) -> bool;

    /// Whether hits on keys of this hash are told to [`on_sample`](Self::on_sample) too. Asked on
    /// every look-up; the same hash should get the same answer for some time.
    #[inline]
    fn samples(&self, hash: u64) -> bool {
        let _ = hash;
        false
    }

    /// Notes a hit on a key that [`samples`](Self::samples) chose, or a new value of it, after
    /// [`on_hit`](Self::on_hit). Runs under no lock, so that the entry may have left by now, or under both
    /// the stripe's and the bucket's where the value was replaced under these. Answers as `on_hit` does.
    fn on_sample(&self, hash: u64) -> bool {
        let _ = hash;
        false
    }
}

/// The stripe's entries as a policy sees them.
pub trait Residents {
    /// The mark of the entry in `slot`.
    fn mark(&self, slot: Slot) -> &Mark;
    /// The hash of the entry's key. It is computed anew from the key (the cache keeps no hashes),
    /// so ask for it only where it is needed. Never panics: where the user's `Hash` does, it is 0.
    fn hash(&self, slot: Slot) -> u64;
    /// The weight of the entry in `slot`; 1 in a cache without a weigher.
    fn weight(&self, slot: Slot) -> u64;
}

/// A newcomer, as told to [`Policy::on_insert`].
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// Where it lies. Its mark is 0, unless a hit on what lay there before is noted late (see
    /// [`Recorder::on_hit`]).
    pub slot: Slot,
    /// The hash of its key.
    pub hash: u64,
    /// What it weighs.
    pub weight: u64,
    /// Whether the cache has room for it as it is. If not, [`Policy::victim`] is called until it
    /// has.
    pub has_room: bool,
}

/// An eviction policy for one stripe.
///
/// The cache calls it under the stripe's lock. Every slot that came in through
/// [`on_insert`](Self::on_insert) leaves through [`on_remove`](Self::on_remove), exactly once.
pub trait Policy: Debug + Send + Sync + Sized + 'static {
    /// The half that hits see.
    type Recorder: Recorder;

    /// Makes the policies of a cache with `stripes` stripes and `capacity` in all (weight), from
    /// this one as the pattern. A stripe's fair share is `capacity / stripes`; state that all
    /// stripes share is made here.
    fn for_stripes(self, stripes: usize, capacity: u64) -> Vec<Self>;

    /// The recorder of this stripe's policy; called once.
    fn recorder(&self) -> Self::Recorder;

    /// A newcomer came in. [`victim`](Self::victim) may name it: that is how admission refuses.
    ///
    /// Entries of weight 0 never get here, as there is nothing to decide about them: one whose weight
    /// becomes 0 leaves through [`on_remove`](Self::on_remove), with
    /// [`RemovalCause::Replaced`], and comes as a newcomer should it ever weigh something again.
    ///
    /// If this or the choice of a victim for it panics, the newcomer does not come in. It leaves
    /// through `on_remove` then if it is tracked, which [`len`](Self::len) tells.
    fn on_insert(&mut self, newcomer: Newcomer, residents: &impl Residents);

    /// The entry's value was replaced and its weight changed from `old` to `new`, neither of which is
    /// 0. By default nothing happens: for policies that do not go by weight.
    fn on_weight(&mut self, slot: Slot, old: u64, new: u64) {
        let _ = (slot, old, new);
    }

    /// The entry leaves. It is still readable through `residents`. The cause is
    /// [`RemovalCause::Size`] or [`RemovalCause::Rejected`] if [`victim`](Self::victim) chose it, unless
    /// it was to make room for its own new value, which is heavier. Then it is
    /// [`RemovalCause::Replaced`], and the entry comes back through
    /// [`on_insert`](Self::on_insert) once others have made room, with its old weight at first.
    fn on_remove(&mut self, slot: Slot, cause: RemovalCause, residents: &impl Residents);

    /// The entry in `from` now lies in `to` (the table grew, or had room in a better place); its mark
    /// moved along.
    fn on_move(&mut self, from: Slot, to: Slot);

    /// The entry that should make room. It stays tracked until [`on_remove`](Self::on_remove);
    /// asked again before that, the policy may name it again. `None` only if it tracks nothing
    /// that may be evicted: what would need the room is refused then if no other stripe gives it, and
    /// [`Cache::set_capacity`](crate::Cache::set_capacity) leaves what there is.
    ///
    /// Lazy promotion happens here. One call does a bounded amount of work.
    fn victim(&mut self, residents: &impl Residents) -> Option<Slot>;

    /// Takes in a newcomer for which there is no room where every entry weighs 1, and forgets the
    /// one entry that makes room for it, which is answered: another one, or the newcomer itself if
    /// it is refused.
    ///
    /// The same as [`on_insert`](Self::on_insert), [`victim`](Self::victim) and
    /// [`on_remove`](Self::on_remove) one after another, which is what it does unless a policy has
    /// a shorter way. The cache calls either this or those, as it likes.
    fn exchange(&mut self, newcomer: Newcomer, residents: &impl Residents) -> Slot {
        let own = newcomer.slot;
        self.on_insert(newcomer, residents);
        let victim = self.victim(residents).unwrap_or(own);
        let cause = if victim == own { RemovalCause::Rejected } else { RemovalCause::Size };
        self.on_remove(victim, cause, residents);
        victim
    }

    /// Drains what the recorder has buffered. Called before the other methods whenever entries may
    /// have been hit since, and when the recorder asked for it.
    fn maintain(&mut self, residents: &impl Residents) {
        let _ = residents;
    }

    /// The capacity of the whole cache changed; this stripe's fair share is now `share`.
    fn set_capacity(&mut self, share: u64, whole: u64);

    /// Every entry has left (each was told through [`on_remove`](Self::on_remove)): forget what is
    /// remembered of the departed too, and give memory back.
    fn clear(&mut self);

    /// Every entry tracked, the next victims first. An estimate where the order is decided lazily. Marks
    /// change meanwhile: read each once.
    fn ranking(&self, residents: &impl Residents) -> Vec<Slot>;

    /// The number of entries tracked.
    fn len(&self) -> usize;

    /// Whether no entry is tracked.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks every internal invariant and that exactly `slots` are tracked. For tests: called by
    /// [`Cache::validate`](crate::Cache::validate). By default only their number is checked.
    ///
    /// # Panics
    /// If one does not hold, saying which.
    fn validate(&self, slots: &[Slot], residents: &impl Residents) {
        let _ = residents;
        assert_eq!(self.len(), slots.len(), "entries tracked");
    }
}
