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

    /// The capacity that holds for new entries.
    #[inline]
    pub(crate) fn target(&self) -> u64 {
        // Relaxed: whoever must see a change took part in it, or looks again; see `reserve_some`.
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

    pub(crate) fn set_target(&self, capacity: u64) {
        // SeqCst: pairs with those in `reserve_some` and `excess`.
        self.target.store(capacity, Ordering::SeqCst);
    }

    /// Reserves as much of `weight` as there is room for; answers how much.
    pub(crate) fn reserve_some(&self, weight: u64) -> u64 {
        let target = self.target();
        let mut taken = 0;
        // A full cache, which is the usual case, is only read here, never written.
        let some = |used: u64| {
            taken = target.saturating_sub(used).min(weight);
            (taken > 0).then(|| used + taken)
        };
        // SeqCst: a smaller target is set before `excess` is read, and here `used` is raised before the
        // target is read again, so either this sees the new target or that sees the reservation.
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::Relaxed, some);
        if taken > 0 {
            let target = self.target.load(Ordering::SeqCst);
            let over = self.used().saturating_sub(target).min(taken);
            self.release(over);
            taken -= over;
        }
        taken
    }

    /// Gives back what was reserved.
    #[inline]
    pub(crate) fn release(&self, weight: u64) {
        if weight != 0 {
            // Relaxed: as in `reserve_some`.
            let before = self.used.fetch_sub(weight, Ordering::Relaxed);
            debug_assert!(before >= weight, "released more than was reserved");
        }
    }

    /// How much must go before the target is reached.
    #[inline]
    pub(crate) fn excess(&self) -> u64 {
        // SeqCst: see `reserve_some`.
        self.used.load(Ordering::SeqCst).saturating_sub(self.target())
    }
}
