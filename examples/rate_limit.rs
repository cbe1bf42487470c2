//! Lets each client ask so many times a minute: counters that many threads share, whose window ends
//! when it should, and which take no more room than they are given however many clients there are.

use std::{net::IpAddr, thread, time::Duration};

use larder::time::ManualTicker;
use larder::{Cache, Compute, Expiry};

const MINUTE: Duration = Duration::from_secs(60);

/// A window begins with a client's first request. Those that follow do not put its end off.
struct Window(Duration);

impl Expiry<IpAddr, u32> for Window {
    fn after_create(&self, _: &IpAddr, _: &u32) -> Option<Duration> {
        Some(self.0)
    }

    fn after_update(&self, _: &IpAddr, _: &u32, left: Option<Duration>) -> Option<Duration> {
        left
    }
}

struct Limiter {
    most: u32,
    counters: Cache<IpAddr, u32>,
}

impl Limiter {
    /// Counts a request, and answers how many more there may be in this window; if there were too many
    /// already, how long to wait.
    fn admit(&self, client: IpAddr) -> Result<u32, Duration> {
        let mut is_admitted = true;
        let counted = self.counters.entry(client).compute(|count| match count.unwrap_or(0) {
            count if count < self.most => Compute::Put(count + 1),
            _ => {
                is_admitted = false;
                Compute::Keep
            }
        });
        if is_admitted {
            Ok(self.most - counted.unwrap_or(self.most))
        } else {
            Err(self.counters.expires_in(&client).unwrap_or_default())
        }
    }
}

fn main() {
    // A clock that is moved by hand, so that this program need not wait. Leave it out in yours.
    let clock = ManualTicker::new();
    let counters = Cache::builder().capacity(1_000_000).expiry(Window(MINUTE)).clock(clock.clone());
    let limiter = Limiter { most: 100, counters: counters.build() };

    // Four threads serve three clients, each of whom asks 400 times: not one request is miscounted.
    let clients =
        ["192.0.2.7", "192.0.2.8", "2001:db8::9"].map(|ip| ip.parse().expect("addresses"));
    let serve = || {
        let requests = clients.iter().cycle().take(100 * clients.len());
        requests.filter(|&&client| limiter.admit(client).is_ok()).count()
    };
    let admitted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(serve)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    });
    assert_eq!(admitted, 100 * clients.len());

    // Who asks too often is told how long to wait, and asking does not make it longer.
    clock.advance(MINUTE / 3);
    assert_eq!(limiter.admit(clients[0]), Err(MINUTE * 2 / 3));
    clock.advance(MINUTE / 3);
    assert_eq!(limiter.admit(clients[0]), Err(MINUTE / 3));
    clock.advance(MINUTE / 3);
    assert_eq!(limiter.admit(clients[0]), Ok(99));
    println!("{admitted} of {} requests were admitted.", 400 * clients.len());
}
