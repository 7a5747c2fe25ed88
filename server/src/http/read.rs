//! Reading the state machine: where the row is, under the lock; the row itself, without it.
//!
//! What is in memory is read at once. Whatever may wait for the disk is read on another thread, so
//! that the requests beside it do not wait too.
//!
//! One key and one range are here, for both APIs; [`transaction`] has what reads several at one revision.

pub(super) mod transaction;

use std::sync::Arc;

use bytes::Bytes;
use consensus::Index;
use kvcore::snapshot::StoreView;
use kvcore::store::{
    Record, RecordKey, Remembered, Row, RowId, StoreBatch, StoreError, StoreState,
};
use kvcore::{
    FetchError, KeyValue, Located, Range, RangePlanner, RangeResult, ReadError, Revision, SortBy,
    Store,
};

use super::App;
use super::error::{ApiError, ErrorName};

/// How often a read begins anew because compaction removed what it had located.
const ATTEMPTS_MAX: usize = 16;
/// The most keys to look at under one hold of the machine's lock.
const STEP_KEYS_MAX: usize = 2048;
/// Up to so many keys of a range are read where they are asked for, if they are in memory; more are read on
/// a thread of their own, so that other requests do not wait behind them.
const INLINE_KEYS_MAX: usize = 256;

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

    /// Reads a range, up to so many bytes of keys and values, if that takes no time and no disk. Returns with
    /// it the store's revision.
    pub(super) fn read_range_at_once(
        &self,
        range: &Range,
        bytes_max: usize,
    ) -> Result<Option<(RangeResult, Revision)>, ReadError> {
        if range.sort != SortBy::Key {
            return Ok(None);
        }
        // Few keys to read may be followed by many to count.
        let is_short = range.limit.is_some_and(|limit| limit <= INLINE_KEYS_MAX);
        let keys_max = if is_short { STEP_KEYS_MAX } else { INLINE_KEYS_MAX };
        let mut planner = RangePlanner::new(range.clone());
        let revision = {
            let machine = self.handle.machine().read().expect("no holder of the machine panics");
            machine.plan_range_step(&mut planner, keys_max)?;
            machine.revision()
        };
        if !planner.is_done() {
            return Ok(None);
        }
        // What is not in memory is read elsewhere, where it may fail.
        let result = planner.finish().fetch_within(&MemoryOnly, bytes_max).ok();
        Ok(result.map(|result| (result, revision)))
    }

    /// Reads a range, up to so many bytes of keys and values, and waits for the disk. Returns with it the
    /// store's revision.
    pub(super) fn read_range(
        &self,
        range: &Range,
        bytes_max: usize,
    ) -> Result<(RangeResult, Revision), ApiError> {
        // Another store each time: an installed snapshot brings one that has what is planned then.
        persist(|| Ok(self.try_range(range, &*self.handle.store(), bytes_max)?))
    }

    /// The outer error is final; with the inner one it is worth trying again.
    fn try_range(
        &self,
        range: &Range,
        store: &impl Store,
        bytes_max: usize,
    ) -> Result<Result<(RangeResult, Revision), FetchError>, ReadError> {
        let mut planner = RangePlanner::new(range.clone());
        let mut revision = Revision(0);
        while !planner.is_done() {
            let machine = self.handle.machine().read().expect("no holder of the machine panics");
            match machine.plan_range_step(&mut planner, STEP_KEYS_MAX) {
                Ok(()) => {
                    revision = machine.revision();
                    drop(machine);
                    // So the plan stays small, however many keys there are.
                    if let Err(error) = planner.fetch_unsorted(store, bytes_max) {
                        return Ok(Err(error));
                    }
                }
                // What was current at the first step was compacted before the last one.
                Err(ReadError::Compacted { .. }) if range.at.is_none() => {
                    planner = RangePlanner::new(range.clone());
                }
                Err(error) => return Err(error),
            }
        }
        let fetched = planner.finish().fetch_within(store, bytes_max);
        Ok(fetched.map(|result| {
            let revision = if range.at.is_some() { revision } else { result.at };
            (result, revision)
        }))
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
fn vanishing() -> ApiError {
    ApiError::new(
        ErrorName::Internal,
        format!(
            "what was to be read was compacted {ATTEMPTS_MAX} times in a row while it was read"
        ),
    )
}
