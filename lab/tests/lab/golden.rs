//! Hit ratios that may not get worse, and that agree with other implementations.
//!
//! `golden.csv` has a line for each trace and capacity, and a column for each policy: percent, with
//! one stripe, the average of three seeded caches. When a policy has become better, or is new, or a
//! loss is meant, write it anew: `LARDER_GOLDEN=write cargo test --release -p larder-lab golden`.
//! The recorded traces are looked for in `../shared/traces` beside the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use larder_lab::capacity::{Capacities, Capacity};
use larder_lab::policies::BY_WEIGHT;
use larder_lab::simulate::{OPTIMUM, Plan, TEXTBOOK, all_policies, simulate};
use larder_lab::trace::{Options, Source, Trace};

use crate::made;

/// The most that a hit ratio may fall, in points.
const LOSS: f64 = 0.2;
/// How many accesses the made-up traces have.
const ACCESSES: usize = 48_000;

/// Hit ratios in percent by trace, capacity and policy.
type Figures = BTreeMap<(String, u64, String), f64>;

/// Reads a table whose columns from the third on are policies.
fn table(text: &str) -> Figures {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.comment(Some(b'#')).from_reader(text.as_bytes());
    let names = reader.headers().expect("a head").clone();
    let mut figures = Figures::new();
    for row in reader.records() {
        let row = row.expect("a row");
        for (name, cell) in names.iter().zip(&row).skip(2) {
            let capacity = row[1].parse().expect("a capacity");
            let percent = cell.parse().expect("a hit ratio");
            figures.insert((row[0].to_owned(), capacity, name.to_owned()), percent);
        }
    }
    figures
}

fn golden() -> Figures {
    let text = fs::read_to_string(golden_file()).unwrap_or_default();
    if text.is_empty() { Figures::new() } else { table(&text) }
}

fn golden_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden.csv")
}

/// The hit ratios of all policies, and the optimum, at 1, 5, 10 and 25 % of the keys, but at least
/// 16.
fn measure(traces: impl IntoIterator<Item = Trace>) -> Figures {
    let mut figures = Figures::new();
    for trace in traces {
        let capacity =
            |share: usize| Capacity::Entries((trace.distinct * share / 100).max(16) as u64);
        let plan = Plan {
            policies: all_policies(),
            capacities: Capacities([1, 5, 10, 25].map(capacity).into()),
            by_size: false,
            stripes: Some(1),
            time_to_live: None,
            seeds: 3,
        };
        let mut outcomes = simulate(&trace, &plan).expect("a simulation").outcomes;
        outcomes.retain(|outcome| outcome.policy != TEXTBOOK);
        for outcome in outcomes {
            let key = (trace.name.clone(), outcome.capacity, outcome.policy);
            figures.insert(key, outcome.hit_percent);
        }
    }
    figures
}

/// The recorded traces' figures, if there are such traces and the build is fast enough.
fn recorded() -> Option<&'static Figures> {
    static FIGURES: OnceLock<Option<Figures>> = OnceLock::new();
    let measured = || {
        if cfg!(debug_assertions) {
            println!("skipped: recorded traces are replayed in release builds only");
            return None;
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces");
        let Ok(files) = fs::read_dir(folder) else {
            println!("skipped: no traces in ../shared/traces");
            return None;
        };
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.retain(|path| path.to_string_lossy().ends_with(".txt.zst"));
        paths.sort();
        let read = |path| Source::File(path).read(&Options::default(), |input, _| input);
        Some(measure(paths.into_iter().map(read).map(|trace| trace.expect("a trace"))))
    };
    FIGURES.get_or_init(measured).as_ref()
}

/// Holds the figures against the golden ones, or puts them in their place if asked to.
fn hold(figures: &Figures) {
    static FILE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FILE.lock();
    let mut golden = golden();
    if std::env::var("LARDER_GOLDEN").is_ok_and(|wish| wish == "write") {
        golden.extend(figures.iter().map(|(key, percent)| (key.clone(), *percent)));
        return write(&golden);
    }
    let mut lost = Vec::new();
    for ((trace, capacity, policy), percent) in figures {
        match golden.get(&(trace.clone(), *capacity, policy.clone())) {
            Some(before) if percent + LOSS >= *before => {}
            Some(before) => lost.push(format!(
                "{policy} on {trace} at {capacity}: {percent:.2} %, was {before:.2} %"
            )),
            None => lost.push(format!("{policy} on {trace} at {capacity} is not in the file")),
        }
    }
    assert!(lost.is_empty(), "see golden.rs:\n{}", lost.join("\n"));
}

