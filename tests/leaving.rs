//! What leaves is reported once, in order, and dropped once; the user's code may panic and may call
//! the cache (P4, P11 to P14).

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use common::{Constant, Kind, Ledger, Token, for_each_kind};
use larder::{Cache, Compute, Expiry, RemovalCause, policy::AnyPolicy, time::ManualTicker};

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

/// The way back from the user's code to the cache. To be cut at the end, as it closes a circle.
struct WayBack<C>(Arc<Mutex<Option<C>>>);

impl<C> Clone for WayBack<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Default for WayBack<C> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C: Clone> WayBack<C> {
    fn get(&self) -> Option<C> {
        self.0.lock().unwrap().clone()
    }

    fn set(&self, cache: &C) {
        *self.0.lock().unwrap() = Some(cache.clone());
    }

    fn cut(&self) {
        let cache = self.0.lock().unwrap().take();
        drop(cache);
    }
}

type Back = WayBack<Cache<u64, u64, AnyPolicy>>;

fn call(back: &Back, key: u64) {
    if let Some(cache) = back.get() {
        cache.get(&key);
        cache.insert(key + 1000, 1);
        cache.remove(&(key + 1000));
        cache.insert(key, 2);
        cache.run_maintenance();
        assert!(cache.weight() <= cache.capacity());
    }
}

thread_local! {
    static NESTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `inner` unless it is running already.
fn once(inner: impl FnOnce()) {
    if !NESTED.replace(true) {
        inner();
        NESTED.set(false);
    }
}

#[test]
fn the_listener_may_call_the_cache_p14() {
    for_each_kind(|kind| {
        let back = Back::default();
        let weak = back.clone();
        let depth = AtomicU64::new(0);
        let cache = kind
            .builder::<u64, u64>(10)
            .on_removal(move |&key, _, _| {
                if depth.fetch_add(1, Ordering::Relaxed) < 400 {
                    call(&weak, key);
                }
            })
            .build();
        back.set(&cache);
        for key in 0..50 {
            cache.insert(key, 0);
        }
        cache.clear();
        cache.validate();
        back.cut();
    });
}

struct Calling(Back);

impl Expiry<u64, u64> for Calling {
    fn after_create(&self, &key: &u64, _: &u64) -> Option<Duration> {
        once(|| call(&self.0, key));
        None
    }

    fn after_read(&self, &value: &u64, remaining: Option<Duration>) -> Option<Duration> {
        once(|| call(&self.0, value));
        remaining
    }

    fn watches_reads(&self) -> bool {
        true
    }
}

#[test]
fn weigher_expiry_and_tags_may_call_the_cache_p14() {
    for &policy in common::POLICIES {
        let back = Back::default();
        let (weigher, tagger) = (back.clone(), back.clone());
        let cache = Cache::<u64, u64>::builder()
            .capacity(20)
            .policy(policy.parse::<AnyPolicy>().unwrap())
            .weigher(move |&key, _| {
                once(|| call(&weigher, key));
                1
            })
            .tags(move |&key, _| {
                once(|| call(&tagger, key));
                [key]
            })
            .expiry(Calling(back.clone()))
            .build();
        back.set(&cache);
        for key in 0..60 {
            cache.insert(key, key);
            cache.get(&(key / 2));
        }
        cache.validate();
        back.cut();
    }
}

#[test]
fn drop_may_call_the_cache_p14() {
    #[derive(Clone)]
    struct Dropping(u64, WayBack<Cache<u64, Dropping, AnyPolicy>>);
    impl Drop for Dropping {
        fn drop(&mut self) {
            if let Some(cache) = self.1.get() {
                once(|| {
                    cache.get(&self.0);
                    cache.insert(self.0 + 7, Self(self.0 + 7, self.1.clone()));
                    cache.remove(&(self.0 + 7));
                });
            }
        }
    }
    for_each_kind(|kind| {
        let back = WayBack::default();
        let cache = kind.builder::<u64, Dropping>(10).build();
        back.set(&cache);
        for key in 0..60 {
            cache.insert(key % 25, Dropping(key, back.clone()));
        }
        cache.retain(|key, _| key % 2 == 0);
        back.cut();
        cache.clear();
        cache.validate();
    });
}

#[test]
fn an_entry_closure_may_use_other_keys_and_is_told_of_its_own_p14() {
    for_each_kind(|kind| {
        let cache = kind.builder::<u64, u64>(100).build();
        let sum = cache.entry(1).or_insert_with(|| {
            let two = cache.entry(2).or_insert_with(|| cache.entry(3).or_insert(3) + 1);
            cache.insert(9, 9);
            two + 1
        });
        assert_eq!(
            (sum, cache.get(&1), cache.get(&2), cache.get(&3)),
            (5, Some(5), Some(4), Some(3))
        );
        let nested = catch_unwind(AssertUnwindSafe(|| {
            cache.entry(7).or_insert_with(|| cache.entry(7).or_insert(1))
        }));
        let message = nested.expect_err("would wait for itself");
        assert!(
            message.downcast_ref::<String>().is_some_and(|m| m.contains("by this very thread"))
        );
        // The claim was given back.
        assert_eq!(cache.entry(7).or_insert(5), 5);
        cache.validate();
    });
}

/// What a key or value does when it is hashed, compared, cloned or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Hash,
    Eq,
    Clone,
    Drop,
}

