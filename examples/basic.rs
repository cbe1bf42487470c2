//! Storing and looking up, from several threads.

use std::thread;

use larder::Cache;

fn main() {
    // Room for a thousand entries. When it is full, the entry least likely to be used again goes.
    let squares: Cache<u64, u64> = Cache::new(1000);

    // A handle is cheap to clone, and every clone is the same cache.
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let squares = squares.clone();
            thread::spawn(move || {
                for n in (worker..2000).step_by(4) {
                    squares.insert(n, n * n);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no worker panics");
    }
    assert_eq!(squares.len(), 1000);

    // `insert` answers with the value that was replaced.
    squares.insert(12, 0);
    assert_eq!(squares.insert(12, 144), Some(0));
    assert_eq!(squares.get(&12), Some(144));
    assert_eq!(squares.remove(&12), Some(144));
    assert_eq!(squares.get(&12), None);

    // Owned keys are looked up by what they borrow, and `read` does not clone the value.
    let capitals: Cache<String, String> = Cache::new(10);
    capitals.insert("France".to_owned(), "Paris".to_owned());
    assert_eq!(capitals.read("France", |capital| capital.len()), Some(5));
    assert!(capitals.insert_if_absent("France".to_owned(), "Lyon".to_owned()).is_err());
    assert_eq!(capitals.get("France").as_deref(), Some("Paris"));
}
