//! A bucket: a lock, the fingerprints, the policy's marks and the entries themselves, side by
//! side, so that a hit touches one or two cache lines.
//!
//! Its 64-byte header is followed by the entries. What does not fit spills to a chain of small
//! [`Overflow`] groups that the home bucket's lock guards too: one lock covers everything a key
//! can touch.
//!
//! # Who may touch an entry
//! * A lane's key is written, moved and taken only by the holder of the *stripe's* lock, and while
//!   its fingerprint is published also only under the *bucket's* lock. So either lock is enough to
//!   read it.
//! * A lane's value is read and replaced under the bucket's lock; taking it out needs both.
//! * [Bare](super::bare) entries may be copied under no lock at all, and so are written word by word.
//! * A lane whose fingerprint is empty belongs to the holder of the stripe's lock.

#![allow(unsafe_code, reason = "entries lie uninitialised in their lanes until they come in")]

use std::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomData,
    mem::{MaybeUninit, needs_drop},
    ops::Deref,
    ptr,
};

use super::{
    bare::{self, Bare},
    lock::BucketLock,
    prints::{EMPTY, Prints},
};
use crate::{
    panics::Panics,
    policy::Mark,
    sync::{AtomicPtr, AtomicU8, AtomicU32, Ordering},
};

/// Lanes of a home bucket.
pub(crate) const LANES: usize = 16;
/// Lanes of an overflow group.
pub(super) const OVERFLOW_LANES: usize = 4;
/// The level of a bucket that is not in use; no level mask has this value.
pub(super) const UNUSED: u32 = 2;

/// Writes one field of something uninitialised that `$place`, which the caller may write, points to.
macro_rules! write_field {
    ($place:ident, $field:ident, $value:expr) => {
        // SAFETY: in bounds of what may be written, and aligned.
        let field = unsafe { &raw mut (*$place).$field };
        // SAFETY: as above.
        unsafe { field.write($value) };
    };
}

struct Entry<K, V> {
    key: K,
    value: V,
}

type Cell<K, V> = UnsafeCell<MaybeUninit<Entry<K, V>>>;

/// What lies beside an entry for others to use.
#[derive(Debug)]
pub(crate) struct LaneState {
    /// The policy's byte.
    pub(crate) mark: Mark,
    /// The expiry hint; see `expiry::hint`. Guarded by the bucket's lock.
    pub(crate) hint: AtomicU8,
}

impl LaneState {
    /// Both bytes, of an entry whose bucket is locked.
    #[inline]
    pub(super) fn copied(&self) -> (u8, u8) {
        // Relaxed: guarded by the bucket's lock.
        (self.mark.get(), self.hint.load(Ordering::Relaxed))
    }

    /// Writes both bytes. The bucket is locked, or the entry not yet published.
    #[inline]
    pub(super) fn set(&self, (mark, hint): (u8, u8)) {
        self.mark.set(mark);
        // Release: pairs with the Acquire in `Open::glance`.
        self.hint.store(hint, Ordering::Release);
    }
}

/// The value of an entry whose bucket is locked.
pub(crate) struct Value<'a, K, V> {
    place: *mut V,
    bare: Bare<K, V>,
    _entry: PhantomData<&'a mut Entry<K, V>>,
}

impl<K, V> Value<'_, K, V> {
    /// Lets `change` change the value. A panic may leave a bare one as it was.
    #[inline]
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut V) -> R) -> R {
        if self.bare.is() {
            // SAFETY: the value is initialised, and the lock keeps writers out; it can be copied.
            let mut copy = unsafe { self.place.read() };
            let answer = change(&mut copy);
            // SAFETY: the place is valid, and the lock keeps others from writing.
            unsafe { bare::store(self.place, copy) };
            return answer;
        }
        // SAFETY: the value is initialised, and the lock and `&mut self` make this the only reference.
        change(unsafe { &mut *self.place })
    }
}

impl<K, V> Deref for Value<'_, K, V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        // SAFETY: the value is initialised, and nobody writes it while the lock is held and `self`
        // borrowed.
        unsafe { &*self.place }
    }
}

impl<K, V> fmt::Debug for Value<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").finish_non_exhaustive()
    }
}

/// Some lanes: the parts that a home bucket and an overflow group have in common.
#[repr(C)]
pub(super) struct Group<K, V, const N: usize, const WORDS: usize> {
    pub(super) prints: Prints<WORDS>,
    states: [LaneState; N],
    entries: [Cell<K, V>; N],
}

