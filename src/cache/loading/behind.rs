//! Writing behind: the cache changes at once, the store a little later.
//!
//! Unwritten keys queue up; a newer write of a key takes the place of its older one. One batch at a
//! time goes to the store, again and again until it is accepted, so each key's writes arrive in their
//! order. A batch that is on its way stays in the queue until then: what is not yet written is
//! what a load finds.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hash},
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::Weak,
    task::{Context, Poll, Waker},
};

use super::{
    LoadingCache, Shared,
    builder::Backoff,
    keep::jittered,
    loader::Loader,
    queue::{Batch, Queue, Waiting},
    sending::{Sending, Within},
    timer::Alarm,
    writer::{Hold, Write, WriteError, Writer, run},
};
use crate::{
    flight::{Driver, Job, wake_all},
    hash,
    outbox::forget_panic,
    policy::Policy,
    sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering, lock, try_lock},
    table::{deny_reentry, enter_user_code},
};

/// How the queue is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queueing {
    /// Keys.
    pub(super) most: usize,
    /// Keys.
    pub(super) batch: usize,
    pub(super) retry: Backoff,
}

/// The writes that the store does not have yet.
pub(super) struct Behind<K, V> {
    queueing: Queueing,
    hasher: ahash::RandomState,
    /// The number of unwritten keys, for who only wants to know whether there are any.
    unwritten: AtomicUsize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    queue: Queue<K, V>,
    /// Writes what there is, while `is_writing`, and callers are to drive it.
    job: Weak<Job>,
    is_writing: bool,
    /// Whether the last job was let go before it was done, by a spawner that panicked or is no more: then
    /// those who wait drive the next one.
    is_deserted: bool,
    waiters: Vec<(u64, Waker)>,
    /// The number of the last waiter.
    waiter: u64,
}

impl<K, V> Behind<K, V>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    pub(super) fn new(queueing: Queueing) -> Self {
        let state = State {
            queue: Queue::new(),
            job: Weak::new(),
            is_writing: false,
            is_deserted: false,
            waiters: Vec::new(),
            waiter: 0,
        };
        Self {
            queueing,
            hasher: hash::random_state(),
            unwritten: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        try_lock(&self.state).unwrap_or_else(|| {
            deny_reentry();
            lock(&self.state)
        })
    }

    /// The number of keys the store does not have the newest write of.
    pub(super) fn len(&self) -> usize {
        // Acquire: pairs with the Release in `Behind::count`.
        self.unwritten.load(Ordering::Acquire)
    }

    /// What the store will have for `key`, if it does not have it yet.
    #[inline]
    pub(super) fn unwritten(&self, key: &K) -> Option<Write<V>> {
        if self.len() == 0 { None } else { self.queued(key) }
    }

    #[cold]
    fn queued(&self, key: &K) -> Option<Write<V>> {
        let hash = self.hasher.hash_one(key);
        let state = self.lock();
        let _user = enter_user_code::<K, V>();
        state.queue.newest(hash, key).cloned()
    }

    /// The number of the newest write of a key.
    fn find(&self, hash: u64, key: &K, queue: &Queue<K, V>) -> Option<u64> {
        let _user = enter_user_code::<K, V>();
        queue.find(hash, key)
    }

    fn count(&self, queue: &Queue<K, V>) {
        // Release: pairs with the Acquire in `len`: who evicts the value afterwards and loads the key
        // finds it here.
        self.unwritten.store(queue.len(), Ordering::Release);
    }

    /// Queues a write; gives it back if there are too many. Answers with what it overtook, to be dropped.
    fn push(&self, key: &K, write: Write<V>) -> Result<Option<Waiting<K, V>>, Write<V>> {
        let hash = self.hasher.hash_one(key);
        let write = Waiting { hash, key: key.clone(), write };
        let mut state = self.lock();
        let former = self.find(hash, key, &state.queue);
        let pushed = state.queue.push(former, write, self.queueing.most);
        self.count(&state.queue);
        drop(state);
        pushed.map_err(|refused| refused.write)
    }

    /// The next batch, or the last one if that was not accepted. If it is empty, nobody is writing any
    /// more.
    fn next_batch(&self) -> Batch<K, V> {
        let mut state = self.lock();
        let batch = state.queue.send(self.queueing.batch);
        state.is_writing = !batch.is_empty();
        batch
    }

