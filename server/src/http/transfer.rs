//! `POST /v1/cluster/transfer`: has another node lead. Any node may be asked.
//!
//! ```text
//! $ curl localhost:2379/v1/cluster/transfer -d '{"to": 2}'
//! {"leader":2,"from":1,"term":8,"took_ms":4.205,"revision":57}
//! ```
//!
//! Without a body, or without `to`, the leader chooses the most advanced of those connected with it.
//! The answer comes when the new leader is established. Writes that arrive meanwhile wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use consensus::NodeId;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::call::{self, Answer, Call, Content, RequestBody, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::parameters::{Parameters, refuse_idempotency_key};
use super::{App, State, answer, body, status};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "transfer_leadership",
    tag: Tag::Cluster,
    summary: "Has another node lead.",
    about: "Any node may be asked. The answer comes when the new leader is established; writes that \
            arrive meanwhile wait for it.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: Some(RequestBody {
        meaning: "Who is to lead; without it the leader chooses the most advanced node.",
        required: false,
        content: Content::Json(schema_of::<Transfer>),
    }),
    answers: &[Answer::ok("Another node leads now.", &[Content::Json(schema_of::<Transferred>)])],
    errors: &[
        call::BODY_ERRORS,
        call::JSON_ERRORS,
        &[
            ErrorName::NoSuccessor,
            ErrorName::CannotLead,
            ErrorName::TransferUnderWay,
            ErrorName::TransferFailed,
            ErrorName::NoLeader,
            ErrorName::ShuttingDown,
        ],
    ],
};

/// The longest body; a number needs far less.
const BODY_BYTES_MAX: usize = 4 << 10;

/// Who is to lead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Transfer {
    /// The node that is to lead.
    to: Option<u64>,
}

/// Another node leads.
#[derive(Debug, Serialize, JsonSchema)]
struct Transferred {
    leader: u64,
    /// Who led when this node was asked, as far as it knew.
    from: Option<u64>,
    term: u64,
    took_ms: f64,
    revision: u64,
}

/// The endpoint.
pub(super) async fn transfer(app: State, request: Request) -> Response {
    let result = hand_over(&app, request).await;
    app.answer(result)
}

async fn hand_over(app: &App, request: Request) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri().query(), &CALL)?;
    refuse_idempotency_key(request.headers())?;
    let timeout = parameters.timeout();
    let body = body::read(app, request, BODY_BYTES_MAX, ErrorName::BodyTooLarge).await?;
    let to = parse(&body.bytes)?.to.map(NodeId);
    let facts = app.handle.facts();
    check(&facts.members, &facts.observers, &app.handle.lost_voters(), to)?;
    let from = status::leader(app.handle.status().consensus.leadership, facts.id);
    let began = Instant::now();
    let leader = app.handle.transfer(to, timeout).await?;
    let answer = Transferred {
        leader: leader.0,
        from: from.map(|id| id.0),
        term: app.handle.status().consensus.leadership.term().map_or(0, |term| term.0),
        took_ms: status::milliseconds(began.elapsed()),
        revision: app.revision().0,
    };
    Ok(answer::serialized(StatusCode::OK, &answer))
}

/// Refuses what no leader could do, given which voters lost their data directories.
fn check(
    members: &BTreeMap<NodeId, String>,
    observers: &BTreeSet<NodeId>,
    lost: &BTreeSet<NodeId>,
    to: Option<NodeId>,
) -> Result<(), ApiError> {
    let voters = || members.keys().filter(|id| !observers.contains(id));
    let listed = || voters().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ");
    match to {
        Some(to) if observers.contains(&to) => Err(ApiError::new(
            ErrorName::CannotLead,
            format!("node {} is an observer and can not lead; the voters are {}", to.0, listed()),
        )),
        Some(to) if lost.contains(&to) => Err(ApiError::new(
            ErrorName::CannotLead,
            format!("node {} lost its data directory: it follows, but never votes or leads", to.0),
        )),
        Some(to) if !members.contains_key(&to) => Err(ApiError::new(
            ErrorName::InvalidBody,
            format!("node {} is not a member; the voters are {}", to.0, listed()),
        )),
        None if voters().count() == 1 => Err(ApiError::new(
            ErrorName::CannotLead,
            "the cluster has only one voter: there is nobody to hand leadership to",
        )),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Transfer, ApiError> {
    let invalid = |cause: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorName::InvalidBody,
            format!("the body is not {{\"to\": NODE}}, which may be left out: {cause}"),
        )
    };
    match body.trim_ascii_start().first() {
        None => Ok(Transfer::default()),
        // A list of the right length would pass for an object, too.
        Some(b'{') => serde_json::from_slice(body).map_err(|error| invalid(&error)),
        Some(_) => Err(invalid(&"it is no JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_an_object_with_a_node_or_nothing() {
        assert_eq!(parse(b"").expect("nothing").to, None);
        assert_eq!(parse(b" {} ").expect("nobody named").to, None);
        assert_eq!(parse(b"{\"to\": 2}").expect("a node").to, Some(2));
        for wrong in ["[2]", "2", "{\"to\": \"2\"}", "{\"to\": -1}", "{\"node\": 2}", "{"] {
            let error = parse(wrong.as_bytes()).expect_err(wrong);
            assert_eq!(error.name, ErrorName::InvalidBody, "{wrong}");
        }
    }

    #[test]
    fn only_members_can_lead_and_nobody_hands_over_to_nobody() {
        let name = |voters: u64, observers: u64, to: Option<u64>| {
            let members = (1..=voters + observers).map(|id| (NodeId(id), String::new())).collect();
            let observers = (voters + 1..=voters + observers).map(NodeId).collect();
            let lost = BTreeSet::from([NodeId(3)]);
            check(&members, &observers, &lost, to.map(NodeId)).map_err(|error| error.name)
        };
        assert_eq!(name(3, 0, Some(2)), Ok(()));
        assert_eq!(name(3, 0, Some(3)), Err(ErrorName::CannotLead));
        assert_eq!(name(3, 0, Some(4)), Err(ErrorName::InvalidBody));
        assert_eq!(name(1, 0, None), Err(ErrorName::CannotLead));
        assert_eq!(name(1, 0, Some(1)), Ok(()));
        assert_eq!(name(3, 0, None), Ok(()));
        assert_eq!(name(3, 1, Some(4)), Err(ErrorName::CannotLead));
        assert_eq!(name(1, 1, None), Err(ErrorName::CannotLead));
    }
}
