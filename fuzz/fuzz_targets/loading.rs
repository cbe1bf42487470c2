//! Everything that can be done with a `LoadingCache`, by futures that are polled by hand.

#![no_main]

use larder_fuzz::{bytes::Bytes, loading::run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| run(&mut Bytes::new(input)));
