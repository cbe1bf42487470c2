//! The cache with a loader of its own: what is loaded when, what is served meanwhile, and what is
//! remembered.

#[path = "common/tasks.rs"]
mod tasks;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use larder::{
    Builder, Cache, LoadError, LoadingBuilder, LoadingCache, WhenFull,
    loader::{Loaded, Loader},
    time::ManualTicker,
};
use tasks::{Gate, Task};

const SECOND: Duration = Duration::from_secs(1);

/// What the source says of a key.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Value(u32),
    Lives(u32, Duration),
    Nothing,
    Error(&'static str),
    Panic,
}

/// Answers by key; each load waits at the gate and is written down.
#[derive(Clone, Default)]
struct Source(Arc<Inner>);

#[derive(Default)]
struct Inner {
    answers: Mutex<HashMap<u32, Answer>>,
    calls: Mutex<Vec<Vec<u32>>>,
    gate: Mutex<Gate>,
}

impl Source {
    fn open() -> Self {
        let source = Self::default();
        source.0.gate.lock().unwrap().open();
        source
    }

    fn say(&self, key: u32, answer: Answer) {
        self.0.answers.lock().unwrap().insert(key, answer);
    }

    /// From now on loads wait at this gate.
    fn close(&self) -> Gate {
        let gate = Gate::new();
        *self.0.gate.lock().unwrap() = gate.clone();
        gate
    }

    fn calls(&self) -> Vec<Vec<u32>> {
        std::mem::take(&mut *self.0.calls.lock().unwrap())
    }

    fn answer(&self, key: u32) -> Result<Loaded<u32>, &'static str> {
        let answer = self.0.answers.lock().unwrap().get(&key).copied();
        match answer.unwrap_or(Answer::Value(key * 10)) {
            Answer::Value(value) => Ok(value.into()),
            Answer::Lives(value, lives) => Ok(Loaded::new(value).with_ttl(lives)),
            Answer::Nothing => Ok(Loaded::not_found()),
            Answer::Error(error) => Err(error),
            Answer::Panic => panic!("as planned"),
        }
    }

    fn pass(&self, keys: &[u32]) -> impl Future<Output = ()> + Send + use<> {
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

type Loading = LoadingCache<u32, u32, Source>;

struct Setup {
    source: Source,
    ticker: ManualTicker,
    cache: Loading,
}

/// A cache over an open source, with these options.
fn setup(
    options: impl Fn(Builder<u32, u32>) -> Builder<u32, u32>,
    loading: impl Fn(LoadingBuilder<u32, u32, Source>) -> LoadingBuilder<u32, u32, Source>,
) -> Setup {
    let (source, ticker) = (Source::open(), ManualTicker::new());
    let builder = Cache::builder().capacity(1000).stats(true).clock(ticker.clone());
    let cache = loading(options(builder).loader(source.clone())).build();
    Setup { source, ticker, cache }
}

fn plain() -> Setup {
    setup(|builder| builder, |loading| loading)
}

fn get(cache: &Loading, key: u32) -> Task<Result<u32, LoadError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.get_async(&key).await })
}

fn failed(error: &'static str) -> LoadError<&'static str> {
    LoadError::Failed(Arc::new(error))
}

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
fn nothing_found_drops_the_value_there_was() {
    let Setup { source, cache, .. } = plain();
    assert_eq!(cache.get(&1), Ok(10));
    source.say(1, Answer::Nothing);
    assert_eq!(cache.refresh(&1), Err(LoadError::NotFound));
    assert_eq!((cache.get_if_present(&1), cache.len()), (None, 0));
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

#[test]
fn with_a_spawner_old_values_are_refreshed_in_the_background() {
    let (spawned, spawn) = spawner();
    let spawn = Mutex::new(Some(spawn));
    let Setup { source, ticker, cache } = setup(
        |builder| builder.time_to_live(SECOND * 10),
        |loading| {
            loading
                .stale_while_revalidate(SECOND * 5)
                .spawner(spawn.lock().unwrap().take().unwrap())
        },
    );
    let mut first = get(&cache, 1);
    assert!(first.poll().is_pending());
    run_all(&spawned);
    assert_eq!(first.poll(), Poll::Ready(Ok(10)));
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
fn options_out_of_range_are_refused() {
    let builder = || Cache::<u32, u32>::builder().capacity(1).loader(Source::open());
    let message =
        |builder: LoadingBuilder<u32, u32, Source>| builder.try_build().unwrap_err().to_string();
    assert!(message(builder().early_refresh(-1.0)).contains("early_refresh"));
    assert!(message(builder().early_refresh(f64::NAN)).contains("early_refresh"));
    assert!(message(builder().max_loads(0, WhenFull::Fail)).contains("max_loads"));
}
