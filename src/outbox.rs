//! Removal notices, delivered in order, one after the other, with no lock held.
//!
//! A notice gets its number under the stripe's lock and is brought here after that is released, so
//! notices may arrive out of order. Whoever brings the next one due delivers it and all that
//! follow; who finds another thread (or itself, from inside the listener) delivering leaves its
//! notice to it.

use std::{
    collections::VecDeque,
    mem::needs_drop,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub(crate) use crate::panics::forget_panic;
use crate::{
    Removal,
    event::Leaving,
    sync::{Mutex, lock},
};

/// The user's removal listener.
pub(crate) type Listener<K, V> = dyn Fn(&K, &V, Removal) + Send + Sync;

/// The notices of one stripe.
#[derive(Debug)]
pub(crate) struct Outbox<K, V>(Mutex<Queue<K, V>>);

#[derive(Debug)]
struct Queue<K, V> {
    /// The number of the notice due next.
    next: u64,
    /// Whether some thread is delivering.
    busy: bool,
    /// Notices by number, from `next` on; gaps have not arrived yet.
    waiting: VecDeque<Option<Leaving<K, V>>>,
}

impl<K, V> Outbox<K, V> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Queue { next: 0, busy: false, waiting: VecDeque::new() }))
    }

    /// Brings one notice and delivers what is due. Answers how often the listener panicked.
    pub(crate) fn deliver(&self, leaving: Leaving<K, V>, listener: &Listener<K, V>) -> u64 {
        let mut queue = lock(&self.0);
        let mut turn = queue.take_turn(leaving);
        let mut panics = 0;
        while let Some(due) = turn {
            drop(queue);
            panics += u64::from(!tell(due, listener));
            queue = lock(&self.0);
            turn = queue.take_due();
            queue.busy = turn.is_some();
        }
        panics
    }
}

/// Tells of one entry, and drops it. Answers whether the listener came to its end.
fn tell<K, V>(due: Leaving<K, V>, listener: &Listener<K, V>) -> bool {
    // The listener, and the drops of key and value, may panic and may call the cache.
    let told = catch_unwind(AssertUnwindSafe(|| listener(&due.key, &due.value, due.removal)));
    let is_told = told.is_ok();
    forget_panic(told);
    if needs_drop::<(K, V)>() {
        forget_panic(catch_unwind(AssertUnwindSafe(move || drop((due.key, due.value)))));
    }
    is_told
}

impl<K, V> Queue<K, V> {
    /// Takes the notice due next, given one that arrived, if nobody else is delivering: `busy` then.
    fn take_turn(&mut self, leaving: Leaving<K, V>) -> Option<Leaving<K, V>> {
        if self.busy {
            self.put(leaving);
            return None;
        }
        let turn = if leaving.ticket.number == self.next && self.waiting.is_empty() {
            // So it is mostly.
            self.next += 1;
            Some(leaving)
        } else {
            self.put(leaving);
            self.take_due()
        };
        self.busy = turn.is_some();
        turn
    }

    fn put(&mut self, leaving: Leaving<K, V>) {
        let place = usize::try_from(leaving.ticket.number - self.next).expect("few notices wait");
        if self.waiting.len() <= place {
            self.waiting.resize_with(place + 1, || None);
        }
        self.waiting[place] = Some(leaving);
    }

    fn take_due(&mut self) -> Option<Leaving<K, V>> {
        let due = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.next += 1;
        Some(due)
    }
}
