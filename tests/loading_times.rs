//! The cache with a loader of its own: how long what was loaded lives, what is served past its time,
//! and what is remembered where there is no value.

#[path = "common/source.rs"]
mod source;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use larder::{Cache, LoadError, LoadingBuilder, Removal, RemovalCause, time::ManualTicker};
use source::{Answer, SECOND, Setup, Source, failed, get, plain, setup};
use tasks::Task;

#[test]
fn the_loaders_time_to_live_counts_and_the_nearest_wins() {
    let Setup { source, ticker, cache } =
        setup(|builder| builder.time_to_live(SECOND * 10), |loading| loading);
    source.say(1, Answer::Lives(1, SECOND * 5));
    source.say(2, Answer::Lives(2, SECOND * 50));
    assert_eq!((cache.get(&1), cache.get(&2)), (Ok(1), Ok(2)));
    assert_eq!(cache.fresh_for(&1), Some(SECOND * 5));
    ticker.advance(SECOND * 5);
    assert_eq!((cache.get_if_present(&1), cache.get_if_present(&2)), (None, Some(2)));
    ticker.advance(SECOND * 5);
    assert_eq!(cache.get_if_present(&2), None);
    cache.run_maintenance();
    assert!(cache.is_empty());
}

#[test]
fn nothing_found_is_remembered_for_its_time() {
    let Setup { source, ticker, cache } =
        setup(|builder| builder, |loading| loading.negative_ttl(SECOND));
    source.say(1, Answer::Nothing);
    assert_eq!(cache.get(&1), Err(LoadError::NotFound));
    source.say(1, Answer::Value(1));
    assert_eq!(cache.get(&1), Err(LoadError::NotFound));
    assert_eq!((cache.get_if_present(&1), cache.contains_key(&1), cache.len()), (None, false, 1));
    ticker.advance(SECOND);
    assert_eq!(cache.get(&1), Ok(1));
    assert_eq!(source.calls().len(), 2);
    source.say(2, Answer::Nothing);
    assert_eq!(cache.get(&2), Err(LoadError::NotFound));
    cache.insert(2, 22);
    assert_eq!(cache.get(&2), Ok(22), "a write wins over what was not found");
}

#[test]
fn what_is_known_instead_of_a_value_may_live_longer_than_values() {
    let Setup { source, ticker, cache } = setup(
        |builder| builder.time_to_live(SECOND),
        |loading| loading.negative_ttl(SECOND * 60).error_backoff(SECOND * 60, SECOND * 60),
    );
    source.say(1, Answer::Nothing);
    source.say(2, Answer::Error("down"));
    for _ in 0..40 {
        assert_eq!(cache.get(&1), Err(LoadError::NotFound));
        assert_eq!(cache.get(&2), Err(failed("down")));
        ticker.advance(SECOND);
    }
    assert_eq!(source.calls().len(), 2);
    ticker.advance(SECOND * 20);
    source.say(1, Answer::Value(1));
    assert_eq!((cache.get(&1), cache.get(&2)), (Ok(1), Err(failed("down"))));
    assert_eq!(source.calls().len(), 2, "both were tried again");
}

#[test]
fn what_a_removed_tag_overtook_is_not_remembered() {
    let Setup { source, cache, .. } = setup(
        |builder| builder.tags(|key, _| [key % 2]),
        |loading| loading.negative_ttl(SECOND).error_backoff(SECOND, SECOND),
    );
    assert_eq!(cache.get(&3), Ok(30), "the tag is known");
    for (key, answer) in [(1, Answer::Nothing), (5, Answer::Error("down"))] {
        source.say(key, answer);
        let gate = source.close();
        let mut early = get(&cache, key);
        assert!(early.poll().is_pending());
        assert!(cache.remove_tag(&1));
        gate.open();
        assert!(matches!(early.poll(), Poll::Ready(Err(_))), "given to who asked before");
        source.say(key, Answer::Value(key));
        assert_eq!(cache.get(&key), Ok(key));
        assert_eq!(cache.get(&3), Ok(30));
    }
}

#[test]
fn nothing_found_drops_the_value_there_was() {
    let Setup { source, cache, .. } = plain();
    assert_eq!(cache.get(&1), Ok(10));
    source.say(1, Answer::Nothing);
    assert_eq!(cache.refresh(&1), Err(LoadError::NotFound));
    assert_eq!((cache.get_if_present(&1), cache.len()), (None, 0));
}

