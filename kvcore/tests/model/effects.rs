//! Outcomes in the words of the naive model.

use kvcore::{
    DeleteOutcome, FetchError, InvalidCommand, KeyValue, Located, OperationOutcome, Outcome,
    PutOutcome, Revision, TransactionOutcome,
};

use crate::common::TestMachine;
use crate::naive::{Effect, OperationEffect, PutEffect, TransactionEffect};

fn fetch(machine: &TestMachine, located: Located) -> Option<KeyValue> {
    match located.fetch(machine.store()) {
        Ok(found) => Some(found.expect("a previous value exists")),
        Err(FetchError::Vanished(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn put_effect(machine: &TestMachine, put: PutOutcome) -> PutEffect {
    let PutOutcome { created, key, granted, previous } = put;
    let previous = previous.and_then(|previous| fetch(machine, previous));
    PutEffect { created, key, granted, previous }
}

fn deleted_effect(machine: &TestMachine, deleted: DeleteOutcome) -> Vec<KeyValue> {
    let DeleteOutcome { count, previous } = deleted;
    assert!(previous.is_empty() || count == previous.len() as u64);
    previous.into_iter().filter_map(|previous| fetch(machine, previous)).collect()
}

fn transaction_effect(machine: &TestMachine, outcome: TransactionOutcome) -> TransactionEffect {
    let results = outcome.results.into_iter().map(|result| match result {
        OperationOutcome::Put(put) => OperationEffect::Put(put_effect(machine, put)),
        OperationOutcome::Deleted(deleted) => {
            OperationEffect::Deleted { previous: deleted_effect(machine, deleted) }
        }
        OperationOutcome::Read(plan) => {
            OperationEffect::Read(plan.and_then(|plan| match plan.fetch(machine.store()) {
                Ok(found) => Some(found),
                Err(FetchError::Vanished(_)) => None,
                Err(error) => panic!("{error}"),
            }))
        }
        OperationOutcome::Transaction(within) => {
            OperationEffect::Transaction(transaction_effect(machine, within))
        }
        other => panic!("nothing is known of {other:?}"),
    });
    TransactionEffect { succeeded: outcome.succeeded, results: results.collect() }
}

/// What is told again of a transaction is what was told first, as far as history goes.
pub(crate) fn assert_recalled(
    again: &TransactionEffect,
    first: &TransactionEffect,
    before_is_gone: bool,
    compacted: Revision,
) {
    assert_eq!((again.succeeded, again.results.len()), (first.succeeded, first.results.len()));
    for (again, first) in again.results.iter().zip(&first.results) {
        match (again, first) {
            (OperationEffect::Put(again), OperationEffect::Put(first)) if before_is_gone => {
                assert_eq!(*again, PutEffect { previous: None, ..first.clone() });
            }
            (OperationEffect::Deleted { previous }, OperationEffect::Deleted { .. })
                if before_is_gone =>
            {
                assert_eq!(*previous, Vec::new());
            }
            (OperationEffect::Read(None), OperationEffect::Read(Some(first))) => {
                assert!(before_is_gone || first.at < compacted, "history still has {first:?}");
            }
            (OperationEffect::Transaction(again), OperationEffect::Transaction(first)) => {
                assert_recalled(again, first, before_is_gone, compacted);
            }
            (again, first) => assert_eq!(again, first),
        }
    }
}

/// An outcome in the model's words; `None` for what the model is not asked.
pub(crate) fn effect(machine: &TestMachine, outcome: Outcome) -> Option<Effect> {
    Some(match outcome {
        Outcome::Put(put) => Effect::Put(put_effect(machine, put)),
        Outcome::Deleted(deleted) => Effect::Deleted { previous: deleted_effect(machine, deleted) },
        Outcome::Transaction(transaction) => {
            Effect::Transaction(transaction_effect(machine, *transaction))
        }
        Outcome::Granted { lease, ttl_millis } => Effect::Granted(lease, ttl_millis),
        Outcome::Renewed { lease, ttl_millis } => Effect::Renewed(lease, ttl_millis),
        Outcome::LeaseEnded { keys, .. } => Effect::LeaseEnded { keys },
        Outcome::LeasesNoted => Effect::LeasesNoted,
        Outcome::DigestsCompared => Effect::DigestsCompared,
        Outcome::AlarmRaised => Effect::AlarmRaised,
        Outcome::AlarmCleared { stood } => Effect::AlarmCleared { stood },
        Outcome::LeaseNotFound { lease } => Effect::LeaseNotFound(lease),
        Outcome::LeaseExists { lease } => Effect::LeaseExists(lease),
        Outcome::KeyNotFound { key } => Effect::KeyNotFound(key),
        Outcome::Invalid(InvalidCommand::DuplicateKey) => Effect::DuplicateKey,
        Outcome::ConditionFailed(failure) => Effect::ConditionFailed(failure.condition),
        Outcome::Compacted => Effect::Compacted,
        Outcome::RevisionInFuture { .. } => Effect::RevisionInFuture,
        Outcome::RevisionCompacted { .. } => Effect::RevisionCompacted,
        _ => return None,
    })
}
