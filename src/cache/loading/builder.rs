//! The options of a loading cache.

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    pin::Pin,
    time::Duration,
};

use super::{
    LoadingCache, Shared,
    behind::{Behind, Queueing},
    kept::{Grace, Kept},
    limit::{Limit, WhenFull},
    loader::Loader,
};
use crate::{
    cache::{BuildError, Builder, builder::LONG},
    policy::{Adaptive, Policy},
    sync::Arc,
    time::nanos,
};

/// Runs a load to its end somewhere.
pub(super) type Spawner = dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync;

/// How often failing loads are repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// Nanoseconds.
    pub(super) first: u64,
    /// Nanoseconds.
    pub(super) most: u64,
}

/// Nanoseconds between two attempts to reload a value that is still served, where no back-off is
/// asked for.
const RETRY: u64 = 1_000_000_000;

/// What a loading cache was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// Nanoseconds, like all times here.
    pub(super) time_to_live: Option<u64>,
    pub(super) negative_ttl: Option<Duration>,
    pub(super) negative_weight: u64,
    pub(super) backoff: Option<Backoff>,
    pub(super) refresh_after: Option<u64>,
    pub(super) grace: Grace,
    /// The factor of the XFetch rule; 0 for none.
    pub(super) early: f64,
    pub(super) timeout: Option<u64>,
}

impl Options {
    /// Whether nothing is due so soon that the coarse clock would seldom do.
    pub(super) fn is_coarse(&self) -> bool {
        let [lives, refreshed] = [self.time_to_live, self.refresh_after];
        (LONG..u64::MAX).contains(&lives.unwrap_or(u64::MAX).min(refreshed.unwrap_or(u64::MAX)))
    }

    /// Whether values are loaded anew before they must be, for which it counts how long that takes.
    pub(super) fn is_early(&self) -> bool {
        self.early > 0.0
    }

    /// How long to wait before the next attempt after so many failures in a row, before jitter.
    pub(super) fn delay(&self, failures: u32) -> u64 {
        self.backoff.map_or(RETRY, |backoff| backoff.delay(failures))
    }
}

impl Backoff {
    /// The same.
    pub(super) fn delay(self, failures: u32) -> u64 {
        self.first.saturating_mul(1 << failures.saturating_sub(1).min(40)).min(self.most)
    }
}

/// The options of a [`LoadingCache`]; see [`Builder::loader`].
///
/// ```
/// use larder::{Cache, loader};
/// use std::time::Duration;
///
/// # fn query(id: u64) -> Result<Option<String>, std::io::Error> { Ok((id == 7).then(|| "Ada".into())) }
/// let users = Cache::<u64, String>::builder()
///     .capacity(10_000)
///     .time_to_live(Duration::from_secs(60))
///     .loader(loader::blocking(|id: &u64| query(*id)))
///     .negative_ttl(Duration::from_secs(5))
///     .refresh_after(Duration::from_secs(45))
///     .stale_if_error(Duration::from_secs(600))
///     .error_backoff(Duration::from_millis(100), Duration::from_secs(10))
///     .build();
/// assert_eq!(users.get(&7).unwrap(), "Ada");
/// assert!(users.get(&8).is_err());
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct LoadingBuilder<K, V, L, P = Adaptive, S = ahash::RandomState> {
    builder: Builder<K, V, P, S>,
    loader: L,
    options: Options,
    limit: Option<(usize, WhenFull)>,
    spawner: Option<Box<Spawner>>,
    queueing: Queueing,
}

/// What is known of the queue of writes unless it is told otherwise.
const QUEUEING: Queueing =
    Queueing { most: 1024, batch: 64, retry: Backoff { first: 100_000_000, most: 10_000_000_000 } };

impl<K, V, P, S> Builder<K, V, P, S> {
    /// Gives the cache a loader that it calls for keys it does not have: see [`LoadingCache`]. The
    /// options of the cache come before this, those of loading after it.
    pub fn loader<L: Loader<K, V>>(self, loader: L) -> LoadingBuilder<K, V, L, P, S> {
        let options = Options { negative_weight: 1, ..Options::default() };
        LoadingBuilder {
            builder: self,
            loader,
            options,
            limit: None,
            spawner: None,
            queueing: QUEUEING,
        }
    }
}

impl<K, V, L, P, S> LoadingBuilder<K, V, L, P, S> {
    /// Remembers for that long that the loader found nothing, whatever the time to live of values is
    /// (but no longer than a time to idle allows), unless it says for how long itself
    /// ([`Loaded::with_ttl`](super::loader::Loaded::with_ttl)). By default it is asked again each time. See
    /// [`negative_weight`](Self::negative_weight).
    pub fn negative_ttl(mut self, time_to_live: Duration) -> Self {
        self.options.negative_ttl = Some(time_to_live);
        self
    }

    /// What a key weighs under which there is no value but that nothing was found, or that loading
    /// failed: 1 by default, and always where there is no weigher. Where it counts bytes say what such an entry takes, key included,
    /// or a great many of them will count for almost nothing.
    pub fn negative_weight(mut self, weight: u64) -> Self {
        self.options.negative_weight = weight;
        self
    }

