//! The options of a cache.

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
    thread,
    time::Duration,
};

use super::{BuildError, Cache, Inner};
use crate::{
    Expiry, Removal,
    budget::Budget,
    context::{Context, Special, Weigher},
    expiry::{Rules, hint::Scale},
    flight::Flights,
    hash,
    outbox::{Listener, forget_panic},
    policy::{Adaptive, Policy},
    stats::Counters,
    stripe::Stripe,
    sync::{Arc, AtomicBool, AtomicU64, Mutex},
    table::Bare,
    tags::{Registry, Tagger},
    time::{Clock, Ticker, nanos},
    trace,
};

/// Entries that a stripe should have at least, so that striping costs no hit ratio.
const ENTRIES_PER_STRIPE: u64 = 512;
/// The same in a cache with a weigher of which nothing else is known. The weights are probably bytes, and
/// pages and records have 1 to 100 KiB: 4096 to 40 entries. With fewer, or some as heavy as a stripe's
/// share, hits are lost.
const WEIGHT_PER_STRIPE: u64 = 4 << 20;
/// Lifetimes (nanoseconds) from which on the coarse clock does: a minute.
pub(in crate::cache) const LONG: u64 = 60_000_000_000;
/// The most stripes.
pub(super) const MOST_STRIPES: usize = 1024;
/// The most lists of keys being computed.
const MOST_FLIGHT_LISTS: usize = 64;
/// Stripes for each thread that can run at once.
const STRIPES_PER_THREAD: usize = 4;

/// The options of a cache to be built; see [`Cache::builder`].
///
/// ```
/// use larder::{Cache, RemovalCause, policy};
/// use std::time::Duration;
///
/// let pages: Cache<String, Vec<u8>, _> = Cache::builder()
///     .capacity(64 << 20)
///     .weigher(|url: &String, page: &Vec<u8>| (url.len() + page.len()) as u64)
///     .time_to_live(Duration::from_secs(60))
///     .policy(policy::S3Fifo::default())
///     .on_removal(|url, _page, removal| {
///         if removal.cause == RemovalCause::Size {
///             println!("{url} was evicted");
///         }
///     })
///     .build();
/// pages.insert("/".into(), b"hello".to_vec());
/// assert_eq!(pages.weight(), 6);
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<K, V, P = Adaptive, S = ahash::RandomState> {
    capacity: Option<u64>,
    weigher: Option<Box<Weigher<K, V>>>,
    rules: Rules<K, V>,
    policy: P,
    hasher: S,
    stripes: Option<usize>,
    initial_capacity: usize,
    expected_entries: Option<u64>,
    listener: Option<Box<Listener<K, V>>>,
    tagger: Option<Tagger<K, V>>,
    name: Arc<str>,
    stats: bool,
    #[cfg(feature = "record")]
    recording: Option<crate::record::Recording>,
    clock: Option<Box<dyn Ticker>>,
    maintenance: Option<Duration>,
}

impl<K, V> Builder<K, V> {
    pub(super) fn new() -> Self {
        Self {
            capacity: None,
            weigher: None,
            rules: Rules::new(None, None),
            policy: Adaptive::default(),
            hasher: hash::random_state(),
            stripes: None,
            initial_capacity: 0,
            expected_entries: None,
            listener: None,
            tagger: None,
            name: Arc::from("cache"),
            stats: false,
            #[cfg(feature = "record")]
            recording: None,
            clock: None,
            maintenance: None,
        }
    }
}

