//! How caches lose values, hang or serve what was removed, when loads meet cancellation, panics and
//! writes: a test for each way that was seen in another cache (named where it is), and for each that
//! was found here.

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

#[path = "common/tasks.rs"]
mod tasks;

use std::{sync::Arc, task::Poll, time::Duration};

use larder::{Cache, Compute, LoadError};
use tasks::{Gate, Task};

type Plain = Cache<String, u32>;

fn cache() -> Plain {
    Cache::builder().capacity(100).stats(true).tags(|_, value: &u32| [*value]).build()
}

/// Runs a closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What was removed while an entry computed it is not stored: there is no version by which to see
/// that something came and went.
#[test]
fn a_removal_during_a_computation_of_an_absent_key_wins_p16() {
    let ways: &[fn(&Plain)] = &[
        |cache| drop(cache.remove("a")),
        |cache| {
            cache.insert("a".into(), 2);
            cache.remove("a");
        },
        Cache::clear,
        |cache| cache.retain(|_, _| true),
        |cache| drop(cache.remove_tag(&1)),
        |cache| {
            cache.insert("b".into(), 1);
            cache.remove_tag(&1);
        },
    ];
    for overtake in ways {
        let cache = cache();
        let computed = cache.entry("a".into()).compute(|_| {
            overtake(&cache);
            Compute::Put(1)
        });
        assert_eq!((computed, cache.get("a")), (Some(1), None));
        let loaded = cache.entry("a".into()).or_insert_with(|| {
            overtake(&cache);
            1
        });
        assert_eq!((loaded, cache.get("a")), (1, None));
        cache.validate();
    }
}

/// A load that is dropped is gone before another may begin: what it holds (a lock on a file, a
/// transaction) is free for the next.
#[test]
fn a_dropped_load_ends_before_the_next_begins_p15() {
    let cache = cache();
    let (seen, told) = std::sync::mpsc::channel();
    let mut led = Task::new({
        let cache = cache.clone();
        async move {
            let other = cache.clone();
            let load = async move {
                let _held = OnDrop(move || {
                    let load = || Ok::<_, ()>(2);
                    seen.send(other.try_get_or_insert_within("a", Duration::ZERO, load)).unwrap();
                });
                std::future::pending::<u32>().await
            };
            cache.get_or_insert_async("a", load).await
        }
    });
    assert!(led.poll().is_pending());
    drop(led);
    assert_eq!(told.recv(), Ok(Err(LoadError::TimedOut)), "the first was still there");
    assert_eq!(cache.get_or_insert_with("a", || 3), 3);
}
