//! `GET /v1/elections`: the last elections of the cluster, each with its phases and its cause.
//!
//! ```text
//! $ curl localhost:2379/v1/elections
//! $ curl 'localhost:2379/v1/elections?limit=1'
//! ```
//!
//! The node that is asked asks the others what they saw, and puts it together; who does not answer is
//! named. All times are read from one clock, the host's monotonic one: nodes that run on one boot of
//! one host share an axis. A node on another axis shows only how long things took there. What a node
//! saw is in its memory and ends with its process.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use consensus::NodeId;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Answer, Call, Content, Kind, Parameter, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::parameters::Parameters;
use super::{App, State, answer};
use crate::node::handle::{Question, ReplyContent};
use crate::node::trace::{
    self, Election, HostTime, NodeTrace, NodeView, TraceDetail, TraceQuestion,
};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "elections",
    tag: Tag::Protocol,
    summary: "Tells the last elections, each with its phases and its cause.",
    about: "Put together from what all nodes that answer saw. Times are read from the host's monotonic \
            clock: nodes of one boot share an axis, others show only their own durations.",
    query: &[
        Parameter {
            name: "limit",
            kind: Kind::Number { least: 1, most: LIMIT_MAX },
            meaning: "The most elections, the newest first; 10 when it is left out.",
        },
        call::SHORT_TIMEOUT,
    ],
    headers: &[],
    body: None,
    answers: &[Answer::ok("The elections.", &[Content::Json(schema_of::<Elections<'_>>)])],
    errors: &[&[ErrorName::Overloaded]],
};

/// The elections told when the request does not say.
const LIMIT_DEFAULT: u64 = 10;
/// The most elections that can be asked for.
const LIMIT_MAX: u64 = 100;
/// How long the other nodes are waited for when the request does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// What every node said of its memory; nothing of those that did not answer.
pub(super) type Answers = BTreeMap<NodeId, Option<NodeTrace>>;

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Elections<'a> {
    protocol: &'static str,
    elections: Vec<ElectionJson<'a>>,
    nodes: Vec<NodeJson<'a>>,
    times: &'static str,
    revision: u64,
}

const TIMES: &str = "at_ms counts from the first phase of an election on the monotonic clock of one \
                     host and boot; nodes with shares_axis false count from what they saw first";

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Election")]
struct ElectionJson<'a> {
    /// The term or epoch; `null` while nobody is elected.
    term: Option<u64>,
    leader: Option<u64>,
    former_leader: Option<u64>,
    under_way: bool,
    cause: &'a str,
    boot: Option<&'a str>,
    /// When `at_ms` is 0, on the host's monotonic clock, in microseconds.
    began_us: u64,
    phases: Vec<PhaseJson<'a>>,
    durations_ms: DurationsJson,
    followers: Vec<FollowerJson<'a>>,
    seen_by: Vec<ViewJson<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Phase")]
struct PhaseJson<'a> {
    phase: &'a str,
    node: u64,
    at_ms: f64,
    /// Since the phase before.
    took_ms: f64,
    what: &'a str,
}

/// How long the parts took, as far as both their ends are known.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Durations")]
struct DurationsJson {
    /// From the fault to the first suspicion.
    detection: Option<f64>,
    /// From the first suspicion, the word to take over, or the first search, to the election.
    election: Option<f64>,
    /// From the election to the first commit of the new reign.
    recovery: Option<f64>,
    /// From the fault, or whatever was first, to the first write of a client.
    outage: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Follower")]
struct FollowerJson<'a> {
    node: u64,
    means: &'a str,
    at_ms: f64,
    /// When it last was brought up to date: it may have come back after it was away.
    last_at_ms: f64,
    joined_later: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "View")]
struct ViewJson<'a> {
    node: u64,
    shares_axis: bool,
    joined_later: bool,
    saw: Vec<SightJson<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Sight")]
struct SightJson<'a> {
    at_ms: f64,
    what: &'a str,
}

/// A node and whether it answered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NodeOfTrace")]
pub(super) struct NodeJson<'a> {
    node: u64,
    answered: bool,
    boot: Option<&'a str>,
    earlier_events: Option<u64>,
}

