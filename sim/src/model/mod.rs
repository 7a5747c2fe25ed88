//! The key-value store as a few hundred naive lines: what the real one is compared with.

mod range;
mod stat;
mod transaction;
mod write;

pub(crate) use transaction::compare_holds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{Index, NodeId, Position, WallTime};
use kvcore::{
    Command, Idempotency, IdempotencyKey, IdempotencyLimits, InvalidCommand, KeyValue, Keys,
    LeaseId, LeaseTime, OperationOutcome, Outcome, PutOutcome, Revision, Store, TransactionOutcome,
};

use crate::tenancies::LeaseEvent;

/// One version of a key; `value` is `None` when it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: Revision,
    pub(crate) value: Option<Bytes>,
    pub(crate) create_revision: Revision,
    pub(crate) version: u64,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) time: WallTime,
}

/// What a command is expected to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    Put { created: bool, key: Option<Bytes>, granted: Option<LeaseId> },
    Deleted { count: u64 },
    Transaction(TransactionTold),
    Granted { lease: LeaseId, ttl_millis: u64 },
    Renewed { lease: LeaseId, ttl_millis: u64 },
    LeaseEnded { lease: LeaseId, keys: u64 },
    LeasesNoted,
    DigestsCompared,
    AlarmRaised,
    AlarmCleared { stood: bool },
    LeaseNotFound,
    LeaseExists,
    KeyNotFound,
    DuplicateKey,
    Compacted,
    ConditionFailed,
    RevisionInFuture,
    RevisionCompacted,
    IdempotencyConflict,
    IdempotencyForgotten,
    Undecodable,
}

/// What a transaction is expected to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionTold {
    pub(crate) succeeded: bool,
    pub(crate) results: Vec<OperationTold>,
}

/// What an operation of a transaction is expected to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OperationTold {
    Put {
        created: bool,
        granted: Option<LeaseId>,
    },
    Deleted {
        count: u64,
    },
    /// What it reads; `None` in an answer that is told again when its revision is compacted.
    Read(Option<Vec<KeyValue>>),
    Transaction(TransactionTold),
}

/// What whoever asked is told of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) expected: Expected,
    /// The store's revision after the entry, or after the one that it repeats.
    pub(crate) revision: Revision,
    pub(crate) repeated: bool,
}

/// What was done under an idempotency key.
#[derive(Clone, Debug)]
struct Done {
    index: Index,
    key: IdempotencyKey,
    command: Command,
    told: Told,
    wall: WallTime,
}

/// The most keys that one entry forgets because their time is up.
const FORGOTTEN_MAX: usize = 64;

impl Expected {
    /// Whether it is about the idempotency key and not about what was asked.
    pub(crate) fn is_refused_key(&self) -> bool {
        matches!(self, Self::IdempotencyConflict | Self::IdempotencyForgotten)
    }

    /// Whether it is remembered under its key, if it has one.
    pub(crate) fn is_remembered(&self) -> bool {
        !self.is_refused_key() && *self != Self::DuplicateKey
    }

    /// Whether a client may be told this of it, now or later: what a transaction read may be forgotten.
    pub(crate) fn is_kept_by(&self, told: &Self) -> bool {
        match (self, told) {
            (Self::Transaction(expected), Self::Transaction(told)) => expected.is_recalled_as(told),
            (expected, told) => expected == told,
        }
    }

    /// The same without what a transaction read, which is told again only as far as history goes.
    pub(crate) fn without_reads(&self) -> Self {
        match self {
            Self::Transaction(told) => Self::Transaction(told.without_reads()),
            other => other.clone(),
        }
    }

