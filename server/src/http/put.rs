//! `PUT /v1/kv/{key}`: stores the body as the key's value.
//!
//! ```text
//! $ curl -X PUT localhost:2379/v1/kv/greeting -d hello
//! {"created":true,"revision":2}
//! ```
//!
//! The status is 201 when the key was created. The value's revision is the answer's.
//!
//! With the header `Idempotency-Key: …` the write takes effect at most once, however often it is sent:
//! the answer to a repetition is that of the first, with the header `Idempotency-Replayed: true`.
//!
//! With `?prev` the answer has `prev`: what was replaced, `null` when there was nothing. Where it can
//! not be told any more, `prev_unavailable` stands in its place and says why: the write was done all
//! the same.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{Command, IdempotencyKey, Outcome, Put, PutOutcome, PutValue, Revision};

use super::call::{self, Answer, Call, Content, RequestBody, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::json;
use super::parameters::{Parameters, idempotency_key};
use super::previous::Previous;
use super::{App, State, body, key, shapes, write};
use crate::node::handle::Written;

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "put",
    tag: Tag::Keys,
    summary: "Stores the body as the key's value.",
    about: "Without a condition whatever was there is replaced. All conditions must hold.",
    query: &[
        call::IF_ABSENT,
        call::IF_VERSION,
        call::IF_MOD_REVISION,
        call::IF_VALUE,
        call::PREV,
        call::TIMEOUT,
    ],
    headers: &[call::IDEMPOTENCY_KEY],
    body: Some(RequestBody {
        meaning: "The value: any bytes, 1 MiB of them at most if the server was not told otherwise. \
                  Its content type is not looked at.",
        required: false,
        content: Content::Bytes,
    }),
    answers: &[
        Answer::ok("The key had a value, which was replaced.", STORED)
            .with_headers(&[call::REPLAYED]),
        Answer::ok("The key was created.", STORED).with_status(201).with_headers(&[call::REPLAYED]),
    ],
    errors: &[
        call::KEY_ERRORS,
        call::BODY_ERRORS,
        call::WRITE_ERRORS,
        &[ErrorName::PreconditionFailed, ErrorName::ValueTooLarge],
    ],
};

const STORED: &[Content] = &[Content::Json(schema_of::<shapes::Stored>)];

/// The endpoint.
pub(super) async fn put(app: State, request: Request) -> Response {
    let result = store(&app, request).await;
    app.answer(result)
}

async fn store(app: &Arc<App>, request: Request) -> Result<Response, ApiError> {
    let parsed = parse(&request);
    let Parsed { mut command, key, timeout, tells_previous } = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            body::discard_all(request).await;
            return Err(error);
        }
    };
    let most = app.limits.value_bytes_max;
    let body = body::read(app, request, most, ErrorName::ValueTooLarge).await?;
    if let Command::Put { put, .. } = &mut command {
        put.value = PutValue::New(body.bytes.clone());
    }
    command.check()?;
    let Written { outcome, revision, repeated } = app.handle.write(command, key, timeout).await?;
    let result = match outcome {
        Outcome::Put(PutOutcome { created, previous, .. }) => {
            let previous = match tells_previous {
                true => Some(app.fetch_previous(previous.into_iter().collect()).await),
                false => None,
            };
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(app.answer_with_previous(status, previous, |previous| {
                to_json(created, previous, revision)
            }))
        }
        other => Err(write::refused(other)),
    };
    Ok(app.answer_written(revision, repeated, result))
}

/// What the head of the request says.
pub(super) struct Parsed {
    command: Command,
    key: Option<IdempotencyKey>,
    timeout: std::time::Duration,
    tells_previous: bool,
}

pub(super) fn parse(request: &Request) -> Result<Parsed, ApiError> {
    let key = key::from_path(request.uri())?;
    let parameters = Parameters::parse(request.uri().query(), &CALL)?;
    let key_of_write = idempotency_key(request.headers())?;
    let return_previous = parameters.flag("prev");
    let put = Put { return_previous, ..Put::new(key, bytes::Bytes::new()) };
    let command = Command::Put { put, conditions: parameters.conditions() };
    let (key, timeout) = (key_of_write, parameters.timeout());
    Ok(Parsed { command, key, timeout, tells_previous: return_previous })
}

fn to_json(created: bool, previous: Option<&Previous>, revision: Revision) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.extend_from_slice(b"{\"created\":");
    json::boolean(&mut out, created);
    if let Some(previous) = previous {
        previous.one_member(&mut out);
    }
    json::end(&mut out, revision);
    out
}
