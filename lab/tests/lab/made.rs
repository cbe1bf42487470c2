//! Traces made up, the same every time.

use larder_lab::trace::Trace;

/// Random numbers (a 64-bit linear congruential generator, its upper half).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) * limit) >> 32
    }

    /// A rank of a Zipf distribution with exponent 1, from 1 to about `most`.
    pub(crate) fn zipf(&mut self, most: f64) -> u64 {
        most.powf(self.below(1 << 30) as f64 / f64::from(1 << 30)) as u64
    }
}

/// Popular keys and unpopular ones.
pub(crate) fn zipf(accesses: usize) -> Trace {
    let mut random = Random(1);
    Trace::of_keys("made-zipf", (0..accesses).map(|_| random.zipf(10_000.0)))
}

/// The same keys in the same order, again and again.
pub(crate) fn cycle(accesses: usize) -> Trace {
    Trace::of_keys("made-loop", (0..accesses as u64).map(|step| step % 1000))
}

/// Popular keys, and every now and then many that are asked for once.
pub(crate) fn scans(accesses: usize) -> Trace {
    let mut random = Random(2);
    let key = |step: u64| match step % 10_000 {
        0..7000 => random.zipf(3000.0),
        _ => 1_000_000 + step,
    };
    Trace::of_keys("made-scans", (0..accesses as u64).map(key))
}

/// Popularity, a loop and recency in turn.
pub(crate) fn phases(accesses: usize) -> Trace {
    let mut random = Random(3);
    let key = |step: u64| match step / 8000 % 3 {
        0 => random.zipf(5000.0),
        1 => 100_000 + step % 1500,
        _ => 200_000 + (step / 2).saturating_sub(random.below(200)),
    };
    Trace::of_keys("made-phases", (0..accesses as u64).map(key))
}
