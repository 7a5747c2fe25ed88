//! `GET /v1/agree`: do all replicas have the same?
//!
//! ```text
//! $ curl 'localhost:2379/v1/agree?key=greeting'
//! $ curl localhost:2379/v1/agree
//! ```
//!
//! With a key: its value and revision on every replica. Without: a digest of the whole store on
//! every replica, at one revision that all of them have: after the same log entry, so that what leaves
//! the revision as it is, is compared, too. The digest covers all that a replica's state says: the
//! current rows, the revision up to which history is compacted, the idempotency keys, the store's time,
//! and the entry itself. Each replica answers from what it has applied, and one that is behind is asked
//! again until it has caught up or the time is over.
//!
//! Versions of a key that are no longer the current one are not in the digest: a replica may be
//! forgetting them while another still has them.
//!
//! `agree` is `false` only when it is certain that two replicas differ, and `null` when that could
//! not be found out: because one is only behind, or does not answer. Of a value of more than 64 KiB
//! the answer holds the length and a digest.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use consensus::{Index, NodeId};
use hyper::StatusCode;
use kvcore::store::StoreState;
use tokio::time::{Instant, sleep};

use super::call::{self, Answer, Call, Content, Kind, Parameter, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::json;
use super::parameters::Parameters;
use super::{App, State, answer, shapes};
use crate::node::handle::{KeyReply, Question, Reply, ReplyContent, ValueReply};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "agree",
    tag: Tag::Cluster,
    summary: "Do all replicas have the same?",
    about: "With `key`: its value and revision on every replica. Without: a digest of the whole store \
            on every replica, after one entry of the log that all of them have.",
    query: &[
        Parameter {
            name: "key",
            kind: Kind::Key,
            meaning: "The key to compare; the whole store when it is left out.",
        },
        call::SHORT_TIMEOUT,
    ],
    headers: &[],
    body: None,
    answers: &[Answer::ok(
        "What each replica has.",
        &[Content::Json(schema_of::<shapes::Agreement>)],
    )],
    errors: &[call::KEY_ERRORS, &[ErrorName::Overloaded]],
};

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
    let parameters = Parameters::parse(request.uri.query(), &CALL)?;
    let timeout = parameters.duration("timeout");
    let _place = app.budget.comparison()?;
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
    /// The entry after which the states are.
    at: Option<Index>,
    replies: Replies,
}

impl Verdict {
    /// Whether all who answered have the same. `None` when that is not known, or fewer than two can
    /// be compared.
    fn agree(&self) -> Option<bool> {
        let replies: Vec<&Reply> = self.replies.values().flatten().collect();
        let pairs = replies.iter().enumerate();
        let compared: Vec<_> = pairs
            .flat_map(|(at, one)| replies[at + 1..].iter().map(|other| compare(one, other)))
            .collect();
        if compared.contains(&Some(false)) {
            return Some(false);
        }
        let alone = self.replies.len() == 1 && replies.iter().all(|reply| can_be_compared(reply));
        let all = compared.iter().all(|same| *same == Some(true));
        (alone && replies.len() == 1 || !compared.is_empty() && all).then_some(true)
    }

    /// The states that are known.
    fn states(&self) -> impl Iterator<Item = &StoreState> {
        self.replies.values().flatten().filter_map(|reply| match &reply.content {
            ReplyContent::State(state) => state.as_ref(),
            _ => None,
        })
    }

    /// Whether nothing is gained by asking again.
    fn settled(&self) -> bool {
        self.agree() == Some(true) && self.replies.values().all(Option::is_some)
    }
}

fn can_be_compared(reply: &Reply) -> bool {
    matches!(reply.content, ReplyContent::Key(_) | ReplyContent::State(Some(_)))
}

