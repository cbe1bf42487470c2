//! The corners of writing behind: writers that go on and on, the user's code that panics or calls back,
//! spawners that refuse.

#[path = "common/tasks.rs"]
mod tasks;

use std::{
    cell::Cell,
    collections::HashMap,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use larder::{
    Cache, LoadError, LoadingBuilder, LoadingCache, WriteError,
    loader::{Loaded, Loader, Write, Writer},
    time::ManualTicker,
};
use tasks::{Task, in_time, pend};

thread_local! {
    /// Which of the user's functions panics, and after how many calls.
    static PLAN: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
}

/// Panics if that is the plan.
fn step(name: &str) {
    match PLAN.get() {
        Some((planned, 0)) if planned == name => {
            PLAN.set(None);
            panic!("as planned");
        }
        Some((planned, left)) if planned == name => PLAN.set(Some((planned, left - 1))),
        _ => {}
    }
}

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A key or a value; what it is asked to do may panic or call back.
#[derive(Debug)]
struct Odd {
    content: u32,
    is_value: bool,
    on_clone: Calling,
    on_drop: Calling,
}

#[derive(Clone, Default)]
struct Calling(Hook);

impl std::fmt::Debug for Calling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Calling")
    }
}

impl Calling {
    fn set(&self, hook: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(hook));
    }

    fn call(&self) {
        let hook = self.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

fn odd(content: u32, is_value: bool) -> Odd {
    Odd { content, is_value, on_clone: Calling::default(), on_drop: Calling::default() }
}

fn key(content: u32) -> Odd {
    odd(content, false)
}

fn value(content: u32) -> Odd {
    odd(content, true)
}

impl Clone for Odd {
    fn clone(&self) -> Self {
        step(if self.is_value { "clone of a value" } else { "clone of a key" });
        self.on_clone.call();
        let Self { content, is_value, ref on_clone, ref on_drop } = *self;
        Self { content, is_value, on_clone: on_clone.clone(), on_drop: on_drop.clone() }
    }
}

impl PartialEq for Odd {
    fn eq(&self, other: &Self) -> bool {
        step("eq");
        self.content == other.content
    }
}

impl Eq for Odd {}

impl Hash for Odd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        step("hash");
        self.content.hash(state);
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.on_drop.call();
        if !thread::panicking() {
            step(if self.is_value { "drop of a value" } else { "drop of a key" });
        }
    }
}

/// Rows, and what is done while a batch is written.
type Within = dyn Fn(&[(Odd, Write<Odd>)]) + Send + Sync;

