//! Who expires when, that the dead are never seen, and how soon they are gone (P1, P9, P10).

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Constant, Kind, for_each_kind};
use larder::{Cache, Expiry, RemovalCause, policy::AnyPolicy, time::ManualTicker};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

type Built = larder::Builder<u64, u64, AnyPolicy>;

/// A cache for a hundred entries with a ticker.
fn timed(
    kind: Kind,
    options: impl FnOnce(Built) -> Built,
) -> (Cache<u64, u64, AnyPolicy>, ManualTicker) {
    let ticker = ManualTicker::new();
    let builder = kind.builder::<u64, u64>(100).clock(ticker.clone());
    (options(builder).build(), ticker)
}

#[test]
fn time_to_live_counts_from_the_write_p9() {
    for_each_kind(|kind| {
        let (cache, ticker) = timed(kind, |b| b.time_to_live(10 * SECOND));
        cache.insert(1, 1);
        for _ in 0..9 {
            ticker.advance(SECOND);
            assert_eq!(cache.get(&1), Some(1), "use does not matter, nor does it extend");
        }
        assert!(cache.expires_in(&1).is_some_and(|left| left <= SECOND && left > 999 * MS));
        cache.insert(2, 2);
        ticker.advance(SECOND);
        assert_eq!((cache.get(&1), cache.peek(&1), cache.read(&1, |v| *v)), (None, None, None));
        assert!(!cache.contains_key(&1) && !cache.touch(&1));
        assert_eq!((cache.remove(&1), cache.expires_in(&1), cache.version(&1)), (None, None, None));
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(2, 2)]);
        // A write starts anew.
        cache.insert(2, 3);
        ticker.advance(9 * SECOND);
        assert_eq!(cache.get(&2), Some(3));
        ticker.advance(SECOND);
        assert_eq!(cache.get(&2), None);
        cache.run_maintenance();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
        cache.validate();
    });
}

#[test]
fn time_to_idle_counts_from_the_last_use_p9() {
    for_each_kind(|kind| {
        let (cache, ticker) = timed(kind, |b| b.time_to_idle(10 * SECOND));
        for key in 0..6 {
            cache.insert(key, key);
        }
        for _ in 0..5 {
            ticker.advance(9 * SECOND);
            assert_eq!(cache.get(&0), Some(0));
            assert_eq!(cache.read(&1, |v| *v), Some(1));
            assert!(cache.touch(&2));
            assert!(cache.insert(3, 3).is_some());
        }
        assert_eq!(cache.get(&4), None);
        ticker.advance(9 * SECOND);
        // Looking without using does not count.
        assert_eq!(cache.peek(&0), Some(0));
        assert!(cache.contains_key(&1) && cache.expires_in(&2) <= Some(SECOND));
        ticker.advance(SECOND);
        assert_eq!((0..4).find(|key| cache.peek(key).is_some()), None);
        cache.run_maintenance();
        assert_eq!(cache.len(), 0);
        cache.validate();
    });
}

#[test]
fn the_nearest_deadline_wins_p9() {
    for_each_kind(|kind| {
        let options = |b: Built| b.time_to_live(10 * SECOND).time_to_idle(4 * SECOND);
        let (cache, ticker) = timed(kind, options);
        cache.insert(1, 1);
        cache.insert_with_ttl(2, 2, 2 * SECOND);
        cache.insert_with_ttl(3, 3, Duration::MAX);
        let left = |key| cache.expires_in(&key).map(|left| left.as_millis().div_ceil(100));
        assert_eq!((left(1), left(2), left(3)), (Some(40), Some(20), Some(40)));
        ticker.advance(3 * SECOND);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(1), None, Some(3)));
        ticker.advance(3 * SECOND);
        assert_eq!((cache.get(&1), cache.get(&3)), (Some(1), Some(3)));
        assert_eq!(left(1), Some(40));
        ticker.advance(3 * SECOND);
        assert_eq!(cache.get(&1), Some(1));
        assert_eq!(left(1), Some(10), "idling would last longer than the time to live");
        ticker.advance(SECOND);
        assert_eq!((cache.get(&1), cache.get(&3)), (None, None));
        cache.validate();
    });
}

/// An hour.
#[derive(Debug)]
struct Hour;

impl larder::Expiry<u64, u64> for Hour {
    fn after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
        Some(3600 * SECOND)
    }
}

