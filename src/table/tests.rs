//! The table by itself: addresses, chains, and the order of iteration.

use std::collections::HashMap;

use super::*;

fn new(entries: Option<u64>) -> (Table<u64, u64>, Arena<u64, u64>) {
    Table::new(entries, Bare::find_out())
}

#[test]
fn slots_name_one_place_each() {
    for bucket in [0, 1, 63, 64, 65, 1000, 70_000] {
        for lane in 0..LANES {
            match place_of(home_slot(bucket, lane)) {
                Place::Home { bucket: b, lane: l } => assert_eq!((b, l), (bucket, lane)),
                Place::Overflow { .. } => panic!("home slot read as overflow"),
            }
        }
        for lane in 0..OVERFLOW_LANES {
            match place_of(overflow_slot(bucket, lane)) {
                Place::Overflow { number, lane: l } => assert_eq!((number, l), (bucket, lane)),
                Place::Home { .. } => panic!("overflow slot read as home"),
            }
        }
    }
}

#[test]
fn few_entries_lie_in_chains_while_a_table_grows() {
    let hash_of = |key: &u64| {
        let product = u128::from(*key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Some((product >> 64) as u64 ^ product as u64)
    };
    for planned in [None, Some(20_000), Some(5_000)] {
        let (table, mut arena) = new(planned);
        let mut slots = HashMap::new();
        for key in 0..5_000 {
            if arena.is_crowded() {
                let mut moves = Vec::new();
                arena.grow(&table, hash_of, |from, to| moves.push((from, to)));
                for (from, to) in moves {
                    let moved = slots.remove(&from.as_u32()).expect("an entry");
                    slots.insert(to.as_u32(), moved);
                }
            }
            let hash = hash_of(&key).expect("a hash");
            let slot = arena.place_at(arena.home_of(&table, hash), hash, key, key);
            arena.publish(slot, hash);
            slots.insert(slot.as_u32(), key);
            assert_eq!(arena.key(slot), &key);
            // A table that has just doubled has 32 lanes for 12 entries, and the slots of chains lie between.
            let most = 2 * RUN as usize + 6 * slots.len();
            assert!(slot.index() < most, "{slot:?} of {}", slots.len());
            let is_chained =
                |slot: &&u32| matches!(place_of(Slot::new(**slot)), Place::Overflow { .. });
            let chained = slots.keys().filter(is_chained).count();
            assert!(
                key % 100 != 99 || key < 1000 || chained * 12 < slots.len(),
                "{chained} of {}, {planned:?} planned",
                slots.len()
            );
        }
    }
}

#[test]
fn a_cursor_passes_every_bucket_once() {
    for (count, mask, base) in [(8, 0, 8), (11, 0, 8), (16, 1, 8), (23, 1, 8), (38, 3, 5)] {
        let (table, _arena) = new(Some(8 * 13));
        let table = Table { base, ..table };
        let level = Level { split: count - base * (mask + 1), mask };
        let mut seen = vec![0; count as usize];
        let mut cursor = table.start();
        while cursor.family < base {
            let (index, mask) = table.address_in(cursor.family, cursor.low, level);
            seen[index as usize] += 1;
            cursor = cursor.after(mask);
        }
        assert!(seen.iter().all(|&times| times == 1), "{count} {mask}: {seen:?}");
    }
}

#[test]
fn entries_return_from_a_chain_once_they_are_looked_up() {
    let (table, mut arena) = new(Some(10));
    // All in one bucket, with one fingerprint.
    let place = |arena: &mut Arena<u64, u64>, key| {
        let slot = arena.place(&table, 0, key, 10 * key);
        arena.publish(slot, 0);
        slot
    };
    let slots: Vec<Slot> = (0..19).map(|key| place(&mut arena, key)).collect();
    let is_home = |slot: Slot| matches!(place_of(slot), Place::Home { .. });
    assert_eq!(slots.iter().filter(|&&slot| is_home(slot)).count(), LANES);
    let find = |key: u64| {
        let locked = table.find(0, |other: &u64| *other == key)?;
        assert_eq!(*locked.found.value, 10 * key);
        Some(locked.found.lane.slot())
    };
    assert_eq!(find(17), Some(slots[17]));
    assert!(!table.is_loose(), "there is no room at home");
    assert_eq!(arena.take(slots[3]), (3, 30));
    assert!(!table.is_loose(), "nobody looked");
    assert_eq!(find(18), Some(slots[18]));
    assert!(table.is_loose());
    let mut moves = Vec::new();
    arena.settle(&table, |from, to| moves.push((from, to)));
    assert_eq!(moves, [(slots[16], slots[3])], "the first of the chain");
    assert!(!table.is_loose());
    arena.settle(&table, |_, _| panic!("nothing was noted"));
    let found: Vec<Slot> = (0..19).filter_map(find).collect();
    assert_eq!(found.len(), 18);
    assert_eq!(arena.take(slots[0]), (0, 0));
    assert_eq!(arena.take(slots[1]), (1, 10));
    find(17);
    arena.settle(&table, |_, to| assert!(is_home(to)));
    assert!((2..19).filter_map(find).all(is_home), "the chain is gone");
    assert!(!table.surely_absent(0));
    arena.validate(&table, |_| 0);
}
