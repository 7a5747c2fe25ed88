//! `PUT /v1/kv/{key}`: stores the body as the key's value.
//!
//! ```text
//! $ curl -X PUT localhost:2379/v1/kv/greeting -d hello
//! {"created":true,"revision":2}
//! ```
//!
//! The status is 201 when the key was created. The value's revision is the answer's.
//!
//! With `?lease=ID` the key hangs on that lease and goes when it ends; `?ttl=10s` makes a lease for it. A
//! put without either takes the key off its lease. With `?sequential` the key is only a beginning: a counter
//! of ten digits is appended, and the answer has the `key`. The counter grows until all keys that begin so are
//! deleted at once.
//!
//! ```text
//! $ curl -X PUT 'localhost:2379/v1/kv/services/web/?sequential&ttl=10s' -d 10.0.0.7:80
//! {"created":true,"key":"services/web/0000000000","lease":7,"ttl_ms":10000,"revision":3}
//! ```
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
use kvcore::{Command, IdempotencyKey, Outcome, Put, PutLease, PutOutcome, PutValue, Revision};

use super::body::WholeBody;
use super::call::{self, Answer, Call, Content, Kind, Parameter, RequestBody, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::json;
use super::parameters::{Parameters, idempotency_key};
use super::previous::Previous;
use super::{App, State, body, key, lease, shapes, write};
use crate::node::handle::Written;

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "put",
    tag: Tag::Keys,
    summary: "Stores the body as the key's value.",
    about: "Without a condition whatever was there is replaced. All conditions must hold. A key hangs on \
            the lease that it was last put with, and on none if it was put without.",
    query: &[
        call::IF_ABSENT,
        call::IF_VERSION,
        call::IF_MOD_REVISION,
        call::IF_VALUE,
        LEASE,
        TTL,
        SEQUENTIAL,
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
        call::LEASE_ERRORS,
        call::STORE_ERRORS,
        &[ErrorName::PreconditionFailed, ErrorName::ValueTooLarge],
    ],
};

const LEASE: Parameter = Parameter {
    name: "lease",
    kind: Kind::Lease,
    meaning: "The lease that the key hangs on from now on: it goes when the lease ends.",
};
const TTL: Parameter = Parameter {
    name: "ttl",
    kind: lease::TTL,
    meaning: "Grants a lease of this time for the key, from 1ms to 9000000000s; the answer has its number. \
              A time of less than 2s is raised to that, as `ttl_ms` says. Not together with `lease`.",
};
const SEQUENTIAL: Parameter = Parameter {
    name: "sequential",
    kind: Kind::Flag,
    meaning: "Whether to append the next number of a counter, in ten digits, to the key, which is new \
              then. Each beginning has a counter of its own, which grows until one deletion of a prefix or \
              a range deletes everything that begins so. The answer has the key.",
};

const STORED: &[Content] = &[Content::Json(schema_of::<shapes::Stored>)];

/// The endpoint.
pub(super) async fn put(app: State, request: Request) -> Response {
    let result = store(&app, request).await;
    app.answer(result)
}

async fn store(app: &Arc<App>, request: Request) -> Result<Response, ApiError> {
    let parsed = parse(&request);
    let Parsed { mut command, key, timeout, tells_previous, ttl_millis } = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            body::discard_all(request).await;
            return Err(error);
        }
    };
    let most = app.limits.value_bytes_max;
    // The value goes into the command and nowhere else: when that is encoded, which copies it, the connection
    // has the buffer back in which it came, and does not keep it for as long as the write takes.
    let WholeBody { bytes, place: _place } =
        body::read(app, request, most, ErrorName::ValueTooLarge).await?;
    if let Command::Put { put, .. } = &mut command {
        put.value = PutValue::New(bytes);
    }
    command.check()?;
    let Written { outcome, revision, repeated } = app.handle.write(command, key, timeout).await?;
    let result = match outcome {
        Outcome::Put(mut stored) => {
            let previous = match tells_previous {
                true => {
                    Some(app.fetch_previous(stored.previous.take().into_iter().collect()).await)
                }
                false => None,
            };
            let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(app.answer_with_previous(status, previous, |previous| {
                to_json(&stored, ttl_millis, previous, revision)
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
    /// How long the lease lives that is granted with it.
    ttl_millis: Option<u64>,
}

pub(super) fn parse(request: &Request) -> Result<Parsed, ApiError> {
    let key = key::from_path(request.uri())?;
    let parameters = Parameters::parse(request.uri().query(), &CALL)?;
    let key_of_write = idempotency_key(request.headers())?;
    let return_previous = parameters.flag("prev");
    let ttl_millis = parameters.duration("ttl").map(lease::ttl_millis);
    let lease = match (parameters.lease("lease"), ttl_millis) {
        (None, None) => PutLease::None,
        (Some(lease), None) => PutLease::Attach(lease),
        (None, Some(ttl_millis)) => PutLease::Grant { ttl_millis },
        (Some(_), Some(_)) => {
            return Err(ApiError::parameter(
                "`lease` and `ttl` are given together; give `lease` for a lease that there is, or `ttl` \
                 for a new one",
            ));
        }
    };
    let sequential = parameters.flag("sequential");
    let put = Put { lease, sequential, return_previous, ..Put::new(key, bytes::Bytes::new()) };
    let command = Command::Put { put, conditions: parameters.conditions() };
    let (key, timeout) = (key_of_write, parameters.timeout());
    Ok(Parsed { command, key, timeout, tells_previous: return_previous, ttl_millis })
}

fn to_json(
    stored: &PutOutcome,
    ttl_millis: Option<u64>,
    previous: Option<&Previous>,
    revision: Revision,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.push(b'{');
    members(&mut out, stored, ttl_millis);
    if let Some(previous) = previous {
        previous.one_member(&mut out);
    }
    json::end(&mut out, revision);
    out
}

/// Appends what is told of a value that was stored, without the braces.
pub(super) fn members(out: &mut Vec<u8>, stored: &PutOutcome, ttl_millis: Option<u64>) {
    out.extend_from_slice(b"\"created\":");
    json::boolean(out, stored.created);
    if let Some(key) = &stored.key {
        out.push(b',');
        json::bytes_member(out, "key", key);
    }
    if let (Some(lease), Some(ttl_millis)) = (stored.granted, ttl_millis) {
        json::lease_field(out, "lease", lease);
        json::number_field(out, "ttl_ms", ttl_millis);
    }
}
