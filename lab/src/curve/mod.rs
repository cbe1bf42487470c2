//! Hit ratios at every capacity, without a replay of the whole trace for each.
//!
//! *LRU* ([`reuse`]): one pass over the trace tells for all capacities at once; where there are many
//! keys, it looks at some of the keys and accesses only.
//!
//! *Other policies* ([`miniature`]): the accesses to some keys ([`sample()`]) go through the real
//! cache, made smaller by the same factor (Waldspurger et al., "Cache Modeling and Optimization
//! using Miniature Simulations", ATC 2017). Several samples tell how far to trust it.

pub mod check;
pub mod miniature;
pub mod reuse;
mod sample;

pub use sample::sample;

use crate::simulate::{Outcome, Simulation};
use crate::trace::Trace;
use reuse::{Effort, LruCurve};

/// With fewer keys than this, LRU's curve is exact unless asked otherwise.
pub const MANY: usize = 50_000;
/// The share of the keys that LRU's curve looks at otherwise.
pub const SHARE: f64 = 1.0 / 24.0;
/// How many accesses are worth measuring: from there on the error comes from the keys.
const ENOUGH: f64 = 25_000.0;
/// The policy whose curve takes one pass.
pub const LRU: &str = "lru";

/// How LRU's curve is found.
#[must_use]
pub fn effort(trace: &Trace, share: Option<f64>, seed: u64) -> Effort {
    let share = share.unwrap_or(if trace.distinct < MANY { 1.0 } else { SHARE });
    if share >= 1.0 {
        return Effort::EXACT;
    }
    // As large a share of the accesses as of the keys, or down to half of that.
    let every = (trace.len() as f64 / ENOUGH).clamp(1.0 / share, 2.0 / share);
    Effort { keys: share, every: every.round() as u32, seed }
}

/// The curves of LRU and of the policies of the plan.
///
/// # Errors
/// If there is no such policy.
pub fn curves(trace: &Trace, plan: &miniature::Plan, effort: Effort) -> Result<Simulation, String> {
    let lru = LruCurve::new(trace, plan.by_size, effort);
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
    Ok(Simulation::new(trace, &trace.next_uses(None), plan.by_size, outcomes))
}
