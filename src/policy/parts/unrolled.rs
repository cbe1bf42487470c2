//! Queues of slots whose members lie side by side, many in a node: unrolled linked lists.
//!
//! The next victims are found without following a link from entry to entry, each of which would be a
//! miss of the processor's cache. (The unrolling is that of Shao, Reppy and Appel, "Unrolling Lists",
//! LISP and Functional Programming 1994.) A slot's *place*, its node and the index there, lies in an array
//! indexed by slot, so any entry can leave in constant time on average: it leaves a hole, and two neighbours
//! that fit into one node are merged. So an entry costs 8 bytes, and up to 4 more if most have left from
//! within.
//!
//! Invariant: a slot is in at most one of the queues that share [`Nodes`]: it is in one if it is the member
//! at its place, so who leaves need not have its place cleared. Of two neighbours that are neither the first
//! nor the last node of their queue, the members do not fit into one. They must not know weights, marks or
//! why an entry moves.
//!
//! `queue.rs` is for queues whose entries leave or move from within all the time.

use super::slots::PerSlot;
use crate::Slot;

/// How many members a node has room for.
const ROOM: usize = 128;
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
    /// How many members and holes there are; not kept in the first node of a queue.
    filled: u16,
    /// How many holes were left.
    holes: u16,
    /// The number of the queue.
    queue: u8,
    members: [u32; ROOM],
}

impl Node {
    const EMPTY: Self =
        Self { ahead: NONE, behind: NONE, filled: 0, holes: 0, queue: 0, members: [HOLE; ROOM] };

    /// How many members there are; neither for the first nor for the last node of a queue.
    fn live(&self) -> usize {
        usize::from(self.filled - self.holes)
    }
}

/// Where a member lies: a node and the index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    node: u32,
    at: u32,
}

impl Place {
    #[inline]
    fn of(bits: u32) -> Self {
        Self { node: bits / ROOM as u32, at: bits % ROOM as u32 }
    }

