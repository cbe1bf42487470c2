//! What should be in the cache, as far as that can be known.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use larder::{Removal, RemovalCause};

use crate::settings::Notice;

/// A moment in nanoseconds that is known to lie within bounds; `u64::MAX` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub from: u64,
    /// Not after.
    pub to: u64,
}

/// The end of what the cache's deadlines can tell.
const RANGE: u64 = (0xffff_ffff << 16) << 10;

impl Span {
    pub const NEVER: Self = Self { from: u64::MAX, to: u64::MAX };
    pub const UNKNOWN: Self = Self { from: 0, to: u64::MAX };

    /// So much later than `now`, or up to `early` before that.
    pub fn after(now: u64, by: u64, early: u64) -> Self {
        match now.checked_add(by) {
            _ if by == 0 => Self { from: 0, to: 0 },
            Some(at) if at < RANGE => Self { from: at.saturating_sub(early), to: at },
            _ => Self::NEVER,
        }
    }

    /// Whether it has come.
    pub fn is_over(self, now: u64) -> bool {
        now >= self.to && self.to != u64::MAX
    }

    /// Whether it may have come.
    pub fn may_be_over(self, now: u64) -> bool {
        now >= self.from && self.from != u64::MAX
    }

    pub fn min(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.min(other.to) }
    }
}

/// A value that the cache was given.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: u16,
    pub weight: u64,
    /// The deadline that no use puts off.
    pub limit: Span,
    pub deadline: Span,
    /// Whether it may have been evicted in silence.
    pub is_vague: bool,
    pub has_dead_tag: bool,
    /// Whether it came in, and not just now.
    pub is_stored: bool,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Nothing,
    Sure(u32),
    Perhaps(u32),
}

impl Expected {
    pub fn serial(self) -> Option<u32> {
        match self {
            Self::Nothing => None,
            Self::Sure(serial) | Self::Perhaps(serial) => Some(serial),
        }
    }

    pub fn is_sure(self) -> bool {
        matches!(self, Self::Sure(_))
    }

    pub fn allows(self, got: Option<u32>) -> bool {
        match self {
            Self::Nothing => got.is_none(),
            Self::Sure(serial) => got == Some(serial),
            Self::Perhaps(serial) => got.is_none_or(|got| got == serial),
        }
    }
}

/// What the operation under way does.
#[derive(Clone, Debug, Default)]
pub struct Doing {
    /// What was written by this operation.
    pub fresh: BTreeSet<u32>,
    pub written: BTreeSet<u16>,
    pub removed: BTreeSet<u16>,
    pub all_removed: bool,
    /// Whether there may have been too little room.
    pub is_crowded: bool,
    /// Whether that was seen to.
    pub is_blurred: bool,
}

/// What is known of a cache.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// What is in the cache, as far as that is known: by serial number.
    pub items: HashMap<u32, Item>,
    /// The newest value of each key.
    pub current: BTreeMap<u16, u32>,
    pub capacity: u64,
    pub doing: Doing,
    pub versions: HashMap<u16, u64>,
    /// What the listener was told, by cause.
    pub told: HashMap<RemovalCause, (u64, u64)>,
    /// How many of these had been in the cache.
    pub left: u64,
    /// Whether the cause of what is told is not known.
    pub is_lenient: bool,
    /// The latest time there was.
    pub latest: u64,
    /// Whether the clock went back.
    pub has_gone_back: bool,
    /// Keys whose entries came or went since this was emptied.
    pub changed: BTreeSet<u16>,
}

impl Model {
    pub fn expect(&self, key: u16, now: u64) -> Expected {
        let Some(&serial) = self.current.get(&key) else { return Expected::Nothing };
        let item = &self.items[&serial];
        if item.has_dead_tag || (item.deadline.is_over(now) && !self.has_gone_back) {
            return Expected::Nothing;
        }
        if item.is_vague || item.deadline.may_be_over(self.latest) {
            return Expected::Perhaps(serial);
        }
        Expected::Sure(serial)
    }

    /// The sum of the weights of what may be there.
    pub fn weight(&self) -> u128 {
        self.items.values().map(|item| u128::from(item.weight)).sum()
    }

    /// A value is about to be given to the cache.
    pub fn offer(&mut self, key: u16, serial: u32, weight: u64, used: u64) {
        let old = self.current.get(&key).map(|old| &self.items[old]);
        // What was written before by the same operation may have driven it out already.
        let is_first = !self.doing.written.contains(&key);
        let old = old.filter(|old| !old.is_vague && is_first).map_or(0, |old| old.weight);
        let needed = u128::from(used.saturating_sub(old)) + u128::from(weight);
        self.doing.is_crowded |= needed > u128::from(self.capacity);
        self.doing.fresh.insert(serial);
        self.doing.written.insert(key);
        let (limit, deadline) = (Span::UNKNOWN, Span::UNKNOWN);
        let item = Item {
            key,
            weight,
            limit,
            deadline,
            is_vague: false,
            has_dead_tag: false,
            is_stored: false,
        };
        self.items.insert(serial, item);
    }

    /// The listener was told of this.
    pub fn hear(&mut self, notice: Notice) {
        let Notice { key, serial, removal } = notice;
        let item = self.items.remove(&serial);
        let item = item.unwrap_or_else(|| panic!("{notice:?}: told twice, or it was never in"));
        assert_eq!(key, item.key, "{notice:?}: {item:?}");
        assert_eq!(removal.weight, item.weight, "{notice:?}: {item:?}");
        let last = self.versions.insert(key, removal.version);
        assert!(last < Some(removal.version), "{notice:?} after version {last:?}");
        let told = self.told.entry(removal.cause).or_default();
        *told = (told.0 + 1, told.1.wrapping_add(removal.weight));
        // What expires at once came in before.
        let came = item.is_stored || removal.cause != RemovalCause::Rejected;
        self.left += u64::from(came);
        if !self.is_lenient {
            self.judge(serial, &item, removal);
        }
        if self.current.get(&key) == Some(&serial) {
            self.current.remove(&key);
            self.changed.insert(key);
        }
    }

    /// Whether the cause of a removal is the right one.
    fn judge(&self, serial: u32, item: &Item, removal: Removal) {
        let Doing { fresh, written, removed, all_removed, is_crowded, .. } = &self.doing;
        let is_right = match removal.cause {
            RemovalCause::Expired => item.deadline.may_be_over(self.latest),
            RemovalCause::Explicit => {
                item.has_dead_tag || *all_removed || removed.contains(&item.key)
            }
            RemovalCause::Replaced => written.contains(&item.key),
            RemovalCause::Size => item.weight > 0 && *is_crowded,
            RemovalCause::Rejected => {
                fresh.contains(&serial) && (*is_crowded || item.weight > self.capacity)
            }
            _ => false,
        };
        assert!(is_right, "{removal:?} of {serial}: {item:?} (of {:?})", self.doing);
    }

    /// An entry is gone.
    pub fn lose(&mut self, key: u16, is_heard: bool) {
        if let Some(serial) = self.current.remove(&key) {
            self.changed.insert(key);
            if !is_heard {
                self.items.remove(&serial);
            }
        }
    }

    /// Somebody may have been evicted, and nobody was told.
    pub fn blur(&mut self) {
        self.doing.is_blurred = true;
        for item in self.items.values_mut().filter(|item| item.weight > 0) {
            item.is_vague = true;
        }
    }
}
