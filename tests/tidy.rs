//! The house rules that no lint knows: file heads and lengths, who may use unsafe code and the
//! standard library's locks, and imports that only go down.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files that may opt into unsafe code.
const UNSAFE: &[&str] = &[
    "table/mod.rs",
    "table/arena/grow.rs",
    "table/arena/mod.rs",
    "table/bare.rs",
    "table/bucket.rs",
    "table/glance.rs",
    "table/lock.rs",
    "table/prints.rs",
    "time.rs",
];

/// The modules from the bottom up: each may import its own layer and those before it.
const LAYERS: &[&[&str]] = &[
    &["sync"],
    &["event", "panics", "slot", "threads", "time", "hash", "key"],
    &["policy"],
    // They share `Lifetime`s and slots, and know nothing of the policies' insides.
    &["expiry", "table", "tags"],
    &["budget", "flight", "outbox", "record", "stats", "trace"],
    &["context"],
    &["stripe"],
    &["cache"],
];

/// The longest a file may be.
const LINES: usize = 600;

fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src is there") {
            let path = entry.expect("readable").path();
            match path.is_dir() {
                true => collect(&path, files),
                false => files.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below src").display().to_string();
            (name, fs::read_to_string(&path).expect("text"))
        })
        .collect()
}

/// The lines that are code, without what follows `//`.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

#[test]
fn every_file_says_what_it_is_and_is_not_long() {
    for (name, text) in sources() {
        assert!(text.starts_with("//! "), "{name} does not open with `//!`");
        let lines = text.lines().count();
        assert!(lines <= LINES, "{name} has {lines} lines");
    }
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    for (name, text) in sources() {
        let is_unsafe =
            code(&text).any(|line| line.contains("unsafe ") || line.contains("unsafe{"));
        assert!(!is_unsafe || UNSAFE.contains(&name.as_str()), "{name} uses unsafe code");
    }
}

/// Locks and atomics come from `sync`, so that the models see every one of them.
#[test]
fn locks_and_atomics_come_from_sync() {
    for (name, text) in sources().iter().filter(|(name, _)| name != "sync.rs") {
        let text: String = code(text).collect();
        for banned in ["sync::atomic", "std::sync::Mutex", "RwLock", "std::sync::Condvar"] {
            assert!(!text.contains(banned), "{name} names {banned}");
        }
        // As one of several imports.
        for import in text.split("std::sync::{").skip(1).chain(text.split("sync::{").skip(1)) {
            let list = import.split('}').next().unwrap_or_default();
            assert!(!list.contains("atomic::"), "{name} imports atomics past `sync`");
        }
    }
}

#[test]
fn imports_only_go_down() {
    let layer = |module: &str| LAYERS.iter().position(|modules| modules.contains(&module));
    for (name, text) in sources() {
        let own = name.split(['/', '.']).next().unwrap_or_default();
        let Some(own_layer) = layer(own) else {
            assert!(["lib", "design"].contains(&own), "{name} is in no layer");
            continue;
        };
        let text: String = code(&text).collect::<Vec<_>>().join("\n");
        for import in text.split("use crate::").skip(1) {
            let import = import.split(';').next().unwrap_or_default();
            // The first part of each path at the import's outermost level.
            let mut depth = 0;
            let mut part = String::new();
            let mut modules = Vec::new();
            for letter in import.trim_start_matches('{').chars().chain([',']) {
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth <= 0 => modules.push(std::mem::take(&mut part)),
                    _ => part.push(letter),
                }
            }
            for module in modules {
                let module = module.trim().split("::").next().unwrap_or_default().to_owned();
                let Some(theirs) = layer(&module) else { continue };
                assert!(theirs <= own_layer, "{name} imports {module}, which is above it");
            }
        }
    }
}

#[test]
fn the_changelog_has_a_place_for_what_comes_next() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changes = fs::read_to_string(root.join("CHANGELOG.md")).expect("CHANGELOG.md");
    assert!(changes.contains("## [Unreleased]"));
}
