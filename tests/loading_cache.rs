//! The cache with a loader of its own: what is loaded when, and what limits it.

#[path = "common/source.rs"]
mod source;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use larder::{
    Cache, LoadError, LoadingBuilder, LoadingCache, WhenFull,
    loader::{self, Loaded, Loader},
    policy,
    time::ManualTicker,
};
use source::{Answer, Loading, SECOND, Setup, Source, failed, get, plain, setup};
use tasks::Task;

#[test]
fn a_value_is_loaded_once_and_kept() {
    let Setup { source, cache, .. } = plain();
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(get(&cache, 1).poll(), Poll::Ready(Ok(10)));
    assert_eq!(source.calls(), [[1]]);
    assert_eq!(cache.get_if_present(&1), Some(10));
    assert_eq!(cache.get_if_present(&2), None);
    cache.validate();
}

#[test]
fn any_waiter_drives_the_load_p17() {
    let Setup { source, cache, .. } = plain();
    let gate = source.close();
    let mut first = get(&cache, 1);
    let mut second = get(&cache, 1);
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    gate.open();
    assert!(first.is_woken() && second.is_woken());
    // The first is never polled again.
    assert_eq!(second.poll(), Poll::Ready(Ok(10)));
    assert_eq!(source.calls().len(), 1);
    assert_eq!(first.poll(), Poll::Ready(Ok(10)));
}

#[test]
fn a_load_survives_the_caller_who_started_it_p17() {
    let Setup { source, cache, .. } = plain();
    let gate = source.close();
    let mut first = get(&cache, 1);
    let mut second = get(&cache, 1);
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    drop(first);
    gate.open();
    assert_eq!(second.poll(), Poll::Ready(Ok(10)));
    assert_eq!(source.calls().len(), 1, "it was not started again");
}

#[test]
fn a_load_nobody_waits_for_is_dropped() {
    let Setup { source, cache, .. } = plain();
    let gate = source.close();
    let mut first = get(&cache, 1);
    assert!(first.poll().is_pending());
    drop(first);
    gate.open();
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(source.calls().len(), 2);
}

#[test]
fn errors_and_panics_reach_all_who_wait_and_are_not_kept() {
    let Setup { source, cache, .. } = plain();
    for (answer, error) in
        [(Answer::Error("down"), failed("down")), (Answer::Panic, LoadError::Panicked)]
    {
        source.say(1, answer);
        let gate = source.close();
        let (mut one, mut other) = (get(&cache, 1), get(&cache, 1));
        assert!(one.poll().is_pending());
        assert!(other.poll().is_pending());
        gate.open();
        assert_eq!(other.poll(), Poll::Ready(Err(error.clone())));
        assert_eq!(one.poll(), Poll::Ready(Err(error)));
        assert_eq!(source.calls().len(), 1);
    }
    source.say(1, Answer::Value(5));
    assert_eq!(cache.get(&1), Ok(5));
}

#[test]
fn as_many_loads_as_allowed_run_and_the_rest_queue_in_order() {
    let Setup { source, cache, .. } =
        setup(|builder| builder, |loading| loading.max_loads(2, WhenFull::Queue));
    let gate = source.close();
    let mut tasks: Vec<_> = (1..=5).map(|key| get(&cache, key)).collect();
    for task in &mut tasks {
        assert!(task.poll().is_pending());
    }
    assert_eq!(source.calls(), [[1], [2]]);
    // Who leaves the queue does not hold it up.
    tasks.remove(2);
    gate.open();
    assert_eq!(tasks[0].poll(), Poll::Ready(Ok(10)));
    assert_eq!(tasks[1].poll(), Poll::Ready(Ok(20)));
    assert!(tasks[2].is_woken());
    assert_eq!(tasks[2].poll(), Poll::Ready(Ok(40)));
    assert_eq!(tasks[3].poll(), Poll::Ready(Ok(50)));
    assert_eq!(source.calls(), [[4], [5]]);
}

