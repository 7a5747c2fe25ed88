//! The state machine itself: what it holds and how it is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Mutant, NodeId, Position, WallTime, mutant};

use crate::alarm::{Alarms, Comparisons, Corruption};
use crate::apply::UnderWay;
use crate::events::{Change, Compacted, EventLimits, EventsPlan, PlannedEvent, WatchFilter};
use crate::family::Family;
use crate::idempotency::Table;
use crate::index::{Index, KeyId};
use crate::journal::{Journal, JournalRow};
use crate::lease::{Lease, LeaseId, LeaseTime, Leases};
use crate::overlay::Overlay;
use crate::progress::Progress;
use crate::range::{Range, RangePlan, RangePlanner, RangeResult, SortBy};
use crate::read::{KeyValue, Located, ReadError};
use crate::records::Records;
use crate::removals::Removals;
use crate::states::States;
use crate::store::{Revision, RowId, Store, StoreError, StoreState};

/// The bytes of rows that stay in memory by default after they are in the store.
pub const CACHE_BYTES_DEFAULT: usize = 16 << 20;

/// The replicated key-value store: the log entries that it applied, made readable.
///
/// Invariants:
/// - the same entries give the same state, answers and digest, whatever is flushed when;
/// - a revision has at least one row, and there is no gap between revisions;
/// - every row that the index refers to is in the overlay or in the store;
/// - the store is never ahead of what is applied, and no row leaves it before a compaction beyond
///   that row is durable in it.
pub struct Machine<S> {
    pub(crate) store: S,
    pub(crate) index: Index,
    pub(crate) journal: Journal,
    pub(crate) overlay: Overlay,
    /// The digest of all current rows.
    pub(crate) digest: u128,
    pub(crate) states: States,
    /// What was done under recent idempotency keys.
    pub(crate) table: Table,
    pub(crate) leases: Leases,
    /// The number that comes next behind each prefix of sequential keys.
    pub(crate) sequences: BTreeMap<Bytes, u64>,
    /// What became of the children of keys that exist, where anything did.
    pub(crate) families: BTreeMap<Bytes, Family>,
    pub(crate) alarms: Alarms,
    /// Whether one was raised or ended since the replica was told last.
    pub(crate) alarm_stood: bool,
    /// What the last comparison found that found something, until the replica is told.
    pub(crate) difference: Option<Corruption>,
    /// What came of comparisons since the store was opened.
    pub(crate) comparisons: Comparisons,
    /// Leases, sequences, families and alarms, as the store has them.
    pub(crate) records: Records,
    pub(crate) under_way: UnderWay,
    pub(crate) applied: Position,
    pub(crate) wall: WallTime,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    /// Rows that nothing refers to any more and that the store shall remove.
    pub(crate) removals: Removals,
    /// Rows at the front of the journal that compaction has seen and that watches still need.
    pub(crate) kept: usize,
}

/// What a replica begins with: see [`Machine::restored`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The store's revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// The bytes of all rows and records: see [`Machine::stored_bytes`].
    pub stored_bytes: u64,
    /// The digest of the whole state.
    pub digest: u128,
    /// All leases.
    pub leases: Vec<(LeaseId, LeaseTime)>,
    /// What was found if the state was not that of another replica.
    pub difference: Option<Corruption>,
    /// The nodes about which alarms stand.
    pub alarms: Vec<NodeId>,
}

impl<S: Store> Machine<S> {
    /// The last entry that was applied.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The store's revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The state after an entry; `None` for one that is not among the most recent
    /// [`crate::RECENT_STATES_MAX`], or before the store was opened.
    #[must_use]
    pub fn state_at(&self, index: consensus::Index) -> Option<StoreState> {
        self.states.at(index)
    }

    /// The whole of the state besides the rows. Replicas with equal positions have equal states.
    #[must_use]
    pub fn state(&self) -> StoreState {
        StoreState {
            applied: self.applied,
            wall: self.wall,
            revision: self.revision,
            compacted: self.compacted,
            digest: self.digest,
            idempotency_digest: self.table.digest(),
            idempotency_forgotten: self.table.forgotten(),
            records_digest: self.records.digest(),
        }
    }

    /// The state that is durable in the store.
    #[must_use]
    pub fn flushed_state(&self) -> StoreState {
        self.states.stored()
    }

    /// The store, for fetching what was located.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Says where the row of a key is, as of a revision or now. Takes the time of one look-up.
    ///
    /// # Errors
    /// When the revision was compacted or does not exist yet.
    pub fn locate(&self, key: &[u8], at: Option<Revision>) -> Result<Located, ReadError> {
        let at = self.readable(at)?;
        let row = self.index.find(key).and_then(|id| self.index.entry(id).at(at));
        Ok(row.map_or(Located::Absent, |id| self.resolve(id)))
    }

    /// Reads a key as of a revision or now, from the store too if need be.
    ///
    /// # Errors
    /// When the revision was compacted or does not exist yet, or when the store fails.
    pub fn get(&self, key: &[u8], at: Option<Revision>) -> Result<Option<KeyValue>, ReadError> {
        Ok(self.locate(key, at)?.fetch(&self.store)?)
    }

