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

pub mod design;

mod sync;

mod event;
mod slot;
pub mod time;

pub mod policy;

mod expiry;
mod table;
mod tags;

mod budget;
mod flight;
mod hash;
mod outbox;
#[cfg(feature = "record")]
pub mod record;
mod stats;

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
pub use slot::Slot;
pub use stats::{ByCause, LoadTimes, Removals, Stats};

/// The examples in the README are tested with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
