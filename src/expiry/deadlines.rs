//! The deadlines of a stripe's entries by slot, five bytes each, guarded by the bucket's lock.
//!
//! Five bytes of [`Tick`]s are thirteen days. So a cell has the lowest bits of a deadline that lies
//! ahead, and less than two days after the time up to which the stripe was swept: as no such entry
//! outlasts the sweep by long, that time tells the higher bits. Any other deadline is rounded down to
//! a millisecond.

use std::ptr;

use crate::{
    Slot,
    sync::{AtomicU8, AtomicU32, Ordering},
    table::{LANES, Side, prefetch_to_write},
    time::Tick,
};

/// Deadlines by slot; [`Tick::NEVER`] where none was set.
#[derive(Debug)]
pub(crate) struct Deadlines(Side<Cells, SHARE>);

/// How far a stripe was swept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swept {
    /// Every entry is gone that has a deadline before this, unless it had one so early when it was
    /// written.
    pub(crate) done: Tick,
    /// Every such entry is about to go.
    pub(crate) begun: Tick,
}

impl Swept {
    /// What near deadlines are counted from: some time before what is done. Should an entry outlast
    /// the sweep after all, its deadline is still seen to have passed.
    #[inline]
    fn base(self) -> u64 {
        self.done.0.wrapping_sub(NEAR / 2)
    }
}

/// Slots that share an element, so that none of its bytes is left unused.
const SHARE: usize = 4;

/// The bits of so many deadlines.
#[derive(Debug, Default)]
struct Cells {
    low: [AtomicU32; SHARE],
    high: [AtomicU8; SHARE],
}

/// The deadlines of a home bucket's lanes, by slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfBucket<'a>(&'a [Cells; LANES / SHARE]);

/// What a cell without deadline has.
const NONE: u64 = 0;
/// The cell has the lowest [`NEAR_BITS`] of a deadline.
const NEAR: u64 = 1 << NEAR_BITS;
const NEAR_BITS: u32 = 38;
/// The cell has a deadline, of which there are 48 bits, less its lowest [`ROUNDED`] bits.
const FAR: u64 = 1 << 39;
const ROUNDED: u32 = 10;

#[inline]
fn encode(deadline: Tick, swept: Swept) -> u64 {
    if deadline == Tick::NEVER {
        NONE
    } else if deadline >= swept.begun && deadline.0.wrapping_sub(swept.base()) < NEAR {
        NEAR | (deadline.0 & (NEAR - 1))
    } else {
        FAR | (deadline.0 >> ROUNDED)
    }
}

#[inline]
fn decode(bits: u64, swept: Swept) -> Tick {
    if bits & NEAR != 0 {
        let base = swept.base();
        Tick(base.wrapping_add(bits.wrapping_sub(base) & (NEAR - 1)))
    } else if bits == NONE {
        Tick::NEVER
    } else {
        Tick((bits & (FAR - 1)) << ROUNDED)
    }
}

impl Cells {
    #[inline]
    fn get(&self, slot: Slot) -> u64 {
        let cell = slot.index() % SHARE;
        // Relaxed (both): guarded by the bucket's lock.
        let high = u64::from(self.high[cell].load(Ordering::Relaxed));
        high << 32 | u64::from(self.low[cell].load(Ordering::Relaxed))
    }

    #[inline]
    fn set(&self, slot: Slot, bits: u64) {
        let cell = slot.index() % SHARE;
        // Relaxed (both): guarded by the bucket's lock.
        self.low[cell].store(bits as u32, Ordering::Relaxed);
        self.high[cell].store((bits >> 32) as u8, Ordering::Relaxed);
    }

    #[inline(always)]
    fn put_off(&self, slot: Slot, deadline: Tick, swept: Swept) -> bool {
        let is_later = decode(self.get(slot), swept) <= deadline;
        if is_later {
            self.set(slot, encode(deadline, swept));
        }
        is_later
    }
}

impl<'a> OfBucket<'a> {
    /// Begins to fetch the deadline of a lane.
    #[inline(always)]
    pub(crate) fn prefetch(self, lane: Slot) {
        prefetch_to_write(ptr::from_ref(self.cells(lane)).cast());
    }

    /// Sets the deadline of a lane unless it is nearer than the present one; answers whether it was
    /// set. (The present one was rounded down, so one that is nearer by less than that is set, too: it
    /// lies within the same tick of the timer wheel.)
    #[inline(always)]
    pub(crate) fn put_off(self, lane: Slot, deadline: Tick, swept: Swept) -> bool {
        self.cells(lane).put_off(lane, deadline, swept)
    }