    /// Plans a range in one go. Looks at every key of the range, because it counts them, unless
    /// [`Range::count`] is known.
    ///
    /// # Errors
    /// When the revision was compacted or does not exist yet.
    pub fn plan_range(&self, range: &Range) -> Result<RangePlan, ReadError> {
        let mut planner = RangePlanner::new(range.clone());
        self.plan_range_step(&mut planner, usize::MAX)?;
        Ok(planner.finish())
    }

    /// Goes on with the plan of a range, looking at no more than `keys_max` keys. Between two steps
    /// anything may be applied and flushed, and [`RangePlanner::fetch_unsorted`] keeps it small.
    ///
    /// # Errors
    /// When the revision does not exist yet or is compacted, which may also happen between steps: a
    /// range that is read as of now is then begun anew.
    pub fn plan_range_step(
        &self,
        planner: &mut RangePlanner,
        keys_max: usize,
    ) -> Result<(), ReadError> {
        let at = self.planned_at(planner)?;
        planner.at = Some(at);
        let end = match planner.before_place {
            Some(place) => RowId { revision: at, place },
            None => RowId { revision: Revision(at.0 + 1), place: 0 },
        };
        let rest = planner.rest.clone();
        let mut keys = self.index.span(&rest);
        for looked in 1.. {
            if planner.only_counts() && planner.known_count().is_some() {
                planner.complete();
                break;
            }
            if planner.only_counts() && self.count_is_known(planner, at) {
                planner.count = self.index.live() as u64;
                planner.complete();
                break;
            }
            let next = if planner.is_backward() { keys.next_back() } else { keys.next() };
            let Some((key, id)) = next else {
                planner.complete();
                break;
            };
            if let Some(row) = self.index.entry(id).before(end) {
                self.plan_row(planner, key, id, row);
            }
            if looked >= keys_max {
                planner.rest.pass(Bytes::copy_from_slice(key), planner.is_backward());
                break;
            }
        }
        Ok(())
    }

    /// The revision at which a plan goes on.
    fn planned_at(&self, planner: &RangePlanner) -> Result<Revision, ReadError> {
        let (is_first_page, is_first) = (planner.range.cursor.is_none(), planner.count == 0);
        let asked = planner.range.at.filter(|_| is_first_page || !mutant::on(Mutant::PageReadsNow));
        let fixed = planner.at.filter(|_| is_first || !mutant::on(Mutant::RangeMovesOn));
        self.readable(fixed.or(asked))
    }

    /// Whether a range is about all keys as they are now: their number is always at hand.
    fn count_is_known(&self, planner: &RangePlanner, at: Revision) -> bool {
        planner.range.keys.is_all()
            && planner.range.cursor.is_none()
            && at == self.revision
            && planner.before_place.is_none()
    }

    fn plan_row(&self, planner: &mut RangePlanner, key: &[u8], id: KeyId, row: RowId) {
        let current = self.index.entry(id).current().filter(|current| current.id == row);
        let number = match planner.range.sort {
            SortBy::Key => Some(0),
            SortBy::ModRevision => Some(row.revision.0),
            SortBy::Version => current.map(|current| current.version),
            SortBy::CreateRevision => current.map(|current| current.create_revision.0),
            SortBy::Value => None,
        };
        let without_value = current.filter(|_| planner.needs_no_value());
        planner.add(key, number, || match without_value {
            Some(current) => Located::Resident(KeyValue {
                key: Bytes::copy_from_slice(key),
                value: Bytes::new(),
                create_revision: current.create_revision,
                mod_revision: row.revision,
                version: current.version,
                lease: self.leases.of_key(id),
            }),
            None => self.resolve(row),
        });
    }

    /// Reads a range, from the store too if need be.
    ///
    /// # Errors
    /// When the revision was compacted or does not exist yet, or when the store fails.
    pub fn range(&self, range: &Range) -> Result<RangeResult, ReadError> {
        Ok(self.plan_range(range)?.fetch(&self.store)?)
    }

    /// The events that a watcher wants from this revision on, as far as the limits allow.
    ///
    /// From a revision that does not exist yet there are none, and none earlier either. Looks at the
    /// rows of at most `revisions_max` revisions, and at values not at all.
    ///
    /// # Errors
    /// When the revision is before the compacted one. The compacted revision itself is whole.
    pub fn events(
        &self,
        filter: &WatchFilter,
        from: Revision,
        limits: EventLimits,
    ) -> Result<EventsPlan, Compacted> {
        if from < self.compacted {
            return Err(Compacted { requested: from, compacted: self.compacted });
        }
        let mut plan = EventsPlan { events: Vec::new(), next: from, bytes_max: limits.bytes_max };
        if from > self.revision && !mutant::on(Mutant::WatchBeginsNow) {
            return Ok(plan);
        }
        plan.next = Revision(self.revision.0 + 1);
        let (mut revisions, mut bytes) = (0, 0);
        for row in self.journal.from(from) {
            if row.id.place == 0 {
                let full = revisions >= limits.revisions_max
                    || plan.events.len() >= limits.events_max
                    || bytes >= limits.bytes_max;
                if full && revisions > 0 {
                    plan.next = row.id.revision;
                    break;
                }
                revisions += 1;
            }
            if let Some(event) = self.plan_event(filter, row) {
                bytes += event.resident_bytes();
                plan.events.push(event);
            }
        }
        Ok(plan)
    }

