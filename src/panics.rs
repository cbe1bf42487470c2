//! Panics of the user's code in an operation of several steps: none keeps the others from being
//! done, and the first is passed on at the end.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

/// What was caught so far.
#[derive(Debug, Default)]
#[must_use = "the first panic is to be passed on"]
pub(crate) struct Panics(Option<Box<dyn Any + Send>>);

impl Panics {
    /// Does a step.
    pub(crate) fn catch(&mut self, step: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(step)) {
            if self.0.is_none() {
                self.0 = Some(panic);
            } else {
                forget_panic(Err::<(), _>(panic));
            }
        }
    }

    /// Passes the first one on, unless another is under way, which would abort the process.
    pub(crate) fn pass_on(self) {
        let Some(panic) = self.0 else { return };
        if thread::panicking() {
            forget_panic(Err::<(), _>(panic));
        } else {
            resume_unwind(panic);
        }
    }
}

/// Drops what a panic carried, which may panic again.
pub(crate) fn forget_panic<T>(outcome: thread::Result<T>) {
    let mut outcome = outcome.map(drop);
    for _ in 0..3 {
        let Err(payload) = outcome else { return };
        outcome = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    }
    // Payloads whose drops panic with such payloads over and over are leaked rather than chased.
    std::mem::forget(outcome);
}
