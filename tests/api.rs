//! Every method of the public interface, with every policy, striped and not, weighed and not.

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{hash::Hash, sync::Arc, time::Duration};

use common::{Constant, for_each_kind};
use larder::{
    BuildError, Cache, Compute, Equivalent,
    policy::{self, AnyPolicy},
};

#[test]
fn values_come_and_go_p1() {
    for_each_kind(|kind| {
        let cache = kind.builder::<String, u64>(100).build();
        assert_eq!((cache.get("a"), cache.is_empty()), (None, true));
        assert_eq!(cache.insert("a".into(), 1), None);
        assert_eq!(cache.insert("b".into(), 2), None);
        assert_eq!(cache.insert("a".into(), 3), Some(1));
        assert_eq!((cache.get("a"), cache.peek("b"), cache.peek("c")), (Some(3), Some(2), None));
        assert_eq!(cache.read("a", |value| value + 1), Some(4));
        assert_eq!(cache.read("c", |value| value + 1), None);
        assert!(cache.contains_key("a") && !cache.contains_key("c"));
        assert_eq!(cache.get_many(["b", "c", "a"]), [Some(2), None, Some(3)]);
        assert!(cache.touch("a") && !cache.touch("c"));
        assert_eq!((cache.len(), cache.weight()), (2, kind.weight(2)));
        assert_eq!((cache.capacity(), cache.stripes()), (kind.weight(100), kind.stripes));
        assert_eq!((cache.remove("a"), cache.remove("a"), cache.get("a")), (Some(3), None, None));
        let handle = cache.clone();
        handle.insert("z".into(), 9);
        assert_eq!(cache.get("z"), Some(9), "handles share the cache");
        assert!(format!("{cache:?}").contains("len: 2"));
        cache.clear();
        assert!(handle.is_empty() && cache.weight() == 0);
        cache.validate();
    });
}

#[test]
fn writes_may_have_conditions_p1_p4() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(100).build();
        assert_eq!(cache.insert_if_absent(1, 10), Ok(()));
        assert_eq!(cache.insert_if_absent(1, 11), Err((1, 11)));
        assert_eq!(cache.replace_if(1, 12, |&now| now == 10), Ok(10));
        assert_eq!(cache.replace_if(1, 13, |&now| now == 10), Err(13));
        assert_eq!(cache.replace_if(2, 14, |_| true), Err(14), "nothing to replace");
        assert_eq!(cache.remove_if(&1, |&now| now == 10), None);
        assert_eq!(cache.remove_if(&1, |&now| now == 12), Some(12));
        assert_eq!(cache.remove_if(&1, |_| true), None);
        cache.validate();
    });
}

#[test]
fn versions_change_with_values_and_only_then() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(100).build();
        assert_eq!(cache.version(&1), None);
        cache.insert(1, 10);
        let first = cache.version(&1).expect("resident");
        cache.get(&1);
        cache.touch(&1);
        (50..90).for_each(|key| drop(cache.insert(key, key)));
        assert_eq!(cache.version(&1), Some(first));
        assert_eq!(cache.replace_if_version(1, 11, first), Ok(10));
        assert_eq!(cache.replace_if_version(1, 12, first), Err(12));
        let second = cache.version(&1).expect("resident");
        assert!(second > first);
        cache.remove(&1);
        cache.insert(1, 11);
        assert!(cache.version(&1) > Some(second), "another entry, though of the same value");
        assert_eq!(cache.replace_if_version(1, 13, second), Err(13));
        cache.validate();
    });
}

#[test]
fn entries_are_computed_in_one_step() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(100).build();
        assert_eq!(cache.entry(1).or_insert(5), 5);
        assert_eq!(cache.entry(1).or_insert_with(|| panic!("there is a value")), 5);
        assert_eq!(cache.entry(1).and_modify(|value| *value += 1).or_insert(0), 6);
        assert_eq!(cache.entry(2).and_modify(|value| *value += 1).or_insert(7), 7);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(6), Some(7)));
        let entry = cache.entry(1);
        assert_eq!((entry.key(), entry.get()), (&1, Some(&6)));
        assert_eq!(entry.compute(|value| Compute::Put(value.unwrap_or(0) * 2)), Some(12));
        assert_eq!(cache.entry(1).compute(|_| Compute::Keep), Some(12));
        assert_eq!(cache.entry(1).compute(|_| Compute::Remove), None);
        assert_eq!(cache.entry(1).compute(|value| value.map_or(Compute::Keep, Compute::Put)), None);
        assert_eq!(cache.get(&1), None);
        // What a plain write does meanwhile wins.
        let returned = cache.entry(3).or_insert_with(|| {
            cache.insert(3, 33);
            30
        });
        assert_eq!((returned, cache.get(&3)), (30, Some(33)));
        cache.validate();
    });
}