/// Panics, or calls the cache, on the n-th call of one of its traits' methods.
struct Trap {
    fault: Fault,
    countdown: AtomicU64,
}

thread_local! {
    static ARMED: std::cell::RefCell<Option<Trap>> = const { std::cell::RefCell::new(None) };
}

/// Panics on the `nth` call of what `fault` names, on this thread.
fn arm(fault: Fault, nth: u64) {
    ARMED.set(Some(Trap { fault, countdown: AtomicU64::new(nth) }));
}

/// Whether the trap had been sprung.
fn disarm() -> bool {
    ARMED.take().is_none_or(|trap| trap.countdown.load(Ordering::Relaxed) == 0)
}

fn spring(fault: Fault) {
    let springs = ARMED.with_borrow(|trap| {
        trap.as_ref().is_some_and(|trap| {
            trap.fault == fault && {
                let left = trap.countdown.load(Ordering::Relaxed);
                trap.countdown.store(left.saturating_sub(1), Ordering::Relaxed);
                left == 1
            }
        })
    });
    if springs {
        panic!("{fault:?} was told to panic");
    }
}

struct Brittle(Token);

impl Brittle {
    fn new(id: u64, ledger: &Arc<Ledger>) -> Self {
        Self(Token::new(id, ledger))
    }
}

impl Hash for Brittle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        spring(Fault::Hash);
        self.0.hash(state);
    }
}

impl PartialEq for Brittle {
    fn eq(&self, other: &Self) -> bool {
        spring(Fault::Eq);
        self.0 == other.0
    }
}

impl Eq for Brittle {}

impl Clone for Brittle {
    fn clone(&self) -> Self {
        spring(Fault::Clone);
        Self(self.0.clone())
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        spring(Fault::Drop);
    }
}

/// Silences the expected panics' messages.
fn quietly(run: impl FnOnce()) {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.contains("told to panic") && !text.contains("by this very thread") {
                usual(info);
            }
        }));
    });
    run();
}

type BrittleCache<S = Constant> = Cache<Brittle, Brittle, AnyPolicy, S>;

