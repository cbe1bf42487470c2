//! Writing to the store behind the cache.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    thread,
};

use super::{
    LoadingCache, Shared,
    ask::Hangar,
    builder::LoadingBuilder,
    kept::Kept,
    loader::{Loaded, LoadedMany, Loader},
};
use crate::{
    flight::{Asker, Circle, Code, Flights, Joined, Lead, Waited, block_on},
    outbox::forget_panic,
    policy::Policy,
    sync::Arc,
    table::deny_reentry,
};

/// The store behind a [`LoadingCache`](crate::LoadingCache), for
/// [`put_through`](crate::LoadingCache::put_through) and
/// [`put_behind`](crate::LoadingCache::put_behind). A loader that implements this too is all that is
/// needed; others are added with [`LoadingBuilder::writer`](crate::LoadingBuilder::writer).
///
/// Writes of one key are never made at the same time, nor while it is being loaded.
///
/// ```
/// use larder::{Cache, loader::{Loaded, Loader, Writer}};
/// use std::{collections::HashMap, io, sync::{Arc, Mutex}};
///
/// #[derive(Default)]
/// struct Store(Mutex<HashMap<u32, String>>);
///
/// impl Loader<u32, String> for Store {
///     type Error = io::Error;
///     async fn load(&self, key: &u32) -> Result<Loaded<String>, io::Error> {
///         Ok(self.0.lock().unwrap().get(key).cloned().into())
///     }
/// }
///
/// impl Writer<u32, String> for Store {
///     type Error = io::Error;
///     async fn put(&self, key: &u32, value: &String) -> io::Result<()> {
///         self.0.lock().unwrap().insert(*key, value.clone());
///         Ok(())
///     }
///     async fn remove(&self, key: &u32) -> io::Result<()> {
///         self.0.lock().unwrap().remove(key);
///         Ok(())
///     }
/// }
///
/// let store = Arc::new(Store::default());
/// let cache = Cache::builder().capacity(100).loader(Arc::clone(&store)).build();
/// cache.put_through(7, "Ada".to_string()).unwrap();
/// assert_eq!(store.0.lock().unwrap()[&7], "Ada");
/// assert_eq!(cache.get(&7).unwrap(), "Ada");
/// ```
pub trait Writer<K, V>: Send + Sync + 'static {
    /// What can go wrong.
    type Error: Send + Sync + 'static;

    /// Stores a value. An error means that it was not stored.
    fn put(&self, key: &K, value: &V) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Removes a value, if there is one. An error means that it was not removed.
    fn remove(&self, key: &K) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Writes several keys, none of which occurs twice, for the queue of
    /// [`put_behind`](crate::LoadingCache::put_behind). After an error all of them are written again,
    /// so that must do no harm. By default they are written one after the other.
    ///
    /// Without a [`spawner`](crate::LoadingBuilder::spawner) those who wait drive this. If the last of them
    /// is dropped, such as a cancelled [`flush_async`](crate::LoadingCache::flush_async), it is given up
    /// half-way, and all of the batch is written again later: that, too, must do no harm.
    ///
    /// It may use the cache, but not wait for what waits for it. Waiting for the queue is noticed if it
    /// happens on the thread that polls this: [`flush`](crate::LoadingCache::flush) panics, which counts as an
    /// error of this, and a write that finds the queue full, or a
    /// [`put_through`](crate::LoadingCache::put_through) of a key that is not written yet, answers with
    /// [`WriteError::Reentrant`]. On other threads they wait for ever if this waits for them, and so does a
    /// load of a key that somebody is about to write through the cache.
    fn write_many(
        &self,
        writes: &[(K, Write<V>)],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send
    where
        K: Sync,
        V: Sync,
    {
        async move {
            for (key, write) in writes {
                match write {
                    Write::Put(value) => self.put(key, value).await?,
                    Write::Remove => self.remove(key).await?,
                }
            }
            Ok(())
        }
    }
}

/// A store that others have a hand on too.
impl<K: Sync, V: Sync, W: Writer<K, V>> Writer<K, V> for Arc<W> {
    type Error = W::Error;

    fn put(&self, key: &K, value: &V) -> impl Future<Output = Result<(), Self::Error>> + Send {
        W::put(self, key, value)
    }

    fn remove(&self, key: &K) -> impl Future<Output = Result<(), Self::Error>> + Send {
        W::remove(self, key)
    }

    fn write_many(
        &self,
        writes: &[(K, Write<V>)],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        W::write_many(self, writes)
    }
}

/// A write on its way to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<V> {
    /// Stores this value.
    Put(V),
    /// Removes the value.
    Remove,
}

impl<V> Write<V> {
    /// What a loader would find once it is done.
    pub(super) fn into_loaded(self) -> Loaded<V> {
        match self {
            Self::Put(value) => Loaded::new(value),
            Self::Remove => Loaded::not_found(),
        }
    }
}

/// Why a write did not come to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError<E> {
    /// The store refused it with this.
    Failed(E),
    /// The key is being computed by this very thread, or by code that waits for what this thread computes;
    /// or this thread is writing the batch that would have to be written first: waiting would never end.
    Reentrant,
}

