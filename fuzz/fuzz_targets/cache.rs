//! Everything that can be done with a `Cache`, against a model.

#![no_main]

use larder_fuzz::{
    bytes::Bytes,
    kinds::{Mixed, Numbers, Owned, Small},
    run::run,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes::new(input);
    match bytes.byte() % 5 {
        0 => run::<Numbers>(&mut bytes),
        1 => run::<Small>(&mut bytes),
        2 => run::<Mixed>(&mut bytes),
        _ => run::<Owned>(&mut bytes),
    }
});
