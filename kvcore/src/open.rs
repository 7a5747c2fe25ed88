//! Opening: the index is rebuilt from the rows of the store, and the store is checked as a whole.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::alarm::{Alarms, Comparisons};
use crate::apply::UnderWay;
use crate::digest::{RowNumbers, RowTimes, row_hash};
use crate::family::Family;
use crate::generation::Generation;
use crate::idempotency::{IdempotencyLimits, Table};
use crate::index::{Current, Index, KeyId};
use crate::journal::{Journal, JournalRow};
use crate::lease::{LeaseId, Leases};
use crate::machine::{CACHE_BYTES_DEFAULT, Machine};
use crate::overlay::{Overlay, row_bytes};
use crate::records::Records;
use crate::removals::Removals;
use crate::states::States;
use crate::store::{RecordKey, RecordValue, Revision, Row, RowId, Store, StoreError, StoreState};

/// The first revision of every store: that of no change yet.
const REVISION_START: Revision = Revision(1);
/// The most rows that are read at once.
const CHUNK_ROWS_MAX: usize = 4096;
/// The bytes that are read at once, about.
const CHUNK_BYTES: usize = 1 << 20;

/// How a machine is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineOptions {
    /// The bytes of the most recent rows that are kept in memory, about; those that are not in the
    /// store yet are kept in any case.
    pub cache_bytes: usize,
    /// What is remembered of idempotency keys: the same on every node.
    pub idempotency: IdempotencyLimits,
}

impl Default for MachineOptions {
    fn default() -> Self {
        Self { cache_bytes: CACHE_BYTES_DEFAULT, idempotency: IdempotencyLimits::default() }
    }
}