/// Whether two replicas have the same; `None` when one of them may only be behind.
fn compare(one: &Reply, other: &Reply) -> Option<bool> {
    // The same log up to the same entry makes the same state, compaction included.
    let state = |reply: &Reply| (reply.applied, reply.revision, reply.compacted);
    if one.applied.index == other.applied.index && state(one) != state(other) {
        return Some(false);
    }
    if !can_be_compared(one) || !can_be_compared(other) {
        return None;
    }
    match (&one.content, &other.content) {
        (ReplyContent::Key(here), ReplyContent::Key(there)) if here != there => {
            let (earlier, later) =
                if one.revision <= other.revision { (one, other) } else { (other, one) };
            // What the later one has since before the earlier one's revision, both must have.
            let both_must = match &later.content {
                ReplyContent::Key(Some(row)) => row.mod_revision <= earlier.revision,
                _ => false,
            };
            (both_must || one.revision == other.revision).then_some(false)
        }
        (here, there) => Some(here == there),
    }
}

/// Replicas that differ may only be unequally far; after a while in which they can catch up they
/// are told as they are.
async fn about_key(app: &App, key: Bytes, deadline: Instant) -> Verdict {
    loop {
        let replies = question(app, Question::Key(key.clone()), deadline).await;
        let verdict = Verdict { key: Some(key.clone()), at: None, replies };
        if verdict.settled() || verdict.agree() == Some(false) || late(deadline) {
            return verdict;
        }
        sleep(PAUSE).await;
    }
}