fn write(golden: &Figures) {
    let mut names = all_policies();
    names.insert(0, OPTIMUM.to_owned());
    let mut text = format!("trace,capacity,{}\n", names.join(","));
    let points: std::collections::BTreeSet<_> =
        golden.keys().map(|(trace, capacity, _)| (trace, *capacity)).collect();
    for (trace, capacity) in points {
        let cell = |name: &String| {
            let percent = golden.get(&(trace.clone(), capacity, name.clone()));
            percent.map_or_else(|| "0".to_owned(), |percent| format!("{percent:.4}"))
        };
        let cells: Vec<String> = names.iter().map(cell).collect();
        text += &format!("{trace},{capacity},{}\n", cells.join(","));
    }
    fs::write(golden_file(), text).expect("golden.csv");
}

#[test]
fn no_policy_gets_worse_on_made_up_traces() {
    let made = [made::zipf, made::cycle, made::scans, made::phases];
    hold(&measure(made.map(|make| make(ACCESSES))));
}

#[test]
fn no_policy_gets_worse_on_recorded_traces() {
    recorded().inspect(|figures| hold(figures));
}

/// What libCacheSim has, and LFU with dynamic ageing written in Python: `oracle.csv` is the output
/// of `benches/oracle.py`.
#[test]
fn the_policies_agree_with_other_implementations() {
    let Some(figures) = recorded() else { return };
    let oracle = table(include_str!("../../oracle.csv"));
    assert_eq!(oracle.len(), 5 * 48);
    for (key, theirs) in &oracle {
        let (trace, capacity, policy) = (key.0.as_str(), key.1, key.2.as_str());
        let near = match policy {
            // libCacheSim's refuses every newcomer where its small queue is for one entry.
            "s3-fifo" if (trace, capacity) == ("lirs-loop", 16) => 1.5,
            // Ghosts are kept in other ways, which tiny caches feel.
            "s3-fifo" if capacity < 100 => 0.5,
            "s3-fifo" => 0.25,
            _ => 0.005,
        };
        let apart = figures[key] - theirs;
        assert!(apart.abs() <= near, "{policy} on {trace} at {capacity}: {apart:+.2} points");
    }
}

/// cp-io by bytes, at 1, 5, 10 and 25 % of them: libCacheSim 0.3.5's GDSF in hits, and its S3-FIFO
/// in bytes, are reached to within a tenth of a point in hits and 0.7 in bytes.
#[test]
fn weighted_caches_have_the_hits_or_the_bytes_they_are_for() {
    const GDSF: [f64; 4] = [17.91, 20.81, 24.18, 36.37];
    const S3_FIFO: [f64; 4] = [2.36, 5.26, 12.30, 29.21];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces/cp-io.txt.zst");
    if cfg!(debug_assertions) || !file.exists() {
        return println!("skipped: needs the recorded traces and an optimised build");
    }
    let trace = Source::File(file).read(&Options::default(), |input, _| input).expect("a trace");
    let plan = Plan {
        policies: ["gdsf", "adaptive", BY_WEIGHT].map(str::to_owned).into(),
        capacities: "1%,5%,10%,25%".parse().expect("capacities"),
        by_size: true,
        stripes: Some(8),
        time_to_live: None,
        seeds: 5,
    };
    let outcomes = simulate(&trace, &plan).expect("a simulation").outcomes;
    for (policy, figures, slack) in
        [("gdsf", GDSF, 0.1), ("adaptive", GDSF, 0.1), (BY_WEIGHT, S3_FIFO, 0.7)]
    {
        let ours = outcomes.iter().filter(|outcome| outcome.policy == policy);
        for (outcome, theirs) in ours.zip(figures) {
            let bytes = outcome.byte_hit_percent.expect("it has sizes");
            let percent = if policy == BY_WEIGHT { bytes } else { outcome.hit_percent };
            let at = outcome.capacity;
            assert!(percent + slack >= theirs, "{policy} at {at}: {percent:.2}, {theirs} wanted");
        }
    }
}

#[test]
fn the_optimum_agrees_with_another_implementation() {
    let Some(figures) = recorded() else { return };
    let others = table(include_str!("../../../benches/hit_ratios.csv"));
    let optima = others.iter().filter(|(key, _)| key.2 == OPTIMUM);
    let apart = optima.map(|(key, theirs)| (figures[key] - theirs).abs());
    assert!(apart.fold(0.0, f64::max) < 0.006, "they are rounded to two digits");
}
