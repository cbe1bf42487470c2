//! The figures, for people and for machines.

pub mod csv;
pub mod terminal;
pub mod units;
