//! Models of shared loads in every schedule: what those who drive a job, leave it and come to it can
//! do to each other. (What callers see of it is modelled in `tests/loom_loading.rs`.)

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use loom::thread;

use super::{Asker, Driver, Flights, Hangar, Job, Joined, Lead, Outcome, Wait, Waited, block_on};
use crate::sync::{Arc, Mutex, lock};

type Shared = Arc<Flights<u64, u64>>;

fn model(explore: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 100_000;
    builder.check(explore);
}

/// What a future waits for.
#[derive(Clone)]
struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((false, None))))
    }

    fn open(&self) {
        let mut gate = lock(&self.0);
        gate.0 = true;
        let waker = gate.1.take();
        drop(gate);
        waker.into_iter().for_each(Waker::wake);
    }

    fn pass(&self) -> impl Future<Output = ()> + Send + use<> {
        let gate = self.clone();
        std::future::poll_fn(move |context| {
            let mut gate = lock(&gate.0);
            let is_open = gate.0;
            let former = gate.1.replace(context.waker().clone());
            drop(gate);
            drop(former);
            if is_open { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

fn drive(mut driver: Driver) {
    block_on(|context| driver.poll(context), || None);
}

/// Polls once and lets go.
fn drive_once(mut driver: Driver) {
    let _ = driver.poll(&mut Context::from_waker(Waker::noop()));
}

/// Two drive a job that is woken while one of them polls it, or before, or after.
#[test]
fn waking_a_job_that_two_drive() {
    model(|| {
        let gate = Gate::new();
        let job = Job::new(Box::pin(gate.pass()));
        let (one, two) = (Driver::new(Arc::clone(&job)), Driver::new(job));
        let drivers = [thread::spawn(|| drive(one)), thread::spawn(|| drive(two))];
        gate.open();
        drivers.into_iter().for_each(|driver| driver.join().unwrap());
    });
}

/// One drives a job once and leaves; the other gets it done all the same.
#[test]
fn leaving_a_job_that_another_drives() {
    model(|| {
        let gate = Gate::new();
        let job = Job::new(Box::pin(gate.pass()));
        let (one, two) = (Driver::new(Arc::clone(&job)), Driver::new(job));
        let drivers = [thread::spawn(|| drive_once(one)), thread::spawn(|| drive(two))];
        gate.open();
        drivers.into_iter().for_each(|driver| driver.join().unwrap());
    });
}

/// A job that wakes itself is polled again.
#[test]
fn a_job_that_wakes_itself() {
    model(|| {
        let mut is_second = false;
        let job = Job::new(Box::pin(std::future::poll_fn(move |context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut is_second, true) { Poll::Ready(()) } else { Poll::Pending }
        })));
        let (one, two) = (Driver::new(Arc::clone(&job)), Driver::new(job));
        let other = thread::spawn(|| drive(one));
        drive(two);
        other.join().unwrap();
    });
}

fn join(flights: &Shared) -> Joined<Shared> {
    Flights::join(Arc::clone(flights), 1, Asker::Load, || 1, |&key| key == 1)
}

/// Leads a flight as a job that waits at the gate, in a seat of the leader's own.
fn start(flights: &Shared, gate: &Gate) -> Wait<Shared> {
    let Joined::Lead(lead) = join(flights) else { unreachable!("nobody else is there") };
    let hash = lead.hash();
    let passed = gate.pass();
    let job = Job::new(Box::pin(async move {
        passed.await;
        land(lead);
    }));
    let (mut wait, _) = Flights::seat(Arc::clone(flights), hash, 1);
    flights.share(hash, &job);
    wait.drive(job);
    wait
}

fn land<R: Hangar<K = u64, V = u64>>(lead: Lead<R>) {
    lead.land(|&key| key == 1, || Outcome::Value(7));
}

/// Waits until there is a value; loads it if nobody else does.
fn get(flights: &Shared) -> u64 {
    let mut joined = join(flights);
    loop {
        let mut wait = match joined {
            Joined::Reentrant => unreachable!("nobody asks while it loads"),
            Joined::Lead(lead) => {
                land(lead);
                return 8;
            }
            Joined::Wait(wait) => wait,
        };
        joined = match block_on(|context| wait.poll(context), || None) {
            Some(Waited::Landed(landing)) => match landing.outcome() {
                Some(Outcome::Value(value)) => return *value,
                _ => unreachable!("only values land"),
            },
            Some(Waited::Lead(lead)) => Joined::Lead(lead),
            Some(Waited::Retry) | None => join(flights),
            Some(Waited::Reentrant) => unreachable!("nobody asks while it loads"),
        };
    }
}

/// The last who drives a load leaves it while another comes: either he takes the load on, or he loads
/// for himself. Nobody waits for a load that is gone.
#[test]
fn leaving_a_load_while_another_comes() {
    model(|| {
        let flights: Shared = Arc::new(Flights::new(1));
        let gate = Gate::new();
        let mut leader = start(&flights, &gate);
        assert!(
            pin!(std::future::poll_fn(|context| leader.poll(context)))
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        let comer = Arc::clone(&flights);
        let comer = thread::spawn(move || get(&comer));
        let opener = gate.clone();
        let opener = thread::spawn(move || opener.open());
        drop(leader);
        let value = comer.join().unwrap();
        assert!(value == 7 || value == 8);
        opener.join().unwrap();
        assert_eq!(flights.len(), 0);
    });
}

/// Somebody comes while a load is made known to those who wait, and while it lands.
#[test]
fn coming_while_a_load_is_shared() {
    model(|| {
        let flights: Shared = Arc::new(Flights::new(1));
        let comer = Arc::clone(&flights);
        let comer = thread::spawn(move || get(&comer));
        let gate = Gate::new();
        gate.open();
        if let Joined::Lead(lead) = join(&flights) {
            let hash = lead.hash();
            let passed = gate.pass();
            let job = Job::new(Box::pin(async move {
                passed.await;
                land(lead);
            }));
            let (mut wait, _) = Flights::seat(Arc::clone(&flights), hash, 1);
            flights.share(hash, &job);
            wait.drive(job);
            let landed = block_on(|context| wait.poll(context), || None);
            assert!(matches!(landed, Some(Waited::Landed(_))));
        }
        comer.join().unwrap();
        assert_eq!(flights.len(), 0);
    });
}
