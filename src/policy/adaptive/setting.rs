//! The five settings of the one structure, and how a victim is chosen under each.
//!
//! The rules are written once, over the [`Queues`] of whoever applies them: a stripe of the cache
//! or a shadow.

use std::fmt;

use super::chances::Chances;
use crate::policy::parts::{Mixed, Sketch};

/// Queue moves one choice may take before the tail of the main queue goes whatever its frequency.
/// 16 cost nothing in hit ratio yet, 8 cost a tenth of a point.
const MAX_MOVES: u32 = 64;
/// An entry seen so often is let in at random where it loses a duel: what an attacker who knows
/// the hash function would otherwise keep out for good is kept out for a while.
const LUCKY_ESTIMATE: u8 = 6;
const LUCKY_ONE_IN: u64 = 128;

/// A setting of [`Adaptive`](super::Adaptive), for diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Setting {
    /// No small queue: the main queue alone, which is CLOCK and close to LRU.
    Clock,
    /// S3-FIFO with a small queue of 5 %.
    Small5,
    /// W-TinyLFU with a window of 2 %.
    TinyLfu,
    /// S3-FIFO with a small queue of 1 %. A cache starts with it.
    Small1,
    /// S3-FIFO with a small queue of 20 % that two hits are needed to leave for the main queue.
    Small20,
    /// Greedy-dual by frequency and weight, without a small queue: only in caches whose entries
    /// differ in weight. By frequency alone if the goal is
    /// [the weight of hits](super::Adaptive::by_weight).
    GreedyDual,
}

/// What there should be most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Hits,
    /// The weight of hits.
    Weight,
}

impl Goal {
    /// The setting with which a cache begins whose entries differ in weight. Where hits count, light
    /// entries are worth more than heavy ones, until the contrary is known.
    pub(super) const fn start(self) -> Setting {
        match self {
            Self::Hits => Setting::GreedyDual,
            Self::Weight => Setting::Small5,
        }
    }

    /// What tells a setting apart. Where entries `differ` in weight, and that of the hits counts, ghosts
    /// are remembered for half as long again.
    pub(super) const fn parameters(self, setting: Setting, differ: bool) -> Parameters {
        let parameters = setting.parameters();
        match self {
            Self::Weight if differ => {
                Parameters { ghost: parameters.ghost + parameters.ghost / 2, ..parameters }
            }
            _ => parameters,
        }
    }

    /// For how much an entry of this weight takes up room that others could use as well: where the
    /// weight of hits counts, a heavy one is as good as the light ones in its place.
    #[inline]
    pub(super) const fn cost(self, weight: u64) -> u64 {
        match self {
            Self::Hits => weight,
            Self::Weight => 1,
        }
    }
}

/// What tells the settings apart. Shares are in 1024ths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// The small queue's share of the capacity; at 0 everything goes to the main queue.
    pub(super) small: u64,
    /// Hits that an entry needs in the small queue to be promoted from it.
    pub(super) promote: u8,
    /// Whether an entry without these hits may still win against the main queue's victim.
    pub(super) duel: bool,
    /// Evictions, in shares of the capacity, during which a returning entry goes to the main
    /// queue.
    pub(super) ghost: u64,
    /// The share of the small queue in which a hit is taken to belong to the insertion
    /// (a correlated reference, as in 2Q) and not counted.
    pub(super) correlated: u64,
}

impl Setting {
    /// All that do not go by weight, in the order of their indices.
    pub(super) const PLAIN: [Self; 5] =
        [Self::Clock, Self::Small5, Self::TinyLfu, Self::Small1, Self::Small20];
    /// The setting of a new cache. It matters in short traces.
    pub(super) const START: Self = Self::Small1;

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The setting of this index.
    pub(super) fn of(index: u8) -> Self {
        Self::PLAIN.get(usize::from(index)).copied().unwrap_or(Self::GreedyDual)
    }

    const fn parameters(self) -> Parameters {
        let s3 = Parameters { small: 0, promote: 1, duel: false, ghost: 1024, correlated: 512 };
        match self {
            Self::Clock | Self::GreedyDual => Parameters { ghost: 0, correlated: 0, ..s3 },
            Self::Small5 => Parameters { small: 51, ..s3 },
            Self::TinyLfu => Parameters { small: 20, duel: true, ghost: 0, ..s3 },
            Self::Small1 => Parameters { small: 10, ghost: 922, correlated: 0, ..s3 },
            Self::Small20 => Parameters { small: 205, promote: 2, ..s3 },
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clock => "CLOCK",
            Self::Small5 => "S3-FIFO 5 %",
            Self::TinyLfu => "W-TinyLFU 2 %",
            Self::Small1 => "S3-FIFO 1 %",
            Self::Small20 => "S3-FIFO 20 %",
            Self::GreedyDual => "greedy-dual",
        })
    }
}

impl Parameters {
    /// What the small queue may weigh.
    pub(super) fn small_target(&self, capacity: u64) -> u64 {
        if self.small == 0 {
            0
        } else {
            ((u128::from(capacity) * u128::from(self.small)) >> 10).max(1) as u64
        }
    }

    /// How many insertions into the small queue a correlated reference follows by at most.
    pub(super) fn correlation_window(&self, entries: usize) -> usize {
        (entries as u64 * self.small * self.correlated).div_ceil(1 << 20) as usize
    }

    /// How many of the latest evictions count as ghosts.
    pub(super) fn ghost_window(&self, entries: usize) -> usize {
        ((entries as u64 * self.ghost) >> 10) as usize
    }

    /// For how many ghosts there should be room, if not only this setting may be live.
    pub(super) fn ghosts(&self, entries: usize) -> usize {
        self.ghost_window(entries).max(entries)
    }
}

