//! Processor time an operation, every cache in turn on the same streams of keys.

use clap::{Parser, ValueEnum};
use larder_bench::lineup::{self, PEERS, VARIANTS};
use larder_bench::rounds::{Outcome, Spread, compare};
use larder_bench::table::Table;
use larder_bench::workload::{Column, Keys, Operation, Values};

#[derive(Parser)]
#[command(about, long_about = None)]
struct Options {
    /// Which set of measurements to take.
    #[arg(long, value_enum, default_value_t = Suite::Main)]
    suite: Suite,
    /// Only these workloads of the suite.
    #[arg(long, value_enum, value_delimiter = ',')]
    workload: Vec<Operation>,
    /// Only these caches (the base always takes part).
    #[arg(long, value_delimiter = ',')]
    rivals: Vec<String>,
    /// The cache that the ratios are to [default: quick_cache; of the variants: larder].
    #[arg(long)]
    base: Option<String>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8])]
    threads: Vec<usize>,
    /// Rounds that count.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Operations in a round, all threads together.
    #[arg(long, default_value_t = 1_000_000)]
    ops: usize,
    /// Distinct keys [default: as the suite says].
    #[arg(long)]
    keys: Option<usize>,
    /// Capacity in the workloads without misses, as a multiple of the number of keys.
    #[arg(long, default_value_t = 2.0)]
    room: f64,
    /// Print Markdown.
    #[arg(long)]
    markdown: bool,
    /// Run just this cache, once, on one thread: for instruction counters.
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// 100 000 u64 keys; u64 and Arc values.
    Main,
    /// 1 000 000 u64 keys.
    Million,
    /// 100 000 String keys of 20 bytes, looked up by &str.
    Strings,
    /// 20 000 values of 1 KiB, cloned and behind Arc.
    Kib,
    /// larder with one option changed at a time; the ratios are to larder as it comes.
    Variants,
    /// Caches of 1, 16 and 1000 entries, read through, ten times as many keys.
    Small,
}

fn main() {
    let options = Options::parse();
    if let Some(name) = &options.only {
        return run_only(&options, name);
    }
    let (everyone, base) = match options.suite {
        Suite::Variants => (&VARIANTS[..], "larder"),
        _ => (&PEERS[..], "quick_cache"),
    };
    let base = options.base.clone().unwrap_or_else(|| base.to_owned());
    let mut names = options.rivals.clone();
    if names.is_empty() {
        names = everyone.iter().map(|&name| name.to_owned()).collect();
    }
    names.push(base.clone());

    let mut tables = Tables::new(&base, options.markdown);
    for column in columns(&options) {
        eprintln!("{} …", column.label);
        let contenders = lineup::contenders(&column, &names);
        tables.add(&column, &compare(&contenders, options.rounds));
    }
    tables.print();
}

/// The measurements that the options ask for.
fn columns(options: &Options) -> Vec<Column> {
    let mut columns = Vec::new();
    for (operation, keys, values, distinct, capacity) in suite(options) {
        if !options.workload.is_empty() && !options.workload.contains(&operation) {
            continue;
        }
        for &threads in &options.threads {
            let mut label = operation.label().to_owned();
            match values {
                Values::U64 => {}
                Values::ArcU64 => label += ", Arc",
                Values::Kib => label += ", 1 KiB cloned",
                Values::ArcKib => label += ", 1 KiB in Arc",
            }
            if options.suite == Suite::Small {
                label += &format!(", {capacity}");
            }
            label += &format!(", {threads} thr");
            let ops = options.ops;
            columns.push(Column {
                label,
                operation,
                keys,
                values,
                distinct,
                capacity,
                threads,
                ops,
            });
        }
    }
    columns
}

