//! What a transaction did, as its client is told: what it read and replaced is fetched, up to a bound for
//! all of it together. What can not be told is said to be left out, because the transaction has happened
//! by then; one that only reads is refused instead.

use kvcore::store::StoreError;
use kvcore::{
    DeleteOutcome, FetchError, Located, OperationOutcome, PutOutcome, RangePlan, RangeResult,
    Revision, Store, TransactionOutcome,
};

use super::pages::Selection;
use super::transaction::{Selections, Told};
use super::write::key_values;
use crate::http::previous::{self, Missing, Previous};
use crate::http::read::transaction::{ReadOperation, ReadTransaction};
use crate::http::v3::message::{
    DeleteRangeResponse, KeyValue, PutResponse, RangeResponse, ResponseHeader, ResponseOp,
    TxnResponse, Unavailable, signed,
};

/// Whether it takes no store to tell what a transaction did, and no more than so many keys.
pub(super) fn is_resident(outcome: &TransactionOutcome, keys_max: usize) -> bool {
    let mut left = Some(keys_max);
    count_resident(outcome, &mut left);
    left.is_some()
}

fn count_resident(outcome: &TransactionOutcome, left: &mut Option<usize>) {
    let resident = |located: &Located| !matches!(located, Located::Stored(_));
    for result in &outcome.results {
        let (keys, resident) = match result {
            OperationOutcome::Put(put) => (1, put.previous.iter().all(resident)),
            OperationOutcome::Deleted(deleted) => {
                (deleted.previous.len(), deleted.previous.iter().all(resident))
            }
            OperationOutcome::Read(Some(plan)) => (plan.rows(), plan.is_resident()),
            OperationOutcome::Transaction(within) => {
                count_resident(within, left);
                continue;
            }
            _ => continue,
        };
        *left = left.and_then(|left| left.checked_sub(keys)).filter(|_| resident);
    }
}

/// Tells what a transaction did that made this revision, or none and left it.
pub(super) fn tell<S: Store>(
    outcome: TransactionOutcome,
    selections: &Selections,
    revision: Revision,
    store: &S,
) -> TxnResponse {
    let changes = changes(&outcome);
    let before = if changes { Revision(revision.0 - 1) } else { revision };
    let mut teller = Teller { store, room: previous::BYTES_MAX, now: before, after: revision };
    teller.transaction(outcome, selections)
}

/// Tells what a transaction read at this revision that only reads; or why that can not be told.
pub(super) fn tell_read(
    read: ReadTransaction,
    selections: &Selections,
    revision: Revision,
) -> Result<TxnResponse, Missing> {
    let ReadTransaction { succeeded, results } = read;
    let told = if succeeded { &selections.success } else { &selections.failure };
    let operations = results.into_iter().zip(told).map(|(read, told)| {
        let mut response = ResponseOp::default();
        match (read, told) {
            (ReadOperation::Range { is_cut: true, .. }, _) => return Err(Missing::TooLarge),
            (ReadOperation::Range { result, .. }, Told::Range(selection)) => {
                response.response_range = Some(range_of(result?, *selection, revision));
            }
            (ReadOperation::Transaction(within), Told::Within(selections)) => {
                response.response_txn = Some(tell_read(within, selections, revision)?);
            }
            (read, told) => unreachable!("{told:?} is asked for, and not {read:?}"),
        }
        Ok(response)
    });
    let responses = operations.collect::<Result<_, _>>()?;
    Ok(TxnResponse { header: header_of(revision), succeeded, responses })
}

/// What is told of a range that was read whole.
fn range_of(read: RangeResult, mut selection: Selection, revision: Revision) -> RangeResponse {
    let RangeResult { mut key_values, count, more, .. } = read;
    let beyond_limit = selection.select(&mut key_values);
    RangeResponse {
        header: header_of(revision),
        more: if selection.is_bounded() { beyond_limit } else { more },
        count: signed(count),
        kvs: key_values.into_iter().map(KeyValue::from).collect(),
        kvs_unavailable: None,
    }
}

/// Headers within a transaction have the revision alone.
fn header_of(revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision: signed(revision.0), ..ResponseHeader::default() })
}

/// Whether it changed anything.
fn changes(outcome: &TransactionOutcome) -> bool {
    outcome.results.iter().any(|result| match result {
        OperationOutcome::Put(_) => true,
        OperationOutcome::Deleted(deleted) => deleted.count > 0,
        OperationOutcome::Transaction(within) => changes(within),
        _ => false,
    })
}

struct Teller<'a, S> {
    store: &'a S,
    /// The bytes of keys and values that may still be told.
    room: usize,
    /// The revision as the next operation finds it, and after the whole transaction.
    now: Revision,
    after: Revision,
}

