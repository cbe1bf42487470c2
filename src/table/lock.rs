//! The lock of one bucket: one word beside the entries it guards.
//!
//! It is held for nanoseconds, so a waiter spins briefly, then yields, then sleeps in growing
//! steps. There is no wake-up list: releasing is a plain store, which halves the price of the pair
//! (a flag for sleepers would make it a second locked instruction on every hit), and a waiter gets
//! as far as sleeping only when the holder itself was descheduled.
//!
//! It is a leaf of the lock order: nothing else is ever locked under it.

#![allow(unsafe_code, reason = "`Guarded` gives out what its lock guards")]

use std::{
    cell::{Cell, UnsafeCell},
    fmt,
    mem::needs_drop,
    ops::{Deref, DerefMut},
};

use crate::sync::{self, AtomicU32, Ordering};

const FREE: u32 = 0;
/// The other 31 bits are reserved for a sequence number, should optimistic reads be added.
const HELD: u32 = 1;

/// Tries before the waiter gives its time slice away; a held lock is free again after a few.
const SPINS: u32 = 128;
/// Time slices given away before the waiter sleeps.
const YIELDS: u32 = 16;
/// The longest sleep between two looks.
const LONGEST_SLEEP_US: u64 = 1_000;

/// A mutual exclusion lock of one word.
#[derive(Debug)]
pub(super) struct BucketLock(AtomicU32);

impl BucketLock {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Takes the lock; dropping the guard gives it back.
    #[inline]
    pub(super) fn lock(&self) -> BucketGuard<'_> {
        if !self.try_take() {
            self.wait();
        }
        BucketGuard(self)
    }

    /// [`lock`](Self::lock) without waiting.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<BucketGuard<'_>> {
        self.try_take().then(|| BucketGuard(self))
    }

    #[inline]
    fn try_take(&self) -> bool {
        // Acquire: pairs with the Release in `BucketGuard::drop`.
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn wait(&self) {
        deny_reentry();
        let mut round = 0_u32;
        loop {
            // Relaxed: only a hint that taking it may succeed.
            if self.0.load(Ordering::Relaxed) == FREE && self.try_take() {
                return;
            }
            sync::back_off(round, SPINS, YIELDS, LONGEST_SLEEP_US);
            round = round.saturating_add(1);
        }
    }
}

/// Holds a [`BucketLock`].
#[derive(Debug)]
pub(crate) struct BucketGuard<'a>(&'a BucketLock);

impl Drop for BucketGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `BucketLock::try_take`.
        self.0.0.store(FREE, Ordering::Release);
    }
}

/// A value behind such a lock: what the lock of a stripe guards. It is held for some hundred
/// nanoseconds at a time, so what is said of a bucket's lock holds for it too. The lock comes with the
/// line where the value begins.
#[repr(C)]
pub(crate) struct Guarded<T> {
    lock: BucketLock,
    value: UnsafeCell<T>,
}

// SAFETY: only the holder of the lock reaches the value, so sharing it is handing it around.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { lock: BucketLock::new(), value: UnsafeCell::new(value) }
    }

    /// Takes the lock. A holder that panicked has given it back like any other.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        Guard { _lock: self.lock.lock(), value: &self.value }
    }

    /// [`lock`](Self::lock) without waiting.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.lock.try_lock().map(|lock| Guard { _lock: lock, value: &self.value })
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("lock", &self.lock).finish_non_exhaustive()
    }
}

/// Holds the lock of a [`Guarded`] value.
pub(crate) struct Guard<'a, T> {
    _lock: BucketGuard<'a>,
    value: &'a UnsafeCell<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as `self` lives, and the reference lives no longer.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe { &mut *self.value.get() }
    }
}

thread_local! {
    /// How many pieces of the user's code this thread is running under a bucket's lock.
    static IN_USER_CODE: Cell<u32> = const { Cell::new(0) };
}

/// Marks that the user's code (`Eq`, `Clone`, a `read` closure) runs under a bucket's lock.
#[derive(Debug)]
pub(crate) struct UserCode(());

impl UserCode {
    #[inline]
    pub(crate) fn enter() -> Self {
        IN_USER_CODE.with(|depth| depth.set(depth.get() + 1));
        Self(())
    }
}

impl Drop for UserCode {
    #[inline]
    fn drop(&mut self) {
        IN_USER_CODE.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Whether the keys' `Eq` and `Hash` or the values' `Clone` could be more than a few instructions:
/// only then is it worth noting that they run under a lock.
const fn has_user_code<K, V>() -> bool {
    needs_drop::<K>() || needs_drop::<V>()
}

/// Marks the user's code, where there may be any, for as long as the guard lives.
#[inline]
pub(crate) fn enter_user_code<K, V>() -> Option<UserCode> {
    has_user_code::<K, V>().then(UserCode::enter)
}

/// Whether this thread is running the user's code under a bucket's lock.
pub(crate) fn in_user_code() -> bool {
    IN_USER_CODE.with(Cell::get) != 0
}

/// Called before waiting for any lock: a thread that holds a bucket's lock must not wait for
/// another one, or two threads could wait for each other for ever.
///
/// # Panics
/// If the caller was called from the user's code under a bucket's lock.
pub(crate) fn deny_reentry() {
    assert!(
        IN_USER_CODE.with(Cell::get) == 0,
        "the cache was called from inside its key's `Eq` or `Hash`, its value's `Clone` or a \
         closure that runs under a lock, and would have to wait for a lock there; take the value out with `get` (an `Arc` makes \
         that cheap) and call the cache afterwards"
    );
}
