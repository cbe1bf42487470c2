//! A ghost list: which hashes were evicted of late, in about four and a half bytes per entry.
//!
//! Not a list of keys but a set-associative table of fingerprints: a hash chooses a set of sixteen
//! lanes (one cache line), in which the lanes lie in the order of eviction, the latest first. Each
//! holds sixteen bits of the hash and a coarse stamp of when it came. A false "yes" has a chance of
//! about one in four thousand.

use super::Mixed;

/// Lanes in a set: as many as fit a cache line.
const LANES: usize = 16;
/// Lanes per entry of the capacity, in 128ths of a set: an eighth more lanes than entries. The
/// evictions fall unevenly on the sets; about one remembered entry in twenty is pushed out early.
const SETS_PER_128_ENTRIES: usize = 9;
/// A stamp counts evictions in units of a power of two, such that the capacity has fewer than this
/// many; a sixteenth of the range, so that stale lanes are swept long before stamps come round.
const TICKS: usize = 4096;
/// A set is swept after so many evictions; all of them are after about 1.2 capacities.
const SWEEP_EVERY: u64 = 16;
/// Lanes older than so many ticks are swept.
const STALE: u16 = 4 * TICKS as u16;
const LINE: usize = 64;

/// The table. A new one has no lanes: it forgets everything until [`reset`](Self::reset) gives it
/// some.
#[derive(Debug, Default)]
pub(crate) struct Ghost {
    /// The lanes, from `start` on so that a set is one cache line: the fingerprint above the
    /// stamp, or 0. Within a set, the free lanes come last.
    lanes: Vec<u32>,
    start: usize,
    sets: usize,
    evictions: u64,
    tick_shift: u32,
    /// The next set to sweep.
    hand: usize,
}

impl Ghost {
    /// Forgets everything and sizes the table to remember about the last `entries` evictions. The
    /// memory comes zeroed from the allocator, so a large table costs no more here than a small
    /// one.
    pub(crate) fn reset(&mut self, entries: usize) {
        self.sets = (entries.saturating_mul(SETS_PER_128_ENTRIES)).div_ceil(128).max(1);
        self.lanes = vec![0; (self.sets + 1) * LANES];
        let past_line = self.lanes.as_ptr().addr() % LINE;
        self.start = (LINE - past_line) % LINE / size_of::<u32>();
        self.evictions = 0;
        self.tick_shift = (entries / TICKS + 1).next_power_of_two().trailing_zeros();
        self.hand = 0;
    }

    /// Whether the table has lanes.
    pub(crate) fn is_allocated(&self) -> bool {
        self.sets > 0
    }

    /// Remembers that `hash` was evicted.
    #[inline]
    pub(crate) fn push(&mut self, hash: Mixed) {
        let now = self.now();
        let (start, fingerprint) = self.locate(hash);
        let Some(lanes) = self.set_mut(start) else { return };
        // The sixteenth falls out: the oldest. The length is fixed, so this is a few vector moves.
        lanes.copy_within(..LANES - 1, 1);
        lanes[0] = fingerprint << 16 | u32::from(now);
        self.evictions += 1;
        if self.evictions.is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
    }

    /// Forgets `hash`; answers whether it was among the last `window` evictions.
    #[inline]
    pub(crate) fn take(&mut self, hash: Mixed, window: usize) -> bool {
        let Some((start, lane)) = self.find(hash) else { return false };
        let within = self.is_within(self.lanes[start + lane], window);
        self.lanes.copy_within(start + lane + 1..start + LANES, start + lane);
        self.lanes[start + LANES - 1] = 0;
        within
    }

    /// Whether `hash` was among the last `window` evictions.
    #[cfg(test)]
    pub(crate) fn contains(&self, hash: Mixed, window: usize) -> bool {
        self.find(hash)
            .is_some_and(|(start, lane)| self.is_within(self.lanes[start + lane], window))
    }

    /// Where the latest eviction of `hash` is noted: the start of its set, and the lane.
    #[inline]
    fn find(&self, hash: Mixed) -> Option<(usize, usize)> {
        let (start, fingerprint) = self.locate(hash);
        let lanes: &[u32; LANES] = self.lanes.get(start..)?.first_chunk()?;
        // Most searches fail, so all lanes are first compared without branches, which the compiler
        // turns into vector code; only then is the lane looked for.
        let is_there = |content: &u32| content >> 16 == fingerprint;
        if !lanes.iter().fold(false, |any, content| any | is_there(content)) {
            return None;
        }
        lanes.iter().position(is_there).map(|lane| (start, lane))
    }

