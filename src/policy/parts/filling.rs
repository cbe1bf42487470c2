//! Whether a cache is filling up.
//!
//! While it is, what is too much for the queue of the newcomers goes on to the main queue without having
//! to be worth it. A full cache has room now and then as well: where entries differ in weight, a victim
//! was heavier than what came in for it, and where they expire, one has. What finds such a gap must not
//! let anybody off the comparison: uncompared, half of all newcomers would pass through the main queue, at
//! the expense of what is proven. On popular keys of independent weights that cost W-TinyLFU 2.8 points
//! at a hundredth of the bytes and 1.1 at a tenth; over eleven recorded traces with made-up weights, 2.4
//! on average; and where a lifetime is a few capacities' worth of newcomers, the default policy up to 1.6.
//!
//! It must not know what the queues are.

/// So many newcomers in a row have to find room in a cache that was full before. 8 are too few where
/// weights differ by orders of magnitude, 32 to any number are alike; and where much was removed, the
/// main queue is to fill up again soon.
const IN_A_ROW: u32 = 64;

/// Knows whether a cache is filling up, from its newcomers.
#[derive(Debug)]
pub(crate) struct Filling {
    /// How many in a row found room of late. Nothing has to be found out at first.
    with_room: u32,
}

impl Default for Filling {
    fn default() -> Self {
        Self { with_room: IN_A_ROW }
    }
}

impl Filling {
    /// Tells of a newcomer to so many entries; answers whether the cache is filling up.
    #[inline]
    pub(crate) fn is_on(&mut self, has_room: bool, entries: usize) -> bool {
        if !has_room {
            self.end();
        } else if entries == 0 {
            *self = Self::default();
        } else {
            self.with_room = self.with_room.saturating_add(1);
        }
        self.with_room >= IN_A_ROW
    }

    /// Tells of a newcomer that found no room.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.with_room = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_not_taken_for_an_empty_cache() {
        let mut filling = Filling::default();
        assert!((0..10).all(|entries| filling.is_on(true, entries)), "at first");
        assert!(!filling.is_on(false, 10), "full");
        assert!((1..IN_A_ROW).all(|_| !filling.is_on(true, 9)), "a gap");
        assert!(filling.is_on(true, 9), "more than a gap");
        assert!(!filling.is_on(false, 10));
        assert!(!filling.is_on(true, 9), "a gap again");
        assert!(filling.is_on(true, 0), "empty");
    }
}
