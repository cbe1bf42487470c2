//! Any policy's hit ratio, from small caches that see some of the keys.
//!
//! A cache for a share of the capacity that sees the accesses to the same share of the keys hits
//! about as often as the whole one. How much it errs depends on a few keys that are asked for very
//! often, and that it sees or not; and in that LRU errs with it. LRU's hit ratio is known well from
//! its curve, so what LRU gains or loses on the sample is taken off.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::Serialize;

use super::reuse::{Effort, LruCurve};
use super::sample::sample;
use crate::progress::Progress;
use crate::replay::{Setup, replay};
use crate::statistics::mean_and_error;
use crate::trace::Trace;

/// How far small caches with all samples may be off even if these agree, in points: `adaptive` was
/// found to need a little longer to learn what to do.
const DIFFERENT: f64 = 0.25;
/// The policy that does other things when it is small, and so is replayed whole: all samples are too
/// high by the same, up to 30 points. Probably its hand, among the newcomers, evicts what is asked for
/// again a few accesses later; in a sample, hardly any other key comes between.
const UNLIKE: &str = "sieve";

/// What to estimate, and how well.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The policies by name.
    pub policies: Vec<String>,
    /// The capacities.
    pub capacities: Vec<u64>,
    /// Whether they are in bytes.
    pub by_size: bool,
    /// How many entries a small cache should have room for at least.
    pub entries: u64,
    /// How many samples, at least two. Where they would be more than half the work, the whole trace is
    /// replayed.
    pub samples: u32,
    /// Other seeds choose other keys.
    pub seed: u64,
}

/// A hit ratio that was not measured with the whole trace.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// The policy.
    pub policy: String,
    /// The capacity.
    pub capacity: u64,
    /// The hit ratio in percent.
    pub hit_percent: f64,
    /// How far off that may be (95 %): from how much the samples differ, and for what small
    /// caches are known to do differently; 0 if the whole trace was replayed.
    pub error: f64,
}

/// Estimates hit ratios, with the help of LRU's, which should be exact: it is relied upon.
///
/// # Errors
/// If there is no such policy.
pub fn estimate(trace: &Trace, plan: &Plan, lru: &LruCurve) -> Result<Vec<Estimate>, String> {
    let points = plan.policies.len() * plan.capacities.len();
    let accesses = trace.len() as f64 * work(trace, plan, &plan.policies) * points as f64;
    let progress = Progress::of_accesses(&trace.name, accesses as u64);
    let at_rate = |(rate, points): &(f64, Vec<Point<'_>>)| {
        let samples = samples(trace, plan, lru, *rate);
        let point = |&point: &Point<'_>| at(point, plan, &samples, lru, &progress);
        points.par_iter().map(point).collect::<Result<Vec<Estimate>, String>>()
    };
    let rates = rates(trace, plan, &plan.policies);
    let estimates: Result<Vec<Vec<Estimate>>, String> = rates.iter().map(at_rate).collect();
    progress.finish();
    Ok(estimates?.into_iter().flatten().collect())
}

/// The part of the trace's keys, or of their bytes, that the sample has.
fn share(trace: &Trace, sample: &Trace, by_size: bool) -> f64 {
    let whole = |trace: &Trace| {
        let bytes = if by_size { trace.footprint() } else { None };
        bytes.map_or(trace.distinct as f64, |bytes| bytes as f64)
    };
    whole(sample) / whole(trace)
}

/// How much of the trace is replayed for a point of these policies, on average.
#[must_use]
pub fn work(trace: &Trace, plan: &Plan, policies: &[String]) -> f64 {
    let count = |rate: f64| if rate < 1.0 { f64::from(plan.samples) } else { 1.0 };
    let rates = rates(trace, plan, policies);
    let replays = rates.iter().map(|(rate, points)| rate * count(*rate) * points.len() as f64);
    replays.sum::<f64>() / (policies.len() * plan.capacities.len()) as f64
}

