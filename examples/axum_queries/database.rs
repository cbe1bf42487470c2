//! The store: sales in SQLite, made once, and the query that is worth memoizing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Result, params};
use serde::Serialize;

pub const CUSTOMERS: u32 = 2_000;
const SALES: u32 = 300_000;
const PRODUCTS: u32 = 500;

/// What a customer has bought.
#[derive(Debug, Serialize)]
pub struct Report {
    pub customer: String,
    pub sales: u32,
    pub cents: u64,
    /// The products bought most: name, pieces.
    pub products: Vec<(String, u32)>,
    /// Customers who bought the same products, most first: name, how many products they share.
    pub alike: Vec<(String, u32)>,
}

/// Connections to the database. Cloning it gives another handle.
#[derive(Clone)]
pub struct Database {
    path: Arc<PathBuf>,
    /// Those that nobody is using.
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Database {
    /// How long a query waits for a lock before it fails.
    const PATIENCE: Duration = Duration::from_millis(100);

    pub fn new(path: &Path) -> Self {
        Self { path: Arc::new(path.to_owned()), idle: Arc::default() }
    }

    /// The report of a customer; `None` if there is no such customer. Blocks the thread.
    pub fn report(&self, customer: u32) -> Result<Option<Report>> {
        self.with_connection(|db| {
            let mut query = db.prepare_cached(CUSTOMER)?;
            let found = query.query_row(params![customer], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?))
            });
            let Some((name, sales, cents)) = found.optional()? else { return Ok(None) };
            let list = |sql| -> Result<Vec<(String, u32)>> {
                let mut query = db.prepare_cached(sql)?;
                query.query_map(params![customer], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            };
            let (products, alike) = (list(PRODUCTS_BOUGHT)?, list(ALIKE)?);
            Ok(Some(Report { customer: name, sales, cents: cents as u64, products, alike }))
        })
    }

    /// Locks the whole database, readers included, until the answer is dropped.
    pub fn lock(&self) -> Result<Locked> {
        let db = Connection::open(&*self.path)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.execute_batch("BEGIN EXCLUSIVE")?;
        Ok(Locked(db))
    }

    /// Lends an idle connection, or a new one.
    fn with_connection<R>(&self, work: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = idle().pop();
        let db = match pooled {
            Some(db) => db,
            None => {
                let db =
                    Connection::open_with_flags(&*self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                db.busy_timeout(Self::PATIENCE)?;
                db
            }
        };
        let result = work(&db);
        idle().push(db);
        result
    }
}

/// An exclusive transaction.
pub struct Locked(Connection);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.execute_batch("ROLLBACK").expect("a transaction is open");
    }
}

/// Makes the database unless it is there. It gets its name when it is complete.
pub fn ensure(path: &Path) -> crate::client::Result<()> {
    if path.exists() {
        return Ok(());
    }
    println!("Making {} (once) …", path.display());
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let db = Connection::open(&partial)?;
    // A rollback journal: under write-ahead logging nobody could lock readers out.
    db.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; BEGIN;")?;
    db.execute_batch(TABLES)?;
    fill(&db)?;
    db.execute_batch(INDEXES)?;
    db.execute_batch("COMMIT;")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(fs::rename(partial, path)?)
}

fn fill(db: &Connection) -> Result<()> {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} sales");
    let bar = ProgressBar::new(u64::from(SALES)).with_style(style.expect("well formed"));
    let mut insert = db.prepare("INSERT INTO customers VALUES (?, ?)")?;
    for id in 0..CUSTOMERS {
        insert.execute(params![id, format!("Customer {id}")])?;
    }
    let mut insert = db.prepare("INSERT INTO sales VALUES (?, ?, ?, ?)")?;
    let mut state = 7_u64;
    let mut random = |limit: u32| {
        // Knuth's multiplier; the high bits are good enough for sales.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((state >> 33) % u64::from(limit)) as u32
    };
    for _ in 0..SALES {
        bar.inc(1);
        let (customer, product) = (random(CUSTOMERS), random(PRODUCTS));
        insert.execute(params![customer, format!("P{product}"), 1 + random(5), random(9_999)])?;
    }
    bar.finish_and_clear();
    Ok(())
}

const TABLES: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE sales (customer INTEGER NOT NULL, product TEXT NOT NULL,
                        pieces INTEGER NOT NULL, cents INTEGER NOT NULL);";

const INDEXES: &str = "
    CREATE INDEX sales_by_customer ON sales (customer, product, pieces, cents);
    CREATE INDEX sales_by_product ON sales (product, customer);";

const CUSTOMER: &str = "
    SELECT name, (SELECT count(*) FROM sales WHERE customer = ?1),
           (SELECT ifnull(sum(pieces * cents), 0) FROM sales WHERE customer = ?1)
    FROM customers WHERE id = ?1";

const PRODUCTS_BOUGHT: &str = "
    SELECT product, sum(pieces) AS bought FROM sales WHERE customer = ?1
    GROUP BY product ORDER BY bought DESC, product LIMIT 5";

const ALIKE: &str = "
    SELECT customers.name, count(DISTINCT other.product) AS shared
    FROM (SELECT DISTINCT product FROM sales WHERE customer = ?1 ORDER BY product LIMIT 8) mine
    JOIN sales other ON other.product = mine.product AND other.customer <> ?1
    JOIN customers ON customers.id = other.customer
    GROUP BY other.customer ORDER BY shared DESC, other.customer LIMIT 5";
