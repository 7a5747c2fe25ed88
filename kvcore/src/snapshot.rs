//! Carrying a whole store over to another node, while both go on.
//!
//! # Intuition
//!
//! The source is looked at through a [`StoreView`], which shows it as it was at one moment. Rows never
//! change and are numbered in the order in which they were written, so a copy takes them in order,
//! some revisions at a time, until there are no more, then what is remembered of idempotency keys, then the
//! records (leases, counters, families), which change in place and so come anew each time, and then the state that
//! goes with all that.
//!
//! A copy that broke off goes on where it was, even much later or from another node: the replicas'
//! rows are equal. What it has is then still all that it needs of the past, but may be more: rows that
//! were compacted away since. So it first hears which of its rows are still there. In the end the digest of
//! the state says whether all current rows are there; after the compacted revision none may be missing;
//! that history is what was sent is for the checksums of the connection to see.
//!
//! ```text
//!   source: StoreView::ids, up to Receiving::after ──▶ Receiving::keep_only
//!           StoreView::portion, behind it          ──▶ Receiving::take, until the portion is the last
//!           StoreView::remembered, behind
//!                     Receiving::remembered_after  ──▶ Receiving::take_remembered, until there are no more
//!           StoreView::records                     ──▶ Receiving::take_records, until there are no more
//!           StoreView::state                       ──▶ Receiving::finish ──▶ Machine
//! ```

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, Position, WallTime};

pub use crate::idempotency::RememberedRows;
use crate::lease::wire::{get_lease, put_lease};
use crate::machine::Machine;
use crate::open::{MachineOptions, OpenError};
use crate::overlay::row_bytes;
use crate::store::{
    Record, RecordKey, Remembered, Revision, Row, RowId, Store, StoreBatch, StoreError, StoreState,
};

/// A store as it was when it was looked at, whatever is written to it meanwhile.
///
/// A view may keep what it shows from being freed, so it is not to be held for long.
pub trait StoreView: Send {
    /// The state that goes with the rows.
    fn state(&self) -> StoreState;

    /// Rows of whole revisions after this one, about `bytes_max` bytes of them and at least one
    /// revision.
    ///
    /// # Errors
    /// When the store can not be read or holds something that is no row.
    fn portion(&self, after: Revision, bytes_max: usize) -> Result<Portion, StoreError>;

    /// Up to `limit` addresses of rows from this one on, in order.
    ///
    /// # Errors
    /// As [`StoreView::portion`].
    fn ids(&self, from: RowId, limit: usize) -> Result<Vec<RowId>, StoreError>;

    /// What is remembered of the idempotency keys of up to `limit` entries after this one, in order;
    /// fewer when there are no more. Each is some hundred bytes at most.
    ///
    /// # Errors
    /// As [`StoreView::portion`].
    fn remembered(&self, after: Index, limit: usize) -> Result<Vec<Remembered>, StoreError>;

    /// Up to `limit` records after this one, or from the first on, in an order of the store's own; fewer
    /// when there are no more.
    ///
    /// # Errors
    /// As [`StoreView::portion`].
    fn records(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError>;
}

/// Rows that are looked at in one go when a copy is resumed.
const CHECKED_ROWS_MAX: usize = 1024;

/// Every key of an entry up to here is forgotten: all of them.
const FORGETS_ALL: Index = Index(u64::MAX - 1);

/// Some revisions of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// Rows of whole revisions, in order.
    pub rows: Vec<(RowId, Row)>,
    /// Whether there were no rows behind these.
    pub is_last: bool,
}

impl Portion {
    /// Collects rows in order into a portion of about `bytes_max` bytes: whole revisions, and at
    /// least one.
    ///
    /// # Errors
    /// The first error of the rows.
    pub fn collect<E>(
        rows: impl Iterator<Item = Result<(RowId, Row), E>>,
        bytes_max: usize,
    ) -> Result<Self, E> {
        let mut portion = Self { rows: Vec::new(), is_last: true };
        let mut bytes = 0;
        for item in rows {
            let (id, row) = item?;
            let begins = portion.rows.last().is_some_and(|(last, _)| last.revision < id.revision);
            if begins && bytes + row_bytes(&row) > bytes_max {
                portion.is_last = false;
                return Ok(portion);
            }
            bytes += row_bytes(&row);
            portion.rows.push((id, row));
        }
        Ok(portion)
    }
}

