//! What the state machine needs of a store: immutable rows in revision order, written in whole
//! revisions together with the position that they represent.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Index, Position, WallTime};

pub use crate::family::Family;
pub use crate::idempotency::{Fate, OperationFate, Remembered, TransactionFate};
use crate::lease::LeaseId;
pub use crate::records::{Record, RecordChange, RecordKey, RecordRows, RecordValue};
use crate::snapshot::StoreView;

/// The number of a change to the whole store. A new store is at revision 1; the first change makes 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The address of a row: the revision that wrote it, and its place within that revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// The revision that wrote the row.
    pub revision: Revision,
    /// The place among the rows of that revision, from 0 in the order of the changes.
    pub place: u32,
}

/// One version of one key. Rows never change once written; compaction removes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The key.
    pub key: Bytes,
    /// The value; `None` is a tombstone: the key was deleted by this revision.
    pub value: Option<Bytes>,
    /// The revision that created the key's current generation.
    pub create_revision: Revision,
    /// How many times the key was written since it was created, this time included. Zero in a
    /// tombstone.
    pub version: u64,
    /// The lease that the key hangs on; none in a tombstone.
    pub lease: Option<LeaseId>,
    /// The store's time when the key's current generation was created; 0 if that is unknown, because an
    /// entry of an earlier version created it. At most [`ROW_TIME_MAX`].
    pub create_time: WallTime,
    /// The store's time when this row was written; 0 and at most as `create_time`.
    pub mod_time: WallTime,
}

/// The latest time that a row has, in the year 10889; what is written later has it, too.
pub const ROW_TIME_MAX: WallTime = WallTime((1 << 48) - 1);

/// Everything about a store besides its rows; written with them in one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoreState {
    /// The last log entry whose changes are all in the rows.
    pub applied: Position,
    /// The time of the store: the largest wall time of an applied entry.
    pub wall: WallTime,
    /// The store's revision.
    pub revision: Revision,
    /// The oldest revision that can still be read.
    pub compacted: Revision,
    /// The digest of all current rows at `revision`.
    pub digest: u128,
    /// The digest of the idempotency keys that are remembered at `applied`.
    pub idempotency_digest: u128,
    /// What was remembered of this entry and of those before it is forgotten.
    pub idempotency_forgotten: Index,
    /// The digest of the records: leases, counters and families.
    pub records_digest: u128,
}

/// One durable step of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreBatch {
    /// Rows to add, in the order of their ids; whole revisions only.
    pub added: Vec<(RowId, Row)>,
    /// Rows to remove, by compaction.
    pub removed: Vec<RowId>,
    /// What is to be remembered of idempotency keys, in the order of the entries, all of them after
    /// every one that is there. What `state.idempotency_forgotten` says is forgotten is to be removed.
    pub remembered: Vec<Arc<Remembered>>,
    /// Records to be set or removed, each at most once.
    pub records: Vec<RecordChange>,
    /// The state after this step.
    pub state: StoreState,
}

/// A durable home of rows. It may lag behind the state machine, which keeps what is not in it yet.
///
/// `row` and `rows` may run concurrently with `write`, and with one another.
pub trait Store {
    /// The row with this id, or `None` when it was removed or never written here.
    ///
    /// # Errors
    /// When the store can not be read or holds something that is no row.
    fn row(&self, id: RowId) -> Result<Option<Row>, StoreError>;

    /// Up to `limit` rows from this id on, in order.
    ///
    /// # Errors
    /// As [`Store::row`].
    fn rows(&self, from: RowId, limit: usize) -> Result<Vec<(RowId, Row)>, StoreError>;

    /// What is remembered of the idempotency keys of up to `limit` entries after this one, in order.
    ///
    /// # Errors
    /// As [`Store::row`].
    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError>;

    /// Up to `limit` records after this one, or from the first on, in an order of the store's own.
    ///
    /// # Errors
    /// As [`Store::row`].
    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// The store as it is now, to be looked at for a while.
    ///
    /// # Errors
    /// As [`Store::row`].
    fn view(&self) -> Result<Box<dyn StoreView>, StoreError>;

    /// The state that goes with the rows; the default in a new store.
    ///
    /// # Errors
    /// As [`Store::row`].
    fn state(&self) -> Result<StoreState, StoreError>;

    /// Makes a batch durable, all of it or nothing.
    ///
    /// # Errors
    /// When the store can not be written; it is then unusable until it is opened anew.
    fn write(&self, batch: &StoreBatch) -> Result<(), StoreError>;
}

/// The store failed: its message says where and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}