    #[inline(always)]
    fn cells(self, slot: Slot) -> &'a Cells {
        &self.0[slot.index() / SHARE % self.0.len()]
    }
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self(Side::new())
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot, swept: Swept) -> Tick {
        self.0.get(slot).map_or(Tick::NEVER, |cells| decode(cells.get(slot), swept))
    }

    /// Whether a deadline is kept that the sweep must not pass.
    pub(crate) fn is_near(&self, slot: Slot) -> bool {
        self.0.get(slot).is_some_and(|cells| cells.get(slot) & NEAR != 0)
    }

    #[inline]
    pub(crate) fn set(&self, slot: Slot, deadline: Tick, swept: Swept) {
        self.set_bits(slot, encode(deadline, swept));
    }

    #[inline]
    fn set_bits(&self, slot: Slot, bits: u64) {
        if bits != NONE {
            self.0.get_or_make(slot).set(slot, bits);
        } else if let Some(cells) = self.0.get(slot) {
            cells.set(slot, bits);
        }
    }

    /// Those of a home bucket, whose first slot this is.
    #[inline(always)]
    pub(crate) fn of_bucket(&self, first: Slot) -> Option<OfBucket<'_>> {
        self.0.run(first).map(OfBucket)
    }

    /// [`OfBucket::put_off`] for a slot anywhere.
    pub(crate) fn put_off(&self, slot: Slot, deadline: Tick, swept: Swept) -> bool {
        let cells = self.0.get(slot);
        cells.map_or(deadline == Tick::NEVER, |cells| cells.put_off(slot, deadline, swept))
    }

    /// The deadline follows an entry that moves.
    pub(crate) fn copy(&self, from: Slot, to: Slot) {
        let bits = self.0.get(from).map_or(NONE, |cells| cells.get(from));
        self.set_bits(to, bits);
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    const START: Swept = Swept { done: Tick(0), begun: Tick(0) };

    #[test]
    fn keeps_near_deadlines_exactly_and_far_ones_to_the_millisecond() {
        let deadlines = Deadlines::new();
        let slot = Slot::new(5000);
        assert_eq!(deadlines.get(slot, START), Tick::NEVER);
        for begun in [0, 1, 12_345_678_901, 1 << 45] {
            let swept = Swept { done: Tick(begun / 3 * 2), begun: Tick(begun) };
            for after in [0, 1, 0xffff, (1 << 38) - 1, 1 << 38, 1 << 44] {
                let deadline = Tick(begun + after);
                deadlines.set(slot, deadline, swept);
                let is_near = deadline.0.wrapping_sub(swept.base()) < NEAR;
                let kept = if is_near { deadline } else { Tick(deadline.0 & !1023) };
                // Until the sweep comes to it, and for a day after that.
                let day = 1 << 36;
                for done in [swept.done.0, begun, begun + after / 2, begun + after + day] {
                    let swept = Swept { done: Tick(done), begun: Tick(done) };
                    assert_eq!(deadlines.get(slot, swept), kept, "{deadline:?} {done}");
                }
            }
        }
        deadlines.set(slot, Tick(Tick::NEVER.0 - 1), START);
        assert_eq!(deadlines.get(slot, START), Tick((Tick::NEVER.0 - 1) & !1023));
        deadlines.set(slot, Tick::NEVER, START);
        assert_eq!(deadlines.get(slot, START), Tick::NEVER);
    }

    #[test]
    fn keeps_a_deadline_that_the_sweep_has_passed() {
        let (deadlines, slot) = (Deadlines::new(), Slot::new(3));
        let swept = Swept { done: Tick(4096), begun: Tick(8192) };
        for deadline in [Tick(0), Tick(1024), Tick(5120)] {
            deadlines.set(slot, deadline, swept);
            for done in [Tick(4096), Tick(8192), Tick(1 << 39)] {
                assert_eq!(deadlines.get(slot, Swept { done, begun: done }), deadline);
            }
        }
    }

    #[test]
    fn neighbours_do_not_disturb_each_other() {
        let deadlines = Deadlines::new();
        let deadline = |slot: u32| Tick(u64::from(slot) * 0x1234_5678 % (1 << 37));
        for slot in 0..3000 {
            deadlines.set(Slot::new(slot), deadline(slot), START);
        }
        for slot in 0..3000 {
            assert_eq!(deadlines.get(Slot::new(slot), START), deadline(slot));
        }
        deadlines.copy(Slot::new(77), Slot::new(4001));
        deadlines.copy(Slot::new(3999), Slot::new(78));
        assert_eq!(deadlines.get(Slot::new(4001), START), deadline(77));
        assert_eq!(deadlines.get(Slot::new(78), START), Tick::NEVER);
    }

    #[test]
    fn puts_a_deadline_off_but_never_forward() {
        let deadlines = Deadlines::new();
        let slot = Slot::new(7);
        let put_off = |deadline| deadlines.put_off(slot, deadline, START);
        assert!(put_off(Tick::NEVER) && !put_off(Tick(5)));
        deadlines.set(slot, Tick(5), START);
        assert!(put_off(Tick(5)) && put_off(Tick(6)) && !put_off(Tick(5)));
        assert_eq!(deadlines.get(slot, START), Tick(6));
        assert!(!put_off(Tick(1)) && put_off(Tick(1 << 40)) && !put_off(Tick(1 << 39)));
        deadlines.set(slot, Tick::NEVER, START);
        assert!(!put_off(Tick(9)));
    }
}
