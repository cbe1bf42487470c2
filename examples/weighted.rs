//! A capacity in bytes instead of entries.

use std::sync::Arc;

use larder::Cache;

const MIB: u64 = 1 << 20;

fn main() {
    // Hits share the page; they do not copy it.
    let pages: Cache<String, Arc<[u8]>> = Cache::builder()
        .capacity(16 * MIB)
        .weigher(|url: &String, page: &Arc<[u8]>| (url.len() + page.len()) as u64)
        .build();

    for number in 0..1000 {
        // 100 MiB and more in all.
        let size = 1000 * (1 + number % 200);
        pages.insert(format!("/page/{number}"), vec![0; size].into());
        assert!(pages.weight() <= pages.capacity());
    }
    println!("{} pages of {} bytes in all are cached.", pages.len(), pages.weight());
    assert!(pages.weight() > 14 * MIB);

    // What can never fit is refused, and evicts nobody.
    let before = pages.len();
    pages.insert("/backup".to_owned(), vec![0; 17 * MIB as usize].into());
    assert!(!pages.contains_key("/backup"));
    assert_eq!(pages.len(), before);

    // The capacity can change while the cache is in use.
    pages.set_capacity(4 * MIB);
    pages.run_maintenance();
    assert!(pages.weight() <= 4 * MIB);
    println!("{} pages are left in 4 MiB.", pages.len());
}
