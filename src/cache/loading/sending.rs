//! Which queues this thread is running the writer of, so that the writer does not wait for itself.

use std::cell::RefCell;

use crate::sync::{Arc, thread_local};

thread_local! {
    /// Queues by their addresses.
    static SENDING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Who waits for a queue is its own writer.
pub(super) struct Within;

/// Says that this thread polls the writer of a queue while this lives.
pub(super) struct Sending(());

impl Sending {
    pub(super) fn enter<T>(queue: &Arc<T>) -> Self {
        // Where a thread's last destructors run there is nothing to note it in.
        _ = SENDING.try_with(|sending| sending.borrow_mut().push(Arc::as_ptr(queue).addr()));
        Self(())
    }

    pub(super) fn is_on_this_thread<T>(queue: &Arc<T>) -> bool {
        let queue = Arc::as_ptr(queue).addr();
        SENDING.try_with(|sending| sending.borrow().contains(&queue)).unwrap_or(false)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Guards live in nested scopes of one thread, so the last one in is the first one out.
        _ = SENDING.try_with(|sending| sending.borrow_mut().pop());
    }
}
