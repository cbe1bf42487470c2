//! W-TinyLFU: a window for newcomers, a main queue for the frequent, and a sketch that compares.
//!
//! After Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
//! Transactions on Storage 13 (4), 2017. Who leaves the window must have been seen more often than
//! the main queue's victim, or leaves the cache; the sketch of what was seen forgets by halving.
//! Deviations, each found better on recorded traces or cheaper:
//!
//! * the window has 5 % of the weight (not 1 %), and a hit in it earns a place in the main queue
//!   without comparison;
//! * window and main queue are first-in-first-out with counted second chances (CLOCK), not LRU and
//!   segmented LRU: a hit only counts in the entry's mark;
//! * the sketch counts misses, and hits only when the marks are read, under the lock;
//! * an entry seen often enough wins one comparison in [`LUCK`] that it would lose, so that nobody
//!   can keep it out for ever by making others look frequent;
//! * a search passes at most [`MAX_STEPS`] entries, then takes whom it has reached;
//! * where entries have weights, one comparison with the first victim decides.

use std::error::Error;
use std::fmt;

use super::parts::{Duo, Filling, Mixed, Place, Sketch, Stream};
use super::recorders::Count;
use super::{Newcomer, Policy, Residents};
use crate::{RemovalCause, Slot};

/// How many entries one search for a victim may promote or reinsert.
const MAX_STEPS: usize = 256;
/// The estimate from which on an entry may be lucky.
const MAYBE_LUCKY: u8 = 6;
/// One in so many of those is.
const LUCK: u32 = 128;
/// The first part in so many of the share tells how many entries there will be.
const FORETELLING: u64 = 32;
/// The window is kept in parts of the weight, in units of one part in so many.
const UNIT: u32 = 1 << 16;

/// W-TinyLFU. A hit counts to three in the entry's mark; one-hit wonders do not displace the
/// frequent.
#[derive(Debug)]
pub struct TinyLfu {
    duo: Duo,
    sketch: Sketch,
    /// The number of entries for which the sketch was made.
    sketch_sized_for: usize,
    stream: Stream,
    /// Where the random numbers of each stripe begin, if not anywhere.
    seed: Option<u64>,
    /// The window's part of the weight, in [`UNIT`]s.
    window: u32,
    /// The fair share of the capacity, which only decides where entries go at first.
    share: u64,
    filling: Filling,
}

/// The error of asking for a window that is not between nothing and everything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvalidWindow {
    share: f64,
}

impl fmt::Display for InvalidWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the window's share must be from 0 to 1, not {}", self.share)
    }
}

impl Error for InvalidWindow {}

impl Default for TinyLfu {
    fn default() -> Self {
        Self::sized(UNIT / 20, 0, None)
    }
}

