//! The one file that imports locks and atomics, so that the loom models see every one of them.
//!
//! `--cfg larder_loom` swaps them for loom's.

#![allow(clippy::disallowed_types, reason = "this is the file that may name them")]
#![allow(unused_imports, reason = "not every build uses every primitive")]

#[cfg(not(larder_loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard, RwLock, TryLockError,
    atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    },
};

#[cfg(larder_loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard, RwLock,
    atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    },
};
#[cfg(larder_loom)]
pub(crate) use std::sync::TryLockError;
