//! Every format and compression, and what is wrong with files.

use std::fs;
use std::io::Write;
use std::path::Path;

use larder_lab::trace::{Column, Columns, Error, Format, Options, Place, Source, TimeUnit, Trace};

fn read_as(content: &[u8], options: &Options) -> Result<Trace, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("the.trace");
    fs::write(&path, content).expect("a file");
    read(&path, options)
}

fn read(path: &Path, options: &Options) -> Result<Trace, Error> {
    Source::File(path.to_owned()).read(options, |input, _| input)
}

fn options(format: Format) -> Options {
    Options { format: Some(format), ..Options::default() }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn xz(content: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).expect("memory")
}

/// Time, object, size and next use, as libCacheSim packs them.
fn oracle_general(accesses: &[(u32, u64, u32)]) -> Vec<u8> {
    let record = |&(time, object, size): &(u32, u64, u32)| {
        let mut record = time.to_le_bytes().to_vec();
        record.extend(object.to_le_bytes());
        record.extend(size.to_le_bytes());
        record.extend((-1_i64).to_le_bytes());
        record
    };
    accesses.iter().flat_map(record).collect()
}

#[test]
fn every_format_in_every_compression() {
    let binary = oracle_general(&[(5, 1 << 40, 10), (5, 7, 0), (9, 1 << 40, 10)]);
    let files: [(Format, &[u8], &[u32]); 5] = [
        (Format::Text, b"a 10\nb 1\r\n\n  a\t10  \n", &[0, 1, 0]),
        (Format::Csv, b"a,10\nb,1\na,10\n", &[0, 1, 0]),
        (Format::OracleGeneral, &binary, &[0, 1, 0]),
        (Format::Arc, b"7 3 0 1\n8 1 0 2\n", &[0, 1, 2, 1]),
        (Format::Lirs, b"5\n*\n6\n5", &[0, 1, 0]),
    ];
    type Pack = fn(&[u8]) -> Vec<u8>;
    let packs: [Pack; 6] = [
        <[u8]>::to_vec,
        gzip,
        zstd,
        xz,
        |content| {
            // Several members, one after the other.
            let (first, second) = content.split_at(content.len() / 2);
            [gzip(first), gzip(second)].concat()
        },
        // A frame of four bytes to be skipped, as `pzstd` writes it.
        |content| [b"\x50\x2a\x4d\x18\x04\0\0\0abcd".to_vec(), zstd(content)].concat(),
    ];
    for (format, content, keys) in files {
        for (number, pack) in packs.iter().enumerate() {
            let trace = read_as(&pack(content), &options(format));
            let trace = trace.unwrap_or_else(|error| panic!("{format:?} {number}: {error}"));
            assert_eq!(trace.keys, keys, "{format:?}, compression {number}");
            assert_eq!(trace.distinct as u32, keys.iter().max().unwrap() + 1);
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_key() {
    for format in [Format::Text, Format::Csv, Format::Lirs] {
        let trace = read_as(b"\xef\xbb\xbf7\r\n8\r\n7\r\n", &options(format)).expect("a trace");
        assert_eq!(trace.keys, [0, 1, 0], "{format:?}");
    }
}

#[test]
fn sizes_and_times_are_read() {
    let text = read_as(b"a 10\nb 0\n", &options(Format::Text)).expect("a trace");
    assert_eq!((text.sizes, text.times), (Some(vec![10, 1]), None));

    let binary = oracle_general(&[(5, 1, 10), (4, 2, 3), (9, 1, 11)]);
    let binary = read_as(&binary, &options(Format::OracleGeneral)).expect("a trace");
    assert_eq!(binary.sizes, Some(vec![10, 3, 11]));
    let seconds = [5, 5, 9].map(|time| time * 1_000_000_000);
    assert_eq!(binary.times, Some(seconds.to_vec()), "time does not go back");
    assert_eq!(binary.late, 1);

    let columns = Columns {
        key: Column::Name("key".to_owned()),
        size: Some(Column::Number(1)),
        time: Some(Column::Name("at".to_owned())),
        time_unit: TimeUnit::Ms,
        has_head: true,
        delimiter: b';',
    };
    let csv = Options { columns, ..options(Format::Csv) };
    let csv = read_as(b"bytes;key; at\n4;\"x;y\";1\n5;z;2.5\n", &csv).expect("a trace");
    assert_eq!((csv.keys, csv.sizes), (vec![0, 1], Some(vec![4, 5])));
    assert_eq!(csv.times, Some(vec![1_000_000, 2_500_000]));
}

#[test]
fn lines_of_csv_are_counted_as_an_editor_does() {
    for (csv, bad) in [
        ("a,1\nb,x\n", 2),
        ("a,1\r\nb,x\r\n", 2),
        ("a,1\r\nb,x", 2),
        ("\n\na,1\n\nb,x", 5),
        ("\r\na,1\r\n\r\n\r\nb,x\r\nc,1\r\n", 5),
        ("\"a\nb\",1\n\"c\n\n\",x\n", 3),
        ("\"a\r\nb\",1\r\nc,\"x\"\r\n", 3),
        ("a,1\nb,\"x", 2),
        ("a,1\n\nb,\"x\n\n", 3),
    ] {
        let columns = Columns { size: Some(Column::Number(2)), ..Columns::default() };
        let mut options = Options { columns, ..options(Format::Csv) };
        match read_as(csv.as_bytes(), &options) {
            Err(Error::Bad { place, why, .. }) => {
                assert_eq!(
                    (place, why.as_str()),
                    (Place::Line(bad), "\"x\" is no size"),
                    "{csv:?}"
                );
            }
            other => panic!("{csv:?}: {other:?}"),
        }
        options.skip_bad = true;
        let trace = read_as(csv.as_bytes(), &options).expect("the rest");
        assert_eq!(trace.skipped, 1, "{csv:?}");
    }
    let quoted = read_as(b"\"a\"\r\na\r\n", &options(Format::Csv)).expect("a trace");
    assert_eq!(quoted.keys, [0, 0]);
}

#[test]
fn a_time_of_centuries_is_of_another_unit() {
    let columns = Columns { time: Some(Column::Number(2)), ..Columns::default() };
    let mut options = Options { columns, ..options(Format::Csv) };
    let csv = b"a,1700000000000\na,1700000005000\n";
    let error = read_as(csv, &options).expect_err("these are milliseconds").to_string();
    assert!(error.contains("line 1: a time of 1700000000000 s"), "{error}");
    options.columns.time_unit = TimeUnit::Ms;
    assert!(read_as(csv, &options).is_ok());
}

#[test]
fn names_tell_the_format() {
    let formats = [
        ("a.txt", Format::Text),
        ("a", Format::Text),
        ("a.CSV.gz", Format::Csv),
        ("a.oracleGeneral.zst", Format::OracleGeneral),
        ("a.oracleGeneral.bin", Format::OracleGeneral),
        ("P1.lis.xz", Format::Arc),
        ("loop.trc", Format::Lirs),
    ];
    for (name, format) in formats {
        assert_eq!(Format::of_name(name.as_ref()), format, "{name}");
    }
}

#[test]
fn bad_lines_are_named_or_skipped() {
    let broken = [oracle_general(&[(1, 1, 1), (1, 2, 1)]), vec![0; 5]].concat();
    let files: [(Format, &[u8], Place, &str); 9] = [
        (Format::Text, b"a 1\nb x\nc 1\n", Place::Line(2), "\"x\" is no size"),
        (Format::Text, b"a 1\nb 1 1\nc 1\n", Place::Line(2), "more than"),
        (Format::Text, b"a 1\nc 1\n\nb\n", Place::Line(4), "no size"),
        (Format::Text, b"a\nc\nb 5\n", Place::Line(3), "a size"),
        (Format::Csv, b"a,1\nb,-3\nc,1\n", Place::Line(2), "\"-3\" is no size"),
        (Format::Csv, b"a,1\nc,4\nb\n", Place::Line(3), "1 columns, expected 2"),
        (Format::Arc, b"1 1 0 0\n5 2 0\n2 1 0 0\n", Place::Line(2), "four numbers"),
        (Format::Lirs, b"1\n2\nthree\n", Place::Line(3), "\"three\" is no block"),
        (Format::OracleGeneral, &broken, Place::Record(3), "5 bytes"),
    ];
    for (format, content, place, why) in files {
        let mut options = options(format);
        options.columns.size = Some(Column::Number(2));
        match read_as(content, &options) {
            Err(Error::Bad { place: found, why: reason, .. }) => {
                assert_eq!(found, place, "{format:?}");
                assert!(reason.contains(why), "{reason}");
            }
            other => panic!("{format:?}: {other:?}"),
        }
        options.skip_bad = true;
        let trace = read_as(content, &options).expect("the rest");
        assert_eq!((trace.len(), trace.skipped), (2, 1), "{format:?}");
    }
    let late = format!("{} 2 0 0", u64::MAX);
    let large = format!("a {0}\nb {0}", 1_u64 << 60);
    for (format, content, why) in [
        (Format::Arc, "1 1 0 0\n1 99999999999 0 0\n", "line 2: a run of 99999999999"),
        (Format::Arc, &late, "line 1: 2 blocks from 18446744073709551615"),
        (Format::Text, "a 18446744073709551615", "line 1: with a size of 18446744073709551615"),
        (Format::Text, &large, "line 2: with a size of"),
    ] {
        let error = read_as(content.as_bytes(), &options(format)).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// The beginning of a recording: a miss, a write of 5 and a hit, three bytes and four.
fn recording() -> Vec<u8> {
    [larder::record::MAGIC, &[1], &[0, 0, 1], &[0, 0, 2, 5], &[2, 0, 0]].concat()
}

#[test]
fn bad_records_of_a_recording_are_named_or_skipped_with_what_follows() {
    let file = recording();
    for (bytes, why) in [
        (&[2, 0, 9, 0, 0, 0][..], "record 4: an access of a kind unknown here: 9"),
        (&[0x80; 20], "record 4: a number that does not end"),
        (&[2, 0], "record 4: the file ends within it"),
    ] {
        let mut options = options(Format::Recording);
        let content = [&file, bytes].concat();
        let error = read_as(&content, &options).expect_err(why).to_string();
        assert!(error.ends_with(why), "{error}");
        options.skip_bad = true;
        let trace = read_as(&gzip(&content), &options).expect("the rest");
        assert_eq!((trace.len(), trace.skipped), (2, 1), "{why}");
    }
    // The number is that in the file, which is not in the order of time.
    let content = [&file[..], &[2, 1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]];
    let content = [&content.concat()[..], &[1, 1, 0]].concat();
    let error = read_as(&content, &options(Format::Recording)).expect_err("a large size");
    assert!(error.to_string().contains("record 5: with a size of"), "{error}");
}

#[test]
fn what_cannot_be_read_is_an_error_with_the_files_name() {
    let missing = read(Path::new("no/such.txt"), &Options::default()).expect_err("no such file");
    assert_eq!(missing.to_string(), "no/such.txt: cannot be read");
    assert!(std::error::Error::source(&missing).is_some());
    // The third byte is the method, of which there is but one.
    let mut whole = gzip(b"some key\n");
    whole[2] = 7;
    let corrupt = read_as(&whole, &Options::default());
    assert!(matches!(corrupt, Err(Error::Unreadable { .. })), "{corrupt:?}");
    let lenient = Options { skip_bad: true, ..options(Format::Text) };
    assert!(matches!(read_as(b"\n\n", &lenient), Err(Error::Empty { .. })));
    for pack in [gzip, zstd, xz] {
        let whole = pack(&b"some key\n".repeat(5000));
        let torn = read_as(&whole[..whole.len() - 9], &lenient);
        assert!(matches!(torn, Err(Error::Unreadable { .. })), "{torn:?}");
    }
    let columns =
        Columns { key: Column::Name("k".to_owned()), has_head: true, ..Columns::default() };
    let csv = read_as(b"a,b\n1,2\n", &Options { columns, ..options(Format::Csv) });
    assert!(csv.is_err_and(|error| error.to_string().contains("no column is called \"k\"")));
}