impl TinyLfu {
    /// The policy, with a window of 5 %.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The policy with a given seed for its random numbers: one that drives its cache with the same
    /// hashes in the same order then does the same every time.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::sized(UNIT / 20, 0, Some(seed))
    }

    /// Sets the window's share of the weight, from 0 (every newcomer is compared at once) to 1 (no
    /// comparison at all: CLOCK).
    ///
    /// # Errors
    /// If it is below 0, above 1 or not a number.
    pub fn with_window(mut self, share: f64) -> Result<Self, InvalidWindow> {
        if !(0.0..=1.0).contains(&share) {
            return Err(InvalidWindow { share });
        }
        self.window = (share * f64::from(UNIT)).round() as u32;
        Ok(self)
    }

    fn sized(window: u32, share: u64, seed: Option<u64>) -> Self {
        Self {
            duo: Duo::default(),
            sketch: Sketch::default(),
            sketch_sized_for: 0,
            stream: seed.map_or_else(Stream::default, Stream::seeded),
            seed,
            window,
            share,
            filling: Filling::default(),
        }
    }

    /// The window's part of this weight; at least 1, so that some newcomers can wait there.
    fn window_of(&self, weight: u128) -> u128 {
        let part = weight / u128::from(UNIT) * u128::from(self.window)
            + weight % u128::from(UNIT) * u128::from(self.window) / u128::from(UNIT);
        part.max(u128::from(self.window > 0))
    }

    /// Makes the sketch when a part of the share has come in that tells how many entries there will
    /// be, and anew when that was far off. Its memory comes zeroed, most of it untouched as yet.
    fn provide_sketch(&mut self, is_full: bool) {
        let entries = self.duo.len();
        let sized_for = self.sketch_sized_for;
        let outgrown = entries / 2 > sized_for || (is_full && entries < sized_for / 4);
        if self.sketch.is_allocated() {
            if outgrown {
                self.resize_sketch(entries);
            }
        } else if is_full {
            self.resize_sketch(entries);
        } else if self.duo.weight() >= u128::from(self.share / FORETELLING) {
            let times = u128::from(self.share) / self.duo.weight().max(1);
            self.resize_sketch(entries.saturating_mul(times as usize));
        }
    }

    fn resize_sketch(&mut self, entries: usize) {
        self.sketch_sized_for = entries.max(1);
        self.sketch.reset(self.sketch_sized_for);
    }

    /// Whether the window holds more than its part of what will stay.
    fn window_is_over(&self) -> bool {
        let newcomer = self.duo.newcomer().map_or(0, |(weight, _)| u128::from(weight));
        self.duo.small_weight() > self.window_of(self.duo.weight() - newcomer)
    }

    /// Moves an entry from the window to the main queue; its hits were counted so far.
    fn promote(&mut self, slot: Slot, residents: &impl Residents) {
        residents.mark(slot).set(0);
        self.duo.promote(slot, residents.weight(slot));
    }

    /// Gives second chances at the back of the main queue until a victim is there, if there is one.
    fn main_victim(&mut self, residents: &impl Residents, steps: &mut usize) -> Option<Slot> {
        while let Some(slot) = self.duo.main_back() {
            let mark = residents.mark(slot);
            let count = mark.get();
            if count == 0 || *steps == 0 {
                return Some(slot);
            }
            *steps -= 1;
            mark.set(count - 1);
            self.sketch.add(Mixed::new(residents.hash(slot)), 1);
            self.duo.reinsert(slot);
        }
        None
    }

    /// Whether `candidate` is worth more than `victim`, or lucky.
    fn admits(&mut self, candidate: Mixed, victim: Mixed) -> bool {
        let estimate = self.sketch.estimate(candidate);
        self.sketch.estimate(victim) < estimate
            || (estimate >= MAYBE_LUCKY && self.stream.below(LUCK) == 0)
    }
}

impl Policy for TinyLfu {
    type Recorder = Count;

    fn for_stripes(self, stripes: usize, capacity: u64) -> Vec<Self> {
        let share = capacity / (stripes as u64).max(1);
        let seed = |stripe: usize| self.seed.map(|seed| seed ^ (stripe as u64) << 32);
        (0..stripes).map(|stripe| Self::sized(self.window, share, seed(stripe))).collect()
    }

    fn recorder(&self) -> Count {
        Count
    }

    fn on_insert(&mut self, newcomer: Newcomer, residents: &impl Residents) {
        self.duo.insert(newcomer, false);
        self.provide_sketch(!newcomer.has_room);
        self.sketch.add(Mixed::new(newcomer.hash), 1);
        // While the cache fills up, nobody need be compared.
        if self.filling.is_on(newcomer.has_room, self.duo.len() - 1)
            && self.duo.small_weight() > self.window_of(u128::from(self.share))
            && let Some(oldest) = self.duo.small_back()
        {
            self.promote(oldest, residents);
        }
    }

    fn on_weight(&mut self, slot: Slot, old: u64, new: u64) {
        self.duo.reweigh(slot, old, new);
    }

