//! Six caches in miniature that hold sampled keys and no values: one under each setting, and one
//! that follows the short judgement.
//!
//! A key that any of them holds has one record, found once per event; the record holds the state
//! of all six. So an event costs one look-up, and a key that all hold costs little more than one
//! that one of them holds. Greedy-dual has a miniature of its own (`greedy.rs`).

use std::collections::VecDeque;

use super::chances::Chances;
use super::greedy::Greedy;
use super::judge::{CANDIDATES, FOLLOWER, GREEDY_DUAL, Judge, SHADOWS};
use super::memory::{Clock, Memory, is_correlated};
use super::records::{
    FREQUENCY, LANE, MAIN, MAX_FREQUENCY, PLACE, Record, Records, SMALL, STAMP, STAMP_BITS,
};
use super::setting::{Goal, Parameters, Queues, Setting, choose};
use crate::policy::parts::{Filling, Mixed, Sketch, spread};

/// Entries from which a shadow is large: allocating for it takes its time.
const LARGE: usize = 2048;
/// Accesses for which it is one large shadow's turn to allocate: at least a batch.
const TURN: usize = 64;

/// Periods after which they count as full again, however few the misses.
const FILLING: usize = 16;

/// One miniature: its queues hold positions of records.
#[derive(Debug, Default)]
struct Shadow {
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    small_weight: u64,
    main_weight: u64,
    /// What the small queue may weigh.
    target: u64,
    /// What both may weigh, and how many entries they may hold.
    capacity: u64,
    limit: usize,
    filling: Filling,
    memory: Memory,
    clock: Clock<STAMP_BITS>,
}

impl Shadow {
    fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    fn is_over(&self) -> bool {
        self.small_weight + self.main_weight > self.capacity || self.len() > self.limit
    }
}

/// One miniature together with the records: what [`choose`] works on.
struct View<'a> {
    number: usize,
    /// Whether it is this one's turn to allocate a large memory: large shadows fill up all at the
    /// same access, but must not all allocate then.
    is_its_turn: bool,
    shadow: &'a mut Shadow,
    records: &'a mut Records,
    random: &'a mut u64,
}

impl View<'_> {
    fn record(&mut self, entry: u32) -> &mut Record {
        &mut self.records.records[entry as usize]
    }

    /// Lets the key of the record `entry` in; those that make room leave.
    fn admit(&mut self, entry: u32, parameters: &Parameters) {
        let Record { id, weight, .. } = *self.record(entry);
        if u64::from(weight) > self.shadow.capacity {
            return;
        }
        let hash = Mixed::new(u64::from(id));
        self.shadow.memory.sketch.add(hash, 1);
        let len = self.shadow.len();
        let is_ghost = parameters.ghost > 0
            && self.shadow.memory.ghost.take(hash, parameters.ghost_window(len));
        if is_ghost || parameters.small == 0 {
            self.push_main(entry);
        } else {
            let small = self.shadow.small.len();
            self.shadow.clock.insertion(parameters, len + 1, small + 1);
            self.shadow.small.push_front(entry);
            self.shadow.small_weight += u64::from(weight);
            let stamp = u64::from(self.shadow.clock.now());
            let number = self.number;
            self.record(entry).set_lane(number, SMALL | stamp << STAMP);
        }
        let has_room = !self.shadow.is_over();
        if self.shadow.filling.is_on(has_room, len)
            && self.small_is_over()
            && let Some(tail) = self.small_tail()
        {
            self.promote(tail, self.look(tail));
        }
        if has_room {
            return;
        }
        if self.shadow.memory.is_misfit(len) && (len < LARGE || self.is_its_turn) {
            let has_all = self.number == FOLLOWER;
            let ghosts = if has_all || parameters.ghost > 0 { parameters.ghosts(len) } else { 0 };
            self.shadow.memory.reset(len, ghosts, has_all || parameters.duel);
        }
        self.evict(entry, parameters);
    }

    /// Makes victims leave until the shadow is within its capacity. The record of `current` stays.
    fn evict(&mut self, current: u32, parameters: &Parameters) {
        while self.shadow.is_over() {
            let Some(victim) = choose(self, parameters) else { return };
            let number = self.number;
            let record = self.record(victim.entry);
            let weight = u64::from(record.weight);
            let place = record.lane(number) & PLACE;
            record.set_lane(number, 0);
            let is_unused = record.states == 0;
            if place == SMALL {
                self.shadow.small.pop_back();
                self.shadow.small_weight -= weight;
            } else {
                self.shadow.main.pop_back();
                self.shadow.main_weight -= weight;
            }
            if let Some(hash) = victim.ghost {
                self.shadow.memory.ghost.push(hash);
            }
            if is_unused && victim.entry != current {
                self.records.remove(victim.entry as usize);
            }
        }
    }

    fn push_main(&mut self, entry: u32) {
        let number = self.number;
        let record = self.record(entry);
        record.set_lane(number, MAIN);
        let weight = u64::from(record.weight);
        self.shadow.main.push_front(entry);
        self.shadow.main_weight += weight;
    }
}

