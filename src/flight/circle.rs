//! Circles: a flight that would wait, by way of others, for itself.
//!
//! A flight whose code waits for another flight is tied to it. All ties of the process are known here,
//! whichever cache they are of, so that who would close a circle is told, and need not wait for ever.
//! Most flights wait for none, and never come here.
//!
//! A tie to a flight is made under the lock of the flight's list, while somebody leads it, and undone
//! under the same lock when nobody does any more. So a later flight of the key has nothing to do with
//! it, even if who waited has yet to wake up. The lock here is a leaf below that of the list.

use std::collections::BTreeSet;

use super::{Running, running::Mark};
use crate::sync::{Mutex, MutexGuard, global, lock};

/// A flight, another, and the number of the tie.
type Edge = (Mark, Mark, u64);

#[derive(Default)]
struct Ties {
    /// The number given last to a tie.
    number: u64,
    /// Which flight waits for which.
    onward: BTreeSet<Edge>,
    /// Which flight is waited for by which.
    back: BTreeSet<Edge>,
}

global! {
    static TIES: Mutex<Ties> = Mutex::new(Ties::default());
}

/// That the flights in which this thread was wait for another, until this is dropped or that one's
/// leader has gone.
#[derive(Debug)]
pub(super) struct Tie {
    number: u64,
    waiting: Box<[Mark]>,
    awaited: Mark,
}

/// Waiting would never end.
#[derive(Debug)]
pub(super) struct Circle;

impl Tie {
    /// Ties the flights whose code this thread is running, if there are any.
    #[inline]
    pub(super) fn new(awaited: Mark) -> Result<Option<Self>, Circle> {
        let waiting = Running::of_this_code();
        if waiting.is_empty() { Ok(None) } else { Self::between(waiting, awaited).map(Some) }
    }

    #[cold]
    fn between(waiting: Box<[Mark]>, awaited: Mark) -> Result<Self, Circle> {
        let mut ties = ties();
        if ties.leads_to(awaited, &waiting) {
            return Err(Circle);
        }
        ties.number += 1;
        let tie = Self { number: ties.number, waiting, awaited };
        for &waiting in &tie.waiting {
            ties.onward.insert((waiting, awaited, tie.number));
            ties.back.insert((awaited, waiting, tie.number));
        }
        Ok(tie)
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        let mut ties = ties();
        for &waiting in &self.waiting {
            ties.cut((waiting, self.awaited, self.number));
        }
    }
}

/// Undoes what ties others to a flight that nobody leads any more, and that to others. Under the lock
/// of its list.
#[cold]
pub(super) fn untie(flight: Mark) {
    let mut ties = ties();
    let back: Vec<Edge> = ties.back.range(from(flight)).copied().collect();
    for (awaited, waiting, number) in back {
        ties.cut((waiting, awaited, number));
    }
    let onward: Vec<Edge> = ties.onward.range(from(flight)).copied().collect();
    onward.into_iter().for_each(|edge| ties.cut(edge));
}

impl Ties {
    fn cut(&mut self, (waiting, awaited, number): Edge) {
        self.onward.remove(&(waiting, awaited, number));
        self.back.remove(&(awaited, waiting, number));
    }

    /// Whether a flight is one of `those`, or waits for one, at whatever distance.
    fn leads_to(&self, flight: Mark, those: &[Mark]) -> bool {
        // Where nobody waits for them, as mostly, there is no way to them.
        let is_awaited = |&mark: &Mark| self.back.range(from(mark)).next().is_some();
        if !those.contains(&flight) && !those.iter().any(is_awaited) {
            return false;
        }
        let (mut next, mut seen) = (vec![flight], BTreeSet::new());
        while let Some(flight) = next.pop() {
            if those.contains(&flight) {
                return true;
            }
            if seen.insert(flight) {
                next.extend(self.onward.range(from(flight)).map(|&(_, awaited, _)| awaited));
            }
        }
        false
    }
}

fn ties() -> MutexGuard<'static, Ties> {
    lock(&TIES)
}

/// All edges from there.
fn from(flight: Mark) -> std::ops::RangeInclusive<Edge> {
    (flight, (0, 0), 0)..=(flight, (usize::MAX, u64::MAX), u64::MAX)
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    /// Flights of a cache that is nowhere, apart from those of other tests.
    fn mark(test: usize, flight: u64) -> Mark {
        (usize::MAX - test, flight)
    }

    fn tie(waiting: &[Mark], awaited: Mark) -> Result<Tie, Circle> {
        Tie::between(waiting.into(), awaited)
    }

    #[test]
    fn finds_circles_at_any_distance() {
        let [a, b, c, d] = [0, 1, 2, 3].map(|flight| mark(0, flight));
        let ab = tie(&[a], b).unwrap();
        let bc = tie(&[b], c).unwrap();
        let ac = tie(&[a], c).unwrap();
        assert!(tie(&[c], a).is_err());
        assert!(tie(&[d, c], b).is_err(), "the one further out, too");
        let cd = tie(&[c], d).unwrap();
        assert!(tie(&[d], a).is_err());
        drop(bc);
        assert!(tie(&[d], a).is_err(), "by the shorter way");
        drop(ac);
        assert!(tie(&[d], a).is_ok());
        drop((ab, cd));
    }

    #[test]
    fn a_flight_that_is_over_ties_nobody() {
        let [a, b, c] = [0, 1, 2].map(|flight| mark(1, flight));
        let (ab, bc) = (tie(&[a], b).unwrap(), tie(&[b], c).unwrap());
        untie(b);
        let ba = tie(&[b], a).expect("a has yet to wake up");
        assert!(tie(&[c], b).is_ok());
        // Cut already: this takes nothing that is of others.
        drop((ab, bc));
        assert!(tie(&[a], b).is_err());
        drop(ba);
    }

    #[test]
    fn leaves_nothing_behind() {
        let [a, b] = [0, 1].map(|flight| mark(2, flight));
        drop(tie(&[a], b).unwrap());
        let ties = ties();
        assert!([a, b].iter().all(|&flight| ties.onward.range(from(flight)).next().is_none()));
        assert!([a, b].iter().all(|&flight| ties.back.range(from(flight)).next().is_none()));
    }
}
