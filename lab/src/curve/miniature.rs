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
    /// How many samples at most, where not the whole trace is replayed.
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
    /// How far off that may be, from how much the samples differ (95 %); 0 if the whole trace was
    /// replayed. What small caches do differently from large ones is not in it.
    pub error: f64,
}

/// Estimates hit ratios, with the help of LRU's.
///
/// # Errors
/// If there is no such policy.
pub fn estimate(trace: &Trace, plan: &Plan, lru: &LruCurve) -> Result<Vec<Estimate>, String> {
    let rates = rates(trace, plan);
    let accesses = work(trace, plan) * (plan.capacities.len() * plan.policies.len()) as f64;
    let accesses = accesses * trace.len() as f64;
    let progress = Progress::of_accesses(&trace.name, accesses as u64);
    let at_rate = |(rate, capacities): &(f64, Vec<u64>)| {
        at_rate(trace, plan, lru, (*rate, capacities), &progress)
    };
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

/// The share of the accesses that is replayed, over all capacities.
#[must_use]
pub fn work(trace: &Trace, plan: &Plan) -> f64 {
    let rates = rates(trace, plan);
    let replays = rates
        .iter()
        .map(|(rate, capacities)| rate * f64::from(samples(plan, *rate)) * capacities.len() as f64);
    replays.sum::<f64>() / plan.capacities.len() as f64
}

/// The capacities by the share of the keys that they need.
fn rates(trace: &Trace, plan: &Plan) -> Vec<(f64, Vec<u64>)> {
    let mut rates: Vec<(f64, Vec<u64>)> = Vec::new();
    for &capacity in &plan.capacities {
        let rate = rate(trace, plan, capacity);
        match rates.iter_mut().find(|(other, _)| *other == rate) {
            Some((_, capacities)) => capacities.push(capacity),
            None => rates.push((rate, vec![capacity])),
        }
    }
    rates
}

/// How many samples of a share of the keys: altogether at most half of what there is.
fn samples(plan: &Plan, rate: f64) -> u32 {
    if rate < 1.0 { plan.samples.min((0.5 / rate) as u32) } else { 1 }
}

/// The share of the keys for a capacity: a power of a half, or all if two samples of the half would
/// be as much.
fn rate(trace: &Trace, plan: &Plan, capacity: u64) -> f64 {
    let whole = if plan.by_size { trace.footprint() } else { None };
    let entries = match whole {
        Some(bytes) => capacity as f64 * trace.distinct as f64 / bytes as f64,
        None => capacity as f64,
    };
    let halvings = (entries / plan.entries as f64).log2().floor().clamp(0.0, 20.0);
    if halvings < 2.0 { 1.0 } else { 0.5_f64.powi(halvings as i32) }
}

/// What small caches see.
struct Sample<'a> {
    trace: Cow<'a, Trace>,
    lru: LruCurve,
    /// The part of the whole that it is.
    share: f64,
}

fn at_rate(
    trace: &Trace,
    plan: &Plan,
    lru: &LruCurve,
    (rate, capacities): (f64, &[u64]),
    progress: &Progress,
) -> Result<Vec<Estimate>, String> {
    let samples: Vec<Sample<'_>> = (0..samples(plan, rate))
        .into_par_iter()
        .map(|seed| {
            if rate == 1.0 {
                return Sample { trace: Cow::Borrowed(trace), lru: lru.clone(), share: 1.0 };
            }
            let sample = sample(trace, rate, plan.seed << 32 | u64::from(seed));
            let lru = LruCurve::new(&sample, plan.by_size, Effort::Exact);
            let share = share(trace, &sample, plan.by_size);
            Sample { trace: Cow::Owned(sample), lru, share }
        })
        .collect();
    let jobs = capacities
        .iter()
        .flat_map(|&capacity| plan.policies.iter().map(move |policy| (capacity, policy.as_str())));
    let estimate = |(capacity, policy): (u64, &str)| {
        let single = |(seed, sample): (usize, &Sample<'_>)| {
            let small = (capacity as f64 * sample.share).round() as u64;
            let setup = Setup {
                policy: policy.to_owned(),
                capacity: small,
                by_size: plan.by_size,
                stripes: Some(1),
                time_to_live: None,
                seed: seed as u64 + 1,
            };
            let hits = sample.trace.percent(replay(&sample.trace, &setup, progress)?.hits);
            // Nothing is taken off what is the whole trace.
            Ok(hits + lru.hit_percent(capacity) - sample.lru.hit_percent(small))
        };
        let each: Result<Vec<f64>, String> = samples.iter().enumerate().map(single).collect();
        let (mean, error) = mean_and_error(&each?);
        Ok(Estimate {
            policy: policy.to_owned(),
            capacity,
            hit_percent: mean.clamp(0.0, 100.0),
            error,
        })
    };
    jobs.collect::<Vec<_>>().into_par_iter().map(estimate).collect()
}
