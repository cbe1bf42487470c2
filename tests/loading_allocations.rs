//! P3: a hit allocates nothing, in blocking and in async code. A test binary of its own, as it counts
//! every allocation of the process.

#![allow(unsafe_code, reason = "a global allocator cannot be written otherwise")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use larder::{Cache, loader, time::ManualTicker};

struct Counting;

thread_local! {
    /// What this thread allocated; other tests have threads of their own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those asked for here.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Checks that `work` allocates nothing, once it has been done for a while: what the default policy
/// learns from, which some hits feed, grows to its full size at first.
fn allocates_nothing(what: &str, mut work: impl FnMut()) {
    (0..10_000).for_each(|_| work());
    let before = ALLOCATIONS.get();
    (0..1000).for_each(|_| work());
    assert_eq!(ALLOCATIONS.get() - before, 0, "{what} allocates");
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => unreachable!("it is there"),
    }
}

#[test]
fn hits_of_callers_own_loads_allocate_nothing_p3() {
    let cache = Cache::<String, u64>::builder().capacity(100).stats(true).build();
    cache.insert("a".into(), 1);
    let load = || async { unreachable!("it is there") };
    let fail = || async { Err::<u64, String>(String::new()) };
    allocates_nothing("get", || assert_eq!(cache.get("a"), Some(1)));
    allocates_nothing("get_or_insert_with", || {
        assert_eq!(cache.get_or_insert_with("a", || unreachable!("it is there")), 1);
    });
    allocates_nothing("try_get_or_insert_with", || {
        let load = || Err::<u64, String>(String::new());
        assert!(cache.try_get_or_insert_with("a", load).is_ok());
    });
    allocates_nothing("get_or_insert_async", || {
        assert_eq!(now(cache.get_or_insert_async("a", load())), 1);
    });
    allocates_nothing("try_get_or_insert_async", || {
        assert!(now(cache.try_get_or_insert_async("a", fail())).is_ok());
    });
    allocates_nothing("get_or_insert_shared", || {
        assert_eq!(now(cache.get_or_insert_shared("a", load())), 1);
    });
}

#[test]
fn hits_of_the_loaders_loads_allocate_nothing_p3() {
    let cache = Cache::<String, u64>::builder()
        .capacity(100)
        .stats(true)
        .loader(loader::from_fn(async |key: String| Ok::<u64, String>(key.len() as u64)))
        .build();
    assert_eq!(cache.get("a"), Ok(1));
    allocates_nothing("get", || assert_eq!(cache.get("a"), Ok(1)));
    allocates_nothing("get_async", || assert_eq!(now(cache.get_async("a")), Ok(1)));
    allocates_nothing("get_if_present", || assert_eq!(cache.get_if_present("a"), Some(1)));
}

#[test]
fn remembered_errors_are_served_without_allocating_p3() {
    let builder = Cache::<u64, u64>::builder().capacity(10).clock(ManualTicker::new());
    let cache = builder
        .loader(loader::blocking(|_: &u64| Err::<u64, String>("no".into())))
        .error_backoff(Duration::from_secs(10), Duration::from_secs(10))
        .build();
    allocates_nothing("get", || assert!(cache.get(&1).is_err()));
}