#[derive(Clone, Default)]
struct Store(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<HashMap<u32, u32>>,
    /// What became of the batches, by their keys.
    batches: Mutex<Vec<(&'static str, Vec<u32>)>>,
    within: OnceLock<Box<Within>>,
    /// How often a write is pending before it is done.
    pending: u32,
}

impl Store {
    fn row(&self, key: u32) -> Option<u32> {
        self.0.rows.lock().unwrap().get(&key).copied()
    }

    fn batches(&self) -> Vec<(&'static str, Vec<u32>)> {
        self.0.batches.lock().unwrap().clone()
    }

    fn within(&self, act: impl Fn(&[(Odd, Write<Odd>)]) + Send + Sync + 'static) {
        assert!(self.0.within.set(Box::new(act)).is_ok());
    }

    fn note(&self, what: &'static str, writes: &[(Odd, Write<Odd>)]) {
        let keys = writes.iter().map(|(key, _)| key.content).collect();
        self.0.batches.lock().unwrap().push((what, keys));
    }
}

impl Loader<Odd, Odd> for Store {
    type Error = ();

    async fn load(&self, key: &Odd) -> Result<Loaded<Odd>, ()> {
        Ok(self.row(key.content).map(value).into())
    }
}

impl Writer<Odd, Odd> for Store {
    type Error = ();

    async fn put(&self, key: &Odd, value: &Odd) -> Result<(), ()> {
        self.0.rows.lock().unwrap().insert(key.content, value.content);
        Ok(())
    }

    async fn remove(&self, key: &Odd) -> Result<(), ()> {
        self.0.rows.lock().unwrap().remove(&key.content);
        Ok(())
    }

    async fn write_many(&self, writes: &[(Odd, Write<Odd>)]) -> Result<(), ()> {
        self.note("begun", writes);
        if let Some(act) = self.0.within.get() {
            act(writes);
        }
        pend(self.0.pending).await;
        for (key, write) in writes {
            match write {
                Write::Put(value) => self.put(key, value).await?,
                Write::Remove => self.remove(key).await?,
            }
        }
        self.note("done", writes);
        Ok(())
    }
}

type Loading = LoadingCache<Odd, Odd, Store>;

fn builder(store: &Store) -> LoadingBuilder<Odd, Odd, Store> {
    let builder = Cache::<Odd, Odd>::builder().capacity(100).clock(ManualTicker::new());
    builder.loader(store.clone())
}

fn cache(store: &Store) -> Loading {
    builder(store).build()
}

/// The cache must serve what the store has, and the queue be of use.
fn check(cache: &Loading, store: &Store) {
    let (cache, store) = (cache.clone(), store.clone());
    in_time(move || {
        cache.flush();
        assert_eq!(cache.unwritten(), 0);
        for content in 1..=4 {
            let served = cache.get(&key(content)).map(|value| value.content).ok();
            assert_eq!(served, store.row(content), "key {content}");
            cache.put_behind(key(content), value(70)).unwrap();
            cache.put_through(key(content), value(71)).unwrap();
            assert_eq!(store.row(content), Some(71));
        }
        assert_eq!((cache.unwritten(), cache.flights()), (0, 0));
        cache.validate();
    });
}

#[test]
fn a_flush_ends_though_others_keep_writing() {
    let store = Store::default();
    let cache = builder(&store).write_queue(1000, 2).build();
    let others = cache.clone();
    let next = Mutex::new(100..400);
    store.within(move |_| {
        let next = next.lock().unwrap().next();
        let _ = next.map(|next| others.put_behind(key(next), value(next)).unwrap());
    });
    (1..=4).for_each(|content| drop(cache.put_behind(key(content), value(content))));
    let flushing = cache.clone();
    in_time(move || flushing.flush());
    assert_eq!(store.0.rows.lock().unwrap().len(), 4, "what came later is another's to wait for");
    assert_eq!(cache.unwritten(), 2);
}

#[test]
fn a_put_that_waits_for_room_ends_though_others_keep_writing() {
    let store = Store::default();
    let cache = builder(&store).write_queue(4, 2).build();
    let others = cache.clone();
    let left = Mutex::new(100);
    store.within(move |writes| {
        let mut left = left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            others.put_behind(key(writes[0].0.content), value(9)).unwrap();
        }
    });
    (1..=4).for_each(|content| drop(cache.put_behind(key(content), value(content))));
    let waiting = cache.clone();
    in_time(move || waiting.put_behind(key(5), value(5)).unwrap());
    assert_eq!(store.batches(), [("begun", vec![1, 2]), ("done", vec![1, 2])]);
    assert_eq!(cache.unwritten(), 4);
}

#[test]
fn who_has_room_leaves_no_batch_half_written_p17() {
    let store = Store(Arc::new(Inner { pending: 1, ..Inner::default() }));
    let cache = builder(&store).write_queue(4, 2).build();
    let putting = cache.clone();
    in_time(move || {
        (1..=8).for_each(|content| drop(putting.put_behind(key(content), value(content))));
        putting.flush();
    });
    let keys = [[1, 2], [3, 4], [5, 6], [7, 8]].map(Vec::from);
    let expected: Vec<_> =
        keys.into_iter().flat_map(|keys| [("begun", keys.clone()), ("done", keys)]).collect();
    assert_eq!(store.batches(), expected);
}