/// A policy and a capacity.
type Point<'a> = (&'a str, u64);

/// The points of these policies by the share of the keys that they need.
fn rates<'a>(trace: &Trace, plan: &Plan, policies: &'a [String]) -> Vec<(f64, Vec<Point<'a>>)> {
    let mut rates: Vec<(f64, Vec<Point<'a>>)> = Vec::new();
    for &capacity in &plan.capacities {
        let small = rate(trace, plan, capacity);
        for policy in policies {
            let rate = if policy == UNLIKE { 1.0 } else { small };
            let point = (policy.as_str(), capacity);
            match rates.iter_mut().find(|(other, _)| *other == rate) {
                Some((_, points)) => points.push(point),
                None => rates.push((rate, vec![point])),
            }
        }
    }
    rates
}

/// The share of the keys for a capacity: a power of a half, or all if the samples would altogether be
/// more than half of what there is.
fn rate(trace: &Trace, plan: &Plan, capacity: u64) -> f64 {
    let whole = if plan.by_size { trace.footprint() } else { None };
    let entries = match whole {
        Some(bytes) => capacity as f64 * trace.distinct as f64 / bytes as f64,
        None => capacity as f64,
    };
    let halvings = (entries / plan.entries as f64).log2().floor().clamp(0.0, 20.0);
    let rate = 0.5_f64.powi(halvings as i32);
    if rate * f64::from(plan.samples) > 0.5 { 1.0 } else { rate }
}

/// What small caches see.
struct Sample<'a> {
    trace: Cow<'a, Trace>,
    lru: LruCurve,
    /// The part of the whole that it is.
    share: f64,
}

/// The samples of a share of the keys; the trace itself, if that is all.
fn samples<'a>(trace: &'a Trace, plan: &Plan, lru: &LruCurve, rate: f64) -> Vec<Sample<'a>> {
    if rate == 1.0 {
        return vec![Sample { trace: Cow::Borrowed(trace), lru: lru.clone(), share: 1.0 }];
    }
    let draw = |number| {
        let sample = sample(trace, rate, plan.seed << 32 | u64::from(number));
        let share = share(trace, &sample, plan.by_size);
        let capacities = plan.capacities.iter().map(|&capacity| scaled(capacity, share));
        let capacities: Vec<u64> = capacities.collect();
        let lru = LruCurve::at(&sample, &capacities, plan.by_size, Effort::Exact);
        Sample { trace: Cow::Owned(sample), lru, share }
    };
    (0..plan.samples).into_par_iter().map(draw).collect()
}

/// The capacity of a small cache.
fn scaled(capacity: u64, share: f64) -> u64 {
    (capacity as f64 * share).round() as u64
}

fn at(
    (policy, capacity): Point<'_>,
    plan: &Plan,
    samples: &[Sample<'_>],
    lru: &LruCurve,
    progress: &Progress,
) -> Result<Estimate, String> {
    let single = |(number, sample): (usize, &Sample<'_>)| {
        let small = scaled(capacity, sample.share);
        let setup = Setup {
            policy: policy.to_owned(),
            capacity: small,
            by_size: plan.by_size,
            stripes: Some(1),
            time_to_live: None,
            seed: number as u64 + 1,
        };
        let hits = sample.trace.percent(replay(&sample.trace, &setup, progress)?.hits);
        // Nothing is taken off what is the whole trace.
        Ok(hits + lru.hit_percent(capacity) - sample.lru.hit_percent(small))
    };
    let each: Result<Vec<f64>, String> = samples.iter().enumerate().map(single).collect();
    let (mean, error) = mean_and_error(&each?);
    let is_estimated = samples.len() > 1;
    Ok(Estimate {
        policy: policy.to_owned(),
        capacity,
        hit_percent: mean.clamp(0.0, 100.0),
        error: if is_estimated { error.hypot(DIFFERENT) } else { 0.0 },
    })
}
