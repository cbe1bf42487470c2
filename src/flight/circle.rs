//! Circles: a flight that would wait, by way of others, for itself.
//!
//! A flight whose code waits for another flight is tied to it. All ties of the process are known here,
//! whichever cache they are of, so that who would close a circle is told, and need not wait for ever.
//! Most flights wait for none, and never come here.
//!
//! Whose code it is that waits, the thread knows ([`Waiting`]). If a future waits, that is the innermost
//! flight whose code polls it; who polls that flight's future is tied to it in turn. If the thread
//! waits, all flights do in whose code it is. One that will not wait for ever closes no circle.
//!
//! A tie to a flight is made under the lock of its list, while somebody leads it, and cut under the same
//! lock when nobody does any more: a later flight of the key has nothing to do with it, even if who waited
//! has yet to wake up. What ties a flight to others is cut when it ends. The lock here is a leaf.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    task::Waker,
};

use super::{
    running::{Mark, Waiting},
    wake_all,
};
use crate::sync::{Arc, Mutex, MutexGuard, global, lock};

/// A flight, another, and the number of the tie; 0 for that of a flight to its group.
type Edge = (Mark, Mark, u64);

#[derive(Default)]
struct Ties {
    /// The number given last to a tie.
    number: u64,
    /// Which flight waits for which, for ever if need be.
    onward: BTreeSet<Edge>,
    /// Which flight is waited for by which.
    back: BTreeSet<Edge>,
    /// Flights that queue for a place among the loads of their cache, and whom to tell when others come to
    /// wait for them.
    queued: BTreeMap<Mark, Arc<Waker>>,
}

global! {
    static TIES: Mutex<Ties> = Mutex::new(Ties::default());
}

/// That some flights wait for another, until this is dropped or one of them ends.
#[derive(Debug)]
pub(crate) struct Tie {
    number: u64,
    waiting: Box<[Mark]>,
    awaited: Mark,
    /// Who is to be told that there is this now.
    watchers: Vec<Arc<Waker>>,
}

/// Small, as there is mostly none.
pub(crate) type OptionalTie = Option<Box<Tie>>;

/// Waiting would never end.
#[derive(Debug)]
pub(crate) struct Circle;

impl Tie {
    /// Ties those whose code this is, if it is any flight's, and they are not tied as `before` already.
    #[inline]
    pub(crate) fn renewed(before: OptionalTie, awaited: Mark) -> Result<OptionalTie, Circle> {
        match Waiting::here() {
            None => Ok(None),
            Some(waiting) => Self::between(before, waiting, awaited).map(Some),
        }
    }

    #[cold]
    fn between(before: OptionalTie, waiting: Waiting, awaited: Mark) -> Result<Box<Self>, Circle> {
        let Waiting { those, grouped, is_patient } = waiting;
        if let Some(before) = before.filter(|before| before.waiting == those) {
            return Ok(before);
        }
        let mut ties = ties();
        if grouped.first().is_some_and(|&flight| !ties.onward.contains(&(flight, those[0], 0))) {
            grouped.iter().for_each(|&flight| ties.tie((flight, those[0], 0), true));
        }
        if is_patient && ties.leads_to(awaited, &those) {
            return Err(Circle);
        }
        ties.number += 1;
        let number = ties.number;
        for &waiting in &those {
            ties.tie((waiting, awaited, number), is_patient);
        }
        let watchers = ties.queued_from([awaited]);
        Ok(Box::new(Self { number, waiting: those, awaited, watchers }))
    }