impl<K, V, P, S> Builder<K, V, P, S> {
    /// The most that the entries may weigh together: their number, unless there is a
    /// [`weigher`](Self::weigher) (bytes are counted by nothing else). Has no default. 0 stores nothing
    /// but what weighs nothing. Nothing is set aside for it: `u64::MAX` is a cache without a bound.
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// What an entry weighs, in whatever unit the capacity has. Called once per value, before any
    /// lock. An entry of weight 0 is never evicted for room; one heavier than the capacity is
    /// refused. Costs eight bytes an entry.
    ///
    /// Where weights are bytes, count what key and value own (the `len` of a `Vec`, not the size of an
    /// `Arc`), and for the cache itself, which takes memory outside of the capacity, the size of key and
    /// value once or twice, as the table has room to spare, and 100 bytes. If entries do not weigh some KiB
    /// each, say how many there [will be](Self::expected_entries).
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// How long an entry lives after its value was written. [`Duration::MAX`] means for ever, zero
    /// at once. Lifetimes of a minute and more are counted from the last tick of the system's clock,
    /// so they may end some milliseconds early; no entry is returned after its deadline. One that
    /// would lie more than nine years after the cache was built never comes. Costs about eight bytes
    /// an entry, and reading the clock in every operation.
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.rules.time_to_live = Some(nanos(time_to_live));
        self
    }

    /// How long an entry lives after it was last used: read, written or touched.
    pub fn time_to_idle(mut self, time_to_idle: Duration) -> Self {
        self.rules.time_to_idle = Some(nanos(time_to_idle));
        self
    }

    /// A time to live for each entry on its own, by a closure or another [`Expiry`].
    pub fn expiry(mut self, expiry: impl Expiry<K, V> + 'static) -> Self {
        self.rules.expiry = Some(Box::new(expiry));
        self
    }

    /// Who goes when room is needed; see [`policy`](crate::policy). By default
    /// [`Adaptive`].
    pub fn policy<Q: Policy>(self, policy: Q) -> Builder<K, V, Q, S> {
        Builder {
            capacity: self.capacity,
            weigher: self.weigher,
            rules: self.rules,
            policy,
            hasher: self.hasher,
            stripes: self.stripes,
            initial_capacity: self.initial_capacity,
            expected_entries: self.expected_entries,
            listener: self.listener,
            tagger: self.tagger,
            name: self.name,
            stats: self.stats,
            #[cfg(feature = "record")]
            recording: self.recording,
            clock: self.clock,
            maintenance: self.maintenance,
        }
    }

    /// How keys are hashed. All 64 bits must be well mixed; by default ahash, keyed at random for
    /// each cache, so that nobody can send keys that collide. Give up the keying only for keys that
    /// no stranger chooses.
    ///
    /// A hasher that makes numbers their own hashes will not do, not even of numbers in a row: look-ups
    /// take a hundred times as long or more. FxHash does for some keys and not for others (multiples
    /// of 64, or floats); foldhash and the standard library's do.
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> Builder<K, V, P, T> {
        Builder {
            capacity: self.capacity,
            weigher: self.weigher,
            rules: self.rules,
            policy: self.policy,
            hasher,
            stripes: self.stripes,
            initial_capacity: self.initial_capacity,
            expected_entries: self.expected_entries,
            listener: self.listener,
            tagger: self.tagger,
            name: self.name,
            stats: self.stats,
            #[cfg(feature = "record")]
            recording: self.recording,
            clock: self.clock,
            maintenance: self.maintenance,
        }
    }

    /// The number of stripes, a power of two from 1 to 1024: how many threads can insert at once.
    /// By default four for each processor, but fewer in small caches: no more than one for 512 entries,
    /// or, with a [`weigher`](Self::weigher), for 4 Mi of the capacity, unless the
    /// [`expected_entries`](Self::expected_entries) say better. With one stripe the policies
    /// follow their papers to the letter; with less than some 30 entries in each, hits are lost.
    pub fn stripes(mut self, stripes: usize) -> Self {
        self.stripes = Some(stripes);
        self
    }

    /// About how many entries there will be when the cache is full, where a [`weigher`](Self::weigher)
    /// leaves that open; without one it is not asked for. Nothing is reserved for them, and there may be more
    /// or fewer. It decides how many [`stripes`](Self::stripes) there are, and in how full buckets
    /// entries are kept.
    ///
    /// ```
    /// // Some thousand pictures of about a megabyte: one stripe for 512 of them.
    /// let pictures = larder::Cache::<u64, Vec<u8>>::builder()
    ///     .capacity(1 << 30)
    ///     .weigher(|_, picture| picture.len() as u64)
    ///     .expected_entries(1000)
    ///     .build();
    /// assert_eq!(pictures.stripes(), 1);
    /// ```
    pub fn expected_entries(mut self, entries: u64) -> Self {
        self.expected_entries = Some(entries);
        self
    }

    /// For how many entries to make room from the start. By default the cache starts small and
    /// grows, at most a bucket at a time. Where each entry weighs 1, no more than the capacity. The
    /// memory is allocated by [`build`](Self::build), and as with a `Vec`, what cannot be had aborts
    /// the process.
    pub fn initial_capacity(mut self, entries: usize) -> Self {
        self.initial_capacity = entries;
        self
    }

    /// Is told of every entry that leaves: exactly once, in order for each key, after every lock is
    /// released. It may use the cache. Its panics are caught and counted. Costs eight bytes an entry,
    /// and replacing a value then takes the stripe's lock.
    ///
    /// Notices of one stripe are delivered one after the other by whichever thread comes first, so a
    /// slow listener keeps a thread busy and makes notices wait, but nobody else. Nothing slows those
    /// down who evict: if they do so faster than it listens, the notices that wait, with their keys and
    /// values, take more and more memory, and the thread that delivers does not return from its call.
    /// Leave slow work to a queue of your own, with the bound that you want:
    ///
    /// ```
    /// use larder::Cache;
    /// use std::sync::mpsc;
    ///
    /// let (queue, notices) = mpsc::sync_channel(10_000);
    /// let writer = std::thread::spawn(move || notices.iter().map(|(_key, value)| value).sum::<u64>());
    /// let cache = Cache::<u64, u64>::builder()
    ///     .capacity(100)
    ///     .on_removal(move |&key, &value, _| {
    ///         let _ = queue.try_send((key, value)); // what there is no room for is not written
    ///     })
    ///     .build();
    /// for i in 0..1000 {
    ///     cache.insert(i, 1);
    /// }
    /// drop(cache);
    /// assert_eq!(writer.join().unwrap(), 900);
    /// ```
    ///
    /// Entries that are still there when the cache is dropped are not reported.
    pub fn on_removal(
        mut self,
        listener: impl Fn(&K, &V, Removal) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// The tags of an entry, by any of which it can be removed:
    /// [`Cache::remove_tag`]. Called once per value, before any lock.
    ///
    /// ```
    /// use larder::Cache;
    /// let pages = Cache::<String, u32>::builder()
    ///     .capacity(100)
    ///     .tags(|_url, product| [format!("product:{product}")])
    ///     .build();
    /// pages.insert("/a".into(), 7);
    /// pages.insert("/b".into(), 8);
    /// assert!(pages.remove_tag("product:7"));
    /// assert_eq!((pages.get("/a"), pages.get("/b")), (None, Some(8)));
    /// ```
    pub fn tags<T: Hash, I: IntoIterator<Item = T>>(
        mut self,
        tags: impl Fn(&K, &V) -> I + Send + Sync + 'static,
    ) -> Self {
        let hasher = hash::random_state();
        let own = hasher.clone();
        let tags_of = move |key: &K, value: &V| {
            tags(key, value).into_iter().map(|tag| Registry::hash(&own, &tag)).collect()
        };
        let registry = Registry::default();
        self.tagger = Some(Tagger { tags_of: Box::new(tags_of), hasher, registry });
        self
    }

    /// What the cache is called where it is observed: in its `Debug` output, in
    /// metrics and in traces (features `metrics` and `tracing`). By default `cache`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether to count hits, misses and removals for [`Cache::stats`]. Off by default; costs a
    /// nanosecond an operation and sixteen kilobytes.
    pub fn stats(mut self, count: bool) -> Self {
        self.stats = count;
        self
    }

    /// Records a sample of the cache's accesses, for `larder-lab`. A thread writes the file; it ends
    /// with the cache, whose last handle waits for it when it is dropped. Costs a multiplication for
    /// an access that is not sampled.
    #[cfg(feature = "record")]
    pub fn record(mut self, recording: crate::record::Recording) -> Self {
        self.recording = Some(recording);
        self
    }

    /// The clock; by default the system's monotonic one, which on Linux stands still while the machine
    /// is suspended. Tests give a [`ManualTicker`](crate::time::ManualTicker).
    pub fn clock(mut self, ticker: impl Ticker) -> Self {
        self.clock = Some(Box::new(ticker));
        self
    }

    /// Starts a thread that calls [`Cache::run_maintenance`] at this interval. Without it, expired
    /// entries are reclaimed by the operations on the cache, which is enough unless the cache may
    /// be left alone for long. It ends with the cache.
    pub fn maintenance_thread(mut self, interval: Duration) -> Self {
        self.maintenance = Some(interval);
        self
    }
}

