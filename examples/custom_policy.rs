//! A policy of one's own, in safe code: of a few entries drawn at random, the least used goes
//! (sampled LFU, as in Redis).

use larder::policy::{Mark, Newcomer, Policy, Recorder, Residents};
use larder::{Cache, RemovalCause, Slot};

/// What a hit does: it counts, in the byte beside the entry.
#[derive(Debug)]
struct Count;

impl Recorder for Count {
    fn on_hit(&self, _: Slot, uses: &Mark) -> bool {
        uses.set(uses.get().saturating_add(1));
        false
    }
}

/// The entries of one stripe, in no order.
#[derive(Debug, Default)]
struct SampledLfu {
    entries: Vec<Slot>,
    /// Where each slot stands in `entries`.
    places: Vec<usize>,
    random: u32,
}

impl SampledLfu {
    fn place(&mut self, slot: Slot, place: usize) {
        if self.places.len() <= slot.index() {
            self.places.resize(slot.index() + 1, usize::MAX);
        }
        self.places[slot.index()] = place;
    }
}

impl Policy for SampledLfu {
    type Recorder = Count;

    fn for_stripes(self, stripes: usize, _: u64) -> Vec<Self> {
        (0..stripes).map(|_| Self::default()).collect()
    }

    fn recorder(&self) -> Count {
        Count
    }

    fn on_insert(&mut self, newcomer: Newcomer, _: &impl Residents) {
        self.place(newcomer.slot, self.entries.len());
        self.entries.push(newcomer.slot);
    }

    fn on_remove(&mut self, slot: Slot, _: RemovalCause, _: &impl Residents) {
        let hole = self.places[slot.index()];
        self.entries.swap_remove(hole);
        if let Some(&moved) = self.entries.get(hole) {
            self.place(moved, hole);
        }
    }

    fn on_move(&mut self, from: Slot, to: Slot) {
        let place = self.places[from.index()];
        self.place(to, place);
        self.entries[place] = to;
    }

    fn victim(&mut self, residents: &impl Residents) -> Option<Slot> {
        // The newcomer, which stands last, is not among the drawn while there are others.
        let others = self.entries.len().saturating_sub(1).max(1);
        let drawn = (0..5).filter_map(|_| {
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.entries.get(self.random as usize % others).copied()
        });
        let drawn: Vec<Slot> = drawn.collect();
        // Counts fade, so that yesterday's favourites leave.
        let fade = |&slot: &Slot| residents.mark(slot).set(residents.mark(slot).get() / 2);
        let victim = drawn.iter().copied().min_by_key(|&slot| residents.mark(slot).get());
        drawn.iter().for_each(fade);
        victim
    }

    fn set_capacity(&mut self, _: u64, _: u64) {}

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn ranking(&self, residents: &impl Residents) -> Vec<Slot> {
        let mut entries = self.entries.clone();
        // Hits change the marks meanwhile: each is read once.
        entries.sort_by_cached_key(|&slot| residents.mark(slot).get());
        entries
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn validate(&self, slots: &[Slot], _: &impl Residents) {
        assert_eq!(self.entries.len(), slots.len());
        assert!(slots.iter().all(|&slot| self.entries[self.places[slot.index()]] == slot));
    }
}

fn main() {
    let cache = Cache::<u32, &str>::builder()
        .capacity(100)
        .policy(SampledLfu::default())
        .stats(true)
        .build();
    cache.insert(0, "often used");
    for key in 1..10_000 {
        cache.insert(key, "used once");
        assert_eq!(cache.get(&0), Some("often used"));
        assert!(cache.len() <= 100);
    }
    assert_eq!(cache.hottest(1), [(0, "often used")]);
    let evicted = cache.stats().removals[RemovalCause::Size].count;
    assert_eq!(evicted, 9_900);
    println!("{evicted} entries were evicted; the one in use stayed.");
}
