//! `GET /v1/status`: what this node is, knows and waits for.
//!
//! ```text
//! $ curl localhost:2379/v1/status
//! ```
//!
//! It is answered from what the node has at hand, without asking anybody, so it answers when
//! nothing else does.

use axum::extract::Request;
use axum::response::Response;
use consensus::{Leadership, NodeId, Position, Protocol};
use hyper::StatusCode;
use kvcore::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_WINDOW_MILLIS};
use schemars::JsonSchema;
use serde::Serialize;

use super::alarms::{self, Alarm};
use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::parameters::Parameters;
use super::{App, State, answer};
use crate::node::handle::NodeFacts;

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "status",
    tag: Tag::Cluster,
    summary: "Tells what this node is, knows and waits for.",
    about: "Answered from what the node has at hand, so it answers when nothing else does.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("This node.", &[Content::Json(schema_of::<Status<'_>>)])],
    errors: &[],
};

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Status<'a> {
    node: u64,
    protocol: &'static str,
    cluster: &'a str,
    version: &'static str,
    role: &'static str,
    /// Whether this node counts: `voter` or `observer`.
    standing: &'static str,
    phase: Option<&'static str>,
    /// Whether the cluster is formed, as far as this node knows.
    formed: bool,
    leader: Option<u64>,
    /// The term (Raft) or epoch (ZAB).
    term: u64,
    /// The last position of the log in the protocol's own words, and in the other protocol's.
    position: &'a str,
    position_elsewhere: String,
    last_index: u64,
    commit_index: u64,
    applied_index: u64,
    durable_index: u64,
    last_fsync_ms: f64,
    requests_pending: usize,
    persists_pending: usize,
    trouble: Option<String>,
    /// What a user of this node must know: that nothing is durable, if it was started so.
    warnings: Vec<String>,
    mechanisms: Mechanisms,
    alarms: Vec<Alarm>,
    /// What goes wrong at this node on purpose.
    faults: usize,
    keys: usize,
    compact_revision: u64,
    store: Store,
    idempotency_keys: IdempotencyKeys,
    peers: Vec<Peer<'a>>,
    directory: String,
    uptime_ms: u64,
    revision: u64,
}

/// What this node does to be durable, fast and soon back, each of which experiments can do without.
#[derive(Debug, Serialize, JsonSchema)]
struct Mechanisms {
    fsync: bool,
    batching: bool,
    max_inflight_messages: usize,
    /// Raft's alone.
    pre_vote: Option<bool>,
    /// Raft's alone.
    election_jitter_ms: Option<f64>,
    /// ZAB's alone.
    finalize_wait_ms: Option<f64>,
    /// What makes a leader suspected: `connection` or `silence`.
    failure_detector: &'static str,
    /// When followers hear of a commit: `immediate` or `piggybacked`.
    commit_notices: &'static str,
}

impl Mechanisms {
    fn of(facts: &NodeFacts) -> Self {
        let its = facts.mechanisms;
        let only = |protocol| facts.protocol == protocol;
        Self {
            fsync: its.fsync,
            batching: its.batching,
            max_inflight_messages: its.inflight_messages_max,
            pre_vote: only(Protocol::Raft).then_some(its.pre_vote),
            election_jitter_ms: only(Protocol::Raft).then_some(milliseconds(its.election_jitter)),
            finalize_wait_ms: only(Protocol::Zab).then_some(milliseconds(its.finalize_wait)),
            failure_detector: if its.suspect_on_connection_loss { "connection" } else { "silence" },
            commit_notices: if its.immediate_commit_notices { "immediate" } else { "piggybacked" },
        }
    }
}

/// What the state machine holds in memory.
#[derive(Debug, Serialize, JsonSchema)]
struct Store {
    versions: usize,
    /// The bytes of all versions, with what each takes besides key and value.
    row_bytes: usize,
    /// The bytes of leases, counters of sequential keys, families and alarms.
    record_bytes: usize,
    /// The most of both together before writes that store something are refused.
    quota_bytes: Option<u64>,
    overlay_rows: usize,
    overlay_bytes: usize,
    index_bytes: usize,
    unflushed_entries: usize,
}

/// The keys of writes that are not done twice.
#[derive(Debug, Serialize, JsonSchema)]
struct IdempotencyKeys {
    /// How many are remembered, and how many can be: the oldest is forgotten for the next.
    remembered: usize,
    remembered_max: usize,
    /// How long a key is remembered at most, by the clocks of the leaders.
    window_ms: u64,
}

