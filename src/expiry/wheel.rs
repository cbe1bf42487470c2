//! A hierarchical timer wheel of buckets.
//!
//! Entries are not in the wheel; the bucket that holds them is, at the earliest deadline among
//! them. When it fires, its dozen entries are looked at and it is put back at the next deadline.
//! That costs twelve bytes a bucket instead of as many an entry, and an entry that is removed or
//! lives longer needs no work here: at worst its bucket fires once in vain.
//!
//! After Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987). Deviation: lists
//! move to a finer level one element at a time, so that no step is long.

use crate::time::Tick;

/// The wheel's tick is this power of two of [`Tick`]s: 134 ms.
pub(crate) const TICK_SHIFT: u32 = 17;

const LEVELS: usize = 5;
const BITS: u32 = 6;
const POSITIONS: u64 = 1 << BITS;
const NIL: u32 = u32::MAX;
/// Nodes made at once.
const PIECE: usize = 256;

/// The place of one bucket in the wheel.
#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    prev: u32,
    /// The tick at which it fires; 0 while it is not in the wheel.
    due: u32,
}

/// The wheel of one stripe.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Everything due up to and including this tick has fired.
    now: u64,
    heads: [[u32; POSITIONS as usize]; LEVELS],
    /// Which positions of each level are not empty.
    occupied: [u64; LEVELS],
    nodes: Vec<Box<[Node]>>,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            heads: [[NIL; POSITIONS as usize]; LEVELS],
            occupied: [0; LEVELS],
            nodes: Vec::new(),
        }
    }

    /// The tick in which a moment lies.
    pub(crate) fn tick(moment: Tick) -> u64 {
        moment.0 >> TICK_SHIFT
    }

    /// The tick up to which everything has fired.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    fn node(&self, bucket: u32) -> &Node {
        &self.nodes[bucket as usize / PIECE][bucket as usize % PIECE]
    }

    fn node_mut(&mut self, bucket: u32) -> &mut Node {
        &mut self.nodes[bucket as usize / PIECE][bucket as usize % PIECE]
    }

    fn make(&mut self, bucket: u32) {
        while self.nodes.len() * PIECE <= bucket as usize {
            let empty = Node { next: NIL, prev: NIL, due: 0 };
            self.nodes.push(vec![empty; PIECE].into_boxed_slice());
        }
    }

    /// Sees to it that `bucket` fires once `deadline` has passed, or earlier.
    pub(crate) fn schedule(&mut self, bucket: u32, deadline: Tick) {
        if deadline == Tick::NEVER {
            return;
        }
        self.make(bucket);
        let due = (Self::tick(deadline) + 1).max(self.now + 1);
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        let was = self.node(bucket).due;
        if was != 0 && was <= due {
            return;
        }
        if was != 0 {
            self.unlink(bucket);
        }
        self.link(bucket, due);
    }

    /// A new bucket, which has entries of another's, fires when that does: also in the tick that a
    /// sweep has come to, if the other is still to be dealt with there.
    pub(crate) fn share(&mut self, from: u32, to: u32) {
        let Some(piece) = self.nodes.get(from as usize / PIECE) else { return };
        let due = piece[from as usize % PIECE].due;
        if due != 0 {
            self.make(to);
            debug_assert_eq!(self.node(to).due, 0, "a bucket that has been in use");
            self.link(to, due);
        }
    }

    /// The level and position for something due then.
    fn position(&self, due: u32) -> (usize, usize) {
        let due = u64::from(due).max(self.now);
        for level in 0..LEVELS {
            let shift = BITS * level as u32;
            if (due >> shift) - (self.now >> shift) < POSITIONS {
                return (level, ((due >> shift) % POSITIONS) as usize);
            }
        }
        // Further than the wheel reaches: as far as it does; it will be placed anew from there.
        let shift = BITS * (LEVELS as u32 - 1);
        (LEVELS - 1, (((self.now >> shift) + POSITIONS - 1) % POSITIONS) as usize)
    }

    fn link(&mut self, bucket: u32, due: u32) {
        let (level, position) = self.position(due);
        let head = self.heads[level][position];
        *self.node_mut(bucket) = Node { next: head, prev: NIL, due };
        if head != NIL {
            self.node_mut(head).prev = bucket;
        }
        self.heads[level][position] = bucket;
        self.occupied[level] |= 1 << position;
    }

    fn unlink(&mut self, bucket: u32) {
        let Node { next, prev, .. } = *self.node(bucket);
        if next != NIL {
            self.node_mut(next).prev = prev;
        }
        if prev != NIL {
            self.node_mut(prev).next = next;
        } else {
            self.unlink_head(bucket, next);
        }
        self.node_mut(bucket).due = 0;
    }

    /// Takes the first of a list out: which list is found by looking, as levels change with time.
    fn unlink_head(&mut self, bucket: u32, next: u32) {
        let due = u64::from(self.node(bucket).due);
        for level in 0..LEVELS {
            let shift = BITS * level as u32;
            let position = ((due >> shift) % POSITIONS) as usize;
            if self.heads[level][position] == bucket {
                return self.set_head(level, position, next);
            }
        }
        let far = &self.heads[LEVELS - 1];
        let position = far.iter().position(|&head| head == bucket).expect("in the wheel");
        self.set_head(LEVELS - 1, position, next);
    }

    fn set_head(&mut self, level: usize, position: usize, head: u32) {
        self.heads[level][position] = head;
        if head == NIL {
            self.occupied[level] &= !(1 << position);
        }
    }

    /// The next list to look at: its level, position and the tick at which that is due.
    fn next_list(&self) -> Option<(usize, usize, u64)> {
        let lists = (0..LEVELS).filter(|&level| self.occupied[level] != 0).map(|level| {
            let shift = BITS * level as u32;
            let base = self.now >> shift;
            let ahead = self.occupied[level].rotate_right((base % POSITIONS) as u32);
            let distance = u64::from(ahead.trailing_zeros());
            let tick = ((base + distance) << shift).max(self.now);
            (level, ((base + distance) % POSITIONS) as usize, tick)
        });
        // Coarser levels first: what they hold may be due earlier within the same tick.
        lists.min_by_key(|&(level, _, tick)| (tick, LEVELS - level))
    }

    /// When a bucket fires, if it is in the wheel.
    pub(crate) fn due(&self, bucket: u32) -> Option<u64> {
        let piece = self.nodes.get(bucket as usize / PIECE)?;
        let due = piece[bucket as usize % PIECE].due;
        (due != 0).then_some(u64::from(due))
    }

    /// Checks that every bucket with a due tick is in exactly one list, at the right distance.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn validate(&self) {
        let mut linked = 0;
        for (level, heads) in self.heads.iter().enumerate() {
            for (position, &head) in heads.iter().enumerate() {
                let is_occupied = self.occupied[level] & (1 << position) != 0;
                assert_eq!(head != NIL, is_occupied, "occupied positions");
                let (mut at, mut before) = (head, NIL);
                while at != NIL {
                    let node = self.node(at);
                    assert_eq!(node.prev, before, "links");
                    // What is due after the last tick that there is a number for fires at the next.
                    assert!(u64::from(node.due) >= self.now.min(u32::MAX.into()), "missed");
                    linked += 1;
                    (before, at) = (at, node.next);
                }
            }
        }
        let due = self.nodes.iter().flatten().filter(|node| node.due != 0).count();
        assert_eq!(linked, due, "buckets lost");
    }

    /// The earliest tick at which there may be something to do.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.next_list().map(|(.., tick)| tick)
    }

    /// Every bucket that is due by the tick `by`. Looks at all. They stay in the wheel, and fire in
    /// vain if they are dealt with before.
    pub(crate) fn due_by(&self, by: u64) -> Vec<u32> {
        let due = |node: &Node| node.due != 0 && u64::from(node.due) <= by;
        let nodes = self.nodes.iter().flatten().zip(0..);
        nodes.filter(|(node, _)| due(node)).map(|(_, bucket)| bucket).collect()
    }

    /// Advances towards the tick `to`, at most one step: answers a bucket that is due, or that a
    /// step was made, or that `to` is reached.
    pub(crate) fn advance(&mut self, to: u64) -> Advance {
        let Some((level, position, tick)) = self.next_list().filter(|&(.., tick)| tick <= to)
        else {
            self.now = self.now.max(to);
            return Advance::Done;
        };
        self.now = self.now.max(tick);
        let bucket = self.heads[level][position];
        let due = self.node(bucket).due;
        let next = self.node(bucket).next;
        if next != NIL {
            self.node_mut(next).prev = NIL;
        }
        self.set_head(level, position, next);
        if u64::from(due) <= self.now {
            self.node_mut(bucket).due = 0;
            return Advance::Due(bucket);
        }
        self.link(bucket, due);
        Advance::Step
    }
}

