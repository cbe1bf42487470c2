//! Memoizes the expensive queries of a shop's SQLite database, and shows what that is worth.
//!
//! ```text
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --trace FILE
//! ```
//!
//! `catalog.rs` is the part to copy into a service; the rest makes a database and requests.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "the library's own rules do not bind its users"
)]

mod catalog;
mod database;
mod load;
mod report;
mod requests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use catalog::Catalog;
use clap::Parser;

#[derive(Parser)]
#[command(about = "Memoizes expensive SQLite queries behind a larder cache.")]
struct Options {
    /// The database; it is created if missing [default: in the system's temporary folder].
    #[arg(long)]
    db: Option<PathBuf>,
    /// Requests from this file, a key and optionally a size a line; may end in .zst.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// How skewed the random requests are.
    #[arg(long, default_value_t = 0.99)]
    zipf: f64,
    /// Pages the cache may hold.
    #[arg(long, default_value_t = 10_000)]
    capacity: u64,
    /// Seconds that a page may be served for.
    #[arg(long, default_value_t = 60.0)]
    ttl: f64,
    /// One request in so many changes the product's price instead; 0 for none.
    #[arg(long, default_value_t = 1000)]
    writes: usize,
    /// Worker threads [default: one a processor].
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds that each of the two runs may take.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

fn main() -> ExitCode {
    match quickstart(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn quickstart(options: &Options) -> load::Result<()> {
    let requests = match &options.trace {
        Some(path) => requests::trace(path)?,
        None => requests::zipf(2_000_000, options.zipf),
    };
    let default = || std::env::temp_dir().join("larder-quickstart.db");
    let path = options.db.clone().unwrap_or_else(default);
    database::ensure(&path)?;

    let catalog = Catalog::open(&path, options.capacity, Duration::try_from_secs_f64(options.ttl)?);
    let threads = options.threads.unwrap_or(std::thread::available_parallelism()?.get());
    let limit = Duration::try_from_secs_f64(options.seconds)?;
    let writes = |number: usize| options.writes > 0 && number % options.writes == 1;
    println!("{} requests, {threads} threads, {limit:?} at most for each run.", requests.len());

    let uncached = load::run(&requests, threads, limit, |number, product| {
        if writes(number) {
            return Ok(catalog.set_price(product, number as u32)?);
        }
        catalog.query_page(product)?;
        Ok(())
    })?;
    let cached = load::run(&requests, threads, limit, |number, product| {
        if writes(number) {
            return Ok(catalog.set_price(product, number as u32)?);
        }
        catalog.page(product)?;
        Ok(())
    })?;
    report::compare(&uncached, &cached, &catalog);
    report::contents(&catalog);
    Ok(())
}
