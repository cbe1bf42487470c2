//! When a value is to be loaded anew and until when it is fresh, in sixteen bytes: what is kept beside
//! each value should take little room.

/// The end of time.
pub(super) const NEVER: u64 = u64::MAX;

/// When a reload is next due, and how often loading failed since it last did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reload {
    at: Moment,
    failures: u8,
    /// Whether it is never due. A `bool` has values to spare: where it is kept, whether there is a value at
    /// all takes no room.
    is_never: bool,
}

impl Reload {
    pub(super) const NEVER: Self = Self { at: Moment::NEVER, failures: 0, is_never: true };

    pub(super) fn new(at: u64, failures: u32) -> Self {
        let at = Moment::of(at);
        let failures = u8::try_from(failures).unwrap_or(u8::MAX);
        Self { at, failures, is_never: at == Moment::NEVER }
    }

    #[inline]
    pub(super) fn is_never(self) -> bool {
        self.is_never
    }

    /// The time, in nanoseconds.
    #[inline]
    pub(super) fn at(self) -> u64 {
        self.at.nanos()
    }

    /// The failures, of which 255 are counted at most.
    pub(super) fn failures(self) -> u32 {
        self.failures.into()
    }
}

/// Until when a value is fresh, and how long it took to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fresh {
    until: Moment,
    cost: Cost,
}

impl Fresh {
    pub(super) const FOR_EVER: Self = Self { until: Moment::NEVER, cost: Cost(0) };

    pub(super) fn new(until: u64, cost: u64) -> Self {
        Self { until: Moment::of(until), cost: Cost::of(cost) }
    }

    /// The time, in nanoseconds.
    #[inline]
    pub(super) fn until(self) -> u64 {
        self.until.nanos()
    }

    /// How long it took, to within a five-hundredth.
    pub(super) fn cost(self) -> u64 {
        self.cost.nanos()
    }
}

/// A moment, to 64 microseconds, rounded down: of seconds nothing is lost. From some 570 years on it is
/// the end of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment([u8; 6]);

impl Moment {
    const NEVER: Self = Self([u8::MAX; 6]);
    /// In nanoseconds.
    const UNIT: u64 = 64_000;

    fn of(nanos: u64) -> Self {
        let [a, b, c, d, e, f, 0, 0] = (nanos / Self::UNIT).to_le_bytes() else {
            return Self::NEVER;
        };
        Self([a, b, c, d, e, f])
    }

    #[inline]
    fn nanos(self) -> u64 {
        if self == Self::NEVER {
            return NEVER;
        }
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) * Self::UNIT
    }
}

/// A duration in ten bits and how far they are shifted, in six.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost(u16);

impl Cost {
    const DIGITS: u32 = 10;

    fn of(nanos: u64) -> Self {
        let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(Self::DIGITS);
        Self((shift << Self::DIGITS) as u16 | (nanos >> shift) as u16)
    }

    fn nanos(self) -> u64 {
        u64::from(self.0 % (1 << Self::DIGITS)) << (self.0 >> Self::DIGITS)
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::{Cost, Fresh, Moment, NEVER, Reload};

    #[test]
    fn moments_are_kept_to_64_microseconds_and_never_too_late() {
        for (moment, kept) in [(0, 0), (63_999, 0), (1_001_999, 960_000), (u64::MAX - 1, NEVER)] {
            assert_eq!(Moment::of(moment).nanos(), kept, "{moment}");
        }
        for seconds in [1, 10, 500 * 365 * 86_400] {
            assert_eq!(Moment::of(seconds * 1_000_000_000).nanos(), seconds * 1_000_000_000);
        }
        assert_eq!(Moment::of(NEVER), Moment::NEVER);
    }

    #[test]
    fn costs_are_kept_to_a_five_hundredth_and_never_too_high() {
        assert!((0..1 << Cost::DIGITS).all(|nanos| Cost::of(nanos).nanos() == nanos));
        for bits in 0..u64::BITS {
            for nanos in [1 << bits, (1 << bits) | (1 << bits >> 3), u64::MAX >> bits] {
                let kept = Cost::of(nanos).nanos();
                assert!(kept <= nanos && nanos - kept <= nanos / 512, "{nanos}: {kept}");
            }
        }
    }

    #[test]
    fn failures_and_cost_do_not_disturb_the_times() {
        let reload = Reload::new(640_000, 1000);
        assert_eq!((reload.at(), reload.failures(), reload.is_never()), (640_000, 255, false));
        assert!(Reload::new(NEVER, 3).is_never());
        let fresh = Fresh::new(NEVER, 800);
        assert_eq!((fresh.until(), fresh.cost()), (NEVER, 800));
    }
}
