//! What a loading cache keeps of a key: a value, or what it knows instead, and when to look again.

use crate::LoadError;

/// The end of time.
pub(super) const NEVER: u64 = u64::MAX;

/// What is kept of a key. Times are in nanoseconds of the cache's clock.
#[derive(Debug)]
pub(crate) struct Kept<V, E> {
    pub(super) what: What<V, E>,
    /// When a reload is next due.
    pub(super) reload_at: u64,
    /// Until when a value is fresh.
    pub(super) fresh_until: u64,
    /// How long it took to load.
    pub(super) cost: u64,
    /// How often loading failed since it last did not.
    pub(super) failures: u32,
}

#[derive(Debug)]
pub(super) enum What<V, E> {
    Value(V),
    NotFound,
    Failed(LoadError<E>),
}

// Errors are shared, so they need not be `Clone`.
impl<V: Clone, E> Clone for Kept<V, E> {
    fn clone(&self) -> Self {
        Self { what: self.what.clone(), ..*self }
    }
}

impl<V: Clone, E> Clone for What<V, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(value) => Self::Value(value.clone()),
            Self::NotFound => Self::NotFound,
            Self::Failed(error) => Self::Failed(error.clone()),
        }
    }
}

impl<V, E> Kept<V, E> {
    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<&V> {
        match &self.what {
            What::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if that need not be loaded anew at any time.
    pub(super) fn good_for_ever(&self) -> Option<&V> {
        self.value().filter(|_| self.reload_at == NEVER)
    }

    pub(super) fn into_value(self) -> Option<V> {
        match self.what {
            What::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Whether no load or write came between the two.
    pub(super) fn is_as_old_as(&self, other: &Self) -> bool {
        let times = |kept: &Self| (kept.reload_at, kept.fresh_until, kept.failures);
        times(self) == times(other)
    }

    /// What a caller gets to see of it.
    pub(super) fn into_result(self) -> Result<V, LoadError<E>> {
        match self.what {
            What::Value(value) => Ok(value),
            What::NotFound => Err(LoadError::NotFound),
            What::Failed(error) => Err(error),
        }
    }
}

/// What to do with what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is good.
    Serve,
    /// It is good, but should be loaded anew.
    ServeAndReload,
    /// It must be loaded anew first.
    Reload,
}

/// For how long values past their time are still of use, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grace {
    /// While they are loaded anew.
    pub(super) revalidate: u64,
    /// If loading fails.
    pub(super) error: u64,
}

impl Grace {
    /// For how long values are kept past their time.
    pub(super) fn longest(self) -> u64 {
        self.revalidate.max(self.error)
    }
}

impl<V, E> Kept<V, E> {
    /// What to do with it at the time `now`, when a value that will run out within `early` should be
    /// loaded anew already.
    pub(super) fn judge(&self, now: u64, early: u64, grace: Grace) -> Verdict {
        let is_early = early > 0 && now.saturating_add(early) >= self.fresh_until;
        if now < self.reload_at && !(is_early && now < self.fresh_until && self.failures == 0) {
            return Verdict::Serve;
        }
        let is_value = matches!(self.what, What::Value(_));
        if is_value && now < self.fresh_until.saturating_add(grace.revalidate) {
            return Verdict::ServeAndReload;
        }
        Verdict::Reload
    }
}
