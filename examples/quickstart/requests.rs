//! Which products are asked for: drawn at random, or read from a trace.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::database::PRODUCTS;

/// Requests by Zipf's law: the `n`th most popular product is asked for in proportion to
/// `1 / n^exponent`.
pub fn zipf(count: usize, exponent: f64) -> Vec<u32> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=PRODUCTS)
        .map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        })
        .collect();
    let mut random = Random(42);
    (0..count)
        .map(|_| {
            let point = random.unit() * sum;
            let rank = cumulated.partition_point(|&below| below < point) as u64;
            // Popular products are not neighbours in the database: 7919 is prime, so this maps
            // the ranks one to one.
            (rank * 7919 % u64::from(PRODUCTS)) as u32
        })
        .collect()
}

/// Reads a trace: a line for each request, with a key and optionally a size (the size is checked
/// and ignored). A name that ends in `.zst` means that it is compressed.
///
/// The first key that occurs becomes product 0, the next new one product 1, and so on, starting
/// over after the last product.
pub fn trace(path: &Path) -> crate::load::Result<Vec<u32>> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    let compressed = path.extension().is_some_and(|extension| extension == "zst");
    let text: Box<dyn Read> =
        if compressed { Box::new(zstd::Decoder::new(file)?) } else { Box::new(file) };

    let mut products = HashMap::new();
    let mut requests = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(text).lines()) {
        let line = line.map_err(|error| format!("{name}:{number}: {error}"))?;
        let key = key(&line).map_err(|problem| format!("{name}:{number}: {problem}: {line:?}"))?;
        let next = products.len() as u32 % PRODUCTS;
        requests.push(match products.get(key) {
            Some(&product) => product,
            None => *products.entry(key.to_owned()).or_insert(next),
        });
    }
    Ok(requests)
}

/// The key of one line of a trace.
fn key(line: &str) -> Result<&str, &'static str> {
    let mut fields = line.split_ascii_whitespace();
    let key = fields.next().ok_or("no key")?;
    if let Some(size) = fields.next() {
        size.parse::<u64>().map_err(|_| "the size is not a whole number")?;
    }
    match fields.next() {
        Some(_) => Err("more than a key and a size"),
        None => Ok(key),
    }
}

/// A small reproducible generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number from 0 to one less than the limit.
    pub fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit)) as u32
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
