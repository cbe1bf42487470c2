//! LRU's distances, from some of the accesses.
//!
//! Of every stride of accesses, two are drawn at random:
//!
//! - *One is measured*, whatever its key. SHARDS (Waldspurger et al., "Efficient MRC Construction with
//!   SHARDS", FAST 2015) takes all accesses to some keys, and errs by points where one key in some
//!   hundred thousand has a hundredth of the accesses, and is taken or not.
//! - *One is chosen* to stand for the others when a distance is added up, as long as it is the last
//!   use of its key: only these cost walks in a tree. How many keys were used at all is known, so
//!   a sum is taken as a part of those. Keys that are chosen for good, as in SHARDS, are off
//!   the same way all the time: some hundred popular keys are in every distance, and more of them may
//!   be among the chosen than should be. Uses that are chosen anew even out.
//!
//! Over the last accesses, a window, all uses are counted, so short distances are exact. And of a
//! quarter of the trace, it is counted how many accesses come how long after the last use of their
//! keys; those measured are weighted to be in the same proportions.
//!
//! All that is left to do for every access is to note when its key was used.

use std::ops::Range;

use super::reuse::Numbers;
use super::tree::Tree;
use crate::policies::spread;
use crate::trace::Trace;

/// How many strides the window has, beside the one at hand.
const STRIDES: usize = 8;

/// In `Pass::last` and `Pass::recent`, beside a time: this use stands for others.
const CHOSEN: i32 = 1;
/// The longest trace whose times fit beside that.
pub(super) const LONGEST: usize = (i32::MAX >> 1) as usize - 1;

/// Measures distances. Says too how many sums it took.
pub(super) fn measure(
    trace: &Trace,
    weights: Option<&[u64]>,
    stride: u32,
    seed: u64,
) -> (Numbers, usize) {
    assert!(stride > 0 && trace.len() <= LONGEST, "a trace that can be sampled");
    let stride = stride as usize;
    let window = stride * STRIDES;
    let mut pass = Pass {
        keys: &trace.keys,
        weights,
        stride,
        last: vec![0; trace.distinct],
        recent: vec![0; 2 * window],
        chosen: Tree::default(),
        seen: 0,
        total: 0,
        groups: Groups::new(trace.len(), window),
    };
    for (number, start) in (0..trace.len()).step_by(stride).enumerate() {
        pass.stride(start, spread(seed ^ spread(number as u64)));
    }
    (pass.groups.numbers(trace.reuses() as f64), pass.chosen.operations())
}

/// The state of the pass. Times are numbers of accesses from 1, and come doubled, so that `CHOSEN`
/// has its place beside them; signed, as such numbers are compared more quickly.
struct Pass<'a> {
    keys: &'a [u32],
    weights: Option<&'a [u64]>,
    stride: usize,
    /// By key: the time of its last use, and perhaps `CHOSEN`; 0 if there was none.
    last: Vec<i32>,
    /// What `last` was before each of the last accesses: those from the last multiple of the window's
    /// length on are in the second half, those of the window before that in the first.
    recent: Vec<i32>,
    /// By stride: the weight of what was chosen, until its key is used again.
    chosen: Tree,
    /// How many keys there were, and what they weigh.
    seen: usize,
    total: u64,
    groups: Groups,
}

