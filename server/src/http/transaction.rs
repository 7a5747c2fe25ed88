//! `POST /v1/txn`: compares, and does one thing or another, all of it at once and in one revision.
//!
//! ```text
//! $ curl localhost:2379/v1/txn -d '{
//!     "if":   [{"key": "owner", "exists": false}],
//!     "then": [{"put": {"key": "owner", "value": "me", "ttl": "10s"}}],
//!     "else": [{"get": {"key": "owner"}}]}'
//! {"succeeded":true,"results":[{"put":{"created":true,"lease":7,"ttl_ms":10000}}],"revision":2}
//! ```
//!
//! A transaction that only reads is no write: it is answered at one revision after a read barrier, without
//! the log. Under an `Idempotency-Key` it goes through the log as all others do, so that a repetition gets
//! the first answer.

mod body;
mod parse;
mod told;

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{Command, Outcome, ReadError, Revision, Transaction, TransactionOutcome};

use self::body::TransactionBody;
pub(super) use self::parse::parse;
use self::told::{Source, ToldTransaction};
use super::call::{self, Answer, Call, Content, RequestBody, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::parameters::{Parameters, idempotency_key};
use super::previous::Missing;
use super::read::MemoryOnly;
use super::{App, Limits, State, answer, json, shapes, write};
use crate::node::handle::{Consistency, Written};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "transaction",
    tag: Tag::Keys,
    summary: "Compares, and does one thing or another, all at once.",
    about: "If all conditions hold, `then` is done, else `else`; all of it in one revision. Operations are \
            done in order, and a read sees what was done before it. A key can be changed only once. There \
            are at most 128 comparisons and 128 operations in each branch, those of transactions within \
            counted with those around them, and 1024 in all; they compare and read at most 10,000 keys. A \
            transaction that only reads does not go through the log, unless it has an `Idempotency-Key`.",
    query: &[call::TIMEOUT],
    headers: &[call::IDEMPOTENCY_KEY],
    body: Some(RequestBody {
        meaning: "What is compared and done.",
        required: true,
        content: Content::Json(schema_of::<TransactionBody>),
    }),
    answers: &[Answer::ok(
        "What was done.",
        &[Content::Json(schema_of::<shapes::TransactionAnswer>)],
    )
    .with_headers(&[call::REPLAYED])],
    errors: &[
        call::BODY_ERRORS,
        call::JSON_ERRORS,
        call::KEY_ERRORS,
        call::WRITE_ERRORS,
        call::BARRIER_ERRORS,
        call::READ_ERRORS,
        call::LEASE_ERRORS,
        call::STORE_ERRORS,
        &[
            ErrorName::ValueTooLarge,
            ErrorName::KeyNotFound,
            ErrorName::DuplicateKey,
            ErrorName::TooManyOperations,
            ErrorName::TransactionTooLarge,
            ErrorName::DeletionTooLarge,
        ],
    ],
};

/// What a body may have beside the longest value.
const BODY_BYTES_BESIDE: usize = 1 << 20;

/// The endpoint.
pub(super) async fn transact(app: State, request: Request) -> Response {
    let result = carry_out(&app, request).await;
    app.answer(result)
}

/// The longest body: base64 makes four bytes of three.
fn body_bytes_max(limits: &Limits) -> usize {
    limits.value_bytes_max / 3 * 4 + BODY_BYTES_BESIDE
}

async fn carry_out(app: &Arc<App>, request: Request) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri().query(), &CALL)?;
    let key = idempotency_key(request.headers())?;
    let timeout = parameters.timeout();
    let most = body_bytes_max(&app.limits);
    let body = super::body::read(app, request, most, ErrorName::BodyTooLarge).await?;
    let transaction = parse(&body.bytes, app.limits.value_bytes_max)?;
    let command = Command::Transaction(transaction.clone());
    command.check()?;
    if key.is_none() && transaction.only_reads() {
        app.handle.barrier(Consistency::Linearizable, timeout).await?;
        let transaction = Arc::new(transaction);
        let (read, revision) = app.read_transaction(&transaction).await?;
        let told = told::tell_read(&transaction, read);
        let body = app.budget.read_answer(to_json(&told, revision).into())?;
        return Ok(answer::bytes(StatusCode::OK, answer::JSON, body));
    }
    let Written { outcome, revision, repeated } = app.handle.write(command, key, timeout).await?;
    let result = match outcome {
        Outcome::Transaction(outcome) => {
            let told = tell(app, transaction, *outcome).await;
            Ok(answer_done(app, told, revision))
        }
        Outcome::RevisionInFuture { requested, current } => {
            Err(ReadError::Future { requested, current }.into())
        }
        Outcome::RevisionCompacted { requested, compacted } => {
            Err(ReadError::Compacted { requested, compacted }.into())
        }
        other => Err(write::refused(other)),
    };
    Ok(app.answer_written(revision, repeated, result))
}

/// Fetches what a transaction read and replaced.
async fn tell(
    app: &Arc<App>,
    transaction: Transaction,
    outcome: TransactionOutcome,
) -> ToldTransaction {
    if told::is_at_hand(&outcome) {
        return told::tell(&transaction, &outcome, &mut Source::of(&MemoryOnly));
    }
    let both = Arc::new((transaction, outcome));
    let (shared, store) = (Arc::clone(&both), app.handle.store());
    let told = app.off_thread(move |_| told::tell(&shared.0, &shared.1, &mut Source::of(&*store)));
    told.await.unwrap_or_else(|error| {
        let nowhere = Source::<MemoryOnly>::Nowhere(Missing::StoreFailed(error.message));
        told::tell(&both.0, &both.1, &mut { nowhere })
    })
}

/// The answer to a transaction that was done; without what it read when there is no room for that.
fn answer_done(app: &App, told: ToldTransaction, revision: Revision) -> Response {
    let body = app.budget.answer(to_json(&told, revision).into());
    let body = body.unwrap_or_else(|| to_json(&told.without_values(), revision).into());
    answer::bytes(StatusCode::OK, answer::JSON, body)
}

fn to_json(told: &ToldTransaction, revision: Revision) -> Vec<u8> {
    let mut out = b"{".to_vec();
    told.members(&mut out);
    json::end(&mut out, revision);
    out
}
