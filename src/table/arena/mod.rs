//! The half of a table that belongs to the holder of the stripe's lock: placing, taking, growing.

#![allow(unsafe_code, reason = "owns the chunks that readers reach through shared pointers")]

mod grow;

use std::{fmt, ptr::NonNull};

use super::{
    Bare, CHUNK, Chunk, ChunkPtr, Cursor, Found, Level, MOST_BUCKETS, Place, Table,
    bucket::{Bucket, Group, LANES, LaneState, Overflow},
    buckets_for, found_in, home_slot, overflow_slot, pack, place_of,
    prints::{EMPTY, fingerprint},
};
use crate::{
    Slot,
    sync::{AtomicPtr, Ordering},
};

/// Entries per bucket at which a table begins to double. Then every insertion splits a bucket until
/// all are split: buckets whose turn has not come hold twice as many as the others, and what spills
/// from them costs more than splitting.
const SPLIT_LOAD: usize = 12;
/// The same where as many buckets as planned are in use: they should do.
const CROWDED_LOAD: usize = if cfg!(larder_loom) { LANES + 1 } else { 15 };
/// Overflow groups made at once.
const GROUPS: usize = if cfg!(larder_loom) { 2 } else { 16 };

/// The stripe's buckets and overflow groups. In this order: what changes with every insertion first.
#[repr(C)]
pub(crate) struct Arena<K, V> {
    /// Entries, an unpublished one included.
    len: usize,
    /// The entry that was placed and is not yet published, if there is one.
    pending: Option<Slot>,
    /// How many entries fit before the next split; see [`fit_room`](Self::fit_room).
    room: usize,
    /// How the buckets in use are addressed, and how many there are.
    level: Level,
    count: u32,
    /// Buckets when the table is full, if that is known.
    planned: u32,
    /// As of the table.
    bare: Bare<K, V>,
    chunks: Vec<NonNull<Chunk<K, V>>>,
    directories: Vec<NonNull<[ChunkPtr<K, V>]>>,
    groups: Vec<NonNull<[Overflow<K, V>; GROUPS]>>,
    /// Overflow groups in no chain.
    spare: Vec<u32>,
    /// The entries of the bucket being split that move, and their hashes; kept for its memory.
    split: Vec<(Slot, u64)>,
}

// SAFETY: the arena owns what its pointers point to; see `Table` for what is shared.
unsafe impl<K: Send, V: Send> Send for Arena<K, V> {}

impl<K, V> Arena<K, V> {
    pub(super) fn new(table: &Table<K, V>, planned: u32) -> Self {
        let mut arena = Self {
            chunks: Vec::new(),
            directories: Vec::new(),
            groups: Vec::new(),
            spare: Vec::new(),
            len: 0,
            pending: None,
            count: table.base,
            level: Level { split: 0, mask: 0 },
            planned,
            bare: table.bare,
            room: 0,
            split: Vec::new(),
        };
        arena.fit_room();
        arena.cover(table, arena.count);
        for index in 0..arena.count {
            arena.bucket(index).set_level(0);
        }
        arena
    }

