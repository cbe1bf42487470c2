//! Which setting should be live, from how the shadows fare.
//!
//! Two judgements are made of the five settings. The *long* one goes by the hits of some fifty
//! periods: the best for whatever the cache is used for on average. The *short* one forgets within
//! a few periods, and so follows a workload that has phases; but where phases are as short as what
//! it takes to notice them, it is always late, and worse than any one setting. Which of the two to
//! heed is decided as everything else here: a sixth shadow, the follower, does what the short one
//! says, and takes part in the long one as if it were a setting.
//!
//! In caches whose entries differ in weight there is a candidate more, greedy-dual, which only the
//! long judgement knows.

use super::setting::Setting;

/// The plain settings' shadows, and the follower behind them.
pub(super) const SHADOWS: usize = Setting::PLAIN.len() + 1;
/// The number of the shadow that follows the short judgement.
pub(super) const FOLLOWER: usize = SHADOWS - 1;
/// Who is judged: the shadows, and greedy-dual behind them.
pub(super) const CANDIDATES: usize = SHADOWS + 1;
/// The number of the greedy-dual shadow.
pub(super) const GREEDY_DUAL: usize = CANDIDATES - 1;

/// How much of a score survives a period in the long and in the short judgement.
const LONG: f64 = 0.98;
const SHORT: f64 = 0.7;
/// By how many hits, in shares of a period, another must be ahead to be preferred.
const HYSTERESIS: f64 = 0.02;
/// How far, in the same measure, CLOCK starts behind. It lets go of what it has within a capacity's
/// worth of new keys, and what it has let go of is not back when another setting turns out to be
/// better. To learn late that it is the best costs little.
const HANDICAP: f64 = 0.15;
/// How far, in the same measure, another may be ahead in the short judgement while all is calm.
const UNREST: f64 = 0.1;
/// How far all start behind the first where entries differ in weight: a few heavy ones in the sample,
/// or none, can make a difference of several hits in a hundred.
const WEIGHTED_HANDICAP: f64 = 0.3;
/// Periods after which hit ratios say something: the shadows have filled up by then.
const TELLING: f64 = 4.0;

/// The scores. They are hits in shares of a period, so that 1 is what a period can add.
#[derive(Debug)]
pub(super) struct Judge {
    long: [f64; CANDIDATES],
    short: [f64; FOLLOWER],
    /// What the long scores would be if every access were a hit.
    full: f64,
    handicaps: [f64; CANDIDATES],
    /// Who leads in the long judgement, and in the short one.
    leader: usize,
    nimble: usize,
}

impl Judge {
    pub(super) fn new(live: Setting) -> Self {
        let (leader, nimble) = match live {
            Setting::GreedyDual => (GREEDY_DUAL, Setting::START.index()),
            plain => (plain.index(), plain.index()),
        };
        let mut handicaps = [0.0; CANDIDATES];
        handicaps[Setting::Clock.index()] = HANDICAP;
        Self {
            long: [0.0; CANDIDATES],
            short: [0.0; FOLLOWER],
            full: 0.0,
            handicaps,
            leader,
            nimble,
        }
    }

    /// The same where entries differ in weight.
    pub(super) fn weighted(live: Setting) -> Self {
        let mut judge = Self::new(live);
        judge.handicaps = judge.handicaps.map(|handicap| handicap + WEIGHTED_HANDICAP);
        judge.handicaps[judge.leader] = 0.0;
        judge
    }

    /// Whether nothing has been judged yet.
    pub(super) fn is_new(&self) -> bool {
        self.full <= 0.0
    }

    /// What the follower should do.
    pub(super) fn nimble(&self) -> Setting {
        Setting::PLAIN[self.nimble]
    }

    /// The setting that should be live.
    pub(super) fn live(&self) -> Setting {
        match self.leader {
            FOLLOWER => self.nimble(),
            leader => Setting::PLAIN.get(leader).copied().unwrap_or(Setting::GreedyDual),
        }
    }

    /// Whether nothing speaks for another setting soon: a fixed one is live, and none has been much
    /// better of late.
    pub(super) fn is_calm(&self) -> bool {
        self.short.get(self.leader).is_some_and(|live| self.short[self.nimble] - live < UNREST)
    }

    /// Takes notice of a period: how many of its accesses, or how much of their weight, were hits,
    /// and what there was in all.
    pub(super) fn add(&mut self, hits: [u64; CANDIDATES], all: u64) {
        let share = |hits: u64| hits as f64 / all as f64;
        for (score, &hits) in self.long.iter_mut().zip(&hits) {
            *score = *score * LONG + share(hits);
        }
        for (score, &hits) in self.short.iter_mut().zip(&hits) {
            *score = *score * SHORT + share(hits);
        }
        self.full = self.full * LONG + 1.0;
        let mut long = self.long;
        for (score, handicap) in long.iter_mut().zip(&mut self.handicaps) {
            *handicap *= LONG;
            *score -= *handicap;
        }
        self.leader = best(&long, self.leader);
        self.nimble = best(&self.short, self.nimble);
    }

