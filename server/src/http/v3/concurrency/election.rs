//! `POST /v3/election/campaign`, `proclaim`, `leader` and `resign`.
//!
//! ```text
//! $ curl localhost:2379/v3/election/campaign -d '{"name":"b2ZmaWNl","lease":"5","value":"bWU="}'
//! {"header":{…},"leader":{"name":"b2ZmaWNl","key":"b2ZmaWNlLzU=","rev":"3","lease":"5"}}
//! $ curl localhost:2379/v3/election/leader -d '{"name":"b2ZmaWNl"}'
//! {"header":{…},"kv":{"key":"b2ZmaWNlLzU=","create_revision":"3",…,"value":"bWU=","lease":"5"}}
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use kvcore::{
    Compare, Delete, KeyValue, Keys, LeaseId, Operation, Put, PutLease, PutValue, Revision,
    Transaction,
};

use super::queue::{self, Candidacy, Won};
use super::{of_session, prefix, prefix_end};
use crate::http::App;
use crate::http::v3::context::{Asked, read, timeout_given};
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::fulfilled;
use crate::http::v3::kv::look_through;
use crate::http::v3::message::{
    CampaignRequest, CampaignResponse, HeaderResponse, LeaderKey, LeaderRequest, LeaderResponse,
    ProclaimRequest, RangeRequest, ResignRequest, SortTarget, signed,
};
use crate::node::handle::Consistency;

/// The endpoint `campaign`.
pub(in crate::http::v3) async fn campaign(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let time_max = timeout_given(request.headers());
    let CampaignRequest { name, lease, value } = read(app, request).await?.message;
    let candidacy = Candidacy { name: name.clone(), lease, proclaims: Some(value) };
    let Won { key, created, lease, revision } = queue::win(app, candidacy, time_max).await?;
    let leader = LeaderKey { name, key, rev: signed(created.0), lease: lease.get() };
    let header = Some(app.header(revision));
    fulfilled(app, &CampaignResponse { header, leader: Some(leader) })
}

/// The endpoint `proclaim`.
pub(in crate::http::v3) async fn proclaim(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<ProclaimRequest>(app, request).await?;
    let leader = message.leader.ok_or(Refusal::LeaderMissing)?;
    let put = Operation::Put(Put {
        value: PutValue::New(message.value),
        lease: LeaseId::new(leader.lease).map_or(PutLease::Keep, PutLease::Attach),
        ..Put::new(leader.key.clone(), Bytes::new())
    });
    match app.while_standing(leader, put, timeout).await? {
        (true, revision) => fulfilled(app, &HeaderResponse { header: Some(app.header(revision)) }),
        (false, _) => Err(Refusal::ElectionNotLeader.into()),
    }
}

/// The endpoint `resign`. That somebody else holds the office by now is no matter.
pub(in crate::http::v3) async fn resign(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<ResignRequest>(app, request).await?;
    let leader = message.leader.ok_or(Refusal::LeaderMissing)?;
    let delete = Operation::Delete(Delete::of(Keys::One(leader.key.clone())));
    let (_, revision) = app.while_standing(leader, delete, timeout).await?;
    fulfilled(app, &HeaderResponse { header: Some(app.header(revision)) })
}

/// The endpoint `leader`.
pub(in crate::http::v3) async fn leader(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<LeaderRequest>(app, request).await?;
    app.handle.barrier(Consistency::Linearizable, timeout).await?;
    let found = app.first_of(&message.name).await?.ok_or(Refusal::ElectionNoLeader)?;
    fulfilled(app, &app.leads(found))
}

impl App {
    /// Does something if a key is still there that was created by the revision that its holder says.
    /// Returns whether it was, and the revision.
    async fn while_standing(
        &self,
        leader: LeaderKey,
        operation: Operation,
        timeout: Duration,
    ) -> Result<(bool, Revision), Refused> {
        // No key was created by 0, or less; asked of the store, it would mean that there is none.
        let created = u64::try_from(leader.rev).ok().filter(|&revision| revision > 0);
        let created = Revision(created.unwrap_or(u64::MAX));
        let transaction = Transaction {
            compares: vec![Compare::is_created_by(leader.key, created)],
            success: vec![operation],
            failure: vec![],
        };
        let done = self.transact(transaction, timeout).await;
        done.map(|(outcome, revision)| (outcome.succeeded, revision)).map_err(of_session)
    }

    /// The key that holds an office here and now.
    pub(super) async fn first_of(
        self: &Arc<Self>,
        name: &Bytes,
    ) -> Result<Option<KeyValue>, Refused> {
        let request = RangeRequest {
            key: prefix(name),
            range_end: prefix_end(name),
            sort_target: SortTarget::Create,
            limit: 1,
            ..RangeRequest::default()
        };
        let mut first = None;
        look_through(self, request, |found| first = Some(found)).await?;
        Ok(first)
    }

    /// Who holds an office.
    pub(super) fn leads(&self, found: KeyValue) -> LeaderResponse {
        let revision = self.revision().max(found.mod_revision);
        LeaderResponse { header: Some(self.header(revision)), kv: Some(found.into()) }
    }
}
