//! `PUT /v1/kv/{key}`: stores the body as the key's value.
//!
//! ```text
//! $ curl -X PUT localhost:2379/v1/kv/greeting -d hello
//! {"created":true,"revision":2}
//! ```
//!
//! The status is 201 when the key was created. The value's revision is the answer's.

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{Command, KeyValue, Outcome, Revision};

use super::error::{ApiError, ErrorName};
use super::json::{self, Shown};
use super::parameters::{Parameters, refuse_idempotency_key};
use super::{App, Limits, State, answer, body, key, write};

/// What a put may be asked with.
const PARAMETERS: &[&str] =
    &["if_absent", "if_version", "if_mod_revision", "if_value", "prev", "timeout"];

/// The endpoint.
pub(super) async fn put(app: State, request: Request) -> Response {
    let result = store(&app, request).await;
    app.answer(result)
}

async fn store(app: &App, request: Request) -> Result<Response, ApiError> {
    let parsed = parse(&request);
    let (mut command, timeout, tells_previous) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            body::discard_all(request).await;
            return Err(error);
        }
    };
    let Limits { value_bytes_max, read_timeout, .. } = app.limits;
    let body = body::read(request, value_bytes_max, read_timeout, ErrorName::ValueTooLarge).await?;
    if let Command::Put { value, .. } = &mut command {
        *value = body;
    }
    command.check()?;
    let written = app.handle.write(command, timeout).await?;
    match written.outcome {
        Outcome::Put { created, previous } => {
            let previous = match previous {
                Some(located) => app.fetch_previous(located)?,
                None => None,
            };
            let previous = tells_previous.then_some(previous);
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(answer::json(status, to_json(created, previous.as_ref(), written.revision)))
        }
        other => Err(write::refused(other)),
    }
}

type Parsed = (Command, std::time::Duration, bool);

fn parse(request: &Request) -> Result<Parsed, ApiError> {
    let key = key::from_path(request.uri())?;
    let parameters = Parameters::parse(request.uri().query(), PARAMETERS)?;
    refuse_idempotency_key(request.headers())?;
    let return_previous = parameters.flag("prev")?;
    let command = Command::Put {
        key,
        value: bytes::Bytes::new(),
        conditions: parameters.conditions()?,
        return_previous,
    };
    Ok((command, parameters.timeout()?, return_previous))
}

fn to_json(created: bool, previous: Option<&Option<KeyValue>>, revision: Revision) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.extend_from_slice(b"{\"created\":");
    json::boolean(&mut out, created);
    if let Some(previous) = previous {
        json::field(&mut out, "prev");
        json::key_value_or_null(&mut out, previous.as_ref(), Shown::Whole);
    }
    json::end(&mut out, revision);
    out
}