impl Queues for View<'_> {
    type Entry = u32;
    /// Its state in this shadow.
    type Seen = u64;

    #[inline]
    fn small_is_over(&self) -> bool {
        self.shadow.small_weight > self.shadow.target
    }

    #[inline]
    fn small_tail(&self) -> Option<u32> {
        self.shadow.small.back().copied()
    }

    #[inline]
    fn main_tail(&self) -> Option<u32> {
        self.shadow.main.back().copied()
    }

    #[inline]
    fn look(&self, entry: u32) -> u64 {
        self.records.records[entry as usize].lane(self.number)
    }

    #[inline]
    fn frequency(seen: u64) -> u8 {
        (seen >> FREQUENCY & MAX_FREQUENCY) as u8
    }

    #[inline]
    fn chances(seen: u64) -> Chances {
        Chances::of((seen >> STAMP) as u8)
    }

    fn promote(&mut self, entry: u32, _: u64) {
        self.shadow.small.pop_back();
        self.shadow.small_weight -= u64::from(self.record(entry).weight);
        self.push_main(entry);
    }

    #[inline]
    fn spare(&mut self, entry: u32, seen: u64) {
        self.shadow.main.pop_back();
        self.shadow.main.push_front(entry);
        let sketch = &mut self.shadow.memory.sketch;
        // Without counters (in most) this does nothing.
        sketch.pass(1);
        let chances = Self::chances(seen).and_one(sketch.generation());
        let frequency = u64::from(Self::frequency(seen)) - 1;
        let lane = u64::from(chances.bits()) << STAMP | frequency << FREQUENCY | MAIN;
        let number = self.number;
        self.record(entry).set_lane(number, lane);
    }

    #[inline]
    fn hash(&self, entry: u32) -> Mixed {
        Mixed::new(u64::from(self.records.records[entry as usize].id))
    }

    #[inline]
    fn main_tail_hash(&mut self, entry: u32) -> Mixed {
        self.hash(entry)
    }

    #[inline]
    fn sketch(&mut self) -> &mut Sketch {
        &mut self.shadow.memory.sketch
    }

    fn random(&mut self) -> u64 {
        xorshift(self.random)
    }
}

/// The next of a sequence of random numbers. `state` is not 0.
#[inline]
pub(super) fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The six, one more where entries differ in weight, and who judges them.
#[derive(Debug)]
pub(super) struct Shadows {
    /// Weights are counted in units of `1 << unit`, so that one fits 32 bits.
    unit: u32,
    records: Records,
    shadows: [Shadow; SHADOWS],
    parameters: [Parameters; SHADOWS],
    greedy: Option<Box<Greedy>>,
    lightest: u32,
    heaviest: u32,
    /// Whether no verdict was made of shadows of another size before these.
    is_untold: bool,
    goal: Goal,
    /// The hits of the period, or their weight, as the goal is; and that of all accesses.
    hits: [u64; CANDIDATES],
    accessed: u64,
    judge: Judge,
    /// Events until the judge looks at the hits, and from one look to the next.
    left: usize,
    period: usize,
    /// Periods judged so far.
    periods: u64,
    /// Misses until the shadows hold again what they should, after events that they did not see.
    /// Until then nothing is judged.
    filling: usize,
    random: u64,
}

impl Shadows {
    /// Entries a shadow may always hold.
    const SLACK: usize = 512;
    /// The shortest period.
    const MIN_PERIOD: usize = 16;

