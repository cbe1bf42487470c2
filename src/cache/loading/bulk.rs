//! Many keys at once.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hash},
    mem,
    task::{Context, Poll, ready},
};

use super::{
    LoadingCache, Shared,
    ask::{Hangar, Leader, Step, Want},
    loader::{Loaded, Loader},
};
use crate::{
    LoadError, ToKey,
    flight::{Circle, Driver, Flights, Group, Lead, Mark, OptionalTie, Tie, block_on},
    policy::Policy,
    stats::Event,
    sync::Arc,
    trace::LoadSpan,
};

/// The flights a bulk load leads, with their keys.
type Leads<K, V, E> = Vec<(Lead<Hangar<K, V, E>>, K)>;

/// Keys on their way.
struct Many<'a, K, V, Q: ?Sized, E> {
    keys: Vec<(u64, &'a Q)>,
    /// One for each key.
    steps: Vec<Step<K, V, E>>,
    /// Drives the load of those that this call leads, which is that group.
    driver: Option<(Driver, Mark)>,
    /// What ties the caller to it.
    tie: OptionalTie,
    /// Which are not done.
    open: Vec<Open>,
}

/// A key that is waited for.
#[derive(Clone, Copy)]
struct Open {
    index: usize,
    /// Whether this call leads its load, with others.
    is_own: bool,
}

impl<K, V, L, P, S> LoadingCache<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The values of many keys, in their order. Those that there are none of are loaded by one
    /// [`load_many`](Loader::load_many); those that are being loaded already are waited for. Blocks
    /// the thread meanwhile; see [`get`](Self::get).
    ///
    /// Each key has its own result: one that fails does not keep the others from coming, unless the loader
    /// answers for all of them at once. A time-out is for all, as they are one load; and should the loader
    /// ask for one of them meanwhile, it is told that it would wait for itself.
    ///
    /// ```
    /// use larder::{Cache, loader};
    /// let squares = Cache::<u64, u64>::builder()
    ///     .capacity(100)
    ///     .loader(loader::blocking(|n: &u64| Ok::<u64, std::io::Error>(n * n)))
    ///     .build();
    /// let values: Result<Vec<u64>, _> = squares.get_many([&3, &1, &2]).into_iter().collect();
    /// assert_eq!(values.unwrap(), [9, 1, 4]);
    /// ```
    pub fn get_many<'a, Q>(
        &self,
        keys: impl IntoIterator<Item = &'a Q>,
    ) -> Vec<Result<V, LoadError<L::Error>>>
    where
        Q: ToKey<K> + ?Sized + 'a,
    {
        let mut many = self.shared.ask_many(keys);
        block_on(|context| self.shared.poll_many(&mut many, context), || None);
        many.results()
    }

    /// [`get_many`](Self::get_many) for async code.
    pub async fn get_many_async<'a, Q>(
        &self,
        keys: impl IntoIterator<Item = &'a Q>,
    ) -> Vec<Result<V, LoadError<L::Error>>>
    where
        Q: ToKey<K> + ?Sized + 'a,
    {
        let mut many = self.shared.ask_many(keys);
        poll_fn(|context| self.shared.poll_many(&mut many, context)).await;
        many.results()
    }
}

impl<K, V, Q: ?Sized, E> Many<'_, K, V, Q, E> {
    fn results(self) -> Vec<Result<V, LoadError<E>>> {
        let result = |step| match step {
            Step::Done(result) => result,
            Step::Wait(_) => unreachable!("all are done"),
        };
        self.steps.into_iter().map(result).collect()
    }
}

