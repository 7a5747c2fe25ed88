//! `GET /v1/cluster`: who belongs to the cluster, as this node sees it.
//!
//! ```text
//! $ curl localhost:2379/v1/cluster
//! ```

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::parameters::Parameters;
use super::{App, State, answer, status};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "cluster",
    tag: Tag::Cluster,
    summary: "Tells who belongs to the cluster, as this node sees it.",
    about: "Answered from what the node has at hand, without asking anybody.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("The members.", &[Content::Json(schema_of::<Cluster<'_>>)])],
    errors: &[],
};

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Cluster<'a> {
    cluster: &'a str,
    protocol: &'static str,
    leader: Option<u64>,
    term: u64,
    /// How many voters must agree.
    quorum: usize,
    /// Whether the cluster is formed, as far as this node knows.
    formed: bool,
    /// Why this node does not serve as it should, and what to do.
    trouble: Option<String>,
    members: Vec<Member<'a>>,
    revision: u64,
}

/// A member.
#[derive(Debug, Serialize, JsonSchema)]
struct Member<'a> {
    node: u64,
    peer_address: &'a str,
    /// What it is by the configuration: `voter` or `observer`.
    configured: &'static str,
    /// What it counts as: as configured, but a voter that lost its data directory is an `observer`.
    standing: &'static str,
    /// Whether this is the node that answers.
    this: bool,
    leader: bool,
    /// Whether the answering node is connected to it.
    connected: bool,
    /// The data directory with which the cluster was formed, or which was heard of first.
    directory: Option<String>,
}

/// The endpoint.
pub(super) async fn cluster(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &CALL).map(|_| tell(&app));
    app.answer(result)
}

fn tell(app: &App) -> Response {
    let (facts, now) = (app.handle.facts(), app.handle.status());
    let leader = status::leader(now.consensus.leadership, facts.id);
    let formation = app.handle.formation();
    let peer = |id| now.consensus.peers.iter().find(|peer| peer.id == id);
    let own = now.consensus.standing;
    let members = facts.members.iter().map(|(id, address)| Member {
        node: id.0,
        peer_address: address,
        configured: facts.configured_standing(*id).name(),
        standing: peer(*id).map_or(own, |peer| peer.standing).name(),
        this: *id == facts.id,
        leader: Some(*id) == leader,
        connected: *id == facts.id || peer(*id).is_some_and(|peer| peer.connected),
        directory: formation.directories.get(id).map(ToString::to_string),
    });
    let answer = Cluster {
        cluster: &facts.cluster,
        protocol: facts.protocol.name(),
        leader: leader.map(|id| id.0),
        term: now.consensus.term.0,
        quorum: (facts.members.len() - facts.observers.len()) / 2 + 1,
        formed: formation.formed,
        trouble: app.trouble(),
        members: members.collect(),
        revision: app.revision().0,
    };
    answer::serialized(StatusCode::OK, &answer)
}
