//! Applying log entries: the only way in which the machine changes.

use bytes::Bytes;
use consensus::{Entry, Wire};

use crate::Keys;
use crate::command::{Command, Condition};
use crate::digest::row_hash;
use crate::envelope::Envelope;
use crate::index::{Current, KeyId};
use crate::journal::JournalRow;
use crate::machine::Machine;
use crate::outcome::{
    Applied, ConditionFailure, DELETED_BYTES_MAX, DELETED_KEYS_MAX, DeletionLimit, Found, Outcome,
};
use crate::read::Located;
use crate::store::{Revision, Row, RowId, Store, StoreError};

impl<S: Store> Machine<S> {
    /// Applies the next entry of the log. A command that fails, or that can not be understood,
    /// changes nothing but the position, and does so equally on every replica.
    ///
    /// Takes constant time and two or three look-ups of the key, but for a deletion of many keys,
    /// which takes that for each of them. Nothing is read from the store, with one exception: a
    /// condition on a value that is about to hold and is not in memory.
    ///
    /// # Errors
    /// When the store fails. The entry is not applied then, and the machine can not go on.
    ///
    /// # Panics
    /// If the entry is not the next one.
    pub fn apply(&mut self, entry: &Entry) -> Result<Applied, StoreError> {
        let position = entry.position;
        assert!(position.index == self.applied.index.next(), "entries are applied without gaps");
        assert!(position.term >= self.applied.term, "terms never decrease along the log");
        self.wall = self.wall.max(entry.wall);
        self.table.expire(self.wall);
        let mut repeats = None;
        let (header, outcome) = match entry.command() {
            None => (None, Outcome::Nothing),
            Some(payload) => match Envelope::from_bytes(payload.clone()) {
                Ok(envelope) => {
                    let header = Some(envelope.address());
                    let Envelope { idempotency, command, .. } = envelope;
                    match idempotency {
                        None => (header, self.carry_out(command)?),
                        Some(idempotency) => {
                            let request = Envelope::command_digest(payload, &idempotency);
                            let index = position.index;
                            let answered =
                                self.carry_out_once(index, idempotency, request, command)?;
                            repeats = answered.repeats;
                            (header, answered.outcome)
                        }
                    }
                }
                Err(error) => (Envelope::header(payload).ok(), Outcome::Undecodable(error)),
            },
        };
        self.applied = position;
        self.states.push(self.state());
        let revision = repeats.unwrap_or(self.revision);
        Ok(Applied { position, header, outcome, revision, repeated: repeats.is_some() })
    }

    pub(crate) fn carry_out(&mut self, command: Command) -> Result<Outcome, StoreError> {
        if let Err(invalid) = command.check() {
            return Ok(Outcome::Invalid(invalid));
        }
        match command {
            Command::Put { key, value, conditions, return_previous } => {
                self.put(key, value, &conditions, return_previous)
            }
            Command::Delete { target, conditions, return_previous } => {
                self.delete(&target, &conditions, return_previous)
            }
            Command::Compact { revision } => Ok(self.compact(revision)),
        }
    }

    fn put(
        &mut self,
        key: Bytes,
        value: Bytes,
        conditions: &[Condition],
        return_previous: bool,
    ) -> Result<Outcome, StoreError> {
        let found = self.index.find(&key);
        let before = found.and_then(|id| self.index.entry(id).current());
        if let Some(failure) = self.failing(conditions, Some(&key), before)? {
            return Ok(Outcome::ConditionFailed(Box::new(failure)));
        }
        let previous = before.filter(|_| return_previous).map(|before| self.resolve(before.id));
        let id = RowId { revision: Revision(self.revision.0 + 1), place: 0 };
        let create_revision = before.map_or(id.revision, |before| before.create_revision);
        let version = before.map_or(1, |before| before.version + 1);
        let hash = row_hash(&key, &value, create_revision, id.revision, version);
        let digest = self.digest.wrapping_add(hash);
        self.digest = digest.wrapping_sub(before.map_or(0, |before| before.hash));

        let current = Current { id, create_revision, version, hash };
        let key_id = self.index.put(&key, found, current);
        self.journal.push(JournalRow { id, key: key_id, tombstone: false });
        self.overlay.push(Row { key, value: Some(value), create_revision, version });
        self.revision = id.revision;
        Ok(Outcome::Put { created: before.is_none(), previous })
    }

