//! The hash table of one stripe: linear hashing over buckets with inline entries.
//!
//! Two halves. [`Table`] is what hits see: they find a bucket without the stripe's lock, take the
//! bucket's own (or see that nobody has it: [`glance`]), and check that the key still belongs there.
//! [`Arena`] is the rest, owned
//! by the holder of the stripe's lock; `&mut Arena` is the proof of holding it.
//!
//! Buckets lie in chunks that never move and are never freed before the table, so a reader needs
//! no reclamation scheme, and a stale address is harmless: the bucket's level, checked under its
//! lock, decides. Growing splits one bucket at a time.
//!
//! # Addresses
//! A table has `base << level` buckets when a level is complete. A hash's upper half picks one of
//! `base` families, and the low bits of its lower half a bucket of the family:
//! `family + base * (low & mask)`. Splitting takes one more bit into account.

#![allow(unsafe_code, reason = "chunks are reached through shared pointers")]

mod arena;
mod bare;
mod bucket;
mod glance;
mod lock;
mod prints;
mod side;
#[cfg(all(test, not(larder_loom)))]
mod tests;

pub(crate) use arena::Arena;
pub(crate) use bare::Bare;
pub(crate) use lock::{
    Guard, Guarded, UserCode, await_changes, deny_reentry, enter_user_code, in_user_code,
    note_change,
};
pub(crate) use side::Side;

use std::{fmt, ptr};

use crate::{
    Slot,
    sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};
use bucket::{Bucket, Group, OVERFLOW_LANES, Overflow};
pub(crate) use bucket::{LANES, LaneState, Value};
pub(crate) use glance::{Glance, Open};
pub(crate) use lock::BucketGuard;
use prints::fingerprint;

/// Entries per bucket up to which a table of known size is filled; the level it is planned to
/// complete then has this load.
const PLANNED_LOAD: f64 = if cfg!(larder_loom) { 64.0 } else { 13.6 };
/// The largest number of buckets; beyond it chains grow instead.
const MOST_BUCKETS: u32 = 1 << 26;

/// Buckets of a chunk: some kilobytes, so that growing never takes long.
const CHUNK: usize = if cfg!(larder_loom) { 1 } else { 16 };

/// Buckets side by side.
type Chunk<K, V> = [Bucket<K, V>; CHUNK];

/// A chunk's address, as readers find it.
type ChunkPtr<K, V> = AtomicPtr<Chunk<K, V>>;

/// The half of the table that is reached without the stripe's lock.
pub(crate) struct Table<K, V> {
    /// The mask of the level that is complete (high half), and how many of its buckets were split
    /// on the way to the next (low half), in one word.
    state: AtomicU64,
    /// The chunks by number. Replaced by a longer copy when full; old copies live on.
    directory: AtomicPtr<ChunkPtr<K, V>>,
    /// Families: the number of buckets at level 0.
    base: u32,
    /// Whether entries may be copied without any lock.
    pub(crate) bare: Bare<K, V>,
    /// A bucket whose chain has an entry that was looked up and might return from there, plus one; or 0.
    loose: AtomicU32,
}

// SAFETY: keys are shared between threads (under either lock), values handed from one to another
// under the bucket's lock and shared by reference while it is held. Who copies either under no lock does
// so only where they are numbers.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Table<K, V> {}
// SAFETY: the table owns its entries.
unsafe impl<K: Send, V: Send> Send for Table<K, V> {}

/// The bucket picked for a hash, not yet locked.
#[derive(Debug)]
pub(crate) struct Spot<'a, K, V> {
    bucket: &'a Bucket<K, V>,
    index: u32,
    /// The mask of the bucket's level when it was picked.
    mask: u32,
}

impl<K, V> Spot<'_, K, V> {
    /// The first slot of the bucket, and where in it an entry of this hash probably lies.
    #[inline(always)]
    pub(crate) fn slots(&self, hash: u64) -> (Slot, Slot) {
        let preferred = Group::<K, V, LANES, 2>::preferred(hash);
        (home_slot(self.index, 0), home_slot(self.index, preferred))
    }
}

/// An entry and the lock of its bucket.
#[derive(Debug)]
pub(crate) struct Locked<'a, K, V> {
    pub(crate) found: Found<'a, K, V>,
    pub(crate) guard: BucketGuard<'a>,
}

