//! The two kinds of cache, as the model sees them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use larder::{
    Builder, Cache, Compute, LoadError, LoadingBuilder, LoadingCache,
    loader::{Loaded, LoadedMany, Loader},
    policy::AnyPolicy,
    time::ManualTicker,
};
use proptest::prelude::*;

use super::{
    TAGS, TTL,
    book::{Answer, Shelf, Value, Why},
    memory::Keeping,
    tasks::Task,
};

#[derive(Clone, Debug)]
pub struct Options {
    pub policy: &'static str,
    pub capacity: u64,
    pub stripes: usize,
    pub spawns: bool,
    pub keeping: Keeping,
}

/// A way of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For a value.
    Get,
    /// The same, with another type of error, if the caller brings the load.
    Other,
    /// The same, so that others may drive the load on.
    Shared,
    /// Through an entry.
    Entry,
    /// Through an entry that is held for a while, and then changed.
    Hold,
    /// To have it loaded anew.
    Refresh,
    /// For three at once.
    Many,
    /// Not a caller, but a load in the background.
    Load,
}

impl Arbitrary for Kind {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> BoxedStrategy<Self> {
        prop_oneof![
            4 => Just(Self::Get),
            1 => Just(Self::Other),
            2 => Just(Self::Shared),
            1 => Just(Self::Entry),
            1 => Just(Self::Hold),
            2 => Just(Self::Refresh),
            2 => Just(Self::Many),
        ]
        .boxed()
    }
}

impl Kind {
    /// Whether a stored value is the answer, without waiting.
    pub fn is_served_at_once(self) -> bool {
        matches!(self, Self::Get | Self::Other | Self::Shared)
    }
}

/// A cache.
pub trait Subject: Clone {
    /// Whether a load that finds nothing removes what there was.
    const FORGETS: bool;

    fn new(options: &Options, shelf: &Shelf, ticker: &ManualTicker) -> Self;
    fn ask(&self, keys: &[u16], kind: Kind, shelf: &Shelf) -> Task<Vec<Answer>>;
    /// Asks in blocking code; `during` is run in the middle of the load, if that can be done.
    fn block(&self, key: u16, shelf: &Shelf, during: impl FnMut()) -> Answer;
    fn insert(&self, key: u16, value: Value) -> Option<Value>;
    /// Whether it was inserted; `None` if there is no such thing.
    fn insert_if_absent(&self, key: u16, value: Value) -> Option<bool>;
    fn replace_if(&self, key: u16, value: Value, wanted: bool) -> Option<bool>;
    fn remove(&self, key: u16) -> Option<Value>;
    fn peek(&self, key: u16) -> Option<Value>;
    fn clear(&self);
    fn retain(&self, keep: impl Fn(&Value) -> bool);
    fn remove_tag(&self, tag: u16);
    fn set_capacity(&self, capacity: u64);
    fn weight(&self) -> u64;
    fn flights(&self) -> usize;
    fn validate(&self);
}

/// The same in every run, so that what fails fails again.
type Fixed = BuildHasherDefault<DefaultHasher>;

fn builder(
    options: &Options,
    shelf: &Shelf,
    ticker: &ManualTicker,
) -> Builder<u16, Value, AnyPolicy, Fixed> {
    let shelf = shelf.clone();
    Cache::<u16, Value>::builder()
        .capacity(options.capacity)
        .stripes(options.stripes)
        .policy(options.policy.parse::<AnyPolicy>().expect("a listed name"))
        .hasher(Fixed::default())
        .clock(ticker.clone())
        .time_to_live(Duration::from_millis(TTL))
        .tags(|key, _| [key % TAGS])
        .stats(true)
        .on_removal(move |_, value: &Value, removal| shelf.report(value, removal.cause))
}