impl<E: fmt::Display> fmt::Display for WriteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the store refused the write: {error}"),
            Self::Reentrant => f.write_str(
                "this very thread is computing the key, or what that waits for, or runs the writer that \
                 would have to write something else first; finish that before",
            ),
        }
    }
}

impl<E: Error + 'static> Error for WriteError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Reentrant => None,
        }
    }
}

/// A loader and a writer that are not the same thing.
#[derive(Debug)]
pub struct Both<L, W> {
    loader: L,
    writer: W,
}

impl<K, V, L, W> Loader<K, V> for Both<L, W>
where
    K: Sync,
    V: Send,
    L: Loader<K, V>,
    W: Send + Sync + 'static,
{
    type Error = L::Error;

    const IS_BLOCKING: bool = L::IS_BLOCKING;

    fn load(&self, key: &K) -> impl Future<Output = Result<Loaded<V>, L::Error>> + Send {
        self.loader.load(key)
    }

    fn load_many(&self, keys: &[K]) -> impl Future<Output = LoadedMany<V, L::Error>> + Send {
        self.loader.load_many(keys)
    }
}

impl<K, V, L, W> Writer<K, V> for Both<L, W>
where
    K: Sync,
    V: Sync,
    L: Send + Sync + 'static,
    W: Writer<K, V>,
{
    type Error = W::Error;

    fn put(&self, key: &K, value: &V) -> impl Future<Output = Result<(), W::Error>> + Send {
        self.writer.put(key, value)
    }

    fn remove(&self, key: &K) -> impl Future<Output = Result<(), W::Error>> + Send {
        self.writer.remove(key)
    }

    fn write_many(
        &self,
        writes: &[(K, Write<V>)],
    ) -> impl Future<Output = Result<(), W::Error>> + Send {
        self.writer.write_many(writes)
    }
}

impl<K, V, L, P, S> LoadingBuilder<K, V, L, P, S> {
    /// Where [`put_through`](LoadingCache::put_through) and
    /// [`put_behind`](LoadingCache::put_behind) write to, where the loader itself cannot.
    pub fn writer<W: Writer<K, V>>(self, writer: W) -> LoadingBuilder<K, V, Both<L, W>, P, S> {
        self.map_loader(|loader| Both { loader, writer })
    }
}

impl<K, V, L, P, S> LoadingCache<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V> + Writer<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Writes to the store and then, only if that accepted, to the cache. Answers with the value
    /// that was replaced in the cache. Blocks the thread meanwhile, which drives the writer's future
    /// itself; see [`put_through_async`](Self::put_through_async).
    ///
    /// # Errors
    /// The store's; nothing has changed then.
    pub fn put_through(
        &self,
        key: K,
        value: V,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        run(self.put_through_async(key, value))
    }

    /// [`put_through`](Self::put_through) for async code.
    ///
    /// Who reads meanwhile gets the value there was. Writes through the cache and loads of the same
    /// key wait for each other, so the cache ends with what the store ends with; a write of the key
    /// that is still queued by [`put_behind`](Self::put_behind) goes first. If the returned
    /// future is dropped, or the writer panics, while the store is writing, nobody knows what it has:
    /// the key is removed from the cache.
    ///
    /// # Errors
    /// The store's; nothing has changed then.
    pub async fn put_through_async(
        &self,
        key: K,
        value: V,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        let lead = self.hold_written(&key).await?;
        let write = async { self.shared.loader.put(&key, &value).await };
        let lead = self.write_alone(lead, &key, write).await?;
        Ok(self.insert_as_leader(lead, key, value))
    }

    /// Removes from the store and then, only if that accepted, from the cache. Answers with the value
    /// that was in the cache. Blocks the thread meanwhile.
    ///
    /// # Errors
    /// The store's; nothing has changed then.
    pub fn remove_through(
        &self,
        key: K,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        run(self.remove_through_async(key))
    }

    /// [`remove_through`](Self::remove_through) for async code; see
    /// [`put_through_async`](Self::put_through_async).
    ///
    /// # Errors
    /// The store's; nothing has changed then.
    pub async fn remove_through_async(
        &self,
        key: K,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        let lead = self.hold_written(&key).await?;
        let write = async { self.shared.loader.remove(&key).await };
        let lead = self.write_alone(lead, &key, write).await?;
        Ok(self.remove_as_leader(lead, &key))
    }

    /// Holds a key once nothing is queued for it: what was written behind must not arrive after what
    /// is written through.
    async fn hold_written(
        &self,
        key: &K,
    ) -> Result<Hold<K, V, L>, WriteError<<L as Writer<K, V>>::Error>> {
        let lead = self.shared.hold(key).await.ok_or(WriteError::Reentrant)?;
        if self.unwritten() > 0 {
            self.wait_written_of(&lead, key).await?;
        }
        Ok(lead)
    }

    /// Runs a write of a key that is held, and still is if it succeeds. The write begins with the first
    /// poll, so that whatever the writer does is under protection.
    async fn write_alone<E>(
        &self,
        lead: Hold<K, V, L>,
        key: &K,
        write: impl Future<Output = Result<(), E>>,
    ) -> Result<Hold<K, V, L>, WriteError<E>> {
        let mut doubt = Doubt { cache: self, key, lead: Some(lead) };
        let written = {
            let run = || doubt.lead.as_ref().map(Lead::run_future);
            let (mut write, mut tie) = (pin!(Code::new(write, run)), None);
            poll_fn(|context| {
                let polled = write.as_mut().poll(context).map_err(WriteError::Failed);
                if polled.is_pending()
                    && let Some(lead) = &doubt.lead
                {
                    tie = match lead.tie_caller(tie.take()) {
                        Ok(tie) => tie,
                        Err(Circle) => return Poll::Ready(Err(WriteError::Reentrant)),
                    };
                }
                polled
            })
            .await
        };
        if matches!(written, Err(WriteError::Reentrant)) {
            // Given up: nobody knows what the store has.
            drop(doubt);
            return Err(WriteError::Reentrant);
        }
        let lead = doubt.lead.take().expect("it is still held");
        written.map(|()| lead)
    }
}