    fn plan_event(&self, filter: &WatchFilter, row: JournalRow) -> Option<PlannedEvent> {
        let JournalRow { id, key, tombstone } = row;
        let wanted = match tombstone {
            true => filter.deletes || mutant::on(Mutant::WatchTellsDeletions),
            false => filter.puts,
        };
        let entry = self.index.entry(key);
        if !wanted || !filter.keys.contains(entry.key()) {
            return None;
        }
        let change = if tombstone {
            Change::Delete(Bytes::copy_from_slice(entry.key()))
        } else {
            Change::Put(self.resolve(id))
        };
        let before = match mutant::on(Mutant::PreviousOfItself) {
            true => id.revision,
            false => Revision(id.revision.0 - 1),
        };
        let tells = filter.previous && before >= self.compacted;
        let previous = tells.then(|| entry.at(before)).flatten();
        let previous = previous.map_or(Located::Absent, |id| self.resolve(id));
        Some(PlannedEvent { id, change, previous })
    }

    /// The revision to read at.
    pub(crate) fn readable(&self, at: Option<Revision>) -> Result<Revision, ReadError> {
        let (current, compacted) = (self.revision, self.compacted);
        match at {
            None => Ok(current),
            Some(requested) if requested > current => Err(ReadError::Future { requested, current }),
            Some(requested) if requested < compacted => {
                Err(ReadError::Compacted { requested, compacted })
            }
            Some(requested) => Ok(requested),
        }
    }

    /// Where a row is that is no tombstone.
    pub(crate) fn resolve(&self, id: RowId) -> Located {
        match self.overlay.get(id) {
            Some(row) => {
                Located::Resident(KeyValue::of(id, row).expect("the index knows tombstones"))
            }
            None => Located::Stored(id),
        }
    }

    /// How it stands with a lease.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> Option<LeaseTime> {
        self.leases.get(lease).map(|there| there.time)
    }

    /// Up to `limit` leases behind this one, or from the first on, in order.
    #[must_use]
    pub fn leases(&self, after: Option<LeaseId>, limit: usize) -> Vec<(LeaseId, LeaseTime)> {
        let leases = self.leases.after(after).take(limit);
        leases.map(|(lease, there)| (lease, there.time)).collect()
    }

    /// The keys that hang on a lease, in order; none if there is no such lease. There are at most
    /// [`crate::LEASE_KEYS_MAX`].
    #[must_use]
    pub fn lease_keys(&self, lease: LeaseId) -> Vec<Bytes> {
        let keys = self.leases.get(lease).into_iter().flat_map(Lease::keys);
        let mut keys: Vec<Bytes> =
            keys.map(|key| Bytes::copy_from_slice(self.index.entry(key).key())).collect();
        keys.sort_unstable();
        keys
    }

    /// The alarms that stand.
    #[must_use]
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// How far it has come, with what the replica was not told yet of leases and of its own state.
    pub fn take_progress(&mut self) -> Progress {
        Progress {
            index: self.applied.index,
            revision: self.revision,
            compacted: self.compacted,
            stored_bytes: self.stored_bytes(),
            digest: self.state().whole_digest(),
            leases: self.leases.take_news(),
            difference: self.difference.take(),
            alarm_stood: std::mem::take(&mut self.alarm_stood) || !self.alarms.is_empty(),
            alarms: self.alarms.keys().copied().collect(),
        }
    }

    /// Has the next news name all leases: the machine takes the place of one that the replica knows.
    pub fn announce_leases(&mut self) {
        let all = self.restored().leases;
        self.leases.announce(all);
    }

    /// All that the replica needs to know of a machine that it did not see become what it is.
    #[must_use]
    pub fn restored(&self) -> Restored {
        Restored {
            revision: self.revision,
            compacted: self.compacted,
            stored_bytes: self.stored_bytes(),
            digest: self.state().whole_digest(),
            leases: self.leases.iter().map(|(lease, there)| (lease, there.time)).collect(),
            difference: self.difference,
            alarms: self.alarms.keys().copied().collect(),
        }
    }

    /// The value of a row that is no tombstone, wherever the row is.
    pub(crate) fn value_of(&self, id: RowId) -> Result<Bytes, StoreError> {
        let key_value = self.resolve(id).fetch(&self.store).map_err(ReadError::from);
        match key_value {
            Ok(Some(key_value)) => Ok(key_value.value),
            Ok(None) | Err(ReadError::Compacted { .. } | ReadError::Future { .. }) => {
                unreachable!("a current row is there")
            }
            Err(ReadError::Store(error)) => Err(error),
        }
    }

    /// Whether a row has this value, wherever the row is.
    pub(crate) fn has_value(&self, id: RowId, value: &Bytes) -> Result<bool, StoreError> {
        Ok(self.value_of(id)? == value)
    }
}
