//! Hints: a byte beside each entry that says, for most of its life, that its deadline lies ahead.
//!
//! The deadline itself lies in an array of its own; reading it on every hit would cost a second
//! cache line. Time is divided into quanta, a fortieth of the longest configured lifetime or so.
//! A hint is 0 for an entry without deadline, [`ASK`] if only the deadline itself can tell, and
//! otherwise the deadline's quantum modulo 128. It cannot be mistaken for one 128 quanta earlier or
//! later: the stripe is *swept* regularly, so entries with deadlines long past are gone, and where
//! it was not swept for [`WINDOW`] quanta the hint is not believed.

use crate::time::{COARSE_LATENESS, Tick};

/// The entry has neither deadline nor tags.
pub(crate) const NEVER: u8 = 0;
/// The deadline, or the tags, must be looked at.
pub(crate) const ASK: u8 = 1;

const DATED: u8 = 0x80;
/// How many quanta ahead a hint may name, and how many the sweep may lag.
const WINDOW: u64 = 48;
/// The shortest quantum (as a power of two of ticks): an eighth of the timer wheel's tick, so that
/// an ordinary lag of the sweep stays within the window.
const SHORTEST: u32 = super::wheel::TICK_SHIFT - 3;
/// The quantum where no lifetime is configured: about a second.
const DEFAULT: u32 = 20;

/// How late the coarse clock may be, in ticks.
pub(crate) const LATENESS: u64 = Tick::of(COARSE_LATENESS).0;

/// How a cache's hints divide the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// The quantum, as a power of two of ticks.
    quantum: u32,
    /// How many quanta a clock may be late for a hint to be believed nevertheless:
    /// [`LATENESS`], but at least one, and no more than a hint may name.
    margin: i8,
}

impl Scale {
    /// The scale for lifetimes of up to `longest` (nanoseconds).
    pub(crate) fn new(longest: Option<u64>) -> Self {
        Self::of(longest.map_or(DEFAULT, |nanos| {
            // Rounded up, so that the longest lifetime fits into the window.
            let ticks = (nanos >> 10).div_ceil(WINDOW).next_power_of_two();
            ticks.ilog2().clamp(SHORTEST, 40)
        }))
    }

    fn of(quantum: u32) -> Self {
        let margin = (LATENESS >> quantum).clamp(1, WINDOW);
        Self { quantum, margin: margin as i8 }
    }

    /// So many quanta, in ticks.
    pub(crate) fn quanta(self, many: u64) -> u64 {
        many << self.quantum
    }

    /// The hint for a deadline, set at `now`, when all deadlines before `swept` are being removed.
    #[inline]
    pub(crate) fn encode(self, deadline: Tick, now: Tick, swept: Tick) -> u8 {
        if deadline == Tick::NEVER {
            return NEVER;
        }
        let [due, now, swept] = [deadline, now, swept].map(|tick| tick.0 >> self.quantum);
        if due >= swept && due.wrapping_sub(now) <= WINDOW {
            DATED | (due as u8 & !DATED)
        } else {
            ASK
        }
    }

    /// Whether the hint alone says that its entry is alive at `now`, by a clock that may be late.
    #[inline(always)]
    pub(crate) fn is_alive(self, hint: u8, now: Tick, swept: Tick) -> bool {
        if hint & DATED == 0 {
            return hint == NEVER;
        }
        let now = now.0 >> self.quantum;
        if now.wrapping_sub(swept.0 >> self.quantum) > WINDOW {
            return false;
        }
        // The difference modulo 128, as a signed number.
        let ahead = (hint.wrapping_sub(now as u8) << 1).cast_signed() >> 1;
        ahead > self.margin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_calls_a_dead_entry_alive() {
        let scale = Scale::of(4);
        for deadline in 0..3000_u64 {
            for written in (0..=deadline).step_by(97) {
                let hint = scale.encode(Tick(deadline), Tick(written), Tick(0));
                for now in (deadline..deadline + 4000).step_by(61) {
                    // Resident still, so the sweep has not passed the deadline.
                    let swept = Tick(deadline.min(now));
                    assert!(!scale.is_alive(hint, Tick(now), swept), "{deadline} {now}");
                }
            }
        }
    }

    #[test]
    fn believes_no_hint_that_a_late_clock_could_misread() {
        for quantum in [SHORTEST, 17, DEFAULT, 25] {
            let (scale, second) = (Scale::of(quantum), 1_000_000);
            let deadline = 40 << quantum;
            let hint = scale.encode(Tick(deadline), Tick(0), Tick(0));
            let late = deadline.saturating_sub(second);
            assert!(!scale.is_alive(hint, Tick(late), Tick(late)), "{quantum}");
        }
    }

    #[test]
    fn calls_most_living_entries_alive() {
        let scale = Scale::new(Some(60_000_000_000));
        let ttl = 60_000_000_000 >> 10;
        let mut alive = 0;
        for now in (0..ttl).step_by(1_000_000) {
            let hint = scale.encode(Tick(ttl), Tick(0), Tick(0));
            alive += u64::from(scale.is_alive(hint, Tick(now), Tick(now)));
        }
        assert!(alive * 100 > 90 * (ttl / 1_000_000), "{alive}");
    }
}
