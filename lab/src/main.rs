//! `larder-lab`: what a cache would do on recorded traffic.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Who has seen enough need not be told.
        Err(error) if error.chain().any(commands::is_unread) => ExitCode::SUCCESS,
        Err(error) => {
            commands::tell(format_args!("larder-lab: {error:#}"));
            ExitCode::from(2)
        }
    }
}
