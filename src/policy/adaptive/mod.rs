//! The default policy: five settings of one structure, a sixth for weights, and miniatures that
//! choose among them.
//!
//! **The structure** is S3-FIFO's (Yang, Zhang, Qiu, Yue and Rashmi, SOSP 2023): a small FIFO queue
//! that newcomers pass through, a main queue whose tail gets a second chance if it was hit (CLOCK),
//! and a ghost list that lets an entry that returns soon go straight to the main queue. To it comes
//! the frequency sketch of W-TinyLFU (Einziger, Friedman and Manes, ACM Transactions on Storage
//! 2017), by which a newcomer may have to win against the main queue's victim. Hits soon after the
//! insertion are not counted (correlated references, as in 2Q: Johnson and Shasha, VLDB 1994).
//!
//! **The settings** ([`Setting`]) make of it CLOCK, W-TinyLFU or S3-FIFO with three sizes of the
//! small queue. No single one is good for every workload; which one is, the shadows tell.
//!
//! **The shadows** are caches without values, one under each setting, fed with the accesses to
//! a sample of the keys, as many times smaller than the cache as the sample is smaller than the
//! whole (miniature simulation: Waldspurger, Saemundsson, Ahmad and Park, USENIX ATC 2017; the
//! sampling by hash is that of SHARDS, FAST 2015). The one with most hits of late names the live
//! setting. A sixth follows what is best within a few periods; where it has most hits, so does the
//! cache (`judge.rs`). Nothing moves at a switch: the queues drift to what the new setting wants.
//! In a small cache, where most accesses are sampled, the shadows rest most of the time once they
//! have agreed for long (`watch.rs`): with 16 entries they would take five times what the cache does.
//! The choice loses nothing on the traces by that, and up to four points where phases of 100
//! capacities alternate (`tests/robustness.rs`).
//!
//! **Weights.** In a cache whose entries differ in weight there is a setting more, greedy-dual by
//! frequency and weight ([`Gdsf`](super::Gdsf)), with a shadow of its own (`greedy.rs`). A stripe
//! ranks its entries by value while it is live; afterwards those count as the main queue's tail, the
//! least valuable first, until they have left or were hit and have moved to its head. By
//! [weight](Adaptive::by_weight) the shadows' scores are the weight they hit, in greedy-dual a
//! heavy entry is worth as much as the light ones in its place, and ghosts are remembered half as
//! long again: that gains 1.5, 1.3 and 2.7 points of the bytes on block I/O at 5, 10 and 25 % of them, and
//! 0.1 to 0.2 on three large traces with made-up weights; on small ones, and at 25 %, it costs up to 1.7.
//! Hits it costs 0.2, so it is for the weight alone. Where all weigh 1 nothing of this is there.
//!
//! *Giants*, heavier than a quarter of what a shadow may weigh, the shadows hardly know, whatever harm they
//! do. Where they are a sixteenth of the weight that comes to a stripe, greedy-dual is live there
//! (`giants.rs`): with one key in a thousand that weighs a 50th to half of the capacity, the others had 10
//! to 97 of a hundred hits, by chance, and now have 97. By weight it is not so.
//!
//! **Gaps.** What finds the gap that a heavy victim or a dead entry left lets nobody into the main queue
//! uncompared (`parts/filling.rs`). Until that was so, popular keys (Zipf 0.99) whose weights had nothing to do with
//! use had 1.8 points fewer hits at a hundredth of the bytes than if all had weighed the same.
//!
//! A hit costs a relaxed update of two bits in the entry's mark; one in 1 to 256 (by the capacity)
//! also goes to a lossy ring that all stripes share, from which the shadows are fed, a batch at a
//! time, by whoever notices that one is due.
//!
//! What the constants are worth is said in hit-ratio points, the mean distance to the best of some
//! 25 policies on twelve traces at four capacities, which was 0.67 over twenty seeds when these
//! were tried.
//! Forgetting the shadows' scores faster (0.8 a period instead of 0.95) costs 0.1, no hysteresis
//! 0.07, leaving out CLOCK 0.3, TinyLFU 0.7, S3-FIFO of 1 % 0.25, correlated references 0.1; losing
//! a tenth of the sampled events costs 0.1 and half of them 0.7. Shadows of 64, 128 or 256 entries
//! make no difference beyond the seeds' (a standard deviation of 0.06).
//!
//! What the choice among the settings is worth, as mean and worst regret on the same traces, twenty
//! seeds, default stripes (a standard error of 0.01 in the mean): 0.72 and 5.8 with a ring in each
//! stripe and scores that lose a twentieth a period; then 0.61 and 4.1, on twenty other seeds as
//! well; 0.56 and 4.0 with two counters an item in the sketch, 0.54 and 3.8 with second chances counted
//! beside the entry. A ring for all gains 0.5 to 1 point
//! on traces with many stripes. A handicap for CLOCK that fades gains 0.07 and takes most from the
//! worst case, with anything from 0.1 to 0.3 of a period. The follower gains nothing on these
//! traces, but 1 point on average, 8 at most, where artificial phases of 1 to 100 capacities
//! alternate; phases of 5 it may make worse, by up to 2.4.
//!
//! Tried and left out, against the state before each:
//!
//! * hysteresis of 5 instead of 2 %: 0.02 worse; it had looked better over five seeds;
//! * no setting's score more than two periods behind the best: the same, and less for phases than
//!   the follower;
//! * scores that count a period's loss against the best to a power of 1.5 or 2, so that settings
//!   that are never bad win: 0.05 and 0.12 worse;
//! * a setting like LIRS (Jiang and Zhang, SIGMETRICS 2002), by a bound: were libCacheSim's live wherever
//!   it has more hits, at no cost, it would gain 0.11, nearly all of it at three points of two traces;
//! * a half or a quarter of a period between looks at the scores: 0.01 and 0.04 worse;
//! * a handicap that does not fade: as good on average, but in tiny caches with few hits CLOCK then
//!   never wins; one in proportion to the hits, of 1 or 2 %: 0.05 and 0.03 worse;
//! * hysteresis that grows with what following has lost against the best setting: 0.05 to 1 worse;
//! * four counters an item in the sketch: 0.06 worse, and slower; one: 0.07 worse;
//! * a sketch that is told only while W-TinyLFU is live, or ghosts only where they count: 0.09 and
//!   0.02 worse, 1.8 and 0.9 in the worst case;
//! * no duel for who was seen once: a third of the work of a duel less, but the main queue freezes,
//!   which costs 6 points in the worst case (and gains half a point in many others);
//! * duels by frequency per weight in weighted caches: on block I/O and on made-up popular keys of
//!   widely varying sizes 0 to 1.2 points more hits and 0 to 1.3 points less of the bytes, where
//!   greedy-dual has up to 11 points more hits;
//! * for weights, on made-up keys of 19 kinds (popular, scanned, drifting, recent; log-normal, Pareto
//!   or two sizes) and in points of hits: comparing the tails by age times weight per use instead of
//!   greedy-dual, 0.5 to 1.3 worse; ghosts that bring uses back, 0.7 better at 1 % of the bytes and
//!   0.4 worse at 10 and 25 %, on block I/O 4 worse at 25 %; a small queue before greedy-dual, 0.1 to
//!   3.2 worse; one value a power of two, 0.02 worse; no power of the number of uses, 0.1 worse; no
//!   handicap for the others, 0.05 worse, on block I/O 2.5 worse at 25 % and 0.6 better at 10 %;
//!   refusing at once a newcomer too heavy for the small queue, no difference;
//! * for weights, ghosts that are remembered as long as the capacity's weight takes to be evicted, as S3-FIFO's
//!   authors do, instead of as many as there are entries: no difference on average over eleven
//!   traces with made-up weights; on block I/O fewer of the bytes at 5 and 10 %, more at 25 %;
//! * for weights, a duel also while the small queue is within its part: up to 0.5 more hits on
//!   popular keys, 0.5 to 3 fewer on recorded accesses;
//! * for weights, a handicap of 0 to 0.2 instead of 0.3, once gaps were not filled uncompared: 0.1 to 0.2 better
//!   over eleven traces with made-up weights, 0.2 to 1.3 worse on block I/O at 25 %.
//!
//! Where it departs from its sources:
//!
//! * the sketch has two counters for an item (`parts/sketch.rs`); it counts insertions and second
//!   chances in the main queue (0.08), never hits. Its second chances an entry counts itself until it
//!   leaves (`chances.rs`): 0.02 better than if the sketch did, with fewer counters shared, though where a
//!   loop follows upon popular keys it is let in later, which costs a point there;
//! * S3-FIFO's ghosts are fingerprints with coarse stamps, and its small queue counts hits from its
//!   second half on, but for the 1 % setting;
//! * the clock by which correlated references are told ticks with insertions into the small queue,
//!   not with all, and coarsely: five bits of an entry's mark hold its stamp;
//! * events reach the shadows in batches, and what does not fit the ring is lost; only newcomers
//!   tell what they weigh, so a weight that changes later is not noticed;
//! * what an entry weighs decides where queues end, but not which entry wins a duel: only
//!   greedy-dual goes by it.

