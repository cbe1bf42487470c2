//! Models of what threads can do to each other, explored in every schedule of up to two
//! preemptions: `RUSTFLAGS="--cfg larder_loom" cargo test --release --test loom`.
//!
//! A model sees locks and atomics, not the entries themselves (those are plain memory under the
//! bucket's lock; the sanitizers watch them). Numbers, which are read without it, are copied in one step;
//! `table/lock.rs` has a model of copying them word by word. In such a build the table is small: it begins with
//! one bucket of sixteen lanes, spills one entry and splits at the next.

#![cfg(larder_loom)]

mod common;
#[path = "common/models.rs"]
mod models;

use std::sync::Arc;

use common::Identity;
use larder::{
    Cache, Compute,
    policy::{Fifo, Sieve},
};
use loom::thread;
use models::{Held, Model, Value, cache, key, model, together};

/// P1, P5: an insert that evicts, and readers of the newcomer and of the victim.
#[test]
fn reading_while_one_bucket_evicts() {
    read_while_one_bucket_evicts::<Held>();
}

/// The same of values that are read without a lock.
#[test]
fn reading_without_a_lock_while_one_bucket_evicts() {
    read_while_one_bucket_evicts::<u64>();
}

fn read_while_one_bucket_evicts<V: Value>() {
    model(|| {
        let cache = cache::<_, V>(Fifo::default(), 1);
        cache.insert(key(0), V::from(10));
        let writer = cache.clone();
        together(
            move || {
                writer.insert(key(2), V::from(12));
                assert_eq!(writer.get(&key(0)), None);
            },
            {
                let cache = cache.clone();
                move || {
                    let newcomer = cache.get(&key(2));
                    let victim = cache.get(&key(0));
                    assert!(cache.weight() <= 1);
                    assert!(newcomer.is_none() || victim.is_none(), "over capacity");
                    assert!(newcomer.is_none_or(|value| value == V::from(12)));
                    assert!(victim.is_none_or(|value| value == V::from(10)));
                }
            },
        );
        assert_eq!(cache.get(&key(2)), Some(V::from(12)));
        cache.validate();
    });
}

/// P1: an update in place and a removal of one key.
#[test]
fn updating_and_removing_one_key() {
    model(|| {
        let cache = cache::<_, u64>(Sieve::default(), 4);
        cache.insert(key(0), 1);
        let (updater, remover) = (cache.clone(), cache.clone());
        let (updated, removed) =
            together(move || updater.insert(key(0), 2), move || remover.remove(&key(0)));
        // Either the update came first and was removed, or the removal, and the update inserted.
        let resident = match (updated, removed) {
            (Some(1), Some(2)) => None,
            (None, Some(1)) => Some(2),
            other => panic!("no order of the two explains {other:?}"),
        };
        assert_eq!(cache.get(&key(0)), resident);
        cache.validate();
    });
}

/// P1: a reader sees an update, or a removal, once it has seen it, for good.
#[test]
fn reading_what_is_updated_or_removed() {
    read_what_is_updated_or_removed::<Held>();
}

/// The same of values that are read without a lock.
#[test]
fn reading_without_a_lock_what_is_updated_or_removed() {
    read_what_is_updated_or_removed::<u64>();
}

fn read_what_is_updated_or_removed<V: Value>() {
    for removes in [false, true] {
        model(move || {
            let cache = cache::<_, V>(Sieve::default(), 4);
            cache.insert(key(0), V::from(1));
            let (writer, reader) = (cache.clone(), cache.clone());
            let write = move || match removes {
                true => writer.remove(&key(0)),
                false => writer.insert(key(0), V::from(2)),
            };
            let (old, seen) = together(write, move || [reader.get(&key(0)), reader.get(&key(0))]);
            let then = (!removes).then_some(V::from(2));
            assert!(
                seen == [Some(V::from(1)); 2]
                    || seen == [Some(V::from(1)), then]
                    || seen == [then; 2],
                "{seen:?}"
            );
            assert_eq!(old, Some(V::from(1)));
            assert_eq!(cache.get(&key(0)), then);
            cache.validate();
        });
    }
}

/// P1: two writers of one key; a reader sees their values in one order.
#[test]
fn two_writers_of_one_key() {
    model(|| {
        let cache = cache::<_, u64>(Fifo::default(), 4);
        let (one, two) = (cache.clone(), cache.clone());
        let first = thread::spawn(move || one.insert(key(0), 1));
        let second = thread::spawn(move || two.insert(key(0), 2));
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        match (first, second) {
            (None, Some(1)) => assert_eq!(cache.get(&key(0)), Some(2)),
            (Some(2), None) => assert_eq!(cache.get(&key(0)), Some(1)),
            other => panic!("no order of the two explains {other:?}"),
        }
        assert_eq!((cache.len(), cache.weight()), (1, 1));
        cache.validate();
    });
}

