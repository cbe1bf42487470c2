//! Lifetimes that change with a read, where an [`Expiry`] wants that.

use std::hash::{BuildHasher, Hash};

use hashbrown::Equivalent;

use super::{Inner, same};
use crate::{
    Expiry,
    policy::Policy,
    stripe::{Condition, Stripe},
};

impl<K, V, P, S> Inner<K, V, P, S>
where
    K: Hash + Eq,
    P: Policy,
    S: BuildHasher,
{
    /// By what [`after_get`](Self::after_get) will know the value that is about to be read: its
    /// version, unless values tell by themselves. `None` where reads change no lifetime, too.
    #[inline]
    pub(super) fn before_get<Q>(&self, stripe: &Stripe<K, V, P>, hash: u64, key: &Q) -> Option<u64>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let expiry = self.context.rules.expiry.as_ref()?;
        if stripe.table.bare.has_bare_values() || !expiry.watches_reads() {
            return None;
        }
        // Only the first to ask needs the stripe's lock.
        stripe.version_at_hand(hash, same::<K, V, Q>(key)).or_else(|| self.version(hash, key))
    }

    /// Asks how long what was read lives on, if that is wanted.
    #[inline]
    pub(super) fn after_get<Q>(
        &self,
        (hash, key): (u64, &Q),
        value: Option<&V>,
        version: Option<u64>,
    ) where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(expiry) = &self.context.rules.expiry
            && let Some(value) = value
            && expiry.watches_reads()
        {
            self.after_read((hash, key), value, version, expiry.as_ref());
        }
    }

    /// Gives an entry that was read the lifetime that it is to have from then on, if it still has the
    /// value that was read, and that the lifetime that the rule was told of.
    #[cold]
    fn after_read<Q>(
        &self,
        (hash, key): (u64, &Q),
        value: &V,
        version: Option<u64>,
        expiry: &dyn Expiry<K, V>,
    ) where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (stripe, now) = self.approach(hash);
        let equals = same::<K, V, Q>(key);
        let Some(before) = stripe.life(&self.context, hash, equals, now) else { return };
        let remaining = self.context.rules.remaining(before, now);
        let renewed = expiry.after_read(value, remaining);
        if renewed == remaining {
            return;
        }
        let life = self.context.rules.lifetime_read(now, before, renewed);
        let is_same = |now: Option<(&V, u64)>| now.is_some_and(|(_, now)| Some(now) == version);
        let condition = if stripe.table.bare.has_bare_values() {
            Condition::Still(value)
        } else {
            // Without a version it came in while it was read: its lifetime has just begun.
            Condition::Present(&is_same, &|| ())
        };
        let lives = (now, before, life);
        stripe.renew_read(&self.context, hash, equals, lives, condition);
    }
}
