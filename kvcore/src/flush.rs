//! Carrying what was applied over to the store, and forgetting what was compacted.
//!
//! A compaction becomes durable before anything is removed: only then is the index pruned, some rows
//! at a time, and the rows that fall out of it go to the store as removals with later batches. So no
//! crash can leave a store from which a row is missing that its own state calls readable, and a
//! compaction of a million rows delays nobody.

use std::collections::BTreeMap;

use consensus::{Index, Mutant, mutant};

use crate::machine::Machine;
use crate::overlay::row_bytes;
use crate::store::{RecordChange, Row, RowId, Store, StoreBatch, StoreState};

/// Rows of the journal that are pruned after each batch, besides two for each row added: so pruning
/// always gains on writing.
const PRUNED_ROWS: usize = 1024;

impl<S: Store> Machine<S> {
    /// The next batch for the store, or `None` when there is nothing to write: whole entries up to
    /// the smaller of what is applied here and what is `durable` in the log, no more than `bytes_max`
    /// bytes of rows (but at least one entry), and rows that compaction freed.
    ///
    /// Whoever writes the batch calls [`Machine::flushed`] before asking for the next one.
    #[must_use]
    pub fn flush_batch(&self, durable: Index, bytes_max: usize) -> Option<StoreBatch> {
        let mut batch = StoreBatch { state: self.states.stored(), ..StoreBatch::default() };
        let mut bytes = 0;
        let mut keys = self.table.unflushed().peekable();
        for state in self.states.unstored() {
            let index = state.applied.index;
            if index > durable {
                break;
            }
            let key = keys.next_if(|row| row.index == index);
            let key_bytes = key.map_or(0, |row| row.bytes());
            if bytes + key_bytes > bytes_max && bytes > 0 {
                break;
            }
            if state.revision > batch.state.revision {
                let rows = self.unflushed_rows(state);
                let added: usize = rows.iter().map(row_bytes).sum();
                if bytes + key_bytes + added > bytes_max && bytes > 0 {
                    break;
                }
                bytes += added;
                for (place, row) in (0..).zip(rows) {
                    let id = RowId { revision: state.revision, place };
                    batch.added.push((id, row.clone()));
                }
            }
            bytes += key_bytes;
            batch.remembered.extend(key.cloned());
            batch.state = *state;
        }
        // Some may have been forgotten again before they ever got here.
        batch.remembered.retain(|row| row.index > batch.state.idempotency_forgotten);
        batch.records = self.changed_records(batch.state.applied.index);
        batch.removed.extend(self.removals.portion(batch.added.len()));
        let is_news =
            batch.state.applied > self.states.stored().applied || !batch.removed.is_empty();
        is_news.then_some(batch)
    }

    /// What the entries up to one changed of records: of each what it says last.
    fn changed_records(&self, up_to: Index) -> Vec<RecordChange> {
        if mutant::on(Mutant::LeasesUnwritten) {
            return Vec::new();
        }
        let changes = self.records.unflushed(up_to).map(|(_, change)| change.clone());
        let last: BTreeMap<_, _> = changes.collect();
        last.into_iter().collect()
    }

    /// Whether there are applied entries up to `durable` that are not in the store yet. What else a
    /// batch would do, removing what compaction freed, can wait.
    #[must_use]
    pub fn has_unflushed(&self, durable: Index) -> bool {
        self.states.unstored().next().is_some_and(|state| state.applied.index <= durable)
    }

    fn unflushed_rows(&self, state: &StoreState) -> &[Row] {
        self.overlay
            .revision(state.revision)
            .expect("rows stay in memory until they are in the store")
    }

    /// Notes that the batch of [`Machine::flush_batch`] is durable. Takes time in proportion to the
    /// batch.
    ///
    /// Returns how many rows to [`Machine::prune`] before the next batch, at once or a few at a time:
    /// without it what was compacted stays.
    ///
    /// # Panics
    /// If the batch is not the one that `flush_batch` gave last.
    #[must_use]
    pub fn flushed(&mut self, batch: &StoreBatch) -> usize {
        let state = batch.state;
        self.states.set_stored(state);
        self.overlay.flushed(state.revision);
        self.table.flushed(state.applied.index);
        self.records.flushed(state.applied.index);
        self.removals.removed(&batch.removed, batch.added.len(), self.index.versions());
        PRUNED_ROWS + 2 * batch.added.len()
    }

    /// Forgets up to `rows_max` rows of what the store's own compaction freed, and takes time in
    /// proportion: each is looked up in the index. Returns whether there may be more to forget before
    /// the next batch.
    ///
    /// Of each row of the journal up to the compacted revision, what it superseded goes; a tombstone
    /// goes itself. Only the rows of the compacted revision stay, tombstones too, until the next
    /// compaction: a watch may begin there.
    pub fn prune(&mut self, rows_max: usize) -> bool {
        let target = self.states.stored().compacted;
        for _ in 0..rows_max {
            if self.removals.is_full() {
                return false;
            }
            let passed =
                self.kept > 0 && self.journal.get(0).is_some_and(|row| row.id.revision < target);
            if passed {
                // What this row superseded went when it was kept.
                let row = self.journal.pop().expect("it was just seen");
                self.kept -= 1;
                if row.tombstone {
                    self.index.forget_tombstone(row.key, row.id, &mut self.removals);
                }
                continue;
            }
            let Some(row) = self.journal.get(self.kept) else { return false };
            if row.id.revision > target {
                return false;
            }
            self.index.forget_before(row.key, row.id.revision, &mut self.removals);
            if row.id.revision == target {
                self.kept += 1;
                continue;
            }
            assert!(self.kept == 0, "only rows of the compacted revision are kept");
            self.journal.pop();
            if row.tombstone {
                self.index.forget_tombstone(row.key, row.id, &mut self.removals);
            }
        }
        true
    }
}
