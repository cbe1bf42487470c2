//! Writing through the cache and behind it.

#[path = "common/tasks.rs"]
mod tasks;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    task::Poll,
    time::Duration,
};

use larder::{
    Cache, LoadError, LoadingBuilder, LoadingCache, WriteError,
    loader::{self, Loaded, Loader, Write, Writer},
    time::ManualTicker,
};
use tasks::{Gate, Task, in_time};

const SECOND: Duration = Duration::from_secs(1);

type Batch = Vec<(u32, Write<u32>)>;

/// A store that can be slow, down, or broken.
#[derive(Clone, Default)]
struct Store(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<HashMap<u32, u32>>,
    batches: Mutex<Vec<Batch>>,
    gate: Mutex<Gate>,
    is_down: Mutex<Option<&'static str>>,
}

impl Store {
    fn open() -> Self {
        let store = Self::default();
        store.0.gate.lock().unwrap().open();
        store
    }

    fn close(&self) -> Gate {
        let gate = Gate::new();
        *self.0.gate.lock().unwrap() = gate.clone();
        gate
    }

    fn go_down(&self, error: Option<&'static str>) {
        *self.0.is_down.lock().unwrap() = error;
    }

    fn row(&self, key: u32) -> Option<u32> {
        self.0.rows.lock().unwrap().get(&key).copied()
    }

    fn batches(&self) -> Vec<Batch> {
        std::mem::take(&mut *self.0.batches.lock().unwrap())
    }

    async fn pass(&self) -> Result<(), &'static str> {
        let gate = self.0.gate.lock().unwrap().pass();
        gate.await;
        let is_down = *self.0.is_down.lock().unwrap();
        match is_down {
            Some("panic") => panic!("as planned"),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Loader<u32, u32> for Store {
    type Error = &'static str;

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, Self::Error> {
        self.pass().await?;
        Ok(self.row(*key).into())
    }
}

impl Writer<u32, u32> for Store {
    type Error = &'static str;

    async fn put(&self, key: &u32, value: &u32) -> Result<(), Self::Error> {
        self.pass().await?;
        self.0.rows.lock().unwrap().insert(*key, *value);
        Ok(())
    }

    async fn remove(&self, key: &u32) -> Result<(), Self::Error> {
        self.pass().await?;
        self.0.rows.lock().unwrap().remove(key);
        Ok(())
    }

    async fn write_many(&self, writes: &[(u32, Write<u32>)]) -> Result<(), Self::Error> {
        self.0.batches.lock().unwrap().push(writes.to_vec());
        self.pass().await?;
        let mut rows = self.0.rows.lock().unwrap();
        for &(key, write) in writes {
            match write {
                Write::Put(value) => rows.insert(key, value),
                Write::Remove => rows.remove(&key),
            };
        }
        Ok(())
    }
}

type Loading = LoadingCache<u32, u32, Store>;

fn builder(store: &Store, ticker: &ManualTicker) -> LoadingBuilder<u32, u32, Store> {
    Cache::builder().capacity(100).clock(ticker.clone()).loader(store.clone())
}

fn cache(store: &Store) -> Loading {
    builder(store, &ManualTicker::new()).build()
}

#[test]
fn the_cache_changes_only_if_the_store_accepted() {
    let store = Store::open();
    let cache = cache(&store);
    assert_eq!(cache.put_through(1, 10), Ok(None));
    assert_eq!((store.row(1), cache.get_if_present(&1)), (Some(10), Some(10)));
    store.go_down(Some("full"));
    assert_eq!(cache.put_through(1, 11), Err(WriteError::Failed("full")));
    assert_eq!(cache.remove_through(1), Err(WriteError::Failed("full")));
    assert_eq!((store.row(1), cache.get_if_present(&1)), (Some(10), Some(10)));
    store.go_down(None);
    assert_eq!(cache.put_through(1, 12), Ok(Some(10)));
    assert_eq!(cache.remove_through(1), Ok(Some(12)));
    assert_eq!((store.row(1), cache.get_if_present(&1)), (None, None));
    assert_eq!(cache.flights(), 0);
}

#[test]
fn a_loader_and_a_writer_may_be_two() {
    let store = Store::open();
    let cache = Cache::<u32, u32>::builder()
        .capacity(100)
        .loader(loader::blocking(|key: &u32| Ok::<_, &'static str>(key * 10)))
        .writer(store.clone())
        .build();
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(cache.put_through(1, 11), Ok(Some(10)));
    assert_eq!(store.row(1), Some(11));
}

fn put(
    cache: &Loading,
    key: u32,
    value: u32,
) -> Task<Result<Option<u32>, WriteError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.put_through_async(key, value).await })
}

fn get(cache: &Loading, key: u32) -> Task<Result<u32, LoadError<&'static str>>> {
    let cache = cache.clone();
    Task::new(async move { cache.get_async(&key).await })
}

