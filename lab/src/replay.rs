//! A trace through the real cache: every access is a get, and an insertion on a miss.

use std::time::{Duration, Instant};

use larder::{Builder, Cache, RemovalCause, time::ManualTicker};
use serde::Serialize;

use crate::policies;
use crate::progress::Progress;
use crate::textbook;
use crate::trace::Trace;

/// How many accesses are replayed between two reports of progress.
const CHUNK: usize = 1 << 14;

/// A cache to be built.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The policy's name.
    pub policy: String,
    /// The capacity, in entries or in bytes.
    pub capacity: u64,
    /// Whether entries weigh their sizes, and not 1.
    pub by_size: bool,
    /// Stripes, if not as the builder chooses.
    pub stripes: Option<usize>,
    /// The time to live, in the trace's time.
    pub time_to_live: Option<Duration>,
    /// Where the hasher and the random numbers begin.
    pub seed: u64,
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Accesses that found their entry.
    pub hits: f64,
    /// The sum of their sizes.
    pub hit_bytes: f64,
    /// Entries that had to make room for others.
    pub evictions: f64,
    /// Newcomers that were not let in.
    pub refusals: f64,
    /// Entries whose time was over.
    pub expirations: f64,
    /// Nanoseconds for an access.
    pub nanos: f64,
    /// Stripes.
    pub stripes: usize,
}

/// Replays the trace through a new cache.
///
/// # Errors
/// If the cache cannot be built: there is no such policy, or no such number of stripes.
pub fn replay(trace: &Trace, setup: &Setup, progress: &Progress) -> Result<Counts, String> {
    let policy = policies::seeded(&setup.policy, setup.seed).map_err(|error| error.to_string())?;
    let ticker = ManualTicker::new();
    let builder: Builder<u64, u64> = Cache::builder().capacity(setup.capacity).stats(true);
    let mut builder = builder.policy(policy).hasher(policies::Hasher::new(setup.seed));
    if let Some(stripes) = setup.stripes {
        builder = builder.stripes(stripes);
    }
    if setup.by_size {
        builder = builder.weigher(|_, &size| size);
    }
    if let Some(time_to_live) = setup.time_to_live {
        builder = builder.time_to_live(time_to_live).clock(ticker.clone());
    }
    let cache = builder.try_build().map_err(|error| error.to_string())?;
    // Not from 0: times that count from 1970 would be past the range of the cache's clock.
    let mut now = trace.times.as_ref().and_then(|times| times.first()).copied().unwrap_or(0);
    let mut counts = drive(trace, progress, |key, size, time| {
        if time > now {
            ticker.advance(Duration::from_nanos(time - now));
            now = time;
        }
        let key = u64::from(key);
        let is_hit = cache.get(&key).is_some();
        if !is_hit {
            cache.insert(key, size);
        }
        is_hit
    });
    let removals = cache.stats().removals;
    counts.evictions = removals[RemovalCause::Size].count as f64;
    counts.refusals = removals[RemovalCause::Rejected].count as f64;
    counts.expirations = removals[RemovalCause::Expired].count as f64;
    counts.stripes = cache.stripes();
    Ok(counts)
}

/// The same with the textbook's LRU.
#[must_use]
pub fn replay_textbook(trace: &Trace, setup: &Setup, progress: &Progress) -> Counts {
    let lifetime =
        setup.time_to_live.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let mut lru = textbook::Lru::new(trace.distinct, setup.capacity, lifetime);
    let by_size = setup.by_size;
    let mut counts = drive(trace, progress, |key, size, now| {
        lru.access(key, if by_size { size } else { 1 }, now)
    });
    counts.evictions = lru.evictions() as f64;
    counts
}

/// Hands every access (key, size, time) to `access`, which says whether it was a hit.
fn drive(
    trace: &Trace,
    progress: &Progress,
    mut access: impl FnMut(u32, u64, u64) -> bool,
) -> Counts {
    let (mut hits, mut hit_bytes) = (0_u64, 0_u64);
    let start = Instant::now();
    for (number, keys) in trace.keys.chunks(CHUNK).enumerate() {
        let base = number * CHUNK;
        for (index, &key) in keys.iter().enumerate() {
            let size = trace.size(base + index);
            let time = trace.times.as_ref().map_or(0, |times| times[base + index]);
            if access(key, size, time) {
                hits += 1;
                hit_bytes += size;
            }
        }
        progress.advance(keys.len());
    }
    let nanos = start.elapsed().as_nanos() as f64 / trace.len().max(1) as f64;
    Counts { hits: hits as f64, hit_bytes: hit_bytes as f64, nanos, ..Counts::default() }
}
