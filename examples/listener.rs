//! Cleaning up after entries: temporary files that are deleted when they leave the cache.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;

use larder::{Cache, RemovalCause};

fn main() -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("larder-thumbnails-{}", std::process::id()));
    fs::create_dir_all(&folder)?;

    // Every entry that leaves is reported once, after all locks are released: the listener may
    // take its time, and may call the cache. Slow work still delays the caller: send it away.
    let (removed, log) = mpsc::channel();
    let thumbnails: Cache<u32, PathBuf> = Cache::builder()
        .capacity(10)
        .on_removal(move |&image, file: &PathBuf, removal| {
            if let Err(error) = fs::remove_file(file) {
                eprintln!("{}: {error}", file.display());
            }
            let _ = removed.send((image, removal.cause));
        })
        .build();

    for image in 0..15 {
        let file = folder.join(format!("{image}.png"));
        fs::write(&file, b"small")?;
        thumbnails.insert(image, file);
    }
    assert_eq!(fs::read_dir(&folder)?.count(), 10);
    for (image, cause) in log.try_iter() {
        println!("Thumbnail {image} is gone: {cause:?}.");
        assert!(matches!(cause, RemovalCause::Size | RemovalCause::Rejected));
    }

    thumbnails.clear();
    assert_eq!(fs::read_dir(&folder)?.count(), 0);
    let causes: Vec<_> = log.try_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, [RemovalCause::Explicit; 10]);
    fs::remove_dir(folder)
}
