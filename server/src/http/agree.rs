//! `GET /v1/agree`: do all replicas have the same?
//!
//! ```text
//! $ curl 'localhost:2379/v1/agree?key=greeting'
//! $ curl localhost:2379/v1/agree
//! ```
//!
//! With a key: its value and revision on every replica. Without: a digest of the whole store on
//! every replica, at one revision that all of them have. Each replica answers from what it has
//! applied, and one that is behind is asked again until it has caught up or the time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use consensus::NodeId;
use hyper::StatusCode;
use kvcore::Revision;
use tokio::time::{Instant, sleep};

use super::error::{ApiError, ErrorName};
use super::json;
use super::parameters::Parameters;
use super::{App, State, answer};
use crate::node::handle::{Question, Reply, ReplyContent};

/// How long replicas that are behind are given to catch up when the request does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(20);

type Replies = BTreeMap<NodeId, Option<Reply>>;

/// The endpoint.
pub(super) async fn agree(app: State, request: Request) -> Response {
    let result = ask(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn ask(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &["key", "timeout"])?;
    let longest = Duration::from_secs(60);
    let timeout = parameters.duration("timeout", Duration::from_millis(1), longest)?;
    let deadline = Instant::now() + timeout.unwrap_or(TIMEOUT_DEFAULT);
    let verdict = match parameters.bytes("key") {
        Some(key) if key.is_empty() => {
            return Err(ApiError::new(
                ErrorName::KeyEmpty,
                "`key` is empty; to compare the whole store, leave it out",
            ));
        }
        Some(key) => about_key(app, key, deadline).await,
        None => about_store(app, deadline).await,
    };
    Ok(answer::json(StatusCode::OK, to_json(app, &verdict)))
}

/// What was found.
struct Verdict {
    key: Option<Bytes>,
    /// The revision that the digests are of.
    at: Option<Revision>,
    replies: Replies,
}

impl Verdict {
    /// Whether all who answered said the same. `None` when fewer than two can be compared.
    fn agree(&self) -> Option<bool> {
        let contents: Vec<_> =
            self.replies.values().flatten().map(|reply| &reply.content).collect();
        let comparable = contents
            .iter()
            .all(|content| !matches!(content, ReplyContent::Failed | ReplyContent::Digest(None)));
        match contents.split_first() {
            Some((first, rest)) if comparable && (!rest.is_empty() || self.replies.len() == 1) => {
                Some(rest.iter().all(|content| content == first))
            }
            _ => None,
        }
    }

    /// Whether nothing is gained by asking again.
    fn settled(&self) -> bool {
        self.agree() == Some(true) && self.replies.values().all(Option::is_some)
    }
}

/// Replicas that disagree may only be unequally far; after a while in which they can catch up they
/// are told as they are.
async fn about_key(app: &App, key: Bytes, deadline: Instant) -> Verdict {
    loop {
        let replies = question(app, Question::Key(key.clone()), deadline).await;
        let verdict = Verdict { key: Some(key.clone()), at: None, replies };
        let same_revision = {
            let mut revisions = verdict.replies.values().flatten().map(|reply| reply.revision);
            let first = revisions.next();
            revisions.all(|revision| Some(revision) == first)
        };
        let told = verdict.agree() == Some(false) && same_revision;
        if verdict.settled() || told || late(deadline) {
            return verdict;
        }
        sleep(PAUSE).await;
    }
}

async fn about_store(app: &App, deadline: Instant) -> Verdict {
    loop {
        let now = question(app, Question::Digest(None), deadline).await;
        let at = now.values().flatten().map(|reply| reply.revision).min();
        let Some(at) = at else { return Verdict { key: None, at: None, replies: now } };
        let replies = question(app, Question::Digest(Some(at)), deadline).await;
        let verdict = Verdict { key: None, at: Some(at), replies };
        // Digests of one revision do not become equal by waiting.
        if verdict.settled() || verdict.agree() == Some(false) || late(deadline) {
            return verdict;
        }
        sleep(PAUSE).await;
    }
}

fn late(deadline: Instant) -> bool {
    Instant::now() + PAUSE >= deadline
}

async fn question(app: &App, question: Question, deadline: Instant) -> Replies {
    let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
    app.handle.ask(question, left).await
}

fn to_json(app: &App, verdict: &Verdict) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"agree\":");
    match verdict.agree() {
        Some(agree) => json::boolean(&mut out, agree),
        None => out.extend_from_slice(b"null"),
    }
    let answered = verdict.replies.values().flatten().count();
    json::number_field(&mut out, "answered", answered as u64);
    json::number_field(&mut out, "members", verdict.replies.len() as u64);
    if let Some(key) = &verdict.key {
        out.push(b',');
        json::bytes_member(&mut out, "key", key);
    }
    if let Some(at) = verdict.at {
        json::number_field(&mut out, "digest_revision", at.0);
    }
    let most = verdict.replies.values().flatten().map(|reply| reply.applied.index).max();
    json::field(&mut out, "replicas");
    out.push(b'[');
    for (place, (node, reply)) in verdict.replies.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"node\":");
        json::number(&mut out, node.0);
        json::field(&mut out, "answered");
        json::boolean(&mut out, reply.is_some());
        if let Some(reply) = reply {
            let lag = most.map_or(0, |most| most.0 - reply.applied.index.0);
            replica(&mut out, reply, lag);
        }
        out.push(b'}');
    }
    out.push(b']');
    json::end(&mut out, app.revision());
    out
}

fn replica(out: &mut Vec<u8>, reply: &Reply, lag_entries: u64) {
    json::number_field(out, "revision", reply.revision.0);
    json::number_field(out, "applied_index", reply.applied.index.0);
    json::number_field(out, "applied_term", reply.applied.term.0);
    json::number_field(out, "lag_entries", lag_entries);
    match &reply.content {
        ReplyContent::Key(Some((mod_revision, version, value))) => {
            json::field(out, "exists");
            json::boolean(out, true);
            json::number_field(out, "mod_revision", mod_revision.0);
            json::number_field(out, "version", *version);
            out.push(b',');
            json::bytes_member(out, "value", value);
        }
        ReplyContent::Key(None) => {
            json::field(out, "exists");
            json::boolean(out, false);
        }
        ReplyContent::Digest(digest) => {
            json::field(out, "digest");
            match digest {
                Some(digest) => json::string(out, &format!("{digest:032x}")),
                None => out.extend_from_slice(b"null"),
            }
        }
        ReplyContent::Failed => {
            json::field(out, "failed");
            json::string(out, "the node could not read its store");
        }
    }
}