impl<K, V, P, S> Builder<K, V, P, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds the cache.
    ///
    /// # Panics
    /// If [`try_build`](Self::try_build) would fail, with its message.
    #[must_use]
    pub fn build(self) -> Cache<K, V, P, S> {
        match self.try_build() {
            Ok(cache) => cache,
            Err(error) => panic!("cannot build the cache: {error}"),
        }
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// If an option is missing or out of range: the message says what to change.
    pub fn try_build(mut self) -> Result<Cache<K, V, P, S>, BuildError> {
        let capacity = self.capacity.ok_or(BuildError::NoCapacity)?;
        let stripes = self.stripe_count(capacity)?;
        let interval = self.maintenance.take();
        if interval.is_some_and(|interval| interval.is_zero()) {
            return Err(BuildError::NoInterval);
        }
        #[cfg(feature = "record")]
        let recorder = self.recording.take().map(crate::record::Recorder::start).transpose();
        #[cfg_attr(not(feature = "record"), expect(unused_mut, reason = "there is no recorder"))]
        let mut inner = self.assemble(capacity, stripes);
        #[cfg(feature = "record")]
        if let Some(recorder) = recorder.map_err(|error| BuildError::Thread(error.to_string()))? {
            inner.context.special.add(recorder.sampled);
            inner.context.recorder = Some(recorder);
        }
        let cache = Cache { inner: Arc::new(inner) };
        if let Some(interval) = interval {
            spawn_maintenance(&cache, interval)
                .map_err(|error| BuildError::Thread(error.to_string()))?;
        }
        Ok(cache)
    }

    fn assemble(self, capacity: u64, count: usize) -> Inner<K, V, P, S> {
        let is_weighted = self.weigher.is_some();
        // The number of entries that will come in is known if each weighs 1.
        let expected = if is_weighted { self.expected_entries } else { Some(capacity) };
        let expected = expected.map(|entries| entries.div_ceil(count as u64));
        let most = if is_weighted { u64::MAX } else { capacity };
        let initial =
            self.initial_capacity.min(most.try_into().unwrap_or(usize::MAX)).div_ceil(count);
        let policies = self.policy.for_stripes(count, capacity);
        assert_eq!(policies.len(), count, "`Policy::for_stripes` must make one for each stripe");
        let stripes = policies.into_iter().enumerate();
        let bare = Bare::find_out();
        let stripes: Box<[_]> =
            stripes.map(|(number, policy)| Stripe::new(number, expected, bare, policy)).collect();
        for stripe in &stripes {
            stripe.reserve(initial);
        }
        let is_swappable = self.listener.is_none() && self.tagger.is_none();
        let is_plain = is_swappable && !is_weighted;
        let is_told = self.stats || trace::hears_removals();
        let context = Context {
            name: self.name,
            hasher: self.hasher,
            budget: Budget::new(capacity),
            stripes: count,
            is_plain,
            is_swappable,
            is_silent: is_plain && !is_told,
            is_heard: self.listener.is_some() || is_told,
            weigher: self.weigher,
            listener: self.listener,
            counters: self.stats.then(Counters::new),
            #[cfg(feature = "record")]
            recorder: None,
            scale: Scale::new(self.rules.longest()),
            is_coarse: self.rules.shortest().is_some_and(|shortest| shortest >= LONG),
            timed: AtomicBool::new(self.rules.any()),
            special: Special::new(self.rules.any() || self.tagger.is_some()),
            rules: self.rules.settle(),
            tagger: self.tagger,
            clock: self.clock.map_or_else(Clock::system, Clock::injected),
            due: AtomicU64::new(u64::MAX),
        };
        Inner {
            context,
            stripes,
            flights: Arc::new(Flights::new(count.min(MOST_FLIGHT_LISTS))),
            maintainer: OnceLock::new(),
            resizing: Mutex::new(()),
        }
    }

    fn stripe_count(&self, capacity: u64) -> Result<usize, BuildError> {
        if let Some(asked) = self.stripes {
            let is_legal = asked.is_power_of_two() && asked <= MOST_STRIPES;
            return if is_legal { Ok(asked) } else { Err(BuildError::Stripes(asked)) };
        }
        let threads = thread::available_parallelism().map_or(4, std::num::NonZero::get);
        let wanted = (threads * STRIPES_PER_THREAD).next_power_of_two().min(MOST_STRIPES);
        let most = match (&self.weigher, self.expected_entries) {
            (None, _) => capacity / ENTRIES_PER_STRIPE,
            (Some(_), Some(entries)) => entries / ENTRIES_PER_STRIPE,
            (Some(_), None) => capacity / WEIGHT_PER_STRIPE,
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX).clamp(1, MOST_STRIPES);
        // Rounded down to a power of two.
        Ok(wanted.min(1 << most.ilog2()))
    }
}