impl Pass<'_> {
    /// Takes the stride that begins there.
    fn stride(&mut self, start: usize, random: u64) {
        let window = self.recent.len() / 2;
        if start.is_multiple_of(window) {
            self.recent.copy_within(window.., 0);
        }
        let end = self.keys.len().min(start + self.stride);
        let slots = self.slots(start, start..end);
        let recent = &mut self.recent[slots.clone()];
        note(&mut self.last, recent, &self.keys[start..end], start);
        self.groups.count(recent, start, random);
        let index = start + (random >> 8) as usize % self.stride;
        if index < end {
            self.measure(start, index);
        }
        self.take(slots);
        self.choose(start, end, (random >> 32) as usize % self.stride);
    }

    /// Where accesses are in `recent`, from the window before this start on.
    fn slots(&self, start: usize, accesses: Range<usize>) -> Range<usize> {
        let window = self.recent.len() / 2;
        let first = start - start % window;
        window + accesses.start - first..window + accesses.end - first
    }

    /// Measures the distance of an access, unless it is the first of its key. The tree is as of the
    /// start of the stride.
    fn measure(&mut self, start: usize, index: usize) {
        let last = self.recent[self.slots(start, index..index + 1).start];
        let Some(last_use) = (last as usize >> 1).checked_sub(1) else { return };
        let window = start.saturating_sub(self.recent.len() / 2);
        let distance = if last_use >= window {
            self.used(start, last_use + 1..index + 1, later(last))
        } else {
            let within = self.used(start, window..start, doubled(window));
            // Of the keys that were not used within the window, some were used since this one was.
            let since = self.chosen_since(last_use) * (self.total - within) as f64;
            let here = self.used(start, start..index + 1, later(last));
            // The estimate may be more than there is.
            (since.round() as u64 + within + here).min(self.total + self.first_uses(start, index))
        };
        self.groups.add(distance, last, start);
    }

    /// The weight of the keys that come for the first time from the start of the stride to this access.
    fn first_uses(&self, start: usize, index: usize) -> u64 {
        let recent = &self.recent[self.slots(start, start..index + 1)];
        let new = recent.iter().zip(&self.keys[start..]).filter(|&(&last, _)| last == 0);
        new.map(|(_, &key)| self.weights.map_or(1, |weights| weights[key as usize])).sum()
    }

    /// Which part of what was chosen before the window was chosen after this use.
    fn chosen_since(&mut self, last_use: usize) -> f64 {
        let stride = last_use / self.stride;
        let later = ((stride + 1) * self.stride - last_use - 1) as f64 / self.stride as f64;
        let within = self.chosen.latest(STRIDES);
        let since = self.chosen.since(stride + 1) - within;
        let since = since as f64 + later * self.chosen.at(stride) as f64;
        since / ((self.chosen.total() - within) as f64).max(1.0)
    }

    /// The weight of the keys that were used by these accesses, and the last time before `before`.
    fn used(&self, start: usize, accesses: Range<usize>, before: i32) -> u64 {
        let recent = &self.recent[self.slots(start, accesses.clone())];
        let Some(weights) = self.weights else {
            return older(recent, before).into();
        };
        let used = recent.iter().zip(&self.keys[accesses]).filter(|&(&last, _)| last < before);
        used.map(|(_, &key)| weights[key as usize]).sum()
    }

    /// Takes away what was chosen and is used again here, and counts new keys.
    fn take(&mut self, slots: Range<usize>) {
        let (mut new, mut any) = (0, 0);
        for &last in &self.recent[slots.clone()] {
            new += i32::from(last == 0);
            any |= last;
        }
        let new = self.seen..self.seen + new as usize;
        self.seen = new.end;
        self.total += match self.weights {
            Some(weights) => weights[new].iter().sum(),
            None => new.len() as u64,
        };
        if any & CHOSEN == 0 {
            return;
        }
        // Few are: parts without one are passed over quickly.
        for part in self.recent[slots].chunks(16) {
            if part.iter().fold(0, |any, last| any | last) & CHOSEN > 0 {
                for last in part.iter().filter(|&last| last & CHOSEN > 0) {
                    self.chosen.take(((last >> 1) - 1) as usize / self.stride);
                }
            }
        }
    }

    /// Chooses the access that stands for those of the stride.
    fn choose(&mut self, start: usize, end: usize, offset: usize) {
        let index = start + offset;
        if index >= end {
            return self.chosen.push(0);
        }
        let key = self.keys[index] as usize;
        let last = &mut self.last[key];
        let is_last = *last == doubled(index);
        *last |= i32::from(is_last);
        let weight = self.weights.map_or(1, |weights| weights[key]);
        self.chosen.push(if is_last { weight } else { 0 });
    }
}

/// The time of an access, doubled.
fn doubled(index: usize) -> i32 {
    (index as i32 + 1) << 1
}

/// The time after this one, without `CHOSEN`.
fn later(time: i32) -> i32 {
    (time | CHOSEN) + 1
}

/// How many times are before `before`.
fn older(times: &[i32], before: i32) -> u32 {
    times.iter().map(|&time| u32::from(time < before)).sum()
}

/// Notes uses, and when the keys were used before. A function of its own, as the loop is tight only if
/// the compiler knows that nothing overlaps.
fn note(last: &mut [i32], recent: &mut [i32], keys: &[u32], start: usize) {
    let mut time = doubled(start);
    for (&key, recent) in keys.iter().zip(recent) {
        *recent = std::mem::replace(&mut last[key as usize], time);
        time += 2;
    }
}

/// How many groups of accesses there are.
const GROUPS: usize = 8;
/// One stride in so many is counted.
const COUNTED: u64 = 4;

/// Accesses by how long ago the last use of their key was, in groups.
struct Groups {
    /// How long ago it was, doubled, for the group after the first, the second and so on.
    limits: [i32; GROUPS - 1],
    /// How many of the accesses counted are in each group or a later one; all are in the first.
    counts: [u64; GROUPS],
    /// How many of those are the first of their keys, and so in the last group, whatever that is.
    first: u64,
    /// Of those measured: the distance times `GROUPS`, and the group.
    measured: Vec<u64>,
}

