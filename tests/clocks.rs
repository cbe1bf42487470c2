//! Clocks that go backwards (P9).

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::for_each_kind;
use larder::time::Ticker;

const SECOND: Duration = Duration::from_secs(1);

/// A ticker that is set, also backwards.
#[derive(Clone, Debug, Default)]
struct Settable(Arc<AtomicU64>);

impl Settable {
    fn set(&self, to: Duration) {
        self.0.store(to.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Ticker for Settable {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn a_clock_that_goes_backwards_breaks_nothing_p9() {
    for_each_kind(|kind| {
        let ticker = Settable::default();
        ticker.set(1000 * SECOND);
        let cache = kind
            .builder::<u64, u64>(100)
            .clock(ticker.clone())
            .time_to_live(10 * SECOND)
            .time_to_idle(8 * SECOND)
            .build();
        let mut state = 3_u64;
        for round in 0..500 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ticker.set(Duration::from_millis(500_000 + (state >> 32) % 1_000_000));
            let key = round % 50;
            cache.insert(key, round);
            assert_eq!(cache.get(&key), Some(round), "written just now");
            cache.get(&(round * 7 % 50));
            if round % 10 == 0 {
                cache.run_maintenance();
                cache.validate();
            }
        }
        // Forward again: all of it goes.
        ticker.set(10_000 * SECOND);
        assert_eq!((0..50).find(|key| cache.get(key).is_some()), None);
        cache.run_maintenance();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
        cache.validate();
    });
}
