//! A fast, strict, concurrent in-process cache.
//!
//! ```
//! use larder::Cache;
//!
//! let cache = Cache::new(10_000);
//! cache.insert("ada".to_string(), 36);
//! assert_eq!(cache.get("ada"), Some(36));
//! ```
//!
//! Start with [`Cache`], and [`Cache::builder`] for its options: a weigher, expiry, a removal
//! listener, tags, an eviction [`policy`], a clock for tests. [`design`] tells how it is built.
//!
//! # Features
//! None is on by default.
//! - `metrics` adds `larder::metrics`, which publishes a cache's statistics through the `metrics`
//!   facade, at the time of a scrape.
//! - `tracing` tells a `tracing` subscriber, under the target `larder` and with the cache's
//!   [name](Builder::name), of loads and removals. Each load is a span `load` of level `DEBUG`, which
//!   the loader runs in, with the fields `outcome` (`value`, `stale`, `not_found`, `failed`,
//!   `panicked`, `timed_out`, `abandoned`) and `waiters` (how many waited for it); a bulk
//!   load is one span `load_many` with the field `keys`, and what the
//!   [cap on loads](LoadingBuilder::max_loads) refuses is none. Each removal is an event of level `TRACE`
//!   with its `cause`, `weight` and `version` (0 where none is kept), unless no subscriber wanted
//!   such events when the cache was built. Keys are not told: a loader can open a span of its own.
//! - `record` samples a cache's accesses into a file.

pub mod design;

mod sync;

mod event;
mod panics;
mod slot;
mod threads;
pub mod time;

pub mod policy;

mod expiry;
mod table;
mod tags;

mod budget;
mod flight;
mod hash;
mod key;
mod outbox;
#[cfg(feature = "record")]
pub mod record;
mod stats;
mod trace;

mod context;
mod stripe;

mod cache;

#[cfg(feature = "metrics")]
pub use cache::metrics;
pub use cache::{
    BuildError, Builder, Cache, Compute, Entry, Iter, Keys, LoadingBuilder, LoadingCache, WhenFull,
    WriteError, loader,
};
pub use event::{Removal, RemovalCause};
pub use expiry::Expiry;
pub use flight::LoadError;
pub use hashbrown::Equivalent;
pub use key::ToKey;
pub use slot::Slot;
pub use stats::{ByCause, LoadTimes, Removals, Stats};

/// The examples in the README are tested with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
