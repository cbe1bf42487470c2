//! The hit ratio of LRU at every capacity, from the distances between uses.
//!
//! The distance of an access is what was used since the last use of its key: the other keys, each
//! once, and the key itself. A cache that evicts the least recently used hits where that is at most
//! its capacity. How many accesses are the first of their keys, and so miss in any cache, is known
//! without looking.
//!
//! What is heavier than the capacity is refused, and so is in nobody's distance. Distances are
//! measured anew for each capacity of which that can be said.

use rayon::prelude::*;

use super::sample::part;
use super::sampled;
use super::tree::Tree;
use crate::trace::Trace;

/// How many hits a cache gets that evicts the least recently used.
#[derive(Clone, Debug)]
pub struct LruCurve {
    /// A capacity, and the hit ratio in percent from there to the next, in order.
    steps: Vec<(u64, f64)>,
    /// The same for capacities that are less than the weight of some key.
    refusing: Vec<(u64, f64)>,
    /// How many sums over keys it took.
    sums: usize,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Everything.
    Exact,
    /// See [`sampled`].
    Sampled {
        /// One access in so many; not 0.
        stride: u32,
        /// Other seeds choose other accesses.
        seed: u64,
    },
}

impl LruCurve {
    /// Measures distances: in keys, or in the bytes of them.
    #[must_use]
    pub fn new(trace: &Trace, by_size: bool, effort: Effort) -> Self {
        let weights = if by_size { trace.first_sizes() } else { None };
        let weights = weights.as_deref();
        let (numbers, sums) = match effort {
            Effort::Exact => exact(trace, weights),
            Effort::Sampled { stride, seed } => sampled::measure(trace, weights, stride, seed),
        };
        let (mut hits, mut steps) = (0.0, Vec::with_capacity(numbers.len()));
        for (distance, number) in numbers {
            hits += number;
            steps.push((distance, trace.percent(hits)));
        }
        Self { steps, refusing: Vec::new(), sums }
    }

    /// The same, and right at these capacities even if some keys are heavier.
    #[must_use]
    pub fn at(trace: &Trace, capacities: &[u64], by_size: bool, effort: Effort) -> Self {
        let mut curve = Self::new(trace, by_size, effort);
        let Some(weights) = trace.first_sizes().filter(|_| by_size) else { return curve };
        let heaviest = weights.iter().copied().max().unwrap_or(0);
        let refusing = capacities.par_iter().filter(|&&capacity| capacity < heaviest);
        let percent = |&capacity: &u64| {
            let light = part(trace, |key| weights[key as usize] <= capacity);
            let effort = match effort {
                Effort::Exact => Effort::Exact,
                // There may be few keys left.
                Effort::Sampled { seed, .. } => super::effort(&light, seed),
            };
            let hits = Self::new(&light, true, effort).hit_percent(capacity) * light.len() as f64;
            (capacity, hits / trace.len() as f64)
        };
        curve.refusing = refusing.map(percent).collect();
        curve
    }

    /// The hit ratio in percent of a cache of this capacity.
    #[must_use]
    pub fn hit_percent(&self, capacity: u64) -> f64 {
        let refusing = self.refusing.iter().find(|(other, _)| *other == capacity);
        if let Some(&(_, percent)) = refusing {
            return percent;
        }
        let steps = self.steps.partition_point(|&(distance, _)| distance <= capacity);
        steps.checked_sub(1).map_or(0.0, |last| self.steps[last].1)
    }

    /// How many sums over keys were kept up or asked for: where most of the time goes if all is
    /// looked at.
    #[must_use]
    pub fn sums(&self) -> usize {
        self.sums
    }
}

/// Distances in order, and how many accesses have each (perhaps said several times).
pub(super) type Numbers = Vec<(u64, f64)>;

/// Measures all distances. Says too how many sums it took.
fn exact(trace: &Trace, weights: Option<&[u64]>) -> (Numbers, usize) {
    let mut distances = Distances::new(trace, weights.is_some());
    let mut tree = Tree::default();
    let mut last = vec![0_u32; trace.distinct];
    for (now, &key) in (1..).zip(&trace.keys) {
        let before = std::mem::replace(&mut last[key as usize], now);
        if before > 0 {
            let moment = before as usize - 1;
            distances.add(tree.since(moment));
            tree.take(moment);
        }
        tree.push(weights.map_or(1, |weights| weights[key as usize]));
    }
    (distances.numbers(), tree.operations())
}

/// All distances there are.
enum Distances {
    /// Of keys: how many there are of each distance.
    Counts(Vec<u32>),
    /// Of bytes.
    List(Vec<u64>),
}

impl Distances {
    fn new(trace: &Trace, in_bytes: bool) -> Self {
        if in_bytes { Self::List(Vec::new()) } else { Self::Counts(vec![0; trace.distinct + 1]) }
    }

    fn add(&mut self, distance: u64) {
        match self {
            Self::Counts(counts) => counts[distance as usize] += 1,
            Self::List(list) => list.push(distance),
        }
    }

    fn numbers(self) -> Numbers {
        match self {
            Self::Counts(counts) => {
                let some = (0..).zip(counts).filter(|&(_, count)| count > 0);
                some.map(|(distance, count)| (distance, f64::from(count))).collect()
            }
            Self::List(mut list) => {
                list.sort_unstable();
                list.into_iter().map(|distance| (distance, 1.0)).collect()
            }
        }
    }
}