/// An hour, which writes do not put off.
#[derive(Debug)]
struct OneHour;

impl larder::Expiry<u64, u64> for OneHour {
    fn after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
        Some(3600 * SECOND)
    }

    fn after_update(&self, _: &u64, _: &u64, remaining: Option<Duration>) -> Option<Duration> {
        remaining
    }
}

#[test]
fn who_keeps_the_deadline_there_was_does_not_keep_that_of_idling_p9() {
    for_each_kind(|kind| {
        let (cache, ticker) =
            timed(kind, |builder| builder.expiry(OneHour).time_to_idle(600 * SECOND));
        cache.insert(1, 0);
        cache.insert_with_ttl(2, 0, 1800 * SECOND);
        for value in 1..6 {
            ticker.advance(500 * SECOND);
            assert_eq!(cache.insert(1, value), Some(value - 1));
            let left = cache.expires_in(&1).expect("used in time");
            assert!(left > 599 * SECOND, "{left:?} at {value}");
            assert_eq!(cache.entry(1).and_modify(|_| ()).or_insert(99), value);
            if value <= 4 {
                let is_there = cache.insert(2, value).is_some();
                assert_eq!(is_there, value < 4, "its own half an hour stays");
            }
        }
        // 2500 seconds have passed; the hour still ends when it was to.
        for _ in 0..2 {
            ticker.advance(500 * SECOND);
            assert_eq!(cache.get(&1), Some(5));
        }
        let left = cache.expires_in(&1).expect("used in time");
        assert!(left > 99 * SECOND && left <= 100 * SECOND, "{left:?}");
        ticker.advance(100 * SECOND);
        assert_eq!(cache.get(&1), None);
        cache.validate();
    });
}

#[test]
fn a_closure_may_say_how_long_each_value_lives_p9() {
    let lives = |_: &u64, value: &u64| (*value > 0).then(|| *value as u32 * SECOND);
    for_each_kind(|kind| {
        let (cache, ticker) = timed(kind, |builder| builder.expiry(lives));
        assert_eq!(cache.get_or_insert_with(&1, || 5), 5);
        cache.insert(2, 0);
        cache.insert_with_ttl(3, 9, 2 * SECOND);
        ticker.advance(3 * SECOND);
        assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [Some(5), Some(0), None]);
        // Reading put nothing off; a new value has a lifetime of its own.
        cache.insert(2, 4);
        ticker.advance(2 * SECOND);
        assert_eq!([1, 2].map(|key| cache.get(&key)), [None, Some(4)]);
        assert_eq!(cache.entry(2).and_modify(|value| *value = 0).or_insert(1), 0);
        assert_eq!(cache.expires_in(&2), Some(Duration::MAX));
        cache.validate();
    });
}

#[test]
fn a_lifetime_given_with_the_value_is_a_rule_among_others_p9() {
    for_each_kind(|kind| {
        let (cache, _) = timed(kind, |builder| builder.expiry(Hour));
        cache.insert_with_ttl(1, 1, 7200 * SECOND);
        cache.insert_with_ttl(2, 2, SECOND);
        cache.insert_with_ttl(2, 2, 5 * SECOND);
        let left = |key| cache.expires_in(&key).map(|left| left.as_secs_f64().round());
        assert_eq!((left(1), left(2)), (Some(3600.0), Some(5.0)));
    });
}

