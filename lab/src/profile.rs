//! What a trace is like: how many keys are in use at a time, and how popular they are.

use serde::Serialize;

use crate::trace::Trace;

/// Into how many windows a trace is cut, at most.
const WINDOWS: usize = 100;
/// How many ranks are kept.
const RANKS: usize = 160;

/// What a trace is like.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// Its windows, in order; all but the last have the same number of accesses.
    pub windows: Vec<Window>,
    /// How often the keys are asked for, the most popular first; not all ranks.
    pub popularity: Vec<Popularity>,
    /// The exponent of the Zipf distribution that comes nearest: 0 if all keys are equally popular,
    /// about 1 for requests to web pages.
    pub exponent: f64,
}

/// A part of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Window {
    /// The number of accesses up to its end.
    pub end: usize,
    /// The keys asked for in it.
    pub distinct: usize,
    /// Those of them that were not asked for before.
    pub new: usize,
}

/// How often a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Popularity {
    /// How many keys are asked for as often or more often, itself included.
    pub rank: usize,
    /// How often.
    pub accesses: u32,
}

impl Profile {
    /// Looks at a trace.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        let popularity = popularity(trace);
        Self { windows: windows(trace), exponent: exponent(&popularity), popularity }
    }
}

fn windows(trace: &Trace) -> Vec<Window> {
    let length = trace.len().div_ceil(WINDOWS).max(1);
    let mut seen = vec![0; trace.distinct];
    let (mut end, mut known) = (0, 0);
    let window = |(number, keys): (usize, &[u32])| {
        let before = known;
        let distinct = keys.iter().filter(|&&key| {
            // Keys are numbered in the order of their first uses.
            known = known.max(key as usize + 1);
            std::mem::replace(&mut seen[key as usize], number + 1) <= number
        });
        let distinct = distinct.count();
        end += keys.len();
        Window { end, distinct, new: known - before }
    };
    trace.keys.chunks(length).enumerate().map(window).collect()
}

fn popularity(trace: &Trace) -> Vec<Popularity> {
    let mut accesses = vec![0; trace.distinct];
    trace.keys.iter().for_each(|&key| accesses[key as usize] += 1);
    accesses.sort_unstable_by(|a, b| b.cmp(a));
    // At about equal ratios, each once.
    let last = trace.distinct as f64;
    let rank = |step: usize| last.powf(step as f64 / (RANKS - 1) as f64).round() as usize;
    let mut ranks: Vec<usize> = (0..RANKS).map(rank).filter(|&rank| rank > 0).collect();
    ranks.dedup();
    ranks.into_iter().map(|rank| Popularity { rank, accesses: accesses[rank - 1] }).collect()
}

/// The negative slope of the line through the logarithms (least squares).
fn exponent(popularity: &[Popularity]) -> f64 {
    let logs = |point: &Popularity| ((point.rank as f64).ln(), f64::from(point.accesses).ln());
    let points: Vec<(f64, f64)> = popularity.iter().map(logs).collect();
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    // The popular come first, so less than 0 is an error of rounding.
    if variance > 0.0 { (-covariance / variance).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_keys_once_each() {
        // 200 accesses, so two a window: 0 0, 1 1, …, and then all keys again.
        let keys = (0..100).map(|step| step / 2).chain(0..50).chain(0..50);
        let windows = Profile::of(&Trace::of_keys("", keys)).windows;
        assert_eq!(windows[0], Window { end: 2, distinct: 1, new: 1 });
        assert_eq!(windows[99], Window { end: 200, distinct: 2, new: 0 });
        assert_eq!(windows.iter().map(|window| window.new).sum::<usize>(), 50);
    }

    #[test]
    fn popularity_follows_the_distribution() {
        let zipf = (1..=1000_u64).flat_map(|rank| vec![rank; (1000 / rank) as usize]);
        let profile = Profile::of(&Trace::of_keys("", zipf));
        assert_eq!(profile.popularity[0], Popularity { rank: 1, accesses: 1000 });
        assert_eq!(profile.popularity.last().map(|last| last.rank), Some(1000));
        assert!((profile.exponent - 1.0).abs() < 0.1, "{}", profile.exponent);
        assert_eq!(Profile::of(&Trace::of_keys("", 0..10)).exponent, 0.0);
        let even = Trace::of_keys("", (0..10_000).map(|step| step % 50));
        assert_eq!(Profile::of(&even).exponent, 0.0);
    }
}
