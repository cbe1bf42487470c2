//! Hit ratios measured elsewhere: the peers', and those of other implementations of our policies.

use std::collections::HashMap;

/// A table of hit ratios in percent: a line a trace and capacity, a column a cache.
pub struct Figures {
    /// The names of the columns.
    pub names: Vec<String>,
    points: HashMap<(String, usize), Vec<f64>>,
}

impl Figures {
    /// Reads comma-separated text: a head (`trace,capacity,` and the names), then the points. Lines
    /// that begin with `#` are comments.
    ///
    /// # Errors
    /// If a line does not have the form; the message names it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let head = lines.next().ok_or("no head: expected `trace,capacity,NAME,…`")?;
        let names: Vec<String> = head.split(',').skip(2).map(str::to_owned).collect();
        let mut points = HashMap::new();
        for line in lines {
            let wrong = || format!("expected trace, capacity, {} numbers: {line}", names.len());
            let mut cells = line.split(',');
            let trace = cells.next().ok_or_else(wrong)?.to_owned();
            let capacity = cells.next().and_then(|cell| cell.parse().ok()).ok_or_else(wrong)?;
            let ratios: Result<Vec<f64>, _> = cells.map(str::parse).collect();
            let ratios = ratios.ok().filter(|ratios| ratios.len() == names.len());
            points.insert((trace, capacity), ratios.ok_or_else(wrong)?);
        }
        Ok(Self { names, points })
    }

    /// The named column at a point.
    #[must_use]
    pub fn get(&self, trace: &str, capacity: usize, name: &str) -> Option<f64> {
        let column = self.names.iter().position(|other| other == name)?;
        Some(self.points.get(&(trace.to_owned(), capacity))?[column])
    }
}
