//! What a stripe does only where its entries differ in weight.

use super::Adaptive;
use super::recorder::{MOVED_TO_MAIN, frequency};
use super::setting::{Setting, Victim};
use crate::Slot;
use crate::policy::parts::GreedyDual;
use crate::policy::{Mark, Policy, Residents};

/// What is heavier than one in so many parts of what a shadow may weigh is a giant: if the shadows know it
/// at all, one that is sampled stands for too many that are not.
const GIANT: u64 = 4;
/// How many entries a victim's choice moves from the queues to the ranks at most.
const MOST_RANKED: usize = 64;

impl Adaptive {
    /// Starts to add up weights if this one is not 1.
    #[inline]
    pub(super) fn allow(&mut self, weight: u64) {
        if weight != 1 && self.is_uniform {
            self.is_uniform = false;
            self.fit_parameters();
            self.small_weight = self.small.len() as u128;
            self.main_weight = (self.main.len() + self.ranked.len()) as u128;
        }
    }

    /// Takes notice of what comes in, and of whether the shadows can know it.
    pub(super) fn watch_for_giants(&mut self, weight: u64) {
        let is_giant = weight > self.shared.heaviest() / GIANT;
        if self.giants.note(weight, is_giant, self.share) {
            self.switch();
        }
    }

    /// Ranks an entry, which is in no queue, by its weight and the uses counted in its mark.
    pub(super) fn put_in_rank(&mut self, slot: Slot, weight: u64, mark: &Mark) {
        self.main_weight += self.counted(weight);
        let cost = self.shared.goal().cost(weight);
        self.ranked.insert(slot, cost, 1 + u16::from(frequency(mark.get())));
        mark.set(MOVED_TO_MAIN);
    }

    /// Ranks some of what other settings have put into the queues.
    fn rank(&mut self, residents: &impl Residents) {
        for _ in 0..MOST_RANKED {
            let Some(slot) = self.small.back().or(self.main.back()) else { return };
            let (mark, weight) = (residents.mark(slot), residents.weight(slot));
            self.unlink(slot, || weight);
            self.put_in_rank(slot, weight, mark);
        }
    }

    /// Takes an entry out of the ranks, whose memory goes with the last one once another setting is live.
    pub(super) fn unrank(&mut self, slot: Slot) {
        self.ranked.remove(slot);
        if self.ranked.len() == 0 && self.setting != Setting::GreedyDual {
            self.ranked = GreedyDual::default();
        }
    }

    /// The victim by greedy-dual.
    pub(super) fn least_worth(&mut self, residents: &impl Residents) -> Option<Victim<Slot>> {
        self.rank(residents);
        let goal = self.shared.goal();
        let entry = self.ranked.victim(|slot| {
            let mark = residents.mark(slot);
            let hits = frequency(mark.get());
            mark.set(MOVED_TO_MAIN);
            (goal.cost(residents.weight(slot)), hits)
        })?;
        Some(Victim { entry, ghost: None })
    }

    /// What an entry weighs on average; 0 if there is none.
    pub(super) fn mean_weight(&self) -> u64 {
        if self.is_uniform {
            return u64::from(!self.is_empty());
        }
        let mean = (self.small_weight + self.main_weight) / (self.len() as u128).max(1);
        mean.min(u128::from(u64::MAX)) as u64
    }
}
