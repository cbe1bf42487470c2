//! Loads that wait for each other, but in no circle: whoever could go on is never told that it would wait
//! for itself, and does go on. See `loading_circles.rs`.

#[path = "common/circles.rs"]
mod circles;
#[path = "common/tasks.rs"]
mod tasks;

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::Poll,
    thread,
    time::Duration,
};

use circles::{Answer, Plain, in_tasks, next, plain, wait_and_open};
use larder::{Cache, LoadError, LoadingCache, WhenFull, loader, time::Ticker};
use tasks::{Gate, Task, in_time};

const SECOND: Duration = Duration::from_secs(1);

fn ask(cache: &Plain, key: u32) -> Result<u32, &'static str> {
    next(cache.try_get_or_insert_with(&key, || Err("alone")))
}

/// Who no longer waits closes no circle, whether it was told or dropped.
#[test]
fn who_gave_up_waiting_is_in_no_circle() {
    let (cache, gate) = (plain(), Gate::new());
    let mut first = in_tasks(&cache, 0, &gate, 1);
    let hold = Gate::new();
    let mut second = {
        let (cache, hold) = (cache.clone(), hold.clone());
        Task::new(async move {
            let load = async {
                hold.pass().await;
                next(cache.try_get_or_insert_async(&0, async { Ok(7) }).await)
            };
            cache.try_get_or_insert_async(&1, load).await
        })
    };
    assert!(first.poll().is_pending() && second.poll().is_pending());
    gate.open();
    assert!(first.poll().is_pending(), "it waits for the second");
    drop(first);
    hold.open();
    assert_eq!(second.poll(), Poll::Ready(Ok(8)));
}

/// A flight that is over ties nobody, even if who waited for it has yet to wake up.
#[test]
fn who_has_yet_to_wake_up_is_in_no_circle() {
    let (cache, gate) = (plain(), Gate::new());
    let hold = Gate::new();
    let mut awaited = {
        let (cache, hold) = (cache.clone(), hold.clone());
        Task::new(async move {
            let load = async {
                hold.pass().await;
                Ok::<_, &str>(1)
            };
            cache.try_get_or_insert_async(&1, load).await
        })
    };
    assert!(awaited.poll().is_pending());
    gate.open();
    let mut waiting = in_tasks(&cache, 0, &gate, 1);
    assert!(waiting.poll().is_pending());
    hold.open();
    assert_eq!(awaited.poll(), Poll::Ready(Ok(1)));
    cache.remove(&1);
    // The key's next load waits for who waited for its last.
    let mut later = in_tasks(&cache, 1, &gate, 0);
    assert!(later.poll().is_pending());
    assert_eq!(waiting.poll(), Poll::Ready(Ok(2)));
    assert_eq!(later.poll(), Poll::Ready(Ok(3)));
}

/// Threads that load what they find in a random order, but never in a circle, are never told so:
/// however often what they wait for is loaded, removed and loaded anew.
#[test]
fn loads_in_no_circle_are_never_told() {
    in_time(|| {
        let cache = plain();
        thread::scope(|scope| {
            for seed in 0..4_u64 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = seed;
                    for _ in 0..3000 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = (random >> 40) as u32 % 6;
                        assert!(load_on(cache, key, random).is_ok());
                        cache.remove(&((random >> 50) as u32 % 6));
                    }
                });
            }
        });
        assert_eq!(cache.flights(), 0);
    });
}

/// Loads a key from some of the next ones.
fn load_on(cache: &Plain, key: u32, random: u64) -> Answer {
    cache.try_get_or_insert_with(&key, || {
        for step in 1..=2 {
            let next = key + step;
            if next < 6 && random >> (key + 6 * step) & 1 == 1 {
                thread::yield_now();
                load_on(cache, next, random).map_err(|_| "a circle")?;
            }
        }
        Ok(key)
    })
}

/// Goes on by a tenth of a second for each look.
#[derive(Debug, Default)]
struct Restless(AtomicU64);

impl Ticker for Restless {
    fn now(&self) -> Duration {
        SECOND / 10 * self.0.fetch_add(1, SeqCst) as u32
    }
}

/// Who gives up after a while is in no circle that would never end.
#[test]
fn who_waits_for_a_while_only_is_in_no_circle() {
    let cache = Cache::<u32, u32>::builder().capacity(10).clock(Restless::default()).build();
    let [zero, one] = in_time(move || {
        let has_begun = Arc::new(Barrier::new(2));
        let zero = {
            let (cache, has_begun) = (cache.clone(), Arc::clone(&has_begun));
            thread::spawn(move || {
                cache.try_get_or_insert_with(&0, || {
                    has_begun.wait();
                    let found = cache.try_get_or_insert_within(&1, SECOND, || Err("alone"));
                    if found == Err(LoadError::TimedOut) { Ok(5) } else { next(found) }
                })
            })
        };
        let one = thread::spawn(move || {
            cache.try_get_or_insert_with(&1, || {
                has_begun.wait();
                next(cache.try_get_or_insert_with(&0, || Err("alone")))
            })
        });
        [zero, one].map(|thread| thread.join().unwrap())
    });
    assert_eq!((zero, one), (Ok(5), Ok(6)));
}

