//! Every policy at every capacity, on all cores.

use std::time::Duration;

use larder::policy::AnyPolicy;
use rayon::prelude::*;
use serde::Serialize;

use crate::capacity::Capacities;
use crate::optimum::{self, Bound, Goal};
use crate::progress::Progress;
use crate::replay::{Counts, Setup, replay, replay_textbook};
use crate::statistics::mean_and_error;
use crate::trace::Trace;

/// The name of the textbook's LRU among the entrants.
pub const TEXTBOOK: &str = "textbook LRU";
/// The name of what a cache that knows the future can do.
pub const OPTIMUM: &str = "optimum";
/// The name of what no cache can beat, where the optimum is not known.
pub const BOUND: &str = "upper bound";

/// The longest trace whose entries can expire: the cache's clock goes not much further.
const LONGEST_YEARS: u64 = 8;
const YEAR: u64 = 365 * 24 * 60 * 60 * 1_000_000_000;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The policies by name.
    pub policies: Vec<String>,
    /// The capacities.
    pub capacities: Capacities,
    /// Whether entries weigh their sizes, and not 1.
    pub by_size: bool,
    /// Stripes, if not as the builder chooses.
    pub stripes: Option<usize>,
    /// The time to live, in the trace's time.
    pub time_to_live: Option<Duration>,
    /// How many caches, with different seeds, each figure is the average of.
    pub seeds: u64,
}

/// An entrant's figures with one trace at one capacity.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The policy, [`TEXTBOOK`], [`OPTIMUM`] or [`BOUND`].
    pub policy: String,
    /// The capacity, in entries or in bytes.
    pub capacity: u64,
    /// The number of stripes; 0 for what is no cache of ours.
    pub stripes: usize,
    /// Hits in percent of the accesses.
    pub hit_percent: f64,
    /// Bytes of hits in percent of all bytes, if the trace has sizes.
    pub byte_hit_percent: Option<f64>,
    /// How far off the hit ratio may be, in points, from how much several caches or samples differ
    /// (95 %); 0 if there was one only.
    pub error: f64,
    /// Nanoseconds for an access, if it was a cache.
    pub nanos_per_access: Option<f64>,
    /// Entries that had to make room, if it was a cache.
    pub evictions: Option<u64>,
    /// Newcomers that were not let in, if it was a cache.
    pub refusals: Option<u64>,
    /// Entries whose time was over, if it was a cache of ours.
    pub expirations: Option<u64>,
}

/// What came of one trace.
#[derive(Clone, Debug, Serialize)]
pub struct Simulation {
    /// Its name.
    pub trace: String,
    /// Its accesses.
    pub accesses: usize,
    /// Its keys.
    pub distinct: usize,
    /// The bytes of all its accesses, if it has sizes.
    pub bytes: Option<u64>,
    /// The bytes of all its keys, if it has sizes.
    pub footprint: Option<u64>,
    /// Bad lines that were left out.
    pub skipped: u64,
    /// Of how many keys one was recorded, and the capacities are as much smaller; 0 if that is not
    /// known.
    pub one_in: u64,
    /// Whether capacities are in bytes.
    pub by_size: bool,
    /// Hits in percent of the accesses, if there is room for everything: all but those that are the
    /// first of their keys, or come too late for a time to live (a bound from above then).
    pub reachable_percent: f64,
    /// In the order of capacities, and there of entrants: the policies, the textbook, the optimum.
    pub outcomes: Vec<Outcome>,
}

/// All policies there are.
#[must_use]
pub fn all_policies() -> Vec<String> {
    AnyPolicy::NAMES.iter().map(|&name| name.to_owned()).collect()
}

/// Simulates.
///
/// # Errors
/// If the plan does not fit the trace, or asks for a cache that there cannot be.
pub fn simulate(trace: &Trace, plan: &Plan) -> Result<Simulation, String> {
    if plan.time_to_live.is_some() {
        check_times(trace)?;
    }
    let capacities = plan.capacities.of(trace, plan.by_size)?;
    let next_uses = trace.next_uses(plan.time_to_live);
    let limits = Limits::new(trace, &next_uses, plan.by_size);
    let replays = plan.policies.len() as u64 * plan.seeds + 1;
    let accesses = capacities.len() as u64 * replays * trace.len() as u64;
    let progress = Progress::of_accesses(&trace.name, accesses);

    let limit = if plan.by_size || plan.time_to_live.is_some() { BOUND } else { OPTIMUM };
    let entrants = plan.policies.iter().map(String::as_str).chain([TEXTBOOK, limit]);
    let jobs: Vec<(u64, &str)> = capacities
        .iter()
        .flat_map(|&capacity| entrants.clone().map(move |entrant| (capacity, entrant)))
        .collect();
    let run = |&(capacity, entrant): &(u64, &str)| {
        if entrant == limit {
            return Ok(limits.outcome(trace, limit, capacity));
        }
        let setup = |seed| Setup {
            policy: entrant.to_owned(),
            capacity,
            by_size: plan.by_size,
            stripes: plan.stripes,
            time_to_live: plan.time_to_live,
            seed,
        };
        if entrant == TEXTBOOK {
            let counts = replay_textbook(trace, &setup(0), &progress);
            return Ok(outcome(trace, entrant, capacity, &[counts]));
        }
        let caches: Result<Vec<Counts>, String> =
            (1..=plan.seeds).map(|seed| replay(trace, &setup(seed), &progress)).collect();
        Ok(outcome(trace, entrant, capacity, &caches?))
    };
    let outcomes: Result<Vec<Outcome>, String> = jobs.par_iter().map(run).collect();
    progress.finish();
    let reachable = next_uses.iter().filter(|&&next| next != Trace::NEVER).count();
    Ok(Simulation::new(trace, reachable, plan.by_size, outcomes?))
}

