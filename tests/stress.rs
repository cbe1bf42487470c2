//! Many threads at random, checked as they go: what a reader sees must be what some order of the
//! operations on that key allows (P1, P4, P5, P11). Runs under the sanitizers too.
//!
//! `LARDER_STRESS_MS` sets how long each test runs, in milliseconds.

#![allow(clippy::disallowed_methods, reason = "real threads run for a real time")]
#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{Kind, Ledger, Token};
use larder::{Cache, Compute, policy::AnyPolicy};

/// How long one test runs, over all kinds of cache.
fn duration() -> Duration {
    let millis = std::env::var("LARDER_STRESS_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(700))
}

/// Runs `test` on every kind of cache, each for its share of the time.
fn for_each_kind_in_time(test: impl Fn(Kind, Instant)) {
    let kinds = 2 * common::POLICIES.len() * common::STRIPES.len();
    let each = duration() / kinds as u32;
    common::for_each_kind(|kind| test(kind, Instant::now() + each));
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Runs `work` in so many threads until the time is up.
fn run(threads: u64, until: Instant, work: impl Fn(u64, &mut Random, &dyn Fn() -> bool) + Sync) {
    let start = Barrier::new(threads as usize);
    thread::scope(|scope| {
        let spawn = |thread| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                let mut random = Random((thread + 1) * 0x9E37_79B9);
                work(thread, &mut random, &|| Instant::now() < until);
            })
        };
        join((0..threads).map(spawn).collect());
    });
}

/// Waits for the threads one by one, which the thread sanitizer understands.
fn join(threads: Vec<thread::ScopedJoinHandle<'_, ()>>) {
    for thread in threads {
        thread.join().expect("no thread finds a fault");
    }
}

/// A value that says whose it is and when it was written.
trait Value: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    fn new(key: u64, sequence: u64) -> Self;

    /// The sequence number, after checking that this is a value of `key`.
    fn of(&self, key: u64) -> u64;
}

/// One that is read under its bucket's lock.
#[derive(Clone, Debug, PartialEq)]
struct Written {
    key: u64,
    sequence: u64,
    /// A copy of the two, on the heap, so that a torn or freed value is noticed.
    check: Box<(u64, u64)>,
}

impl Value for Written {
    fn new(key: u64, sequence: u64) -> Self {
        Self { key, sequence, check: Box::new((key, sequence)) }
    }

    fn of(&self, key: u64) -> u64 {
        assert_eq!(self.key, key, "another key's value");
        assert_eq!(*self.check, (self.key, self.sequence), "a torn value");
        self.sequence
    }
}

/// One that is read without a lock: its halves say the same.
impl Value for u128 {
    fn new(key: u64, sequence: u64) -> Self {
        let half = key << 40 | sequence;
        Self::from(half) << 64 | Self::from(!half)
    }

    fn of(&self, key: u64) -> u64 {
        let (half, check) = ((self >> 64) as u64, *self as u64);
        assert_eq!(half, !check, "a torn value");
        assert_eq!(half >> 40, key, "another key's value");
        half & ((1 << 40) - 1)
    }
}

#[test]
fn readers_see_each_key_s_writes_in_order_p1_p4() {
    readers_see_writes_in_order::<Written>();
}

#[test]
fn readers_without_a_lock_see_each_key_s_writes_in_order_p1_p4() {
    readers_see_writes_in_order::<u128>();
}

fn readers_see_writes_in_order<V: Value>() {
    const KEYS: u64 = 96;
    for_each_kind_in_time(|kind, until| {
        // Too small for all, so that there are evictions and refusals too.
        let cache = kind.builder::<u64, V>(64).build();
        // For each key: values up to this sequence number were certainly removed.
        let removed: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        run(8, until, |thread, random, goes_on| {
            let mut seen = vec![0; KEYS as usize];
            let mut sequences = vec![0; KEYS as usize];
            while goes_on() {
                for _ in 0..50 {
                    // Threads 0 to 3 write their own keys, all read all.
                    let mut key = random.next(KEYS);
                    if thread < 4 && random.next(2) == 0 {
                        key = key / 4 * 4 + thread;
                        let sequence = &mut sequences[key as usize];
                        write(&cache, &removed[key as usize], key, sequence, random);
                        continue;
                    }
                    let removed = removed[key as usize].load(Ordering::SeqCst);
                    let found = match random.next(3) {
                        0 => cache.peek(&key),
                        1 => cache.read(&key, V::clone),
                        _ => cache.get(&key),
                    };
                    if let Some(value) = found {
                        let sequence = value.of(key);
                        assert!(sequence > removed, "a removed value");
                        assert!(sequence >= seen[key as usize], "an older value than before");
                        seen[key as usize] = sequence;
                    }
                }
                assert!(cache.weight() <= cache.capacity());
            }
        });
        cache.validate();
    });
}

