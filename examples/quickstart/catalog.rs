//! The part to copy into a service: expensive queries, memoized.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder::{Cache, LoadError};
use rusqlite::{Connection, Result, params};

/// What a product page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub name: String,
    pub price_cents: u32,
    pub stars: Option<f64>,
    pub units_sold: u32,
    pub also_bought: Vec<String>,
}

/// The product pages of a shop. Share it between threads in an `Arc`.
pub struct Catalog {
    path: PathBuf,
    /// Connections that no thread is using.
    idle: Mutex<Vec<Connection>>,
    /// Pages are shared with those who read them, so that a hit copies a pointer.
    pages: Cache<u32, Arc<Page>>,
}

impl Catalog {
    /// Opens the database at `path` and caches up to `capacity` pages, each for at most `ttl`.
    pub fn open(path: &Path, capacity: u64, ttl: Duration) -> Self {
        let pages = Cache::builder().capacity(capacity).time_to_live(ttl).stats(true).build();
        Self { path: path.to_owned(), idle: Mutex::default(), pages }
    }

    /// The page of a product, from the cache if it is there. If not, one thread computes it for all
    /// that ask meanwhile.
    pub fn page(&self, product: u32) -> Result<Arc<Page>, LoadError<rusqlite::Error>> {
        self.pages.try_get_or_insert_with(&product, || self.query_page(product).map(Arc::new))
    }

    /// The page of a product, computed by the database.
    pub fn query_page(&self, product: u32) -> Result<Page> {
        self.with_connection(|db| {
            let mut page = db.prepare_cached(PAGE)?.query_row(params![product], |row| {
                Ok(Page {
                    name: row.get(0)?,
                    price_cents: row.get(1)?,
                    stars: row.get(2)?,
                    units_sold: row.get(3)?,
                    also_bought: Vec::new(),
                })
            })?;
            let mut query = db.prepare_cached(ALSO_BOUGHT)?;
            let names = query.query_map(params![product], |row| row.get(0))?;
            page.also_bought = names.collect::<Result<_>>()?;
            Ok(page)
        })
    }

    /// Changes a price; the page is computed anew when next asked for.
    ///
    /// The removal wins over a query that is under way: what that finds is not stored.
    pub fn set_price(&self, product: u32, cents: u32) -> Result<()> {
        self.with_connection(|db| {
            db.prepare_cached(SET_PRICE)?.execute(params![product, cents])?;
            Ok(())
        })?;
        self.pages.remove(&product);
        Ok(())
    }

    /// The cache itself, for its statistics.
    pub fn pages(&self) -> &Cache<u32, Arc<Page>> {
        &self.pages
    }

    /// Lends an idle connection, or a new one.
    fn with_connection<R>(&self, work: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = idle().pop();
        let db = match pooled {
            Some(db) => db,
            None => connect(&self.path)?,
        };
        let result = work(&db);
        idle().push(db);
        result
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(db)
}

const PAGE: &str = "
    SELECT name, price_cents,
           (SELECT avg(stars) FROM reviews WHERE product = ?1),
           (SELECT ifnull(sum(quantity), 0) FROM orders WHERE product = ?1)
    FROM products WHERE id = ?1";

/// What those who bought this product also bought, most often first.
const ALSO_BOUGHT: &str = "
    SELECT products.name
    FROM orders mine
    JOIN orders other ON other.customer = mine.customer AND other.product <> mine.product
    JOIN products ON products.id = other.product
    WHERE mine.product = ?1
    GROUP BY other.product ORDER BY sum(other.quantity) DESC, other.product LIMIT 5";

const SET_PRICE: &str = "UPDATE products SET price_cents = ?2 WHERE id = ?1";
