//! larder: a fast, strict, concurrent in-process cache.

mod sync;

mod event;
mod slot;
pub mod time;

pub mod policy;

mod expiry;
mod table;
mod tags;

mod budget;
mod claims;
mod hash;
mod outbox;
mod stats;

mod context;
mod stripe;

mod cache;

pub use cache::{BuildError, Builder, Cache, Compute, Entry, Iter, Keys};
pub use event::{Removal, RemovalCause};
pub use expiry::Expiry;
pub use hashbrown::Equivalent;
pub use slot::Slot;
pub use stats::{ByCause, Removals, Stats};