    fn delete(
        &mut self,
        target: &Keys,
        conditions: &[Condition],
        return_previous: bool,
    ) -> Result<Outcome, StoreError> {
        let doomed = match self.existing(target) {
            Ok(doomed) => doomed,
            Err(limit) => return Ok(Outcome::DeletionTooLarge(limit)),
        };
        for (id, current) in &doomed {
            let key = Bytes::copy_from_slice(self.index.entry(*id).key());
            if let Some(failure) = self.failing(conditions, Some(&key), Some(*current))? {
                return Ok(Outcome::ConditionFailed(Box::new(failure)));
            }
        }
        if doomed.is_empty() {
            let key = if let Keys::One(key) = target { Some(key) } else { None };
            return Ok(match self.failing(conditions, key, None)? {
                Some(failure) => Outcome::ConditionFailed(Box::new(failure)),
                None => Outcome::Deleted { count: 0, previous: Vec::new() },
            });
        }
        let previous: Vec<Located> = if return_previous {
            doomed.iter().map(|(_, current)| self.resolve(current.id)).collect()
        } else {
            Vec::new()
        };
        let count = doomed.len() as u64;
        self.bury(doomed);
        Ok(Outcome::Deleted { count, previous })
    }

    /// The keys of the target that exist, in order, or the limit that they are beyond.
    fn existing(&self, target: &Keys) -> Result<Vec<(KeyId, Current)>, DeletionLimit> {
        let with_current = |id| self.index.entry(id).current().map(|current| (id, current));
        if let Keys::One(key) = target {
            return Ok(self.index.find(key).and_then(with_current).into_iter().collect());
        }
        let (mut doomed, mut bytes) = (Vec::new(), 0);
        for (key, id) in self.index.span(&target.span()) {
            let Some(found) = with_current(id) else { continue };
            bytes += key.len();
            if doomed.len() == DELETED_KEYS_MAX {
                return Err(DeletionLimit::Keys);
            }
            if bytes > DELETED_BYTES_MAX {
                return Err(DeletionLimit::Bytes);
            }
            doomed.push(found);
        }
        Ok(doomed)
    }

    /// Writes a tombstone for each of these keys, all in the next revision.
    fn bury(&mut self, doomed: Vec<(KeyId, Current)>) {
        let revision = Revision(self.revision.0 + 1);
        let mut rows = Vec::with_capacity(doomed.len());
        for (place, (key, current)) in (0..).zip(doomed) {
            let id = RowId { revision, place };
            rows.push(Row {
                key: Bytes::copy_from_slice(self.index.entry(key).key()),
                value: None,
                create_revision: current.create_revision,
                version: 0,
            });
            self.digest = self.digest.wrapping_sub(current.hash);
            self.index.delete(key, id);
            self.journal.push(JournalRow { id, key, tombstone: true });
        }
        self.overlay.push_many(rows);
        self.revision = revision;
    }

    /// Only notes the revision: what it frees is forgotten bit by bit, after the compaction is
    /// durable in the store.
    fn compact(&mut self, requested: Revision) -> Outcome {
        let (current, compacted) = (self.revision, self.compacted);
        if requested > current {
            return Outcome::CompactionInFuture { requested, current };
        }
        if requested <= compacted {
            return Outcome::AlreadyCompacted { requested, compacted };
        }
        self.compacted = requested;
        Outcome::Compacted
    }

    /// The first condition that does not hold for a key.
    fn failing(
        &self,
        conditions: &[Condition],
        key: Option<&Bytes>,
        current: Option<Current>,
    ) -> Result<Option<ConditionFailure>, StoreError> {
        for condition in conditions {
            if !self.holds(condition, key, current)? {
                return Ok(Some(ConditionFailure {
                    condition: condition.clone(),
                    key: key.cloned(),
                    found: current.map(|current| Found {
                        create_revision: current.create_revision,
                        mod_revision: current.id.revision,
                        version: current.version,
                    }),
                }));
            }
        }
        Ok(None)
    }

    fn holds(
        &self,
        condition: &Condition,
        key: Option<&Bytes>,
        current: Option<Current>,
    ) -> Result<bool, StoreError> {
        Ok(match condition {
            Condition::Absent => current.is_none(),
            Condition::Version(version) => current.map_or(0, |current| current.version) == *version,
            Condition::ModRevision(revision) => {
                current.map_or(Revision(0), |current| current.id.revision) == *revision
            }
            Condition::Value(value) => match (key, current) {
                (Some(key), Some(current)) => {
                    let Current { id, create_revision, version, hash } = current;
                    // Another hash is another value. An equal one is not yet an equal value, and all
                    // replicas must decide alike, whether the row is in memory or not.
                    row_hash(key, value, create_revision, id.revision, version) == hash
                        && self.has_value(id, value)?
                }
                _ => false,
            },
        })
    }
}
