//! What is remembered of entries that are gone, and of time: the ghost list and the sketch, fitted
//! to the number of entries, and the clock of the small queue.

use super::setting::Parameters;
use crate::policy::parts::{Ghost, Sketch};

/// The ghost list and the frequency sketch of a stripe or a shadow. In this order, as they are a line each
/// where this begins with one.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Memory {
    pub(super) ghost: Ghost,
    pub(super) sketch: Sketch,
    /// The number of entries it was sized for; 0 while nothing is allocated.
    entries: usize,
    /// The fewest and the most entries that it fits.
    least: usize,
    most: usize,
}

impl Default for Memory {
    fn default() -> Self {
        // It fits no number.
        let (ghost, sketch) = (Ghost::default(), Sketch::default());
        Self { ghost, sketch, entries: 0, least: 1, most: 0 }
    }
}

impl Memory {
    /// Whether another size is due: nothing is allocated yet, the entries have doubled (they were
    /// much heavier at first), or the capacity has shrunk and left it much too large.
    #[inline]
    pub(super) fn is_misfit(&self, entries: usize) -> bool {
        entries > self.most || entries < self.least
    }

    /// Notes that the capacity has changed. Only that makes the entries fewer for good; one very
    /// heavy entry does not.
    pub(super) fn allow_shrinking(&mut self) {
        if self.entries > 0 {
            self.least = self.entries / 4;
        }
    }

    /// Sizes it for `entries` and so many ghosts, empty.
    #[cold]
    pub(super) fn reset(&mut self, entries: usize, ghosts: usize, with_sketch: bool) {
        self.entries = entries.max(1);
        (self.least, self.most) = (0, 2 * self.entries);
        if ghosts > 0 {
            self.ghost.reset(ghosts);
        }
        if with_sketch {
            self.sketch.reset(self.entries);
        }
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }
}

/// A clock that ticks with insertions into the small queue, coarsely enough that an entry's stamp
/// needs only `2^BITS` values while it is there.
#[derive(Debug, Default)]
pub(super) struct Clock<const BITS: u32> {
    now: u8,
    /// The ticks after an insertion in which a hit does not count.
    window: u8,
    /// Insertions until the next tick.
    left: u32,
    /// Insertions from one tick to the next, less 1.
    tick: u32,
    /// Ticks until the queue's length is looked at again.
    until_fit: u8,
}

impl<const BITS: u32> Clock<BITS> {
    /// Ticks that the small queue should span: three quarters of the range, as it is longer than
    /// its target at times.
    const SPAN: usize = (1 << BITS) / 4 * 3;
    const MASK: u8 = ((1_u32 << BITS) - 1) as u8;

    /// Notes an insertion into the small queue of `small` entries, in all of `entries`; answers
    /// whether the time or the window is another now.
    #[inline]
    pub(super) fn insertion(&mut self, setting: &Parameters, entries: usize, small: usize) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        if self.until_fit == 0 {
            self.fit(setting, entries, small);
        }
        self.until_fit -= 1;
        self.now = self.now.wrapping_add(1) & Self::MASK;
        self.left = self.tick;
        true
    }

    /// Has the length of a tick set anew at the next insertion: the setting is another.
    pub(super) fn refit(&mut self) {
        (self.left, self.until_fit) = (0, 0);
    }

    #[cold]
    fn fit(&mut self, setting: &Parameters, entries: usize, small: usize) {
        let window = setting.correlation_window(entries);
        let tick = (2 * window).max(small) / Self::SPAN + 1;
        self.window = window.div_ceil(tick) as u8;
        self.tick = tick as u32 - 1;
        self.until_fit = Self::MASK / 4;
    }

    #[inline]
    pub(super) fn now(&self) -> u8 {
        self.now
    }

    #[inline]
    pub(super) fn window(&self) -> u8 {
        self.window
    }
}

/// Whether a hit at `now` on what came in at `stamp` belongs to the insertion.
#[inline]
pub(super) fn is_correlated<const BITS: u32>(now: u8, stamp: u8, window: u8) -> bool {
    now.wrapping_sub(stamp) & Clock::<BITS>::MASK < window
}