fn write<V: Value>(
    cache: &Cache<u64, V, AnyPolicy>,
    removed_to: &AtomicU64,
    key: u64,
    sequence: &mut u64,
    random: &mut Random,
) {
    *sequence += 1;
    let value = V::new(key, *sequence);
    match random.next(8) {
        0 => {
            let removed = cache.remove(&key);
            assert!(removed.is_none_or(|value| value.of(key) < *sequence));
            removed_to.store(*sequence, Ordering::SeqCst);
            assert_eq!(cache.get(&key), None, "removed by its only writer");
        }
        1 => drop(cache.replace_if(key, value, |old| old.of(key) % 2 == 0)),
        2 => drop(cache.entry(key).compute(|_| Compute::Put(value))),
        3 => {
            if let Err((_, refused)) = cache.insert_if_absent(key, value) {
                assert_eq!(refused.of(key), *sequence);
            }
        }
        _ => {
            let old = cache.insert(key, value);
            assert!(old.is_none_or(|value| value.of(key) < *sequence));
            // It is there, or it was refused or evicted, but nothing older is.
            assert!(cache.get(&key).is_none_or(|value| value.of(key) == *sequence));
        }
    }
}

/// While the table grows from empty, keys that stay are never missed: neither by a look-up nor by
/// a removal or replacement, which first look without any lock.
#[test]
fn growth_hides_no_key_p1() {
    growth_hides_no_key::<Written>();
}

#[test]
fn growth_hides_no_key_from_readers_without_a_lock_p1() {
    growth_hides_no_key::<u128>();
}

fn growth_hides_no_key<V: Value>() {
    for_each_kind_in_time(|kind, until| {
        while Instant::now() < until {
            let cache = kind.builder::<u64, V>(20_000).build();
            let stable: u64 = 200;
            for key in 0..stable {
                cache.insert(key, V::new(key, 1));
            }
            let grown = AtomicBool::new(false);
            thread::scope(|scope| {
                let grow = |thread: u64| {
                    let (cache, grown) = (&cache, &grown);
                    scope.spawn(move || {
                        for key in 0..1500 {
                            let key = 1000 + key * 2 + thread;
                            cache.insert(key, V::new(key, 1));
                        }
                        grown.store(true, Ordering::Relaxed);
                    })
                };
                let watch = |thread: u64| {
                    let (cache, grown) = (&cache, &grown);
                    scope.spawn(move || {
                        let mut random = Random(thread + 77);
                        while !grown.load(Ordering::Relaxed) {
                            // A quarter of the stable keys for each thread to replace.
                            let key = random.next(stable / 4) * 4 + thread;
                            assert!(
                                cache.get(&key).is_some_and(|v| v.of(key) == 1),
                                "missed {key}"
                            );
                            let old = cache.insert(key, V::new(key, 1));
                            assert!(old.is_some(), "replacing missed {key}");
                            if random.next(4) == 0 {
                                assert!(cache.remove(&key).is_some(), "removing missed {key}");
                                cache.insert(key, V::new(key, 1));
                            }
                        }
                    })
                };
                let growing: Vec<_> = (0..2).map(grow).collect();
                join(growing.into_iter().chain((0..4).map(watch)).collect());
            });
            cache.validate();
            assert_eq!(cache.len() as u64, stable + 3000);
            // Iteration meets each once.
            let mut keys: Vec<u64> = cache.keys().collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len() as u64, stable + 3000);
        }
    });
}

/// An iteration meets entries that stay exactly once, however much comes and goes meanwhile.
#[test]
fn iteration_meets_what_stays_once() {
    for_each_kind_in_time(|kind, until| {
        let cache = kind.builder::<u64, Written>(20_000).build();
        for key in 0..100 {
            cache.insert(key, Written::new(key, 1));
        }
        run(4, until, |thread, random, goes_on| {
            while goes_on() {
                if thread < 2 {
                    for _ in 0..50 {
                        let key = 1000 + random.next(4000);
                        match random.next(3) {
                            0 => drop(cache.remove(&key)),
                            _ => drop(cache.insert(key, Written::new(key, 2))),
                        }
                    }
                } else {
                    let mut met = vec![0; 100];
                    for (key, value) in cache.iter() {
                        value.of(key);
                        if key < 100 {
                            met[key as usize] += 1;
                        }
                    }
                    assert!(met.iter().all(|&times| times == 1), "{met:?}");
                }
            }
        });
        cache.validate();
    });
}

