//! Transactions: which branch is taken, whether all of it can be done, and doing it.
//!
//! Everything that can fail is looked at first, in the state before the transaction: which branches are
//! taken, those within included; whether leases, keys and revisions are there; whether it is within its
//! limits. What is done then can not fail half way.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use consensus::{Mutant, mutant};

use super::put::Attached;
use super::rows::Existing;
use crate::Keys;
use crate::command::{
    Compare, CompareOperator, CompareTarget, Delete, Operation, Put, PutLease, Transaction,
};
use crate::lease::LeaseId;
use crate::machine::Machine;
use crate::outcome::{
    DELETED_BYTES_MAX, DELETED_KEYS_MAX, DeletionLimit, OperationOutcome, Outcome,
    TRANSACTION_KEYS_MAX, TransactionOutcome,
};
use crate::range::{Range, RangePlanner};
use crate::read::ReadError;
use crate::store::{Store, StoreError};

/// A transaction of which it is known what of it is done.
struct Taken {
    succeeded: bool,
    operations: Vec<Step>,
}

enum Step {
    Put(Put),
    Delete(Delete),
    Read(Range),
    Transaction(Taken),
}

/// How many keys may still be looked at, and what is to be written.
struct Budget {
    compared: usize,
    read: usize,
    deleted: usize,
    deleted_bytes: usize,
    granted: usize,
    attached: BTreeMap<LeaseId, Attached>,
}

/// Why a transaction is not carried out.
enum Refusal {
    Outcome(Box<Outcome>),
    Store(StoreError),
}

impl From<Outcome> for Refusal {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(Box::new(outcome))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<S: Store> Machine<S> {
    pub(super) fn transact(&mut self, transaction: Transaction) -> Result<Outcome, StoreError> {
        match self.decide(transaction) {
            Ok(taken) => Ok(Outcome::Transaction(Box::new(self.carry_out_taken(taken)?))),
            Err(Refusal::Outcome(outcome)) => Ok(*outcome),
            Err(Refusal::Store(error)) => Err(error),
        }
    }

    /// Decides what of a transaction is done, and whether all of it can be.
    fn decide(&self, transaction: Transaction) -> Result<Taken, Refusal> {
        let mut budget = Budget {
            compared: TRANSACTION_KEYS_MAX,
            read: TRANSACTION_KEYS_MAX,
            deleted: DELETED_KEYS_MAX,
            deleted_bytes: DELETED_BYTES_MAX,
            granted: 0,
            attached: BTreeMap::new(),
        };
        let taken = self.take(transaction, &mut budget)?;
        self.check_taken(&taken, &mut budget)?;
        Ok(taken)
    }

    /// Decides which branches are taken.
    fn take(&self, transaction: Transaction, budget: &mut Budget) -> Result<Taken, Refusal> {
        let mut succeeded = true;
        for compare in &transaction.compares {
            // All are looked at, so that the limits do not depend on what holds.
            succeeded &= self.compares(compare, budget)?;
        }
        let branch = if succeeded { transaction.success } else { transaction.failure };
        let steps = branch.into_iter().map(|operation| {
            Ok(match operation {
                Operation::Put(put) => Step::Put(put),
                Operation::Delete(delete) => Step::Delete(delete),
                Operation::Read(range) => Step::Read(*range),
                Operation::Transaction(within) => Step::Transaction(self.take(*within, budget)?),
            })
        });
        Ok(Taken { succeeded, operations: steps.collect::<Result<_, Refusal>>()? })
    }

    /// Whether a comparison holds.
    fn compares(&self, compare: &Compare, budget: &mut Budget) -> Result<bool, Refusal> {
        let with_current = |id| self.index.entry(id).current().map(|current| (id, current));
        let (mut holds, mut is_empty) = (true, true);
        for found in self.index.span(&compare.keys.span()).filter_map(|(_, id)| with_current(id)) {
            is_empty = false;
            budget.compared = budget.compared.checked_sub(1).ok_or(Outcome::TransactionTooLarge)?;
            holds = holds && self.compares_existing(compare, found)?;
        }
        if is_empty {
            let order = |number: &i64| 0.cmp(number);
            return Ok(match &compare.target {
                CompareTarget::Version(number)
                | CompareTarget::CreateRevision(number)
                | CompareTarget::ModRevision(number)
                | CompareTarget::Lease(number) => compare.operator.allows(order(number)),
                CompareTarget::Value(_) => false,
            });
        }
        Ok(holds)
    }