fn answer(result: Result<Value, LoadError<Why>>) -> Answer {
    result.map_err(|error| match error {
        LoadError::Failed(why) => Why::clone(&why),
        LoadError::NotFound => Why::NotFound,
        LoadError::Panicked => Why::Panicked,
        other => Why::Other(format!("{other:?}")),
    })
}

/// The one answer about the one key.
async fn single(load: impl Future<Output = Vec<Answer>>) -> Answer {
    load.await.pop().expect("one key")
}

/// A cache whose callers bring their loads.
#[derive(Clone)]
pub struct Adhoc(Cache<u16, Value, AnyPolicy, Fixed>);

/// An error of another type.
struct Other(Why);

impl Subject for Adhoc {
    const FORGETS: bool = false;

    fn new(options: &Options, shelf: &Shelf, ticker: &ManualTicker) -> Self {
        Self(builder(options, shelf, ticker).build())
    }

    fn ask(&self, keys: &[u16], kind: Kind, shelf: &Shelf) -> Task<Vec<Answer>> {
        let (cache, key) = (self.0.clone(), keys[0]);
        let load = single(shelf.load(vec![key]));
        match kind {
            Kind::Other => Task::new(async move {
                let load = async { load.await.map_err(Other) };
                let got = cache.try_get_or_insert_async(&key, load).await;
                vec![answer(got.map_err(|error| match error {
                    LoadError::Failed(other) => LoadError::Failed(Arc::new(other.0.clone())),
                    _ => LoadError::Reentrant,
                }))]
            }),
            Kind::Shared => {
                Task::new(
                    async move { vec![answer(cache.try_get_or_insert_shared(&key, load).await)] },
                )
            }
            Kind::Entry => Task::new(async move {
                vec![cache.entry_async(key).await.or_try_insert_async(load).await]
            }),
            Kind::Hold => {
                let shelf = shelf.clone();
                Task::new(async move {
                    let entry = cache.entry_async(key).await;
                    // What comes of it may be stored: only if nobody wrote meanwhile.
                    let Ok(value) = load.await else { return vec![] };
                    shelf.entered_last(entry.get());
                    vec![Ok(entry.compute(|_| Compute::Put(value)).expect("was put"))]
                })
            }
            _ => Task::new(
                async move { vec![answer(cache.try_get_or_insert_async(&key, load).await)] },
            ),
        }
    }

    fn block(&self, key: u16, shelf: &Shelf, mut during: impl FnMut()) -> Answer {
        let mut load = Task::new(single(shelf.load(vec![key])));
        let load = || {
            let told = shelf.take_next();
            assert!(load.poll().is_pending());
            during();
            shelf.tell_last(told);
            match load.poll() {
                std::task::Poll::Ready(answer) => answer,
                std::task::Poll::Pending => unreachable!("it was told"),
            }
        };
        answer(self.0.try_get_or_insert_with(&key, load))
    }

    fn insert(&self, key: u16, value: Value) -> Option<Value> {
        self.0.insert(key, value)
    }

    fn insert_if_absent(&self, key: u16, value: Value) -> Option<bool> {
        Some(self.0.insert_if_absent(key, value).is_ok())
    }

    fn replace_if(&self, key: u16, value: Value, wanted: bool) -> Option<bool> {
        Some(self.0.replace_if(key, value, |_| wanted).is_ok())
    }

    fn remove(&self, key: u16) -> Option<Value> {
        self.0.remove(&key)
    }

    fn peek(&self, key: u16) -> Option<Value> {
        self.0.peek(&key)
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn retain(&self, keep: impl Fn(&Value) -> bool) {
        self.0.retain(|_, value| keep(value));
    }

    fn remove_tag(&self, tag: u16) {
        self.0.remove_tag(&tag);
    }

    fn set_capacity(&self, capacity: u64) {
        self.0.set_capacity(capacity);
    }

    fn weight(&self) -> u64 {
        self.0.weight()
    }

    fn flights(&self) -> usize {
        self.0.flights()
    }

    fn validate(&self) {
        self.0.validate();
    }
}

/// Loads from the book.
pub struct FromBook(Shelf);

fn loaded(answer: Answer) -> Result<Loaded<Value>, Why> {
    match answer {
        Err(Why::NotFound) => Ok(Loaded::not_found()),
        other => other.map(Loaded::new),
    }
}

impl Loader<u16, Value> for FromBook {
    type Error = Why;

