//! Hit ratios at every capacity, without a replay of the whole trace for each.
//!
//! *LRU* ([`reuse`]): one pass over the trace tells for all capacities at once; where there are many
//! keys, it looks closely at some of the accesses only ([`sampled`]).
//!
//! *Other policies* ([`miniature`]): the accesses to some keys ([`sample()`]) go through the real
//! cache, made smaller by the same factor (Waldspurger et al., "Cache Modeling and Optimization
//! using Miniature Simulations", ATC 2017). Several samples tell how far to trust it.

pub mod check;
pub mod miniature;
pub mod reuse;
mod sample;
pub mod sampled;
mod tree;

pub use sample::sample;

use crate::simulate::{Outcome, Simulation};
use crate::trace::Trace;
use reuse::{Effort, LruCurve};

/// With fewer keys than this, LRU's curve is exact unless asked otherwise.
pub const MANY: usize = 50_000;
/// How many accesses are to be measured, if all are to keys used before.
const ENOUGH: f64 = 16_000.0;
/// The strides that are sensible: below, looking at all is as quick; above, nothing is saved.
const SHORTEST: f64 = 8.0;
const LONGEST: f64 = 128.0;
/// The policy whose curve takes one pass.
pub const LRU: &str = "lru";

/// How LRU's curve is found, if no other policy's is: as cheaply as keeps 19 of 20 seeds within a
/// point, but where the curve leaps, as on loops: there the leap may be a little off its place. (Replays cost so much more that beside them it may as well be exact, and what comes of
/// small ones relies on it.)
#[must_use]
pub fn effort(trace: &Trace, seed: u64) -> Effort {
    if trace.distinct < MANY || trace.len() > sampled::LONGEST {
        return Effort::Exact;
    }
    // The error of a share that is sampled is as the root of it over the number of samples.
    let reused = trace.reuses() as f64 / trace.len() as f64;
    let by_number = trace.len() as f64 / reused / ENOUGH;
    // A stride is to be short beside a capacity of a hundredth of the keys.
    let by_keys = trace.distinct as f64 / 1000.0;
    let stride = by_number.min(by_keys).clamp(SHORTEST, LONGEST);
    // Eight times are compared at once.
    Effort::Sampled { stride: 8 * (stride / 8.0).round() as u32, seed }
}

/// The curves of LRU and of the policies of the plan. If there are others, `effort` should be exact.
///
/// # Errors
/// If there is no such policy.
pub fn curves(trace: &Trace, plan: &miniature::Plan, effort: Effort) -> Result<Simulation, String> {
    let lru = LruCurve::at(trace, &plan.capacities, plan.by_size, effort);
    let mut others = plan.clone();
    others.policies.retain(|policy| policy != LRU);
    let mut outcomes: Vec<Outcome> = miniature::estimate(trace, &others, &lru)?
        .into_iter()
        .map(|estimate| Outcome {
            error: estimate.error,
            ..Outcome::of_hits(&estimate.policy, estimate.capacity, estimate.hit_percent)
        })
        .collect();
    if plan.policies.iter().any(|policy| policy == LRU) {
        let point = |&capacity| Outcome::of_hits(LRU, capacity, lru.hit_percent(capacity));
        outcomes.extend(plan.capacities.iter().map(point));
    }
    let rank = |outcome: &Outcome| plan.policies.iter().position(|name| *name == outcome.policy);
    outcomes.sort_by_key(|outcome| (outcome.capacity, rank(outcome)));
    Ok(Simulation::new(trace, trace.reuses(), plan.by_size, outcomes))
}
