//! Finds out what more memory would be worth: advice from the cache itself, and a recording of its
//! traffic for `larder-lab`.
//!
//! `cargo run --release --features record --example record`

use std::{env, error::Error};

use larder::{Cache, record::Recording};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::temp_dir().join("larder-example.rec.gz");
    let cache = Cache::<u64, String>::builder()
        .capacity(2_000)
        .stats(true)
        .record(Recording::to_file(&path)?.one_in(4))
        .build();
    // From the first call on the policy looks at other sizes too.
    assert!(cache.advise().is_none());

    // Some rows are asked for far more often than others.
    for i in 0..400_000_u64 {
        let row = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % (1 + i % 20_000);
        cache.get_or_insert_with(&row, || format!("row {row}"));
    }

    let advice = cache.advise().expect("seen enough");
    for outlook in [&advice.half, &advice.same, &advice.double] {
        println!("{:5} entries: {:.1} % hits", outlook.capacity, 100.0 * outlook.hit_ratio());
    }
    let recorded = cache.recorded().expect("it records");
    drop(cache); // Ends the file.
    println!("{} accesses or more in {}; now run", recorded.written, path.display());
    println!(
        "  cargo run --release -p larder-lab -- simulate {} -c 1000,2000,4000",
        path.display()
    );
    Ok(())
}