/// What one step of [`Wheel::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// This bucket is due and out of the wheel.
    Due(u32),
    /// One bucket moved to a finer level.
    Step,
    /// Nothing more is due.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(tick: u64) -> Tick {
        Tick(tick << TICK_SHIFT)
    }

    fn fire(wheel: &mut Wheel, to: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        loop {
            match wheel.advance(to) {
                Advance::Due(bucket) => fired.push(bucket),
                Advance::Step => {}
                Advance::Done => return fired,
            }
        }
    }

    #[test]
    fn fires_each_once_and_never_early_or_late() {
        let mut wheel = Wheel::new();
        let dues: Vec<u64> =
            (0..500).map(|i: u64| ((i * i * 7919) % 3_000_000) >> (i % 21)).collect();
        for (bucket, &due) in dues.iter().enumerate() {
            wheel.schedule(bucket as u32, moment(due));
        }
        let mut fired = vec![None; dues.len()];
        let mut now = 0;
        let mut step = 1;
        while now < 3_100_000 {
            now += step;
            step = step % 977 + 1 + now / 50;
            for bucket in fire(&mut wheel, now) {
                assert_eq!(fired[bucket as usize].replace(now), None, "fired twice");
                assert!(now > dues[bucket as usize], "fired early");
            }
            assert!(wheel.next_due().is_none_or(|due| due > now), "due at {now}");
        }
        assert!(fired.iter().all(Option::is_some));
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn an_earlier_deadline_moves_a_bucket_forward_and_a_later_one_not_back() {
        let mut wheel = Wheel::new();
        wheel.schedule(3, moment(1000));
        wheel.schedule(3, moment(5));
        wheel.schedule(3, moment(2000));
        wheel.schedule(4, moment(5));
        wheel.share(3, 9);
        assert!(fire(&mut wheel, 5).is_empty());
        let mut fired = fire(&mut wheel, 6);
        fired.sort_unstable();
        assert_eq!(fired, [3, 4, 9]);
        assert!(fire(&mut wheel, 10_000).is_empty());
    }

    #[test]
    fn reaches_beyond_its_last_level() {
        let mut wheel = Wheel::new();
        let far = u64::from(u32::MAX) - 1;
        wheel.schedule(0, moment(far));
        assert!(fire(&mut wheel, far).is_empty());
        assert_eq!(fire(&mut wheel, far + 1), [0]);
    }

    #[test]
    fn what_is_scheduled_after_the_last_tick_fires_at_the_next() {
        let mut wheel = Wheel::new();
        let now = u64::from(u32::MAX) + 77;
        assert!(fire(&mut wheel, now).is_empty());
        wheel.schedule(0, moment(5));
        wheel.share(0, 1);
        wheel.validate();
        let mut fired = fire(&mut wheel, now + 1);
        fired.sort_unstable();
        assert_eq!(fired, [0, 1]);
        wheel.validate();
    }
}
