//! One thread, one operation: for watching larder itself from commit to commit.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use larder::Cache;
use larder_bench::rival::Key;
use larder_bench::workload::EXPONENT;
use larder_bench::zipf::Zipf;

const KEYS: usize = 100_000;

/// Zipf-distributed keys, again and again.
fn stream() -> impl Iterator<Item = u64> {
    let keys: Vec<u64> = Zipf::new(KEYS, EXPONENT, 42).take(1 << 20).map(u64::item).collect();
    (0..).map(move |step| keys[step & (keys.len() - 1)])
}

/// A cache with room for this many of the keys, filled.
fn filled(capacity: usize) -> Cache<u64, u64> {
    let cache = Cache::new(capacity as u64);
    for rank in (0..KEYS as u64).rev() {
        cache.insert(u64::item(rank), rank);
    }
    cache
}

fn lookups(criterion: &mut Criterion) {
    let cache = filled(KEYS);
    let mut keys = stream();
    let mut next = || keys.next().expect("it is endless");
    criterion.bench_function("get, hit", |b| b.iter(|| cache.get(&black_box(next()))));
    criterion.bench_function("read, hit", |b| b.iter(|| cache.read(&next(), |v| v + 1)));
    criterion.bench_function("peek, hit", |b| b.iter(|| cache.peek(&black_box(next()))));
    // Scrambling is one to one, so ranks beyond the last are not there.
    let mut ranks = KEYS as u64..;
    let mut absent = || u64::item(ranks.next().expect("it is endless"));
    criterion.bench_function("get, miss", |b| b.iter(|| cache.get(&absent())));
}

fn insertions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    for (name, capacity) in [("update", KEYS), ("half the keys", KEYS / 2)] {
        let cache = filled(capacity);
        let mut keys = stream();
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| cache.insert(keys.next().expect("it is endless"), 0));
        });
    }
    let cache = filled(KEYS / 10);
    let mut ranks = KEYS as u64..;
    group.bench_function(BenchmarkId::from_parameter("always new, evicting"), |b| {
        b.iter(|| cache.insert(u64::item(ranks.next().expect("it is endless")), 0));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = lookups, insertions
}
criterion_main!(benches);
