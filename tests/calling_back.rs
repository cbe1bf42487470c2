//! The user's code may call the cache, and where it may not is refused, not hung (P14).

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Constant, for_each_kind};
use larder::{Cache, Expiry, policy::AnyPolicy};

/// The way back from the user's code to the cache. To be cut at the end, as it closes a circle.
struct WayBack<C>(Arc<Mutex<Option<C>>>);

impl<C> Clone for WayBack<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Default for WayBack<C> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C: Clone> WayBack<C> {
    fn get(&self) -> Option<C> {
        self.0.lock().unwrap().clone()
    }

    fn set(&self, cache: &C) {
        *self.0.lock().unwrap() = Some(cache.clone());
    }

    fn cut(&self) {
        let cache = self.0.lock().unwrap().take();
        drop(cache);
    }
}

type Back = WayBack<Cache<u64, u64, AnyPolicy>>;

fn call(back: &Back, key: u64) {
    if let Some(cache) = back.get() {
        cache.get(&key);
        cache.insert(key + 1000, 1);
        cache.remove(&(key + 1000));
        cache.insert(key, 2);
        cache.run_maintenance();
        assert!(cache.weight() <= cache.capacity());
    }
}

thread_local! {
    static NESTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `inner` unless it is running already.
fn once(inner: impl FnOnce()) {
    if !NESTED.replace(true) {
        inner();
        NESTED.set(false);
    }
}

#[test]
fn the_listener_may_call_the_cache_p14() {
    for_each_kind(|kind| {
        let back = Back::default();
        let weak = back.clone();
        let depth = AtomicU64::new(0);
        let cache = kind
            .builder::<u64, u64>(10)
            .on_removal(move |&key, _, _| {
                if depth.fetch_add(1, Ordering::Relaxed) < 400 {
                    call(&weak, key);
                }
            })
            .build();
        back.set(&cache);
        for key in 0..50 {
            cache.insert(key, 0);
        }
        cache.clear();
        cache.validate();
        back.cut();
    });
}

struct Calling(Back);

impl Expiry<u64, u64> for Calling {
    fn after_create(&self, &key: &u64, _: &u64) -> Option<Duration> {
        once(|| call(&self.0, key));
        None
    }

    fn after_read(&self, &value: &u64, remaining: Option<Duration>) -> Option<Duration> {
        once(|| call(&self.0, value));
        remaining
    }

    fn watches_reads(&self) -> bool {
        true
    }
}

#[test]
fn weigher_expiry_and_tags_may_call_the_cache_p14() {
    for &policy in common::POLICIES {
        let back = Back::default();
        let (weigher, tagger) = (back.clone(), back.clone());
        let cache = Cache::<u64, u64>::builder()
            .capacity(20)
            .policy(policy.parse::<AnyPolicy>().unwrap())
            .weigher(move |&key, _| {
                once(|| call(&weigher, key));
                1
            })
            .tags(move |&key, _| {
                once(|| call(&tagger, key));
                [key]
            })
            .expiry(Calling(back.clone()))
            .build();
        back.set(&cache);
        for key in 0..60 {
            cache.insert(key, key);
            cache.get(&(key / 2));
        }
        cache.validate();
        back.cut();
    }
}

#[test]
fn drop_may_call_the_cache_p14() {
    #[derive(Clone)]
    struct Dropping(u64, WayBack<Cache<u64, Dropping, AnyPolicy>>);
    impl Drop for Dropping {
        fn drop(&mut self) {
            if let Some(cache) = self.1.get() {
                once(|| {
                    cache.get(&self.0);
                    cache.insert(self.0 + 7, Self(self.0 + 7, self.1.clone()));
                    cache.remove(&(self.0 + 7));
                });
            }
        }
    }
    for_each_kind(|kind| {
        let back = WayBack::default();
        let cache = kind.builder::<u64, Dropping>(10).build();
        back.set(&cache);
        for key in 0..60 {
            cache.insert(key % 25, Dropping(key, back.clone()));
        }
        cache.retain(|key, _| key % 2 == 0);
        back.cut();
        cache.clear();
        cache.validate();
    });
}

#[test]
fn an_entry_closure_may_use_other_keys_and_is_told_of_its_own_p14() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(100).build();
        let sum = cache.entry(1).or_insert_with(|| {
            let two = cache.entry(2).or_insert_with(|| cache.entry(3).or_insert(3) + 1);
            cache.insert(9, 9);
            two + 1
        });
        assert_eq!(
            (sum, cache.get(&1), cache.get(&2), cache.get(&3)),
            (5, Some(5), Some(4), Some(3))
        );
        let nested = catch_unwind(AssertUnwindSafe(|| {
            cache.entry(7).or_insert_with(|| cache.entry(7).or_insert(1))
        }));
        let message = nested.expect_err("would wait for itself");
        assert!(
            message.downcast_ref::<String>().is_some_and(|m| m.contains("by this very thread"))
        );
        // The claim was given back.
        assert_eq!(cache.entry(7).or_insert(5), 5);
        cache.validate();
    });
}

/// Calls the cache from where it may not be called: refused with a message, never hung.
#[test]
#[expect(clippy::too_many_lines, reason = "a list of what may panic or call")]
fn calling_the_cache_under_its_lock_is_refused_not_hung_p14() {
    struct Probe(u64, WayBack<Cache<Probe, Arc<u64>, AnyPolicy, Constant>>);
    impl Probe {
        fn probe(&self) {
            if let Some(cache) = self.1.get() {
                once(|| {
                    let call = || {
                        cache.insert(Self(70, WayBack::default()), Arc::new(1));
                    };
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
                        let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
                        assert!(text.contains("would have to wait for a lock"), "{text}");
                        REFUSED.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
    }
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    impl Hash for Probe {
        fn hash<H: Hasher>(&self, _: &mut H) {
            self.probe();
        }
    }
    impl PartialEq for Probe {
        fn eq(&self, other: &Self) -> bool {
            self.probe();
            self.0 == other.0
        }
    }
    impl Eq for Probe {}
    for &policy in common::POLICIES {
        let back = WayBack::default();
        let cache = Cache::<Probe, Arc<u64>>::builder()
            .capacity(60)
            .stripes(1)
            .policy(policy.parse::<AnyPolicy>().unwrap())
            .hasher(Constant(0))
            .build();
        back.set(&cache);
        for id in 0..200 {
            cache.insert(Probe(id % 90, back.clone()), Arc::new(id));
            cache.get(&Probe(id / 2, back.clone()));
            cache.remove(&Probe(id / 3, back.clone()));
        }
        cache.read(&Probe(199 % 90, back.clone()), |_| once(|| {}));
        cache.validate();
        back.cut();
    }
    assert!(REFUSED.load(Ordering::Relaxed) > 0);
    let cache = Cache::<u64, u64>::builder().capacity(10).stripes(1).hasher(Constant(0)).build();
    cache.insert(1, 1);
    let again: [&dyn Fn(); 4] = [
        &|| drop(cache.read(&1, |_| cache.get(&1))),
        &|| drop(cache.remove_if(&1, |_| cache.insert(2, 2).is_none())),
        &|| drop(cache.replace_if(1, 2, |_| cache.get(&1).is_some())),
        &|| cache.retain(|_, _| cache.insert(3, 3).is_none()),
    ];
    for call in again {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        cache.validate();
    }
    assert_eq!(cache.get(&1), Some(1));
}
