//! Removing many at once.

use super::{Overtaken, Run, has_tag};
use crate::{
    bytes::Bytes,
    fuse::{Site, pass},
    kinds::Kind,
};

impl<T: Kind> Run<T> {
    pub(super) fn clear(&mut self) {
        self.model.doing.all_removed = true;
        self.cache.clear();
        self.overtake_all(Overtaken::Yes);
        self.settle();
        assert_eq!((self.cache.len(), self.cache.weight()), (0, 0));
        for number in 0..self.settings.keys {
            self.model.lose(number, self.settings.is_heard);
        }
        if !self.settings.is_heard {
            self.model.items.retain(|serial, _| self.model.doing.fresh.contains(serial));
        }
    }

    pub(super) fn retain(&mut self, bytes: &mut Bytes<'_>) {
        let (modulus, rest) = (u32::from(bytes.byte() % 5 + 1), u32::from(bytes.byte() % 5));
        let goes = |serial: u32| (serial >> 8) % modulus == rest;
        self.model.doing.all_removed = true;
        let (model, now) = (&self.model, self.now());
        self.cache.retain(|key, value| {
            pass(Site::Closure);
            let (key, serial) = (T::number(key), T::serial(value));
            assert!(model.expect(key, now).allows(Some(serial)), "key {key} with {serial}");
            !goes(serial)
        });
        for computing in &mut self.computing {
            // An entry's value may have been kept.
            let overtaken = if computing.has_value { Overtaken::Perhaps } else { Overtaken::Yes };
            computing.overtaken = overtaken.max(computing.overtaken);
        }
        self.settle();
        for number in 0..self.settings.keys {
            if self.model.current.get(&number).is_some_and(|&serial| goes(serial)) {
                self.model.lose(number, self.settings.is_heard);
            }
        }
    }

    pub(super) fn remove_tag(&mut self, bytes: &mut Bytes<'_>) {
        let tag = bytes.pick(&[0, 1, 2, 3, 4, 100, 101, 102, 103]);
        let is_known = self.cache.remove_tag(&tag);
        if !self.settings.has_tags {
            assert!(!is_known);
            return;
        }
        // What is being computed is looked at when it is there.
        self.overtake_all(Overtaken::Perhaps);
        let keys: Vec<u16> = self.model.current.keys().copied().collect();
        for key in keys {
            let serial = self.model.current[&key];
            if has_tag(key, serial, tag) {
                assert!(is_known || !self.expect(key).is_sure(), "a tag of key {key}");
                let item = self.model.items.get_mut(&serial).expect("it is there");
                item.has_dead_tag = true;
                self.model.changed.insert(key);
            }
        }
    }
}
