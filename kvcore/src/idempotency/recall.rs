//! Carrying a write out at most once, and saying again what the first copy did.

use consensus::Index;

use super::Idempotency;
use super::remembered::{Fate, Remembered};
use crate::Keys;
use crate::command::{Command, Condition};
use crate::machine::Machine;
use crate::outcome::{ConditionFailure, Outcome};
use crate::read::Located;
use crate::store::{Revision, RowId, Store, StoreError};

/// An address at which there never is a row: fetching it says that it is gone.
const GONE: Located = Located::Stored(RowId { revision: Revision(0), place: 0 });

/// What became of a write that carries a key.
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    /// The revision that an earlier entry left which did it, if this one did not.
    pub(crate) repeats: Option<Revision>,
}

impl<S: Store> Machine<S> {
    /// Carries a command out unless that was done before under its key.
    pub(crate) fn carry_out_once(
        &mut self,
        index: Index,
        idempotency: Idempotency,
        request: u128,
        command: Command,
    ) -> Result<Answered, StoreError> {
        let Idempotency { key, since } = idempotency;
        let here = |outcome| Answered { outcome, repeats: None };
        if let Err(invalid) = command.check() {
            // The same command is invalid each time, so nothing need be remembered of it.
            return Ok(here(Outcome::Invalid(invalid)));
        }
        if let Some(first) = self.table.find(&key) {
            if first.request != request {
                return Ok(here(Outcome::IdempotencyConflict));
            }
            let outcome = self.recall(first, &command);
            return Ok(Answered { outcome, repeats: Some(first.revision) });
        }
        if self.table.forgotten() > since {
            return Ok(here(Outcome::IdempotencyForgotten));
        }
        let conditions = command.conditions().to_vec();
        let outcome = self.carry_out(command)?;
        if let Some(fate) = self.fate(&outcome, &conditions) {
            let (wall, revision) = (self.wall, self.revision);
            self.table.remember(Remembered { index, key, wall, request, revision, fate });
        }
        Ok(here(outcome))
    }

    /// What is to be remembered of an outcome.
    fn fate(&self, outcome: &Outcome, conditions: &[Condition]) -> Option<Fate> {
        Some(match outcome {
            Outcome::Put { created, .. } => Fate::Put { created: *created },
            Outcome::Deleted { count, .. } => Fate::Deleted { count: *count },
            Outcome::DeletionTooLarge(limit) => Fate::DeletionTooLarge(*limit),
            Outcome::Compacted => Fate::Compacted,
            Outcome::CompactionInFuture { current, .. } => {
                Fate::CompactionInFuture { current: *current }
            }
            Outcome::AlreadyCompacted { compacted, .. } => {
                Fate::AlreadyCompacted { compacted: *compacted }
            }
            Outcome::ConditionFailed(failure) => {
                let which = conditions.iter().position(|condition| *condition == failure.condition);
                let which = which.expect("the command has the condition that failed");
                let place = || {
                    let key = self.index.find(failure.key.as_ref()?)?;
                    Some(self.index.entry(key).current()?.id.place)
                };
                Fate::ConditionFailed {
                    condition: u32::try_from(which).expect("conditions are few"),
                    found: failure.found.zip(place()),
                }
            }
            Outcome::Nothing
            | Outcome::Invalid(_)
            | Outcome::Undecodable(_)
            | Outcome::IdempotencyConflict
            | Outcome::IdempotencyForgotten => return None,
        })
    }

    /// The outcome of the first copy of a command. What it replaced is told as far as history goes.
    fn recall(&self, first: &Remembered, command: &Command) -> Outcome {
        match first.fate {
            Fate::Put { created } => {
                let previous = command.returns_previous() && !created;
                let previous = previous.then(|| match command {
                    Command::Put { key, .. } => {
                        self.locate(key, Some(before(first.revision))).unwrap_or(GONE)
                    }
                    _ => GONE,
                });
                Outcome::Put { created, previous }
            }
            Fate::Deleted { count } => {
                let told = command.returns_previous() && count > 0;
                let previous =
                    if told { self.deleted_by(first.revision, count) } else { Vec::new() };
                Outcome::Deleted { count, previous }
            }
            Fate::DeletionTooLarge(limit) => Outcome::DeletionTooLarge(limit),
            Fate::ConditionFailed { condition, found } => {
                let condition = command.conditions()[condition as usize].clone();
                let key = match command {
                    Command::Put { key, .. } | Command::Delete { target: Keys::One(key), .. } => {
                        Some(key.clone())
                    }
                    _ => found.and_then(|(found, place)| {
                        self.key_of(RowId { revision: found.mod_revision, place })
                    }),
                };
                let found = found.map(|(found, _)| found);
                Outcome::ConditionFailed(Box::new(ConditionFailure { condition, key, found }))
            }
            Fate::Compacted => Outcome::Compacted,
            Fate::CompactionInFuture { current } => {
                Outcome::CompactionInFuture { requested: compacted_to(command), current }
            }
            Fate::AlreadyCompacted { compacted } => {
                Outcome::AlreadyCompacted { requested: compacted_to(command), compacted }
            }
        }
    }

    /// What a revision deleted, in order.
    fn deleted_by(&self, revision: Revision, count: u64) -> Vec<Located> {
        let before = before(revision);
        if before < self.compacted {
            return (0..count).map(|_| GONE).collect();
        }
        let rows = self.journal.from(revision).take_while(|row| row.id.revision == revision);
        let previous = rows.map(|row| self.index.entry(row.key).at(before));
        previous.map(|id| id.map_or(GONE, |id| self.resolve(id))).collect()
    }

    /// The key of a row that history still has.
    fn key_of(&self, id: RowId) -> Option<bytes::Bytes> {
        // What is pruned below the compacted revision differs among replicas; their answers may not.
        if id.revision < self.compacted {
            return None;
        }
        let mut rows =
            self.journal.from(id.revision).take_while(|row| row.id.revision == id.revision);
        let row = rows.find(|row| row.id == id)?;
        Some(bytes::Bytes::copy_from_slice(self.index.entry(row.key).key()))
    }
}

fn before(revision: Revision) -> Revision {
    Revision(revision.0.saturating_sub(1))
}

/// The revision that a compaction asks for. Only a compaction is remembered as one.
fn compacted_to(command: &Command) -> Revision {
    match command {
        Command::Compact { revision } => *revision,
        _ => Revision(0),
    }
}
