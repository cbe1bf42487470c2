//! Queues of slots whose members lie side by side, many in a node: unrolled linked lists.
//!
//! The next victims are found without following a link from entry to entry, each of which would be a
//! miss of the processor's cache. (The unrolling is that of Shao, Reppy and Appel, "Unrolling Lists",
//! LISP and Functional Programming 1994.) A slot's *place*, its node and the index there, lies in an array
//! indexed by slot, so any entry can leave in constant time on average: it leaves a hole, and two neighbours
//! that fit into one node are merged. So an entry costs 8 bytes, and up to 4 more if most have left from
//! within.
//!
//! Invariant: a slot is in at most one of the queues that share [`Nodes`], and is so if it is the member at
//! its place. Who left has a hole there, or another has come; whoever moved has another place. So neither
//! places nor what is left in a node that is given back need be cleared. Of two neighbours that are neither
//! the node at the front nor the one at the back of their queue, the members do not fit into one. They must
//! not know weights, marks or why an entry moves.
//!
//! `queue.rs` is for queues whose entries leave or move from within all the time.

use super::slots::PerSlot;
use crate::Slot;

/// How many members a node has room for: few in tests, so that many nodes come up.
const ROOM: usize = if cfg!(test) { 4 } else { 128 };
/// What is left where a member was. The largest index, so no slot is that.
const HOLE: u32 = u32::MAX;
/// No place, and no node.
const NONE: u32 = u32::MAX;

/// Some members of a queue, the oldest first.
#[derive(Debug)]
struct Node {
    /// The next one towards the front and towards the back; the former also links spare ones.
    ahead: u32,
    behind: u32,
    /// How many members and holes there are; not kept in the node at the front.
    filled: u16,
    /// How many left a hole from within; in the node at the back there may be more.
    holes: u16,
    /// The number of the queue.
    queue: u8,
    members: [u32; ROOM],
}

impl Node {
    const EMPTY: Self =
        Self { ahead: NONE, behind: NONE, filled: 0, holes: 0, queue: 0, members: [HOLE; ROOM] };

    /// How many members there are, in a node that is neither at the front nor at the back.
    fn live(&self) -> usize {
        usize::from(self.filled - self.holes)
    }
}

/// The node of a place: a place is its node's number times [`ROOM`], plus the index there.
#[inline]
const fn node_of(place: u32) -> u32 {
    place / ROOM as u32
}

/// The place of this index in a node; that of [`ROOM`] is the end of it.
#[inline]
const fn place_in(node: u32, at: u32) -> u32 {
    node * ROOM as u32 + at
}

/// The nodes of the queues of one policy, and the places of all slots.
#[derive(Debug)]
pub(crate) struct Nodes {
    #[allow(clippy::vec_box, reason = "a longer copy than that of pointers would be a stall")]
    nodes: Vec<Box<Node>>,
    /// The first of those in no queue.
    spare: u32,
    places: PerSlot<u32>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { nodes: Vec::new(), spare: NONE, places: PerSlot::new(NONE) }
    }
}

impl Nodes {
    /// The number of the queue that `slot` is in, if any.
    #[inline]
    pub(crate) fn queue_of(&self, slot: Slot) -> Option<u8> {
        self.place_of(slot).map(|place| self.node(node_of(place)).queue)
    }

    /// Where `slot` is, if it is in a queue.
    #[inline]
    fn place_of(&self, slot: Slot) -> Option<u32> {
        let place = self.places.get(slot);
        (place != NONE && self.member(place) == slot.as_u32()).then_some(place)
    }

    /// Forgets everything and gives the memory back. The queues must be replaced by new ones.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Checks that nothing is in a queue but what these hold, and that every node is theirs or spare.
    ///
    /// # Panics
    /// If it is not so.
    pub(crate) fn validate<const N: usize>(&self, queues: [&Unrolled; N]) {
        let places = self.places.iter().filter(|&(slot, _)| self.place_of(slot).is_some());
        let len = queues.iter().map(|queue| queue.len()).sum();
        assert_eq!(places.count(), len, "entries in the queues");
        let known = |node: u32| (node != NONE).then_some(node);
        let spare = std::iter::successors(known(self.spare), |&node| known(self.node(node).ahead));
        let mut nodes: Vec<u32> =
            queues.iter().flat_map(|queue| queue.nodes(self)).chain(spare).collect();
        nodes.sort_unstable();
        assert!(nodes.into_iter().eq(0..self.nodes.len() as u32), "each node in one place");
    }

