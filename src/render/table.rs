//! Plain tables: columns as wide as they need to be, two blanks apart, numbers to the right.

use super::{Paint, Style, clean};

/// One cell: cleaned text with a colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// A cell without colour.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self::painted(Paint::Plain, text)
    }

    /// A cell with a colour.
    pub(crate) fn painted(paint: Paint, text: impl AsRef<str>) -> Self {
        Self {
            text: clean(text.as_ref()).into_owned(),
            paint,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A table with a heading.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// Side to which a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

impl Table {
    /// A table with these headings. A heading that starts with `>` belongs to numbers.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        let column = |heading: &&'static str| match heading.strip_prefix('>') {
            Some(rest) => (rest, Align::Right),
            None => (*heading, Align::Left),
        };
        Self {
            columns: headings.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has as many cells as there are headings.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The text, each line indented by `indent` blanks, without blanks at the ends of lines.
    pub(crate) fn render(&self, style: Style, indent: usize) -> String {
        let headings: Vec<Cell> = self
            .columns
            .iter()
            .map(|(heading, _)| Cell::painted(Paint::Dim, heading))
            .collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().chain([&headings]);
                let widths = cells.filter_map(|row| row.get(at)).map(Cell::width);
                widths.max().unwrap_or(0)
            })
            .collect();
        std::iter::once(&headings)
            .chain(&self.rows)
            .map(|cells| self.line(cells, &widths, style, indent))
            .collect()
    }

    fn line(&self, cells: &[Cell], widths: &[usize], style: Style, indent: usize) -> String {
        let mut out = String::new();
        // Blanks are written only before the next text, so that no line ends with them.
        let mut blanks = indent;
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let pad = width.saturating_sub(cell.width());
            let (before, after) = match align {
                Align::Left => (0, pad),
                Align::Right => (pad, 0),
            };
            blanks += before;
            if !cell.text.is_empty() {
                out.push_str(&" ".repeat(blanks));
                out.push_str(&style.paint(cell.paint, &cell.text));
                blanks = 0;
            }
            blanks += after + 2;
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["POP", ">KM", "WHY"]);
        table.row(vec![Cell::new("fra"), Cell::new("12"), Cell::new("near")]);
        table.row(vec![
            Cell::new("long-name"),
            Cell::new("9000"),
            Cell::new(""),
        ]);
        table.row(vec![Cell::new(""), Cell::new(""), Cell::new("x")]);
        let expected = [
            "  POP          KM  WHY",
            "  fra          12  near",
            "  long-name  9000",
            "                   x",
            "",
        ];
        assert_eq!(table.render(Style::PLAIN, 2), expected.join("\n"));
    }

    #[test]
    fn class_15_a_hostile_cell_stays_one_cell() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![Cell::new("x\ny\x1b[2J"), Cell::new("z")]);
        assert_eq!(table.render(Style::PLAIN, 0).lines().count(), 2);
    }
}
