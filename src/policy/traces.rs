//! Hit ratios on recorded traces, in percent, one line per trace, capacity and policy.
//!
//! Prints "skipped" unless `LARDER_TRACES` names a folder of `*.txt.zst` files with one access a
//! line (the key first). Run it with `cargo test --release --lib traces -- --nocapture`.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::sim::Sim;
use super::{AnyPolicy, NAMES};

#[test]
fn hit_ratios() {
    let Ok(folder) = std::env::var("LARDER_TRACES") else { return println!("skipped") };
    let only = std::env::var("LARDER_POLICIES").unwrap_or_else(|_| NAMES.join(","));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of traces")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let keys = keys_of(&file);
        let distinct = keys.iter().collect::<HashSet<_>>().len() as u64;
        for percent in [1, 5, 10, 25] {
            let capacity = (distinct * percent / 100).max(16);
            for policy in only.split(',') {
                let pattern: AnyPolicy = policy.parse().expect("a policy");
                let mut sim = Sim::new(pattern, capacity);
                sim.access_all(keys.iter().copied());
                let hits = sim.hit_percent();
                println!("{} {capacity} {policy} {hits:.4}", name.trim_end_matches(".txt.zst"));
            }
        }
    }
}

fn keys_of(file: &Path) -> Vec<u64> {
    let packed = std::fs::File::open(file).expect("the trace");
    let mut text = String::new();
    let mut reader = zstd::stream::read::Decoder::new(packed).expect("zstd");
    reader.read_to_string(&mut text).expect("text");
    let key = |line: &str| line.split_whitespace().next().and_then(|key| key.parse().ok());
    text.lines().filter_map(key).collect()
}
