//! Looking an entry up without any lock, where it is [bare](super::bare).

#![allow(unsafe_code, reason = "turns what was copied into keys and values")]

use super::{Lane, Place, Spot, Table, prints::fingerprint};

/// What a look without any lock came to.
#[derive(Debug)]
pub(crate) enum Glance<'a, V> {
    /// The value, and where it was at that moment.
    Found(V, Lane<'a>),
    Absent,
    /// That takes the lock: somebody holds it or changed something meanwhile, the entry may be in a
    /// chain or behind another with its fingerprint, or it was not accepted.
    Unclear,
}

impl<K, V> Table<K, V> {
    /// Whether [`glance`](Self::glance) may be called.
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        self.bare.is()
    }

    /// Copies the value of the entry with this hash whose key `equals` from the bucket that was picked,
    /// and takes no lock. `accepts` is asked about the entry at the same moment.
    ///
    /// # Panics
    /// If the table is not [open](Self::is_open) to that.
    #[inline(always)]
    pub(crate) fn glance<'a>(
        &self,
        spot: Spot<'a, K, V>,
        hash: u64,
        equals: &impl Fn(&K) -> bool,
        accepts: impl Fn(Lane<'_>) -> bool,
    ) -> Glance<'a, V> {
        assert!(self.is_open(), "only numbers can be copied without a lock");
        let Spot { bucket, index, mask } = spot;
        let Some(glimpse) = bucket.lock.glimpse() else { return Glance::Unclear };
        if bucket.level() != mask {
            return Glance::Unclear;
        }
        let Some(lane) = bucket.group.prints.matching(fingerprint(hash)).first() else {
            let is_absent = bucket.overflow().is_none() && bucket.lock.is_untouched_since(glimpse);
            return if is_absent { Glance::Absent } else { Glance::Unclear };
        };
        // SAFETY: the entries are bare, and the fingerprint was set.
        let (key, value) = unsafe { bucket.group.copied(lane) };
        let place = Place::Home { bucket: index, lane };
        let lane = Lane { state: bucket.group.state(lane), place };
        let is_accepted = accepts(lane);
        if !bucket.lock.is_untouched_since(glimpse) {
            return Glance::Unclear;
        }
        // SAFETY: the lane held an entry, and nobody wrote to it while it was copied: that is done
        // under the bucket's lock, or after the entry was taken out under that.
        let key = unsafe { key.assume_init() };
        // Another key with this fingerprint is too seldom to be worth a loop's registers.
        if !is_accepted || !equals(&key) {
            return Glance::Unclear;
        }
        // SAFETY: as above.
        Glance::Found(unsafe { value.assume_init() }, lane)
    }
}
