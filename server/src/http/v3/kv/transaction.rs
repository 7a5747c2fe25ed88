//! `POST /v3/kv/txn`.
//!
//! ```text
//! $ curl localhost:2379/v3/kv/txn -d '{"compare":[{"target":"CREATE","key":"Zm9v"}],
//!     "success":[{"request_put":{"key":"Zm9v","value":"YmFy"}}]}'
//! {"header":{…,"revision":"2"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"2"}}}]}
//! ```
//!
//! A transaction is checked as far as that can be done without the store, and goes through the log, where
//! it is decided what becomes of it. One that only reads is answered by this node, at one revision, when
//! it is as fresh as is asked for. What is told of a range is picked out of what was read here: the bounds
//! of revisions, and the limit with them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{
    Command, Compare, CompareOperator, CompareTarget, Operation, Outcome, Revision, Transaction,
    TransactionOutcome,
};

use super::pages::{Pages, Selection};
use super::told;
use super::write::{check_size, delete_of, put_of, size_of};
use crate::http::previous::Missing;
use crate::http::v3::context::{self, Asked, keys};
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::message::{self, CompareResult, RequestOp, TxnRequest, TxnResponse};
use crate::http::v3::{fulfilled, line};
use crate::http::{App, answer};
use crate::node::handle::{Consistency, Written};

/// What a transaction did is told at once if that is no more keys, all in memory.
const INLINE_KEYS_MAX: usize = 256;

/// What is told of each operation of the two branches.
#[derive(Clone, Debug)]
pub(super) struct Selections {
    pub(super) success: Vec<Told>,
    pub(super) failure: Vec<Told>,
}

/// What is told of an operation.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Of what a write replaced, all.
    Write,
    /// Of what was read, this.
    Range(Selection),
    /// Of a transaction within, this.
    Within(Selections),
}

/// A request that was read.
struct Requested {
    transaction: Transaction,
    selections: Selections,
    /// Whether this node's own state is fresh enough for each of the ranges, if there is one.
    serializable: Option<bool>,
    /// The bytes of keys and values.
    bytes: usize,
}

impl Requested {
    fn of(request: TxnRequest) -> Result<Self, Refused> {
        let mut requested = Self {
            transaction: Transaction::default(),
            selections: Selections { success: Vec::new(), failure: Vec::new() },
            serializable: None,
            bytes: 0,
        };
        for compare in request.compare {
            let compare = compare_of(compare)?;
            if let CompareTarget::Value(value) = &compare.target {
                requested.bytes += value.len();
            }
            requested.transaction.compares.push(compare);
        }
        let success = requested.branch(request.success)?;
        (requested.transaction.success, requested.selections.success) = success;
        let failure = requested.branch(request.failure)?;
        (requested.transaction.failure, requested.selections.failure) = failure;
        Ok(requested)
    }

    fn branch(
        &mut self,
        operations: Vec<RequestOp>,
    ) -> Result<(Vec<Operation>, Vec<Told>), Refused> {
        let read = operations.into_iter().map(|operation| self.operation(operation));
        read.collect::<Result<Vec<_>, _>>().map(|read| read.into_iter().unzip())
    }

    fn operation(&mut self, operation: RequestOp) -> Result<(Operation, Told), Refused> {
        let RequestOp { request_range, request_put, request_delete_range, request_txn } = operation;
        if let Some(request) = request_range {
            self.serializable = Some(self.serializable.unwrap_or(true) && request.serializable);
            let (range, selection) = Pages::of(request)?.into_parts();
            Ok((Operation::Read(Box::new(range)), Told::Range(selection)))
        } else if let Some(request) = request_put {
            let put = put_of(request)?;
            self.bytes += size_of(&put);
            Ok((Operation::Put(put), Told::Write))
        } else if let Some(request) = request_delete_range {
            Ok((Operation::Delete(delete_of(request)?), Told::Write))
        } else if let Some(request) = request_txn {
            let within = Self::of(request)?;
            self.bytes += within.bytes;
            self.serializable = Some(false);
            let operation = Operation::Transaction(Box::new(within.transaction));
            Ok((operation, Told::Within(within.selections)))
        } else {
            Err(Refusal::KeyNotFound.into())
        }
    }
}

