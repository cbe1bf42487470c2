//! The hit ratio of LRU at every capacity, from the distances between uses.
//!
//! The distance of an access is what was used since the last use of its key: the other keys, each
//! once, and the key itself. A cache that evicts the least recently used hits where that is at most
//! its capacity. Two samples make it cheap:
//!
//! - *Keys*, chosen by hash, stand for all when a distance is added up (SHARDS: Waldspurger et al.,
//!   "Efficient MRC Construction with SHARDS", FAST 2015). Only their uses cost a walk in a tree.
//! - *Accesses*, chosen at random and whatever their keys, are those whose distances are measured.
//!   SHARDS takes all accesses to the sampled keys, so it errs by several points where one key in
//!   some hundred thousand has a hundredth of the accesses, and is chosen or not. Sampled accesses
//!   do not care, at the cost of noting when each key was last used. How many accesses are the
//!   first of their keys, and so miss in any cache, is known without sampling.

use crate::policies::spread;
use crate::trace::Trace;

/// How many hits a cache gets that evicts the least recently used.
#[derive(Clone, Debug)]
pub struct LruCurve {
    /// The distances measured, as far as they are not of first uses, in order.
    distances: Vec<u64>,
    /// The share of all accesses that are not the first of their keys: that is known exactly.
    reused: f64,
    /// How many walks in the tree it took.
    walks: usize,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The share of the keys that add up to distances.
    pub keys: f64,
    /// One access in so many is measured, on average.
    pub every: u32,
    /// Other seeds choose other keys and accesses.
    pub seed: u64,
}

impl Effort {
    /// Everything.
    pub const EXACT: Self = Self { keys: 1.0, every: 1, seed: 0 };
}

impl LruCurve {
    /// Measures distances: in keys, or in the bytes of them.
    #[must_use]
    pub fn new(trace: &Trace, by_size: bool, effort: Effort) -> Self {
        let mut stack = Stack::new(trace, by_size, effort);
        let mut distances = Vec::with_capacity(trace.len() / effort.every as usize);
        let mut gaps = Gaps { every: effort.every, state: effort.seed };
        let mut rest = &trace.keys[..];
        while !rest.is_empty() {
            let (skipped, next) = rest.split_at(gaps.draw().min(rest.len()));
            skipped.iter().for_each(|&key| stack.touch(key));
            let Some((&key, next)) = next.split_first() else { break };
            distances.extend(stack.distance(key));
            stack.touch(key);
            rest = next;
        }
        distances.sort_unstable();
        let reused = 1.0 - trace.distinct as f64 / trace.len() as f64;
        Self { distances, reused, walks: stack.walks }
    }

    /// The hit ratio in percent of a cache of this capacity.
    #[must_use]
    pub fn hit_percent(&self, capacity: u64) -> f64 {
        let hits = self.distances.partition_point(|&distance| distance <= capacity);
        100.0 * self.reused * hits as f64 / self.distances.len().max(1) as f64
    }

    /// How many walks in the tree it took: where most of the time goes if all is looked at.
    #[must_use]
    pub fn walks(&self) -> usize {
        self.walks
    }
}

/// Random numbers from 0 to `2 * every - 2`: how many accesses to leave out.
struct Gaps {
    every: u32,
    state: u64,
}

impl Gaps {
    fn draw(&mut self) -> usize {
        self.state = self.state.wrapping_add(1);
        let range = u64::from(2 * self.every - 1);
        (((spread(self.state) >> 32) * range) >> 32) as usize
    }
}

/// In `Stack::last`: the key is one of the sampled.
const SAMPLED: u32 = 1 << 31;

/// Keys in the order of their last uses, and the sums of the sampled ones' weights, in a Fenwick
/// tree over moments. A moment is a use of a sampled key; they are numbered from 1.
struct Stack {
    /// Node n has the weights of the moments in (n - lowest bit of n, n], where those of uses that
    /// were not the last have none.
    tree: Vec<u64>,
    /// By key: how many moments there were up to its last use, that one included, and 1; 0 if it
    /// was not used; and whether it is sampled.
    last: Vec<u32>,
    /// By key, if they are not all 1.
    weights: Option<Vec<u64>>,
    total: u64,
    now: u32,
    /// The share of all weight that the sampled keys have.
    share: f64,
    walks: usize,
}

impl Stack {
    fn new(trace: &Trace, by_size: bool, effort: Effort) -> Self {
        let weights = if by_size { trace.first_sizes() } else { None };
        let threshold = (effort.keys * 2.0_f64.powi(64)) as u64;
        let is_sampled = |key| spread(key ^ spread(effort.seed)) <= threshold;
        let flag = |key| if is_sampled(key) { SAMPLED } else { 0 };
        let last: Vec<u32> = (0..trace.distinct as u64).map(flag).collect();
        let weight = |key: usize| weights.as_ref().map_or(1, |weights| weights[key]);
        let sampled = last.iter().enumerate().filter(|&(_, &last)| last == SAMPLED);
        let sampled: u64 = sampled.map(|(key, _)| weight(key)).sum();
        let all = weights.as_ref().map_or(trace.distinct as u64, |weights| weights.iter().sum());
        Self {
            tree: vec![0; 1],
            last,
            weights,
            total: 0,
            now: 0,
            share: sampled as f64 / all as f64,
            walks: 0,
        }
    }

    fn weight(&self, key: u32) -> u64 {
        self.weights.as_ref().map_or(1, |weights| weights[key as usize])
    }

    /// Uses a key.
    #[inline]
    fn touch(&mut self, key: u32) {
        let last = &mut self.last[key as usize];
        if *last & SAMPLED == 0 {
            *last = self.now + 1;
        } else {
            self.touch_sampled(key);
        }
    }

    fn touch_sampled(&mut self, key: u32) {
        let weight = self.weight(key);
        self.now += 1;
        self.append(weight);
        let now = (self.now + 1) | SAMPLED;
        match std::mem::replace(&mut self.last[key as usize], now) & !SAMPLED {
            0 => self.total += weight,
            before => self.subtract(before as usize - 1, weight),
        }
    }

    /// What was used since this key was, and what it weighs itself, unless it was never used.
    fn distance(&mut self, key: u32) -> Option<u64> {
        let since = (self.last[key as usize] & !SAMPLED).checked_sub(1)?;
        let others = self.total - self.sum(since as usize);
        Some((others as f64 / self.share).round() as u64 + self.weight(key))
    }

    /// What was last used up to this moment.
    fn sum(&mut self, mut moment: usize) -> u64 {
        self.walks += 1;
        let mut sum = 0_u64;
        while moment > 0 {
            sum = sum.wrapping_add(self.tree[moment]);
            moment &= moment - 1;
        }
        sum
    }

    /// Adds the next moment to the tree.
    fn append(&mut self, weight: u64) {
        self.walks += 1;
        let node = self.tree.len();
        let from = node & (node - 1);
        let mut sum = weight;
        let mut below = node - 1;
        while below > from {
            sum = sum.wrapping_add(self.tree[below]);
            below &= below - 1;
        }
        self.tree.push(sum);
    }

    /// Takes the weight from a moment.
    fn subtract(&mut self, mut moment: usize, weight: u64) {
        self.walks += 1;
        while let Some(node) = self.tree.get_mut(moment) {
            *node -= weight;
            moment += moment & moment.wrapping_neg();
        }
    }
}