/// A full bucket with one entry spilled: the next insert splits it. Odd keys move.
fn about_to_split<V: Value>() -> Model<Fifo, V> {
    let cache = cache(Fifo::default(), 30);
    (0..17).for_each(|number| assert_eq!(cache.insert(key(number), V::from(number)), None));
    cache
}

/// P1: keys that move, that stay and that are gathered from the overflow are never missed while
/// the bucket splits.
#[test]
fn getting_while_a_bucket_splits() {
    get_while_a_bucket_splits::<Held>();
}

/// The same of values that are read without a lock.
#[test]
fn getting_without_a_lock_while_a_bucket_splits() {
    get_while_a_bucket_splits::<u64>();
}

fn get_while_a_bucket_splits<V: Value>() {
    for number in [1, 0, 16] {
        model(move || {
            let cache = about_to_split::<V>();
            let grower = cache.clone();
            together(move || drop(grower.insert(key(17), V::from(17))), {
                let cache = cache.clone();
                move || assert_eq!(cache.get(&key(number)), Some(V::from(number)))
            });
            cache.validate();
        });
    }
}

/// P1: replacing begins with a look without any lock, which must not take a present key for
/// absent while the bucket splits.
#[test]
fn replacing_while_a_bucket_splits() {
    for number in [1, 0, 16] {
        model(move || {
            let cache = about_to_split();
            let grower = cache.clone();
            together(move || drop(grower.insert(key(17), 17)), {
                let cache = cache.clone();
                move || assert_eq!(cache.insert(key(number), 99), Some(number))
            });
            assert_eq!(cache.len(), 18);
            cache.validate();
        });
    }
}

/// The same of removing.
#[test]
fn removing_while_a_bucket_splits() {
    for number in [1, 16] {
        model(move || {
            let cache = about_to_split();
            let grower = cache.clone();
            together(move || drop(grower.insert(key(17), 17)), {
                let cache = cache.clone();
                move || assert_eq!(cache.remove(&key(number)), Some(number))
            });
            assert_eq!((cache.len(), cache.get(&key(number))), (17, None));
            cache.validate();
        });
    }
}

/// A spilled entry that was looked up, and two lanes free: the next insert lets it return.
fn about_to_return<V: Value>() -> Model<Fifo, V> {
    let cache = about_to_split();
    for number in [3, 5] {
        assert_eq!(cache.remove(&key(number)), Some(V::from(number)));
    }
    assert_eq!(cache.get(&key(16)), Some(V::from(16)));
    cache
}

/// P1: an entry is not missed while it returns from the overflow, nor is another taken for it.
#[test]
fn getting_while_an_entry_returns() {
    get_while_an_entry_returns::<Held>();
}

/// The same of values that are read without a lock.
#[test]
fn getting_without_a_lock_while_an_entry_returns() {
    get_while_an_entry_returns::<u64>();
}

fn get_while_an_entry_returns<V: Value>() {
    model(|| {
        let cache = about_to_return::<V>();
        let writer = cache.clone();
        together(move || drop(writer.insert(key(17), V::from(17))), {
            let cache = cache.clone();
            move || {
                assert_eq!(cache.get(&key(16)), Some(V::from(16)));
                assert_eq!(cache.get(&key(3)), None);
            }
        });
        cache.validate();
    });
}

/// P1: an entry is not missed while it returns from the overflow, neither under the bucket's lock nor
/// by the look without any that replacing and removing begin with.
#[test]
fn replacing_and_removing_while_an_entry_returns() {
    for removes in [false, true] {
        model(move || {
            let cache = about_to_return::<u64>();
            let writer = cache.clone();
            together(move || drop(writer.insert(key(17), 17)), {
                let cache = cache.clone();
                move || {
                    let found =
                        if removes { cache.remove(&key(16)) } else { cache.insert(key(16), 99) };
                    assert_eq!(found, Some(16));
                }
            });
            assert_eq!(cache.len(), if removes { 15 } else { 16 });
            cache.validate();
        });
    }
}