#[test]
fn what_is_not_to_be_kept_reaches_those_who_wait_and_nobody_else() {
    for grace in [Duration::ZERO, SECOND * 60] {
        let left = Arc::new(Mutex::new(Vec::new()));
        let notices = Arc::clone(&left);
        let listener = move |_: &u32, value: &u32, removal: Removal| {
            notices.lock().unwrap().push((*value, removal.cause));
        };
        let builder =
            Cache::builder().capacity(1000).time_to_live(SECOND * 10).on_removal(listener);
        let (source, ticker) = (Source::open(), ManualTicker::new());
        let cache = builder
            .clock(ticker.clone())
            .loader(source.clone())
            .negative_ttl(SECOND * 60)
            .stale_while_revalidate(grace)
            .stale_if_error(grace)
            .build();
        source.say(1, Answer::Once(Some(7)));
        let gate = source.close();
        let (mut first, mut second) = (get(&cache, 1), get(&cache, 1));
        assert!(first.poll().is_pending() && second.poll().is_pending());
        gate.open();
        assert_eq!((first.poll(), second.poll()), (Poll::Ready(Ok(7)), Poll::Ready(Ok(7))));
        assert_eq!((cache.get_if_present(&1), cache.len()), (None, 0));
        assert_eq!(cache.get(&1), Ok(7));
        assert_eq!(source.calls(), [[1], [1]]);

        // One key of many.
        assert_eq!(cache.get_many(&[1, 2]), [Ok(7), Ok(20)]);
        assert_eq!((cache.get_if_present(&1), cache.get_if_present(&2)), (None, Some(20)));

        // What was there goes, unless that came later.
        cache.insert(1, 9);
        assert_eq!(cache.refresh(&1), Ok(7));
        assert_eq!(cache.get_if_present(&1), None);
        ticker.advance(SECOND * 11);
        source.say(2, Answer::Once(None));
        assert_eq!(cache.get(&2), Err(LoadError::NotFound));
        assert_eq!(cache.get_if_present(&2), None);
        source.say(2, Answer::Value(21));
        assert_eq!(cache.get(&2), Ok(21), "that there was nothing is not remembered");
        let gate = source.close();
        let mut overtaken = get(&cache, 1);
        assert!(overtaken.poll().is_pending());
        cache.insert(1, 8);
        gate.open();
        assert_eq!(overtaken.poll(), Poll::Ready(Ok(7)));
        assert_eq!(cache.get(&1), Ok(8));
        let left = left.lock().unwrap();
        assert!(left.contains(&(9, RemovalCause::Replaced)), "{left:?}");
        assert!(left.iter().all(|&(value, _)| value != 7), "{left:?}");
        cache.validate();
    }
}

#[test]
fn failing_loads_back_off() {
    let Setup { source, ticker, cache } =
        setup(|builder| builder, |loading| loading.error_backoff(SECOND, SECOND * 8));
    source.say(1, Answer::Error("down"));
    assert_eq!(cache.get(&1), Err(failed("down")));
    let mut waits = Vec::new();
    for _ in 0..6 {
        source.calls();
        let mut waited = Duration::ZERO;
        while source.calls().is_empty() {
            ticker.advance(SECOND / 16);
            waited += SECOND / 16;
            assert_eq!(cache.get(&1), Err(failed("down")));
        }
        waits.push(waited);
    }
    // Each less up to a quarter.
    assert!(waits[0] <= SECOND && waits[0] >= SECOND * 3 / 4, "{waits:?}");
    assert!(waits[1] <= SECOND * 2 && waits[1] >= SECOND * 3 / 2, "{waits:?}");
    assert!(waits[4..].iter().all(|&wait| wait <= SECOND * 8 && wait >= SECOND * 6), "{waits:?}");
}

#[test]
fn without_a_spawner_the_next_caller_refreshes_and_others_get_the_old_value() {
    let Setup { source, ticker, cache } =
        setup(|builder| builder, |loading| loading.refresh_after(SECOND));
    assert_eq!(cache.get(&1), Ok(10));
    ticker.advance(SECOND);
    source.say(1, Answer::Value(11));
    let gate = source.close();
    let mut next = get(&cache, 1);
    assert!(next.poll().is_pending());
    assert_eq!(get(&cache, 1).poll(), Poll::Ready(Ok(10)));
    gate.open();
    assert_eq!(next.poll(), Poll::Ready(Ok(11)));
    assert_eq!(cache.get(&1), Ok(11));
    assert_eq!(source.calls().len(), 2);
}

type Load = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
type Spawned = Arc<Mutex<Vec<Load>>>;

/// A spawner whose tasks are polled by hand.
fn spawner() -> (Spawned, impl Fn(Load) + Send + Sync) {
    let spawned = Spawned::default();
    let own = Arc::clone(&spawned);
    (spawned, move |load| own.lock().unwrap().push(load))
}

fn run_all(spawned: &Spawned) {
    let loads = std::mem::take(&mut *spawned.lock().unwrap());
    for load in loads {
        assert!(Task::new(load).poll().is_ready());
    }
}

