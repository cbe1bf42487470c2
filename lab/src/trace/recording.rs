//! A recording that a cache made of a sample of its own accesses: see `larder::record`.
//!
//! What it has of a key are look-ups and writes. A look-up becomes an access; its size is what was
//! written last, or, if it missed, what was written next.

use std::collections::HashMap;
use std::io::{self, BufRead, ErrorKind};

use larder::record::{self, Reader, What};

use super::{Access, Error, Key, Place, Sink};

/// Whether what comes next is a recording. If it cannot be read, that is said only once.
pub(super) fn is_next(input: &mut dyn BufRead) -> io::Result<bool> {
    Ok(input.fill_buf()?.starts_with(record::MAGIC))
}

/// Reads the accesses.
pub(super) fn read(input: &mut dyn BufRead, sink: &mut Sink) -> Result<(), Error> {
    let reader = Reader::new(input).map_err(|error| sink.unreadable(error))?;
    sink.sampled(reader.one_in());
    let mut records = Vec::new();
    for (number, access) in (1..).zip(reader) {
        match access {
            Ok(access) => records.push((number, access)),
            Err(error) => {
                let why = match error.kind() {
                    ErrorKind::UnexpectedEof => "the file ends within it".to_owned(),
                    ErrorKind::InvalidData => error.to_string(),
                    _ => return Err(sink.unreadable(error)),
                };
                sink.judge(Place::Record(number), Err(why))?;
                // Where the next one begins is not known.
                break;
            }
        }
    }
    // Those of different buffers overlap; a stable sort keeps each key's in their order.
    records.sort_by_key(|(_, access)| access.at);
    let (numbers, accesses): (Vec<u64>, Vec<record::Access>) = records.into_iter().unzip();
    let sizes = sizes(&accesses);
    // If all weigh 1, these are no sizes but entries.
    let has_sizes = sizes.iter().any(|&size| size != 1);
    for (number, (access, size)) in numbers.into_iter().zip(accesses.iter().zip(sizes)) {
        if matches!(access.what, What::Write(_)) {
            continue;
        }
        let size = has_sizes.then_some(size);
        let found = Access { key: Key::Number(access.key), size, time: Some(access.at) };
        let outcome = sink.accept(found);
        sink.judge(Place::Record(number), outcome)?;
    }
    Ok(())
}

/// The size of what each access is to; 1 where none was ever written.
fn sizes(accesses: &[record::Access]) -> Vec<u64> {
    let mut sizes = vec![1; accesses.len()];
    let mut next = HashMap::new();
    for (size, access) in sizes.iter_mut().zip(accesses).rev() {
        if let What::Write(weight) = access.what {
            next.insert(access.key, weight);
        }
        *size = next.get(&access.key).copied().unwrap_or(1);
    }
    let mut last = HashMap::new();
    for (size, access) in sizes.iter_mut().zip(accesses) {
        match access.what {
            What::Write(weight) => drop(last.insert(access.key, weight)),
            What::Hit => *size = last.get(&access.key).copied().unwrap_or(*size),
            What::Miss => {}
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};
    use std::sync::{Arc, Mutex};

    use larder::Cache;
    use larder::record::Recording;

    use super::*;
    use crate::trace::Trace;

    #[derive(Clone, Default)]
    struct File(Arc<Mutex<Vec<u8>>>);

    impl Write for File {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The trace in what was recorded.
    fn trace_in(file: &File) -> Trace {
        let bytes = file.0.lock().unwrap().clone();
        let unpacked = flate2::read::MultiGzDecoder::new(&bytes[..]);
        let mut input = BufReader::new(unpacked);
        assert!(is_next(&mut input).unwrap());
        let mut sink = Sink::new("cache.rec.gz", false);
        read(&mut input, &mut sink).unwrap();
        sink.finish()
    }

    #[test]
    fn what_a_cache_recorded_is_a_trace() {
        let file = File::default();
        let cache = Cache::<u64, Vec<u8>>::builder()
            .capacity(1000)
            .weigher(|_, value| value.len() as u64)
            .record(Recording::to_writer(file.clone()).one_in(1))
            .build();
        for key in [7, 8, 7, 9, 7] {
            cache.get_or_insert_with(&key, || vec![0; key as usize * 10]);
        }
        cache.insert(7, vec![0; 5]);
        cache.get(&7);
        drop(cache);
        let trace = trace_in(&file);
        assert_eq!(trace.keys, [0, 1, 0, 2, 0, 0]);
        assert_eq!(trace.sizes, Some(vec![70, 80, 70, 90, 70, 5]));
        assert_eq!((trace.name.as_str(), trace.one_in), ("cache", 1));
    }

    #[test]
    fn entries_that_weigh_1_have_no_sizes() {
        let file = File::default();
        let recording = Recording::to_writer(file.clone()).one_in(1);
        let cache = Cache::<u64, u64>::builder().capacity(2).record(recording).build();
        for key in [7, 8, 9, 7] {
            cache.get_or_insert_with(&key, || 0);
        }
        drop(cache);
        let trace = trace_in(&file);
        assert_eq!((trace.keys, trace.sizes), (vec![0, 1, 2, 0], None));
    }
}