impl Groups {
    /// Groups at equal ratios, from the length of the window to that of the trace.
    fn new(accesses: usize, window: usize) -> Self {
        let ratio = (accesses as f64 / window as f64).max(1.0).powf(1.0 / GROUPS as f64);
        let limit = |group: usize| (2.0 * window as f64 * ratio.powi(group as i32)) as i32;
        let limits = std::array::from_fn(limit);
        Self { limits, counts: [0; GROUPS], first: 0, measured: Vec::new() }
    }

    /// Before which time the last use was that puts an access into the next group; all first uses are.
    fn before(start: usize, limit: i32) -> i32 {
        (doubled(start) - limit).max(1)
    }

    /// Counts a stride, if it is its turn.
    fn count(&mut self, recent: &[i32], start: usize, random: u64) {
        if !random.is_multiple_of(COUNTED) {
            return;
        }
        self.counts[0] += recent.len() as u64;
        for (count, limit) in self.counts[1..].iter_mut().zip(self.limits) {
            *count += u64::from(older(recent, Self::before(start, limit)));
        }
        self.first += u64::from(older(recent, 1));
    }

    fn add(&mut self, distance: u64, last: i32, start: usize) {
        let is_beyond = |&&limit: &&i32| last < Self::before(start, limit);
        let group = self.limits.iter().filter(is_beyond).count();
        self.measured.push(distance * GROUPS as u64 + group as u64);
    }

    /// The measured distances, each as many times as makes its group as large as it should be, and
    /// all together `reused`.
    fn numbers(mut self, reused: f64) -> Numbers {
        self.measured.sort_unstable();
        let group = |measured: u64| (measured % GROUPS as u64) as usize;
        let mut found = [0.0; GROUPS];
        self.measured.iter().for_each(|&measured| found[group(measured)] += 1.0);
        let wanted: [f64; GROUPS] = std::array::from_fn(|group| {
            let later = self.counts.get(group + 1).copied().unwrap_or(self.first);
            // What was not found at all cannot be made up for.
            if found[group] > 0.0 { (self.counts[group] - later) as f64 } else { 0.0 }
        });
        // Where nothing was counted of what was found, that says nothing.
        let wanted = if wanted.iter().sum::<f64>() > 0.0 { wanted } else { found };
        let scale = reused / wanted.iter().sum::<f64>();
        let number = |&measured: &u64| {
            let group = group(measured);
            (measured / GROUPS as u64, scale * wanted[group] / found[group])
        };
        self.measured.iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_all_are_drawn_all_distances_are_right() {
        let mut random = 1;
        let keys = (0..20_000_u64).map(|step| {
            random = spread(random);
            // Popular keys, recent ones, and new ones.
            match random % 4 {
                0 => random % 1000 * (random % 1009) / 1009,
                1 | 2 => 10_000 + step - random / 8 % 3000 % (step + 1),
                _ => 100_000 + step,
            }
        });
        let mut trace = Trace::of_keys("", keys);
        let sizes: Vec<u64> = (0..trace.distinct as u64).map(|key| 1 + key % 7).collect();
        for weights in [None, Some(&sizes[..])] {
            trace.sizes =
                weights.map(|sizes| trace.keys.iter().map(|&key| sizes[key as usize]).collect());
            let (measured, _) = measure(&trace, weights, 1, 1);
            let measured = measured.into_iter().map(|(distance, _)| distance);
            assert!(measured.eq(distances(&trace, weights)));
        }
    }

    /// All distances in order, by looking back.
    fn distances(trace: &Trace, weights: Option<&[u64]>) -> Vec<u64> {
        let mut stack: Vec<u32> = Vec::new();
        let mut distances = Vec::new();
        for &key in &trace.keys {
            if let Some(place) = stack.iter().rposition(|&other| other == key) {
                let weight = |&key: &u32| weights.map_or(1, |weights| weights[key as usize]);
                distances.push(stack[place..].iter().map(weight).sum());
                stack.remove(place);
            }
            stack.push(key);
        }
        distances.sort_unstable();
        distances
    }

    #[test]
    fn no_distance_is_beyond_what_there_is() {
        let trace = Trace::of_keys("", (0..300_000_u64).map(|step| step % 30_000));
        let (measured, _) = measure(&trace, None, 64, 1);
        assert!(measured.iter().all(|&(distance, _)| distance <= 30_000));
    }

    #[test]
    fn few_reuses_are_as_many_as_there_are() {
        for seed in 0..200 {
            let keys =
                (0..60_000_u64).map(|step| if step % 3000 == 2999 { step - 2000 } else { step });
            let trace = Trace::of_keys("", keys);
            let (measured, _) = measure(&trace, None, 64, seed);
            let reused: f64 = measured.iter().map(|&(_, times)| times).sum();
            assert!(measured.is_empty() || (reused - 20.0).abs() < 1e-9, "{reused} of 20");
        }
    }
}