    /// Plans for another number of entries: to end on a complete level again.
    pub(crate) fn plan(&mut self, table: &Table<K, V>, entries: u64) {
        let wanted = buckets_for(entries);
        self.planned = table.base;
        while self.planned < wanted {
            self.planned *= 2;
        }
        self.fit_room();
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn bucket(&self, index: u32) -> &Bucket<K, V> {
        let Some(chunk) = self.chunks.get(index as usize / CHUNK) else { no_slot() };
        // SAFETY: chunks are freed only by `drop`, and shared by reference only until then.
        let chunk = unsafe { chunk.as_ref() };
        &chunk[index as usize % CHUNK]
    }

    #[inline]
    fn group(&self, number: u32) -> &Overflow<K, V> {
        let Some(groups) = self.groups.get(number as usize / GROUPS) else { no_slot() };
        // SAFETY: groups are freed only by `drop`, and shared by reference only until then.
        let groups = unsafe { groups.as_ref() };
        &groups[number as usize % GROUPS]
    }

    /// What lies beside the entry in `slot`. Its hint is to be written only before it is published.
    #[inline]
    pub(crate) fn state(&self, slot: Slot) -> &LaneState {
        match place_of(slot) {
            Place::Home { bucket, lane } => self.bucket(bucket).group.state(lane),
            Place::Overflow { number, lane } => self.group(number).group.state(lane),
        }
    }

    /// The key of the entry in `slot`.
    ///
    /// # Panics
    /// If the slot holds no entry.
    #[inline]
    pub(crate) fn key(&self, slot: Slot) -> &K {
        match place_of(slot) {
            Place::Home { bucket, lane } => {
                let group = &self.bucket(bucket).group;
                self.check(group, lane, slot);
                // SAFETY: the lane holds an entry; `&self` comes from the stripe's lock.
                unsafe { group.key(lane) }
            }
            Place::Overflow { number, lane } => {
                let group = &self.group(number).group;
                self.check(group, lane, slot);
                // SAFETY: as above.
                unsafe { group.key(lane) }
            }
        }
    }

    /// The home bucket of the entry in `slot`.
    #[inline]
    pub(crate) fn home(&self, slot: Slot) -> u32 {
        match place_of(slot) {
            Place::Home { bucket, .. } => bucket,
            Place::Overflow { number, .. } => self.group(number).home(),
        }
    }

    /// Checks that `slot`, which is this lane of this group, holds an entry. Done wherever a slot
    /// comes back from a policy: it may be anybody's code, and must not be able to do harm.
    #[inline(always)]
    fn check<const N: usize, const WORDS: usize>(
        &self,
        group: &Group<K, V, N, WORDS>,
        lane: usize,
        slot: Slot,
    ) {
        if group.prints.get(lane) == EMPTY && self.pending != Some(slot) {
            no_entry(slot);
        }
    }

    /// The published entry with this hash whose key `equals`. Keys do not change under the stripe's
    /// lock, so no bucket is locked.
    pub(crate) fn find(
        &self,
        table: &Table<K, V>,
        hash: u64,
        equals: impl Fn(&K) -> bool,
    ) -> Option<Slot> {
        self.find_in(self.home_of(table, hash), hash, equals)
    }

    /// The bucket where a key of this hash belongs until the next split.
    #[inline]
    pub(crate) fn home_of(&self, table: &Table<K, V>, hash: u64) -> u32 {
        table.address(hash, self.level).0
    }

    /// [`find`](Self::find) in the bucket where the hash belongs.
    #[inline]
    pub(crate) fn find_in(
        &self,
        index: u32,
        hash: u64,
        equals: impl Fn(&K) -> bool,
    ) -> Option<Slot> {
        let bucket = self.bucket(index);
        let print = fingerprint(hash);
        for lane in bucket.group.prints.matching(print) {
            // SAFETY: the fingerprint is set, and `&self` comes from the stripe's lock.
            if equals(unsafe { bucket.group.key(lane) }) {
                return Some(home_slot(index, lane));
            }
        }
        let mut next = bucket.overflow();
        while let Some(group) = next {
            for lane in group.group.prints.matching(print) {
                // SAFETY: as above.
                if equals(unsafe { group.group.key(lane) }) {
                    return Some(overflow_slot(group.number, lane));
                }
            }
            next = group.next();
        }
        None
    }

    /// Runs `then` on the entry in `slot` under its bucket's lock.
    pub(crate) fn with<R>(&self, slot: Slot, then: impl FnOnce(Found<'_, K, V>) -> R) -> R {
        let _guard = self.bucket(self.home(slot)).lock.lock();
        let found = match place_of(slot) {
            place @ Place::Home { bucket, lane } => {
                let group = &self.bucket(bucket).group;
                self.check(group, lane, slot);
                found_in(group, lane, &|_| true, place, self.bare)
            }
            place @ Place::Overflow { number, lane } => {
                let group = &self.group(number).group;
                self.check(group, lane, slot);
                found_in(group, lane, &|_| true, place, self.bare)
            }
        };
        then(found.expect("every key is accepted"))
    }

    /// Puts a new entry where its hash belongs. Nobody sees it before [`publish`](Self::publish).
    pub(crate) fn place(&mut self, table: &Table<K, V>, hash: u64, key: K, value: V) -> Slot {
        self.place_at(self.home_of(table, hash), hash, key, value)
    }

    /// [`place`](Self::place) in the bucket where the hash belongs.
    #[inline]
    pub(crate) fn place_at(&mut self, index: u32, hash: u64, key: K, value: V) -> Slot {
        self.len += 1;
        let slot = self.place_in(index, hash, key, value);
        debug_assert!(self.pending.is_none(), "the one before was published or taken out");
        self.pending = Some(slot);
        slot
    }

    #[inline]
    fn place_in(&mut self, index: u32, hash: u64, key: K, value: V) -> Slot {
        let bucket = self.bucket(index);
        let Some(lane) = bucket.group.vacant(hash) else {
            return self.chain_in(index, hash, key, value);
        };
        // SAFETY: the lane is empty, and `&mut self` comes from the stripe's lock.
        unsafe { bucket.group.write(lane, key, value, self.bare) };
        home_slot(index, lane)
    }

    /// [`place_in`](Self::place_in) where the bucket's own lanes are taken.
    #[cold]
    #[inline(never)]
    fn chain_in(&mut self, index: u32, hash: u64, key: K, value: V) -> Slot {
        let bucket = self.bucket(index);
        let mut next = bucket.overflow();
        while let Some(group) = next {
            if let Some(lane) = group.group.vacant(hash) {
                // SAFETY: the lane is empty, and `&mut self` comes from the stripe's lock.
                unsafe { group.group.write(lane, key, value, self.bare) };
                return overflow_slot(group.number, lane);
            }
            next = group.next();
        }
        let number = self.spare_group();
        let (bucket, group) = (self.bucket(index), self.group(number));
        // SAFETY: the group is in no chain, so its lanes are empty.
        unsafe { group.group.write(0, key, value, self.bare) };
        group.link(index, bucket.overflow().map_or(std::ptr::null_mut(), Overflow::as_ptr));
        bucket.set_overflow(group.as_ptr());
        overflow_slot(number, 0)
    }

    fn spare_group(&mut self) -> u32 {
        if let Some(number) = self.spare.pop() {
            return number;
        }
        let first = (self.groups.len() * GROUPS) as u32;
        let groups = Overflow::boxed::<GROUPS>(first);
        self.groups.push(NonNull::from(Box::leak(groups)));
        self.spare.extend((first + 1..first + GROUPS as u32).rev());
        first
    }

    /// Makes a placed entry visible.
    #[inline]
    pub(crate) fn publish(&mut self, slot: Slot, hash: u64) {
        self.pending = None;
        self.set_print(slot, fingerprint(hash));
    }

    #[inline]
    fn set_print(&mut self, slot: Slot, print: u8) {
        match place_of(slot) {
            Place::Home { bucket, lane } => self.bucket(bucket).group.prints.set(lane, print),
            Place::Overflow { number, lane } => self.group(number).group.prints.set(lane, print),
        }
    }

    /// Moves an entry out, published or not.
    #[inline]
    pub(crate) fn take(&mut self, slot: Slot) -> (K, V) {
        let entry = match place_of(slot) {
            Place::Home { bucket, lane } => {
                let bucket = self.bucket(bucket);
                self.check(&bucket.group, lane, slot);
                let _guard = bucket.lock.lock();
                take_from(&bucket.group, lane)
            }
            Place::Overflow { number, lane } => self.take_chained(slot, number, lane),
        };
        self.len -= 1;
        if self.pending == Some(slot) {
            self.pending = None;
        }
        entry
    }

    /// [`take`](Self::take) from an overflow group, which is unlinked if that empties it.
    #[cold]
    #[inline(never)]
    fn take_chained(&mut self, slot: Slot, number: u32, lane: usize) -> (K, V) {
        self.check(&self.group(number).group, lane, slot);
        let other = self.pending.filter(|&pending| pending != slot);
        let group = self.group(number);
        let home = self.bucket(group.home());
        let guard = home.lock.lock();
        let entry = take_from(&group.group, lane);
        // The lane of an entry that is not yet published looks empty.
        let holds_other = other.is_some_and(
            |slot| matches!(place_of(slot), Place::Overflow { number: own, .. } if own == number),
        );
        let emptied = group.group.occupied().next().is_none() && !holds_other;
        if emptied {
            unlink(home, group);
        }
        drop(guard);
        if emptied {
            self.spare.push(number);
        }
        entry
    }

    /// Whether the next insert should be preceded by a split.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.len >= self.room
    }

    /// How many entries fit before the next split.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Follows a change of the number of buckets, in use or planned.
    fn fit_room(&mut self) {
        let is_planned = self.planned != u32::MAX && self.count >= self.planned;
        let load = match self.level.split {
            _ if is_planned => CROWDED_LOAD,
            0 => SPLIT_LOAD,
            _ => 0,
        };
        self.room = if self.count < MOST_BUCKETS { load * self.count as usize } else { usize::MAX };
    }

    /// The slots of a bucket's published entries, its chain's included.
    pub(crate) fn slots_of(&self, index: u32) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(LANES);
        self.each_slot_of(index, |slot| slots.push(slot));
        slots
    }

