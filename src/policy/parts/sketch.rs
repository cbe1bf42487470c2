//! A frequency sketch: how often a hash was seen of late, in about four bytes per entry.
//!
//! A count-min sketch of 4-bit counters with conservative update (Cormode and Muthukrishnan, 2005;
//! Estan and Varghese, 2002). All four counters of an item lie in one 8-byte block, so that an
//! access touches one cache line. Ageing halves every counter once the increments reach twenty
//! times the capacity (TinyLFU: Einziger, Friedman and Manes, 2017), a bounded stretch at a time.

use super::Mixed;

/// Counters per entry of the capacity, before rounding up to a power of two.
const COUNTERS_PER_ENTRY: usize = 8;
/// The fewest counters, so that small caches do not drown in collisions.
const MIN_COUNTERS: usize = 1024;
/// 4-bit counters in a block.
const COUNTERS_PER_BLOCK: usize = 16;
/// Increments per entry of the capacity until all counters are halved.
const INCREMENTS_PER_ENTRY: u64 = 20;
/// Blocks halved by one increment while ageing: 2 KiB, about a tenth of a microsecond.
const SWEEP: usize = 256;
/// Every counter without its top bit: what halving four bits at once must keep.
const HALVED: u64 = 0x7777_7777_7777_7777;
/// A 1 in each row.
const ROWS: u64 = 0x0001_0001_0001_0001;
/// One counter of each of two rows, by the two pairs of bits that choose them.
const CHOICES: [u32; 16] = {
    let mut choices = [0; 16];
    let mut bits = 0;
    while bits < 16 {
        choices[bits] = 15 << (4 * (bits & 3)) | 15 << (16 + 4 * (bits >> 2));
        bits += 1;
    }
    choices
};

/// The sketch. A new one has no counters: it ignores increments and estimates 0 until
/// [`reset`](Self::reset) gives it some.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    /// A power of two of them, or none. Row `r` of a block is its bits `16 r .. 16 r + 16`: four
    /// counters, of which an item uses one.
    blocks: Vec<u64>,
    /// The block of a hash is its top `64 - shift` bits.
    shift: u32,
    increments: u64,
    /// The increments at which the next halving starts.
    limit: u64,
    /// The first block that the halving under way has yet to reach; the length if there is none.
    sweep: usize,
}

impl Sketch {
    /// The largest estimate.
    pub(crate) const MAX: u8 = 15;

    /// Forgets everything and sizes the sketch for `entries`. The memory comes zeroed from the
    /// allocator, so a large sketch costs no more here than a small one.
    pub(crate) fn reset(&mut self, entries: usize) {
        // A stripe's share varies a little: a sixteenth more entries than a power of two must not
        // double the memory.
        let wanted = entries.saturating_sub(entries / 16).saturating_mul(COUNTERS_PER_ENTRY);
        let blocks = wanted.max(MIN_COUNTERS).next_power_of_two() / COUNTERS_PER_BLOCK;
        self.blocks = vec![0; blocks];
        self.shift = 64 - blocks.trailing_zeros();
        self.increments = 0;
        self.limit = INCREMENTS_PER_ENTRY * entries.max(1) as u64;
        self.sweep = blocks;
    }

    /// Whether the sketch has counters.
    pub(crate) fn is_allocated(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Counts `times` sightings of a hash.
    #[inline]
    pub(crate) fn add(&mut self, hash: Mixed, times: u8) {
        let index = self.index(hash);
        let Some(block) = self.blocks.get_mut(index) else { return };
        let mask = mask(hash);
        let counters = counters(*block, mask);
        let target = (least(counters) + u64::from(times)).min(u64::from(Self::MAX));
        // What each lacks in the low bits of its row, and above them a bit if it lacks anything.
        // Conservative update: a counter that is already above was raised by other items.
        let missing = ((ROWS << 4) | (ROWS * target)) - counters;
        let is_below = (missing >> 4) & ROWS;
        let raise = missing & ((is_below << 4) - is_below);
        // To all four counters of the row, of which the mask leaves the right one.
        *block += (raise * 0x1111) & mask;
        self.increments += u64::from(times);
        if self.increments >= self.limit || self.sweep < self.blocks.len() {
            self.age();
        }
    }

    /// How often a hash was seen of late, at most [`MAX`](Self::MAX); never too low for what was
    /// counted, sometimes too high.
    #[inline]
    pub(crate) fn estimate(&self, hash: Mixed) -> u8 {
        let Some(&block) = self.blocks.get(self.index(hash)) else { return 0 };
        least(counters(block, mask(hash))) as u8
    }

    /// Whether the estimate for `hash` is below `estimate`: cheaper than to ask how much it is.
    #[inline]
    pub(crate) fn is_below(&self, hash: Mixed, estimate: u8) -> bool {
        debug_assert!(estimate <= Self::MAX);
        let Some(&block) = self.blocks.get(self.index(hash)) else { return estimate > 0 };
        // In each row, the bit above the counter stays set unless the counter is below.
        let differences = (counters(block, mask(hash)) | ROWS << 4) - ROWS * u64::from(estimate);
        differences & ROWS << 4 != ROWS << 4
    }

    /// The index of the block of `hash`. Without blocks the shift is 0, and any is beyond the end.
    #[inline]
    fn index(&self, hash: Mixed) -> usize {
        (hash.bits() >> self.shift) as usize
    }

    /// Starts a halving if one is due, and takes the one under way a stretch further.
    #[cold]
    fn age(&mut self) {
        if self.increments >= self.limit && self.sweep >= self.blocks.len() {
            self.increments /= 2;
            self.sweep = 0;
        }
        let end = (self.sweep + SWEEP).min(self.blocks.len());
        for block in &mut self.blocks[self.sweep..end] {
            *block = (*block >> 1) & HALVED;
        }
        self.sweep = end;
    }

    /// The bytes allocated.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<u64>()
    }
}

