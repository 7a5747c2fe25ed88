//! How much a machine holds, and what of that waits for the store.

use crate::alarm::Comparisons;
use crate::machine::Machine;
use crate::store::{Revision, Store};

/// The bytes of rows that may wait for the store before [`Machine::is_behind`].
pub const UNFLUSHED_BYTES_MAX: usize = 12 << 20;
/// The entries that may wait for the store before [`Machine::is_behind`], whatever they changed.
pub const UNFLUSHED_ENTRIES_MAX: usize = 64 << 10;

/// Figures of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Keys that exist.
    pub keys: usize,
    /// Rows that can be read at some revision, or wait to be forgotten after a compaction.
    pub versions: usize,
    /// The bytes of those rows, with what each takes besides key and value.
    pub row_bytes: usize,
    /// The bytes of leases, counters of sequential keys, families and alarms.
    pub record_bytes: usize,
    /// The store's revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// Rows in memory.
    pub overlay_rows: usize,
    /// Their bytes.
    pub overlay_bytes: usize,
    /// Entries that are not in the store yet.
    pub unflushed_entries: usize,
    /// The bytes of rows that are not in the store yet, those of idempotency keys included.
    pub unflushed_bytes: usize,
    /// Rows that the store has yet to remove, of those that compaction has come to.
    pub removals: usize,
    /// The memory of the index, in bytes, estimated.
    pub index_bytes: usize,
    /// Idempotency keys that are remembered.
    pub idempotency_keys: usize,
    /// Their bytes, with what is remembered of each.
    pub idempotency_bytes: usize,
    /// Leases.
    pub leases: usize,
    /// What came of comparing digests since the store was opened.
    pub comparisons: Comparisons,
}

impl<S: Store> Machine<S> {
    /// Whether so much waits for the store that nothing more should be applied until some of it is
    /// there. Nothing is refused: whoever applies decides, and memory grows if they do not wait.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.unflushed_bytes() >= UNFLUSHED_BYTES_MAX
            || self.states.unstored().len() >= UNFLUSHED_ENTRIES_MAX
    }

    /// The bytes of all rows that are kept and of all records, with what each takes besides its key and
    /// value: what a quota is about.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        (self.index.row_bytes() + self.records.bytes()) as u64
    }

    /// The bytes that wait for the store.
    fn unflushed_bytes(&self) -> usize {
        self.overlay.unflushed_bytes()
            + self.table.unflushed_bytes()
            + self.records.unflushed_bytes()
    }

    /// Figures about memory and progress. Takes constant time.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            keys: self.index.live(),
            versions: self.index.versions(),
            row_bytes: self.index.row_bytes(),
            record_bytes: self.records.bytes(),
            revision: self.revision,
            compacted: self.compacted,
            overlay_rows: self.overlay.rows(),
            overlay_bytes: self.overlay.bytes(),
            unflushed_entries: self.states.unstored().len(),
            unflushed_bytes: self.unflushed_bytes(),
            removals: self.removals.len(),
            index_bytes: self.index.bytes_estimate() + self.journal.bytes_estimate(),
            idempotency_keys: self.table.len(),
            idempotency_bytes: self.table.bytes(),
            leases: self.leases.len(),
            comparisons: self.comparisons,
        }
    }
}