    #[inline]
    fn each_slot_of(&self, index: u32, mut visit: impl FnMut(Slot)) {
        self.each_of(index, |slot, _| visit(slot));
    }

    /// Shows the published entries of a bucket, its chain's included.
    #[inline]
    fn each_of(&self, index: u32, mut visit: impl FnMut(Slot, &K)) {
        let bucket = self.bucket(index);
        for lane in bucket.group.occupied() {
            // SAFETY: the lane holds an entry; `&self` comes from the stripe's lock.
            visit(home_slot(index, lane), unsafe { bucket.group.key(lane) });
        }
        let mut next = bucket.overflow();
        while let Some(group) = next {
            for lane in group.group.occupied() {
                // SAFETY: as above.
                visit(overflow_slot(group.number, lane), unsafe { group.group.key(lane) });
            }
            next = group.next();
        }
    }

    /// The bucket at an iteration's position and the position after it; `None` at the end.
    pub(crate) fn step(&self, table: &Table<K, V>, at: Cursor) -> Option<(u32, Cursor)> {
        (at.family < table.base).then(|| {
            let (index, mask) = table.address_in(at.family, at.low, self.level);
            (index, at.after(mask))
        })
    }

    /// Makes chunks for `count` buckets, and a directory that covers them.
    fn cover(&mut self, table: &Table<K, V>, count: u32) {
        while self.chunks.len() * CHUNK < count as usize {
            let chunk = Bucket::boxed::<CHUNK>();
            self.chunks.push(NonNull::from(Box::leak(chunk)));
            self.list_last_chunk(table);
        }
    }

