//! Keys and values that are a number or the like, and so can be copied while another thread may be
//! writing them: every byte of theirs is always initialised, they own nothing, and they are written
//! word by word. A copy is put to use only once it is known that nobody wrote meanwhile.

#![allow(unsafe_code, reason = "reaches entries word by word")]

use std::{
    any::TypeId,
    fmt,
    marker::PhantomData,
    mem::{MaybeUninit, needs_drop},
    num::NonZero,
};

#[cfg(not(larder_loom))]
use crate::sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// The largest that may be bare.
const LARGEST: usize = 16;

/// Whether entries of these types are bare, or at least the values: once it is found out, it can be told
/// where the types are not known to live for ever.
pub(crate) struct Bare<K, V> {
    is: bool,
    is_value: bool,
    _types: PhantomData<fn(K, V)>,
}

impl<K: 'static, V: 'static> Bare<K, V> {
    pub(crate) fn find_out() -> Self {
        let is_value = is_number::<V>();
        let is = Self::MAY_BE && is_value && is_number::<K>();
        Self { is, is_value, _types: PhantomData }
    }
}

impl<K, V> Bare<K, V> {
    /// Whether they might be. Known when the code is compiled, so that for other types there is none.
    pub(crate) const MAY_BE: bool = !needs_drop::<K>()
        && !needs_drop::<V>()
        && size_of::<K>() <= LARGEST
        && size_of::<V>() <= LARGEST;

    #[inline(always)]
    pub(super) fn is(self) -> bool {
        Self::MAY_BE && self.is
    }

    /// Whether values are bare, whatever keys are.
    #[inline]
    pub(crate) fn has_bare_values(self) -> bool {
        self.is_value
    }

    /// Whether two values are bare and the same, bit by bit.
    #[inline]
    pub(crate) fn are_same(self, one: &V, other: &V) -> bool {
        let bytes = |value: &V| {
            let first = std::ptr::from_ref(value).cast::<u8>();
            // SAFETY: all bytes of a value that is bare are initialised, and they stay as they are while it
            // is borrowed.
            unsafe { std::slice::from_raw_parts(first, size_of::<V>()) }.iter()
        };
        self.is_value && bytes(one).eq(bytes(other))
    }
}

impl<K, V> Clone for Bare<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Bare<K, V> {}

impl<K, V> fmt::Debug for Bare<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.is, self.is_value).fmt(f)
    }
}

/// Whether the type is one of those without padding or pointers.
fn is_number<T: 'static>() -> bool {
    macro_rules! is_any_of {
        ($($number:ty)*) => { [$(TypeId::of::<$number>(), TypeId::of::<NonZero<$number>>()),*] };
    }
    let integers = is_any_of!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);
    let others = [
        TypeId::of::<()>(),
        TypeId::of::<bool>(),
        TypeId::of::<char>(),
        TypeId::of::<f32>(),
        TypeId::of::<f64>(),
    ];
    let number = TypeId::of::<T>();
    integers.contains(&number) || others.contains(&number)
}

/// Copying and writing by words of one width.
#[cfg(not(larder_loom))]
macro_rules! by_words {
    ($load:ident, $store:ident, $atomic:ident, $word:ty) => {
        /// # Safety
        /// As of [`load`], for `count` words.
        #[inline(always)]
        unsafe fn $load(from: *const $word, to: *mut $word, count: usize) {
            for index in 0..count {
                // SAFETY: within the value.
                let place = unsafe { from.add(index) };
                // SAFETY: as above, aligned as the value is, and written atomically (contract).
                let place = unsafe { $atomic::from_ptr(place.cast_mut()) };
                // Acquire: pairs with the Release in `store`: who copies a word that was written under
                // the lock sees that the lock was taken.
                let word = place.load(Ordering::Acquire);
                // SAFETY: within the copy, which is as large.
                let place = unsafe { to.add(index) };
                // SAFETY: as above.
                unsafe { place.write(word) };
            }
        }

        /// # Safety
        /// As of [`store`], for `count` words.
        #[inline(always)]
        unsafe fn $store(to: *mut $word, from: *const $word, count: usize) {
            for index in 0..count {
                // SAFETY: within the value to be written, whose bytes are all initialised.
                let place = unsafe { from.add(index) };
                // SAFETY: as above.
                let word = unsafe { place.read() };
                // SAFETY: within the place to be written.
                let place = unsafe { to.add(index) };
                // SAFETY: as above, aligned as the value is, and read atomically or not meanwhile.
                let place = unsafe { $atomic::from_ptr(place) };
                // Release: pairs with the Acquire in `load`.
                place.store(word, Ordering::Release);
            }
        }
    };
}

#[cfg(not(larder_loom))]
by_words!(load_bytes, store_bytes, AtomicU8, u8);
#[cfg(not(larder_loom))]
by_words!(load_pairs, store_pairs, AtomicU16, u16);
#[cfg(not(larder_loom))]
by_words!(load_fours, store_fours, AtomicU32, u32);
#[cfg(not(larder_loom))]
by_words!(load_eights, store_eights, AtomicU64, u64);

