//! Futures that are some flight's code.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

pin_project! {
    /// A future that is polled, and dropped, within what `enter` says: whoever asks for the key that it
    /// computes, from its `Drop` as well, is told.
    pub(crate) struct Code<F, E: Enter> {
        #[pin]
        future: Option<F>,
        enter: E,
    }

    impl<F, E: Enter> PinnedDrop for Code<F, E> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let _within = this.enter.enter();
                this.future.set(None);
            }
        }
    }
}

/// Says what this thread is in the middle of.
pub(crate) trait Enter {
    fn enter(&self) -> impl Sized;
}

impl<T, E: Fn() -> T> Enter for E {
    fn enter(&self) -> impl Sized {
        self()
    }
}

impl<F, E: Enter> Code<F, E> {
    pub(crate) fn new(future: F, enter: E) -> Self {
        Self { future: Some(future), enter }
    }
}

impl<F: Future, E: Enter> Future for Code<F, E> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _within = this.enter.enter();
        let future = this.future.as_mut().as_pin_mut().expect("polled after it was ready");
        let polled = future.poll(context);
        if polled.is_ready() {
            this.future.set(None);
        }
        polled
    }
}
