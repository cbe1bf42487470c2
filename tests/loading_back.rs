//! What leaves because of a load is sent out once the load is over: the listener and `Drop` may ask for the
//! very key that was loaded, and keep nobody waiting for it.

#[path = "common/source.rs"]
mod source;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use larder::{
    Cache, Compute, LoadingCache, RemovalCause, WhenFull,
    loader::{Loaded, Loader, Writer},
    time::ManualTicker,
};
use source::{Answer, SECOND, Source};
use tasks::Task;

thread_local! {
    static NESTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `inner` unless it is running already on this thread.
fn once(inner: impl FnOnce()) {
    if !NESTED.replace(true) {
        inner();
        NESTED.set(false);
    }
}

/// Runs `act` on a thread of its own, and fails if it hangs.
fn in_time(name: &'static str, act: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        act();
        sender.send(()).expect("somebody waits");
    });
    match receiver.recv_timeout(Duration::from_secs(20)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name} hangs"),
        _ => thread.join().unwrap_or_else(|_| panic!("{name} panicked")),
    }
}

fn ready<T>(future: impl Future<Output = T> + 'static) -> T {
    match Task::new(future).poll() {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing is to be waited for"),
    }
}

/// A cache of ten weights whose listener asks for the key 1, a clock that is set by hand, and how often the
/// listener was answered.
fn asking() -> (Cache<u64, u64>, ManualTicker, Arc<AtomicU64>) {
    let back = Arc::new(OnceLock::<Cache<u64, u64>>::new());
    let answered = Arc::new(AtomicU64::new(0));
    let (own, count, ticker) = (Arc::clone(&back), Arc::clone(&answered), ManualTicker::new());
    let cache = Cache::builder()
        .capacity(10)
        .stripes(1)
        .weigher(|_, &value: &u64| value)
        .time_to_live(SECOND * 10)
        .clock(ticker.clone())
        .on_removal(move |_, _, _| {
            once(|| {
                let answer = own.get().expect("set").try_get_or_insert_with(&1, || Ok::<_, ()>(1));
                answer.expect("it is free");
                _ = count.fetch_add(1, Ordering::Relaxed);
            });
        })
        .build();
    assert!(back.set(cache.clone()).is_ok());
    (cache, ticker, answered)
}

type Act = fn(&Cache<u64, u64>, &ManualTicker);

// 50 is refused; 10 drives everything else out.
const LOADS: [(&str, Act); 5] = [
    ("a load that is refused", |cache, _| _ = cache.get_or_insert_with(&1, || 50)),
    ("one that evicts", |cache, _| {
        cache.insert(2, 10);
        cache.get_or_insert_with(&1, || 10);
    }),
    ("one of what has expired", |cache, ticker| {
        cache.insert(1, 3);
        ticker.advance(SECOND * 11);
        cache.get_or_insert_with(&1, || 4);
    }),
    ("a future", |cache, _| {
        let cache = cache.clone();
        ready(async move { cache.get_or_insert_async(&1, async { 50 }).await });
    }),
    ("a shared future", |cache, _| {
        let cache = cache.clone();
        ready(async move { cache.get_or_insert_shared(&1, async { 50 }).await });
    }),
];

const ENTRIES: [(&str, Act); 10] = [
    ("an entry", |cache, _| _ = cache.entry(1).or_insert(50)),
    ("an entry of what has expired", |cache, ticker| {
        cache.insert(1, 3);
        ticker.advance(SECOND * 11);
        cache.entry(1).or_insert(4);
    }),
    ("an entry's future", |cache, _| {
        let cache = cache.clone();
        ready(async move { cache.entry_async(1).await.or_insert_async(async { 50 }).await });
    }),
    ("an entry that is held", |cache, _| {
        let cache = cache.clone();
        ready(async move { cache.entry_async(1).await.or_insert(50) });
    }),
    ("a change", |cache, _| {
        cache.insert(1, 3);
        cache.entry(1).and_modify(|value| *value = 4);
    }),
    ("changes", |cache, _| {
        cache.insert(1, 3);
        let entry = cache.entry(1).and_modify(|value| *value = 4);
        assert_eq!(entry.and_modify(|value| *value += 1).or_insert(0), 5);
    }),
    ("a change that is refused", |cache, _| {
        cache.insert(1, 3);
        cache.entry(1).and_modify(|value| *value = 50);
    }),
    ("a computed value", |cache, _| {
        cache.insert(1, 3);
        assert_eq!(cache.entry(1).compute(|_| Compute::Put(5)), Some(5));
    }),
    ("a computed value that is new", |cache, _| {
        assert_eq!(cache.entry(1).compute(|_| Compute::Put(50)), Some(50));
    }),
    ("a computed removal", |cache, _| {
        cache.insert(1, 3);
        assert_eq!(cache.entry(1).compute(|_| Compute::Remove), None);
    }),
];

