//! The hash table of one stripe: linear hashing over buckets with inline entries.
//!
//! Two halves. [`Table`] is what hits see: they find a bucket without the stripe's lock, take the
//! bucket's own, and check under it that the key still belongs there. [`Arena`] is the rest, owned
//! by the holder of the stripe's lock; `&mut Arena` is the proof of holding it.
//!
//! Buckets lie in chunks that never move and are never freed before the table, so a reader needs
//! no reclamation scheme, and a stale address is harmless: the bucket's level, checked under its
//! lock, decides. Growing splits one bucket per few inserts.
//!
//! # Addresses
//! A table has `base << level` buckets when a level is complete. A hash's upper half picks one of
//! `base` families, and the low bits of its lower half a bucket of the family:
//! `family + base * (low & mask)`. Splitting takes one more bit into account.

#![allow(unsafe_code, reason = "chunks are reached through shared pointers")]

mod arena;
mod bucket;
mod lock;
mod prints;
mod side;

pub(crate) use arena::Arena;
pub(crate) use lock::{UserCode, deny_reentry, enter_user_code};
pub(crate) use side::Side;

use std::{fmt, ptr};

use crate::{
    Slot,
    policy::Mark,
    sync::{AtomicPtr, AtomicU8, AtomicU64, Ordering},
};
use bucket::{Bucket, Group, LANES, OVERFLOW_LANES, Overflow};
use prints::fingerprint;

/// Entries per bucket up to which a table of known size is filled; the level it is planned to
/// complete then has this load.
const PLANNED_LOAD: f64 = if cfg!(larder_loom) { 64.0 } else { 13.6 };
/// The largest number of buckets; beyond it chains grow instead.
const MOST_BUCKETS: u32 = 1 << 26;

/// One chunk's address, as readers find it.
type Chunk<K, V> = AtomicPtr<Bucket<K, V>>;

/// The half of the table that is reached without the stripe's lock.
pub(crate) struct Table<K, V> {
    /// The number of buckets (low half) and the address mask (high half) in one word.
    state: AtomicU64,
    /// The chunks by number. Replaced by a longer copy when full; old copies live on.
    directory: AtomicPtr<Chunk<K, V>>,
    /// Families: the number of buckets at level 0.
    base: u32,
    /// Buckets of a chunk, as a power of two.
    chunk_shift: u32,
}

// SAFETY: keys are shared between threads (under either lock), values handed from one to another
// under the bucket's lock and shared by reference while it is held.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Table<K, V> {}
// SAFETY: the table owns its entries.
unsafe impl<K: Send, V: Send> Send for Table<K, V> {}

/// An entry and the lock of its bucket.
#[derive(Debug)]
pub(crate) struct Locked<'a, K, V> {
    pub(crate) found: Found<'a, K, V>,
    _guard: lock::BucketGuard<'a>,
}

/// An entry found under its bucket's lock, as long as that is held.
pub(crate) struct Found<'a, K, V> {
    pub(crate) key: &'a K,
    pub(crate) value: &'a mut V,
    pub(crate) mark: &'a Mark,
    /// The expiry hint; see `expiry::hint`. Guarded by the bucket's lock.
    pub(crate) hint: &'a AtomicU8,
    pub(crate) slot: Slot,
}

impl<K, V> fmt::Debug for Found<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// Splits the table's state word.
#[inline]
fn unpack(state: u64) -> (u32, u32) {
    (state as u32, (state >> 32) as u32)
}

/// How many families, and how many buckets a full table has, for `entries` entries.
fn plan(entries: u64) -> (u32, u32) {
    // Stripes fill unevenly: about a square root more than the fair share.
    let most = entries as f64 + 3.0 * (entries as f64).sqrt();
    let wanted = (most / PLANNED_LOAD).ceil().clamp(1.0, f64::from(MOST_BUCKETS)) as u32;
    let mut base = wanted;
    let mut full = 1;
    while base > 8 {
        base = base.div_ceil(2);
        full *= 2;
    }
    (base, base * full)
}

impl<K, V> Table<K, V> {
    /// A table for about `entries` entries (if that is known), with its arena. It starts small
    /// and grows.
    pub(crate) fn new(entries: Option<u64>) -> (Self, Arena<K, V>) {
        let (base, full) = entries.map_or((8, u32::MAX), plan);
        let chunk_shift = full.min(64).next_power_of_two().ilog2();
        let table = Self {
            state: AtomicU64::new(u64::from(base)),
            directory: AtomicPtr::new(ptr::null_mut()),
            base,
            chunk_shift,
        };
        let arena = Arena::new(&table, full);
        (table, arena)
    }