/// Workload, kinds of key and value, distinct keys and capacity of a suite's measurements.
fn suite(options: &Options) -> Vec<(Operation, Keys, Values, usize, usize)> {
    use Operation::{Hit, HotKey, Insert, ReadThrough, Reads};
    let row = |operation, keys, values, distinct: usize| {
        let capacity = match operation {
            Hit | HotKey => (distinct as f64 * options.room) as usize,
            Reads | Insert => distinct / 2,
            ReadThrough => distinct / 10,
        };
        (operation, keys, values, distinct, capacity)
    };
    let distinct = |default| options.keys.unwrap_or(default);
    let all = |keys, n| [Hit, Reads, Insert, ReadThrough].map(|op| row(op, keys, Values::U64, n));
    match options.suite {
        Suite::Main => {
            let n = distinct(100_000);
            let mut rows = all(Keys::U64, n).to_vec();
            rows.push(row(Hit, Keys::U64, Values::ArcU64, n));
            rows
        }
        Suite::Variants => all(Keys::U64, distinct(100_000)).to_vec(),
        Suite::Million => all(Keys::U64, distinct(1_000_000)).to_vec(),
        Suite::Strings => all(Keys::String, distinct(100_000)).to_vec(),
        Suite::Kib => {
            let n = distinct(20_000);
            let pair =
                |op| [Values::Kib, Values::ArcKib].map(|values| row(op, Keys::U64, values, n));
            [Hit, ReadThrough].into_iter().flat_map(pair).collect()
        }
        Suite::Small => {
            [10, 160, 10_000].map(|n| row(ReadThrough, Keys::U64, Values::U64, n)).to_vec()
        }
    }
}

/// Runs one round of one cache, and nothing else, on this workload.
fn run_only(options: &Options, name: &str) {
    let mut columns = columns(options);
    columns.retain(|column| column.threads == options.threads[0]);
    for column in columns {
        for contender in lineup::contenders(&column, &[name.to_owned()]) {
            let sample = contender.run(0);
            println!("{name}, {}: {:.1} CPU ns an operation", column.label, sample.cpu_ns);
        }
    }
}

/// The results: ratios, what went worst, and whether the caches hit alike.
struct Tables {
    base: String,
    ratios: Table,
    tails: Table,
    hits: Table,
}

impl Tables {
    fn new(base: &str, markdown: bool) -> Self {
        let table = || Table::new("cache", markdown);
        Self { base: base.to_owned(), ratios: table(), tails: table(), hits: table() }
    }

    fn add(&mut self, column: &Column, outcomes: &[Outcome]) {
        let Some(base) = outcomes.iter().find(|outcome| outcome.name == self.base) else {
            eprintln!("{}: there is no cache {:?} here to compare with", column.label, self.base);
            std::process::exit(2);
        };
        self.ratios.column(&column.label);
        self.ratios.cell(
            &format!("{}, CPU ns per operation", self.base),
            format!("{:.1}", base.each(|sample| sample.cpu_ns).median),
        );
        for outcome in outcomes.iter().filter(|outcome| outcome.name != self.base) {
            let Spread { min, median, max } = outcome.ratio(base, |sample| sample.cpu_ns);
            self.ratios.cell(outcome.name, format!("{median:.2} [{min:.2} {max:.2}]"));
        }

        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        if column.threads > processors {
            self.tails.column(&column.label);
            for outcome in outcomes {
                let cpu = outcome.each(|sample| sample.cpu_ns);
                let wall = outcome.each(|sample| sample.wall_ns);
                let (cpu, wall) = (cpu.max / cpu.median, wall.max / wall.median);
                self.tails.cell(outcome.name, format!("{cpu:.1} / {wall:.1}"));
            }
        }

        if matches!(column.operation, Operation::Reads | Operation::ReadThrough) {
            self.hits.column(&column.label);
            for outcome in outcomes {
                let percent = 100.0 * outcome.each(|sample| sample.hits).median;
                self.hits.cell(outcome.name, format!("{percent:.1}"));
            }
        }
    }

    fn print(&self) {
        println!("Ratio to {}: median over the rounds [least greatest].\n", self.base);
        println!("{}", self.ratios);
        if !self.tails.is_empty() {
            println!("Slowest round over the median: CPU time / wall time.\n\n{}", self.tails);
        }
        if !self.hits.is_empty() {
            println!("Hits per hundred operations.\n\n{}", self.hits);
        }
    }
}
