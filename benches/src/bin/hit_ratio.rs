//! Hit ratios on recorded traces, beside the offline optimum and the peers' figures.
//!
//! Every access is a get, and an insertion on a miss, through the whole cache; entries weigh 1. The
//! default policy has the stripes that the builder chooses, the others one. Each is replayed with
//! several caches, whose hashers and random numbers are seeded, and the hit ratios are averaged.

use std::fmt::Display;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::{fs, process};

use clap::Parser;
use larder::Cache;
use larder::policy::{Adaptive, AnyPolicy, Policy};
use larder_bench::figures::Figures;
use larder_bench::table::Table;
use larder_bench::trace::{capacities, read_all};
use larder_lab::optimum;
use larder_lab::policies::{Hasher, seeded};
use larder_lab::trace::Trace;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Options {
    /// A folder of traces: `*.txt` and `*.txt.zst`, one access a line, the key first.
    #[arg(long)]
    traces: PathBuf,
    /// Only these traces, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these policies, beside the default [default: all].
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// How many caches each figure is the average of.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Stripes of the default cache [default: as the builder chooses].
    #[arg(long)]
    stripes: Option<usize>,
    /// The peers' figures [default: those of benches/hit_ratios.csv].
    #[arg(long)]
    peers: Option<PathBuf>,
    /// The output of benches/oracle.py, to compare with.
    #[arg(long)]
    oracle: Option<PathBuf>,
    /// Print Markdown.
    #[arg(long)]
    markdown: bool,
}

/// The peers' figures that come with the tool, and the name of their column for the optimum.
const PEERS: &str = include_str!("../../hit_ratios.csv");
const OPTIMUM: &str = "optimum";
/// The row of the default policy with the builder's number of stripes.
const DEFAULT: &str = "larder";
/// The row that others are held against.
const LRU: &str = "lru";
/// Who is so near to the best (points) counts as equal to it.
const NEAR: f64 = 0.5;

fn main() {
    let mut options = Options::parse();
    if options.policies.is_empty() {
        options.policies = AnyPolicy::NAMES.iter().map(|&name| name.to_owned()).collect();
    }
    let peers = options.peers.as_ref().map_or_else(|| PEERS.to_owned(), read);
    let peers = or_exit(Figures::parse(&peers));
    let oracle = options.oracle.as_ref().map(|path| or_exit(Figures::parse(&read(path))));
    let mut traces = or_exit(read_all(&options.traces));
    traces.retain(|trace| options.only.is_empty() || options.only.contains(&trace.name));
    if traces.is_empty() {
        or_exit(Err(format!("no such traces in {}", options.traces.display())))
    }

    let points: Vec<Point> =
        traces.iter().flat_map(|trace| replay_all(trace, &options, &peers)).collect();
    let seeds = options.seeds;
    println!("Hit ratios in percent, averages of {seeds} caches; regrets in points.\n");
    let entrants = entrants(&points[0], &peers);
    println!("{}", summary(&points, &entrants, options.markdown));
    println!("{}", details(&points, &options.policies, options.markdown));
    if let Some(oracle) = oracle {
        let table = differences(&points, &oracle, &options.policies, options.markdown);
        println!("The furthest from the oracle, in points.\n\n{table}");
    }
}

fn or_exit<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("hit_ratio: {error}");
        process::exit(2);
    })
}

fn read(path: &PathBuf) -> String {
    or_exit(fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display())))
}

/// What was measured with one trace at one capacity.
struct Point {
    trace: String,
    capacity: usize,
    optimum: f64,
    /// How many stripes the default cache had.
    stripes: usize,
    /// By row: the hit ratio of every cache of ours, one of every peer.
    ratios: Vec<(String, Vec<f64>)>,
    /// The best of the peers, of whom some hold more than the capacity: but at most the optimum.
    best: Option<(f64, String)>,
}

impl Point {
    fn label(&self) -> String {
        format!("{} {}", self.trace, self.capacity)
    }

    fn each(&self, row: &str) -> Option<&[f64]> {
        self.ratios.iter().find(|(name, _)| name == row).map(|(_, ratios)| &ratios[..])
    }

    fn hit(&self, row: &str) -> Option<f64> {
        self.each(row).map(mean)
    }

