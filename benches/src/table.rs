//! Tables for a terminal and for Markdown.

use std::fmt::{self, Display};

/// Rows of cells under a head. A cell that was not measured is a dash.
#[derive(Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<(String, Vec<Option<String>>)>,
    markdown: bool,
}

impl Table {
    /// A table whose first column is called `corner`.
    #[must_use]
    pub fn new(corner: &str, markdown: bool) -> Self {
        Self { head: vec![corner.to_owned()], rows: Vec::new(), markdown }
    }

    /// Begins a column.
    pub fn column(&mut self, label: &str) {
        self.head.push(label.to_owned());
    }

    /// Sets the cell of `row` in the column begun last.
    pub fn cell(&mut self, row: &str, text: String) {
        let column = self.head.len() - 2;
        let index = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        let cells = &mut self.rows[index].1;
        cells.resize(column, None);
        cells.push(Some(text));
    }

    /// Adds a row with all its cells.
    pub fn row(&mut self, row: &str, cells: Vec<String>) {
        self.rows.push((row.to_owned(), cells.into_iter().map(Some).collect()));
    }

    /// Whether no cell has been set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn lines(&self) -> Vec<Vec<&str>> {
        let rows = self.rows.iter().map(|(name, cells)| {
            let cells = (0..self.head.len() - 1)
                .map(|column| cells.get(column).and_then(Option::as_deref).unwrap_or("–"));
            std::iter::once(name.as_str()).chain(cells).collect()
        });
        std::iter::once(self.head.iter().map(String::as_str).collect()).chain(rows).collect()
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        };
        for (number, line) in lines.iter().enumerate() {
            if self.markdown {
                writeln!(f, "| {} |", line.join(" | "))?;
                if number == 0 {
                    writeln!(f, "|{}", "---|".repeat(line.len()))?;
                }
            } else {
                for (column, cell) in line.iter().enumerate() {
                    write!(f, "{cell:<width$}  ", width = width(column))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