/// Copies a value that another thread may be writing: then the copy is of no use.
///
/// # Safety
/// * `from` points to a `T`, which is bare.
/// * Whoever writes there meanwhile does so by [`store`].
#[cfg(not(larder_loom))]
#[inline(always)]
pub(super) unsafe fn load<T>(from: *const T) -> MaybeUninit<T> {
    let (mut copy, size) = (MaybeUninit::<T>::uninit(), size_of::<T>());
    let to = copy.as_mut_ptr();
    match align_of::<T>() {
        // SAFETY: words as large as the type is aligned make up the value and its copy (contract).
        1 => unsafe { load_bytes(from.cast(), to.cast(), size) },
        // SAFETY: as above.
        2 => unsafe { load_pairs(from.cast(), to.cast(), size / 2) },
        // SAFETY: as above.
        4 => unsafe { load_fours(from.cast(), to.cast(), size / 4) },
        // SAFETY: as above.
        _ => unsafe { load_eights(from.cast(), to.cast(), size / 8) },
    }
    copy
}

/// Writes a value that other threads may be copying.
///
/// # Safety
/// * `to` is valid for writing a `T`, which is bare.
/// * Whoever reads there meanwhile does so by [`load`], and nobody else writes.
#[cfg(not(larder_loom))]
#[inline(always)]
pub(super) unsafe fn store<T>(to: *mut T, value: T) {
    let (from, size) = (&raw const value, size_of::<T>());
    match align_of::<T>() {
        // SAFETY: words as large as the type is aligned make up the value and its copy (contract).
        1 => unsafe { store_bytes(to.cast(), from.cast(), size) },
        // SAFETY: as above.
        2 => unsafe { store_pairs(to.cast(), from.cast(), size / 2) },
        // SAFETY: as above.
        4 => unsafe { store_fours(to.cast(), from.cast(), size / 4) },
        // SAFETY: as above.
        _ => unsafe { store_eights(to.cast(), from.cast(), size / 8) },
    }
}

#[cfg(larder_loom)]
loom::lazy_static! {
    /// Loom does not see words in plain memory: they are always as they were written last. So who copies
    /// them must know, as from an atomic word, whatever was known where they were written.
    static ref WRITTEN: crate::sync::AtomicU64 = crate::sync::AtomicU64::new(0);
}

/// In one step, as loom switches threads at its own atomics only. `lock` has a model of copying word by
/// word.
///
/// # Safety
/// `from` points to a `T`, which is bare.
#[cfg(larder_loom)]
pub(super) unsafe fn load<T>(from: *const T) -> MaybeUninit<T> {
    WRITTEN.fetch_add(0, crate::sync::Ordering::Acquire);
    // SAFETY: it points to a `T` (contract).
    MaybeUninit::new(unsafe { from.read() })
}

/// See [`load`].
///
/// # Safety
/// `to` is valid for writing a `T`, which is bare.
#[cfg(larder_loom)]
pub(super) unsafe fn store<T>(to: *mut T, value: T) {
    // First: no other thread runs between this and the write.
    WRITTEN.fetch_add(1, crate::sync::Ordering::Release);
    // SAFETY: it is valid for that (contract).
    unsafe { to.write(value) };
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::{fmt::Debug, sync::Arc};

    use super::*;

    #[test]
    fn numbers_are_bare_and_nothing_else_is() {
        assert!(Bare::<u64, u64>::find_out().is());
        assert!(Bare::<u8, char>::find_out().is());
        assert!(Bare::<(), bool>::find_out().is());
        assert!(Bare::<u128, NonZero<i32>>::find_out().is());
        // Padding, pointers, what is owned: some of it known when the code is compiled, some not.
        assert!(!Bare::<u64, (u8, u64)>::find_out().is());
        assert!(!Bare::<&'static str, u64>::find_out().is());
        assert!(!Bare::<u64, Option<u8>>::find_out().is());
        assert!(!Bare::<u64, Arc<u64>>::find_out().is());
        assert!(!Bare::<u64, [u64; 9]>::find_out().is());
        assert!(Bare::<String, u64>::find_out().has_bare_values());
        assert!(!Bare::<String, u64>::find_out().is());
        assert!(!Bare::<u64, String>::find_out().has_bare_values());
    }

    fn is_copied<T: Copy + PartialEq + Debug + Default>(value: T) {
        let mut place = T::default();
        // SAFETY: these are numbers, and nobody else is there.
        unsafe { store(&raw mut place, value) };
        assert_eq!(place, value);
        // SAFETY: as above.
        let copy = unsafe { load(&raw const place) };
        // SAFETY: a whole copy.
        assert_eq!(unsafe { copy.assume_init() }, value);
    }

    #[test]
    fn what_is_written_word_by_word_is_copied() {
        is_copied(());
        is_copied(true);
        is_copied(-2_i8);
        is_copied(0x1234_u16);
        is_copied('ä');
        is_copied(f64::MIN_POSITIVE);
        is_copied(u64::MAX - 1);
        is_copied(0x0123_4567_89ab_cdef_0011_2233_4455_6677_u128);
    }
}