mod chances;
mod giants;
mod greedy;
mod judge;
mod memory;
mod outlook;
mod recorder;
mod records;
mod ring;
mod setting;
mod shadow;
mod shared;
#[cfg(test)]
mod tests;
mod view;
mod watch;
mod weigh;

pub use outlook::{Advice, Outlook};
pub use recorder::AdaptiveRecorder;
pub use setting::Setting;

use std::hash::BuildHasher;

use giants::Giants;
use memory::{Clock, Memory};
use recorder::{MOVED_TO_MAIN, Pulse, STAMP_BITS, frequency, small_mark};
use ring::Event;
use setting::{Goal, Parameters, choose};
use shared::Shared;
use view::View;

use super::parts::unrolled::{Nodes, Unrolled};
use super::parts::{Filling, GreedyDual, Mixed, spread};
use super::{Newcomer, Policy, Residents};
use crate::sync::Arc;
use crate::{RemovalCause, Slot};

const SMALL: u8 = 0;
const MAIN: u8 = 1;

/// The default eviction policy: follows whichever of five settings suits the workload.
///
/// Hit ratio: on traces of many kinds it is on average about 0.6 points below the best policy for
/// each, where the best fixed policy is 2 below. It resists scans and loops like TinyLFU, and
/// follows recency like LRU where that is what counts; it needs about ten capacities' worth of
/// accesses to find out that the workload has changed (if the hit ratio hardly tells and the cache
/// has up to 65 000 entries, up to as many misses more).
///
/// In a cache with a weigher, whose entries differ in weight, it begins as [`Gdsf`](super::Gdsf) does,
/// and takes to another setting where that has more hits. If the weight of the hits is to be large,
/// rather than their number, see [`by_weight`](Self::by_weight).
///
/// Memory: 8 bytes per entry for the queues (up to 12 where most are removed or expire) and, once the
/// cache is full, about 4.5 for the ghost list, 4 to 8 for the sketch and about 2 for the shadows, but
/// never less than some 30 KiB in all for a cache of more than 250 entries. Where weights differ, 24
/// bytes per entry more for the queues.
#[derive(Debug)]
// In this order, so that what every newcomer changes lies together, apart from what it only reads. A
// stripe's shard puts it at the beginning of a line.
#[repr(C)]
pub struct Adaptive {
    small: Unrolled,
    main: Unrolled,
    clock: Clock<STAMP_BITS>,
    memory: Memory,
    nodes: Nodes,
    /// What the small queue may weigh.
    target: u64,
    shared: Arc<Shared>,
    /// An entry and its hash: the last tail of the main queue that was asked for it. Where it wins a duel
    /// it stays there, and will be asked again.
    champion: Option<Slot>,
    champion_hash: Mixed,
    /// The entry last named by `victim`, while it is here, and the hash by which it is to be
    /// remembered.
    doomed: Option<Slot>,
    doomed_hash: Option<Mixed>,
    filling: Filling,
    random: u64,
    pulse: Arc<Pulse>,
    setting: Setting,
    /// Whether every entry so far weighed 1, so that weights need not be asked for or added up.
    is_uniform: bool,
    parameters: Parameters,
    /// While greedy-dual is live, and until they have drained to the main queue, the entries are
    /// here. None ever where all weigh the same.
    ranked: GreedyDual,
    giants: Giants,
    /// What the queues weigh, 0 while `is_uniform`: then it is their lengths. In 128 bits, as the
    /// newcomer comes in before room is made for it. Ranked entries count as in the main queue.
    small_weight: u128,
    main_weight: u128,
    /// The stripe's share of the capacity.
    share: u64,
}

