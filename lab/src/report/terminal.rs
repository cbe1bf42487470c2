//! Tables for a terminal.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color, LineStyle, Table, TableStyle};
use indicatif::HumanCount;

use super::units::Amount;
use crate::advice::Advice;
use crate::curve::check::Check;
use crate::simulate::{Outcome, Simulation};

/// Whose figure is this near to the best (points) is among the best.
const NEAR: f64 = 0.005;

/// Lines above, below the head, and at the end.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('─', '─', '─', '─'))
    .header_separator(LineStyle::new('─', '─', '─', '─'))
    .bottom_border(LineStyle::new('─', '─', '─', '─'));

/// One trace: what it is, what each capacity and policy came to, and what to do.
#[must_use]
pub fn simulation(simulation: &Simulation) -> String {
    page(simulation, &table(simulation))
}

/// One trace: what it is, a line a capacity with the hit ratios of all policies, and what to do.
#[must_use]
pub fn curves(simulation: &Simulation) -> String {
    page(simulation, &matrix(simulation))
}

/// How far off curves are.
#[must_use]
pub fn checks(checks: &[Check]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header([
        "curve",
        "off on average",
        "at worst",
        "beyond its ±",
        "less work",
        "less time",
    ]);
    (1..6).for_each(|column| align_right(&mut table, column));
    for check in checks {
        let (points, outside) = check.outside;
        let times = |times: f64| format!("{times:.1} ×");
        table.add_row([
            check.policy.clone(),
            format!("{:.2}", check.mean),
            format!("{:.2}", check.worst),
            if points > 0 { format!("{outside} of {points}") } else { String::new() },
            times(check.less_work),
            check.less_time.map_or_else(String::new, times),
        ]);
    }
    table.to_string()
}

fn page(simulation: &Simulation, table: &Table) -> String {
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
    let _ = writeln!(text, "\n{table}");
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
        errors: outcomes.iter().any(|outcome| outcome.error > 0.0),
    };
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(columns.head());
    (2..columns.head().len()).for_each(|column| align_right(&mut table, column));
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

fn align_right(table: &mut Table, column: usize) {
    let column = table.column_mut(column).expect("it has a head");
    column.set_cell_alignment(CellAlignment::Right);
}

fn matrix(simulation: &Simulation) -> Table {
    let blocks = || simulation.outcomes.chunk_by(|a, b| a.capacity == b.capacity);
    let names = blocks().next().into_iter().flatten().map(|outcome| outcome.policy.as_str());
    let head: Vec<&str> = std::iter::once("capacity").chain(names).collect();
    let mut table = Table::new();
    table.load_style(STYLE).set_header(&head);
    (1..head.len()).for_each(|column| align_right(&mut table, column));
    for block in blocks() {
        let best = Best::of(block);
        let amount = Amount { capacity: block[0].capacity, by_size: simulation.by_size };
        let cells = block.iter().map(|outcome| {
            let error = if outcome.error > 0.0 {
                format!(" ±{:.2}", outcome.error)
            } else {
                String::new()
            };
            percent(Some(outcome.hit_percent), &error, best.hits, outcome)
        });
        table.add_row(std::iter::once(Cell::new(amount)).chain(cells));
    }
    table
}

/// Which columns there are beside those that are always there.
struct Columns {
    bytes: bool,
    refusals: bool,
    expirations: bool,
    errors: bool,
}

impl Columns {
    fn head(&self) -> Vec<&'static str> {
        let mut head = vec!["capacity", "policy", "hits %"];
        head.extend(self.errors.then_some("±"));
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
            percent(hits, "", best.hits, outcome),
        ];
        row.extend(self.errors.then(|| Cell::new(format!("{:.2}", outcome.error))));
        row.extend(self.bytes.then(|| percent(outcome.byte_hit_percent, "", best.bytes, outcome)));
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
        let ours = || block.iter().filter(|outcome| outcome.is_ours());
        let hits = ours().map(|outcome| outcome.hit_percent);
        let bytes = ours().filter_map(|outcome| outcome.byte_hit_percent);
        Self { hits: hits.fold(0.0, f64::max), bytes: bytes.fold(0.0, f64::max) }
    }
}

/// Percent, marked if none of the policies has more.
fn percent(percent: Option<f64>, error: &str, best: f64, outcome: &Outcome) -> Cell {
    let Some(percent) = percent else { return Cell::new("") };
    if outcome.is_ours() && percent >= best - NEAR {
        let cell = Cell::new(format!("★ {percent:.2}{error}"));
        return cell.add_attribute(Attribute::Bold).fg(Color::Green);
    }
    outlined(Cell::new(format!("{percent:.2}{error}")), outcome)
}

/// Fainter, if it is no policy of ours.
fn outlined(cell: Cell, outcome: &Outcome) -> Cell {
    if outcome.is_ours() { cell } else { cell.add_attribute(Attribute::Dim) }
}
