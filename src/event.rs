//! What is told of an entry that leaves.

use std::fmt;

/// Why an entry left the cache, as told to the removal listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its time to live or time to idle had run out.
    Expired,
    /// The user removed it: `remove`, `retain`, `clear`, a tag, an entry closure.
    Explicit,
    /// A newer value took its place, or would have, but was heavier than the whole capacity.
    Replaced,
    /// It was evicted to make room.
    Size,
    /// It was not admitted: a newcomer to which the policy preferred the residents, or a value that is
    /// heavier than the whole capacity.
    Rejected,
}

/// The number of causes.
pub(crate) const CAUSES: usize = 5;

impl RemovalCause {
    /// Every cause.
    pub const ALL: [Self; CAUSES] =
        [Self::Expired, Self::Explicit, Self::Replaced, Self::Size, Self::Rejected];

    /// Its name in small letters, as in metrics and traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Explicit => "explicit",
            Self::Replaced => "replaced",
            Self::Size => "size",
            Self::Rejected => "rejected",
        }
    }
}

/// The same as [`as_str`](RemovalCause::as_str).
impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an entry left, as told to the removal listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Removal {
    /// Why.
    pub cause: RemovalCause,
    /// The version that the value had: higher than that of every value the key had before. See
    /// [`Cache::version`](crate::Cache::version).
    pub version: u64,
    /// What the entry weighed; 1 without a weigher.
    pub weight: u64,
}

/// An entry on its way out: dropped, and told to the listener, after every lock is released.
#[derive(Debug)]
pub(crate) struct Leaving<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) removal: Removal,
    /// The stripe it came from and its place in that stripe's order of notices.
    pub(crate) ticket: Ticket,
}

/// A place in the order of one stripe's notices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) stripe: usize,
    pub(crate) number: u64,
}

/// The entries that one operation sends out.
pub(crate) type Effects<K, V> = Few<Leaving<K, V>>;

/// A list that is mostly empty or has one element, for which it needs no allocation.
#[derive(Debug)]
pub(crate) struct Few<T> {
    first: Option<T>,
    rest: Vec<T>,
}

impl<T> Few<T> {
    pub(crate) const fn new() -> Self {
        Self { first: None, rest: Vec::new() }
    }

    pub(crate) fn push(&mut self, element: T) {
        if self.is_empty() {
            self.first = Some(element);
        } else {
            self.rest.push(element);
        }
    }

    /// Takes all, those pushed first first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.rest))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    /// Whether there are several.
    #[inline]
    pub(crate) fn is_many(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The element pushed last.
    pub(crate) fn last(&self) -> Option<&T> {
        self.rest.last().or(self.first.as_ref())
    }

    /// Lets go of everything, where nobody wants it and nothing needs dropping.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.first = None;
        if !self.rest.is_empty() {
            self.rest.clear();
        }
    }

    /// Takes the element pushed last.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.rest.pop().or_else(|| self.first.take())
    }
}

impl<T> Extend<T> for Few<T> {
    #[inline]
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        elements.into_iter().for_each(|element| self.push(element));
    }
}
