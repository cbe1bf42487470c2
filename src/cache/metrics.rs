//! Statistics through the `metrics` facade, for the feature of that name.

use std::{
    hash::{BuildHasher, Hash},
    sync::LazyLock,
    time::Duration,
};

use metrics::{Label, SharedString, Unit, counter, describe_counter, describe_gauge, gauge};

use super::{Cache, LoadingCache, loader::Loader};
use crate::{RemovalCause, Stats, policy::Policy};

/// Publishes what a cache has counted, and how full it is, through the recorder that is installed.
///
/// Call it when metrics are about to be read, such as in the handler of `/metrics` just before the
/// text is made: nothing is published in between, and the cache does nothing for it until then. One
/// call reads the counters of all threads and sets some fifty metrics, which takes some tens of
/// microseconds and waits for nobody. Counts are there only if the cache was built with
/// [`stats`](crate::Builder::stats).
///
/// Every metric has the label `cache`, with the cache's [name](crate::Builder::name).
///
/// | metric | what it is |
/// |---|---|
/// | `larder_hits_total`, `larder_misses_total` | look-ups that found a living entry, or not |
/// | `larder_inserts_total`, `larder_updates_total` | entries that came in new; values that replaced another |
/// | `larder_loads_total` | loads that were started |
/// | `larder_load_successes_total`, `larder_load_failures_total` | how they ended |
/// | `larder_coalesced_total` | calls that waited for another's load |
/// | `larder_superseded_total` | loads whose value was not stored, as the key was written meanwhile |
/// | `larder_load_seconds_bucket`, by `le`; `larder_load_seconds_sum`, `larder_load_seconds_count` | how long loads took, as Prometheus' histograms have it |
/// | `larder_removals_total`, `larder_removed_weight_total`, by `cause` | entries that left, and their weights |
/// | `larder_listener_panics_total` | panics of the removal listener |
/// | `larder_entries`, `larder_weight`, `larder_capacity` | how full the cache is |
///
/// What ends in `_total` is a counter, everything else a gauge: also the parts of the histogram,
/// because histograms of the facade want to be told of every load when it happens.
///
/// ```
/// let users = larder::Cache::<u64, String>::builder()
///     .capacity(1000)
///     .name("users")
///     .stats(true)
///     .build();
/// // In the handler of `/metrics`:
/// larder::metrics::publish(&users);
/// ```
pub fn publish(cache: &impl Observed) {
    let stats = cache.stats();
    let name = SharedString::from_shared(cache.name().into());
    let labels = |more: Option<(&'static str, &'static str)>| {
        let more = more.map(|(key, value)| Label::from_static_parts(key, value));
        [Label::new("cache", name.clone())].into_iter().chain(more).collect::<Vec<_>>()
    };
    describe();
    for (metric, _, value) in COUNTS {
        counter!(metric, labels(None)).absolute(value(&stats));
    }
    for (cause, removals) in stats.removals.iter() {
        let labels = labels(Some(("cause", name_of(cause))));
        counter!(REMOVALS, labels.clone()).absolute(removals.count);
        counter!(REMOVED_WEIGHT, labels).absolute(removals.weight);
    }
    gauge!(ENTRIES, labels(None)).set(cache.entries() as f64);
    gauge!(WEIGHT, labels(None)).set(cache.weight() as f64);
    gauge!(CAPACITY, labels(None)).set(cache.capacity() as f64);

    let mut count = 0;
    for ((below, loads), le) in stats.load_times.iter().zip(&*BOUNDS) {
        count += loads;
        if below >= SHORTEST {
            gauge!(LOAD_BUCKET, labels(Some(("le", le)))).set(count as f64);
        }
    }
    gauge!(LOAD_BUCKET, labels(Some(("le", "+Inf")))).set(count as f64);
    gauge!(LOAD_COUNT, labels(None)).set(count as f64);
    gauge!(LOAD_SUM, labels(None)).set(stats.load_time.as_secs_f64());
}

