//! What all stripes of a cache share: the live setting, the sampling and the shadows.

use super::outlook::{Advice, Scales, outlook};
use super::ring::{Event, MAX_BATCH, Ring};
use super::setting::{Goal, Setting};
use super::shadow::Shadows;
use super::watch::{THINNING, Tally, Watch};
use crate::policy::parts::spread;
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, lock, try_lock};

/// Shadows have at least so many entries. Twice as many cost twice the time and say no more; with a
/// quarter as many the verdicts become noisy.
const MIN_SHADOW: u64 = 128;
/// At most one key in `2^8` is sampled: that loses nothing yet, and less would gain nothing.
const MAX_SHIFT: u32 = 8;

/// The shared state. Its first line is read by every hit and written when the setting changes; the
/// fields are in this order so that the shadows, which change all the time, lie apart from it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Shared {
    seed: u64,
    /// What hashes are multiplied by to choose the keys that are sampled: odd, made from the seed.
    factor: u64,
    stripes: usize,
    goal: Goal,
    /// A key is sampled if that product is at most this, which is less for hits while the
    /// shadows rest.
    threshold: AtomicU64,
    threshold_of_hits: AtomicU64,
    /// How many events wait in the ring before they are worth a drain.
    batch: AtomicU32,
    live: AtomicU8,
    /// What a shadow may weigh: it takes in nothing heavier.
    heaviest: AtomicU64,
    ring: Ring,
    shadows: Mutex<State>,
}

/// The shadows and what they were made for.
#[derive(Debug)]
#[repr(align(64))]
struct State {
    shadows: Shadows,
    watch: Watch,
    capacity: u64,
    shift: u32,
    /// What would be at other sizes, once somebody asked.
    scales: Option<Box<Scales>>,
}

impl State {
    /// What goes with shadows of a cache of `capacity`, of one key in `2^shift`.
    fn new(shadows: Shadows, capacity: u64, shift: u32) -> Self {
        let watch = Watch::new(shadows.period(), shift);
        Self { shadows, watch, capacity, shift, scales: None }
    }

    /// Makes shadows of other sizes.
    fn scale(&mut self, seed: u64) {
        let goal = self.shadows.goal();
        let scales = Scales::new(self.capacity >> self.shift, self.shadows.period(), goal, seed);
        self.scales = Some(scales);
    }

    /// Bounds the entries of the shadows; see [`Shadows::limit`].
    fn limit(&mut self, expected: usize) {
        self.shadows.limit(expected);
        if let Some(scales) = &mut self.scales {
            scales.half.limit(expected);
            scales.double.limit(expected.saturating_mul(2));
        }
    }

    /// Has the shadows go on after events that they did not see.
    fn resume(&mut self) {
        self.shadows.resume();
        if let Some(scales) = &mut self.scales {
            scales.half.resume();
            scales.double.resume();
        }
    }

    /// Runs the access to the key `id` through the shadows. A `weight` of 0 is unknown: it is as
    /// it was, or for want of that the `mean`.
    #[inline]
    fn access(&mut self, id: u32, weight: u64, mean: u64) {
        self.shadows.access(id, weight, mean);
        if let Some(scales) = &mut self.scales {
            scales.half.access(id, weight, mean);
            scales.double.access(id, weight, mean);
        }
    }
}

