//! `GET /livez`, `/readyz` and `/health`: is the process alive, should it get requests, is all
//! well?
//!
//! ```text
//! $ curl localhost:2379/health
//! {"health":"true","reason":"","revision":7}
//! ```
//!
//! They tell the truth: a voter that lost its data directory serves requests, but is not ready, so
//! that nobody goes on to stop the next one. A node that can not confirm a read with a quorum is alive but
//! neither ready nor healthy, whatever it believes of itself. A full store is ready, because it answers reads
//! and takes deletions, and not healthy. `/health` has etcd's form, and takes what is asked of etcd's: with
//! `serializable` only of the node itself, with `exclude` without an alarm that is known already.

use std::time::Duration;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use consensus::Leadership;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Answer, Call, Content, Kind, Parameter, Tag, schema_of};
use super::error::ApiError;
use super::parameters::Parameters;
use super::{App, State, answer};

/// What `/livez` takes and answers.
pub(super) const LIVEZ: Call = Call {
    id: "livez",
    tag: Tag::Operations,
    summary: "Is the process alive? That it answers is the answer.",
    about: "",
    query: &[call::TIMEOUT, EXCLUDED_CHECK, VERBOSE],
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
    about: "It is ready when it knows a leader, lacks nothing, no replica's state differs, and a quorum \
            confirms a read.",
    query: &[call::SHORT_TIMEOUT, EXCLUDED_CHECK, VERBOSE],
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
    query: &[call::SHORT_TIMEOUT, SERIALIZABLE, EXCLUDED_ALARM],
    headers: &[],
    body: None,
    answers: &[
        Answer::ok("All is well.", &[Content::Json(schema_of::<Health>)]),
        Answer::ok("It is not.", &[Content::Json(schema_of::<Health>)]).with_status(503),
    ],
    errors: &[],
};

const SERIALIZABLE: Parameter = Parameter {
    name: "serializable",
    kind: Kind::Flag,
    meaning: "Whether to ask of this node alone, leaving out what takes a leader and a quorum.",
};
const EXCLUDED_ALARM: Parameter = Parameter {
    name: "exclude",
    kind: Kind::EachOf(&[NO_SPACE, CORRUPT]),
    meaning: "An alarm that is to make no difference; may be given for each.",
};
const EXCLUDED_CHECK: Parameter = Parameter {
    name: "exclude",
    kind: Kind::EachOf(&[
        LEADER,
        NODE,
        DATA_CORRUPTION,
        QUORUM_READ,
        LINEARIZABLE_READ,
        SERIALIZABLE_READ,
        NON_LEARNER,
    ]),
    meaning: "A check that is to be left out. `linearizable_read` is `quorum_read`; of \
              `serializable_read` and `non_learner` there is nothing to check here.",
};
const VERBOSE: Parameter = Parameter {
    name: "verbose",
    kind: Kind::Flag,
    meaning: "Makes no difference: each check is always told.",
};

/// The alarms, by etcd's names.
const NO_SPACE: &str = "NOSPACE";
const CORRUPT: &str = "CORRUPT";
/// The checks, and what else etcd calls them.
const LEADER: &str = "leader";
const NODE: &str = "node";
const DATA_CORRUPTION: &str = "data_corruption";
const QUORUM_READ: &str = "quorum_read";
const LINEARIZABLE_READ: &str = "linearizable_read";
const SERIALIZABLE_READ: &str = "serializable_read";
const NON_LEARNER: &str = "non_learner";

/// What is wrong with a store that refuses what would store something.
pub(super) const FULL: &str = "the store is full (`--quota-bytes`): writes that store something are refused; delete what is \
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
    let result = tell_whether_ready(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn tell_whether_ready(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &READYZ)?;
    let excluded = |name| parameters.has("exclude", name);
    let names = [LEADER, NODE, DATA_CORRUPTION, QUORUM_READ];
    let left_out = |name| excluded(name) || name == QUORUM_READ && excluded(LINEARIZABLE_READ);
    let asked = names.into_iter().filter(|name| !left_out(name)).collect();
    let checks = check(app, asked, time_max(&parameters)).await;
    let ready = checks.iter().all(|check| check.ok);
    let answer = Ready { ready, checks, revision: app.revision().0 };
    Ok(answer::serialized(status(ready), &answer))
}

/// The endpoint `/health`.
pub(super) async fn health(app: State, request: Request) -> Response {
    let result = tell_whether_healthy(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn tell_whether_healthy(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &HEALTH)?;
    let counts = |alarm: &str| !parameters.has("exclude", alarm);
    let mut asked = Vec::new();
    if counts(CORRUPT) {
        asked.push(DATA_CORRUPTION);
    }
    // Who asks so kills what answers wrongly, and that shall not be a node that only lacks the others.
    if !parameters.flag("serializable") {
        asked.extend([LEADER, NODE, QUORUM_READ]);
    }
    let checks = check(app, asked, time_max(&parameters)).await;
    let full = (counts(NO_SPACE) && app.handle.is_full()).then(|| FULL.to_owned());
    let reasons = checks.into_iter().filter_map(|check| check.reason);
    let reasons: Vec<_> = reasons.chain(full).collect();
    let healthy = reasons.is_empty();
    let answer = Health {
        health: if healthy { "true" } else { "false" },
        reason: reasons.join("; "),
        revision: app.revision().0,
    };
    Ok(answer::serialized(status(healthy), &answer))
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn time_max(parameters: &Parameters) -> Duration {
    parameters.duration("timeout").unwrap_or(PROBE_TIME_DEFAULT)
}

/// Makes the checks that are asked for, in their order.
async fn check(app: &App, asked: Vec<&'static str>, time_max: Duration) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in asked {
        let reason = match name {
            LEADER => (!knows_leader(app)).then(|| "no leader is known".to_owned()),
            NODE => app.handle.trouble(),
            DATA_CORRUPTION => app.handle.corruption(),
            _ => quorum_read(app, time_max).await.err(),
        };
        checks.push(Check { name, ok: reason.is_none(), reason });
    }
    checks
}

fn knows_leader(app: &App) -> bool {
    app.handle.status().consensus.leadership != Leadership::None
}

/// Whether a quorum confirms a read. That none is answered while an alarm stands is another check's matter.
async fn quorum_read(app: &App, time_max: Duration) -> Result<(), String> {
    // Without a leader the read would only take its time to fail.
    if !knows_leader(app) {
        return Err("a read can not be confirmed without a leader".to_owned());
    }
    let confirmed = app.handle.confirm_with_quorum(time_max).await;
    confirmed.map_err(|failure| ApiError::from(failure).message)
}
