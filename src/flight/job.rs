//! Jobs: futures that belong to nobody, driven by whoever wants their outcome.
//!
//! Every driver is woken when the future is, so one that is never polled again holds nobody up. The
//! future is dropped with the last driver: a job that nobody wants ends.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use super::{
    Running,
    seats::{Seats, wake_all},
};
use crate::sync::{Mutex, lock};

/// A future that can be sent to another thread.
pub(crate) type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A shared future.
pub(crate) struct Job {
    /// Taken out by whoever polls it, as `signal` says.
    future: Mutex<Option<BoxFuture>>,
    signal: Arc<Signal>,
}

/// Wakes every driver when the future is woken. Apart from the job, or the future would own itself
/// through its waker.
#[derive(Debug)]
struct Signal(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    drivers: Seats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Somebody is polling the future, which may have been woken since.
    Polling {
        is_woken: bool,
    },
    Done,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("signal", &self.signal).finish_non_exhaustive()
    }
}

impl Job {
    pub(crate) fn new(future: BoxFuture) -> Arc<Self> {
        let state = State { phase: Phase::Idle, drivers: Seats::default() };
        let signal = Arc::new(Signal(Mutex::new(state)));
        Arc::new(Self { future: Mutex::new(Some(future)), signal })
    }

    /// Polls the future, which is nobody else's turn now; leaves it in its place if it is pending.
    fn advance(&self) -> Poll<()> {
        let waker = Waker::from(Arc::clone(&self.signal));
        let Some(mut future) = lock(&self.future).take() else { return Poll::Ready(()) };
        let mut context = Context::from_waker(&waker);
        let apart = Running::apart();
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        if matches!(polled, Ok(Poll::Pending)) {
            *lock(&self.future) = Some(future);
            self.signal.end(Phase::Idle);
            return Poll::Pending;
        }
        // Its drop may abandon flights and so wake others.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(future)));
        drop(apart);
        self.signal.end(Phase::Done);
        for panic in [polled.map(drop), dropped] {
            panic.unwrap_or_else(|panic| resume_unwind(panic));
        }
        Poll::Ready(())
    }
}

impl Signal {
    /// Ends a poll; wakes all drivers if there is news for them.
    fn end(&self, next: Phase) {
        let mut state = lock(&self.0);
        let before = mem::replace(&mut state.phase, next);
        let has_news = next == Phase::Done || before == Phase::Polling { is_woken: true };
        let wakers = if has_news { state.drivers.take_wakers() } else { Vec::new() };
        drop(state);
        wake_all(wakers);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = lock(&self.0);
        if let Phase::Polling { is_woken } = &mut state.phase {
            *is_woken = true;
        }
        let wakers = state.drivers.take_wakers();
        drop(state);
        wake_all(wakers);
    }
}

/// One who wants a job done.
#[derive(Debug)]
pub(crate) struct Driver {
    job: Arc<Job>,
    seat: usize,
}

impl Driver {
    pub(crate) fn new(job: Arc<Job>) -> Self {
        let seat = lock(&job.signal.0).drivers.take();
        Self { job, seat }
    }

    /// Whether this drives that job.
    pub(crate) fn drives(&self, job: &Arc<Job>) -> bool {
        Arc::ptr_eq(&self.job, job)
    }

    /// Drives the job on; ready when it is done.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut state = lock(&self.job.signal.0);
        if state.phase == Phase::Done {
            return Poll::Ready(());
        }
        let former = state.drivers.set(self.seat, waker);
        let is_free = state.phase == Phase::Idle;
        if is_free {
            state.phase = Phase::Polling { is_woken: false };
        }
        drop(state);
        drop(former);
        if is_free { self.job.advance() } else { Poll::Pending }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut state = lock(&self.job.signal.0);
        let waker = state.drivers.leave(self.seat);
        drop(state);
        drop(waker);
    }
}

/// Drives it to the end.
impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Driver::poll(&mut self, context)
    }
}