    /// Empty shadows that may weigh `capacity` each and are thought to hold about `entries`.
    pub(super) fn new(
        capacity: u64,
        entries: usize,
        (live, goal): (Setting, Goal),
        seed: u64,
    ) -> Self {
        let unit = (u64::BITS - capacity.leading_zeros()).saturating_sub(31);
        let capacity = capacity >> unit;
        let judge = Judge::new(live);
        let parameters = Self::parameters(goal, judge.nimble(), false);
        let held = if entries < LARGE { 0 } else { entries.min(Records::MOST_EXPECTED) + 8 };
        let shadows = parameters.map(|setting: Parameters| Shadow {
            target: setting.small_target(capacity),
            capacity,
            // Growing six at about the same time would be a stall.
            main: VecDeque::with_capacity(held),
            limit: usize::MAX,
            ..Shadow::default()
        });
        let period = entries.max(Self::MIN_PERIOD);
        Self {
            unit,
            records: Records::expecting(entries),
            shadows,
            parameters,
            greedy: None,
            lightest: u32::MAX,
            heaviest: 0,
            is_untold: true,
            goal,
            hits: [0; CANDIDATES],
            accessed: 0,
            judge,
            left: period,
            period,
            periods: 0,
            filling: 0,
            random: spread(seed) | 1,
        }
    }

    /// Others of another size, which go on with the live setting.
    pub(super) fn resized(&self, capacity: u64, entries: usize, seed: u64) -> Self {
        let is_untold = self.is_untold && self.judge.is_new();
        let shadows = Self::new(capacity, entries, (self.live(), self.goal), seed);
        let mut shadows = Self { is_untold, ..shadows };
        if self.greedy.is_some() && !is_untold {
            shadows.differ();
        }
        shadows
    }

    /// Notes a weight. Once one is twice another, greedy-dual takes part.
    #[inline]
    fn weigh(&mut self, weight: u32) {
        self.lightest = self.lightest.min(weight);
        self.heaviest = self.heaviest.max(weight);
        if self.heaviest / 2 >= self.lightest && self.greedy.is_none() {
            self.differ();
        }
    }

    /// What the shadows go by; the follower by what goes with `nimble`.
    fn parameters(goal: Goal, nimble: Setting, differ: bool) -> [Parameters; SHADOWS] {
        let setting = |number| Setting::PLAIN.get(number).copied().unwrap_or(nimble);
        std::array::from_fn(|number| goal.parameters(setting(number), differ))
    }

    #[cold]
    fn differ(&mut self) {
        self.greedy = Some(Greedy::new(self.shadows[0].capacity, self.goal));
        self.parameters = Self::parameters(self.goal, self.judge.nimble(), true);
        if self.judge.is_new() {
            let is_first = self.is_untold;
            self.judge = Judge::weighted(if is_first { self.goal.start() } else { self.live() });
        }
    }

    /// About how many entries each was thought to hold.
    pub(super) fn period(&self) -> usize {
        self.period
    }

    /// How many periods were judged.
    pub(super) fn periods(&self) -> u64 {
        self.periods
    }

    /// Goes on after events were missed.
    pub(super) fn resume(&mut self) {
        self.left = self.period;
        self.filling = self.period;
    }

    /// What there should be most of.
    pub(super) fn goal(&self) -> Goal {
        self.goal
    }

    /// The setting that should be live.
    pub(super) fn live(&self) -> Setting {
        self.judge.live()
    }

    /// See [`Judge::is_calm`].
    pub(super) fn is_calm(&self) -> bool {
        self.judge.is_calm()
    }