/// One of every operation. Answers how many there are if `which` is beyond them.
fn operate(cache: &BrittleCache, ledger: &Arc<Ledger>, which: usize, id: u64) -> bool {
    let new = |id| Brittle::new(id, ledger);
    match which {
        0 => drop(cache.insert(new(id), new(id))),
        1 => drop(cache.insert(new(id + 100), new(id))),
        2 => drop(cache.get(&new(id))),
        3 => drop(cache.remove(&new(id))),
        4 => drop(cache.insert_if_absent(new(id + 200), new(id))),
        5 => drop(cache.replace_if(new(id), new(id), |_| true)),
        6 => drop(cache.entry(new(id)).and_modify(|_| ()).or_insert(new(id))),
        7 => drop(cache.entry(new(id + 300)).compute(|_| Compute::Put(new(id)))),
        8 => drop(cache.iter().count()),
        9 => cache.retain(|key, _| key.0.id % 2 == 0),
        10 => drop(cache.hottest(3)),
        11 => cache.set_capacity(cache.capacity() / 2),
        12 => drop(cache.insert_with_ttl(new(id), new(id), Duration::ZERO)),
        13 => cache.run_maintenance(),
        14 => drop(cache.remove_tag(&(id % 4))),
        15 => drop(cache.version(&new(id))),
        16 => drop(cache.peek(&new(id))),
        17 => cache.clear(),
        _ => return false,
    }
    true
}

fn brittle(kind: Kind, ledger: &Arc<Ledger>, listens: bool, spread: bool) -> BrittleCache {
    let told = Arc::clone(ledger);
    let mut builder = kind
        .builder::<Brittle, Brittle>(24)
        .tags(|key, _| [key.0.id % 4])
        .clock(ManualTicker::new())
        .hasher(Constant(if spread { 1 << 35 } else { 7 }));
    if listens {
        builder = builder.on_removal(move |_, _, _| assert!(Arc::strong_count(&told) > 1));
    }
    builder.build()
}

#[test]
fn a_panic_in_hash_eq_clone_or_drop_harms_nobody_p13() {
    quietly(|| {
        for_each_kind(|kind| {
            if kind.policy != "adaptive" && kind.policy != "lru" && kind.weighted {
                return;
            }
            for fault in [Fault::Hash, Fault::Eq, Fault::Clone, Fault::Drop] {
                for (listens, nth) in [(false, 1), (true, 1), (false, 2), (true, 3)] {
                    panic_in_each_operation(kind, fault, listens, nth);
                }
            }
        });
    });
}

fn panic_in_each_operation(kind: Kind, fault: Fault, listens: bool, nth: u64) {
    let ledger = Arc::new(Ledger::default());
    let cache = brittle(kind, &ledger, listens, nth == 2);
    let whole = cache.capacity();
    for which in 0.. {
        cache.set_capacity(whole);
        for id in 0..24 {
            cache.insert(Brittle::new(id, &ledger), Brittle::new(id, &ledger));
        }
        arm(fault, nth);
        let outcome = catch_unwind(AssertUnwindSafe(|| operate(&cache, &ledger, which, 5)));
        let sprung = disarm();
        assert!(outcome.is_ok() || sprung, "another panic in operation {which}");
        if matches!(outcome, Ok(false)) {
            break;
        }
        cache.validate();
        assert!(cache.weight() <= cache.capacity());
        // The capacity is fully usable.
        cache.set_capacity(whole);
        cache.clear();
        for id in 500..524 {
            cache.insert(Brittle::new(id, &ledger), Brittle::new(id, &ledger));
        }
        assert_eq!((cache.len(), cache.weight()), (24, whole), "{fault:?} in operation {which}");
        cache.clear();
        assert_eq!(ledger.live(), 0, "{fault:?} in operation {which} leaked");
    }
}

#[test]
fn several_panicking_drops_at_once_abort_nothing_p13() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("Drop was told to panic");
        }
    }
    quietly(|| {
        for_each_kind(|kind| {
            let cache = kind.builder::<u64, Arc<Bomb>>(20).hasher(Constant(3)).build();
            for key in 0..20 {
                cache.insert(key, Arc::new(Bomb));
            }
            let removed = catch_unwind(AssertUnwindSafe(|| cache.set_capacity(kind.weight(4))));
            assert!(removed.is_err());
            cache.validate();
            // What was begun can be finished.
            while catch_unwind(AssertUnwindSafe(|| cache.set_capacity(kind.weight(4)))).is_err() {}
            assert_eq!(cache.len(), 4);
            assert!(catch_unwind(AssertUnwindSafe(|| drop(cache))).is_err());
        });
    });
}

