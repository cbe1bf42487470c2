//! What more capacity would be worth.

use super::Cache;
use crate::policy::{Adaptive, Advice};

impl<K, V, S> Cache<K, V, Adaptive, S> {
    /// The hit ratios that the traffic of late would have at half the capacity, at the capacity as it
    /// is, and at twice that, under each setting of the policy.
    ///
    /// They are those of miniature caches fed with a sample of the keys, and so estimates. If the cache
    /// counts ([`Builder::stats`](crate::Builder::stats)), they are fitted to its own hit ratio since
    /// it was built; without that, or [by weight](Adaptive::by_weight), a few very popular keys in the
    /// sample or out of it shift them all by some points, so compare them with each other. Misses count
    /// where a value was stored after them. The first call creates the miniatures of the other sizes,
    /// and answers `None`, as do the next ones until some capacities' worth of accesses have gone by.
    /// From then on the sample costs three times as much time, and about five bytes more an entry. In
    /// caches of up to 65 000 entries the miniatures rest while nothing changes, and the advice stays
    /// as it was.
    ///
    /// ```
    /// let cache = larder::Cache::<u64, u64>::new(1000);
    /// assert!(cache.advise().is_none(), "from now on it is watched");
    /// for i in 0..100_000 {
    ///     cache.get_or_insert_with(&(i * i % 5003), || i);
    /// }
    /// let advice = cache.advise().unwrap();
    /// assert!(advice.half.hit_ratio() < advice.double.hit_ratio());
    /// ```
    #[must_use]
    pub fn advise(&self) -> Option<Advice> {
        let recorder = &self.inner.stripes.first()?.recorder;
        let advice = recorder.advise()?;
        Some(match &self.inner.context.counters {
            // The weight of hits is not counted.
            Some(counters) if recorder.is_for_hits() => {
                advice.anchored(counters.snapshot().hit_ratio())
            }
            _ => advice,
        })
    }
}