#[test]
fn loads_beyond_the_cap_fail_fast_if_so_asked() {
    let Setup { source, cache, .. } =
        setup(|builder| builder, |loading| loading.max_loads(1, WhenFull::Fail));
    let gate = source.close();
    let mut first = get(&cache, 1);
    assert!(first.poll().is_pending());
    assert_eq!(get(&cache, 2).poll(), Poll::Ready(Err(LoadError::Overloaded)));
    gate.open();
    assert_eq!(first.poll(), Poll::Ready(Ok(10)));
    assert_eq!(cache.get(&2), Ok(20));
}

#[test]
fn a_load_that_takes_too_long_is_given_up() {
    let Setup { source, ticker, cache } =
        setup(|builder| builder, |loading| loading.load_timeout(SECOND));
    let gate = source.close();
    let mut task = get(&cache, 1);
    assert!(task.poll().is_pending());
    ticker.advance(SECOND);
    assert_eq!(task.poll(), Poll::Ready(Err(LoadError::TimedOut)));
    gate.open();
    assert_eq!(cache.get(&1), Ok(10));
}

#[test]
fn on_the_systems_clock_a_slow_load_is_given_up_without_being_polled_by_others() {
    let source = Source::default();
    let cache = Cache::<u32, u32>::builder()
        .capacity(10)
        .loader(source)
        .load_timeout(Duration::from_millis(1))
        .build();
    assert_eq!(cache.get(&1), Err(LoadError::TimedOut));
}

#[test]
fn a_waiter_gives_up_at_its_own_deadline() {
    let Setup { source, cache, .. } = plain();
    let gate = source.close();
    let mut other = get(&cache, 1);
    assert!(other.poll().is_pending());
    assert_eq!(cache.get_within(&1, Duration::ZERO), Err(LoadError::TimedOut));
    gate.open();
    assert_eq!(other.poll(), Poll::Ready(Ok(10)));
}

#[test]
fn many_keys_are_loaded_at_once_and_shared_with_single_loads() {
    let Setup { source, cache, .. } = plain();
    cache.insert(1, 1);
    let gate = source.close();
    let mut single = get(&cache, 2);
    assert!(single.poll().is_pending());
    let bulk = |keys: &'static [u32]| {
        let cache = cache.clone();
        Task::new(async move { cache.get_many_async(keys).await })
    };
    let mut many = bulk(&[3, 1, 2, 4, 3]);
    assert!(many.poll().is_pending());
    let mut more = bulk(&[4, 5]);
    assert!(more.poll().is_pending());
    assert_eq!(source.calls(), [vec![2], vec![3, 4], vec![5]]);
    source.say(4, Answer::Error("four"));
    gate.open();
    assert_eq!(many.poll(), Poll::Ready(vec![Ok(30), Ok(1), Ok(20), Err(failed("four")), Ok(30)]));
    assert_eq!(more.poll(), Poll::Ready(vec![Err(failed("four")), Ok(50)]));
    assert_eq!(single.poll(), Poll::Ready(Ok(20)));
    assert!(source.calls().is_empty());
    assert_eq!(cache.get_many(&[1, 2, 3, 5]), [Ok(1), Ok(20), Ok(30), Ok(50)]);
    cache.validate();
}

#[test]
fn a_bulk_load_that_fails_as_a_whole_fails_for_every_key() {
    let Setup { source, cache, .. } = plain();
    source.say(1, Answer::Error("all"));
    assert_eq!(cache.get_many(&[1, 2]), [Err(failed("all")), Err(failed("all"))]);
    source.say(1, Answer::Panic);
    assert_eq!(cache.get_many(&[1, 2]), [Err(LoadError::Panicked), Err(LoadError::Panicked)]);
}

#[test]
fn a_dropped_bulk_load_leaves_its_keys_to_others() {
    let Setup { source, cache, .. } = plain();
    let gate = source.close();
    let other = cache.clone();
    let mut many = Task::new(async move { other.get_many_async(&[1, 2]).await });
    assert!(many.poll().is_pending());
    let mut single = get(&cache, 2);
    assert!(single.poll().is_pending());
    drop(many);
    gate.open();
    assert_eq!(single.poll(), Poll::Ready(Ok(20)), "who still waits drives it on");
    assert_eq!(source.calls(), [[1, 2]]);
}

