//! What all stripes of a cache share: its options, its budget, its clock.

use crate::{
    Removal, RemovalCause,
    budget::Budget,
    expiry::{Rules, hint::Scale},
    hash::Sampled,
    outbox::Listener,
    stats::{Counters, Event},
    sync::{Arc, AtomicBool, AtomicU64, Ordering},
    tags::Tagger,
    time::{Clock, Tick},
    trace,
};

/// The user's weigher.
pub(crate) type Weigher<K, V> = dyn Fn(&K, &V) -> u64 + Send + Sync;

/// A cache's options and its shared state.
pub(crate) struct Context<K, V, S> {
    /// What the cache is called where it is observed.
    pub(crate) name: Arc<str>,
    pub(crate) hasher: S,
    pub(crate) budget: Budget,
    /// How many stripes share the budget: a power of two.
    pub(crate) stripes: usize,
    pub(crate) weigher: Option<Box<Weigher<K, V>>>,
    pub(crate) listener: Option<Box<Listener<K, V>>>,
    pub(crate) counters: Option<Counters>,
    #[cfg(feature = "record")]
    pub(crate) recorder: Option<crate::record::Recorder>,
    pub(crate) rules: Rules<K, V>,
    pub(crate) tagger: Option<Tagger<K, V>>,
    pub(crate) clock: Clock,
    /// How expiry hints divide the time.
    pub(crate) scale: Scale,
    /// Whether stripes keep nothing of their entries that a new value changes: no weigher, no
    /// listener, no tags.
    pub(crate) is_plain: bool,
    /// Whether a value of the same weight can take another's place without the stripe's knowledge: no
    /// listener, no tags.
    pub(crate) is_swappable: bool,
    /// Whether somebody wants to know what left: a listener or the counters.
    pub(crate) is_heard: bool,
    /// Whether nothing is kept of an entry, and nobody told, when it leaves: plain and not heard.
    pub(crate) is_silent: bool,
    /// Whether any entry can expire: then every operation reads the clock.
    pub(crate) timed: AtomicBool,
    /// Whether all configured lifetimes are so long that some milliseconds do not matter.
    pub(crate) is_coarse: bool,
    /// Which look-ups must do more than look up and count.
    pub(crate) special: Special,
    /// The tick from which some stripe wants maintenance: never, unless the cache is timed or a
    /// tag was removed.
    pub(crate) due: AtomicU64,
}

/// Of which hashes a look-up must do more than look up and count: all where it has to read the clock
/// or see to tags, those sampled where they are recorded, else none (but one, which does no harm). So
/// that is one question on every hit.
#[derive(Debug)]
pub(crate) struct Special {
    factor: u64,
    limit: AtomicU64,
}

impl Special {
    pub(crate) fn new(are_all: bool) -> Self {
        Self { factor: 1, limit: AtomicU64::new(if are_all { u64::MAX } else { 0 }) }
    }

    /// Adds those sampled.
    #[cfg(feature = "record")]
    pub(crate) fn add(&mut self, sampled: Sampled) {
        // Relaxed (both): exclusive.
        let limit = self.limit.load(Ordering::Relaxed).max(sampled.limit);
        *self = Self { factor: sampled.factor, limit: AtomicU64::new(limit) };
    }

    fn make_all(&self) {
        // Relaxed: set before the first entry for which it matters is published.
        self.limit.store(u64::MAX, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn contains(&self, hash: u64) -> bool {
        // Relaxed: see `make_all`.
        Sampled { factor: self.factor, limit: self.limit.load(Ordering::Relaxed) }.contains(hash)
    }
}

impl<K, V, S> Context<K, V, S> {
    /// The time in nanoseconds; 0 where nothing expires, so that no clock is read.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        if self.is_timed() { self.clock.now() } else { 0 }
    }

    /// Whether any entry may have a deadline.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        // Relaxed: set before the first entry with a deadline is published.
        self.timed.load(Ordering::Relaxed)
    }

