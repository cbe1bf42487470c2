//! Recorded accesses, and the most hits any cache could get from them.

use std::collections::{BinaryHeap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The capacities that a trace is replayed at, in percent of its distinct keys …
const SHARES: [usize; 4] = [1, 5, 10, 25];
/// … and in entries at least.
const LEAST: usize = 16;

/// A trace.
pub struct Trace {
    /// The name of its file, without the endings.
    pub name: String,
    /// The key of each access, numbered from 0 in the order of first use.
    pub keys: Vec<u64>,
    /// How many keys there are.
    pub distinct: usize,
}

impl Trace {
    /// Reads a file, perhaps compressed (`.zst`), with one access a line, a key first.
    ///
    /// # Errors
    /// If it cannot be read, or is not text.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text: Box<dyn Read> = Box::new(File::open(path)?);
        if path.extension().is_some_and(|ending| ending == "zst") {
            text = Box::new(zstd::Decoder::new(text)?);
        }
        let mut numbers = HashMap::new();
        let mut keys = Vec::new();
        for line in BufReader::new(text).lines() {
            let line = line?;
            let Some(key) = line.split_whitespace().next() else { continue };
            let next = numbers.len() as u64;
            let number = match numbers.get(key) {
                Some(&number) => number,
                None => *numbers.entry(key.to_owned()).or_insert(next),
            };
            keys.push(number);
        }
        Ok(Self { name: name_of(path), keys, distinct: numbers.len() })
    }

    /// Reads every trace in a folder, in the order of their names.
    ///
    /// # Errors
    /// If the folder or a trace cannot be read.
    pub fn read_all(folder: &Path) -> io::Result<Vec<Self>> {
        let files: io::Result<Vec<_>> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
        let mut files = files?;
        files.retain(|path| {
            let path = path.to_string_lossy();
            path.ends_with(".txt") || path.ends_with(".txt.zst")
        });
        files.sort();
        files.iter().map(|path| Self::read(path)).collect()
    }

    /// 1, 5, 10 and 25 % of the distinct keys, but at least 16.
    pub fn capacities(&self) -> impl Iterator<Item = usize> + '_ {
        SHARES.iter().map(|share| (self.distinct * share / 100).max(LEAST))
    }

    /// So many accesses in percent of all.
    #[must_use]
    pub fn percent(&self, hits: usize) -> f64 {
        100.0 * hits as f64 / self.keys.len() as f64
    }

    /// The hits of the offline optimum (Belady): what is used last, or never again, goes, and that
    /// may be the newcomer.
    #[must_use]
    pub fn optimum(&self, capacity: usize) -> usize {
        let next_uses = self.next_uses();
        let mut resident = vec![false; self.distinct];
        // The next use of each resident, latest first. Entries of residents used since stay behind,
        // but name the past and so never come out on top.
        let mut latest = BinaryHeap::new();
        let (mut held, mut hits) = (0, 0);
        for (&key, &next) in self.keys.iter().zip(&next_uses) {
            let key = key as usize;
            latest.push((next, key));
            if resident[key] {
                hits += 1;
                continue;
            }
            resident[key] = true;
            held += 1;
            if held > capacity {
                let (_, victim) = latest.pop().expect("the newcomer is there at least");
                resident[victim] = false;
                held -= 1;
            }
        }
        hits
    }

    /// For each access, the index of the next one to the same key.
    fn next_uses(&self) -> Vec<usize> {
        let mut upcoming = vec![usize::MAX; self.distinct];
        let mut next_uses = vec![0; self.keys.len()];
        for (index, &key) in self.keys.iter().enumerate().rev() {
            next_uses[index] = std::mem::replace(&mut upcoming[key as usize], index);
        }
        next_uses
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(".zst").trim_end_matches(".txt").to_owned()
}

#[cfg(test)]
mod tests {
    use super::Trace;

    /// The most hits by trying every victim.
    fn exhaustively(keys: &[u64], resident: &[u64], capacity: usize) -> usize {
        let Some((&key, rest)) = keys.split_first() else { return 0 };
        if resident.contains(&key) {
            return 1 + exhaustively(rest, resident, capacity);
        }
        let mut with = resident.to_vec();
        with.push(key);
        if with.len() <= capacity {
            return exhaustively(rest, &with, capacity);
        }
        let without = |victim| {
            let kept: Vec<u64> = with.iter().copied().filter(|&key| key != victim).collect();
            exhaustively(rest, &kept, capacity)
        };
        with.iter().map(|&victim| without(victim)).max().unwrap_or_default()
    }

    #[test]
    fn nothing_beats_the_optimum() {
        for seed in 0..50 {
            let key = |step: u64| crate::rival::scramble(seed << 32 | step) % 5;
            let keys: Vec<u64> = (0..11).map(key).collect();
            for capacity in 1..4 {
                let trace = Trace { name: String::new(), keys: keys.clone(), distinct: 5 };
                assert_eq!(trace.optimum(capacity), exhaustively(&keys, &[], capacity), "{keys:?}");
            }
        }
    }
}
