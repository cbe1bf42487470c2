//! Growing: splitting one bucket in two, entry by entry, while others read.

#![allow(unsafe_code, reason = "moves entries from lane to lane")]

use super::{Arena, unlink};
use crate::{
    Slot,
    sync::Ordering,
    table::{
        Level, Place, Table, home_slot, overflow_slot, pack, place_of,
        prints::{EMPTY, fingerprint},
    },
};

impl<K, V> Arena<K, V> {
    /// Splits the next bucket. `hash_of` may run the user's code: it is called for each key before
    /// anything changes, and answers `None` to give up. `moved` is told each entry's old and new
    /// slot, under both buckets' locks. Answers the two buckets.
    pub(crate) fn grow(
        &mut self,
        table: &Table<K, V>,
        hash_of: impl Fn(&K) -> Option<u64>,
        mut moved: impl FnMut(Slot, Slot),
    ) -> Option<(u32, u32)> {
        debug_assert!(self.pending.is_none(), "its lane looks empty");
        let Level { split: parent, mask: below } = self.level;
        let (child, mask) = (self.count, 2 * below + 1);
        let half = below + 1;
        let mut split = std::mem::take(&mut self.split);
        split.clear();
        let mut is_sound = true;
        self.each_of(parent, |slot, key| {
            let hash = if is_sound { hash_of(key) } else { None };
            is_sound = hash.is_some();
            split.extend(hash.map(|hash| (slot, hash)));
        });
        if !is_sound {
            return None;
        }
        keep_with_bit(half, &mut split);
        self.cover(table, child + 1);
        // SAFETY: as in `bucket`; taken by pointer so that `self` stays free to place entries.
        let old = unsafe { &*std::ptr::from_ref(self.bucket(parent)) };
        // SAFETY: as above.
        let new = unsafe { &*std::ptr::from_ref(self.bucket(child)) };
        let old_guard = old.lock.lock();
        let new_guard = new.lock.lock();
        for &(from, hash) in &split {
            self.copy(from, child, hash, &mut moved);
        }
        self.count = child + 1;
        self.level = if self.count == table.base * (mask + 1) {
            Level { split: 0, mask }
        } else {
            Level { split: parent + 1, mask: below }
        };
        self.fit_room();
        new.set_level(mask);
        old.set_level(mask);
        // Only now, so that whoever misses a moved entry here, having come by the old state, sees the
        // new level.
        for &(from, _) in &split {
            self.set_print(from, EMPTY);
        }
        self.gather(parent, &mut moved);
        // Last, so that whoever comes by the new state sees entries that `gather` moved within the
        // bucket in their new places: the level would not tell.
        // Release: pairs with the Acquire in `Table::locate`; it publishes the chunk and directory.
        table.state.store(pack(self.level), Ordering::Release);
        drop((new_guard, old_guard));
        self.split = split;
        Some((parent, child))
    }

    /// Copies an entry to another bucket, publishes it there, and leaves its old lane to be
    /// cleared. Both buckets are locked.
    fn copy(&mut self, from: Slot, to: u32, hash: u64, moved: &mut impl FnMut(Slot, Slot)) {
        let state = self.state(from).copied();
        let (key, value) = self.read(from);
        let bucket = self.bucket(to);
        let slot = if let Some(lane) = bucket.group.vacant(hash) {
            // SAFETY: the lane is empty, and `&mut self` comes from the stripe's lock.
            unsafe { bucket.group.write(lane, key, value, self.bare) };
            bucket.group.state(lane).set(state);
            bucket.group.prints.set(lane, fingerprint(hash));
            home_slot(to, lane)
        } else {
            let slot = self.chain_in(to, hash, key, value);
            self.state(slot).set(state);
            self.set_print(slot, fingerprint(hash));
            slot
        };
        moved(from, slot);
    }

    /// The bytes of the entry in `slot`, whose lane the caller must clear without dropping.
    fn read(&self, slot: Slot) -> (K, V) {
        match place_of(slot) {
            // SAFETY: the lane holds an entry, the caller holds both locks, and the lane is cleared
            // before they are released, so the entry lives on only where it was copied to.
            Place::Home { bucket, lane } => unsafe { self.bucket(bucket).group.copy_out(lane) },
            // SAFETY: as above.
            Place::Overflow { number, lane } => unsafe { self.group(number).group.copy_out(lane) },
        }
    }

    /// Lets the entries of a chain in which one was looked up return to lanes of their bucket's own
    /// that fell free: there they are found at once, and those that stay longest are looked up most.
    /// `moved` is told each entry's old and new slot, under the bucket's lock.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle(&mut self, table: &Table<K, V>, mut moved: impl FnMut(Slot, Slot)) {
        debug_assert!(self.pending.is_none(), "as in `grow`");
        let Some(index) = table.take_loose() else { return };
        // SAFETY: as in `grow`.
        let bucket = unsafe { &*std::ptr::from_ref(self.bucket(index)) };
        let _guard = bucket.lock.lock();
        self.gather(index, &mut moved);
    }

    /// Moves entries of a bucket from its chain into lanes that fell free, and frees emptied groups.
    /// The bucket is locked.
    fn gather(&mut self, index: u32, moved: &mut impl FnMut(Slot, Slot)) {
        // SAFETY: as in `grow`.
        let bucket = unsafe { &*std::ptr::from_ref(self.bucket(index)) };
        let mut next = bucket.overflow();
        while let Some(group) = next {
            next = group.next();
            for lane in group.group.occupied() {
                let Some(vacant) = bucket.group.vacant(0) else { break };
                let (from, to) = (overflow_slot(group.number, lane), home_slot(index, vacant));
                let print = group.group.prints.get(lane);
                let state = group.group.state(lane).copied();
                let (key, value) = self.read(from);
                // SAFETY: the lane is vacant, and `&mut self` comes from the stripe's lock.
                unsafe { bucket.group.write(vacant, key, value, self.bare) };
                bucket.group.state(vacant).set(state);
                moved(from, to);
                bucket.group.prints.set(vacant, print);
                group.group.prints.set(lane, EMPTY);
            }
            if group.group.occupied().next().is_none() {
                unlink(bucket, group);
                self.spare.push(group.number);
            }
        }
    }
}

/// Keeps the entries whose hash has that bit. Without a branch for each: half have it, which cannot be
/// foretold.
fn keep_with_bit(bit: u32, entries: &mut Vec<(Slot, u64)>) {
    let mut kept = 0;
    for at in 0..entries.len() {
        let entry = entries[at];
        entries[kept] = entry;
        kept += usize::from(entry.1 as u32 & bit != 0);
    }
    entries.truncate(kept);
}
