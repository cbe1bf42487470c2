//! How far a long computation has come.

use std::io::Read;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal's standard error, with the time left; silent where there is no terminal.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// No bar.
    #[must_use]
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// A bar that is full after so many accesses.
    #[must_use]
    pub fn of_accesses(label: &str, accesses: u64) -> Self {
        let bar = ProgressBar::new(accesses).with_message(label.to_owned());
        Self::styled(bar, "{msg} {wide_bar} {percent:>3} % {human_pos} accesses, {eta} left")
    }

    /// A bar for the reading of a file of `length` bytes, if that is known.
    #[must_use]
    pub fn of_bytes(label: &str, length: Option<u64>) -> Self {
        let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let bar = bar.with_message(label.to_owned());
        Self::styled(bar, "{msg} {wide_bar} {bytes} {eta} left")
    }

    fn styled(bar: ProgressBar, template: &str) -> Self {
        bar.set_style(ProgressStyle::with_template(template).expect("a template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// So much more is done.
    pub fn advance(&self, by: usize) {
        self.0.inc(by as u64);
    }

    /// Advances by the bytes that are read.
    pub fn watch(&self, input: impl Read + 'static) -> Box<dyn Read> {
        Box::new(self.0.wrap_read(input))
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