#[test]
fn the_listener_s_panics_are_counted_and_cost_nothing_p11() {
    quietly(|| {
        for_each_kind(|kind| {
            let ledger = Arc::new(Ledger::default());
            let told = Arc::new(AtomicU64::new(0));
            let heard = Arc::clone(&told);
            let cache = kind
                .builder::<Token, Token>(10)
                .stats(true)
                .on_removal(move |key: &Token, _, _| {
                    heard.fetch_add(1, Ordering::Relaxed);
                    assert!(key.id.is_multiple_of(2), "the listener was told to panic");
                })
                .build();
            for id in 0..100 {
                cache.insert(Token::new(id, &ledger), Token::new(id, &ledger));
            }
            cache.clear();
            assert_eq!(told.load(Ordering::Relaxed), 100);
            assert_eq!(cache.stats().listener_panics, 50);
            assert_eq!(ledger.live(), 0);
            cache.validate();
        });
    });
}

/// Panics in one of the functions a cache is built with, or in a closure of a call.
#[test]
#[expect(clippy::too_many_lines, reason = "a list of what may panic or call")]
fn a_panic_in_the_user_s_functions_harms_nobody_p13() {
    struct Failing;
    impl Expiry<Token, Token> for Failing {
        fn after_create(&self, _: &Token, value: &Token) -> Option<Duration> {
            assert!(value.id != 1001, "the expiry was told to panic");
            Some(Duration::MAX)
        }
        fn after_read(&self, value: &Token, remaining: Option<Duration>) -> Option<Duration> {
            assert!(value.id != 1002, "the expiry was told to panic");
            remaining
        }
        fn watches_reads(&self) -> bool {
            true
        }
    }
    quietly(|| {
        for &policy in common::POLICIES {
            for stripes in [1, 8] {
                let ledger = Arc::new(Ledger::default());
                let told = Arc::new(AtomicU64::new(0));
                let heard = Arc::clone(&told);
                let cache = Cache::<Token, Token>::builder()
                    .capacity(20)
                    .stripes(stripes)
                    .policy(policy.parse::<AnyPolicy>().unwrap())
                    .weigher(|_, value: &Token| {
                        assert!(value.id != 1003, "the weigher was told to panic");
                        1
                    })
                    .tags(|_, value: &Token| {
                        assert!(value.id != 1004, "the tagger was told to panic");
                        [1]
                    })
                    .expiry(Failing)
                    .on_removal(move |_, _, _| drop(heard.fetch_add(1, Ordering::Relaxed)))
                    .build();
                let new = |id| Token::new(id, &ledger);
                let fill = || (0..20).for_each(|id| drop(cache.insert(new(id), new(id))));
                let fails: [(&str, &dyn Fn()); 9] = [
                    ("create", &|| drop(cache.insert(new(50), new(1001)))),
                    ("read", &|| {
                        cache.insert(new(1), new(1002));
                        cache.get(&new(1));
                    }),
                    ("weigher", &|| drop(cache.insert(new(1), new(1003)))),
                    ("tagger", &|| drop(cache.insert(new(1), new(1004)))),
                    ("read closure", &|| drop(cache.read(&new(1), |_| panic!("told to panic")))),
                    ("remove_if", &|| drop(cache.remove_if(&new(1), |_| panic!("told to panic")))),
                    ("replace_if", &|| {
                        drop(cache.replace_if(new(1), new(2), |_| panic!("told to panic")));
                    }),
                    ("retain", &|| {
                        let mut seen = 0;
                        cache.retain(|_, _| {
                            seen += 1;
                            assert!(seen < 7, "retain was told to panic");
                            false
                        });
                    }),
                    ("entry", &|| {
                        drop(cache.entry(new(1)).compute(|_| panic!("told to panic")));
                    }),
                ];
                for (name, fail) in fails {
                    fill();
                    assert!(catch_unwind(AssertUnwindSafe(fail)).is_err(), "{name}");
                    cache.validate();
                    cache.remove(&new(1));
                    assert_eq!(cache.entry(new(1)).or_insert(new(1)).id, 1, "claim of {name}");
                    let before = (told.load(Ordering::Relaxed), cache.len() as u64);
                    cache.clear();
                    let after = told.load(Ordering::Relaxed);
                    assert_eq!(after - before.0, before.1, "notices are stuck after {name}");
                    assert_eq!(ledger.live(), 0, "{name} leaked");
                }
                fill();
                assert_eq!((cache.len(), cache.weight()), (20, 20));
            }
        }
    });
}

