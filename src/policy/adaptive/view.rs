//! A stripe's queues and entries as the rules of `setting` see them.

use super::Adaptive;
use super::chances::Chances;
use super::recorder::{MOVED_TO_MAIN, chances, frequency, main_mark};
use super::setting::Queues;
use super::shadow::xorshift;
use crate::Slot;
use crate::policy::parts::{Mixed, Sketch};
use crate::policy::{Mark, Residents};

/// A stripe's queues together with its entries: what [`choose`] works on. If some entries may be
/// `RANKED`, those are the main queue's tail until they have left or moved to its head.
pub(super) struct View<'a, R, const RANKED: bool> {
    pub(super) stripe: &'a mut Adaptive,
    pub(super) residents: &'a R,
}

impl<'a, R: Residents, const RANKED: bool> Queues for View<'a, R, RANKED> {
    type Entry = Slot;
    type Seen = &'a Mark;

    #[inline]
    fn small_is_over(&self) -> bool {
        let Adaptive { target, small, small_weight, is_uniform, .. } = &*self.stripe;
        if *is_uniform { small.len() as u64 > *target } else { *small_weight > u128::from(*target) }
    }

    #[inline]
    fn small_tail(&self) -> Option<Slot> {
        self.stripe.small.back()
    }

    #[inline]
    fn main_tail(&self) -> Option<Slot> {
        let ranked = if RANKED { self.stripe.ranked.lowest() } else { None };
        ranked.or(self.stripe.main.back())
    }

    #[inline]
    fn look(&self, entry: Slot) -> &'a Mark {
        self.residents.mark(entry)
    }

    #[inline]
    fn frequency(seen: &'a Mark) -> u8 {
        frequency(seen.get())
    }

    #[inline]
    fn promote(&mut self, entry: Slot, seen: &'a Mark) {
        let Adaptive { nodes, small, main, small_weight, main_weight, is_uniform, .. } =
            &mut *self.stripe;
        main.take_back_of(small, nodes, entry);
        seen.set(MOVED_TO_MAIN);
        if !*is_uniform {
            let weight = u128::from(self.residents.weight(entry));
            *small_weight -= weight;
            *main_weight += weight;
        }
    }

    #[inline]
    fn spare(&mut self, entry: Slot, seen: &'a Mark) {
        let (content, sketch) = (seen.get(), &mut self.stripe.memory.sketch);
        sketch.pass(1);
        let chances = chances(content).and_one(sketch.generation());
        seen.set(main_mark(frequency(content).saturating_sub(1), chances));
        let is_ranked = RANKED && self.stripe.ranked.contains(entry);
        if is_ranked {
            self.stripe.unrank(entry);
        }
        let Adaptive { nodes, main, .. } = &mut *self.stripe;
        if is_ranked {
            main.push_front(nodes, entry);
        } else {
            main.rotate(nodes, entry);
        }
    }

    #[inline]
    fn hash(&self, entry: Slot) -> Mixed {
        Mixed::new(self.residents.hash(entry))
    }

    #[inline]
    fn main_tail_hash(&mut self, entry: Slot) -> Mixed {
        if self.stripe.champion != Some(entry) {
            self.stripe.champion = Some(entry);
            self.stripe.champion_hash = self.hash(entry);
        }
        self.stripe.champion_hash
    }

    #[inline]
    fn sketch(&mut self) -> &mut Sketch {
        &mut self.stripe.memory.sketch
    }

    #[inline]
    fn chances(seen: &'a Mark) -> Chances {
        chances(seen.get())
    }

    #[inline]
    fn random(&mut self) -> u64 {
        xorshift(&mut self.stripe.random)
    }
}

impl Adaptive {
    /// While the cache fills up, what is too much for the small queue goes on to the main queue
    /// without duels.
    #[inline]
    pub(super) fn overflow(&mut self, residents: &impl Residents) {
        let mut view = View::<_, true> { stripe: self, residents };
        if view.small_is_over()
            && let Some(tail) = view.small_tail()
        {
            view.promote(tail, view.look(tail));
        }
    }
}
