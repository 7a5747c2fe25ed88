//! Which key each retained row is about, in the order of revisions.
//!
//! Compaction reads it from the front: the row before a row of the same key is what that row
//! superseded. Watches read it from any revision on, without touching a value that they filter out.

use std::collections::VecDeque;
use std::mem;

use crate::index::KeyId;
use crate::store::{Revision, RowId};

/// Rows of one piece; also the most that a search within a piece looks at.
const CHUNK_ROWS: usize = 1024;

const TOMBSTONE: u32 = 1 << 31;

/// One retained row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalRow {
    pub(crate) id: RowId,
    pub(crate) key: KeyId,
    pub(crate) tombstone: bool,
}

/// A row without its revision, which follows from the rows before: place 0 begins the next one.
#[derive(Clone, Copy)]
struct Packed {
    key: KeyId,
    place: u32,
}

impl Packed {
    fn place(self) -> u32 {
        self.place & !TOMBSTONE
    }
}

struct Chunk {
    /// The revision of the first row, which may have begun in the chunk before.
    first: Revision,
    rows: Vec<Packed>,
}

/// The rows of all revisions from the compacted one on, each revision dense.
pub(crate) struct Journal {
    chunks: VecDeque<Chunk>,
    /// Rows of the first chunk that are gone already.
    start: usize,
    /// The revision of the first row that is left, or of the next one to come.
    front: Revision,
    /// The revision of the last row.
    last: Revision,
    /// Rows that are left.
    length: usize,
}

impl Journal {
    /// A journal whose last revision before its first row is `last`.
    pub(crate) fn new(last: Revision) -> Self {
        let front = Revision(last.0 + 1);
        Self { chunks: VecDeque::new(), start: 0, front, last, length: 0 }
    }

    /// Appends a row: the next of the last revision, or the first of the next one.
    pub(crate) fn push(&mut self, row: JournalRow) {
        let RowId { revision, place } = row.id;
        if place == 0 {
            assert!(revision.0 == self.last.0 + 1, "revisions are dense");
        } else {
            let before = self.chunks.back().and_then(|chunk| chunk.rows.last());
            let before = before.map(|row| row.place() + 1);
            assert!(revision == self.last && before == Some(place), "places are dense");
        }
        if self.chunks.back().is_none_or(|chunk| chunk.rows.len() == CHUNK_ROWS) {
            self.chunks.push_back(Chunk { first: revision, rows: Vec::with_capacity(CHUNK_ROWS) });
        }
        let place = place | if row.tombstone { TOMBSTONE } else { 0 };
        let chunk = self.chunks.back_mut().expect("there is a chunk with room");
        chunk.rows.push(Packed { key: row.key, place });
        self.last = revision;
        self.length += 1;
    }

    /// The row at this offset from the front, when all rows before it are of one revision.
    pub(crate) fn get(&self, offset: usize) -> Option<JournalRow> {
        let at = self.start + offset;
        let packed = *self.chunks.get(at / CHUNK_ROWS)?.rows.get(at % CHUNK_ROWS)?;
        let begins = offset > 0 && packed.place() == 0;
        let revision = Revision(self.front.0 + u64::from(begins));
        Some(unpack(packed, revision))
    }

    /// Takes the first row.
    pub(crate) fn pop(&mut self) -> Option<JournalRow> {
        let row = self.get(0)?;
        self.start += 1;
        self.length -= 1;
        let next_begins = self.get(0).is_none_or(|next| next.id.place == 0);
        if next_begins {
            self.front = Revision(self.front.0 + 1);
        }
        if self.start == CHUNK_ROWS {
            self.chunks.pop_front();
            self.start = 0;
        }
        Some(row)
    }

    /// The rows from the first of this revision on.
    pub(crate) fn from(&self, revision: Revision) -> impl Iterator<Item = JournalRow> + use<'_> {
        let revision = revision.max(self.front);
        let after = self.chunks.partition_point(|chunk| chunk.first < revision);
        let mut chunk = after.saturating_sub(1);
        let mut at = if chunk == 0 { self.start } else { 0 };
        let mut current = match (chunk, self.chunks.get(chunk)) {
            (0, _) | (_, None) => self.front,
            (_, Some(chunk)) => chunk.first,
        };
        let mut first = true;
        let rows = std::iter::from_fn(move || {
            let packed = loop {
                let rows = &self.chunks.get(chunk)?.rows;
                if let Some(packed) = rows.get(at) {
                    break *packed;
                }
                chunk += 1;
                at = 0;
            };
            at += 1;
            if !mem::take(&mut first) && packed.place() == 0 {
                current = Revision(current.0 + 1);
            }
            Some(unpack(packed, current))
        });
        rows.skip_while(move |row| row.id.revision < revision)
    }

    pub(crate) fn bytes_estimate(&self) -> usize {
        self.chunks.len() * (CHUNK_ROWS * mem::size_of::<Packed>() + mem::size_of::<Chunk>())
    }
}

fn unpack(packed: Packed, revision: Revision) -> JournalRow {
    JournalRow {
        id: RowId { revision, place: packed.place() },
        key: packed.key,
        tombstone: packed.place & TOMBSTONE != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Revisions of one to three rows; every fifth row is a tombstone.
    fn rows(revisions: u64) -> Vec<JournalRow> {
        let ids = (2..2 + revisions).flat_map(|revision| {
            (0..=(revision % 3) as u32)
                .map(move |place| RowId { revision: Revision(revision), place })
        });
        let numbered = ids.enumerate();
        numbered
            .map(|(n, id)| JournalRow { id, key: KeyId(n as u32), tombstone: n % 5 == 0 })
            .collect()
    }

    #[test]
    fn what_is_pushed_is_popped_in_order() {
        let rows = rows(3000);
        let mut journal = Journal::new(Revision(1));
        for row in &rows {
            journal.push(*row);
        }
        for row in &rows {
            assert_eq!(journal.pop(), Some(*row));
        }
        assert_eq!(journal.pop(), None);
        assert_eq!(journal.length, 0);
        let next = RowId { revision: Revision(3002), place: 0 };
        journal.push(JournalRow { id: next, key: KeyId(0), tombstone: false });
        assert_eq!(journal.get(0).map(|row| row.id), Some(next));
    }

    #[test]
    fn reading_begins_at_any_revision_however_much_is_popped() {
        let rows = rows(2500);
        let mut journal = Journal::new(Revision(1));
        for row in &rows {
            journal.push(*row);
        }
        let mut popped = 0;
        while popped < rows.len() {
            for revision in [0, 1, 2, 3, 500, 501, 512, 513, 1024, 1500, 2048, 2501, 2502] {
                let revision = Revision(revision);
                let expected = rows[popped..].iter().filter(|row| row.id.revision >= revision);
                assert!(
                    journal.from(revision).eq(expected.copied()),
                    "from {revision} with {popped} rows gone"
                );
            }
            for _ in 0..311 {
                journal.pop();
                popped += 1;
            }
        }
    }

    #[test]
    #[should_panic(expected = "revisions are dense")]
    fn a_gap_between_revisions_is_refused() {
        let id = RowId { revision: Revision(3), place: 0 };
        Journal::new(Revision(1)).push(JournalRow { id, key: KeyId(0), tombstone: false });
    }
}