#[test]
fn what_overtakes_a_load_wins_p16() {
    type Overtake = fn(&Loading);
    let ways: &[(Overtake, Option<u32>)] = &[
        (|cache| assert_eq!(cache.insert(1, 9), None), Some(9)),
        (|cache| assert_eq!(cache.remove(&1), None), None),
        (Loading::clear, None),
        (|cache| cache.retain(|_, _| true), None),
        (|cache| assert!(!cache.remove_tag("ten")), None),
        (|cache| cache.set_capacity(0), None),
    ];
    for &(overtake, left) in ways {
        let Setup { source, cache, .. } = setup(
            |builder| builder.tags(|_, &value| (value == 10).then_some("ten")),
            |loading| loading,
        );
        let gate = source.close();
        let mut before = get(&cache, 1);
        assert!(before.poll().is_pending());
        overtake(&cache);
        gate.open();
        assert_eq!(before.poll(), Poll::Ready(Ok(10)));
        assert_eq!(cache.get_if_present(&1), left);
    }
}

#[test]
fn what_overtakes_a_refresh_wins_p16() {
    let Setup { source, cache, .. } = plain();
    assert_eq!(cache.get(&1), Ok(10));
    let gate = source.close();
    let other = cache.clone();
    let mut refresh = Task::new(async move { other.refresh_async(&1).await });
    assert!(refresh.poll().is_pending());
    assert_eq!(cache.get(&1), Ok(10), "served meanwhile");
    cache.insert(1, 9);
    gate.open();
    assert_eq!(refresh.poll(), Poll::Ready(Ok(10)));
    assert_eq!(cache.get(&1), Ok(9));
    assert_eq!(cache.stats().superseded, 1);
}

#[test]
fn a_loader_may_ask_for_other_keys_but_not_its_own_p14() {
    use std::sync::OnceLock;
    struct Sum(OnceLock<LoadingCache<u32, u32, Sum>>);
    impl Loader<u32, u32> for Sum {
        type Error = String;
        async fn load(&self, key: &u32) -> Result<Loaded<u32>, String> {
            let cache = self.0.get().expect("set");
            match key {
                0 => Ok(0.into()),
                99 => cache.get_async(&99).await.map(Into::into).map_err(|e| e.to_string()),
                98 => cache.get(&98).map(Into::into).map_err(|e| e.to_string()),
                key => {
                    let rest = cache.get_async(&(key - 1)).await.map_err(|e| e.to_string())?;
                    Ok((rest + key).into())
                }
            }
        }
    }
    // A cap of one: loads that a load asks for do not wait for it.
    let cache = Cache::builder()
        .capacity(100)
        .loader(Sum(OnceLock::new()))
        .max_loads(1, WhenFull::Queue)
        .build();
    let _ = cache.loader().0.set(cache.clone());
    assert_eq!(cache.get(&4), Ok(10));
    for own in [98, 99] {
        let error = cache.get(&own).unwrap_err();
        assert!(error.to_string().contains("by this very thread"), "{error}");
    }
}

#[test]
fn errors_count_and_weigh_what_they_are_told_to() {
    let Setup { source, cache, .. } = setup(
        |builder| builder.weigher(|_, &value| u64::from(value)),
        |loading| loading.negative_ttl(SECOND).negative_weight(7),
    );
    source.say(1, Answer::Nothing);
    assert!(cache.get(&1).is_err());
    assert_eq!(cache.weight(), 7);
    assert_eq!(cache.get(&2), Ok(20));
    assert_eq!(cache.weight(), 27);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_successes, stats.load_failures), (2, 1, 1));
    assert_eq!(cache.iter().collect::<Vec<_>>(), [(2, 20)]);
}

