//! What a hit does: count it in the entry's mark, and now and then note it for the shadows.

use super::chances::Chances;
use super::memory::is_correlated;
use super::outlook::Advice;
use super::ring::Event;
use super::setting::Goal;
use super::shared::Shared;
use crate::Slot;
use crate::policy::{Mark, Recorder};
use crate::sync::{Arc, AtomicU16, Ordering};

/// Bits of a stamp in a mark.
pub(super) const STAMP_BITS: u32 = 5;
const FREQUENCY: u8 = 0b11;
const IN_MAIN: u8 = 0b100;
/// Where the stamp is, or in the main queue the second chances.
const STAMP: u32 = 3;
const _: () = assert!(Chances::BITS == STAMP_BITS);

/// The mark of an entry in the main queue with this frequency, which had these second chances.
pub(super) const fn main_mark(frequency: u8, chances: Chances) -> u8 {
    chances.bits() << STAMP | IN_MAIN | frequency
}

/// The mark of an entry that has just come into the main queue.
pub(super) const MOVED_TO_MAIN: u8 = main_mark(0, Chances::NONE);

/// The second chances of an entry in the main queue. A hit that was noted while it moved there may have
/// left the mark as it was in the small queue, with a stamp.
pub(super) const fn chances(mark: u8) -> Chances {
    if mark & IN_MAIN == 0 { Chances::NONE } else { Chances::of(mark >> STAMP) }
}

/// The mark of an entry that came into the small queue at `stamp`.
pub(super) const fn small_mark(stamp: u8) -> u8 {
    stamp << STAMP
}

/// The hits counted in a mark: 0 to 3.
pub(super) const fn frequency(mark: u8) -> u8 {
    mark & FREQUENCY
}

/// What a stripe's hits and its policy share.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Pulse {
    /// The small queue's clock: the time, and above it the window of correlated references.
    clock: AtomicU16,
}

impl Pulse {
    #[inline]
    pub(super) fn set_clock(&self, now: u8, window: u8) {
        // Relaxed: a hit that reads the former time is off by a fraction of the small queue.
        self.clock.store(u16::from(window) << 8 | u16::from(now), Ordering::Relaxed);
    }
}

/// The lock-free half of [`Adaptive`](super::Adaptive).
#[derive(Debug)]
pub struct AdaptiveRecorder {
    pub(super) shared: Arc<Shared>,
    pub(super) pulse: Arc<Pulse>,
}

impl Recorder for AdaptiveRecorder {
    #[inline]
    fn on_hit(&self, _: Slot, mark: &Mark) -> bool {
        self.count(mark);
        false
    }

    #[inline]
    fn samples(&self, hash: u64) -> bool {
        self.shared.sample_hit(hash).is_some()
    }

    fn on_sample(&self, hash: u64) -> bool {
        let Some(id) = self.shared.sample_hit(hash) else { return false };
        self.shared.push(Event { id, weight: 0 })
    }
}

impl AdaptiveRecorder {
    /// What the shadows say of this capacity and others.
    pub(crate) fn advise(&self) -> Option<Advice> {
        self.shared.advise()
    }

    /// Whether that is in hits, and not in their weight.
    pub(crate) fn is_for_hits(&self) -> bool {
        self.shared.goal() == Goal::Hits
    }

    /// Counts a hit in the mark, up to 3, unless it belongs to the insertion.
    #[inline]
    fn count(&self, mark: &Mark) {
        let content = mark.get();
        if frequency(content) == FREQUENCY {
            return;
        }
        if content & IN_MAIN == 0 && self.is_correlated(content) {
            return;
        }
        mark.set(content + 1);
    }

    /// Whether a hit now on an entry of the small queue comes too soon to count.
    #[inline]
    fn is_correlated(&self, content: u8) -> bool {
        // Relaxed: see `set_clock`.
        let clock = self.pulse.clock.load(Ordering::Relaxed);
        let (now, window) = (clock as u8, (clock >> 8) as u8);
        is_correlated::<STAMP_BITS>(now, content >> STAMP, window)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chances, chances, frequency, main_mark, small_mark};

    #[test]
    fn marks_tell_hits_and_chances_apart() {
        for count in 0..8 {
            let some = (0..count).fold(Chances::NONE, |some, _| some.and_one(5));
            for hits in 0..=3 {
                let mark = main_mark(hits, some);
                assert_eq!((frequency(mark), chances(mark)), (hits, some));
            }
        }
    }

    #[test]
    fn a_stamp_is_not_taken_for_chances() {
        assert!((0..32).all(|stamp| chances(small_mark(stamp) + 1) == Chances::NONE));
    }
}
