//! What this thread is computing right now, so that it does not wait for itself.

use std::cell::RefCell;

use super::circle;
use crate::sync::{AtomicBool, AtomicU64, Ordering, global, thread_local};

/// A flight as seen from everywhere: whose it is, and what it is told from others by there.
pub(crate) type Mark = (usize, u64);

/// No flight's.
const NOBODY: Mark = (0, 0);

/// Code that this thread is in the middle of.
#[derive(Clone, Copy, Debug)]
struct Frame {
    mark: Mark,
    kind: Kind,
    /// Whether it waited for other flights.
    is_tied: bool,
    /// Of a group: how many flights it has, which lie below.
    flights: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A flight's closure, or other code of the user's.
    Closure,
    /// A flight's future.
    Future,
    /// The future of several flights at once.
    Group,
    /// What may be anybody's: what came before need not wait for it.
    Apart,
    /// A thread that waits, and all that it is in the middle of with it.
    Blocked,
    /// A thread that will not wait for ever.
    Impatient,
}

global! {
    /// How many groups there were. Their numbers are no flights', which have the highest bit.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
}

thread_local! {
    /// Gone where a thread's last destructors run: there nothing tells of waiting for oneself.
    static RUNNING: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Says what this thread is in the middle of while this lives.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    /// To be told whether the code waited for other flights.
    is_tied: Option<&'a AtomicBool>,
}

/// Several flights that are computed as one.
#[derive(Debug)]
pub(crate) struct Group {
    mark: Mark,
    is_tied: AtomicBool,
}

/// Who would wait, if the code that this thread is in the middle of did.
pub(super) struct Waiting {
    pub(super) those: Box<[Mark]>,
    /// If that is a group, its flights.
    pub(super) grouped: Box<[Mark]>,
    /// Whether they would wait for ever if need be.
    pub(super) is_patient: bool,
}

impl Running<'_> {
    /// In the middle of a flight; `is_tied` will say whether its code waited for others.
    #[inline]
    pub(super) fn enter(mark: Mark, is_future: bool, is_tied: &AtomicBool) -> Running<'_> {
        push(mark, if is_future { Kind::Future } else { Kind::Closure }, 0);
        Running { is_tied: Some(is_tied) }
    }

    /// In the middle of what may be anybody's.
    pub(super) fn apart() -> Self {
        push(NOBODY, Kind::Apart, 0);
        Self { is_tied: None }
    }

    /// In the middle of waiting, for ever if need be.
    pub(super) fn blocked(is_patient: bool) -> Self {
        push(NOBODY, if is_patient { Kind::Blocked } else { Kind::Impatient }, 0);
        Self { is_tied: None }
    }

    /// Whether this thread is in the middle of that flight.
    pub(super) fn is_on_this_thread(mark: Mark) -> bool {
        is_any(|frame| frame.mark == mark)
    }

    /// Whether this thread is in the middle of any flight listed there.
    pub(super) fn is_in(flights: usize) -> bool {
        is_any(|frame| frame.mark.0 == flights)
    }
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        // Guards live in nested scopes of one thread, so the last one in is the first one out.
        let frame = RUNNING.try_with(|running| running.borrow_mut().pop());
        if let (Ok(Some(Frame { is_tied: true, .. })), Some(is_tied)) = (frame, self.is_tied) {
            // Relaxed: for the leader, who has this guard too.
            is_tied.store(true, Ordering::Relaxed);
        }
    }
}

impl Group {
    /// Of flights listed there.
    pub(super) fn new(flights: usize) -> Self {
        // Relaxed: the number need only be another one.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { mark: (flights, number), is_tied: AtomicBool::new(false) }
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// To be held while this thread polls their future, with those of the flights, which come first and go
    /// last.
    pub(crate) fn run(&self, flights: usize, is_future: bool) -> Running<'_> {
        let kind = if is_future { Kind::Group } else { Kind::Closure };
        push(self.mark, kind, flights as u32);
        Running { is_tied: Some(&self.is_tied) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Relaxed: set by guards that were dropped before.
        if self.is_tied.load(Ordering::Relaxed) {
            circle::forget(self.mark);
        }
    }
}

impl Waiting {
    /// `None` if nobody would.
    pub(super) fn here() -> Option<Self> {
        RUNNING.try_with(|running| Self::of(&mut running.borrow_mut())).ok().flatten()
    }

    fn of(running: &mut [Frame]) -> Option<Self> {
        let (top, below) = running.split_last_mut()?;
        let grouped = match top.kind {
            // A closure polls nothing itself. What is polled within, by a runtime that it called, may be
            // anybody's.
            Kind::Closure | Kind::Apart => return None,
            Kind::Blocked | Kind::Impatient => {
                let is_patient = top.kind == Kind::Blocked;
                let those = below.iter_mut().filter(|frame| frame.mark != NOBODY);
                let those: Box<[Mark]> = those.map(Frame::tie).collect();
                let grouped = Box::from([]);
                return (!those.is_empty()).then_some(Self { those, grouped, is_patient });
            }
            Kind::Future | Kind::Group => &below[below.len() - top.flights as usize..],
        };
        let grouped = grouped.iter().map(|frame| frame.mark).collect();
        Some(Self { those: [top.tie()].into(), grouped, is_patient: true })
    }
}

impl Frame {
    fn tie(&mut self) -> Mark {
        self.is_tied = true;
        self.mark
    }
}

#[inline]
fn push(mark: Mark, kind: Kind, flights: u32) {
    let frame = Frame { mark, kind, is_tied: false, flights };
    _ = RUNNING.try_with(|running| running.borrow_mut().push(frame));
}

fn is_any(is_it: impl Fn(&Frame) -> bool) -> bool {
    RUNNING.try_with(|running| running.borrow().iter().any(is_it)).unwrap_or(false)
}
