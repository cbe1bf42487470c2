//! Plain text: an access a line, the key and perhaps a size, with white space between them.

use std::io::BufRead;

use super::{Access, Error, Key, Place, Sink, parse};

/// Reads the accesses of all lines that are not empty.
pub(super) fn read(input: &mut dyn BufRead, sink: &mut Sink) -> Result<(), Error> {
    each_line(input, sink, |line, sink| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word: &&[u8]| !word.is_empty());
        let Some(key) = words.next() else { return Ok(()) };
        let size = words.next().map(|word| {
            parse(word).ok_or_else(|| format!("{:?} is no size", String::from_utf8_lossy(word)))
        });
        if words.next().is_some() {
            return Err("more than a key and a size".to_owned());
        }
        sink.accept(Access { key: Key::of(key), size: size.transpose()?, time: None })
    })
}

/// What some editors on Windows begin a file with; it is no part of the first key.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Hands on every line, without its end.
pub(super) fn each_line(
    input: &mut dyn BufRead,
    sink: &mut Sink,
    mut take: impl FnMut(&[u8], &mut Sink) -> Result<(), String>,
) -> Result<(), Error> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = input.read_until(b'\n', &mut line).map_err(|error| sink.unreadable(error))?;
        if read == 0 {
            break;
        }
        let marked = if number == 1 { line.strip_prefix(BYTE_ORDER_MARK) } else { None };
        let outcome = take(marked.unwrap_or(&line).trim_ascii_end(), sink);
        sink.judge(Place::Line(number), outcome)?;
    }
    Ok(())
}