    #[inline]
    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    #[inline]
    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    /// The member at this place, or [`HOLE`].
    #[inline]
    fn member(&self, place: u32) -> u32 {
        self.node(node_of(place)).members[place as usize % ROOM]
    }

    #[inline]
    fn set_member(&mut self, place: u32, member: u32) {
        self.node_mut(node_of(place)).members[place as usize % ROOM] = member;
    }

    /// An empty node for the queue of this number.
    #[cold]
    fn take_spare(&mut self, queue: u8) -> u32 {
        if self.spare == NONE {
            self.nodes.push(Box::new(Node { queue, ..Node::EMPTY }));
            return self.nodes.len() as u32 - 1;
        }
        let spare = self.spare;
        let node = self.node_mut(spare);
        (node.queue, node.holes) = (queue, 0);
        self.spare = node.ahead;
        spare
    }

    #[cold]
    fn give_back(&mut self, node: u32) {
        self.node_mut(node).ahead = self.spare;
        self.spare = node;
    }

    /// Moves the members of `node` to the end of what `to` has been filled with;
    /// if they are the same node, that closes its holes.
    fn pour(&mut self, node: u32, to: u32) {
        let members = self.node(node).members;
        let filled = usize::from(self.node(node).filled);
        if node == to {
            self.node_mut(to).filled = 0;
        }
        for member in members[..filled].iter().copied().filter(|&member| member != HOLE) {
            let place = place_in(to, self.node(to).filled.into());
            self.set_member(place, member);
            *self.places.get_mut(Slot::new(member)) = place;
            self.node_mut(to).filled += 1;
        }
    }
}

/// One queue: entries come in at the front, and mostly leave at the back.
#[derive(Debug)]
pub(crate) struct Unrolled {
    /// The member at the back.
    oldest: u32,
    /// Where it lies.
    back: u32,
    /// The end of the members of its node: the end of the node if it is also the one at the front, where not
    /// all of them may have come as yet.
    back_end: u32,
    /// Where the next one will lie, or the end of a node: then another is needed first. 0 if there was none.
    front: u32,
    len: u32,
    number: u8,
}

impl Unrolled {
    /// An empty queue. `number` tells it from the others that share its [`Nodes`].
    pub(crate) const fn new(number: u8) -> Self {
        Self { oldest: HOLE, back: 0, back_end: 0, front: 0, len: 0, number }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<Slot> {
        (self.len > 0).then(|| Slot::new(self.oldest))
    }

    /// The node at the front, once there is one.
    #[inline]
    fn front_node(&self) -> u32 {
        node_of(self.front - 1)
    }

    /// Puts `slot`, which is in no queue, at the front.
    #[inline]
    pub(crate) fn push_front(&mut self, nodes: &mut Nodes, slot: Slot) {
        debug_assert_eq!(nodes.queue_of(slot), None, "{slot:?} is in a queue already");
        let place = self.lay_down(nodes, slot);
        nodes.places.insert(slot, place);
        self.len += 1;
        if self.len == 1 {
            (self.oldest, self.back) = (slot.as_u32(), place);
            self.back_end = place_in(node_of(place), ROOM as u32);
        }
    }

    /// Takes out `slot`, which must be at the back.
    #[inline]
    pub(crate) fn pop_back(&mut self, nodes: &mut Nodes, slot: Slot) {
        debug_assert_eq!(self.back(), Some(slot), "{slot:?} is not at the back");
        nodes.set_member(self.back, HOLE);
        self.len -= 1;
        if self.len > 0 {
            self.go_on(nodes);
        } else if node_of(self.back) != self.front_node() {
            self.leave_all(nodes);
        }
    }

    /// Moves `slot`, which must be at the back, to the front.
    #[inline]
    pub(crate) fn rotate(&mut self, nodes: &mut Nodes, slot: Slot) {
        debug_assert_eq!(self.back(), Some(slot), "{slot:?} is not at the back");
        if self.len == 1 {
            return;
        }
        self.go_on(nodes);
        let place = self.lay_down(nodes, slot);
        *nodes.places.get_mut(slot) = place;
    }

    /// Moves `slot`, which must be at the back of `other`, to the front of this queue.
    #[inline]
    pub(crate) fn take_back_of(&mut self, other: &mut Self, nodes: &mut Nodes, slot: Slot) {
        other.pop_back(nodes, slot);
        self.push_front(nodes, slot);
    }

    /// Takes `slot`, which must be in this queue, out of it.
    pub(crate) fn unlink(&mut self, nodes: &mut Nodes, slot: Slot) {
        if self.back() == Some(slot) {
            return self.pop_back(nodes, slot);
        }
        debug_assert_eq!(nodes.queue_of(slot), Some(self.number), "the queue of {slot:?}");
        let Some(place) = nodes.place_of(slot) else { return };
        self.len -= 1;
        nodes.set_member(place, HOLE);
        nodes.node_mut(node_of(place)).holes += 1;
        self.merge(nodes, node_of(place));
    }

    /// Gives the place of `from`, which must be in this queue, to `to`, which is in none.
    pub(crate) fn replace(&mut self, nodes: &mut Nodes, from: Slot, to: Slot) {
        debug_assert_eq!(nodes.queue_of(from), Some(self.number), "the queue of {from:?}");
        debug_assert_eq!(nodes.queue_of(to), None, "{to:?} is in a queue already");
        let place = nodes.places.get(from);
        nodes.places.insert(to, place);
        nodes.set_member(place, to.as_u32());
        if self.oldest == from.as_u32() {
            self.oldest = to.as_u32();
        }
    }

    /// The slots from the back to the front.
    pub(crate) fn iter_from_back<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = Slot> + 'a {
        let newest = self.front.wrapping_sub(1);
        let places = std::iter::successors((self.len > 0).then_some(self.back), move |&place| {
            let Node { ahead, filled, .. } = *nodes.node(node_of(place));
            let is_inner = node_of(place) != node_of(newest);
            let is_last = is_inner && place + 1 == place_in(node_of(place), filled.into());
            let next = if is_last { place_in(ahead, 0) } else { place + 1 };
            (place != newest).then_some(next)
        });
        places.map(|place| nodes.member(place)).filter(|&member| member != HOLE).map(Slot::new)
    }