/// What a look into a bucket's own lanes came to.
#[derive(Debug)]
pub(crate) enum Look<'a, K, V> {
    Found(Locked<'a, K, V>),
    Absent,
    /// It may be elsewhere: see [`Table::look_further`].
    Further(Further<'a, K, V>),
}

/// A look to be continued.
#[derive(Debug)]
pub(crate) enum Further<'a, K, V> {
    /// From the beginning, waiting where need be: another thread holds the bucket's lock, or the
    /// bucket was split since it was picked.
    Again,
    /// In the bucket's overflow groups.
    Chained(&'a Overflow<K, V>, BucketGuard<'a>),
}

/// An entry found under its bucket's lock, as long as that is held.
pub(crate) struct Found<'a, K, V> {
    pub(crate) key: &'a K,
    pub(crate) value: Value<'a, K, V>,
    pub(crate) lane: Lane<'a>,
}

/// Where an entry lies, and what lies beside it. Handed around in registers: to who needs it only
/// now and then, a hit should not have to write a [`Found`] to memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) state: &'a LaneState,
    place: Place,
}

impl Lane<'_> {
    #[inline(always)]
    pub(crate) fn slot(self) -> Slot {
        self.place.slot()
    }
}

impl<K, V> fmt::Debug for Found<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("slot", &self.lane.slot()).finish_non_exhaustive()
    }
}

/// How far a table has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    /// How many buckets of this level were split already: the first so many.
    split: u32,
    /// The bits of an address that tell the buckets of a family apart.
    mask: u32,
}

/// Makes the table's state word.
fn pack(level: Level) -> u64 {
    u64::from(level.split) | u64::from(level.mask) << 32
}

/// Splits the table's state word.
#[inline(always)]
fn unpack(state: u64) -> Level {
    Level { split: state as u32, mask: (state >> 32) as u32 }
}

/// How many buckets `entries` entries need.
fn buckets_for(entries: u64) -> u32 {
    // Stripes fill unevenly: about a square root more than the fair share.
    let most = entries as f64 + 3.0 * (entries as f64).sqrt();
    (most / PLANNED_LOAD).ceil().clamp(1.0, f64::from(MOST_BUCKETS)) as u32
}

/// How many families, and how many buckets a full table has, for `entries` entries.
fn plan(entries: u64) -> (u32, u32) {
    let mut base = buckets_for(entries);
    let mut full = 1;
    // The more families, the less is lost by rounding up, but the more buckets are made at once: a
    // sixteenth at most where there are many.
    while base > 64 || (base > 8 && full < 16) {
        base = base.div_ceil(2);
        full *= 2;
    }
    (base, base * full)
}

impl<K, V> Table<K, V> {
    /// A table for about `entries` entries (if that is known), with its arena. It starts small
    /// and grows.
    pub(crate) fn new(entries: Option<u64>, bare: Bare<K, V>) -> (Self, Arena<K, V>) {
        let (base, full) = entries.map_or((8, u32::MAX), plan);
        let table = Self {
            state: AtomicU64::new(pack(Level { split: 0, mask: 0 })),
            directory: AtomicPtr::new(ptr::null_mut()),
            base,
            bare,
            loose: AtomicU32::new(0),
        };
        let arena = Arena::new(&table, full);
        (table, arena)
    }

    /// The bucket where a key of this hash belongs, and the mask of that bucket's level.
    #[inline(always)]
    fn address(&self, hash: u64, level: Level) -> (u32, u32) {
        let family = ((hash >> 32) * u64::from(self.base)) >> 32;
        self.address_in(family as u32, hash as u32, level)
    }

    #[inline(always)]
    fn address_in(&self, family: u32, low: u32, Level { split, mask }: Level) -> (u32, u32) {
        let index = family + self.base * (low & mask);
        // A full table of known size has no split buckets, so this costs it a comparison only.
        if split == 0 {
            return (index, mask);
        }
        let mask = if index < split { 2 * mask + 1 } else { mask };
        (family + self.base * (low & mask), mask)
    }

    /// The bucket of this number.
    #[inline(always)]
    fn bucket(&self, index: u32) -> &Bucket<K, V> {
        // Acquire: pairs with the Release in `Arena::add_chunk`.
        let directory = self.directory.load(Ordering::Acquire);
        // SAFETY: `index` is below a bucket count that was published after the directory that
        // covers it; directories live as long as the table.
        let place = unsafe { directory.add(index as usize / CHUNK) };
        // SAFETY: as above.
        let chunk = unsafe { &*place };
        // Relaxed: published with the directory or, later, with the bucket count.
        let chunk = chunk.load(Ordering::Relaxed);
        // SAFETY: chunks live as long as the table, and are only shared.
        let chunk = unsafe { &*chunk };
        &chunk[index as usize % CHUNK]
    }

