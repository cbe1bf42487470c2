//! The one file that imports locks and atomics, so that the loom models see every one of them.
//!
//! `--cfg larder_loom` swaps them for loom's.

#![allow(unused_imports, reason = "not every build uses every primitive")]

// Only ownership goes through it, which the models need not explore.
pub(crate) use std::sync::Arc;

#[cfg(not(larder_loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    },
};

#[cfg(larder_loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    },
};

/// Takes a mutex whether or not a holder panicked: what it guards is kept consistent at every
/// point where the user's code can panic.
#[cfg(not(larder_tsan))]
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// The thread sanitizer cannot see into the standard library's slow path, so it is not taken.
#[cfg(larder_tsan)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    loop {
        if let Some(guard) = try_lock(mutex) {
            return guard;
        }
        std::thread::yield_now();
    }
}

/// [`lock`] without waiting.
#[inline]
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => None,
    }
}

/// Waits for a change of what a mutex guards; gives the lock back meanwhile.
#[cfg(not(larder_tsan))]
pub(crate) fn wait<'a, T>(
    changed: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
) -> MutexGuard<'a, T> {
    match changed.wait(guard) {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// [`wait`] for that long at most.
#[cfg(not(any(larder_loom, larder_tsan)))]
pub(crate) fn wait_for<'a, T>(
    changed: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    at_most: std::time::Duration,
) -> MutexGuard<'a, T> {
    match changed.wait_timeout(guard, at_most) {
        Ok((guard, _)) => guard,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

/// The thread sanitizer cannot see a `Condvar` give the lock back and take it again.
#[cfg(larder_tsan)]
pub(crate) fn wait<'a, T>(
    _changed: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
) -> MutexGuard<'a, T> {
    drop(guard);
    std::thread::yield_now();
    lock(mutex)
}

/// [`wait`]: who waits looks again in any case.
#[cfg(larder_tsan)]
pub(crate) fn wait_for<'a, T>(
    changed: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    _at_most: std::time::Duration,
) -> MutexGuard<'a, T> {
    wait(changed, mutex, guard)
}

/// Loom has no time: who would wait a while gives others a turn.
#[cfg(larder_loom)]
pub(crate) fn wait_for<'a, T>(
    _changed: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    _at_most: std::time::Duration,
) -> MutexGuard<'a, T> {
    guard
}

#[cfg(not(larder_tsan))]
pub(crate) use std::sync::OnceLock;

/// The standard library's publishes what it holds where the thread sanitizer cannot see it.
#[cfg(larder_tsan)]
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    cell: std::sync::OnceLock<T>,
}

#[cfg(larder_tsan)]
impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { is_set: AtomicBool::new(false), cell: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the Release in `set`.
        self.is_set.load(Ordering::Acquire).then(|| self.cell.get()).flatten()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let set = self.cell.set(value);
        // Release: pairs with the Acquire in `get`.
        self.is_set.store(true, Ordering::Release);
        set
    }
}

/// Waits a little before the `round`-th look at a lock: spins, then yields, then sleeps.
#[cfg(not(larder_loom))]
pub(crate) fn back_off(round: u32, spins: u32, yields: u32, longest_us: u64) {
    if round < spins {
        std::hint::spin_loop();
    } else if round < spins + yields {
        std::thread::yield_now();
    } else {
        let doublings = (round - spins - yields).min(6);
        let micros = (16_u64 << doublings).min(longest_us);
        std::thread::sleep(std::time::Duration::from_micros(micros));
    }
}

/// Loom explores schedules, not durations.
#[cfg(larder_loom)]
pub(crate) fn back_off(_round: u32, _spins: u32, _yields: u32, _longest_us: u64) {
    loom::thread::yield_now();
}

/// A static that is made when it is first used.
#[cfg(not(larder_loom))]
macro_rules! global {
    ($(#[$about:meta])* static $name:ident: $type:ty = $init:expr;) => {
        $(#[$about])* static $name: std::sync::LazyLock<$type> = std::sync::LazyLock::new(|| $init);
    };
}

/// Loom wants one for each schedule.
#[cfg(larder_loom)]
macro_rules! global {
    ($(#[$about:meta])* static $name:ident: $type:ty = $init:expr;) => {
        loom::lazy_static! { $(#[$about])* static ref $name: $type = $init; }
    };
}

pub(crate) use global;

/// Lets another thread run.
pub(crate) fn yield_now() {
    #[cfg(not(larder_loom))]
    std::thread::yield_now();
    #[cfg(larder_loom)]
    loom::thread::yield_now();
}

#[cfg(not(larder_loom))]
pub(crate) use std::{thread::ThreadId, thread_local};

#[cfg(larder_loom)]
pub(crate) use loom::thread::ThreadId;

/// The thread that asks. Found out once: the standard library makes a handle each time.
#[cfg(not(larder_loom))]
pub(crate) fn this_thread() -> ThreadId {
    std::thread_local! {
        static ID: ThreadId = std::thread::current().id();
    }
    ID.with(|&id| id)
}

/// The thread that asks.
#[cfg(larder_loom)]
pub(crate) fn this_thread() -> ThreadId {
    loom::thread::current().id()
}

/// Loom's does not know of constant initialisers.
#[cfg(larder_loom)]
macro_rules! model_local {
    ($(#[$about:meta])* $vis:vis static $name:ident: $type:ty = const { $init:expr };) => {
        loom::thread_local! { $(#[$about])* $vis static $name: $type = $init; }
    };
}

#[cfg(larder_loom)]
pub(crate) use model_local as thread_local;
