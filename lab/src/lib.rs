//! What a cache would do on recorded traffic.
//!
//! A [`trace`] is replayed through the real cache ([`replay`]) with every policy and capacity asked
//! for ([`simulate`]), or the hit ratios are estimated from a part of it ([`curve`]), beside the [`textbook`]'s LRU and what no cache can beat ([`optimum`]).

pub mod trace;

pub mod capacity;
pub mod optimum;
pub mod policies;
pub mod profile;
pub mod progress;
pub mod statistics;
pub mod textbook;

pub mod replay;

pub mod curve;
pub mod simulate;

pub mod advice;
pub mod report;