    fn on_remove(&mut self, slot: Slot, _: RemovalCause, residents: &impl Residents) {
        self.duo.remove(slot, residents.weight(slot));
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        self.duo.replace(from, to);
    }

    fn victim(&mut self, residents: &impl Residents) -> Option<Slot> {
        let mut steps = MAX_STEPS;
        while self.window_is_over() || self.duo.main_back().is_none() {
            let candidate = self.duo.small_back()?;
            let count = residents.mark(candidate).get();
            let hash = Mixed::new(residents.hash(candidate));
            if count > 0 && steps > 0 && !self.duo.is_newcomer(candidate) {
                steps -= 1;
                self.sketch.add(hash, count);
                self.promote(candidate, residents);
                continue;
            }
            let Some(victim) = self.main_victim(residents, &mut steps) else {
                return Some(candidate);
            };
            if !self.admits(hash, Mixed::new(residents.hash(victim))) {
                return Some(candidate);
            }
            self.promote(candidate, residents);
            return Some(victim);
        }
        self.main_victim(residents, &mut steps)
    }

    fn set_capacity(&mut self, share: u64, _: u64) {
        self.share = share;
    }

    fn clear(&mut self) {
        *self = Self::sized(self.window, self.share, self.seed);
    }

    fn ranking(&self, residents: &impl Residents) -> Vec<Slot> {
        self.duo.ranking(|slot, place| {
            let count = residents.mark(slot).get().min(Count::MAX);
            match place {
                Place::Small if count == 0 => 0,
                Place::Small => 2,
                Place::Main => 1 + count,
            }
        })
    }

    fn len(&self) -> usize {
        self.duo.len()
    }

    fn validate(&self, slots: &[Slot], residents: &impl Residents) {
        self.duo.validate(slots, residents);
        assert_eq!(self.sketch.is_allocated(), self.sketch_sized_for > 0, "the sketch");
    }
}

#[cfg(test)]
mod tests {
    use super::TinyLfu;
    use crate::policy::sim::Sim;

    crate::policy::suite::policy_suite!(TinyLfu::with_seed(1));

    mod without_window {
        use super::TinyLfu;

        crate::policy::suite::policy_suite!(TinyLfu::with_seed(1).with_window(0.0).expect("valid"));
    }

    mod all_window {
        use super::TinyLfu;

        crate::policy::suite::policy_suite!(TinyLfu::with_seed(1).with_window(1.0).expect("valid"));
    }

    #[test]
    fn windows_outside_the_range_are_refused() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = TinyLfu::new().with_window(share).expect_err("refused").to_string();
            assert!(error.contains("from 0 to 1"), "{error}");
        }
    }

    #[test]
    fn a_scan_does_not_displace_the_frequent() {
        let mut sim = Sim::new(TinyLfu::new(), 1000);
        for _ in 0..10 {
            sim.access_all(0..900);
        }
        sim.access_all(10_000..15_000);
        let kept = (0..900).filter(|&key| sim.access(key)).count();
        assert!(kept > 800, "{kept} of 900 outlived a scan of 5000");
    }

    #[test]
    fn a_seed_decides_the_victims() {
        let kept = |seed| {
            let mut sim = Sim::new(TinyLfu::with_seed(seed), 100);
            sim.access_all((0..20_000).flat_map(|round| [round % 130, round % 97]));
            (0..130).filter(|&key| sim.access(key)).collect::<Vec<_>>()
        };
        assert_eq!(kept(1), kept(1));
    }

    /// Whoever keeps the main queue looking frequent cannot keep a wanted entry out for ever.
    #[test]
    fn a_wanted_entry_comes_in_at_last() {
        let mut sim = Sim::new(TinyLfu::new(), 100);
        let came_in = (0..20_000).any(|round| {
            sim.access_all(0..95);
            let came_in = sim.access(500);
            // Pushes it out of the window.
            sim.access_all(1000 + round * 10..1010 + round * 10);
            came_in
        });
        assert!(came_in, "kept out for ever");
    }
}
