//! The lock of one bucket: one word beside the entries it guards.
//!
//! Who only copies what it guards may do without it: a copy is good if the lock was free before and
//! was not taken until after (a sequence lock: Boehm, "Can seqlocks get along with programming
//! language memory models?", 2012). The count is of 31 bits: a copy that takes as long as 2^31
//! takings of one bucket's lock, most of a minute, and meets exactly the same count again would be taken
//! for good.
//!
//! A release is a plain store, which may still be on its way to the other processors when this one goes
//! on. Were the next look-up without a lock too, two threads could each insert a key and then both miss
//! the other's, which no order of the four explains. So whoever changed something makes, before the next
//! look without a lock, an atomic exchange, with a flag of the thread's own: that waits until the stores
//! have arrived. (So processors promise. A fence would be what the language's memory model asks for, and
//! takes twice as long on x86.)
//!
//! It is held for nanoseconds, so a waiter spins briefly, then yields, then sleeps in growing
//! steps. There is no wake-up list: releasing is a plain store, which halves the price of the pair
//! (a flag for sleepers would make it a second locked instruction on every hit), and a waiter gets
//! as far as sleeping only when the holder itself was descheduled.
//!
//! It is the last but one in the lock order: nothing is locked under it but a list of flights, for a moment.

#![allow(unsafe_code, reason = "`Guarded` gives out what its lock guards")]

use std::{
    cell::{Cell, UnsafeCell},
    fmt,
    mem::needs_drop,
    ops::{Deref, DerefMut},
};

use crate::sync::{self, AtomicBool, AtomicU32, Ordering, fence, thread_local};

/// The bit that says that the lock is held. The others count how often it was, so that who copied
/// what it guards without taking it can tell whether that was changed meanwhile.
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
        Self(AtomicU32::new(0))
    }

    /// Takes the lock; dropping the guard gives it back.
    #[inline]
    pub(super) fn lock(&self) -> BucketGuard<'_> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    /// [`lock`](Self::lock) without waiting.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<BucketGuard<'_>> {
        // Relaxed: confirmed by the exchange.
        let seen = self.0.load(Ordering::Relaxed);
        let is_taken = seen & HELD == 0
            // Acquire: pairs with the Release in `BucketGuard::drop`.
            && self
                .0
                .compare_exchange(seen, seen | HELD, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        is_taken.then(|| BucketGuard { lock: self, then: seen.wrapping_add(2) })
    }

    /// The moment, if nobody holds the lock: what is copied from now on is good if the lock
    /// [is untouched](Self::is_untouched_since) afterwards. All of it is to be copied by loads with Acquire
    /// that pair with stores with Release under the lock.
    #[inline(always)]
    pub(super) fn glimpse(&self) -> Option<Glimpse> {
        await_changes();
        // Acquire: pairs with the Release in `BucketGuard::drop`: what was changed under the lock
        // before is seen.
        let count = self.0.load(Ordering::Acquire);
        (count & HELD == 0).then_some(Glimpse(count))
    }

    /// Whether nobody took the lock since.
    #[inline(always)]
    pub(super) fn is_untouched_since(&self, glimpse: Glimpse) -> bool {
        // Relaxed: comes after the loads with Acquire. Whichever of them saw a change sees, by its pair,
        // that the lock had been taken for it.
        self.0.load(Ordering::Relaxed) == glimpse.0
    }

    #[cold]
    fn wait(&self) -> BucketGuard<'_> {
        deny_reentry();
        let mut round = 0_u32;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            sync::back_off(round, SPINS, YIELDS, LONGEST_SLEEP_US);
            round = round.saturating_add(1);
        }
    }
}

/// When a [`BucketLock`] was seen to be free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glimpse(u32);

/// Holds a [`BucketLock`].
#[derive(Debug)]
pub(crate) struct BucketGuard<'a> {
    lock: &'a BucketLock,
    /// What the lock says once it is given back.
    then: u32,
}

