//! What leaves is reported once, in order, and dropped once (P11, P12).

mod common;

use std::{
    collections::HashMap,
    sync::{Arc, Barrier, Mutex},
    thread,
    time::Duration,
};

use common::{Kind, Ledger, Token, for_each_kind};
use larder::{
    Cache, Compute, RemovalCause,
    policy::{AnyPolicy, Lru},
    time::ManualTicker,
};

type Tokens = Cache<Token, Token, AnyPolicy>;
/// For each key the versions and values that were told.
type Notices = HashMap<u64, Vec<(u64, u64)>>;

/// Everything that can happen to entries, in a random mix.
fn churn(cache: &Tokens, ticker: &ManualTicker, ledger: &Arc<Ledger>, seed: u64, rounds: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for round in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let id = state % 60;
        let token = |id| Token::new(id, ledger);
        match (state >> 32) % 20 {
            0 => drop(cache.remove(&token(id))),
            1 => drop(cache.remove_if(&token(id), |value| value.id % 2 == 0)),
            2 => drop(cache.insert_if_absent(token(id), token(round))),
            3 => drop(cache.replace_if(token(id), token(round), |value| value.id % 2 == 0)),
            4 => {
                drop(cache.insert_with_ttl(token(id), token(round), Duration::from_secs(round % 3)))
            }
            5 => ticker.advance(Duration::from_millis(300)),
            6 => drop(
                cache.entry(token(id)).and_modify(|value| value.id += 1).or_insert(token(round)),
            ),
            7 => drop(cache.entry(token(id)).compute(|_| Compute::Remove)),
            8 => drop(cache.get(&token(id))),
            9 if round % 10 == 0 => cache.retain(|key, _| key.id % 3 != 0),
            10 if round % 10 == 0 => drop(cache.remove_tag(&(id % 4))),
            11 if round % 50 == 0 => cache.clear(),
            12 => drop(cache.iter().take(3).collect::<Vec<_>>()),
            _ => drop(cache.insert(token(id), token(round))),
        }
    }
}

fn tokens(kind: Kind, ticker: &ManualTicker) -> larder::Builder<Token, Token, AnyPolicy> {
    kind.builder::<Token, Token>(30).clock(ticker.clone()).tags(|key, _| [key.id % 4])
}

#[test]
fn every_key_and_value_is_dropped_once_p12() {
    for_each_kind(|kind| {
        let (ledger, ticker) = (Arc::new(Ledger::default()), ManualTicker::new());
        let cache = tokens(kind, &ticker).build();
        churn(&cache, &ticker, &ledger, 1, 1000);
        ticker.advance(Duration::from_secs(10));
        cache.run_maintenance();
        cache.validate();
        assert_eq!(ledger.live(), 2 * cache.len() as u64, "only residents live");
        let handle = cache.clone();
        drop(cache);
        churn(&handle, &ticker, &ledger, 2, 100);
        drop(handle);
        assert_eq!(ledger.live(), 0);
    });
}

#[test]
fn every_departure_is_told_once_p11() {
    for_each_kind(|kind| {
        // Which values came in and did not leave, by an identity that no two share.
        let (ledger, ticker) = (Arc::new(Ledger::default()), ManualTicker::new());
        let told: Arc<Mutex<HashMap<u64, RemovalCause>>> = Arc::default();
        let log = Arc::clone(&told);
        let weight = kind.weight(1);
        let cache = tokens(kind, &ticker)
            .stats(true)
            .on_removal(move |_, value: &Token, removal| {
                assert_eq!(removal.weight, weight);
                let before = log.lock().unwrap().insert(value.id, removal.cause);
                assert_eq!(before, None, "told twice of {}", value.id);
            })
            .build();
        let mut stored = 0;
        for round in 0..1000 {
            let key = Token::new(round * 7 % 45, &ledger);
            match round % 9 {
                0 => drop(cache.remove(&key)),
                1 => drop(cache.insert_with_ttl(key, Token::new(stored, &ledger), Duration::ZERO)),
                2 => ticker.advance(Duration::from_millis(100)),
                _ => drop(cache.insert(key, Token::new(stored, &ledger))),
            }
            stored += u64::from(!matches!(round % 9, 0 | 2));
        }
        cache.remove_tag(&1_u64);
        cache.retain(|key, _| key.id != 2);
        cache.run_maintenance();
        let resident: Vec<u64> = cache.iter().map(|(_, value)| value.id).collect();
        {
            let told = told.lock().unwrap();
            for id in 0..stored {
                assert!(told.contains_key(&id) != resident.contains(&id), "value {id}");
            }
            let stats = cache.stats();
            for cause in RemovalCause::ALL {
                let count = told.values().filter(|&&each| each == cause).count() as u64;
                assert_eq!(stats.removals[cause].count, count, "{cause:?}");
                assert_eq!(stats.removals[cause].weight, count * weight, "{cause:?}");
            }
        }
        cache.clear();
        assert_eq!(told.lock().unwrap().len() as u64, stored);
        assert_eq!(ledger.live(), 0);
    });
}