#[test]
fn zero_means_at_once_and_max_means_never_p9() {
    for_each_kind(|kind| {
        let (cache, ticker) = timed(kind, |b| b);
        assert_eq!(cache.insert_with_ttl(1, 1, Duration::ZERO), None);
        assert_eq!(cache.get(&1), None);
        cache.insert_with_ttl(2, 2, Duration::MAX);
        cache.insert_with_ttl(3, 3, 300 * YEAR);
        assert_eq!(cache.expires_in(&2), Some(Duration::MAX));
        cache.insert(4, 4);
        assert!(cache.set_ttl(&4, Duration::ZERO));
        assert!(!cache.set_ttl(&4, SECOND), "it is gone");
        cache.insert(5, 5);
        assert!(cache.set_ttl(&5, SECOND) && cache.set_ttl(&5, Duration::MAX));
        for _ in 0..8 {
            ticker.advance(YEAR);
            cache.run_maintenance();
        }
        assert_eq!((cache.get(&2), cache.get(&3), cache.get(&4)), (Some(2), Some(3), None));
        assert_eq!(cache.get(&5), Some(5));
        cache.validate();
        // Replacing a mortal value by an immortal one and the other way round.
        cache.insert_with_ttl(2, 6, SECOND);
        cache.insert(5, 7);
        ticker.advance(SECOND);
        assert_eq!((cache.get(&2), cache.get(&5)), (None, Some(7)));
        for options in [Duration::ZERO, Duration::MAX] {
            let (live, ticker) = timed(kind, |b| b.time_to_live(options));
            let (idle, _) = timed(kind, |b| b.time_to_idle(options));
            live.insert(1, 1);
            idle.insert(1, 1);
            ticker.advance(YEAR);
            let is_there = options == Duration::MAX;
            assert_eq!((live.get(&1).is_some(), idle.get(&1).is_some()), (is_there, is_there));
        }
    });
}

/// Sets a time for each event: the value in seconds on creation, half of what is left on update,
/// and what is left plus a second on reading.
#[derive(Clone, Default)]
struct Rules(Arc<Counts>);

#[derive(Default)]
struct Counts {
    created: AtomicU64,
    updated: AtomicU64,
    read: AtomicU64,
}

impl Expiry<u64, u64> for Rules {
    fn after_create(&self, _: &u64, &value: &u64) -> Option<Duration> {
        self.0.created.fetch_add(1, Ordering::Relaxed);
        (value > 0).then(|| Duration::from_secs(value))
    }

    fn after_update(&self, _: &u64, _: &u64, remaining: Option<Duration>) -> Option<Duration> {
        self.0.updated.fetch_add(1, Ordering::Relaxed);
        remaining.map(|remaining| remaining / 2)
    }

    fn after_read(&self, _: &u64, remaining: Option<Duration>) -> Option<Duration> {
        self.0.read.fetch_add(1, Ordering::Relaxed);
        remaining.map(|remaining| remaining + SECOND)
    }

    fn watches_reads(&self) -> bool {
        true
    }
}

#[test]
fn each_entry_may_have_its_own_time_p9() {
    for_each_kind(|kind| {
        let rules = Rules::default();
        let (cache, ticker) = timed(kind, |b| b.expiry(rules.clone()));
        cache.insert(1, 8);
        cache.insert(2, 0);
        let left = |key| cache.expires_in(&key).expect("resident").as_millis().div_ceil(10) / 100;
        assert_eq!((left(1), cache.expires_in(&2)), (8, Some(Duration::MAX)));
        cache.insert(1, 5);
        assert_eq!(left(1), 4);
        assert_eq!(cache.get(&1), Some(5));
        assert_eq!(left(1), 5);
        assert_eq!(cache.peek(&1), Some(5));
        assert_eq!(cache.get(&2), Some(0));
        assert_eq!(left(1), 5, "peeking does not count");
        assert_eq!((cache.read(&1, |&value| value), cache.touch(&1)), (Some(5), true));
        assert_eq!(left(1), 5, "nor do uses that copy nothing");
        let counts =
            [&rules.0.created, &rules.0.updated, &rules.0.read].map(|n| n.load(Ordering::Relaxed));
        assert_eq!(counts, [2, 1, 2]);
        assert_eq!(cache.insert_if_absent(1, 7), Err((1, 7)));
        assert_eq!(left(1), 5, "it stays");
        assert_eq!(rules.0.updated.load(Ordering::Relaxed), 2, "asked all the same");
        ticker.advance(5 * SECOND);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(0)));
        cache.insert(1, 3);
        assert_eq!((left(1), rules.0.created.load(Ordering::Relaxed)), (3, 3), "a new entry");
        cache.validate();
    });
}

