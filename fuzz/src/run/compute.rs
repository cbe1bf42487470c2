//! Computing values: entries and read-through.

use std::time::Duration;

use larder::{Compute, LoadError};

use super::{Computing, Overtaken, Own, Run, at_once};
use crate::{
    bytes::Bytes,
    fuse::{Site, pass},
    kinds::Kind,
    model::Expected,
    settings::ruled_at_read,
};

/// An error of a load.
#[derive(Debug)]
struct Refused;

impl<T: Kind> Run<T> {
    /// What happens while a value is computed.
    fn meanwhile(&mut self, bytes: &mut Bytes<'_>) {
        pass(Site::Closure);
        if self.computing.len() > 2 {
            return;
        }
        let op = bytes.below(100);
        match op {
            // Those that wait for others' computations.
            16..22 => self.ask_within(bytes),
            42.. => {}
            _ => self.step_as(op, bytes),
        }
    }

    /// Asks for what is being computed, or something else, from within.
    fn ask_within(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        let is_computed = self.computing.iter().any(|computing| computing.key == number);
        if !self.settings.hashing.is_good() {
            return;
        }
        if !is_computed {
            return if bytes.flag() {
                self.compute_of(number, bytes)
            } else {
                self.load_of(number, bytes)
            };
        }
        let before = self.expect(number);
        ruled_at_read();
        let got =
            self.cache.try_get_or_insert_with(&T::key(number), || Err::<T::V, Refused>(Refused));
        match got {
            Ok(value) => self.check_use(number, Some(T::serial(&value)), true),
            Err(error) => {
                assert!(matches!(error, LoadError::Reentrant), "{error:?}");
                assert!(!before.is_sure(), "key {number} is there");
                self.looks.1 += 1;
            }
        }
    }

    /// What was computed for a key was, or was not, stored.
    fn computed(&mut self, key: u16, serial: u32, before: Expected, overtaken: Overtaken) {
        let is_stored = match overtaken {
            Overtaken::No => true,
            Overtaken::Yes => false,
            Overtaken::Perhaps => {
                let now = self.cache.peek(&T::key(key)).as_ref().map(T::serial);
                self.model.is_lenient = true;
                now == Some(serial)
            }
        };
        if is_stored {
            return self.wrote(key, serial, Own::Rules, before);
        }
        self.settle();
        if overtaken == Overtaken::Yes {
            assert!(self.model.items.contains_key(&serial), "{serial} was told of, and not stored");
        } else if self.settings.is_counted {
            // Whether it came in, and left at once.
            self.has_panicked = true;
        }
        self.model.items.remove(&serial);
        if overtaken == Overtaken::Perhaps {
            // Whatever it was.
            let now = self.cache.peek(&T::key(key)).as_ref().map(T::serial);
            if now.is_none() {
                self.model.lose(key, self.settings.is_heard);
            }
        }
    }

    pub(super) fn compute(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        self.compute_of(number, bytes);
    }

    fn compute_of(&mut self, number: u16, bytes: &mut Bytes<'_>) {
        let cache = self.cache.clone();
        ruled_at_read();
        let mut entry = if bytes.flag() {
            cache.entry(T::key(number))
        } else {
            at_once(cache.entry_async(T::key(number)))
        };
        assert_eq!(T::number(entry.key()), number);
        let got = entry.get().map(T::serial);
        self.settle();
        self.check_use(number, got, true);
        let before = self.expect(number);
        let (overtaken, has_value) = (Overtaken::No, got.is_some());
        self.computing.push(Computing { key: number, overtaken, has_value });
        let how = bytes.byte();
        let mut modified = None;
        if how & 8 != 0 {
            entry = entry.and_modify(|value| {
                self.meanwhile(bytes);
                let serial = self.fresh(bytes);
                self.offer(number, serial);
                *value = T::value(serial);
                modified = Some(serial);
            });
        }
        let overtaken = self.computing.last().expect("this").overtaken;
        let seen = modified.or(got);
        assert_eq!(entry.get().map(T::serial), seen);
        match how % 8 {
            0..4 => self.compute_more(number, entry, (modified, overtaken), before, bytes),
            _ => {
                let mut made = None;
                let outcome = {
                    let mut load = || {
                        self.meanwhile(bytes);
                        let serial = self.fresh(bytes);
                        if how & 16 != 0 {
                            return Err(Refused);
                        }
                        self.offer(number, serial);
                        made = Some(serial);
                        Ok(T::value(serial))
                    };
                    if how & 32 != 0 {
                        at_once(entry.or_try_insert_async(async move { load() }))
                    } else {
                        entry.or_try_insert_with(load)
                    }
                };
                self.loads += u64::from(seen.is_none());
                let overtaken = self.computing.pop().expect("this").overtaken;
                match outcome {
                    Ok(value) => assert_eq!(Some(T::serial(&value)), seen.or(made)),
                    Err(Refused) => assert!(seen.is_none() && made.is_none()),
                }
                if let Some(serial) = made.or(modified) {
                    self.computed(number, serial, before, overtaken);
                }
            }
        }
    }

