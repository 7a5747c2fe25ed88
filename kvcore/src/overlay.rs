//! Rows in memory: all that are not yet in the store, and the most recent of those that are.

use std::collections::VecDeque;
use std::mem;

use crate::store::{Revision, Row, RowId};

/// The rows of one revision; nearly always one.
enum Rows {
    One(Row),
    Many(Vec<Row>),
}

impl Rows {
    fn as_slice(&self) -> &[Row] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }

    fn push(self, row: Row) -> Self {
        match self {
            Self::One(one) => Self::Many(vec![one, row]),
            Self::Many(mut rows) => {
                rows.push(row);
                Self::Many(rows)
            }
        }
    }
}

/// The rows of the most recent revisions, without a gap up to the current one.
pub(crate) struct Overlay {
    revisions: VecDeque<Rows>,
    /// The revision at the front of the queue, or the next one to come.
    first: Revision,
    /// Everything up to here is in the store.
    flushed: Revision,
    bytes: usize,
    unflushed_bytes: usize,
    rows: usize,
    bytes_max: usize,
}

impl Overlay {
    /// An empty overlay over a store that has everything up to `flushed`.
    pub(crate) fn new(flushed: Revision, bytes_max: usize) -> Self {
        Self {
            revisions: VecDeque::new(),
            first: Revision(flushed.0 + 1),
            flushed,
            bytes: 0,
            unflushed_bytes: 0,
            rows: 0,
            bytes_max,
        }
    }

    /// Adds a row: the first of the next revision, or the next of the last one.
    pub(crate) fn push(&mut self, id: RowId, row: Row) {
        let bytes = row_bytes(&row);
        let last = Revision(self.first.0 + self.revisions.len() as u64 - 1);
        if id.place == 0 {
            assert!(id.revision.0 == last.0 + 1, "revisions are dense");
            self.revisions.push_back(Rows::One(row));
        } else {
            let rows = self.revisions.pop_back().expect("the revision of the row was begun");
            let places = rows.as_slice().len();
            assert!(id.revision == last && id.place as usize == places, "places are dense");
            self.revisions.push_back(rows.push(row));
        }
        self.bytes += bytes;
        self.unflushed_bytes += bytes;
        self.rows += 1;
        self.evict();
    }

    /// The row, if it is in memory.
    pub(crate) fn get(&self, id: RowId) -> Option<&Row> {
        self.revision(id.revision)?.get(id.place as usize)
    }

    /// The rows of a revision, if they are in memory.
    pub(crate) fn revision(&self, revision: Revision) -> Option<&[Row]> {
        let at = usize::try_from(revision.0.checked_sub(self.first.0)?).ok()?;
        self.revisions.get(at).map(Rows::as_slice)
    }

    /// Notes that everything up to a revision is in the store.
    pub(crate) fn flushed(&mut self, revision: Revision) {
        assert!(revision >= self.flushed, "the store never goes back");
        assert!(
            revision.0 < self.first.0 + self.revisions.len() as u64,
            "the store is never ahead of what was applied"
        );
        while self.flushed < revision {
            self.flushed = Revision(self.flushed.0 + 1);
            let rows = (self.flushed.0 - self.first.0) as usize;
            self.unflushed_bytes -= revision_bytes(&self.revisions[rows]);
        }
        self.evict();
    }

    /// Drops the oldest rows while there are too many, but none that the store does not have.
    fn evict(&mut self) {
        while self.bytes > self.bytes_max && self.first <= self.flushed {
            let rows = self.revisions.pop_front().expect("bytes belong to a revision");
            self.bytes -= revision_bytes(&rows);
            self.rows -= rows.as_slice().len();
            self.first = Revision(self.first.0 + 1);
        }
    }

    /// The bytes of all rows in memory, with what each row takes besides key and value.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes of the rows that are not yet in the store.
    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes
    }

    /// How many rows are in memory.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

/// The size of a row in every byte limit of this crate.
pub(crate) fn row_bytes(row: &Row) -> usize {
    mem::size_of::<Row>() + row.key.len() + row.value.as_ref().map_or(0, bytes::Bytes::len)
}

fn revision_bytes(rows: &Rows) -> usize {
    rows.as_slice().iter().map(row_bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value_bytes: usize) -> Row {
        let value = Some(vec![0; value_bytes].into());
        Row {
            key: "k".into(),
            value,
            create_revision: Revision(2),
            version: 1,
            lease: None,
            create_time: consensus::WallTime(0),
            mod_time: consensus::WallTime(0),
        }
    }

    fn id(revision: u64, place: u32) -> RowId {
        RowId { revision: Revision(revision), place }
    }

    #[test]
    fn rows_leave_only_once_they_are_in_the_store() {
        let mut overlay = Overlay::new(Revision(1), 3 * row_bytes(&row(100)));
        for revision in 2..=9 {
            overlay.push(id(revision, 0), row(100));
        }
        assert_eq!(overlay.rows(), 8, "nothing is flushed, so nothing leaves");
        assert_eq!(overlay.unflushed_bytes(), overlay.bytes());
        overlay.flushed(Revision(4));
        assert_eq!(overlay.rows(), 5);
        assert!(overlay.get(id(4, 0)).is_none());
        assert!(overlay.get(id(5, 0)).is_some());
        overlay.flushed(Revision(9));
        assert_eq!(overlay.rows(), 3, "the most recent rows stay as a cache");
        assert_eq!(overlay.unflushed_bytes(), 0);
    }

    #[test]
    fn one_row_above_the_limit_leaves_as_soon_as_it_is_in_the_store() {
        let mut overlay = Overlay::new(Revision(1), 10);
        overlay.push(id(2, 0), row(100));
        overlay.push(id(2, 1), row(50));
        assert!(overlay.get(id(2, 1)).is_some());
        assert!(overlay.get(id(2, 2)).is_none());
        overlay.flushed(Revision(2));
        assert_eq!((overlay.rows(), overlay.bytes()), (0, 0));
        overlay.push(id(3, 0), row(1));
        assert!(overlay.get(id(3, 0)).is_some());
    }
}