/// One operation on another key, more than a second after the deadline, is enough.
#[test]
fn the_dead_are_gone_a_second_and_one_operation_later_p10() {
    type Operation = fn(&Cache<u64, u64, AnyPolicy>);
    let operations: [Operation; 7] = [
        |cache| drop(cache.get(&999)),
        |cache| drop(cache.peek(&999)),
        |cache| drop(cache.insert(998, 0)),
        |cache| drop(cache.remove(&997)),
        |cache| drop(cache.contains_key(&999)),
        |cache| drop(cache.touch(&999)),
        |cache| drop(cache.read(&999, |_| ())),
    ];
    for_each_kind(|kind| {
        for idle in [false, true] {
            for life in [1, 50, 999, 1000, 10_000, 60_000, 3_600_000, 86_400_000 * 30_u64] {
                let told = Arc::new(Mutex::new(Vec::new()));
                let log = Arc::clone(&told);
                let life = Duration::from_millis(life);
                let (cache, ticker) = timed(kind, |b| {
                    let b = if idle { b.time_to_idle(life) } else { b.time_to_live(life) };
                    b.on_removal(move |&key, _, removal| {
                        log.lock().unwrap().push((key, removal.cause));
                    })
                });
                for (round, operation) in operations.iter().enumerate() {
                    let key = round as u64;
                    cache.insert(key, key);
                    ticker.advance(life + SECOND);
                    operation(&cache);
                    assert_eq!(
                        told.lock().unwrap().last(),
                        Some(&(key, RemovalCause::Expired)),
                        "{life:?} {round}"
                    );
                    assert!(cache.len() <= 1 && cache.weight() <= kind.weight(1));
                    cache.validate();
                    ticker.advance(life + SECOND);
                    cache.run_maintenance();
                    assert_eq!((cache.len(), cache.weight()), (0, 0));
                }
            }
        }
    });
}

#[test]
fn no_operation_does_much_maintenance_p10() {
    for_each_kind(|kind| {
        let told = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&told);
        let ticker = ManualTicker::new();
        let cache = kind
            .builder::<u64, u64>(20_000)
            .time_to_live(SECOND)
            .clock(ticker.clone())
            .on_removal(move |_, _, _| drop(heard.fetch_add(1, Ordering::Relaxed)))
            .build();
        (0..20_000).for_each(|key| drop(cache.insert(key, key)));
        ticker.advance(3 * SECOND);
        let mut operations = 0;
        while !cache.is_empty() {
            let before = told.load(Ordering::Relaxed);
            assert_eq!(cache.get(&operations), None);
            let reclaimed = told.load(Ordering::Relaxed) - before;
            assert!(reclaimed <= 16 * 32, "{reclaimed} at once");
            operations += 1;
            assert!(operations < 2000, "reclaiming stalls at {}", cache.len());
        }
        assert_eq!(cache.weight(), 0);
        cache.validate();
    });
}

/// A bucket that is split while a sweep pauses in the very tick in which it is due.
#[test]
fn a_bucket_that_is_split_during_a_sweep_gives_its_dead_up_p10() {
    for old in (1200..1700_u64).step_by(10) {
        let ticker = ManualTicker::new();
        let cache = Cache::<u64, u64>::builder()
            .capacity(100_000)
            .stripes(1)
            .time_to_live(SECOND)
            .clock(ticker.clone())
            .build();
        (0..old).for_each(|key| _ = cache.insert(key, key));
        ticker.advance(SECOND + 80 * MS);
        for key in 0..1000 {
            cache.insert(1_000_000 + key, key);
            if key % 32 == 0 {
                cache.validate();
            }
        }
        for _ in 0..2 {
            assert_eq!((0..old).filter(|key| cache.get(key).is_some()).count(), 0, "of {old}");
            cache.run_maintenance();
            ticker.advance(DAY);
        }
        assert_eq!(cache.len(), 0);
        cache.validate();
    }
}