/// What turns a cache of values into one of values and more.
impl<K: 'static, V: 'static, P, S> Builder<K, V, P, S> {
    /// Takes the expiry out.
    pub(super) fn take_expiry(&mut self) -> Option<Box<dyn Expiry<K, V>>> {
        self.rules.expiry.take()
    }

    /// Keeps entries so much longer (nanoseconds); answers with the time to live so far.
    pub(super) fn prolong_time_to_live(&mut self, by: u64) -> Option<u64> {
        let so_far = self.rules.time_to_live;
        self.rules.time_to_live = so_far.map(|so_far| so_far.saturating_add(by));
        so_far
    }

    /// The same for entries of type `W`, some of which have a value of type `V`: they are weighed,
    /// tagged and reported as such. The others weigh `weight`, have no tags and leave in silence.
    pub(super) fn wrap<W: 'static>(
        self,
        value: fn(&W) -> Option<&V>,
        weight: u64,
    ) -> Builder<K, W, P, S> {
        let weigher = self.weigher.map(|weigher| -> Box<Weigher<K, W>> {
            Box::new(move |key, entry| value(entry).map_or(weight, |value| weigher(key, value)))
        });
        let listener = self.listener.map(|listener| -> Box<Listener<K, W>> {
            Box::new(move |key, entry, removal| {
                if let Some(value) = value(entry) {
                    listener(key, value, removal);
                }
            })
        });
        let tagger = self.tagger.map(|tagger| {
            let Tagger { tags_of, hasher, registry } = tagger;
            let tags_of = move |key: &K, entry: &W| {
                value(entry).map_or_else(Vec::new, |value| tags_of(key, value))
            };
            Tagger { tags_of: Box::new(tags_of), hasher, registry }
        });
        let Rules { time_to_live, time_to_idle, .. } = self.rules;
        Builder {
            capacity: self.capacity,
            weigher,
            rules: Rules::new(time_to_live, time_to_idle),
            policy: self.policy,
            hasher: self.hasher,
            stripes: self.stripes,
            initial_capacity: self.initial_capacity,
            expected_entries: self.expected_entries,
            listener,
            tagger,
            name: self.name,
            stats: self.stats,
            #[cfg(feature = "record")]
            recording: self.recording,
            clock: self.clock,
            maintenance: self.maintenance,
        }
    }
}

