//! The requests: real HTTP to the service's port.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Some connections, each of which carries many requests at once (HTTP/2).
#[derive(Clone)]
pub struct Client {
    service: SocketAddr,
    connections: Vec<legacy::Client<HttpConnector, Empty<Bytes>>>,
}

impl Client {
    /// So many that a thousand requests can be under way at once.
    const CONNECTIONS: usize = 8;

    pub fn new(service: SocketAddr) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        let connection = |_| builder.http2_only(true).build_http();
        Self { service, connections: (0..Self::CONNECTIONS).map(connection).collect() }
    }

    /// Asks for a path over one of the connections.
    pub async fn get(&self, connection: usize, path: &str) -> Result<(StatusCode, Bytes)> {
        let uri: Uri = format!("http://{}{path}", self.service).parse()?;
        let connection = &self.connections[connection % self.connections.len()];
        let response = connection.get(uri).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Lets so many users ask, one request after the other, for so long. `path` is told the number
    /// of the user and that of the request.
    pub async fn run(
        &self,
        users: usize,
        length: Duration,
        path: impl Fn(usize, u64) -> String + Clone + Send + 'static,
    ) -> Result<Run> {
        let start = Instant::now();
        let mut tasks = JoinSet::<Result<Run>>::new();
        for user in 0..users {
            let (client, path) = (self.clone(), path.clone());
            tasks.spawn(async move {
                let mut run = Run::default();
                for number in 0.. {
                    let begin = Instant::now();
                    if begin - start >= length {
                        break;
                    }
                    let (status, _) = client.get(user, &path(user, number)).await?;
                    run.micros.saturating_record(begin.elapsed().as_micros() as u64);
                    run.failures += u64::from(!status.is_success());
                }
                Ok(run)
            });
        }
        let mut all = Run::default();
        for run in tasks.join_all().await {
            let run = run?;
            all.micros += run.micros;
            all.failures += run.failures;
        }
        all.length = start.elapsed();
        Ok(all)
    }
}

/// What some users met with.
pub struct Run {
    pub length: Duration,
    /// Latencies in microseconds.
    pub micros: Histogram<u64>,
    /// Answers other than a report.
    pub failures: u64,
}

impl Default for Run {
    fn default() -> Self {
        let micros = Histogram::new_with_max(60_000_000, 3).expect("the bounds are sound");
        Self { length: Duration::ZERO, micros, failures: 0 }
    }
}

impl Run {
    pub fn per_second(&self) -> f64 {
        self.micros.len() as f64 / self.length.as_secs_f64()
    }

    /// A latency in milliseconds.
    pub fn millis(&self, quantile: f64) -> f64 {
        self.micros.value_at_quantile(quantile) as f64 / 1e3
    }
}