/// However long nobody looks, and whenever: nothing dead is ever returned, nothing alive missed.
#[test]
fn idle_gaps_of_any_length_let_nothing_dead_through_p1_p9() {
    for_each_kind(|kind| {
        for life in [200 * MS, 3 * SECOND, 100 * SECOND, DAY] {
            let (cache, ticker) = timed(kind, |b| b.time_to_live(life));
            let mut deadlines = HashMap::new();
            let (mut now, mut longest) = (Duration::ZERO, Duration::ZERO);
            let mut state = 7_u64;
            for round in 0..400_u32 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (state >> 33) % 40;
                match (state >> 40) % 4 {
                    0 => {
                        cache.insert(key, key);
                        deadlines.insert(key, now + life);
                    }
                    1 => {
                        let ttl = life.mul_f64(((state >> 44) % 1000) as f64 / 900.0);
                        cache.insert_with_ttl(key, key, ttl);
                        deadlines.insert(key, now + ttl.min(life));
                    }
                    _ => {}
                }
                // From a thousandth of a life to a thousand lives, the odd ones included.
                let gap = life.mul_f64(1.6_f64.powi((state >> 50) as i32 % 24 - 16));
                let gap = if round % 3 == 0 { gap } else { Duration::ZERO };
                ticker.advance(gap);
                now += gap;
                longest = longest.max(gap).max(life);
                for (key, &deadline) in &deadlines {
                    let found = cache.peek(key).is_some();
                    assert!(!found || now < deadline, "dead {key} after {gap:?} of {life:?}");
                    // A deadline is rounded down to a tick of 1.024 µs, after a silence of days to a
                    // millisecond.
                    let rounded = if longest < DAY / 2 { 3 } else { 1100 };
                    let lives = now + Duration::from_micros(rounded) < deadline;
                    assert!(found || !lives, "living {key} lost after {gap:?} of {life:?}");
                }
            }
            cache.validate();
        }
    });
}

/// The same for hints that wrap: one entry, every gap in fine steps, no operation in between.
#[test]
fn a_long_silence_does_not_revive_an_entry_p1() {
    for life in [150 * MS, SECOND, 10 * SECOND, 1000 * SECOND] {
        for step in 0..700_u32 {
            let ticker = ManualTicker::new();
            let cache = Cache::<u64, u64>::builder()
                .capacity(10)
                .stripes(1)
                .time_to_live(life)
                .clock(ticker.clone())
                .build();
            // At some odd moment of the clock.
            ticker.advance(life.mul_f64(0.37) * (step % 7));
            cache.insert(1, 1);
            cache.insert_with_ttl(2, 2, Duration::MAX);
            ticker.advance(life + life * step / 37);
            assert_eq!(cache.peek(&1), None, "{life:?} {step}");
            assert_eq!(cache.get(&1), None, "{life:?} {step}");
        }
    }
}

#[test]
fn the_clock_may_jump_by_years_p9() {
    for_each_kind(|kind| {
        let (cache, ticker) = timed(kind, |b| b);
        for years in [1, 7, 1, 1, 100] {
            cache.insert(1, 1);
            cache.insert_with_ttl(2, 2, SECOND);
            ticker.advance(years * YEAR);
            assert_eq!((cache.get(&1), cache.len() as u64), (Some(1), 2.min(cache.len() as u64)));
            cache.run_maintenance();
            assert_eq!(cache.get(&1), Some(1), "entries without a deadline stay");
            cache.validate();
        }
        // The first jump past the clock's nine years is behind us: new deadlines mean never.
        cache.insert_with_ttl(3, 3, SECOND);
        assert_eq!(cache.get(&3), Some(3));
        assert_eq!(cache.expires_in(&3), Some(Duration::MAX));
        // All else works.
        assert_eq!(cache.remove(&3), Some(3));
        cache.clear();
        cache.validate();
    });
}

#[test]
fn entries_keep_their_deadlines_while_the_table_grows_p9() {
    for_each_kind(|kind| {
        let ticker = ManualTicker::new();
        let cache = kind.builder::<u64, u64>(3000).clock(ticker.clone()).build();
        for key in 0..3000 {
            match key % 3 {
                0 => drop(cache.insert(key, key)),
                rest => drop(cache.insert_with_ttl(key, key, (key / 3 + 1000 * rest) as u32 * MS)),
            }
        }
        cache.validate();
        for now in (0..3200).step_by(200) {
            for key in 0..3000_u64 {
                let lives = key % 3 == 0 || key / 3 + 1000 * (key % 3) > now;
                assert_eq!(cache.peek(&key).is_some(), lives, "{key} at {now}");
            }
            ticker.advance(200 * MS);
        }
        cache.run_maintenance();
        assert_eq!(cache.len(), 1000);
        cache.validate();
    });
}

/// All entries in one bucket and its overflow.
#[test]
fn colliding_entries_expire_each_at_its_time_p9() {
    for_each_kind(|kind| {
        let ticker = ManualTicker::new();
        let cache = kind.builder::<u64, u64>(60).clock(ticker.clone()).hasher(Constant(11)).build();
        for key in 0..60 {
            cache.insert_with_ttl(key, key, (key as u32 + 1) * SECOND);
        }
        for key in 0..60 {
            assert_eq!(cache.get(&key), Some(key));
            ticker.advance(SECOND);
            assert_eq!(cache.get(&key), None);
            cache.run_maintenance();
            assert_eq!(cache.len() as u64, 59 - key);
            cache.validate();
        }
    });
}