// The queues and the clock fill the first line, and the ghosts and the sketch have one each.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(std::mem::offset_of!(Adaptive, memory) == 64);

impl Default for Adaptive {
    fn default() -> Self {
        Self::with_seed(std::hash::RandomState::new().hash_one(0))
    }
}

impl Adaptive {
    /// The policy with a given seed for its sampling and its random numbers. One that drives its
    /// cache with the same hashes in the same order then does the same every time.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::stripe(Arc::new(Shared::new(1, 0, Goal::Hits, seed)), 0, 0)
    }

    /// The same, but what there should be most of is the weight of the hits, not their number: if
    /// entries weigh their bytes, and what a miss costs is to fetch them again.
    ///
    /// Without it, many light entries are worth more than a heavy one. Where all weigh 1 it changes
    /// nothing.
    ///
    /// ```
    /// use larder::{Cache, policy::Adaptive};
    ///
    /// let cache: Cache<String, Vec<u8>, _> = Cache::builder()
    ///     .capacity(64 << 20)
    ///     .weigher(|key: &String, page: &Vec<u8>| (key.len() + page.len()) as u64)
    ///     .policy(Adaptive::default().by_weight())
    ///     .build();
    /// # cache.insert("a".into(), vec![0; 10]);
    /// ```
    #[must_use]
    pub fn by_weight(self) -> Self {
        Self::stripe(Arc::new(Shared::new(1, 0, Goal::Weight, self.shared.seed())), 0, 0)
    }

    /// The setting that is live, but for stripes where giants decide: a diagnostic.
    #[must_use]
    pub fn setting(&self) -> Setting {
        self.shared.live()
    }

    fn stripe(shared: Arc<Shared>, share: u64, number: u64) -> Self {
        let parameters = shared.goal().parameters(Setting::START, false);
        let random = spread(shared.seed() ^ number) | 1;
        Self {
            shared,
            pulse: Arc::default(),
            nodes: Nodes::default(),
            small: Unrolled::new(SMALL),
            main: Unrolled::new(MAIN),
            ranked: GreedyDual::default(),
            giants: Giants::default(),
            is_uniform: true,
            small_weight: 0,
            main_weight: 0,
            share,
            filling: Filling::default(),
            setting: Setting::START,
            parameters,
            target: parameters.small_target(share),
            memory: Memory::default(),
            clock: Clock::default(),
            random,
            doomed: None,
            doomed_hash: None,
            champion: None,
            champion_hash: Mixed::new(0),
        }
    }

    /// Takes the entry out of its queue. `weight` is asked for only where it counts.
    #[inline]
    fn unlink(&mut self, slot: Slot, weight: impl FnOnce() -> u64) {
        if self.ranked.contains(slot) {
            self.unrank(slot);
            self.main_weight -= self.counted(weight());
            return;
        }
        let (queue, total) = match self.nodes.queue_of(slot) {
            Some(SMALL) => (&mut self.small, &mut self.small_weight),
            _ => (&mut self.main, &mut self.main_weight),
        };
        queue.unlink(&mut self.nodes, slot);
        if !self.is_uniform {
            *total -= u128::from(weight());
        }
    }

    /// Makes the setting that the shadows want this stripe's, unless giants decide.
    #[inline]
    fn follow(&mut self) {
        if !self.shared.is_live(self.setting) {
            self.switch();
        }
    }

    #[cold]
    fn switch(&mut self) {
        let live = if self.giants.are_many() { Setting::GreedyDual } else { self.shared.live() };
        if live != self.setting {
            self.setting = live;
            self.fit_parameters();
            self.clock.refit();
        }
    }

    /// Takes what goes with the setting.
    fn fit_parameters(&mut self) {
        self.parameters = self.shared.goal().parameters(self.setting, !self.is_uniform);
        self.target = self.parameters.small_target(self.share);
    }

    /// The weight as far as weights are added up.
    #[inline]
    fn counted(&self, weight: u64) -> u128 {
        if self.is_uniform { 0 } else { u128::from(weight) }
    }

    /// Puts the newcomer into the queue where the setting wants it.
    #[inline]
    fn enqueue(
        &mut self,
        newcomer: &Newcomer,
        (is_ghost, entries): (bool, usize),
        residents: &impl Residents,
    ) {
        let Newcomer { slot, weight, .. } = *newcomer;
        let mark = residents.mark(slot);
        if is_ghost || self.parameters.small == 0 {
            if self.setting == Setting::GreedyDual {
                return self.put_in_rank(slot, weight, mark);
            }
            self.main.push_front(&mut self.nodes, slot);
            self.main_weight += self.counted(weight);
            mark.set(MOVED_TO_MAIN);
            return;
        }
        let (entries, small) = (entries + 1, self.small.len() + 1);
        if self.clock.insertion(&self.parameters, entries, small) {
            self.pulse.set_clock(self.clock.now(), self.clock.window());
        }
        self.small.push_front(&mut self.nodes, slot);
        self.small_weight += self.counted(weight);
        mark.set(small_mark(self.clock.now()));
    }

    /// Tracks the newcomer, of which the sketch and the shadows are told. There are so many entries
    /// without it.
    #[inline]
    fn take_in(&mut self, newcomer: &Newcomer, entries: usize, residents: &impl Residents) {
        let Newcomer { hash, weight, has_room, .. } = *newcomer;
        if let Some(id) = self.shared.sample(hash) {
            self.shared.push(Event { id, weight });
        }
        if !has_room && self.memory.is_misfit(entries) {
            self.remember();
        }
        let hash = Mixed::new(hash);
        self.memory.sketch.add(hash, 1);
        let is_ghost = self.parameters.ghost > 0
            && self.memory.ghost.take(hash, self.parameters.ghost_window(entries));
        self.enqueue(newcomer, (is_ghost, entries), residents);
    }

    /// Takes out the tail of the small or of the main queue.
    #[inline]
    fn drop_tail(&mut self, tail: Slot) {
        if self.small.back() == Some(tail) {
            self.small.pop_back(&mut self.nodes, tail);
            return;
        }
        self.main.pop_back(&mut self.nodes, tail);
        if self.champion == Some(tail) {
            self.champion = None;
        }
    }

    /// Sizes the sketch and the ghosts when the cache is full for the first time, and whenever the
    /// number of entries has left the old size behind.
    #[cold]
    fn remember(&mut self) {
        let entries = self.len();
        self.memory.reset(entries, self.parameters.ghosts(entries), true);
    }

    /// The entries that are in a queue.
    #[inline]
    fn queued(&self) -> usize {
        self.small.len() + self.main.len()
    }
}