/// A copy that is being received into a store of its own. That store has no position until the copy
/// is whole, and is of no use before.
#[derive(Debug)]
pub struct Receiving<S> {
    store: S,
    /// What the copy will be a copy of.
    state: StoreState,
    /// The last revision that is here.
    after: Revision,
    /// What was superseded before this revision may be missing here: an earlier source had freed it.
    freed: Revision,
    /// Everything before this row is known to be in the source.
    confirmed: RowId,
    /// The last entry of which something is remembered here. What is remembered is never changed, and
    /// forgotten from the front only, so an earlier attempt's part of it is still true.
    remembered: Index,
}

/// Why a copy can not be received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The receiving store failed.
    Store(StoreError),
    /// The rows do not follow those that are there.
    Rows(String),
    /// What was received as a whole is not what was sent.
    Open(OpenError),
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Rows(what) => f.write_str(what),
            Self::Open(error) => write!(f, "what was received: {error}"),
        }
    }
}

impl std::error::Error for ReceiveError {}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<S: Store> Receiving<S> {
    /// Whether what an earlier attempt left in a store of this state, whole or not, can become a copy
    /// of a source in that one. Otherwise its source was ahead of this one, in its rows or in what it
    /// had freed, and the copy is to be begun in an empty store.
    #[must_use]
    pub fn may_go_on(left: &StoreState, source: &StoreState) -> bool {
        left.revision <= source.revision && left.compacted <= source.compacted
    }

    /// Begins a copy of a source in that state, or goes on with what an earlier attempt has left in
    /// the store; see [`Receiving::may_go_on`].
    ///
    /// # Errors
    /// When the store can not be read or written.
    ///
    /// # Panics
    /// When the copy can not go on with what is in the store.
    pub fn begin(store: S, state: StoreState) -> Result<Self, StoreError> {
        let before = store.state()?;
        assert!(Self::may_go_on(&before, &state), "a copy goes on only where it may");
        let mut remembered = before.idempotency_forgotten;
        loop {
            let rows = store.remembered(remembered, CHECKED_ROWS_MAX)?;
            let Some(last) = rows.last() else { break };
            remembered = last.index;
        }
        let (after, freed, confirmed) = (before.revision, before.compacted, RowId::default());
        let mut receiving = Self { store, state, after, freed, confirmed, remembered };
        // Rows may only go once the compaction that frees them is durable.
        let progress = receiving.progress();
        if before.idempotency_forgotten > state.idempotency_forgotten
            || remembered > state.applied.index
        {
            // An earlier source was ahead of this one in its keys: they come anew, all of them.
            let state = StoreState { idempotency_forgotten: FORGETS_ALL, ..progress };
            receiving.write(StoreBatch { state, ..StoreBatch::default() })?;
            receiving.remembered = Index(0);
        }
        receiving.remembered = receiving.remembered.max(state.idempotency_forgotten);
        receiving.forget_records(progress)?;
        receiving.write(StoreBatch { state: progress, ..StoreBatch::default() })?;
        Ok(receiving)
    }

    /// Removes the records that an earlier attempt has left.
    fn forget_records(&mut self, progress: StoreState) -> Result<(), StoreError> {
        loop {
            let here = self.store.records(None, CHECKED_ROWS_MAX)?;
            if here.is_empty() {
                return Ok(());
            }
            let records = here.into_iter().map(|record| (record.key, None)).collect();
            self.write(StoreBatch { records, state: progress, ..StoreBatch::default() })?;
        }
    }

    /// The last revision that is here. The source first tells which rows it has up to here, then the
    /// rows after it.
    #[must_use]
    pub fn after(&self) -> Revision {
        self.after
    }

