//! The slowest single insertion while a cache grows from empty.
//!
//! Keys, hashers and the policy's sampling are seeded, and there is one thread, so every round does
//! the same at the same insertion. The least time of each insertion over the rounds is what the
//! cache takes; the slowest of these is the figure. The slowest insertion of the best whole round is
//! shown too, and beside it that of a loop that inserts nothing: it has the machine's own stalls.

use std::{hint::black_box, time::Instant};

use ahash::RandomState;
use clap::Parser;
use larder::{Cache, policy::Adaptive};
use larder_bench::rival::Key;
use larder_bench::table::Table;
use larder_bench::thread;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Options {
    /// Only these caches.
    #[arg(long, value_delimiter = ',')]
    rivals: Vec<String>,
    /// Capacity and number of keys inserted.
    #[arg(long, default_value_t = 1_000_000)]
    entries: usize,
    /// How often each cache grows.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Print Markdown.
    #[arg(long)]
    markdown: bool,
}

/// Steps that take about as long as an insertion.
const WORK: u64 = 400;

fn main() {
    let options = Options::parse();
    thread::pin(0);
    let n = options.entries;
    let mut table = Table::new("cache", options.markdown);
    table.column("slowest insertion, best round, µs");
    let mut lines = Vec::new();
    let mut add = |name, grow: &dyn Fn(&mut [u32])| {
        if options.rivals.is_empty() || options.rivals.iter().any(|wanted| wanted == name) {
            eprintln!("{name} …");
            lines.push((name, Figures::of(options.rounds, n, grow)));
        }
    };
    add("larder", &|least| {
        let policy = Adaptive::with_seed(1);
        let builder = Cache::builder().capacity(n as u64).hasher(hasher());
        let cache = builder.policy(policy).build();
        grow(least, |key| _ = cache.insert(key, key));
    });
    add("quick_cache", &|least| {
        use quick_cache::UnitWeighter;
        use quick_cache::sync::{Cache, DefaultLifecycle};
        let life = DefaultLifecycle::default();
        let cache = Cache::with(n, n as u64, UnitWeighter, hasher(), life);
        grow(least, |key| cache.insert(key, key));
    });
    add("scc-hashcache", &|least| {
        let cache = scc::HashCache::with_capacity_and_hasher(0, n, hasher());
        grow(least, |key| _ = cache.put_sync(key, key));
    });

    // What the machine does by itself, and what reading the clock takes. It runs about as long as the
    // others do.
    add("nothing", &|least| {
        grow(least, |key| (0..WORK).for_each(|step| _ = black_box(key + step)))
    });

    for (name, figures) in &lines {
        table.cell(name, format!("{:.1}", figures.best_round));
    }
    table.column("least for each insertion: slowest, µs");
    lines.iter().for_each(|(name, f)| table.cell(name, format!("{:.1}", f.slowest)));
    table.column("99.99 %, µs");
    lines.iter().for_each(|(name, f)| table.cell(name, format!("{:.1}", f.p9999)));
    table.column("mean, ns");
    lines.iter().for_each(|(name, f)| table.cell(name, format!("{:.0}", f.mean_ns)));
    println!("{n} u64 keys with u64 values, from empty; {} rounds.\n\n{table}", options.rounds);
}

/// Not random, so that tables grow at the same insertion in every round.
fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// Inserts a key for each cell and writes there how long that took, in nanoseconds.
fn grow(times: &mut [u32], mut insert: impl FnMut(u64)) {
    for (rank, time) in (0..).zip(times) {
        let key = u64::item(rank);
        let start = Instant::now();
        insert(key);
        *time = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
    }
}

struct Figures {
    slowest: f64,
    best_round: f64,
    p9999: f64,
    mean_ns: f64,
}

impl Figures {
    fn of(rounds: usize, n: usize, grow: &dyn Fn(&mut [u32])) -> Self {
        let mut least = vec![u32::MAX; n];
        let mut best_round = u32::MAX;
        let mut times = vec![0; n];
        for _ in 0..rounds {
            grow(&mut times);
            best_round = best_round.min(times.iter().copied().max().unwrap_or_default());
            least.iter_mut().zip(&times).for_each(|(least, &time)| *least = time.min(*least));
        }
        least.sort_unstable();
        let micros = |ns: u32| f64::from(ns) / 1000.0;
        Self {
            slowest: micros(least[n - 1]),
            best_round: micros(best_round),
            p9999: micros(least[((n - 1) as f64 * 0.9999) as usize]),
            mean_ns: least.iter().map(|&ns| f64::from(ns)).sum::<f64>() / n as f64,
        }
    }
}