#[test]
fn all_can_be_visited_kept_or_removed() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(500).tags(|key, _| [key % 3]).build();
        (0..300).for_each(|key| drop(cache.insert(key, key * 2)));
        let mut all: Vec<_> = cache.iter().collect();
        all.sort_unstable();
        assert_eq!(all, (0..300).map(|key| (key, key * 2)).collect::<Vec<_>>());
        let mut keys: Vec<_> = cache.keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..300).collect::<Vec<_>>());
        cache.retain(|key, value| {
            assert_eq!(*value, key * 2);
            key % 2 == 0
        });
        assert_eq!((cache.len(), cache.get(&4), cache.get(&5)), (150, Some(8), None));
        assert!(cache.remove_tag(&1_u64) && !cache.remove_tag(&9_u64));
        assert_eq!((cache.get(&4), cache.get(&6)), (None, Some(12)));
        cache.run_maintenance();
        assert_eq!((cache.len(), cache.weight()), (100, kind.weight(100)));
        cache.validate();
    });
}

#[test]
fn keys_are_copied_without_their_values() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, Arc<u64>>(100).build();
        let value = Arc::new(7);
        (0..100).for_each(|key| drop(cache.insert(key, Arc::clone(&value))));
        let mut keys = cache.keys();
        let first = keys.next();
        assert_eq!(Arc::strong_count(&value), 101);
        let mut keys: Vec<_> = first.into_iter().chain(keys).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn the_policy_s_order_can_be_asked_for() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(100).build();
        (0..100).for_each(|key| drop(cache.insert(key, key)));
        for ranked in [cache.hottest(10), cache.coldest(10)] {
            let mut keys: Vec<_> = ranked.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), 10, "no entry twice");
            assert!(ranked.iter().all(|(key, value)| key == value));
        }
        assert_eq!(cache.hottest(1000).len(), 100);
        assert!(cache.coldest(0).is_empty());
        if kind.policy == "lru" && kind.stripes == 1 {
            cache.get(&0);
            assert_eq!((cache.hottest(1)[0].0, cache.coldest(2)), (0, vec![(1, 1), (2, 2)]));
        }
        cache.validate();
    });
}

#[test]
fn what_happens_is_counted() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(10).stats(true).build();
        (0..10).for_each(|key| drop(cache.insert(key, key)));
        cache.insert(1, 2);
        cache.get(&1);
        cache.get(&2);
        cache.get(&99);
        cache.read(&1, |_| ());
        let _ = cache.peek(&1);
        cache.touch(&1);
        let _ = cache.contains_key(&98);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (3, 1));
        assert_eq!((stats.inserts, stats.updates), (10, 1));
        cache.remove(&1);
        let explicit = cache.stats().removals[larder::RemovalCause::Explicit];
        assert_eq!((explicit.count, explicit.weight), (1, kind.weight(1)));
        let silent = kind.builder::<u64, u64>(10).build();
        silent.insert(1, 1);
        silent.get(&1);
        assert_eq!(silent.stats().hits, 0);
    });
}

/// A key that is looked up by its parts.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Owned {
    user: String,
    page: u32,
}

#[derive(Hash)]
struct Borrowed<'a> {
    user: &'a str,
    page: u32,
}

impl Equivalent<Owned> for Borrowed<'_> {
    fn equivalent(&self, key: &Owned) -> bool {
        self.user == key.user && self.page == key.page
    }
}

#[test]
fn keys_may_be_borrowed_everywhere() {
    for_each_kind(|kind| {
        let cache = kind.builder::<Owned, Arc<str>>(10).build();
        let key = Borrowed { user: "ada", page: 7 };
        cache.insert(Owned { user: "ada".into(), page: 7 }, "text".into());
        assert_eq!(cache.get(&key).as_deref(), Some("text"));
        assert_eq!(cache.peek(&key).as_deref(), Some("text"));
        assert_eq!(cache.read(&key, |text| text.len()), Some(4));
        assert!(cache.contains_key(&key) && cache.touch(&key) && cache.version(&key).is_some());
        assert!(cache.set_ttl(&key, Duration::from_secs(60)));
        assert!(cache.expires_in(&key) <= Some(Duration::from_secs(60)));
        assert_eq!(cache.get_many([&key, &Borrowed { user: "ada", page: 8 }]).len(), 2);
        assert_eq!(cache.remove_if(&key, |text| text.is_empty()), None);
        assert_eq!(cache.remove(&key).as_deref(), Some("text"));
        assert!(cache.get(&Borrowed { user: "bob", page: 7 }).is_none());
    });
}

