//! What the commands do.

use std::io;

use anyhow::{Context, Error, Result};
use larder_lab::curve::{self, check::check, miniature};
use larder_lab::progress::Progress;
use larder_lab::report;
use larder_lab::simulate::{Plan, Simulation, all_policies, simulate};
use larder_lab::trace::{Source, Trace};

use crate::cli::{Cli, Command, Curve, Input, Output, Simulate};

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
    let plan = Plan {
        policies: policies(&options.policy),
        capacities: options.capacity.clone(),
        by_size: options.sizes,
        stripes: options.stripes,
        time_to_live: options.ttl,
        seeds: options.seeds,
    };
    let mut done = Vec::new();
    for source in &options.input.traces {
        let trace = read(source, &options.input)?;
        let simulation = simulate(&trace, &plan).map_err(Error::msg)?;
        if options.output.is_for_people() {
            println!("{}", report::terminal::simulation(&simulation));
        }
        done.push(simulation);
    }
    print(&done, &options.output)
}

fn curve_all(options: &Curve) -> Result<()> {
    let mut done = Vec::new();
    for source in &options.input.traces {
        let trace = read(source, &options.input)?;
        let plan = miniature::Plan {
            policies: policies(&options.policy),
            capacities: options.capacity.of(&trace, options.sizes).map_err(Error::msg)?,
            by_size: options.sizes,
            entries: options.entries,
            samples: options.samples,
        };
        let effort = curve::effort(&trace, options.share);
        let curves = curve::curves(&trace, &plan, effort).map_err(Error::msg)?;
        if options.output.is_for_people() {
            println!("{}", report::terminal::curves(&curves));
        }
        if options.check {
            let checks = check(&trace, &plan, effort, &curves).map_err(Error::msg)?;
            let table = report::terminal::checks(&checks);
            if options.output.is_for_people() {
                println!("{table}\n")
            } else {
                eprintln!("{table}")
            }
        }
        done.push(curves);
    }
    print(&done, &options.output)
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
    })?;
    bar.finish();
    if trace.skipped > 0 {
        eprintln!("{}: {} bad lines left out", trace.name, trace.skipped);
    }
    Ok(trace)
}

fn print(simulations: &[Simulation], output: &Output) -> Result<()> {
    if output.json {
        serde_json::to_writer_pretty(io::stdout().lock(), simulations)
            .context("standard output")?;
        println!();
    }
    if output.csv {
        report::csv::write(io::stdout().lock(), simulations).context("standard output")?;
    }
    Ok(())
}
