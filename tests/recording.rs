//! Recordings: what is sampled, written and read again.

#![cfg(feature = "record")]

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use larder::{
    Cache,
    record::{Access, Reader, Recording, What},
    time::ManualTicker,
};

/// A file in memory.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    /// What was recorded, in the order of time.
    fn read(&self, one_in: u64) -> Vec<Access> {
        let bytes = self.0.lock().unwrap().clone();
        let reader = Reader::new(MultiGzDecoder::new(io::Cursor::new(bytes))).unwrap();
        assert_eq!(reader.one_in(), one_in);
        let mut accesses: Vec<_> = reader.map(|access| access.unwrap()).collect();
        accesses.sort_by_key(|access| access.at);
        accesses
    }
}

#[test]
fn every_access_is_there_in_its_order() {
    let (sink, ticker) = (Sink::default(), ManualTicker::new());
    let cache = Cache::<u64, String>::builder()
        .capacity(1000)
        .weigher(|_, value| value.len() as u64)
        .clock(ticker.clone())
        .record(Recording::to_writer(sink.clone()).one_in(1))
        .build();
    let tick = || ticker.advance(Duration::from_micros(1));
    assert_eq!(cache.get(&7), None);
    tick();
    cache.insert(7, "seven".into());
    tick();
    assert!(cache.get(&7).is_some());
    tick();
    assert_eq!(cache.read(&7, String::len), Some(5));
    tick();
    cache.get_or_insert_with(&8, || "eight!".into());
    tick();
    cache.insert(7, "7".into());
    drop(cache);
    let seen: Vec<_> = sink.read(1).iter().map(|a| (a.at.as_micros(), a.what)).collect();
    use What::{Hit, Miss, Write};
    assert_eq!(
        seen,
        [(0, Miss), (1, Write(5)), (2, Hit), (3, Hit), (4, Miss), (4, Write(6)), (5, Write(1))]
    );
}

#[test]
fn a_sample_has_all_accesses_to_its_keys_and_no_others() {
    check_sample(false);
}

#[test]
fn a_sample_stays_the_same_when_entries_begin_to_expire() {
    check_sample(true);
}

fn check_sample(expires: bool) {
    let (sink, ticker) = (Sink::default(), ManualTicker::new());
    let cache = Cache::<u64, u64>::builder()
        .capacity(100_000)
        .clock(ticker.clone())
        .record(Recording::to_writer(sink.clone()).one_in(8))
        .build();
    for round in 0..3 {
        if round == 1 && expires {
            // From now on every look-up reads the clock.
            assert!(cache.set_ttl(&1, Duration::from_secs(60)));
        }
        for key in 0..10_000 {
            ticker.advance(Duration::from_nanos(1));
            if cache.get(&key).is_none() {
                cache.insert(key, round);
            }
        }
    }
    let lost = cache.recorded().unwrap().lost;
    drop(cache);
    let mut by_key = HashMap::<u64, Vec<What>>::new();
    for access in sink.read(8) {
        by_key.entry(access.key).or_default().push(access.what);
    }
    assert!((800..1800).contains(&by_key.len()), "{} of 10000 keys", by_key.len());
    let whole = [What::Miss, What::Write(1), What::Hit, What::Hit];
    let broken = by_key.values().filter(|seen| **seen != whole).count();
    // Only what the writer had no time for is missing.
    assert!(broken as u64 <= lost, "{broken} of {}, {lost} accesses lost", by_key.len());
}

#[test]
fn a_file_does_not_grow_beyond_its_bound() {
    let sink = Sink::default();
    let cache = Cache::<u64, u64>::builder()
        .capacity(1000)
        .record(Recording::to_writer(sink.clone()).one_in(1).max_bytes(200_000))
        .build();
    for i in 0..400_000_u64 {
        cache.insert(i.wrapping_mul(0x9e37_79b9_7f4a_7c15), i);
    }
    drop(cache);
    assert!(sink.len() <= 200_000, "{}", sink.len());
    assert!(!sink.read(1).is_empty());
}

#[test]
fn a_file_that_cannot_be_written_ends_the_recording_and_nothing_else() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let cache = Cache::<u64, u64>::builder()
        .capacity(1000)
        .record(Recording::to_writer(Full).one_in(1))
        .build();
    for i in 0..200_000 {
        cache.insert(i, i);
        if cache.recorded().unwrap().is_over {
            break;
        }
    }
    // It may have ended before the cache was full.
    for i in 0..2000 {
        cache.insert(i, i);
    }
    assert_eq!(cache.len(), 1000);
    drop(cache);
}

#[test]
fn what_is_no_recording_is_refused() {
    for bytes in [&b"key,size\n1,2\n"[..], b"larder-", b""] {
        let error = Reader::new(io::Cursor::new(bytes.to_vec())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
    }
}

/// A recording of so many accesses, whole.
fn whole(accesses: u64) -> Vec<u8> {
    let sink = Sink::default();
    let recording = Recording::to_writer(sink.clone()).one_in(1);
    let cache = Cache::<u64, u64>::builder().capacity(1000).record(recording).build();
    for i in 0..accesses {
        cache.insert(i * i % 509, i);
    }
    drop(cache);
    let bytes = sink.0.lock().unwrap();
    bytes.clone()
}

#[test]
fn where_a_file_ends_too_soon_there_is_one_error() {
    let bytes = whole(300);
    let whole = Reader::new(MultiGzDecoder::new(&bytes[..])).unwrap().count();
    assert_eq!(whole, 300);
    let mut seen = 0;
    for end in 40..bytes.len() {
        let Ok(reader) = Reader::new(MultiGzDecoder::new(&bytes[..end])) else { continue };
        // As many as ten times what there is, should it not end.
        let accesses: Vec<_> = reader.take(3000).collect();
        let errors = accesses.iter().filter(|access| access.is_err()).count();
        assert_eq!(errors, 1, "cut at {end} of {}: {} accesses", bytes.len(), accesses.len());
        let last = accesses.last().unwrap().as_ref();
        assert_eq!(last.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        seen = seen.max(accesses.len());
    }
    assert!(seen > 100, "{seen}");
}