    /// The bucket where a key of this hash belongs, at the level of `mask`.
    #[inline]
    fn address(&self, hash: u64, count: u32, mask: u32) -> (u32, u32) {
        let family = ((hash >> 32) * u64::from(self.base)) >> 32;
        self.address_in(family as u32, hash as u32, count, mask)
    }

    #[inline]
    fn address_in(&self, family: u32, low: u32, count: u32, mask: u32) -> (u32, u32) {
        let half = mask - (mask >> 1);
        // A bucket was split at this level if its sibling exists.
        let sibling = family + self.base * ((low & mask) | half);
        let mask = if sibling < count { mask } else { mask >> 1 };
        (family + self.base * (low & mask), mask)
    }

    /// The bucket of this number.
    #[inline]
    fn bucket(&self, index: u32) -> &Bucket<K, V> {
        // Acquire: pairs with the Release in `Arena::add_chunk`.
        let directory = self.directory.load(Ordering::Acquire);
        // SAFETY: `index` is below a bucket count that was published after the directory that
        // covers it; directories live as long as the table.
        let chunk = unsafe { &*directory.add((index >> self.chunk_shift) as usize) };
        // Relaxed: published with the directory or, later, with the bucket count.
        let first = chunk.load(Ordering::Relaxed);
        // SAFETY: chunks have `1 << chunk_shift` buckets and live as long as the table.
        unsafe { &*first.add((index & ((1 << self.chunk_shift) - 1)) as usize) }
    }

    #[inline(always)]
    fn locate(&self, hash: u64) -> (&Bucket<K, V>, u32, u32) {
        // Acquire: pairs with the Release in `Arena::publish_count`.
        let (count, mask) = unpack(self.state.load(Ordering::Acquire));
        let (index, mask) = self.address(hash, count, mask);
        (self.bucket(index), index, mask)
    }

    /// Fetches the bucket of a hash into the cache while the caller does something else.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let (bucket, ..) = self.locate(hash);
        prefetch_line(ptr::from_ref(bucket).cast());
    }

    /// Whether no entry can have this hash: certain at some moment during the call. Takes no lock.
    #[inline]
    pub(crate) fn surely_absent(&self, hash: u64) -> bool {
        let (bucket, _, mask) = self.locate(hash);
        // In this order: a split publishes the new bucket, then the level, and clears moved lanes
        // and chains last, so whoever misses an entry that moved sees the changed level.
        bucket.group.prints.matching(fingerprint(hash)).is_empty()
            && bucket.overflow().is_none()
            && bucket.level() == mask
    }

    /// Finds the entry with this hash whose key `equals`, and keeps its bucket's lock (and no other)
    /// as long as the answer lives.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, equals: impl Fn(&K) -> bool) -> Option<Locked<'_, K, V>> {
        loop {
            let (bucket, index, mask) = self.locate(hash);
            let guard = bucket.lock.lock();
            if bucket.level() != mask {
                // It was split since; the table's state says so by now.
                continue;
            }
            let print = fingerprint(hash);
            for lane in bucket.group.prints.matching(print) {
                if let Some(found) =
                    found_in(&bucket.group, lane, &equals, || home_slot(index, lane))
                {
                    return Some(Locked { found, _guard: guard });
                }
            }
            let found = find_in_chain(bucket.overflow()?, print, &equals)?;
            return Some(Locked { found, _guard: guard });
        }
    }

    /// How many positions an iteration over the table passes; see [`Cursor`].
    pub(crate) fn start(&self) -> Cursor {
        Cursor { family: 0, low: 0 }
    }
}

/// Looks through a bucket's overflow groups. The caller holds the bucket's lock.
#[inline(never)]
fn find_in_chain<'a, K, V>(
    first: &'a Overflow<K, V>,
    print: u8,
    equals: &impl Fn(&K) -> bool,
) -> Option<Found<'a, K, V>> {
    let mut next = Some(first);
    while let Some(group) = next {
        for lane in group.group.prints.matching(print) {
            let slot = || overflow_slot(group.number, lane);
            if let Some(found) = found_in(&group.group, lane, equals, slot) {
                return Some(found);
            }
        }
        next = group.next();
    }
    None
}

