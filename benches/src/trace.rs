//! The recorded traces of a folder, and the capacities they are replayed at.

use std::fs;
use std::path::Path;

use larder_lab::trace::{Error, Options, Source, Trace};

/// The capacities that a trace is replayed at, in percent of its distinct keys …
const SHARES: [usize; 4] = [1, 5, 10, 25];
/// … and in entries at least.
const LEAST: usize = 16;

/// Reads every trace (`*.txt`, `*.txt.zst`) in a folder, in the order of their names.
///
/// # Errors
/// If the folder or a trace cannot be read.
pub fn read_all(folder: &Path) -> Result<Vec<Trace>, Error> {
    let unreadable = |source| Error::Unreadable { file: folder.display().to_string(), source };
    let files: Result<Vec<_>, _> =
        fs::read_dir(folder).map_err(unreadable)?.map(|entry| Ok(entry?.path())).collect();
    let mut files = files.map_err(unreadable)?;
    files.retain(|path| {
        let path = path.to_string_lossy();
        path.ends_with(".txt") || path.ends_with(".txt.zst")
    });
    files.sort();
    let read = |path| Source::File(path).read(&Options::default(), |input, _| input);
    files.into_iter().map(read).collect()
}

/// 1, 5, 10 and 25 % of the distinct keys, but at least 16.
pub fn capacities(trace: &Trace) -> impl Iterator<Item = usize> + '_ {
    SHARES.iter().map(|share| (trace.distinct * share / 100).max(LEAST))
}
