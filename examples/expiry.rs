//! Sessions that end after an idle quarter of an hour, and after eight hours at the latest.

use std::time::Duration;

use larder::Cache;
use larder::time::ManualTicker;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
struct Session {
    user: &'static str,
}

fn main() {
    // A clock that is moved by hand, so that this program need not wait. Leave it out in yours.
    let clock = ManualTicker::new();
    let sessions: Cache<u64, Session> = Cache::builder()
        .capacity(100_000)
        .time_to_idle(15 * MINUTE)
        .time_to_live(8 * 60 * MINUTE)
        .clock(clock.clone())
        .build();
    let ada = Session { user: "ada" };

    // Idle for too long.
    sessions.insert(1, ada.clone());
    clock.advance(14 * MINUTE);
    assert_eq!(sessions.get(&1).as_ref(), Some(&ada));
    clock.advance(14 * MINUTE);
    assert_eq!(sessions.expires_in(&1), Some(MINUTE)); // Asking is not a use, …
    assert_eq!(sessions.get(&1).as_ref(), Some(&ada)); // … but this is.
    assert_eq!(sessions.expires_in(&1), Some(15 * MINUTE));
    clock.advance(15 * MINUTE);
    assert_eq!(sessions.get(&1), None);

    // Busy all day, until the time is up.
    sessions.insert(2, ada.clone());
    let mut minutes = 0;
    while sessions.get(&2).is_some() {
        clock.advance(MINUTE);
        minutes += 1;
    }
    assert_eq!(minutes, 8 * 60);

    // A guest gets five minutes, whatever happens.
    sessions.insert_with_ttl(3, Session { user: "guest" }, 5 * MINUTE);
    assert_eq!(sessions.expires_in(&3), Some(5 * MINUTE));
    clock.advance(5 * MINUTE);
    assert_eq!(sessions.get(&3), None);

    // What has expired gives its room back without being asked for.
    sessions.run_maintenance();
    assert!(sessions.is_empty());
    println!("{} stayed for {minutes} minutes.", ada.user);
}
