//! The byte of policy state that lies beside an entry.

use crate::sync::{AtomicU8, Ordering};

/// A byte of policy state beside an entry, in the cache line that a hit touches anyway.
///
/// The policy gives it its meaning: a visited bit, a small counter. It is 0 when an entry comes
/// in. Writers may race; a lost update is harmless by contract, so all accesses are relaxed.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Mark(AtomicU8);

impl Mark {
    /// A mark of value 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> u8 {
        // Relaxed: a mark publishes nothing.
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the value.
    #[inline]
    pub fn set(&self, value: u8) {
        // Relaxed: a mark publishes nothing.
        self.0.store(value, Ordering::Relaxed);
    }
}
