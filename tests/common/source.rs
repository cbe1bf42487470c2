//! A source that answers by key, and caches that load from it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use larder::{
    Builder, Cache, LoadError, LoadingBuilder, LoadingCache,
    loader::{Loaded, Loader},
    time::ManualTicker,
};

use super::tasks::{Gate, Task};

pub const SECOND: Duration = Duration::from_secs(1);

/// What the source says of a key.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Value(u32),
    Lives(u32, Duration),
    Nothing,
    /// Not to be kept.
    Once(Option<u32>),
    Error(&'static str),
    Panic,
}

/// Answers by key; each load waits at the gate and is written down.
#[derive(Clone, Default)]
pub struct Source(Arc<Inner>);

#[derive(Default)]
struct Inner {
    answers: Mutex<HashMap<u32, Answer>>,
    calls: Mutex<Vec<Vec<u32>>>,
    gate: Mutex<Gate>,
}

impl Source {
    pub fn open() -> Self {
        let source = Self::default();
        source.0.gate.lock().unwrap().open();
        source
    }

    pub fn say(&self, key: u32, answer: Answer) {
        self.0.answers.lock().unwrap().insert(key, answer);
    }

    /// From now on loads wait at this gate.
    pub fn close(&self) -> Gate {
        let gate = Gate::new();
        *self.0.gate.lock().unwrap() = gate.clone();
        gate
    }

    pub fn calls(&self) -> Vec<Vec<u32>> {
        std::mem::take(&mut *self.0.calls.lock().unwrap())
    }

    pub fn answer(&self, key: u32) -> Result<Loaded<u32>, &'static str> {
        let answer = self.0.answers.lock().unwrap().get(&key).copied();
        match answer.unwrap_or(Answer::Value(key * 10)) {
            Answer::Value(value) => Ok(value.into()),
            Answer::Lives(value, lives) => Ok(Loaded::new(value).with_ttl(lives)),
            Answer::Nothing => Ok(Loaded::not_found()),
            Answer::Once(value) => Ok(Loaded::from(value).not_kept()),
            Answer::Error(error) => Err(error),
            Answer::Panic => panic!("as planned"),
        }
    }

    pub fn pass(&self, keys: &[u32]) -> impl Future<Output = ()> + Send + use<> {
        self.0.calls.lock().unwrap().push(keys.to_vec());
        self.0.gate.lock().unwrap().pass()
    }
}

impl Loader<u32, u32> for Source {
    type Error = &'static str;

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, Self::Error> {
        self.pass(&[*key]).await;
        self.answer(*key)
    }

    async fn load_many(
        &self,
        keys: &[u32],
    ) -> Result<Vec<Result<Loaded<u32>, Self::Error>>, Self::Error> {
        self.pass(keys).await;
        if let Some(Answer::Error("all")) = self.0.answers.lock().unwrap().get(&keys[0]) {
            return Err("all");
        }
        Ok(keys.iter().map(|key| self.answer(*key)).collect())
    }
}

pub type Loading = LoadingCache<u32, u32, Source>;

pub struct Setup {
    pub source: Source,
    pub ticker: ManualTicker,
    pub cache: Loading,
}

/// A cache over an open source, with these options.
pub fn setup(
    options: impl Fn(Builder<u32, u32>) -> Builder<u32, u32>,
    loading: impl Fn(LoadingBuilder<u32, u32, Source>) -> LoadingBuilder<u32, u32, Source>,
) -> Setup {
    let (source, ticker) = (Source::open(), ManualTicker::new());
    let builder = Cache::builder().capacity(1000).stats(true).clock(ticker.clone());
    let cache = loading(options(builder).loader(source.clone())).build();
    Setup { source, ticker, cache }
}

pub fn plain() -> Setup {
    setup(|builder| builder, |loading| loading)
}

pub fn get(cache: &Loading, key: u32) -> Task<Result<u32, LoadError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.get_async(&key).await })
}

pub fn failed(error: &'static str) -> LoadError<&'static str> {
    LoadError::Failed(Arc::new(error))
}