    fn list_last_chunk(&mut self, table: &Table<K, V>) {
        let number = self.chunks.len() - 1;
        // SAFETY: directories are freed only by `drop`, and shared by reference only until then.
        let newest = self.directories.last().map(|directory| unsafe { directory.as_ref() });
        if let Some(place) = newest.and_then(|directory| directory.get(number)) {
            // Relaxed: published by the bucket count that reaches it.
            place.store(self.chunks[number].as_ptr(), Ordering::Relaxed);
            return;
        }
        let room = (2 * number).max(4);
        let listed = self.chunks.iter().map(|chunk| chunk.as_ptr());
        let directory: Box<[ChunkPtr<K, V>]> = listed
            .chain(std::iter::repeat(std::ptr::null_mut()))
            .take(room)
            .map(AtomicPtr::new)
            .collect();
        let directory = NonNull::from(Box::leak(directory));
        self.directories.push(directory);
        // Release: pairs with the Acquire in `Table::bucket`; it publishes the copied addresses.
        table.directory.store(directory.cast::<ChunkPtr<K, V>>().as_ptr(), Ordering::Release);
    }

    /// Checks the table against itself and answers the slots of all entries.
    ///
    /// # Panics
    /// If something does not fit, or if an entry lies where its hash does not belong.
    pub(crate) fn validate(&self, table: &Table<K, V>, hash_of: impl Fn(&K) -> u64) -> Vec<Slot> {
        // Relaxed: this thread, holding the stripe's lock, is the only writer.
        let state = table.state.load(Ordering::Relaxed);
        assert_eq!(state, pack(self.level), "published another size");
        let Level { split, mask } = self.level;
        assert_eq!(self.count, table.base * (mask + 1) + split, "buckets miscounted");
        let mut all = Vec::new();
        let mut chained = 0;
        for index in 0..self.count {
            let (_, mask) = (index, self.bucket(index).level());
            let mut next = self.bucket(index).overflow();
            while let Some(group) = next {
                chained += 1;
                assert_eq!(group.home(), index, "group in another bucket's chain");
                assert!(group.group.occupied().next().is_some(), "empty group in a chain");
                next = group.next();
            }
            for slot in self.slots_of(index) {
                let hash = hash_of(self.key(slot));
                let belongs = table.address(hash, self.level);
                assert_eq!(belongs, (index, mask), "entry in another key's bucket");
                all.push(slot);
            }
        }
        assert_eq!(all.len(), self.len, "entries miscounted");
        assert_eq!(chained + self.spare.len(), self.groups.len() * GROUPS, "groups lost");
        all
    }
}

