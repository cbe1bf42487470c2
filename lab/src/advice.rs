//! What the figures say to do.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::report::units::Amount;
use crate::simulate::Simulation;

/// The share of what can be reached that is enough, in percent.
const ENOUGH: f64 = 95.0;

/// Which capacity and which policy the traffic needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The policy that gets there with the least memory.
    pub policy: String,
    /// The capacity, in entries or in bytes.
    pub capacity: u64,
    /// The hit ratio there, in percent.
    pub hit_percent: f64,
    /// The hit ratio with room for everything, in percent.
    pub reachable_percent: f64,
    /// Whether that capacity is enough: if not, it is the largest that was simulated.
    pub is_enough: bool,
    /// What twice the capacity would add, in points, if so much was simulated.
    pub doubling: Option<f64>,
    /// What the default policy would need for as much.
    pub default_capacity: Option<u64>,
    /// Of how many keys one is in the trace, so that all need as many times the capacity; 0 if that is
    /// not known.
    pub one_in: u64,
    by_size: bool,
}

/// The hit ratios of one policy by capacity, read between the points that were simulated.
struct Curve<'a> {
    policy: &'a str,
    points: Vec<(u64, f64)>,
    /// The capacity that has room for everything.
    whole: u64,
}

impl Curve<'_> {
    /// The hit ratio with this capacity, if that lies between two points, or beyond everything.
    fn at(&self, capacity: u64) -> Option<f64> {
        let &(largest, most) = self.points.last()?;
        if capacity > largest && largest >= self.whole {
            return Some(most);
        }
        let above = self.points.iter().position(|&(other, _)| other >= capacity)?;
        let (high, hit) = self.points[above];
        if high == capacity {
            return Some(hit);
        }
        let (low, before) = self.points[above.checked_sub(1)?];
        let share = (capacity - low) as f64 / (high - low) as f64;
        Some(before + share * (hit - before))
    }

    /// The least capacity with this hit ratio.
    fn first(&self, percent: f64) -> Option<u64> {
        let above = self.points.iter().position(|&(_, hit)| hit >= percent)?;
        let (high, hit) = self.points[above];
        let Some(below) = above.checked_sub(1) else { return Some(high) };
        let (low, before) = self.points[below];
        let share = (percent - before) / (hit - before);
        Some(low + (share * (high - low) as f64).ceil() as u64)
    }
}

impl Advice {
    /// The advice that follows, if there is a policy to recommend.
    #[must_use]
    pub fn of(simulation: &Simulation) -> Option<Self> {
        let curves = curves(simulation);
        let reachable = simulation.reachable_percent;
        let goal = reachable * ENOUGH / 100.0;
        let enough = curves.iter().filter_map(|curve| Some((curve.first(goal)?, curve)));
        let best = enough.min_by_key(|&(capacity, _)| capacity);
        let largest = || {
            let last = curves.iter().filter_map(|curve| Some((*curve.points.last()?, curve)));
            let best = last.max_by(|a, b| a.0.1.total_cmp(&b.0.1))?;
            Some((best.0.0, best.1))
        };
        let is_enough = best.is_some();
        let (capacity, curve) = best.or_else(largest)?;
        let hit_percent = curve.at(capacity)?;
        let default = curves.iter().find(|curve| curve.policy == DEFAULT);
        Some(Self {
            policy: curve.policy.to_owned(),
            capacity,
            hit_percent,
            reachable_percent: reachable,
            is_enough,
            doubling: curve.at(capacity.saturating_mul(2)).map(|hit| hit - hit_percent),
            default_capacity: default.filter(|_| is_enough).and_then(|curve| curve.first(goal)),
            one_in: simulation.one_in,
            by_size: simulation.by_size,
        })
    }
}

/// The policy that a cache has if none is asked for.
pub const DEFAULT: &str = "adaptive";

fn curves(simulation: &Simulation) -> Vec<Curve<'_>> {
    let whole = simulation.footprint.filter(|_| simulation.by_size);
    let whole = whole.unwrap_or(simulation.distinct as u64);
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for outcome in simulation.outcomes.iter().filter(|outcome| outcome.is_ours()) {
        let point = (outcome.capacity, outcome.hit_percent);
        match curves.iter_mut().find(|curve| curve.policy == outcome.policy) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { policy: &outcome.policy, points: vec![point], whole }),
        }
    }
    curves
}