/// A closure that blocks on a runtime waits for none of the runtime's other tasks.
#[test]
fn tasks_of_a_runtime_that_a_load_blocks_on_are_in_no_circle() {
    in_time(|| {
        let (cache, begun, asked) = (plain(), Arc::new(Barrier::new(2)), Gate::new());
        let one = {
            let (cache, begun) = (cache.clone(), Arc::clone(&begun));
            thread::spawn(move || {
                cache.try_get_or_insert_with(&1, || {
                    begun.wait();
                    begun.wait();
                    next(cache.try_get_or_insert_with(&0, || Err("alone")))
                })
            })
        };
        begun.wait();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (own, polled) = (cache.clone(), asked.clone());
        let bystander = runtime.spawn(async move {
            let one = own.try_get_or_insert_async(&1, async { Err("alone") });
            wait_and_open(one, polled).await
        });
        let zero = cache.try_get_or_insert_with(&0, || {
            runtime.block_on(asked.pass());
            begun.wait();
            Ok::<_, &'static str>(5)
        });
        assert_eq!(zero, Ok(5));
        assert_eq!(one.join().unwrap(), Ok(6));
        assert_eq!(runtime.block_on(bystander).unwrap(), Ok(6));
    });
}

/// A load that is over waits for nothing, even if what it waited with is still there.
#[test]
fn what_a_load_left_behind_is_in_no_circle() {
    type Left = Pin<Box<dyn Future<Output = Answer>>>;
    let (cache, gate) = (plain(), Gate::new());
    let mut one = in_tasks(&cache, 1, &gate, 0);
    assert!(one.poll().is_pending());
    let left: Rc<RefCell<Option<Left>>> = Rc::default();
    let mut zero = {
        let (cache, left) = (cache.clone(), Rc::clone(&left));
        Task::new(async move {
            let own = cache.clone();
            let load = async move {
                let mut one: Left = Box::pin(async move {
                    own.try_get_or_insert_async(&1, async { Err("alone") }).await
                });
                poll_fn(|context| Poll::Ready(one.as_mut().poll(context))).await.is_ready();
                *left.borrow_mut() = Some(one);
                Ok::<_, &'static str>(0)
            };
            cache.try_get_or_insert_async(&0, load).await
        })
    };
    assert_eq!(zero.poll(), Poll::Ready(Ok(0)));
    cache.remove(&0);
    let hold = Gate::new();
    let mut zero = {
        let (cache, hold) = (cache.clone(), hold.clone());
        Task::new(async move {
            let load = async {
                hold.pass().await;
                Ok::<_, &'static str>(7)
            };
            cache.try_get_or_insert_async(&0, load).await
        })
    };
    assert!(zero.poll().is_pending(), "it waits for nothing in the cache");
    gate.open();
    assert!(one.poll().is_pending(), "it waits for that");
    hold.open();
    assert_eq!(zero.poll(), Poll::Ready(Ok(7)));
    assert_eq!(one.poll(), Poll::Ready(Ok(8)));
}

/// Who loads need not queue for a place if who has one waits for it, by way of another cache.
#[test]
fn a_place_among_loads_is_in_no_circle_p14() {
    in_time(|| {
        let (cache, has_begun) = (plain(), Arc::new(Barrier::new(2)));
        let (own, begun) = (cache.clone(), Arc::clone(&has_begun));
        let load = move |key: &u32| {
            if *key == 1 {
                return Ok(1);
            }
            begun.wait();
            next(own.try_get_or_insert_with(&0, || Err("alone")))
        };
        let limited: LoadingCache<u32, u32, _> = Cache::builder()
            .capacity(10)
            .loader(loader::blocking(load))
            .max_loads(1, WhenFull::Queue)
            .build();
        let asking = limited.clone();
        let zero = thread::spawn(move || {
            cache.try_get_or_insert_with(&0, || {
                has_begun.wait();
                next(asking.get(&1))
            })
        });
        assert_eq!(limited.get(&2), Ok(3));
        assert_eq!(zero.join().unwrap(), Ok(2));
    });
}

/// The same if it is one of many that queue, whether threads or tasks wait.
#[test]
fn a_place_for_many_loads_is_in_no_circle_p14() {
    for is_async in [false, true] {
        in_time(move || {
            let (cache, has_begun) = (plain(), Arc::new(Barrier::new(2)));
            let (own, begun) = (cache.clone(), Arc::clone(&has_begun));
            let load = move |key: &u32| {
                if *key < 2 {
                    return Ok(1);
                }
                begun.wait();
                ask(&own, 0)
            };
            let limited: LoadingCache<u32, u32, _> = Cache::builder()
                .capacity(10)
                .loader(loader::blocking(load))
                .max_loads(1, WhenFull::Queue)
                .build();
            let asking = limited.clone();
            let zero = thread::spawn(move || {
                if !is_async {
                    return cache.try_get_or_insert_with(&0, || {
                        has_begun.wait();
                        next(asking.get_many(&[0, 1]).remove(1))
                    });
                }
                let load = async {
                    has_begun.wait();
                    next(asking.get_many_async(&[0, 1]).await.remove(1))
                };
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(cache.try_get_or_insert_async(&0, load))
            });
            assert_eq!(limited.get(&2), Ok(3));
            assert_eq!(zero.join().unwrap(), Ok(2));
        });
    }
}

