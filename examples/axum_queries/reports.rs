//! The part to copy into a service: an expensive query behind a cache that loads it by itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::loader::{Loaded, Loader};
use larder::{Cache, LoadError, LoadingCache};

use crate::database::{Database, Report};

/// The reports of all customers, as JSON. Cloning it gives another handle.
#[derive(Clone)]
pub struct Reports {
    cache: LoadingCache<u32, Arc<str>, Queries>,
}

impl Reports {
    /// How long a report counts as new.
    pub const TIME_TO_LIVE: Duration = Duration::from_secs(2);

    /// Keeps reports in at most `capacity` bytes.
    pub fn new(database: Database, capacity: u64) -> Self {
        let cache = Cache::<u32, Arc<str>>::builder()
            .name("reports")
            .capacity(capacity)
            .weigher(|_, json| (size_of::<(u32, Arc<str>)>() + json.len()) as u64)
            .time_to_live(Self::TIME_TO_LIVE)
            .stats(true)
            .loader(Queries { database, count: Arc::default() })
            // Asked for after that time it is served, and queried anew in the background …
            .refresh_after(Self::TIME_TO_LIVE.mul_f32(0.5))
            // … and if that fails, as when the database is locked, served for a minute more.
            .stale_if_error(Duration::from_secs(60))
            .error_backoff(Duration::from_millis(50), Duration::from_secs(1))
            .negative_ttl(Duration::from_secs(10))
            .load_timeout(Duration::from_secs(5))
            .max_loads(8, larder::WhenFull::Queue)
            .spawner(|load| drop(tokio::spawn(load)))
            .build();
        Self { cache }
    }

    /// The report of a customer, from memory if it is there.
    pub async fn get(&self, customer: u32) -> Result<Arc<str>, LoadError<QueryError>> {
        self.cache.get_async(&customer).await
    }

    /// The same, from the database in any case.
    pub async fn query(&self, customer: u32) -> Result<Option<Arc<str>>, QueryError> {
        self.cache.loader().query(customer).await
    }

    /// How many queries the database was sent.
    pub fn queries(&self) -> u64 {
        // Relaxed: a count.
        self.cache.loader().count.load(Ordering::Relaxed)
    }

    /// The cache itself, for its statistics.
    pub fn cache(&self) -> &LoadingCache<u32, Arc<str>, Queries> {
        &self.cache
    }
}

/// Gets reports from the database.
pub struct Queries {
    database: Database,
    count: Arc<AtomicU64>,
}

impl Loader<u32, Arc<str>> for Queries {
    type Error = QueryError;

    async fn load(&self, customer: &u32) -> Result<Loaded<Arc<str>>, QueryError> {
        Ok(self.query(*customer).await?.into())
    }
}

impl Queries {
    async fn query(&self, customer: u32) -> Result<Option<Arc<str>>, QueryError> {
        // Relaxed: a count.
        self.count.fetch_add(1, Ordering::Relaxed);
        let database = self.database.clone();
        // SQLite blocks, so it gets a thread that may.
        let report = tokio::task::spawn_blocking(move || database.report(customer)).await;
        let report = report.map_err(|_| QueryError::Died)?.map_err(QueryError::Database)?;
        Ok(report.as_ref().map(to_json))
    }
}

fn to_json(report: &Report) -> Arc<str> {
    serde_json::to_string(report).expect("text and numbers can be written").into()
}

/// Why there is no report.
#[derive(Debug)]
pub enum QueryError {
    Database(rusqlite::Error),
    /// The query panicked, or the service is ending.
    Died,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::Died => f.write_str("the query did not end"),
        }
    }
}