/// P11: notices of one key come once each and in the order of its versions.
#[test]
fn the_listener_hears_of_one_key_in_order() {
    model(|| {
        // Not a lock of the model's: the outbox calls from one thread at a time.
        let told: Arc<std::sync::Mutex<Vec<(u64, u64)>>> = Arc::default();
        let log = Arc::clone(&told);
        let cache = Cache::<u64, u64>::builder()
            .capacity(2)
            .stripes(1)
            .policy(Fifo::default())
            .hasher(Identity::default())
            .on_removal(move |_, &value, removal| {
                log.try_lock().expect("one at a time").push((removal.version, value));
            })
            .build();
        cache.insert(key(0), 1);
        let (updater, remover) = (cache.clone(), cache.clone());
        let updating = thread::spawn(move || drop(updater.insert(key(0), 2)));
        let removing = thread::spawn(move || drop(remover.remove(&key(0))));
        updating.join().unwrap();
        removing.join().unwrap();
        let resident = cache.get(&key(0));
        let told = told.lock().unwrap();
        assert!(told.windows(2).all(|two| two[0].0 < two[1].0), "{told:?}");
        assert_eq!(told[0].1, 1);
        assert_eq!(told.len() + usize::from(resident.is_some()), 2, "{told:?}");
        cache.validate();
    });
}

/// P5: the capacity shrinks while one inserts.
#[test]
fn inserting_while_the_capacity_shrinks() {
    model(|| {
        let cache = cache::<_, u64>(Fifo::default(), 2);
        cache.insert(key(0), 0);
        let writer = cache.clone();
        let setter = cache.clone();
        together(
            move || drop(writer.insert(key(1), 1)),
            move || {
                setter.set_capacity(1);
                assert!(setter.weight() <= 1, "{}", setter.weight());
            },
        );
        assert!(cache.weight() <= 1 && cache.capacity() == 1);
        cache.validate();
    });
}

/// Computations through entries exclude each other.
#[test]
fn counting_through_entries() {
    model(|| {
        let cache = cache::<_, u64>(Fifo::default(), 2);
        let count = |cache: Model<Fifo>| {
            move || cache.entry(key(0)).compute(|seen| Compute::Put(seen.unwrap_or(0) + 1))
        };
        let (mine, theirs) = together(count(cache.clone()), count(cache.clone()));
        assert_eq!(mine.max(theirs), Some(2));
        assert_eq!(mine.min(theirs), Some(1));
        assert_eq!(cache.get(&key(0)), Some(2));
    });
}

/// What is computed over a value stays only if nobody else wrote it meanwhile.
#[test]
fn computing_while_another_writes() {
    compute_while_another_writes::<Held>();
    compute_while_another_writes::<u64>();
}

fn compute_while_another_writes<V: Value>() {
    model(|| {
        let cache = cache::<_, V>(Fifo::default(), 2);
        cache.insert(key(0), V::from(1));
        let (counter, writer) = (cache.clone(), cache.clone());
        let (computed, _) = together(
            move || counter.entry(key(0)).compute(add_ten),
            move || writer.insert(key(0), V::from(5)),
        );
        let [five, eleven, fifteen] = [5, 11, 15].map(|number| Some(V::from(number)));
        let left = cache.get(&key(0));
        assert!(
            [(eleven, five), (fifteen, fifteen)].contains(&(computed, left)),
            "{computed:?} {left:?}"
        );
        cache.validate();
    });
}

/// The same while another removes it, in one way or another.
#[test]
fn computing_while_another_removes() {
    compute_while_another_removes::<Held>(|cache| drop(cache.remove(&key(0))));
    compute_while_another_removes::<u64>(|cache| drop(cache.remove(&key(0))));
}

#[test]
fn computing_while_another_clears() {
    compute_while_another_removes::<Held>(|cache| cache.clear());
    compute_while_another_removes::<u64>(|cache| cache.clear());
}

fn compute_while_another_removes<V: Value>(remove: fn(&Model<Fifo, V>)) {
    model(move || {
        let cache = cache::<_, V>(Fifo::default(), 2);
        cache.insert(key(0), V::from(1));
        let (counter, remover) = (cache.clone(), cache.clone());
        let (computed, ()) =
            together(move || counter.entry(key(0)).compute(add_ten), move || remove(&remover));
        let [ten, eleven] = [10, 11].map(|number| Some(V::from(number)));
        let left = cache.get(&key(0));
        // The value was seen, and it or its successor removed; or seen no more.
        assert!([(eleven, None), (ten, ten)].contains(&(computed, left)), "{computed:?} {left:?}");
        cache.validate();
    });
}

fn add_ten<V: Value>(seen: Option<V>) -> Compute<V> {
    let number = (1..20).find(|&number| seen == Some(V::from(number))).unwrap_or(0);
    Compute::Put(V::from(number + 10))
}
