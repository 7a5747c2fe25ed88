//! The rows of the state machine, in redb.
//!
//! The store is a copy of what the log says, as far as its position tells; it is written beside the
//! path of acknowledgements. As long as the log is whole, the store can be built anew from it; once
//! the log has forgotten its beginning, the store alone holds what that said, and is brought back
//! only by the other nodes.
//!
//! A store that takes the place of another (a snapshot from a peer) is a file of its own with the
//! next number; the log says which number counts.
//!
//! # Format
//!
//! Four tables of one redb file. Rows are keyed by revision and place, so that new rows go to the end
//! of the tree; measured, that is five to ten times cheaper than keys in the order of users' keys,
//! and the file stays half as large.
//!
//! ```text
//! table  key                    value, little-endian
//! rows   (revision, place)      create revision 8, version 8, flags 1 (1: there is a value, 2: a lease, 4:
//!                               there are times), length of the key 4, the lease 8 if there is one, the time
//!                               of the creation 8 and that of the row 8 if they are known, the key, the value
//! idempotency  index            what is remembered of the idempotency key of that entry
//! records  its key              a lease, a counter or a family
//! state  "state"                format 4, directory 16, applied term 8, applied index 8, wall time 8,
//!                               revision 8, compacted revision 8, digest 16, digest of the
//!                               idempotency keys 16, index up to which they are forgotten 8, digest of the
//!                               records 16
//! ```
//!
//! Format 3, which had neither times nor families, is read as well, and format 2, which had neither leases nor
//! records either. They become format 4 with the next write; rows of before stay as they are, their times
//! unknown.
//!
//! Rows, keys, records and state change in one transaction, with redb's two-phase commit, and the allocator's state
//! is written along ("quick repair"), so that opening after a crash does not walk the file.

mod encoding;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

use std::io;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use consensus::Index;
use consensus::codec::Wire;
use encoding::{decode_row, decode_state, encode_row, encode_state};
use kvcore::snapshot::{Portion, StoreView};
use kvcore::store::{
    Record, RecordKey, RecordValue, Remembered, Revision, Row, RowId, Store, StoreBatch,
    StoreError, StoreState,
};
use redb::{
    AccessGuard, Builder, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageBackend, StorageError, Table, TableDefinition, TableError,
};

use crate::disk::{Disk, DiskFile};
use crate::identity::DirectoryId;

/// The name of the file of the store with this number.
#[must_use]
pub fn store_file(number: u64) -> String {
    format!("store-{number}.redb")
}

/// A store that is being made has this ending until it is whole.
const TEMPORARY_ENDING: &str = ".tmp";

/// Removes the stores that do not count: all but the one of this number, and the one after it, which
/// a snapshot may have been partly received into.
///
/// # Errors
/// When the disk fails.
pub fn remove_other_stores<D: Disk>(disk: &D, number: u64) -> io::Result<()> {
    let kept = [store_file(number), store_file(number + 1)];
    for name in disk.list()? {
        if name.starts_with("store-") && !kept.contains(&name) {
            disk.remove(&name)?;
        }
    }
    disk.sync_directory()
}

/// Removes one store, if it is there.
///
/// # Errors
/// When the disk fails.
pub fn remove_store<D: Disk>(disk: &D, number: u64) -> io::Result<()> {
    let name = store_file(number);
    if disk.exists(&name)? {
        disk.remove(&name)?;
        disk.sync_directory()?;
    }
    Ok(())
}

const ROWS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("rows");
/// What is remembered of idempotency keys, by the index of the entry that carried them. Rows are added
/// at the end and removed at the front.
const IDEMPOTENCY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("idempotency");
/// Leases, counters and families.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const STATE_KEY: &str = "state";

type RecordTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A row as redb hands it out.
type Item<'a> = Result<(AccessGuard<'a, (u64, u32)>, AccessGuard<'a, &'static [u8]>), StorageError>;

/// Rows to be removed that lie within so many revisions of one another are removed in one pass over
/// their range. Removing single rows costs a descent of the tree each, and a pass reads everything
/// in between.
const REMOVAL_GAP_REVISIONS_MAX: u64 = 64;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct RedbStoreOptions {
    /// The number of the data directory: a store of another directory is refused.
    pub directory: DirectoryId,
    /// Which store of the directory: the handle of the snapshot that was installed last, or zero.
    pub number: u64,
    /// The memory for cached pages, in bytes. redb's own default, 1 GiB, lets a node grow to it.
    pub cache_bytes: usize,
    /// Called between the rows and between the pages of a write, on the thread that writes: a commit computes for
    /// milliseconds, and whoever has more urgent threads can let them run there.
    pub between: fn(),
}

