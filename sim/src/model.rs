//! The key-value store as a few dozen naive lines: what the real one is compared with.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use consensus::{Index, WallTime};
use kvcore::{
    Command, Condition, Idempotency, IdempotencyKey, IdempotencyLimits, KeyValue, Keys, Outcome,
    PutValue, Revision,
};

/// One version of a key; `value` is `None` when it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: Revision,
    pub(crate) value: Option<Bytes>,
    pub(crate) create_revision: Revision,
    pub(crate) version: u64,
}

/// What a command is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    Put { created: bool },
    Deleted { count: u64 },
    Compacted,
    ConditionFailed,
    CompactionInFuture,
    AlreadyCompacted,
    IdempotencyConflict,
    IdempotencyForgotten,
    Undecodable,
}

/// What whoever asked is told of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub(crate) fn is_refused_key(self) -> bool {
        matches!(self, Self::IdempotencyConflict | Self::IdempotencyForgotten)
    }

    /// What a real outcome amounts to.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Nothing => Self::Nothing,
            Outcome::Put(put) => Self::Put { created: put.created },
            Outcome::Deleted(deleted) => Self::Deleted { count: deleted.count },
            Outcome::Compacted => Self::Compacted,
            Outcome::ConditionFailed(_) => Self::ConditionFailed,
            Outcome::RevisionInFuture { .. } => Self::CompactionInFuture,
            Outcome::RevisionCompacted { .. } => Self::AlreadyCompacted,
            Outcome::IdempotencyConflict => Self::IdempotencyConflict,
            Outcome::IdempotencyForgotten => Self::IdempotencyForgotten,
            Outcome::Undecodable(_) => Self::Undecodable,
            _ => return None,
        })
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
    /// The time of the store.
    wall: WallTime,
    /// How much is remembered of idempotency keys.
    limits: IdempotencyLimits,
    /// What is remembered of them, in the order of the log.
    done: VecDeque<Done>,
    /// The last entry of which that is forgotten.
    forgotten: Index,
    /// How many keys were forgotten because their time was up, and because there were too many.
    pub(crate) expired: u64,
    pub(crate) evicted: u64,
}

impl Model {
    pub(crate) fn new(limits: IdempotencyLimits) -> Self {
        Self {
            limits,
            expired: 0,
            evicted: 0,
            revision: Revision(1),
            compacted: Revision(0),
            keys: BTreeMap::new(),
            changes: Vec::new(),
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
        index: Index,
        idempotency: Option<&Idempotency>,
        command: &Command,
    ) -> Told {
        let Some(Idempotency { key, since }) = idempotency else { return self.do_it(command) };
        if let Some(done) = self.done.iter().find(|done| done.key == *key) {
            if done.command == *command {
                return Told { repeated: true, ..done.told };
            }
            return self.told(Expected::IdempotencyConflict);
        }
        if self.forgotten > *since {
            return self.told(Expected::IdempotencyForgotten);
        }
        let told = self.do_it(command);
        if self.done.len() == self.limits.keys_max {
            self.evicted += 1;
            self.forget_first();
        }
        let (key, command, wall) = (key.clone(), command.clone(), self.wall);
        self.done.push_back(Done { index, key, command, told, wall });
        told
    }

    fn do_it(&mut self, command: &Command) -> Told {
        let expected = self.carry_out(command);
        self.told(expected)
    }

    /// What is told of an entry that comes now.
    pub(crate) fn told(&self, expected: Expected) -> Told {
        Told { expected, revision: self.revision, repeated: false }
    }

    fn carry_out(&mut self, command: &Command) -> Expected {
        match command {
            Command::Put { put, conditions } => {
                let PutValue::New(value) = &put.value else {
                    unreachable!("no client keeps a value")
                };
                let key = &put.key;
                let before = self.at(key, self.revision).cloned();
                if !conditions.iter().all(|condition| holds(condition, before.as_ref())) {
                    return Expected::ConditionFailed;
                }
                let revision = Revision(self.revision.0 + 1);
                let created = before.is_none();
                let (create_revision, version) = before
                    .map_or((revision, 1), |before| (before.create_revision, before.version + 1));
                let value = Some(value.clone());
                self.write(key.clone(), Version { revision, value, create_revision, version });
                self.changes.push(vec![key.clone()]);
                self.revision = revision;
                Expected::Put { created }
            }
            Command::Delete { delete, conditions } => self.delete(&delete.target, conditions),
            Command::Compact { revision } => {
                if *revision > self.revision {
                    return Expected::CompactionInFuture;
                }
                if *revision <= self.compacted {
                    return Expected::AlreadyCompacted;
                }
                self.compacted = *revision;
                Expected::Compacted
            }
            _ => Expected::Undecodable,
        }
    }

    fn delete(&mut self, target: &Keys, conditions: &[Condition]) -> Expected {
        let doomed: Vec<(Bytes, Version)> = self
            .range(target, self.revision)
            .map(|(key, version)| (key.clone(), version.clone()))
            .collect();
        let allowed = |version: Option<&Version>| conditions.iter().all(|c| holds(c, version));
        let all_allowed = if doomed.is_empty() {
            allowed(None)
        } else {
            doomed.iter().all(|(_, version)| allowed(Some(version)))
        };
        if !all_allowed {
            return Expected::ConditionFailed;
        }
        if doomed.is_empty() {
            return Expected::Deleted { count: 0 };
        }
        let revision = Revision(self.revision.0 + 1);
        let keys: Vec<Bytes> = doomed.into_iter().map(|(key, _)| key).collect();
        for key in &keys {
            let gone = Version { revision, value: None, create_revision: Revision(0), version: 0 };
            self.write(key.clone(), gone);
        }
        let count = keys.len() as u64;
        self.changes.push(keys);
        self.revision = revision;
        Expected::Deleted { count }
    }

    fn write(&mut self, key: Bytes, version: Version) {
        self.keys.entry(key).or_default().push(version);
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

fn holds(condition: &Condition, before: Option<&Version>) -> bool {
    match condition {
        Condition::Absent => before.is_none(),
        Condition::Version(version) => before.map_or(0, |before| before.version) == *version,
        Condition::ModRevision(revision) => {
            before.map_or(Revision(0), |before| before.revision) == *revision
        }
        Condition::Value(value) => {
            before.is_some_and(|before| before.value.as_ref() == Some(value))
        }
        _ => false,
    }
}

/// A version as an answer shows it.
pub(crate) fn key_value(key: &Bytes, version: &Version) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: version.value.clone().unwrap_or_default(),
        create_revision: version.create_revision,
        mod_revision: version.revision,
        version: version.version,
        lease: None,
    }
}