#[cold]
fn no_entry(slot: Slot) -> ! {
    panic!("{slot:?} holds no entry, but the policy named it")
}

#[cold]
fn no_slot() -> ! {
    panic!("the policy named a slot that there never was")
}

fn take_from<K, V, const N: usize, const WORDS: usize>(
    group: &Group<K, V, N, WORDS>,
    lane: usize,
) -> (K, V) {
    group.prints.set(lane, EMPTY);
    // SAFETY: callers name a lane that holds an entry and hold both locks; the fingerprint is
    // cleared, so nobody finds the entry any more.
    unsafe { group.take(lane) }
}

/// Takes an empty group out of its bucket's chain. Both locks are held.
fn unlink<K, V>(bucket: &Bucket<K, V>, group: &Overflow<K, V>) {
    let after = group.next().map_or(std::ptr::null_mut(), Overflow::as_ptr);
    let mut before = None;
    let mut at = bucket.overflow();
    while let Some(linked) = at {
        if std::ptr::eq(linked, group) {
            break;
        }
        before = at;
        at = linked.next();
    }
    match before {
        Some(before) => before.link(before.home(), after),
        None => bucket.set_overflow(after),
    }
}

impl<K, V> Drop for Arena<K, V> {
    fn drop(&mut self) {
        /// Frees one allocation even if dropping another panicked.
        struct Free<T: ?Sized>(NonNull<T>);
        impl<T: ?Sized> Drop for Free<T> {
            fn drop(&mut self) {
                // SAFETY: made by `Box::leak`, listed once, and reached by nobody any more: the
                // stripe is being dropped.
                drop(unsafe { Box::from_raw(self.0.as_ptr()) });
            }
        }
        let chunks: Vec<_> = self.chunks.drain(..).map(Free).collect();
        let groups: Vec<_> = self.groups.drain(..).map(Free).collect();
        let directories: Vec<_> = self.directories.drain(..).map(Free).collect();
        drop((chunks, groups, directories));
    }
}

impl<K, V> fmt::Debug for Arena<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("len", &self.len)
            .field("buckets", &self.count)
            .field("planned", &self.planned)
            .field("groups", &(self.groups.len() * GROUPS - self.spare.len()))
            .finish_non_exhaustive()
    }
}
