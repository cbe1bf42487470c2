//! What the cache is worth: three scenes, each of which asserts what it shows.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, Result, Run};
use crate::database::{CUSTOMERS, Database};
use crate::reports::Reports;

/// Users who ask at the same time.
const USERS: usize = 32;

pub async fn run(
    client: &Client,
    reports: &Reports,
    database: &Database,
    length: Duration,
) -> Result<()> {
    latencies(client, reports, length).await?;
    stampede(client, reports).await?;
    outage(client, reports, database, length).await?;
    metrics(client).await
}

/// The same requests with and without the cache.
async fn latencies(client: &Client, reports: &Reports, length: Duration) -> Result<()> {
    println!("\n{USERS} users for {length:?} each:");
    println!("              requests/s    50 %    95 %    99 %  99.9 % (ms)   queries");
    let show = |name: &str, run: &Run, queries: u64| {
        let [p50, p95, p99, p999] = [0.5, 0.95, 0.99, 0.999].map(|share| run.millis(share));
        let per_second = run.per_second();
        println!(
            "{name:12} {per_second:11.0} {p50:7.2} {p95:7.2} {p99:7.2} {p999:7.2} {queries:14}"
        );
    };
    let before = reports.queries();
    let direct = client.run(USERS, length, |user, number| path("direct", user, number)).await?;
    let between = reports.queries();
    show("uncached", &direct, between - before);
    let cached = client.run(USERS, length, |user, number| path("reports", user, number)).await?;
    show("cached", &cached, reports.queries() - between);

    assert_eq!((direct.failures, cached.failures), (0, 0), "every request is answered");
    assert!(cached.per_second() > direct.per_second(), "the cache is faster than the database");
    assert!(cached.millis(0.5) < direct.millis(0.5), "and so is the median request");
    assert!(reports.cache().weight() <= reports.cache().capacity());
    Ok(())
}

/// A thousand requests at once for a report that is not in memory.
async fn stampede(client: &Client, reports: &Reports) -> Result<()> {
    const REQUESTS: usize = 1000;
    let customer = CUSTOMERS - 1;
    reports.cache().remove(&customer);
    let (before, start) = (reports.queries(), Instant::now());
    let mut tasks = JoinSet::new();
    for number in 0..REQUESTS {
        let client = client.clone();
        tasks.spawn(async move { client.get(number, &format!("/reports/{customer}")).await });
    }
    let mut answers = Vec::with_capacity(REQUESTS);
    for answer in tasks.join_all().await {
        answers.push(answer?);
    }
    let (took, queries) = (start.elapsed(), reports.queries() - before);
    println!(
        "\n{REQUESTS} requests for one cold report: {queries} query, all served in {took:.0?}"
    );

    assert_eq!(queries, 1, "one query serves all");
    assert!(answers.iter().all(|answer| answer.0 == StatusCode::OK && answer == &answers[0]));
    Ok(())
}

/// The database is locked for longer than reports are new: they are served all the same.
async fn outage(
    client: &Client,
    reports: &Reports,
    database: &Database,
    length: Duration,
) -> Result<()> {
    // Few customers, so that all are in memory.
    const ASKED: u32 = 50;
    let length = length.max(Reports::TIME_TO_LIVE + Duration::from_millis(500));
    for customer in 0..ASKED {
        ask(client, &format!("/reports/{customer}")).await?;
    }
    let failures_before = reports.cache().stats().load_failures;
    let lock = tokio::task::block_in_place(|| database.lock())?;
    let cached = client.run(USERS, length, |user, number| {
        format!("/reports/{}", (user as u64 * 7 + number) % u64::from(ASKED))
    });
    let cached = cached.await?;
    let (direct, _) = ask(client, "/direct/0").await?;
    let (unknown, _) = ask(client, &format!("/reports/{}", CUSTOMERS - 2)).await?;
    let failed = reports.cache().stats().load_failures - failures_before;
    let past =
        (0..ASKED).filter(|id| reports.cache().fresh_for(id) == Some(Duration::ZERO)).count();
    println!("\nThe database locked for {length:?}:");
    println!("  {} requests for {ASKED} reports, {} failed", cached.micros.len(), cached.failures);
    println!("  99 % within {:.2} ms; {failed} queries failed behind them", cached.millis(0.99));
    println!("  {past} reports are past their time; past the cache the answer is {direct}");
    assert_eq!(cached.failures, 0, "old reports are served");
    assert!(failed > 0 && past > 0, "they are old indeed");
    assert_eq!(direct, StatusCode::SERVICE_UNAVAILABLE, "without the cache there is none");
    assert_eq!(unknown, StatusCode::SERVICE_UNAVAILABLE, "what was never loaded cannot be served");

    drop(lock);
    let start = Instant::now();
    while reports.cache().fresh_for(&0) == Some(Duration::ZERO) {
        ask(client, "/reports/0").await?;
        sleep(Duration::from_millis(10)).await;
        assert!(start.elapsed() < Duration::from_secs(10), "the report is loaded anew");
    }
    println!("  unlocked: new reports after {:.0?}", start.elapsed());
    Ok(())
}

/// What Prometheus would see.
async fn metrics(client: &Client) -> Result<()> {
    let (status, text) = ask(client, "/metrics").await?;
    let text = String::from_utf8(text)?;
    println!("\nFrom /metrics:");
    let is_shown = |line: &&str| {
        ["hits", "misses", "loads", "coalesced", "load_failures", "weight"]
            .iter()
            .any(|name| line.starts_with(&format!("larder_{name}")))
    };
    let lines: Vec<&str> = text.lines().filter(is_shown).collect();
    lines.iter().for_each(|line| println!("  {line}"));
    assert_eq!(status, StatusCode::OK);
    assert!(lines.len() >= 6, "{text}");
    Ok(())
}

async fn ask(client: &Client, path: &str) -> Result<(StatusCode, Vec<u8>)> {
    let (status, body) = client.get(0, path).await?;
    Ok((status, body.to_vec()))
}

/// Nineteen of twenty requests are for a twentieth of the customers. The last two customers are left
/// for who needs a report that nobody has asked for yet.
fn path(route: &str, user: usize, number: u64) -> String {
    let random = scramble(user as u64, number);
    let among = if random.is_multiple_of(20) { CUSTOMERS - 2 } else { CUSTOMERS / 20 };
    format!("/{route}/{}", (random >> 32) % u64::from(among))
}

/// The finisher of splitmix64.
fn scramble(user: u64, number: u64) -> u64 {
    let x = user.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
