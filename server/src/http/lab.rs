//! `/v1/lab`: provokes elections, and votes that split. Where faults are enabled.
//!
//! ```text
//! $ curl -X POST localhost:7002/v1/lab/campaign
//! $ curl -X POST localhost:7001/v1/lab/align-timers
//! $ curl -X POST localhost:7001/v1/lab/spread-timers
//! ```
//!
//! A campaign is what the election timer begins, at the node that is asked, whether it is due or not.
//! It need not change anything: who still hears the leader does not vote for another (Raft's PreVote),
//! or says whom it follows (ZAB).
//!
//! Aligned timers fire at moments that all nodes have in common, first of all at once, a moment after
//! the call. Chance, which parts the campaigns of several nodes, has no part then, until they are
//! spread again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::Request;
use axum::response::Response;
use consensus::{Leadership, Protocol, Standing};
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::faults::{NodeJson, admit, ask_all};
use super::{App, State, answer, body, status};
use crate::node::faults::LabWord;

/// What `POST /v1/lab/campaign` takes and answers.
pub(super) const CAMPAIGN: Call = Call {
    id: "campaign",
    tag: Tag::Faults,
    summary: "Has this node begin what its election timer begins, due or not.",
    about: "It need not change anything: who still hears the leader votes for nobody else (Raft), or \
            says whom it follows (ZAB). Where faults are enabled.",
    query: &[call::SHORT_TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("What came of it.", &[Content::Json(schema_of::<Campaign>)])],
    errors: &[ERRORS],
};

/// What `POST /v1/lab/align-timers` takes and answers.
pub(super) const ALIGN_TIMERS: Call = Call {
    id: "align_timers",
    tag: Tag::Faults,
    summary: "Has the election timers of all voters fire together, so that votes split.",
    about: "They stay aligned until they are spread, or the node starts again. Where faults are \
            enabled.",
    query: &[call::SHORT_TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("Who aligned them.", &[Content::Json(schema_of::<Timers>)])],
    errors: &[ERRORS],
};

/// What `POST /v1/lab/spread-timers` takes and answers.
pub(super) const SPREAD_TIMERS: Call = Call {
    id: "spread_timers",
    tag: Tag::Faults,
    summary: "Has the election timers fire when they are due, which chance keeps apart.",
    about: "Where faults are enabled.",
    query: &[call::SHORT_TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("Who spread them.", &[Content::Json(schema_of::<Timers>)])],
    errors: &[ERRORS],
};

/// The errors of these calls.
const ERRORS: &[ErrorName] = &[
    ErrorName::FaultsDisabled,
    ErrorName::CannotLead,
    ErrorName::BodyTooLarge,
    ErrorName::BodyTruncated,
    ErrorName::BodyTimeout,
    ErrorName::Overloaded,
];

/// How long after the call aligned timers fire: every node has heard of it by then.
const ALIGNED_AFTER: Duration = Duration::from_millis(200);
/// For how long a campaign is at least looked at: its first messages are on their way.
const CAMPAIGN_BEGINS: Duration = Duration::from_millis(30);
/// How often.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// The answer to a campaign.
#[derive(Debug, Serialize, JsonSchema)]
struct Campaign {
    node: u64,
    /// Whether the node leads now.
    elected: bool,
    leader: Option<u64>,
    /// Who led when this node was asked, as far as it knew.
    from: Option<u64>,
    role: &'static str,
    term: u64,
    what: String,
    took_ms: f64,
    revision: u64,
}

/// The answer about timers.
#[derive(Debug, Serialize, JsonSchema)]
struct Timers {
    timers: &'static str,
    what: &'static str,
    nodes: Vec<NodeJson>,
    revision: u64,
}

/// `POST /v1/lab/campaign`.
pub(super) async fn campaign(app: State, request: Request) -> Response {
    let result = start_campaign(&app, request).await;
    app.answer(result)
}

/// `POST /v1/lab/align-timers`.
pub(super) async fn align_timers(app: State, request: Request) -> Response {
    let result = align(&app, request).await;
    app.answer(result)
}

/// `POST /v1/lab/spread-timers`.
pub(super) async fn spread_timers(app: State, request: Request) -> Response {
    let result = spread(&app, request).await;
    app.answer(result)
}

