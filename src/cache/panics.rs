//! Panics of the user's code in an operation of several steps: none keeps the others from being
//! done, and the first is passed on at the end.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

use crate::outbox::forget_panic;

/// What was caught so far.
#[derive(Debug, Default)]
#[must_use = "the first panic is to be passed on"]
pub(super) struct Panics(Option<Box<dyn Any + Send>>);

impl Panics {
    /// Does a step.
    pub(super) fn catch(&mut self, step: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(step)) {
            if self.0.is_none() {
                self.0 = Some(panic);
            } else {
                forget_panic(Err::<(), _>(panic));
            }
        }
    }

    /// Passes the first one on, unless another is under way, which would abort the process.
    pub(super) fn pass_on(self) {
        if let Some(panic) = self.0
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
