//! A web service over a SQLite database whose expensive queries go through a `LoadingCache`, and a
//! load generator that shows what that is worth.
//!
//! ```text
//! cargo run --release --features metrics --example axum_queries
//! cargo run --release --features metrics --example axum_queries -- --serve 127.0.0.1:3000
//! ```
//!
//! `reports.rs` (the cache) and `service.rs` (the routes) are the parts to copy; `database.rs` is
//! the store, and `demo.rs` and `client.rs` make the requests. Everything the demonstration shows it
//! also asserts.
#![allow(
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "the library's own rules do not bind its users"
)]

mod client;
mod database;
mod demo;
mod reports;
mod service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;

use database::Database;
use reports::Reports;

#[derive(Parser)]
#[command(about = "Sales reports from SQLite, memoized by a larder LoadingCache, over HTTP.")]
struct Options {
    /// Only serve, on this address, until interrupted.
    #[arg(long)]
    serve: Option<SocketAddr>,
    /// The database; it is made if missing [default: in the system's temporary folder].
    #[arg(long)]
    db: Option<PathBuf>,
    /// Bytes that the reports in memory may take.
    #[arg(long, default_value_t = 256 << 10)]
    capacity: u64,
    /// Seconds of each measurement, and of the database being locked.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("axum_queries: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> client::Result<()> {
    let path = options.db.unwrap_or_else(|| std::env::temp_dir().join("larder-axum-queries.db"));
    database::ensure(&path)?;
    let database = Database::new(&path);
    let reports = Reports::new(database.clone(), options.capacity);
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let router = service::router(reports.clone(), prometheus);

    let address = options.serve.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    println!("Serving on http://{address}/reports/7 and /metrics");
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    if options.serve.is_some() {
        return Ok(server.await??);
    }
    let length = Duration::try_from_secs_f64(options.seconds)?;
    demo::run(&client::Client::new(address), &reports, &database, length).await
}