#[test]
fn writes_and_loads_of_a_key_wait_for_each_other_p15() {
    let store = Store::open();
    let cache = cache(&store);
    let gate = store.close();
    let mut write = put(&cache, 1, 10);
    let mut read = get(&cache, 1);
    let mut other = put(&cache, 1, 11);
    assert!(write.poll().is_pending());
    assert!(read.poll().is_pending());
    assert!(other.poll().is_pending());
    gate.open();
    assert_eq!(write.poll(), Poll::Ready(Ok(None)));
    assert_eq!(read.poll(), Poll::Ready(Ok(10)));
    assert_eq!(other.poll(), Poll::Ready(Ok(Some(10))));
    assert_eq!((store.row(1), cache.get_if_present(&1)), (Some(11), Some(11)));
}

#[test]
fn a_write_that_is_dropped_half_way_leaves_nothing_doubtful() {
    let store = Store::open();
    let cache = cache(&store);
    cache.put_through(1, 10).unwrap();
    let gate = store.close();
    let mut write = put(&cache, 1, 11);
    assert!(write.poll().is_pending());
    assert_eq!(cache.get_if_present(&1), Some(10), "served meanwhile");
    drop(write);
    assert_eq!(cache.get_if_present(&1), None);
    gate.open();
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(cache.flights(), 0);
}

/// Writes the very key it is asked to load.
#[derive(Default)]
struct Careless(OnceLock<LoadingCache<u32, u32, Careless>>);

impl Loader<u32, u32> for Careless {
    type Error = WriteError<()>;

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, Self::Error> {
        let cache = self.0.get().expect("set");
        cache.put_behind(*key, 1).and_then(|_| cache.put_through(*key, 1))?;
        Ok(1.into())
    }
}

impl Writer<u32, u32> for Careless {
    type Error = ();

    async fn put(&self, _: &u32, _: &u32) -> Result<(), ()> {
        Ok(())
    }

    async fn remove(&self, _: &u32) -> Result<(), ()> {
        Ok(())
    }
}

#[test]
fn writing_a_key_from_its_own_load_is_reported_p14() {
    let cache = Cache::builder().capacity(1).loader(Careless::default()).build();
    let _ = cache.loader().0.set(cache.clone());
    assert_eq!(cache.get(&1), Err(LoadError::Failed(Arc::new(WriteError::Reentrant))));
}

#[test]
fn what_is_written_behind_is_there_at_once_and_in_the_store_after_a_flush() {
    let store = Store::open();
    let cache = cache(&store);
    assert_eq!(cache.put_behind(1, 10), Ok(None));
    assert_eq!(cache.put_behind(1, 11), Ok(Some(10)));
    assert_eq!(cache.put_behind(2, 20), Ok(None));
    assert_eq!(cache.remove_behind(3), Ok(None));
    assert_eq!((cache.get(&1), store.row(1), cache.unwritten()), (Ok(11), None, 3));
    cache.flush();
    assert_eq!((store.row(1), store.row(2), cache.unwritten()), (Some(11), Some(20), 0));
    assert_eq!(
        store.batches(),
        [[(1, Write::Put(11)), (2, Write::Put(20)), (3, Write::Remove)]],
        "one write for each key"
    );
    cache.flush();
}

#[test]
fn an_evicted_key_is_loaded_from_the_queue() {
    let store = Store::open();
    let cache = cache(&store);
    store.0.rows.lock().unwrap().extend([(1, 1), (2, 2), (3, 3)]);
    cache.put_behind(1, 10).unwrap();
    cache.remove_behind(2).unwrap();
    cache.remove(&1);
    assert_eq!(cache.get(&1), Ok(10));
    assert_eq!(cache.get(&2), Err(LoadError::NotFound));
    cache.clear();
    assert_eq!(cache.get_many(&[1, 2, 3]), [Ok(10), Err(LoadError::NotFound), Ok(3)]);
    // The same while it is on its way.
    let gate = store.close();
    let flushing = cache.clone();
    let mut flush = Task::new(async move { flushing.flush_async().await });
    assert!(flush.poll().is_pending());
    cache.clear();
    assert_eq!(cache.get(&1), Ok(10));
    cache.put_behind(1, 12).unwrap();
    cache.clear();
    assert_eq!(cache.get(&1), Ok(12));
    gate.open();
    assert_eq!(flush.poll(), Poll::Ready(()));
    cache.flush();
    assert_eq!(store.row(1), Some(12));
}

