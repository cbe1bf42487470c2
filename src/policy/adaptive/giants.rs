//! Newcomers too heavy for the miniatures, which are as much smaller than the cache as the sample of keys is
//! than all.
//!
//! A miniature refuses what weighs more than all of it may, so to it such an entry does no harm under any
//! setting; what is somewhat lighter is sampled so seldom that chance decides what it does. In the cache one
//! drives out dozens or hundreds. So where they are much of the weight that comes in, the shadows' verdict is
//! not that of the cache, and greedy-dual is what tells heavy from light. (In caches of up to 255 entries the
//! shadows see all keys; there it makes little difference, for the better on most recorded traces.)

/// The part of the weight that they must be for the shadows to be overruled: one in so many. With one in 4,
/// giants of a 200th of the capacity are not noticed where most of them are resident and the light entries
/// come and go.
const MUCH: u128 = 16;
/// Weight that is remembered, in stripes' shares of the capacity.
const REMEMBERED: u64 = 16;

/// How much of the weight that came to a stripe of late was in giants.
#[derive(Debug, Default)]
pub(super) struct Giants {
    all: u128,
    giants: u128,
    are_many: bool,
}

impl Giants {
    /// Whether they are so many that they decide.
    #[inline]
    pub(super) fn are_many(&self) -> bool {
        self.are_many
    }

    /// Takes notice of a newcomer to a stripe with this share of the capacity; answers whether that
    /// changes whether they are many.
    #[inline]
    pub(super) fn note(&mut self, weight: u64, is_giant: bool, share: u64) -> bool {
        self.all += u128::from(weight);
        self.giants += if is_giant { u128::from(weight) } else { 0 };
        if self.all > u128::from(share) * u128::from(REMEMBERED) {
            (self.all, self.giants) = (self.all / 2, self.giants / 2);
        }
        let were_many = self.are_many;
        self.are_many = self.giants * MUCH > self.all;
        were_many != self.are_many
    }
}

#[cfg(test)]
mod tests {
    use super::Giants;

    #[test]
    fn giants_are_many_where_they_are_a_sixteenth_of_the_weight() {
        let mut giants = Giants::default();
        assert!(!giants.note(150, false, 1000) && !giants.are_many());
        assert!(giants.note(20, true, 1000) && giants.are_many());
        let changed = (0..1000).filter(|_| giants.note(100, false, 1000)).count();
        assert!(changed == 1 && !giants.are_many(), "they are forgotten");
        let changed = (0..1000).filter(|at| giants.note(100, at % 2 == 0, 1000)).count();
        assert!(changed == 1 && giants.are_many());
    }
}
