//! A store in memory, for the simulator and for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use consensus::{Index, Position};

use crate::snapshot::{Portion, StoreView};
use crate::store::{
    Record, RecordKey, RecordValue, Remembered, Revision, Row, RowId, Store, StoreBatch,
    StoreError, StoreState,
};

/// A store that lasts as long as the process. It keeps to the whole contract of [`Store`] and
/// asserts that its caller does too.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    rows: BTreeMap<RowId, Row>,
    remembered: BTreeMap<Index, Arc<Remembered>>,
    records: BTreeMap<RecordKey, RecordValue>,
    state: StoreState,
}

impl Content {
    fn remembered(&self, after: Index, limit: usize) -> Vec<Remembered> {
        let rows = self.remembered.range(after.next()..).take(limit);
        rows.map(|(_, row)| Remembered::clone(row)).collect()
    }

    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Vec<Record> {
        let low = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = self.records.range((low, Bound::Unbounded)).take(limit);
        records.map(|(key, value)| Record { key: key.clone(), value: *value }).collect()
    }
}

impl MemoryStore {
    /// A new store without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many idempotency keys there are.
    #[must_use]
    pub fn remembered_count(&self) -> usize {
        self.content().remembered.len()
    }

    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.content().rows.len()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no thread panicked while it held the store")
    }
}

impl Clone for MemoryStore {
    /// A copy of the content as it is now: what a crash at this moment would leave.
    fn clone(&self) -> Self {
        Self { content: Mutex::new(self.content().clone()) }
    }
}

impl Store for MemoryStore {
    fn row(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.content().rows.get(&id).cloned())
    }

    fn rows(&self, from: RowId, limit: usize) -> Result<Vec<(RowId, Row)>, StoreError> {
        let content = self.content();
        Ok(content.rows.range(from..).take(limit).map(|(id, row)| (*id, row.clone())).collect())
    }

    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError> {
        Ok(self.content().remembered(after, limit))
    }

    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(self.content().records(after, limit))
    }

    fn view(&self) -> Result<Box<dyn StoreView>, StoreError> {
        Ok(Box::new(self.content().clone()))
    }

    fn state(&self) -> Result<StoreState, StoreError> {
        Ok(self.content().state)
    }

    fn write(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        let mut content = self.content();
        let before = content.state;
        // A copy may begin over one that was whole and of no use.
        let begins_anew = batch.state.applied == Position::ZERO;
        let goes_on = batch.state.applied.index >= before.applied.index;
        assert!(goes_on || begins_anew, "a position never goes back");
        assert!(batch.state.revision >= before.revision, "a revision never goes back");
        assert!(batch.state.compacted >= before.compacted, "a compaction is never undone");
        for (id, row) in &batch.added {
            assert!(id.revision > before.revision, "rows are added in whole revisions");
            assert!(id.revision <= batch.state.revision, "no row is ahead of the state");
            let earlier = content.rows.insert(*id, row.clone());
            assert!(earlier.is_none(), "rows never change");
        }
        for id in &batch.removed {
            assert!(id.revision < before.compacted, "a compaction is durable before it removes");
            let removed = content.rows.remove(id);
            assert!(removed.is_some(), "a row is removed once");
        }
        let forgotten = batch.state.idempotency_forgotten;
        let is_copy_under_way = batch.state.applied.index == Index(0);
        assert!(
            forgotten >= before.idempotency_forgotten || is_copy_under_way,
            "what is forgotten stays forgotten"
        );
        for row in &batch.remembered {
            let last = content.remembered.last_key_value().map_or(forgotten, |(last, _)| *last);
            assert!(row.index > last, "what is remembered follows what was, and is not forgotten");
            content.remembered.insert(row.index, Arc::clone(row));
        }
        content.remembered = content.remembered.split_off(&forgotten.next());
        for (key, value) in &batch.records {
            match value {
                Some(value) => content.records.insert(key.clone(), *value),
                None => content.records.remove(key),
            };
        }
        content.state = batch.state;
        Ok(())
    }
}

impl StoreView for Content {
    fn state(&self) -> StoreState {
        self.state
    }

    fn portion(&self, after: Revision, bytes_max: usize) -> Result<Portion, StoreError> {
        let from = RowId { revision: Revision(after.0 + 1), place: 0 };
        Portion::collect(self.rows.range(from..).map(|(id, row)| Ok((*id, row.clone()))), bytes_max)
    }

    fn ids(&self, from: RowId, limit: usize) -> Result<Vec<RowId>, StoreError> {
        Ok(self.rows.range(from..).take(limit).map(|(id, _)| *id).collect())
    }

    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError> {
        Ok(Self::remembered(self, after, limit))
    }

    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(Self::records(self, after, limit))
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn row(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        (**self).row(id)
    }

    fn rows(&self, from: RowId, limit: usize) -> Result<Vec<(RowId, Row)>, StoreError> {
        (**self).rows(from, limit)
    }

    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError> {
        (**self).remembered(after, limit)
    }

    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError> {
        (**self).records(after, limit)
    }

    fn view(&self) -> Result<Box<dyn StoreView>, StoreError> {
        (**self).view()
    }

    fn state(&self) -> Result<StoreState, StoreError> {
        (**self).state()
    }

    fn write(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        (**self).write(batch)
    }
}
