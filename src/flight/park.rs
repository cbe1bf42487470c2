//! Waiting in blocking code: the same polling as in async code, with a thread that sleeps between.

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::Running;
use crate::sync::{Condvar, Mutex, lock, wait, wait_for};

/// A thread that sleeps until it is woken.
#[derive(Debug)]
pub(crate) struct Parker {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { is_woken: Mutex::new(false), changed: Condvar::new() })
    }

    /// Sleeps until woken, or for that long.
    fn park(&self, at_most: Option<Duration>) {
        let mut is_woken = lock(&self.is_woken);
        while !*is_woken {
            match at_most {
                None => is_woken = wait(&self.changed, &self.is_woken, is_woken),
                Some(at_most) => {
                    is_woken = wait_for(&self.changed, &self.is_woken, is_woken, at_most);
                    break;
                }
            }
        }
        *is_woken = false;
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.is_woken) = true;
        self.changed.notify_one();
    }
}

/// Polls until there is something, or until `patience` (asked before each sleep for how long it may
/// last; `None` means without end) says zero.
pub(crate) fn block_on<T>(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    patience: impl Fn() -> Option<Duration>,
) -> Option<T> {
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    let is_patient = patience().is_none();
    loop {
        let blocked = Running::blocked(is_patient);
        if let Poll::Ready(ready) = poll(&mut context) {
            return Some(ready);
        }
        drop(blocked);
        let patience = patience();
        if patience.is_some_and(|patience| patience.is_zero()) {
            return None;
        }
        parker.park(patience);
    }
}
