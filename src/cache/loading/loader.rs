//! Loaders: what a [`LoadingCache`](crate::LoadingCache) calls for a key it does not have.

use std::{
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
    time::Duration,
};

use crate::{outbox::forget_panic, sync::Arc};

pub use super::writer::{Both, Write, Writer};

/// Where a [`LoadingCache`](crate::LoadingCache) gets its values from.
///
/// Its futures belong to no caller: whoever waits for a key drives them, or the spawner given to
/// [`spawner`](crate::LoadingBuilder::spawner) does. They may ask the same cache for other keys. For
/// closures there are [`from_fn`] and [`blocking`].
///
/// ```
/// use larder::{Cache, loader::{Loaded, Loader}};
///
/// # struct Database;
/// # impl Database { async fn query(&self, id: u64) -> Result<Option<String>, std::io::Error> { Ok(Some(id.to_string())) } }
/// struct Users(Database);
///
/// impl Loader<u64, String> for Users {
///     type Error = std::io::Error;
///
///     async fn load(&self, id: &u64) -> Result<Loaded<String>, Self::Error> {
///         Ok(self.0.query(*id).await?.into())
///     }
/// }
///
/// let users = Cache::builder().capacity(1000).loader(Users(Database)).build();
/// assert_eq!(users.get(&7).unwrap(), "7");
/// ```
pub trait Loader<K, V>: Send + Sync + 'static {
    /// What can go wrong. It is shared by all who wait, in an `Arc`.
    type Error: Send + Sync + 'static;

    /// Whether the futures of [`load`](Self::load) are always ready when they are first polled, as
    /// those of code that blocks are. Then a load costs no allocation unless a
    /// [`spawner`](crate::LoadingBuilder::spawner) is to run it. (A future that waits after all is
    /// taken for one that panicked.)
    const IS_BLOCKING: bool = false;

    /// Loads the value of `key`. Runs under no lock, alone for this key. A panic becomes
    /// [`LoadError::Panicked`](crate::LoadError::Panicked).
    fn load(&self, key: &K) -> impl Future<Output = Result<Loaded<V>, Self::Error>> + Send;

    /// Loads the values of several keys, none of which occurs twice, and answers with one result for
    /// each, in their order. Keys for which there is none (the answer is too short) count as not
    /// found.
    ///
    /// By default every key is loaded on its own, all at the same time; one that panics is
    /// [`LoadError::Panicked`](crate::LoadError::Panicked) and does not keep the others from coming.
    ///
    /// # Errors
    /// If nothing could be loaded at all: the error then holds for every key.
    fn load_many(&self, keys: &[K]) -> impl Future<Output = LoadedMany<V, Self::Error>> + Send
    where
        K: Sync,
        V: Send,
    {
        let load = async move |key| self.load(key).await;
        async move { Ok(all(keys.iter().map(load).collect()).await) }
    }
}

/// A loader that others have a hand on too.
impl<K: Sync, V: Send, L: Loader<K, V>> Loader<K, V> for Arc<L> {
    type Error = L::Error;

    const IS_BLOCKING: bool = L::IS_BLOCKING;

    fn load(&self, key: &K) -> impl Future<Output = Result<Loaded<V>, Self::Error>> + Send {
        L::load(self, key)
    }

    fn load_many(&self, keys: &[K]) -> impl Future<Output = LoadedMany<V, Self::Error>> + Send {
        L::load_many(self, keys)
    }
}

/// What a loader found for many keys, in their order; or why nothing could be loaded at all.
pub type LoadedMany<V, E> = Result<Vec<Result<Loaded<V>, E>>, E>;

/// What a loader found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<V> {
    pub(super) value: Option<V>,
    pub(super) time_to_live: Option<Duration>,
    /// Whether it is for later callers, too.
    pub(super) is_kept: bool,
    /// There is none, as this one of several panicked.
    pub(super) has_panicked: bool,
}

impl<V> Loaded<V> {
    /// A value.
    #[must_use]
    pub fn new(value: V) -> Self {
        Self::from(Some(value))
    }

    /// There is no such thing. It is remembered if the cache was built with
    /// [`negative_ttl`](crate::LoadingBuilder::negative_ttl), or if this is given a lifetime.
    #[must_use]
    pub fn not_found() -> Self {
        Self::from(None)
    }

    /// It lives that long at most; where other rules apply to a value, the nearest deadline wins. That
    /// there is no value is remembered for just that long.
    #[must_use]
    pub fn with_ttl(self, time_to_live: Duration) -> Self {
        Self { time_to_live: Some(time_to_live), ..self }
    }

