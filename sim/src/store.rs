//! The two homes that a simulated machine's rows can have.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use consensus::Index;
use kvcore::MemoryStore;
use kvcore::snapshot::StoreView;
use kvcore::store::{
    Record, RecordKey, Remembered, Row, RowId, Store, StoreBatch, StoreError, StoreState,
};
use storage::{DirectoryId, RedbStore, RedbStoreOptions, remove_other_stores, remove_store};

use crate::disk::NodeDisk;
use crate::options::Depth;

/// The memory for pages that a simulated node's redb keeps.
const CACHE_BYTES: usize = 1 << 20;

/// The stores of a node, by number: the one that the log says counts, and at times the next one, into
/// which a snapshot is received.
#[derive(Debug)]
pub(crate) struct Stores {
    kind: Depth,
    directory: DirectoryId,
    /// The rows of stores in memory.
    memory: BTreeMap<u64, Arc<MemoryStore>>,
}

impl Stores {
    pub(crate) fn new(kind: Depth, directory: DirectoryId) -> Self {
        Self { kind, directory, memory: BTreeMap::new() }
    }

    /// Forgets everything, as when the disk is replaced: this is another directory.
    pub(crate) fn wipe(&mut self, directory: DirectoryId) {
        self.directory = directory;
        self.memory.clear();
    }

    /// Opens the store of a number, or makes it.
    pub(crate) fn open(
        &mut self,
        disk: &NodeDisk,
        number: u64,
    ) -> Result<SimulatedStore, StoreError> {
        match self.kind {
            Depth::Protocol => {
                Ok(SimulatedStore::Memory(Arc::clone(self.memory.entry(number).or_default())))
            }
            Depth::Whole => {
                let directory = self.directory;
                let options = RedbStoreOptions {
                    number,
                    cache_bytes: CACHE_BYTES,
                    ..RedbStoreOptions::new(directory)
                };
                Ok(SimulatedStore::Redb(Arc::new(RedbStore::open(disk, options)?)))
            }
        }
    }

    /// Removes every store but the one of this number and the next.
    pub(crate) fn keep_only(&mut self, disk: &NodeDisk, number: u64) -> io::Result<()> {
        self.memory.retain(|&other, _| other == number || other == number + 1);
        match self.kind {
            Depth::Protocol => Ok(()),
            Depth::Whole => remove_other_stores(disk, number),
        }
    }

    /// Removes the store of a number, if there is one.
    pub(crate) fn remove(&mut self, disk: &NodeDisk, number: u64) -> io::Result<()> {
        self.memory.remove(&number);
        match self.kind {
            Depth::Protocol => Ok(()),
            Depth::Whole => remove_store(disk, number),
        }
    }
}

/// A machine's store, or another handle of it.
#[derive(Clone, Debug)]
pub(crate) enum SimulatedStore {
    /// redb, over the simulated disk: the server's own code.
    Redb(Arc<RedbStore>),
    /// Rows in memory that outlive the node; each write is atomic, as redb's are.
    Memory(Arc<MemoryStore>),
}

impl SimulatedStore {
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

    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store().records(after, limit)
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
