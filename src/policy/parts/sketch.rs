//! A frequency sketch: how often a hash was seen of late, in about four bytes per entry.
//!
//! A count-min sketch of 4-bit counters with conservative update (Cormode and Muthukrishnan, 2005;
//! Estan and Varghese, 2002). Both counters of an item lie in one 8-byte block, so that an access
//! touches one cache line. Ageing halves every counter once the increments reach twenty times the
//! capacity (TinyLFU: Einziger, Friedman and Manes, 2017), a bounded stretch at a time.
//!
//! TinyLFU has four counters for an item. Most of what a cache sees is seen once, so the sketch is
//! full of items, and the more counters each raises, the more often those of others are too high, as
//! in a Bloom filter. With two, `Adaptive` loses a tenth less against the best policies, and takes
//! three fifths of the instructions here; with one it is where it was with four.

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
/// The largest count.
const MAX: u64 = 15;
/// Every counter without its top bit: what halving four bits at once must keep.
const HALVED: u64 = 0x7777_7777_7777_7777;

/// The sketch. A new one has no counters: it ignores increments and estimates 0 until
/// [`reset`](Self::reset) gives it some.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// A power of two of them, or none. An item uses one of the eight counters in each half.
    blocks: Vec<u64>,
    /// The block of a hash is its top `64 - shift` bits.
    shift: u32,
    increments: u64,
    /// The increments at which the next halving starts.
    limit: u64,
    /// The first block that the halving under way has yet to reach; the length if there is none.
    sweep: usize,
    /// How many halvings there were.
    generation: u8,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            shift: 0,
            increments: 0,
            // Without counters there is nothing to halve.
            limit: u64::MAX,
            sweep: 0,
            generation: 0,
        }
    }
}

impl Sketch {
    /// Forgets everything it has counted, and sizes the sketch for `entries`. The generation goes on, as what
    /// is counted elsewhere keeps its meaning. The memory comes zeroed from the
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
        self.restore(hash, times);
        self.pass(times);
    }

    /// Lets as much time pass as so many sightings take, which are counted elsewhere until they are
    /// [restored](Self::restore).
    #[inline]
    pub(crate) fn pass(&mut self, times: u8) {
        self.increments += u64::from(times);
        if self.increments >= self.limit || self.sweep < self.blocks.len() {
            self.age();
        }
    }

    /// Counts sightings for which the time has [passed](Self::pass) before.
    #[inline]
    pub(crate) fn restore(&mut self, hash: Mixed, times: u8) {
        let index = self.index(hash);
        let Some(block) = self.blocks.get_mut(index) else { return };
        let shifts = shifts(hash);
        let counters = shifts.map(|shift| *block >> shift & MAX);
        let raised = (counters[0].min(counters[1]) + u64::from(times)).min(MAX);
        // Conservative update: a counter that is already above was raised by other items.
        for (counter, shift) in counters.into_iter().zip(shifts) {
            *block += raised.saturating_sub(counter) << shift;
        }
    }

    /// How many halvings were begun, modulo 256. What is counted elsewhere is to be halved as often.
    #[inline]
    pub(crate) fn generation(&self) -> u8 {
        self.generation
    }

    /// How often a hash was seen of late, at most 15; never too low for what was
    /// counted, sometimes too high.
    #[inline]
    pub(crate) fn estimate(&self, hash: Mixed) -> u8 {
        let Some(&block) = self.blocks.get(self.index(hash)) else { return 0 };
        let [one, other] = shifts(hash).map(|shift| block >> shift & MAX);
        one.min(other) as u8
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
            self.generation = self.generation.wrapping_add(1);
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

/// Where the item's counters lie in its block: how many bits are below each.
#[inline]
fn shifts(hash: Mixed) -> [u32; 2] {
    let bits = hash.bits() as u32;
    [bits % 8 * 4, bits / 8 % 8 * 4 + 32]
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
        assert_eq!(sketch.estimate(Mixed::new(7)), 15);
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
    fn what_is_counted_elsewhere_takes_its_time_there() {
        let mut sketch = sketch(100);
        (0..50).for_each(|_| sketch.restore(Mixed::new(1), 3));
        assert_eq!((sketch.estimate(Mixed::new(1)), sketch.generation()), (15, 0));
        (0..2000).for_each(|_| sketch.pass(1));
        assert_eq!((sketch.estimate(Mixed::new(1)), sketch.generation()), (7, 1));
        sketch.reset(200);
        assert_eq!((sketch.estimate(Mixed::new(1)), sketch.generation()), (0, 1));
        let mut none = Sketch::default();
        (0..2000).for_each(|_| none.pass(u8::MAX));
        assert_eq!(none.generation(), 0, "without counters there is nothing to halve");
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
