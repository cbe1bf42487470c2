//! Looking an entry up without any lock, where it is [bare](super::bare).

#![allow(unsafe_code, reason = "turns what was copied into keys and values")]

use super::{
    Lane, Place, Spot, Table,
    bucket::Group,
    lock::{BucketLock, Glimpse},
    prints::fingerprint,
};

/// What a look without any lock came to.
#[derive(Debug)]
pub(crate) enum Glance<'a, V> {
    /// The value, and where it was at that moment.
    Found(V, Lane<'a>),
    Absent,
    /// It may be in the bucket's chain, or behind another with its fingerprint: see
    /// [`Open::glance_further`].
    Further,
    /// That takes the lock: somebody holds it or changed something meanwhile, or the entry was not
    /// accepted.
    Unclear,
}

/// A moment at which a bucket's lock was free.
#[derive(Clone, Copy)]
struct Moment<'a> {
    lock: &'a BucketLock,
    glimpse: Glimpse,
}

impl Moment<'_> {
    /// Whether nobody has taken the lock yet: what was copied is of that moment.
    #[inline(always)]
    fn lasts(self) -> bool {
        self.lock.is_untouched_since(self.glimpse)
    }
}

/// A table whose entries are bare, and so may be looked at without a lock.
#[derive(Debug)]
pub(crate) struct Open<'a, K, V>(&'a Table<K, V>);

impl<K, V> Table<K, V> {
    /// The table, if its entries may be looked at without a lock.
    #[inline(always)]
    pub(crate) fn open(&self) -> Option<Open<'_, K, V>> {
        self.bare.is().then_some(Open(self))
    }
}

impl<'a, K, V> Open<'a, K, V> {
    /// Picks the bucket of a hash; see [`Table::approach`].
    #[inline(always)]
    pub(crate) fn approach(&self, hash: u64) -> Spot<'a, K, V> {
        self.0.approach(hash)
    }

    /// Copies the value of the entry with this hash whose key `equals` from the bucket that was picked,
    /// and takes no lock. `accepts` is asked about the entry at the same moment.
    #[inline(always)]
    pub(crate) fn glance(
        &self,
        spot: Spot<'a, K, V>,
        hash: u64,
        equals: &impl Fn(&K) -> bool,
        accepts: impl Fn(Lane<'_>) -> bool,
    ) -> Glance<'a, V> {
        let Spot { bucket, index, mask } = spot;
        let Some(glimpse) = bucket.lock.glimpse() else { return Glance::Unclear };
        if bucket.level() != mask {
            return Glance::Unclear;
        }
        let Some(lane) = bucket.group.prints.matching(fingerprint(hash)).first() else {
            return if bucket.overflow().is_some() {
                Glance::Further
            } else if bucket.lock.is_untouched_since(glimpse) {
                Glance::Absent
            } else {
                Glance::Unclear
            };
        };
        let place = Place::Home { bucket: index, lane };
        let moment = Moment { lock: &bucket.lock, glimpse };
        // Another key with this fingerprint is too seldom to be worth a loop's registers.
        // SAFETY: it is of this table, and the fingerprint was seen.
        unsafe { self.copy_from(&bucket.group, place, moment, equals, accepts) }
            .unwrap_or(Glance::Further)
    }

    /// Goes on where [`glance`](Self::glance) did not say: looks at all entries with the fingerprint of
    /// the bucket and its chain.
    #[inline(never)]
    pub(crate) fn glance_further(
        &self,
        hash: u64,
        equals: impl Fn(&K) -> bool,
        accepts: impl Fn(Lane<'_>) -> bool,
    ) -> Glance<'a, V> {
        let (bucket, index, mask) = self.0.locate(hash);
        let Some(glimpse) = bucket.lock.glimpse() else { return Glance::Unclear };
        if bucket.level() != mask {
            return Glance::Unclear;
        }
        let (print, moment) = (fingerprint(hash), Moment { lock: &bucket.lock, glimpse });
        for lane in bucket.group.prints.matching(print) {
            let place = Place::Home { bucket: index, lane };
            // SAFETY: it is of this table, and the fingerprint was seen.
            let found = unsafe { self.copy_from(&bucket.group, place, moment, &equals, &accepts) };
            if let Some(glance) = found {
                return glance;
            }
        }
        let mut next = bucket.overflow();
        while let Some(group) = next {
            for lane in group.group.prints.matching(print) {
                let place = Place::Overflow { number: group.number, lane };
                // SAFETY: as above.
                let found =
                    unsafe { self.copy_from(&group.group, place, moment, &equals, &accepts) };
                if let Some(glance) = found {
                    self.0.note_loose(index);
                    return glance;
                }
            }
            next = group.next();
            // A group that was unlinked may be in another bucket's chain by now.
            if !moment.lasts() {
                return Glance::Unclear;
            }
        }
        if moment.lasts() { Glance::Absent } else { Glance::Unclear }
    }

    /// Copies one entry; `None` if its key is another.
    ///
    /// # Safety
    /// The group is of this table, and the fingerprint of the entry was seen at that moment or later.
    #[inline(always)]
    unsafe fn copy_from<const N: usize, const WORDS: usize>(
        &self,
        group: &'a Group<K, V, N, WORDS>,
        place: Place,
        moment: Moment<'_>,
        equals: &impl Fn(&K) -> bool,
        accepts: impl Fn(Lane<'_>) -> bool,
    ) -> Option<Glance<'a, V>> {
        let (Place::Home { lane, .. } | Place::Overflow { lane, .. }) = place;
        // SAFETY: the entries are bare, as `Table::open` made sure, and the fingerprint was set (contract).
        let (key, value) = unsafe { group.copied(lane) };
        let lane = Lane { state: group.state(lane), place };
        let is_accepted = accepts(lane);
        if !moment.lasts() {
            return Some(Glance::Unclear);
        }
        // SAFETY: the lane held an entry, and nobody wrote to it while it was copied: that is done
        // under the bucket's lock, or after the entry was taken out under that.
        let key = unsafe { key.assume_init() };
        if !equals(&key) {
            return None;
        }
        if !is_accepted {
            return Some(Glance::Unclear);
        }
        // SAFETY: as above.
        Some(Glance::Found(unsafe { value.assume_init() }, lane))
    }
}
