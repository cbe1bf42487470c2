//! larder beside its peers.
//!
//! A measurement is a [`Column`](workload::Column): a workload, the kinds of key and value, sizes
//! and a number of threads. [`rounds`] runs every cache over it in turn, many times, and keeps the
//! ratio of each round to one reference cache of the same round, so that what the machine does
//! meanwhile mostly cancels. `RESULTS.md` says what the figures mean.

pub mod figures;
pub mod larders;
pub mod lineup;
pub mod peers;
pub mod readers;
pub mod rival;
pub mod rounds;
pub mod table;
pub mod thread;
pub mod trace;
pub mod workload;
pub mod zipf;
