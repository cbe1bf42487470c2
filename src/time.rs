//! Time: a monotonic clock that tests can replace.
//!
//! Inside the cache the time is in nanoseconds since the clock was made. Deadlines are kept in
//! `Tick`s of 1.024 µs, rounded down: an entry may expire that much early, never late. One that lies
//! more than nineteen hours ahead, or the first after nobody came for as long, may be kept to the
//! millisecond only (`expiry/deadlines.rs`).

#![allow(clippy::disallowed_methods, reason = "this is the file that may read clocks")]

use std::{fmt::Debug, sync::Arc, time::Duration};

use crate::sync::{AtomicU64, Ordering};

/// How late the system's coarse clock may be, in nanoseconds: about a second, far more than it ever is.
pub(crate) const COARSE_LATENESS: u64 = 1 << 30;

/// A source of monotonic time.
pub trait Ticker: Debug + Send + Sync + 'static {
    /// The time since some fixed moment. Must not go backwards; should it, nothing breaks, but
    /// entries expire later than they should.
    fn now(&self) -> Duration;
}

/// A [`Ticker`] that stands still until it is told to advance. Clones share the time.
///
/// ```
/// use larder::{Cache, time::ManualTicker};
/// use std::time::Duration;
///
/// let ticker = ManualTicker::new();
/// let cache = Cache::builder()
///     .capacity(100)
///     .time_to_live(Duration::from_secs(60))
///     .clock(ticker.clone())
///     .build();
/// cache.insert("key", 1);
/// ticker.advance(Duration::from_secs(59));
/// assert_eq!(cache.get("key"), Some(1));
/// ticker.advance(Duration::from_secs(1));
/// assert_eq!(cache.get("key"), None);
/// ```
#[derive(Clone, Debug)]
pub struct ManualTicker(Arc<AtomicU64>);

impl ManualTicker {
    /// A ticker at time 0.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// Moves the time forward; it stops at the end of a `u64` of nanoseconds (584 years).
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        // Relaxed: the time publishes nothing else.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(by)));
    }
}

impl Default for ManualTicker {
    fn default() -> Self {
        Self::new()
    }
}

impl Ticker for ManualTicker {
    fn now(&self) -> Duration {
        // Relaxed: the time publishes nothing else.
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The clock a cache reads: the system's monotonic one, or an injected one.
#[derive(Debug)]
pub(crate) enum Clock {
    System(System),
    Injected { ticker: Box<dyn Ticker>, start: Duration },
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System(System::new())
    }

    pub(crate) fn injected(ticker: Box<dyn Ticker>) -> Self {
        let start = ticker.now();
        Self::Injected { ticker, start }
    }

    /// Nanoseconds since the clock was made.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System(system) => system.now(),
            Self::Injected { ticker, start } => nanos(ticker.now().saturating_sub(*start)),
        }
    }

    /// Whether it is not the system's.
    pub(crate) fn is_injected(&self) -> bool {
        matches!(self, Self::Injected { .. })
    }

    /// How long a thread may sleep if it wants to be back at `deadline`: zero if that has come. A
    /// clock that is set by hand must be looked at often, as nobody tells when it is.
    pub(crate) fn sleep_until(&self, deadline: u64) -> Duration {
        let left = Duration::from_nanos(deadline.saturating_sub(self.now()));
        match self {
            Self::System(_) => left,
            Self::Injected { .. } => left.min(Duration::from_millis(1)),
        }
    }

    /// The same as of the system's last tick: some milliseconds late, and far cheaper.
    #[inline]
    pub(crate) fn coarse(&self) -> u64 {
        match self {
            Self::System(system) => system.coarse(),
            Self::Injected { .. } => self.now(),
        }
    }
}

/// The system's monotonic clock.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct System {
    /// When the clock was made, in nanoseconds.
    start: u64,
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the standard library does not give the coarse clock")]
impl System {
    fn new() -> Self {
        Self { start: Self::read(libc::CLOCK_MONOTONIC) }
    }

    fn now(&self) -> u64 {
        Self::read(libc::CLOCK_MONOTONIC).saturating_sub(self.start)
    }

    #[inline]
    fn coarse(&self) -> u64 {
        Self::read(libc::CLOCK_MONOTONIC_COARSE).saturating_sub(self.start)
    }

    #[inline]
    fn read(clock: libc::clockid_t) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` may be written. It fails only for clocks that do not exist, and then
        // leaves it alone.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// The system's monotonic clock.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct System {
    start: std::time::Instant,
}

#[cfg(not(target_os = "linux"))]
impl System {
    fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }

    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    fn coarse(&self) -> u64 {
        self.now()
    }
}

/// A duration in nanoseconds; what does not fit is `u64::MAX`, which means for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A moment in units of 1.024 µs since the clock was made; 48 bits (nine years) are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    /// No deadline: past the clock's range.
    pub(crate) const NEVER: Self = Self(0xffff_ffff << 16);

    /// The tick of a moment in nanoseconds.
    #[inline]
    pub(crate) const fn of(now: u64) -> Self {
        Self(now >> 10)
    }

    /// The deadline `after` (nanoseconds) from `now`.
    #[inline]
    pub(crate) fn deadline(now: u64, after: u64) -> Self {
        match now.checked_add(after).map(Self::of) {
            Some(at) if at < Self::NEVER => at,
            // At once, even if the time itself is past the range: the last moment within it was before.
            _ if after == 0 => Self(Self::NEVER.0 - 1),
            _ => Self::NEVER,
        }
    }

    /// The nanoseconds from `now` until this moment.
    pub(crate) fn nanos_after(self, now: u64) -> u64 {
        (self.0 << 10).saturating_sub(now)
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn deadlines_saturate() {
        assert_eq!(Tick::deadline(5, u64::MAX), Tick::NEVER);
        assert_eq!(Tick::deadline(0, 1 << 62), Tick::NEVER);
        assert_eq!(Tick::deadline(1024, 1024), Tick(2));
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }

    #[test]
    fn nothing_lives_for_no_time_however_late_it_is_p9() {
        for now in [0, 1 << 57, (Tick::NEVER.0 << 10) - 1, Tick::NEVER.0 << 10, 1 << 60, u64::MAX] {
            let deadline = Tick::deadline(now, 0);
            assert!(deadline <= Tick::of(now) && deadline < Tick::NEVER, "{now}");
        }
        let last = (Tick::NEVER.0 << 10) - 1;
        assert!(Tick::deadline(last - 1, 1) < Tick::NEVER);
        assert_eq!(Tick::deadline(last, 1), Tick::NEVER);
    }
}