async fn start_campaign(app: &App, request: Request) -> Result<Response, ApiError> {
    let timeout = admit_without_body(app, &CAMPAIGN, request).await?;
    let id = app.handle.facts().id;
    let before = app.handle.status();
    if before.consensus.standing == Standing::Observer {
        let message = format!(
            "node {} has no vote, or not yet (/v1/status tells its standing): it never campaigns; ask \
             a voter",
            id.0
        );
        return Err(ApiError::new(ErrorName::CannotLead, message));
    }
    let from = status::leader(before.consensus.leadership, id);
    let began = Instant::now();
    let leads = |leadership| matches!(leadership, Leadership::Established { .. });
    let led = leads(before.consensus.leadership);
    let mut begun = led;
    if !led {
        let started = app.handle.campaign().ok_or_else(|| {
            ApiError::new(
                ErrorName::Overloaded,
                "the node's loop has too much to do to hear of it; nothing happened",
            )
        })?;
        begun = matches!(tokio::time::timeout(timeout, started).await, Ok(Ok(())));
    }
    let heard = Instant::now();
    // Then it leads, follows, or has found nobody in time.
    let is_over = |leadership: Leadership| {
        leads(leadership) || leadership != Leadership::None && heard.elapsed() >= CAMPAIGN_BEGINS
    };
    while begun && !is_over(app.handle.status().consensus.leadership) && began.elapsed() < timeout {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let now = app.handle.status();
    let leader = status::leader(now.consensus.leadership, id);
    let elected = leads(now.consensus.leadership);
    let what = match (leader, app.handle.facts().protocol) {
        _ if led => "it leads already: nothing was begun".to_owned(),
        _ if !begun => {
            "its loop has not come to it in time: it may stand still, for a fault pauses \
                        it; then it begins when that is healed"
                .to_owned()
        }
        _ if elected => format!("node {} leads now", id.0),
        (None, _) => "no leader is found yet: too few others hear it, or they do not answer; \
                      /v1/elections tells more"
            .to_owned(),
        (Some(leader), _) if Some(leader) != from => {
            format!("an election was held, and node {} leads now", leader.0)
        }
        (Some(leader), Protocol::Zab) => format!(
            "it looked for a leader, and the others said that they follow node {}, so that it does, \
             too: in ZAB a leader falls when its quorum leaves it",
            leader.0
        ),
        (Some(leader), _) => format!(
            "node {} leads on: who still hears the leader promises nobody a vote (PreVote), so that \
             one node can not depose it",
            leader.0
        ),
    };
    let answer = Campaign {
        node: id.0,
        elected,
        leader: leader.map(|id| id.0),
        from: from.map(|id| id.0),
        role: now.consensus.role,
        term: now.consensus.term.0,
        what,
        took_ms: status::milliseconds(began.elapsed()),
        revision: app.revision().0,
    };
    Ok(answer::serialized(StatusCode::OK, &answer))
}

async fn align(app: &App, request: Request) -> Result<Response, ApiError> {
    let timeout = admit_without_body(app, &ALIGN_TIMERS, request).await?;
    let at = SystemTime::now() + ALIGNED_AFTER;
    let at = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let word = LabWord::Align(u64::try_from(at).unwrap_or(u64::MAX));
    let what = "the election timers of all voters fire together in 0.2 s, and from then on only at \
                moments that they have in common, until they are spread or the node starts again";
    tell_all(app, &word, timeout, "aligned", what).await
}

async fn spread(app: &App, request: Request) -> Result<Response, ApiError> {
    let timeout = admit_without_body(app, &SPREAD_TIMERS, request).await?;
    let what = "the election timers fire when they are due, which chance keeps apart";
    tell_all(app, &LabWord::Spread, timeout, "spread", what).await
}

async fn tell_all(
    app: &App,
    word: &LabWord,
    timeout: Duration,
    timers: &'static str,
    what: &'static str,
) -> Result<Response, ApiError> {
    let replies = ask_all(app, word, timeout).await;
    let nodes = replies.iter().map(|(&node, reply)| NodeJson::of(node, reply)).collect();
    let answer = Timers { timers, what, nodes, revision: app.revision().0 };
    Ok(answer::serialized(StatusCode::OK, &answer))
}

/// What every one of these calls begins with.
async fn admit_without_body(
    app: &App,
    call: &'static Call,
    request: Request,
) -> Result<Duration, ApiError> {
    let timeout = admit(app, call, request.uri().query(), request.headers())?;
    let body = body::read(app, request, 0, ErrorName::BodyTooLarge).await?;
    debug_assert!(body.bytes.is_empty(), "no byte of it is allowed");
    if app.handle.facts().protocol == Protocol::Null {
        let message =
            "the protocol null has no elections; start the node with --protocol raft or zab";
        return Err(ApiError::new(ErrorName::CannotLead, message));
    }
    Ok(timeout)
}