/// Two caches with a place each, whose loads ask for something of the other.
#[test]
fn places_of_two_caches_are_in_no_circle_p14() {
    type Limited = LoadingCache<u32, u32, Other>;
    struct Other(Arc<std::sync::OnceLock<Limited>>, Arc<Barrier>);
    impl loader::Loader<u32, u32> for Other {
        type Error = &'static str;
        async fn load(&self, key: &u32) -> Result<loader::Loaded<u32>, &'static str> {
            if *key >= 10 {
                return Ok((*key).into());
            }
            self.1.wait();
            let other = self.0.get().expect("made before it is asked");
            next(other.get_async(&(key + 10)).await).map(Into::into)
        }
    }
    for _ in 0..20 {
        in_time(|| {
            let has_begun = Arc::new(Barrier::new(2));
            let ways = [0, 1].map(|_| Arc::new(std::sync::OnceLock::new()));
            let caches = [0, 1].map(|at| {
                let loader = Other(Arc::clone(&ways[at]), Arc::clone(&has_begun));
                let builder = Cache::builder().capacity(10).loader(loader);
                builder.max_loads(1, WhenFull::Queue).build()
            });
            for at in [0, 1] {
                assert!(ways[at].set(caches[1 - at].clone()).is_ok());
            }
            let threads = caches.map(|cache| thread::spawn(move || cache.get(&1)));
            assert_eq!(threads.map(|thread| thread.join().unwrap()), [Ok(12), Ok(12)]);
        });
    }
}

/// A loader that blocks on a runtime waits for none of its other tasks, either.
#[test]
fn tasks_of_a_runtime_that_a_loader_blocks_on_are_in_no_circle() {
    for is_bulk in [false, true] {
        in_time(move || {
            let (cache, begun, asked) = (plain(), Arc::new(Barrier::new(2)), Gate::new());
            let runtime = Arc::new(tokio::runtime::Builder::new_current_thread().build().unwrap());
            let (own, at, passed) = (Arc::clone(&runtime), Arc::clone(&begun), asked.clone());
            let load = move |_: &u32| {
                own.block_on(passed.pass());
                at.wait();
                Ok::<u32, &'static str>(5)
            };
            let above: LoadingCache<u32, u32, _> =
                Cache::builder().capacity(10).loader(loader::blocking(load)).build();
            let one = {
                let (cache, above, begun) = (cache.clone(), above.clone(), Arc::clone(&begun));
                thread::spawn(move || {
                    cache.try_get_or_insert_with(&1, || {
                        begun.wait();
                        begun.wait();
                        next(above.get(&0))
                    })
                })
            };
            begun.wait();
            let own = cache.clone();
            let bystander = runtime.spawn(async move {
                let one = own.try_get_or_insert_async(&1, async { Err("alone") });
                wait_and_open(one, asked).await
            });
            let zero = if is_bulk { above.get_many(&[0]).remove(0) } else { above.get(&0) };
            assert_eq!(zero, Ok(5));
            assert_eq!(one.join().unwrap(), Ok(6));
            assert_eq!(runtime.block_on(bystander).unwrap(), Ok(6));
        });
    }
}

/// Who waited for a load does not wait for what comes of it, nor for the key's next.
#[test]
fn a_load_that_has_landed_ties_nobody() {
    in_time(|| {
        let zeros = plain();
        let (gate, has_left) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (entered, left) = (Arc::clone(&gate), Arc::clone(&has_left));
        // The first entry leaves for the second.
        let ones = Cache::<u32, u32>::builder()
            .capacity(1)
            .on_removal(move |key, _, _| {
                if *key == 100 {
                    entered.wait();
                    left.wait();
                }
            })
            .policy(larder::policy::Fifo::default())
            .build();
        ones.insert(100, 1);
        let zero = {
            let (zeros, ones) = (zeros.clone(), ones.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let one = async {
                    tasks::pend(2).await;
                    Ok(10)
                };
                let load = async { next(ones.try_get_or_insert_async(&1, one).await) };
                runtime.block_on(zeros.try_get_or_insert_async(&0, load))
            })
        };
        gate.wait();
        ones.remove(&1);
        let next_one = {
            let zeros = zeros.clone();
            let mut next_one = Task::new(async move {
                let load =
                    async { next(zeros.try_get_or_insert_async(&0, async { Err("alone") }).await) };
                ones.try_get_or_insert_async(&1, load).await
            });
            assert!(next_one.poll().is_pending(), "0's load has yet to end, and will");
            has_left.wait();
            assert_eq!(zero.join().unwrap(), Ok(11));
            next_one.poll()
        };
        assert_eq!(next_one, Poll::Ready(Ok(12)));
    });
}
