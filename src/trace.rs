//! What the feature `tracing` tells; without it nothing, at no cost.
//!
//! Spans are made and entered by whoever leads a flight, so a load is one span, wherever and in
//! however many steps it runs. Keys are not told: they may be secret, and need not be printable. A
//! loader that wants them told opens a span of its own, inside.

#[cfg(feature = "tracing")]
pub(crate) use told::*;
#[cfg(not(feature = "tracing"))]
pub(crate) use untold::*;

#[cfg(feature = "tracing")]
mod told {
    use tracing::{Level, Span, debug_span, enabled, field::Empty, trace};

    use crate::Removal;

    /// A load's span.
    #[derive(Debug)]
    pub(crate) struct LoadSpan(Span);

    /// While it lives, this thread is within the span.
    pub(crate) type Within<'a> = tracing::span::Entered<'a>;

    impl LoadSpan {
        /// No load yet.
        #[inline]
        pub(crate) fn none() -> Self {
            Self(Span::none())
        }

        pub(crate) fn load(cache: &str) -> Self {
            Self(debug_span!(target: "larder", "load", cache, outcome = Empty, waiters = Empty))
        }

        pub(crate) fn load_many(cache: &str, keys: usize) -> Self {
            Self(debug_span!(target: "larder", "load_many", cache, keys))
        }

        pub(crate) fn enter(&self) -> Within<'_> {
            self.0.enter()
        }

        pub(crate) fn outcome(&self, outcome: &'static str) {
            self.0.record("outcome", outcome);
        }

        pub(crate) fn waiters(&self, waiters: impl FnOnce() -> usize) {
            if !self.0.is_disabled() {
                self.0.record("waiters", waiters());
            }
        }
    }

    /// Whether anybody may want to be told of removals.
    pub(crate) fn hears_removals() -> bool {
        enabled!(target: "larder", Level::TRACE)
    }

    #[inline]
    pub(crate) fn removal(cache: &str, removal: Removal) {
        let Removal { cause, weight, version } = removal;
        trace!(target: "larder", cache, cause = cause.as_str(), weight, version, "removal");
    }
}

#[cfg(not(feature = "tracing"))]
mod untold {
    #[derive(Debug)]
    pub(crate) struct LoadSpan;

    pub(crate) struct Within<'a>(std::marker::PhantomData<&'a ()>);

    #[allow(clippy::unused_self, reason = "they stand for those that tell")]
    impl LoadSpan {
        #[inline]
        pub(crate) fn none() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn load(_cache: &str) -> Self {
            Self
        }

        #[inline]
        pub(crate) fn load_many(_cache: &str, _keys: usize) -> Self {
            Self
        }

        #[inline]
        pub(crate) fn enter(&self) -> Within<'_> {
            Within(std::marker::PhantomData)
        }

        #[inline]
        pub(crate) fn outcome(&self, _outcome: &'static str) {}

        #[inline]
        pub(crate) fn waiters(&self, _waiters: impl FnOnce() -> usize) {}
    }

    pub(crate) const fn hears_removals() -> bool {
        false
    }

    #[inline]
    pub(crate) fn removal(_cache: &str, _removal: crate::Removal) {}
}
