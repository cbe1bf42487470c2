//! Worker threads that make the requests, and what they measured.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What one run took.
pub struct Run {
    pub elapsed: Duration,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Run {
    pub fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Lets `threads` workers answer the requests in order, until all are answered or the time is up.
/// `answer` is told the number of the request and the product.
pub fn run(
    requests: &[u32],
    threads: usize,
    limit: Duration,
    answer: impl Fn(usize, u32) -> Result<()> + Sync,
) -> Result<Run> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let worker = || -> Result<Histogram<u64>> {
        let mut latency = histogram();
        let mut begin = start;
        while begin - start < limit {
            // Relaxed: each number is given out once; nothing else hangs on it.
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&product) = requests.get(number) else { break };
            begin = Instant::now();
            answer(number, product)?;
            latency.saturating_record(begin.elapsed().as_nanos() as u64);
        }
        Ok(latency)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut latency = histogram();
        for worker in workers {
            latency += worker.join().expect("workers do not panic")?;
        }
        Ok(Run { elapsed: start.elapsed(), latency })
    })
}

/// To three digits, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are sound")
}