    /// Checks every node, place and count.
    ///
    /// # Panics
    /// If something does not agree.
    pub(crate) fn validate(&self, nodes: &Nodes) {
        let mut len = 0;
        for slot in self.iter_from_back(nodes) {
            assert_eq!(nodes.queue_of(slot), Some(self.number), "{slot:?} is in its queue");
            len += 1;
            assert!(len <= self.len(), "more slots than counted, or a cycle");
        }
        assert_eq!(len, self.len(), "the length of the queue");
        let all: Vec<u32> = self.nodes(nodes).collect();
        for pair in all.windows(2) {
            assert_eq!(nodes.node(pair[1]).behind, pair[0], "the link back");
        }
        for &node in &all {
            let Node { filled, holes, ref members, .. } = *nodes.node(node);
            let is_front = node == self.front_node();
            let end = if is_front { self.front - place_in(node, 0) } else { filled.into() };
            let left = members[..end as usize].iter().filter(|&&member| member == HOLE).count();
            if node != node_of(self.back) {
                assert_eq!(left, usize::from(holes), "the holes of a node");
            } else if self.len > 0 {
                assert_eq!(nodes.member(self.back), self.oldest, "the oldest");
                let end = if is_front { ROOM as u32 } else { filled.into() };
                assert_eq!(self.back_end, place_in(node, end), "the end of the node at the back");
            }
        }
        let inner = all.get(1..all.len().saturating_sub(1)).unwrap_or_default();
        for pair in inner.windows(2) {
            let live = nodes.node(pair[0]).live() + nodes.node(pair[1]).live();
            assert!(live > ROOM, "two nodes of {live} should be one");
        }
    }