    async fn load(&self, key: &u16) -> Result<Loaded<Value>, Why> {
        loaded(single(self.0.load(vec![*key])).await)
    }

    async fn load_many(&self, keys: &[u16]) -> LoadedMany<Value, Why> {
        let answers = self.0.load(keys.to_vec()).await;
        Ok(answers.into_iter().map(loaded).collect())
    }
}

fn keep<L, P, S>(
    mut loading: LoadingBuilder<u16, Value, L, P, S>,
    keeping: Keeping,
) -> LoadingBuilder<u16, Value, L, P, S> {
    if let Some(negative) = keeping.negative {
        loading = loading.negative_ttl(Duration::from_millis(negative));
    }
    if let Some((first, most)) = keeping.backoff {
        let (first, most) = (Duration::from_millis(first), Duration::from_millis(most));
        loading = loading.error_backoff(first, most);
    }
    if let Some(age) = keeping.refresh {
        loading = loading.refresh_after(Duration::from_millis(age));
    }
    loading
        .stale_while_revalidate(Duration::from_millis(keeping.stale))
        .stale_if_error(Duration::from_millis(keeping.error))
}

/// A cache with a loader.
#[derive(Clone)]
pub struct Loading(LoadingCache<u16, Value, FromBook, AnyPolicy, Fixed>);

impl Subject for Loading {
    const FORGETS: bool = true;

    fn new(options: &Options, shelf: &Shelf, ticker: &ManualTicker) -> Self {
        let loading = builder(options, shelf, ticker).loader(FromBook(shelf.clone()));
        let loading = keep(loading, options.keeping);
        if !options.spawns {
            return Self(loading.build());
        }
        let shelf = shelf.clone();
        Self(loading.spawner(move |load| shelf.spawn(load)).build())
    }

    fn ask(&self, keys: &[u16], kind: Kind, _: &Shelf) -> Task<Vec<Answer>> {
        let (cache, keys) = (self.0.clone(), keys.to_vec());
        Task::new(async move {
            match kind {
                Kind::Refresh => vec![answer(cache.refresh_async(&keys[0]).await)],
                Kind::Many => cache.get_many_async(&keys).await.into_iter().map(answer).collect(),
                _ => vec![answer(cache.get_async(&keys[0]).await)],
            }
        })
    }

    fn block(&self, key: u16, _: &Shelf, _: impl FnMut()) -> Answer {
        answer(self.0.get(&key))
    }

    fn insert(&self, key: u16, value: Value) -> Option<Value> {
        self.0.insert(key, value)
    }

    fn insert_if_absent(&self, _: u16, _: Value) -> Option<bool> {
        None
    }

    fn replace_if(&self, _: u16, _: Value, _: bool) -> Option<bool> {
        None
    }

    fn remove(&self, key: u16) -> Option<Value> {
        self.0.remove(&key)
    }

    fn peek(&self, key: u16) -> Option<Value> {
        self.0.get_if_present(&key)
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn retain(&self, keep: impl Fn(&Value) -> bool) {
        self.0.retain(|_, value| keep(value));
    }

    fn remove_tag(&self, tag: u16) {
        self.0.remove_tag(&tag);
    }

    fn set_capacity(&self, capacity: u64) {
        self.0.set_capacity(capacity);
    }

    fn weight(&self) -> u64 {
        self.0.weight()
    }

    fn flights(&self) -> usize {
        self.0.flights()
    }

    fn validate(&self) {
        self.0.validate();
    }
}