/// A cache of values that live ten seconds, and what its spawner was given. It holds 10 for the key 1.
fn loaded_behind_a_spawner(
    configure: impl Fn(LoadingBuilder<u32, u32, Source>) -> LoadingBuilder<u32, u32, Source>,
) -> (Setup, Spawned) {
    let (spawned, spawn) = spawner();
    let spawn = Mutex::new(Some(spawn));
    let setup = setup(
        |builder| builder.time_to_live(SECOND * 10),
        |loading| configure(loading).spawner(spawn.lock().unwrap().take().unwrap()),
    );
    let mut first = get(&setup.cache, 1);
    assert!(first.poll().is_pending());
    run_all(&spawned);
    assert_eq!(first.poll(), Poll::Ready(Ok(10)));
    drop(first);
    (setup, spawned)
}

#[test]
fn with_a_spawner_old_values_are_refreshed_in_the_background() {
    let (setup, spawned) =
        loaded_behind_a_spawner(|loading| loading.stale_while_revalidate(SECOND * 5));
    let Setup { source, ticker, cache } = setup;
    ticker.advance(SECOND * 12);
    source.say(1, Answer::Value(11));
    for _ in 0..3 {
        assert_eq!(cache.get(&1), Ok(10), "past its time, but still served");
    }
    assert_eq!(spawned.lock().unwrap().len(), 1);
    run_all(&spawned);
    assert_eq!(cache.get(&1), Ok(11));
    ticker.advance(SECOND * 15);
    let mut late = get(&cache, 1);
    assert!(late.poll().is_pending(), "too old to be served");
    run_all(&spawned);
    assert_eq!(late.poll(), Poll::Ready(Ok(11)));
}

#[test]
fn a_reload_that_fails_leaves_the_value_that_is_served_meanwhile() {
    let (setup, spawned) = loaded_behind_a_spawner(|loading| {
        loading.stale_while_revalidate(SECOND * 30).error_backoff(SECOND * 4, SECOND * 4)
    });
    let Setup { source, ticker, cache } = setup;
    source.say(1, Answer::Error("locked"));
    source.calls();
    ticker.advance(SECOND * 12);
    for _ in 0..3 {
        assert_eq!(cache.get(&1), Ok(10));
        run_all(&spawned);
    }
    assert_eq!(source.calls().len(), 1, "not tried again at once");
    ticker.advance(SECOND * 4);
    assert_eq!(cache.get(&1), Ok(10));
    run_all(&spawned);
    assert_eq!(source.calls().len(), 1, "but later");
    ticker.advance(SECOND * 24);
    let mut late = get(&cache, 1);
    assert!(late.poll().is_pending(), "too old to be served");
    run_all(&spawned);
    assert_eq!(late.poll(), Poll::Ready(Err(failed("locked"))));
}

#[test]
fn a_spawner_that_drops_loads_leaves_them_to_the_callers() {
    let Setup { cache, .. } = setup(|builder| builder, |loading| loading.spawner(drop));
    assert_eq!(cache.get(&1), Ok(10));
}

#[test]
fn a_value_past_its_time_is_served_if_loading_fails() {
    let Setup { source, ticker, cache } = setup(
        |builder| builder.time_to_live(SECOND * 10),
        |loading| loading.stale_if_error(SECOND * 60).error_backoff(SECOND * 2, SECOND * 2),
    );
    assert_eq!(cache.get(&1), Ok(10));
    source.say(1, Answer::Error("locked"));
    source.calls();
    ticker.advance(SECOND * 11);
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(source.calls().len(), 1, "not tried again at once");
    ticker.advance(SECOND * 2);
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(source.calls().len(), 1);
    source.say(1, Answer::Value(11));
    ticker.advance(SECOND * 2);
    assert_eq!(cache.get(&1), Ok(11), "recovered");
    source.say(1, Answer::Error("locked"));
    ticker.advance(SECOND * 70);
    assert_eq!(cache.get(&1), Err(failed("locked")), "too old");
}

#[test]
fn early_refreshes_come_sooner_the_nearer_the_end() {
    let (source, ticker) = (Source::open(), ManualTicker::new());
    let slow = ticker.clone();
    let loads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&loads);
    let cache = Cache::<u32, u32>::builder()
        .capacity(1000)
        .time_to_live(SECOND * 100)
        .clock(ticker.clone())
        .loader(larder::loader::blocking(move |_: &u32| {
            slow.advance(SECOND);
            *counted.lock().unwrap() += 1;
            Ok::<u32, &'static str>(1)
        }))
        .early_refresh(1.0)
        .build();
    drop(source);
    let refreshes = |age: u32| {
        let mut refreshed = 0;
        for key in 0..200 {
            cache.insert(key, 0);
            cache.remove(&key);
            cache.get(&key).unwrap();
            let before = *loads.lock().unwrap();
            ticker.advance(SECOND * age);
            cache.get(&key).unwrap();
            refreshed += *loads.lock().unwrap() - before;
        }
        refreshed
    };
    let (early, late) = (refreshes(80), refreshes(99));
    // The chance is e^-(time left / time to load).
    assert!(early <= 2, "{early}");
    assert!((30..=120).contains(&late), "{late}");
}
