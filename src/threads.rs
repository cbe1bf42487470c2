//! Numbers for threads, so that each can have a place of its own where many write.
//!
//! The numbers are the smallest possible: those of threads that ended are given to new ones.

use std::cell::Cell;

use crate::sync::{Mutex, lock};

/// What a thread without a number has: one that never asked for one.
const NONE: usize = usize::MAX;
/// What a thread has that is about to end, after it gave its number back.
const ENDED: usize = usize::MAX - 1;

/// Numbers not in use: those given back, and the first never used.
static FREE: std::sync::LazyLock<Mutex<(Vec<usize>, usize)>> =
    std::sync::LazyLock::new(|| Mutex::new((Vec::new(), 0)));

/// A thread's number, given back when the thread ends.
struct Ticket(usize);

impl Ticket {
    fn take() -> Self {
        let mut free = lock(&FREE);
        let number = free.0.pop().unwrap_or_else(|| {
            free.1 += 1;
            free.1 - 1
        });
        Self(number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = NUMBER.try_with(|number| number.set(ENDED));
        lock(&FREE).0.push(self.0);
    }
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    static TICKET: Ticket = Ticket::take();
}

/// This thread's number, or one larger than any thread's if it has none yet or is about to end.
#[inline(always)]
pub(crate) fn known_number() -> usize {
    NUMBER.with(Cell::get)
}

/// This thread's number, which no other living thread has; one larger than any thread's if it is
/// about to end.
#[inline]
pub(crate) fn number() -> usize {
    let number = known_number();
    if number == NONE { take_number() } else { number }
}

#[cold]
fn take_number() -> usize {
    let number = TICKET.try_with(|ticket| ticket.0).unwrap_or(ENDED);
    NUMBER.with(|own| own.set(number));
    number
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn living_threads_have_numbers_of_their_own() {
        let own = number();
        assert_eq!((own, known_number()), (number(), own));
        let all = std::sync::Barrier::new(8);
        let numbers: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        assert_eq!(known_number(), NONE);
                        let number = number();
                        all.wait();
                        number
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let distinct: std::collections::HashSet<_> = numbers.iter().chain([&own]).collect();
        assert_eq!(distinct.len(), 9);
    }
}
