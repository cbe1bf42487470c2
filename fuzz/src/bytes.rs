//! Taking an input apart: what is past its end is zero.

use std::time::Duration;

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of it.
    pub const fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether nothing is left.
    pub const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, as it is.
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// The next byte as a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Whether the next byte is odd.
    pub fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// Two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A time, from nothing to for ever.
    pub fn duration(&mut self) -> Duration {
        let by = u64::from(self.byte());
        match self.below(12) {
            0 => Duration::ZERO,
            1 => Duration::from_nanos(by),
            2 => Duration::from_nanos(by * 100),
            3 => Duration::from_micros(by * 10),
            4 | 5 => Duration::from_millis(by),
            6 => Duration::from_millis(by * 100),
            7 => Duration::from_secs(by),
            8 => Duration::from_secs(by * 600),
            9 => Duration::from_secs(by * 86_400),
            10 => Duration::from_secs(by * 86_400 * 365),
            _ => Duration::MAX,
        }
    }
}
