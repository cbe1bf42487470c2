//! Races and re-entrancy that once went wrong, each in the shape in which it did.

#![allow(clippy::disallowed_methods, reason = "races are provoked for a while")]
#![allow(dropping_copy_types, reason = "what an insertion replaced is of no interest here")]

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use larder::{Cache, policy};

/// How long a race is provoked.
const WHILE: Duration = Duration::from_millis(300);

fn until_over(mut step: impl FnMut()) {
    let end = Instant::now() + WHILE;
    while Instant::now() < end {
        step();
    }
}

#[test]
fn a_condition_holds_for_the_very_value_that_goes_p1() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (cache, is_over) = (&cache, &is_over);
            scope.spawn(move || {
                let mut serial = writer;
                while !is_over.load(Ordering::Relaxed) {
                    serial += 2;
                    cache.insert(1, serial);
                }
            });
        }
        until_over(|| {
            if let Some(seen) = cache.get(&1)
                && let Ok(old) = cache.replace_if(1, u64::MAX, |&now| now == seen)
            {
                assert_eq!(old, seen);
            }
            if let Some(seen) = cache.get(&1)
                && let Some(old) = cache.remove_if(&1, |&now| now == seen)
            {
                assert_eq!(old, seen);
            }
        });
        is_over.store(true, Ordering::Relaxed);
    });
}

fn four_strings() -> Cache<String, String, policy::Lru> {
    let builder = Cache::<String, String>::builder().capacity(4).stripes(1);
    let cache = builder.policy(policy::Lru::default()).build();
    for key in 0..4 {
        cache.insert(key.to_string(), "value".into());
    }
    cache
}

#[test]
fn writing_from_inside_a_read_is_refused_before_it_does_harm_p13() {
    let cache = four_strings();
    let writes: [&dyn Fn(); 3] =
        [&|| drop(cache.remove("0")), &|| drop(cache.insert("0".into(), "new".into())), &|| {
            drop(cache.insert("another".into(), "new".into()))
        }];
    for write in writes {
        let refused = catch_unwind(AssertUnwindSafe(|| cache.read("0", |_| write())));
        assert!(refused.is_err());
        cache.validate();
        assert_eq!(cache.len(), 4);
    }
}

#[test]
fn a_refused_write_leaves_no_gap_among_the_notices_p11() {
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let cache = Cache::<String, String>::builder()
        .capacity(4)
        .on_removal(move |_, _, _| drop(count.fetch_add(1, Ordering::Relaxed)))
        .build();
    cache.insert("a".into(), "old".into());
    let write = || cache.insert("a".into(), "new".into());
    assert!(catch_unwind(AssertUnwindSafe(|| cache.read("a", |_| write()))).is_err());
    for serial in 0..10 {
        cache.insert("b".into(), serial.to_string());
    }
    assert_eq!(told.load(Ordering::Relaxed), 9);
}

#[test]
fn what_a_tag_killed_stays_dead_while_it_is_swept_p1() {
    let cache = Cache::<u64, u64>::builder().capacity(1000).tags(|_, value| [*value]).build();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                cache.run_maintenance();
            }
        });
        until_over(|| {
            (0..200).for_each(|key| drop(cache.insert(key, 7)));
            cache.remove_tag(&7_u64);
            let resurrected = (0..4000).filter(|key| cache.peek(&(key % 200)).is_some()).count();
            assert_eq!(resurrected, 0);
        });
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn removing_tags_all_the_time_does_not_keep_the_sweep_from_its_end_p12() {
    let cache = Cache::<u64, u64>::builder().capacity(20_000).tags(|key, _| [key % 500]).build();
    (0..10_000).for_each(|key| drop(cache.insert(key, key)));
    for step in 0..20_000 {
        if step < 500 {
            cache.remove_tag(&step);
        }
        cache.get(&step);
    }
    assert_eq!(cache.len(), 0, "the dead are still held");
}

