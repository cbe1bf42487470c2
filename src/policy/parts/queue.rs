//! Queues of slots: doubly linked lists whose links lie in one array indexed by slot.
//!
//! Invariant: a slot is in at most one of the queues that share a [`Links`], and its link says in
//! which. So an entry costs 8 bytes however many queues its policy has, and any entry can leave or
//! move in constant time. They must not know weights, marks or why an entry moves.
//!
//! What the link of a queue's back says of its neighbour behind means nothing: so an entry can leave
//! at the back without a look at the next one, whose link has long left the processor's cache. Where
//! many are looked at from the back on, `unrolled.rs` is faster.

use super::slots::PerSlot;
use crate::Slot;

/// Ends a queue. The largest index, so slots stay below it.
const END: u32 = (1 << 31) - 1;
/// The bit of each half of a link that is not index: together they are the queue's number.
const NUMBER_BIT: u32 = 1 << 31;

/// The neighbours of a slot in its queue, and which queue that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Towards the front; the top bit is the high bit of the queue's number.
    ahead: u32,
    /// Towards the back, unless this is the back; the top bit is the low bit of the queue's number.
    behind: u32,
}

impl Link {
    /// What a slot in no queue has. No real link equals it: only the end is on both sides at once.
    const NONE: Self = Self { ahead: u32::MAX - 1, behind: u32::MAX - 1 };

    #[inline]
    fn new(number: u8, ahead: u32, behind: u32) -> Self {
        let number = u32::from(number);
        Self { ahead: ahead | (number >> 1) << 31, behind: behind | (number & 1) << 31 }
    }

    #[inline]
    pub(crate) fn queue(self) -> u8 {
        ((self.ahead >> 31) << 1 | self.behind >> 31) as u8
    }

    #[inline]
    fn ahead(self) -> u32 {
        self.ahead & !NUMBER_BIT
    }

    #[inline]
    fn behind(self) -> u32 {
        self.behind & !NUMBER_BIT
    }

    #[inline]
    fn set_ahead(&mut self, index: u32) {
        self.ahead = self.ahead & NUMBER_BIT | index;
    }

    #[inline]
    fn set_behind(&mut self, index: u32) {
        self.behind = self.behind & NUMBER_BIT | index;
    }
}

/// The slot with this index, unless it is the end of the queue.
#[inline]
fn slot_at(index: u32) -> Option<Slot> {
    (index != END).then(|| Slot::new(index))
}

/// The links of all slots, shared by the queues of one policy.
#[derive(Debug)]
pub(crate) struct Links(PerSlot<Link>);

impl Default for Links {
    fn default() -> Self {
        Self(PerSlot::new(Link::NONE))
    }
}

impl Links {
    /// The number of the queue that `slot` is in, if any.
    #[inline]
    pub(crate) fn queue_of(&self, slot: Slot) -> Option<u8> {
        let link = self.0.get(slot);
        (link != Link::NONE).then(|| link.queue())
    }

    /// The neighbour towards the front. `slot` must be in a queue.
    #[inline]
    pub(crate) fn ahead(&self, slot: Slot) -> Option<Slot> {
        slot_at(self.0.get(slot).ahead())
    }

    /// Makes the slot behind `index` be `next`, in whichever queue it is.
    #[inline]
    fn set_behind(&mut self, index: u32, next: u32) {
        self.0.get_mut(Slot::new(index)).set_behind(next);
    }

    /// Makes the slot ahead of `index` be `next`, in whichever queue it is.
    #[inline]
    fn set_ahead(&mut self, index: u32, next: u32) {
        self.0.get_mut(Slot::new(index)).set_ahead(next);
    }

    /// Takes `slot` out of its queue, which must [`close`](Queue::close) the gap.
    #[inline]
    pub(crate) fn cut(&mut self, slot: Slot) -> Link {
        self.0.remove(slot)
    }

    /// The number of slots that are in a queue.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().count()
    }
}

/// One queue: its ends and its length. New entries usually come in at the front and leave at the
/// back.
#[derive(Debug)]
pub(crate) struct Queue {
    number: u8,
    front: u32,
    back: u32,
    len: usize,
}

