//! Tables for a terminal.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color, LineStyle, Table, TableStyle};
use indicatif::HumanCount;

use super::units::Amount;
use crate::advice::Advice;
use crate::simulate::{OPTIMUM, Outcome, Simulation, TEXTBOOK};

/// Whose figure is this near to the best (points) is among the best.
const NEAR: f64 = 0.005;

/// Lines above, below the head, and at the end.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('─', '─', '─', '─'))
    .header_separator(LineStyle::new('─', '─', '─', '─'))
    .bottom_border(LineStyle::new('─', '─', '─', '─'));

/// One trace: what it is, a table for each capacity, and what to do.
#[must_use]
pub fn simulation(simulation: &Simulation) -> String {
    let mut text = format!(
        "{}: {} accesses to {} keys",
        simulation.trace,
        HumanCount(simulation.accesses as u64),
        HumanCount(simulation.distinct as u64),
    );
    if let (Some(bytes), Some(footprint)) = (simulation.bytes, simulation.footprint) {
        let amount = |capacity| Amount { capacity, by_size: true };
        let _ = write!(text, ", {} asked for, {} in all", amount(bytes), amount(footprint));
    }
    if simulation.skipped > 0 {
        let _ = write!(text, "; {} bad lines left out", HumanCount(simulation.skipped));
    }
    let _ = writeln!(text, "\n{}", table(simulation));
    if let Some(advice) = Advice::of(simulation) {
        let _ = writeln!(text, "{advice}");
    }
    text
}

fn table(simulation: &Simulation) -> Table {
    let outcomes = &simulation.outcomes;
    let columns = Columns {
        bytes: outcomes.iter().any(|outcome| outcome.byte_hit_percent.is_some()),
        refusals: outcomes.iter().any(|outcome| outcome.refusals.unwrap_or(0) > 0),
        expirations: outcomes.iter().any(|outcome| outcome.expirations.unwrap_or(0) > 0),
        spread: outcomes.iter().any(|outcome| outcome.spread > 0.0),
    };
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(columns.head());
    for (column, _) in columns.head().iter().enumerate().skip(2) {
        let column = table.column_mut(column).expect("it has a head");
        column.set_cell_alignment(CellAlignment::Right);
    }
    for block in outcomes.chunk_by(|a, b| a.capacity == b.capacity) {
        if table.row_count() > 0 {
            table.add_row([""]);
        }
        let mut sorted: Vec<&Outcome> = block.iter().collect();
        sorted.sort_by(|a, b| b.hit_percent.total_cmp(&a.hit_percent));
        let best = Best::of(block);
        for (number, outcome) in sorted.into_iter().enumerate() {
            let amount = Amount { capacity: outcome.capacity, by_size: simulation.by_size };
            let label = if number == 0 { amount.to_string() } else { String::new() };
            table.add_row(columns.row(label, outcome, &best));
        }
    }
    table
}

/// Which columns there are beside those that are always there.
struct Columns {
    bytes: bool,
    refusals: bool,
    expirations: bool,
    spread: bool,
}

impl Columns {
    fn head(&self) -> Vec<&'static str> {
        let mut head = vec!["capacity", "policy", "hits %"];
        head.extend(self.spread.then_some("spread"));
        head.extend(self.bytes.then_some("bytes %"));
        head.extend(["ns/access", "evicted"]);
        head.extend(self.refusals.then_some("refused"));
        head.extend(self.expirations.then_some("expired"));
        head
    }

    fn row(&self, label: String, outcome: &Outcome, best: &Best) -> Vec<Cell> {
        let count = |count: Option<u64>| {
            Cell::new(count.map_or_else(String::new, |count| HumanCount(count).to_string()))
        };
        let nanos =
            outcome.nanos_per_access.map_or_else(String::new, |nanos| format!("{nanos:.0}"));
        let hits = Some(outcome.hit_percent);
        let mut row = vec![
            Cell::new(label),
            outlined(Cell::new(&outcome.policy), outcome),
            percent(hits, best.hits, outcome),
        ];
        row.extend(self.spread.then(|| Cell::new(format!("{:.2}", outcome.spread))));
        row.extend(self.bytes.then(|| percent(outcome.byte_hit_percent, best.bytes, outcome)));
        row.extend([Cell::new(nanos), count(outcome.evictions)]);
        row.extend(self.refusals.then(|| count(outcome.refusals)));
        row.extend(self.expirations.then(|| count(outcome.expirations)));
        row
    }
}

/// The best figures of the policies at one capacity.
struct Best {
    hits: f64,
    bytes: f64,
}

impl Best {
    fn of(block: &[Outcome]) -> Self {
        let ours = || block.iter().filter(|outcome| is_ours(outcome));
        let hits = ours().map(|outcome| outcome.hit_percent);
        let bytes = ours().filter_map(|outcome| outcome.byte_hit_percent);
        Self { hits: hits.fold(0.0, f64::max), bytes: bytes.fold(0.0, f64::max) }
    }
}

fn is_ours(outcome: &Outcome) -> bool {
    ![TEXTBOOK, OPTIMUM].contains(&outcome.policy.as_str())
}

/// Percent, marked if none of the policies has more.
fn percent(percent: Option<f64>, best: f64, outcome: &Outcome) -> Cell {
    let Some(percent) = percent else { return Cell::new("") };
    if is_ours(outcome) && percent >= best - NEAR {
        let cell = Cell::new(format!("★ {percent:.2}"));
        return cell.add_attribute(Attribute::Bold).fg(Color::Green);
    }
    outlined(Cell::new(format!("{percent:.2}")), outcome)
}

/// Fainter, if it is no policy of ours.
fn outlined(cell: Cell, outcome: &Outcome) -> Cell {
    if is_ours(outcome) { cell } else { cell.add_attribute(Attribute::Dim) }
}
