//! The figures, for people and for machines.

pub mod csv;
pub mod html;
pub mod terminal;
pub mod units;
