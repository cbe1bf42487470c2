//! Keeping what a load came to, and judging it later.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    mem::needs_drop,
    time::Duration,
};

use super::{
    Shared,
    builder::Options,
    dates::NEVER,
    kept::{Kept, Verdict},
    loader::{Loaded, Loader},
};
use crate::{
    LoadError,
    cache::{Departures, load::Started, write::Own},
    flight::{Hangar, Lead, Outcome},
    policy::Policy,
    sync::Arc,
    time::{COARSE_LATENESS, nanos},
};

/// The random bits of a [`uniform`] number.
const UNIFORM_BITS: u32 = f64::MANTISSA_DIGITS;
/// What [`luck`] is never above.
const MOST_LUCK: f64 = UNIFORM_BITS as f64 * std::f64::consts::LN_2 + 0.1;

/// What leaves because of what is kept.
type Leaving<'a, K, V, L, P, S> = Departures<'a, K, Kept<V, <L as Loader<K, V>>::Error>, P, S>;

/// What is to be kept, and how long its entry lives.
type Keeping<V, E> = (Kept<V, E>, Own);

impl<K, V, L, P, S> Shared<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Keeps what a load came to, and tells those who wait. What leaves is to be sent out when all loads
    /// of the caller's are over.
    pub(super) fn settle<R>(
        &self,
        lead: Lead<R>,
        started: Started,
        key: &K,
        loaded: Result<Loaded<V>, LoadError<L::Error>>,
        leaving: &mut Leaving<'_, K, V, L, P, S>,
    ) -> Result<V, LoadError<L::Error>>
    where
        R: Hangar<K = K, V = Kept<V, L::Error>>,
    {
        let inner = &self.cache.inner;
        let took = if self.options.is_early() { inner.took(started) } else { 0 };
        // The user's code that runs here, if there is any, is told if it asks for the key.
        let runs_code = needs_drop::<(K, V)>() || self.expiry.is_some() || !inner.context.is_plain;
        let running = runs_code.then(|| lead.run());
        let loaded = match loaded {
            Ok(loaded) if loaded.has_panicked => Err(LoadError::Panicked),
            loaded => loaded,
        };
        let result = match loaded {
            Ok(Loaded { value, is_kept: false, .. }) => {
                self.forget(&lead, started, key, None, leaving);
                value.map(Kept::for_ever).ok_or(LoadError::NotFound)
            }
            Ok(Loaded { value: Some(value), time_to_live, .. }) => {
                let (kept, own) = self.fresh(key, value, time_to_live, took);
                inner.store(&lead, started, (key.clone(), kept.clone()), own, leaving);
                Ok(kept)
            }
            Ok(Loaded { value: None, time_to_live, .. }) => {
                let lives = time_to_live.or(self.options.negative_ttl);
                self.forget(&lead, started, key, lives, leaving);
                Err(LoadError::NotFound)
            }
            Err(error) => self.fall_back(&lead, started, key, error, leaving),
        };
        drop(running);
        lead.note(match &result {
            Ok(kept) if kept.failures() > 0 => "stale",
            Ok(_) => "value",
            Err(error) => error.name(),
        });
        lead.land(|other| other == key, || outcome_of(&result));
        result?.into_result()
    }

    /// A value that was loaded or written now, and how long its entry lives.
    pub(super) fn fresh(
        &self,
        key: &K,
        value: V,
        time_to_live: Option<Duration>,
        cost: u64,
    ) -> Keeping<V, L::Error> {
        let Options { time_to_live: for_all, refresh_after, grace, .. } = self.options;
        let own = self.expiry.as_ref().and_then(|expiry| self.ask_expiry(&**expiry, key, &value));
        let lives = [own.map(nanos), time_to_live.map(nanos)].map(|lives| lives.unwrap_or(NEVER));
        let lives = for_all.unwrap_or(NEVER).min(lives[0]).min(lives[1]);
        let refresh_after = refresh_after.unwrap_or(NEVER);
        if lives.min(refresh_after) == NEVER {
            // No clock need be read.
            return (Kept::for_ever(value), self.life(None));
        }
        let now = self.now();
        let fresh_until = now.saturating_add(lives);
        let reload_at = now.saturating_add(refresh_after).min(fresh_until);
        let kept = Kept::of(value, reload_at, fresh_until, cost);
        let lives = Some(lives).filter(|&lives| lives < NEVER);
        (kept, self.life(lives.map(|lives| lives.saturating_add(grace.longest()))))
    }

    fn ask_expiry(&self, expiry: &dyn crate::Expiry<K, V>, key: &K, value: &V) -> Option<Duration> {
        let inner = &self.cache.inner;
        match inner.peek_alone(inner.hash(key), key).and_then(|kept| kept.fresh_until()) {
            Some(NEVER) => expiry.after_update(key, value, None),
            // One that is past its time counts as gone, though it may still be of use.
            until => match until.unwrap_or(0).saturating_sub(self.now()) {
                0 => expiry.after_create(key, value),
                left => expiry.after_update(key, value, Some(Duration::from_nanos(left))),
            },
        }
    }

    /// How long an entry lives that is given so many nanoseconds, `None` for ever. The time to live is
    /// that of values, and part of what they are given; what is known instead of one may live longer.
    fn life(&self, lives: Option<u64>) -> Own {
        let Some(lives) = lives else { return Own::Rules };
        self.cache.inner.context.make_timed();
        Own::Alone(Duration::from_nanos(lives))
    }

    /// Nothing was found that is to be kept: remembers for so long that there is no value, or at least
    /// forgets the one there was.
    fn forget<R>(
        &self,
        lead: &Lead<R>,
        started: Started,
        key: &K,
        lives: Option<Duration>,
        leaving: &mut Leaving<'_, K, V, L, P, S>,
    ) where
        R: Hangar<K = K, V = Kept<V, L::Error>>,
    {
        // What is not there has no tags: it might be one that was removed meanwhile.
        let is_lasting = !self.cache.inner.has_lost_tags(started);
        let lives = lives.filter(|_| is_lasting);
        if lives.is_none() && self.cache.inner.peek_alone(lead.hash(), key).is_none() {
            return;
        }
        let lives = nanos(lives.unwrap_or(Duration::ZERO));
        let until = self.now().saturating_add(lives);
        let kept = Kept::NotFound { until };
        let own = self.life(Some(lives));
        self.cache.inner.store(lead, started, (key.clone(), kept), own, leaving);
    }

    /// A load failed: what is kept now, if it is a value that would still be served while it is loaded
    /// anew or if that fails; or else remembers the error, if errors are remembered.
    fn fall_back<R>(
        &self,
        lead: &Lead<R>,
        started: Started,
        key: &K,
        error: LoadError<L::Error>,
        leaving: &mut Leaving<'_, K, V, L, P, S>,
    ) -> Result<Kept<V, L::Error>, LoadError<L::Error>>
    where
        R: Hangar<K = K, V = Kept<V, L::Error>>,
    {
        let Options { grace, backoff, .. } = self.options;
        let now = self.now();
        lead.close();
        let resident = self.cache.inner.peek_alone(lead.hash(), key);
        let failures = resident.as_ref().map_or(0, Kept::failures).saturating_add(1);
        let delay = jittered(self.options.delay(failures));
        let ends = |kept: &Kept<_, _>| Some(kept.fresh_until()?.saturating_add(grace.longest()));
        if let Some(mut kept) = resident
            && let Some(ends) = ends(&kept).filter(|&ends| now < ends)
        {
            if matches!(error, LoadError::Overloaded) {
                // Nobody asked the loader, so it did not fail.
                return Ok(kept);
            }
            kept.put_off(failures, now.saturating_add(delay));
            let lives = (ends != NEVER).then(|| ends.saturating_sub(now));
            let own = self.life(lives);
            // The value stays, so this is no write, and nobody is told.
            self.cache.inner.amend(lead, started, (key, &kept), own, |resident| {
                resident.put_off_like(&kept);
            });
            return Ok(kept);
        }
        let is_lasting = !matches!(error, LoadError::Overloaded)
            // The same as of what is not there.
            && !self.cache.inner.has_lost_tags(started);
        if let Some(backoff) = backoff.filter(|_| is_lasting) {
            let until = now.saturating_add(delay);
            let kept = Kept::failed(error.clone(), failures, until);
            // Longer than the error is served, so that the next failure knows of it: of a key that is asked
            // for seldom, or by a load that takes its time.
            let life = self.life(Some(delay.saturating_add(backoff.most)));
            self.cache.inner.store(lead, started, (key.clone(), kept), life, leaving);
        }
        Err(error)
    }

    /// What to do with what is kept.
    pub(super) fn judge(&self, kept: &Kept<V, L::Error>) -> Verdict {
        if kept.is_good_for_ever() {
            return Verdict::Serve;
        }
        let Options { early, grace, .. } = self.options;
        let earliness = if self.options.is_early() { early * luck() } else { 0.0 };
        kept.judge(self.now(), earliness, grace)
    }

    /// Whether it is a value that may be served while it is loaded anew, or should that fail.
    pub(super) fn is_of_use(&self, kept: &Kept<V, L::Error>) -> bool {
        let ends =
            kept.fresh_until().map(|until| until.saturating_add(self.options.grace.longest()));
        ends.is_some_and(|ends| ends == NEVER || self.now() < ends)
    }

    /// The value, if nothing can be due soon: the exact clock need not be asked.
    #[inline]
    pub(super) fn surely_good<'a>(
        &self,
        kept: &'a Kept<V, L::Error>,
        latest: u64,
    ) -> Option<&'a V> {
        kept.good_until(latest, self.options.early * MOST_LUCK)
    }

    /// A time that is not before now; the end of time if nothing is known to be dated.
    #[inline]
    pub(super) fn latest(&self) -> u64 {
        let context = &self.cache.inner.context;
        if !context.is_timed() && self.options.refresh_after.is_none() {
            NEVER
        } else if self.options.is_coarse() {
            context.clock.coarse().saturating_add(COARSE_LATENESS)
        } else {
            context.clock.now()
        }
    }

    /// The time in nanoseconds.
    pub(super) fn now(&self) -> u64 {
        self.cache.inner.context.clock.now()
    }
}