#[test]
fn the_builder_says_what_to_change() {
    let failing =
        |error: BuildError, hint: &str| assert!(error.to_string().contains(hint), "{error}");
    let none = Cache::<u64, u64>::builder().try_build().expect_err("no capacity");
    assert_eq!(none, BuildError::NoCapacity);
    failing(none, "capacity(n)");
    for stripes in [0, 3, 2048, usize::MAX] {
        let built = Cache::<u64, u64>::builder().capacity(10).stripes(stripes).try_build();
        let error = built.expect_err("not a power of two in range");
        assert_eq!(error, BuildError::Stripes(stripes));
        failing(error, "power of two");
    }
    let lazy = Cache::<u64, u64>::builder().capacity(10).maintenance_thread(Duration::ZERO);
    failing(lazy.try_build().expect_err("no interval"), "maintenance_thread");
    for what in ["too many", "`maintenance_thread`", "`record`"] {
        failing(BuildError::Thread("too many".into()), what);
    }
    assert!(std::panic::catch_unwind(|| Cache::<u64, u64>::builder().build()).is_err());
    let unknown = "most-recently-used".parse::<AnyPolicy>().expect_err("unknown");
    assert!(unknown.to_string().contains("lru"));
}

#[test]
fn options_can_be_combined_in_any_order() {
    let cache: Cache<u64, u64, policy::Lru, common::Identity> = Cache::builder()
        .initial_capacity(usize::MAX)
        .hasher(common::Identity::default())
        .time_to_live(Duration::from_secs(3600))
        .policy(policy::Lru::default())
        .capacity(1000)
        .stats(true)
        .stripes(4)
        .build();
    (0..1000).for_each(|key| drop(cache.insert(key << 32, key)));
    assert_eq!((cache.len(), cache.stripes()), (1000, 4));
    cache.validate();
    let plain = Cache::new(3);
    plain.insert("a", 1);
    assert_eq!(plain.get("a"), Some(1));
    fn is_shared<T: Clone + Send + Sync>(_: &T) {}
    is_shared(&plain);
    is_shared(&cache);
}

/// With a weigher nobody knows how many entries there will be, unless it is said.
#[test]
fn there_are_as_many_stripes_as_expected_entries_fill() {
    let weighted = |expected: Option<u64>| {
        let builder = Cache::<u64, u64>::builder().capacity(64 << 20).weigher(|_, &weight| weight);
        match expected {
            Some(entries) => builder.expected_entries(entries).build(),
            None => builder.build(),
        }
    };
    let by_weight = weighted(None).stripes();
    assert!((1..=16).contains(&by_weight), "{by_weight} stripes of 4 Mi or more");
    assert_eq!([0, 100, 1000].map(|entries| weighted(Some(entries)).stripes()), [1; 3]);
    assert!(weighted(Some(u64::MAX)).stripes() >= by_weight);
    let exact = Cache::<u64, u64>::builder().capacity(1 << 20).expected_entries(1).build();
    assert_eq!(exact.stripes(), Cache::<u64, u64>::new(1 << 20).stripes(), "all weigh 1");
}

#[test]
fn there_may_be_more_entries_than_expected_or_fewer() {
    for expected in [0, 1, 100, 1_000_000, u64::MAX] {
        let cache = Cache::<u64, u64>::builder()
            .capacity(20_000)
            .weigher(|_, &weight| weight)
            .expected_entries(expected)
            .build();
        (0..10_000).for_each(|key| _ = cache.insert(key, 2));
        assert_eq!((cache.len(), cache.weight()), (10_000, 20_000), "{expected} expected");
        (0..20_000).for_each(|key| _ = cache.insert(key, 3));
        assert!(cache.weight() > 19_990 && cache.weight() <= 20_000);
        cache.validate();
    }
}

#[test]
fn more_threads_than_have_counters_of_their_own_are_counted_exactly() {
    const THREADS: u64 = 100;
    const LOOKS: u64 = 500;
    let cache = Cache::<u64, u64>::builder().capacity(10_000).stats(true).build();
    (0..100).for_each(|key| _ = cache.insert(key, key));
    // All have begun before the first ends, so that none inherits another's counters.
    let all = std::sync::Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                cache.get(&0);
                all.wait();
                (1..LOOKS).for_each(|look| _ = cache.get(&(look % 200)));
                all.wait();
            });
        }
    });
    let stats = cache.stats();
    let hits = (0..LOOKS).filter(|look| look % 200 < 100).count() as u64;
    assert_eq!((stats.hits, stats.misses), (THREADS * hits, THREADS * (LOOKS - hits)));
}

/// Entries of one hash move about in their bucket's chain; no version may stay behind for the next one.
#[test]
fn a_version_is_not_inherited_from_whoever_lay_there_before() {
    let cache = Cache::<u64, u64>::builder().capacity(40).hasher(Constant(0)).build();
    (0..17).for_each(|key| _ = cache.insert(key, key));
    let old = cache.version(&5).expect("there");
    let makes_room_for_one_that_returns = |removed: [u64; 2], wanted, newcomer| {
        removed.iter().for_each(|key| _ = cache.remove(key));
        assert!(cache.get(&wanted).is_some());
        cache.insert(newcomer, newcomer);
    };
    makes_room_for_one_that_returns([3, 5], 16, 100);
    cache.insert(5, 555);
    makes_room_for_one_that_returns([0, 16], 5, 200);
    assert_ne!(cache.version(&5), Some(old));
    assert_eq!(cache.replace_if_version(5, 1, old), Err(1));
    cache.validate();
}