impl Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reachable_percent == 0.0 {
            return write!(f, "No cache would help: not one access could be a hit.");
        }
        let amount = |capacity| Amount { capacity, by_size: self.by_size };
        let (capacity, policy) = (amount(self.capacity), &self.policy);
        let (hit, reachable) = (self.hit_percent, self.reachable_percent);
        if self.is_enough {
            write!(
                f,
                "{ENOUGH} % of the reachable hit ratio ({hit:.1} of {reachable:.1} %) at \
                {capacity} with policy {policy}"
            )?;
        } else {
            write!(
                f,
                "{ENOUGH} % of the reachable hit ratio ({reachable:.1} %) needs more than was \
                simulated: {hit:.1} % at {capacity} with policy {policy}"
            )?;
        }
        match self.doubling {
            Some(points) => write!(f, "; twice the memory would buy {points:.1} points")?,
            None => write!(f, "; what twice the memory would buy was not simulated")?,
        }
        match self.default_capacity {
            Some(capacity) if policy != DEFAULT => {
                write!(f, ". The default policy, {DEFAULT}, needs {}.", amount(capacity))?;
            }
            _ => write!(f, ".")?,
        }
        if self.one_in > 1 {
            write!(f, " That is for one key in {0}: all need {0} times as much.", self.one_in)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{OPTIMUM, Outcome};

    /// 200 keys of which all can be had, and the hit ratios of a policy by capacity.
    fn advise(points: &[(&str, u64, f64)]) -> Option<Advice> {
        let outcome = |&(policy, capacity, hit)| Outcome::of_hits(policy, capacity, hit);
        let trace = crate::trace::Trace::of_keys("t", (0..200).cycle().take(1000));
        let outcomes = points.iter().map(outcome).collect();
        Advice::of(&Simulation::new(&trace, trace.reuses(), false, outcomes))
    }

    #[test]
    fn the_least_capacity_wins() {
        let points = [
            ("lru", 50, 40.0),
            ("adaptive", 50, 20.0),
            ("lru", 100, 80.0),
            ("adaptive", 100, 70.0),
            ("lru", 200, 80.0),
            ("adaptive", 200, 80.0),
            (OPTIMUM, 50, 80.0),
        ];
        let advice = advise(&points).expect("advice");
        // 95 % of 80 are 76.
        assert_eq!((advice.policy.as_str(), advice.capacity), ("lru", 95));
        assert!(advice.is_enough && (advice.doubling.expect("simulated") - 4.0).abs() < 1e-9);
        assert_eq!(advice.default_capacity, Some(160));
        assert_eq!(
            advice.to_string(),
            "95 % of the reachable hit ratio (76.0 of 80.0 %) at 95 entries with policy lru; twice \
             the memory would buy 4.0 points. The default policy, adaptive, needs 160 entries."
        );
    }

    #[test]
    fn a_sample_is_not_taken_for_the_whole() {
        let mut trace = crate::trace::Trace::of_keys("t", (0..200).cycle().take(1000));
        trace.one_in = 64;
        let outcomes = vec![Outcome::of_hits("lru", 200, 80.0)];
        let advice = Advice::of(&Simulation::new(&trace, trace.reuses(), false, outcomes));
        let advice = advice.expect("advice").to_string();
        assert!(advice.contains("at 200 entries with policy lru"), "{advice}");
        assert!(advice.ends_with("for one key in 64: all need 64 times as much."), "{advice}");
    }

    #[test]
    fn what_was_not_simulated_is_not_promised() {
        let advice = advise(&[("lru", 10, 5.0), ("lru", 20, 9.0)]).expect("advice");
        assert!(!advice.is_enough && advice.doubling.is_none());
        assert!(advice.to_string().contains("needs more than was simulated: 9.0 % at 20 entries"));
        assert_eq!(advise(&[(OPTIMUM, 10, 5.0)]), None);
    }

    #[test]
    fn where_nothing_repeats_nothing_is_advised() {
        let trace = crate::trace::Trace::of_keys("t", 0..200);
        let outcomes = vec![Outcome::of_hits("lru", 10, 0.0)];
        let advice = Advice::of(&Simulation::new(&trace, trace.reuses(), false, outcomes));
        let advice = advice.expect("a sentence").to_string();
        assert_eq!(advice, "No cache would help: not one access could be a hit.");
    }

    #[test]
    fn twice_the_largest_capacity_there_can_be_adds_nothing() {
        let advice = advise(&[("lru", u64::MAX / 2 + 1, 80.0)]).expect("advice");
        assert_eq!(advice.doubling, Some(0.0));
    }
}
