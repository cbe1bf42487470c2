//! The deadlines of a stripe's entries by slot, six bytes each, guarded by the bucket's lock.

use crate::{
    Slot,
    sync::{AtomicU16, Ordering},
    table::Side,
    time::Tick,
};

/// Deadlines by slot; [`Tick::NEVER`] where none was set.
#[derive(Debug)]
pub(crate) struct Deadlines(Side<Cell>);

/// 48 bits, the highest first: a deadline plus one, or [`NONE`].
#[derive(Debug, Default)]
struct Cell([AtomicU16; 3]);

/// What a cell without deadline has.
const NONE: u64 = 0;

impl Cell {
    fn get(&self) -> u64 {
        let [high, middle, low] = &self.0;
        // Relaxed: guarded by the bucket's lock.
        let part = |part: &AtomicU16| u64::from(part.load(Ordering::Relaxed));
        part(high) << 32 | part(middle) << 16 | part(low)
    }

    fn set(&self, bits: u64) {
        for (part, shift) in self.0.iter().zip([32, 16, 0]) {
            // Relaxed: guarded by the bucket's lock.
            part.store((bits >> shift) as u16, Ordering::Relaxed);
        }
    }
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self(Side::new())
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Tick {
        match self.0.get(slot).map_or(NONE, Cell::get) {
            NONE => Tick::NEVER,
            bits => Tick(bits - 1),
        }
    }

    #[inline]
    pub(crate) fn set(&self, slot: Slot, deadline: Tick) {
        if deadline != Tick::NEVER {
            self.0.get_or_make(slot).set(deadline.0 + 1);
        } else if let Some(cell) = self.0.get(slot) {
            cell.set(NONE);
        }
    }

    /// Sets a deadline unless it is nearer than the present one; answers whether it was set.
    #[inline]
    pub(crate) fn put_off(&self, slot: Slot, deadline: Tick) -> bool {
        let Some(cell) = self.0.get(slot) else { return deadline == Tick::NEVER };
        let after = if deadline == Tick::NEVER { NONE } else { deadline.0 + 1 };
        let is_later = after == NONE || (1..=after).contains(&cell.get());
        if is_later {
            cell.set(after);
        }
        is_later
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn keeps_48_bits() {
        let deadlines = Deadlines::new();
        let slot = Slot::new(5000);
        assert_eq!(deadlines.get(slot), Tick::NEVER);
        for deadline in [Tick(0), Tick(1), Tick(0xffff), Tick(0x1_0000), Tick(Tick::NEVER.0 - 1)] {
            deadlines.set(slot, deadline);
            assert_eq!(deadlines.get(slot), deadline);
        }
        deadlines.set(slot, Tick::NEVER);
        assert_eq!(deadlines.get(slot), Tick::NEVER);
    }

    #[test]
    fn puts_a_deadline_off_but_never_forward() {
        let deadlines = Deadlines::new();
        let slot = Slot::new(7);
        assert!(deadlines.put_off(slot, Tick::NEVER) && !deadlines.put_off(slot, Tick(5)));
        deadlines.set(slot, Tick(5));
        assert!(deadlines.put_off(slot, Tick(5)) && deadlines.put_off(slot, Tick(6)));
        assert!(!deadlines.put_off(slot, Tick(5)));
        assert_eq!(deadlines.get(slot), Tick(6));
        assert!(deadlines.put_off(slot, Tick::NEVER) && !deadlines.put_off(slot, Tick(9)));
        assert_eq!(deadlines.get(slot), Tick::NEVER);
    }
}
