//! What the commands do.

use std::fmt::Display;
use std::io::{self, Write};
use std::{error, fs};

use anyhow::{Context, Error, Result};
use larder_lab::curve::{self, check::check, miniature, reuse::Effort};
use larder_lab::profile::Profile;
use larder_lab::progress::Progress;
use larder_lab::report::{self, html::Section};
use larder_lab::simulate::{Plan, Simulation, all_policies, simulate};
use larder_lab::trace::{Source, Trace};

use crate::cli::{Cli, Command, Curve, Input, Output, Simulate};

/// The capacities that are simulated if none are asked for: for a table, and for a report.
const FEW: &str = "1%,5%,10%,25%";
const MANY: &str = "0.5%..100%:14";

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<()> {
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    match cli.command {
        Command::Simulate(options) => simulate_all(&options),
        Command::Curve(options) => curve_all(&options),
    }
}

fn simulate_all(options: &Simulate) -> Result<()> {
    let usual = || if options.output.report.is_some() { MANY } else { FEW };
    let plan = Plan {
        policies: policies(&options.policy),
        capacities: match &options.capacity {
            Some(capacities) => capacities.clone(),
            None => usual().parse().map_err(Error::msg)?,
        },
        by_size: options.sizes,
        stripes: options.stripes,
        time_to_live: options.ttl,
        seeds: options.seeds,
    };
    let mut done = Done::new(&options.output, "Replayed through the cache.")?;
    for source in &options.input.traces {
        let trace = read(source, &options.input)?;
        let simulation = simulate(&trace, &plan).map_err(Error::msg)?;
        if options.output.is_for_people() {
            done.print(&report::terminal::simulation(&simulation))?;
        }
        done.add(&trace, simulation);
    }
    done.write()
}

fn curve_all(options: &Curve) -> Result<()> {
    let method = "Estimated from samples where that saves time; LRU from one pass.";
    let mut done = Done::new(&options.output, method)?;
    for source in &options.input.traces {
        let trace = read(source, &options.input)?;
        let plan = miniature::Plan {
            policies: policies(&options.policy),
            capacities: options.capacity.of(&trace, options.sizes).map_err(Error::msg)?,
            by_size: options.sizes,
            entries: options.entries,
            samples: options.samples,
            seed: options.seed,
        };
        let is_exact = options.exact || plan.policies != [curve::LRU];
        let effort = if is_exact { Effort::Exact } else { curve::effort(&trace, options.seed) };
        let curves = curve::curves(&trace, &plan, effort).map_err(Error::msg)?;
        if options.output.is_for_people() {
            done.print(&report::terminal::curves(&curves))?;
        }
        if options.check {
            let checks = check(&trace, &plan, effort, &curves).map_err(Error::msg)?;
            tell(report::terminal::checks(&checks));
        }
        done.add(&trace, curves);
    }
    done.write()
}

/// The policies of these names, each once.
fn policies(names: &[String]) -> Vec<String> {
    let mut policies = Vec::new();
    for name in names {
        let those = if name == "all" { all_policies() } else { vec![name.clone()] };
        for policy in those {
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
    }
    policies
}

fn read(source: &Source, input: &Input) -> Result<Trace> {
    let mut bar = Progress::hidden();
    let trace = source.read(&input.options(), |stream, length| {
        bar = Progress::of_bytes("reading", length);
        bar.watch(stream)
    });
    bar.finish();
    let trace = trace?;
    if trace.skipped > 0 {
        tell(format_args!("{}: {} bad lines left out", trace.name, trace.skipped));
    }
    if trace.late > 0 {
        let Trace { name, late, .. } = &trace;
        tell(format_args!("{name}: {late} accesses are older than one before them: not sorted?"));
    }
    if trace.one_in > 1 {
        let Trace { name, one_in, .. } = &trace;
        tell(format_args!(
            "{name}: one key in {one_in} was recorded; the capacities shown are as small"
        ));
    }
    Ok(trace)
}

/// What has been found out, to be written at the end.
struct Done<'a> {
    output: &'a Output,
    method: &'a str,
    simulations: Vec<Simulation>,
    sections: Vec<Section>,
}

impl<'a> Done<'a> {
    /// Nothing yet. That the report can be written is seen to here, not after all the work.
    fn new(output: &'a Output, method: &'a str) -> Result<Self> {
        if let Some(path) = &output.report {
            let file = fs::OpenOptions::new().append(true).create(true).open(path);
            file.with_context(|| path.display().to_string())?;
        }
        Ok(Self { output, method, simulations: Vec::new(), sections: Vec::new() })
    }

    fn add(&mut self, trace: &Trace, simulation: Simulation) {
        if self.output.report.is_some() {
            let profile = Profile::of(trace);
            self.sections.push(Section::new(simulation.clone(), profile, self.method));
        }
        self.simulations.push(simulation);
    }

    /// Prints a table. If nobody reads it that ends the work, unless there is a report to write.
    fn print(&self, table: &str) -> Result<()> {
        match writeln!(io::stdout(), "{table}") {
            Err(error) if is_unread(&error) && self.output.report.is_some() => Ok(()),
            printed => printed.context(STDOUT),
        }
    }

    fn write(&self) -> Result<()> {
        if let Some(path) = &self.output.report {
            let page = report::html::page(&self.sections);
            fs::write(path, page).with_context(|| path.display().to_string())?;
            tell(format_args!("the report is in {}", path.display()));
        }
        let mut output = io::stdout().lock();
        if self.output.json {
            let written = serde_json::to_writer_pretty(&mut output, &self.simulations);
            written.map_err(io::Error::from).context(STDOUT)?;
            writeln!(output).context(STDOUT)?;
        }
        if self.output.csv {
            // By way of memory: errors of the `csv` crate do not tell what they come from.
            let mut text = Vec::new();
            report::csv::write(&mut text, &self.simulations)?;
            output.write_all(&text).context(STDOUT)?;
        }
        Ok(())
    }
}

/// Tells people something on standard error. If nobody reads that, so be it.
pub(crate) fn tell(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// Where what cannot be printed should have gone.
const STDOUT: &str = "standard output";

/// Whether this says that nobody reads standard output any more, as after `| head`.
pub(crate) fn is_unread(error: &(dyn error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
