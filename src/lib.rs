//! larder: a fast, strict, concurrent in-process cache.

pub mod policy;
mod event;
mod slot;
mod sync;

pub use event::RemovalCause;
pub use slot::Slot;
