//! The rows of one stand, laid out for queries.

use crate::steer::balance::Part;

/// Who serves each cell and exceptional prefix, the home first.
#[derive(Clone, Debug, Default)]
pub(in crate::steer) struct Table {
    /// Where each row begins, one more than there are rows; the highest bit says that something
    /// measured took part in the row.
    starts: Box<[u32]>,
    parts: Box<[Part]>,
    /// Whether it did in any row.
    measured: bool,
    /// Tells most tables apart that differ; of all of the above.
    sum: u64,
}

const MEASURED: u32 = 1 << 31;

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.sum == other.sum && self.starts == other.starts && self.parts == other.parts
    }
}

impl Table {
    /// Empty: there is no such row, or it has nothing to say.
    pub(in crate::steer) fn row(&self, row: usize) -> &[Part] {
        let ends = self.starts.get(row).zip(self.starts.get(row + 1));
        let range =
            ends.map(|(start, end)| (start & !MEASURED) as usize..(end & !MEASURED) as usize);
        range.and_then(|range| self.parts.get(range)).unwrap_or(&[])
    }

    /// Whether anything measured took part in it.
    pub(in crate::steer) fn is_measured(&self, row: usize) -> bool {
        self.starts
            .get(row)
            .is_some_and(|start| start & MEASURED != 0)
    }

    /// Whether anything measured took part in any row. A PoP that grows (`ramp`) is nothing measured.
    pub(in crate::steer) fn is_any_measured(&self) -> bool {
        self.measured
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.parts)
    }
}

/// Rows in the making.
pub(super) struct Rows {
    starts: Vec<u32>,
    parts: Vec<Part>,
}

impl Rows {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            starts: Vec::with_capacity(rows + 1),
            parts: Vec::with_capacity(rows + rows / 2),
        }
    }

    pub(super) fn push(&mut self, row: &[Part], measured: bool) {
        let mark = if measured { MEASURED } else { 0 };
        self.starts.push(self.end() | mark);
        self.parts.extend_from_slice(row);
    }

    pub(super) fn finish(mut self) -> Table {
        self.starts.push(self.end());
        let words = self.starts.iter().copied();
        let parts = self.parts.iter();
        let parts = parts.map(|part| u32::from(part.member) << 16 | u32::from(part.parts));
        // One step of FNV-1a for each word; tables are compared in full where it is the same.
        let step = |sum: u64, word: u32| (sum ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3);
        let sum = words.chain(parts).fold(0xcbf2_9ce4_8422_2325, step);
        Table {
            measured: self.starts.iter().any(|start| start & MEASURED != 0),
            sum,
            starts: self.starts.into(),
            parts: self.parts.into(),
        }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(MEASURED) & !MEASURED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_as_they_went_in() {
        let part = |member, parts| Part { member, parts };
        let given = [vec![part(3, 255)], vec![], vec![part(1, 200), part(0, 55)]];
        let mut rows = Rows::with_capacity(3);
        for (at, row) in given.iter().enumerate() {
            rows.push(row, at == 2);
        }
        let table = rows.finish();
        assert_eq!(table.len(), 3);
        for (at, row) in given.iter().enumerate() {
            assert_eq!(table.row(at), row);
            assert_eq!(table.is_measured(at), at == 2);
        }
        assert!(table.is_any_measured() && !Table::default().is_any_measured());
        let mut plain = Rows::with_capacity(1);
        plain.push(&given[0], false);
        assert!(!plain.finish().is_any_measured());
        assert!(table.row(3).is_empty() && !table.is_measured(3));
        assert!(Table::default().row(0).is_empty());
    }
}
