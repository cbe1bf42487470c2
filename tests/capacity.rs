//! The capacity is strict, belongs to the whole cache, and can be changed (P5 to P8).

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use common::{Constant, Identity, Kind, for_each_kind};
use larder::{Cache, RemovalCause, policy::AnyPolicy};

/// A stream of pseudo-random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn policy(name: &str) -> AnyPolicy {
    name.parse().expect("a listed name")
}

/// Inserts until the cache has taken `n` entries in; a policy may refuse some newcomers only when
/// the cache is full.
fn fill(cache: &Cache<u64, u64, AnyPolicy, Identity>, keys: impl Iterator<Item = u64>) {
    for key in keys {
        cache.insert(key, key);
        assert!(cache.weight() <= cache.capacity());
    }
}

#[test]
fn a_cache_for_n_holds_n_of_evenly_spread_keys_p6() {
    for_each_kind(|kind| {
        for n in [1, 2, 7, 64, 1000] {
            let cache = kind.builder::<u64, u64>(n).build();
            for key in 0..n {
                cache.insert(key, key);
            }
            assert_eq!(cache.len() as u64, n);
            assert!((0..n).all(|key| cache.get(&key) == Some(key)));
            for key in n..4 * n {
                cache.insert(key, key);
            }
            assert_eq!((cache.len() as u64, cache.weight()), (n, kind.weight(n)));
            cache.validate();
        }
    });
}

#[test]
fn a_cache_for_n_holds_n_of_skewed_keys_p6() {
    // The stripe is chosen by the hash's upper half.
    let key = |stripe: u64, number: u64| {
        ((stripe | (number << 8)) << 32) | (number * 0x9E37_79B9 % (1 << 32))
    };
    for_each_kind(|kind| {
        let n = 300;
        let cache = kind.builder::<u64, u64>(n).hasher(Identity::default()).build();
        for stripe in [3, 0, 7, 3] {
            fill(&cache, (0..n).map(|number| key(stripe, number)));
            assert_eq!(cache.len() as u64, n, "all keys of stripe {stripe}");
            cache.validate();
        }
        cache.clear();
        fill(&cache, (0..n).map(|number| key(5, number)));
        assert!((0..n).all(|number| cache.get(&key(5, number)).is_some()), "a stripe can have all");
        cache.validate();
    });
}

#[test]
fn colliding_keys_are_told_apart_p2_p6() {
    for_each_kind(|kind| {
        for hash in [0, u64::MAX, 0x1234_5678_9abc_def0] {
            let n = 70;
            let cache = kind.builder::<u64, u64>(n).hasher(Constant(hash)).build();
            for key in 0..400 {
                cache.insert(key, key);
                if key % 3 == 0 {
                    cache.get(&(key / 2));
                }
                assert_eq!(cache.len() as u64, n.min(key + 1));
                cache.validate();
            }
            let resident: Vec<_> = cache.iter().collect();
            assert_eq!(resident.len() as u64, n);
            for (key, value) in resident {
                assert_eq!(key, value);
                assert_eq!(cache.get(&key), Some(key));
                assert_eq!(cache.remove(&key), Some(key));
                assert_eq!(cache.get(&key), None);
            }
            assert_eq!((cache.len(), cache.weight()), (0, 0));
            cache.validate();
        }
    });
}

#[test]
fn capacity_zero_stores_nothing_and_all_else_works_p7() {
    for_each_kind(|kind| {
        let told = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&told);
        let cache = kind
            .builder::<u64, u64>(0)
            .on_removal(move |_, _, removal| {
                assert_eq!(removal.cause, RemovalCause::Rejected);
                heard.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        assert_eq!(cache.insert(1, 1), None);
        assert_eq!(cache.insert_if_absent(1, 2), Ok(()));
        assert_eq!(cache.entry(1).or_insert(3), 3);
        assert_eq!(told.load(Ordering::Relaxed), 3);
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.remove(&1), None);
        assert_eq!(cache.replace_if(1, 2, |_| true), Err(2));
        assert_eq!((cache.len(), cache.weight(), cache.capacity()), (0, 0, 0));
        cache.retain(|_, _| false);
        cache.clear();
        cache.run_maintenance();
        assert_eq!(cache.iter().count(), 0);
        cache.set_capacity(kind.weight(2));
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), Some(1));
        cache.validate();
    });
}

