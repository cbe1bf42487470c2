//! Inserting, replacing, removing.

use super::{Own, Run};
use crate::{
    bytes::Bytes,
    fuse::{Site, pass},
    kinds::Kind,
    model::Expected,
};

impl<T: Kind> Run<T> {
    pub(super) fn insert(&mut self, bytes: &mut Bytes<'_>, is_timed: bool) {
        let (number, serial) = (self.key(bytes), self.fresh(bytes));
        let before = self.expect(number);
        let own = if is_timed { Own::Ttl(bytes.duration()) } else { Own::Rules };
        self.offer(number, serial);
        let (key, value) = (T::key(number), T::value(serial));
        let old = match own {
            Own::Rules => self.cache.insert(key, value),
            Own::Ttl(time) => {
                self.note_time(time);
                self.cache.insert_with_ttl(key, value, time)
            }
        };
        let old = old.as_ref().map(T::serial);
        assert!(before.allows(old), "key {number} replaced {old:?}, and not {before:?}");
        self.overtake(number);
        self.wrote(number, serial, own, before);
    }

    pub(super) fn insert_if_absent(&mut self, bytes: &mut Bytes<'_>) {
        let (number, serial) = (self.key(bytes), self.fresh(bytes));
        let before = self.expect(number);
        self.offer(number, serial);
        match self.cache.insert_if_absent(T::key(number), T::value(serial)) {
            Ok(()) => {
                assert!(!before.is_sure(), "key {number} was there");
                self.overtake(number);
                self.wrote(number, serial, Own::Rules, Expected::Nothing);
            }
            Err((key, value)) => {
                assert_eq!((T::number(&key), T::serial(&value)), (number, serial));
                assert_ne!(before, Expected::Nothing, "key {number} was not there");
                self.model.items.remove(&serial);
            }
        }
    }

    pub(super) fn replace(&mut self, bytes: &mut Bytes<'_>) {
        let (number, serial) = (self.key(bytes), self.fresh(bytes));
        let before = self.expect(number);
        let how = bytes.byte();
        let noted = self.noted.get(usize::from(how / 4) % self.noted.len().max(1)).copied();
        self.offer(number, serial);
        let (key, value) = (T::key(number), T::value(serial));
        let (number, is_wanted, replaced) = match (how % 4, noted) {
            (0, Some((noted, version, of))) => {
                // The key is that of the version, which never comes back.
                self.model.items.remove(&serial);
                let before = self.expect(noted);
                self.offer(noted, serial);
                let key = T::key(noted);
                let replaced = self.cache.replace_if_version(key, value, version);
                (noted, before.serial() == Some(of), replaced)
            }
            _ => {
                let is_wanted = !how.is_multiple_of(3);
                let replaced = self.cache.replace_if(key, value, |_| {
                    pass(Site::Closure);
                    is_wanted
                });
                (number, is_wanted && before != Expected::Nothing, replaced)
            }
        };
        let before = self.expect(number);
        match replaced {
            Ok(old) => {
                assert!(is_wanted, "key {number} was replaced");
                assert!(before.allows(Some(T::serial(&old))));
                self.overtake(number);
                self.wrote(number, serial, Own::Rules, before);
            }
            Err(value) => {
                assert_eq!(T::serial(&value), serial);
                assert!(!is_wanted || !before.is_sure(), "key {number} was not replaced");
                self.model.items.remove(&serial);
            }
        }
    }

    pub(super) fn note_version(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        let version = self.cache.version(&T::key(number));
        let expected = self.expect(number);
        match version {
            Some(version) => {
                let of = expected.serial().expect("a version of nothing");
                for &(key, noted, serial) in &self.noted {
                    if key == number {
                        assert_eq!(noted == version, serial == of, "versions of key {number}");
                        assert!(noted <= version, "version {version} after {noted}");
                    }
                }
                self.noted.push((number, version, of));
            }
            None => {
                assert!(!expected.is_sure(), "no version of key {number}");
            }
        }
    }

    pub(super) fn remove(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        let key = T::key(number);
        let (expected, how) = (self.expect(number), bytes.byte());
        self.model.doing.removed.insert(number);
        let (removed, is_wanted) = if how % 2 == 0 {
            let removed = self.cache.remove(&key);
            self.overtake(number);
            (removed, true)
        } else {
            let is_wanted = how % 3 > 0;
            let removed = self.cache.remove_if(&key, |_| {
                pass(Site::Closure);
                is_wanted
            });
            if removed.is_some() {
                self.overtake(number);
            }
            (removed, is_wanted)
        };
        let removed = removed.as_ref().map(T::serial);
        if is_wanted {
            assert!(expected.allows(removed), "{removed:?} was removed, and not {expected:?}");
            self.settle();
            self.model.lose(number, self.settings.is_heard);
        } else {
            assert_eq!(removed, None);
        }
    }

    pub(super) fn set_ttl(&mut self, bytes: &mut Bytes<'_>) {
        let (number, time) = (self.key(bytes), bytes.duration());
        self.note_time(time);
        let is_there = self.cache.set_ttl(&T::key(number), time);
        let got = self.expect(number).serial().filter(|_| is_there);
        assert!(got.is_some() || !is_there, "key {number} was not there");
        self.check_look(number, got);
        let (limit, idle) = (self.after(Some(time)), self.idle());
        if let Some(serial) = got {
            let item = self.model.items.get_mut(&serial).expect("it is there");
            (item.limit, item.deadline) = (limit, limit.min(idle));
        }
    }

    pub(super) fn fill(&mut self, bytes: &mut Bytes<'_>) {
        let (first, count) = (self.key(bytes), bytes.byte() % 64);
        for number in (first..).take(count.into()) {
            let mut rest = Bytes::new(&[]);
            let number = number % self.settings.keys;
            let (before, serial) = (self.expect(number), self.fresh(&mut rest) | 1);
            self.offer(number, serial);
            let old = self.cache.insert(T::key(number), T::value(serial));
            assert!(before.allows(old.as_ref().map(T::serial)));
            self.overtake(number);
            self.wrote(number, serial, Own::Rules, before);
        }
    }
}
