//! What can be wrong with the options of a cache.

use std::{error::Error, fmt};

use super::builder::MOST_STRIPES;

/// Why a cache cannot be built as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// No capacity was given.
    NoCapacity,
    /// The number of stripes is not a power of two from 1 to 1024.
    Stripes(usize),
    /// The interval of the maintenance thread is zero.
    NoInterval,
    /// The maintenance thread, or that of a recording, could not be started.
    Thread(String),
    /// The factor for early refreshes is negative or not finite.
    EarlyRefresh,
    /// There may be no loads at all.
    NoLoads,
    /// The queue of writes has no room, or its batches are empty.
    NoQueue,
    /// A loading cache was given an expiry that wants to be asked after reads.
    WatchesReads,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapacity => {
                write!(f, "no capacity: call `capacity(n)` with the most the entries may weigh")
            }
            Self::Stripes(n) => write!(
                f,
                "{n} stripes: call `stripes(n)` with a power of two from 1 to {MOST_STRIPES}, such \
                 as {}",
                (*n).clamp(1, MOST_STRIPES).next_power_of_two()
            ),
            Self::NoInterval => write!(
                f,
                "a maintenance interval of zero: call `maintenance_thread` with some milliseconds"
            ),
            Self::EarlyRefresh => write!(
                f,
                "an early refresh by a factor that is negative or not finite: call `early_refresh` \
                 with 1, or 0 for none"
            ),
            Self::NoLoads => {
                write!(f, "no loads at once: call `max_loads` with 1 or more, or leave it out")
            }
            Self::NoQueue => {
                write!(f, "a write queue of no length: call `write_queue` with 1 or more for both")
            }
            Self::WatchesReads => write!(
                f,
                "an expiry that watches reads: a loading cache has deadlines from create and update \
                 alone; use `time_to_idle` for what a read prolongs"
            ),
            Self::Thread(why) => write!(
                f,
                "a thread could not be started: {why}; leave out `maintenance_thread`, and call \
                 `run_maintenance` yourself, or `record`"
            ),
        }
    }
}

impl Error for BuildError {}
