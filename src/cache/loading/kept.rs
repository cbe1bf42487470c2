//! What a loading cache keeps of a key: a value, or what it knows instead, and when to look again.

use super::dates::{Fresh, Reload};
use crate::{LoadError, sync::Arc};

/// What is kept of a key. Times are in nanoseconds of the cache's clock.
#[derive(Debug)]
pub(crate) enum Kept<V, E> {
    Value {
        value: V,
        reload: Reload,
        fresh: Fresh,
    },
    /// It is known until then that there is none.
    NotFound {
        until: u64,
    },
    // Elsewhere, so that it takes no more than a value, and shared, so that asking allocates nothing.
    Failed(Arc<Failure<E>>),
}

/// Why loading failed, how often so far, and until when that is the answer.
#[derive(Debug)]
pub(crate) struct Failure<E> {
    error: LoadError<E>,
    failures: u32,
    until: u64,
}

// Errors are shared, so they need not be `Clone`.
impl<V: Clone, E> Clone for Kept<V, E> {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            &Self::Value { ref value, reload, fresh } => {
                Self::Value { value: value.clone(), reload, fresh }
            }
            &Self::NotFound { until } => Self::NotFound { until },
            Self::Failed(failure) => Self::Failed(Arc::clone(failure)),
        }
    }
}

impl<V, E> Kept<V, E> {
    /// A value that took so many nanoseconds to load.
    pub(super) fn of(value: V, reload_at: u64, fresh_until: u64, cost: u64) -> Self {
        let (reload, fresh) = (Reload::new(reload_at, 0), Fresh::new(fresh_until, cost));
        Self::Value { value, reload, fresh }
    }

    /// A value that need not be loaded anew.
    pub(super) fn for_ever(value: V) -> Self {
        Self::Value { value, reload: Reload::NEVER, fresh: Fresh::FOR_EVER }
    }

    /// Why loading failed, which it did that often; to be answered until then.
    pub(super) fn failed(error: LoadError<E>, failures: u32, until: u64) -> Self {
        Self::Failed(Arc::new(Failure { error, failures, until }))
    }

    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<&V> {
        match self {
            Self::Value { value, .. } => Some(value),
            _ => None,
        }
    }

    pub(super) fn into_value(self) -> Option<V> {
        match self {
            Self::Value { value, .. } => Some(value),
            _ => None,
        }
    }

    /// What a caller gets to see of it.
    pub(super) fn into_result(self) -> Result<V, LoadError<E>> {
        match self {
            Self::Value { value, .. } => Ok(value),
            Self::NotFound { .. } => Err(LoadError::NotFound),
            Self::Failed(failure) => Err(failure.error.clone()),
        }
    }

    /// Whether it is a value that need not be loaded anew at any time.
    pub(super) fn is_good_for_ever(&self) -> bool {
        matches!(self, Self::Value { reload, .. } if reload.is_never())
    }

    /// Until when a value is fresh; `None` if there is none.
    pub(super) fn fresh_until(&self) -> Option<u64> {
        match self {
            Self::Value { fresh, .. } => Some(fresh.until()),
            _ => None,
        }
    }

    /// How long a value took to load, so many times.
    fn early(&self, times: f64) -> u64 {
        match self {
            Self::Value { fresh, .. } => (fresh.cost() as f64 * times) as u64,
            _ => 0,
        }
    }

    /// How often loading failed since it last did not.
    pub(super) fn failures(&self) -> u32 {
        match self {
            Self::Value { reload, .. } => reload.failures(),
            Self::NotFound { .. } => 0,
            Self::Failed(failure) => failure.failures,
        }
    }

    /// Notes of a value that loading it anew failed so often, and is to be tried again then.
    pub(super) fn put_off(&mut self, failures: u32, until: u64) {
        if let Self::Value { reload, .. } = self {
            *reload = Reload::new(until, failures);
        }
    }

    /// Takes over when a value is to be loaded anew, and after how many failures.
    pub(super) fn put_off_like(&mut self, other: &Self) {
        if let (Self::Value { reload, .. }, Self::Value { reload: other, .. }) = (self, other) {
            *reload = *other;
        }
    }

    /// Whether both are values, and no load or write came between the two.
    pub(super) fn is_as_old_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value { reload, fresh, .. }, Self::Value { reload: also, fresh: until, .. }) => {
                reload == also && fresh.until() == until.until()
            }
            _ => false,
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
    /// The value, if it need not be loaded anew at `latest` or before, even at the luck of the draw where it
    /// may be up to `earliness` times its cost too early.
    #[inline]
    pub(super) fn good_until(&self, latest: u64, earliness: f64) -> Option<&V> {
        let Self::Value { value, reload, fresh } = self else { return None };
        let is_early =
            || earliness > 0.0 && latest.saturating_add(self.early(earliness)) >= fresh.until();
        (reload.is_never() || latest < reload.at() && !is_early()).then_some(value)
    }

    /// What to do with it at the time `now`, when a value that will run out within `earliness` times its
    /// cost should be loaded anew already.
    pub(super) fn judge(&self, now: u64, earliness: f64, grace: Grace) -> Verdict {
        match self {
            Self::Value { reload, fresh, .. } => {
                let (early, fresh_until) = (self.early(earliness), fresh.until());
                let is_early = early > 0
                    && now < fresh_until
                    && now.saturating_add(early) >= fresh_until
                    && reload.failures() == 0;
                if reload.is_never() || now < reload.at() && !is_early {
                    Verdict::Serve
                } else if now < fresh_until.saturating_add(grace.revalidate) {
                    Verdict::ServeAndReload
                } else {
                    Verdict::Reload
                }
            }
            Self::NotFound { until } if now < *until => Verdict::Serve,
            Self::Failed(failure) if now < failure.until => Verdict::Serve,
            _ => Verdict::Reload,
        }
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::Kept;

    #[test]
    fn what_is_kept_of_a_number_takes_sixteen_bytes_more() {
        assert_eq!(size_of::<Kept<u64, std::io::Error>>(), size_of::<u64>() + 16);
        assert_eq!(
            size_of::<Kept<std::sync::Arc<str>, ()>>(),
            size_of::<std::sync::Arc<str>>() + 16
        );
    }
}
