//! Granting and renewing.

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{Command, LeaseCommand, LeaseId, Outcome, Revision, SessionTimeouts};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::{self, Answer, Call, Content, RequestBody, Tag, schema_of};
use super::super::error::{ApiError, ErrorName};
use super::super::parameters::{Parameters, idempotency_key, refuse_idempotency_key};
use super::super::{App, State, answer, body, json, shapes, write};
use super::{from_path, parse_ttl};
use crate::http::call::kind;
use crate::node::handle::Written;

/// What granting takes and answers.
pub(in crate::http) const GRANT: Call = Call {
    id: "grant_lease",
    tag: Tag::Leases,
    summary: "Grants a lease.",
    about: "It ends when it was not kept alive for its time, and its keys go with it. A time of less than 2s \
            is raised to that, as `ttl_ms` says. A session is ZooKeeper's name for a lease whose time is \
            the nearest that the server allows, from 4s to 40s if it was started without \
            `--session-timeout-min` and `--session-timeout-max`.",
    query: &[call::TIMEOUT],
    headers: &[call::IDEMPOTENCY_KEY],
    body: Some(RequestBody {
        meaning: "How long the lease lives.",
        required: true,
        content: Content::Json(schema_of::<Grant>),
    }),
    answers: &[Answer::ok("The lease was granted.", LEASE)
        .with_status(201)
        .with_headers(&[call::REPLAYED])],
    errors: &[
        call::BODY_ERRORS,
        call::JSON_ERRORS,
        call::WRITE_ERRORS,
        call::STORE_ERRORS,
        &[ErrorName::LeaseExists, ErrorName::TooManyLeases],
    ],
};

/// What renewing takes and answers.
pub(in crate::http) const KEEP_ALIVE: Call = Call {
    id: "keep_lease_alive",
    tag: Tag::Leases,
    summary: "Gives a lease all of its time again.",
    about: "The time counts from when the leader was asked. A lease that is gone stays gone.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("The lease lives for `ttl_ms` again.", LEASE)],
    errors: &[&[
        ErrorName::LeaseNotFound,
        ErrorName::Corrupt,
        ErrorName::NoLeader,
        ErrorName::NoQuorum,
        ErrorName::Overloaded,
        ErrorName::LeaderChanged,
        ErrorName::ShuttingDown,
        ErrorName::UnknownOutcome,
    ]],
};

const LEASE: &[Content] = &[Content::Json(schema_of::<shapes::LeaseGranted>)];

/// The longest body; a time needs far less.
const BODY_BYTES_MAX: usize = 4 << 10;

/// How long the lease lives.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GrantLease")]
struct Grant {
    /// How long the lease lives when it is not kept alive, as 10s or 1m30s: from 1ms, which is raised to
    /// 2s, to 9000000000s.
    #[schemars(pattern("^([0-9]+(ms|s|m|h))+$"))]
    ttl: String,
    /// The number of the lease, any but 0. Without it the server chooses one that is free.
    id: Option<i64>,
    /// Whether it is a session.
    #[serde(default)]
    session: bool,
}

/// The endpoint that grants.
pub(in crate::http) async fn grant(app: State, request: Request) -> Response {
    let result = grant_one(&app, request).await;
    app.answer(result)
}

/// The endpoint that renews.
pub(in crate::http) async fn keep_alive(app: State, request: Request) -> Response {
    let result = renew(&app, request).await;
    app.answer(result)
}

async fn grant_one(app: &App, request: Request) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri().query(), &GRANT)?;
    let key = idempotency_key(request.headers())?;
    let timeout = parameters.timeout();
    let body = body::read(app, request, BODY_BYTES_MAX, ErrorName::BodyTooLarge).await?;
    let command = Command::Lease(parse(&body.bytes, app.limits.session_timeouts)?);
    let Written { outcome, revision, repeated } = app.handle.write(command, key, timeout).await?;
    let result = match outcome {
        Outcome::Granted { lease, ttl_millis } => {
            Ok(to_json(StatusCode::CREATED, lease, ttl_millis, revision))
        }
        other => Err(write::refused(other)),
    };
    Ok(app.answer_written(revision, repeated, result))
}

async fn renew(app: &App, request: Request) -> Result<Response, ApiError> {
    let lease = from_path(request.uri())?;
    let parameters = Parameters::parse(request.uri().query(), &KEEP_ALIVE)?;
    refuse_idempotency_key(request.headers())?;
    body::discard_all(request).await;
    match app.handle.keep_alive(lease, parameters.timeout()).await? {
        Some(ttl_millis) => Ok(to_json(StatusCode::OK, lease, ttl_millis, app.revision())),
        None => Err(write::lease_not_found(lease)),
    }
}

fn to_json(status: StatusCode, lease: LeaseId, ttl_millis: u64, revision: Revision) -> Response {
    let mut out = format!("{{\"lease\":{lease}").into_bytes();
    json::number_field(&mut out, "ttl_ms", ttl_millis);
    json::end(&mut out, revision);
    answer::json(status, out)
}

pub(in crate::http) fn parse(
    body: &[u8],
    session_timeouts: SessionTimeouts,
) -> Result<LeaseCommand, ApiError> {
    let invalid = |cause: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorName::InvalidBody,
            format!("the body is not {{\"ttl\": TIME}}, perhaps with `id` or `session`: {cause}"),
        )
    };
    // A list of the right length would pass for an object, too.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(invalid(&"it is no JSON object"));
    }
    let Grant { ttl, id, session } =
        serde_json::from_slice(body).map_err(|error| invalid(&error))?;
    let mut ttl_millis = parse_ttl("ttl", &ttl)?;
    if session {
        ttl_millis = session_timeouts.negotiate(ttl_millis);
    }
    let lease = match id {
        None => None,
        Some(number) => Some(LeaseId::new(number).ok_or_else(|| {
            ApiError::new(
                ErrorName::InvalidBody,
                format!("`id` is `{number}`; allowed: {}", kind::LEASE_ALLOWED),
            )
        })?),
    };
    Ok(LeaseCommand::Grant { lease, ttl_millis })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_a_time_and_perhaps_a_number() {
        let grant = |lease, ttl_millis| LeaseCommand::Grant { lease, ttl_millis };
        let parse = |body: &[u8]| parse(body, SessionTimeouts::default());
        assert_eq!(parse(b"{\"ttl\": \"1s\"}"), Ok(grant(None, 2_000)));
        for (ttl, session, millis) in
            [("1s", true, 4_000), ("1s", false, 2_000), ("10s", true, 10_000), ("1h", true, 40_000)]
        {
            let body = format!("{{\"ttl\":\"{ttl}\",\"session\":{session}}}");
            assert_eq!(parse(body.as_bytes()), Ok(grant(None, millis)), "{body}");
        }
        assert_eq!(parse(b"{\"ttl\":\"1m\",\"id\":-5}"), Ok(grant(LeaseId::new(-5), 60_000)));
        for wrong in [
            "",
            "[\"1s\",1]",
            "{}",
            "{\"ttl\":10}",
            "{\"ttl\":\"10\"}",
            "{\"ttl\":\"10s\",\"id\":0}",
            "{\"ttl\":\"10s\",\"id\":9223372036854775808}",
            "{\"ttl\":\"10s\",\"name\":1}",
            "{\"ttl\":\"10s\",\"session\":1}",
        ] {
            let error = parse(wrong.as_bytes()).expect_err(wrong);
            assert_eq!(error.name, ErrorName::InvalidBody, "{wrong}");
        }
    }
}