async fn about_store(app: &App, deadline: Instant) -> Verdict {
    loop {
        let now = question(app, Question::State(None), deadline).await;
        let at = now.values().flatten().map(|reply| reply.applied.index).min();
        let Some(at) = at else { return Verdict { key: None, at: None, replies: now } };
        let replies = question(app, Question::State(Some(at)), deadline).await;
        let verdict = Verdict { key: None, at: Some(at), replies };
        // States after one entry do not become equal by waiting.
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
        json::number_field(&mut out, "digest_index", at.0);
    }
    if let Some(state) = verdict.states().next() {
        json::number_field(&mut out, "digest_revision", state.revision.0);
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
    json::number_field(out, "compact_revision", reply.compacted.0);
    match &reply.content {
        ReplyContent::Key(Some(KeyReply { mod_revision, version, value })) => {
            json::field(out, "exists");
            json::boolean(out, true);
            json::number_field(out, "mod_revision", mod_revision.0);
            json::number_field(out, "version", *version);
            match value {
                ValueReply::Whole(value) => {
                    out.push(b',');
                    json::bytes_member(out, "value", value);
                }
                ValueReply::Digest { bytes, digest } => {
                    json::number_field(out, "value_bytes", *bytes);
                    json::field(out, "value_digest");
                    json::string(out, &format!("{digest:032x}"));
                }
            }
        }
        ReplyContent::Key(None) => {
            json::field(out, "exists");
            json::boolean(out, false);
        }
        ReplyContent::State(state) => {
            digest_field(out, "digest", state.map(|state| state.whole_digest()));
            // What it is made of, so that it can be seen where replicas differ.
            digest_field(out, "rows_digest", state.map(|state| state.digest));
            digest_field(out, "idempotency_digest", state.map(|state| state.idempotency_digest));
        }
        // A trace answers another question.
        ReplyContent::Failed | ReplyContent::Trace(_) => {
            json::field(out, "failed");
            json::string(out, "the node could not read its store");
        }
    }
}

fn digest_field(out: &mut Vec<u8>, name: &str, digest: Option<u128>) {
    json::field(out, name);
    match digest {
        Some(digest) => json::string(out, &format!("{digest:032x}")),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Position, Term, WallTime};
    use kvcore::Revision;

    use super::*;

    /// A replica at a revision, with a row of this revision.
    fn reply(revision: u64, row: Option<(u64, &'static str)>) -> Reply {
        let row = row.map(|(mod_revision, value)| KeyReply {
            mod_revision: Revision(mod_revision),
            version: 1,
            value: ValueReply::Whole(value.into()),
        });
        Reply {
            revision: Revision(revision),
            applied: Position { term: Term(1), index: Index(revision + 1) },
            compacted: Revision(0),
            content: ReplyContent::Key(row),
        }
    }

    fn verdict<const N: usize>(replies: [Option<Reply>; N]) -> Option<bool> {
        let replies = (1..).map(NodeId).zip(replies).collect();
        Verdict { key: None, at: None, replies }.agree()
    }

    #[test]
    fn replicas_agree_when_all_have_the_same_row() {
        let same = || Some(reply(7, Some((3, "v"))));
        assert_eq!(verdict([same(), same(), same()]), Some(true));
        assert_eq!(verdict([same(), Some(reply(9, Some((3, "v"))))]), Some(true));
        assert_eq!(verdict([same(), None, same()]), Some(true));
        assert_eq!(verdict([same()]), Some(true));
        assert_eq!(verdict([same(), None]), None);
        assert_eq!(verdict([None]), None);
    }

    #[test]
    fn a_replica_that_may_only_be_behind_does_not_disagree() {
        let (old, new) = (reply(7, Some((3, "v"))), reply(9, Some((8, "w"))));
        assert_eq!(verdict([Some(old.clone()), Some(new)]), None);
        assert_eq!(verdict([Some(old.clone()), Some(reply(9, None))]), None);
        assert_eq!(verdict([Some(reply(9, Some((8, "w")))), Some(old)]), None);
    }

    #[test]
    fn what_can_not_be_explained_by_lag_is_a_disagreement() {
        let here = || Some(reply(7, Some((3, "v"))));
        assert_eq!(verdict([here(), Some(reply(7, Some((3, "w"))))]), Some(false));
        assert_eq!(verdict([here(), Some(reply(7, None))]), Some(false));
        // The later one has had another row since before the earlier one's revision.
        assert_eq!(verdict([here(), Some(reply(9, Some((5, "w"))))]), Some(false));
        assert_eq!(verdict([here(), None, Some(reply(7, Some((3, "w"))))]), Some(false));
    }

    #[test]
    fn the_same_entry_applied_makes_the_same_revision_and_compaction() {
        let here = reply(7, Some((3, "v")));
        let compacted = Reply { compacted: Revision(2), ..here.clone() };
        assert_eq!(verdict([Some(here.clone()), Some(compacted.clone())]), Some(false));
        let further = Position { term: Term(1), index: Index(9) };
        let compacted = Reply { applied: further, ..compacted };
        assert_eq!(verdict([Some(here.clone()), Some(compacted)]), Some(true));
        let other_term = Position { term: Term(2), index: here.applied.index };
        let other = Reply { applied: other_term, ..here.clone() };
        assert_eq!(verdict([Some(here), Some(other)]), Some(false));
    }

    #[test]
    fn states_after_one_entry_are_compared_in_full_and_missing_ones_are_not() {
        let of = |state| Some(Reply { content: ReplyContent::State(state), ..reply(7, None) });
        let state = StoreState { applied: Position::new(1, 8), ..StoreState::default() };
        assert_eq!(verdict([of(Some(state)), of(Some(state))]), Some(true));
        for other in [
            StoreState { applied: Position::new(2, 8), ..state },
            StoreState { wall: WallTime(1), ..state },
            StoreState { revision: Revision(1), ..state },
            StoreState { compacted: Revision(1), ..state },
            StoreState { digest: 1, ..state },
            StoreState { idempotency_digest: 1, ..state },
            StoreState { idempotency_forgotten: Index(1), ..state },
        ] {
            assert_eq!(verdict([of(Some(state)), of(Some(state)), of(Some(other))]), Some(false));
        }
        assert_eq!(verdict([of(Some(state)), of(None)]), None);
        assert_eq!(verdict([of(None)]), None);
    }
}