#[test]
fn notices_of_a_key_come_in_order_and_carry_versions_p11() {
    for_each_kind(|kind| {
        let told: Arc<Mutex<Notices>> = Arc::default();
        let log = Arc::clone(&told);
        let cache = kind
            .builder::<u64, u64>(12)
            .on_removal(move |&key, &value, removal| {
                log.lock().unwrap().entry(key).or_default().push((removal.version, value));
            })
            .build();
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..600 {
                        let key = (round * (thread + 3)) % 20;
                        if round % 7 == thread {
                            cache.remove(&key);
                        } else {
                            cache.insert(key, thread << 32 | round);
                        }
                    }
                });
            }
        });
        cache.validate();
        cache.clear();
        for (key, notices) in &*told.lock().unwrap() {
            assert!(notices.windows(2).all(|two| two[0].0 < two[1].0), "key {key}: {notices:?}");
            // What one thread wrote of a key leaves in the order in which it was written.
            for thread in 0..4 {
                let own: Vec<_> = notices.iter().filter(|(_, v)| v >> 32 == thread).collect();
                assert!(own.windows(2).all(|two| two[0].1 < two[1].1), "key {key}: {own:?}");
            }
        }
        let all: usize = told.lock().unwrap().values().map(Vec::len).sum();
        let inserted = (0..4).map(|t| (0..600).filter(|r| r % 7 != t).count()).sum::<usize>();
        assert_eq!(all, inserted);
    });
}

#[test]
fn the_causes_are_told_p11() {
    for_each_kind(|kind| {
        let ticker = ManualTicker::new();
        let told: Arc<Mutex<Vec<_>>> = Arc::default();
        let log = Arc::clone(&told);
        let cache = kind
            .builder::<u64, u64>(100)
            .clock(ticker.clone())
            .on_removal(move |&key, &value, removal| {
                log.lock().unwrap().push((key, value, removal.cause));
            })
            .build();
        for key in 0..4 {
            cache.insert(key, 10);
        }
        cache.insert(0, 11);
        let version = cache.version(&0).expect("resident");
        cache.remove(&1);
        cache.set_ttl(&2, Duration::from_secs(1));
        ticker.advance(Duration::from_secs(1));
        assert_eq!(cache.get(&2), None);
        cache.run_maintenance();
        cache.set_capacity(0);
        cache.insert(9, 12);
        let mut told = told.lock().unwrap().clone();
        told.sort_by_key(|&(key, value, _)| (key, value));
        use RemovalCause::{Expired, Explicit, Rejected, Replaced, Size};
        let expected = [
            (0, 10, Replaced),
            (0, 11, Size),
            (1, 10, Explicit),
            (2, 10, Expired),
            (3, 10, Size),
            (9, 12, Rejected),
        ];
        assert_eq!(told, expected);
        assert!(version > 0);
    });
}

#[test]
fn nobody_waits_for_a_listener_that_is_busy_elsewhere_p11() {
    let value = Arc::new(());
    let silent = Cache::<u64, Arc<()>>::builder().capacity(1).policy(Lru::new()).build();
    silent.insert(1, Arc::clone(&value));
    silent.insert(2, Arc::default());
    assert_eq!(Arc::strong_count(&value), 1, "where nobody listens it is dropped at once");

    let busy = Arc::new(Barrier::new(2));
    let turns = Arc::clone(&busy);
    let cache = Cache::<u64, Arc<()>>::builder()
        .capacity(1)
        .policy(Lru::new())
        .on_removal(move |&key, _, _| {
            if key == 1 {
                turns.wait();
                turns.wait();
            }
        })
        .build();
    cache.insert(1, Arc::default());
    thread::scope(|scope| {
        scope.spawn(|| cache.insert(2, Arc::clone(&value)));
        busy.wait();
        cache.insert(3, Arc::default());
        assert_eq!((cache.get(&2), Arc::strong_count(&value)), (None, 2), "not told of yet");
        busy.wait();
    });
    assert_eq!(Arc::strong_count(&value), 1);
}