#[test]
fn a_removed_tag_takes_its_entries_at_once_p1() {
    for_each_kind(|kind| {
        let told = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&told);
        let cache = kind
            .builder::<u64, u64>(1000)
            .tags(|key, _| [key % 10, 100 + key % 7])
            .on_removal(move |_, _, removal| {
                assert_eq!(removal.cause, RemovalCause::Explicit);
                heard.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        (0..1000).for_each(|key| drop(cache.insert(key, key)));
        assert!(cache.remove_tag(&3_u64) && cache.remove_tag(&105_u64));
        assert!(!cache.remove_tag(&55_u64), "nobody has it");
        let is_gone = |key: u64| key % 10 == 3 || key % 7 == 5;
        assert!((0..1000).all(|key| cache.peek(&key).is_none() == is_gone(key)));
        // What comes after the removal is not its business.
        cache.insert(3, 33);
        assert_eq!(cache.get(&3), Some(33));
        let living = (0..1000).filter(|&key| !is_gone(key)).count() + 1;
        assert_eq!(cache.iter().count(), living);
        // A few operations give back what the dead held.
        (0..200).for_each(|_| drop(cache.get(&0)));
        assert_eq!(cache.len(), living);
        assert_eq!(cache.weight(), kind.weight(living as u64));
        assert_eq!(told.load(Ordering::Relaxed), 1001 - living as u64);
        cache.validate();
    });
}

#[test]
fn the_maintenance_thread_reclaims_without_any_operation_p10() {
    let (tell, told) = std::sync::mpsc::channel();
    let cache = Cache::<u64, u64>::builder()
        .capacity(10)
        .time_to_live(5 * MS)
        .on_removal(move |&key, _, removal| tell.send((key, removal.cause)).unwrap())
        .maintenance_thread(5 * MS)
        .build();
    cache.insert(1, 1);
    let first = told.recv_timeout(20 * SECOND).expect("reclaimed by the thread");
    assert_eq!(first, (1, RemovalCause::Expired));
    assert_eq!(cache.weight(), 0);
    // It ends with the cache, and the listener with it.
    drop(cache);
    assert!(
        told.recv_timeout(20 * SECOND)
            .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}

/// A stripe without deadlines is not swept; the first one after days is exact nevertheless.
#[test]
fn the_first_deadline_after_days_without_any_is_exact_p9() {
    for_each_kind(|kind| {
        let (cache, ticker) = timed(kind, |b| b);
        cache.insert(1, 1);
        // An odd moment would lose up to a millisecond of it, this one all.
        ticker.advance(Duration::from_nanos(1 << 50));
        cache.insert_with_ttl(2, 2, MS);
        assert!(cache.set_ttl(&1, MS));
        ticker.advance(MS / 2);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), Some(2)));
        ticker.advance(MS / 2);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
    });
}

#[test]
fn a_lifetime_of_zero_ends_at_once_however_old_the_cache_is_p9() {
    struct Brief;
    impl Expiry<u64, u64> for Brief {
        fn after_create(&self, _: &u64, &value: &u64) -> Option<Duration> {
            (value == 0).then_some(Duration::ZERO)
        }
    }
    for_each_kind(|kind| {
        let (cache, ticker) = timed(kind, |b| b.expiry(Brief));
        for _ in 0..4 {
            // Nine years and a tenth are the clock's range.
            ticker.advance(YEAR * 4);
            cache.insert(1, 0);
            cache.insert_with_ttl(2, 1, Duration::ZERO);
            cache.insert(3, 1);
            assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [None, None, Some(1)]);
            assert!(cache.set_ttl(&3, Duration::ZERO));
            assert_eq!((cache.get(&3), cache.expires_in(&3)), (None, None));
            cache.run_maintenance();
            assert_eq!(cache.len(), 0);
            cache.validate();
        }
        let (cache, ticker) = timed(kind, |b| b.time_to_idle(Duration::ZERO));
        ticker.advance(YEAR * 400);
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), None);
    });
}
