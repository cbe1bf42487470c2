//! How many second chances an entry of the main queue has had: its share of what the sketch would know.
//!
//! The sketch counts insertions and second chances. Telling it of each chance would mean hashing the
//! key again and fetching a line of the sketch, for all the entries that are passed on the way to a
//! victim. So an entry counts its own beside its hits, and the sketch is told when it leaves as a victim
//! of W-TinyLFU. The count ages as the sketch does: two bits say which halving it has last been through.
//! After four it would look fresh again, but that takes forty times as many newcomers as there are entries,
//! under settings that never look at the main queue's tail.

/// The second chances of an entry: five bits, of which the lowest three are the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chances(u8);

impl Chances {
    pub(super) const NONE: Self = Self(0);
    pub(super) const BITS: u32 = 5;
    const COUNT_BITS: u32 = 3;
    const GENERATIONS: u8 = 1 << (Self::BITS - Self::COUNT_BITS);
    /// The most that are counted. On recorded traces 3 and 15 are as good; by weight 3 lost a tenth of a
    /// point on made-up keys.
    const MAX: u8 = (1 << Self::COUNT_BITS) - 1;

    /// Those in the lowest bits.
    #[inline]
    pub(super) const fn of(bits: u8) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    #[inline]
    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// How many there were of late, in this generation of the sketch.
    #[inline]
    pub(super) const fn count(self, generation: u8) -> u8 {
        let halvings = generation.wrapping_sub(self.0 >> Self::COUNT_BITS) % Self::GENERATIONS;
        (self.0 & Self::MAX) >> halvings
    }

    /// One more, in this generation.
    #[inline]
    pub(super) const fn and_one(self, generation: u8) -> Self {
        let count = self.count(generation);
        let count = if count < Self::MAX { count + 1 } else { count };
        Self::of(generation << Self::COUNT_BITS | count)
    }
}

#[cfg(test)]
mod tests {
    use super::Chances;

    #[test]
    fn chances_are_counted_and_halved_with_the_sketch() {
        let mut chances = Chances::NONE;
        for count in 0..20 {
            assert_eq!(chances.count(0), count.min(7));
            chances = Chances::of(chances.and_one(0).bits());
        }
        assert_eq!([1, 2, 3].map(|generation| chances.count(generation)), [3, 1, 0]);
        assert_eq!(chances.count(4), 7, "a whole round later");
        let later = chances.and_one(1);
        assert_eq!([1, 2, 3, 4].map(|generation| later.count(generation)), [4, 2, 1, 0]);
        let round = (0..=u8::MAX).fold(later, |chances, step| chances.and_one(step));
        assert_eq!(round.count(u8::MAX), 1, "one after each halving");
    }
}
