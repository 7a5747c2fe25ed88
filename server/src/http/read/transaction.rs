//! A transaction that only reads, carried out here and now: at one revision, which stays readable however
//! long it takes, without holding up what is applied meanwhile.

use std::sync::Arc;

use kvcore::{
    Compare, CompareTarget, FetchError, Keys, Operation, Range, RangeResult, ReadError, Revision,
    RowId, Store, TRANSACTION_KEYS_MAX, Transaction,
};

use super::super::App;
use super::super::error::ApiError;
use super::super::previous::{BYTES_MAX, Missing};
use super::super::write;
use super::{MemoryOnly, STEP_KEYS_MAX, persist};

/// So many comparisons and reads of single keys are carried out where they are asked for, if all of it is in
/// memory.
const INLINE_OPERATIONS_MAX: usize = 32;

/// What a transaction read.
#[derive(Debug)]
pub(in crate::http) struct ReadTransaction {
    /// Whether all comparisons held.
    pub(in crate::http) succeeded: bool,
    /// What each operation of the branch that was taken found.
    pub(in crate::http) results: Vec<ReadOperation>,
}

/// What an operation found.
#[derive(Debug)]
pub(in crate::http) enum ReadOperation {
    /// Keys, as far as an answer holds them.
    Range {
        /// The keys; or why there are none.
        result: Result<RangeResult, Missing>,
        /// Whether some that are asked for are left out, because the answer would be too large.
        is_cut: bool,
    },
    /// A transaction within.
    Transaction(ReadTransaction),
}

impl App {
    /// Carries a transaction out that only reads, those within included, as of this node's revision, which
    /// is returned.
    ///
    /// # Panics
    /// If it does more than read: [`Transaction::only_reads`].
    pub(in crate::http) async fn read_transaction(
        self: &Arc<Self>,
        transaction: &Arc<Transaction>,
    ) -> Result<(ReadTransaction, Revision), ApiError> {
        assert!(transaction.only_reads(), "what changes the store goes through the log");
        self.handle.metrics().ranges.inc();
        if is_small(transaction)
            && let Ok(read) = self.try_transaction(transaction, &MemoryOnly)?
        {
            return Ok(read);
        }
        let transaction = Arc::clone(transaction);
        self.off_thread(move |app| {
            // Another store each time: an installed snapshot brings one that has what is planned then.
            persist(|| app.try_transaction(&transaction, &*app.handle.store()))
        })
        .await?
    }

    /// The outer error is final; with the inner one it is worth trying again.
    fn try_transaction(
        &self,
        transaction: &Transaction,
        store: &impl Store,
    ) -> Result<Result<(ReadTransaction, Revision), FetchError>, ApiError> {
        let at = self.handle.machine().read().expect("no holder of the machine panics").revision();
        let (compared, read) = (TRANSACTION_KEYS_MAX, TRANSACTION_KEYS_MAX);
        let mut reader = Reader { app: self, store, at, compared, read, bytes: BYTES_MAX };
        match reader.transaction(transaction) {
            Ok(read) => Ok(Ok((read, at))),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Fetch(error)) => Ok(Err(error)),
        }
    }
}

/// Whether it is about a few single keys.
fn is_small(transaction: &Transaction) -> bool {
    let Transaction { compares, success, failure } = transaction;
    let is_one = |operation: &Operation| match operation {
        Operation::Read(range) => matches!(range.keys, Keys::One(_)),
        _ => false,
    };
    compares.len() + success.len() + failure.len() <= INLINE_OPERATIONS_MAX
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
    fn transaction(&mut self, transaction: &Transaction) -> Result<ReadTransaction, Stop> {
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
                // Nothing is changed, so it makes no difference that its branch is decided only now.
                Operation::Transaction(within) => {
                    ReadOperation::Transaction(self.transaction(within)?)
                }
                _ => unreachable!("only what changes nothing is read outside of the log"),
            });
        }
        Ok(ReadTransaction { succeeded, results })
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
            let page = self.fetch(&range, BYTES_MAX, false)?;
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

    fn range(&mut self, range: &Range) -> Result<ReadOperation, Stop> {
        let at = range.at.unwrap_or(self.at);
        if at > self.at {
            let (requested, current) = (at, self.at);
            return Err(Stop::Refused(ReadError::Future { requested, current }.into()));
        }
        let limit = range.limit.unwrap_or(usize::MAX).min(TRANSACTION_KEYS_MAX + 1);
        // Where the answer is full already, it is still to be known whether anything is left out.
        let is_full = self.bytes == 0 && !range.count_only;
        let planned = Range {
            at: Some(at),
            limit: Some(limit),
            count_only: range.count_only || is_full,
            ..range.clone()
        };
        let result = self.fetch(&planned, self.bytes, range.at.is_some())?;
        if !matches!(range.keys, Keys::One(_)) {
            let count = usize::try_from(result.count).unwrap_or(usize::MAX);
            self.read = self.read.checked_sub(count).ok_or_else(too_large)?;
        }
        if is_full && result.count > 0 {
            return Ok(ReadOperation::Range { result: Err(Missing::TooLarge), is_cut: true });
        }
        let bytes = result.key_values.iter().map(|found| found.key.len() + found.value.len());
        self.bytes = self.bytes.saturating_sub(bytes.sum());
        let is_cut = result.more && result.key_values.len() < limit;
        Ok(ReadOperation::Range { result: Ok(result), is_cut })
    }

    /// Reads a range. That its revision is compacted is final only if it was asked for.
    fn fetch(
        &self,
        range: &Range,
        bytes_max: usize,
        is_asked_for: bool,
    ) -> Result<RangeResult, Stop> {
        match self.app.try_range(range, self.store, bytes_max) {
            Ok(read) => Ok(read?.0),
            Err(ReadError::Compacted { .. }) if !is_asked_for => {
                let gone = RowId { revision: self.at, place: 0 };
                Err(Stop::Fetch(FetchError::Vanished(gone)))
            }
            Err(error) => Err(Stop::Refused(error.into())),
        }
    }
}

fn too_large() -> Stop {
    Stop::Refused(write::refused(kvcore::Outcome::TransactionTooLarge))
}
