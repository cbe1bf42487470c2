//! What the cache would do at another size, as shadows of that size tell.

use super::setting::{Goal, Setting};
use super::shadow::Shadows;

/// The expected hit ratios of a cache of some capacity (those of the weight, if that is the
/// [goal](super::Adaptive::by_weight)); see
/// [`Cache::advise`](crate::Cache::advise).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outlook {
    /// In entries or weight, like the cache's.
    pub capacity: u64,
    /// Each setting with its hit ratio, from 0 to 1.
    pub settings: Vec<(Setting, f64)>,
}

impl Outlook {
    /// The best setting's hit ratio: what the policy tends to.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        self.settings.iter().map(|&(_, ratio)| ratio).fold(0.0, f64::max)
    }

    /// The best setting.
    #[must_use]
    pub fn best(&self) -> Option<Setting> {
        let best = self.settings.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        best.map(|&(setting, _)| setting)
    }
}

/// What more, or less, capacity would be worth, on the traffic of late; see
/// [`Cache::advise`](crate::Cache::advise).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Advice {
    /// At half the capacity.
    pub half: Outlook,
    /// At the capacity as it is.
    pub same: Outlook,
    /// At twice the capacity.
    pub double: Outlook,
}

impl Advice {
    /// Fits the hit ratios to the one that was measured. Which popular keys are in the sample shifts
    /// all of them alike, but hardly how many misses there are at one size for each at another.
    pub(crate) fn anchored(mut self, measured: f64) -> Self {
        let misses = 1.0 - self.same.hit_ratio();
        let factor = if misses > 0.0 { (1.0 - measured) / misses } else { 1.0 };
        for outlook in [&mut self.half, &mut self.same, &mut self.double] {
            for (_, ratio) in &mut outlook.settings {
                *ratio = (1.0 - (1.0 - *ratio) * factor).clamp(0.0, 1.0);
            }
        }
        self
    }
}

/// Shadows of half the size and of twice the size, there once somebody asked for advice.
#[derive(Debug)]
pub(super) struct Scales {
    pub(super) half: Shadows,
    pub(super) double: Shadows,
}

impl Scales {
    /// Beside shadows that may weigh `capacity` and hold about `entries`.
    pub(super) fn new(capacity: u64, entries: usize, goal: Goal, seed: u64) -> Box<Self> {
        let start = (Setting::START, goal);
        let scaled = |capacity, entries| Shadows::new(capacity, entries, start, seed);
        Box::new(Self {
            half: scaled(capacity / 2, entries / 2),
            double: scaled(capacity.saturating_mul(2), entries * 2),
        })
    }
}

/// What shadows say, if they have seen enough.
pub(super) fn outlook(shadows: &Shadows, capacity: u64) -> Option<Outlook> {
    let settings = shadows.hit_ratios()?.collect();
    Some(Outlook { capacity, settings })
}