#[test]
fn who_waits_longer_goes_on_with_the_next_batch_p17() {
    let store = Store(Arc::new(Inner { pending: 1, ..Inner::default() }));
    let cache = builder(&store).write_queue(4, 2).build();
    (1..=4).for_each(|content| drop(cache.put_behind(key(content), value(content))));
    let (putting, flushing) = (cache.clone(), cache.clone());
    let mut put = Task::new(async move { putting.put_behind_async(key(5), value(5)).await });
    let mut flush = Task::new(async move { flushing.flush_async().await });
    assert!(put.poll().is_pending());
    assert!(flush.poll().is_pending());
    assert!(put.poll().is_ready());
    assert!(flush.is_woken(), "told that a batch was accepted");
    drop(put);
    while flush.poll().is_pending() {
        assert!(flush.is_woken(), "forgotten");
    }
    assert_eq!((store.0.rows.lock().unwrap().len(), cache.unwritten()), (4, 1));
}

/// Runs it with each of the user's functions panicking at its first call, its second and so on.
fn panicking_everywhere(act: impl Fn(&Loading)) {
    let functions = ["clone of a key", "clone of a value", "eq", "hash"];
    for function in functions.into_iter().chain(["drop of a key", "drop of a value"]) {
        for nth in 0..50 {
            let store = Store::default();
            let cache = builder(&store).write_queue(3, 2).build();
            cache.put_behind(key(1), value(1)).unwrap();
            cache.put_behind(key(2), value(2)).unwrap();
            PLAN.set(Some((function, nth)));
            let outcome = catch_unwind(AssertUnwindSafe(|| act(&cache)));
            let is_through = PLAN.take().is_some();
            assert!(!is_through || outcome.is_ok());
            check(&cache, &store);
            if is_through {
                break;
            }
            assert!(nth < 49, "{function} is called over and over");
        }
    }
}

#[test]
fn a_panic_in_a_put_leaves_cache_and_store_in_agreement_p13() {
    panicking_everywhere(|cache| drop(cache.put_behind(key(1), value(5))));
    panicking_everywhere(|cache| drop(cache.put_behind(key(3), value(5))));
    panicking_everywhere(|cache| drop(cache.remove_behind(key(2))));
}

#[test]
fn a_panic_where_the_queue_is_full_leaves_cache_and_store_in_agreement_p13() {
    panicking_everywhere(|cache| {
        drop(cache.put_behind(key(3), value(3)));
        drop(cache.put_behind(key(4), value(4)));
    });
}

#[test]
fn a_panic_in_a_flush_leaves_the_queue_of_use_p13() {
    panicking_everywhere(Loading::flush);
    panicking_everywhere(|cache| drop(cache.put_through(key(2), value(5))));
}

#[test]
fn what_was_written_may_ask_the_cache_when_it_is_dropped_p14() {
    let store = Store::default();
    let cache = cache(&store);
    let (first, second) = (key(1), value(2));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (on_key, on_value) = (first.on_drop.clone(), second.on_drop.clone());
    cache.put_behind(first, value(1)).unwrap();
    cache.put_behind(key(2), second).unwrap();
    cache.clear();
    for hook in [on_key, on_value] {
        let (asking, asked) = (cache.clone(), Arc::clone(&asked));
        hook.set(move || {
            asking.put_behind(key(3), value(3)).unwrap();
            asking.remove(&key(3));
            asked.lock().unwrap().push(asking.get(&key(3)).map(|value| value.content));
        });
    }
    let flushing = cache.clone();
    in_time(move || flushing.flush());
    assert_eq!(*asked.lock().unwrap(), [Ok(3), Ok(3)]);
    check(&cache, &store);
}

#[test]
fn a_clone_that_asks_the_cache_is_reported_p14() {
    let store = Store::default();
    let cache = builder(&store).build();
    let value = value(1);
    let on_clone = value.on_clone.clone();
    cache.put_behind(key(1), value).unwrap();
    cache.remove(&key(1));
    let asking = cache.clone();
    on_clone.set(move || drop(asking.get(&key(2))));
    let reading = cache.clone();
    let read = in_time(move || catch_unwind(AssertUnwindSafe(|| reading.get(&key(1)))));
    assert!(!matches!(read, Ok(Ok(_))), "it was asked under a lock");
    check(&cache, &store);
}

