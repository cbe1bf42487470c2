//! Building blocks for policies: queues, arrays indexed by slot, buffers, sketches, ghosts.
//!
//! They know slots and hashes, never a key, a value, a lock or the time, and all are safe code.

pub(crate) mod buffer;
pub(crate) mod duo;
mod filling;
pub(crate) mod ghost;
mod greedy_dual;
mod levels;
pub(crate) mod line;
pub(crate) mod queue;
pub(crate) mod random;
pub(crate) mod sketch;
pub(crate) mod slots;
mod spread;
pub(crate) mod unrolled;

pub(crate) use buffer::Buffer;
pub(crate) use duo::{Duo, Place};
pub(crate) use filling::Filling;
pub(crate) use ghost::Ghost;
pub(crate) use greedy_dual::GreedyDual;
pub(crate) use levels::Levels;
pub(crate) use line::Line;
pub(crate) use random::Stream;
pub(crate) use sketch::Sketch;
pub(crate) use slots::PerSlot;
pub(crate) use spread::{Mixed, spread};
