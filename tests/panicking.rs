//! The user's code may panic: nothing is lost, and the cache stays consistent (P11, P13).

#![allow(dropping_copy_types, reason = "`drop` says that an answer does not matter")]

mod common;

use std::{
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{Constant, Kind, Ledger, Token, for_each_kind};
use larder::{
    Cache, Compute, Expiry,
    policy::{AnyPolicy, Lru},
    time::{ManualTicker, Ticker},
};

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
fn an_answer_is_not_lost_if_the_key_s_drop_panics_p12() {
    type Frail = Cache<Brittle, Token>;
    type Operation = fn(&Frail, Brittle, Token);
    let operations: [Operation; 6] = [
        |cache, key, value| drop(cache.insert(key, value)),
        |cache, key, value| drop(cache.insert_with_ttl(key, value, Duration::from_secs(9))),
        |cache, key, value| drop(cache.replace_if(key, value, |_| false)),
        |cache, key, value| {
            drop(value);
            cache.entry(key).compute(|_| Compute::Keep);
        },
        |cache, key, value| drop(cache.entry(key).compute(|_| Compute::Put(value))),
        |cache, key, value| {
            cache.clear();
            drop(cache.entry(key).or_try_insert_with(|| Err::<Token, Token>(value)));
        },
    ];
    for (number, operation) in operations.into_iter().enumerate() {
        for nth in 1..4 {
            let ledger = Arc::new(Ledger::default());
            let cache = Frail::new(10);
            cache.insert(Brittle::new(1, &ledger), Token::new(1, &ledger));
            let (key, value) = (Brittle::new(1, &ledger), Token::new(2, &ledger));
            arm(Fault::Drop, nth);
            quietly(|| {
                _ = catch_unwind(AssertUnwindSafe(|| operation(&cache, key, value)));
            });
            disarm();
            drop(cache);
            assert_eq!(ledger.live(), 0, "operation {number}, drop {nth}");
        }
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
fn panics_reach_the_caller_unless_somebody_listens_or_is_hashed_anew_p13() {
    quietly(|| {
        let ledger = Arc::new(Ledger::default());
        let new = |id| Brittle::new(id, &ledger);
        for is_heard in [false, true] {
            let builder =
                Cache::<u64, Brittle>::builder().capacity(1).policy(Lru::new()).stats(true);
            let builder = if is_heard { builder.on_removal(|_, _, _| ()) } else { builder };
            let cache = builder.build();
            cache.insert(0, new(0));
            arm(Fault::Drop, 1);
            let inserted = catch_unwind(AssertUnwindSafe(|| cache.insert(1, new(1))));
            assert!(disarm());
            assert_eq!(inserted.is_ok(), is_heard, "evicted");
            assert_eq!(cache.stats().listener_panics, 0, "that was not the listener");
        }
        let cache = Cache::<Brittle, u64>::builder().capacity(1000).stripes(1).build();
        let mut sprung = 0;
        for id in 0..1000 {
            let key = new(id);
            // The first is hashed to find its place, the others when a bucket is split.
            arm(Fault::Hash, 2);
            cache.insert(key, id);
            sprung += u64::from(disarm());
        }
        assert!(sprung > 10 && cache.len() == 1000, "{sprung}, {}", cache.len());
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

/// How many were dropped, and whether there is peace.
#[derive(Default)]
struct Drops(AtomicU64, AtomicBool);

/// A value that panics when it is dropped, if its number is odd, unless there is peace, and counts that
/// it was.
struct Odd(u64, Arc<Drops>);

impl Drop for Odd {
    fn drop(&mut self) {
        self.1.0.fetch_add(1, Ordering::Relaxed);
        let is_calm = self.1.1.load(Ordering::Relaxed);
        assert!(is_calm || self.0.is_multiple_of(2), "Drop was told to panic");
    }
}

#[test]
fn a_panicking_drop_keeps_nothing_else_from_leaving_p13() {
    type Dropping = Cache<u64, Arc<Odd>, AnyPolicy>;
    type Operation = fn(&Dropping);
    // What it does, and how many entries stay.
    let operations: [(Operation, usize); 5] = [
        (|cache| cache.set_capacity(cache.capacity() / 100), 10),
        (Cache::clear, 0),
        (|cache| cache.retain(|&key, _| key >= 990), 10),
        (
            |cache| {
                cache.remove_tag(&0_u64);
                cache.run_maintenance();
            },
            500,
        ),
        (Cache::run_maintenance, 0),
    ];
    quietly(|| {
        for_each_kind(|kind| {
            for (number, (operate, stay)) in operations.into_iter().enumerate() {
                let (ticker, dropped) = (ManualTicker::new(), Arc::new(Drops::default()));
                let builder = kind.builder::<u64, Arc<Odd>>(1000).clock(ticker.clone());
                let builder = builder.tags(|_, value| [value.0 / 2 % 2]);
                let cache = builder.time_to_live(Duration::from_secs(60)).build();
                (0..1000)
                    .for_each(|key| drop(cache.insert(key, Arc::new(Odd(key, dropped.clone())))));
                if number == operations.len() - 1 {
                    ticker.advance(Duration::from_secs(60));
                }
                assert!(catch_unwind(AssertUnwindSafe(|| operate(&cache))).is_err(), "{number}");
                assert_eq!(cache.len(), stay, "operation {number}");
                assert_eq!(dropped.0.load(Ordering::Relaxed), 1000 - stay as u64);
                cache.validate();
                dropped.1.store(true, Ordering::Relaxed);
            }
        });
    });
}

/// A clock that panics the n-th time it is asked.
#[derive(Clone, Debug)]
struct Stopping(ManualTicker, Arc<AtomicU64>);

impl Ticker for Stopping {
    fn now(&self) -> Duration {
        let left = self.1.load(Ordering::Relaxed);
        self.1.store(left.saturating_sub(1), Ordering::Relaxed);
        assert!(left != 1, "the clock was told to panic");
        self.0.now()
    }
}

#[test]
fn maintenance_goes_on_after_a_panic_p10_p13() {
    quietly(|| {
        let mut panics = 0;
        for nth in 1..60 {
            let clock = Stopping(ManualTicker::new(), Arc::default());
            let cache = Cache::<u64, u64>::builder()
                .capacity(1000)
                .stripes(4)
                .time_to_live(Duration::from_secs(1))
                .clock(clock.clone())
                .build();
            (0..40).for_each(|key| drop(cache.insert(key, key)));
            clock.0.advance(Duration::from_secs(5));
            clock.1.store(nth, Ordering::Relaxed);
            let ask = || (1000..1010).for_each(|key| drop(cache.get(&key)));
            panics += u64::from(catch_unwind(AssertUnwindSafe(ask)).is_err());
            clock.1.store(0, Ordering::Relaxed);
            clock.0.advance(Duration::from_secs(1));
            (0..20).for_each(|key| drop(cache.get(&(2000 + key))));
            assert_eq!(cache.len(), 0, "call {nth} of the clock");
            cache.validate();
        }
        assert!(panics > 40);
    });
}
