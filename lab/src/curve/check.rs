//! How far off the curves are, and what they save.

use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use super::LRU;
use super::miniature::{self, Plan};
use super::reuse::{Effort, LruCurve};
use crate::progress::Progress;
use crate::replay::{Setup, replay};
use crate::simulate::{Outcome, Simulation};
use crate::trace::Trace;

/// How often LRU's curves are timed; the shortest time counts.
const ROUNDS: usize = 9;

/// How far a policy's curve is from the truth, and what it cost.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The policy.
    pub policy: String,
    /// The mean difference over all capacities, in points.
    pub mean: f64,
    /// The greatest.
    pub worst: f64,
    /// How many capacities there are with an error, and how many of them are off by more.
    pub outside: (usize, usize),
    /// How many times less work it was: sums kept up or asked for by LRU, accesses replayed by others.
    pub less_work: f64,
    /// How many times less time it took; LRU only.
    pub less_time: Option<f64>,
}

/// Holds the curves against the exact one of LRU, and against the whole trace through a cache of
/// one stripe.
///
/// # Errors
/// If there is no such policy.
pub fn check(
    trace: &Trace,
    plan: &Plan,
    effort: Effort,
    curves: &Simulation,
) -> Result<Vec<Check>, String> {
    let accesses = trace.len() * plan.capacities.len() * plan.policies.len();
    let progress = Progress::of_accesses("checking", accesses as u64);
    let checked = plan.policies.iter().map(|policy| {
        let of_policy = curves.outcomes.iter().filter(|outcome| outcome.policy == *policy);
        let points: Vec<&Outcome> = of_policy.collect();
        if policy == LRU {
            return Ok(check_lru(trace, plan, effort, &points));
        }
        let truth = |point: &&Outcome| {
            let setup = Setup {
                policy: policy.clone(),
                capacity: point.capacity,
                by_size: plan.by_size,
                stripes: Some(1),
                time_to_live: None,
                seed: 1,
            };
            Ok(trace.percent(replay(trace, &setup, &progress)?.hits))
        };
        let truths: Result<Vec<f64>, String> = points.par_iter().map(truth).collect();
        Ok(Check::of(
            &points,
            &truths?,
            1.0 / miniature::work(trace, plan, std::slice::from_ref(policy)),
        ))
    });
    let checked = checked.collect();
    progress.finish();
    checked
}

fn check_lru(trace: &Trace, plan: &Plan, effort: Effort, points: &[&Outcome]) -> Check {
    let timed = |effort| {
        let start = Instant::now();
        let curve = LruCurve::at(trace, &plan.capacities, plan.by_size, effort);
        (curve, start.elapsed())
    };
    let (exact, mut whole) = timed(Effort::Exact);
    let (curve, mut part) = timed(effort);
    // In turn, so that what else the machine does troubles both.
    for _ in 1..ROUNDS {
        whole = whole.min(timed(Effort::Exact).1);
        part = part.min(timed(effort).1);
    }
    let truths: Vec<f64> = points.iter().map(|point| exact.hit_percent(point.capacity)).collect();
    let less_time = Some(whole.as_secs_f64() / part.as_secs_f64());
    Check { less_time, ..Check::of(points, &truths, exact.sums() as f64 / curve.sums() as f64) }
}

impl Check {
    fn of(points: &[&Outcome], truths: &[f64], less_work: f64) -> Self {
        let apart = |(point, truth): (&&Outcome, &f64)| (point.hit_percent - truth).abs();
        let differences: Vec<f64> = points.iter().zip(truths).map(apart).collect();
        let estimated = || points.iter().zip(&differences).filter(|(point, _)| point.error > 0.0);
        let outside = estimated().filter(|(point, apart)| **apart > point.error).count();
        Self {
            policy: points.first().map_or_else(String::new, |point| point.policy.clone()),
            mean: differences.iter().sum::<f64>() / differences.len() as f64,
            worst: differences.iter().copied().fold(0.0, f64::max),
            outside: (estimated().count(), outside),
            less_work,
            less_time: None,
        }
    }
}