    /// Remembers errors, panics and time-outs of the loader, and answers with them instead of loading
    /// again: for `first` after the first failure, twice as long after each further one, at most
    /// `most`; each time up to a quarter less, at random, so that keys that failed together are not
    /// tried again together. The time to live of values does not matter to this; a time to idle does.
    ///
    /// A value that is within its time to live, or no further past it than
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) or
    /// [`stale_if_error`](Self::stale_if_error) allows, goes on being served instead of an error, and is
    /// tried again at these intervals. Once it is of no use any more its failures are forgotten with it, and
    /// the intervals begin anew. Those of a key without a value are forgotten if it is not tried again
    /// within `most` after it may be.
    ///
    /// Without this no error is remembered, except that a value which is served because its reload
    /// failed is tried again once a second.
    pub fn error_backoff(mut self, first: Duration, most: Duration) -> Self {
        self.options.backoff = Some(Backoff { first: nanos(first), most: nanos(most) });
        self
    }

    /// Loads a value anew, in the background, when it is asked for and is older than that. Until the
    /// new value is there the old one is served. If there is no [`spawner`](Self::spawner), the first
    /// caller who comes after that time does the loading, and waits for it. An age that no value reaches
    /// within its time to live has no effect.
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.options.refresh_after = Some(nanos(age));
        self
    }

    /// Serves a value for that long past its time to live, while it is loaded anew as with
    /// [`refresh_after`](Self::refresh_after), and if that fails. Without a time to live, the cache's or
    /// [the value's](super::loader::Loaded::with_ttl), this, the next and early refreshing have no effect.
    pub fn stale_while_revalidate(mut self, grace: Duration) -> Self {
        self.options.grace.revalidate = nanos(grace);
        self
    }

    /// Serves a value for that long past its time to live if loading it anew fails.
    pub fn stale_if_error(mut self, grace: Duration) -> Self {
        self.options.grace.error = nanos(grace);
        self
    }

    /// Loads a value anew before its time to live is over, sometimes: the sooner that is and the
    /// longer the value took to load, the more probably, so that of many callers one is early enough
    /// and none has to wait. `beta` is 1 usually; more is earlier. As with
    /// [`refresh_after`](Self::refresh_after) the old value is served meanwhile.
    ///
    /// This is the XFetch rule of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache
    /// Stampede Prevention" (VLDB 2015), with the time the last load took as its delta.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.options.early = beta;
        self
    }

    /// Gives up loads that take longer. It is noticed by whoever drives the load; a thread of the
    /// library, there only while loads wait, and a moment longer, wakes that task. A loader that blocks cannot be
    /// given up.
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(nanos(timeout));
        self
    }

    /// How many loads may be under way at once, and what happens to further ones. Bulk loads count
    /// once. Loads that a loader asks for itself, even by way of other caches, do not count: they could
    /// wait for their own. Without a
    /// [`spawner`](Self::spawner) a load goes on only while somebody who waits for it is polled, and
    /// holds its place until then.
    pub fn max_loads(mut self, loads: usize, when_full: WhenFull) -> Self {
        self.limit = Some((loads, when_full));
        self
    }

    /// How many keys may wait for being written by [`put_behind`](LoadingCache::put_behind), 1024 by
    /// default, and how many are written at once, 64 by default.
    pub fn write_queue(mut self, most: usize, batch: usize) -> Self {
        self.queueing = Queueing { most, batch, ..self.queueing };
        self
    }

    /// How long to wait before writes that the store refused are sent again: `first` (a tenth of a
    /// second by default), doubled each further time, at most `most` (ten seconds by default), less up
    /// to a quarter at random.
    pub fn write_retry(mut self, first: Duration, most: Duration) -> Self {
        self.queueing.retry = Backoff { first: nanos(first), most: nanos(most) };
        self
    }

    pub(super) fn map_loader<M>(self, map: impl FnOnce(L) -> M) -> LoadingBuilder<K, V, M, P, S> {
        LoadingBuilder {
            builder: self.builder,
            loader: map(self.loader),
            options: self.options,
            limit: self.limit,
            spawner: self.spawner,
            queueing: self.queueing,
        }
    }

    /// Where loads are run, such as `|load| drop(tokio::spawn(load))`. Then every load runs to its
    /// end, even if nobody waits for it any longer, and old values are refreshed in the background.
    ///
    /// Without it those who wait drive the load, and it is dropped when the last of them is.
    pub fn spawner(
        mut self,
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        self.spawner = Some(Box::new(spawn));
        self
    }
}

impl<K, V, L, P, S> LoadingBuilder<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds the cache.
    ///
    /// # Panics
    /// If [`try_build`](Self::try_build) would fail, with its message.
    #[must_use]
    pub fn build(self) -> LoadingCache<K, V, L, P, S> {
        match self.try_build() {
            Ok(cache) => cache,
            Err(error) => panic!("cannot build the cache: {error}"),
        }
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// If an option is missing or out of range: the message says what to change.
    pub fn try_build(self) -> Result<LoadingCache<K, V, L, P, S>, BuildError> {
        let Self { mut builder, loader, mut options, limit, spawner, queueing } = self;
        if !(options.early.is_finite() && options.early >= 0.0) {
            return Err(BuildError::EarlyRefresh);
        }
        if limit.is_some_and(|(loads, _)| loads == 0) {
            return Err(BuildError::NoLoads);
        }
        if queueing.most == 0 || queueing.batch == 0 {
            return Err(BuildError::NoQueue);
        }
        let expiry = builder.take_expiry();
        if expiry.as_ref().is_some_and(|expiry| expiry.watches_reads()) {
            return Err(BuildError::WatchesReads);
        }
        let grace = options.grace.longest();
        options.time_to_live = builder.prolong_time_to_live(grace);
        let weight = options.negative_weight;
        let cache = builder.wrap(Kept::<V, L::Error>::value, weight).try_build()?;
        let shared = Shared {
            cache,
            loader,
            options,
            expiry,
            limit: limit.map(|(loads, when_full)| Limit::new(loads, when_full)),
            behind: Arc::new(Behind::new(queueing)),
            spawner,
        };
        Ok(LoadingCache { shared: Arc::new(shared) })
    }
}

impl<K, V, L, P, S> fmt::Debug for LoadingBuilder<K, V, L, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}
