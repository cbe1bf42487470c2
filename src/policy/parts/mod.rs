//! The pieces policies are made of. They know slots, hashes and weights, never keys or values.

mod ghost;
mod sketch;
mod spread;

pub(crate) use ghost::Ghost;
pub(crate) use sketch::Sketch;
pub(crate) use spread::spread;
