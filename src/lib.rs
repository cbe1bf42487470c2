//! larder: a fast, strict, concurrent in-process cache.

mod event;
pub mod policy;
mod slot;
mod sync;

pub use event::RemovalCause;
pub use slot::Slot;