/// What is given for another target than the one that is compared is not looked at: what is missing is 0,
/// or empty.
fn compare_of(compare: message::Compare) -> Result<Compare, Refused> {
    let operator = match compare.result {
        CompareResult::Equal => CompareOperator::Equal,
        CompareResult::Greater => CompareOperator::Greater,
        CompareResult::Less => CompareOperator::Less,
        CompareResult::NotEqual => CompareOperator::NotEqual,
    };
    let number = Option::unwrap_or_default;
    let target = match compare.target {
        message::CompareTarget::Version => CompareTarget::Version(number(compare.version)),
        message::CompareTarget::Create => {
            CompareTarget::CreateRevision(number(compare.create_revision))
        }
        message::CompareTarget::Mod => CompareTarget::ModRevision(number(compare.mod_revision)),
        message::CompareTarget::Value => CompareTarget::Value(compare.value.unwrap_or_default()),
        message::CompareTarget::Lease => CompareTarget::Lease(number(compare.lease)),
    };
    Ok(Compare { keys: keys(compare.key, &compare.range_end)?, operator, target })
}

/// The endpoint.
pub(in crate::http::v3) async fn transact(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = context::read::<TxnRequest>(app, request).await?;
    let requested = Requested::of(message)?;
    check_size(app, requested.bytes)?;
    let Requested { transaction, selections, serializable, .. } = requested;
    if has_only_ranges(&transaction) {
        // One that only compares is as fresh as one that reads.
        let is_local = serializable == Some(true);
        let consistency = if is_local { Consistency::Local } else { Consistency::Linearizable };
        Command::Transaction(transaction.clone()).check()?;
        app.handle.barrier(consistency, timeout).await?;
        return app.answer_reads(transaction, &selections).await;
    }
    let (outcome, revision) = app.transact(transaction, timeout).await?;
    let written = app.tell_transaction(outcome, selections, revision).await?;
    if let Some(body) = app.budget.answer(line(&written).into()) {
        return Ok(answer::bytes(StatusCode::OK, answer::JSON, body));
    }
    let body = line(&told::without_values(written));
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body.into()))
}

impl App {
    /// Has a transaction carried out. Returns what it did, and the revision after it.
    pub(in crate::http::v3) async fn transact(
        &self,
        transaction: Transaction,
        timeout: Duration,
    ) -> Result<(TransactionOutcome, Revision), Refused> {
        let command = Command::Transaction(transaction);
        command.check()?;
        let Written { outcome, revision, .. } = self.handle.write(command, None, timeout).await?;
        match outcome {
            Outcome::Transaction(outcome) => Ok((*outcome, revision)),
            other => Err(Refused::of_outcome(other)),
        }
    }

    /// Tells what a transaction did, as far as that can be fetched.
    async fn tell_transaction(
        self: &Arc<Self>,
        outcome: TransactionOutcome,
        selections: Selections,
        revision: Revision,
    ) -> Result<TxnResponse, Refused> {
        let at_once = told::is_resident(&outcome, INLINE_KEYS_MAX);
        let tell =
            move |app: &Self| told::tell(outcome, &selections, revision, &*app.handle.store());
        let response = if at_once { tell(self) } else { self.off_thread(tell).await? };
        let header = Some(self.header(revision));
        Ok(TxnResponse { header, ..response })
    }

    /// Answers a transaction that only reads.
    async fn answer_reads(
        self: &Arc<Self>,
        transaction: Transaction,
        selections: &Selections,
    ) -> Result<Response, Refused> {
        let (read, revision) = self.read_transaction(&Arc::new(transaction)).await?;
        let header = Some(self.header(revision));
        match told::tell_read(read, selections, revision) {
            Ok(response) => fulfilled(self, &TxnResponse { header, ..response }),
            Err(Missing::TooLarge) => {
                Err(Refused::with(Refusal::AnswerTooLarge, Missing::TooLarge.cause()))
            }
            Err(missing) => Err(Refused::with(Refusal::Internal, missing.cause())),
        }
    }
}

/// Whether there are only ranges in it. In etcd a transaction within counts as a write, whatever it does.
fn has_only_ranges(transaction: &Transaction) -> bool {
    let mut operations = transaction.success.iter().chain(&transaction.failure);
    operations.all(|operation| matches!(operation, Operation::Read(_)))
}