#[test]
fn counting_through_entries_loses_nothing() {
    for_each_kind_in_time(|kind, until| {
        let cache = kind.builder::<u64, u64>(1000).build();
        let counted = AtomicU64::new(0);
        run(4, until, |_, random, goes_on| {
            while goes_on() {
                for _ in 0..20 {
                    let key = random.next(10);
                    match random.next(2) {
                        0 => drop(cache.entry(key).and_modify(|count| *count += 1).or_insert(1)),
                        _ => {
                            let plus_one =
                                |count: Option<u64>| Compute::Put(count.unwrap_or(0) + 1);
                            cache.entry(key).compute(plus_one);
                        }
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let sum: u64 = cache.iter().map(|(_, count)| count).sum();
        assert_eq!(sum, counted.load(Ordering::Relaxed));
    });
}

/// Compare-and-swap by version: of all who replace the same version, one succeeds.
#[test]
fn swapping_by_version_loses_nothing() {
    for_each_kind_in_time(|kind, until| {
        let cache = kind.builder::<u64, u64>(100).build();
        cache.insert(7, 0);
        let swapped = AtomicU64::new(0);
        run(4, until, |_, random, goes_on| {
            while goes_on() {
                for _ in 0..20 {
                    cache.insert(100 + random.next(50), 1);
                    let Some(version) = cache.version(&7) else { continue };
                    let Some(count) = cache.get(&7) else { continue };
                    if cache.replace_if_version(7, count + 1, version).is_ok() {
                        swapped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        assert_eq!(cache.get(&7), Some(swapped.load(Ordering::Relaxed)));
    });
}

/// Everything at once, expiry, tags, a listener and a changing capacity included.
#[test]
#[expect(clippy::too_many_lines, reason = "one arm for each operation")]
fn everything_at_once_p5_p11_p12() {
    for_each_kind_in_time(|kind, until| {
        let ledger = Arc::new(Ledger::default());
        let told: Vec<AtomicU64> = (0..150).map(|_| AtomicU64::new(0)).collect();
        let whole = kind.weight(80);
        let cache = kind
            .builder::<Token, Token>(80)
            .time_to_idle(Duration::from_millis(40))
            .tags(|key: &Token, _| [key.id % 5])
            .stats(true)
            .on_removal(move |key, value, removal| {
                let last = told[key.id as usize].swap(removal.version, Ordering::Relaxed);
                assert!(last < removal.version, "out of order");
                assert_eq!(value.id % 1000, key.id, "another key's value");
            })
            .build();
        run(8, until, |_, random, goes_on| {
            while goes_on() {
                for _ in 0..50 {
                    let id = random.next(150);
                    let key = Token::new(id, &ledger);
                    let value = Token::new(random.next(99) * 1000 + id, &ledger);
                    let seen = match random.next(64) {
                        0..20 => cache.get(&key),
                        20 => cache.remove(&key),
                        21 => cache.remove_if(&key, |value| value.id % 3 == 0),
                        22 => cache.insert_with_ttl(key, value, Duration::from_millis(id % 30)),
                        23 => cache.entry(key).compute(|_| Compute::Put(value)),
                        24 => cache.replace_if(key, value, |old| old.id % 2 == 0).ok(),
                        25 => {
                            let (weight, capacity) = (cache.weight(), whole);
                            assert!(weight <= capacity, "{weight} of {capacity}");
                            None
                        }
                        26 => {
                            cache.remove_tag(&(id % 5));
                            None
                        }
                        27 => {
                            cache.set_capacity(whole - random.next(whole / 2));
                            None
                        }
                        28 => {
                            cache.retain(|key, _| key.id != id);
                            None
                        }
                        29 => cache.iter().next().map(|(_, value)| value),
                        30 => {
                            cache.touch(&key);
                            cache.hottest(2).pop().map(|(_, value)| value)
                        }
                        31 if random.next(10) == 0 => {
                            cache.clear();
                            None
                        }
                        _ => cache.insert(key, value),
                    };
                    drop(seen);
                }
            }
        });
        cache.run_maintenance();
        cache.validate();
        cache.clear();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
        assert_eq!(ledger.live(), 0);
        assert_eq!(cache.stats().listener_panics, 0, "the listener found a fault");
    });
}