impl Policy for Adaptive {
    type Recorder = AdaptiveRecorder;

    fn for_stripes(self, stripes: usize, capacity: u64) -> Vec<Self> {
        let shared =
            Arc::new(Shared::new(stripes, capacity, self.shared.goal(), self.shared.seed()));
        let share = capacity / (stripes as u64).max(1);
        (0..stripes as u64).map(|n| Self::stripe(Arc::clone(&shared), share, n)).collect()
    }

    fn recorder(&self) -> AdaptiveRecorder {
        AdaptiveRecorder { shared: Arc::clone(&self.shared), pulse: Arc::clone(&self.pulse) }
    }

    fn on_insert(&mut self, newcomer: Newcomer, residents: &impl Residents) {
        self.doomed = None;
        self.follow();
        self.allow(newcomer.weight);
        if !self.is_uniform && self.shared.goal() == Goal::Hits {
            self.watch_for_giants(newcomer.weight);
        }
        let entries = self.len();
        let is_filling = self.filling.is_on(newcomer.has_room, entries);
        self.take_in(&newcomer, entries, residents);
        if is_filling {
            self.overflow(residents);
        }
        if !self.is_uniform && self.len().is_power_of_two() {
            self.shared.try_fit_mean(self.mean_weight());
        }
    }

    fn on_weight(&mut self, slot: Slot, old: u64, new: u64) {
        self.allow(new);
        if self.is_uniform {
            return;
        }
        let total = match self.nodes.queue_of(slot) {
            Some(SMALL) => &mut self.small_weight,
            Some(_) => &mut self.main_weight,
            None => {
                self.ranked.renew(slot, self.shared.goal().cost(new), 0);
                &mut self.main_weight
            }
        };
        *total = *total - u128::from(old) + u128::from(new);
    }