/// What those who wait for a load are told.
fn outcome_of<V: Clone, E>(result: &Result<Kept<V, E>, LoadError<E>>) -> Outcome<Kept<V, E>>
where
    E: Send + Sync + 'static,
{
    match result {
        Ok(kept) => Outcome::Value(kept.clone()),
        Err(LoadError::Failed(error)) => {
            let error: Arc<E> = Arc::clone(error);
            Outcome::Failed(error)
        }
        Err(LoadError::NotFound) => Outcome::NotFound,
        Err(LoadError::TimedOut) => Outcome::TimedOut,
        Err(LoadError::Overloaded) => Outcome::Overloaded,
        Err(LoadError::Panicked | LoadError::Reentrant) => Outcome::Panicked,
    }
}

/// A delay less up to a quarter of it.
pub(super) fn jittered(delay: u64) -> u64 {
    delay - (delay as f64 * 0.25 * uniform()) as u64
}

/// How many times its cost too early a value is loaded anew, where that is once on average.
fn luck() -> f64 {
    -uniform().ln()
}

/// A random number above 0 and at most 1.
fn uniform() -> f64 {
    // Every state of the standard library's hasher has keys of its own.
    let bits = RandomState::new().hash_one(()) >> (u64::BITS - UNIFORM_BITS);
    (bits + 1) as f64 / (1_u64 << UNIFORM_BITS) as f64
}