/// Why a store can not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The store failed.
    Store(StoreError),
    /// The rows are not what was written: their digest differs from the one that the state carries.
    Digest {
        /// The state, with the digest that was written.
        state: Box<StoreState>,
        /// The digest of the rows that are there.
        found: u128,
    },
    /// The idempotency keys are not those that were written.
    IdempotencyDigest {
        /// The state, with the digest that was written.
        state: Box<StoreState>,
        /// The digest of the keys that are there.
        found: u128,
    },
    /// The records are not those that were written.
    RecordsDigest {
        /// The state, with the digest that was written.
        state: Box<StoreState>,
        /// The digest of the records that are there.
        found: u128,
    },
    /// The rows can not be those of any store.
    Rows(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Digest { state, found } => write!(
                f,
                "the store is damaged: at revision {} its digest should be {:032x}, but its rows give \
                 {found:032x}",
                state.revision, state.digest
            ),
            Self::IdempotencyDigest { state, found } => write!(
                f,
                "the store is damaged: at {} the digest of its idempotency keys should be {:032x}, but \
                 is {found:032x}",
                state.applied, state.idempotency_digest
            ),
            Self::RecordsDigest { state, found } => write!(
                f,
                "the store is damaged: at {} the digest of its leases, counters and families \
                 should be {:032x}, but is {found:032x}",
                state.applied, state.records_digest
            ),
            Self::Rows(what) => write!(f, "the store is damaged: {what}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<S: Store> Machine<S> {
    /// Opens a store, new or not, with the default options. Reads every row once, some at a time.
    ///
    /// The next entry to apply is the one after [`Machine::applied`].
    ///
    /// # Errors
    /// When the store fails or is damaged.
    pub fn open(store: S) -> Result<Self, OpenError> {
        Self::open_with(store, MachineOptions::default())
    }

    /// As [`Machine::open`], with these options.
    ///
    /// # Errors
    /// As [`Machine::open`].
    pub fn open_with(store: S, options: MachineOptions) -> Result<Self, OpenError> {
        let mut state = store.state()?;
        state.revision = state.revision.max(REVISION_START);
        let mut loading = Loading::new(state);
        let mut from = RowId::default();
        let mut limit = 64;
        loop {
            let rows = store.rows(from, limit)?;
            let Some((last, _)) = rows.last() else { break };
            from = RowId { revision: last.revision, place: last.place + 1 };
            let bytes: usize = rows.iter().map(|(_, row)| row_bytes(row)).sum();
            limit = (CHUNK_BYTES / (bytes / rows.len())).clamp(1, CHUNK_ROWS_MAX);
            for (id, row) in &rows {
                loading.row(*id, row)?;
            }
        }
        loading.check()?;
        let table = load_table(&store, state, options.idempotency)?;
        let LoadedRecords { records, mut leases, sequences, families, alarms } =
            load_records(&store, state)?;
        for (key, lease) in loading.leases {
            let name = loading.index.entry(key).key();
            if leases.get(lease).is_none() {
                let name = String::from_utf8_lossy(name);
                let what = format!("the key {name:?} hangs on lease {lease}, which is not there");
                return Err(OpenError::Rows(what));
            }
            leases.attach(key, name.len(), Some(lease));
        }
        let exists = |key: &Bytes| {
            let found = loading.index.find(key);
            found.is_some_and(|key| loading.index.entry(key).current().is_some())
        };
        if let Some(parent) = families.keys().find(|parent| !exists(parent)) {
            let parent = String::from_utf8_lossy(parent);
            let what = format!("the key {parent:?} has a record of its children, but is not there");
            return Err(OpenError::Rows(what));
        }
        Ok(Self {
            store,
            index: loading.index,
            journal: loading.journal,
            overlay: Overlay::new(state.revision, options.cache_bytes),
            digest: loading.digest,
            states: States::new(state),
            table,
            leases,
            sequences,
            alarms,
            alarm_stood: false,
            difference: None,
            comparisons: Comparisons::default(),
            families,
            records,
            under_way: UnderWay::default(),
            applied: state.applied,
            wall: state.wall,
            revision: state.revision,
            compacted: state.compacted,
            removals: loading.removals,
            kept: loading.kept,
        })
    }
}

/// Reads the idempotency keys.
fn load_table<S: Store>(
    store: &S,
    state: StoreState,
    limits: IdempotencyLimits,
) -> Result<Table, OpenError> {
    let mut table = Table::new(limits, state.idempotency_forgotten);
    let mut after = state.idempotency_forgotten;
    loop {
        let rows = store.remembered(after, CHUNK_ROWS_MAX)?;
        let Some(last) = rows.last() else { break };
        after = last.index;
        for row in rows {
            let index = row.index;
            table.load(row, &state).map_err(|what| {
                OpenError::Rows(format!("the idempotency key of entry {index}: {what}"))
            })?;
        }
    }
    if table.digest() != state.idempotency_digest {
        return Err(OpenError::IdempotencyDigest { state: Box::new(state), found: table.digest() });
    }
    Ok(table)
}

/// What records become in memory.
#[derive(Default)]
struct LoadedRecords {
    records: Records,
    leases: Leases,
    sequences: BTreeMap<Bytes, u64>,
    families: BTreeMap<Bytes, Family>,
    alarms: Alarms,
}

/// Reads leases, counters, families and alarms.
fn load_records<S: Store>(store: &S, state: StoreState) -> Result<LoadedRecords, OpenError> {
    let mut loaded = LoadedRecords::default();
    let mut after = None;
    loop {
        let records = store.records(after.as_ref(), CHUNK_ROWS_MAX)?;
        let Some(last) = records.last() else { break };
        after = Some(last.key.clone());
        for record in records {
            loaded.records.load(&record);
            match (record.key, record.value) {
                (RecordKey::Lease(lease), RecordValue::Lease(time)) => {
                    loaded.leases.load(lease, time);
                }
                (RecordKey::Sequence(prefix), RecordValue::Sequence(next)) => {
                    loaded.sequences.insert(prefix, next);
                }
                (RecordKey::Alarm(node), RecordValue::Alarm(corruption)) => {
                    loaded.alarms.insert(node, corruption);
                }
                (RecordKey::Family(parent), RecordValue::Family(family)) => {
                    loaded.families.insert(parent, family);
                }
                _ => return Err(OpenError::Rows("a record says what it can not".to_owned())),
            }
        }
    }
    let found = loaded.records.digest();
    if found != state.records_digest {
        return Err(OpenError::RecordsDigest { state: Box::new(state), found });
    }
    Ok(loaded)
}

/// A machine's parts while rows are added in the order of their ids.
struct Loading {
    state: StoreState,
    index: Index,
    journal: Journal,
    removals: Removals,
    kept: usize,
    digest: u128,
    /// The leases of keys whose current rows name one.
    leases: BTreeMap<KeyId, LeaseId>,
    /// The last row that the journal took; the rows before it are dense.
    last: Option<RowId>,
}

impl Loading {
    fn new(state: StoreState) -> Self {
        // The rows of the compacted revision are still whole, so the journal begins with them.
        let first = state.compacted.max(Revision(REVISION_START.0 + 1));
        Self {
            state,
            index: Index::default(),
            journal: Journal::new(Revision(first.0 - 1)),
            removals: Removals::default(),
            kept: 0,
            digest: 0,
            leases: BTreeMap::new(),
            last: None,
        }
    }

    fn row(&mut self, id: RowId, row: &Row) -> Result<(), OpenError> {
        if id.revision > self.state.revision || id.revision <= REVISION_START {
            return Err(damaged(id, &format!("the store is at revision {}", self.state.revision)));
        }
        let compacted = self.state.compacted;
        if id.revision >= compacted {
            self.check_dense(id)?;
        }
        if !Generation::is_possible(row) {
            return Err(damaged(id, "its version or its times are larger than any can be"));
        }
        let found = self.index.find(&row.key);
        let before = found.and_then(|key| self.index.entry(key).current());
        if found.is_some_and(|key| self.index.entry(key).revision() >= id.revision) {
            return Err(damaged(id, "its revision writes the same key twice"));
        }
        let key = match (&row.value, found) {
            (Some(value), _) => {
                let Row { create_revision, version, lease, create_time, mod_time, .. } = *row;
                let mod_revision = id.revision;
                let numbers = RowNumbers { create_revision, mod_revision, version, lease };
                let times = RowTimes { create_time, mod_time };
                let hash = row_hash(&row.key, value, numbers, times);
                self.digest = self.digest.wrapping_add(hash);
                let current = Current { id, create_revision, version, create_time, hash };
                self.index.put(&row.key, found, (current, row_bytes(row)))
            }
            (None, Some(key)) if before.is_some() => {
                self.index.delete(key, id, row_bytes(row));
                key
            }
            // What it deleted was compacted away.
            (None, None) if id.revision <= compacted => {
                self.index.insert_tombstone(&row.key, id, row_bytes(row))
            }
            (None, _) => return Err(damaged(id, "it deletes a key that does not exist")),
        };
        self.digest = self.digest.wrapping_sub(before.map_or(0, |before| before.hash));

        match row.lease {
            Some(lease) => self.leases.insert(key, lease),
            None => self.leases.remove(&key),
        };
        let tombstone = row.value.is_none();
        if id.revision <= compacted {
            // What a crash kept from being removed after a compaction.
            self.index.forget_before(key, id.revision, &mut self.removals);
        }
        if id.revision >= compacted {
            self.journal.push(JournalRow { id, key, tombstone });
            self.last = Some(id);
            self.kept += usize::from(id.revision == compacted);
        } else if tombstone {
            self.index.forget_tombstone(key, id, &mut self.removals);
        }
        Ok(())
    }

    /// Readable revisions have no gaps.
    fn check_dense(&self, id: RowId) -> Result<(), OpenError> {
        let begun = match self.last {
            Some(last) if id.revision == last.revision => id.place == last.place + 1,
            Some(last) => id.revision.0 == last.revision.0 + 1 && id.place == 0,
            None => {
                id.revision == self.state.compacted.max(Revision(REVISION_START.0 + 1))
                    && id.place == 0
            }
        };
        if begun { Ok(()) } else { Err(damaged(id, "a row before it is missing")) }
    }

    fn check(&self) -> Result<(), OpenError> {
        let last = self.last.map_or(REVISION_START, |last| last.revision);
        if last != self.state.revision {
            return Err(OpenError::Rows(format!(
                "its rows end at revision {last}, but its state is of revision {}",
                self.state.revision
            )));
        }
        if self.digest != self.state.digest {
            return Err(OpenError::Digest { state: Box::new(self.state), found: self.digest });
        }
        Ok(())
    }
}

fn damaged(id: RowId, what: &str) -> OpenError {
    let RowId { revision, place } = id;
    OpenError::Rows(format!("the row of revision {revision} at place {place}: {what}"))
}