impl RedbStoreOptions {
    /// The defaults, for the first store of this data directory.
    #[must_use]
    pub fn new(directory: DirectoryId) -> Self {
        Self { directory, number: 0, cache_bytes: 12 << 20, between: || {} }
    }
}

/// A [`Store`] in a redb file. Reads run beside one another and beside a write.
#[derive(Debug)]
pub struct RedbStore {
    database: Database,
    directory: DirectoryId,
    /// Where the file is, for messages.
    location: String,
    /// Whether a write failed. What the file holds is unknown from then on.
    failed: AtomicBool,
    between: fn(),
}

impl RedbStore {
    /// Opens the store of a directory, or makes one.
    ///
    /// # Errors
    /// When the file is damaged, belongs to another directory, or can not be read.
    pub fn open<D: Disk>(disk: &D, options: RedbStoreOptions) -> Result<Self, StoreError> {
        let name = store_file(options.number);
        let temporary = format!("{name}{TEMPORARY_ENDING}");
        let location = disk.location(&name);
        let failed = |error: io::Error| StoreError(format!("the store can not be opened: {error}"));
        if disk.exists(&temporary).map_err(failed)? {
            disk.remove(&temporary).map_err(failed)?;
        }
        if !disk.exists(&name).map_err(failed)? {
            // redb initialises a file in several steps. Under another name until it is whole, a
            // crash in between leaves nothing that has to be explained.
            let file = disk.create(&temporary).map_err(failed)?;
            let store = Self::over(file, options, location.clone())?;
            store.create_tables()?;
            drop(store);
            disk.rename(&temporary, &name).map_err(failed)?;
            disk.sync_directory().map_err(failed)?;
        }
        let store = Self::over(disk.open(&name).map_err(failed)?, options, location)?;
        store.check()?;
        Ok(store)
    }