/// Starts the thread that maintains a cache until its last handle is gone.
fn spawn_maintenance<K, V, P, S>(
    cache: &Cache<K, V, P, S>,
    interval: Duration,
) -> std::io::Result<()>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    let watched = Arc::downgrade(&cache.inner);
    let run = move || {
        loop {
            // Dropping the cache unparks it; waking up early does no harm.
            thread::park_timeout(interval);
            let Some(inner) = watched.upgrade() else { return };
            // A drop that panics must not end the maintenance.
            forget_panic(catch_unwind(AssertUnwindSafe(|| inner.run_maintenance())));
        }
    };
    let thread = thread::Builder::new().name("larder-maintenance".to_owned()).spawn(run)?;
    let _ = cache.inner.maintainer.set(thread.thread().clone());
    Ok(())
}

impl<K, V, P: fmt::Debug, S> fmt::Debug for Builder<K, V, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .field("weigher", &self.weigher.is_some())
            .field("rules", &self.rules)
            .field("policy", &self.policy)
            .field("stripes", &self.stripes)
            .field("initial_capacity", &self.initial_capacity)
            .field("listener", &self.listener.is_some())
            .field("tags", &self.tagger.is_some())
            .field("stats", &self.stats)
            .field("clock", &self.clock)
            .field("maintenance_thread", &self.maintenance)
            .finish_non_exhaustive()
    }
}
