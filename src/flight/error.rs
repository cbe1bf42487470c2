//! Why a load gave no value.

use std::{error::Error, fmt};

use crate::sync::Arc;

/// Why a load gave no value.
///
/// `E` is the loader's own error. It is shared by all who waited for the load, so it comes in an
/// `Arc`: few errors can be cloned, and those that can are often costly to.
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed with this.
    Failed(Arc<E>),
    /// The loader says that there is nothing under this key.
    NotFound,
    /// The load panicked. (Whoever ran a closure of its own gets the panic itself.)
    Panicked,
    /// The load, or the wait for it, took longer than it may.
    TimedOut,
    /// More loads were under way than there may be.
    Overloaded,
    /// Waiting would never end: the key is being loaded, or its entry held, by this very thread; or by a
    /// load or an `entry` closure that waits for the one that asks, itself or by way of others, on whatever
    /// threads and in whatever caches.
    ///
    /// Of the loads in such a circle the one that would close it is told; what the others get is up to
    /// what that makes of it. A load waits for another if it calls the cache and blocks, or if its own
    /// future polls that of the cache (also beside others, of which one might be ready first). It is not
    /// seen to wait where a task does that it has spawned, or a runtime that its closure blocks on, nor
    /// where somebody holds an [`Entry`](crate::Entry); and nobody is told whose waiting has an end, as
    /// that of [`try_get_or_insert_within`](crate::Cache::try_get_or_insert_within).
    Reentrant,
}

impl<E> LoadError<E> {
    /// The loader's own error, if that is what it is.
    #[must_use]
    pub fn failure(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The same, taken out: shared with all who waited for that load.
    #[must_use]
    pub fn into_failure(self) -> Option<Arc<E>> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Its name in small letters, as in traces.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::NotFound => "not_found",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
            Self::Reentrant => "reentrant",
        }
    }

    const fn what(&self) -> &'static str {
        match self {
            Self::Failed(_) => "the load failed",
            Self::NotFound => "there is nothing under this key",
            Self::Panicked => "the load panicked",
            Self::TimedOut => "the load took too long",
            Self::Overloaded => "too many loads are under way",
            Self::Reentrant => {
                "the key is being computed by this very thread, or by code that waits for what this \
                 one computes: a loader or an `entry` closure asked for its own key, itself or by way \
                 of others, or code that holds an `Entry` for that; finish the first one before"
            }
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::NotFound => Self::NotFound,
            Self::Panicked => Self::Panicked,
            Self::TimedOut => Self::TimedOut,
            Self::Overloaded => Self::Overloaded,
            Self::Reentrant => Self::Reentrant,
        }
    }
}

/// Failures are equal if their errors are.
impl<E: PartialEq> PartialEq for LoadError<E> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(one), Self::Failed(other)) => one == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

impl<E: Eq> Eq for LoadError<E> {}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::NotFound => f.write_str("NotFound"),
            Self::Panicked => f.write_str("Panicked"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Overloaded => f.write_str("Overloaded"),
            Self::Reentrant => f.write_str("Reentrant"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{}: {error}", self.what()),
            other => f.write_str(other.what()),
        }
    }
}

/// What a failure prints includes the loader's error, so its source is that error's.
impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}
