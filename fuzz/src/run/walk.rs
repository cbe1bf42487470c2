//! Going through the entries while they change.

use std::collections::BTreeSet;

use larder::Iter;

use super::Run;
use crate::{
    bytes::Bytes,
    kinds::{Hashing, Kind},
};

/// An iterator on its way.
pub(super) struct Walk<T: Kind> {
    iter: Iter<T::K, T::V, T::P, Hashing>,
    met: BTreeSet<u16>,
    /// What was there from the beginning.
    first: BTreeSet<u16>,
}

impl<T: Kind> Run<T> {
    pub(super) fn walk(&mut self, bytes: &mut Bytes<'_>) {
        let Some(mut walk) = self.walk.take() else {
            self.model.changed.clear();
            let keys = 0..self.settings.keys;
            let first = keys.filter(|&key| self.expect(key).is_sure()).collect();
            let (iter, met) = (self.cache.iter(), BTreeSet::new());
            self.walk = Some(Walk { iter, met, first });
            return;
        };
        for _ in 0..bytes.below(20) {
            let next = walk.iter.next().map(|(key, value)| (T::number(&key), T::serial(&value)));
            let Some((key, _)) = next else {
                for key in walk.first {
                    // What may have expired meanwhile is none of those that stay.
                    let stayed = !self.model.changed.contains(&key) && self.expect(key).is_sure();
                    assert!(!stayed || walk.met.contains(&key), "key {key} was passed over");
                }
                return;
            };
            let is_new = walk.met.insert(key) || self.model.changed.contains(&key);
            assert!(is_new, "key {key} was met twice");
        }
        self.walk = Some(walk);
    }

    pub(super) fn iterate(&mut self, bytes: &mut Bytes<'_>) {
        let all: Vec<(u16, u32)> = if bytes.flag() {
            (&self.cache)
                .into_iter()
                .map(|(key, value)| (T::number(&key), T::serial(&value)))
                .collect()
        } else {
            let keys = self.cache.keys().map(|key| T::number(&key));
            keys.map(|key| (key, self.expect(key).serial().unwrap_or(u32::MAX))).collect()
        };
        self.check_all(&all);
    }

    /// Whether these are all that are there.
    fn check_all(&mut self, all: &[(u16, u32)]) {
        let mut met = BTreeSet::new();
        for &(key, serial) in all {
            assert!(met.insert(key), "key {key} was met twice");
            assert!(self.expect(key).allows(Some(serial)), "key {key} with {serial}");
        }
        for key in 0..self.settings.keys {
            assert!(met.contains(&key) || !self.expect(key).is_sure(), "key {key} was not met");
        }
    }

    pub(super) fn rank(&mut self, bytes: &mut Bytes<'_>) {
        let (coldest, limit) = (bytes.flag(), usize::from(bytes.byte()));
        let ranked = if coldest { self.cache.coldest(limit) } else { self.cache.hottest(limit) };
        let ranked: Vec<(u16, u32)> =
            ranked.iter().map(|(key, value)| (T::number(key), T::serial(value))).collect();
        assert!(ranked.len() <= limit);
        if ranked.len() < limit {
            self.check_all(&ranked);
        }
        let mut met = BTreeSet::new();
        for &(key, serial) in &ranked {
            assert!(met.insert(key), "key {key} was met twice");
            assert!(self.expect(key).allows(Some(serial)), "key {key} with {serial}");
        }
        let weighs: Vec<bool> =
            ranked.iter().map(|&(_, serial)| self.settings.weights.of(serial) > 0).collect();
        let first = if coldest { !weighs.is_sorted() } else { weighs.is_sorted() };
        let is_uniform = weighs.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(is_uniform || first, "those that weigh nothing stay longest: {ranked:?}");
    }
}
