//! Reading the state machine: where the row is, under the lock; the row itself, without it.
//!
//! What is in memory is read at once. Whatever may wait for the disk is read on another thread, so
//! that the requests beside it do not wait too.

use std::sync::Arc;

use bytes::Bytes;
use consensus::Index;
use kvcore::snapshot::StoreView;
use kvcore::store::{
    Record, RecordKey, Remembered, Row, RowId, StoreBatch, StoreError, StoreState,
};
use kvcore::{FetchError, KeyValue, Located, ReadError, Revision, Store};

use super::App;
use super::error::{ApiError, ErrorName};

/// How often a read begins anew because compaction removed what it had located.
pub(super) const ATTEMPTS_MAX: usize = 16;

/// One key as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is.
    pub(super) located: Located,
    /// The store's revision when it was located.
    pub(super) revision: Revision,
}

impl App {
    /// Says where a key is, as of a revision or now.
    pub(super) fn locate(&self, key: &[u8], at: Option<Revision>) -> Result<Found, ReadError> {
        let machine = self.handle.machine().read().expect("no holder of the machine panics");
        Ok(Found { located: machine.locate(key, at)?, revision: machine.revision() })
    }

    /// Fetches a key that was located.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        key: &Bytes,
        at: Option<Revision>,
        found: Found,
    ) -> Result<(Option<KeyValue>, Revision), ApiError> {
        match found.located {
            Located::Absent => Ok((None, found.revision)),
            Located::Resident(key_value) => Ok((Some(key_value), found.revision)),
            Located::Stored(_) => {
                let key = key.clone();
                self.off_thread(move |app| app.fetch_stored(&key, at, found)).await?
            }
        }
    }

    fn fetch_stored(
        &self,
        key: &[u8],
        at: Option<Revision>,
        mut found: Found,
    ) -> Result<(Option<KeyValue>, Revision), ApiError> {
        for _ in 0..ATTEMPTS_MAX {
            match found.located.fetch(&*self.handle.store()) {
                Ok(key_value) => return Ok((key_value, found.revision)),
                Err(FetchError::Vanished(_)) => found = self.locate(key, at)?,
                Err(FetchError::Store(error)) => return Err(error.into()),
            }
        }
        Err(vanishing())
    }
}

/// A store without anything in it: a read from it ends with [`FetchError::Store`] unless all rows
/// are in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryOnly;

impl MemoryOnly {
    fn nothing<T>() -> Result<T, StoreError> {
        Err(StoreError("not in memory".to_owned()))
    }
}

impl Store for MemoryOnly {
    fn remembered(&self, _: Index, _: usize) -> Result<Vec<Remembered>, StoreError> {
        Self::nothing()
    }

    fn records(&self, _: Option<&RecordKey>, _: usize) -> Result<Vec<Record>, StoreError> {
        Self::nothing()
    }

    fn row(&self, _: RowId) -> Result<Option<Row>, StoreError> {
        Self::nothing()
    }

    fn rows(&self, _: RowId, _: usize) -> Result<Vec<(RowId, Row)>, StoreError> {
        Self::nothing()
    }

    fn view(&self) -> Result<Box<dyn StoreView>, StoreError> {
        Self::nothing()
    }

    fn state(&self) -> Result<StoreState, StoreError> {
        Self::nothing()
    }

    fn write(&self, _: &StoreBatch) -> Result<(), StoreError> {
        Self::nothing()
    }
}

/// Repeats a read as long as compaction removes what it located.
pub(super) fn persist<T>(
    mut read: impl FnMut() -> Result<Result<T, FetchError>, ApiError>,
) -> Result<T, ApiError> {
    for _ in 0..ATTEMPTS_MAX {
        match read()? {
            Ok(result) => return Ok(result),
            Err(FetchError::Vanished(_)) => {}
            Err(FetchError::Store(error)) => return Err(error.into()),
        }
    }
    Err(vanishing())
}

/// Why that comes to an end.
pub(super) fn vanishing() -> ApiError {
    ApiError::new(
        ErrorName::Internal,
        format!(
            "what was to be read was compacted {ATTEMPTS_MAX} times in a row while it was read"
        ),
    )
}
