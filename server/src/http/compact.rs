//! `POST /v1/compact`: forgets history before a revision, which itself stays readable.
//!
//! ```text
//! $ curl localhost:2379/v1/compact -d '{"revision": 40}'
//! {"compact_revision":40,"revision":57}
//! ```

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{Command, Outcome, Revision};
use schemars::JsonSchema;
use serde::Deserialize;

use super::call::{self, Answer, Call, Content, RequestBody, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::parameters::{Parameters, idempotency_key};
use super::{App, State, answer, body, json, shapes, write};
use crate::node::handle::Written;

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "compact",
    tag: Tag::Keys,
    summary: "Forgets history before a revision, which itself stays readable.",
    about: "",
    query: &[call::TIMEOUT],
    headers: &[call::IDEMPOTENCY_KEY],
    body: Some(RequestBody {
        meaning: "The oldest revision to keep.",
        required: true,
        content: Content::Json(schema_of::<Compact>),
    }),
    answers: &[Answer::ok(
        "What was before the revision is forgotten.",
        &[Content::Json(schema_of::<shapes::Compacted>)],
    )
    .with_headers(&[call::REPLAYED])],
    errors: &[
        call::BODY_ERRORS,
        call::JSON_ERRORS,
        call::WRITE_ERRORS,
        &[ErrorName::FutureRevision, ErrorName::Compacted],
    ],
};

/// The longest body; a number needs far less.
const BODY_BYTES_MAX: usize = 4 << 10;

/// The oldest revision to keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Compact {
    /// The oldest revision that stays readable.
    revision: u64,
}

/// The endpoint.
pub(super) async fn compact(app: State, request: Request) -> Response {
    let result = forget(&app, request).await;
    app.answer(result)
}

async fn forget(app: &App, request: Request) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri().query(), &CALL)?;
    let key = idempotency_key(request.headers())?;
    let timeout = parameters.timeout();
    let body = body::read(app, request, BODY_BYTES_MAX, ErrorName::BodyTooLarge).await?;
    let Compact { revision: oldest } = parse(&body.bytes)?;
    let command = Command::Compact { revision: Revision(oldest) };
    let Written { outcome, revision, repeated } = app.handle.write(command, key, timeout).await?;
    let result = match outcome {
        Outcome::Compacted => {
            let mut out = Vec::with_capacity(48);
            out.extend_from_slice(b"{\"compact_revision\":");
            json::number(&mut out, oldest);
            json::end(&mut out, revision);
            Ok(answer::json(StatusCode::OK, out))
        }
        other => Err(write::refused(other)),
    };
    Ok(app.answer_written(revision, repeated, result))
}

pub(super) fn parse(body: &[u8]) -> Result<Compact, ApiError> {
    let invalid = |cause: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorName::InvalidBody,
            format!("the body is not {{\"revision\": NUMBER}}: {cause}"),
        )
    };
    // A list of the right length would pass for an object, too.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(invalid(&"it is no JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| invalid(&error))
}