/// The entry in `lane`, if its key is the one asked for. The caller holds the bucket's lock and has
/// seen the lane's fingerprint.
#[inline(always)]
fn found_in<'a, K, V, const N: usize, const WORDS: usize>(
    group: &'a Group<K, V, N, WORDS>,
    lane: usize,
    equals: &impl Fn(&K) -> bool,
    slot: impl FnOnce() -> Slot,
) -> Option<Found<'a, K, V>> {
    // SAFETY: the caller holds the bucket's lock, and the lane's fingerprint is set.
    let key = unsafe { group.key(lane) };
    if !equals(key) {
        return None;
    }
    // SAFETY: as above; this is the only reference to the value under this lock.
    let value = unsafe { group.value(lane) };
    Some(Found { key, value, mark: group.mark(lane), hint: group.hint(lane), slot: slot() })
}

/// A place in the order in which iteration passes the table: by family, then by the hash's low
/// bits read backwards. A split divides one position's range in place, so nothing is passed twice
/// and nothing that stays is left out, however much the table grows meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    family: u32,
    low: u32,
}

impl Cursor {
    /// The position after the bucket of level `mask` that contains this one.
    fn after(self, mask: u32) -> Self {
        let bits = mask.count_ones();
        let step = 1_u64 << (32 - bits);
        let next = (u64::from(self.low.reverse_bits()) & !(step - 1)) + step;
        u32::try_from(next).map_or(Self { family: self.family + 1, low: 0 }, |low| Self {
            family: self.family,
            low: low.reverse_bits(),
        })
    }
}

/// Slots come in runs of this many: even runs name lanes of home buckets, odd ones overflow lanes.
const RUN: u32 = if cfg!(larder_loom) { 32 } else { 1024 };

/// The slot of a lane of a home bucket.
#[inline]
fn home_slot(bucket: u32, lane: usize) -> Slot {
    let flat = bucket * LANES as u32 + lane as u32;
    Slot::new(((flat & !(RUN - 1)) << 1) | (flat & (RUN - 1)))
}

/// The slot of a lane of an overflow group.
#[inline]
fn overflow_slot(number: u32, lane: usize) -> Slot {
    let flat = number * OVERFLOW_LANES as u32 + lane as u32;
    Slot::new(((flat & !(RUN - 1)) << 1) | RUN | (flat & (RUN - 1)))
}

/// What a slot names.
#[derive(Clone, Copy, Debug)]
enum Place {
    Home { bucket: u32, lane: usize },
    Overflow { number: u32, lane: usize },
}

#[inline]
fn place_of(slot: Slot) -> Place {
    let slot = slot.as_u32();
    let flat = ((slot / (2 * RUN)) * RUN) | (slot & (RUN - 1));
    if slot & RUN == 0 {
        Place::Home { bucket: flat / LANES as u32, lane: flat as usize % LANES }
    } else {
        let lanes = OVERFLOW_LANES as u32;
        Place::Overflow { number: flat / lanes, lane: (flat % lanes) as usize }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_line(address: *const i8) {
    // SAFETY: a prefetch reads nothing, whatever the address.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_line(_address: *const i8) {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: for people.
        let (count, mask) = unpack(self.state.load(Ordering::Relaxed));
        f.debug_struct("Table")
            .field("base", &self.base)
            .field("buckets", &count)
            .field("mask", &mask)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn slots_name_one_place_each() {
        for bucket in [0, 1, 63, 64, 65, 1000, 70_000] {
            for lane in 0..LANES {
                match place_of(home_slot(bucket, lane)) {
                    Place::Home { bucket: b, lane: l } => assert_eq!((b, l), (bucket, lane)),
                    Place::Overflow { .. } => panic!("home slot read as overflow"),
                }
            }
            for lane in 0..OVERFLOW_LANES {
                match place_of(overflow_slot(bucket, lane)) {
                    Place::Overflow { number, lane: l } => assert_eq!((number, l), (bucket, lane)),
                    Place::Home { .. } => panic!("overflow slot read as home"),
                }
            }
        }
    }

    #[test]
    fn a_cursor_passes_every_bucket_once() {
        for (count, mask, base) in [(8, 0, 8), (11, 1, 8), (16, 1, 8), (23, 3, 8), (40, 7, 5)] {
            let (table, _arena) = Table::<u64, u64>::new(Some(8 * 13));
            let table = Table { base, ..table };
            let mut seen = vec![0; count as usize];
            let mut cursor = table.start();
            while cursor.family < base {
                let (index, mask) = table.address_in(cursor.family, cursor.low, count, mask);
                seen[index as usize] += 1;
                cursor = cursor.after(mask);
            }
            assert!(seen.iter().all(|&times| times == 1), "{count} {mask}: {seen:?}");
        }
    }
}