    #[inline]
    fn is_within(&self, content: u32, window: usize) -> bool {
        usize::from(self.now().wrapping_sub(content as u16)) <= window >> self.tick_shift
    }

    /// The stamp of an eviction now.
    #[inline]
    fn now(&self) -> u16 {
        (self.evictions >> self.tick_shift) as u16
    }

    /// The start of the set of `hash`, and its fingerprint, which is not 0.
    #[inline]
    fn locate(&self, hash: Mixed) -> (usize, u32) {
        let spread = hash.bits();
        let set = ((spread >> 32) * self.sets as u64) >> 32;
        (self.start + set as usize * LANES, (spread as u32 & 0xffff).max(1))
    }

    #[inline]
    fn set_mut(&mut self, start: usize) -> Option<&mut [u32; LANES]> {
        self.lanes.get_mut(start..)?.first_chunk_mut()
    }

    /// Frees the lanes of one set that are so old that their stamps would come round.
    #[inline(never)]
    fn sweep(&mut self) {
        let now = self.now();
        let hand = self.hand;
        self.hand = if hand + 1 < self.sets { hand + 1 } else { 0 };
        let Some(lanes) = self.set_mut(self.start + hand * LANES) else { return };
        // In order of age: behind a stale lane there are only staler ones.
        for lane in lanes {
            let is_stale = now.wrapping_sub(*lane as u16) > STALE;
            *lane = if is_stale { 0 } else { *lane };
        }
    }

    /// The bytes allocated.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.lanes.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ghost, LANES, Mixed};

    fn ghost(entries: usize) -> Ghost {
        let mut ghost = Ghost::default();
        ghost.reset(entries);
        ghost
    }

    #[test]
    fn a_table_without_lanes_remembers_nothing() {
        let mut ghost = Ghost::default();
        ghost.push(Mixed::new(1));
        assert!(
            !ghost.contains(Mixed::new(1), 10)
                && !ghost.take(Mixed::new(1), 10)
                && !ghost.is_allocated()
        );
    }

    #[test]
    fn the_window_is_exact_in_small_tables() {
        let mut ghost = ghost(10);
        for hash in 0..10 {
            ghost.push(Mixed::new(hash));
        }
        for hash in 0..10 {
            let age = 10 - hash;
            assert!(ghost.contains(Mixed::new(hash), age as usize), "{hash}");
            assert!(!ghost.contains(Mixed::new(hash), age as usize - 1), "{hash}");
        }
        assert!(
            ghost.take(Mixed::new(4), 10)
                && !ghost.contains(Mixed::new(4), 10)
                && ghost.contains(Mixed::new(3), 10)
        );
        assert!(!ghost.take(Mixed::new(4), 10));
    }

    #[test]
    fn most_of_the_window_is_remembered_and_little_beyond_it() {
        for entries in [100, 10_000, 100_000] {
            let mut ghost = ghost(entries);
            let total = 70_000.max(4 * entries as u64);
            for hash in 0..total {
                ghost.push(Mixed::new(hash));
            }
            let newest =
                (total - entries as u64..total).filter(|&h| ghost.contains(Mixed::new(h), entries));
            assert!(newest.count() * 100 > entries * 92, "{entries}");
            let older = total - 3 * entries as u64..total - entries as u64 * 101 / 100;
            assert!(
                older.filter(|&h| ghost.contains(Mixed::new(h), entries)).count()
                    < 10 + entries / 1000
            );
        }
    }

    #[test]
    fn a_stale_lane_is_swept_before_its_stamp_comes_round() {
        let mut ghost = ghost(64);
        ghost.push(Mixed::new(u64::MAX));
        // Every other ghost is taken at once, so nothing pushes the first one out.
        for hash in 0..(1 << 16) - 30 {
            ghost.push(Mixed::new(hash));
            assert!(ghost.take(Mixed::new(hash), 1));
        }
        assert!(!ghost.contains(Mixed::new(u64::MAX), 64));
        assert!(ghost.lanes.iter().all(|&lane| lane == 0));
    }

    #[test]
    fn a_set_is_a_cache_line_and_an_entry_costs_under_five_bytes() {
        let ghost = ghost(1_000_000);
        assert_eq!(ghost.lanes[ghost.start..].as_ptr().addr() % (4 * LANES), 0);
        assert!(ghost.bytes() <= 4_600_000);
    }
}
