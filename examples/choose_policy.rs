//! An eviction policy chosen at run time, by name, and what it is worth on a workload.
//!
//! ```text
//! cargo run --release --example choose_policy -- lru sieve
//! ```

use std::error::Error;

use larder::Cache;
use larder::policy::AnyPolicy;

fn main() -> Result<(), Box<dyn Error>> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = ["lru", "sieve", "s3-fifo", "tiny-lfu", "adaptive"].map(str::to_owned).to_vec();
    }
    for name in names {
        // An unknown name is an error that lists those there are.
        let policy: AnyPolicy = name.parse()?;
        let cache = Cache::<u64, ()>::builder().capacity(500).policy(policy).stats(true).build();
        for key in workload() {
            if cache.get(&key).is_none() {
                cache.insert(key, ());
            }
        }
        assert!(cache.stats().hit_ratio() > 0.1);
        println!("{name:>10}: {:.1} % hits", 100.0 * cache.stats().hit_ratio());
    }
    Ok(())
}

/// Popular keys, mixed with scans over keys that are used once.
fn workload() -> impl Iterator<Item = u64> {
    let mut state = 1_u64;
    (0..200_000).map(move |step| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = (state >> 33) as f64 / (1_u64 << 31) as f64;
        // A tenth of the time there is a scan going on.
        if step % 10_000 < 1000 { 1_000_000 + step } else { (random.powi(4) * 5000.0) as u64 }
    })
}