impl Queue {
    /// An empty queue. `number` (0 to 3) tells it from the others that share its [`Links`].
    pub(crate) const fn new(number: u8) -> Self {
        assert!(number < 4, "a link has two bits for the number");
        Self { number, front: END, back: END, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<Slot> {
        slot_at(self.front)
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<Slot> {
        slot_at(self.back)
    }

    /// Whether `slot` is in this queue.
    #[inline]
    pub(crate) fn contains(&self, links: &Links, slot: Slot) -> bool {
        links.queue_of(slot) == Some(self.number)
    }

    /// Puts `slot`, which is in no queue, at the front.
    #[inline]
    pub(crate) fn push_front(&mut self, links: &mut Links, slot: Slot) {
        links.0.insert(slot, Link::new(self.number, END, self.front));
        self.lead(links, slot);
        self.len += 1;
    }

    /// Puts `slot`, which is in no queue, at the back.
    #[cfg(test)]
    pub(crate) fn push_back(&mut self, links: &mut Links, slot: Slot) {
        let back = std::mem::replace(&mut self.back, slot.as_u32());
        links.0.insert(slot, Link::new(self.number, back, END));
        match back {
            END => self.front = slot.as_u32(),
            back => links.set_behind(back, slot.as_u32()),
        }
        self.len += 1;
    }

    /// Takes `slot`, which must be in this queue, out of it.
    #[inline]
    pub(crate) fn unlink(&mut self, links: &mut Links, slot: Slot) {
        let link = links.cut(slot);
        self.close(links, slot, link);
    }

    /// Makes the neighbours of `slot`, which was cut out of this queue and had this link, point at
    /// each other.
    #[inline]
    pub(crate) fn close(&mut self, links: &mut Links, slot: Slot, link: Link) {
        debug_assert_eq!(link.queue(), self.number, "a link of another queue");
        self.len -= 1;
        if self.back == slot.as_u32() {
            return self.shorten(link);
        }
        match link.ahead() {
            END => self.front = link.behind(),
            ahead => links.set_behind(ahead, link.behind()),
        }
        links.set_ahead(link.behind(), link.ahead());
    }

    /// Makes what lies ahead of the back, which has left and had this link, the back.
    #[inline]
    fn shorten(&mut self, link: Link) {
        self.back = link.ahead();
        if self.back == END {
            self.front = END;
        }
    }

    /// The neighbour of `slot`, which must be in this queue, towards the back.
    #[inline]
    pub(crate) fn behind(&self, links: &Links, slot: Slot) -> Option<Slot> {
        (self.back != slot.as_u32()).then(|| Slot::new(links.0.get(slot).behind()))
    }

    /// Moves `slot`, which must be in this queue, to the front.
    #[inline]
    pub(crate) fn move_to_front(&mut self, links: &mut Links, slot: Slot) {
        if self.front == slot.as_u32() {
            return;
        }
        if self.back == slot.as_u32() {
            return self.rotate(links, slot);
        }
        let to = Link::new(self.number, END, self.front);
        let link = std::mem::replace(links.0.get_mut(slot), to);
        // It is neither the front nor the back.
        links.set_behind(link.ahead(), link.behind());
        links.set_ahead(link.behind(), link.ahead());
        self.lead(links, slot);
    }

    /// Moves `slot`, which must be at the back, to the front.
    #[inline]
    pub(crate) fn rotate(&mut self, links: &mut Links, slot: Slot) {
        debug_assert_eq!(self.back, slot.as_u32(), "{slot:?} is not at the back");
        if self.front == slot.as_u32() {
            return;
        }
        let to = Link::new(self.number, END, self.front);
        let link = std::mem::replace(links.0.get_mut(slot), to);
        self.back = link.ahead();
        links.set_ahead(self.front, slot.as_u32());
        self.front = slot.as_u32();
    }

    /// Gives the place of `from`, which must be in this queue, to `to`, which is in none.
    pub(crate) fn replace(&mut self, links: &mut Links, from: Slot, to: Slot) {
        let link = links.0.remove(from);
        debug_assert_eq!(link.queue(), self.number, "{from:?} is in another queue");
        links.0.insert(to, link);
        match link.ahead() {
            END => self.front = to.as_u32(),
            ahead => links.set_behind(ahead, to.as_u32()),
        }
        if self.back == from.as_u32() {
            self.back = to.as_u32();
        } else {
            links.set_ahead(link.behind(), to.as_u32());
        }
    }

    /// The slots from the front to the back.
    pub(crate) fn iter_from_front<'a>(
        &'a self,
        links: &'a Links,
    ) -> impl Iterator<Item = Slot> + 'a {
        std::iter::successors(self.front(), |&slot| self.behind(links, slot))
    }

    /// The slots from the back to the front.
    pub(crate) fn iter_from_back<'a>(&self, links: &'a Links) -> impl Iterator<Item = Slot> + 'a {
        std::iter::successors(self.back(), |&slot| links.ahead(slot))
    }

    /// Checks the links in both directions and the length.
    ///
    /// # Panics
    /// If they do not agree.
    pub(crate) fn validate(&self, links: &Links) {
        let (mut ahead, mut len) = (None, 0);
        for slot in self.iter_from_front(links) {
            assert_eq!(links.queue_of(slot), Some(self.number), "{slot:?} is in its queue");
            assert_eq!(links.ahead(slot), ahead, "the link back from {slot:?}");
            ahead = Some(slot);
            len += 1;
            assert!(len <= self.len, "more slots than counted, or a cycle");
        }
        assert_eq!(self.back(), ahead, "the back of the queue");
        assert_eq!(len, self.len, "the length of the queue");
    }

    /// Makes `slot`, whose own link is set, the front.
    #[inline]
    fn lead(&mut self, links: &mut Links, slot: Slot) {
        debug_assert!(slot.as_u32() < END - 1, "a link has 31 bits for the index");
        let former = std::mem::replace(&mut self.front, slot.as_u32());
        self.set_ahead(links, former, slot.as_u32());
    }

    /// Makes `next` precede `index`; what precedes the end is the back.
    #[inline]
    fn set_ahead(&mut self, links: &mut Links, index: u32, next: u32) {
        if index == END {
            self.back = next;
        } else {
            links.set_ahead(index, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// The same queue as a list of slots, front first.
    fn check(queue: &Queue, links: &Links, expected: &VecDeque<u32>) {
        queue.validate(links);
        let found: Vec<u32> = queue.iter_from_front(links).map(Slot::as_u32).collect();
        assert_eq!(found, expected.iter().copied().collect::<Vec<_>>());
        let found: Vec<u32> = queue.iter_from_back(links).map(Slot::as_u32).collect();
        assert_eq!(found, expected.iter().rev().copied().collect::<Vec<_>>());
    }

    #[test]
    fn two_queues_behave_like_two_lists() {
        let mut links = Links::default();
        let mut queues = [Queue::new(0), Queue::new(3)];
        let mut models = [VecDeque::new(), VecDeque::new()];
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let index = (random >> 40) as u32 % 700;
            let slot = Slot::new(index);
            let Some(at) = links.queue_of(slot) else {
                let at = (random >> 33) as usize % 2;
                if random >> 34 & 1 == 0 {
                    queues[at].push_front(&mut links, slot);
                    models[at].push_front(index);
                } else {
                    queues[at].push_back(&mut links, slot);
                    models[at].push_back(index);
                }
                continue;
            };
            let (queue, model) = match at {
                0 => (&mut queues[0], &mut models[0]),
                _ => (&mut queues[1], &mut models[1]),
            };
            assert!(queue.contains(&links, slot));
            let place = model.iter().position(|&other| other == index).expect("in the model");
            match random >> 33 & 3 {
                0 => {
                    queue.unlink(&mut links, slot);
                    model.remove(place);
                }
                1 => {
                    queue.move_to_front(&mut links, slot);
                    model.remove(place);
                    model.push_front(index);
                }
                2 if links.queue_of(Slot::new(index + 1000)).is_none() => {
                    queue.replace(&mut links, slot, Slot::new(index + 1000));
                    queue.unlink(&mut links, Slot::new(index + 1000));
                    model.remove(place);
                }
                _ => {
                    let back = queue.back().inspect(|&slot| queue.unlink(&mut links, slot));
                    assert_eq!(back.map(Slot::as_u32), model.pop_back());
                }
            }
            check(queue, &links, model);
            assert_eq!(links.count(), models[0].len() + models[1].len());
        }
    }

    #[test]
    fn a_slot_keeps_its_place_when_it_is_renamed() {
        let mut links = Links::default();
        let mut queue = Queue::new(2);
        for index in 0..4 {
            queue.push_front(&mut links, Slot::new(index));
        }
        for (from, to) in [(0, 1000), (2, 1002), (3, 1003)] {
            queue.replace(&mut links, Slot::new(from), Slot::new(to));
            assert_eq!(links.queue_of(Slot::new(from)), None);
        }
        check(&queue, &links, &VecDeque::from([1003, 1002, 1, 1000]));
        assert_eq!(queue.len(), 4);
        assert!(!queue.is_empty());
    }
}