/// All bits of the item's counters, one in each row.
#[inline]
fn mask(hash: Mixed) -> u64 {
    let bits = hash.bits() as usize;
    u64::from(CHOICES[bits & 15]) | u64::from(CHOICES[bits >> 4 & 15]) << 32
}

/// The counters in this mask, each moved to the low end of its row.
#[inline]
fn counters(block: u64, mask: u64) -> u64 {
    let chosen = block & mask;
    let halves = chosen | chosen >> 8;
    (halves | halves >> 4) & (15 * ROWS)
}

/// The least of four counters at the low ends of their rows.
#[inline]
fn least(counters: u64) -> u64 {
    let [a, b, c, d] = [0, 16, 32, 48].map(|row| u64::from((counters >> row) as u16));
    a.min(b).min(c.min(d))
}

#[cfg(test)]
mod tests {
    use super::{Mixed, SWEEP, Sketch};

    fn sketch(entries: usize) -> Sketch {
        let mut sketch = Sketch::default();
        sketch.reset(entries);
        sketch
    }

    #[test]
    fn a_sketch_without_counters_counts_nothing() {
        let mut sketch = Sketch::default();
        sketch.add(Mixed::new(0), 1);
        sketch.add(Mixed::new(u64::MAX), 3);
        assert_eq!((sketch.estimate(Mixed::new(0)), sketch.is_allocated()), (0, false));
        assert!(sketch.is_below(Mixed::new(0), 1) && !sketch.is_below(Mixed::new(0), 0));
    }

    #[test]
    fn estimates_are_never_too_low_and_rarely_too_high() {
        let mut sketch = sketch(10_000);
        for key in 0..10_000 {
            for _ in 0..key % 4 {
                sketch.add(Mixed::new(key), 1);
            }
        }
        let mut exact = 0;
        for key in 0..1000 {
            let estimate = sketch.estimate(Mixed::new(key));
            let below = (0..=Sketch::MAX).filter(|&e| sketch.is_below(Mixed::new(key), e));
            assert!(below.eq(estimate + 1..=Sketch::MAX), "{key} is estimated at {estimate}");
        }
        for key in 0..10_000 {
            let (estimate, truth) = (u64::from(sketch.estimate(Mixed::new(key))), key % 4);
            assert!(estimate >= truth, "{key}: {estimate} < {truth}");
            exact += u64::from(estimate == truth);
        }
        assert!(exact > 8_500, "{exact} of 10000 are exact");
    }

    #[test]
    fn counters_saturate_and_several_sightings_at_once_count_as_many() {
        let mut sketch = sketch(100);
        sketch.add(Mixed::new(7), 3);
        assert_eq!(sketch.estimate(Mixed::new(7)), 3);
        for _ in 0..10 {
            sketch.add(Mixed::new(7), 3);
        }
        assert_eq!(sketch.estimate(Mixed::new(7)), Sketch::MAX);
    }

    #[test]
    fn ageing_halves_every_counter_a_stretch_at_a_time() {
        let entries = 16 * SWEEP;
        let mut sketch = sketch(entries);
        sketch.add(Mixed::new(1), 12);
        sketch.increments = sketch.limit;
        let stretches = sketch.blocks.len() / SWEEP;
        assert!(stretches > 4);
        for step in 0..stretches {
            assert!(step == 0 || sketch.sweep < sketch.blocks.len(), "ends after {step} stretches");
            sketch.add(Mixed::new(2), 0);
        }
        assert_eq!(sketch.sweep, sketch.blocks.len());
        assert_eq!((sketch.estimate(Mixed::new(1)), sketch.increments), (6, sketch.limit / 2));
    }

    #[test]
    fn a_million_entries_cost_little_more_than_four_bytes_each() {
        assert!(sketch(1_000_000).bytes() <= 4_200_000);
        assert_eq!(
            sketch((1 << 20) + (1 << 15)).bytes(),
            4 << 20,
            "a little beyond a power of two"
        );
        assert_eq!(sketch(0).bytes(), 512);
    }
}