#[test]
fn a_condition_may_panic_over_an_entry_whose_neighbour_has_expired_p13() {
    quietly(|| {
        for_each_kind(|kind| {
            let ticker = ManualTicker::new();
            let told = Arc::new(AtomicU64::new(0));
            let heard = Arc::clone(&told);
            let cache = kind
                .builder::<u64, u64>(20)
                .clock(ticker.clone())
                .hasher(Constant(9))
                .on_removal(move |_, _, _| drop(heard.fetch_add(1, Ordering::Relaxed)))
                .build();
            cache.insert_with_ttl(1, 1, Duration::from_secs(1));
            cache.insert(2, 2);
            ticker.advance(Duration::from_millis(1001));
            // Meets the dead one first, then panics: what it removed must be told all the same.
            let failed = catch_unwind(AssertUnwindSafe(|| {
                cache.retain(|_, _| panic!("retain was told to panic"));
            }));
            assert!(failed.is_err());
            assert_eq!(told.load(Ordering::Relaxed), 1);
            cache.remove(&2);
            assert_eq!(told.load(Ordering::Relaxed), 2, "the order of notices has no hole");
            cache.validate();
        });
    });
}

/// Calls the cache from where it may not be called: refused with a message, never hung.
#[test]
#[expect(clippy::too_many_lines, reason = "a list of what may panic or call")]
fn calling_the_cache_under_its_lock_is_refused_not_hung_p14() {
    struct Probe(u64, WayBack<Cache<Probe, Arc<u64>, AnyPolicy, Constant>>);
    impl Probe {
        fn probe(&self) {
            if let Some(cache) = self.1.get() {
                once(|| {
                    let call = || {
                        cache.insert(Self(70, WayBack::default()), Arc::new(1));
                    };
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
                        let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
                        assert!(text.contains("would have to wait for a lock"), "{text}");
                        REFUSED.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
    }
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    impl Hash for Probe {
        fn hash<H: Hasher>(&self, _: &mut H) {
            self.probe();
        }
    }
    impl PartialEq for Probe {
        fn eq(&self, other: &Self) -> bool {
            self.probe();
            self.0 == other.0
        }
    }
    impl Eq for Probe {}
    for &policy in common::POLICIES {
        let back = WayBack::default();
        let cache = Cache::<Probe, Arc<u64>>::builder()
            .capacity(60)
            .stripes(1)
            .policy(policy.parse::<AnyPolicy>().unwrap())
            .hasher(Constant(0))
            .build();
        back.set(&cache);
        for id in 0..200 {
            cache.insert(Probe(id % 90, back.clone()), Arc::new(id));
            cache.get(&Probe(id / 2, back.clone()));
            cache.remove(&Probe(id / 3, back.clone()));
        }
        cache.read(&Probe(199 % 90, back.clone()), |_| once(|| {}));
        cache.validate();
        back.cut();
    }
    assert!(REFUSED.load(Ordering::Relaxed) > 0);
    let cache = Cache::<u64, u64>::builder().capacity(10).stripes(1).hasher(Constant(0)).build();
    cache.insert(1, 1);
    let again: [&dyn Fn(); 4] = [
        &|| drop(cache.read(&1, |_| cache.get(&1))),
        &|| drop(cache.remove_if(&1, |_| cache.insert(2, 2).is_none())),
        &|| drop(cache.replace_if(1, 2, |_| cache.get(&1).is_some())),
        &|| cache.retain(|_, _| cache.insert(3, 3).is_none()),
    ];
    for call in again {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        cache.validate();
    }
    assert_eq!(cache.get(&1), Some(1));
}
