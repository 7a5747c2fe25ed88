//! `POST /v3/maintenance/…`, but for alarms and snapshots, and `POST /v3/auth/status`.
//!
//! ```text
//! $ curl localhost:2379/v3/maintenance/status -d '{}'
//! $ curl localhost:2379/v3/maintenance/hashkv -d '{"revision":"7"}'
//! $ curl localhost:2379/v3/maintenance/transfer-leadership -d '{"targetID":"2"}'
//! ```
//!
//! Hashes are parts of the digests that `/v1/agree` compares, so they are the same on all nodes that have
//! the same: `hashkv` after the same revision, `hash` after the same log entry.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use consensus::{Index, NodeId};
use kvcore::store::StoreState;
use kvcore::{RECENT_STATES_MAX, Revision};

use super::context::{Asked, read, revision_asked};
use super::error::{Refusal, Refused};
use super::fulfilled;
use super::message::{
    AuthStatusResponse, DowngradeInfo, Empty, HashKvRequest, HashKvResponse, HashResponse,
    MoveLeaderRequest, StatusResponse, signed,
};
use crate::http::App;
use crate::http::health::FULL;
use crate::http::status::leader;

/// The version of etcd whose API this is: digits only, because there are clients that take nothing else.
/// From 3.5 on they look for what is here below `/v3/`.
pub(in crate::http) const ETCD_VERSION: &str = "3.5.0";

/// The version that etcd's own store had when it was as the answers of this version are.
const STORAGE_VERSION: &str = "3.5.0";

/// The endpoint `status`: what this node has at hand, without asking anybody.
pub(super) async fn status(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    read::<Empty>(app, request).await?;
    let (facts, now) = (app.handle.facts(), app.handle.status());
    let (state, in_use) = {
        let machine = app.handle.machine().read().expect("no holder of the machine panics");
        (machine.state(), machine.stored_bytes())
    };
    let file = |app: &App| std::fs::metadata(app.handle.store_file()).map_or(0, |file| file.len());
    let bytes = app.off_thread(file).await?;
    let answer = StatusResponse {
        header: Some(app.header(state.revision)),
        version: ETCD_VERSION.to_owned(),
        db_size: signed(bytes),
        leader: leader(now.consensus.leadership, facts.id).map_or(0, |id| id.0),
        // The status is as of a moment ago; what is applied is committed.
        raft_index: now.consensus.commit.max(state.applied.index).0,
        raft_term: now.consensus.term.0,
        raft_applied_index: state.applied.index.0,
        errors: troubles(app),
        db_size_in_use: signed(in_use),
        is_learner: facts.observers.contains(&facts.id),
        storage_version: STORAGE_VERSION.to_owned(),
        db_size_quota: signed(app.handle.quota_bytes().unwrap_or(0)),
        downgrade_info: Some(DowngradeInfo::default()),
    };
    fulfilled(app, &answer)
}

/// What is wrong, in words: a full store as well, as etcd lists its alarms.
fn troubles(app: &App) -> Vec<String> {
    let full = app.handle.is_full().then(|| FULL.to_owned());
    let troubles = [app.handle.trouble(), app.handle.corruption(), full];
    troubles.into_iter().flatten().collect()
}

/// The endpoint `defragment`. There is nothing to do: the store uses again what is free.
pub(super) async fn defragment(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    read::<Empty>(app, request).await?;
    fulfilled(app, &Empty {})
}

/// The endpoint `hash`: of the whole state.
pub(super) async fn hash(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    read::<Empty>(app, request).await?;
    let state = app.handle.machine().read().expect("no holder of the machine panics").state();
    let header = Some(app.header(state.revision));
    fulfilled(app, &HashResponse { header, hash: folded(state.whole_digest()) })
}

/// The endpoint `hashkv`: of all keys as they were at a revision.
pub(super) async fn hash_kv(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, .. } = read::<HashKvRequest>(app, request).await?;
    let (state, revision) = app.state_at_revision(revision_asked(message.revision))?;
    let answer = HashKvResponse {
        header: Some(app.header(revision)),
        hash: folded(state.digest),
        compact_revision: compacted(state.compacted),
        hash_revision: signed(state.revision.0),
    };
    fulfilled(app, &answer)
}

