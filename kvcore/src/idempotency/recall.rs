//! Carrying a write out at most once, and saying again what the first copy did.

use consensus::{Index, Mutant, mutant};

use super::Idempotency;
use super::remembered::{Fate, OperationFate, Remembered, TransactionFate};
use crate::Keys;
use crate::command::{Command, Condition, Operation, Transaction};
use crate::machine::Machine;
use crate::outcome::{
    ConditionFailure, DeleteOutcome, OperationOutcome, Outcome, PutOutcome, TransactionOutcome,
};
use crate::range::{Range, RangePlan, RangePlanner};
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
        let is_compaction = matches!(command, Command::Compact { .. });
        let outcome = self.carry_out(command)?;
        if let Some(fate) = self.fate(&outcome, &conditions, is_compaction) {
            let (wall, revision) = (self.wall, self.revision);
            self.table.remember(Remembered { index, key, wall, request, revision, fate });
        }
        Ok(here(outcome))
    }

    /// What is to be remembered of an outcome.
    fn fate(
        &self,
        outcome: &Outcome,
        conditions: &[Condition],
        is_compaction: bool,
    ) -> Option<Fate> {
        Some(match outcome {
            Outcome::Put(PutOutcome { created, key: None, granted: None, .. }) => {
                Fate::Put { created: *created }
            }
            Outcome::Put(PutOutcome { created, key, granted, .. }) => {
                Fate::PutAnew { created: *created, key: key.clone(), granted: *granted }
            }
            Outcome::Deleted(deleted) => Fate::Deleted { count: deleted.count },
            Outcome::DeletionTooLarge(limit) => Fate::DeletionTooLarge(*limit),
            Outcome::Compacted => Fate::Compacted,
            Outcome::RevisionInFuture { current, .. } if is_compaction => {
                Fate::CompactionInFuture { current: *current }
            }
            Outcome::RevisionCompacted { compacted, .. } if is_compaction => {
                Fate::AlreadyCompacted { compacted: *compacted }
            }
            Outcome::RevisionInFuture { requested, current } => {
                Fate::ReadInFuture { requested: *requested, current: *current }
            }
            Outcome::RevisionCompacted { requested, compacted } => {
                Fate::ReadCompacted { requested: *requested, compacted: *compacted }
            }
            Outcome::ConditionFailed(failure) => self.failure_fate(failure, conditions),
            Outcome::Transaction(transaction) => Fate::Transaction(transaction_fate(transaction)),
            Outcome::TransactionTooLarge => Fate::TransactionTooLarge,
            Outcome::KeyNotFound { key } => Fate::KeyNotFound { key: key.clone() },
            Outcome::Granted { lease, ttl_millis } => {
                Fate::Granted { lease: *lease, ttl_millis: *ttl_millis }
            }
            Outcome::Renewed { lease, ttl_millis } => {
                Fate::Renewed { lease: *lease, ttl_millis: *ttl_millis }
            }
            Outcome::LeaseEnded { lease, keys } => Fate::LeaseEnded { lease: *lease, keys: *keys },
            Outcome::LeaseNotFound { lease } => Fate::LeaseNotFound { lease: *lease },
            Outcome::LeaseExists { lease } => Fate::LeaseExists { lease: *lease },
            Outcome::LeaseFull { lease } => Fate::LeaseFull { lease: *lease },
            Outcome::TooManyLeases => Fate::TooManyLeases,
            Outcome::Nothing
            | Outcome::LeasesNoted
            | Outcome::DigestsCompared
            | Outcome::AlarmRaised
            | Outcome::AlarmCleared { .. }
            | Outcome::Invalid(_)
            | Outcome::Undecodable(_)
            | Outcome::IdempotencyConflict
            | Outcome::IdempotencyForgotten => return None,
        })
    }

    fn failure_fate(&self, failure: &ConditionFailure, conditions: &[Condition]) -> Fate {
        let which = conditions.iter().position(|condition| *condition == failure.condition);
        let Some(which) = which else {
            // Only a sequential key fails by a condition that it was not given.
            let (key, found) = (failure.key.clone(), failure.found);
            let (key, found) = key.zip(found).expect("the taken key is told, and what it has");
            return Fate::SequenceTaken { found, key };
        };
        let place = || {
            let key = self.index.find(failure.key.as_ref()?)?;
            Some(self.index.entry(key).current()?.id.place)
        };
        Fate::ConditionFailed {
            condition: u32::try_from(which).expect("conditions are few"),
            found: failure.found.zip(place()),
        }
    }

    /// The outcome of the first copy of a command. What it replaced is told as far as history goes.
    fn recall(&self, first: &Remembered, command: &Command) -> Outcome {
        let revision = first.revision;
        match first.fate.clone() {
            Fate::Put { created } => {
                Outcome::Put(self.recall_put(revision, command, (created, None, None)))
            }
            Fate::PutAnew { created, key, granted } => {
                Outcome::Put(self.recall_put(revision, command, (created, key, granted)))
            }
            Fate::Deleted { count } => {
                let told = matches!(
                    command,
                    Command::Delete { delete, .. } if delete.return_previous && count > 0
                );
                let previous = if told { self.deleted_by(revision, 0, count) } else { Vec::new() };
                Outcome::Deleted(DeleteOutcome { count, previous })
            }
            Fate::DeletionTooLarge(limit) => Outcome::DeletionTooLarge(limit),
            Fate::ConditionFailed { condition, found } => {
                let condition = command.conditions()[condition as usize].clone();
                let key = self.failed_key(
                    command,
                    found.map(|(found, place)| RowId { revision: found.mod_revision, place }),
                );
                let found = found.map(|(found, _)| found);
                Outcome::ConditionFailed(Box::new(ConditionFailure { condition, key, found }))
            }
            Fate::SequenceTaken { found, key } => {
                let (condition, key, found) = (Condition::Absent, Some(key), Some(found));
                Outcome::ConditionFailed(Box::new(ConditionFailure { condition, key, found }))
            }
            Fate::Compacted => Outcome::Compacted,
            Fate::CompactionInFuture { current } => {
                Outcome::RevisionInFuture { requested: compacted_to(command), current }
            }
            Fate::AlreadyCompacted { compacted } => {
                Outcome::RevisionCompacted { requested: compacted_to(command), compacted }
            }
            Fate::ReadInFuture { requested, current } => {
                Outcome::RevisionInFuture { requested, current }
            }
            Fate::ReadCompacted { requested, compacted } => {
                Outcome::RevisionCompacted { requested, compacted }
            }
            Fate::Transaction(fate) => {
                let Command::Transaction(transaction) = command else {
                    unreachable!("only a transaction is remembered as one");
                };
                let writes = rows_written(&fate) > 0;
                let mut recalling = Recalling { machine: self, revision, writes, place: 0 };
                Outcome::Transaction(Box::new(recalling.transaction(&fate, transaction)))
            }
            Fate::TransactionTooLarge => Outcome::TransactionTooLarge,
            Fate::KeyNotFound { key } => Outcome::KeyNotFound { key },
            Fate::Granted { lease, ttl_millis } => Outcome::Granted { lease, ttl_millis },
            Fate::Renewed { lease, ttl_millis } => Outcome::Renewed { lease, ttl_millis },
            Fate::LeaseEnded { lease, keys } => Outcome::LeaseEnded { lease, keys },
            Fate::LeaseNotFound { lease } => Outcome::LeaseNotFound { lease },
            Fate::LeaseExists { lease } => Outcome::LeaseExists { lease },
            Fate::LeaseFull { lease } => Outcome::LeaseFull { lease },
            Fate::TooManyLeases => Outcome::TooManyLeases,
        }
    }

    fn recall_put(
        &self,
        revision: Revision,
        command: &Command,
        (created, key, granted): (bool, Option<bytes::Bytes>, Option<crate::LeaseId>),
    ) -> PutOutcome {
        let previous = match command {
            Command::Put { put, .. } if put.return_previous && !created => {
                Some(self.locate(&put.key, Some(before(revision))).unwrap_or(GONE))
            }
            _ => None,
        };
        PutOutcome { created, key, granted, previous }
    }

    /// The key for which a condition did not hold, if history still has its row.
    fn failed_key(&self, command: &Command, found: Option<RowId>) -> Option<bytes::Bytes> {
        match command {
            Command::Put { put, .. } => Some(put.key.clone()),
            Command::Delete { delete, .. } => match &delete.target {
                Keys::One(key) => Some(key.clone()),
                _ => found.and_then(|id| self.key_of(id)),
            },
            _ => None,
        }
    }

    /// What a revision deleted from this place on, in order.
    fn deleted_by(&self, revision: Revision, place: u32, count: u64) -> Vec<Located> {
        let before = before(revision);
        if before < self.compacted {
            return (0..count).map(|_| GONE).collect();
        }
        let rows = self.journal.from(revision).take_while(|row| row.id.revision == revision);
        let rows = rows.filter(|row| row.id.place >= place).take(count as usize);
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

/// A transaction whose results are told again, operation by operation.
struct Recalling<'a, S> {
    machine: &'a Machine<S>,
    /// The revision that it left.
    revision: Revision,
    /// Whether that revision is its own.
    writes: bool,
    /// How many rows its operations wrote so far.
    place: u32,
}