    fn compute_more(
        &mut self,
        number: u16,
        entry: larder::Entry<'_, T::K, T::V, T::P, crate::kinds::Hashing>,
        (modified, overtaken): (Option<u32>, Overtaken),
        before: Expected,
        bytes: &mut Bytes<'_>,
    ) {
        let seen = entry.get().map(T::serial);
        let (mut put, mut removes) = (None, false);
        let result = entry.compute(|value| {
            assert_eq!(value.as_ref().map(T::serial), seen);
            drop(value);
            if modified.is_none() {
                self.meanwhile(bytes);
            }
            match bytes.below(4) {
                0 => Compute::Keep,
                1 => {
                    removes = true;
                    self.model.doing.removed.insert(number);
                    Compute::Remove
                }
                _ => {
                    let serial = self.fresh(bytes);
                    self.offer(number, serial);
                    put = Some(serial);
                    Compute::Put(T::value(serial))
                }
            }
        });
        let overtaken = overtaken.max(self.computing.pop().expect("this").overtaken);
        let result = result.as_ref().map(T::serial);
        let expected = if removes { None } else { put.or(seen) };
        assert_eq!(result, expected);
        if let Some(serial) = put {
            self.computed(number, serial, before, overtaken);
            if let Some(serial) = modified {
                self.settle();
                self.model.items.remove(&serial);
            }
            return;
        }
        if let Some(serial) = modified {
            if removes {
                self.settle();
                self.model.items.remove(&serial);
            } else {
                return self.computed(number, serial, before, overtaken);
            }
        }
        self.settle();
        if removes {
            match overtaken {
                Overtaken::No => self.model.lose(number, self.settings.is_heard),
                Overtaken::Yes => {}
                Overtaken::Perhaps => {
                    if self.cache.peek(&T::key(number)).is_none() {
                        self.model.lose(number, self.settings.is_heard);
                    }
                }
            }
        }
    }

    pub(super) fn load(&mut self, bytes: &mut Bytes<'_>) {
        let number = self.key(bytes);
        self.load_of(number, bytes);
    }

    /// With a future that others may drive.
    fn load_shared(&mut self, number: u16, before: Expected, fails: bool, bytes: &mut Bytes<'_>) {
        let serial = self.fresh(bytes);
        self.offer(number, serial);
        let (key, value) = (T::key(number), T::value(serial));
        let load = async move { if fails { Err(Refused) } else { Ok(value) } };
        let result = at_once(self.cache.try_get_or_insert_shared(&key, load));
        let got = result.as_ref().ok().map(T::serial);
        if got.is_some_and(|got| got != serial) {
            self.model.items.remove(&serial);
            return self.check_use(number, got, true);
        }
        assert!(!before.is_sure(), "key {number} was there");
        self.looks.1 += 1;
        self.loads += 1;
        match got {
            Some(serial) => self.computed(number, serial, Expected::Nothing, Overtaken::No),
            None => {
                assert!(fails);
                self.model.items.remove(&serial);
            }
        }
    }

    fn load_of(&mut self, number: u16, bytes: &mut Bytes<'_>) {
        let (cache, key) = (self.cache.clone(), T::key(number));
        let before = self.expect(number);
        let how = bytes.byte();
        let fails = how & 8 != 0;
        ruled_at_read();
        if how % 8 == 6 {
            return self.load_shared(number, before, fails, bytes);
        }
        let (mut made, mut has_run) = (None, false);
        let overtaken = Overtaken::No;
        self.computing.push(Computing { key: number, overtaken, has_value: false });
        let result = {
            let mut load = || {
                has_run = true;
                self.settle();
                self.meanwhile(bytes);
                let serial = self.fresh(bytes);
                if fails {
                    return Err(Refused);
                }
                self.offer(number, serial);
                made = Some(serial);
                Ok(T::value(serial))
            };
            match how % 8 {
                0..2 => cache.try_get_or_insert_with(&key, load),
                2 => cache.try_get_or_insert_within(&key, Duration::from_secs(1), load),
                3 | 4 => at_once(cache.try_get_or_insert_async(&key, async move { load() })),
                5 if !fails => {
                    let load = || load().unwrap_or_else(|Refused| unreachable!("it does not fail"));
                    Ok(cache.get_or_insert_with(&key, load))
                }
                _ => cache.try_get_or_insert_with(&key, load),
            }
        };
        let overtaken = self.computing.pop().expect("this").overtaken;
        let got = result.as_ref().ok().map(T::serial);
        if !has_run {
            return self.check_use(number, got, true);
        }
        assert!(!before.is_sure(), "key {number} was there");
        self.looks.1 += 1;
        self.loads += 1;
        match made {
            Some(serial) => {
                assert_eq!(got, Some(serial));
                self.computed(number, serial, Expected::Nothing, overtaken);
            }
            None => assert!(matches!(result, Err(LoadError::Failed(_))), "{:?}", result.err()),
        }
    }
}
