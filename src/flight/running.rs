//! What this thread is computing right now, so that it does not wait for itself.

use std::cell::RefCell;

use crate::sync::thread_local;

/// A flight as seen from everywhere: whose it is, and what it is told from others by there.
pub(crate) type Mark = (usize, u64);

/// No flight: what follows is not waited for by what came before.
const APART: Mark = (0, 0);

thread_local! {
    /// Gone where a thread's last destructors run: there nothing tells of waiting for oneself.
    static RUNNING: RefCell<Vec<Mark>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread runs a flight's closure, or polls its future, while this lives.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    pub(crate) fn enter(mark: Mark) -> Self {
        _ = RUNNING.try_with(|running| running.borrow_mut().push(mark));
        Self(())
    }

    /// Whether this thread is in the middle of that flight.
    pub(super) fn is_on_this_thread(mark: Mark) -> bool {
        RUNNING.try_with(|running| running.borrow().contains(&mark)).unwrap_or(false)
    }

    /// Says that this thread does what may be anybody's, while this lives: the flights it is in the middle
    /// of need not wait for that.
    pub(super) fn apart() -> Self {
        Self::enter(APART)
    }

    /// The flights that wait while what this thread runs does.
    pub(super) fn of_this_code() -> Box<[Mark]> {
        let here = |running: &RefCell<Vec<Mark>>| {
            running.borrow().rsplit(|&mark| mark == APART).next().map(Box::from)
        };
        RUNNING.try_with(here).ok().flatten().unwrap_or_default()
    }

    /// Whether this thread is in the middle of any flight listed there.
    pub(super) fn is_in(flights: usize) -> bool {
        let is_any =
            |running: &RefCell<Vec<Mark>>| running.borrow().iter().any(|mark| mark.0 == flights);
        RUNNING.try_with(is_any).unwrap_or(false)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Guards live in nested scopes of one thread, so the last one in is the first one out.
        _ = RUNNING.try_with(|running| running.borrow_mut().pop());
    }
}
