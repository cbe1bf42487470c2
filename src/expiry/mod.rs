//! Who expires when.
//!
//! A rule gives an entry a deadline; [`hint`] lets most hits see that it lies ahead without
//! looking it up; the timer [`wheel`] finds those that have passed.

pub(crate) mod deadlines;
pub(crate) mod hint;
pub(crate) mod wheel;

use std::time::Duration;

use crate::time::{Tick, nanos};

/// A time to live for each entry on its own, given to [`Builder::expiry`](crate::Builder::expiry).
///
/// Where several rules apply (this one, `time_to_live`, `time_to_idle`), the nearest deadline
/// wins. `None` and [`Duration::MAX`] mean never, [`Duration::ZERO`] at once. All methods run
/// before or after the cache's locks, never under one; they may call the cache. How
/// long a value will live is asked before it is written, even if a condition then keeps it out.
///
/// ```
/// use larder::{Cache, Expiry};
/// use std::time::Duration;
///
/// #[derive(Clone)]
/// struct Session { admin: bool }
/// #[derive(Debug)]
/// struct ByRole;
/// impl Expiry<String, Session> for ByRole {
///     fn after_create(&self, _: &String, session: &Session) -> Option<Duration> {
///         Some(Duration::from_secs(if session.admin { 60 } else { 3600 }))
///     }
/// }
/// let sessions = Cache::<String, Session>::builder().capacity(1000).expiry(ByRole).build();
/// # sessions.insert("ada".into(), Session { admin: true });
/// assert!(sessions.expires_in("ada").unwrap() <= Duration::from_secs(60));
/// ```
///
/// Where only the value counts a closure will do. It is asked for every value that is written, and reads
/// change nothing:
///
/// ```
/// use larder::Cache;
/// use std::time::Duration;
///
/// #[derive(Clone)]
/// struct Token { lives: Option<Duration> }
/// let tokens = Cache::<u64, Token>::builder()
///     .capacity(1000)
///     .expiry(|_: &u64, token: &Token| token.lives)
///     .build();
/// # let fetch = || Token { lives: Some(Duration::from_secs(300)) };
/// tokens.get_or_insert_with(&7, fetch);
/// assert!(tokens.expires_in(&7).unwrap() <= Duration::from_secs(300));
/// ```
pub trait Expiry<K, V>: Send + Sync {
    /// How long a new entry lives.
    fn after_create(&self, key: &K, value: &V) -> Option<Duration>;

    /// How long an entry lives after its value was replaced by `value`, when it had `remaining` to
    /// live (`None`: for ever), a time to idle not counted. By default the same as a new entry.
    ///
    /// Who answers with `remaining` keeps the deadline there was: that of a window to count in, or of a
    /// session that ends some hours after its beginning, and sooner if it is idle, however often it is
    /// written.
    ///
    /// ```
    /// use larder::{Cache, Expiry};
    /// use std::time::Duration;
    ///
    /// struct HalfADay;
    /// impl Expiry<u64, String> for HalfADay {
    ///     fn after_create(&self, _: &u64, _: &String) -> Option<Duration> {
    ///         Some(Duration::from_secs(12 * 60 * 60))
    ///     }
    ///     fn after_update(&self, _: &u64, _: &String, left: Option<Duration>) -> Option<Duration> {
    ///         left
    ///     }
    /// }
    /// let sessions = Cache::<u64, String>::builder()
    ///     .capacity(1000)
    ///     .expiry(HalfADay)
    ///     .time_to_idle(Duration::from_secs(30 * 60))
    ///     .build();
    /// # sessions.insert(7, "ada".into());
    /// # assert!(sessions.expires_in(&7).unwrap() <= Duration::from_secs(30 * 60));
    /// ```
    fn after_update(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = remaining;
        self.after_create(key, value)
    }

    /// How long an entry lives after a `get` or its kin found it (`get_many`, `entry`, read-through), when
    /// it had `remaining` to live, a time to idle not counted. Called only if [`watches_reads`](Self::watches_reads). Not asked after
    /// [`read`](crate::Cache::read) and [`touch`](crate::Cache::touch), which have no copy of the value to
    /// show it under no lock. By default nothing changes.
    ///
    /// No read makes an entry outlive the cache's `time_to_live`, or a time to live of its own
    /// ([`insert_with_ttl`](crate::Cache::insert_with_ttl), [`set_ttl`](crate::Cache::set_ttl)).
    ///
    /// Only in a cache that has a `time_to_idle` is there no place to keep two such times of an entry: if
    /// it has a `time_to_live` as well, a read can shorten a lifetime but not prolong it; if not, what this
    /// answers takes the place of an entry's own time to live.
    fn after_read(&self, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = value;
        remaining
    }

    /// Whether [`after_read`](Self::after_read) should be called. It makes every `get` slower. Asked when
    /// the cache is built, and at each.
    fn watches_reads(&self) -> bool {
        false
    }
}

/// Says of each value that is written how long it lives.
impl<K, V, F: Fn(&K, &V) -> Option<Duration> + Send + Sync> Expiry<K, V> for F {
    fn after_create(&self, key: &K, value: &V) -> Option<Duration> {
        self(key, value)
    }
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// The deadline that no use extends.
    pub(crate) limit: Tick,
    /// The nearest deadline, time to idle included.
    pub(crate) deadline: Tick,
}

impl Lifetime {
    pub(crate) const FOR_EVER: Self = Self { limit: Tick::NEVER, deadline: Tick::NEVER };
}