/// Another node.
#[derive(Debug, Serialize, JsonSchema)]
struct Peer<'a> {
    node: u64,
    address: Option<&'a str>,
    /// Whether it votes, by its last connection.
    standing: &'static str,
    connected: bool,
    /// At a leader: the last index durable there, and how many entries it is behind.
    matched_index: Option<u64>,
    lag_entries: Option<u64>,
    replication: Option<&'static str>,
    round_trip_ms: Option<f64>,
}

/// The endpoint.
pub(super) async fn status(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &CALL).map(|_| tell(&app));
    app.answer(result)
}

fn tell(app: &App) -> Response {
    let (facts, status) = (app.handle.facts(), app.handle.status());
    let (statistics, alarms) = {
        let machine = app.handle.machine().read().expect("no holder of the machine panics");
        (machine.statistics(), alarms::told(machine.alarms()))
    };
    let consensus = &status.consensus;
    let peers = consensus.peers.iter().map(|peer| Peer {
        node: peer.id.0,
        address: facts.members.get(&peer.id).map(String::as_str),
        standing: peer.standing.name(),
        connected: peer.connected,
        matched_index: peer.matched.map(|index| index.0),
        lag_entries: peer.matched.map(|index| consensus.last.index.0.saturating_sub(index.0)),
        replication: peer.replication,
        round_trip_ms: peer.round_trip.map(milliseconds),
    });
    let answer = Status {
        node: facts.id.0,
        protocol: facts.protocol.name(),
        cluster: &facts.cluster,
        version: env!("CARGO_PKG_VERSION"),
        role: consensus.role,
        standing: consensus.standing.name(),
        phase: consensus.phase,
        formed: app.handle.formation().formed,
        leader: leader(consensus.leadership, facts.id).map(|id| id.0),
        term: consensus.term.0,
        position: &status.position,
        position_elsewhere: elsewhere(facts.protocol, consensus.last),
        last_index: consensus.last.index.0,
        commit_index: consensus.commit.0,
        applied_index: status.applied.0,
        durable_index: consensus.durable.0,
        last_fsync_ms: milliseconds(status.last_fsync),
        requests_pending: status.requests_pending,
        persists_pending: status.persists_pending,
        trouble: app.trouble(),
        warnings: facts.mechanisms.warnings(),
        mechanisms: Mechanisms::of(facts),
        alarms,
        faults: app.handle.faults(),
        keys: statistics.keys,
        compact_revision: statistics.compacted.0,
        store: Store {
            versions: statistics.versions,
            row_bytes: statistics.row_bytes,
            record_bytes: statistics.record_bytes,
            quota_bytes: app.handle.quota_bytes(),
            overlay_rows: statistics.overlay_rows,
            overlay_bytes: statistics.overlay_bytes,
            index_bytes: statistics.index_bytes,
            unflushed_entries: statistics.unflushed_entries,
        },
        idempotency_keys: IdempotencyKeys {
            remembered: statistics.idempotency_keys,
            remembered_max: IDEMPOTENCY_KEYS_MAX,
            window_ms: IDEMPOTENCY_WINDOW_MILLIS,
        },
        peers: peers.collect(),
        directory: format!("{:032x}", facts.directory),
        uptime_ms: u64::try_from(facts.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        revision: statistics.revision.0,
    };
    answer::serialized(StatusCode::OK, &answer)
}

/// The leader that a node knows, perhaps itself.
pub(crate) fn leader(leadership: Leadership, own: NodeId) -> Option<NodeId> {
    match leadership {
        Leadership::None => None,
        Leadership::Following { leader, .. } => Some(leader),
        Leadership::Established { .. } => Some(own),
    }
}

/// The bridge to the other protocol: how it would speak of this position. ZAB's counter starts anew
/// in each epoch, which Raft's index does not, so the two can not be the same number.
fn elsewhere(protocol: Protocol, position: Position) -> String {
    let Position { term, index } = position;
    match protocol {
        Protocol::Zab => format!("Raft would say term={term} index={index}"),
        Protocol::Raft => {
            format!("ZAB would say epoch={term}, entry {index} of all epochs together")
        }
        Protocol::Null => format!("Raft would say term={term} index={index}"),
    }
}

/// Milliseconds with three decimals.
pub(super) fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