    /// Each setting's hit ratio of late, once that says something.
    pub(super) fn hit_ratios(&self) -> Option<impl Iterator<Item = (Setting, f64)> + '_> {
        let has_all = self.greedy.is_some();
        let ratios = self.judge.hit_ratios()?;
        Some(ratios.filter(move |&(setting, _)| has_all || setting != Setting::GreedyDual))
    }

    /// Bounds the entries of each where the capacity does not: with much weight to spare the cache
    /// may never be full, and what the user removes from it does not leave the shadows. `expected`
    /// is how many they would hold if they held what the cache does.
    pub(super) fn limit(&mut self, expected: usize) {
        let limit = expected.saturating_mul(4).saturating_add(Self::SLACK);
        for shadow in &mut self.shadows {
            shadow.limit = limit;
        }
        if let Some(greedy) = &mut self.greedy {
            greedy.limit(limit);
        }
    }

    /// Runs the access to the key `id` through all six. A `weight` of 0 is unknown: it is as it
    /// was, or for want of that the `mean`.
    #[inline]
    pub(super) fn access(&mut self, id: u32, weight: u64, mean: u64) {
        let scaled = |weight: u64| (weight >> self.unit).clamp(1, u64::from(u32::MAX)) as u32;
        let entry = self.records.find_or_add(id, scaled(if weight > 0 { weight } else { mean }));
        if weight > 0 && self.records.records[entry].weight != scaled(weight) {
            self.reweigh(entry, scaled(weight));
        }
        let Record { mut states, weight: own, .. } = self.records.records[entry];
        if weight > 0 {
            self.weigh(own);
        }
        let gain = if self.goal == Goal::Weight { u64::from(own) } else { 1 };
        self.accessed += gain;
        if let Some(greedy) = &mut self.greedy {
            let is_hit = greedy.access(id, own, weight > 0);
            self.hits[GREEDY_DUAL] += u64::from(is_hit) * gain;
        }
        let before = states;
        let mut missed = 0_u32;
        for number in 0..SHADOWS {
            let shift = number as u32 * LANE;
            let lane = states >> shift;
            if lane & PLACE == 0 {
                missed |= 1 << number;
                continue;
            }
            self.hits[number] += gain;
            let clock = &self.shadows[number].clock;
            let is_ignored = lane & PLACE == SMALL
                && is_correlated::<STAMP_BITS>(clock.now(), (lane >> STAMP) as u8, clock.window());
            let is_full = lane >> FREQUENCY & MAX_FREQUENCY == MAX_FREQUENCY;
            states += u64::from(!is_ignored && !is_full) << (shift + FREQUENCY);
        }
        if states != before {
            self.records.records[entry].states = states;
        }
        if missed != 0 {
            self.filling = self.filling.saturating_sub(1);
            self.miss(entry, missed);
        }
        self.left -= 1;
        if self.left == 0 {
            self.judge();
        }
    }

    /// Lets the key into the shadows whose bits are set in `missed`.
    fn miss(&mut self, entry: usize, mut missed: u32) {
        while missed != 0 {
            let number = missed.trailing_zeros() as usize;
            missed &= missed - 1;
            let parameters = self.parameters[number];
            self.view(number).admit(entry as u32, &parameters);
        }
        if self.records.records[entry].states == 0 {
            self.records.remove(entry);
        }
    }

    fn view(&mut self, number: usize) -> View<'_> {
        View {
            number,
            is_its_turn: self.left / TURN % SHADOWS == number,
            shadow: &mut self.shadows[number],
            records: &mut self.records,
            random: &mut self.random,
        }
    }

    /// The key's weight is another than it was. The next admission makes room if need be.
    #[cold]
    fn reweigh(&mut self, entry: usize, weight: u32) {
        let record = &mut self.records.records[entry];
        let old = u64::from(std::mem::replace(&mut record.weight, weight));
        for (number, shadow) in self.shadows.iter_mut().enumerate() {
            let total = match record.lane(number) & PLACE {
                SMALL => &mut shadow.small_weight,
                MAIN => &mut shadow.main_weight,
                _ => continue,
            };
            *total = *total - old + u64::from(weight);
        }
    }

    /// Ends a period: the judge may have changed its mind.
    fn judge(&mut self) {
        self.left = self.period;
        let (hits, all) = (std::mem::take(&mut self.hits), std::mem::take(&mut self.accessed));
        if self.filling > 0 {
            self.filling = self.filling.saturating_sub(self.period / FILLING);
            return;
        }
        self.periods += 1;
        self.judge.add(hits, all);
        let parameters = self.goal.parameters(self.judge.nimble(), self.greedy.is_some());
        if parameters != self.parameters[FOLLOWER] {
            self.parameters[FOLLOWER] = parameters;
            let follower = &mut self.shadows[FOLLOWER];
            follower.target = parameters.small_target(follower.capacity);
            follower.clock.refit();
        }
    }

    /// Checks every count.
    ///
    /// # Panics
    /// If one is wrong.
    pub(super) fn validate(&self) {
        if let Some(greedy) = &self.greedy {
            greedy.validate();
        }
        for (number, shadow) in self.shadows.iter().enumerate() {
            for (queue, place, weight) in [
                (&shadow.small, SMALL, shadow.small_weight),
                (&shadow.main, MAIN, shadow.main_weight),
            ] {
                let mut sum = 0;
                for &entry in queue {
                    let record = self.records.records[entry as usize];
                    assert_eq!(record.lane(number) & PLACE, place, "the place of {record:?}");
                    sum += u64::from(record.weight);
                }
                assert_eq!(sum, weight, "the weight of a queue of shadow {number}");
            }
        }
        let held: usize = self
            .records
            .records
            .iter()
            .map(|record| (0..SHADOWS).filter(|&at| record.lane(at) & PLACE != 0).count())
            .sum();
        assert_eq!(held, self.shadows.iter().map(Shadow::len).sum::<usize>(), "keys held");
        let used = self.records.records.iter().filter(|record| record.states != 0).count();
        assert_eq!(used, self.records.len, "records in use");
    }
}
