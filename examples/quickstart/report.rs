//! The results, for people.

use std::sync::Arc;

use larder::RemovalCause;

use crate::catalog::{Catalog, Page};
use crate::load::Run;

/// Both runs side by side.
pub fn compare(uncached: &Run, cached: &Run, catalog: &Catalog) {
    println!(
        "\n{:<18}{:>12}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "requests/s", "hit ratio", "p50", "p90", "p99", "p99.9", "max"
    );
    line("without a cache", uncached, "–");
    let hit_ratio = format!("{:.1} %", 100.0 * catalog.pages().stats().hit_ratio());
    line("with larder", cached, &hit_ratio);
    let times = cached.per_second() / uncached.per_second();
    println!("\nThe cache answers {times:.1} times as many requests.");
}

fn line(name: &str, run: &Run, hit_ratio: &str) {
    print!("{name:<18}{:>12.0}{hit_ratio:>11}", run.per_second());
    for quantile in [0.5, 0.9, 0.99, 0.999] {
        print!("{:>10}", readable(run.latency.value_at_quantile(quantile)));
    }
    println!("{:>10}", readable(run.latency.max()));
}

fn readable(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        _ => format!("{:.1} ms", nanos as f64 / 1e6),
    }
}

/// What left the cache and why, and what is in it.
pub fn contents(catalog: &Catalog) {
    let pages = catalog.pages();
    let stats = pages.stats();
    println!(
        "\n{} of {} pages in the cache. What left it, and why:",
        pages.len(),
        pages.capacity()
    );
    for (cause, why) in [
        (RemovalCause::Size, "evicted for a page more likely to be used"),
        (RemovalCause::Rejected, "not kept: the cached pages are used more"),
        (RemovalCause::Expired, "too old"),
        (RemovalCause::Explicit, "the price changed"),
        (RemovalCause::Replaced, "replaced by a newer one"),
    ] {
        println!("{:>12}  {why}", stats.removals[cause].count);
    }
    let names = |pages: Vec<(u32, Arc<Page>)>| {
        pages.iter().map(|(_, page)| page.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    println!("Most wanted: {}.", names(pages.hottest(3)));
    println!("Next to leave: {}.", names(pages.coldest(3)));
}
