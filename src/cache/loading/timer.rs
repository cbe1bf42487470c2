//! Waking tasks after a while: one thread for the whole process, there only while somebody sleeps, and a
//! moment longer.

use std::{collections::BTreeMap, sync::LazyLock, task::Waker, thread, time::Duration};

use crate::{
    flight::wake_all,
    sync::{Condvar, Mutex, MutexGuard, lock, wait_for},
    time::{Clock, nanos},
};

struct Timer {
    clock: Clock,
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
}

#[derive(Default)]
struct Sleepers {
    is_running: bool,
    number: u64,
    /// By deadline (nanoseconds of the timer's clock) and number, the soonest first.
    queue: BTreeMap<(u64, u64), Waker>,
}

/// How long the thread waits for others to sleep, in nanoseconds: to start one costs more than a look.
const LINGER: u64 = 100_000_000;

static TIMER: LazyLock<Timer> = LazyLock::new(|| Timer {
    clock: Clock::system(),
    sleepers: Mutex::new(Sleepers::default()),
    changed: Condvar::new(),
});

/// Will wake a task, unless it is dropped before.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<((u64, u64), Waker)>);

impl Alarm {
    /// Will wake that task when a clock has come to `deadline`, if this is not going to already. Nobody tells
    /// when an injected clock has: then the task is woken in between, and must set this anew.
    pub(super) fn set_for(&mut self, deadline: u64, clock: &Clock, waker: &Waker) {
        if clock.is_injected() {
            self.unset();
        }
        self.set(clock.sleep_until(deadline), waker);
    }

    /// Will wake that task after that time, if this is not going to already.
    fn set(&mut self, after: Duration, waker: &Waker) {
        if self.0.as_ref().is_some_and(|(_, set)| set.will_wake(waker)) {
            return;
        }
        self.unset();
        self.0 = Some((TIMER.add(after, waker.clone()), waker.clone()));
    }

    fn unset(&mut self) {
        if let Some((place, _)) = self.0.take() {
            let mut sleepers = lock(&TIMER.sleepers);
            let waker = sleepers.queue.remove(&place);
            let is_last = sleepers.queue.is_empty();
            drop(sleepers);
            drop(waker);
            if is_last {
                TIMER.changed.notify_one();
            }
        }
    }
}

impl Drop for Alarm {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.unset();
        }
    }
}

impl Timer {
    fn add(&self, after: Duration, waker: Waker) -> (u64, u64) {
        let deadline = self.clock.now().saturating_add(nanos(after));
        let mut sleepers = lock(&self.sleepers);
        sleepers.number += 1;
        let place = (deadline, sleepers.number);
        sleepers.queue.insert(place, waker);
        if !sleepers.is_running {
            let thread = thread::Builder::new().name("larder-timer".into());
            // Where no thread can be started, the end is noticed when the task is next polled.
            sleepers.is_running = thread.spawn(|| TIMER.run()).is_ok();
        }
        drop(sleepers);
        self.changed.notify_one();
        place
    }

    fn run(&self) {
        let mut sleepers = lock(&self.sleepers);
        let mut idle_since = None;
        loop {
            let now = self.clock.now();
            let left = match sleepers.queue.first_key_value() {
                Some((&(deadline, _), _)) => {
                    idle_since = None;
                    deadline.saturating_sub(now)
                }
                None => {
                    let idle = now.saturating_sub(*idle_since.get_or_insert(now));
                    let left = LINGER.saturating_sub(idle);
                    if left == 0 {
                        break;
                    }
                    left
                }
            };
            sleepers = if left > 0 {
                wait_for(&self.changed, &self.sleepers, sleepers, Duration::from_nanos(left))
            } else {
                self.wake_first(sleepers)
            };
        }
        sleepers.is_running = false;
    }

    fn wake_first<'a>(
        &'a self,
        mut sleepers: MutexGuard<'a, Sleepers>,
    ) -> MutexGuard<'a, Sleepers> {
        let first = sleepers.queue.pop_first();
        drop(sleepers);
        wake_all(first.map(|(_, waker)| waker));
        lock(&self.sleepers)
    }
}
