//! The public cache: hash, pick the stripe, one call below, then publish what left.

mod access;
mod advise;
mod after_read;
mod build_error;
mod builder;
mod compute;
mod iter;
mod load;
mod load_future;
mod loading;
mod maintain;
#[cfg(feature = "metrics")]
pub mod metrics;
mod share;
mod write;

pub use build_error::BuildError;
pub use builder::Builder;
pub use compute::{Compute, Entry};
pub use iter::{Iter, Keys};
pub use loading::{LoadingBuilder, LoadingCache, WhenFull, WriteError, loader};

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    mem::{self, needs_drop},
    sync::OnceLock,
    thread::{self, Thread},
};

use hashbrown::Equivalent;

use crate::{
    Stats,
    context::Context,
    event::{Effects, Few, Leaving},
    flight::Flights,
    panics::Panics,
    policy::{Adaptive, Policy},
    stripe::Stripe,
    sync::{Arc, Mutex},
    table::enter_user_code,
};

/// A concurrent cache. Cloning it gives another handle to the same cache.
///
/// All methods take `&self` and may be called from any thread, in blocking and in async code
/// alike. None waits for anything but another thread's short critical section, except those that
/// say so: read-through waits for whoever computes the same key.
///
/// # What runs where
/// | yours | runs | may call the cache |
/// |---|---|---|
/// | `Hash` of a key | before any lock; of resident keys under the stripe's lock | no |
/// | `Eq` of a key | under the bucket's or the stripe's lock | no |
/// | `Clone` of a value | under the bucket's lock | no |
/// | the closures of [`read`](Self::read), [`retain`](Self::retain), [`remove_if`](Self::remove_if), [`replace_if`](Self::replace_if) | under the bucket's lock | no |
/// | weigher, [`Expiry`](crate::Expiry), tags | before any lock | yes; of what is being loaded, for other keys |
/// | closures of [`entry`](Self::entry), loads of [`get_or_insert_with`](Self::get_or_insert_with) and its kin | under no lock, alone for their key | yes, for other keys |
/// | the removal listener, `Drop` of keys and values | after all locks | yes |
///
/// Where it says no, a call that would have to wait for a lock panics and says so instead of hanging
/// (for keys and values that own something; code of types that can be copied bit by bit is trusted).
/// If cloning a value takes long, keep an `Arc` of it. A panic in any of them leaves the cache consistent,
/// and reaches the caller, with three exceptions. The listener's is caught and counted; so is, but for the
/// counting, that of the `Drop` of what it was told of, and that of `Hash` of a resident key.
///
/// # Capacity
/// The sum of the weights of all entries ([`weight`](Self::weight)) is at most
/// [`capacity`](Self::capacity) at every moment, for every observer. Without a weigher each entry
/// weighs 1. The capacity belongs to the cache as a whole: a cache for `n` entries holds `n`,
/// whatever the keys.
///
/// # Cost
/// A hit locks one bucket (a dozen entries) for some nanoseconds, allocates nothing and writes no
/// memory that hits in other buckets write, unless the policy notes more of it than a few bits beside the
/// entry: [`Adaptive`] does of one key in 256 (of more in caches of less than 32 000 entries),
/// [`Lru`](crate::policy::Lru) and [`Lfu`](crate::policy::Lfu) of every one. Where keys and values are
/// numbers (integers, floats, `bool`, `char`, `()`), [`get`](Self::get) takes no lock, unless somebody is
/// changing the bucket, the entry's lifetime is over or its use may put that off (a time to idle, an
/// `Expiry` that watches reads), or the cache has tags; and with the default policy it writes nothing once enough uses of the entry
/// were noted. Inserting a new key, removing and evicting take the lock of one stripe; all are O(1).
///
/// # Dropping
/// When the last handle is dropped, all keys and values are; the listener is not told of these.
/// Call [`clear`](Self::clear) before if it should be.
///
/// ```
/// let cache = larder::Cache::new(10_000);
/// cache.insert("ada", 36);
/// assert_eq!(cache.get("ada"), Some(36));
/// ```
pub struct Cache<K, V, P: Policy = Adaptive, S = ahash::RandomState> {
    inner: Arc<Inner<K, V, P, S>>,
}

pub(crate) struct Inner<K, V, P: Policy, S> {
    context: Context<K, V, S>,
    /// A power of two of them.
    stripes: Box<[Stripe<K, V, P>]>,
    /// Which keys are being computed.
    flights: Arc<Flights<K, V>>,
    /// Held while the capacity changes, so that all stripes are told of the same one.
    resizing: Mutex<()>,
    /// The maintenance thread, if there is one.
    maintainer: OnceLock<Thread>,
}

impl<K, V, P: Policy, S> Drop for Inner<K, V, P, S> {
    fn drop(&mut self) {
        if let Some(maintainer) = self.maintainer.get() {
            // It sees that the cache is gone, and ends.
            maintainer.unpark();
        }
    }
}

impl<K, V, P: Policy, S> Clone for Cache<K, V, P, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache for `capacity` entries with the default policy and no expiry.
    ///
    /// It starts small and grows as it fills. A capacity of 0 is legal: nothing is stored then.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self::builder().capacity(capacity).build()
    }

    /// The options of a cache to be built.
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
}

