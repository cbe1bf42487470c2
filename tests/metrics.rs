//! Statistics on their way to Prometheus: through the facade, a real exporter, and a real connection.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use axum::{Router, routing::get};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use larder::{Cache, RemovalCause, Stats, loader, time::ManualTicker};
use metrics_exporter_prometheus::PrometheusBuilder;

/// Serves what `render` makes on a free port, and asks for it once.
async fn scrape(render: impl Fn() -> String + Clone + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let service = Router::new().route("/metrics", get(async move || render()));
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let client: Client<_, Empty<axum::body::Bytes>> = client;
    let response = client.get(format!("http://{address}/metrics").parse().expect("an address"));
    let body = response.await.expect("an answer").into_body().collect().await.expect("all of it");
    server.abort();
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

/// Every sample by its name and labels.
fn samples(text: &str) -> HashMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name, value.parse().expect("a number"))
        })
        .collect()
}

fn worked_hard() -> (Cache<u64, u64>, ManualTicker) {
    let ticker = ManualTicker::new();
    let cache = Cache::builder()
        .capacity(100)
        .weigher(|_: &u64, value: &u64| *value)
        .time_to_live(Duration::from_secs(10))
        .on_removal(|key, _, _| assert_ne!(*key, 7, "the listener panics for it"))
        .clock(ticker.clone())
        .name("pages")
        .stats(true)
        .build();
    cache.insert(7, 5);
    cache.insert(7, 6);
    cache.remove(&7);
    for key in 10..60 {
        cache.insert(key, 5);
    }
    cache.insert(100, 1000);
    for (key, millis) in [(200, 3), (201, 300)] {
        cache.get_or_insert_with(&key, || {
            ticker.advance(Duration::from_millis(millis));
            1
        });
    }
    assert!(cache.try_get_or_insert_with(&202, || Err::<u64, _>("no")).is_err());
    cache.get_or_insert_with(&203, || {
        cache.insert(203, 2);
        3
    });
    cache.get(&203);
    ticker.advance(Duration::from_secs(11));
    cache.run_maintenance();
    cache.insert(300, 9);
    (cache, ticker)
}

#[tokio::test]
async fn a_scrape_has_every_statistic() {
    let prometheus = PrometheusBuilder::new().install_recorder().expect("the only one");
    let (cache, _ticker) = worked_hard();
    let loading = Cache::<u64, u64>::builder()
        .capacity(10)
        .name("squares")
        .stats(true)
        .loader(loader::blocking(|n: &u64| Ok::<_, Infallible>(n * n)))
        .build();
    loading.get(&3).expect("never fails");

    let (of_cache, of_loading) = (cache.clone(), loading.clone());
    let text = scrape(move || {
        larder::metrics::publish(&of_cache);
        larder::metrics::publish(&of_loading);
        prometheus.render()
    })
    .await;

    let samples = samples(&text);
    let stats = cache.stats();
    let is_told = |name: &str, wanted: u64| {
        assert_eq!(samples.get(name), Some(&(wanted as f64)), "{name} in\n{text}");
    };
    for (name, count) in counts(&stats) {
        is_told(&format!("larder_{name}_total{{cache=\"pages\"}}"), count);
    }
    for (cause, label) in RemovalCause::ALL.into_iter().zip(CAUSES) {
        let labels = format!("{{cache=\"pages\",cause=\"{label}\"}}");
        is_told(&format!("larder_removals_total{labels}"), stats.removals[cause].count);
        is_told(&format!("larder_removed_weight_total{labels}"), stats.removals[cause].weight);
        assert!(stats.removals[cause].count > 0, "there were some of every cause: {label}");
    }
    is_told("larder_entries{cache=\"pages\"}", 1);
    is_told("larder_weight{cache=\"pages\"}", 9);
    is_told("larder_capacity{cache=\"pages\"}", 100);

    let bucket = |le: &str| format!("larder_load_seconds_bucket{{cache=\"pages\",le=\"{le}\"}}");
    is_told("larder_load_seconds_count{cache=\"pages\"}", 4);
    is_told(&bucket("0.000001024"), 2);
    is_told(&bucket("0.004194304"), 3);
    is_told(&bucket("0.536870912"), 4);
    is_told(&bucket("+Inf"), 4);
    let sum = samples["larder_load_seconds_sum{cache=\"pages\"}"];
    assert!((sum - stats.load_time.as_secs_f64()).abs() < 1e-9 && (sum - 0.303).abs() < 1e-3);

    is_told("larder_loads_total{cache=\"squares\"}", 1);
    is_told("larder_entries{cache=\"squares\"}", 1);
    assert!(text.contains("# TYPE larder_hits_total counter"), "{text}");
    assert!(text.contains("# HELP larder_hits_total "), "{text}");
}

const CAUSES: [&str; 5] = ["expired", "explicit", "replaced", "size", "rejected"];

/// The plain counters.
fn counts(stats: &Stats) -> [(&'static str, u64); 10] {
    [
        ("hits", stats.hits),
        ("misses", stats.misses),
        ("inserts", stats.inserts),
        ("updates", stats.updates),
        ("listener_panics", stats.listener_panics),
        ("loads", stats.loads),
        ("load_successes", stats.load_successes),
        ("load_failures", stats.load_failures),
        ("coalesced", stats.coalesced),
        ("superseded", stats.superseded),
    ]
}
