//! What a cache with a loader may remember of its keys, and until when. Where chance has a part in
//! it, as in the jitter of delays, the model knows the earliest and the latest.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::HashMap;

use super::{
    TTL,
    book::{Value, Why},
};

/// What the cache is told to keep; all times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// How long it is remembered that nothing was found.
    pub negative: Option<u64>,
    /// The first and the longest delay after an error.
    pub backoff: Option<(u64, u64)>,
    /// The age from which values are loaded anew.
    pub refresh: Option<u64>,
    /// How long values are served past their time to live while they are loaded anew.
    pub stale: u64,
    /// How long they are served past it if loading them anew fails.
    pub error: u64,
}

/// Nothing but values, for their time.
pub const PLAIN: Keeping =
    Keeping { negative: None, backoff: None, refresh: None, stale: 0, error: 0 };

/// Some that matter. The first remembers longer than values live.
pub const KEEPINGS: [Keeping; 4] = [
    Keeping { negative: Some(1500), backoff: Some((100, 1600)), ..PLAIN },
    Keeping { negative: Some(300), refresh: Some(200), stale: 500, ..PLAIN },
    Keeping { backoff: Some((40, 160)), refresh: Some(100), stale: 300, ..PLAIN },
    Keeping { backoff: Some((50, 400)), stale: 100, error: 700, ..PLAIN },
];

/// The delay between two attempts where there is no back-off.
const RETRY: (u64, u64) = (1000, 1000);

/// At least and at most.
type Span = (u64, u64);

/// A value.
#[derive(Clone, Debug)]
pub struct Kept {
    pub value: Value,
    /// Until when it is served while it is loaded anew.
    pub stale_until: u64,
    /// When it is no longer served.
    pub ends: u64,
    /// From when it is to be loaded anew.
    pub due: Span,
    /// How many reloads failed in a row.
    failures: Span,
}

/// What is known instead of a value.
#[derive(Clone, Debug)]
pub struct Known {
    pub why: Why,
    pub until: Span,
    /// Until when it is known how often loading failed.
    ends: Span,
    failures: Span,
    /// Whether it is certainly remembered.
    pub is_sure: bool,
}

impl Keeping {
    /// A value stored at that time.
    pub fn value(self, value: Value, now: u64) -> Kept {
        let fresh_until = now + TTL;
        let due = self.refresh.map_or(fresh_until, |after| fresh_until.min(now + after));
        let stale_until = fresh_until + self.stale;
        let ends = stale_until.max(fresh_until + self.error);
        Kept { value, stale_until, ends, due: (due, due), failures: (0, 0) }
    }

    /// A reload of a value failed; if that `is_unsure`, perhaps not.
    pub fn fail_again(self, kept: &mut Kept, now: u64, is_unsure: bool) {
        let before = kept.clone();
        kept.failures = (before.failures.0 + 1, before.failures.1 + 1);
        kept.due = self.delayed(now, kept.failures);
        if is_unsure {
            kept.failures.0 = before.failures.0;
            kept.due = (before.due.0.min(kept.due.0), before.due.1.max(kept.due.1));
        }
    }

    /// Nothing was found.
    pub fn nothing(self, now: u64) -> Option<Known> {
        let until = now + self.negative?;
        let span = (until, until);
        let failures = (0, 0);
        Some(Known { why: Why::NotFound, until: span, ends: span, failures, is_sure: true })
    }

    /// Loading failed for that reason, after so many failures in a row.
    pub fn failed(self, why: Why, before: Span, now: u64) -> Option<Known> {
        let (_, most) = self.backoff?;
        let failures = (before.0 + 1, before.1 + 1);
        let until = self.delayed(now, failures);
        let ends = (until.0 + most, until.1 + most);
        Some(Known { why, until, ends, failures, is_sure: true })
    }

    /// When it is tried again.
    fn delayed(self, now: u64, failures: Span) -> Span {
        let (first, most) = self.backoff.unwrap_or(RETRY);
        let delay = |failures: u64| (first << (failures - 1).min(20)).min(most);
        (now + delay(failures.0) * 3 / 4, now + delay(failures.1))
    }
}

/// What is known of keys without a value.
#[derive(Default)]
pub struct Memory(HashMap<u16, Known>);

impl Memory {
    pub fn get(&self, key: u16) -> Option<&Known> {
        self.0.get(&key)
    }

    pub fn keep(&mut self, key: u16, known: Known) {
        self.0.insert(key, known);
    }

    pub fn forget(&mut self, is_forgotten: impl Fn(u16) -> bool) {
        self.0.retain(|&key, _| !is_forgotten(key));
    }

    /// It may have been forgotten.
    pub fn doubt(&mut self, key: u16) {
        self.0.entry(key).and_modify(|known| known.is_sure = false);
    }

    pub fn expire(&mut self, now: u64) {
        self.0.retain(|_, known| now < known.ends.1);
    }

    /// What may be answered of these keys without asking the loader.
    pub fn of(&self, keys: &[u16], now: u64) -> Vec<(u16, Why)> {
        let known = |&key: &u16| Some((key, self.get(key)?));
        let is_told = |(_, known): &(u16, &Known)| now < known.until.1;
        let known = keys.iter().filter_map(known).filter(is_told);
        known.map(|(key, known)| (key, known.why.clone())).collect()
    }

    /// How often loading a key has failed in a row.
    pub fn failures(&self, key: u16, value: Option<&Kept>, now: u64) -> Span {
        let Some(known) = self.get(key) else { return value.map_or((0, 0), |kept| kept.failures) };
        let is_known = known.is_sure && now < known.ends.0;
        (if is_known { known.failures.0 } else { 0 }, known.failures.1)
    }
}

/// What must come of asking for a key.
#[derive(Debug)]
pub enum Must {
    /// This is the answer, and no load begins.
    Serve(Result<Value, Why>),
    /// This is the answer; exactly one load begins, in the background.
    ServeAndSpawn(Value),
    /// Exactly one load begins, and is waited for.
    Load,
    /// The model does not know; the answer is checked like that of one who waited.
    May,
}
