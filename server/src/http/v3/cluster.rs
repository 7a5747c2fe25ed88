//! `POST /v3/cluster/member/list`.
//!
//! ```text
//! $ curl localhost:2379/v3/cluster/member/list -d '{}'
//! {"header":{…},"members":[{"ID":"1","name":"node-1","peerURLs":["http://127.0.0.1:2380"],"clientURLs":["http://127.0.0.1:2379"]}]}
//! ```
//!
//! A node knows where its own clients find it, and of the others only where peers do: `clientURLs` is told
//! of the member that answers.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;

use super::context::{Asked, read};
use super::error::Refused;
use super::fulfilled;
use super::message::{Member, MemberListRequest, MemberListResponse};
use crate::http::App;
use crate::node::handle::Consistency;

/// The endpoint.
pub(super) async fn list(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<MemberListRequest>(app, request).await?;
    if message.linearizable {
        app.handle.barrier(Consistency::Linearizable, timeout).await?;
    }
    let facts = app.handle.facts();
    let members = facts.members.iter().map(|(id, address)| Member {
        id: id.0,
        name: format!("node-{}", id.0),
        peer_urls: vec![format!("http://{address}")],
        client_urls: app
            .address
            .filter(|_| *id == facts.id)
            .map(|address| format!("http://{address}"))
            .into_iter()
            .collect(),
        is_learner: facts.observers.contains(id),
    });
    let answer = MemberListResponse {
        header: Some(app.header_without_revision()),
        members: members.collect(),
    };
    fulfilled(app, &answer)
}