impl<K, V, P: Policy, S> Cache<K, V, P, S> {
    /// The number of entries. Expired ones count until they are reclaimed, within a second or so.
    ///
    /// Costs a glance at every stripe, like [`weight`](Self::weight) takes no lock, and while other
    /// threads write is not of one moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.stripes.iter().map(Stripe::len).sum()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of the entries' weights, including room that is reserved for entries on their way in.
    /// Never more than [`capacity`](Self::capacity).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.inner.context.budget.used()
    }

    /// The most that the entries may weigh together; the number of entries without a weigher.
    ///
    /// While [`set_capacity`](Self::set_capacity) to something smaller is under way, this is the
    /// bound reached so far.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.inner.context.budget.bound()
    }

    /// What was counted so far; all zero unless the cache was built with
    /// [`Builder::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.context.counters.as_ref().map_or_else(Stats::default, |all| all.snapshot())
    }

    /// What the cache is called where it is observed; see [`Builder::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.context.name
    }

    /// How the recording goes; `None` if there is none.
    #[cfg(feature = "record")]
    #[must_use]
    pub fn recorded(&self) -> Option<crate::record::Recorded> {
        self.inner.context.recorder.as_ref().map(crate::record::Recorder::recorded)
    }

    /// The number of stripes.
    #[must_use]
    pub fn stripes(&self) -> usize {
        self.inner.stripes.len()
    }
}

impl<K: Hash + Eq, V, P: Policy, S: BuildHasher> Inner<K, V, P, S> {
    #[inline]
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.context.hasher.hash_one(key)
    }

    #[inline]
    fn stripe(&self, hash: u64) -> &Stripe<K, V, P> {
        &self.stripes[self.number(hash)]
    }

    /// What most operations begin with: the stripe, and the time (in nanoseconds, 0 if nothing
    /// expires).
    #[inline]
    fn approach(&self, hash: u64) -> (&Stripe<K, V, P>, u64) {
        (self.stripe(hash), self.context.now())
    }

    /// What an operation is about to send out, and the weight it reserves meanwhile.
    fn departures(&self) -> Departures<'_, K, V, P, S> {
        Departures {
            inner: self,
            effects: Effects::new(),
            unwanted: Few::new(),
            credit: 0,
            operated: None,
        }
    }

    /// Sends out what left: to the listener or to be dropped. No lock is held. Panics of drops do
    /// not keep the others from being sent; the first is passed on, unless one is under way.
    #[inline]
    fn publish(&self, effects: &mut Effects<K, V>) {
        if !needs_drop::<(K, V)>() && !self.context.is_heard {
            effects.forget();
        } else {
            self.publish_each(effects);
        }
    }

    fn publish_each(&self, effects: &mut Effects<K, V>) {
        let mut panics = Panics::default();
        for leaving in effects.drain() {
            self.publish_one(leaving, &mut panics);
        }
        panics.pass_on();
    }

    fn publish_one(&self, leaving: Leaving<K, V>, panics: &mut Panics) {
        // Who traces may panic. The notice has its number, so those after it wait for it.
        panics.catch(|| self.context.left(leaving.removal));
        let Some(listener) = &self.context.listener else {
            return panics.catch(|| drop(leaving));
        };
        let outbox = &self.stripes[leaving.ticket.stripe].outbox;
        let listener_panics = outbox.deliver(leaving, listener.as_ref());
        for _ in 0..listener_panics {
            self.context.count(crate::stats::Event::ListenerPanic);
        }
    }
}

/// What leaves by one operation, and the weight it holds in reserve: sent out and given back when
/// this is dropped, even by a panic of the user's code. Must outlive every lock, and every lead of a
/// flight: what runs then may ask for any key. And it should be dropped before the answer becomes the
/// function's own, which would be leaked if `Drop` panics.
struct Departures<'a, K: Hash + Eq, V, P: Policy, S: BuildHasher> {
    inner: &'a Inner<K, V, P, S>,
    effects: Effects<K, V>,
    /// What did not come in, or left where nobody is told: only to be dropped.
    unwanted: Few<(K, V)>,
    credit: u64,
    /// When the operation took place: if it did, a little maintenance that is due then comes last.
    operated: Option<u64>,
}

impl<K: Hash + Eq, V, P: Policy, S: BuildHasher> Departures<'_, K, V, P, S> {
    #[inline(never)]
    fn send_out(&mut self) {
        let mut panics = Panics::default();
        for entry in self.unwanted.drain() {
            panics.catch(|| drop(entry));
        }
        panics.catch(|| self.inner.publish(&mut self.effects));
        panics.pass_on();
    }
}

impl<K: Hash + Eq, V, P: Policy, S: BuildHasher> Drop for Departures<'_, K, V, P, S> {
    #[inline]
    fn drop(&mut self) {
        self.inner.context.budget.release(mem::take(&mut self.credit));
        let is_one = match (self.effects.is_empty(), self.unwanted.is_empty()) {
            (true, _) => !self.unwanted.is_many(),
            (false, is_none) => is_none && !self.effects.is_many() && !self.inner.context.is_heard,
        };
        if is_one && !thread::panicking() {
            // The usual case: there is nobody else's panic that its own could meet.
            drop(self.unwanted.pop());
            drop(self.effects.pop());
        } else {
            self.send_out();
        }
        if let Some(now) = self.operated
            && self.inner.context.is_due(now)
            && !thread::panicking()
        {
            self.inner.tidy(now);
        }
    }
}

/// Compares keys, some of which are borrowed.
#[inline]
fn same<'a, K, V, Q: Equivalent<K> + ?Sized>(
    key: &'a Q,
) -> impl Fn(&K) -> bool + Copy + use<'a, K, V, Q> {
    move |resident| {
        let _running = enter_user_code::<K, V>();
        key.equivalent(resident)
    }
}

impl<K, V, P: Policy, S> fmt::Debug for Cache<K, V, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .field("stripes", &self.stripes())
            .finish_non_exhaustive()
    }
}