/// Whether entries can expire.
fn check_times(trace: &Trace) -> Result<(), String> {
    let Trace { name, times, .. } = trace;
    let times = times.as_ref();
    let times = times.ok_or_else(|| format!("{name} has no times, so nothing can expire"))?;
    let span = times.last().zip(times.first()).map_or(0, |(last, first)| last - first);
    if span > LONGEST_YEARS * YEAR {
        return Err(format!(
            "{name} takes {} years, and entries can expire in {LONGEST_YEARS} at most: are its \
            times in another unit?",
            span / YEAR
        ));
    }
    Ok(())
}

impl Simulation {
    /// What came of `trace`, so many accesses to which would be hits if there were room for
    /// everything.
    #[must_use]
    pub fn new(trace: &Trace, reachable: usize, by_size: bool, outcomes: Vec<Outcome>) -> Self {
        Self {
            trace: trace.name.clone(),
            accesses: trace.len(),
            distinct: trace.distinct,
            bytes: trace.bytes(),
            footprint: trace.footprint(),
            skipped: trace.skipped,
            one_in: trace.one_in,
            by_size,
            reachable_percent: trace.percent(reachable as f64),
            outcomes,
        }
    }
}

/// The average of some caches' figures.
fn outcome(trace: &Trace, policy: &str, capacity: u64, caches: &[Counts]) -> Outcome {
    let mean = |of: fn(&Counts) -> f64| caches.iter().map(of).sum::<f64>() / caches.len() as f64;
    let count = |of| Some(mean(of).round() as u64);
    let percents: Vec<f64> = caches.iter().map(|counts| trace.percent(counts.hits)).collect();
    let (hit_percent, error) = mean_and_error(&percents);
    let byte_percent = |bytes: u64| 100.0 * mean(|counts| counts.hit_bytes) / bytes as f64;
    let is_ours = policy != TEXTBOOK;
    Outcome {
        policy: policy.to_owned(),
        capacity,
        stripes: caches[0].stripes,
        hit_percent,
        byte_hit_percent: trace.bytes().map(byte_percent),
        error,
        nanos_per_access: Some(mean(|counts| counts.nanos)),
        evictions: count(|counts| counts.evictions),
        refusals: count(|counts| counts.refusals).filter(|_| is_ours),
        expirations: count(|counts| counts.expirations).filter(|_| is_ours),
    }
}

/// What no cache can beat.
enum Limits<'a> {
    Exact(&'a [u32]),
    Bounds(Bound, Bound),
}

impl Outcome {
    /// Whether it is of a policy of the cache.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        ![TEXTBOOK, OPTIMUM, BOUND].contains(&self.policy.as_str())
    }

    /// A hit ratio, and nothing else.
    #[must_use]
    pub fn of_hits(policy: &str, capacity: u64, hit_percent: f64) -> Self {
        Self {
            policy: policy.to_owned(),
            capacity,
            stripes: 0,
            hit_percent,
            byte_hit_percent: None,
            error: 0.0,
            nanos_per_access: None,
            evictions: None,
            refusals: None,
            expirations: None,
        }
    }
}

impl<'a> Limits<'a> {
    fn new(trace: &Trace, next_uses: &'a [u32], by_size: bool) -> Self {
        let bound = |goal| Bound::new(trace, next_uses, goal);
        match by_size {
            true => Self::Bounds(bound(Goal::Hits), bound(Goal::Bytes)),
            false => Self::Exact(next_uses),
        }
    }

    fn outcome(&self, trace: &Trace, name: &str, capacity: u64) -> Outcome {
        let (hits, bytes) = match self {
            Self::Exact(next_uses) => (optimum::min(trace, next_uses, capacity) as f64, None),
            Self::Bounds(hits, bytes) => (hits.at(capacity), Some(bytes.at(capacity))),
        };
        let of_all = |bytes: f64| Some(100.0 * bytes / trace.bytes()? as f64);
        Outcome {
            byte_hit_percent: bytes.and_then(of_all),
            ..Outcome::of_hits(name, capacity, trace.percent(hits))
        }
    }
}