type Job = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A cache whose spawner panics as long as it is told to, and what it spawned.
fn spawning(store: &Store) -> (Loading, Arc<AtomicBool>, Arc<Mutex<Vec<Job>>>) {
    let (is_down, spawned) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (down, own) = (Arc::clone(&is_down), Arc::clone(&spawned));
    let spawn = move |job| {
        assert!(!down.load(SeqCst), "no reactor running");
        own.lock().unwrap().push(job);
    };
    (builder(store).spawner(spawn).build(), is_down, spawned)
}

#[test]
fn a_spawner_that_panics_does_not_part_cache_and_store_p13() {
    let store = Store::default();
    let (cache, is_down, spawned) = spawning(&store);
    is_down.store(true, SeqCst);
    let put = |content| cache.put_behind(key(1), value(content)).unwrap().is_some();
    assert_eq!((put(1), put(2)), (false, true));
    assert_eq!(cache.get(&key(1)).unwrap().content, 2);
    let flushing = cache.clone();
    in_time(move || flushing.flush());
    assert_eq!(store.row(1), Some(2), "who waits writes himself");
    assert_eq!(spawned.lock().unwrap().len(), 0);
    // And once it works again it is used.
    is_down.store(false, SeqCst);
    put(3);
    let job = spawned.lock().unwrap().pop().expect("it is asked with every write");
    assert!(Task::new(job).poll().is_ready());
    assert_eq!((store.row(1), cache.unwritten()), (Some(3), 0));
    check_spawned(&cache, &store, &spawned);
}

#[test]
fn a_job_that_was_let_go_of_is_spawned_anew() {
    let store = Store::default();
    let (cache, _, spawned) = spawning(&store);
    cache.put_behind(key(1), value(1)).unwrap();
    drop(spawned.lock().unwrap().pop());
    cache.put_behind(key(2), value(2)).unwrap();
    let job = spawned.lock().unwrap().pop().expect("another one");
    let flushing = cache.clone();
    let mut flush = Task::new(async move { flushing.flush_async().await });
    assert!(flush.poll().is_pending(), "it is the spawner's");
    drop(job);
    assert!(flush.is_woken());
    assert!(flush.poll().is_ready(), "it is whose who waits");
    assert_eq!((store.row(1), store.row(2)), (Some(1), Some(2)));
    check_spawned(&cache, &store, &spawned);
}

#[test]
fn what_comes_while_those_who_wait_write_is_spawned_p17() {
    let store = Store(Arc::new(Inner { pending: 1, ..Inner::default() }));
    let (cache, is_down, spawned) = spawning(&store);
    is_down.store(true, SeqCst);
    cache.put_behind(key(1), value(1)).unwrap();
    let flushing = cache.clone();
    let mut flush = Task::new(async move { flushing.flush_async().await });
    while store.batches().is_empty() {
        assert!(flush.is_woken(), "told that nobody else writes");
        assert!(flush.poll().is_pending());
    }
    is_down.store(false, SeqCst);
    cache.put_behind(key(2), value(2)).unwrap();
    assert_eq!(spawned.lock().unwrap().len(), 0, "one writes at a time");
    assert!(flush.poll().is_ready());
    let mut job = Task::new(spawned.lock().unwrap().pop().expect("there is more"));
    while job.poll().is_pending() {
        assert!(job.is_woken(), "forgotten");
    }
    assert_eq!((store.row(2), cache.unwritten()), (Some(2), 0));
}

/// As `check`, with a thread for what is spawned.
fn check_spawned(cache: &Loading, store: &Store, spawned: &Arc<Mutex<Vec<Job>>>) {
    let (is_over, jobs) = (Arc::new(AtomicBool::new(false)), Arc::clone(spawned));
    let over = Arc::clone(&is_over);
    let runtime = thread::spawn(move || {
        while !over.load(SeqCst) {
            let job = jobs.lock().unwrap().pop();
            job.map_or_else(thread::yield_now, |job| assert!(Task::new(job).poll().is_ready()));
        }
    });
    check(cache, store);
    is_over.store(true, SeqCst);
    runtime.join().unwrap();
}