/// The rules that hold for all entries of a cache.
pub(crate) struct Rules<K, V> {
    /// Nanoseconds.
    pub(crate) time_to_live: Option<u64>,
    /// Nanoseconds.
    pub(crate) time_to_idle: Option<u64>,
    pub(crate) expiry: Option<Box<dyn Expiry<K, V>>>,
    /// Whether entries' limits are kept beside their deadlines, which differ.
    pub(crate) keeps_limits: bool,
}

impl<K, V> Rules<K, V> {
    /// Those of a cache without an [`Expiry`].
    pub(crate) const fn new(time_to_live: Option<u64>, time_to_idle: Option<u64>) -> Self {
        Self { time_to_live, time_to_idle, expiry: None, keeps_limits: false }
    }

    /// The rules as they hold for good.
    pub(crate) fn settle(self) -> Self {
        let watches_reads = self.expiry.as_ref().is_some_and(|expiry| expiry.watches_reads());
        let keeps_limits = self.time_to_idle.is_some() || watches_reads;
        Self { keeps_limits, ..self }
    }

    /// Whether entries' limits are those that reads must not outlive, and the [`Expiry`]'s deadlines
    /// are apart. Where there is a time to idle, that has their place.
    fn limits_reads(&self) -> bool {
        self.keeps_limits && self.time_to_idle.is_none()
    }

    /// The longest lifetime that is configured, in nanoseconds.
    pub(crate) fn longest(&self) -> Option<u64> {
        self.time_to_live.max(self.time_to_idle)
    }

    /// The shortest, if all lifetimes are known.
    pub(crate) fn shortest(&self) -> Option<u64> {
        match (&self.expiry, self.time_to_live, self.time_to_idle) {
            (Some(_), ..) => None,
            (None, Some(live), Some(idle)) => Some(live.min(idle)),
            (None, live, idle) => live.or(idle),
        }
    }

    /// Whether any entry can expire without being told to individually.
    pub(crate) fn any(&self) -> bool {
        self.time_to_live.is_some() || self.time_to_idle.is_some() || self.expiry.is_some()
    }

    /// How long an entry has left but for the time to idle, as the [`Expiry`] is told; `None` for ever.
    /// Who answers with that must not turn a deadline that uses put off into one that none does.
    pub(crate) fn remaining(&self, life: Lifetime, now: u64) -> Option<Duration> {
        let until = if self.time_to_idle.is_some() { life.limit } else { life.deadline };
        (until != Tick::NEVER).then(|| Duration::from_nanos(until.nanos_after(now)))
    }

    /// The lifetime of an entry written now that lives for `own` (`None`: for ever) by a rule of
    /// its own.
    pub(crate) fn lifetime(&self, now: u64, own: Option<Duration>) -> Lifetime {
        let at = |after| Tick::deadline(now, after);
        let limit = own.map_or(Tick::NEVER, |own| at(nanos(own)));
        let limit = self.time_to_live.map_or(limit, |live| limit.min(at(live)));
        Lifetime { limit, deadline: self.idle_from(now, limit) }
    }

    /// [`lifetime`](Self::lifetime) of an entry that lives for `ruled` by the [`Expiry`], too.
    pub(crate) fn lifetime_ruled(
        &self,
        now: u64,
        own: Option<Duration>,
        ruled: Option<Duration>,
    ) -> Lifetime {
        if !self.limits_reads() {
            return self.lifetime(now, own.into_iter().chain(ruled).min());
        }
        let limit = self.lifetime(now, own).limit;
        let ruled = ruled.map_or(Tick::NEVER, |ruled| Tick::deadline(now, nanos(ruled)));
        Lifetime { limit, deadline: limit.min(ruled) }
    }

    /// The lifetime of an entry read now that had another, and by the [`Expiry`] lives for `ruled`.
    pub(crate) fn lifetime_read(
        &self,
        now: u64,
        before: Lifetime,
        ruled: Option<Duration>,
    ) -> Lifetime {
        let ruled = ruled.map_or(Tick::NEVER, |ruled| Tick::deadline(now, nanos(ruled)));
        if self.limits_reads() {
            return Lifetime { limit: before.limit, deadline: before.limit.min(ruled) };
        }
        let is_limited = self.time_to_live.is_some();
        // Of two limits only the nearer is kept: a read must not outlive the other.
        let limit = if is_limited { ruled.min(before.limit) } else { ruled };
        Lifetime { limit, deadline: self.idle_from(now, limit) }
    }

    /// Whether two lifetimes of an entry are the same, unless it was used in between.
    pub(crate) fn are_same(&self, one: Lifetime, other: Lifetime) -> bool {
        one.limit == other.limit && (self.time_to_idle.is_some() || one.deadline == other.deadline)
    }

    /// The lifetime of an entry written now that lives so long whatever the time to live is.
    pub(crate) fn lifetime_alone(&self, now: u64, own: Duration) -> Lifetime {
        let limit = Tick::deadline(now, nanos(own));
        Lifetime { limit, deadline: self.idle_from(now, limit) }
    }

    /// The deadline of an entry used now that must go at `limit`.
    pub(crate) fn idle_from(&self, now: u64, limit: Tick) -> Tick {
        self.time_to_idle.map_or(limit, |idle| limit.min(Tick::deadline(now, idle)))
    }
}

impl<K, V> std::fmt::Debug for Rules<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .field("expiry", &self.expiry.is_some())
            .finish()
    }
}