    /// Tells those who have to know of this. With no lock held.
    #[inline]
    pub(crate) fn tell(&mut self) {
        wake(mem::take(&mut self.watchers));
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

/// Flights that queue for a place among the loads of their cache, until this is dropped.
#[derive(Debug)]
pub(crate) struct Queued(pub(super) Vec<Mark>);

impl Queued {
    /// Has that waker woken when others come to wait for them, at whatever distance.
    pub(crate) fn set(&self, waker: &Waker) {
        let waker = Arc::new(waker.clone());
        let mut ties = ties();
        let mut former = Vec::new();
        for &mark in &self.0 {
            former.push(ties.queued.insert(mark, Arc::clone(&waker)));
        }
        let is_new = former.iter().any(Option::is_none);
        // Those who have a place are waited for by these now, and so is what they wait for.
        let told = if is_new { ties.queued_beyond(self.0[0].0) } else { Vec::new() };
        drop(ties);
        drop(former);
        wake(told);
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut ties = ties();
        let former: Vec<_> = self.0.iter().map(|mark| ties.queued.remove(mark)).collect();
        drop(ties);
        drop(former);
    }
}

fn wake(wakers: Vec<Arc<Waker>>) {
    wake_all(wakers.iter().map(|waker| Waker::clone(waker)));
}

/// Cuts what ties others to a flight: its leader has gone. Under the lock of its list.
#[cold]
pub(super) fn release(flight: Mark) {
    ties().cut_back(flight);
}

/// Cuts what ties a flight to others: its code has come to its end.
#[cold]
pub(super) fn free(flight: Mark) {
    ties().cut_onward(flight);
}

/// Cuts whatever is tied to a group, or it to.
#[cold]
pub(super) fn forget(group: Mark) {
    let mut ties = ties();
    ties.cut_back(group);
    ties.cut_onward(group);
}

/// Whether a flight is waited for by one that is listed there, at whatever distance: itself, or by way of a
/// place among the loads of a cache, for which those that queue there wait.
#[cold]
pub(super) fn is_awaited_within(flight: Mark, flights: usize) -> bool {
    let ties = ties();
    let (mut next, mut seen) = (vec![flight], BTreeSet::new());
    while let Some(flight) = next.pop() {
        for &(_, waiting, _) in ties.back.range(from(flight)) {
            if waiting.0 == flights {
                return true;
            }
            if seen.insert(waiting) {
                let queued = ties.queued.range((waiting.0, 0)..=(waiting.0, u64::MAX));
                next.extend(
                    queued.map(|(&queued, _)| queued).filter(|&queued| seen.insert(queued)),
                );
                next.push(waiting);
            }
        }
    }
    false
}

impl Ties {
    fn tie(&mut self, (waiting, awaited, number): Edge, is_patient: bool) {
        if is_patient {
            self.onward.insert((waiting, awaited, number));
        }
        self.back.insert((awaited, waiting, number));
    }

    fn cut(&mut self, (waiting, awaited, number): Edge) {
        self.onward.remove(&(waiting, awaited, number));
        self.back.remove(&(awaited, waiting, number));
    }

    fn cut_back(&mut self, flight: Mark) {
        let back: Vec<Edge> = self.back.range(from(flight)).copied().collect();
        for (awaited, waiting, number) in back {
            self.cut((waiting, awaited, number));
        }
    }

    fn cut_onward(&mut self, flight: Mark) {
        let onward: Vec<Edge> = self.onward.range(from(flight)).copied().collect();
        onward.into_iter().for_each(|edge| self.cut(edge));
    }

    /// Whom to tell of those that queue, among these flights and what they wait for.
    fn queued_from(&self, flights: impl IntoIterator<Item = Mark>) -> Vec<Arc<Waker>> {
        if self.queued.is_empty() {
            return Vec::new();
        }
        let onward = flights.into_iter().flat_map(|flight| self.onward_from(flight, |_| false));
        let onward: BTreeSet<Mark> = onward.collect();
        onward.iter().filter_map(|flight| self.queued.get(flight)).cloned().collect()
    }

    /// The same of what the flights of a cache wait for.
    fn queued_beyond(&self, flights: usize) -> Vec<Arc<Waker>> {
        let own = (flights, 0)..=(flights, u64::MAX);
        let edges = (*own.start(), (0, 0), 0)..=(*own.end(), (usize::MAX, u64::MAX), u64::MAX);
        self.queued_from(self.onward.range(edges).map(|&(_, awaited, _)| awaited))
    }

    /// A flight and those it waits for, at whatever distance, but not beyond one that `is_last`.
    fn onward_from(&self, flight: Mark, is_last: impl Fn(&Mark) -> bool) -> BTreeSet<Mark> {
        let (mut next, mut seen) = (vec![flight], BTreeSet::new());
        while let Some(flight) = next.pop() {
            if seen.insert(flight) && !is_last(&flight) {
                next.extend(self.onward.range(from(flight)).map(|&(_, awaited, _)| awaited));
            }
        }
        seen
    }

    /// Whether a flight is one of `those`, or waits for one, at whatever distance.
    fn leads_to(&self, flight: Mark, those: &[Mark]) -> bool {
        // Where nobody waits for them, as mostly, there is no way to them.
        let is_awaited = |&mark: &Mark| self.back.range(from(mark)).next().is_some();
        if !those.contains(&flight) && !those.iter().any(is_awaited) {
            return false;
        }
        let onward = self.onward_from(flight, |flight| those.contains(flight));
        those.iter().any(|flight| onward.contains(flight))
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

    fn tie(waiting: &[Mark], awaited: Mark) -> Result<Box<Tie>, Circle> {
        group(waiting, &[], awaited)
    }

    fn group(those: &[Mark], grouped: &[Mark], awaited: Mark) -> Result<Box<Tie>, Circle> {
        let waiting = Waiting { those: those.into(), grouped: grouped.into(), is_patient: true };
        Tie::between(None, waiting, awaited)
    }

    fn count(test: usize) -> [usize; 2] {
        let ties = ties();
        let is_own =
            |&&(one, other, _): &&Edge| one.0 == mark(test, 0).0 || other.0 == mark(test, 0).0;
        [&ties.onward, &ties.back].map(|edges| edges.iter().filter(is_own).count())
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
        assert_eq!(count(0), [0, 0]);
    }

    #[test]
    fn a_flight_that_is_over_ties_nobody() {
        let [a, b, c] = [0, 1, 2].map(|flight| mark(1, flight));
        let (ab, bc) = (tie(&[a], b).unwrap(), tie(&[b], c).unwrap());
        release(b);
        let ba = tie(&[b], a).expect("a has yet to wake up");
        assert!(tie(&[c], b).is_err(), "b waits still");
        free(b);
        let cb = tie(&[c], b).expect("what b waited with outlives it");
        // Cut already: this takes nothing that is of others.
        drop((ab, bc, ba));
        assert!(tie(&[b], c).is_err());
        drop(cb);
        assert_eq!(count(1), [0, 0]);
    }

    #[test]
    fn flights_of_a_group_wait_for_whatever_one_waits_for() {
        let [a, b, c, all] = [0, 1, 2, 9].map(|flight| mark(2, flight));
        let first = group(&[all], &[a, b], c).unwrap();
        assert!(tie(&[c], a).is_err());
        assert!(tie(&[c], b).is_err());
        assert!(group(&[all], &[a, b], b).is_err(), "one asks for another");
        drop(first);
        let ca = tie(&[c], a).expect("nothing is waited for");
        assert!(group(&[all], &[a, b], c).is_err());
        drop(ca);
        forget(all);
        assert_eq!(count(2), [0, 0]);
    }

    #[test]
    fn who_is_tied_already_stays_so() {
        let [a, b] = [0, 1].map(|flight| mark(3, flight));
        let first = tie(&[a], b).unwrap();
        let number = first.number;
        let waiting = Waiting { those: [a].into(), grouped: [].into(), is_patient: true };
        let second = Tie::between(Some(first), waiting, b).unwrap();
        assert_eq!((second.number, count(3)), (number, [1, 1]));
    }
}
