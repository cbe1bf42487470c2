//! The traces of the LIRS paper: a number a line, or a `*`, which means nothing.

use std::io::BufRead;

use super::text::each_line;
use super::{Access, Error, Key, Sink, parse};

/// Reads the numbers.
pub(super) fn read(input: &mut dyn BufRead, sink: &mut Sink) -> Result<(), Error> {
    each_line(input, sink, |line, sink| {
        let word = line.trim_ascii();
        if word.is_empty() || word == b"*" {
            return Ok(());
        }
        let number = parse(word)
            .ok_or_else(|| format!("{:?} is no block", String::from_utf8_lossy(word)))?;
        sink.accept(Access { key: Key::Number(number), size: None, time: None })
    })
}
