//! The calling thread's processor: its CPU clock, and pinning.
#![allow(unsafe_code, reason = "two system calls that the standard library does not offer")]

use std::time::Duration;

/// The processor time that the calling thread has used so far. Time during which another thread
/// had the processor does not count, so a busy machine disturbs it less than a wall clock.
///
/// # Panics
/// If the system has no such clock.
#[must_use]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid `timespec` that the call may write to.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "the system has no thread CPU clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Binds the calling thread to the `index`th of the processors (counted around) that the process
/// may use. Elsewhere than on Linux it does nothing.
pub fn pin(index: usize) {
    #[cfg(target_os = "linux")]
    {
        let allowed = allowed();
        if allowed.is_empty() {
            return;
        }
        let mut set = empty_set();
        // SAFETY: the number comes from a set of the same size, so it is in range.
        unsafe { libc::CPU_SET(allowed[index % allowed.len()], &mut set) };
        // SAFETY: `set` is a valid set of the size given; 0 names the calling thread.
        let status = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
        assert_eq!(status, 0, "the system refused to pin the thread");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = index;
}

/// The processors that the calling thread may run on.
#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    let mut set = empty_set();
    // SAFETY: `set` is a valid set of the size given, which the call may write to.
    let status = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    assert_eq!(status, 0, "the system does not say which processors may be used");
    (0..8 * size_of_val(&set))
        // SAFETY: `cpu` is less than the number of bits in the set.
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect()
}

#[cfg(target_os = "linux")]
fn empty_set() -> libc::cpu_set_t {
    // SAFETY: a set is an array of integers, for which all zeroes is a value: the empty set.
    unsafe { std::mem::zeroed() }
}