    #[inline(always)]
    fn locate(&self, hash: u64) -> (&Bucket<K, V>, u32, u32) {
        // Acquire: pairs with the Release in `Arena::publish_count`.
        let level = unpack(self.state.load(Ordering::Acquire));
        let (index, mask) = self.address(hash, level);
        (self.bucket(index), index, mask)
    }

    /// Picks the bucket of a hash and begins to fetch it into the cache; meanwhile the caller may
    /// do something else.
    #[inline(always)]
    pub(crate) fn approach(&self, hash: u64) -> Spot<'_, K, V> {
        self.approach_by(prefetch_line, hash)
    }

    /// [`approach`](Self::approach) to replace what is there.
    #[inline(always)]
    pub(crate) fn approach_to_write(&self, hash: u64) -> Spot<'_, K, V> {
        self.approach_by(prefetch_to_write, hash)
    }

    #[inline(always)]
    fn approach_by(&self, prefetch: impl Fn(*const i8), hash: u64) -> Spot<'_, K, V> {
        let (bucket, index, mask) = self.locate(hash);
        prefetch(ptr::from_ref(bucket).cast());
        prefetch(bucket.group.probable_line(hash));
        Spot { bucket, index, mask }
    }

    /// Whether no entry can have this hash: certain at some moment during the call. Takes no lock.
    #[inline]
    pub(crate) fn surely_absent(&self, hash: u64) -> bool {
        let (bucket, _, mask) = self.locate(hash);
        await_changes();
        is_absent_from(bucket, hash, mask)
    }

    /// Finds the entry with this hash whose key `equals`, and keeps its bucket's lock (and no other)
    /// as long as the answer lives.
    pub(crate) fn find(
        &self,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
    ) -> Option<Locked<'_, K, V>> {
        match self.look(self.approach(hash), hash, &equals) {
            Look::Found(locked) => Some(locked),
            Look::Absent => None,
            Look::Further(further) => self.look_further(further, hash, equals),
        }
    }

    /// The first step of [`find`](Self::find), in the bucket that was picked for the hash. Almost
    /// always that is all. The rest is for the caller to put out of the way of the usual case.
    #[inline(always)]
    pub(crate) fn look<'a>(
        &'a self,
        spot: Spot<'a, K, V>,
        hash: u64,
        equals: &impl Fn(&K) -> bool,
    ) -> Look<'a, K, V> {
        match spot.bucket.lock.try_lock() {
            Some(guard) => self.look_under(guard, spot, hash, equals),
            None => Look::Further(Further::Again),
        }
    }

    /// [`look`](Self::look) for whoever would rather not take the lock in vain.
    #[inline(always)]
    pub(crate) fn look_lightly<'a>(
        &'a self,
        spot: Spot<'a, K, V>,
        hash: u64,
        equals: &impl Fn(&K) -> bool,
    ) -> Look<'a, K, V> {
        if is_absent_from(spot.bucket, hash, spot.mask) {
            return Look::Absent;
        }
        self.look(spot, hash, equals)
    }

    /// Looks into the bucket that was picked, which is locked.
    #[inline(always)]
    fn look_under<'a>(
        &self,
        guard: BucketGuard<'a>,
        spot: Spot<'a, K, V>,
        hash: u64,
        equals: &impl Fn(&K) -> bool,
    ) -> Look<'a, K, V> {
        let Spot { bucket, index, mask } = spot;
        if bucket.level() != mask {
            return Look::Further(Further::Again);
        }
        let mut lanes = bucket.group.prints.matching(fingerprint(hash));
        while let Some(lane) = lanes.first() {
            let place = Place::Home { bucket: index, lane };
            if let Some(found) = found_in(&bucket.group, lane, equals, place, self.bare) {
                return Look::Found(Locked { found, guard });
            }
            lanes = lanes.but_first();
        }
        match bucket.overflow() {
            None => Look::Absent,
            Some(first) => Look::Further(Further::Chained(first, guard)),
        }
    }

    /// The second step of [`find`](Self::find).
    #[cold]
    pub(crate) fn look_further<'a>(
        &'a self,
        further: Further<'a, K, V>,
        hash: u64,
        equals: impl Fn(&K) -> bool + Copy,
    ) -> Option<Locked<'a, K, V>> {
        match further {
            Further::Again => {
                let spot = self.approach(hash);
                match self.look_under(spot.bucket.lock.lock(), spot, hash, &equals) {
                    Look::Found(locked) => Some(locked),
                    Look::Absent => None,
                    Look::Further(further) => self.look_further(further, hash, equals),
                }
            }
            Further::Chained(first, guard) => {
                let found = find_in_chain(first, fingerprint(hash), &equals, self.bare)?;
                self.note_loose(first.home());
                Some(Locked { found, guard })
            }
        }
    }

    /// An entry in the chain of this bucket was looked up: if it could return, that is noted.
    fn note_loose(&self, index: u32) {
        // Relaxed (both): a hint. Written only if it changes, as every look-up reads what lies beside.
        if self.bucket(index).group.vacant(0).is_some() && self.loose.load(Ordering::Relaxed) == 0 {
            self.loose.store(index + 1, Ordering::Relaxed);
        }
    }

    /// Whether an entry might return from a chain.
    #[inline]
    pub(crate) fn is_loose(&self) -> bool {
        // Relaxed: a hint.
        self.loose.load(Ordering::Relaxed) != 0
    }

    /// The bucket in whose chain that is.
    fn take_loose(&self) -> Option<u32> {
        // Relaxed: a hint; what it leads to is looked at under the locks.
        self.loose.swap(0, Ordering::Relaxed).checked_sub(1)
    }

    /// How many positions an iteration over the table passes; see [`Cursor`].
    pub(crate) fn start(&self) -> Cursor {
        Cursor { family: 0, low: 0 }
    }
}