#[test]
fn a_value_is_removed_if_a_condition_holds_for_it_p16() {
    let Setup { source, cache, .. } =
        setup(|builder| builder, |loading| loading.negative_ttl(SECOND * 60));
    source.say(2, Answer::Nothing);
    assert_eq!((cache.get(&1), cache.get(&2)), (Ok(10), Err(LoadError::NotFound)));
    assert_eq!(cache.remove_if(&1, |&value| value < 10), None);
    assert_eq!(cache.remove_if(&2, |_| true), None, "there is no value");
    assert_eq!((cache.len(), cache.get_if_present(&1)), (2, Some(10)));
    for (holds, left) in [(false, Some(11)), (true, None)] {
        cache.insert(1, 9);
        source.say(1, Answer::Value(11));
        let gate = source.close();
        let other = cache.clone();
        let mut refresh = Task::new(async move { other.refresh_async(&1).await });
        assert!(refresh.poll().is_pending());
        assert_eq!(cache.remove_if(&1, |_| holds), holds.then_some(9));
        assert_eq!(cache.remove_if(&3, |_| true), None);
        gate.open();
        assert_eq!(refresh.poll(), Poll::Ready(Ok(11)));
        assert_eq!(cache.get_if_present(&1), left);
    }
    cache.validate();
}

#[test]
fn the_order_of_the_values_can_be_asked_for() {
    for stripes in [1, 4] {
        let source = Source::open();
        let cache = Cache::<u32, u32>::builder()
            .capacity(100)
            .stripes(stripes)
            .policy(policy::Lru::default())
            .loader(source.clone())
            .negative_ttl(SECOND * 60)
            .build();
        source.say(7, Answer::Nothing);
        for key in 0..100 {
            drop(cache.get(&key));
        }
        let (hot, cold) = (cache.hottest(100), cache.coldest(100));
        assert_eq!((hot.len(), cold.len()), (99, 99), "of key 7 there is none");
        assert!(hot.iter().chain(&cold).all(|&(key, value)| key != 7 && value == key * 10));
        assert_eq!((cache.hottest(0).len(), cache.coldest(0).len()), (0, 0));
        if stripes == 1 {
            assert_eq!((hot[0], cold[0], cache.coldest(2).len()), ((99, 990), (0, 0), 2));
        }
    }
}

#[test]
fn advice_is_given_as_to_a_cache_without_a_loader() {
    let cache = Cache::<u64, u64>::builder()
        .capacity(1000)
        .loader(loader::blocking(|key: &u64| Ok::<_, ()>(*key)))
        .build();
    assert!(cache.advise().is_none(), "from now on it is watched");
    for i in 0..100_000_u64 {
        assert_eq!(cache.get(&(i * i % 5003)), Ok(i * i % 5003));
    }
    let advice = cache.advise().expect("seen enough");
    assert!(advice.half.hit_ratio() < advice.double.hit_ratio());
}

/// Whether there is a value, and for how long, can be told without a copy of it.
#[test]
fn who_does_not_ask_for_the_value_has_it_not_copied() {
    struct Counted(Arc<AtomicUsize>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::SeqCst);
            Self(Arc::clone(&self.0))
        }
    }
    let copies = Arc::new(AtomicUsize::new(0));
    let loaded = Arc::clone(&copies);
    let load = move |_: &u32| Ok::<_, ()>(Counted(Arc::clone(&loaded)));
    let cache = Cache::<u32, Counted>::builder()
        .capacity(10)
        .time_to_live(SECOND * 60)
        .clock(ManualTicker::new())
        .loader(loader::blocking(load))
        .build();
    cache.insert(1, Counted(Arc::clone(&copies)));
    let before = copies.load(Ordering::SeqCst);
    assert!(cache.contains_key(&1) && !cache.contains_key(&2));
    assert_eq!((cache.fresh_for(&1), cache.fresh_for(&2)), (Some(SECOND * 60), None));
    assert_eq!(copies.load(Ordering::SeqCst), before);
    assert!(cache.refresh(&1).is_ok());
    assert_eq!(copies.load(Ordering::SeqCst), before + 1, "the new one, for who asked");
}

#[test]
fn options_out_of_range_are_refused() {
    let builder = || Cache::<u32, u32>::builder().capacity(1).loader(Source::open());
    let message =
        |builder: LoadingBuilder<u32, u32, Source>| builder.try_build().unwrap_err().to_string();
    assert!(message(builder().early_refresh(-1.0)).contains("early_refresh"));
    assert!(message(builder().early_refresh(f64::NAN)).contains("early_refresh"));
    assert!(message(builder().max_loads(0, WhenFull::Fail)).contains("max_loads"));
}