impl<S: Store> Recalling<'_, S> {
    fn transaction(&mut self, fate: &TransactionFate, told: &Transaction) -> TransactionOutcome {
        let succeeded = fate.succeeded;
        let branch = if succeeded { &told.success } else { &told.failure };
        let results = branch.iter().zip(&fate.results);
        let results = results.map(|(operation, fate)| self.operation(operation, fate)).collect();
        TransactionOutcome { succeeded, results }
    }

    fn operation(&mut self, operation: &Operation, fate: &OperationFate) -> OperationOutcome {
        match (operation, fate) {
            (Operation::Put(put), OperationFate::Put { created, granted }) => {
                let (created, granted) = (*created, *granted);
                let told = put.return_previous && !created;
                let before = Some(before(self.revision));
                let previous = told.then(|| self.machine.locate(&put.key, before).unwrap_or(GONE));
                self.place += 1;
                OperationOutcome::Put(PutOutcome { created, key: None, granted, previous })
            }
            (Operation::Delete(delete), OperationFate::Deleted { count }) => {
                let told = delete.return_previous && *count > 0;
                let previous = match told {
                    true => self.machine.deleted_by(self.revision, self.place, *count),
                    false => Vec::new(),
                };
                self.place += u32::try_from(*count).expect("deletions are bounded");
                OperationOutcome::Deleted(DeleteOutcome { count: *count, previous })
            }
            (Operation::Read(range), OperationFate::Read) => {
                OperationOutcome::Read(self.read(range))
            }
            (Operation::Transaction(within), OperationFate::Transaction(fate)) => {
                OperationOutcome::Transaction(self.transaction(fate, within))
            }
            _ => unreachable!("what is remembered of a command is of its shape"),
        }
    }

    /// Plans a read again; `None` if what it found is not known any more.
    fn read(&self, range: &Range) -> Option<RangePlan> {
        let mut planner = RangePlanner::new(range.clone());
        if range.at.is_none() && !mutant::on(Mutant::RepeatedReadsNow) {
            let (revision, before) = (self.revision, before(self.revision));
            if self.writes && before < self.machine.compacted {
                return None;
            }
            let has_written = self.writes && self.place > 0;
            planner.at = Some(if self.writes && !has_written { before } else { revision });
            planner.before_place = has_written.then_some(self.place);
        }
        self.machine.plan_range_step(&mut planner, usize::MAX).ok()?;
        Some(planner.finish())
    }
}

fn transaction_fate(transaction: &TransactionOutcome) -> TransactionFate {
    let results = transaction.results.iter().map(|result| match result {
        OperationOutcome::Put(PutOutcome { created, granted, .. }) => {
            OperationFate::Put { created: *created, granted: *granted }
        }
        OperationOutcome::Deleted(deleted) => OperationFate::Deleted { count: deleted.count },
        OperationOutcome::Read(_) => OperationFate::Read,
        OperationOutcome::Transaction(within) => {
            OperationFate::Transaction(transaction_fate(within))
        }
    });
    TransactionFate { succeeded: transaction.succeeded, results: results.collect() }
}

/// How many rows a transaction wrote.
fn rows_written(fate: &TransactionFate) -> u64 {
    let rows = fate.results.iter().map(|result| match result {
        OperationFate::Put { .. } => 1,
        OperationFate::Deleted { count } => *count,
        OperationFate::Read => 0,
        OperationFate::Transaction(within) => rows_written(within),
    });
    rows.sum()
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
