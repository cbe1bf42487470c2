//! What this thread is computing right now, so that it does not wait for itself.

use std::cell::RefCell;

use crate::sync::thread_local;

/// A flight as seen from everywhere: whose it is, and what it is told from others by there.
pub(crate) type Mark = (usize, u64);

thread_local! {
    static RUNNING: RefCell<Vec<Mark>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread runs a flight's closure, or polls its future, while this lives.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    pub(crate) fn enter(mark: Mark) -> Self {
        RUNNING.with(|running| running.borrow_mut().push(mark));
        Self(())
    }

    /// Whether this thread is in the middle of that flight.
    pub(super) fn is_on_this_thread(mark: Mark) -> bool {
        RUNNING.with(|running| running.borrow().contains(&mark))
    }

    /// Whether this thread is in the middle of any flight listed there.
    pub(super) fn is_in(flights: usize) -> bool {
        RUNNING.with(|running| running.borrow().iter().any(|mark| mark.0 == flights))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Guards live in nested scopes of one thread, so the last one in is the first one out.
        RUNNING.with(|running| running.borrow_mut().pop());
    }
}