    fn over<F: DiskFile>(
        file: F,
        options: RedbStoreOptions,
        location: String,
    ) -> Result<Self, StoreError> {
        // redb promises an error for a damaged file only where it looks for damage, and may panic
        // elsewhere. To the operator both are the same.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Builder::new()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(Backend { file, between: options.between })
        }));
        let database = match opened {
            Ok(Ok(database)) => database,
            Ok(Err(error)) => return Err(unusable(&location, error)),
            Err(_) => return Err(unusable(&location, "it is damaged")),
        };
        let RedbStoreOptions { directory, between, .. } = options;
        Ok(Self { database, directory, location, failed: AtomicBool::new(false), between })
    }

    fn create_tables(&self) -> Result<(), StoreError> {
        self.write(&StoreBatch::default())
    }

    /// Looks whether what is there can be what was written.
    fn check(&self) -> Result<(), StoreError> {
        let state = self.state()?;
        let impossible = |what: String| Err(unusable(&self.location, what));
        // A store without a position is a copy that is not whole yet.
        if state.compacted > state.revision && state.applied.index > Index(0) {
            let StoreState { compacted, revision, .. } = state;
            return impossible(format!("it is compacted to {compacted}, beyond {revision}"));
        }
        let read = self.database.begin_read().map_err(|error| self.wrong(error))?;
        let rows = read.open_table(ROWS).map_err(|error| self.wrong(error))?;
        if let Some((key, _)) = rows.last().map_err(|error| self.wrong(error))?
            && key.value().0 > state.revision.0
        {
            let revision = state.revision;
            return impossible(format!(
                "it holds a row of revision {}, and is at {revision}",
                key.value().0
            ));
        }
        Ok(())
    }

    fn state_in(&self, read: &ReadTransaction) -> Result<StoreState, StoreError> {
        let table = read.open_table(STATE).map_err(|error| self.wrong(error))?;
        let value = table.get(STATE_KEY).map_err(|error| self.wrong(error))?;
        let value = value.ok_or_else(|| unusable(&self.location, "its state is missing"))?;
        decode_state(value.value(), self.directory).map_err(|what| unusable(&self.location, what))
    }

    /// The table of records; a store of the format before has none until it is written.
    fn open_records(&self, read: &ReadTransaction) -> Result<Option<RecordTable>, StoreError> {
        match read.open_table(RECORDS) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.wrong(error)),
        }
    }

    fn wrong(&self, error: impl Into<redb::Error>) -> StoreError {
        unusable(&self.location, error.into())
    }

    fn try_write(&self, batch: &StoreBatch) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        {
            let mut rows = transaction.open_table(ROWS)?;
            remove(&mut rows, &batch.removed)?;
            let mut bytes = Vec::new();
            for (id, row) in &batch.added {
                (self.between)();
                encode_row(row, &mut bytes);
                rows.insert((id.revision.0, id.place), bytes.as_slice())?;
            }
            let mut remembered = transaction.open_table(IDEMPOTENCY)?;
            let forgotten = batch.state.idempotency_forgotten.0;
            if remembered.first()?.is_some_and(|(first, _)| first.value() <= forgotten) {
                remembered.retain_in(..=forgotten, |_, _| false)?;
            }
            for row in &batch.remembered {
                remembered.insert(row.index.0, &*row.to_bytes())?;
            }
            let mut records = transaction.open_table(RECORDS)?;
            for (key, value) in &batch.records {
                let key = key.to_bytes();
                match value {
                    Some(value) => records.insert(&*key, &*value.to_bytes())?,
                    None => records.remove(&*key)?,
                };
            }
            let mut state = transaction.open_table(STATE)?;
            state.insert(STATE_KEY, encode_state(&batch.state, self.directory).as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// An error that names the file and the remedy.
fn unusable(location: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError(format!(
        "{location}: {what}. As long as the log is whole (its segments begin with \
         log-0000000000000001.wal) the store can be rebuilt from the log: stop the node, remove \
         this file (and no other), and start it again. Otherwise put a whole copy of the directory \
         back that was made after the node last stopped"
    ))
}

impl Store for RedbStore {
    fn row(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.wrong(error))?;
        let rows = read.open_table(ROWS).map_err(|error| self.wrong(error))?;
        let found = rows.get((id.revision.0, id.place)).map_err(|error| self.wrong(error))?;
        found.map(|value| decode_row(id, value.value(), &self.location)).transpose()
    }

    fn rows(&self, from: RowId, limit: usize) -> Result<Vec<(RowId, Row)>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.wrong(error))?;
        let rows = read.open_table(ROWS).map_err(|error| self.wrong(error))?;
        let range =
            rows.range((from.revision.0, from.place)..).map_err(|error| self.wrong(error))?;
        range.take(limit).map(|item| decode_item(item, &self.location)).collect()
    }

    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.wrong(error))?;
        let keys = read.open_table(IDEMPOTENCY).map_err(|error| self.wrong(error))?;
        remembered(&keys, after, limit, &self.location)
    }

    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.wrong(error))?;
        let table = self.open_records(&read)?;
        records(table.as_ref(), after, limit, &self.location)
    }

    fn view(&self) -> Result<Box<dyn StoreView>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.wrong(error))?;
        let rows = read.open_table(ROWS).map_err(|error| self.wrong(error))?;
        let keys = read.open_table(IDEMPOTENCY).map_err(|error| self.wrong(error))?;
        let records = self.open_records(&read)?;
        let state = self.state_in(&read)?;
        Ok(Box::new(RedbView { rows, keys, records, state, location: self.location.clone() }))
    }

    fn state(&self) -> Result<StoreState, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.wrong(error))?;
        self.state_in(&read)
    }

    fn write(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            let what = "an earlier write failed, and nothing is written until the next start";
            return Err(StoreError(format!("{}: {what}", self.location)));
        }
        self.try_write(batch).map_err(|error| {
            self.failed.store(true, Ordering::Release);
            StoreError(format!("{}: writing: {error}", self.location))
        })
    }
}

/// The store as of the beginning of a transaction. redb keeps the pages that it sees.
struct RedbView {
    rows: ReadOnlyTable<(u64, u32), &'static [u8]>,
    keys: ReadOnlyTable<u64, &'static [u8]>,
    records: Option<RecordTable>,
    state: StoreState,
    location: String,
}

impl StoreView for RedbView {
    fn state(&self) -> StoreState {
        self.state
    }