#[test]
fn a_batch_that_is_refused_is_sent_again_later() {
    let (store, ticker) = (Store::open(), ManualTicker::new());
    let cache = builder(&store, &ticker).write_retry(SECOND, SECOND * 4).write_queue(10, 2).build();
    for key in 0..3 {
        cache.put_behind(key, key).unwrap();
    }
    let flushing = cache.clone();
    let mut flush = Task::new(async move { flushing.flush_async().await });
    for error in ["down", "panic", "down"] {
        store.go_down(Some(error));
        assert!(flush.poll().is_pending());
        ticker.advance(SECOND * 4);
    }
    // A newer write of a key that is on its way goes after it.
    cache.put_behind(0, 100).unwrap();
    store.go_down(None);
    assert_eq!(flush.poll(), Poll::Ready(()));
    let first = vec![(0, Write::Put(0)), (1, Write::Put(1))];
    let batches = store.batches();
    assert_eq!(batches[..4], [first.clone(), first.clone(), first.clone(), first]);
    assert_eq!(batches[4], [(2, Write::Put(2)), (0, Write::Put(100))]);
    assert_eq!(cache.unwritten(), 0);
}

#[test]
fn a_store_that_refuses_at_once_does_not_keep_the_thread() {
    in_time(|| {
        let (store, ticker) = (Store::open(), ManualTicker::new());
        let cache = builder(&store, &ticker).write_retry(Duration::ZERO, Duration::ZERO).build();
        cache.put_behind(1, 10).unwrap();
        store.go_down(Some("down"));
        let mut flush = Task::new(async move { cache.flush_async().await });
        for _ in 0..3 {
            assert_eq!(flush.poll(), Poll::Pending);
            assert!(flush.is_woken(), "it goes on by itself");
            assert_eq!(store.batches().len(), 1, "one attempt, and then it is the others' turn");
        }
        store.go_down(None);
        assert_eq!(flush.poll(), Poll::Ready(()));
        assert_eq!(store.row(1), Some(10));
    });
}

#[test]
fn who_finds_the_queue_full_writes() {
    let store = Store::open();
    let cache = builder(&store, &ManualTicker::new()).write_queue(2, 1).build();
    for key in 0..5 {
        cache.put_behind(key, key).unwrap();
        assert!(cache.unwritten() <= 2);
    }
    // A newer write takes the place of the older one, full or not.
    store.close();
    cache.put_behind(4, 40).unwrap();
    let other = cache.clone();
    let mut waiting = Task::new(async move { other.put_behind_async(9, 9).await });
    assert!(cache.unwritten() < 2 || waiting.poll().is_pending());
}

#[test]
fn what_is_written_through_comes_after_what_was_written_behind() {
    let store = Store::open();
    let cache = cache(&store);
    cache.put_behind(1, 10).unwrap();
    assert_eq!(cache.put_through(1, 11), Ok(Some(10)));
    assert_eq!((store.row(1), cache.unwritten()), (Some(11), 0));
    cache.flush();
    assert_eq!((store.row(1), cache.get(&1)), (Some(11), Ok(11)));
    cache.put_behind(1, 12).unwrap();
    assert_eq!(cache.remove_through(1), Ok(Some(12)));
    cache.flush();
    assert_eq!((store.row(1), cache.get(&1)), (None, Err(LoadError::NotFound)));
}

#[test]
fn a_spawner_writes_in_the_background() {
    type Load = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    let (store, spawned) = (Store::open(), Arc::new(Mutex::new(Vec::<Load>::new())));
    let own = Arc::clone(&spawned);
    let cache = builder(&store, &ManualTicker::new())
        .spawner(move |load| own.lock().unwrap().push(load))
        .build();
    cache.put_behind(1, 1).unwrap();
    cache.put_behind(2, 2).unwrap();
    assert_eq!(spawned.lock().unwrap().len(), 1, "one writes for all");
    let load = spawned.lock().unwrap().pop().unwrap();
    assert!(Task::new(load).poll().is_ready());
    assert_eq!((store.row(1), store.row(2), cache.unwritten()), (Some(1), Some(2), 0));
    cache.put_behind(1, 3).unwrap();
    // The runtime goes away and takes the job with it.
    let load = spawned.lock().unwrap().pop().unwrap();
    drop(load);
    cache.flush();
    assert_eq!(store.row(1), Some(3), "who flushes writes himself then");
}