    /// What a real outcome amounts to, with what it found in a store.
    pub(crate) fn of<S: Store>(outcome: &Outcome, store: &S) -> Option<Self> {
        Some(match outcome {
            Outcome::Nothing => Self::Nothing,
            Outcome::Put(put) => {
                let PutOutcome { created, key, granted, .. } = put.clone();
                Self::Put { created, key, granted }
            }
            Outcome::Deleted(deleted) => Self::Deleted { count: deleted.count },
            Outcome::Transaction(transaction) => {
                Self::Transaction(TransactionTold::of(transaction, store))
            }
            Outcome::Granted { lease, ttl_millis } => {
                Self::Granted { lease: *lease, ttl_millis: *ttl_millis }
            }
            Outcome::Renewed { lease, ttl_millis } => {
                Self::Renewed { lease: *lease, ttl_millis: *ttl_millis }
            }
            Outcome::LeaseEnded { lease, keys } => Self::LeaseEnded { lease: *lease, keys: *keys },
            Outcome::LeasesNoted => Self::LeasesNoted,
            Outcome::DigestsCompared => Self::DigestsCompared,
            Outcome::AlarmRaised => Self::AlarmRaised,
            Outcome::AlarmCleared { stood } => Self::AlarmCleared { stood: *stood },
            Outcome::LeaseNotFound { .. } => Self::LeaseNotFound,
            Outcome::LeaseExists { .. } => Self::LeaseExists,
            Outcome::KeyNotFound { .. } => Self::KeyNotFound,
            Outcome::Invalid(InvalidCommand::DuplicateKey) => Self::DuplicateKey,
            Outcome::Compacted => Self::Compacted,
            Outcome::ConditionFailed(_) => Self::ConditionFailed,
            Outcome::RevisionInFuture { .. } => Self::RevisionInFuture,
            Outcome::RevisionCompacted { .. } => Self::RevisionCompacted,
            Outcome::IdempotencyConflict => Self::IdempotencyConflict,
            Outcome::IdempotencyForgotten => Self::IdempotencyForgotten,
            Outcome::Undecodable(_) => Self::Undecodable,
            _ => return None,
        })
    }
}

impl Told {
    /// Whether this is what the machine made of the entry: all of it, but for what a transaction that is
    /// told again had read, which may be forgotten.
    pub(crate) fn is_kept_by(&self, told: &Self) -> bool {
        (self.revision, self.repeated) == (told.revision, told.repeated)
            && match self.repeated {
                true => self.expected.is_kept_by(&told.expected),
                false => self.expected == told.expected,
            }
    }

    /// Whether this is what the answer of an earlier entry became when it was told again.
    pub(crate) fn is_repeated_by(&self, again: &Self) -> bool {
        let (first, later) = (self.expected.without_reads(), again.expected.without_reads());
        again.repeated && first == later && self.revision == again.revision
    }
}

impl TransactionTold {
    fn of<S: Store>(outcome: &TransactionOutcome, store: &S) -> Self {
        let results = outcome.results.iter().map(|result| match result {
            OperationOutcome::Put(put) => {
                OperationTold::Put { created: put.created, granted: put.granted }
            }
            OperationOutcome::Deleted(deleted) => OperationTold::Deleted { count: deleted.count },
            OperationOutcome::Read(plan) => OperationTold::Read(plan.clone().map(|plan| {
                // It is fetched as soon as the entry is applied: nothing was removed meanwhile.
                plan.fetch(store).expect("what was just found is there").key_values
            })),
            OperationOutcome::Transaction(within) => {
                OperationTold::Transaction(Self::of(within, store))
            }
            other => unreachable!("no client asks for {other:?}"),
        });
        Self { succeeded: outcome.succeeded, results: results.collect() }
    }

    fn is_recalled_as(&self, again: &Self) -> bool {
        let mut pairs = self.results.iter().zip(&again.results);
        (self.succeeded, self.results.len()) == (again.succeeded, again.results.len())
            && pairs.all(|pair| match pair {
                (OperationTold::Read(_), OperationTold::Read(None)) => true,
                (OperationTold::Transaction(within), OperationTold::Transaction(again)) => {
                    within.is_recalled_as(again)
                }
                (told, again) => told == again,
            })
    }

    fn without_reads(&self) -> Self {
        let results = self.results.iter().map(|result| match result {
            OperationTold::Read(_) => OperationTold::Read(None),
            OperationTold::Transaction(within) => {
                OperationTold::Transaction(within.without_reads())
            }
            other => other.clone(),
        });
        Self { succeeded: self.succeeded, results: results.collect() }
    }
}

/// Every version of every key that there ever was.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    revision: Revision,
    compacted: Revision,
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// The keys that each revision changed, from revision 2 on.
    changes: Vec<Vec<Bytes>>,
    /// When children of each key were created and deleted, whether the key was there or not: the revision, and
    /// the place within it.
    changes_of_children: BTreeMap<Bytes, Vec<(Revision, usize)>>,
    /// The time of the store.
    wall: WallTime,
    /// How much is remembered of idempotency keys.
    limits: IdempotencyLimits,
    /// What is remembered of them, in the order of the log.
    done: VecDeque<Done>,
    /// The last entry of which that is forgotten.
    forgotten: Index,
    pub(crate) leases: BTreeMap<LeaseId, LeaseTime>,
    /// The nodes about which alarms stand.
    pub(crate) alarms: BTreeSet<NodeId>,
    /// The number of the next sequential key with each prefix.
    sequences: BTreeMap<Bytes, u64>,
    /// What happened to leases and nobody has looked at.
    pub(crate) lease_events: Vec<LeaseEvent>,
    /// How many keys were forgotten because their time was up, and because there were too many.
    pub(crate) expired: u64,
    pub(crate) evicted: u64,
}