    /// It goes to those who wait for it, and is not kept: the next who asks for the key has it loaded
    /// again. What was kept of the key before goes, too, with the cause
    /// [`Replaced`](crate::RemovalCause::Replaced). For an answer that holds only once, or that must not
    /// be stored; of [`not_found`](Self::not_found) that there is no value is not remembered then.
    ///
    /// A [lifetime](Self::with_ttl) of zero says less: what is past its time may still be served while it
    /// is loaded anew
    /// ([`stale_while_revalidate`](crate::LoadingBuilder::stale_while_revalidate)) or if that fails
    /// ([`stale_if_error`](crate::LoadingBuilder::stale_if_error)).
    ///
    /// ```
    /// use larder::{Cache, loader::{self, Loaded}};
    ///
    /// # struct Page { body: String, is_private: bool }
    /// # fn fetch(url: &str) -> Result<Page, std::io::Error> { Ok(Page { body: url.into(), is_private: url.contains("/me") }) }
    /// let pages = Cache::<String, String>::builder()
    ///     .capacity(1000)
    ///     .loader(loader::blocking(|url: &String| {
    ///         let page = fetch(url)?;
    ///         let loaded = Loaded::new(page.body);
    ///         Ok::<_, std::io::Error>(if page.is_private { loaded.not_kept() } else { loaded })
    ///     }))
    ///     .build();
    /// assert!(pages.get("/me").is_ok() && pages.get("/").is_ok());
    /// assert_eq!((pages.get_if_present("/me"), pages.len()), (None, 1));
    /// ```
    #[must_use]
    pub fn not_kept(self) -> Self {
        Self { is_kept: false, ..self }
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        Self { value, time_to_live: None, is_kept: true, has_panicked: false }
    }
}

/// A loader made of an async closure, or of a closure that returns a future: one that captures anything
/// must be of the second kind, and give each future its own.
///
/// ```
/// use larder::{Cache, loader};
/// let squares = Cache::builder()
///     .capacity(100)
///     .loader(loader::from_fn(async |n: u64| Ok::<u64, std::io::Error>(n * n)))
///     .build();
/// assert_eq!(squares.get(&7).unwrap(), 49);
///
/// let names = std::sync::Arc::new(["ada", "bob"]);
/// let load = move |n: usize| {
///     let names = names.clone();
///     async move { Ok::<_, std::io::Error>(names.get(n).copied()) }
/// };
/// let people = Cache::<usize, &str>::builder().capacity(100).loader(loader::from_fn(load)).build();
/// assert_eq!(people.get(&1).unwrap(), "bob");
/// ```
#[must_use]
pub fn from_fn<F>(load: F) -> FromFn<F> {
    FromFn(load)
}

/// See [`from_fn`].
pub struct FromFn<F>(F);

impl<K, V, L, E, F, R> Loader<K, V> for FromFn<F>
where
    K: Clone + Sync,
    V: Send,
    F: Fn(K) -> R + Send + Sync + 'static,
    R: Future<Output = Result<L, E>> + Send,
    L: Into<Loaded<V>>,
    E: Send + Sync + 'static,
{
    type Error = E;

    fn load(&self, key: &K) -> impl Future<Output = Result<Loaded<V>, E>> + Send {
        let load = (self.0)(key.clone());
        async move { load.await.map(Into::into) }
    }
}

/// A loader made of a closure that blocks: it runs on the thread of the caller who asked first, or
/// wherever [`spawner`](crate::LoadingBuilder::spawner) puts it. In async code give one that uses
/// the runtime's threads for blocking work (tokio's `spawn_blocking`).
///
/// ```
/// use larder::{Cache, loader};
/// let lengths = Cache::<String, usize>::builder()
///     .capacity(100)
///     .loader(loader::blocking(|word: &String| Ok::<_, std::io::Error>(word.len())))
///     .build();
/// assert_eq!(lengths.get("three").unwrap(), 5);
/// ```
pub fn blocking<F>(load: F) -> Blocking<F> {
    Blocking(load)
}

/// See [`blocking`].
pub struct Blocking<F>(F);

impl<K, V, L, E, F> Loader<K, V> for Blocking<F>
where
    K: Sync,
    V: Send,
    F: Fn(&K) -> Result<L, E> + Send + Sync + 'static,
    L: Into<Loaded<V>>,
    E: Send + Sync + 'static,
{
    type Error = E;

    const IS_BLOCKING: bool = true;

    async fn load(&self, key: &K) -> Result<Loaded<V>, E> {
        (self.0)(key).map(Into::into)
    }
}

/// Polls all loads until each is done or has panicked; the results are in their order.
async fn all<V, E>(
    futures: Vec<impl Future<Output = Result<Loaded<V>, E>>>,
) -> Vec<Result<Loaded<V>, E>> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (future, result) in futures.iter_mut().filter(|(_, result)| result.is_none()) {
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
                Ok(Poll::Ready(ready)) => *result = Some(ready),
                Ok(Poll::Pending) => is_done = false,
                Err(panic) => {
                    forget_panic::<()>(Err(panic));
                    *result = Some(Ok(Loaded { has_panicked: true, ..Loaded::not_found() }));
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().map(|(_, result)| result.expect("all are done")).collect()
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Blocking<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}