    fn on_remove(&mut self, slot: Slot, cause: RemovalCause, residents: &impl Residents) {
        self.unlink(slot, || residents.weight(slot));
        if self.champion == Some(slot) {
            self.champion = None;
        }
        if self.doomed == Some(slot) {
            self.doomed = None;
            if let Some(hash) = self.doomed_hash
                && matches!(cause, RemovalCause::Size | RemovalCause::Rejected)
            {
                self.memory.ghost.push(hash);
            }
        }
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        match self.nodes.queue_of(from) {
            Some(SMALL) => self.small.replace(&mut self.nodes, from, to),
            Some(_) => self.main.replace(&mut self.nodes, from, to),
            None => self.ranked.replace(from, to),
        }
        for known in [&mut self.doomed, &mut self.champion] {
            if *known == Some(from) {
                *known = Some(to);
            }
        }
    }

    fn victim(&mut self, residents: &impl Residents) -> Option<Slot> {
        if self.doomed.is_none() {
            self.follow();
            let parameters = self.parameters;
            let victim = if self.setting == Setting::GreedyDual {
                self.least_worth(residents)
            } else {
                choose(&mut View::<_, true> { stripe: self, residents }, &parameters)
            }?;
            (self.doomed, self.doomed_hash) = (Some(victim.entry), victim.ghost);
        }
        self.doomed
    }