    /// Its nodes from the back to the front.
    fn nodes<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = u32> + 'a {
        let ends = (self.front > 0).then(|| [node_of(self.back), self.front_node()]);
        let next = move |&node: &u32| {
            (Some(node) != ends.map(|[_, front]| front)).then(|| nodes.node(node).ahead)
        };
        std::iter::successors(ends.map(|[back, _]| back), next)
    }

    /// Puts `slot` in front of all others; answers where.
    #[inline]
    fn lay_down(&mut self, nodes: &mut Nodes, slot: Slot) -> u32 {
        debug_assert_ne!(slot.as_u32(), HOLE, "the largest index is none of a slot");
        if (self.front as usize).is_multiple_of(ROOM) {
            self.extend(nodes);
        }
        let place = self.front;
        nodes.set_member(place, slot.as_u32());
        self.front += 1;
        place
    }

    /// Adds a node at the front.
    #[cold]
    fn extend(&mut self, nodes: &mut Nodes) {
        let former = (self.front > 0).then(|| self.front_node());
        let node = nodes.take_spare(self.number);
        self.front = place_in(node, 0);
        let Some(former) = former else { return };
        if self.len == 0 {
            nodes.give_back(former);
            return;
        }
        nodes.node_mut(node).behind = former;
        (nodes.node_mut(former).ahead, nodes.node_mut(former).filled) = (node, ROOM as u16);
        // Its own node is not at the front any more, even if nothing is there as yet.
        self.front += 1;
        self.merge(nodes, former);
        self.front -= 1;
    }

    /// Goes on to the member in front of the oldest. There must be one, so in the node at the front it
    /// comes before its end.
    #[inline]
    fn go_on(&mut self, nodes: &mut Nodes) {
        self.back += 1;
        if self.back != self.back_end {
            self.oldest = nodes.member(self.back);
            if self.oldest != HOLE {
                return;
            }
        }
        self.go_far(nodes);
    }

    /// Goes on over holes and to other nodes.
    #[cold]
    fn go_far(&mut self, nodes: &mut Nodes) {
        loop {
            if self.back == self.back_end {
                self.leave_node(nodes);
            }
            self.oldest = nodes.member(self.back);
            if self.oldest != HOLE {
                return;
            }
            self.back += 1;
        }
    }

    /// Gives back the node at the back, of which no member is left.
    fn leave_node(&mut self, nodes: &mut Nodes) {
        let former = node_of(self.back_end - 1);
        let node = nodes.node(former).ahead;
        let is_front = node == self.front_node();
        let end = if is_front { ROOM as u32 } else { nodes.node(node).filled.into() };
        (self.back, self.back_end) = (place_in(node, 0), place_in(node, end));
        nodes.give_back(former);
    }

    /// Gives back all nodes but the one at the front, as nobody is left.
    #[cold]
    fn leave_all(&mut self, nodes: &mut Nodes) {
        while node_of(self.back) != self.front_node() {
            self.leave_node(nodes);
        }
    }

    /// Merges the node with a neighbour if the members of both fit into one.
    fn merge(&mut self, nodes: &mut Nodes, node: u32) {
        let is_inner = |node: u32| node != self.front_node() && node != node_of(self.back);
        if !is_inner(node) || nodes.node(node).holes == 0 {
            return;
        }
        let Node { ahead, behind, .. } = *nodes.node(node);
        let fits = |other: u32| {
            is_inner(other) && nodes.node(node).live() + nodes.node(other).live() <= ROOM
        };
        if fits(ahead) {
            self.pour_into_one(nodes, node, ahead);
        } else if fits(behind) {
            self.pour_into_one(nodes, behind, node);
        } else if nodes.node(node).live() == 0 {
            nodes.node_mut(behind).ahead = ahead;
            nodes.node_mut(ahead).behind = behind;
            nodes.give_back(node);
        }
    }

    /// Moves what is in `ahead` to `behind`, the next node.
    fn pour_into_one(&self, nodes: &mut Nodes, behind: u32, ahead: u32) {
        nodes.pour(behind, behind);
        nodes.pour(ahead, behind);
        let next = nodes.node(ahead).ahead;
        let node = nodes.node_mut(behind);
        (node.ahead, node.holes) = (next, 0);
        nodes.node_mut(next).behind = behind;
        nodes.give_back(ahead);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{Nodes, ROOM, Unrolled};
    use crate::Slot;
    use crate::policy::sim::hash_of;

    /// Two queues that share nodes, and the same as lists of slots, back first.
    struct Pair {
        nodes: Nodes,
        queues: [Unrolled; 2],
        models: [VecDeque<u32>; 2],
    }

    impl Pair {
        fn new() -> Self {
            let queues = [Unrolled::new(0), Unrolled::new(1)];
            Self { nodes: Nodes::default(), queues, models: Default::default() }
        }

        fn push(&mut self, which: usize, index: u32) {
            self.queues[which].push_front(&mut self.nodes, Slot::new(index));
            self.models[which].push_back(index);
        }

        fn unlink(&mut self, which: usize, index: u32) {
            self.queues[which].unlink(&mut self.nodes, Slot::new(index));
            self.models[which].retain(|&other| other != index);
        }

        fn check(&self) {
            for (queue, model) in self.queues.iter().zip(&self.models) {
                queue.validate(&self.nodes);
                let found = queue.iter_from_back(&self.nodes).map(Slot::as_u32);
                assert!(found.eq(model.iter().copied()), "the same slots in the same order");
            }
            self.nodes.validate(self.queues.each_ref());
        }

        /// Gives an entry another slot, which is free.
        fn rename(&mut self, which: usize, index: u32, random: u64) {
            let to = (random >> 20) as u32 % 3000;
            if self.nodes.queue_of(Slot::new(to)).is_none() {
                let queue = &mut self.queues[which];
                queue.replace(&mut self.nodes, Slot::new(index), Slot::new(to));
                let model = self.models[which].iter_mut().find(|member| **member == index);
                *model.expect("the same") = to;
            }
        }

        /// Does something to what is at the back.
        fn turn(&mut self, which: usize, random: u64) {
            let Some(back) = self.queues[which].back() else { return };
            match (which, random % 4) {
                (_, 0) => {
                    self.queues[which].pop_back(&mut self.nodes, back);
                    self.models[which].pop_front();
                }
                (0, 1) => {
                    let [small, main] = &mut self.queues;
                    main.take_back_of(small, &mut self.nodes, back);
                    let moved = self.models[0].pop_front().expect("the same");
                    self.models[1].push_back(moved);
                }
                _ => {
                    self.queues[which].rotate(&mut self.nodes, back);
                    self.models[which].rotate_left(1);
                }
            }
        }

        fn nodes_in_use(&self) -> usize {
            self.queues.iter().map(|queue| queue.nodes(&self.nodes).count()).sum()
        }
    }

    #[test]
    fn two_queues_behave_like_two_lists() {
        let mut pair = Pair::new();
        for step in 0..60_000_u64 {
            let random = hash_of(step);
            // They fill up, stay so for a while, and are drained.
            let (is_filling, is_draining) = (step % 3000 < 1000, step % 3000 > 2000);
            let index = (random >> 40) as u32 % if step / 3000 % 2 == 0 { 1500 } else { 40 };
            let which = (random >> 8) as usize % 2;
            match (pair.nodes.queue_of(Slot::new(index)), random % 8) {
                (None, 1..) if !is_draining => pair.push(which, index),
                (Some(which), 0) => pair.rename(which.into(), index, random >> 3),
                (Some(which), 1) => pair.unlink(which.into(), index),
                (Some(which), _) if is_draining => pair.unlink(which.into(), index),
                _ if is_filling => {}
                _ => pair.turn(which, random >> 3),
            }
            if step % 8 == 0 {
                pair.check();
            }
            if step % 20_000 == 12_345 {
                pair = Pair { nodes: pair.nodes, ..Pair::new() };
                pair.nodes.clear();
            }
        }
    }

    #[test]
    fn who_leaves_from_within_leaves_no_empty_nodes() {
        let mut pair = Pair::new();
        let entries = 64 * ROOM as u32;
        (0..entries).for_each(|index| pair.push(0, index));
        for index in (0..entries).filter(|index| index % 32 != 0) {
            pair.unlink(0, index);
        }
        pair.check();
        let needed = entries as usize / 32 / ROOM;
        assert!(pair.nodes_in_use() <= 2 * needed + 3, "{} nodes", pair.nodes_in_use());
        (0..entries / 32).for_each(|index| pair.unlink(0, index * 32));
        pair.check();
        assert_eq!(pair.nodes_in_use(), 1);
    }

    #[test]
    fn who_comes_and_goes_behind_a_lasting_one_takes_up_no_room() {
        let mut pair = Pair::new();
        pair.push(0, 0);
        for index in 1..100_000 {
            pair.push(0, 1 + index % 7);
            pair.unlink(0, 1 + index % 7);
        }
        pair.check();
        assert!(pair.nodes_in_use() <= 3, "{} nodes", pair.nodes_in_use());
    }

    #[test]
    fn one_can_be_turned_round_for_ever() {
        let mut pair = Pair::new();
        pair.push(1, 5);
        for _ in 0..1000 {
            pair.queues[1].rotate(&mut pair.nodes, Slot::new(5));
        }
        pair.check();
        assert_eq!(pair.nodes_in_use(), 1);
    }
}
