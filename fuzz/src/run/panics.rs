//! After a panic of the user's code.

use super::Run;
use crate::{kinds::Kind, model::Span};

impl<T: Kind> Run<T> {
    /// Finds out what came of the operation that panicked: of what it did anything may have happened,
    /// but of all else nothing.
    pub(super) fn recover(&mut self) {
        self.has_panicked = true;
        self.computing.clear();
        self.model.is_lenient = true;
        self.settle();
        self.cache.validate();
        assert!(self.cache.weight() <= self.cache.capacity());
        assert_eq!(self.cache.flights(), 0, "a flight was left behind");
        self.cache.run_maintenance();
        self.settle();
        for number in 0..self.settings.keys {
            let got = self.cache.peek(&T::key(number)).as_ref().map(T::serial);
            let Some(serial) = got else {
                self.model.current.remove(&number);
                continue;
            };
            let item = self.model.items.get_mut(&serial);
            let item = item.unwrap_or_else(|| panic!("{serial} had left"));
            assert_eq!(item.key, number);
            if !item.is_stored || self.settings.expiry.is_some() || item.deadline != Span::NEVER {
                (item.deadline, item.limit) = (Span::UNKNOWN, Span::UNKNOWN);
            }
            item.is_stored = true;
            self.model.current.insert(number, serial);
        }
        self.settle();
        let (model, is_heard) = (&mut self.model, self.settings.is_heard);
        model.changed.extend(0..self.settings.keys);
        let current = &model.current;
        model.items.retain(|serial, item| {
            let stays = current.get(&item.key) == Some(serial);
            assert!(stays || !is_heard || !item.is_stored, "{serial} left in silence: {item:?}");
            stays
        });
        assert_eq!(self.cache.len(), self.model.items.len(), "{:?}", self.model);
        self.model.capacity = self.cache.capacity();
        self.model.is_lenient = false;
    }
}
