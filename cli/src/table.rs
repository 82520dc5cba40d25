//! Stable columns: a heading, a least width, and one column that gives way when the terminal is narrow.

use crate::text;
use crate::view::{Ink, View};

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Least width.
    pub least: usize,
    /// Whether numbers stand at its right edge.
    pub right: bool,
}

/// A column of text.
pub const fn left(name: &'static str, least: usize) -> Column {
    Column {
        name,
        least,
        right: false,
    }
}

/// A column of numbers.
pub const fn right(name: &'static str, least: usize) -> Column {
    Column {
        name,
        least,
        right: true,
    }
}

/// One cell: text that is safe for a terminal, and its ink.
#[derive(Debug, Clone)]
pub struct Cell(pub String, pub Ink);

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(text, Ink::Plain)
    }
}

/// A row between columns two blanks wide. The last column is cut to the view's width.
pub fn row(columns: &[Column], cells: &[Cell], view: &View) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (i, (column, Cell(value, ink))) in columns.iter().zip(cells).enumerate() {
        let last = i + 1 == columns.len();
        let shown = match view.width {
            Some(columns) if last => text::cut(value, columns.saturating_sub(used)),
            _ => value.into(),
        };
        let blanks = " ".repeat(column.least.saturating_sub(text::width(&shown)));
        used += text::width(&shown) + blanks.len() + 2;
        let painted = view.paint(*ink, &shown);
        match (column.right, last) {
            (true, _) => line.extend([blanks.as_str(), painted.as_str()]),
            (false, true) => line.push_str(&painted),
            (false, false) => line.extend([painted.as_str(), blanks.as_str()]),
        }
        if !last {
            line.push_str("  ");
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// The heading.
pub fn heading(columns: &[Column], view: &View) -> String {
    let cells: Vec<Cell> = columns
        .iter()
        .map(|column| Cell(column.name.to_owned(), Ink::Faint))
        .collect();
    row(columns, &cells, view)
}

/// Heading and rows, each column as wide as its widest cell.
pub fn whole(columns: &[Column], rows: &[Vec<Cell>], view: &View) -> Vec<String> {
    let mut fitted = columns.to_vec();
    for (i, column) in fitted.iter_mut().enumerate() {
        let widest = rows
            .iter()
            .filter_map(|row| row.get(i))
            .map(|Cell(value, _)| text::width(value))
            .max();
        column.least = column
            .least
            .max(text::width(column.name))
            .max(widest.unwrap_or(0));
    }
    std::iter::once(heading(&fitted, view))
        .chain(rows.iter().map(|cells| row(&fitted, cells, view)))
        .collect()
}