    fn portion(&self, after: Revision, bytes_max: usize) -> Result<Portion, StoreError> {
        let range = self.rows.range((after.0 + 1, 0)..);
        let range = range.map_err(|error| unusable(&self.location, error))?;
        Portion::collect(range.map(|item| decode_item(item, &self.location)), bytes_max)
    }

    fn ids(&self, from: RowId, limit: usize) -> Result<Vec<RowId>, StoreError> {
        let wrong = |error| unusable(&self.location, error);
        let range = self.rows.range((from.revision.0, from.place)..).map_err(wrong)?;
        let ids = range.take(limit).map(|item| item.map(|(key, _)| row_id(key.value())));
        ids.collect::<Result<_, _>>().map_err(wrong)
    }

    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError> {
        remembered(&self.keys, after, limit, &self.location)
    }

    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError> {
        records(self.records.as_ref(), after, limit, &self.location)
    }
}

/// Up to `limit` records behind this one, in the order of the bytes of their keys.
fn records(
    table: Option<&RecordTable>,
    after: Option<&RecordKey>,
    limit: usize,
    location: &str,
) -> Result<Vec<Record>, StoreError> {
    let Some(table) = table else { return Ok(Vec::new()) };
    let after = after.map(Wire::to_bytes);
    let low = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let range = table.range::<&[u8]>((low, Bound::Unbounded));
    let range = range.map_err(|error| unusable(location, error))?;
    let records = range.take(limit).map(|item| {
        let (key, value) = item.map_err(|error| unusable(location, error))?;
        let key = RecordKey::from_bytes(Bytes::copy_from_slice(key.value()));
        let value = RecordValue::from_bytes(Bytes::copy_from_slice(value.value()));
        let record = key.and_then(|key| Ok(Record { key, value: value? }));
        record.ok().filter(Record::is_consistent).ok_or_else(|| {
            unusable(
                location,
                "what is stored as a lease, a counter or a family is none".to_owned(),
            )
        })
    });
    records.collect()
}

/// The rows of up to `limit` entries after this one.
fn remembered(
    keys: &ReadOnlyTable<u64, &'static [u8]>,
    after: Index,
    limit: usize,
    location: &str,
) -> Result<Vec<Remembered>, StoreError> {
    let range = keys.range(after.0 + 1..).map_err(|error| unusable(location, error))?;
    let rows = range.take(limit).map(|item| {
        let (index, value) = item.map_err(|error| unusable(location, error))?;
        let row = Remembered::from_bytes(Bytes::copy_from_slice(value.value()));
        row.ok().filter(|row| row.index.0 == index.value()).ok_or_else(|| {
            let index = index.value();
            unusable(location, format!("what is stored of the idempotency key of {index} is none"))
        })
    });
    rows.collect()
}

fn row_id((revision, place): (u64, u32)) -> RowId {
    RowId { revision: Revision(revision), place }
}

fn decode_item(item: Item<'_>, location: &str) -> Result<(RowId, Row), StoreError> {
    let (key, value) = item.map_err(|error| unusable(location, error))?;
    let id = row_id(key.value());
    Ok((id, decode_row(id, value.value(), location)?))
}

/// Removes rows, those close to one another in one pass over their range.
fn remove(rows: &mut Table<'_, (u64, u32), &[u8]>, removed: &[RowId]) -> Result<(), redb::Error> {
    let mut ids: Vec<(u64, u32)> = removed.iter().map(|id| (id.revision.0, id.place)).collect();
    ids.sort_unstable();
    let near = |a: &(u64, u32), b: &(u64, u32)| b.0 - a.0 <= REMOVAL_GAP_REVISIONS_MAX;
    for group in ids.chunk_by(near) {
        let (first, last) = (group[0], group[group.len() - 1]);
        if group.len() == 1 {
            rows.remove(first)?;
        } else {
            rows.retain_in(first..=last, |key, _| group.binary_search(&key).is_err())?;
        }
    }
    Ok(())
}

/// A file of a [`Disk`], as redb wants it. It has no locks of its own: the whole directory is
/// locked, and redb needs them for other modes only.
#[derive(Debug)]
struct Backend<F> {
    file: F,
    between: fn(),
}

impl<F: DiskFile> StorageBackend for Backend<F> {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        (self.between)();
        self.file.write_at(offset, data)
    }
}
