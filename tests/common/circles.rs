//! Loads that ask for other keys, of one cache and in tasks, for the tests of circles and of what is none.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{future::poll_fn, pin::pin, task::Poll};

use larder::{Cache, LoadError};

use crate::tasks::{Gate, Task};

pub type Plain = Cache<u32, u32>;
pub type Answer = Result<u32, LoadError<&'static str>>;

/// What a load answers that was told that it would wait for itself.
pub const CIRCLE: &str = "a circle";

pub fn plain() -> Plain {
    Cache::new(100)
}

/// What the load that asked for it makes of another's.
pub fn next(answer: Answer) -> Result<u32, &'static str> {
    match answer {
        Ok(value) => Ok(value + 1),
        Err(LoadError::Reentrant) => Err(CIRCLE),
        Err(error) => Err(error.into_failure().map_or("something else", |failure| *failure)),
    }
}

/// A task that loads `key` by asking for `other` once the gate is open.
pub fn in_tasks(cache: &Plain, key: u32, gate: &Gate, other: u32) -> Task<Answer> {
    let (cache, gate) = (cache.clone(), gate.clone());
    Task::new(async move {
        let load = async {
            gate.pass().await;
            next(cache.try_get_or_insert_async(&other, async { Err("alone") }).await)
        };
        cache.try_get_or_insert_async(&key, load).await
    })
}

/// Waits for what is computed elsewhere, and opens the gate when it has begun to.
pub async fn wait_and_open<T>(wait: impl Future<Output = T>, gate: Gate) -> T {
    let mut wait = pin!(wait);
    poll_fn(|context| {
        let waits = wait.as_mut().poll(context).is_pending();
        gate.open();
        assert!(waits, "nobody else computes it");
        Poll::Ready(())
    })
    .await;
    wait.await
}
