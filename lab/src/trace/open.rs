//! Files and standard input, in any format and compression.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::{Columns, Error, Sink, Trace, arc, csv, lirs, oracle_general, recording, text};

/// The endings of names, of the formats in the order in which [`Format`] has them.
pub(super) const ENDINGS: [&str; 7] =
    [".txt", ".csv", ".oracleGeneral.bin", ".oracleGeneral", ".lis", ".trc", ".rec"];

/// How accesses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An access a line: a key and perhaps a size.
    Text,
    /// Comma-separated values.
    Csv,
    /// libCacheSim's binary format, with times and sizes.
    OracleGeneral,
    /// The ARC paper's: runs of blocks.
    Arc,
    /// The LIRS paper's: a block a line.
    Lirs,
    /// What a larder cache recorded itself.
    Recording,
}

impl Format {
    /// The format of a file of this name, compressed or not.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        let name = path.to_string_lossy().to_ascii_lowercase();
        let name =
            [".gz", ".zst", ".xz"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        match name.rsplit('.').next() {
            Some("csv") => Self::Csv,
            Some("oraclegeneral" | "bin") => Self::OracleGeneral,
            Some("lis") => Self::Arc,
            Some("trc") => Self::Lirs,
            Some("rec") => Self::Recording,
            _ => Self::Text,
        }
    }
}

/// How to read a trace.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format, if the name does not tell.
    pub format: Option<Format>,
    /// Whether a file whose name does not tell either is CSV, and not text.
    pub is_csv: bool,
    /// The columns of a CSV file.
    pub columns: Columns,
    /// Whether to leave out what is bad.
    pub skip_bad: bool,
}

/// Where a trace comes from: a file, or standard input (`-`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl From<OsString> for Source {
    fn from(name: OsString) -> Self {
        if name == "-" { Self::Stdin } else { Self::File(name.into()) }
    }
}

impl Source {
    /// Reads the trace. `watch` stands between the source and the reader, to see the bytes go by;
    /// it is told how many there are, where that is known.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or has a bad line that is not to be left out.
    pub fn read(
        &self,
        options: &Options,
        watch: impl FnOnce(Box<dyn Read>, Option<u64>) -> Box<dyn Read>,
    ) -> Result<Trace, Error> {
        let (file, format) = match self {
            Self::Stdin => ("stdin".to_owned(), Format::Text),
            Self::File(path) => (path.display().to_string(), Format::of_name(path)),
        };
        let mut sink = Sink::new(&file, options.skip_bad);
        let opened = self.open(watch).map_err(|error| sink.unreadable(error));
        let input = &mut *opened?;
        // A recording is known by how it begins, whatever its name.
        let is_recording = recording::is_next(input).map_err(|error| sink.unreadable(error))?;
        let format = match format {
            _ if is_recording => Format::Recording,
            Format::Text if options.is_csv => Format::Csv,
            told => told,
        };
        match options.format.unwrap_or(format) {
            Format::Text => text::read(input, &mut sink),
            Format::Csv => csv::read(input, &options.columns, &mut sink),
            Format::OracleGeneral => oracle_general::read(input, &mut sink),
            Format::Arc => arc::read(input, &mut sink),
            Format::Lirs => lirs::read(input, &mut sink),
            Format::Recording => recording::read(input, &mut sink),
        }?;
        let trace = sink.finish();
        if trace.is_empty() { Err(Error::Empty { file }) } else { Ok(trace) }
    }

    fn open(
        &self,
        watch: impl FnOnce(Box<dyn Read>, Option<u64>) -> Box<dyn Read>,
    ) -> io::Result<Box<dyn BufRead>> {
        match self {
            Self::Stdin => decompressed(watch(Box::new(io::stdin()), None)),
            Self::File(path) => {
                let file = File::open(path)?;
                let length = file.metadata().ok().map(|metadata| metadata.len());
                decompressed(watch(Box::new(file), length))
            }
        }
    }
}

/// What is packed in `input`, by its first bytes.
fn decompressed(mut input: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let mut first = Vec::new();
    (&mut input).take(6).read_to_end(&mut first)?;
    let whole = BufReader::with_capacity(1 << 16, Cursor::new(first.clone()).chain(input));
    let unpacked: Box<dyn Read> = match first.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        // Files of `pzstd` begin with a frame that is to be skipped.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::Decoder::with_buffer(whole)?)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(whole))
        }
        _ => return Ok(Box::new(whole)),
    };
    Ok(Box::new(BufReader::with_capacity(1 << 16, unpacked)))
}