/// A home bucket: where the keys of one hash range live.
#[repr(C, align(64))]
pub(super) struct Bucket<K, V> {
    pub(super) lock: BucketLock,
    /// The mask of the address bits that this bucket's keys share: decides, under the lock, whether
    /// a key belongs here. [`UNUSED`] before the bucket's first use.
    level: AtomicU32,
    /// The first overflow group, or null.
    overflow: AtomicPtr<Overflow<K, V>>,
    pub(super) group: Group<K, V, LANES, 2>,
}

/// Room for what does not fit into a home bucket.
#[repr(C)]
pub(crate) struct Overflow<K, V> {
    next: AtomicPtr<Self>,
    /// Which of the stripe's overflow groups this is.
    pub(super) number: u32,
    /// The bucket whose chain it is in.
    home: AtomicU32,
    pub(super) group: Group<K, V, OVERFLOW_LANES, 1>,
}

impl<K, V, const N: usize, const WORDS: usize> Group<K, V, N, WORDS> {
    #[allow(
        clippy::multiple_unsafe_ops_per_block,
        reason = "picking a field and writing it are one step"
    )]
    /// Makes empty lanes where they will lie: entries may be large, and stay uninitialised.
    ///
    /// # Safety
    /// `place` is valid for writing a group.
    unsafe fn init(place: *mut Self) {
        let state = |_| LaneState { mark: Mark::new(), hint: AtomicU8::new(0) };
        write_field!(place, prints, Prints::new());
        write_field!(place, states, std::array::from_fn(state));
    }

    /// The lane at which an entry of this hash would best lie: the first one of a cache line, so
    /// that who looks for the entry can fetch that line together with the fingerprints.
    #[inline(always)]
    pub(super) fn preferred(hash: u64) -> usize {
        let lanes_per_line = (64 / size_of::<Entry<K, V>>().max(1)).clamp(1, N);
        let first = (hash >> 48) as usize % N;
        first - first % lanes_per_line
    }

    /// The line where an entry of this hash probably lies.
    #[inline(always)]
    pub(super) fn probable_line(&self, hash: u64) -> *const i8 {
        self.entries[Self::preferred(hash)].get().cast_const().cast()
    }

    /// A lane without an entry: the best one for this hash, or the next after it.
    #[inline]
    pub(super) fn vacant(&self, hash: u64) -> Option<usize> {
        self.prints.matching(EMPTY).first_from(Self::preferred(hash), N)
    }

    /// The lanes that hold an entry.
    pub(super) fn occupied(&self) -> impl Iterator<Item = usize> + use<K, V, N, WORDS> {
        self.prints.occupied().filter(|&lane| lane < N)
    }

    /// What lies beside the entry in `lane`. (The remainder, here and below, spares a check: lanes
    /// are below `N`.)
    #[inline(always)]
    pub(super) fn state(&self, lane: usize) -> &LaneState {
        &self.states[lane % N]
    }

    /// The key in `lane`.
    ///
    /// # Safety
    /// * The lane holds an entry: its fingerprint is set, or the caller wrote it.
    /// * The caller holds the bucket's or the stripe's lock as long as the reference lives.
    #[inline]
    pub(super) unsafe fn key(&self, lane: usize) -> &K {
        let entry = self.entries[lane % N].get().cast::<Entry<K, V>>();
        // SAFETY: the entry is initialised and its key unchanging under either lock (contract).
        // Only the key's own bytes are borrowed: the value beside it may be replaced meanwhile.
        let key = unsafe { &raw const (*entry).key };
        // SAFETY: as above.
        unsafe { &*key }
    }

    /// The value in `lane`.
    ///
    /// # Safety
    /// * The lane holds an entry.
    /// * The caller holds the bucket's lock as long as the answer lives, and has no other answer or
    ///   reference to the value meanwhile.
    #[inline]
    pub(super) unsafe fn value(&self, lane: usize, bare: Bare<K, V>) -> Value<'_, K, V> {
        let entry = self.entries[lane % N].get().cast::<Entry<K, V>>();
        // SAFETY: the entry is initialised (contract); only the value's bytes are meant.
        let place = unsafe { &raw mut (*entry).value };
        Value { place, bare, _entry: PhantomData }
    }

    /// Copies of key and value in `lane`, of which some may be written meanwhile: then they are no key
    /// and no value.
    ///
    /// # Safety
    /// The entries are bare, and the lane's fingerprint was set when it was looked at.
    #[inline(always)]
    pub(super) unsafe fn copied(&self, lane: usize) -> (MaybeUninit<K>, MaybeUninit<V>) {
        let entry = self.entries[lane % N].get().cast::<Entry<K, V>>();
        // SAFETY: in bounds.
        let key = unsafe { &raw const (*entry).key };
        // SAFETY: as above.
        let value = unsafe { &raw const (*entry).value };
        // SAFETY: there was an entry (contract), so the bytes are initialised; bare entries are written by
        // `bare::store` only.
        let key = unsafe { bare::load(key) };
        // SAFETY: as above.
        (key, unsafe { bare::load(value) })
    }

    /// Puts an entry into an empty lane, where nobody looks before its fingerprint is set.
    ///
    /// # Safety
    /// * The lane is empty.
    /// * The caller holds the stripe's lock.
    #[inline]
    pub(super) unsafe fn write(&self, lane: usize, key: K, value: V, bare: Bare<K, V>) {
        debug_assert_eq!(self.prints.get(lane), EMPTY, "writing over a published entry");
        self.state(lane).mark.set(0);
        // Release: pairs with the Acquire in `Open::glance`.
        self.state(lane).hint.store(0, Ordering::Release);
        let cell = self.entries[lane % N].get();
        if bare.is() {
            let entry = cell.cast::<Entry<K, V>>();
            // SAFETY: in bounds.
            let to_key = unsafe { &raw mut (*entry).key };
            // SAFETY: as above.
            let to_value = unsafe { &raw mut (*entry).value };
            // SAFETY: the lane belongs to the stripe's lock, which the caller holds. Who still copies what
            // was here before does so by `bare::load`.
            unsafe { bare::store(to_key, key) };
            // SAFETY: as above.
            unsafe { bare::store(to_value, value) };
            return;
        }
        // SAFETY: the lane is empty and belongs to the stripe's lock, which the caller holds.
        unsafe { cell.write(MaybeUninit::new(Entry { key, value })) };
    }

    /// Moves the entry out of its lane.
    ///
    /// # Safety
    /// * The lane holds an entry, whose fingerprint the caller has cleared (or never set).
    /// * The caller holds the stripe's lock, and, if the entry was ever published, the bucket's.
    #[inline]
    pub(super) unsafe fn take(&self, lane: usize) -> (K, V) {
        debug_assert_eq!(self.prints.get(lane), EMPTY, "taking an entry that is still published");
        let cell = self.entries[lane % N].get();
        // SAFETY: initialised, and nobody else can reach it any more (contract).
        let filled = unsafe { cell.read() };
        // SAFETY: initialised (contract).
        let Entry { key, value } = unsafe { filled.assume_init() };
        (key, value)
    }

    /// The bytes of an entry that is about to live in another lane.
    ///
    /// # Safety
    /// * The lane holds an entry, and the caller holds both locks.
    /// * One of the two copies is forgotten: the caller publishes the other and clears this lane
    ///   before it releases the locks, or neither and drops nothing.
    pub(super) unsafe fn copy_out(&self, lane: usize) -> (K, V) {
        let cell = self.entries[lane].get();
        // SAFETY: both locks are held, so nobody else reaches the entry (contract).
        let filled = unsafe { cell.read() };
        // SAFETY: the lane holds an entry (contract).
        let Entry { key, value } = unsafe { filled.assume_init() };
        (key, value)
    }

    /// Drops what is left when the table goes, even if some drops panic: the first panic is passed
    /// on, unless one is under way.
    fn drop_entries(&mut self) {
        let mut panics = Panics::default();
        while let Some(lane) = self.prints.occupied().first() {
            self.prints.set(lane, EMPTY);
            let entry = self.entries[lane].get_mut().as_mut_ptr();
            // SAFETY: the fingerprint was set, so the entry is initialised; it is cleared now, so
            // nobody drops it again. `&mut self` excludes every other access.
            let drop_entry = || unsafe { ptr::drop_in_place(entry) };
            panics.catch(drop_entry);
        }
        panics.pass_on();
    }
}