    /// Wakes all who wait for something to be written.
    fn tell(&self, mut state: MutexGuard<'_, State<K, V>>) {
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        wake_all(waiters.into_iter().map(|(_, waker)| waker));
    }
}

/// Somebody who waits; leaves when dropped.
struct Waiter<'a, K, V>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    behind: &'a Behind<K, V>,
    number: u64,
}

impl<'a, K, V> Waiter<'a, K, V>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    fn new(behind: &'a Behind<K, V>) -> Self {
        let mut state = behind.lock();
        state.waiter += 1;
        Self { behind, number: state.waiter }
    }

    /// Whether it is done; if not, this will be woken when something was written.
    fn look(&self, is_done: impl Fn(&Queue<K, V>) -> bool, waker: Waker) -> bool {
        let mut state = self.behind.lock();
        let is_done = is_done(&state.queue);
        let former = state.leave(self.number);
        if !is_done {
            state.waiters.push((self.number, waker));
        }
        drop(state);
        drop(former);
        is_done
    }
}

impl<K, V> State<K, V> {
    fn leave(&mut self, waiter: u64) -> Option<(u64, Waker)> {
        let own = self.waiters.iter().position(|&(number, _)| number == waiter)?;
        Some(self.waiters.swap_remove(own))
    }
}

impl<K, V> Drop for Waiter<'_, K, V>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    fn drop(&mut self) {
        // Without `deny_reentry`: it may be a panic by which this is dropped.
        let own = lock(&self.behind.state).leave(self.number);
        drop(own);
    }
}

/// Sees to the queue on behalf of a job, and notices when that is let go of before it is done.
struct Watch<K, V>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    behind: Arc<Behind<K, V>>,
    /// Whether those who wait drive the job. Then it ends with every batch that is accepted: nobody is kept
    /// who has no more to wait for, and nothing is begun that he then would give up.
    is_driven: bool,
    is_over: bool,
}

impl<K, V> Watch<K, V>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    fn next_batch(&mut self) -> Option<Batch<K, V>> {
        let batch = self.behind.next_batch();
        self.is_over = batch.is_empty();
        (!self.is_over).then_some(batch)
    }

    /// The store accepted the batch.
    fn accept(&mut self) {
        let mut state = self.behind.lock();
        let accepted = state.queue.accept();
        self.behind.count(&state.queue);
        state.is_writing = !self.is_driven;
        self.is_over = self.is_driven;
        // Whoever still waits will start the next job.
        self.behind.tell(state);
        drop(accepted);
    }
}

impl<K, V> Drop for Watch<K, V>
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = lock(&self.behind.state);
            state.is_writing = false;
            state.is_deserted = true;
            self.behind.tell(state);
        }
    }
}