impl<S: Store> Teller<'_, S> {
    fn header(&self) -> Option<ResponseHeader> {
        header_of(self.now)
    }

    fn transaction(&mut self, outcome: TransactionOutcome, selections: &Selections) -> TxnResponse {
        let TransactionOutcome { succeeded, results } = outcome;
        let told = if succeeded { &selections.success } else { &selections.failure };
        let results = results.into_iter().zip(told);
        let responses = results.map(|(result, told)| self.operation(result, told)).collect();
        TxnResponse { header: self.header(), succeeded, responses }
    }

    fn operation(&mut self, result: OperationOutcome, told: &Told) -> ResponseOp {
        let mut response = ResponseOp::default();
        match (result, told) {
            (OperationOutcome::Put(PutOutcome { previous, .. }), _) => {
                self.now = self.after;
                let previous = self.previous(previous.into_iter().collect());
                response.response_put = Some(PutResponse {
                    header: self.header(),
                    prev_kv: key_values(Some(&previous)).pop(),
                    prev_unavailable: Unavailable::of(&previous),
                });
            }
            (OperationOutcome::Deleted(DeleteOutcome { count, previous }), _) => {
                if count > 0 {
                    self.now = self.after;
                }
                let previous = self.previous(previous);
                response.response_delete_range = Some(DeleteRangeResponse {
                    header: self.header(),
                    deleted: signed(count),
                    prev_kvs: key_values(Some(&previous)),
                    prev_unavailable: Unavailable::of(&previous),
                });
            }
            (OperationOutcome::Read(plan), Told::Range(selection)) => {
                let plan = plan.expect("nothing is repeated without an idempotency key");
                response.response_range = Some(self.range(plan, *selection));
            }
            (OperationOutcome::Transaction(within), Told::Within(selections)) => {
                response.response_txn = Some(self.transaction(within, selections));
            }
            (result, told) => unreachable!("{told:?} is asked for, and not {result:?}"),
        }
        response
    }

    fn previous(&mut self, located: Vec<Located>) -> Previous {
        let store = self.store;
        let fetched = located.into_iter().map(|located| located.fetch(store));
        Previous::collect(fetched, &mut self.room)
    }

    fn range(&mut self, plan: RangePlan, selection: Selection) -> RangeResponse {
        let (at, count, wanted) = (self.now, plan.count(), plan.rows());
        let result = match self.room {
            0 if wanted > 0 => Err(Missing::TooLarge),
            room => plan.fetch_within(self.store, room).map_err(|error| match error {
                FetchError::Vanished(_) => Missing::Compacted,
                FetchError::Store(StoreError(error)) => {
                    tracing::error!("the store can not be read: {error}");
                    Missing::StoreFailed(error)
                }
            }),
        };
        let (read, why) = match result {
            Ok(read) => {
                let why = (wanted > read.key_values.len()).then_some(Missing::TooLarge);
                (read, why)
            }
            Err(why) => {
                let nothing =
                    RangeResult { key_values: Vec::new(), count, more: true, next: None, at };
                (nothing, Some(why))
            }
        };
        let found = &read.key_values;
        let bytes: usize = found.iter().map(|found| found.key.len() + found.value.len()).sum();
        self.room = self.room.saturating_sub(bytes);
        let left_out = wanted - found.len();
        let mut response = range_of(read, selection, self.now);
        if let Some(why) = why {
            let cause = why.cause();
            let message = format!(
                "the transaction was carried out, but not all that it read can be told: {cause}"
            );
            response.more = true;
            response.kvs_unavailable = Some(Unavailable::because(left_out, &why, message));
        }
        response
    }
}

/// The same without keys and values, for which there is no room just now.
pub(super) fn without_values(mut response: TxnResponse) -> TxnResponse {
    let none = |count: usize| {
        let why = Missing::Overloaded;
        (count > 0).then(|| Unavailable::because(count, &why, why.message()))
    };
    for told in &mut response.responses {
        if let Some(range) = &mut told.response_range {
            let left_out = none(std::mem::take(&mut range.kvs).len());
            range.more |= left_out.is_some();
            range.kvs_unavailable = left_out.or(range.kvs_unavailable.take());
        }
        if let Some(put) = &mut told.response_put {
            let left_out = none(usize::from(put.prev_kv.take().is_some()));
            put.prev_unavailable = left_out.or(put.prev_unavailable.take());
        }
        if let Some(delete) = &mut told.response_delete_range {
            let left_out = none(std::mem::take(&mut delete.prev_kvs).len());
            delete.prev_unavailable = left_out.or(delete.prev_unavailable.take());
        }
        if let Some(within) = told.response_txn.take() {
            told.response_txn = Some(without_values(within));
        }
    }
    response
}
