//! Queues by priority: one for each priority that any entry has.
//!
//! A hash table finds the queue of a priority, since entries change theirs at every hit. The lowest
//! is looked for only when something has to leave, from where it was last: where a priority only
//! ever rises, that is near, or was paid for by the hits that left the gap.
//!
//! Invariant: no queue is empty, and none has a priority below the floor. It must not know what a
//! priority means.

use hashbrown::HashTable;

use super::queue::{Links, Queue};
use super::spread::spread;
use crate::Slot;

/// How many priorities are looked up before all queues are looked through.
const NEAR: u64 = 64;

/// The queues.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    levels: HashTable<Level>,
    floor: u64,
}

#[derive(Debug)]
struct Level {
    priority: u64,
    /// Who got the priority first is at the back.
    queue: Queue,
}

impl Levels {
    /// Puts an entry into the queue of this priority.
    pub(crate) fn join(&mut self, links: &mut Links, slot: Slot, priority: u64) {
        self.floor = self.floor.min(priority);
        let is_it = |level: &Level| level.priority == priority;
        let hash = |level: &Level| spread(level.priority);
        let entry = self.levels.entry(spread(priority), is_it, hash);
        // All have the same number: they tell their entries apart by priority.
        let new = || Level { priority, queue: Queue::new(0) };
        entry.or_insert_with(new).into_mut().queue.push_front(links, slot);
    }

    /// Takes an entry out of the queue of its priority.
    pub(crate) fn leave(&mut self, links: &mut Links, slot: Slot, priority: u64) {
        let is_it = |level: &Level| level.priority == priority;
        let Ok(mut level) = self.levels.find_entry(spread(priority), is_it) else { return };
        level.get_mut().queue.unlink(links, slot);
        if level.get().queue.is_empty() {
            level.remove();
        }
    }

    /// An entry of this priority has another slot now.
    pub(crate) fn replace(&mut self, links: &mut Links, (from, to): (Slot, Slot), priority: u64) {
        if let Some(level) = self.levels.find_mut(spread(priority), |it| it.priority == priority) {
            level.queue.replace(links, from, to);
        }
    }

    /// The oldest of the lowest priority; of the next one if that is `spared`, unless there is none.
    pub(crate) fn lowest(&mut self, spared: Option<Slot>) -> Option<Slot> {
        let lowest = self.at_least(self.floor)?;
        let (priority, slot) = (lowest.priority, lowest.queue.back());
        self.floor = priority;
        if spared.is_some() && spared == slot {
            // It came last of all, so it is alone in its queue.
            let next = self.at_least(priority + 1).and_then(|level| level.queue.back());
            return next.or(slot);
        }
        slot
    }

    /// The queue of the lowest priority from this one on.
    fn at_least(&self, priority: u64) -> Option<&Level> {
        if self.levels.is_empty() {
            return None;
        }
        let near = (priority..priority + NEAR).find_map(|priority| self.get(priority));
        near.or_else(|| {
            let rest = self.levels.iter().filter(|level| level.priority >= priority);
            rest.min_by_key(|level| level.priority)
        })
    }

    fn get(&self, priority: u64) -> Option<&Level> {
        self.levels.find(spread(priority), |level| level.priority == priority)
    }

    /// Priorities and queues, the lowest first.
    pub(crate) fn sorted(&self) -> Vec<(u64, &Queue)> {
        let levels = self.levels.iter().map(|level| (level.priority, &level.queue));
        let mut levels: Vec<_> = levels.collect();
        levels.sort_unstable_by_key(|&(priority, _)| priority);
        levels
    }

    /// Checks every queue; answers how many entries there are.
    ///
    /// # Panics
    /// If an invariant does not hold, or an entry's priority is not its queue's.
    pub(crate) fn validate(&self, links: &Links, priority_of: impl Fn(Slot) -> u64) -> usize {
        let mut entries = 0;
        for level in &self.levels {
            let Level { priority, queue } = level;
            queue.validate(links);
            assert!(!queue.is_empty(), "the queue of priority {priority}");
            assert!(*priority >= self.floor, "no priority below the floor");
            assert!(self.get(*priority).is_some_and(|found| std::ptr::eq(found, level)), "found");
            for slot in queue.iter_from_back(links) {
                assert_eq!(priority_of(slot), *priority, "{slot:?}'s priority");
            }
            entries += queue.len();
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(priorities: &[u64]) -> (Levels, Links) {
        let (mut levels, mut links) = (Levels::default(), Links::default());
        for (slot, &priority) in (0..).zip(priorities) {
            levels.join(&mut links, Slot::new(slot), priority);
        }
        (levels, links)
    }

    #[test]
    fn the_oldest_of_the_lowest_priority_is_found_however_far_it_is() {
        let priorities = [70_000, 5, 1_000_000, 5, 6];
        let (mut levels, mut links) = levels(&priorities);
        let mut order = Vec::new();
        while let Some(slot) = levels.lowest(None) {
            levels.validate(&links, |slot| priorities[slot.index()]);
            levels.leave(&mut links, slot, priorities[slot.index()]);
            order.push(slot.as_u32());
        }
        assert_eq!(order, [1, 3, 4, 0, 2]);
        levels.join(&mut links, Slot::new(9), 2);
        assert_eq!(levels.lowest(None), Some(Slot::new(9)), "below the floor so far");
    }

    #[test]
    fn one_entry_can_be_spared() {
        let (mut levels, _) = levels(&[3, 900]);
        assert_eq!(levels.lowest(Some(Slot::new(0))), Some(Slot::new(1)));
        assert_eq!(levels.lowest(Some(Slot::new(1))), Some(Slot::new(0)));
        let (mut alone, _) = self::levels(&[3]);
        assert_eq!(alone.lowest(Some(Slot::new(0))), Some(Slot::new(0)));
    }

    #[test]
    fn entries_move_between_queues_and_slots() {
        let (mut levels, mut links) = levels(&[1, 1, 2]);
        levels.leave(&mut links, Slot::new(0), 1);
        levels.join(&mut links, Slot::new(0), 2);
        levels.replace(&mut links, (Slot::new(1), Slot::new(7)), 1);
        let sorted: Vec<(u64, Vec<Slot>)> = levels
            .sorted()
            .into_iter()
            .map(|(priority, queue)| (priority, queue.iter_from_back(&links).collect()))
            .collect();
        assert_eq!(sorted, [(1, vec![Slot::new(7)]), (2, vec![Slot::new(2), Slot::new(0)])]);
    }
}
