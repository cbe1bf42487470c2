//! Numbers as people read them.

use std::fmt::{self, Display};

use bytesize::ByteSize;
use indicatif::HumanCount;

/// A capacity.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// How much.
    pub capacity: u64,
    /// Whether it is in bytes, and not in entries.
    pub by_size: bool,
}

impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_size {
            write!(f, "{}", ByteSize(self.capacity))
        } else {
            write!(f, "{} entries", HumanCount(self.capacity))
        }
    }
}
