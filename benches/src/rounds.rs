//! The method: every cache is filled, then they take turns, round after round.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::rival::{Key, Payload, Rival};
use crate::thread;
use crate::workload::{Column, Operation, Streams, measured};

/// What one cache needed for one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Processor time of all threads, in nanoseconds an operation.
    pub cpu_ns: f64,
    /// From the first start to the last end, in nanoseconds an operation.
    pub wall_ns: f64,
    /// Hits an operation.
    pub hits: f64,
}

/// A filled cache that is ready to run rounds of one column.
pub struct Contender {
    /// Its row.
    pub name: &'static str,
    run: Box<dyn Fn(usize) -> Sample>,
}

impl Contender {
    /// Makes and fills a cache; `None` if it cannot take part in this column.
    #[must_use]
    pub fn new<R, K, V>(column: &Column, streams: &Arc<Streams<K>>) -> Option<Self>
    where
        R: Rival<K, V>,
        K: Key,
        V: Payload,
    {
        let operation = column.operation;
        let only_hits = matches!(operation, Operation::Hit | Operation::HotKey);
        if !R::SHARED && (column.threads > 1 || !only_hits) {
            return None;
        }
        let mut cache = R::with_capacity(column.capacity);
        // The most popular keys last, so that a cache smaller than the keys starts with them.
        for rank in (0..column.distinct as u64).rev() {
            cache.fill(K::own(&K::item(rank)), V::make(rank));
        }
        let streams = Arc::clone(streams);
        let work = move |items: &[K::Item]| measured(&cache, operation, items);
        Some(Self::of(R::NAME, move |number| round(streams.round(number), &work)))
    }

    /// Whatever runs rounds by their number.
    pub fn of(name: &'static str, run: impl Fn(usize) -> Sample + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }

    /// Runs the round of this number.
    #[must_use]
    pub fn run(&self, number: usize) -> Sample {
        (self.run)(number)
    }
}

/// What one thread needed.
struct Turn {
    cpu: Duration,
    start: Instant,
    end: Instant,
    hits: u64,
}

/// One round: every stream on a thread of its own, all at once. `work` answers how often it hit.
pub fn round<I: Sync>(streams: &[Vec<I>], work: &(impl Fn(&[I]) -> u64 + Sync)) -> Sample {
    let barrier = Barrier::new(streams.len());
    let turn = |index: usize, items: &[I]| {
        thread::pin(index);
        barrier.wait();
        let (start, cpu) = (Instant::now(), thread::cpu_time());
        let hits = work(items);
        Turn { cpu: thread::cpu_time() - cpu, start, end: Instant::now(), hits }
    };
    let turn = &turn;
    let turns: Vec<Turn> = std::thread::scope(|scope| {
        let threads = streams.iter().enumerate();
        let threads: Vec<_> =
            threads.map(|(index, items)| scope.spawn(move || turn(index, items))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no cache panics")).collect()
    });
    let ops = streams.iter().map(Vec::len).sum::<usize>() as f64;
    let cpu: Duration = turns.iter().map(|turn| turn.cpu).sum();
    let start = turns.iter().map(|turn| turn.start).min().expect("a thread");
    let end = turns.iter().map(|turn| turn.end).max().expect("a thread");
    let hits = turns.iter().map(|turn| turn.hits).sum::<u64>();
    Sample {
        cpu_ns: cpu.as_nanos() as f64 / ops,
        wall_ns: (end - start).as_nanos() as f64 / ops,
        hits: hits as f64 / ops,
    }
}

/// The samples of one cache, a round each.
pub struct Outcome {
    /// The cache.
    pub name: &'static str,
    /// What each round took.
    pub samples: Vec<Sample>,
}

impl Outcome {
    /// One aspect of every round.
    pub fn each(&self, aspect: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(aspect).collect())
    }

    /// One aspect of every round, divided by that of `base` in the same round.
    pub fn ratio(&self, base: &Self, aspect: impl Fn(&Sample) -> f64) -> Spread {
        let rounds = self.samples.iter().zip(&base.samples);
        Spread::of(rounds.map(|(own, base)| aspect(own) / aspect(base)).collect())
    }
}

/// The middle and the ends of the figures of all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (figures[0], figures[figures.len() - 1]);
        Self { min, median: figures[figures.len() / 2], max }
    }
}

/// Runs one round to warm up and `rounds` that count. Each round starts with another cache, so
/// that none always runs after the same neighbour.
#[must_use]
pub fn compare(contenders: &[Contender], rounds: usize) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = contenders
        .iter()
        .map(|contender| Outcome { name: contender.name, samples: Vec::new() })
        .collect();
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let index = (round + turn) % contenders.len();
            let sample = contenders[index].run(round);
            if round > 0 {
                outcomes[index].samples.push(sample);
            }
        }
    }
    outcomes
}