    #[inline]
    fn bits(self) -> u32 {
        self.node * ROOM as u32 + self.at
    }
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
        self.place_of(slot).map(|place| self.node(place.node).queue)
    }

    /// Where `slot` is, if it is in a queue.
    #[inline]
    fn place_of(&self, slot: Slot) -> Option<Place> {
        let bits = self.places.get(slot);
        (bits != NONE).then(|| Place::of(bits)).filter(|&place| self.member(place) == slot.as_u32())
    }

    /// Forgets everything and gives the memory back. The queues must be replaced by new ones.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The number of slots that are in a queue.
    pub(crate) fn count(&self) -> usize {
        self.places.iter().filter(|&(slot, _)| self.place_of(slot).is_some()).count()
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
    fn member(&self, Place { node, at }: Place) -> u32 {
        self.node(node).members[at as usize % ROOM]
    }

    #[inline]
    fn set_member(&mut self, Place { node, at }: Place, member: u32) {
        self.node_mut(node).members[at as usize % ROOM] = member;
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
        // What it had as members is overwritten before anybody looks.
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
            let place = Place { node: to, at: u32::from(self.node(to).filled) };
            self.set_member(place, member);
            *self.places.get_mut(Slot::new(member)) = place.bits();
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
    back: Place,
    /// Where the next one will lie. At the end of its node, another is needed first.
    front: Place,
    len: u32,
    /// Where the members of the node at the back end. They may not reach that far as yet if it is also the
    /// one at the front.
    back_end: u16,
    number: u8,
}

impl Unrolled {
    /// An empty queue. `number` tells it from the others that share its [`Nodes`].
    pub(crate) const fn new(number: u8) -> Self {
        // It has no node, and so none with room.
        let nowhere = Place { node: NONE, at: ROOM as u32 };
        Self { oldest: HOLE, back: nowhere, front: nowhere, len: 0, back_end: 0, number }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<Slot> {
        (self.len > 0).then(|| Slot::new(self.oldest))
    }

    /// Puts `slot`, which is in no queue, at the front.
    #[inline]
    pub(crate) fn push_front(&mut self, nodes: &mut Nodes, slot: Slot) {
        let place = self.lay_down(nodes, slot);
        nodes.places.insert(slot, place.bits());
        self.len += 1;
        if self.len == 1 {
            self.begin_at(place, slot);
        }
    }

    /// Takes out `slot`, which must be at the back.
    #[inline]
    pub(crate) fn pop_back(&mut self, nodes: &mut Nodes, slot: Slot) {
        debug_assert_eq!(self.back(), Some(slot), "{slot:?} is not at the back");
        nodes.set_member(self.back, HOLE);
        self.len -= 1;
        if self.len == 0 {
            return self.start_over(nodes);
        }
        self.go_on(nodes);
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
        *nodes.places.get_mut(slot) = place.bits();
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
        let place = Place::of(nodes.places.get(slot));
        debug_assert_eq!(nodes.queue_of(slot), Some(self.number), "{slot:?} is in another queue");
        self.len -= 1;
        nodes.set_member(place, HOLE);
        nodes.node_mut(place.node).holes += 1;
        self.merge(nodes, place.node);
    }

    /// Gives the place of `from`, which must be in this queue, to `to`, which is in none.
    pub(crate) fn replace(&mut self, nodes: &mut Nodes, from: Slot, to: Slot) {
        let bits = nodes.places.get(from);
        nodes.places.insert(to, bits);
        nodes.set_member(Place::of(bits), to.as_u32());
        if self.oldest == from.as_u32() {
            self.oldest = to.as_u32();
        }
    }

    /// The slots from the back to the front.
    pub(crate) fn iter_from_back<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = Slot> + 'a {
        let front = self.front;
        let begin = (self.len > 0).then_some(self.back);
        let places = std::iter::successors(begin, move |&Place { node, at }| {
            let Node { ahead, filled, .. } = *nodes.node(node);
            let is_end = node != front.node && at + 1 == u32::from(filled);
            let next =
                if is_end { Place { node: ahead, at: 0 } } else { Place { node, at: at + 1 } };
            (next != front).then_some(next)
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
            assert_eq!(nodes.member(Place::of(nodes.places.get(slot))), slot.as_u32(), "its place");
            len += 1;
            assert!(len <= self.len(), "more slots than counted, or a cycle");
        }
        assert_eq!(len, self.len(), "the length of the queue");
        assert_eq!(self.back(), self.iter_from_back(nodes).next(), "the oldest");
        let next = |&node: &u32| {
            let ahead = nodes.node(node).ahead;
            (node != self.front.node).then_some(ahead)
        };
        let all: Vec<u32> =
            std::iter::successors((self.back.node != NONE).then_some(self.back.node), next)
                .collect();
        for pair in all.windows(2) {
            assert_eq!(nodes.node(pair[1]).behind, pair[0], "the link back");
        }
        for &node in &all {
            let Node { filled, holes, ref members, .. } = *nodes.node(node);
            let end = if node == self.front.node { self.front.at as usize } else { filled.into() };
            let left = members[..end].iter().filter(|&&member| member == HOLE).count();
            assert!(node == self.back.node || left == usize::from(holes), "the holes of a node");
        }
        let inner = &all[all.len().min(1)..all.len().saturating_sub(1).max(all.len().min(1))];
        for pair in inner.windows(2) {
            let live = nodes.node(pair[0]).live() + nodes.node(pair[1]).live();
            assert!(live > ROOM, "two nodes of {live} should be one");
        }
    }

    /// Puts `slot` in front of all others; answers where.
    #[inline]
    fn lay_down(&mut self, nodes: &mut Nodes, slot: Slot) -> Place {
        debug_assert_ne!(slot.as_u32(), HOLE, "the largest index is none of a slot");
        if self.front.at as usize == ROOM {
            self.extend(nodes);
        }
        let place = self.front;
        nodes.set_member(place, slot.as_u32());
        self.front.at += 1;
        place
    }

    /// Makes the first member, `slot`, the oldest.
    fn begin_at(&mut self, place: Place, slot: Slot) {
        (self.back, self.back_end, self.oldest) = (place, ROOM as u16, slot.as_u32());
    }

    /// Goes on to the member in front of the oldest. There must be one, so in the node at the front it
    /// comes before its end.
    #[inline]
    fn go_on(&mut self, nodes: &mut Nodes) {
        loop {
            self.back.at += 1;
            if self.back.at == u32::from(self.back_end) {
                self.leave_node(nodes);
            }
            self.oldest = nodes.member(self.back);
            if self.oldest != HOLE {
                return;
            }
        }
    }

    /// Gives back the node at the back, of which no member is left.
    #[cold]
    fn leave_node(&mut self, nodes: &mut Nodes) {
        let former = self.back.node;
        self.back = Place { node: nodes.node(former).ahead, at: 0 };
        let is_first = self.back.node == self.front.node;
        self.back_end = if is_first { ROOM as u16 } else { nodes.node(self.back.node).filled };
        nodes.give_back(former);
    }

    /// Begins again in the node at the front, as nobody is left.
    fn start_over(&mut self, nodes: &mut Nodes) {
        while self.back.node != self.front.node {
            self.leave_node(nodes);
        }
        self.front.at = 0;
        nodes.node_mut(self.front.node).holes = 0;
    }

    /// Adds a node at the front.
    #[cold]
    fn extend(&mut self, nodes: &mut Nodes) {
        let former = self.front.node;
        self.front = Place { node: nodes.take_spare(self.number), at: 0 };
        nodes.node_mut(self.front.node).behind = former;
        if former == NONE {
            return;
        }
        let node = nodes.node_mut(former);
        (node.ahead, node.filled) = (self.front.node, ROOM as u16);
        self.merge(nodes, former);
    }

    /// Merges the node with a neighbour if the members of both fit into one.
    fn merge(&mut self, nodes: &mut Nodes, node: u32) {
        let is_inner = |node: u32| node != self.front.node && node != self.back.node;
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
            let len = self.models.iter().map(VecDeque::len).sum();
            assert_eq!(self.nodes.count(), len);
        }

        fn nodes_in_use(&self) -> usize {
            let known = |node: u32| (node != super::NONE).then_some(node);
            let next = |&node: &u32| known(self.nodes.node(node).ahead);
            let spare = std::iter::successors(known(self.nodes.spare), next);
            self.nodes.nodes.len() - spare.count()
        }
    }

    #[test]
    fn two_queues_behave_like_two_lists() {
        for seed in 0..4 {
            let mut pair = Pair::new();
            for step in 0..30_000_u64 {
                let random = hash_of(step | seed << 32);
                // Rarely pushed at first, then often: both sparse and full nodes come up.
                let index = (random >> 40) as u32 % 1500;
                let (slot, which) = (Slot::new(index), (random >> 8) as usize % 2);
                match (pair.nodes.queue_of(slot), random % 8) {
                    (None, _) => pair.push(which, index),
                    (Some(which), 0) if pair.nodes.queue_of(Slot::new(index + 1500)).is_none() => {
                        let to = index + 1500;
                        let queue = &mut pair.queues[usize::from(which)];
                        queue.replace(&mut pair.nodes, slot, Slot::new(to));
                        queue.replace(&mut pair.nodes, Slot::new(to), slot);
                    }
                    (Some(_), 1) => {
                        let Some(back) = pair.queues[which].back() else { continue };
                        pair.queues[which].rotate(&mut pair.nodes, back);
                        pair.models[which].rotate_left(1);
                    }
                    (Some(_), 2) => {
                        let [small, main] = &mut pair.queues;
                        let Some(back) = small.back() else { continue };
                        main.take_back_of(small, &mut pair.nodes, back);
                        let moved = pair.models[0].pop_front().expect("the same");
                        pair.models[1].push_back(moved);
                    }
                    (Some(_), 3) if seed % 2 == 0 => {
                        let Some(back) = pair.queues[which].back() else { continue };
                        pair.queues[which].pop_back(&mut pair.nodes, back);
                        pair.models[which].pop_front();
                    }
                    (Some(which), _) => pair.unlink(which.into(), index),
                }
                if step % 16 == 0 {
                    pair.check();
                }
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