impl Model {
    pub(crate) fn new(limits: IdempotencyLimits) -> Self {
        Self {
            limits,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            lease_events: Vec::new(),
            sequences: BTreeMap::new(),
            expired: 0,
            evicted: 0,
            revision: Revision(1),
            compacted: Revision(0),
            keys: BTreeMap::new(),
            changes: Vec::new(),
            changes_of_children: BTreeMap::new(),
            wall: WallTime(0),
            done: VecDeque::new(),
            forgotten: Index(0),
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    pub(crate) fn wall(&self) -> WallTime {
        self.wall
    }

    /// An entry comes: time passes, and old keys are forgotten.
    pub(crate) fn pass_time(&mut self, wall: WallTime) {
        self.wall = self.wall.max(wall);
        for _ in 0..FORGOTTEN_MAX {
            let Some(first) = self.done.front() else { return };
            if self.wall.0 - first.wall.0 <= self.limits.window_millis {
                return;
            }
            self.expired += 1;
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let first = self.done.pop_front();
        self.forgotten = first.expect("there is a key to forget").index;
    }

    /// Carries a command out, unless that was done before under its key.
    pub(crate) fn apply(
        &mut self,
        position: Position,
        idempotency: Option<&Idempotency>,
        command: &Command,
    ) -> Told {
        let Some(Idempotency { key, since }) = idempotency else {
            return self.do_it(position, command);
        };
        if self.is_invalid(command) {
            return self.told(Expected::DuplicateKey);
        }
        if let Some(done) = self.done.iter().find(|done| done.key == *key) {
            if done.command != *command {
                return self.told(Expected::IdempotencyConflict);
            }
            return Told { repeated: true, ..done.told.clone() };
        }
        if self.forgotten > *since {
            return self.told(Expected::IdempotencyForgotten);
        }
        let told = self.do_it(position, command);
        if self.done.len() == self.limits.keys_max {
            self.evicted += 1;
            self.forget_first();
        }
        let (key, command, wall) = (key.clone(), command.clone(), self.wall);
        let (index, told) = (position.index, told);
        self.done.push_back(Done { index, key, command, told: told.clone(), wall });
        told
    }

    fn do_it(&mut self, position: Position, command: &Command) -> Told {
        let expected = self.carry_out(position, command);
        self.told(expected)
    }

    /// What is told of an entry that comes now.
    pub(crate) fn told(&self, expected: Expected) -> Told {
        Told { expected, revision: self.revision, repeated: false }
    }

    /// The version of a key that existed at a revision.
    pub(crate) fn at(&self, key: &[u8], revision: Revision) -> Option<&Version> {
        version_at(self.keys.get(key)?, revision)
    }

    /// The keys that existed at a revision, in order.
    pub(crate) fn range(
        &self,
        keys: &Keys,
        revision: Revision,
    ) -> impl Iterator<Item = (&Bytes, &Version)> {
        self.keys
            .iter()
            .filter(move |(key, _)| keys.contains(key))
            .filter_map(move |(key, versions)| Some((key, version_at(versions, revision)?)))
    }

    /// What a revision changed, in order.
    pub(crate) fn changes(&self, revision: Revision) -> impl Iterator<Item = (&Bytes, &Version)> {
        let place = usize::try_from(revision.0 - 2).expect("a simulated history fits into memory");
        self.changes[place].iter().map(move |key| {
            let version = self.keys[key].iter().find(|version| version.revision == revision);
            (key, version.expect("a change has its version"))
        })
    }
}

fn version_at(versions: &[Version], revision: Revision) -> Option<&Version> {
    let after = versions.partition_point(|version| version.revision <= revision);
    versions[..after].last().filter(|version| version.value.is_some())
}

/// A version as an answer shows it.
pub(crate) fn key_value(key: &Bytes, version: &Version) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: version.value.clone().unwrap_or_default(),
        create_revision: version.create_revision,
        mod_revision: version.revision,
        version: version.version,
        lease: version.lease,
    }
}