    /// Whether entries may have a hint other than that they live for ever.
    pub(crate) fn has_hints(&self) -> bool {
        self.is_timed() || self.tagger.is_some()
    }

    /// The time of a use, as the stripe's `use_alive` wants it: it looks at the exact clock itself
    /// where that matters to a deadline, but not for the time to idle.
    #[inline]
    pub(crate) fn time_of_use(&self) -> u64 {
        if !self.is_timed() {
            0
        } else if self.is_coarse || self.rules.time_to_idle.is_none() {
            self.clock.coarse()
        } else {
            self.clock.now()
        }
    }

    /// The time of a write by which its deadline is counted.
    #[inline]
    pub(crate) fn time_of_write(&self) -> u64 {
        if self.is_coarse { self.clock.coarse() } else { self.clock.now() }
    }

    /// From now on entries may have deadlines.
    pub(crate) fn make_timed(&self) {
        if !self.is_timed() {
            // Relaxed: see `is_timed`.
            self.timed.store(true, Ordering::Relaxed);
            self.special.make_all();
        }
    }

    /// Whether some stripe wants maintenance.
    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        // Relaxed: seen soon enough.
        Tick::of(now).0 >= self.due.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn count(&self, event: Event) {
        if let Some(counters) = &self.counters {
            counters.count(event);
        }
    }

    /// Whether this thread can count with [`count_here`](Self::count_here), or need not count.
    #[inline]
    pub(crate) fn can_count_here(&self) -> bool {
        self.counters.is_none() || Counters::has_cell()
    }

    /// [`count`](Self::count) where that [can be](Self::can_count_here) without a call.
    #[inline]
    pub(crate) fn count_here(&self, event: Event) {
        if let Some(counters) = &self.counters {
            counters.count_here(event);
        }
    }

    /// Records a look-up, if that is wanted.
    #[inline]
    pub(crate) fn record_look(&self, hash: u64, is_found: bool) {
        #[cfg(feature = "record")]
        if let Some(recorder) = &self.recorder {
            use crate::record::What;
            let what = if is_found { What::Hit } else { What::Miss };
            recorder.access(&self.clock, hash, what);
        }
        #[cfg(not(feature = "record"))]
        let _ = (hash, is_found);
    }

    /// Records a write, if that is wanted.
    #[inline]
    pub(crate) fn record_write(&self, hash: u64, weight: u64) {
        #[cfg(feature = "record")]
        if let Some(recorder) = &self.recorder {
            recorder.access(&self.clock, hash, crate::record::What::Write(weight));
        }
        #[cfg(not(feature = "record"))]
        let _ = (hash, weight);
    }

    /// Counts an entry that left, and tells who traces.
    #[inline]
    pub(crate) fn left(&self, removal: Removal) {
        if let Some(counters) = &self.counters {
            counters.removal(removal.cause, removal.weight);
        }
        trace::removal(&self.name, removal);
    }

    /// The same for a value that was replaced in place, counted as an update too.
    #[inline]
    pub(crate) fn updated(&self, weight: u64) {
        if let Some(counters) = &self.counters {
            counters.update(weight);
        }
        trace::removal(&self.name, Removal { cause: RemovalCause::Replaced, version: 0, weight });
    }

    /// The same for an entry of weight 1 that was evicted for another, counted as an insertion too.
    #[inline]
    pub(crate) fn exchanged(&self) {
        self.count(Event::Exchange);
        trace::removal(&self.name, Removal { cause: RemovalCause::Size, version: 0, weight: 1 });
    }

    /// A stripe's fair share of the capacity, at least 1.
    pub(crate) fn share(&self) -> u64 {
        (self.budget.target() >> self.stripes.trailing_zeros()).max(1)
    }
}

impl<K, V, S> std::fmt::Debug for Context<K, V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("budget", &self.budget)
            .field("stripes", &self.stripes)
            .field("weigher", &self.weigher.is_some())
            .field("listener", &self.listener.is_some())
            .field("rules", &self.rules)
            .field("tags", &self.tagger.is_some())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
