//! A shop's database: made once, kept for the next run.

use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use rusqlite::{Connection, Result, Statement, params};

use crate::requests::Random;

pub const PRODUCTS: u32 = 100_000;
const ORDERS: u32 = 400_000;
const REVIEWS: u32 = 150_000;
const CUSTOMERS: u32 = 10_000;

/// Makes the database unless it is there. It gets its name when it is complete, so one whose
/// making was interrupted is never used.
pub fn ensure(path: &Path) -> crate::load::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    if partial.exists() {
        fs::remove_file(&partial)?;
    }
    println!("Creating {} (once) …", path.display());
    let db = Connection::open(&partial)?;
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;")?;
    db.execute_batch(TABLES)?;
    fill(&db)?;
    db.execute_batch(INDEXES)?;
    // From now on a change does not make readers wait.
    db.execute_batch("COMMIT; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(fs::rename(partial, path)?)
}

fn fill(db: &Connection) -> Result<()> {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} rows");
    let bar = ProgressBar::new(u64::from(PRODUCTS + ORDERS + REVIEWS))
        .with_style(style.expect("the template is well formed"));
    let mut random = Random(7);
    let mut random = move |limit| random.below(limit);
    let rows = |count, sql: &str, row: &mut dyn FnMut(&mut Statement, u32) -> Result<usize>| {
        let mut insert = db.prepare(sql)?;
        (0..count).try_for_each(|id| {
            bar.inc(1);
            row(&mut insert, id).map(drop)
        })
    };
    rows(PRODUCTS, "INSERT INTO products VALUES (?, ?, ?)", &mut |insert, id| {
        let adjective = ADJECTIVES[random(ADJECTIVES.len() as u32) as usize];
        let noun = NOUNS[random(NOUNS.len() as u32) as usize];
        insert.execute(params![id, format!("{adjective} {noun} {id}"), 100 + random(20_000)])
    })?;
    rows(ORDERS, "INSERT INTO orders VALUES (?, ?, ?)", &mut |insert, _| {
        let (product, customer) = (random(PRODUCTS), random(CUSTOMERS));
        insert.execute(params![product, customer, 1 + random(3)])
    })?;
    rows(REVIEWS, "INSERT INTO reviews VALUES (?, ?)", &mut |insert, _| {
        insert.execute(params![random(PRODUCTS), 1 + random(5)])
    })?;
    bar.finish_and_clear();
    Ok(())
}

const TABLES: &str = "
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER NOT NULL);
    CREATE TABLE orders (product INTEGER NOT NULL, customer INTEGER NOT NULL, quantity INTEGER NOT NULL);
    CREATE TABLE reviews (product INTEGER NOT NULL, stars INTEGER NOT NULL);";

const INDEXES: &str = "
    CREATE INDEX orders_by_product ON orders (product, customer, quantity);
    CREATE INDEX orders_by_customer ON orders (customer, product, quantity);
    CREATE INDEX reviews_by_product ON reviews (product, stars);";

const ADJECTIVES: [&str; 6] = ["Sturdy", "Quiet", "Folding", "Enamel", "Woollen", "Little"];
const NOUNS: [&str; 8] = ["Lamp", "Kettle", "Chair", "Radio", "Basket", "Blanket", "Clock", "Jar"];