/// Whether no entry can have this hash, which belongs into this bucket of the level of `mask`.
#[inline(always)]
fn is_absent_from<K, V>(bucket: &Bucket<K, V>, hash: u64, mask: u32) -> bool {
    let is_absent = || bucket.group.prints.matching(fingerprint(hash)).is_empty();
    // Mostly that says enough, and is foreseen better than whether there is a chain.
    is_absent()
        // In this order: an entry that returns from a chain is published in the bucket's own lanes before
        // the chain can be seen to be gone; and a split publishes the new bucket, then the level, and
        // clears moved lanes and chains last, so whoever misses an entry that moved sees the changed
        // level.
        && bucket.overflow().is_none()
        && is_absent()
        && bucket.level() == mask
}

/// Looks through a bucket's overflow groups. The caller holds the bucket's lock.
fn find_in_chain<'a, K, V>(
    first: &'a Overflow<K, V>,
    print: u8,
    equals: &impl Fn(&K) -> bool,
    bare: Bare<K, V>,
) -> Option<Found<'a, K, V>> {
    let mut next = Some(first);
    while let Some(group) = next {
        for lane in group.group.prints.matching(print) {
            let place = Place::Overflow { number: group.number, lane };
            if let Some(found) = found_in(&group.group, lane, equals, place, bare) {
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
    place: Place,
    bare: Bare<K, V>,
) -> Option<Found<'a, K, V>> {
    // SAFETY: the caller holds the bucket's lock, and the lane's fingerprint is set.
    let key = unsafe { group.key(lane) };
    if !equals(key) {
        return None;
    }
    // SAFETY: as above; this is the only reference to the value under this lock.
    let value = unsafe { group.value(lane, bare) };
    Some(Found { key, value, lane: Lane { state: group.state(lane), place } })
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

/// What a slot names.
#[derive(Clone, Copy, Debug)]
enum Place {
    Home { bucket: u32, lane: usize },
    Overflow { number: u32, lane: usize },
}

impl Place {
    /// The slot that names this place.
    #[inline(always)]
    fn slot(self) -> Slot {
        let (flat, run) = match self {
            Self::Home { bucket, lane } => (bucket * LANES as u32 + lane as u32, 0),
            Self::Overflow { number, lane } => (number * OVERFLOW_LANES as u32 + lane as u32, RUN),
        };
        Slot::new(((flat & !(RUN - 1)) << 1) | run | (flat & (RUN - 1)))
    }
}

/// The slot of a lane of a home bucket.
#[inline]
fn home_slot(bucket: u32, lane: usize) -> Slot {
    Place::Home { bucket, lane }.slot()
}

/// The slot of a lane of an overflow group.
#[inline]
fn overflow_slot(number: u32, lane: usize) -> Slot {
    Place::Overflow { number, lane }.slot()
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

/// [`prefetch_line`] for a line that will be written to: from another processor's cache it comes as
/// this one's own at once, not first only to be read.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn prefetch_to_write(address: *const i8) {
    // SAFETY: as of `prefetch_line`. Processors that do not know the instruction pass over it.
    unsafe {
        std::arch::asm!(
            "prefetchw [{}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn prefetch_to_write(_address: *const i8) {}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_line(_address: *const i8) {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: for people.
        let level = unpack(self.state.load(Ordering::Relaxed));
        f.debug_struct("Table")
            .field("base", &self.base)
            .field("level", &level)
            .finish_non_exhaustive()
    }
}
