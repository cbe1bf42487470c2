//! The same read-through under every kind of runtime, and under none: nothing in the cache needs one,
//! and tasks of different runtimes and plain threads wait for each other's loads.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use larder::{
    Cache, LoadingCache,
    loader::{Loaded, Loader},
};

/// Gives each caller the number of loads so far, after letting others run.
#[derive(Clone, Default)]
struct Slow(Arc<AtomicU32>);

/// Lets other tasks run a few times.
async fn pause() {
    for _ in 0..3 {
        let mut is_second = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_second, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Loader<u32, u32> for Slow {
    type Error = ();

    async fn load(&self, _: &u32) -> Result<Loaded<u32>, ()> {
        pause().await;
        Ok((self.0.fetch_add(1, SeqCst) + 1).into())
    }
}

struct Setup {
    plain: Cache<u32, u32>,
    loading: LoadingCache<u32, u32, Slow>,
    loads: Arc<AtomicU32>,
}

impl Setup {
    fn new() -> Arc<Self> {
        let slow = Slow::default();
        let loads = Arc::clone(&slow.0);
        let loading = Cache::builder().capacity(100).loader(slow).build();
        Arc::new(Self { plain: Cache::new(100), loading, loads })
    }

    /// Asks in every way; each key is loaded once, whoever asks.
    async fn ask(self: Arc<Self>) {
        let load = |key: u32| async move {
            pause().await;
            key + 1
        };
        for key in 0..20 {
            assert_eq!(self.plain.get_or_insert_async(&key, load(key)).await, key + 1);
            assert_eq!(self.plain.get_or_insert_shared(&(key + 20), load(key)).await, key + 1);
            let entry = self.plain.entry_async(key + 40).await;
            assert_eq!(entry.or_insert_async(load(key)).await, key + 1);
            self.loading.get_async(&key).await.unwrap();
        }
        assert!(self.loading.get_many_async(&[1, 2, 3]).await.iter().all(Result::is_ok));
    }

    fn block(&self) {
        for key in 0..20 {
            assert_eq!(self.plain.get_or_insert_with(&key, || key + 1), key + 1);
            assert_eq!(self.plain.get_or_insert_with(&(key + 20), || key + 1), key + 1);
            self.loading.get(&key).unwrap();
        }
    }

    fn check(&self) {
        assert_eq!(self.loads.load(SeqCst), 20, "a key was loaded twice");
        assert_eq!((self.plain.flights(), self.loading.flights()), (0, 0));
        self.plain.validate();
        self.loading.validate();
    }
}

#[test]
fn on_one_thread_of_tokio() {
    let setup = Setup::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(Arc::clone(&setup).ask())).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    setup.check();
}

#[test]
fn on_many_threads_of_tokio() {
    let setup = Setup::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..16).map(|_| tokio::spawn(Arc::clone(&setup).ask())).collect();
        let blocking = Arc::clone(&setup);
        let blocking = tokio::task::spawn_blocking(move || blocking.block());
        for task in tasks {
            task.await.unwrap();
        }
        blocking.await.unwrap();
    });
    setup.check();
}

#[test]
fn on_smol() {
    let setup = Setup::new();
    let tasks: Vec<_> = (0..8).map(|_| smol::spawn(Arc::clone(&setup).ask())).collect();
    setup.block();
    tasks.into_iter().for_each(smol::block_on);
    setup.check();
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// All the runtime it takes.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ready) => return ready,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn on_no_runtime() {
    let setup = Setup::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| block_on(Arc::clone(&setup).ask()));
            scope.spawn(|| setup.block());
        }
    });
    setup.check();
}

/// Tasks of two runtimes and threads of none on one cache.
#[test]
fn on_all_at_once() {
    let setup = Setup::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let on_tokio: Vec<_> = (0..4).map(|_| runtime.spawn(Arc::clone(&setup).ask())).collect();
    let on_smol: Vec<_> = (0..4).map(|_| smol::spawn(Arc::clone(&setup).ask())).collect();
    thread::scope(|scope| {
        scope.spawn(|| setup.block());
        scope.spawn(|| block_on(Arc::clone(&setup).ask()));
    });
    on_tokio.into_iter().for_each(|task| runtime.block_on(task).unwrap());
    on_smol.into_iter().for_each(smol::block_on);
    setup.check();
}
