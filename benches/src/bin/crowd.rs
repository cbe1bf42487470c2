//! A hundred tasks that ask for one key at once, which nobody has: how many loads there are, and
//! how much processor time it takes from the end of the load until the last of them is served. And
//! how large the futures are.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use clap::Parser;
use larder::loader::{Loaded, Loader};
use larder::{Cache, LoadingCache};
use larder_bench::rounds::{Contender, Sample, compare};
use larder_bench::table::Table;
use larder_bench::thread;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::yield_now;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Options {
    /// Tasks that ask.
    #[arg(long, default_value_t = 100)]
    tasks: usize,
    /// Rounds that count.
    #[arg(long, default_value_t = 201)]
    rounds: usize,
    /// Print Markdown.
    #[arg(long)]
    markdown: bool,
}

/// What loads wait for.
struct Gate {
    opened: Semaphore,
    loads: AtomicUsize,
}

impl Gate {
    /// What all caches have to do for a value: count, wait, and return the key.
    async fn load(self: Arc<Self>, key: u64) -> Result<u64, Infallible> {
        // Relaxed: there is one thread.
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.opened.acquire().await.expect("never closed").forget();
        Ok(key)
    }
}

/// A cache that tasks share.
trait Asked: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    fn new(gate: &Arc<Gate>) -> Self;
    fn ask(&self, gate: Arc<Gate>, key: u64) -> impl Future<Output = u64> + Send;
    /// Bytes of the future that a caller gets who brings a load of no size, or only a key.
    fn size(&self) -> usize;
}

const CAPACITY: usize = 10_000;

/// A key that no round asks for.
const ABSENT: u64 = u64::MAX;

/// A load that takes no room.
fn nothing() -> std::future::Ready<u64> {
    std::future::ready(0)
}

macro_rules! asked {
    ($($Asked:ident = $name:literal, $Cache:ty, |$gate:ident| $new:expr,
        |$cache:ident, $g:ident, $key:ident| $ask:expr, $size:expr;)*) => {$(
        #[derive(Clone)]
        struct $Asked($Cache);

        impl Asked for $Asked {
            const NAME: &'static str = $name;

            fn new($gate: &Arc<Gate>) -> Self {
                Self($new)
            }

            async fn ask(&self, $g: Arc<Gate>, $key: u64) -> u64 {
                let $cache = &self.0;
                $ask
            }

            fn size(&self) -> usize {
                let $cache = &self.0;
                size_of_val(&$size)
            }
        }
    )*};
}

/// A loader of larder's.
struct Gated(Arc<Gate>);

impl Loader<u64, u64> for Gated {
    type Error = Infallible;

    async fn load(&self, key: &u64) -> Result<Loaded<u64>, Infallible> {
        Arc::clone(&self.0).load(*key).await.map(Loaded::new)
    }
}

asked! {
    Larder = "larder", Cache<u64, u64>,
        |_gate| Cache::new(CAPACITY as u64),
        |cache, gate, key| {
            cache.get_or_insert_async(&key, async { gate.load(key).await.unwrap_or_default() }).await
        }, cache.get_or_insert_async(&ABSENT, nothing());
    Shared = "larder shared", Cache<u64, u64>,
        |_gate| Cache::new(CAPACITY as u64),
        |cache, gate, key| {
            let load = async move { gate.load(key).await.unwrap_or_default() };
            cache.get_or_insert_shared(&key, load).await
        }, cache.get_or_insert_shared(&ABSENT, nothing());
    Loading = "larder loading", LoadingCache<u64, u64, Gated>,
        |gate| Cache::builder()
            .capacity(CAPACITY as u64)
            .loader(Gated(Arc::clone(gate)))
            .build(),
        |cache, _gate, key| cache.get_async(&key).await.unwrap_or_default(), cache.get_async(&ABSENT);
    QuickCache = "quick_cache", Arc<quick_cache::sync::Cache<u64, u64>>,
        |_gate| Arc::new(quick_cache::sync::Cache::new(CAPACITY)),
        |cache, gate, key| cache.get_or_insert_async(&key, gate.load(key)).await.unwrap_or_default(),
        cache.get_or_insert_async(&ABSENT, std::future::ready(Ok::<_, Infallible>(0)));
    Moka = "moka", moka::future::Cache<u64, u64, RandomState>,
        |_gate| moka::future::Cache::builder()
            .max_capacity(CAPACITY as u64)
            .build_with_hasher(RandomState::new()),
        |cache, gate, key| {
            cache.get_with(key, async { gate.load(key).await.unwrap_or_default() }).await
        }, cache.get_with(ABSENT, nothing());
    Foyer = "foyer-s3fifo", foyer_memory::Cache<u64, u64, RandomState>,
        |_gate| foyer_memory::CacheBuilder::new(CAPACITY)
            .with_hash_builder(RandomState::new())
            .with_eviction_config(foyer_memory::S3FifoConfig::default())
            .build(),
        |cache, gate, key| {
            let fetched = cache.get_or_fetch(&key, || gate.load(key)).await;
            fetched.map(|entry| *entry.value()).unwrap_or_default()
        }, cache.get_or_fetch(&ABSENT, || std::future::ready(Ok::<_, Infallible>(0)));
    Fibre = "fibre-s3fifo", Arc<fibre_cache::AsyncCache<u64, u64, RandomState>>,
        |gate| {
            let gate = Arc::clone(gate);
            let builder = fibre_cache::CacheBuilder::<u64, u64, RandomState>::default();
            let builder = builder.hasher(RandomState::new()).capacity(CAPACITY as u64).s3fifo();
            let builder = builder.async_loader(move |key| {
                let load = Arc::clone(&gate).load(key);
                async { (load.await.unwrap_or_default(), 1) }
            });
            Arc::new(builder.build_async().expect("a capacity is all it needs"))
        },
        |cache, _gate, key| *cache.fetch_with(&key).await, cache.fetch_with(&ABSENT);
}

