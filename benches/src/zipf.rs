//! Zipf-distributed ranks, reproducibly.

/// Draws ranks `0..n`, rank `i` with a probability in proportion to `1 / (i + 1)^exponent`.
pub struct Zipf {
    /// The probability of a rank of at most the index.
    cumulated: Vec<f64>,
    random: SplitMix,
}

impl Zipf {
    /// A source over `n` ranks; equal seeds give equal streams.
    #[must_use]
    pub fn new(n: usize, exponent: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=n)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|p| *p /= sum);
        Self { cumulated, random: SplitMix(seed) }
    }

    /// The next `count` ranks.
    pub fn take(&mut self, count: usize) -> impl Iterator<Item = u64> + '_ {
        (0..count).map(|_| {
            let p = self.random.unit();
            self.cumulated.partition_point(|&below| below < p) as u64
        })
    }
}

/// The splitmix64 generator.
struct SplitMix(u64);

impl SplitMix {
    /// The next number.
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::rival::scramble(self.0)
    }

    /// The next number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}