#[test]
fn an_entry_heavier_than_the_capacity_is_refused_and_evicts_nobody_p7() {
    for name in common::POLICIES {
        for stripes in [1, 8] {
            let rejected = Arc::new(AtomicU64::new(0));
            let heard = Arc::clone(&rejected);
            let cache = Cache::<u64, u64>::builder()
                .capacity(100)
                .stripes(stripes)
                .weigher(|_, &weight| weight)
                .policy(policy(name))
                .on_removal(move |_, _, removal| {
                    if removal.cause == RemovalCause::Rejected {
                        heard.fetch_add(removal.weight, Ordering::Relaxed);
                    }
                })
                .build();
            for key in 0..10 {
                cache.insert(key, 10);
            }
            assert_eq!(cache.insert(77, 101), None);
            assert_eq!(cache.insert(77, u64::MAX), None);
            assert_eq!(rejected.load(Ordering::Relaxed), 100, "101 + u64::MAX, wrapped");
            assert_eq!(cache.len(), 10);
            // A resident's new value that is too heavy leaves nothing old behind (P4).
            assert_eq!(cache.insert(3, 101), Some(10));
            assert_eq!(cache.get(&3), None);
            assert_eq!((cache.len(), cache.weight()), (9, 90));
            cache.validate();
        }
    }
}

#[test]
fn one_huge_entry_can_be_held_p6() {
    for name in common::POLICIES {
        for stripes in [1, 8, 64] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(1000)
                .stripes(stripes)
                .weigher(|_, &weight| weight)
                .policy(policy(name))
                .build();
            cache.insert(0, 1000);
            assert_eq!(cache.get(&0), Some(1000));
            cache.insert(0, 1);
            // Among others, an update always takes effect (P4).
            for key in 1..500 {
                cache.insert(key, 2);
                assert!(cache.weight() <= 1000);
            }
            let resident = cache.keys().next().expect("not empty");
            cache.insert(resident, 1000);
            assert_eq!(cache.get(&resident), Some(1000));
            assert_eq!((cache.len(), cache.weight()), (1, 1000));
            cache.validate();
        }
    }
}

#[test]
fn a_heavy_newcomer_that_is_refused_costs_others_next_to_nothing() {
    for name in common::POLICIES {
        for (stripes, parts) in [(8, 1), (8, 2), (8, 4), (64, 1), (64, 3), (64, 32)] {
            let left = Arc::new(AtomicU64::new(0));
            let notices = Arc::clone(&left);
            let heavy = |key: u64| key >= 1_000_000;
            let cache = Cache::<u64, Arc<u64>>::builder()
                .capacity(64_000)
                .stripes(stripes)
                .weigher(move |&key, _| if heavy(key) { 64_000 / parts } else { 10 })
                .policy(policy(name))
                .on_removal(move |_, _, removal| {
                    notices.fetch_add(removal.weight, Ordering::Relaxed);
                })
                .build();
            for round in 0..3 {
                for key in 0..6400 {
                    if round == 0 || cache.get(&key).is_none() {
                        cache.insert(key, Arc::new(key));
                    }
                }
            }
            let context = format!("{name}, {stripes} stripes, a {parts}th");
            for key in 1_000_000..1_000_004 {
                let (before, weight) = (left.load(Ordering::Relaxed), cache.weight());
                cache.insert(key, Arc::new(key));
                cache.validate();
                let gone = left.load(Ordering::Relaxed) - before;
                if cache.contains_key(&key) {
                    assert_eq!(cache.get(&key).as_deref(), Some(&key));
                    continue;
                }
                // The newcomer itself was told of, too.
                assert_eq!(weight - cache.weight(), gone - 64_000 / parts, "{context}");
                assert!(cache.weight() >= weight - weight / 4, "{context}: {}", cache.weight());
            }
            cache.clear();
            cache.insert(1_000_000, Arc::new(1));
            assert!(cache.contains_key(&1_000_000), "{context}: there is room");
            cache.validate();
        }
    }
}

