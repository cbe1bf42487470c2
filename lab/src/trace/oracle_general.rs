//! libCacheSim's `oracleGeneral`: records of 24 bytes, little-endian and packed: the time in
//! seconds (u32), the object (u64), its size (u32), and when it is used next (i64), which is not
//! needed.

use std::io::{BufRead, Read};
use std::time::Duration;

use super::{Access, Error, Key, Place, Sink};

/// The bytes of a record.
const RECORD: usize = 24;

/// Reads the records.
pub(super) fn read(input: &mut dyn BufRead, sink: &mut Sink) -> Result<(), Error> {
    let mut record = Vec::with_capacity(RECORD);
    for number in 1.. {
        record.clear();
        let whole = input.take(RECORD as u64).read_to_end(&mut record);
        let outcome = match whole.map_err(|error| sink.unreadable(error))? {
            0 => break,
            RECORD => sink.accept(access(&record)),
            short => Err(format!("{short} bytes, expected {RECORD}")),
        };
        sink.judge(Place::Record(number), outcome)?;
    }
    Ok(())
}

fn access(record: &[u8]) -> Access<'static> {
    let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"));
    let key = u64::from(word(4)) | u64::from(word(8)) << 32;
    Access {
        key: Key::Number(key),
        size: Some(word(12).into()),
        time: Some(Duration::from_secs(word(0).into())),
    }
}
