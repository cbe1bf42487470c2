//! The only weight counter of a cache: what is used of its capacity.

use crate::sync::{AtomicU64, Ordering};

/// The capacity of a cache and what is reserved of it.
///
/// Room is reserved before an entry becomes visible and released after it has left, so the sum of
/// all visible entries' weights never exceeds `used`, and `used` never exceeds the capacity.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Where reservations stop.
    target: AtomicU64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) fn new(capacity: u64) -> Self {
        Self { target: AtomicU64::new(capacity), used: AtomicU64::new(0) }
    }

    /// The capacity that holds for new entries. To be read under a stripe's lock by whoever acts upon it.
    #[inline]
    pub(crate) fn target(&self) -> u64 {
        // Relaxed: see `set_target`.
        self.target.load(Ordering::Relaxed)
    }

    /// The bound that no weight exceeds: the target, or, while a smaller one is being reached, what
    /// is still used.
    pub(crate) fn bound(&self) -> u64 {
        self.target().max(self.used())
    }

    /// What is used or reserved.
    #[inline]
    pub(crate) fn used(&self) -> u64 {
        // Relaxed: a counter; it publishes nothing.
        self.used.load(Ordering::Relaxed)
    }

    /// Reservations stop at `capacity` once every stripe's lock was taken after this: who holds one either
    /// sees the new target, or has reserved by then.
    pub(crate) fn set_target(&self, capacity: u64) {
        // Relaxed: the stripes' locks publish it.
        self.target.store(capacity, Ordering::Relaxed);
    }

    /// Reserves as much of `weight` as there is room for; answers how much. Under a stripe's lock.
    pub(crate) fn reserve_some(&self, weight: u64) -> u64 {
        let target = self.target();
        let mut taken = 0;
        // A full cache, which is the usual case, is only read here, never written.
        let some = |used: u64| {
            taken = target.saturating_sub(used).min(weight);
            (taken > 0).then(|| used + taken)
        };
        // Relaxed (both): a counter; the stripes' locks order it and the target.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, some);
        taken
    }

    /// Gives back what was reserved.
    #[inline]
    pub(crate) fn release(&self, weight: u64) {
        if weight != 0 {
            // Relaxed: a counter.
            let before = self.used.fetch_sub(weight, Ordering::Relaxed);
            debug_assert!(before >= weight, "released more than was reserved");
        }
    }

    /// How much must go before the target is reached.
    #[inline]
    pub(crate) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.target())
    }
}