/// What [`publish`] reads of a cache. For a type of your own that wraps one, pass the calls on.
pub trait Observed {
    /// The value of the label `cache`.
    fn name(&self) -> &str;
    /// What was counted.
    fn stats(&self) -> Stats;
    /// The number of entries.
    fn entries(&self) -> usize;
    /// What they weigh together.
    fn weight(&self) -> u64;
    /// The most they may weigh.
    fn capacity(&self) -> u64;
}

/// Passes everything on to the methods of the same names.
macro_rules! observed {
    () => {
        fn name(&self) -> &str {
            self.name()
        }

        fn stats(&self) -> Stats {
            self.stats()
        }

        fn entries(&self) -> usize {
            self.len()
        }

        fn weight(&self) -> u64 {
            self.weight()
        }

        fn capacity(&self) -> u64 {
            self.capacity()
        }
    };
}

impl<K, V, P: Policy, S> Observed for Cache<K, V, P, S> {
    observed!();
}

impl<K, V, L, P, S> Observed for LoadingCache<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    observed!();
}

/// A metric's name, its description, and where it is in the statistics.
type Count = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTS: [Count; 10] = [
    ("larder_hits_total", "Look-ups that found a living entry.", |stats| stats.hits),
    ("larder_misses_total", "Look-ups that found none.", |stats| stats.misses),
    ("larder_inserts_total", "Entries that came in under a new key.", |stats| stats.inserts),
    ("larder_updates_total", "Values that replaced another.", |stats| stats.updates),
    ("larder_listener_panics_total", "Panics of the removal listener.", |stats| {
        stats.listener_panics
    }),
    ("larder_loads_total", "Loads that were started.", |stats| stats.loads),
    ("larder_load_successes_total", "Loads that gave a value.", |stats| stats.load_successes),
    ("larder_load_failures_total", "Loads that gave an error, nothing, or panicked.", |stats| {
        stats.load_failures
    }),
    ("larder_coalesced_total", "Calls that waited for another's load.", |stats| stats.coalesced),
    ("larder_superseded_total", "Loads not stored as the key was written meanwhile.", |stats| {
        stats.superseded
    }),
];
const REMOVALS: &str = "larder_removals_total";
const REMOVED_WEIGHT: &str = "larder_removed_weight_total";
const ENTRIES: &str = "larder_entries";
const WEIGHT: &str = "larder_weight";
const CAPACITY: &str = "larder_capacity";
const LOAD_BUCKET: &str = "larder_load_seconds_bucket";
const LOAD_SUM: &str = "larder_load_seconds_sum";
const LOAD_COUNT: &str = "larder_load_seconds_count";

/// Faster loads are all in the first bucket that is published.
const SHORTEST: Duration = Duration::from_micros(1);

/// The ends of all buckets in seconds, as text.
static BOUNDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let ends = Stats::default().load_times;
    ends.iter().map(|(below, _)| below.as_secs_f64().to_string()).collect()
});

fn describe() {
    for (metric, description, _) in COUNTS {
        describe_counter!(metric, Unit::Count, description);
    }
    describe_counter!(REMOVALS, Unit::Count, "Entries that left, by cause.");
    describe_counter!(REMOVED_WEIGHT, Unit::Count, "Weight of the entries that left, by cause.");
    describe_gauge!(ENTRIES, Unit::Count, "Entries.");
    describe_gauge!(WEIGHT, Unit::Count, "What the entries weigh together.");
    describe_gauge!(CAPACITY, Unit::Count, "The most they may weigh.");
    describe_gauge!(LOAD_BUCKET, Unit::Count, "Loads that took at most `le` seconds.");
    describe_gauge!(LOAD_SUM, Unit::Seconds, "How long all loads took together.");
    describe_gauge!(LOAD_COUNT, Unit::Count, "Loads that ended.");
}

fn name_of(cause: RemovalCause) -> &'static str {
    match cause {
        RemovalCause::Expired => "expired",
        RemovalCause::Explicit => "explicit",
        RemovalCause::Replaced => "replaced",
        RemovalCause::Size => "size",
        RemovalCause::Rejected => "rejected",
    }
}
