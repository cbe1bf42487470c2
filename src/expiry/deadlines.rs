//! The deadlines of a stripe's entries by slot, six bytes each, guarded by the bucket's lock.

use crate::{
    Slot,
    sync::{AtomicU16, AtomicU32, Ordering},
    table::Side,
    time::Tick,
};

/// Deadlines by slot; [`Tick::NEVER`] where none was set.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// The upper 32 of 48 bits, plus one, so that 0 means that none was set.
    high: Side<AtomicU32>,
    low: Side<AtomicU16>,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self { high: Side::new(), low: Side::new() }
    }

    pub(crate) fn get(&self, slot: Slot) -> Tick {
        // Relaxed (all four): guarded by the bucket's lock.
        let Some(high) = self.high.get(slot).map(|high| high.load(Ordering::Relaxed)) else {
            return Tick::NEVER;
        };
        if high == 0 {
            return Tick::NEVER;
        }
        let low = self.low.get(slot).map_or(0, |low| low.load(Ordering::Relaxed));
        Tick(u64::from(high - 1) << 16 | u64::from(low))
    }

    pub(crate) fn set(&self, slot: Slot, deadline: Tick) {
        if deadline == Tick::NEVER {
            if let Some(high) = self.high.get(slot) {
                high.store(0, Ordering::Relaxed);
            }
            return;
        }
        let high = (deadline.0 >> 16) as u32 + 1;
        self.high.get_or_make(slot).store(high, Ordering::Relaxed);
        self.low.get_or_make(slot).store(deadline.0 as u16, Ordering::Relaxed);
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
}
