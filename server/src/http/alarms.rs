//! `/v1/alarms`: which replicas are known to have another state than they should, and the end of that.
//!
//! ```text
//! $ curl localhost:2379/v1/alarms
//! {"alarms":[],"revision":7}
//! $ curl -X DELETE localhost:2379/v1/alarms/2
//! ```
//!
//! Answered while everything else is refused.

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use consensus::NodeId;
use hyper::StatusCode;
use kvcore::{AlarmCommand, Alarms, Command, Outcome};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::parameters::{Parameters, excerpt};
use super::{App, State, answer, write};

/// What listing takes and answers.
pub(super) const LIST: Call = Call {
    id: "list_alarms",
    tag: Tag::Cluster,
    summary: "Lists the alarms that stand.",
    about: "Replicas compare digests of their whole state by themselves (`--digest-interval`). One that \
            differs from the leader raises an alarm about itself; while one stands, keys and leases are \
            neither read nor changed at any node. Watches that are open go on.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("As far as this node knows.", &[Content::Json(schema_of::<Listed>)])],
    errors: &[],
};

/// What ending one takes and answers.
pub(super) const CLEAR: Call = Call {
    id: "clear_alarm",
    tag: Tag::Cluster,
    summary: "Ends the alarm about a node.",
    about: "When it was looked into: mostly, the node was stopped, its data directory deleted, and it was \
            started again and has got everything anew. If it still differs, the alarm comes back.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok(
        "There is no alarm about the node any more.",
        &[Content::Json(schema_of::<Cleared>)],
    )],
    errors: &[call::WRITE_ERRORS, &[ErrorName::AlarmNotFound]],
};

/// The alarms.
#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    alarms: Vec<Alarm>,
    revision: u64,
}

/// A node whose state is not what it should be.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Alarm {
    /// The node.
    node: u64,
    /// What is wrong: always `corrupt`.
    kind: &'static str,
    /// The log entry after which its state was compared.
    index: u64,
    /// The node that led and had another state after the same entry; the node itself, if somebody raised the
    /// alarm by hand.
    compared_with: u64,
}

/// No alarm stands about the node.
#[derive(Debug, Serialize, JsonSchema)]
struct Cleared {
    cleared: u64,
    revision: u64,
}

/// The alarms as they are told.
pub(super) fn told(alarms: &Alarms) -> Vec<Alarm> {
    let alarm = |(node, corruption): (&NodeId, &kvcore::Corruption)| Alarm {
        node: node.0,
        kind: "corrupt",
        index: corruption.index.0,
        compared_with: corruption.compared_with.0,
    };
    alarms.iter().map(alarm).collect()
}

/// The endpoint that lists them.
pub(super) async fn list(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &LIST).map(|_| {
        let machine = app.handle.machine().read().expect("no holder of the machine panics");
        let answer = Listed { alarms: told(machine.alarms()), revision: machine.revision().0 };
        drop(machine);
        answer::serialized(StatusCode::OK, &answer)
    });
    app.answer(result)
}

/// The endpoint that ends one.
pub(super) async fn clear(app: State, request: Request) -> Response {
    let result = end(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn end(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &CLEAR)?;
    let given = request.uri.path().strip_prefix("/v1/alarms/").unwrap_or_default();
    let not_found = || {
        let given = excerpt(given.as_bytes());
        let what =
            format!("no alarm stands about node `{given}`; GET /v1/alarms lists those that do");
        ApiError::new(ErrorName::AlarmNotFound, what)
    };
    let node = NodeId(given.parse().map_err(|_| not_found())?);
    let command = Command::Alarm(AlarmCommand::Clear { node });
    let written = app.handle.write(command, None, parameters.timeout()).await?;
    match written.outcome {
        Outcome::AlarmCleared { stood: true } => {
            let answer = Cleared { cleared: node.0, revision: written.revision.0 };
            Ok(answer::serialized(StatusCode::OK, &answer))
        }
        Outcome::AlarmCleared { stood: false } => Err(not_found()),
        other => Err(write::refused(other)),
    }
}