    /// The next rows of the source, by address and in order, up to [`Receiving::after`]: what is here
    /// between them is removed. An empty list says that there are no more.
    ///
    /// # Errors
    /// When the addresses are not in order or not here, or the store fails.
    pub fn keep_only(&mut self, ids: &[RowId]) -> Result<(), ReceiveError> {
        let end = match ids.last() {
            Some(last) => RowId { revision: last.revision, place: last.place + 1 },
            None => RowId { revision: Revision(self.after.0 + 1), place: 0 },
        };
        let mut wanted = ids.iter().copied().peekable();
        while self.confirmed < end {
            let here = self.store.rows(self.confirmed, CHECKED_ROWS_MAX)?;
            let checked = here.len();
            let mut removed = Vec::new();
            for (id, _) in here.into_iter().take_while(|(id, _)| *id < end) {
                while wanted.next_if(|wanted| *wanted < id && self.may_lack(*wanted)).is_some() {}
                if wanted.next_if_eq(&id).is_none() {
                    self.check_freed(id)?;
                    removed.push(id);
                }
                self.confirmed = RowId { revision: id.revision, place: id.place + 1 };
            }
            if checked < CHECKED_ROWS_MAX {
                self.confirmed = end;
            }
            if !removed.is_empty() {
                self.write(StoreBatch {
                    removed,
                    state: self.progress(),
                    ..StoreBatch::default()
                })?;
            }
        }
        match wanted.find(|wanted| !self.may_lack(*wanted)) {
            None => Ok(()),
            Some(id) => Err(ReceiveError::Rows(format!(
                "the source has row {}/{}, which is missing here or told out of order",
                id.revision, id.place
            ))),
        }
    }

    /// Whether a row may be missing here that the source has: it is superseded, and another source had
    /// freed it before.
    fn may_lack(&self, id: RowId) -> bool {
        id.revision < self.freed
    }

    /// A row may be missing in the source only because a compaction freed it.
    fn check_freed(&self, id: RowId) -> Result<(), ReceiveError> {
        if id.revision < self.state.compacted {
            return Ok(());
        }
        let (RowId { revision, place }, compacted) = (id, self.state.compacted);
        Err(ReceiveError::Rows(format!(
            "the source lacks row {revision}/{place}, which no compaction (at {compacted}) freed"
        )))
    }

    /// Takes the rows of a portion and makes them durable.
    ///
    /// # Errors
    /// When the rows do not follow those that are here, or the store fails.
    pub fn take(&mut self, rows: Vec<(RowId, Row)>) -> Result<(), ReceiveError> {
        let Some((last, _)) = rows.last() else { return Ok(()) };
        let revision = last.revision;
        let ascending = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ascending || rows[0].0.revision <= self.after || revision > self.state.revision {
            return Err(ReceiveError::Rows(format!(
                "rows of revisions {} to {revision} do not follow revision {} in order, up to {}",
                rows[0].0.revision, self.after, self.state.revision
            )));
        }
        self.after = revision;
        let state = self.progress();
        Ok(self.write(StoreBatch { added: rows, state, ..StoreBatch::default() })?)
    }

    /// The last entry of whose idempotency key something is here. The source goes on behind it.
    #[must_use]
    pub fn remembered_after(&self) -> Index {
        self.remembered
    }

    /// Takes what is remembered of some idempotency keys and makes it durable.
    ///
    /// # Errors
    /// When it does not follow what is here, or the store fails.
    pub fn take_remembered(&mut self, rows: Vec<Remembered>) -> Result<(), ReceiveError> {
        let Some(last) = rows.last().map(|row| row.index) else { return Ok(()) };
        let ascending = rows.windows(2).all(|pair| pair[0].index < pair[1].index);
        if !ascending || rows[0].index <= self.remembered || last > self.state.applied.index {
            return Err(ReceiveError::Rows(format!(
                "the idempotency keys of entries {} to {last} do not follow entry {} in order, up to {}",
                rows[0].index, self.remembered, self.state.applied.index
            )));
        }
        self.remembered = last;
        let remembered = rows.into_iter().map(Arc::new).collect();
        let state = self.progress();
        Ok(self.write(StoreBatch { remembered, state, ..StoreBatch::default() })?)
    }

