//! One very hot key, read by every thread at once: what the cache's protection costs when it
//! cannot be spread.

use clap::Parser;
use larder_bench::lineup::{self, PEERS};
use larder_bench::rounds::{Spread, compare};
use larder_bench::table::Table;
use larder_bench::workload::{Column, Keys, Operation, Values};

#[derive(Parser)]
#[command(about, long_about = None)]
struct Options {
    /// Only these caches (quick_cache, the reference, always takes part) [default: all, but
    /// scc-hashcache only with a processor for each thread: else it needs minutes a round].
    #[arg(long, value_delimiter = ',')]
    rivals: Vec<String>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8])]
    threads: Vec<usize>,
    /// Rounds that count.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Operations in a round, all threads together.
    #[arg(long, default_value_t = 2_000_000)]
    ops: usize,
    /// Print Markdown.
    #[arg(long)]
    markdown: bool,
}

const BASE: &str = "quick_cache";

fn main() {
    let options = Options::parse();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut table = Table::new("cache", options.markdown);
    for values in [Values::U64, Values::ArcU64] {
        for &threads in &options.threads {
            let mut names = options.rivals.clone();
            if names.is_empty() {
                names = PEERS.map(str::to_owned).to_vec();
                names.retain(|name| threads <= processors || name != "scc-hashcache");
            }
            names.push(BASE.to_owned());
            measure(&mut table, &column(&options, values, threads), &names, options.rounds);
        }
    }
    println!("Ratio to {BASE}, CPU time / wall time: median over the rounds.\n\n{table}");
}

fn column(options: &Options, values: Values, threads: usize) -> Column {
    let kind = if values == Values::ArcU64 { ", Arc" } else { "" };
    Column {
        label: format!("one hot key{kind}, {threads} thr"),
        operation: Operation::HotKey,
        keys: Keys::U64,
        values,
        distinct: 1000,
        capacity: 2000,
        threads,
        ops: options.ops,
    }
}

fn measure(table: &mut Table, column: &Column, names: &[String], rounds: usize) {
    eprintln!("{} …", column.label);
    let outcomes = compare(&lineup::contenders(column, names), rounds);
    let base = outcomes.iter().find(|outcome| outcome.name == BASE).expect("it always takes part");
    table.column(&column.label);
    let (cpu, wall) = (base.each(|sample| sample.cpu_ns), base.each(|sample| sample.wall_ns));
    table.cell(&format!("{BASE}, ns"), format!("{:.1} / {:.1}", cpu.median, wall.median));
    for outcome in outcomes.iter().filter(|outcome| outcome.name != BASE) {
        let Spread { median: cpu, .. } = outcome.ratio(base, |sample| sample.cpu_ns);
        let Spread { median: wall, .. } = outcome.ratio(base, |sample| sample.wall_ns);
        table.cell(outcome.name, format!("{cpu:.2} / {wall:.2}"));
    }
}
