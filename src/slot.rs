//! The name of one resident entry of a stripe. Policies index their own arrays by it.

/// Names the place of one entry within its stripe.
///
/// A slot is valid from [`Policy::on_insert`](crate::policy::Policy::on_insert) until
/// [`Policy::on_remove`](crate::policy::Policy::on_remove) (or until
/// [`on_move`](crate::policy::Policy::on_move) renames it); afterwards another entry may use it.
/// Slots are dense: the largest index is a small multiple of the number of entries that the table has
/// room for by now, or little more than a thousand where these are few. So a policy may keep arrays
/// indexed by [`index`](Self::index), that grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// The slot with this index.
    #[inline]
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The position in arrays indexed by slot.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The same as [`index`](Self::index), in the width in which it is kept.
    #[inline]
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}