#[test]
fn weights_near_the_end_of_u64_do_not_overflow_p7() {
    for name in common::POLICIES {
        for stripes in [1, 8] {
            for capacity in [u64::MAX, u64::MAX - 1, 1 << 63] {
                let cache = Cache::<u64, u64>::builder()
                    .capacity(capacity)
                    .stripes(stripes)
                    .weigher(|_, &weight| weight)
                    .policy(policy(name))
                    .build();
                let mut random = Random(0x9E37_79B9_7F4A_7C15);
                for round in 0..300 {
                    let key = random.next(20);
                    let weight = match random.next(6) {
                        0 => u64::MAX,
                        1 => capacity,
                        2 => capacity - random.next(9),
                        3 => capacity / 2 + random.next(3),
                        4 => capacity / 3,
                        _ => random.next(1000),
                    };
                    cache.insert(key, weight);
                    cache.get(&random.next(20));
                    assert!(cache.weight() <= capacity, "{name} {round}");
                    cache.validate();
                }
                cache.set_capacity(5);
                assert!(cache.weight() <= 5);
                cache.clear();
                cache.insert(1, 5);
                assert_eq!(cache.get(&1), Some(5));
                cache.validate();
            }
        }
    }
}

#[test]
fn weightless_entries_are_never_evicted_p8() {
    for name in common::POLICIES {
        for stripes in [1, 8] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(50)
                .stripes(stripes)
                .weigher(|_, &weight| weight)
                .policy(policy(name))
                .build();
            for key in 0..200 {
                cache.insert(key, 0);
            }
            for key in 1000..3000 {
                cache.insert(key, 1 + key % 7);
            }
            assert!((0..200).all(|key| cache.peek(&key) == Some(0)), "{name}");
            // From nothing to something and back.
            cache.insert(7, 3);
            assert_eq!(cache.get(&7), Some(3));
            cache.insert(7, 0);
            cache.set_capacity(0);
            assert_eq!((cache.len(), cache.weight()), (200, 0));
            cache.validate();
            assert!((0..200).all(|key| cache.remove(&key) == Some(0)));
            cache.validate();
        }
    }
}

#[test]
fn the_capacity_shrinks_and_grows_at_run_time_p8() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(500).build();
        for key in 0..500 {
            cache.insert(key, key);
        }
        for entries in [499, 100, 101, 1, 0, 300, 40] {
            cache.set_capacity(kind.weight(entries));
            assert_eq!(cache.capacity(), kind.weight(entries));
            assert!(cache.weight() <= kind.weight(entries));
            for key in 1000..1000 + 2 * entries {
                cache.insert(key, key);
            }
            assert_eq!(cache.len() as u64, entries, "it is filled to {entries}");
            cache.validate();
        }
    });
}

/// Watches from two threads while four write.
fn watch(
    cache: &Cache<u64, u64, AnyPolicy>,
    shrinks: bool,
    write: impl Fn(u64, &mut Random) + Sync,
) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Two looks are not of one moment: where the capacity falls, look at it first.
                    let (weight, capacity) = if shrinks {
                        let before = cache.capacity();
                        let weight = cache.weight();
                        (weight, before.max(cache.capacity()))
                    } else {
                        (cache.weight(), cache.capacity())
                    };
                    assert!(weight <= capacity, "{weight} of {capacity}");
                    thread::yield_now();
                }
            });
        }
        let writers: Vec<_> = (1..=4)
            .map(|seed| {
                let write = &write;
                scope.spawn(move || write(seed, &mut Random(seed * 0x9E37_79B9)))
            })
            .collect();
        let panicked: Vec<_> = writers.into_iter().filter_map(|w| w.join().err()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(panicked.is_empty(), "a writer failed");
    });
    cache.validate();
}