    fn exchange(&mut self, newcomer: Newcomer, residents: &impl Residents) -> Slot {
        debug_assert!(self.is_uniform && newcomer.weight == 1, "everything weighs 1");
        self.filling.end();
        self.doomed = None;
        self.follow();
        self.take_in(&newcomer, self.queued(), residents);
        let parameters = self.parameters;
        let chosen = choose(&mut View::<_, false> { stripe: self, residents }, &parameters);
        // Some, as the newcomer at least is queued.
        let Some(victim) = chosen else {
            self.unlink(newcomer.slot, || 1);
            return newcomer.slot;
        };
        self.drop_tail(victim.entry);
        if let Some(hash) = victim.ghost {
            self.memory.ghost.push(hash);
        }
        victim.entry
    }

    #[inline]
    fn maintain(&mut self, _: &impl Residents) {
        if self.shared.is_batch_due() {
            self.shared.try_feed(self.len(), self.mean_weight());
        }
    }

    fn set_capacity(&mut self, share: u64, whole: u64) {
        self.share = share;
        self.target = self.parameters.small_target(share);
        self.memory.allow_shrinking();
        self.shared.fit(whole, self.mean_weight());
    }

    fn clear(&mut self) {
        self.memory.release();
        self.nodes.clear();
        (self.small, self.main) = (Unrolled::new(SMALL), Unrolled::new(MAIN));
        self.ranked = GreedyDual::default();
        self.giants = Giants::default();
        self.is_uniform = true;
        self.filling = Filling::default();
        (self.small_weight, self.main_weight) = (0, 0);
        (self.doomed, self.champion) = (None, None);
        self.shared.clear();
    }

    fn ranking(&self, residents: &impl Residents) -> Vec<Slot> {
        let mut ranked: Vec<(u8, Slot)> = Vec::with_capacity(self.len());
        for slot in self.small.iter_from_back(&self.nodes) {
            let is_safe = frequency(residents.mark(slot).get()) >= self.parameters.promote;
            ranked.push((if is_safe { 2 } else { 0 }, slot));
        }
        for slot in self.main.iter_from_back(&self.nodes) {
            ranked.push((1 + frequency(residents.mark(slot).get()), slot));
        }
        for slot in self.ranked.coldest() {
            ranked.push((1 + frequency(residents.mark(slot).get()), slot));
        }
        ranked.sort_by_key(|&(rank, _)| rank);
        ranked.into_iter().map(|(_, slot)| slot).collect()
    }

    fn len(&self) -> usize {
        self.queued() + self.ranked.len()
    }

    fn validate(&self, slots: &[Slot], residents: &impl Residents) {
        assert_eq!(self.len(), slots.len(), "entries tracked");
        self.nodes.validate([&self.small, &self.main]);
        self.ranked.validate();
        self.small.validate(&self.nodes);
        self.main.validate(&self.nodes);
        let (mut small, mut main) = (0_u128, 0_u128);
        for &slot in slots {
            match self.nodes.queue_of(slot) {
                Some(SMALL) => small += u128::from(residents.weight(slot)),
                Some(MAIN) => main += u128::from(residents.weight(slot)),
                None if self.ranked.contains(slot) => main += u128::from(residents.weight(slot)),
                other => panic!("{slot:?} is in queue {other:?}"),
            }
        }
        if self.is_uniform {
            let entries = [self.small.len(), self.main.len() + self.ranked.len()];
            assert_eq!([small, main], entries.map(|len| len as u128), "all weigh 1");
            assert_eq!((self.small_weight, self.main_weight), (0, 0), "no weights added up");
        } else {
            assert_eq!((small, main), (self.small_weight, self.main_weight), "the queues' weights");
        }
        if let Some(doomed) = self.doomed {
            assert!(slots.contains(&doomed), "the victim named last is here");
        }
        if let Some(champion) = self.champion {
            assert!(slots.contains(&champion), "the champion is here");
            assert_eq!(Mixed::new(residents.hash(champion)), self.champion_hash, "its hash");
        }
        self.shared.validate();
    }
}
