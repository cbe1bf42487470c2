//! Why an entry left.

/// Why an entry left the cache, as told to the removal listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its time to live or time to idle had run out.
    Expired,
    /// The user removed it: `remove`, `retain`, `clear`, a tag, an entry closure.
    Explicit,
    /// A newer value took its place.
    Replaced,
    /// It was evicted to make room.
    Size,
    /// It was a newcomer and was not admitted: the policy preferred the residents, or it is
    /// heavier than the whole capacity.
    Rejected,
}
