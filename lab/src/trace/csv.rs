//! Comma-separated values: the columns of key, size and time are the user's choice.

use std::io::{self, BufRead, Read};
use std::str::FromStr;
use std::time::Duration;

use ::csv::{ByteRecord, ReaderBuilder, Terminator};
use clap::ValueEnum;

use super::{Access, Error, Key, Place, Sink, parse};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its number, from 1.
    Number(usize),
    /// By its name in the head.
    Name(String),
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) => Err("columns are numbered from 1".to_owned()),
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

/// The unit of the times in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl TimeUnit {
    /// So many of them, which may have a fraction.
    fn duration(self, text: &[u8]) -> Option<Duration> {
        let nanos = match self {
            Self::S => 1_000_000_000,
            Self::Ms => 1_000_000,
            Self::Us => 1000,
            Self::Ns => 1,
        };
        if let Some(whole) = parse::<u64>(text) {
            return Some(Duration::from_nanos_u128(u128::from(whole) * nanos));
        }
        Duration::try_from_secs_f64(parse::<f64>(text)? * nanos as f64 / 1e9).ok()
    }
}

/// What is where.
#[derive(Clone, Debug)]
pub struct Columns {
    /// The key.
    pub key: Column,
    /// The size, if there is one.
    pub size: Option<Column>,
    /// The time, if there is one.
    pub time: Option<Column>,
    /// The unit of the time.
    pub time_unit: TimeUnit,
    /// Whether the first line is a head. It must be if a column is named.
    pub has_head: bool,
    /// What stands between two cells.
    pub delimiter: u8,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            key: Column::Number(1),
            size: None,
            time: None,
            time_unit: TimeUnit::S,
            has_head: false,
            delimiter: b',',
        }
    }
}

/// Reads an access from each line.
pub(super) fn read(
    input: &mut dyn BufRead,
    columns: &Columns,
    sink: &mut Sink,
) -> Result<(), Error> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(columns.delimiter);
    // A carriage return before the end of a line is trimmed with the last cell: were it the end, the
    // line would not be counted yet. The last line may have no end of its own.
    builder.terminator(Terminator::Any(b'\n'));
    let mut reader = builder.from_reader(Ended { input: input.chain(&b"\n"[..]), is_over: false });
    let mut cells = ByteRecord::new();
    let mut next = || {
        while reader.read_byte_record(&mut cells)? {
            // The reader stands behind the record, which may have several lines. (Where it says the
            // record begins, there may be empty lines before it.) Only in quotes that are never closed
            // the file ends before the record's last line does.
            let within = cells.as_slice().iter().filter(|&&byte| byte == b'\n').count() as u64;
            let lines = within + u64::from(!reader.get_ref().is_over);
            let is_empty = cells.len() == 1 && &cells[0] == b"\r";
            if !is_empty {
                let place = Place::Line(reader.position().line() - lines);
                return Ok::<_, ::csv::Error>(Some((place, cells.clone())));
            }
        }
        Ok(None)
    };
    let mut head = ByteRecord::new();
    let mut first_place = Place::Line(1);
    if columns.has_head
        && let Some((place, cells)) = next().map_err(|error| sink.unreadable(error.into()))?
    {
        (first_place, head) = (place, cells);
    }
    let found = match Found::of(columns, &head) {
        Ok(found) => found,
        // A head that is not as told is not a line that could be skipped.
        Err(why) => return Err(sink.bad(first_place, why)),
    };
    let mut is_first = true;
    while let Some((place, cells)) = next().map_err(|error| sink.unreadable(error.into()))? {
        let outcome = found.access(&cells).and_then(|access| sink.accept(access));
        let is_perhaps_head = !columns.has_head && std::mem::take(&mut is_first);
        let outcome = outcome.map_err(|why| match is_perhaps_head {
            true => format!("{why} (if it is a head: --csv-head)"),
            false => why,
        });
        sink.judge(place, outcome)?;
    }
    Ok(())
}

/// An input that tells whether its end was seen.
struct Ended<R> {
    input: R,
    is_over: bool,
}

impl<R: Read> Read for Ended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.is_over |= read == 0;
        Ok(read)
    }
}

/// The numbers of the columns, from 0.
struct Found {
    key: usize,
    size: Option<usize>,
    time: Option<usize>,
    time_unit: TimeUnit,
}

impl Found {
    fn of(columns: &Columns, head: &ByteRecord) -> Result<Self, String> {
        let find = |column: &Column| match column {
            Column::Number(number) => Ok(number - 1),
            Column::Name(name) => {
                let found = head.iter().position(|cell| cell.trim_ascii() == name.as_bytes());
                found.ok_or_else(|| {
                    let names: Vec<_> = head.iter().map(String::from_utf8_lossy).collect();
                    let names = format!("{names:?}");
                    let names = names.trim_matches(['[', ']']);
                    format!("no column is called {name:?}: there is {names}")
                })
            }
        };
        Ok(Self {
            key: find(&columns.key)?,
            size: columns.size.as_ref().map(find).transpose()?,
            time: columns.time.as_ref().map(find).transpose()?,
            time_unit: columns.time_unit,
        })
    }

    fn access<'a>(&self, cells: &'a ByteRecord) -> Result<Access<'a>, String> {
        let cell = |column: usize| {
            let cell = cells.get(column).map(<[u8]>::trim_ascii);
            cell.ok_or_else(|| format!("{} columns, expected {} or more", cells.len(), column + 1))
        };
        let wrong =
            |what: &str, cell: &[u8]| format!("{:?} is no {what}", String::from_utf8_lossy(cell));
        let size = |column| cell(column).and_then(|c| parse(c).ok_or_else(|| wrong("size", c)));
        let time = |column| {
            let time = |c| self.time_unit.duration(c).ok_or_else(|| wrong("time", c));
            cell(column).and_then(time)
        };
        Ok(Access {
            key: Key::of(cell(self.key)?),
            size: self.size.map(size).transpose()?,
            time: self.time.map(time).transpose()?,
        })
    }
}