impl Shared {
    pub(super) fn new(stripes: usize, capacity: u64, goal: Goal, seed: u64) -> Self {
        let shift = shift_for(capacity);
        let entries = (capacity >> shift) as usize;
        let shadows = Shadows::new(capacity >> shift, entries, (Setting::START, goal), seed);
        let state = State::new(shadows, capacity, shift);
        Self {
            seed,
            factor: spread(seed) | 1,
            stripes,
            goal,
            threshold: AtomicU64::new(u64::MAX >> shift),
            threshold_of_hits: AtomicU64::new(u64::MAX >> shift),
            batch: AtomicU32::new(batch_for(entries)),
            live: AtomicU8::new(Setting::START as u8),
            heaviest: AtomicU64::new(capacity >> shift),
            ring: Ring::new(),
            shadows: Mutex::new(state),
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn goal(&self) -> Goal {
        self.goal
    }

    /// The 32 bits of the newcomer's hash by which the shadows know it, if it is sampled.
    #[inline]
    pub(super) fn sample(&self, hash: u64) -> Option<u32> {
        self.sample_below(&self.threshold, hash)
    }

    /// The same for a hit.
    #[inline]
    pub(super) fn sample_hit(&self, hash: u64) -> Option<u32> {
        self.sample_below(&self.threshold_of_hits, hash)
    }

    /// A multiplication by a random odd number (Dietzfelbinger, Hagerup, Katajainen and Penttonen,
    /// Journal of Algorithms 1997) is one-to-one and samples evenly even where the hasher is poor;
    /// its lower end matters least.
    #[inline]
    fn sample_below(&self, threshold: &AtomicU64, hash: u64) -> Option<u32> {
        let product = hash.wrapping_mul(self.factor);
        // Relaxed: a stale threshold only samples at the former rate.
        let is_sampled = product <= threshold.load(Ordering::Relaxed);
        is_sampled.then_some((product >> (u64::BITS - MAX_SHIFT - u32::BITS)) as u32)
    }

    /// Samples one newcomer in `2^shift`, and hits of `2^thinning` times fewer keys.
    fn set_rate(&self, shift: u32, thinning: u32) {
        // Relaxed (both): see `sample_below`.
        self.threshold.store(u64::MAX >> shift, Ordering::Relaxed);
        self.threshold_of_hits.store(u64::MAX >> (shift + thinning), Ordering::Relaxed);
    }

    /// Adds an event for the shadows; answers whether enough wait to be worth a drain.
    #[inline]
    pub(super) fn push(&self, event: Event) -> bool {
        self.is_batch(self.ring.push(event))
    }

    /// Whether enough events wait to be worth a drain.
    #[inline]
    pub(super) fn is_batch_due(&self) -> bool {
        self.is_batch(self.ring.pending())
    }

    #[inline]
    fn is_batch(&self, events: u32) -> bool {
        // Relaxed: a hint.
        events >= self.batch.load(Ordering::Relaxed)
    }

    /// The heaviest entry that the shadows can know.
    pub(super) fn heaviest(&self) -> u64 {
        // Relaxed: a hint, which may be a little old.
        self.heaviest.load(Ordering::Relaxed)
    }

    /// Whether this is the setting that all stripes should follow.
    #[inline]
    pub(super) fn is_live(&self, setting: Setting) -> bool {
        // Relaxed: nothing else is published with it; a stripe may follow a little later.
        self.live.load(Ordering::Relaxed) == setting as u8
    }

    /// The setting that all stripes should follow.
    pub(super) fn live(&self) -> Setting {
        // Relaxed: see `is_live`.
        Setting::of(self.live.load(Ordering::Relaxed))
    }

    /// Runs the events that wait through the shadows, then follows their verdict, unless another
    /// stripe is at it. This one has `entries` entries, which weigh `mean` on average.
    #[cold]
    pub(super) fn try_feed(&self, entries: usize, mean: u64) {
        let Some(mut state) = try_lock(&self.shadows) else { return };
        if state.watch.is_resting() {
            return self.skip(&mut state);
        }
        let shift = state.shift;
        state.limit(entries.saturating_mul(self.stripes) >> shift);
        let before = state.shadows.periods();
        self.ring.drain(|Event { id, weight }| state.access(id, weight, mean));
        let live = state.shadows.live() as u8;
        // Relaxed: see `live`. Written only when it changes, as every stripe reads this line.
        if live != self.live.load(Ordering::Relaxed) {
            self.live.store(live, Ordering::Relaxed);
            state.watch.start_over();
        }
        let (periods, is_calm) = (state.shadows.periods() - before, state.shadows.is_calm());
        if periods > 0 && state.watch.pass(periods, is_calm) {
            self.set_rate(shift, THINNING);
        }
    }

    /// Counts the events during a rest of the shadows, and ends it.
    fn skip(&self, state: &mut State) {
        let mut seen = Tally::default();
        self.ring.drain(|Event { weight, .. }| {
            *(if weight > 0 { &mut seen.newcomers } else { &mut seen.hits }) += 1;
        });
        if state.watch.rest(seen) {
            self.wake(state);
        }
    }

    /// Goes on after a rest.
    fn wake(&self, state: &mut State) {
        state.resume();
        self.set_rate(state.shift, 0);
    }

    /// Fits the shadows to a cache of `capacity` in which an entry weighs `mean`.
    pub(super) fn fit(&self, capacity: u64, mean: u64) {
        let mut state = lock(&self.shadows);
        self.refit(&mut state, capacity, mean);
    }

    /// The same at the capacity as it is, unless another stripe is at the shadows.
    pub(super) fn try_fit_mean(&self, mean: u64) {
        let Some(mut state) = try_lock(&self.shadows) else { return };
        let capacity = state.capacity;
        self.refit(&mut state, capacity, mean);
    }

    /// Does so only if the shadows are off by more than what the mean may be. A mean of 0 is unknown,
    /// and taken to be as it was.
    fn refit(&self, state: &mut State, capacity: u64, mean: u64) {
        let former = state.capacity / (state.shadows.period() << state.shift) as u64;
        let mean = if mean > 0 { mean } else { former.max(1) };
        let entries = capacity / mean;
        let fits = (shift_for(entries - entries / 4)
            ..=shift_for(entries.saturating_add(entries / 4)))
            .contains(&state.shift);
        if state.capacity != capacity || !fits {
            self.rebuild(state, capacity, entries);
        }
    }

    /// Forgets what the shadows hold.
    pub(super) fn clear(&self) {
        let mut state = lock(&self.shadows);
        let (capacity, shift) = (state.capacity, state.shift);
        let entries = state.shadows.period() << shift;
        self.rebuild(&mut state, capacity, entries as u64);
    }

    fn rebuild(&self, state: &mut State, capacity: u64, entries: u64) {
        let shift = shift_for(entries);
        let in_shadow = (entries >> shift) as usize;
        let shadows = state.shadows.resized(capacity >> shift, in_shadow, self.seed);
        let had_scales = state.scales.is_some();
        *state = State::new(shadows, capacity, shift);
        if had_scales {
            state.scale(self.seed);
        }
        self.set_rate(shift, 0);
        // Relaxed: see `heaviest`.
        self.heaviest.store(capacity >> shift, Ordering::Relaxed);
        // Relaxed: a hint, see `is_batch`.
        self.batch.store(batch_for(in_shadow), Ordering::Relaxed);
    }

    /// What the shadows say of this capacity and others; `None` if they have not seen enough. From
    /// the first time on there are shadows of other sizes.
    pub(super) fn advise(&self) -> Option<Advice> {
        let mut state = lock(&self.shadows);
        if state.scales.is_none() {
            if state.watch.is_resting() {
                self.wake(&mut state);
            }
            state.watch.start_over();
            state.scale(self.seed);
        }
        let State { shadows, capacity, scales, .. } = &*state;
        let scales = scales.as_ref()?;
        Some(Advice {
            half: outlook(&scales.half, capacity / 2)?,
            same: outlook(shadows, *capacity)?,
            double: outlook(&scales.double, capacity.saturating_mul(2))?,
        })
    }

    /// Checks the shadows.
    ///
    /// # Panics
    /// If something is wrong with them.
    pub(super) fn validate(&self) {
        let state = lock(&self.shadows);
        state.shadows.validate();
        let thinning = if state.watch.is_resting() { THINNING } else { 0 };
        // Relaxed (both): stored under the lock of the shadows, which is held.
        let rates = [&self.threshold, &self.threshold_of_hits].map(|t| t.load(Ordering::Relaxed));
        let thresholds = [state.shift, state.shift + thinning].map(|shift| u64::MAX >> shift);
        assert_eq!(rates, thresholds, "newcomers and hits are sampled as they should be");
    }
}

/// The sampling rate, as a power of two, at which the shadows of a cache of `entries` entries hold
/// 128 to 255 of them, or all if there are fewer.
fn shift_for(entries: u64) -> u32 {
    (0..MAX_SHIFT).find(|&shift| entries >> (shift + 1) < MIN_SHADOW).unwrap_or(MAX_SHIFT)
}

/// Few enough that a batch is a fraction of a shadow's lifetime, enough to share the cost of the
/// lock and of bringing the shadows into the cache.
fn batch_for(entries: usize) -> u32 {
    (entries / 8).clamp(1, MAX_BATCH as usize) as u32
}

#[cfg(test)]
mod tests {
    use super::{Event, Goal, Shared, shift_for};
    use crate::policy::parts::spread;

    /// Runs accesses to as many keys in turn; `weight` is 0 for hits.
    fn run(shared: &Shared, keys: u64, accesses: u64, weight: u64) {
        for number in 0..accesses {
            let id = spread(number % keys) as u32;
            if shared.push(Event { id, weight }) {
                shared.try_feed(100, 1);
            }
        }
    }

    /// How many of a thousand keys are sampled when they come in, and when they are hit.
    fn sampled(shared: &Shared) -> (usize, usize) {
        let hashes = || (0..1000).map(spread);
        let newcomers = hashes().filter(|&hash| shared.sample(hash).is_some());
        let hits = hashes().filter(|&hash| shared.sample_hit(hash).is_some());
        (newcomers.count(), hits.count())
    }

    #[test]
    fn few_hits_are_sampled_while_the_shadows_rest() {
        let shared = Shared::new(1, 100, Goal::Hits, 7);
        run(&shared, 50, 6000, 0);
        assert_eq!(sampled(&shared), (1000, 1000));
        run(&shared, 50, 1000, 0);
        let (newcomers, hits) = sampled(&shared);
        assert!(newcomers == 1000 && (200..300).contains(&hits), "{newcomers}, {hits}");
        run(&shared, 50, 700, 1);
        assert!(sampled(&shared).1 < 300, "the first rest takes 800 newcomers");
        run(&shared, 50, 150, 1);
        assert_eq!(sampled(&shared), (1000, 1000));
    }

    #[test]
    fn who_asks_for_advice_wakes_the_shadows() {
        let shared = Shared::new(1, 100, Goal::Hits, 7);
        run(&shared, 50, 7000, 0);
        assert!(sampled(&shared).1 < 300);
        assert!(shared.advise().is_none(), "what would be at other sizes is not known yet");
        assert_eq!(sampled(&shared), (1000, 1000));
        run(&shared, 50, 1000, 0);
        assert!(shared.advise().is_some());
    }

    #[test]
    fn shadows_hold_128_to_255_entries_as_far_as_the_rate_goes() {
        for (entries, shift) in
            [(0, 0), (255, 0), (256, 1), (511, 1), (512, 2), (65_535, 8), (1 << 30, 8)]
        {
            assert_eq!(shift_for(entries), shift, "{entries}");
        }
    }
}