impl<K, V, L, P, S> Shared<K, V, L, P, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    L: Loader<K, V>,
    P: Policy,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Asks for every key, and starts one load for all that nobody else loads.
    fn ask_many<'a, Q>(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = &'a Q>,
    ) -> Many<'a, K, V, Q, L::Error>
    where
        Q: ToKey<K> + ?Sized + 'a,
    {
        let keys: Vec<_> = keys.into_iter().map(|key| (self.cache.inner.hash(key), key)).collect();
        let mut leads = Vec::new();
        let flights = &self.cache.inner.flights;
        let mut start = |lead: Leader<'_, _, _, _>, key: K, _| {
            let (wait, _) = Flights::seat(Arc::clone(flights), lead.hash(), key.clone());
            leads.push((lead.held_by(Arc::clone(flights)), key));
            Step::Wait(wait)
        };
        let steps: Vec<_> = keys.iter().map(|&place| self.ask(place, &mut start)).collect();
        let mut own = leads.iter().map(|(lead, _)| lead.hash()).peekable();
        let open = steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::Wait(_)));
        // Who leads was asked in the same order.
        let open =
            open.map(|(index, _)| Open { index, is_own: own.next_if_eq(&keys[index].0).is_some() });
        let open = open.collect();
        let driver = self.start_many(leads);
        Many { keys, steps, driver, tie: None, open }
    }

    fn start_many(self: &Arc<Self>, leads: Leads<K, V, L::Error>) -> Option<(Driver, Mark)> {
        if leads.is_empty() {
            return None;
        }
        let hashes: Vec<_> = leads.iter().map(|(lead, _)| lead.hash()).collect();
        let flights = &self.cache.inner.flights;
        let (group, is_nested) = (flights.group(), flights.is_running_here());
        let mark = group.mark();
        let load = Box::pin(Arc::clone(self).load_many(leads, group, is_nested));
        self.run(load, &hashes, true).map(|job| (Driver::new(job), mark))
    }

    /// A bulk load, from beginning to end.
    async fn load_many(
        self: Arc<Self>,
        leads: Leads<K, V, L::Error>,
        group: Group,
        is_nested: bool,
    ) {
        let inner = &self.cache.inner;
        let leads = self.settle_unwritten(leads);
        if leads.is_empty() {
            return;
        }
        let hashes: Vec<_> = leads.iter().map(|(lead, _)| lead.hash()).collect();
        let permit = self.permit(is_nested, &hashes, Some(group.mark())).await;
        let mut leaving = inner.departures();
        // In this order: even after a panic it is given back before anything is sent out.
        let permit = permit;
        let (leads, keys): (Vec<_>, Vec<_>) = leads.into_iter().unzip();
        let start = |key| inner.start(self.options.is_early()).over(self.cache.version(key));
        let started: Vec<_> = keys.iter().map(start).collect();
        let mut results = match permit.as_ref() {
            Err(refused) => Err(refused.clone()),
            Ok(_) => {
                leads.iter().for_each(|_| inner.context.count(Event::Load));
                let span = LoadSpan::load_many(&inner.context.name, keys.len());
                let running = || {
                    let is_future = !L::IS_BLOCKING;
                    let flights: Vec<_> =
                        leads.iter().map(|lead| lead.run_loader(is_future)).collect();
                    // In this order: the last one in goes first.
                    (group.run(flights.len(), is_future), flights, span.enter())
                };
                let load = self.attempt(running, async { self.loader.load_many(&keys).await });
                match load.await {
                    Ok(Ok(results)) => Ok(results.into_iter()),
                    Ok(Err(error)) => Err(LoadError::Failed(Arc::new(error))),
                    Err(error) => Err(error),
                }
            }
        };
        // The keys' next loads have nothing to do with it.
        drop(group);
        for ((lead, key), started) in leads.into_iter().zip(&keys).zip(started) {
            let loaded = match &mut results {
                Err(error) => Err(error.clone()),
                Ok(results) => match results.next() {
                    None => Ok(Loaded::not_found()),
                    Some(Ok(loaded)) if loaded.has_panicked => Err(LoadError::Panicked),
                    Some(result) => result.map_err(|error| LoadError::Failed(Arc::new(error))),
                },
            };
            if permit.is_ok() {
                self.count_load(started, &loaded);
            }
            let _ = self.settle(lead, started, key, loaded, &mut leaving);
        }
        drop(permit);
    }

    /// Settles the keys of which the store does not have the newest write yet, for which nothing need be
    /// loaded; answers with the others. What leaves is sent out at once, for notices that come later would
    /// wait for it: who asks for one of the others then is told that they are being loaded.
    fn settle_unwritten(&self, leads: Leads<K, V, L::Error>) -> Leads<K, V, L::Error> {
        let mut leaving = self.cache.inner.departures();
        let mut others = Vec::with_capacity(leads.len());
        for (lead, key) in leads {
            let started =
                self.cache.inner.start(self.options.is_early()).over(self.cache.version(&key));
            match self.behind.unwritten(&key) {
                Some(unwritten) => {
                    let loaded = Ok(unwritten.into_loaded());
                    let _ = self.settle(lead, started, &key, loaded, &mut leaving);
                }
                None => others.push((lead, key)),
            }
        }
        let running: Vec<_> = others.iter().map(|(lead, _)| lead.run()).collect();
        drop(leaving);
        drop(running);
        others
    }

    /// Drives on the own load and those of others, all of them: one may wait for another, and who began
    /// it may be gone. Looks what has come of the keys.
    fn poll_many<Q>(
        self: &Arc<Self>,
        many: &mut Many<'_, K, V, Q, L::Error>,
        context: &mut Context<'_>,
    ) -> Poll<()>
    where
        Q: ToKey<K> + ?Sized,
    {
        let Many { keys, steps, driver, tie, open } = many;
        if let Some((own, group)) = driver {
            match Tie::renewed(tie.take(), *group) {
                Ok(tied) => {
                    *tie = tied;
                    tie.iter_mut().for_each(|tie| tie.tell());
                    if own.poll(context).is_ready() {
                        (*driver, *tie) = (None, None);
                    }
                }
                Err(Circle) => {
                    for own in open.iter().filter(|open| open.is_own) {
                        steps[own.index] = Step::Done(Err(LoadError::Reentrant));
                    }
                    *driver = None;
                }
            }
        }
        // The own load tells of its keys only when it is over.
        let is_driving = driver.is_some();
        open.retain(|&Open { index, is_own }| {
            (is_own && is_driving)
                || self.poll_one(keys[index], &mut steps[index], context).is_pending()
        });
        if open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_one<Q>(
        self: &Arc<Self>,
        place: (u64, &Q),
        step: &mut Step<K, V, L::Error>,
        context: &mut Context<'_>,
    ) -> Poll<()>
    where
        Q: ToKey<K> + ?Sized,
    {
        while let Step::Wait(wait) = step {
            let waited = ready!(wait.poll(context));
            let want = Want::VALUE.after(wait);
            // The seat is given up before the next is taken.
            drop(mem::replace(step, Step::Done(Err(LoadError::NotFound))));
            *step = self.resume(place, want, waited);
        }
        Poll::Ready(())
    }
}
