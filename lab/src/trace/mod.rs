//! Recorded accesses, and reading them from files.
//!
//! A format is a function that takes a stream of bytes and hands what it finds to a [`Sink`]: one
//! file each, and a line in [`Format`]. [`Source`] finds out the format and the compression.

mod arc;
mod csv;
mod lirs;
mod open;
mod oracle_general;
mod recording;
mod sink;
mod text;

use std::time::Duration;

pub use self::csv::{Column, Columns, TimeUnit};
pub use open::{Format, Options, Source};
pub use sink::{Error, Place, Sink};

/// The key of an access as a file has it.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// A number.
    Number(u64),
    /// Anything else.
    Text(&'a [u8]),
}

impl<'a> Key<'a> {
    /// The key that this text stands for: a number where it is the usual way to write one.
    #[must_use]
    pub fn of(text: &'a [u8]) -> Self {
        let is_usual =
            text.first().is_some_and(u8::is_ascii_digit) && (text[0] != b'0' || text.len() == 1);
        match parse::<u64>(text) {
            Some(number) if is_usual => Self::Number(number),
            _ => Self::Text(text),
        }
    }
}

/// The number that this text is.
fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// An access as a file has it.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// To what.
    pub key: Key<'a>,
    /// How large that is.
    pub size: Option<u64>,
    /// When, since some fixed moment.
    pub time: Option<Duration>,
}

/// Accesses in their order.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The name of its file, without the folder and the endings.
    pub name: String,
    /// The key of each access, numbered from 0 in the order of first use.
    pub keys: Vec<u32>,
    /// The size of what each access is to, if the file has sizes: at least 1, as an entry of no
    /// weight would never be evicted.
    pub sizes: Option<Vec<u64>>,
    /// The time of each access in nanoseconds, if the file has times. They never go back.
    pub times: Option<Vec<u64>>,
    /// How many keys there are.
    pub distinct: usize,
    /// How many accesses had an earlier time than one before, and got that one's.
    pub late: u64,
    /// How many bad lines were left out.
    pub skipped: u64,
    /// One key in so many is in it, of all that there were; 0 if that is not known to be a sample.
    pub one_in: u64,
}

impl Trace {
    /// The name of the trace in such a file.
    #[must_use]
    pub fn name_of(path: &std::path::Path) -> String {
        let mut name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for endings in [&[".gz", ".zst", ".xz"][..], &open::ENDINGS] {
            if let Some(short) = endings.iter().find_map(|ending| name.strip_suffix(ending)) {
                name = short.to_owned();
            }
        }
        name
    }

    /// A trace of these keys.
    pub fn of_keys(name: &str, keys: impl IntoIterator<Item = u64>) -> Self {
        let mut sink = Sink::new(name, false);
        for key in keys {
            let access = Access { key: Key::Number(key), size: None, time: None };
            sink.accept(access).expect("fewer than 2^32 accesses");
        }
        sink.finish()
    }

    /// The number of accesses.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no access.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The number of accesses that are not the first of their keys.
    #[must_use]
    pub fn reuses(&self) -> usize {
        self.keys.len() - self.distinct
    }

    /// So many accesses in percent of all.
    #[must_use]
    pub fn percent(&self, hits: f64) -> f64 {
        100.0 * hits / self.keys.len().max(1) as f64
    }

    /// The size of what access number `index` is to; 1 if the trace has no sizes.
    #[must_use]
    pub fn size(&self, index: usize) -> u64 {
        self.sizes.as_ref().map_or(1, |sizes| sizes[index])
    }

    /// The sum of the sizes of all accesses.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.sizes.as_ref().map(|sizes| sizes.iter().sum())
    }

    /// The size of each key, as of its first access.
    #[must_use]
    pub fn first_sizes(&self) -> Option<Vec<u64>> {
        let mut first_sizes = Vec::with_capacity(self.distinct);
        for (&key, &size) in self.keys.iter().zip(self.sizes.as_ref()?) {
            if key as usize == first_sizes.len() {
                first_sizes.push(size);
            }
        }
        Some(first_sizes)
    }

    /// The sum of the sizes of all keys, as of their first accesses.
    #[must_use]
    pub fn footprint(&self) -> Option<u64> {
        Some(self.first_sizes()?.iter().sum())
    }

    /// For each access, the index of the next one to the same key that could be a hit, or `NEVER`.
    /// With a time to live, those cannot that come as late as that after this one.
    #[must_use]
    pub fn next_uses(&self, time_to_live: Option<Duration>) -> Vec<u32> {
        let mut upcoming = vec![Self::NEVER; self.distinct];
        let mut next_uses = vec![Self::NEVER; self.keys.len()];
        let lifetime = time_to_live.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        for (index, &key) in self.keys.iter().enumerate().rev() {
            let next = std::mem::replace(&mut upcoming[key as usize], index as u32);
            let is_alive = match (lifetime, &self.times) {
                (Some(lifetime), Some(times)) if next != Self::NEVER => {
                    times[next as usize] - times[index] < lifetime
                }
                _ => true,
            };
            next_uses[index] = if is_alive { next } else { Self::NEVER };
        }
        next_uses
    }

    /// No access: stands for the next use of what is not used again.
    pub const NEVER: u32 = u32::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_written_differently_are_different() {
        for (text, is_number) in
            [("7", true), ("0", true), ("07", false), ("+7", false), ("", false)]
        {
            assert_eq!(matches!(Key::of(text.as_bytes()), Key::Number(_)), is_number, "{text}");
        }
        assert!(matches!(Key::of(b"18446744073709551616"), Key::Text(_)));
    }

    #[test]
    fn names_lose_their_endings() {
        for (path, name) in [("a/oltp.lis.gz", "oltp"), ("x.y.txt.zst", "x.y"), ("web", "web")] {
            assert_eq!(Trace::name_of(path.as_ref()), name);
        }
    }

    #[test]
    fn what_lives_too_shortly_is_not_used_again() {
        let mut trace = Trace::of_keys("", [5, 6, 5, 5]);
        trace.times = Some(vec![0, 1, 10, 19]);
        let never = Trace::NEVER;
        assert_eq!(trace.next_uses(None), [2, never, 3, never]);
        assert_eq!(trace.next_uses(Some(Duration::from_nanos(10))), [never, never, 3, never]);
    }
}