impl<K, V, const N: usize, const WORDS: usize> Drop for Group<K, V, N, WORDS> {
    fn drop(&mut self) {
        if needs_drop::<Entry<K, V>>() {
            self.drop_entries();
        }
    }
}

impl<K, V> Bucket<K, V> {
    /// Some unused buckets.
    #[allow(
        clippy::multiple_unsafe_ops_per_block,
        reason = "picking a field and writing it are one step"
    )]
    pub(super) fn boxed<const N: usize>() -> Box<[Self; N]> {
        let mut buckets = Box::<[Self; N]>::new_uninit();
        let first = buckets.as_mut_ptr().cast::<Self>();
        for index in 0..N {
            // SAFETY: within the allocation.
            let place = unsafe { first.add(index) };
            write_field!(place, lock, BucketLock::new());
            write_field!(place, level, AtomicU32::new(UNUSED));
            write_field!(place, overflow, AtomicPtr::new(ptr::null_mut()));
            // SAFETY: as above.
            let group = unsafe { &raw mut (*place).group };
            // SAFETY: as above.
            unsafe { Group::init(group) };
        }
        // SAFETY: every bucket is initialised: all fields were written, but for the entries, which
        // need not be.
        unsafe { buckets.assume_init() }
    }

    /// The bucket's level mask.
    #[inline]
    pub(super) fn level(&self) -> u32 {
        // Acquire: pairs with the Release in `set_level`: who sees the new level sees the new
        // state of the table too, and so finds its way.
        self.level.load(Ordering::Acquire)
    }

    pub(super) fn set_level(&self, mask: u32) {
        // Release: pairs with the Acquire in `level`.
        self.level.store(mask, Ordering::Release);
    }

    /// The first overflow group.
    #[inline]
    pub(super) fn overflow(&self) -> Option<&Overflow<K, V>> {
        // Acquire: pairs with the Release in `set_overflow`; it publishes the group's contents.
        let first = self.overflow.load(Ordering::Acquire);
        // SAFETY: null or a group of this stripe's arena, none of which is freed before the table.
        unsafe { first.as_ref() }
    }

    pub(super) fn set_overflow(&self, first: *mut Overflow<K, V>) {
        // Release: pairs with the Acquire in `overflow`.
        self.overflow.store(first, Ordering::Release);
    }
}