/// The endpoint.
pub(super) async fn elections(app: State, request: Request) -> Response {
    let result = tell(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn tell(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &CALL)?;
    let limit = parameters.number("limit").unwrap_or(LIMIT_DEFAULT);
    let question = TraceQuestion { detail: TraceDetail::Events, limit: usize::MAX };
    let answers = ask(app, &parameters, question).await?;
    let (revision, protocol) = (app.revision().0, app.handle.facts().protocol.name());
    Ok(write(&answers, limit, revision, protocol))
}

/// The answer, by what the nodes said.
pub(super) fn write(
    answers: &Answers,
    limit: u64,
    revision: u64,
    protocol: &'static str,
) -> Response {
    let elections = trace::elections(&answered(answers));
    let shown = elections.iter().take(usize::try_from(limit).unwrap_or(usize::MAX));
    let answer = Elections {
        protocol,
        elections: shown.map(election).collect(),
        nodes: nodes(answers),
        times: TIMES,
        revision,
    };
    answer::serialized(StatusCode::OK, &answer)
}

/// Asks every node for its memory, this one included.
pub(super) async fn ask(
    app: &App,
    parameters: &Parameters,
    question: TraceQuestion,
) -> Result<Answers, ApiError> {
    let _place = app.budget.comparison()?;
    let timeout = parameters.duration("timeout").unwrap_or(TIMEOUT_DEFAULT);
    let replies = app.handle.ask(Question::Trace(question), timeout).await;
    let content = |reply: Option<_>| match reply {
        Some(ReplyContent::Trace(trace)) => Some(trace),
        _ => None,
    };
    let answers = replies.into_iter();
    Ok(answers.map(|(node, reply)| (node, content(reply.map(|reply| reply.content)))).collect())
}

/// The memories of those that answered.
pub(super) fn answered(answers: &Answers) -> BTreeMap<NodeId, NodeTrace> {
    let answered = answers.iter().filter_map(|(&node, trace)| Some((node, trace.clone()?)));
    answered.collect()
}

/// Who answered.
pub(super) fn nodes(answers: &Answers) -> Vec<NodeJson<'_>> {
    let json = answers.iter().map(|(node, trace)| NodeJson {
        node: node.0,
        answered: trace.is_some(),
        boot: trace.as_ref().and_then(|trace| trace.boot.as_deref()),
        earlier_events: trace.as_ref().map(|trace| trace.earlier),
    });
    json.collect()
}

fn election(election: &Election) -> ElectionJson<'_> {
    let zero = election.phases.first().map_or(HostTime::default(), |phase| phase.time);
    let mut before = zero;
    let phases = election.phases.iter().map(|phase| {
        let took_ms = milliseconds(phase.time.since(before));
        before = phase.time;
        PhaseJson {
            phase: &phase.name,
            node: phase.node.0,
            at_ms: milliseconds(phase.time.since(zero)),
            took_ms,
            what: &phase.what,
        }
    });
    let followers = election.followers.iter().map(|follower| FollowerJson {
        node: follower.node.0,
        means: &follower.means,
        at_ms: milliseconds(follower.time.since(zero)),
        last_at_ms: milliseconds(follower.last.since(zero)),
        joined_later: follower.joined_later,
    });
    ElectionJson {
        term: election.term.map(|term| term.0),
        leader: election.leader.map(|leader| leader.0),
        former_leader: election.former_leader.map(|leader| leader.0),
        under_way: election.term.is_none(),
        cause: &election.cause,
        boot: election.boot.as_deref(),
        began_us: zero.0,
        phases: phases.collect(),
        durations_ms: durations(election),
        followers: followers.collect(),
        seen_by: election.nodes.iter().map(|node| view(node, zero)).collect(),
    }
}

fn durations(election: &Election) -> DurationsJson {
    let at = |name: &str| {
        election.phases.iter().find(|phase| phase.name == name).map(|phase| phase.time)
    };
    let between = |from: Option<HostTime>, to: Option<HostTime>| {
        from.zip(to).map(|(from, to)| milliseconds(to.since(from)))
    };
    let first = election.phases.first().map(|phase| phase.time);
    let elected = at("elected");
    // A leader that finds that no quorum answers it is the first to suspect itself, unless there is another already.
    let gave_up = at("stepped_down").filter(|&time| elected.is_none_or(|elected| time <= elected));
    let suspected = at("suspected").into_iter().chain(gave_up).min();
    let seen = at("fault_seen").filter(|&seen| suspected.is_none_or(|suspected| seen <= suspected));
    // The start of a node is no search yet.
    let sought = || {
        let names = ["looking", "pre_candidate", "candidate"];
        names.into_iter().filter_map(at).min()
    };
    let begun = suspected
        .or_else(|| at("hands_over"))
        .or_else(sought)
        .or_else(|| first.filter(|_| at("fault_seen").is_none()));
    DurationsJson {
        detection: between(seen, suspected),
        election: between(begun, elected),
        recovery: between(elected, at("first_commit")),
        outage: between(first, at("first_client_write")),
    }
}

fn view(view: &NodeView, zero: HostTime) -> ViewJson<'_> {
    let first = view.sights.first().map_or(zero, |sight| sight.time);
    let zero = if view.shares_axis { zero } else { first };
    let saw = view
        .sights
        .iter()
        .map(|sight| SightJson { at_ms: signed_milliseconds(zero, sight.time), what: &sight.what });
    ViewJson {
        node: view.node.0,
        shares_axis: view.shares_axis,
        joined_later: view.joined_later,
        saw: saw.collect(),
    }
}

/// Milliseconds with three decimals.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The same for what may lie before zero: a node that had lost the leader long before the others.
fn signed_milliseconds(zero: HostTime, time: HostTime) -> f64 {
    if time >= zero { milliseconds(time.since(zero)) } else { -milliseconds(zero.since(time)) }
}
