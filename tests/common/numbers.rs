//! A loader of numbers, and caches that have it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use larder::{
    Cache, LoadError, LoadingCache,
    loader::{Loaded, Loader},
};

use super::tasks::{Gate, Task};

/// Loads numbers: of each key the next one, once told so.
#[derive(Clone, Default)]
pub struct Numbers {
    gate: Arc<Mutex<Gate>>,
    pub loads: Arc<AtomicU32>,
}

impl Numbers {
    /// From now on loads wait at this gate.
    pub fn close(&self) -> Gate {
        let gate = Gate::new();
        *self.gate.lock().unwrap() = gate.clone();
        gate
    }

    pub fn open() -> Self {
        let numbers = Self::default();
        numbers.close().open();
        numbers
    }
}

impl Loader<String, u32> for Numbers {
    type Error = &'static str;

    async fn load(&self, _: &String) -> Result<Loaded<u32>, Self::Error> {
        let number = self.loads.fetch_add(1, SeqCst) + 1;
        let gate = self.gate.lock().unwrap().clone();
        gate.pass().await;
        Ok(number.into())
    }
}

pub type Loading = LoadingCache<String, u32, Numbers>;

pub fn loading(numbers: &Numbers) -> Loading {
    Cache::builder().capacity(100).stats(true).loader(numbers.clone()).build()
}

pub fn get(cache: &Loading, key: &'static str) -> Task<Result<u32, LoadError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.get_async(key).await })
}

pub fn refresh(cache: &Loading, key: &'static str) -> Task<Result<u32, LoadError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.refresh_async(key).await })
}

/// A cache without a loader.
pub type Plain = Cache<String, u32>;

pub fn cache() -> Plain {
    Cache::builder().capacity(100).stats(true).tags(|_, value: &u32| [*value]).build()
}

pub fn ask(
    cache: &Plain,
    key: &'static str,
    load: impl Future<Output = u32> + 'static,
) -> Task<u32> {
    let cache = cache.clone();
    Task::new(async move { cache.get_or_insert_async(key, load).await })
}