    fn compares_existing(
        &self,
        compare: &Compare,
        (key, current): Existing,
    ) -> Result<bool, StoreError> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let order = match &compare.target {
            CompareTarget::Version(number) => signed(current.version).cmp(number),
            CompareTarget::CreateRevision(number) => signed(current.create_revision.0).cmp(number),
            CompareTarget::ModRevision(number) => signed(current.id.revision.0).cmp(number),
            CompareTarget::Lease(number) => LeaseId::number(self.leases.of_key(key)).cmp(number),
            CompareTarget::Value(value) => match compare.operator {
                CompareOperator::Equal | CompareOperator::NotEqual => {
                    // Nearly always decided by the hash alone.
                    match self.is_value((key, current), value)? {
                        true => Ordering::Equal,
                        false => Ordering::Less,
                    }
                }
                CompareOperator::Less | CompareOperator::Greater => {
                    self.value_of(current.id)?.cmp(value)
                }
            },
        };
        Ok(compare.operator.allows(order))
    }

    /// Whether what is taken can be done, all of it.
    fn check_taken(&self, taken: &Taken, budget: &mut Budget) -> Result<(), Refusal> {
        for step in &taken.operations {
            match step {
                Step::Put(put) => self.check_put(put, budget)?,
                Step::Delete(delete) => self.check_delete(delete, budget)?,
                Step::Read(range) => self.check_read(range, budget)?,
                Step::Transaction(within) => self.check_taken(within, budget)?,
            }
        }
        Ok(())
    }

    fn check_put(&self, put: &Put, budget: &mut Budget) -> Result<(), Refusal> {
        let attached = match put.lease {
            PutLease::Attach(lease) => {
                let attached = budget.attached.entry(lease).or_default();
                attached.keys += 1;
                attached.key_bytes += put.key.len();
                *attached
            }
            PutLease::Grant { .. } => {
                budget.granted += 1;
                Attached { keys: budget.granted, key_bytes: 0 }
            }
            PutLease::None | PutLease::Keep => Attached::default(),
        };
        self.refuses_put(put, attached).map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    fn check_delete(&self, delete: &Delete, budget: &mut Budget) -> Result<(), Refusal> {
        let doomed = self.doomed(&delete.target).map_err(Outcome::DeletionTooLarge)?;
        let too_large = |limit| Refusal::from(Outcome::DeletionTooLarge(limit));
        let rest = budget.deleted.checked_sub(doomed.count());
        budget.deleted = rest.ok_or_else(|| too_large(DeletionLimit::Keys))?;
        let rest = budget.deleted_bytes.checked_sub(doomed.bytes);
        budget.deleted_bytes = rest.ok_or_else(|| too_large(DeletionLimit::Bytes))?;
        Ok(())
    }

    /// Whether a revision can be read, and how many keys are there then. What the transaction itself stores
    /// is little and not counted.
    fn check_read(&self, range: &Range, budget: &mut Budget) -> Result<(), Refusal> {
        let at = self.readable(range.at).map_err(|error| match error {
            ReadError::Compacted { requested, compacted } => {
                Refusal::from(Outcome::RevisionCompacted { requested, compacted })
            }
            ReadError::Future { requested, current } => {
                Outcome::RevisionInFuture { requested, current }.into()
            }
            ReadError::Store(error) => error.into(),
        })?;
        if let Keys::One(_) = range.keys {
            return Ok(());
        }
        for (_, key) in self.index.span(&range.keys.span()) {
            if self.index.entry(key).at(at).is_some() {
                budget.read = budget.read.checked_sub(1).ok_or(Outcome::TransactionTooLarge)?;
            }
        }
        Ok(())
    }

    fn carry_out_taken(&mut self, taken: Taken) -> Result<TransactionOutcome, StoreError> {
        let mut results = Vec::with_capacity(taken.operations.len());
        for step in taken.operations {
            if mutant::on(Mutant::TransactionBitByBit) {
                self.under_way.rows = 0;
            }
            results.push(match step {
                Step::Put(put) => {
                    let found = self.index.find(&put.key);
                    OperationOutcome::Put(self.store_value(put, found)?)
                }
                Step::Delete(delete) => {
                    let doomed = self.doomed(&delete.target);
                    let doomed = doomed.expect("the transaction is within its limits");
                    let deleted = self.delete_doomed(doomed, delete.return_previous);
                    OperationOutcome::Deleted(deleted)
                }
                Step::Read(range) => {
                    let mut planner = RangePlanner::new(range);
                    if mutant::on(Mutant::TransactionReadsBefore) && self.under_way.rows > 0 {
                        planner.before_place = Some(0);
                    }
                    self.read_within(planner)
                }
                Step::Transaction(within) => {
                    OperationOutcome::Transaction(self.carry_out_taken(within)?)
                }
            });
        }
        Ok(TransactionOutcome { succeeded: taken.succeeded, results })
    }

    fn read_within(&self, mut planner: RangePlanner) -> OperationOutcome {
        let planned = self.plan_range_step(&mut planner, usize::MAX);
        planned.expect("a transaction compacts nothing, and its revisions were looked at");
        OperationOutcome::Read(Some(planner.finish()))
    }
}
