//! `/v1/faults`: lets things go wrong on purpose, lists what does, and heals it. Any node may be asked.
//!
//! ```text
//! $ curl localhost:7001/v1/faults -d '{"kind": "partition", "from": 1, "both": true, "for": "10s"}'
//! $ curl localhost:7002/v1/faults
//! $ curl -X DELETE localhost:7003/v1/faults/1-1
//! $ curl -X DELETE localhost:7003/v1/faults
//! ```
//!
//! Each fault is carried out by one node, which its name begins with. Whoever is asked speaks with that
//! node on a connection that no fault touches, so that what was begun from anywhere can be seen and
//! healed from anywhere. `docs/faults.md` says what each kind does.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use consensus::NodeId;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::task::JoinSet;

use super::call::{self, Answer, Call, Content, RequestBody, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::parameters::{Parameters, decode, excerpt, refuse_idempotency_key};
use super::{App, State, answer, body};
use crate::node::faults::{FaultRequest, LabError, LabReply, LabWord, NodeFaults, ToldFault};

/// What each of these calls takes; the rest is its own.
const ANY: Call = Call {
    id: "",
    tag: Tag::Faults,
    summary: "",
    about: "Any node may be asked, where faults are enabled: `duorum dev`, or `duorum serve \
            --enable-faults`.",
    query: &[call::SHORT_TIMEOUT],
    headers: &[],
    body: None,
    answers: &[],
    errors: &[],
};

/// What `POST /v1/faults` takes and answers.
pub(super) const BEGIN: Call = Call {
    id: "begin_fault",
    summary: "Lets something go wrong on purpose.",
    body: Some(RequestBody {
        meaning: "What goes wrong. Which members a kind takes is told by the errors.",
        required: true,
        content: Content::Json(schema_of::<FaultRequest>),
    }),
    answers: &[
        Answer::ok("It goes wrong now.", &[Content::Json(schema_of::<One>)]).with_status(201)
    ],
    errors: &[OF_ONE, call::BODY_ERRORS, call::JSON_ERRORS, &[ErrorName::TooManyFaults]],
    ..ANY
};

/// What `GET /v1/faults` takes and answers.
pub(super) const LIST: Call = Call {
    id: "faults",
    summary: "Lists what goes wrong on purpose, at all nodes.",
    answers: &[Answer::ok("The faults.", &[Content::Json(schema_of::<All>)])],
    errors: &[&[ErrorName::FaultsDisabled]],
    ..ANY
};

/// What `DELETE /v1/faults` takes and answers.
pub(super) const HEAL_ALL: Call = Call {
    id: "heal_all_faults",
    summary: "Heals all faults at all nodes.",
    answers: &[Answer::ok("What was healed.", &[Content::Json(schema_of::<Healed>)])],
    errors: &[&[ErrorName::FaultsDisabled]],
    ..ANY
};

/// What `GET /v1/faults/{id}` takes and answers.
pub(super) const SHOW: Call = Call {
    id: "fault",
    summary: "Tells of one fault.",
    answers: &[Answer::ok("The fault.", &[Content::Json(schema_of::<One>)])],
    errors: &[OF_ONE, &[ErrorName::FaultNotFound]],
    ..ANY
};

/// What `DELETE /v1/faults/{id}` takes and answers.
pub(super) const HEAL: Call = Call {
    id: "heal_fault",
    summary: "Heals one fault.",
    answers: &[Answer::ok("What was healed.", &[Content::Json(schema_of::<Healed>)])],
    errors: &[OF_ONE, &[ErrorName::FaultNotFound]],
    ..ANY
};

/// The errors of what one node carries out.
const OF_ONE: &[ErrorName] = &[ErrorName::FaultsDisabled, ErrorName::NodeUnreachable];

/// The longest body; a fault needs far less.
const BODY_BYTES_MAX: usize = 4 << 10;
/// How long other nodes are waited for when the request does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// The answer about one fault.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OneFault")]
struct One {
    #[serde(flatten)]
    fault: ToldFault,
    revision: u64,
}

/// The answer about all.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AllFaults")]
struct All {
    faults: Vec<ToldFault>,
    nodes: Vec<NodeJson>,
    revision: u64,
}

/// The answer when faults are over.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HealedFaults")]
struct Healed {
    healed: Vec<ToldFault>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeJson>,
    revision: u64,
}

/// What became of the question to a node.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NodeOfFaults")]
pub(super) struct NodeJson {
    node: u64,
    answered: bool,
    /// Whether it takes faults; unknown of one that did not answer.
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timers: Option<&'static str>,
    /// Why it did not answer, or not do what it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// `POST /v1/faults`.
pub(super) async fn begin(app: State, request: Request) -> Response {
    let result = begin_one(&app, request).await;
    app.answer(result)
}

/// `GET /v1/faults`.
pub(super) async fn list(app: State, request: Request) -> Response {
    let result = list_all(&app, &request.into_parts().0).await;
    app.answer(result)
}

/// `DELETE /v1/faults`.
pub(super) async fn heal_all(app: State, request: Request) -> Response {
    let result = heal_everywhere(&app, &request.into_parts().0).await;
    app.answer(result)
}

/// `GET /v1/faults/{id}`.
pub(super) async fn show(app: State, request: Request) -> Response {
    let result = show_one(&app, &request.into_parts().0).await;
    app.answer(result)
}

/// `DELETE /v1/faults/{id}`.
pub(super) async fn heal(app: State, request: Request) -> Response {
    let result = heal_one(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn begin_one(app: &App, request: Request) -> Result<Response, ApiError> {
    let timeout = admit(app, &BEGIN, request.uri().query(), request.headers())?;
    let body = body::read(app, request, BODY_BYTES_MAX, ErrorName::BodyTooLarge).await?;
    let facts = app.handle.facts();
    let invalid = |problem| ApiError::new(ErrorName::InvalidBody, problem);
    let fault = parse(&body.bytes)?.check(facts.id, &facts.members).map_err(invalid)?;
    let node = NodeId(fault.node);
    match ask(app, node, LabWord::Begin(fault), timeout).await? {
        LabReply::Begun(fault) => {
            let answer = One { fault, revision: app.revision().0 };
            Ok(answer::serialized(StatusCode::CREATED, &answer))
        }
        other => Err(unexpected(node, &other)),
    }
}

async fn list_all(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let timeout = admit(app, &LIST, request.uri.query(), &request.headers)?;
    let (mut faults, mut nodes) = (Vec::new(), Vec::new());
    for (node, reply) in ask_all(app, &LabWord::List, timeout).await {
        let mut told = NodeJson::of(node, &reply);
        if let Ok(LabReply::State(NodeFaults { faults: of_node, aligned })) = reply {
            faults.extend(of_node);
            told.timers = Some(if aligned { "aligned" } else { "spread" });
        }
        nodes.push(told);
    }
    let answer = All { faults, nodes, revision: app.revision().0 };
    Ok(answer::serialized(StatusCode::OK, &answer))
}

async fn heal_everywhere(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let timeout = admit(app, &HEAL_ALL, request.uri.query(), &request.headers)?;
    let (mut healed, mut nodes) = (Vec::new(), Vec::new());
    for (node, reply) in ask_all(app, &LabWord::HealAll, timeout).await {
        nodes.push(NodeJson::of(node, &reply));
        if let Ok(LabReply::Healed(of_node)) = reply {
            healed.extend(of_node);
        }
    }
    let answer = Healed { healed, nodes, revision: app.revision().0 };
    Ok(answer::serialized(StatusCode::OK, &answer))
}

async fn show_one(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let timeout = admit(app, &SHOW, request.uri.query(), &request.headers)?;
    let (node, number, id) = name(&app.handle.facts().members, request.uri.path())?;
    match ask(app, node, LabWord::List, timeout).await? {
        LabReply::State(NodeFaults { faults, .. }) => {
            let name = format!("{}-{number}", node.0);
            let found = faults.into_iter().find(|fault| fault.id == name);
            let fault = found.ok_or_else(|| not_found(node, &id))?;
            let answer = One { fault, revision: app.revision().0 };
            Ok(answer::serialized(StatusCode::OK, &answer))
        }
        other => Err(unexpected(node, &other)),
    }
}

async fn heal_one(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let timeout = admit(app, &HEAL, request.uri.query(), &request.headers)?;
    let (node, number, id) = name(&app.handle.facts().members, request.uri.path())?;
    match ask(app, node, LabWord::Heal(number), timeout).await {
        Ok(LabReply::Healed(healed)) => {
            let answer = Healed { healed, nodes: Vec::new(), revision: app.revision().0 };
            Ok(answer::serialized(StatusCode::OK, &answer))
        }
        Ok(other) => Err(unexpected(node, &other)),
        Err(error) if error.name == ErrorName::FaultNotFound => Err(not_found(node, &id)),
        Err(error) => Err(error),
    }
}

/// What every one of these calls begins with: faults must be enabled here. Returns how long the other
/// nodes are waited for.
pub(super) fn admit(
    app: &App,
    call: &'static Call,
    query: Option<&str>,
    headers: &hyper::HeaderMap,
) -> Result<Duration, ApiError> {
    if !app.handle.takes_faults() {
        return Err(disabled(app.handle.facts().id));
    }
    refuse_idempotency_key(headers)?;
    let parameters = Parameters::parse(query, call)?;
    Ok(parameters.duration("timeout").unwrap_or(TIMEOUT_DEFAULT))
}

pub(super) fn parse(body: &[u8]) -> Result<FaultRequest, ApiError> {
    let invalid = |cause: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorName::InvalidBody,
            format!(
                "the body is not {{\"kind\": KIND}} with, as the kind takes them, `from`, `to`, `both`, \
                 `probability`, `ms`, `for`: {cause}"
            ),
        )
    };
    match body.trim_ascii_start().first() {
        // A list of the right length would pass for an object, too.
        Some(b'{') => serde_json::from_slice(body).map_err(|error| invalid(&error)),
        None => Err(invalid(&"it is empty")),
        Some(_) => Err(invalid(&"it is no JSON object")),
    }
}

/// The node and the number in the name of a fault, and the name.
pub(super) fn name(
    members: &BTreeMap<NodeId, String>,
    path: &str,
) -> Result<(NodeId, u64, String), ApiError> {
    let given = path.rsplit('/').next().unwrap_or_default();
    let given = decode(given)?;
    let text = String::from_utf8_lossy(&given);
    let number = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let parsed =
        text.split_once('-').and_then(|(node, fault)| Some((number(node)?, number(fault)?)));
    let known = parsed.filter(|(node, _)| members.contains_key(&NodeId(*node)));
    let (node, number) = known.ok_or_else(|| {
        ApiError::new(
            ErrorName::FaultNotFound,
            format!(
                "`{}` is no fault of this cluster: a fault is named NODE-NUMBER, as 1-2, for the node \
                 that carries it out; GET /v1/faults lists them",
                excerpt(&given)
            ),
        )
    })?;
    Ok((NodeId(node), number, format!("{}-{number}", node)))
}

/// Asks a node. What it refuses is an error.
async fn ask(
    app: &App,
    node: NodeId,
    word: LabWord,
    timeout: Duration,
) -> Result<LabReply, ApiError> {
    match app.handle.lab(node, word, timeout).await {
        Ok(LabReply::Refused(error)) => Err(refused(node, error)),
        Ok(reply) => Ok(reply),
        Err(problem) => {
            let address = app.handle.facts().members.get(&node).map_or("", String::as_str);
            Err(ApiError::new(
                ErrorName::NodeUnreachable,
                format!(
                    "node {}, which carries this out, did not answer at its peer address {address}: \
                     {problem}. If it runs, GET /v1/faults says what became of it; a node that is not \
                     running has no faults",
                    node.0
                ),
            ))
        }
    }
}

/// Asks every node at the same time.
pub(super) async fn ask_all(
    app: &App,
    word: &LabWord,
    timeout: Duration,
) -> BTreeMap<NodeId, Result<LabReply, String>> {
    let mut asked = JoinSet::new();
    for &node in app.handle.facts().members.keys() {
        let (handle, word) = (app.handle.clone(), word.clone());
        asked.spawn(async move { (node, handle.lab(node, word, timeout).await) });
    }
    asked.join_all().await.into_iter().collect()
}

impl NodeJson {
    pub(super) fn of(node: NodeId, reply: &Result<LabReply, String>) -> Self {
        let enabled = reply.as_ref().ok();
        let enabled = enabled.map(|reply| *reply != LabReply::Refused(LabError::Disabled));
        let problem = match reply {
            Err(problem) | Ok(LabReply::Refused(LabError::Impossible(problem))) => {
                Some(problem.clone())
            }
            Ok(_) => None,
        };
        Self { node: node.0, answered: reply.is_ok(), enabled, timers: None, problem }
    }
}

fn refused(node: NodeId, error: LabError) -> ApiError {
    match error {
        LabError::Disabled => disabled(node),
        LabError::TooMany(problem) => ApiError::new(ErrorName::TooManyFaults, problem),
        LabError::NotFound => not_found(node, ""),
        LabError::Impossible(problem) => ApiError::new(ErrorName::InvalidBody, problem),
    }
}

fn disabled(node: NodeId) -> ApiError {
    ApiError::new(
        ErrorName::FaultsDisabled,
        format!(
            "faults are not enabled at node {0}, so that nothing goes wrong there on purpose. They are \
             at nodes started with `duorum serve --enable-faults` (or DUORUM_ENABLE_FAULTS=true), and \
             at those of `duorum dev`",
            node.0
        ),
    )
}

fn not_found(node: NodeId, id: &str) -> ApiError {
    ApiError::new(
        ErrorName::FaultNotFound,
        format!(
            "node {} has no fault `{id}`: it was healed, its time is over, or the node was started \
             again; GET /v1/faults lists those that there are",
            node.0
        ),
    )
}

fn unexpected(node: NodeId, reply: &LabReply) -> ApiError {
    ApiError::new(
        ErrorName::Internal,
        format!("node {} gave an answer that does not belong to the question: {reply:?}", node.0),
    )
}
