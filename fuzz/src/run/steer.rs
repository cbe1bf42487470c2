//! The capacity, the time, and what panics.

use std::time::Duration;

use super::{FAR, FAR_TICK, Overtaken, Run};
use crate::{
    bytes::Bytes,
    fuse::{self, Site},
    kinds::Kind,
};

impl<T: Kind> Run<T> {
    pub(super) fn set_capacity(&mut self, bytes: &mut Bytes<'_>) {
        let capacity = match bytes.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => self.settings.capacity,
            3 => self.model.capacity.saturating_add(1),
            4 => self.model.capacity.saturating_sub(1),
            5 => self.model.capacity / 2,
            _ => bytes.short().into(),
        };
        self.model.doing.is_crowded |= self.cache.weight() > capacity;
        self.model.capacity = capacity;
        self.cache.set_capacity(capacity);
        if capacity == 0 {
            self.overtake_all(Overtaken::Yes);
        }
        if !self.settings.is_heard && self.model.doing.is_crowded {
            self.model.blur();
        }
        assert!(self.cache.weight() <= capacity);
        assert_eq!(self.cache.capacity(), capacity);
    }

    pub(super) fn maintain(&mut self) {
        self.cache.run_maintenance();
        self.settle();
        let most = self.model.current.len();
        let is_known = !self.model.has_gone_back;
        assert!(!is_known || self.cache.len() <= most, "the dead are still there");
    }

    pub(super) fn advance(&mut self, bytes: &mut Bytes<'_>) {
        let by = match bytes.duration() {
            Duration::MAX => 1 << 62,
            by => u64::try_from(by.as_nanos()).unwrap_or(u64::MAX),
        };
        if by >= FAR {
            self.early = FAR_TICK;
            // What was written before has other bounds now.
            for item in self.model.items.values_mut() {
                item.deadline.from = item.deadline.from.saturating_sub(FAR_TICK);
                item.limit.from = item.limit.from.saturating_sub(FAR_TICK);
            }
        }
        self.clock.set(self.now().saturating_add(by));
        self.model.latest = self.model.latest.max(self.now());
    }

    /// The clock must not, but if it does nothing breaks.
    pub(super) fn go_back(&mut self, bytes: &mut Bytes<'_>) {
        if !bytes.byte().is_multiple_of(16) {
            return;
        }
        let by = bytes.duration().as_nanos() as u64;
        self.maintain();
        self.clock.set(self.now().saturating_sub(by));
        self.model.has_gone_back = true;
        for item in self.model.items.values_mut() {
            item.deadline.to = u64::MAX;
        }
    }

    pub(super) fn arm(&mut self, bytes: &mut Bytes<'_>) {
        if self.settings.panics {
            fuse::arm(bytes.pick(&Site::ALL), bytes.byte() % 16);
            self.step_as(bytes.below(42), bytes);
        }
    }
}
