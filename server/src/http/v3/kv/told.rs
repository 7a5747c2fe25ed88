//! What a transaction did, as its client is told: what it read and replaced is fetched, up to a bound for
//! all of it together. What can not be told is said to be left out, because the transaction has happened
//! by then; for one that only reads, the caller makes a refusal of it.

use kvcore::store::StoreError;
use kvcore::{
    DeleteOutcome, FetchError, Located, OperationOutcome, PutOutcome, RangePlan, Revision, Store,
    TransactionOutcome,
};

use super::pages::Selection;
use super::transaction::{Selections, Told};
use super::write::key_values;
use crate::http::previous::{self, Missing, Previous};
use crate::http::v3::message::{
    DeleteRangeResponse, KeyValue, PutResponse, RangeResponse, ResponseHeader, ResponseOp,
    TxnResponse, Unavailable, signed,
};

/// What is told of a transaction.
pub(super) struct Telling {
    /// The message. Its header has the revision alone.
    pub(super) response: TxnResponse,
    /// Why the first of what is left out is.
    missing: Option<Missing>,
}

impl Telling {
    /// The message, if nothing is left out, or why something is.
    pub(super) fn complete(self) -> Result<TxnResponse, Missing> {
        match self.missing {
            None => Ok(self.response),
            Some(missing) => Err(missing),
        }
    }
}

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
) -> Telling {
    let changes = changes(&outcome);
    let before = if changes { Revision(revision.0 - 1) } else { revision };
    let mut teller =
        Teller { store, room: previous::BYTES_MAX, now: before, after: revision, missing: None };
    let response = teller.transaction(outcome, selections);
    Telling { response, missing: teller.missing }
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
    missing: Option<Missing>,
}

impl<S: Store> Teller<'_, S> {
    fn header(&self) -> Option<ResponseHeader> {
        let revision = signed(self.now.0);
        Some(ResponseHeader { revision, ..ResponseHeader::default() })
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
        let previous = Previous::collect(fetched, &mut self.room);
        if let Some((_, why)) = previous.missing() {
            self.missing.get_or_insert_with(|| why.clone());
        }
        previous
    }

    fn range(&mut self, plan: RangePlan, mut selection: Selection) -> RangeResponse {
        let header = self.header();
        let (count, wanted) = (plan.count(), plan.rows());
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
        let (mut found, mut more, cut) = match result {
            Ok(result) => {
                let cut = wanted > result.key_values.len();
                let why = cut.then_some(Missing::TooLarge);
                (result.key_values, result.more, why)
            }
            Err(why) => (Vec::new(), true, Some(why)),
        };
        let bytes: usize = found.iter().map(|found| found.key.len() + found.value.len()).sum();
        self.room = self.room.saturating_sub(bytes);
        let left_out = wanted - found.len();
        let beyond_limit = selection.select(&mut found);
        if selection.is_bounded() {
            more = beyond_limit || cut.is_some();
        }
        let kvs_unavailable = cut.map(|why| {
            self.missing.get_or_insert_with(|| why.clone());
            let cause = why.cause();
            let message = format!(
                "the transaction was carried out, but not all that it read can be told: {cause}"
            );
            Unavailable::because(left_out, &why, message)
        });
        let kvs = found.into_iter().map(KeyValue::from).collect();
        RangeResponse { header, kvs, more, count: signed(count), kvs_unavailable }
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
