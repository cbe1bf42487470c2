//! The records of sampled keys, and the table that finds them.

use std::ops::{Index, IndexMut};

/// Bits of a record that belong to one shadow: place, frequency, stamp.
pub(super) const LANE: u32 = 10;
pub(super) const PLACE: u64 = 0b11;
pub(super) const SMALL: u64 = 1;
pub(super) const MAIN: u64 = 2;
pub(super) const FREQUENCY: u32 = 2;
pub(super) const MAX_FREQUENCY: u64 = 3;
/// Where the stamp is, or in the main queue the second chances.
pub(super) const STAMP: u32 = 4;
pub(super) const STAMP_BITS: u32 = 6;

/// A sampled key that a shadow holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) id: u32,
    /// The position plus 1 of the next record in the same bucket, or in the free list; or 0.
    pub(super) next: u32,
    pub(super) weight: u32,
    /// Its state in each shadow, [`LANE`] bits each: all zero if none holds it.
    pub(super) states: u64,
}

impl Record {
    #[inline]
    pub(super) fn lane(self, shadow: usize) -> u64 {
        self.states >> (shadow as u32 * LANE) & ((1 << LANE) - 1)
    }

    #[inline]
    pub(super) fn set_lane(&mut self, shadow: usize, lane: u64) {
        let shift = shadow as u32 * LANE;
        self.states = self.states & !(((1 << LANE) - 1) << shift) | lane << shift;
    }
}

/// Records by position, in pieces that never move: a longer copy would be a stall.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "the records of a piece must stay where they are")]
pub(super) struct Shelf {
    pieces: Vec<Box<[Record; Self::PIECE]>>,
    len: usize,
}

impl Shelf {
    const PIECE: usize = 64;

    fn push(&mut self, record: Record) {
        if self.len == self.pieces.len() * Self::PIECE {
            self.pieces.push(Box::new([Record::default(); Self::PIECE]));
        }
        self.len += 1;
        let at = self.len - 1;
        self[at] = record;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.pieces.iter().flat_map(|piece| piece.iter()).take(self.len)
    }
}

impl Index<usize> for Shelf {
    type Output = Record;

    #[inline]
    fn index(&self, at: usize) -> &Record {
        &self.pieces[at / Self::PIECE][at % Self::PIECE]
    }
}

impl IndexMut<usize> for Shelf {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut Record {
        &mut self.pieces[at / Self::PIECE][at % Self::PIECE]
    }
}

/// The records, and the chained hash table that finds them.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// A power of two of heads of chains: the position plus 1, or 0. None until the first record.
    buckets: Vec<u32>,
    /// How many records there will probably be.
    expected: usize,
    pub(super) records: Shelf,
    /// The head of the free list, as in a chain.
    free: u32,
    /// How many there are.
    pub(super) len: usize,
}

impl Records {
    /// None yet, and probably so many later.
    pub(super) fn expecting(records: usize) -> Self {
        Self { expected: records, ..Self::default() }
    }

    /// The most that are believed in beforehand: capacities may be anything.
    pub(super) const MOST_EXPECTED: usize = 1 << 16;

    #[inline]
    fn bucket(&self, id: u32) -> usize {
        id.wrapping_mul(0x9e37_79b1).wrapping_shr(32 - self.buckets.len().trailing_zeros()) as usize
            & (self.buckets.len() - 1)
    }

    /// The position of the record of `id`, which is made if there is none.
    #[inline]
    pub(super) fn find_or_add(&mut self, id: u32, weight: u32) -> usize {
        if self.len >= self.buckets.len() {
            self.grow();
        }
        let bucket = self.bucket(id);
        let mut next = self.buckets[bucket];
        while next != 0 {
            let record = &self.records[next as usize - 1];
            if record.id == id {
                return next as usize - 1;
            }
            next = record.next;
        }
        let record = Record { id, next: self.buckets[bucket], weight, states: 0 };
        let at = self.place(record);
        self.buckets[bucket] = at as u32 + 1;
        self.len += 1;
        at
    }

    fn place(&mut self, record: Record) -> usize {
        if self.free != 0 {
            let at = self.free as usize - 1;
            self.free = self.records[at].next;
            self.records[at] = record;
            return at;
        }
        self.records.push(record);
        self.records.len - 1
    }

    /// Gives up the record at `at`, which no shadow holds.
    pub(super) fn remove(&mut self, at: usize) {
        let Record { id, next, .. } = self.records[at];
        let bucket = self.bucket(id);
        let own = at as u32 + 1;
        if self.buckets[bucket] == own {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket] as usize - 1;
            while self.records[before].next != own {
                before = self.records[before].next as usize - 1;
            }
            self.records[before].next = next;
        }
        self.records[at].next = self.free;
        self.free = own;
        self.len -= 1;
    }

    #[cold]
    fn grow(&mut self) {
        let mut chained = Vec::with_capacity(self.len);
        for mut next in std::mem::take(&mut self.buckets) {
            while next != 0 {
                chained.push(next);
                next = self.records[next as usize - 1].next;
            }
        }
        // At first so many that it need not be done again.
        let records = self.len.max(self.expected.min(Self::MOST_EXPECTED));
        self.buckets = vec![0; (2 * records).next_power_of_two().max(16)];
        for own in chained {
            let bucket = self.bucket(self.records[own as usize - 1].id);
            self.records[own as usize - 1].next = self.buckets[bucket];
            self.buckets[bucket] = own;
        }
    }
}