impl<K, V> Overflow<K, V> {
    /// Some groups in no chain, numbered from `number` on.
    #[allow(
        clippy::multiple_unsafe_ops_per_block,
        reason = "picking a field and writing it are one step"
    )]
    pub(super) fn boxed<const N: usize>(number: u32) -> Box<[Self; N]> {
        let mut groups = Box::<[Self; N]>::new_uninit();
        let first = groups.as_mut_ptr().cast::<Self>();
        for index in 0..N {
            // SAFETY: within the allocation.
            let place = unsafe { first.add(index) };
            write_field!(place, next, AtomicPtr::new(ptr::null_mut()));
            write_field!(place, number, number + index as u32);
            write_field!(place, home, AtomicU32::new(0));
            // SAFETY: as above.
            let group = unsafe { &raw mut (*place).group };
            // SAFETY: as above.
            unsafe { Group::init(group) };
        }
        // SAFETY: every group is initialised: all fields were written, but for the entries, which
        // need not be.
        unsafe { groups.assume_init() }
    }

    /// The next group of the chain; to be believed only by who holds the home bucket's or the stripe's
    /// lock, or has made sure that nobody took the first meanwhile.
    pub(super) fn next(&self) -> Option<&Self> {
        // Acquire: pairs with the Release in `link`.
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: null or a group of this stripe's arena, none of which is freed before the table.
        unsafe { next.as_ref() }
    }

    /// Links this group, in front of `next`, into the chain of bucket `home`.
    pub(super) fn link(&self, home: u32, next: *mut Self) {
        // Relaxed: published by the link to this group.
        self.home.store(home, Ordering::Relaxed);
        // Release: pairs with the Acquire in `next`.
        self.next.store(next, Ordering::Release);
    }

    pub(super) fn home(&self) -> u32 {
        // Relaxed: changes under the stripe's lock and while the group is in no chain; the caller holds
        // that lock, or that of the bucket in whose chain it is.
        self.home.load(Ordering::Relaxed)
    }

    pub(super) fn as_ptr(&self) -> *mut Self {
        ptr::from_ref(self).cast_mut()
    }
}

impl<K, V, const N: usize, const WORDS: usize> fmt::Debug for Group<K, V, N, WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("prints", &self.prints).finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for Bucket<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("lock", &self.lock)
            .field("level", &self.level)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for Overflow<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overflow").field("number", &self.number).finish_non_exhaustive()
    }
}
