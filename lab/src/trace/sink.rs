//! Where the readers of all formats put what they find.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use ahash::AHashMap;

use super::{Access, Key, Trace};

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(u64),
    /// A record of a binary format, from 1.
    Record(u64),
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Record(number) => write!(f, "record {number}"),
        }
    }
}

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What stands there is no access.
    #[error("{file}, {place}: {why}")]
    Bad {
        /// The file.
        file: String,
        /// Where in it.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// The file could not be opened, read or decompressed.
    #[error("{file}: cannot be read")]
    Unreadable {
        /// The file.
        file: String,
        /// What happened.
        source: io::Error,
    },
    /// No access was found.
    #[error("{file}: no accesses in it")]
    Empty {
        /// The file.
        file: String,
    },
    /// There are more accesses than the lab can number.
    #[error("{file}: more than {} accesses", Trace::NEVER)]
    TooLong {
        /// The file.
        file: String,
    },
}

/// Collects accesses into a [`Trace`].
#[derive(Debug)]
pub struct Sink {
    file: String,
    is_lenient: bool,
    trace: Trace,
    numbers: AHashMap<u64, u32>,
    texts: AHashMap<Box<[u8]>, u32>,
    now: Duration,
    /// The sum of the sizes.
    bytes: u64,
}

/// The most that all sizes may add up to, so that no sum over them needs to be watched: no storage has
/// as much, and a size of another order is none, but says that something is never to be kept.
const MOST_BYTES: u64 = 1 << 60;

impl Sink {
    /// An empty one for what is read from `file`. A lenient one counts what is bad and goes on.
    #[must_use]
    pub fn new(file: &str, is_lenient: bool) -> Self {
        Self {
            file: file.to_owned(),
            is_lenient,
            trace: Trace::default(),
            numbers: AHashMap::new(),
            texts: AHashMap::new(),
            now: Duration::ZERO,
            bytes: 0,
        }
    }

    /// What follows is a sample of one key in so many.
    pub fn sampled(&mut self, one_in: u64) {
        self.trace.one_in = one_in;
    }

    /// Takes an access, or says what is wrong with it.
    ///
    /// # Errors
    /// If it has a size or a time and those before have none, or the other way round; or if its size
    /// is too much for a sum, or its time for 64 bits.
    pub fn accept(&mut self, access: Access<'_>) -> Result<(), String> {
        if self.trace.keys.is_empty() {
            self.trace.sizes = access.size.map(|_| Vec::new());
            self.trace.times = access.time.map(|_| Vec::new());
        }
        let differs = |what: &str, is_there: bool| {
            let (here, before) = if is_there { ("a", "none") } else { ("no", "one") };
            Err(format!("{here} {what}, and the accesses before have {before}"))
        };
        if self.trace.sizes.is_some() != access.size.is_some() {
            return differs("size", access.size.is_some());
        }
        if self.trace.times.is_some() != access.time.is_some() {
            return differs("time", access.time.is_some());
        }
        let now = access.time.map_or(self.now, |time| self.now.max(time));
        let nanos = u64::try_from(now.as_nanos()).map_err(|_| {
            format!("a time of {} s, which is centuries: is it in another unit?", now.as_secs())
        })?;
        if let (Some(sizes), Some(size)) = (&mut self.trace.sizes, access.size) {
            let bytes = self.bytes.saturating_add(size.max(1));
            if bytes > MOST_BYTES {
                return Err(format!("with a size of {size} all are more than {MOST_BYTES}"));
            }
            self.bytes = bytes;
            sizes.push(size.max(1));
        }
        self.trace.late += u64::from(access.time.is_some_and(|time| time < now));
        self.now = now;
        self.trace.times.iter_mut().for_each(|times| times.push(nanos));
        let number = self.number(access.key);
        self.trace.keys.push(number);
        Ok(())
    }

    /// The number of a key.
    fn number(&mut self, key: Key<'_>) -> u32 {
        let next = self.trace.distinct as u32;
        let number = match key {
            Key::Number(number) => *self.numbers.entry(number).or_insert(next),
            Key::Text(text) => match self.texts.get(text) {
                Some(&number) => number,
                None => *self.texts.entry(text.into()).or_insert(next),
            },
        };
        self.trace.distinct += usize::from(number == next);
        number
    }

    /// Goes on after what stands at `place` was read, unless it was bad and that matters.
    ///
    /// # Errors
    /// If it was bad, and the sink is not lenient; or if no more can be taken.
    pub fn judge(&mut self, place: Place, outcome: Result<(), String>) -> Result<(), Error> {
        match outcome {
            Ok(()) if self.trace.keys.len() < Trace::NEVER as usize => Ok(()),
            Ok(()) => Err(Error::TooLong { file: self.file.clone() }),
            Err(_) if self.is_lenient => {
                self.trace.skipped += 1;
                Ok(())
            }
            Err(why) => Err(self.bad(place, why)),
        }
    }

    /// The error of what is bad at `place`, for `why`.
    #[must_use]
    pub fn bad(&self, place: Place, why: String) -> Error {
        Error::Bad { file: self.file.clone(), place, why }
    }

    /// The error of a stream that cannot be read on.
    #[must_use]
    pub fn unreadable(&self, source: io::Error) -> Error {
        Error::Unreadable { file: self.file.clone(), source }
    }

    /// The trace.
    #[must_use]
    pub fn finish(mut self) -> Trace {
        self.trace.name = Trace::name_of(self.file.as_ref());
        self.trace
    }
}
