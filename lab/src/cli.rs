//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};
use larder_lab::capacity::Capacities;
use larder_lab::policies;
use larder_lab::trace::{Column, Columns, Format, Options, Source, TimeUnit};

/// See what a cache would do on your own traffic.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How many threads to use [default: all processors]
    #[arg(long, global = true)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Simulate(Simulate),
    Curve(Curve),
}

/// Replay traces through the real cache with several policies and capacities.
///
/// Every access is a get, and an insertion on a miss. The figures stand beside the textbook's LRU and
/// the offline optimum (Belady's MIN; for sizes an upper bound, PFOO-L).
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Policies by name, or `all`
    #[arg(long, short, value_delimiter = ',', default_value = "all", value_name = "NAMES",
        value_parser = policy)]
    pub(crate) policy: Vec<String>,
    /// Capacities: `5%` of the keys, `10000` entries, `64MiB`, or a range `1%..50%:12`
    /// [default: 1%,5%,10%,25%; for a report 0.5%..100%:14]
    #[arg(long, short, value_name = "LIST")]
    pub(crate) capacity: Option<Capacities>,
    /// Let entries weigh their sizes, and count the capacity in bytes
    #[arg(long, visible_alias = "weights")]
    pub(crate) sizes: bool,
    /// Stripes of the cache, a power of two [default: as the cache chooses; 1 follows the papers]
    #[arg(long)]
    pub(crate) stripes: Option<usize>,
    /// Time to live in the trace's time, such as `90s` or `1h 30m`
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// How many caches, seeded differently, each figure is the average of
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Estimate hit ratios at many capacities without replaying the whole trace for each.
///
/// LRU's curve takes one pass: alone and from 50 000 keys on it comes from samples, else it is exact.
/// The curves of other policies come from small caches that see samples of the keys; ± says how far
/// off they may be.
#[derive(Debug, Args)]
pub(crate) struct Curve {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Policies by name, or `all`
    #[arg(long, short, value_delimiter = ',', default_value = "lru,adaptive", value_name = "NAMES",
        value_parser = policy)]
    pub(crate) policy: Vec<String>,
    /// Capacities: `5%` of the keys, `10000` entries, `64MiB`, or a range `1%..50%:12`
    #[arg(long, short, default_value = "0.5%..100%:20", value_name = "LIST")]
    pub(crate) capacity: Capacities,
    /// Let entries weigh their sizes, and count the capacity in bytes
    #[arg(long, visible_alias = "weights")]
    pub(crate) sizes: bool,
    /// Measure LRU's curve exactly, even if it is alone and there are many keys
    #[arg(long)]
    pub(crate) exact: bool,
    /// How many entries a small cache has at least, where that is possible
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u64).range(1..))]
    pub(crate) entries: u64,
    /// How many small caches there are for each point that is not replayed whole
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(2..=1000))]
    pub(crate) samples: u32,
    /// Other seeds choose other keys and accesses
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Hold the curves against the truth, and say what they saved
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What to read, and how.
#[derive(Debug, Args)]
pub(crate) struct Input {
    /// Files, perhaps compressed with gzip, zstd or xz; `-` is standard input
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<Source>,
    /// How accesses are written [default: by the file's name; else text, or CSV if columns are told]
    #[arg(long)]
    format: Option<Format>,
    /// Leave out bad lines, and say how many
    #[arg(long)]
    skip_bad: bool,
    /// CSV: the key's column, by number or by name [default: 1]
    #[arg(long, value_name = "COLUMN")]
    csv_key: Option<Column>,
    /// CSV: the size's column
    #[arg(long, value_name = "COLUMN")]
    csv_size: Option<Column>,
    /// CSV: the time's column
    #[arg(long, value_name = "COLUMN")]
    csv_time: Option<Column>,
    /// CSV: the unit of the times
    #[arg(long, value_enum, default_value_t)]
    csv_time_unit: TimeUnit,
    /// CSV: the first line is a head; implied by columns that are named
    #[arg(long)]
    csv_head: bool,
    /// CSV: what stands between two columns [default: ,]
    #[arg(long, value_parser = delimiter, value_name = "CHARACTER")]
    csv_delimiter: Option<u8>,
}

/// What to write.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print comma-separated values
    #[arg(long)]
    pub(crate) csv: bool,
    /// Write a page to look at
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

impl Output {
    /// Whether standard output is a table to look at.
    pub(crate) fn is_for_people(&self) -> bool {
        !self.json && !self.csv
    }
}

impl Input {
    /// How to read each trace.
    pub(crate) fn options(&self) -> Options {
        let told = [&self.csv_key, &self.csv_size, &self.csv_time].into_iter().flatten();
        let is_named = |column: &Column| matches!(column, Column::Name(_));
        let usual = Columns::default();
        let columns = Columns {
            key: self.csv_key.clone().unwrap_or(usual.key),
            size: self.csv_size.clone(),
            time: self.csv_time.clone(),
            time_unit: self.csv_time_unit,
            has_head: self.csv_head || told.clone().any(is_named),
            delimiter: self.csv_delimiter.unwrap_or(usual.delimiter),
        };
        let is_csv = self.csv_head || self.csv_delimiter.is_some() || told.count() > 0;
        Options { format: self.format, is_csv, columns, skip_bad: self.skip_bad }
    }
}

fn policy(name: &str) -> Result<String, String> {
    if name != "all" {
        policies::seeded(name, 0).map_err(|error| error.to_string())?;
    }
    Ok(name.to_owned())
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        &[byte] => Ok(byte),
        _ => Err("expected one character".to_owned()),
    }
}