/// Lets all tasks ask for a key and wait; then opens the gate. What is measured begins there.
fn contender<A: Asked>(runtime: &Arc<Runtime>, tasks: usize) -> (Contender, usize) {
    let gate = Arc::new(Gate { opened: Semaphore::new(0), loads: AtomicUsize::new(0) });
    let within = runtime.enter();
    let cache = A::new(&gate);
    let size = cache.size();
    drop(within);
    let runtime = Arc::clone(runtime);
    let run = move |round: usize| {
        let before = gate.loads.load(Ordering::Relaxed);
        let asked = async {
            let tasks: Vec<_> = (0..tasks)
                .map(|_| {
                    let (cache, gate) = (cache.clone(), Arc::clone(&gate));
                    tokio::spawn(async move { cache.ask(gate, round as u64).await })
                })
                .collect();
            // One thread: after some turns all tasks (and those they spawned) have asked and wait.
            for _ in 0..8 {
                yield_now().await;
            }
            let start = thread::cpu_time();
            gate.opened.add_permits(1);
            for task in tasks {
                assert_eq!(task.await.expect("no cache panics"), round as u64, "{}", A::NAME);
            }
            (thread::cpu_time() - start).as_nanos() as f64
        };
        let cpu_ns = runtime.block_on(asked);
        let loads = gate.loads.load(Ordering::Relaxed) - before;
        Sample { cpu_ns, wall_ns: cpu_ns, hits: loads as f64 }
    };
    (Contender::of(A::NAME, run), size)
}

fn main() {
    let options = Options::parse();
    let runtime = Arc::new(Builder::new_current_thread().build().expect("nothing it could lack"));
    let mut contenders = Vec::new();
    let mut sizes = Vec::new();
    macro_rules! add {
        ($($Asked:ident)*) => {$(
            let asked = contender::<$Asked>(&runtime, options.tasks);
            contenders.push(asked.0);
            sizes.push(asked.1);
        )*};
    }
    add!(QuickCache Larder Shared Loading Moka Foyer Fibre);

    let outcomes = compare(&contenders, options.rounds);
    let mut table = Table::new("cache", options.markdown);
    table.column("loads");
    table.column("until the last is served, µs");
    table.column("ratio to quick_cache");
    table.column("size of the future, bytes");
    for (outcome, size) in outcomes.iter().zip(sizes) {
        let cpu = outcome.each(|sample| sample.cpu_ns);
        let ratio = outcome.ratio(&outcomes[0], |sample| sample.cpu_ns);
        let loads = outcome.each(|sample| sample.hits);
        table.row(
            outcome.name,
            vec![
                format!("{:.0} to {:.0}", loads.min, loads.max),
                format!("{:.1}", cpu.median / 1e3),
                format!("{:.2} [{:.2} {:.2}]", ratio.median, ratio.min, ratio.max),
                size.to_string(),
            ],
        );
    }
    println!("{} tasks, one cold key, one thread.\n\n{table}", options.tasks);
}
