//! What transactions do to the model.

use consensus::Position;
use kvcore::{
    Command, Compare, CompareTarget, KeyValue, LeaseId, Operation, Range, Revision, Transaction,
};

use super::{Expected, Model, OperationTold, TransactionTold, key_value};
use crate::history::Query;

/// A transaction with the branch that is taken.
struct Taken<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Plain(&'a Operation),
    Within(Taken<'a>),
}

impl Model {
    /// Whether a command could write a key twice. Clients write in the outermost transaction alone when they
    /// write a key twice.
    pub(super) fn is_invalid(&self, command: &Command) -> bool {
        let Command::Transaction(transaction) = command else { return false };
        let twice = |operations: &[Operation]| {
            operations.iter().enumerate().any(|(at, one)| {
                operations[..at].iter().any(|other| clash(one, other) || clash(other, one))
            })
        };
        twice(&transaction.success) || twice(&transaction.failure)
    }

    pub(super) fn transact(&mut self, position: Position, transaction: &Transaction) -> Expected {
        let taken = self.take(transaction);
        if let Some(refusal) = self.refuses_taken(&taken) {
            return refusal;
        }
        let now = Revision(self.revision.0 + 1);
        Expected::Transaction(self.do_taken(position, now, taken))
    }

    fn take<'a>(&self, transaction: &'a Transaction) -> Taken<'a> {
        let succeeded = transaction.compares.iter().all(|compare| self.compares(compare));
        let branch = if succeeded { &transaction.success } else { &transaction.failure };
        let steps = branch.iter().map(|operation| match operation {
            Operation::Transaction(within) => Step::Within(self.take(within)),
            plain => Step::Plain(plain),
        });
        Taken { succeeded, steps: steps.collect() }
    }

    fn compares(&self, compare: &Compare) -> bool {
        let found = self.range(&compare.keys, self.revision);
        let found: Vec<KeyValue> = found.map(|(key, version)| key_value(key, version)).collect();
        compare_holds(compare, &found)
    }

    fn refuses_taken(&self, taken: &Taken<'_>) -> Option<Expected> {
        taken.steps.iter().find_map(|step| match step {
            Step::Plain(Operation::Put(put)) => self.refuses(put),
            Step::Plain(Operation::Read(range)) => match range.at {
                Some(at) if at > self.revision => Some(Expected::RevisionInFuture),
                Some(at) if at < self.compacted => Some(Expected::RevisionCompacted),
                _ => None,
            },
            Step::Plain(_) => None,
            Step::Within(within) => self.refuses_taken(within),
        })
    }

    fn do_taken(&mut self, position: Position, now: Revision, taken: Taken<'_>) -> TransactionTold {
        let results = taken.steps.into_iter().map(|step| match step {
            Step::Plain(Operation::Put(put)) => {
                let (created, granted) = self.put(position, now, put);
                OperationTold::Put { created, granted }
            }
            Step::Plain(Operation::Delete(delete)) => {
                OperationTold::Deleted { count: self.delete(now, delete) }
            }
            Step::Plain(Operation::Read(range)) => OperationTold::Read(Some(self.read(range))),
            Step::Plain(other) => unreachable!("no client asks for {other:?}"),
            Step::Within(within) => {
                OperationTold::Transaction(self.do_taken(position, now, within))
            }
        });
        TransactionTold { succeeded: taken.succeeded, results: results.collect() }
    }

    fn read(&self, range: &Range) -> Vec<KeyValue> {
        let query = Query { range: range.clone(), bytes_max: None };
        self.answer(&query, range.at.unwrap_or(self.revision)).key_values
    }
}

/// Whether a comparison holds, given the keys that it is about.
pub(crate) fn compare_holds(compare: &Compare, found: &[KeyValue]) -> bool {
    let holds = |found: Option<&KeyValue>| {
        let signed = |number: fn(&KeyValue) -> u64| found.map_or(0, number).cast_signed();
        let order = match &compare.target {
            CompareTarget::Version(given) => signed(|it| it.version).cmp(given),
            CompareTarget::CreateRevision(given) => signed(|it| it.create_revision.0).cmp(given),
            CompareTarget::ModRevision(given) => signed(|it| it.mod_revision.0).cmp(given),
            CompareTarget::Lease(given) => {
                LeaseId::number(found.and_then(|it| it.lease)).cmp(given)
            }
            CompareTarget::Value(given) => match found {
                Some(found) => found.value.cmp(given),
                None => return false,
            },
        };
        compare.operator.allows(order)
    };
    if found.is_empty() { holds(None) } else { found.iter().all(|it| holds(Some(it))) }
}

/// Whether one of two operations stores what the other stores or deletes.
fn clash(one: &Operation, other: &Operation) -> bool {
    match (one, other) {
        (Operation::Put(one), Operation::Put(other)) => one.key == other.key,
        (Operation::Put(put), Operation::Delete(delete)) => delete.target.contains(&put.key),
        _ => false,
    }
}
