//! What a transaction did, as it is told: with all that was read and replaced, as far as it can be told.
//!
//! The transaction has happened by then: whatever goes wrong here is told in its place, never as an error.

use kvcore::store::StoreError;
use kvcore::{
    FetchError, Keys, Located, Operation, OperationOutcome, PutLease, PutOutcome, Range,
    RangeResult, Store, Transaction, TransactionOutcome,
};

use super::super::json::{self, Shown};
use super::super::previous::{BYTES_MAX, Missing, Previous};
use super::super::put;
use super::super::read::transaction::{ReadOperation, ReadTransaction};

/// Up to so many rows are fetched at once when they are in memory.
const INLINE_ROWS_MAX: usize = 64;

/// A transaction and its results.
#[derive(Debug)]
pub(super) struct ToldTransaction {
    pub(super) succeeded: bool,
    pub(super) results: Vec<Told>,
}

/// What an operation did.
#[derive(Debug)]
pub(super) enum Told {
    Put { stored: PutOutcome, ttl_millis: Option<u64>, previous: Option<Previous> },
    Deleted { count: u64, is_one: bool, previous: Option<Previous> },
    Read { is_one: bool, shown: Shown, result: Result<RangeResult, Missing> },
    Transaction(ToldTransaction),
}

/// Where what is told comes from.
pub(super) enum Source<'a, S> {
    /// From here, up to so many more bytes.
    Store(&'a S, usize),
    /// From nowhere: it is all missing.
    Nowhere(Missing),
}

impl<'a, S: Store> Source<'a, S> {
    /// A store, and as much as an answer holds.
    pub(super) fn of(store: &'a S) -> Self {
        Self::Store(store, BYTES_MAX)
    }

    fn previous(&mut self, located: Vec<Located>) -> Previous {
        match self {
            Self::Store(store, left) => {
                let fetched = located.into_iter().map(|located| located.fetch(*store));
                Previous::collect(fetched, left)
            }
            Self::Nowhere(missing) => Previous::unavailable(located.len(), missing.clone()),
        }
    }

    fn read(&mut self, outcome: &OperationOutcome) -> Result<RangeResult, Missing> {
        let OperationOutcome::Read(plan) = outcome else {
            unreachable!("a read has the result of one, and not {outcome:?}")
        };
        match (self, plan) {
            (_, None) => Err(Missing::Compacted),
            (Self::Nowhere(missing), _) => Err(missing.clone()),
            (Self::Store(_, 0), _) => Err(Missing::TooLarge),
            (Self::Store(store, left), Some(plan)) => {
                let result =
                    plan.clone().fetch_within(*store, *left).map_err(|error| match error {
                        FetchError::Vanished(_) => Missing::Compacted,
                        FetchError::Store(StoreError(error)) => {
                            tracing::error!("the store can not be read: {error}");
                            Missing::StoreFailed(error)
                        }
                    })?;
                *left = left.saturating_sub(bytes(&result.key_values));
                Ok(result)
            }
        }
    }
}

fn bytes(list: &[kvcore::KeyValue]) -> usize {
    list.iter().map(|item| item.key.len() + item.value.len()).sum()
}

/// Whether all that a transaction found is in memory, and little.
pub(super) fn is_at_hand(outcome: &TransactionOutcome) -> bool {
    let in_memory = |located: &Located| !matches!(located, Located::Stored(_));
    outcome.results.iter().all(|result| match result {
        OperationOutcome::Put(stored) => stored.previous.iter().all(in_memory),
        OperationOutcome::Deleted(deleted) => {
            deleted.previous.len() <= INLINE_ROWS_MAX && deleted.previous.iter().all(in_memory)
        }
        OperationOutcome::Read(plan) => {
            plan.as_ref().is_none_or(|plan| plan.rows() <= INLINE_ROWS_MAX && plan.is_resident())
        }
        OperationOutcome::Transaction(within) => is_at_hand(within),
        _ => false,
    })
}

/// What a transaction did. Its outcome is that of this very transaction.
pub(super) fn tell<S: Store>(
    transaction: &Transaction,
    outcome: &TransactionOutcome,
    source: &mut Source<'_, S>,
) -> ToldTransaction {
    let succeeded = outcome.succeeded;
    let branch = if succeeded { &transaction.success } else { &transaction.failure };
    let both = branch.iter().zip(&outcome.results);
    let results = both.map(|(operation, outcome)| tell_operation(operation, outcome, source));
    ToldTransaction { succeeded, results: results.collect() }
}

