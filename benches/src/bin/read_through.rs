//! Read-through: hits and cold loads, blocking and async, every cache in turn.

use std::sync::Arc;

use clap::Parser;
use larder_bench::readers::{self, *};
use larder_bench::rival::scramble;
use larder_bench::rounds::{Contender, Outcome, Spread, compare};
use larder_bench::table::Table;
use larder_bench::workload::EXPONENT;
use larder_bench::zipf::Zipf;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Options {
    /// Only these measurements.
    #[arg(long, value_enum, value_delimiter = ',',
        default_values_t = [Ask::Hit, Ask::Cold, Ask::Evict])]
    ask: Vec<Ask>,
    /// Only these caches (quick_cache, the reference, always takes part).
    #[arg(long, value_delimiter = ';')]
    rivals: Vec<String>,
    /// Rounds that count.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Operations in a round.
    #[arg(long, default_value_t = 200_000)]
    ops: usize,
    /// Resident keys.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Print Markdown.
    #[arg(long)]
    markdown: bool,
    /// Run just this cache, once: for instruction counters.
    #[arg(long)]
    only: Option<String>,
}

const BASE: &str = "quick_cache";

/// Ratios that the library was to reach: measurement, cache, to which other, at most.
const WANTED: [(Ask, &str, &str, f64); 8] = [
    (Ask::Hit, "larder", "larder get", 1.1),
    (Ask::Hit, "larder", "quick_cache", 0.65),
    (Ask::Hit, "larder, async", "larder", 1.2),
    (Ask::Hit, "larder loading, async", "larder loading", 1.2),
    (Ask::Cold, "larder", "quick_cache", 0.8),
    (Ask::Cold, "larder loading", "quick_cache", 0.8),
    (Ask::Evict, "larder", "quick_cache", 0.8),
    (Ask::Evict, "larder loading", "quick_cache", 0.8),
];

fn main() {
    let options = Options::parse();
    let mut ratios = Table::new("cache", options.markdown);
    let mut wanted = Table::new("ratio", options.markdown);
    for column in ["wanted", "reached"] {
        wanted.column(column);
    }
    for &ask in &options.ask {
        eprintln!("{} …", ask.label());
        let contenders = contenders(&options, ask);
        if options.only.is_some() {
            for contender in &contenders {
                let sample = contender.run(1);
                println!("{}, {}: {:.1} CPU ns", contender.name, ask.label(), sample.cpu_ns);
            }
            continue;
        }
        let outcomes = compare(&contenders, options.rounds);
        add(&mut ratios, ask, &outcomes);
        for (_, own, other, at_most) in WANTED.iter().filter(|wanted| wanted.0 == ask) {
            let named = |name: &str| outcomes.iter().find(|outcome| outcome.name == name);
            let (Some(own), Some(other)) = (named(own), named(other)) else { continue };
            let row = format!("{}: {} to {}", ask.label(), own.name, other.name);
            wanted.row(&row, vec![format!("{at_most:.2}"), ratio(own, other)]);
        }
    }
    if options.only.is_none() {
        println!("Ratio to {BASE}: median over the rounds [least greatest].\n\n{ratios}");
        println!("{wanted}");
    }
}

fn ratio(own: &Outcome, other: &Outcome) -> String {
    let Spread { min, median, max } = own.ratio(other, |sample| sample.cpu_ns);
    format!("{median:.2} [{min:.2} {max:.2}]")
}

fn add(ratios: &mut Table, ask: Ask, outcomes: &[Outcome]) {
    let base = outcomes.iter().find(|outcome| outcome.name == BASE).expect("it always takes part");
    ratios.column(ask.label());
    let base_ns = base.each(|sample| sample.cpu_ns).median;
    ratios.cell(&format!("{BASE}, CPU ns per operation"), format!("{base_ns:.1}"));
    for outcome in outcomes.iter().filter(|outcome| outcome.name != BASE) {
        ratios.cell(outcome.name, ratio(outcome, base));
    }
    for outcome in outcomes {
        let right = outcome.each(|sample| sample.hits).min;
        assert!(right >= 1.0, "{} answered wrongly", outcome.name);
    }
}

/// Makes and fills the caches that are wanted.
fn contenders(options: &Options, ask: Ask) -> Vec<Contender> {
    let size = Size { keys: options.keys, ops: options.ops };
    let mut zipf = Zipf::new(options.keys, EXPONENT, 42);
    let mut stream = || zipf.take(options.ops).map(scramble).collect();
    let hits: Arc<Vec<Vec<u64>>> = Arc::new((0..4).map(|_| stream()).collect());
    let is_wanted = |name: &str| match &options.only {
        Some(only) => name == only,
        None => {
            options.rivals.is_empty()
                || name == BASE
                || options.rivals.iter().any(|rival| rival == name)
        }
    };
    let mut contenders = Vec::new();
    macro_rules! add {
        ($($Reader:ident)*) => {$(
            if is_wanted($Reader::NAME) {
                contenders.push(readers::contender::<$Reader>(ask, size, &hits));
            }
        )*};
    }
    add!(QuickCache Get Larder Loading Moka Fibre);
    add!(QuickCacheAsync LarderAsync LoadingAsync MokaAsync FoyerAsync FibreAsync);
    contenders
}
