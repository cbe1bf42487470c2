//! What no cache can beat, knowing the future.
//!
//! *Entries that weigh 1*: Belady's MIN, exactly, for a cache that may also refuse a newcomer: what
//! is used last, or never again, goes.
//!
//! *Entries that weigh their sizes*: finding the optimum is NP-hard, so a bound from above, PFOO-L
//! (Berger, Beckmann and Harchol-Balter, "Practical Bounds on Optimal Caching with Variable Object
//! Sizes", SIGMETRICS 2018). A hit needs room for its object from the access before until the hit:
//! its size times so many steps. All hits together can have no more than the capacity times all
//! steps. The cheapest are granted until that is spent, the last one in part. This forgets that room
//! left over at one moment is of no use at another, so no cache reaches it. An object counts with the
//! smallest size that it ever has, as a cache may have got it with that one.
//!
//! *With a time to live* both become bounds: an access as late as that after the one before is no
//! hit; any other may be, though the entry may have come in earlier and be dead.

use std::collections::BinaryHeap;

use crate::trace::Trace;

/// The most hits with `capacity` entries.
#[must_use]
pub fn min(trace: &Trace, next_uses: &[u32], capacity: u64) -> u64 {
    /// In `expected`: the key is not resident.
    const ABSENT: u32 = u32::MAX - 1;
    let mut expected = vec![ABSENT; trace.distinct];
    // The next use of each resident, latest first. What it was before the resident's last use stays
    // behind.
    let mut latest = BinaryHeap::new();
    let (mut held, mut hits) = (0, 0);
    for (index, (&key, &next)) in trace.keys.iter().zip(next_uses).enumerate() {
        let before = std::mem::replace(&mut expected[key as usize], next);
        latest.push((next, key));
        if before == index as u32 {
            hits += 1;
        }
        held += u64::from(before == ABSENT);
        while held > capacity {
            let (next, victim) = latest.pop().expect("the newcomer is there at least");
            if expected[victim as usize] == next {
                expected[victim as usize] = ABSENT;
                held -= 1;
            }
        }
    }
    hits
}

/// The hits that there could be, and the room that each would take.
#[derive(Debug)]
pub struct Bound {
    /// The cheapest first.
    hits: Vec<Hit>,
    steps: f64,
}

#[derive(Clone, Copy, Debug)]
struct Hit {
    size: u64,
    /// The size times the steps from the access before.
    room: f64,
    value: f64,
}

/// What to have the most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Hits.
    Hits,
    /// Bytes of hits.
    Bytes,
}

impl Bound {
    /// Prepares the bound for any capacity.
    #[must_use]
    pub fn new(trace: &Trace, next_uses: &[u32], goal: Goal) -> Self {
        let mut least = vec![u64::MAX; trace.distinct];
        for (index, &key) in trace.keys.iter().enumerate() {
            least[key as usize] = least[key as usize].min(trace.size(index));
        }
        let hit = |(index, &next): (usize, &u32)| {
            let size = least[trace.keys[index] as usize];
            let value = if goal == Goal::Hits { 1.0 } else { trace.size(next as usize) as f64 };
            Hit { size, room: size as f64 * (next as usize - index) as f64, value }
        };
        let uses = next_uses.iter().enumerate().filter(|&(_, &next)| next != Trace::NEVER);
        let mut hits: Vec<Hit> = uses.map(hit).collect();
        hits.sort_unstable_by(|a, b| (a.room * b.value).total_cmp(&(b.room * a.value)));
        Self { hits, steps: trace.len() as f64 }
    }

    /// No cache of this capacity gets more hits, or bytes of hits.
    #[must_use]
    pub fn at(&self, capacity: u64) -> f64 {
        let mut room = self.steps * capacity as f64;
        let mut total = 0.0;
        for hit in self.hits.iter().filter(|hit| hit.size <= capacity) {
            let part = (room / hit.room).min(1.0);
            total += part * hit.value;
            room -= hit.room;
            if room <= 0.0 {
                break;
            }
        }
        total
    }
}
