//! The store as anybody would write it who had no regard for time and memory: the full history in one
//! list, and every question answered by going through it.

mod write;

pub(crate) use write::is_invalid;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::{Position, WallTime};
use kvcore::{
    Alarms, Command, Condition, Event, EventKind, IDEMPOTENCY_WINDOW_MILLIS, KeyValue, Keys,
    LeaseId, LeaseTime, Order, Range, RangeResult, Revision, RevisionEvents, SortBy, Stat,
    WatchFilter,
};

/// What a command did, without the details that the machine adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Put(PutEffect),
    Deleted { previous: Vec<KeyValue> },
    Transaction(TransactionEffect),
    Granted(LeaseId, u64),
    Renewed(LeaseId, u64),
    LeaseEnded { keys: u64 },
    LeasesNoted,
    DigestsCompared,
    AlarmRaised,
    AlarmCleared { stood: bool },
    LeaseNotFound(LeaseId),
    LeaseExists(LeaseId),
    KeyNotFound(Bytes),
    ConditionFailed(Condition),
    Compacted,
    RevisionInFuture,
    RevisionCompacted,
    DuplicateKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PutEffect {
    pub(crate) created: bool,
    pub(crate) key: Option<Bytes>,
    pub(crate) granted: Option<LeaseId>,
    pub(crate) previous: Option<KeyValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionEffect {
    pub(crate) succeeded: bool,
    pub(crate) results: Vec<OperationEffect>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OperationEffect {
    Put(PutEffect),
    Deleted {
        previous: Vec<KeyValue>,
    },
    /// `None` in an answer that is told again too late.
    Read(Option<RangeResult>),
    Transaction(TransactionEffect),
}

#[derive(Clone, Debug)]
struct Change {
    key_value: KeyValue,
    kind: EventKind,
    time: WallTime,
}

/// What was done under an idempotency key.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) key: String,
    pub(crate) command: Command,
    pub(crate) effect: Effect,
    pub(crate) revision: Revision,
    pub(crate) wall: WallTime,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    history: Vec<Change>,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    /// The largest time of any entry.
    pub(crate) wall: WallTime,
    /// Everything that was ever done under a key, in order.
    done: Vec<Done>,
    pub(crate) leases: BTreeMap<LeaseId, LeaseTime>,
    sequences: BTreeMap<Bytes, u64>,
    pub(crate) alarms: Alarms,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            history: Vec::new(),
            revision: Revision(1),
            compacted: Revision(0),
            wall: WallTime(0),
            done: Vec::new(),
            leases: BTreeMap::new(),
            sequences: BTreeMap::new(),
            alarms: Alarms::new(),
        }
    }

    pub(crate) fn get(&self, key: &[u8], at: Revision) -> Option<KeyValue> {
        let last =
            self.history.iter().rev().find(|change| {
                change.key_value.key == key && change.key_value.mod_revision <= at
            })?;
        (last.kind == EventKind::Put).then(|| last.key_value.clone())
    }

    fn selected(&self, keys: &Keys, at: Revision) -> Vec<KeyValue> {
        let names: BTreeSet<&Bytes> =
            self.history.iter().map(|change| &change.key_value.key).collect();
        let names = names.into_iter().filter(|name| keys.contains(name));
        names.filter_map(|name| self.get(name, at)).collect()
    }

    /// What is remembered of a key.
    pub(crate) fn done(&self, key: &str, now: WallTime) -> Option<&Done> {
        let done = self.done.iter().rev().find(|done| done.key == key)?;
        (now.0 - done.wall.0 <= IDEMPOTENCY_WINDOW_MILLIS).then_some(done)
    }

    /// How many keys are remembered.
    pub(crate) fn keys_remembered(&self, now: WallTime) -> usize {
        self.done.iter().filter(|done| now.0 - done.wall.0 <= IDEMPOTENCY_WINDOW_MILLIS).count()
    }

    /// Carries a command out whose key is not remembered.
    pub(crate) fn apply_first(
        &mut self,
        key: &str,
        (position, command): (Position, &Command),
        wall: WallTime,
    ) -> Effect {
        let effect = self.apply(position, command);
        // What is invalid is so each time, and no client with a key speaks of leases like that, or of alarms.
        if matches!(
            effect,
            Effect::DuplicateKey
                | Effect::LeasesNoted
                | Effect::DigestsCompared
                | Effect::AlarmRaised
                | Effect::AlarmCleared { .. }
        ) {
            return effect;
        }
        let (key, command, revision) = (key.to_owned(), command.clone(), self.revision);
        self.done.push(Done { key, command, effect: effect.clone(), revision, wall });
        effect
    }

    pub(crate) fn range(&self, range: &Range) -> RangeResult {
        let at = range.at.unwrap_or(self.revision);
        let mut found = self.selected(&range.keys, at);
        found.sort_by(|a, b| match range.sort {
            SortBy::Key => a.key.cmp(&b.key),
            SortBy::Version => a.version.cmp(&b.version),
            SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
            SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
            SortBy::Value => a.value.cmp(&b.value),
        });
        if range.order == Order::Descending {
            found.reverse();
        }
        let count = found.len() as u64;
        let limit = range.limit.unwrap_or(usize::MAX);
        let left_out = found.get(limit).map(|key_value| key_value.key.clone());
        found.truncate(limit);
        if range.count_only {
            return RangeResult { key_values: Vec::new(), count, more: false, next: None, at };
        }
        if range.keys_only {
            found.iter_mut().for_each(|key_value| key_value.value = Bytes::new());
        }
        let more = left_out.is_some();
        let next = left_out.filter(|_| range.sort == SortBy::Key);
        RangeResult { key_values: found, count, more, next, at }
    }

    pub(crate) fn events(&self, filter: &WatchFilter, from: Revision) -> Vec<RevisionEvents> {
        let mut revisions: Vec<RevisionEvents> = Vec::new();
        for change in &self.history {
            let KeyValue { key, mod_revision: revision, .. } = &change.key_value;
            let wanted = match change.kind {
                EventKind::Put => filter.puts,
                EventKind::Delete => filter.deletes,
            };
            if *revision < from || !wanted || !filter.keys.contains(key) {
                continue;
            }
            let before = Revision(revision.0 - 1);
            let tells = filter.previous && before >= self.compacted;
            let event = Event {
                kind: change.kind,
                key_value: change.key_value.clone(),
                previous: tells.then(|| self.get(key, before)).flatten(),
            };
            match revisions.last_mut() {
                Some(last) if last.revision == *revision => last.events.push(event),
                _ => revisions.push(RevisionEvents { revision: *revision, events: vec![event] }),
            }
        }
        revisions
    }

    /// The digest, from nothing.
    pub(crate) fn digest(&self) -> u128 {
        let hash = |bytes: &[u8]| twox_hash::xxhash3_128::Hasher::oneshot(bytes).to_le_bytes();
        let rows = self.selected(&Keys::all(), self.revision).into_iter().map(|row| {
            let numbers = [row.create_revision.0, row.mod_revision.0, row.version];
            let mut bytes = [hash(&row.key), hash(&row.value)].concat();
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend(row.lease.iter().flat_map(|lease| lease.get().to_le_bytes()));
            let content = hash(&bytes);
            let times = [row.create_revision, row.mod_revision];
            let times = times.map(|revision| self.time_of(&row.key, revision).0.to_le_bytes());
            let timed = hash(&[&content[..], &times.concat()].concat());
            // Little-endian: the lower half comes first.
            u128::from_le_bytes(hash_of_halves(&timed[..8], &content[8..]))
        });
        rows.fold(0, u128::wrapping_add)
    }

    /// When a key was changed by a revision.
    fn time_of(&self, key: &Bytes, revision: Revision) -> WallTime {
        let is_it = |change: &&Change| {
            change.key_value.key == *key && change.key_value.mod_revision == revision
        };
        self.history.iter().find(is_it).expect("the revision changed it").time
    }

    /// What ZooKeeper tells of a node.
    pub(crate) fn stat(&self, key: &Bytes) -> Option<Stat> {
        let row = self.get(key, self.revision)?;
        let is_child = |other: &Bytes| {
            let above: &[u8] = if *key == "/" { b"" } else { key };
            let name = other.strip_prefix(above).and_then(|rest| rest.strip_prefix(b"/"));
            name.is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
        };
        let created = self.history.iter().position(|change| {
            change.key_value.key == *key && change.key_value.mod_revision == row.create_revision
        });
        let since = &self.history[created.expect("it was created")..];
        let of_children = since.iter().filter(|change| {
            // A deletion has no version, a creation the first.
            is_child(&change.key_value.key) && change.key_value.version <= 1
        });
        let of_children: Vec<Revision> =
            of_children.map(|change| change.key_value.mod_revision).collect();
        let keys = self.selected(&Keys::all(), self.revision);
        Some(Stat {
            czxid: row.create_revision,
            mzxid: row.mod_revision,
            pzxid: of_children.last().copied().unwrap_or(row.create_revision),
            ctime: self.time_of(key, row.create_revision),
            mtime: self.time_of(key, row.mod_revision),
            version: row.version - 1,
            cversion: of_children.len() as u64,
            aversion: 0,
            ephemeral_owner: row.lease,
            data_length: row.value.len(),
            num_children: keys.iter().filter(|other| is_child(&other.key)).count() as u64,
        })
    }

    /// The keys that hang on a lease, in order.
    pub(crate) fn keys_of(&self, lease: LeaseId) -> Vec<KeyValue> {
        let mut keys = self.selected(&Keys::all(), self.revision);
        keys.retain(|key_value| key_value.lease == Some(lease));
        keys
    }

    /// How many rows must be there: those readable at some allowed revision, and the deletions of the
    /// compacted revision and later.
    pub(crate) fn rows_needed(&self) -> usize {
        let needed = self.history.iter().enumerate().filter(|(at, change)| {
            let KeyValue { key, mod_revision, .. } = &change.key_value;
            let superseded = self.history[at + 1..].iter().any(|later| {
                later.key_value.key == *key && later.key_value.mod_revision <= self.compacted
            });
            let gone = change.kind == EventKind::Delete && *mod_revision < self.compacted;
            !superseded && !gone
        });
        needed.count()
    }
}

fn hash_of_halves(lower: &[u8], upper: &[u8]) -> [u8; 16] {
    [lower, upper].concat().try_into().expect("two halves")
}