fn listener_asks_while(acts: &[(&'static str, Act)]) {
    for &(name, act) in acts {
        in_time(name, move || {
            let (cache, ticker, answered) = asking();
            act(&cache, &ticker);
            assert!(answered.load(Ordering::Relaxed) > 0, "{name}");
            assert!(cache.get(&1).is_some(), "the listener's, or its own");
            cache.validate();
        });
    }
}

#[test]
fn the_listener_may_ask_for_the_key_that_was_loaded_p14() {
    listener_asks_while(&LOADS);
}

#[test]
fn the_listener_may_ask_for_the_key_of_an_entry_p14() {
    listener_asks_while(&ENTRIES);
}

thread_local! {
    static BACK: RefCell<Option<Cache<u64, Asker>>> = const { RefCell::new(None) };
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

/// Asks for the key 1 when it is dropped.
#[derive(Clone, Debug, PartialEq)]
struct Asker(u64);

impl Drop for Asker {
    fn drop(&mut self) {
        once(|| {
            let cache = BACK.with_borrow(Clone::clone);
            let value = cache.map(|cache| cache.get_or_insert_with(&1, || Asker(1)));
            ASKED.set(ASKED.get() + u32::from(value.is_some()));
        });
    }
}

#[test]
fn drop_may_ask_for_the_key_that_was_loaded_p14() {
    in_time("drop", || {
        let cache = Cache::<u64, Asker>::builder().capacity(3).stripes(1).build();
        (2..5).for_each(|key| drop(cache.insert(key, Asker(key))));
        BACK.set(Some(cache.clone()));
        // What is evicted is dropped once the load is over.
        assert_eq!(cache.get_or_insert_with(&1, || Asker(7)), Asker(7));
        assert!(ASKED.get() > 0);
        // What was overtaken, too.
        let overtaken = cache.get_or_insert_with(&9, || {
            cache.insert(9, Asker(8));
            Asker(9)
        });
        assert_eq!(overtaken, Asker(9));
        drop(overtaken);
        cache.validate();
        BACK.take();
    });
}

/// Answers, at first with what is too heavy, and accepts everything.
#[derive(Default)]
struct Store(AtomicU64);

impl Loader<u64, u64> for Store {
    type Error = ();

    async fn load(&self, _: &u64) -> Result<Loaded<u64>, ()> {
        Ok(Loaded::new(if self.0.fetch_add(1, Ordering::Relaxed) < 1 { 50 } else { 1 }))
    }
}

impl Writer<u64, u64> for Store {
    type Error = ();

    async fn put(&self, _: &u64, _: &u64) -> Result<(), ()> {
        Ok(())
    }

    async fn remove(&self, _: &u64) -> Result<(), ()> {
        Ok(())
    }
}

type Loading = LoadingCache<u64, u64, Store>;
type LoadingAct = fn(&Loading);

#[test]
fn the_listener_may_ask_a_cache_with_a_loader_p14() {
    let acts: [(&str, LoadingAct); 7] = [
        ("get", |cache| _ = cache.get(&1)),
        ("get_async", |cache| {
            let cache = cache.clone();
            _ = ready(async move { cache.get_async(&1).await });
        }),
        ("get_many", |cache| _ = cache.get_many([&2, &1, &3])),
        ("put_through", |cache| _ = cache.put_through(1, 50)),
        ("remove_through", |cache| {
            cache.insert(1, 5);
            _ = cache.remove_through(1);
        }),
        ("put_behind", |cache| {
            cache.insert(1, 5);
            _ = cache.put_behind(1, 6);
        }),
        ("remove_behind", |cache| {
            cache.insert(1, 5);
            _ = cache.remove_behind(1);
        }),
    ];
    for (name, act) in acts {
        in_time(name, move || {
            let back = Arc::new(OnceLock::<Loading>::new());
            let answered = Arc::new(AtomicU64::new(0));
            let (own, count) = (Arc::clone(&back), Arc::clone(&answered));
            let cache = Cache::<u64, u64>::builder()
                .capacity(10)
                .weigher(|_, &value| value)
                .on_removal(move |_, _, _| {
                    once(|| {
                        _ = own.get().expect("set").get(&1);
                        _ = count.fetch_add(1, Ordering::Relaxed);
                    });
                })
                .loader(Store::default())
                .max_loads(1, WhenFull::Queue)
                .build();
            assert!(back.set(cache.clone()).is_ok());
            act(&cache);
            assert!(answered.load(Ordering::Relaxed) > 0, "{name}");
        });
    }
}

#[test]
fn a_reload_that_fails_is_no_removal_of_the_value_that_stays() {
    let (source, ticker) = (Source::open(), ManualTicker::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&told);
    let cache = Cache::<u32, u32>::builder()
        .capacity(10)
        .stats(true)
        .clock(ticker.clone())
        .time_to_live(SECOND * 10)
        .on_removal(move |_, &value, removal| own.lock().unwrap().push((value, removal.cause)))
        .loader(source.clone())
        .stale_if_error(SECOND * 60)
        .error_backoff(SECOND, SECOND)
        .build();
    source.say(1, Answer::Value(10));
    assert_eq!(cache.get(&1), Ok(10));
    source.say(1, Answer::Error("down"));
    for _ in 0..3 {
        ticker.advance(SECOND * 15);
        assert_eq!(cache.get(&1), Ok(10), "past its time, but there is nothing else");
    }
    assert_eq!(source.calls().len(), 4);
    assert_eq!((told.lock().unwrap().len(), cache.stats().updates), (0, 0));
    source.say(1, Answer::Value(11));
    ticker.advance(SECOND * 2);
    assert_eq!(cache.get(&1), Ok(11));
    assert_eq!(*told.lock().unwrap(), [(10, RemovalCause::Replaced)]);
    ticker.advance(SECOND * 100);
    cache.run_maintenance();
    assert_eq!(told.lock().unwrap().len(), 2, "the deadline that was changed is kept");
}

#[test]
fn an_entry_that_is_held_keeps_no_room_p5() {
    let cache = Cache::<u64, u64>::builder().capacity(10).weigher(|_, &value| value).build();
    cache.insert(1, 1);
    cache.insert(2, 9);
    let entry = cache.entry(1).and_modify(|value| *value = 2);
    assert_eq!((cache.weight(), cache.len()), (2, 1), "what made room made too much");
    cache.insert(3, 5);
    cache.set_capacity(7);
    assert_eq!(cache.weight(), 7);
    drop(entry);
    cache.validate();
}