/// What a transaction did that only reads.
pub(super) fn tell_read(transaction: &Transaction, read: ReadTransaction) -> ToldTransaction {
    let ReadTransaction { succeeded, results } = read;
    let branch = if succeeded { &transaction.success } else { &transaction.failure };
    let results = branch.iter().zip(results).map(|(operation, read)| match (operation, read) {
        (Operation::Read(range), ReadOperation::Range { result, .. }) => Told::read(range, result),
        (Operation::Transaction(within), ReadOperation::Transaction(read)) => {
            Told::Transaction(tell_read(within, read))
        }
        (operation, read) => unreachable!("{operation:?} has the result {read:?}"),
    });
    ToldTransaction { succeeded, results: results.collect() }
}

fn tell_operation<S: Store>(
    operation: &Operation,
    outcome: &OperationOutcome,
    source: &mut Source<'_, S>,
) -> Told {
    match (operation, outcome) {
        (Operation::Put(put), OperationOutcome::Put(stored)) => {
            let located: Vec<_> = stored.previous.iter().cloned().collect();
            let ttl_millis = match put.lease {
                PutLease::Grant { ttl_millis } => Some(ttl_millis),
                _ => None,
            };
            let previous = put.return_previous.then(|| source.previous(located));
            Told::Put { stored: stored.clone(), ttl_millis, previous }
        }
        (Operation::Delete(delete), OperationOutcome::Deleted(deleted)) => Told::Deleted {
            count: deleted.count,
            is_one: matches!(delete.target, Keys::One(_)),
            previous: delete.return_previous.then(|| source.previous(deleted.previous.clone())),
        },
        (Operation::Read(range), read) => Told::read(range, source.read(read)),
        (Operation::Transaction(within), OperationOutcome::Transaction(outcome)) => {
            Told::Transaction(tell(within, outcome, source))
        }
        (operation, outcome) => unreachable!("{operation:?} has the result {outcome:?}"),
    }
}

impl Told {
    /// What was read.
    fn read(range: &Range, result: Result<RangeResult, Missing>) -> Self {
        let shown = if range.keys_only { Shown::WithoutValue } else { Shown::Whole };
        Self::Read { is_one: matches!(range.keys, Keys::One(_)), shown, result }
    }

    fn to_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { stored, ttl_millis, previous } => {
                out.extend_from_slice(b"{\"put\":{");
                put::members(out, stored, *ttl_millis);
                if let Some(previous) = previous {
                    previous.one_member(out);
                }
            }
            Self::Deleted { count, is_one, previous } => {
                out.extend_from_slice(b"{\"delete\":{\"deleted\":");
                json::number(out, *count);
                match previous {
                    Some(previous) if *is_one => previous.one_member(out),
                    Some(previous) => previous.many_member(out),
                    None => {}
                }
            }
            Self::Read { is_one, shown, result } => {
                out.extend_from_slice(b"{\"get\":{");
                match result {
                    Ok(result) if *is_one => {
                        out.extend_from_slice(b"\"kv\":");
                        json::key_value_or_null(out, result.key_values.first(), *shown);
                    }
                    Ok(result) => {
                        out.extend_from_slice(b"\"kvs\":");
                        json::key_values(out, &result.key_values, *shown);
                        json::number_field(out, "count", result.count);
                        json::field(out, "more");
                        json::boolean(out, result.more);
                    }
                    Err(missing) => unavailable(out, missing),
                }
            }
            Self::Transaction(within) => {
                out.extend_from_slice(b"{\"txn\":{");
                within.members(out);
            }
        }
        out.extend_from_slice(b"}}");
    }
}

/// Appends why a read can not be told.
fn unavailable(out: &mut Vec<u8>, missing: &Missing) {
    let cause = match missing {
        Missing::Compacted => "its revision was compacted in the meantime".to_owned(),
        other => other.cause(),
    };
    out.extend_from_slice(b"\"unavailable\":{\"reason\":");
    json::string(out, missing.reason());
    json::field(out, "message");
    json::string(
        out,
        &format!("the transaction was done, but what it read can not be told: {cause}"),
    );
    out.push(b'}');
}

impl ToldTransaction {
    /// Appends it, without the braces.
    pub(super) fn members(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"succeeded\":");
        json::boolean(out, self.succeeded);
        json::field(out, "results");
        out.push(b'[');
        for (place, result) in self.results.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            result.to_json(out);
        }
        out.push(b']');
    }

    /// The same without anything that was read or replaced.
    pub(super) fn without_values(self) -> Self {
        let without = |told: Told| match told {
            Told::Put { stored, ttl_millis, previous } => {
                let previous = previous.map(Previous::without_values);
                Told::Put { stored, ttl_millis, previous }
            }
            Told::Deleted { count, is_one, previous } => {
                let previous = previous.map(Previous::without_values);
                Told::Deleted { count, is_one, previous }
            }
            Told::Read { is_one, shown, .. } => {
                Told::Read { is_one, shown, result: Err(Missing::Overloaded) }
            }
            Told::Transaction(within) => Told::Transaction(within.without_values()),
        };
        let results = self.results.into_iter().map(without).collect();
        Self { succeeded: self.succeeded, results }
    }
}
