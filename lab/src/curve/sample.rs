//! The accesses to some of the keys, chosen by their hashes or otherwise.

use crate::policies::spread;
use crate::trace::Trace;

/// The part of a trace that has all accesses to about a share `rate` of its keys. Other seeds choose
/// other keys.
#[must_use]
pub fn sample(trace: &Trace, rate: f64, seed: u64) -> Trace {
    let threshold = (rate * 2.0_f64.powi(64)) as u64;
    part(trace, |key| spread(u64::from(key) ^ spread(seed)) <= threshold)
}

/// The part of a trace that has all accesses to these keys.
pub(super) fn part(trace: &Trace, is_chosen: impl Fn(u32) -> bool) -> Trace {
    let mut numbers = vec![Trace::NEVER; trace.distinct];
    let mut part = Trace { name: trace.name.clone(), ..Trace::default() };
    let mut indices = Vec::new();
    for (index, &key) in trace.keys.iter().enumerate() {
        if !is_chosen(key) {
            continue;
        }
        let number = &mut numbers[key as usize];
        if *number == Trace::NEVER {
            *number = part.distinct as u32;
            part.distinct += 1;
        }
        part.keys.push(*number);
        indices.push(index);
    }
    let pick = |all: &Vec<u64>| indices.iter().map(|&index| all[index]).collect();
    part.sizes = trace.sizes.as_ref().map(pick);
    part.times = trace.times.as_ref().map(pick);
    part
}
