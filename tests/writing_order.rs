//! Writes of one key come in order, whoever gives up meanwhile.

#[path = "common/tasks.rs"]
mod tasks;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use larder::{
    Cache, LoadingBuilder, LoadingCache,
    loader::{Loaded, Loader, Write, Writer},
};
use tasks::{Task, in_time, pend};

type Job = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Numbers that must come in order for each key, now and then refused, and pending at times.
#[derive(Clone, Default)]
struct Ordered(Arc<Mutex<(HashMap<u32, u32>, u32)>>);

impl Loader<u32, u32> for Ordered {
    type Error = ();

    async fn load(&self, key: &u32) -> Result<Loaded<u32>, ()> {
        Ok(self.0.lock().unwrap().0.get(key).copied().into())
    }
}

impl Writer<u32, u32> for Ordered {
    type Error = ();

    async fn put(&self, key: &u32, value: &u32) -> Result<(), ()> {
        let former = self.0.lock().unwrap().0.insert(*key, *value);
        assert!(former.is_none_or(|former| former <= *value), "an older write came later");
        Ok(())
    }

    async fn remove(&self, _: &u32) -> Result<(), ()> {
        Ok(())
    }

    async fn write_many(&self, writes: &[(u32, Write<u32>)]) -> Result<(), ()> {
        let turn = {
            let turn = &mut self.0.lock().unwrap().1;
            *turn += 1;
            *turn
        };
        let mut left = turn % 3;
        for (key, write) in writes {
            let Write::Put(value) = write else { continue };
            self.put(key, value).await?;
            pend(std::mem::take(&mut left)).await;
        }
        if turn.is_multiple_of(7) { Err(()) } else { Ok(()) }
    }
}

type Counting = LoadingCache<u32, u32, Ordered>;

/// Writes, behind and through, by several threads that flush now and then and give some of that up.
fn write_at_once(cache: &Counting, read: fn(&Counting, u32) -> Option<u32>) {
    let threads = (0..3).map(|thread| {
        let cache = cache.clone();
        move || {
            for turn in 0..400 {
                let key = turn % 5 * 3 + thread;
                match turn % 11 {
                    0 => drop(cache.put_through(key, turn).unwrap()),
                    1 => {
                        let cache = cache.clone();
                        let mut flush = Task::new(async move { cache.flush_async().await });
                        _ = flush.poll();
                    }
                    2 => cache.flush(),
                    3 => drop(cache.remove(&key)),
                    _ => drop(cache.put_behind(key, turn).unwrap()),
                }
                let served = read(&cache, key);
                let is_written = turn % 11 != 0 || served.is_none_or(|served| served == turn);
                assert!(is_written, "not what was written");
            }
        }
    });
    let threads: Vec<_> = threads.map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    cache.flush();
    assert_eq!((cache.unwritten(), cache.flights()), (0, 0));
}

fn ordered(store: &Ordered) -> LoadingBuilder<u32, u32, Ordered> {
    let builder = Cache::<u32, u32>::builder().capacity(8).loader(store.clone());
    builder.write_queue(4, 2).write_retry(Duration::ZERO, Duration::ZERO)
}

#[test]
fn writes_of_a_key_come_in_order_whoever_gives_up() {
    let store = Ordered::default();
    let cache = ordered(&store).build();
    in_time(move || write_at_once(&cache, |cache, key| cache.get(&key).ok()));
}

#[test]
fn writes_of_a_key_come_in_order_with_a_spawner_that_fails_at_times() {
    let store = Ordered::default();
    let (sender, jobs) = mpsc::channel::<Job>();
    let turns = AtomicU32::new(0);
    let spawn = move |job| match turns.fetch_add(1, SeqCst) % 4 {
        0 => panic!("no reactor running"),
        1 => drop(job),
        _ => sender.send(job).unwrap(),
    };
    let cache = ordered(&store).spawner(spawn).build();
    let runtime = thread::spawn(move || {
        for job in jobs {
            let mut job = Task::new(job);
            // One that takes too long is let go of.
            let _ = (0..4).any(|_| job.poll().is_ready());
        }
    });
    // No loads, which would be spawned too.
    in_time(move || write_at_once(&cache, |cache, key| cache.get_if_present(&key)));
    in_time(move || runtime.join().unwrap());
}