impl<K, V, L, P, S> LoadingCache<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V> + Writer<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Writes to the cache now and to the store soon. Answers with the value that was replaced in the
    /// cache. If the queue is full, or the key is being loaded or written, this waits, blocking the thread;
    /// see [`put_behind_async`](Self::put_behind_async).
    ///
    /// # Errors
    /// [`WriteError::Reentrant`] if this thread is computing the key, or what that waits for, or runs the
    /// writer of the queue, which is full.
    pub fn put_behind(
        &self,
        key: K,
        value: V,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        run(self.put_behind_async(key, value))
    }

    /// [`put_behind`](Self::put_behind) for async code.
    ///
    /// **What is lost when.** Writes are queued in memory: at most
    /// [`write_queue`](crate::LoadingBuilder::write_queue) keys, of each the newest write. They are
    /// sent in batches by the [`spawner`](crate::LoadingBuilder::spawner); without one, or where it panics or
    /// drops what it is given, by those who [`flush`](Self::flush) or find the queue full. A batch that the
    /// store refuses is sent again after a while, without end. If the process ends, or the last handle of a
    /// cache without a spawner is dropped, the queue is lost; nothing is lost of what was written before a
    /// [`flush`](Self::flush) that has returned.
    ///
    /// A key whose entry is evicted, expires or is removed before the store has it is loaded from the
    /// queue.
    ///
    /// If this is dropped while it waits for room, nothing is queued; what it was sending is given up as
    /// [`flush_async`](Self::flush_async) says.
    ///
    /// # Errors
    /// As [`put_behind`](Self::put_behind).
    pub async fn put_behind_async(
        &self,
        key: K,
        value: V,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        let (lead, overtaken) = self.queue(&key, Write::Put(value.clone())).await?;
        Ok(self.follow(overtaken, || self.insert_as_leader(lead, key, value)))
    }

    /// Removes from the cache now and from the store soon; see [`put_behind`](Self::put_behind).
    ///
    /// # Errors
    /// As [`put_behind`](Self::put_behind).
    pub fn remove_behind(
        &self,
        key: K,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        run(self.remove_behind_async(key))
    }

    /// [`remove_behind`](Self::remove_behind) for async code.
    ///
    /// # Errors
    /// As [`put_behind`](Self::put_behind).
    pub async fn remove_behind_async(
        &self,
        key: K,
    ) -> Result<Option<V>, WriteError<<L as Writer<K, V>>::Error>> {
        let (lead, overtaken) = self.queue(&key, Write::Remove).await?;
        Ok(self.follow(overtaken, || self.remove_as_leader(lead, &key)))
    }

    /// Waits until the store has everything that was written behind before this was called, blocking
    /// the thread. It goes on trying as long as the store refuses; to give up after a while use
    /// [`flush_async`](Self::flush_async) with the time-out of your runtime.
    ///
    /// # Panics
    /// If the writer of the queue calls this: it would wait for itself.
    pub fn flush(&self) {
        run(self.flush_async());
    }

    /// [`flush`](Self::flush) for async code. Dropping it loses nothing; but if it was the last to drive a
    /// batch, where no spawner does, that is given up half-way and sent again later.
    ///
    /// # Panics
    /// If the writer of the queue waits for this: it would wait for itself.
    pub async fn flush_async(&self) {
        let behind = &self.shared.behind;
        let until = behind.lock().queue.numbers().end;
        let written = self.wait_written(|queue| queue.written() >= until).await;
        assert!(
            written.is_ok(),
            "the cache was flushed from inside its own writer, and would wait for the very batch that is being \
             written; flush it once the writer has returned"
        );
    }

    /// The number of keys whose newest write the store does not have yet.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.shared.behind.len()
    }

    /// Queues a write, once there is room, and answers with the lead of its key: until that is dropped nobody
    /// else loads or writes it, so the cache sees the writes of a key in the order of the queue. And with the
    /// write that it overtook.
    async fn queue(
        &self,
        key: &K,
        mut write: Write<V>,
    ) -> Result<(Hold<K, V, L>, Option<Waiting<K, V>>), Refused<K, V, L>> {
        let behind = &self.shared.behind;
        loop {
            let lead = self.shared.hold(key).await.ok_or(WriteError::Reentrant)?;
            match behind.push(key, write) {
                Ok(overtaken) => return Ok((lead, overtaken)),
                Err(refused) => write = refused,
            }
            drop(lead);
            let has_room = |queue: &Queue<K, V>| queue.len() < behind.queueing.most;
            self.wait_written(has_room).await.map_err(|Within| WriteError::Reentrant)?;
        }
    }

    /// Has the cache follow the queue, and a spawner what was queued. The store will have it whatever happens
    /// here: a panic in `change`, which removes the key then, is handed on at the end.
    fn follow<T>(&self, overtaken: Option<Waiting<K, V>>, change: impl FnOnce() -> T) -> T {
        let changed = catch_unwind(AssertUnwindSafe(change));
        self.start_writing(false);
        drop(overtaken);
        changed.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Waits until the store has the newest write of `key`, which is held by `lead`.
    pub(super) async fn wait_written_of(
        &self,
        lead: &Hold<K, V, L>,
        key: &K,
    ) -> Result<(), Refused<K, V, L>> {
        let behind = &self.shared.behind;
        let hash = behind.hasher.hash_one(key);
        let newest = behind.find(hash, key, &behind.lock().queue);
        // Who holds the key queues nothing newer, and nobody else does.
        let Some(newest) = newest else { return Ok(()) };
        let mut written = pin!(self.wait_written(|queue| queue.written() > newest));
        poll_fn(|context| {
            // The writer may run in here, and must not wait for the key either.
            let _running = lead.run();
            written.as_mut().poll(context)
        })
        .await
        .map_err(|Within| WriteError::Reentrant)
    }

    /// Waits for something to be written, and sees to it that somebody writes.
    async fn wait_written(&self, is_done: impl Fn(&Queue<K, V>) -> bool) -> Result<(), Within> {
        deny_reentry();
        let waiter = Waiter::new(&self.shared.behind);
        let mut driver = None;
        poll_fn(|context| {
            while !waiter.look(&is_done, context.waker().clone()) {
                if Sending::is_on_this_thread(&self.shared.behind) {
                    return Poll::Ready(Err(Within));
                }
                if self.drive_writing(&mut driver, context).is_pending() {
                    return Poll::Pending;
                }
            }
            if driver.is_some() {
                // What is left is a spawner's again, if there is one.
                self.start_writing(false);
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Drives the writing on, unless a spawner does. Ready when the job at hand is done.
    fn drive_writing(&self, driver: &mut Option<Driver>, context: &mut Context<'_>) -> Poll<()> {
        let Some(job) = self.start_writing(true) else { return Poll::Pending };
        let own = driver.get_or_insert_with(|| Driver::new(Arc::clone(&job)));
        if !own.drives(&job) {
            *own = Driver::new(job);
        }
        own.poll(context)
    }

    /// Starts writing if nobody does, and there is a spawner or the caller `will_drive` it. Answers
    /// with the job if it is the caller's to drive.
    fn start_writing(&self, will_drive: bool) -> Option<Arc<Job>> {
        let shared = &self.shared;
        let mut state = shared.behind.lock();
        if state.is_writing {
            return state.job.upgrade();
        }
        // A spawner that failed is tried again for what comes next; who waits does not rely on it.
        let may_spawn = !(will_drive && state.is_deserted);
        let spawner = shared.spawner.as_ref().filter(|_| may_spawn);
        let is_driven = spawner.is_none();
        if is_driven && !will_drive {
            return None;
        }
        let watch = Watch { behind: Arc::clone(&shared.behind), is_driven, is_over: false };
        let job = Job::new(Box::pin(Arc::clone(shared).write_all(watch)));
        state.job = if is_driven { Arc::downgrade(&job) } else { Weak::new() };
        state.is_writing = true;
        state.is_deserted &= is_driven;
        drop(state);
        let Some(spawn) = spawner else { return Some(job) };
        // A runtime that is not there panics. But the write is queued and will be made, so that is no more
        // than a job let go of: the panic hook has told, and whoever waits drives the next one.
        let spawn = || spawn(Box::pin(Driver::new(job)));
        forget_panic(catch_unwind(AssertUnwindSafe(spawn)));
        None
    }
}

/// Why a write was not queued.
type Refused<K, V, L> = WriteError<<L as Writer<K, V>>::Error>;

impl<K, V, L, P, S> Shared<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V> + Writer<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Writes batch after batch until there is nothing left, or until one is accepted where those who wait
    /// for that drive this.
    async fn write_all(self: Arc<Self>, mut watch: Watch<K, V>) {
        let mut failures = 0;
        while !watch.is_over
            && let Some(batch) = watch.next_batch()
        {
            if self.write_batch(&batch).await {
                watch.accept();
                failures = 0;
                // The user's `Drop` must not end the writing.
                forget_panic(catch_unwind(AssertUnwindSafe(|| drop(batch))));
            } else {
                failures += 1;
                let delay = self.behind.queueing.retry.delay(failures);
                self.pause(jittered(delay)).await;
            }
        }
    }

    /// Answers whether the store accepted it.
    async fn write_batch(&self, batch: &[(K, Write<V>)]) -> bool {
        let mut write = pin!(async { self.loader.write_many(batch).await });
        poll_fn(|context| {
            let _sending = Sending::enter(&self.behind);
            match catch_unwind(AssertUnwindSafe(|| write.as_mut().poll(context))) {
                Ok(polled) => polled.map(|written| written.is_ok()),
                Err(panic) => {
                    forget_panic::<()>(Err(panic));
                    Poll::Ready(false)
                }
            }
        })
        .await
    }

    /// Waits for so many nanoseconds, and lets others go on at least once: a store that refuses at once
    /// must not keep the thread, without which no time-out ends this either.
    async fn pause(&self, nanos: u64) {
        let clock = &self.cache.inner.context.clock;
        let deadline = clock.now().saturating_add(nanos);
        let (mut alarm, mut is_first) = (Alarm::default(), true);
        poll_fn(|context| {
            let left = deadline.saturating_sub(clock.now());
            match (left, mem::take(&mut is_first)) {
                (0, false) => return Poll::Ready(()),
                (0, true) => context.waker().wake_by_ref(),
                _ => alarm.set_for(deadline, clock, context.waker()),
            }
            Poll::Pending
        })
        .await;
    }
}
