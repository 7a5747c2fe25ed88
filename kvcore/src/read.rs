//! Reading one key, in two steps: the machine says where the row is, and the row is fetched where
//! the machine is not needed any more.

use std::fmt;

use bytes::Bytes;

use crate::lease::LeaseId;
use crate::store::{Revision, Row, RowId, Store, StoreError};

/// One key as it was at some revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty where only keys were asked for, and in a deletion.
    pub value: Bytes,
    /// The revision that created the key's current generation; 0 in a deletion.
    pub create_revision: Revision,
    /// The revision that wrote this version.
    pub mod_revision: Revision,
    /// How many times the key was written since it was created, this time included; 0 in a deletion.
    pub version: u64,
    /// The lease that the key hangs on.
    pub lease: Option<LeaseId>,
}

impl KeyValue {
    /// What a row says that is no tombstone.
    pub(crate) fn of(id: RowId, row: &Row) -> Option<Self> {
        Some(Self {
            key: row.key.clone(),
            value: row.value.clone()?,
            create_revision: row.create_revision,
            mod_revision: id.revision,
            version: row.version,
            lease: row.lease,
        })
    }
}

/// Where a key's row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// Nowhere: the key did not exist at that revision.
    Absent,
    /// In memory; here it is.
    Resident(KeyValue),
    /// In the store. Its revision is the key's `mod_revision`, so a conditional read may be answered
    /// without fetching it.
    Stored(RowId),
}

impl Located {
    /// The revision that wrote the row; `None` when the key is absent.
    #[must_use]
    pub fn mod_revision(&self) -> Option<Revision> {
        match self {
            Self::Absent => None,
            Self::Resident(key_value) => Some(key_value.mod_revision),
            Self::Stored(id) => Some(id.revision),
        }
    }

    /// Fetches the row from the store if it is there.
    ///
    /// # Errors
    /// [`FetchError::Vanished`] when compaction removed the row since it was located; or the store's
    /// own error.
    pub fn fetch<S: Store + ?Sized>(self, store: &S) -> Result<Option<KeyValue>, FetchError> {
        match self {
            Self::Absent => Ok(None),
            Self::Resident(key_value) => Ok(Some(key_value)),
            Self::Stored(id) => {
                let row = store.row(id)?.ok_or(FetchError::Vanished(id))?;
                stored_key_value(id, &row).map(Some)
            }
        }
    }
}

/// What a stored row says of which the index says that it is no tombstone.
pub(crate) fn stored_key_value(id: RowId, row: &Row) -> Result<KeyValue, FetchError> {
    KeyValue::of(id, row).ok_or_else(|| {
        let RowId { revision, place } = id;
        FetchError::Store(StoreError(format!(
            "the row of revision {revision} at place {place} is a tombstone, but was written as a value"
        )))
    })
}

/// Why a row that was located could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Compaction removed the row in the meantime. Locating again either finds a newer row or says
    /// that the revision is compacted.
    Vanished(RowId),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vanished(id) => write!(
                f,
                "the row of revision {} at place {} was compacted while it was being read",
                id.revision, id.place
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FetchError {}

/// Why a revision can not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The revision was compacted.
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest revision that can still be read.
        compacted: Revision,
    },
    /// The revision does not exist yet.
    Future {
        /// The revision asked for.
        requested: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// The store failed. Only the methods that fetch as well give this.
    Store(StoreError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted { requested, compacted } => write!(
                f,
                "revision {requested} was compacted; the oldest that can be read is {compacted}"
            ),
            Self::Future { requested, current } => {
                write!(f, "revision {requested} does not exist yet; the current one is {current}")
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<FetchError> for ReadError {
    /// For a fetch during which the machine did not change: nothing may vanish then.
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Store(error) => Self::Store(error),
            FetchError::Vanished(RowId { revision, place }) => Self::Store(StoreError(format!(
                "the row of revision {revision} at place {place} is missing"
            ))),
        }
    }
}