#[test]
fn a_weigher_that_panics_does_not_part_cache_and_store_p13() {
    let store = Store::default();
    let weigher = |_: &Odd, value: &Odd| {
        assert_ne!(value.content, 13, "as planned");
        1
    };
    let cache = Cache::<Odd, Odd>::builder().capacity(100).weigher(weigher);
    let cache = cache.clock(ManualTicker::new()).loader(store.clone()).build();
    cache.put_behind(key(1), value(1)).unwrap();
    let put = || cache.put_behind(key(1), value(13));
    assert!(catch_unwind(AssertUnwindSafe(put)).is_err());
    assert!(cache.get_if_present(&key(1)).is_none(), "it is not what the store will have");
    cache.flush();
    assert_eq!(store.row(1), Some(13));
    cache.put_behind(key(1), value(14)).unwrap();
    check(&cache, &store);
}

/// What the writer of the queue got when it called back, `act` being run once.
fn called_back<T: Send + 'static>(
    size: usize,
    drive: impl FnOnce(&Loading) + Send + 'static,
    act: impl Fn(&Loading) -> T + Send + Sync + 'static,
) -> T {
    let store = Store::default();
    let cache = builder(&store).write_queue(size, 1).build();
    let (calling, was_called) = (cache.clone(), AtomicBool::new(false));
    let (answer, answers) = mpsc::channel();
    store.within(move |_| {
        if !was_called.swap(true, SeqCst) {
            answer.send(act(&calling)).unwrap();
        }
    });
    cache.put_behind(key(1), value(1)).unwrap();
    cache.put_behind(key(2), value(2)).unwrap();
    let driving = cache.clone();
    in_time(move || drive(&driving));
    let answer = answers.try_recv().expect("it was driven");
    check(&cache, &store);
    answer
}

#[test]
fn a_writer_that_waits_for_itself_is_told_p14() {
    let put = |cache: &Loading| cache.put_behind(key(3), value(3)).map(drop);
    assert_eq!(called_back(2, Loading::flush, put), Err(WriteError::Reentrant), "full");
    assert_eq!(called_back(3, Loading::flush, put), Ok(()));
    let through = |cache: &Loading| cache.put_through(key(1), value(3)).map(drop);
    assert_eq!(called_back(9, Loading::flush, through), Err(WriteError::Reentrant));
    let other = |cache: &Loading| cache.put_through(key(3), value(3)).map(drop);
    assert_eq!(called_back(9, Loading::flush, other), Ok(()));
    let flush = |cache: &Loading| catch_unwind(AssertUnwindSafe(|| cache.flush()));
    let told = called_back(9, Loading::flush, flush).expect_err("it would wait for itself");
    let told = told.downcast::<&str>().expect("a message");
    assert!(told.contains("from inside its own writer"), "{told}");
    // Nor does an async one wait.
    let flush = |cache: &Loading| {
        let cache = cache.clone();
        let mut flush = Task::new(async move { cache.flush_async().await });
        catch_unwind(AssertUnwindSafe(|| flush.poll().is_pending())).is_err()
    };
    assert!(called_back(9, Loading::flush, flush));
}

#[test]
fn a_writer_that_asks_for_the_key_whose_write_waits_for_it_is_told_p14() {
    let drive = |cache: &Loading| drop(cache.put_through(key(1), value(3)).unwrap());
    let get = |cache: &Loading| {
        cache.remove(&key(1));
        cache.get(&key(1)).map(|value| value.content)
    };
    assert_eq!(called_back(9, drive, get), Err(LoadError::Reentrant));
    let put = |cache: &Loading| cache.put_behind(key(1), value(3)).map(drop);
    assert_eq!(called_back(9, drive, put), Err(WriteError::Reentrant));
    let other = |cache: &Loading| cache.get(&key(2)).map(|value| value.content);
    assert_eq!(called_back(9, drive, other), Ok(2));
}

#[test]
fn a_flush_inside_the_writer_of_another_cache_is_no_matter() {
    let store = Store::default();
    let other = cache(&store);
    other.put_behind(key(1), value(1)).unwrap();
    let flushing = other.clone();
    called_back(9, Loading::flush, move |_| flushing.flush());
    assert_eq!((store.row(1), other.unwritten()), (Some(1), 0));
}
