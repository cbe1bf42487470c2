//! The recorders that more than one policy can use: what a hit may leave behind.
//!
//! Each costs at most one write, to the entry's own mark or to a ring of the stripe's. They must not
//! block, and know nothing of queues.

use super::parts::Buffer;
use super::{Mark, Recorder};
use crate::Slot;

/// A hit leaves nothing behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forget;

impl Recorder for Forget {
    #[inline]
    fn on_hit(&self, _: Slot, _: &Mark) -> bool {
        false
    }
}

/// A hit sets the mark to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visit;

impl Recorder for Visit {
    #[inline]
    fn on_hit(&self, _: Slot, mark: &Mark) -> bool {
        // Most often it is set already.
        if mark.get() == 0 {
            mark.set(1);
        }
        false
    }
}

/// A hit counts the mark up to 3.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

impl Count {
    /// The largest count.
    pub const MAX: u8 = 3;
}

impl Recorder for Count {
    #[inline]
    fn on_hit(&self, _: Slot, mark: &Mark) -> bool {
        let count = mark.get();
        if count < Self::MAX {
            mark.set(count + 1);
        }
        false
    }
}

/// A hit notes its slot in a ring that the policy drains.
#[derive(Debug)]
pub struct Log(Buffer);

impl Log {
    pub(crate) const fn new(buffer: Buffer) -> Self {
        Self(buffer)
    }
}

impl Recorder for Log {
    #[inline]
    fn on_hit(&self, slot: Slot, _: &Mark) -> bool {
        self.0.push(slot)
    }
}