impl<K, V, L, P, S> LoadingCache<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// [`insert`](Self::insert) by who holds the key, which is free before anything is sent out.
    pub(super) fn insert_as_leader(&self, lead: Hold<K, V, L>, key: K, value: V) -> Option<V> {
        let inner = &*self.shared.cache.inner;
        let mut leaving = inner.departures();
        // The store has it, or will: should the weigher panic, the old value must not stay.
        let mut doubt = Doubt { cache: self, key: &key, lead: Some(lead) };
        let running = doubt.lead.as_ref().map(Lead::run);
        let (kept, own) = self.shared.fresh(&key, value, None, 0);
        let mut write = inner.prepare(key.clone(), kept, own);
        drop(running);
        let is_replaced = inner.upsert_into(&mut write, &mut leaving);
        doubt.settle();
        let replaced = is_replaced.then(|| inner.hand_out(&mut leaving.effects));
        drop(leaving);
        replaced.and_then(Kept::into_value)
    }

    /// The same for [`remove`](Self::remove).
    pub(super) fn remove_as_leader(&self, lead: Hold<K, V, L>, key: &K) -> Option<V> {
        let inner = &*self.shared.cache.inner;
        let mut leaving = inner.departures();
        let mut doubt = Doubt { cache: self, key, lead: Some(lead) };
        let is_removed = inner.remove_into(key, None, &mut leaving);
        doubt.settle();
        let removed = is_removed.then(|| inner.hand_out(&mut leaving.effects));
        drop(leaving);
        removed.and_then(Kept::into_value)
    }
}

/// The right to write a key.
pub(super) type Hold<K, V, L> = Lead<Hangar<K, V, <L as Loader<K, V>>::Error>>;

/// While the store writes, nobody knows what it has; and until the cache has what the store has, it had
/// better have nothing.
struct Doubt<'a, K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    cache: &'a LoadingCache<K, V, L, P, S>,
    key: &'a K,
    /// Until all is well.
    lead: Option<Hold<K, V, L>>,
}

impl<K, V, L, P, S> Doubt<'_, K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The cache has what the store has: the key is free.
    fn settle(&mut self) {
        drop(self.lead.take());
    }

    fn remove(&self, lead: Hold<K, V, L>) {
        let inner = &*self.cache.shared.cache.inner;
        let mut leaving = inner.departures();
        // In this order: even after a panic the key is free before anything is sent out.
        let lead = lead;
        inner.remove_into(self.key, None, &mut leaving);
        drop(lead);
    }
}

impl<K, V, L, P, S> Drop for Doubt<'_, K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    fn drop(&mut self) {
        let Some(lead) = self.lead.take() else { return };
        if !thread::panicking() {
            return self.remove(lead);
        }
        // The user's code has panicked, and may again.
        forget_panic(catch_unwind(AssertUnwindSafe(|| self.remove(lead))));
    }
}

impl<K, V, L, P, S> Shared<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Waits until nobody else computes the key; `None` if that would never be.
    pub(super) async fn hold(&self, key: &K) -> Option<Lead<Hangar<K, V, L::Error>>> {
        let inner = &self.cache.inner;
        let hash = inner.hash(key);
        loop {
            deny_reentry();
            let flights = std::sync::Arc::clone(&inner.flights);
            let no_key = || unreachable!("only a load makes keys for others");
            let mut wait = match Flights::join(flights, hash, Asker::Wanderer, no_key, |_| false) {
                Joined::Lead(lead) => return Some(lead),
                Joined::Reentrant => return None,
                Joined::Wait(wait) => wait,
            };
            self.hurry(&wait);
            match poll_fn(|context| wait.poll(context)).await {
                Waited::Lead(lead) => return Some(lead),
                Waited::Reentrant => return None,
                Waited::Landed(_) | Waited::Retry => {}
            }
        }
    }
}

/// Drives a future to its end on this thread.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    block_on(|context| future.as_mut().poll(context), || None).expect("without end")
}
