//! When the shadows may rest: once nothing has changed for long, they need not see everything.
//!
//! In a small cache most accesses are sampled, and the shadows cost several times what the cache
//! does. There they watch for a few periods and then rest, twice as long each time, up to a bound.
//! All that is noted of a rest is how many came in and, from a few of the hits, the cache's own hit
//! ratio. If that changes, or the setting, they watch all the time again; and they go on watching as
//! long as another setting has been better of late, and where the follower or greedy-dual leads.

/// Periods without a change after which the shadows first rest.
const SETTLED: u64 = 64;
/// Periods that they watch from one rest to the next, once they have filled up again.
const WATCHED: u64 = 8;
/// The longest rest, in periods: what the hit ratio does not show is noticed that much later.
const LONGEST: u64 = 64;
/// The longest rest, in newcomers to the cache.
const MOST_NEWCOMERS: u64 = 1 << 16;
/// Of the keys whose hits are sampled otherwise, one in `2^THINNING` is during a rest.
pub(super) const THINNING: u32 = 2;
/// Accesses from which a hit ratio is told. By chance it may be off by a few points; popular keys that
/// are sampled, or are not, shift it by more, but always alike.
const WINDOW: u64 = 2048;
/// How far it must be from what it was at the beginning of the first rest to have changed.
const CHANGE: f64 = 0.1;

/// How long the shadows have watched, and whether they rest.
#[derive(Debug)]
pub(super) struct Watch {
    /// Events in a period.
    period: u64,
    /// Periods of the longest rest; 0 where the sample is too thin to be worth one.
    longest: u64,
    /// Periods to watch before the next rest, and how many that rest takes.
    left: u64,
    next: u64,
    /// Newcomers until the present rest is over; 0 if there is none.
    resting: u64,
    /// Accesses of late during the rest.
    lately: Tally,
    /// The hit ratio at the beginning of the first.
    before: Option<f64>,
}

/// How many accesses came to what, as far as they were sampled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) newcomers: u64,
    /// Those on one key in `2^THINNING`.
    pub(super) hits: u64,
}

impl Tally {
    fn accesses(self) -> u64 {
        self.newcomers + (self.hits << THINNING)
    }

    fn hit_ratio(self) -> f64 {
        1.0 - self.newcomers as f64 / self.accesses() as f64
    }
}

impl Watch {
    /// Watches shadows with periods of so many events, of one key in `2^shift`.
    pub(super) fn new(period: usize, shift: u32) -> Self {
        let period = period.max(1) as u64;
        let longest = (MOST_NEWCOMERS / (period << shift)).min(LONGEST);
        let (lately, before) = (Tally::default(), None);
        Self { period, longest, left: SETTLED, next: WATCHED, resting: 0, lately, before }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.resting > 0
    }

    /// Takes notice of so many periods without a change of the setting; answers whether a rest
    /// begins: only if all `is_calm`.
    pub(super) fn pass(&mut self, periods: u64, is_calm: bool) -> bool {
        self.left = self.left.saturating_sub(periods);
        if self.left > 0 || self.longest == 0 || !is_calm {
            return false;
        }
        self.resting = self.next.min(self.longest) * self.period;
        self.lately = Tally::default();
        (self.left, self.next) = (WATCHED, self.next.saturating_mul(2));
        true
    }

    /// Takes notice of accesses during a rest; answers whether it is over.
    pub(super) fn rest(&mut self, seen: Tally) -> bool {
        self.lately.newcomers += seen.newcomers;
        self.lately.hits += seen.hits;
        self.resting = self.resting.saturating_sub(seen.newcomers);
        if self.lately.accesses() >= WINDOW {
            let now = std::mem::take(&mut self.lately).hit_ratio();
            let before = *self.before.get_or_insert(now);
            if (now - before).abs() > CHANGE {
                self.start_over();
            }
        }
        self.resting == 0
    }

    /// Takes notice of a change, which also ends a rest.
    pub(super) fn start_over(&mut self) {
        self.resting = 0;
        (self.left, self.next, self.before) = (SETTLED, WATCHED, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, SETTLED, Tally, WATCHED, WINDOW, Watch};

    /// The periods watched until the next rest, and the newcomers it takes.
    fn next_rest(watch: &mut Watch) -> (u64, u64) {
        let watched = (1..).find(|_| watch.pass(1, true)).unwrap_or(0);
        let newcomer = Tally { newcomers: 1, hits: 0 };
        let rested = (1..).find(|_| watch.rest(newcomer)).unwrap_or(0);
        (watched, rested)
    }

    #[test]
    fn rests_become_longer_while_nothing_changes() {
        let mut watch = Watch::new(100, 0);
        assert_eq!(next_rest(&mut watch), (SETTLED, 800));
        assert_eq!(next_rest(&mut watch), (WATCHED, 1600));
        for _ in 0..70 {
            next_rest(&mut watch);
        }
        assert_eq!(next_rest(&mut watch), (WATCHED, LONGEST * 100));
        watch.start_over();
        assert_eq!(next_rest(&mut watch), (SETTLED, 800), "after a change");
    }

    #[test]
    fn the_thinner_the_sample_the_shorter_the_rests() {
        let mut watch = Watch::new(128, 6);
        next_rest(&mut watch);
        assert_eq!(next_rest(&mut watch), (WATCHED, 8 * 128));
        assert!(!Watch::new(128, 16).pass(1000, true));
    }

    #[test]
    fn there_is_no_rest_while_another_setting_is_better() {
        let mut watch = Watch::new(128, 0);
        assert!(!watch.pass(2 * SETTLED, false) && !watch.is_resting());
        assert!(watch.pass(1, true) && watch.is_resting());
    }

    #[test]
    fn a_change_of_the_hit_ratio_ends_a_rest() {
        let mut watch = Watch::new(1000, 0);
        assert!(watch.pass(SETTLED, true));
        let half = Tally { newcomers: WINDOW / 2, hits: WINDOW / 8 };
        let less = Tally { newcomers: WINDOW / 8 * 5, hits: WINDOW / 32 * 3 };
        assert!(!watch.rest(half) && !watch.rest(half));
        assert!(watch.rest(less) && !watch.is_resting());
        assert!(!watch.pass(SETTLED - 1, true) && watch.pass(1, true));
    }
}
