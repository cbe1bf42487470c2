//! The traces of the ARC paper (`.lis`): a run of blocks a line, as the first block, how many there
//! are, a number that is ignored, and the number of the request.

use std::io::BufRead;

use super::text::each_line;
use super::{Access, Error, Key, Sink, parse};

/// The most blocks that a line may stand for: no file has more, and a line that is not of this
/// format should not fill the memory.
const LONGEST: u64 = 1 << 24;

/// Reads the accesses to all blocks of all runs.
pub(super) fn read(input: &mut dyn BufRead, sink: &mut Sink) -> Result<(), Error> {
    each_line(input, sink, |line, sink| {
        let words = line.split(u8::is_ascii_whitespace).filter(|word: &&[u8]| !word.is_empty());
        let numbers: Option<Vec<u64>> = words.map(parse).collect();
        let (start, count) = match numbers.as_deref() {
            Some([]) => return Ok(()),
            Some(&[start, count, _, _]) => (start, count),
            _ => return Err("expected four numbers: start, count, ignored, request".to_owned()),
        };
        if count > LONGEST {
            return Err(format!("a run of {count} blocks, more than {LONGEST}"));
        }
        let end = start.checked_add(count);
        let end = end
            .ok_or_else(|| format!("{count} blocks from {start} on pass the last there can be"))?;
        (start..end).try_for_each(|block| {
            sink.accept(Access { key: Key::Number(block), size: None, time: None })
        })
    })
}
