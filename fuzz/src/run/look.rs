//! Looking up.

use std::time::Duration;

use super::Run;
use crate::{
    bytes::Bytes,
    fuse::{Site, pass},
    kinds::Kind,
    model::Span,
    settings::ruled_at_read,
};

impl<T: Kind> Run<T> {
    pub(super) fn get(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        let key = T::key(number);
        ruled_at_read();
        if bytes.byte().is_multiple_of(4) {
            let got = self.cache.read(&key, |value| {
                pass(Site::Closure);
                T::serial(value)
            });
            self.check_use(number, got, false);
        } else {
            let got = self.cache.get(&key).as_ref().map(T::serial);
            self.check_use(number, got, true);
        }
    }

    pub(super) fn peek(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        let key = T::key(number);
        let got = self.cache.peek(&key).as_ref().map(T::serial);
        self.check_look(number, got);
        let is_there = self.cache.contains_key(&key);
        assert!(self.expect(number).allows(self.expect(number).serial().filter(|_| is_there)));
    }

    pub(super) fn touch(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        let is_there = self.cache.touch(&T::key(number));
        let got = self.expect(number).serial().filter(|_| is_there);
        assert!(got.is_some() || !is_there, "key {number} was not there");
        self.check_look(number, got);
        if is_there {
            ruled_at_read();
            self.used(number, false);
        }
    }

    pub(super) fn expires_in(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        let time = self.cache.expires_in(&T::key(number));
        let got = self.expect(number).serial().filter(|_| time.is_some());
        assert!(got.is_some() || time.is_none(), "key {number} was not there");
        self.check_look(number, got);
        if let (Some(serial), Some(time)) = (got, time) {
            let Span { from, to } = self.model.items[&serial].deadline;
            let now = self.now();
            if time == Duration::MAX {
                assert_eq!(to, u64::MAX, "key {number} lives for ever");
            } else if !self.model.has_gone_back {
                let at = now + time.as_nanos() as u64;
                assert!(from <= at && at <= to, "key {number} lives until {at}, not {from}..{to}");
            }
        }
    }

    pub(super) fn get_many(&mut self, bytes: &mut Bytes<'_>) {
        let numbers: Vec<u16> = (0..bytes.below(5)).map(|_| self.key(bytes)).collect();
        let keys: Vec<T::K> = numbers.iter().map(|&number| T::key(number)).collect();
        ruled_at_read();
        let got = self.cache.get_many(keys.iter());
        let is_once = (1..numbers.len()).all(|i| !numbers[..i].contains(&numbers[i]));
        for (&number, value) in numbers.iter().zip(&got) {
            let got = value.as_ref().map(T::serial);
            if is_once && self.settings.expiry.is_none() {
                self.check_use(number, got, true);
                continue;
            }
            // What the expiry answered to each is not known.
            self.looks = match got {
                Some(_) => (self.looks.0 + 1, self.looks.1),
                None => (self.looks.0, self.looks.1 + 1),
            };
            let serial = self.model.current.get(&number);
            if let Some(item) = serial.and_then(|serial| self.model.items.get_mut(serial)) {
                (item.deadline, item.limit) = (Span::UNKNOWN, Span::UNKNOWN);
            }
            assert!(self.expect(number).allows(got) || got.is_none());
        }
    }

    pub(super) fn look_around(&mut self) {
        T::advise(&self.cache);
        assert!(!format!("{:?}", self.cache).is_empty());
        assert_ne!(self.cache.is_empty(), !self.cache.is_empty());
        assert_eq!(self.cache.stripes(), self.settings.stripes);
    }
}