    /// Takes some records and makes them durable. All of them come, in any order.
    ///
    /// # Errors
    /// When the store fails.
    pub fn take_records(&mut self, records: Vec<Record>) -> Result<(), ReceiveError> {
        let records = records.into_iter().map(|record| (record.key, Some(record.value))).collect();
        let state = self.progress();
        Ok(self.write(StoreBatch { records, state, ..StoreBatch::default() })?)
    }

    /// Completes the copy and opens it.
    ///
    /// # Errors
    /// When the rows are not those of the source, or the store fails. The copy is then worth nothing
    /// and to be begun anew in an empty store.
    pub fn finish(mut self, options: MachineOptions) -> Result<Machine<S>, ReceiveError> {
        let state = self.state;
        self.write(StoreBatch { state, ..StoreBatch::default() })?;
        Machine::open_with(self.store, options).map_err(ReceiveError::Open)
    }

    /// The state of the store while the copy is not whole: no position, and as far as it has come.
    fn progress(&self) -> StoreState {
        let StoreState { compacted, idempotency_forgotten, .. } = self.state;
        StoreState {
            revision: self.after,
            compacted,
            idempotency_forgotten,
            ..StoreState::default()
        }
    }

    fn write(&mut self, batch: StoreBatch) -> Result<(), StoreError> {
        self.store.write(&batch)
    }
}

impl Wire for StoreState {
    fn encode(&self, out: &mut BytesMut) {
        self.applied.encode(out);
        out.put_u64_le(self.wall.0);
        out.put_u64_le(self.revision.0);
        out.put_u64_le(self.compacted.0);
        out.put_u128_le(self.digest);
        out.put_u128_le(self.idempotency_digest);
        self.idempotency_forgotten.encode(out);
        out.put_u128_le(self.records_digest);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let applied = Position::decode(input)?;
        let wall = WallTime(codec::get_u64(input)?);
        let revision = Revision(codec::get_u64(input)?);
        let compacted = Revision(codec::get_u64(input)?);
        let (digest, idempotency_digest) = (get_u128(input)?, get_u128(input)?);
        let idempotency_forgotten = Index::decode(input)?;
        let records_digest = get_u128(input)?;
        Ok(Self {
            applied,
            wall,
            revision,
            compacted,
            digest,
            idempotency_digest,
            idempotency_forgotten,
            records_digest,
        })
    }
}

pub(crate) fn get_u128(input: &mut Bytes) -> Result<u128, CodecError> {
    let (low, high) = (codec::get_u64(input)?, codec::get_u64(input)?);
    Ok(u128::from(low) | u128::from(high) << 64)
}

/// Rows as they travel: of each its address, its parts, and whether it has a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(pub Vec<(RowId, Row)>);

impl Wire for Rows {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(u32::try_from(self.0.len()).expect("a portion is bounded"));
        for (id, row) in &self.0 {
            out.put_u64_le(id.revision.0);
            out.put_u32_le(id.place);
            out.put_u64_le(row.create_revision.0);
            out.put_u64_le(row.version);
            put_lease(out, row.lease);
            out.put_u64_le(row.create_time.0);
            out.put_u64_le(row.mod_time.0);
            codec::put_bytes(out, &row.key);
            row.value.is_some().encode(out);
            if let Some(value) = &row.value {
                codec::put_bytes(out, value);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let count = codec::get_u32(input)?;
        let mut rows = codec::list_with_room(count as usize, input);
        for _ in 0..count {
            let revision = Revision(codec::get_u64(input)?);
            let id = RowId { revision, place: codec::get_u32(input)? };
            let create_revision = Revision(codec::get_u64(input)?);
            let version = codec::get_u64(input)?;
            let lease = get_lease(input)?;
            let create_time = WallTime(codec::get_u64(input)?);
            let mod_time = WallTime(codec::get_u64(input)?);
            let key = codec::get_bytes(input)?;
            let value = if bool::decode(input)? { Some(codec::get_bytes(input)?) } else { None };
            let row = Row { key, value, create_revision, version, lease, create_time, mod_time };
            rows.push((id, row));
        }
        Ok(Self(rows))
    }
}
