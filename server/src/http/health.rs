//! `GET /livez`, `/readyz` and `/health`: is the process alive, should it get requests, is all
//! well?
//!
//! ```text
//! $ curl localhost:2379/health
//! {"health":"true","reason":"","revision":7}
//! ```
//!
//! They tell the truth: a voter that lost its data directory serves requests, but is not ready, so
//! that nobody goes on to stop the next one. A node that can not confirm a read with a quorum is alive but neither ready
//! nor healthy, whatever it believes of itself. A full store is ready, because it answers reads and takes
//! deletions, and not healthy. `/health` has etcd's form.

use std::time::Duration;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use consensus::Leadership;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::error::ApiError;
use super::parameters::Parameters;
use super::{App, State, answer};
use crate::node::handle::Consistency;

/// What `/livez` takes and answers.
pub(super) const LIVEZ: Call = Call {
    id: "livez",
    tag: Tag::Operations,
    summary: "Is the process alive? That it answers is the answer.",
    about: "",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("It is alive.", &[Content::Json(schema_of::<Alive>)])],
    errors: &[],
};

/// What `/readyz` takes and answers.
pub(super) const READYZ: Call = Call {
    id: "readyz",
    tag: Tag::Operations,
    summary: "Should this node get requests?",
    about: "It is ready when it knows a leader, lacks nothing, and a quorum confirms a read.",
    query: &[call::SHORT_TIMEOUT],
    headers: &[],
    body: None,
    answers: &[
        Answer::ok("It is ready.", &[Content::Json(schema_of::<Ready>)]),
        Answer::ok("It is not.", &[Content::Json(schema_of::<Ready>)]).with_status(503),
    ],
    errors: &[],
};

/// What `/health` takes and answers.
pub(super) const HEALTH: Call = Call {
    id: "health",
    tag: Tag::Operations,
    summary: "Is all well? In etcd's form.",
    about: "It is well when it is ready (see `/readyz`) and the store is not full.",
    query: &[call::SHORT_TIMEOUT],
    headers: &[],
    body: None,
    answers: &[
        Answer::ok("All is well.", &[Content::Json(schema_of::<Health>)]),
        Answer::ok("It is not.", &[Content::Json(schema_of::<Health>)]).with_status(503),
    ],
    errors: &[],
};

/// What is wrong with a store that refuses what would store something.
const FULL: &str = "the store is full (`--quota-bytes`): writes that store something are refused; delete what is \
                    not needed";

/// How long a probe takes at most when the request does not say: somebody waits for it.
const PROBE_TIME_DEFAULT: Duration = Duration::from_secs(1);

/// The answer of `/health`.
#[derive(Debug, Serialize, JsonSchema)]
struct Health {
    /// `"true"` or `"false"`: text, as etcd has it.
    health: &'static str,
    reason: String,
    revision: u64,
}

/// The answer of `/livez`.
#[derive(Debug, Serialize, JsonSchema)]
struct Alive {
    alive: bool,
    revision: u64,
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize, JsonSchema)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
    revision: u64,
}

/// One thing that must be so.
#[derive(Debug, Serialize, JsonSchema)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What is wrong.
    reason: Option<String>,
}

/// The endpoint `/livez`. That it answers is the answer.
pub(super) async fn livez(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &LIVEZ).map(|_| {
        answer::serialized(StatusCode::OK, &Alive { alive: true, revision: app.revision().0 })
    });
    app.answer(result)
}

/// The endpoint `/readyz`.
pub(super) async fn readyz(app: State, request: Request) -> Response {
    let result = check(&app, &request.into_parts().0, &READYZ).await.map(|checks| {
        let ready = checks.iter().all(|check| check.ok);
        let answer = Ready { ready, checks, revision: app.revision().0 };
        answer::serialized(status(ready), &answer)
    });
    app.answer(result)
}

/// The endpoint `/health`.
pub(super) async fn health(app: State, request: Request) -> Response {
    let result = check(&app, &request.into_parts().0, &HEALTH).await.map(|checks| {
        let full = app.handle.is_full().then(|| FULL.to_owned());
        let reasons = checks.into_iter().filter_map(|check| check.reason);
        let reasons: Vec<_> = reasons.chain(full).collect();
        let healthy = reasons.is_empty();
        let answer = Health {
            health: if healthy { "true" } else { "false" },
            reason: reasons.join("; "),
            revision: app.revision().0,
        };
        answer::serialized(status(healthy), &answer)
    });
    app.answer(result)
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn check(app: &App, request: &Parts, call: &'static Call) -> Result<Vec<Check>, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), call)?;
    let timeout = parameters.duration("timeout").unwrap_or(PROBE_TIME_DEFAULT);
    let status = app.handle.status();
    let leader = match status.consensus.leadership {
        Leadership::None => Err("no leader is known".to_owned()),
        _ => Ok(()),
    };
    let trouble = app.handle.trouble().map_or(Ok(()), Err);
    // Without a leader the read would only take its time to fail.
    let quorum = match leader {
        Err(_) => Err("a read can not be confirmed without a leader".to_owned()),
        Ok(()) => app
            .handle
            .barrier(Consistency::Linearizable, timeout)
            .await
            .map_err(|failure| ApiError::from(failure).message),
    };
    let checks = [("leader", leader), ("node", trouble), ("quorum_read", quorum)];
    Ok(checks.map(|(name, result)| Check { name, ok: result.is_ok(), reason: result.err() }).into())
}
