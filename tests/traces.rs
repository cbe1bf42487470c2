//! With one stripe, `Lru` is the textbook's, access by access: on a made-up trace, and on recorded
//! ones where there are any (`../shared/traces` beside the package).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
};

use larder::{Cache, policy::Lru};

/// How much of a recorded trace is replayed, so that debug builds take seconds.
const LONGEST: usize = 12_000;

/// The textbook: who was used longest ago goes.
struct Textbook {
    capacity: usize,
    now: u64,
    last_use: HashMap<u64, u64>,
    by_use: BTreeMap<u64, u64>,
}

impl Textbook {
    fn new(capacity: usize) -> Self {
        Self { capacity, now: 0, last_use: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// Answers whether the key was there, and lets it in if not.
    fn access(&mut self, key: u64) -> bool {
        self.now += 1;
        let before = self.last_use.insert(key, self.now);
        before.map(|before| self.by_use.remove(&before));
        self.by_use.insert(self.now, key);
        if self.by_use.len() > self.capacity
            && let Some((_, victim)) = self.by_use.pop_first()
        {
            self.last_use.remove(&victim);
        }
        before.is_some()
    }
}

/// Replays the keys at 1, 5, 10 and 25 % of the distinct ones.
fn compare(name: &str, keys: &[u64]) {
    let distinct = keys.iter().collect::<HashSet<_>>().len();
    for share in [1, 5, 10, 25] {
        let capacity = (distinct * share / 100).max(1);
        let builder = Cache::builder().capacity(capacity as u64).stripes(1);
        let cache = builder.policy(Lru::new()).build();
        let mut textbook = Textbook::new(capacity);
        let mut hits = 0;
        for (step, &key) in keys.iter().enumerate() {
            let is_hit = cache.get(&key).is_some();
            if !is_hit {
                cache.insert(key, ());
            }
            assert_eq!(is_hit, textbook.access(key), "{name}, {capacity} entries, step {step}");
            hits += usize::from(is_hit);
        }
        let percent = 100.0 * hits as f64 / keys.len() as f64;
        println!("{name}: {percent:.2} % with {capacity} of {distinct}");
        cache.validate();
    }
}

/// The keys of a trace, one access a line, the key first.
fn keys_of(file: &Path) -> Vec<u64> {
    let file = fs::File::open(file).expect("the trace");
    let text = BufReader::new(zstd::Decoder::new(file).expect("zstd"));
    let lines = text.lines().map(|line| line.expect("text")).take(LONGEST);
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// Popular keys, a loop, a scan, and popular keys again, others than before.
fn synthetic() -> Vec<u64> {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let mut keys = Vec::new();
    for phase in 0..2 {
        // The least of three draws: low keys are asked for more often.
        keys.extend(
            (0..12_000)
                .map(|_| phase * 300 + (0..3).map(|_| random(2000)).min().unwrap_or_default()),
        );
        keys.extend((0..5000).map(|step| 10_000 + step % 150));
        keys.extend(20_000 + phase * 1000..21_000 + phase * 1000);
    }
    keys
}

#[test]
fn lru_is_the_textbooks_on_a_synthetic_trace() {
    compare("synthetic", &synthetic());
}

#[test]
fn lru_is_the_textbooks_on_recorded_traces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    let Ok(files) = fs::read_dir(folder) else { return println!("skipped: no traces") };
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "zst"));
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        compare(&name, &keys_of(&file));
    }
}
