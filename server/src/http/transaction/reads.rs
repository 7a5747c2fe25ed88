//! A transaction that only reads, carried out here and now: at one revision, which stays readable however
//! long it takes, without holding up what is applied meanwhile.

use std::sync::Arc;

use kvcore::{
    Compare, CompareTarget, FetchError, Keys, Operation, Range, RangePlan, RangePlanner, ReadError,
    Revision, RowId, Store, TRANSACTION_KEYS_MAX, Transaction,
};

use super::super::App;
use super::super::error::ApiError;
use super::super::previous::{BYTES_MAX, Missing};
use super::super::read::{self, MemoryOnly};
use super::super::write;
use super::told::{Told, ToldTransaction};

/// The most keys to look at under one hold of the machine's lock.
const STEP_KEYS_MAX: usize = 2048;
/// So many keys are read where they are asked for, if they are in memory.
const INLINE_KEYS_MAX: usize = 32;

impl App {
    /// Carries a transaction out that only reads, as of this node's revision, which is returned.
    pub(super) async fn carry_out_reads(
        self: &Arc<Self>,
        transaction: Transaction,
    ) -> Result<(ToldTransaction, Revision), ApiError> {
        if is_small(&transaction)
            && let Ok(told) = self.try_reads(&transaction, &MemoryOnly)?
        {
            return Ok(told);
        }
        self.off_thread(move |app| {
            // Another store each time: an installed snapshot brings one that has what is planned then.
            read::persist(|| app.try_reads(&transaction, &*app.handle.store()))
        })
        .await?
    }

    /// The outer error is final; with the inner one it is worth trying again.
    fn try_reads(
        &self,
        transaction: &Transaction,
        store: &impl Store,
    ) -> Result<Result<(ToldTransaction, Revision), FetchError>, ApiError> {
        let at = self.handle.machine().read().expect("no holder of the machine panics").revision();
        let (compared, read) = (TRANSACTION_KEYS_MAX, TRANSACTION_KEYS_MAX);
        let mut reader = Reader { app: self, store, at, compared, read, bytes: BYTES_MAX };
        match reader.transaction(transaction) {
            Ok(told) => Ok(Ok((told, at))),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Fetch(error)) => Ok(Err(error)),
        }
    }
}

/// Whether there is nothing in a transaction, nor in those within, that could change the store.
pub(super) fn only_reads(transaction: &Transaction) -> bool {
    let mut rest = vec![transaction];
    while let Some(transaction) = rest.pop() {
        for operation in transaction.success.iter().chain(&transaction.failure) {
            match operation {
                Operation::Read(_) => {}
                Operation::Transaction(within) => rest.push(within),
                _ => return false,
            }
        }
    }
    true
}

/// Whether it is about a few single keys.
fn is_small(transaction: &Transaction) -> bool {
    let Transaction { compares, success, failure } = transaction;
    let is_one = |operation: &Operation| match operation {
        Operation::Read(range) => matches!(range.keys, Keys::One(_)),
        _ => false,
    };
    compares.len() + success.len() + failure.len() <= INLINE_KEYS_MAX
        && compares.iter().all(|compare| matches!(compare.keys, Keys::One(_)))
        && success.iter().chain(failure).all(is_one)
}

/// Why a transaction is not read to its end.
enum Stop {
    Refused(ApiError),
    Fetch(FetchError),
}

impl From<FetchError> for Stop {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

/// What a transaction may still look at.
struct Reader<'a, S> {
    app: &'a App,
    store: &'a S,
    at: Revision,
    /// How many more keys may be compared.
    compared: usize,
    /// How many more may be read.
    read: usize,
    /// How many more bytes of keys and values the answer may have.
    bytes: usize,
}

impl<S: Store> Reader<'_, S> {
    fn transaction(&mut self, transaction: &Transaction) -> Result<ToldTransaction, Stop> {
        let mut succeeded = true;
        for compare in &transaction.compares {
            // All are looked at, so that the limits do not depend on what holds.
            succeeded &= self.holds(compare)?;
        }
        let branch = if succeeded { &transaction.success } else { &transaction.failure };
        let mut results = Vec::with_capacity(branch.len());
        for operation in branch {
            results.push(match operation {
                Operation::Read(range) => self.range(range)?,
                Operation::Transaction(within) => Told::Transaction(self.transaction(within)?),
                _ => unreachable!("only what changes nothing is read outside of the log"),
            });
        }
        Ok(ToldTransaction { succeeded, results })
    }

    fn holds(&mut self, compare: &Compare) -> Result<bool, Stop> {
        let mut range = Range {
            at: Some(self.at),
            limit: Some(STEP_KEYS_MAX),
            keys_only: !matches!(compare.target, CompareTarget::Value(_)),
            // Nobody asks how many there are.
            count: Some(0),
            ..Range::of(compare.keys.clone())
        };
        let (mut holds, mut is_empty) = (true, true);
        loop {
            let page = self.plan(range.clone(), false)?.fetch_within(self.store, BYTES_MAX)?;
            let left = self.compared.checked_sub(page.key_values.len());
            self.compared = left.ok_or_else(too_large)?;
            is_empty &= page.key_values.is_empty();
            holds = holds && page.key_values.iter().all(|found| compare.holds(Some(found)));
            match page.next {
                Some(next) => range.cursor = Some(next),
                None => break,
            }
        }
        Ok(if is_empty { compare.holds(None) } else { holds })
    }

    fn range(&mut self, range: &Range) -> Result<Told, Stop> {
        let at = range.at.unwrap_or(self.at);
        if at > self.at {
            let (requested, current) = (at, self.at);
            return Err(Stop::Refused(ReadError::Future { requested, current }.into()));
        }
        let limit = range.limit.unwrap_or(usize::MAX).min(TRANSACTION_KEYS_MAX + 1);
        let planned = Range { at: Some(at), limit: Some(limit), ..range.clone() };
        let plan = self.plan(planned, range.at.is_some())?;
        if self.bytes == 0 {
            return Ok(Told::read(range, Err(Missing::TooLarge)));
        }
        let result = plan.fetch_within(self.store, self.bytes)?;
        if !matches!(range.keys, Keys::One(_)) {
            let count = usize::try_from(result.count).unwrap_or(usize::MAX);
            self.read = self.read.checked_sub(count).ok_or_else(too_large)?;
        }
        let bytes = result.key_values.iter().map(|found| found.key.len() + found.value.len());
        self.bytes = self.bytes.saturating_sub(bytes.sum());
        Ok(Told::read(range, Ok(result)))
    }

    /// Plans a range. That its revision is compacted is final only if it was asked for.
    fn plan(&self, range: Range, is_asked_for: bool) -> Result<RangePlan, Stop> {
        let mut planner = RangePlanner::new(range);
        while !planner.is_done() {
            let machine =
                self.app.handle.machine().read().expect("no holder of the machine panics");
            match machine.plan_range_step(&mut planner, STEP_KEYS_MAX) {
                Ok(()) => {}
                Err(ReadError::Compacted { .. }) if !is_asked_for => {
                    let gone = RowId { revision: self.at, place: 0 };
                    return Err(Stop::Fetch(FetchError::Vanished(gone)));
                }
                Err(error) => return Err(Stop::Refused(error.into())),
            }
            drop(machine);
            planner.fetch_unsorted(self.store, BYTES_MAX)?;
        }
        Ok(planner.finish())
    }
}

fn too_large() -> Stop {
    Stop::Refused(write::refused(kvcore::Outcome::TransactionTooLarge))
}
