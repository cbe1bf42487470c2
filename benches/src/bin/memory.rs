//! Memory of a cache that has grown from empty to full: everything it allocates is counted.
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use larder_bench::larders::*;
use larder_bench::peers::*;
use larder_bench::rival::{Key, Rival};
use larder_bench::table::Table;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Options {
    /// Only these caches.
    #[arg(long, value_delimiter = ',')]
    rivals: Vec<String>,
    /// Capacity. As many keys are inserted, then as many again, which evict.
    #[arg(long, default_value_t = 1_000_000)]
    entries: usize,
    /// Print Markdown.
    #[arg(long)]
    markdown: bool,
}

/// The system's allocator, counting the bytes asked of it.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn grow(bytes: usize) {
        // Relaxed: the counters publish nothing, and are read when the cache is at rest.
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(live, Ordering::Relaxed);
    }

    fn shrink(bytes: usize) {
        // Relaxed: as above.
        LIVE.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller keeps the same contract with us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller keeps the same contract with us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::shrink(layout.size());
        // SAFETY: the caller keeps the same contract with us.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may be alive together while the contents are copied.
        Self::grow(size);
        // SAFETY: the caller keeps the same contract with us.
        let memory = unsafe { System.realloc(memory, layout, size) };
        Self::shrink(layout.size());
        memory
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Key and value.
const PAYLOAD: f64 = 16.0;

fn main() {
    let options = Options::parse();
    let mut lines = Vec::new();
    macro_rules! measure {
        ($($rival:ident)*) => {$(
            let name = <$rival<u64, u64> as Rival<u64, u64>>::NAME;
            if options.rivals.is_empty() || options.rivals.iter().any(|wanted| wanted == name) {
                eprintln!("{name} …");
                lines.push((name, grown::<$rival<u64, u64>>(options.entries)));
            }
        )*};
    }
    // fibre_cache last: its background thread frees the cache some time after it is dropped, which
    // would be counted for the next.
    measure!(Larder LarderSieve LarderTtl QuickCache Moka MiniMoka FoyerLru FoyerS3Fifo SccHashCache LruMutex Hashbrown
        FibreS3Fifo);

    let mut table = Table::new("cache", options.markdown);
    column(&mut table, &lines, "entries held", |grown| grown.entries.to_string());
    column(&mut table, &lines, "bytes per entry over key and value", |grown| {
        format!("{:.1}", grown.over(grown.live))
    });
    column(&mut table, &lines, "the same, peak while growing", |grown| {
        format!("{:.1}", grown.over(grown.peak))
    });
    column(&mut table, &lines, "peak over end", |grown| {
        format!("{:.2}", grown.peak as f64 / grown.live as f64)
    });
    column(&mut table, &lines, "after evicting as many", |grown| {
        format!("{:.1}", grown.over(grown.later))
    });
    println!("{} u64 keys with u64 values, from empty.\n\n{table}", options.entries);
}

fn column(
    table: &mut Table,
    lines: &[(&str, Grown)],
    label: &str,
    text: impl Fn(&Grown) -> String,
) {
    table.column(label);
    lines.iter().for_each(|(name, grown)| table.cell(name, text(grown)));
}

/// A cache that has grown.
struct Grown {
    entries: usize,
    /// Bytes when the last key has come in, and at most until then.
    live: usize,
    peak: usize,
    /// Bytes when as many keys again have come in: what a policy remembers of the departed.
    later: usize,
}

impl Grown {
    fn over(&self, bytes: usize) -> f64 {
        bytes as f64 / self.entries as f64 - PAYLOAD
    }
}

fn grown<R: Rival<u64, u64>>(entries: usize) -> Grown {
    // Relaxed: nothing else runs.
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut cache = R::with_capacity(entries);
    let more = |cache: &mut R, ranks: Range<u64>| {
        ranks.for_each(|rank| cache.fill(u64::item(rank), rank));
        let held = cache.held();
        // Relaxed: the cache is at rest.
        (held, LIVE.load(Ordering::Relaxed) - before)
    };
    let n = entries as u64;
    let (held, live) = more(&mut cache, 0..n);
    // Relaxed: as above.
    let peak = PEAK.load(Ordering::Relaxed) - before;
    let (_, later) = if R::SHARED { more(&mut cache, n..2 * n) } else { (held, live) };
    Grown { entries: held, live, peak, later }
}
