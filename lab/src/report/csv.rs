//! A line an outcome, for other programs.

use std::io::Write;

use crate::simulate::{Outcome, Simulation};

/// The columns.
const HEAD: [&str; 11] = [
    "trace",
    "capacity",
    "policy",
    "stripes",
    "hit_percent",
    "byte_hit_percent",
    "error",
    "nanos_per_access",
    "evictions",
    "refusals",
    "expirations",
];

/// Writes the outcomes of all traces. What was not measured is empty.
///
/// # Errors
/// If `output` cannot be written.
pub fn write(output: impl Write, simulations: &[Simulation]) -> ::csv::Result<()> {
    let mut writer = ::csv::Writer::from_writer(output);
    writer.write_record(HEAD)?;
    for simulation in simulations {
        for outcome in &simulation.outcomes {
            writer.write_record(row(&simulation.trace, outcome))?;
        }
    }
    Ok(writer.flush()?)
}

fn row(trace: &str, outcome: &Outcome) -> [String; HEAD.len()] {
    let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    let fixed = |number: Option<f64>| number.map(|n| format!("{n:.4}")).unwrap_or_default();
    [
        trace.to_owned(),
        outcome.capacity.to_string(),
        outcome.policy.clone(),
        outcome.stripes.to_string(),
        fixed(Some(outcome.hit_percent)),
        fixed(outcome.byte_hit_percent),
        fixed(Some(outcome.error)),
        outcome.nanos_per_access.map(|nanos| format!("{nanos:.1}")).unwrap_or_default(),
        count(outcome.evictions),
        count(outcome.refusals),
        count(outcome.expirations),
    ]
}