/// The compacted revision as etcd tells it in a hash: -1 before the first compaction.
fn compacted(revision: Revision) -> i64 {
    if revision == Revision(0) { -1 } else { signed(revision.0) }
}

/// The endpoint `transfer-leadership`. Any node may be asked.
pub(super) async fn transfer(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<MoveLeaderRequest>(app, request).await?;
    let facts = app.handle.facts();
    let to = NodeId(message.target_id);
    let may_lead = facts.members.contains_key(&to)
        && !facts.observers.contains(&to)
        && !app.handle.lost_voters().contains(&to);
    if !may_lead {
        return Err(Refusal::BadTransferee.into());
    }
    app.handle.transfer(Some(to), timeout).await?;
    fulfilled(app, &Empty {})
}

/// The endpoint `auth/status`: it is not enabled, which is said by leaving it out. The revision is that of an
/// etcd where it never was.
pub(super) async fn auth_status(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    read::<Empty>(app, request).await?;
    let header = Some(app.header(app.revision()));
    fulfilled(app, &AuthStatusResponse { header, enabled: false, auth_revision: 1 })
}

/// A digest in 32 bits.
fn folded(digest: u128) -> u32 {
    let parts = [digest, digest >> 32, digest >> 64, digest >> 96];
    #[allow(clippy::cast_possible_truncation, reason = "each is a part of it")]
    parts.into_iter().fold(0, |folded, part| folded ^ part as u32)
}

impl App {
    /// The first state with a revision, or the current one, and the store's revision.
    fn state_at_revision(&self, at: Option<Revision>) -> Result<(StoreState, Revision), Refused> {
        let machine = self.handle.machine().read().expect("no holder of the machine panics");
        let now = machine.state();
        let Some(at) = at else { return Ok((now, now.revision)) };
        if at > now.revision {
            return Err(Refusal::FutureRevision.into());
        }
        if at < now.compacted {
            return Err(Refusal::Compacted.into());
        }
        let state = first_with(now.applied.index, at, |index| machine.state_at(index));
        state.map(|state| (state, now.revision)).ok_or_else(|| Refusal::HashForgotten.into())
    }
}

/// The state after the entry that made a revision, of those that are still known.
fn first_with(
    last: Index,
    revision: Revision,
    state_at: impl Fn(Index) -> Option<StoreState>,
) -> Option<StoreState> {
    let is_before = |index| state_at(index).is_none_or(|state| state.revision < revision);
    let mut low = last.0.saturating_sub(RECENT_STATES_MAX as u64);
    let mut high = last.0;
    // Everything before `low` is before it, or unknown; at `high` the revision is there.
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(Index(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    state_at(Index(high)).filter(|state| state.revision == revision)
}

#[cfg(test)]
mod tests {
    use consensus::Position;

    use super::*;

    #[test]
    fn the_state_of_a_revision_is_the_first_that_has_it() {
        // Entries 10 to 20 are known; only the even ones made a revision.
        let state_at = |index: Index| {
            let state = StoreState {
                applied: Position::new(1, index.0),
                revision: Revision(index.0 / 2),
                ..StoreState::default()
            };
            (10..=20).contains(&index.0).then_some(state)
        };
        let found = |revision| {
            first_with(Index(20), Revision(revision), state_at).map(|state| state.applied.index.0)
        };
        assert_eq!(found(10), Some(20));
        assert_eq!(found(9), Some(18));
        assert_eq!(found(6), Some(12));
        assert_eq!(found(4), None);
    }

    #[test]
    fn a_store_that_nothing_was_applied_to_has_a_state_too() {
        let first = StoreState { revision: Revision(1), ..StoreState::default() };
        let state_at = |index: Index| (index == Index(0)).then_some(first);
        assert_eq!(first_with(Index(0), Revision(1), state_at), Some(first));
    }

    #[test]
    fn every_part_of_a_digest_is_in_its_hash() {
        assert_eq!(folded(0), 0);
        for part in 0..4 {
            assert_eq!(folded(7 << (32 * part)), 7);
        }
    }
}
