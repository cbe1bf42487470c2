//! Corners of the engine: panics on top of panics, lifetimes that change as they are asked for.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use larder::Cache;

/// What a panic may carry: its drop panics too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("planned");
    }
}

#[test]
fn every_value_is_dropped_though_the_panics_of_their_drops_panic_when_dropped_p12() {
    #[derive(Clone)]
    struct Brittle(Arc<AtomicU64>);
    impl Drop for Brittle {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            if !std::thread::panicking() {
                panic_any(Bomb);
            }
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let cache = Cache::<u64, Brittle>::builder().capacity(100).stripes(1).build();
    (0..12).for_each(|key| _ = cache.insert(key, Brittle(Arc::clone(&dropped))));
    let panic = catch_unwind(AssertUnwindSafe(|| drop(cache))).expect_err("the first is passed on");
    std::mem::forget(panic);
    assert_eq!(dropped.load(Ordering::Relaxed), 12);
}
