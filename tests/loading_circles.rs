//! Loads that wait for each other in a circle, on as many threads or in as many tasks: one of them is
//! told, so that none hangs (in ben-manes/caffeine#89 they did). Who is not told: `loading_no_circles.rs`.

#[path = "common/circles.rs"]
mod circles;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Barrier, OnceLock},
    task::Poll,
    thread,
};

use circles::{Answer, CIRCLE, Plain, in_tasks, next, plain};
use larder::{
    Cache, LoadError, LoadingCache, WriteError,
    loader::{self, Loaded, Loader, Writer},
};
use tasks::{Gate, Task, in_time};

/// Each asks for its key by a load that asks for that of the next, once all have begun: what came of it.
fn around(caches: Vec<Plain>) -> Vec<Answer> {
    let count = caches.len();
    let has_begun = Arc::new(Barrier::new(count));
    let threads: Vec<_> = (0..count)
        .map(|at| {
            let (caches, has_begun) = (caches.clone(), Arc::clone(&has_begun));
            thread::spawn(move || {
                caches[at].try_get_or_insert_with(&(at as u32), || {
                    has_begun.wait();
                    let after = (at + 1) % count;
                    next(caches[after].try_get_or_insert_with(&(after as u32), || Err("alone")))
                })
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Exactly one is told, whose error the others hear in turn.
#[test]
fn threads_in_a_circle_are_told_p14() {
    for count in 2..=4 {
        for _ in 0..20 {
            let cache = plain();
            let caches = vec![cache.clone(); count];
            let answers = in_time(move || around(caches));
            for answer in answers {
                assert_eq!(answer.unwrap_err().failure(), Some(&CIRCLE), "of {count}");
            }
            assert_eq!(cache.flights(), 0);
            assert_eq!(cache.try_get_or_insert_with(&0, || Ok::<u32, &str>(1)), Ok(1));
        }
    }
}

#[test]
fn a_circle_may_lead_through_several_caches_p14() {
    let caches: Vec<Plain> = (0..3).map(|_| plain()).collect();
    let answers = in_time(move || around(caches));
    assert!(answers.into_iter().all(|answer| answer.unwrap_err().failure() == Some(&CIRCLE)));
}

/// Who cannot be given an error panics, and then others load for themselves.
#[test]
fn who_cannot_fail_panics_p14() {
    let answers = in_time(|| {
        let (cache, has_begun) = (plain(), Arc::new(Barrier::new(2)));
        let threads = [0, 1].map(|key| {
            let (cache, has_begun) = (cache.clone(), Arc::clone(&has_begun));
            thread::spawn(move || {
                cache.get_or_insert_with(&key, || {
                    has_begun.wait();
                    cache.get_or_insert_with(&(1 - key), || 5) + 1
                })
            })
        });
        threads.map(|thread| thread.join().ok())
    });
    assert_eq!(answers.iter().flatten().count(), 1, "{answers:?}");
    assert_eq!(answers.into_iter().flatten().next(), Some(6));
}

/// Through entries: closures of `entry` wait, and are waited for, as loads are.
#[test]
fn entries_in_a_circle_are_told_p14() {
    let cache = plain();
    let all = cache.clone();
    let answers = in_time(move || {
        let has_begun = Arc::new(Barrier::new(2));
        let threads = [0, 1].map(|key| {
            let (cache, has_begun) = (all.clone(), Arc::clone(&has_begun));
            thread::spawn(move || {
                cache.entry(key).or_insert_with(|| {
                    has_begun.wait();
                    cache.entry(1 - key).or_insert_with(|| 5) + 1
                })
            })
        });
        threads.map(|thread| thread.join().ok())
    });
    assert_eq!(answers.iter().flatten().count(), 1, "{answers:?}");
    assert_eq!(cache.flights(), 0);
}

#[test]
fn tasks_in_a_circle_are_told_p14() {
    let (cache, gate) = (plain(), Gate::new());
    let mut tasks =
        [(0, 1), (1, 2), (2, 0)].map(|(key, other)| in_tasks(&cache, key, &gate, other));
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    gate.open();
    assert!(tasks[0].poll().is_pending());
    assert!(tasks[1].poll().is_pending());
    let Poll::Ready(Err(told)) = tasks[2].poll() else { panic!("it waits for itself") };
    assert_eq!(told.failure(), Some(&CIRCLE));
    for task in [1, 0] {
        assert!(tasks[task].is_woken());
        assert!(matches!(tasks[task].poll(), Poll::Ready(Err(_))), "the one before failed");
    }
    assert_eq!(cache.flights(), 0);
}

/// Asks for the next key of a circle of `count`, by the cache's own loader.
struct Around {
    count: u32,
    cache: Arc<OnceLock<LoadingCache<u32, u32, Self>>>,
    gate: Gate,
}

impl Loader<u32, u32> for Around {
    type Error = &'static str;

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, &'static str> {
        self.gate.pass().await;
        let cache = self.cache.get().expect("made before it is asked");
        let answer = cache.get_async(&((key + 1) % self.count)).await;
        next(answer).map(Into::into)
    }
}

/// The same where anybody drives the loads: on threads, and in tasks.
#[test]
fn shared_loads_in_a_circle_are_told_p14() {
    for count in 2..=4 {
        let (way, gate) = (Arc::new(OnceLock::new()), Gate::new());
        let loader = Around { count, cache: Arc::clone(&way), gate: gate.clone() };
        let cache = Cache::builder().capacity(100).loader(loader).build();
        assert!(way.set(cache.clone()).is_ok());
        let mut tasks: Vec<_> = (0..count)
            .map(|key| {
                let cache = cache.clone();
                Task::new(async move { cache.get_async(&key).await })
            })
            .collect();
        assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
        gate.open();
        while !tasks.is_empty() {
            assert!(tasks.iter().any(Task::is_woken), "nobody will ever be");
            tasks.retain_mut(|task| match task.poll() {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    assert_eq!(answer.unwrap_err().failure(), Some(&CIRCLE));
                    false
                }
            });
        }
        let all = cache.clone();
        let answers = in_time(move || {
            let begin = Arc::new(Barrier::new(count as usize));
            let ask = |key| {
                let (cache, begin) = (all.clone(), Arc::clone(&begin));
                thread::spawn(move || {
                    begin.wait();
                    cache.get(&key)
                })
            };
            let threads: Vec<_> = (0..count).map(ask).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(answers.iter().all(|answer| answer.is_err()), "{answers:?}");
        assert_eq!(cache.flights(), 0);
    }
}

/// Threads whose loads ask for anything: whatever circles there are, all come to an end.
#[test]
fn loads_in_any_circles_come_to_an_end_p14() {
    in_time(|| {
        let caches = [plain(), plain()];
        thread::scope(|scope| {
            for seed in 0..4_u64 {
                let caches = &caches;
                scope.spawn(move || {
                    let mut random = seed;
                    for _ in 0..2000 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let _ = load_any(caches, random, 3);
                        caches.iter().for_each(|cache| {
                            cache.remove(&((random >> 50) as u32 % 4));
                        });
                    }
                });
            }
        });
        assert!(caches.iter().all(|cache| cache.flights() == 0));
    });
}

fn load_any(caches: &[Plain; 2], random: u64, depth: u32) -> Answer {
    let (cache, key) = (&caches[(random >> 33) as usize % 2], (random >> 40) as u32 % 4);
    cache.try_get_or_insert_with(&key, || {
        if depth == 0 {
            return Ok(key);
        }
        thread::yield_now();
        let random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        next(load_any(caches, random, depth - 1))
    })
}

/// Puts a key only after another was read, by way of the cache.
struct Reading(Arc<OnceLock<Written>>, Arc<Barrier>);

type Written = LoadingCache<u32, u32, Reading>;

impl Loader<u32, u32> for Reading {
    type Error = &'static str;

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, &'static str> {
        self.1.wait();
        let cache = self.0.get().expect("made before it is asked");
        match cache.put_through(1 - key, 5) {
            Err(WriteError::Reentrant) => Err(CIRCLE),
            _ => Ok((*key).into()),
        }
    }
}

impl Writer<u32, u32> for Reading {
    type Error = &'static str;

    async fn put(&self, _: &u32, _: &u32) -> Result<(), &'static str> {
        Ok(())
    }

    async fn remove(&self, _: &u32) -> Result<(), &'static str> {
        Ok(())
    }
}

/// A load that writes through a key whose load writes through its own.
#[test]
fn writes_in_a_circle_are_told_p14() {
    let answers = in_time(|| {
        let way = Arc::new(OnceLock::new());
        let loader = Reading(Arc::clone(&way), Arc::new(Barrier::new(2)));
        let cache = Cache::builder().capacity(10).loader(loader).build();
        assert!(way.set(cache.clone()).is_ok());
        let threads = [0, 1].map(|key| {
            let cache = cache.clone();
            thread::spawn(move || catch_unwind(AssertUnwindSafe(|| cache.get(&key))).unwrap())
        });
        threads.map(|thread| thread.join().unwrap())
    });
    let told = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(told, 1, "{answers:?}");
}

type Load = dyn FnOnce(&Plain) -> Result<u32, &'static str> + Send;

/// A bulk load whose loader blocks, in a circle with loads of a cache beneath it: in whatever way it is
/// asked for, the caller is in the circle.
#[test]
fn bulk_loads_in_a_circle_are_told_p14() {
    for is_bulk in [false, true] {
        let answers = in_time(move || {
            let (cache, has_begun) = (plain(), Arc::new(Barrier::new(2)));
            let own = cache.clone();
            let load = move |_: &u32| next(own.try_get_or_insert_with(&1, || Err("alone")));
            let above: LoadingCache<u32, u32, _> =
                Cache::builder().capacity(10).loader(loader::blocking(load)).build();
            let ask = move || {
                if is_bulk { next(above.get_many(&[7, 8]).remove(0)) } else { next(above.get(&7)) }
            };
            let load = |key: u32, load: Box<Load>| {
                let (cache, has_begun) = (cache.clone(), Arc::clone(&has_begun));
                thread::spawn(move || {
                    cache.try_get_or_insert_with(&key, || {
                        has_begun.wait();
                        load(&cache)
                    })
                })
            };
            let first = load(0, Box::new(move |_| ask()));
            let ask = |cache: &Plain| next(cache.try_get_or_insert_with(&0, || Err("alone")));
            let second = load(1, Box::new(ask));
            [first, second].map(|thread| thread.join().unwrap())
        });
        assert!(answers.iter().all(Result::is_err), "{is_bulk}: {answers:?}");
    }
}

/// Loads led by the future that began them, within each other and in a circle with a third.
#[test]
fn loads_within_loads_in_a_circle_are_told_p14() {
    let (cache, gate) = (plain(), Gate::new());
    let mut within = {
        let (cache, gate) = (cache.clone(), gate.clone());
        Task::new(async move {
            let inner = async {
                gate.pass().await;
                next(cache.try_get_or_insert_async(&2, async { Err("alone") }).await)
            };
            let outer = async { next(cache.try_get_or_insert_async(&1, inner).await) };
            cache.try_get_or_insert_async(&0, outer).await
        })
    };
    let mut other = in_tasks(&cache, 2, &gate, 0);
    assert!(within.poll().is_pending() && other.poll().is_pending());
    gate.open();
    assert!(within.poll().is_pending());
    let Poll::Ready(Err(told)) = other.poll() else { panic!("it waits for itself") };
    assert_eq!(told.failure(), Some(&CIRCLE));
    assert!(matches!(within.poll(), Poll::Ready(Err(_))));
    assert_eq!(cache.flights(), 0);
}

/// What a load drops, when it is given up, may ask for its key: it is told.
#[test]
fn what_a_load_drops_may_ask_for_its_key_p14() {
    struct Asks(Plain);
    impl Drop for Asks {
        fn drop(&mut self) {
            let answer: Answer = self.0.try_get_or_insert_with(&0, || Err("alone"));
            assert_eq!(answer, Err(LoadError::Reentrant));
        }
    }
    in_time(|| {
        let cache = plain();
        let asks = |cache: &Plain| {
            let asks = Asks(cache.clone());
            async move {
                let _asks = asks;
                std::future::pending::<Result<u32, &'static str>>().await
            }
        };
        let (own, load) = (cache.clone(), asks(&cache));
        let mut given_up = Task::new(async move { own.try_get_or_insert_async(&0, load).await });
        assert!(given_up.poll().is_pending());
        drop(given_up);
        let (own, load) = (cache.clone(), asks(&cache));
        let mut given_up =
            Task::new(async move { own.entry_async(0).await.or_try_insert_async(load).await });
        assert!(given_up.poll().is_pending());
        drop(given_up);
        assert_eq!(cache.flights(), 0);
    });
}

/// A value that would be served if loading it failed is served in a circle, too.
#[test]
fn a_reload_in_a_circle_has_the_old_value() {
    let (way, gate) = (Arc::new(OnceLock::new()), Gate::new());
    gate.open();
    let loader = Around { count: 2, cache: Arc::clone(&way), gate };
    let cache = Cache::builder().capacity(10).loader(loader).build();
    assert!(way.set(cache.clone()).is_ok());
    cache.insert(0, 5);
    assert_eq!(in_time(move || cache.refresh(&0)), Ok(7), "one more than that of 1");
}