    /// How far below the best peer.
    fn regret(&self, hit: f64) -> Option<f64> {
        self.best.as_ref().map(|(best, _)| (best - hit).max(0.0))
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

fn replay_all(trace: &Trace, options: &Options, peers: &Figures) -> Vec<Point> {
    let next_uses = trace.next_uses(None);
    let point = |capacity| {
        eprintln!("{} {capacity} …", trace.name);
        let mut stripes = 0;
        let mut default = |seed| {
            let builder = Cache::<u64, ()>::builder().capacity(capacity as u64);
            let builder = builder.policy(Adaptive::with_seed(seed)).hasher(Hasher::new(seed));
            let cache = match options.stripes {
                Some(stripes) => or_exit(builder.stripes(stripes).try_build()),
                None => builder.build(),
            };
            stripes = cache.stripes();
            replay(&cache, trace)
        };
        let mut ratios =
            vec![(DEFAULT.to_owned(), (1..=options.seeds).map(&mut default).collect())];
        for name in &options.policies {
            let single = |seed| {
                let builder = Cache::<u64, ()>::builder().capacity(capacity as u64).stripes(1);
                let builder = builder.policy(or_exit(seeded(name, seed))).hasher(Hasher::new(seed));
                replay(&builder.build(), trace)
            };
            ratios.push((name.clone(), (1..=options.seeds).map(single).collect()));
        }
        let optimum = trace.percent(optimum::min(trace, &next_uses, capacity as u64) as f64);
        let of_peers = peers.names.iter().filter(|&name| name != OPTIMUM);
        let of_peers: Vec<(f64, String)> = of_peers
            .filter_map(|name| Some((peers.get(&trace.name, capacity, name)?, name.clone())))
            .collect();
        ratios.extend(of_peers.iter().map(|(hit, name)| (name.clone(), vec![*hit])));
        let best = of_peers.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let best = best.map(|(hit, name)| (hit.min(optimum), name));
        if let Some(other) = peers.get(&trace.name, capacity, OPTIMUM)
            && (other - optimum).abs() > 0.006
        {
            eprintln!("the optimum is {optimum:.2}, not {other:.2}");
        }
        Point { trace: trace.name.clone(), capacity, optimum, stripes, ratios, best }
    };
    capacities(trace).map(point).collect()
}

/// The hit ratio in percent.
fn replay<P: Policy, S>(cache: &Cache<u64, (), P, S>, trace: &Trace) -> f64
where
    S: BuildHasher + Send + Sync + 'static,
{
    let mut hits = 0_u32;
    for key in trace.keys.iter().copied().map(u64::from) {
        if cache.get(&key).is_some() {
            hits += 1;
        } else {
            cache.insert(key, ());
        }
    }
    assert!(cache.weight() <= cache.capacity(), "the capacity is kept");
    trace.percent(hits.into())
}

/// The rows of the summary: ours, then the peers.
fn entrants(point: &Point, peers: &Figures) -> Vec<String> {
    let ours =
        point.ratios.iter().map(|(name, _)| name).filter(|&name| !peers.names.contains(name));
    ours.chain(peers.names.iter().filter(|&name| name != OPTIMUM)).cloned().collect()
}

/// How an entrant stands over all the points that it and the peers have figures for.
struct Standing {
    hit: f64,
    regret: f64,
    /// The least and the greatest mean regret of a single cache.
    regrets: (f64, f64),
    worst: (f64, String),
    /// Against LRU: the average's, and that of a single cache.
    worst_lru: Option<(f64, String)>,
    worst_lru_single: f64,
    near: usize,
    points: usize,
}

impl Standing {
    fn of(points: &[Point], row: &str) -> Option<Self> {
        let known: Vec<(&Point, &[f64], f64)> = points
            .iter()
            .filter_map(|point| {
                let each = point.each(row)?;
                Some((point, each, point.regret(mean(each))?))
            })
            .collect();
        let caches = known.first()?.1.len();
        let seed = |number: usize| {
            let regrets: Vec<f64> =
                known.iter().filter_map(|(point, each, _)| point.regret(each[number])).collect();
            mean(&regrets)
        };
        let regrets: Vec<f64> = (0..caches).map(seed).collect();
        let all: Vec<f64> = known.iter().map(|known| known.2).collect();
        let hits: Vec<f64> = known.iter().map(|(_, each, _)| mean(each)).collect();
        let worst = known.iter().map(|(point, _, regret)| (*regret, point.label()));
        let against = |point: &Point, hit: f64| point.hit(LRU).map(|lru| hit - lru);
        let lru = known
            .iter()
            .filter_map(|(point, each, _)| Some((against(point, mean(each))?, point.label())));
        let single = known
            .iter()
            .flat_map(|(point, each, _)| each.iter().filter_map(|&hit| against(point, hit)));
        Some(Self {
            hit: mean(&hits),
            regret: mean(&all),
            regrets: (least(&regrets), -least(&regrets.iter().map(|r| -r).collect::<Vec<_>>())),
            worst: worst.max_by(|a, b| a.0.total_cmp(&b.0))?,
            worst_lru: lru.min_by(|a, b| a.0.total_cmp(&b.0)),
            worst_lru_single: least(&single.collect::<Vec<_>>()),
            near: all.iter().filter(|&&regret| regret <= NEAR).count(),
            points: all.len(),
        })
    }
}

fn least(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}

fn summary(points: &[Point], entrants: &[String], markdown: bool) -> Table {
    let standings: Vec<(&str, Standing)> = entrants
        .iter()
        .filter_map(|name| Some((name.as_str(), Standing::of(points, name)?)))
        .collect();
    let mut table = Table::new("cache", markdown);
    let mut column = |label: &str, text: &dyn Fn(&Standing) -> String| {
        table.column(label);
        standings.iter().for_each(|(name, standing)| table.cell(name, text(standing)));
    };
    column("mean hit ratio", &|s| format!("{:.2}", s.hit));
    column("mean regret", &|s| format!("{:.2}", s.regret));
    column("of one cache", &|s| format!("{:.2} to {:.2}", s.regrets.0, s.regrets.1));
    column("worst regret", &|s| format!("{:.2}", s.worst.0));
    column("where", &|s| s.worst.1.clone());
    let lru = |s: &Standing| s.worst_lru.clone().unwrap_or((f64::NAN, String::new()));
    column("worst against LRU", &|s| format!("{:+.2}", lru(s).0));
    column("where", &|s| lru(s).1);
    column("of one cache", &|s| format!("{:+.2}", s.worst_lru_single));
    column("points near the best", &|s| format!("{}/{}", s.near, s.points));
    table
}

/// A line a point: the optimum, the best peer, the default, and each policy.
fn details(points: &[Point], policies: &[String], markdown: bool) -> Table {
    let mut table = Table::new("trace, capacity", markdown);
    let mut column = |label: &str, text: &dyn Fn(&Point) -> Option<String>| {
        table.column(label);
        for point in points {
            table.cell(&point.label(), text(point).unwrap_or_else(|| "–".to_owned()));
        }
    };
    column("optimum", &|point| Some(format!("{:.2}", point.optimum)));
    column("best peer", &|point| {
        point.best.as_ref().map(|(hit, name)| format!("{hit:.2} ({name})"))
    });
    column(&format!("{DEFAULT} (stripes)"), &|point| {
        Some(format!("{:.2} ({})", point.hit(DEFAULT)?, point.stripes))
    });
    column("regret", &|point| Some(format!("{:.2}", point.regret(point.hit(DEFAULT)?)?)));
    column("against LRU", &|point| Some(format!("{:+.2}", point.hit(DEFAULT)? - point.hit(LRU)?)));
    for policy in policies {
        column(policy, &|point| Some(format!("{:.2}", point.hit(policy)?)));
    }
    table
}

/// For each policy the difference to the oracle that is furthest from 0, by trace.
fn differences(points: &[Point], oracle: &Figures, policies: &[String], markdown: bool) -> Table {
    let mut table = Table::new("trace", markdown);
    for policy in policies.iter().filter(|&policy| oracle.names.contains(policy)) {
        table.column(policy);
        let mut furthest = 0.0;
        for on_trace in points.chunk_by(|a, b| a.trace == b.trace) {
            let difference = |point: &Point| {
                let other = oracle.get(&point.trace, point.capacity, policy)?;
                Some(hundredths(point.hit(policy)? - other))
            };
            let all = on_trace.iter().filter_map(difference);
            let Some(worst) = all.max_by(|a, b| a.abs().total_cmp(&b.abs())) else { continue };
            table.cell(&on_trace[0].trace, format!("{worst:+.2}"));
            furthest = if worst.abs() > f64::abs(furthest) { worst } else { furthest };
        }
        table.cell("all", format!("{furthest:+.2}"));
    }
    table
}

/// Rounded to hundredths, and never to a negative zero.
fn hundredths(number: f64) -> f64 {
    (100.0 * number).round() / 100.0 + 0.0
}