/// The small and the main queue of a stripe or of a shadow.
pub(super) trait Queues {
    type Entry: Copy;
    /// What was found by looking at an entry, so that it need not be looked for again.
    type Seen: Copy;

    /// Whether the small queue weighs more than its target.
    fn small_is_over(&self) -> bool;
    /// The entry that has been longest in the small queue.
    fn small_tail(&self) -> Option<Self::Entry>;
    /// The entry that has been longest in the main queue since its last second chance.
    fn main_tail(&self) -> Option<Self::Entry>;
    /// Looks at an entry.
    fn look(&self, entry: Self::Entry) -> Self::Seen;
    /// The hits counted for the entry: 0 to 3.
    fn frequency(seen: Self::Seen) -> u8;
    /// Moves the small queue's tail, `entry`, to the head of the main queue, with frequency 0.
    fn promote(&mut self, entry: Self::Entry, seen: Self::Seen);
    /// The second chances of an entry of the main queue.
    fn chances(seen: Self::Seen) -> Chances;
    /// Moves the main queue's tail, `entry`, to its head, with its frequency one lower and one more
    /// second chance. The sketch lets time pass for it, under any setting.
    fn spare(&mut self, entry: Self::Entry, seen: Self::Seen);
    /// The hash of an entry of the small queue.
    fn hash(&self, entry: Self::Entry) -> Mixed;
    /// The hash of the main queue's tail, `entry`, which often stays so for a while.
    fn main_tail_hash(&mut self, entry: Self::Entry) -> Mixed;
    /// The frequency sketch: it has counted insertions, and the second chances of victims.
    fn sketch(&mut self) -> &mut Sketch;
    fn random(&mut self) -> u64;
}

/// The entry that should go. It is still queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim<E> {
    pub(super) entry: E,
    /// The hash by which it should be remembered as a ghost, if it should.
    pub(super) ghost: Option<Mixed>,
}

/// Chooses the next victim; `None` if both queues are empty.
#[inline]
pub(super) fn choose<Q: Queues>(
    queues: &mut Q,
    parameters: &Parameters,
) -> Option<Victim<Q::Entry>> {
    let mut moves = MAX_MOVES;
    let candidate = loop {
        let main_tail = queues.main_tail();
        if main_tail.is_some() && !queues.small_is_over() {
            break None;
        }
        let small_tail = queues.small_tail().filter(|_| moves > 0);
        let Some(entry) = small_tail else {
            if main_tail.is_some() {
                break None;
            }
            return queues.small_tail().map(|entry| Victim { entry, ghost: None });
        };
        let seen = queues.look(entry);
        if !is_proven::<Q>(seen, parameters) {
            if !parameters.duel || main_tail.is_none() {
                return Some(Victim { entry, ghost: Some(queues.hash(entry)) });
            }
            break Some((entry, seen));
        }
        queues.promote(entry, seen);
        moves -= 1;
    };
    let (victim, seen) = main_victim(queues, moves)?;
    if let Some(candidate) = candidate {
        return Some(duel(queues, candidate, (victim, seen)));
    }
    if parameters.duel {
        hand_over(queues, victim, seen);
    }
    Some(Victim { entry: victim, ghost: None })
}

/// Tells the sketch of the second chances of the main queue's tail, which leaves. Where nobody is compared
/// it is not told: that would mean hashing a key.
#[inline]
fn hand_over<Q: Queues>(queues: &mut Q, tail: Q::Entry, seen: Q::Seen) {
    let chances = Q::chances(seen).count(queues.sketch().generation());
    if chances > 0 {
        let hash = queues.main_tail_hash(tail);
        queues.sketch().restore(hash, chances);
    }
}

/// Whether what was seen of the small queue's tail lets it go to the main queue without further ado.
/// Where the setting has no small queue, all that another has left there does.
#[inline]
fn is_proven<Q: Queues>(seen: Q::Seen, parameters: &Parameters) -> bool {
    parameters.small == 0 || Q::frequency(seen) >= parameters.promote
}

/// The one of the small queue's tail, `candidate`, and the main queue's `victim` that was seen
/// less.
#[inline]
fn duel<Q: Queues>(
    queues: &mut Q,
    (candidate, seen): (Q::Entry, Q::Seen),
    (victim, victim_seen): (Q::Entry, Q::Seen),
) -> Victim<Q::Entry> {
    let victim_hash = queues.main_tail_hash(victim);
    let hash = queues.hash(candidate);
    let sketch = queues.sketch();
    let estimate = sketch.estimate(hash);
    let chances = Q::chances(victim_seen).count(sketch.generation());
    let is_admitted = sketch.estimate(victim_hash) + chances < estimate
        || (estimate >= LUCKY_ESTIMATE && queues.random().is_multiple_of(LUCKY_ONE_IN));
    if is_admitted {
        hand_over(queues, victim, victim_seen);
        queues.promote(candidate, seen);
        return Victim { entry: victim, ghost: Some(victim_hash) };
    }
    Victim { entry: candidate, ghost: Some(hash) }
}

/// The first entry from the main queue's tail on that no hit was counted for, and what was seen of it;
/// those before it, as many as there are moves, get a second chance.
#[inline]
fn main_victim<Q: Queues>(queues: &mut Q, mut moves: u32) -> Option<(Q::Entry, Q::Seen)> {
    loop {
        let tail = queues.main_tail()?;
        let seen = queues.look(tail);
        if moves == 0 || Q::frequency(seen) == 0 {
            return Some((tail, seen));
        }
        moves -= 1;
        queues.spare(tail, seen);
    }
}
