//! A page to look at: it needs no other file and no network.
//!
//! The page draws itself, with [uPlot](https://github.com/leeoniya/uPlot), from the figures as JSON.

use serde::Serialize;

use crate::advice::Advice;
use crate::profile::Profile;
use crate::simulate::Simulation;

const PAGE: &str = include_str!("../../assets/report.html");
const STYLE: &str = include_str!("../../assets/report.css");
const SCRIPT: &str = include_str!("../../assets/report.js");
const PLOT_STYLE: &str = include_str!("../../assets/uPlot.min.css");
const PLOT_SCRIPT: &str = include_str!("../../assets/uPlot.iife.min.js");

/// All that the page shows of one trace.
#[derive(Debug, Serialize)]
pub struct Section {
    /// The figures.
    pub simulation: Simulation,
    /// What the trace is like.
    pub profile: Profile,
    /// What to do.
    pub advice: Option<Advice>,
    /// The same in words.
    pub sentence: Option<String>,
    /// How the figures were found.
    pub method: String,
}

impl Section {
    /// The section for a trace with these figures.
    #[must_use]
    pub fn new(simulation: Simulation, profile: Profile, method: &str) -> Self {
        let advice = Advice::of(&simulation);
        let sentence = advice.as_ref().map(Advice::to_string);
        Self { simulation, profile, advice, sentence, method: method.to_owned() }
    }
}

/// The page.
///
/// # Panics
/// Never: figures can always be written as JSON.
#[must_use]
pub fn page(sections: &[Section]) -> String {
    let data = serde_json::to_string(sections).expect("figures");
    // So that no name can end the element that the data stands in.
    let data = data.replace('<', "\\u003c");
    let parts = [
        ("{style}", format!("{PLOT_STYLE}\n{STYLE}")),
        ("{plot}", PLOT_SCRIPT.to_owned()),
        ("{script}", SCRIPT.to_owned()),
        ("{data}", data),
    ];
    parts.iter().fold(PAGE.to_owned(), |page, (mark, part)| page.replacen(mark, part, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    #[test]
    fn names_cannot_break_the_page() {
        let trace = Trace::of_keys("<script><b>", [1, 1]);
        let simulation = Simulation::new(&trace, trace.reuses(), false, Vec::new());
        let page = page(&[Section::new(simulation, Profile::of(&trace), "")]);
        assert!(!page.contains("<script><b>") && page.contains("\\u003cscript>"));
        let marks = ["{style}", "{plot}", "{script}", "{data}"];
        assert!(marks.iter().all(|mark| !page.contains(mark)));
    }
}
