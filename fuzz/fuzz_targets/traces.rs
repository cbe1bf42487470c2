//! The lab's readers of traces, on whatever bytes: what they read holds together, and what they
//! refuse they name by file and line.

#![no_main]

use std::{
    io::{Cursor, Read, Write},
    path::PathBuf,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use larder_fuzz::bytes::Bytes;
use larder_lab::trace::{Column, Columns, Error, Format, Options, Place, Source, TimeUnit, Trace};
use libfuzzer_sys::fuzz_target;

/// What is opened, and not read.
const FILE: &str = "/dev/null";

const FORMATS: &[Option<Format>] = &[
    None,
    Some(Format::Text),
    Some(Format::Csv),
    Some(Format::OracleGeneral),
    Some(Format::Arc),
    Some(Format::Lirs),
    Some(Format::Recording),
];
const UNITS: &[TimeUnit] = &[TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns];

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes::new(input);
    let options = options(&mut bytes);
    let is_packed = bytes.flag();
    let content = bytes.rest();
    if options.format == Some(Format::Arc) && has_long_number(content) {
        // A few lines may stand for as many accesses as fit into no memory.
        return;
    }
    let packed = if is_packed { pack(content) } else { content.to_vec() };
    let stand_in = move |_, _| Box::new(Cursor::new(packed)) as Box<dyn Read>;
    match Source::File(PathBuf::from(FILE)).read(&options, stand_in) {
        Ok(trace) => check(&trace, &options),
        Err(error) => check_error(&error, &options, content),
    }
});

fn options(bytes: &mut Bytes<'_>) -> Options {
    let format = bytes.pick(FORMATS);
    let mut column = |is_there: bool| {
        let number = bytes.byte();
        let named = [Column::Name("size".to_owned()), Column::Name(String::new())];
        let column = match number % 8 {
            0..6 => Column::Number(usize::from(number % 8) + 1),
            name => named[usize::from(name) - 6].clone(),
        };
        (is_there || number & 8 != 0).then_some(column)
    };
    let (key, size, time) = (column(true).expect("asked for"), column(false), column(false));
    let columns = Columns {
        key,
        size,
        time,
        time_unit: bytes.pick(UNITS),
        has_head: bytes.flag(),
        delimiter: bytes.pick(b",;\t |\"\r0"),
    };
    Options { format, is_csv: bytes.flag(), columns, skip_bad: bytes.flag() }
}

fn has_long_number(content: &[u8]) -> bool {
    content.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > 3)
}

fn pack(content: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(content).expect("into memory");
    packer.finish().expect("into memory")
}

fn check(trace: &Trace, options: &Options) {
    assert!(!trace.is_empty() && trace.distinct <= trace.len());
    assert!(options.skip_bad || trace.skipped == 0);
    let mut next = 0;
    for &key in &trace.keys {
        assert!(key <= next, "keys are numbered in the order of first use");
        next += u32::from(key == next);
    }
    assert_eq!(next as usize, trace.distinct);
    if let Some(sizes) = &trace.sizes {
        assert_eq!(sizes.len(), trace.len());
        assert!(sizes.iter().all(|&size| size > 0));
        assert_eq!(trace.first_sizes().map(|sizes| sizes.len()), Some(trace.distinct));
        assert!(trace.footprint() <= trace.bytes());
    }
    if let Some(times) = &trace.times {
        assert_eq!(times.len(), trace.len());
        assert!(times.is_sorted(), "times never go back");
    }
    let next_uses = trace.next_uses(Some(Duration::from_secs(1)));
    for (index, next) in (0..).zip(next_uses) {
        assert!(next > index);
    }
}

fn check_error(error: &Error, options: &Options, content: &[u8]) {
    let text = error.to_string();
    assert!(text.starts_with(FILE), "{text}");
    if let Error::Bad { place, why, .. } = error {
        assert!(!why.is_empty() && text.contains(&place.to_string()));
        assert!(!options.skip_bad || options.format != Some(Format::Text), "{text}");
        if let Place::Line(line) = *place {
            // What came compressed has other lines.
            let magics: [&[u8]; 3] = [&[0x1f, 0x8b], &[0x28, 0xb5], &[0xfd, b'7']];
            let is_packed = magics.iter().any(|magic| content.starts_with(magic))
                || content.get(1..).is_some_and(|content| content.starts_with(b"\x2a\x4d"));
            let lines = 1 + content.iter().filter(|&&byte| byte == b'\n').count() as u64;
            assert!(line >= 1 && (is_packed || line <= lines), "{text}");
        }
    }
}