impl Drop for BucketGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `BucketLock::try_lock`, and in `BucketLock::glimpse`.
        self.lock.0.store(self.then, Ordering::Release);
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

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        note_change();
    }
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
    /// Whether this thread changed something and has not made sure since that it arrived where others
    /// see it.
    static ON_ITS_WAY: AtomicBool = const { AtomicBool::new(false) };
}

/// Notes that this thread changed what others look up; see the head of this file.
#[inline]
pub(crate) fn note_change() {
    // Relaxed: the thread's own. Where the flag is gone already, it counts as set.
    _ = ON_ITS_WAY.try_with(|change| change.store(true, Ordering::Relaxed));
}

/// Makes sure that all this thread changed has arrived where others see it, before it looks something up
/// without a lock.
#[inline(always)]
pub(crate) fn await_changes() {
    let waited = ON_ITS_WAY.try_with(|change| {
        // Relaxed: the thread's own.
        if change.load(Ordering::Relaxed) {
            change.swap(false, Ordering::SeqCst);
        }
    });
    if waited.is_err() {
        // SeqCst: as the exchange. The flag is gone, as it may be where a thread's last destructors run.
        fence(Ordering::SeqCst);
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

/// Copying under no lock, word by word, in every schedule.
#[cfg(all(test, larder_loom))]
mod models {
    use loom::thread;

    use super::BucketLock;
    use crate::sync::{Arc, AtomicU64, Ordering};

    /// What a lane is to those who look into it without a lock.
    struct Lane {
        lock: BucketLock,
        /// Whose entry it holds; 0 if none.
        print: AtomicU64,
        words: [AtomicU64; 2],
    }

    impl Lane {
        fn holding(print: u64) -> Self {
            let word = || AtomicU64::new(print);
            Self { lock: BucketLock::new(), print: word(), words: [word(), word()] }
        }

        /// As `bare::store`.
        fn write(&self, content: u64) {
            self.words.iter().for_each(|word| word.store(content, Ordering::Release));
        }

        /// As `Open::glance`: `Err` if that is unclear.
        fn glance(&self, print: u64) -> Result<Option<u64>, ()> {
            let glimpse = self.lock.glimpse().ok_or(())?;
            let is_there = self.print.load(Ordering::Acquire) == print;
            // As `bare::load`.
            let [one, other] = [0, 1].map(|word: usize| self.words[word].load(Ordering::Acquire));
            if !self.lock.is_untouched_since(glimpse) {
                return Err(());
            }
            assert!(!is_there || one == other, "torn");
            Ok(is_there.then_some(one))
        }
    }

    fn model(explore: impl Fn(&Arc<Lane>) + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound.get_or_insert(3);
        builder.check(move || explore(&Arc::new(Lane::holding(1))));
    }

    #[test]
    fn a_copy_is_of_one_moment() {
        model(|lane| {
            let writer = Arc::clone(lane);
            let writing = thread::spawn(move || {
                for content in [2, 3] {
                    let _guard = writer.lock.lock();
                    writer.write(content);
                }
            });
            let seen = [lane.glance(1), lane.glance(1)];
            if let [Ok(one), Ok(other)] = seen {
                assert!(one <= other, "an older value than before: {seen:?}");
            }
            writing.join().unwrap();
            assert_eq!(lane.glance(1), Ok(Some(3)));
        });
    }

    /// A lane is emptied under the lock, and filled again before its next entry is published without.
    #[test]
    fn a_copy_is_of_one_entry() {
        model(|lane| {
            let writer = Arc::clone(lane);
            let writing = thread::spawn(move || {
                let guard = writer.lock.lock();
                writer.print.store(0, Ordering::Release);
                drop(guard);
                writer.write(7);
                writer.print.store(7, Ordering::Release);
            });
            if let Ok(Some(content)) = lane.glance(1) {
                assert_eq!(content, 1, "another entry's value");
            }
            if let Ok(Some(content)) = lane.glance(7) {
                assert_eq!(content, 7, "not yet its value");
            }
            writing.join().unwrap();
            assert_eq!([lane.glance(1), lane.glance(7)], [Ok(None), Ok(Some(7))]);
        });
    }
}