    /// Each plain setting's hit ratio of late, once that says something, and greedy-dual's.
    pub(super) fn hit_ratios(&self) -> Option<impl Iterator<Item = (Setting, f64)> + '_> {
        let ratio = |setting: Setting| (setting, self.long[setting.index()] / self.full);
        let greedy_dual = (Setting::GreedyDual, self.long[GREEDY_DUAL] / self.full);
        (self.full >= (1.0 - LONG.powf(TELLING)) / (1.0 - LONG) - 1e-9)
            .then(|| Setting::PLAIN.into_iter().map(ratio).chain([greedy_dual]))
    }
}

/// The number of the greatest score, if it is far enough ahead of that of the `present` one.
fn best(scores: &[f64], present: usize) -> usize {
    let mut best = (scores[present] + HYSTERESIS, present);
    for (number, &score) in scores.iter().enumerate() {
        if score > best.0 {
            best = (score, number);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::{CANDIDATES, FOLLOWER, GREEDY_DUAL, Judge};
    use crate::policy::adaptive::Setting;

    const PERIOD: u64 = 100;

    /// Hits of a period in which all have `common`, and these settings others.
    fn hits(common: u64, others: &[(usize, u64)]) -> [u64; CANDIDATES] {
        let mut hits = [common; CANDIDATES];
        hits[GREEDY_DUAL] = 0;
        for &(number, count) in others {
            hits[number] = count;
        }
        hits
    }

    #[test]
    fn a_setting_that_is_clearly_better_becomes_live_at_once() {
        let mut judge = Judge::new(Setting::START);
        judge.add(hits(30, &[(Setting::TinyLfu.index(), 32)]), PERIOD);
        assert_eq!(judge.live(), Setting::START, "two in a hundred are not enough");
        judge.add(hits(30, &[(Setting::TinyLfu.index(), 32)]), PERIOD);
        assert_eq!(judge.live(), Setting::TinyLfu);
    }

    #[test]
    fn clock_has_to_make_up_for_its_handicap() {
        let mut judge = Judge::new(Setting::START);
        let better = hits(30, &[(Setting::Clock.index(), 35)]);
        for period in 1..=3 {
            judge.add(better, PERIOD);
            assert_eq!(judge.live(), Setting::START, "period {period}");
        }
        judge.add(better, PERIOD);
        assert_eq!(judge.live(), Setting::Clock);
    }

    /// The phases of two settings in turn, each so many periods; answers what was live.
    fn alternate(length: u64, follows: u64) -> (Judge, Vec<Setting>) {
        let mut judge = Judge::new(Setting::START);
        let mut live = Vec::new();
        for period in 0..400 {
            let is_first = (period / length).is_multiple_of(2);
            let (first, second) = if is_first { (60, 10) } else { (10, 60) };
            let (clock, tiny_lfu) = (Setting::Clock.index(), Setting::TinyLfu.index());
            judge.add(hits(10, &[(clock, first), (tiny_lfu, second), (FOLLOWER, follows)]), PERIOD);
            live.push(judge.live());
        }
        (judge, live)
    }

    #[test]
    fn phases_are_followed_if_that_pays() {
        let (judge, live) = alternate(20, 50);
        assert_eq!(judge.leader, FOLLOWER);
        let switches = live[200..].windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((9..=11).contains(&switches), "{switches} in ten phases");
    }

    #[test]
    fn phases_are_not_followed_if_that_does_not_pay() {
        let (judge, _) = alternate(3, 15);
        assert_ne!(judge.leader, FOLLOWER);
    }

    #[test]
    fn hit_ratios_are_told_after_four_periods() {
        let mut judge = Judge::new(Setting::START);
        for period in 1..=4 {
            assert!(judge.hit_ratios().is_none(), "before period {period}");
            judge.add(hits(25, &[]), PERIOD);
        }
        let ratios: Vec<f64> =
            judge.hit_ratios().into_iter().flatten().map(|each| each.1).collect();
        assert!(ratios.len() == 6 && ratios[..5].iter().all(|ratio| (ratio - 0.25).abs() < 1e-9));
    }

    #[test]
    fn greedy_dual_can_lead_from_the_start_or_later() {
        let mut judge = Judge::new(Setting::GreedyDual);
        assert_eq!((judge.live(), judge.nimble()), (Setting::GreedyDual, Setting::START));
        judge.add(hits(30, &[(GREEDY_DUAL, 20)]), PERIOD);
        assert_ne!(judge.live(), Setting::GreedyDual);
        judge.add(hits(30, &[(GREEDY_DUAL, 50)]), PERIOD);
        assert_eq!(judge.live(), Setting::GreedyDual);
    }
}
