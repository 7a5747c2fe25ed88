//! The two homes that a simulated machine's rows can have.

use std::sync::Arc;

use consensus::Index;
use kvcore::MemoryStore;
use kvcore::snapshot::StoreView;
use kvcore::store::{Remembered, Row, RowId, Store, StoreBatch, StoreError, StoreState};
use storage::{DirectoryId, RedbStore, RedbStoreOptions};

use crate::disk::NodeDisk;
use crate::options::StoreKind;

/// The memory for pages that a simulated node's redb keeps.
const CACHE_BYTES: usize = 1 << 20;

/// A machine's store.
#[derive(Debug)]
pub(crate) enum SimulatedStore {
    /// redb, over the simulated disk: the server's own code.
    Redb(Box<RedbStore>),
    /// Rows in memory that outlive the node; each write is atomic, as redb's are.
    Memory(Arc<MemoryStore>),
}

impl SimulatedStore {
    /// Opens the store of a node that starts.
    pub(crate) fn open(
        kind: StoreKind,
        disk: &NodeDisk,
        directory: DirectoryId,
        memory: &Arc<MemoryStore>,
    ) -> Result<Self, StoreError> {
        match kind {
            StoreKind::Memory => Ok(Self::Memory(Arc::clone(memory))),
            StoreKind::Redb => {
                let options = RedbStoreOptions {
                    cache_bytes: CACHE_BYTES,
                    ..RedbStoreOptions::new(directory)
                };
                Ok(Self::Redb(Box::new(RedbStore::open(disk, options)?)))
            }
        }
    }

    fn store(&self) -> &dyn Store {
        match self {
            Self::Redb(store) => store.as_ref(),
            Self::Memory(store) => store.as_ref(),
        }
    }
}

impl Store for SimulatedStore {
    fn row(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.store().row(id)
    }

    fn rows(&self, from: RowId, limit: usize) -> Result<Vec<(RowId, Row)>, StoreError> {
        self.store().rows(from, limit)
    }

    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError> {
        self.store().remembered(after, limit)
    }

    fn view(&self) -> Result<Box<dyn StoreView>, StoreError> {
        self.store().view()
    }

    fn state(&self) -> Result<StoreState, StoreError> {
        self.store().state()
    }

    fn write(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        self.store().write(batch)
    }
}