#[test]
fn a_lifetime_of_zero_costs_nobody_a_place_p9() {
    let cache: Cache<u64, u64> = Cache::new(3);
    (0..3).for_each(|key| drop(cache.insert(key, key)));
    assert_eq!(cache.insert_with_ttl(9, 9, Duration::ZERO), None);
    assert_eq!((cache.len(), cache.get(&9)), (3, None));
}

#[test]
fn all_operations_agree_when_an_entry_has_expired_p1() {
    let cache =
        Cache::<u64, u64>::builder().capacity(10).time_to_live(Duration::from_secs(3600)).build();
    for round in 0..30 {
        cache.insert_with_ttl(1, round, Duration::from_micros(1500));
        while cache.get(&1).is_some() {}
        assert_eq!(cache.insert_if_absent(1, 0), Ok(()));
    }
}

/// Runs each of both on a thread of its own, so many steps abreast, with a little disorder.
fn side_by_side((steps, abreast): (u64, u64), one: impl FnMut(u64), other: impl FnMut(u64) + Send) {
    let at = [AtomicU64::new(0), AtomicU64::new(0)];
    let go = |me: usize, act: &mut dyn FnMut(u64)| {
        for step in 0..steps {
            if step % abreast == 0 {
                at[me].store(step + 1, Ordering::SeqCst);
                while at[1 - me].load(Ordering::SeqCst) < step + 1 {
                    thread::yield_now();
                }
                for _ in 0..(step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) * me as u64 {
                    std::hint::spin_loop();
                }
            }
            act(step);
        }
        at[me].store(u64::MAX, Ordering::SeqCst);
    };
    let (mut one, mut other) = (one, other);
    thread::scope(|scope| {
        scope.spawn(|| go(1, &mut other));
        go(0, &mut one);
    });
}

/// Two threads each change one key, then ask for the other's. One of them comes later, and must see
/// what the other did: no order of the four explains that neither does.
fn sees_one_of_two(
    change: impl Fn(&Cache<u64, u64>, u64) + Sync,
    missed: impl Fn(&Cache<u64, u64>, u64) -> bool + Sync,
) {
    const PAIRS: u64 = 100_000;
    let cache =
        Cache::<u64, u64>::builder().capacity(1_000_000).initial_capacity(1_000_000).build();
    for key in 0..2 * PAIRS {
        if key % 3 == 0 {
            cache.insert(key, u64::MAX);
        }
    }
    let [mut one, mut other] = [HashSet::new(), HashSet::new()];
    let act = |pair, own: u64, missing: &mut HashSet<u64>| {
        change(&cache, own * PAIRS + pair);
        if missed(&cache, (1 - own) * PAIRS + pair) {
            missing.insert(pair);
        }
    };
    side_by_side((PAIRS, 16), |pair| act(pair, 0, &mut one), |pair| act(pair, 1, &mut other));
    let both: Vec<_> = one.intersection(&other).collect();
    assert!(both.is_empty(), "{} pairs each missed the other, such as {:?}", both.len(), both[0]);
}

#[test]
fn of_two_that_insert_and_look_one_sees_the_other_p1() {
    sees_one_of_two(
        |cache, key| drop(cache.insert(key, key)),
        |cache, key| cache.get(&key) != Some(key),
    );
}

#[test]
fn of_two_that_insert_and_remove_one_sees_the_other_p1() {
    let cache_has_it = |cache: &Cache<u64, u64>, key| cache.remove(&key) != Some(key);
    sees_one_of_two(|cache, key| drop(cache.insert(key, key)), cache_has_it);
}

#[test]
fn what_was_written_before_a_removal_is_not_missed_by_a_load_p16() {
    const KEYS: u64 = 200_000;
    let cache =
        || Cache::<u64, u64>::builder().capacity(KEYS).initial_capacity(KEYS as usize).build();
    let (source, front) = (cache(), cache());
    side_by_side(
        (KEYS, 1),
        |key| {
            front.get_or_insert_with(&key, || source.get(&key).unwrap_or(0));
        },
        |key| {
            source.insert(key, 1);
            front.remove(&key);
        },
    );
    let stale = (0..KEYS).filter(|key| front.peek(key) == Some(0)).count();
    assert_eq!(stale, 0);
}