#[test]
fn no_observer_sees_more_than_the_capacity_p5() {
    for name in common::POLICIES {
        for (stripes, capacity) in [(1, 100), (8, 100), (8, 3), (8, 1)] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(capacity)
                .stripes(stripes)
                .weigher(|_, &weight| weight)
                .policy(policy(name))
                .build();
            watch(&cache, false, |_, random| {
                for _ in 0..1500 {
                    let key = random.next(60);
                    match random.next(8) {
                        0 => drop(cache.remove(&key)),
                        1 => drop(cache.entry(key).and_modify(|weight| *weight += 1).or_insert(1)),
                        2 => drop(cache.get(&key)),
                        3 => drop(cache.insert(key, random.next(capacity + 3))),
                        _ => drop(cache.insert(key, random.next(5))),
                    }
                }
            });
        }
    }
}

#[test]
fn a_changing_capacity_is_kept_under_fire_p5_p8() {
    for_each_kind(|Kind { policy: name, stripes, weighted }| {
        let builder =
            Cache::<u64, u64>::builder().capacity(100).stripes(stripes).policy(policy(name));
        let cache = match weighted {
            true => builder.weigher(|_, &weight| weight % 5).build(),
            false => builder.build(),
        };
        watch(&cache, true, |seed, random| {
            for round in 0..1000 {
                if seed == 1 && round % 20 == 0 {
                    cache.set_capacity(random.next(200));
                }
                cache.insert(random.next(300), round);
            }
        });
        cache.set_capacity(20);
        assert!(cache.weight() <= 20 && cache.capacity() == 20);
        cache.validate();
    });
}

/// A writer that read the old capacity must not bring the cache over the new one.
#[test]
fn a_smaller_capacity_holds_from_then_on_p8() {
    for round in 0..300 {
        let cache = Cache::<u64, u64>::builder().capacity(1000).stripes(8).build();
        thread::scope(|scope| {
            for thread in 0..3 {
                let cache = &cache;
                scope.spawn(move || {
                    (0..40).for_each(|key| drop(cache.insert(thread * 100 + key, key)))
                });
            }
            cache.set_capacity(10);
        });
        assert!(cache.weight() <= 10, "round {round}: {}", cache.weight());
        assert_eq!(cache.capacity(), 10);
    }
}

#[test]
fn evictions_report_what_left_and_nothing_else_p6_p11() {
    for_each_kind(|kind| {
        let left = Arc::new(std::sync::Mutex::new(HashSet::new()));
        let log = Arc::clone(&left);
        let cache = kind
            .builder::<u64, u64>(50)
            .on_removal(move |&key, _, _| assert!(log.lock().unwrap().insert(key)))
            .build();
        for key in 0..500 {
            cache.insert(key, key);
        }
        let left = left.lock().unwrap();
        for key in 0..500 {
            assert!(left.contains(&key) != cache.contains_key(&key), "key {key}");
        }
    });
}

#[test]
fn what_weighs_nothing_is_ranked_above_all_else_p8() {
    for &policy in common::POLICIES {
        for stripes in [1, 4] {
            let cache = Cache::<u64, u64>::builder()
                .capacity(1000)
                .stripes(stripes)
                .policy(policy.parse::<AnyPolicy>().unwrap())
                .weigher(|_, &value| value)
                .build();
            (0..3).for_each(|key| drop(cache.insert(key, 0)));
            let keys = |ranked: Vec<(u64, u64)>| ranked.into_iter().map(|(key, _)| key);
            assert_eq!((cache.hottest(9).len(), cache.coldest(2).len()), (3, 2), "{policy}");
            // Some weigh something later, some nothing any more.
            (3..13).for_each(|key| drop(cache.insert(key, 5)));
            cache.insert(0, 5);
            (3..7).for_each(|key| drop(cache.insert(key, 0)));
            for (ranked, first) in [(cache.hottest(99), 6), (cache.coldest(99), 7)] {
                let (first, last) = ranked.split_at(first);
                assert!(first.iter().all(|entry| entry.1 == first[0].1), "{policy}: {ranked:?}");
                assert!(last.iter().all(|entry| entry.1 != first[0].1), "{policy}: {ranked:?}");
                let mut all: Vec<u64> = keys(ranked).collect();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..13), "{policy}: each once");
            }
            cache.validate();
        }
    }
}
