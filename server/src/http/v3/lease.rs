//! `POST /v3/lease/…`.
//!
//! ```text
//! $ curl localhost:2379/v3/lease/grant -d '{"TTL":60}'
//! {"header":{…},"ID":"5","TTL":"60"}
//! $ curl localhost:2379/v3/lease/keepalive -d '{"ID":"5"}'
//! {"result":{"header":{…},"ID":"5","TTL":"60"}}
//! $ curl localhost:2379/v3/lease/timetolive -d '{"ID":"5","keys":true}'
//! {"header":{…},"ID":"5","TTL":"58","grantedTTL":"60"}
//! ```
//!
//! Times are told in whole seconds; what is left is rounded up, so that a lease that lives has 1 at least.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use kvcore::{Command, LeaseCommand, LeaseId, Outcome, Revision};
use tokio::sync::mpsc;
use tokio::time::timeout as within;
use tracing::Instrument as _;

use super::context::{Asked, read, timeout};
use super::error::{Refusal, Refused};
use super::fulfilled;
use super::message::{
    Empty, HeaderResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse,
    LeaseLeasesResponse, LeaseRequest, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, signed,
};
use super::protojson;
use super::requests::Requests;
use super::stream::{Batch, stream};
use crate::http::App;
use crate::node::handle::{Consistency, Written};

/// The shortest time of a lease, in seconds, as in an etcd with its defaults: whoever wants less gets this.
const TTL_SECONDS_MIN: i64 = 2;
/// The leases that are looked at under one hold of the machine's lock.
const STEP_LEASES_MAX: usize = 4096;
/// How long a client has to take the last message of a stream.
const LAST_MESSAGE_TIME_MAX: Duration = Duration::from_secs(1);

/// The endpoint `grant`.
pub(super) async fn grant(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<LeaseGrantRequest>(app, request).await?;
    let (lease, ttl_millis, revision) =
        app.grant_lease(LeaseId::new(message.id), message.ttl, timeout).await?;
    fulfilled(
        app,
        &LeaseGrantResponse {
            header: Some(app.header(revision)),
            id: lease.get(),
            ttl: seconds(ttl_millis),
            error: String::new(),
        },
    )
}

/// The endpoint `revoke`.
pub(super) async fn revoke(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<LeaseRequest>(app, request).await?;
    let lease = LeaseId::new(message.id).ok_or(Refusal::LeaseNotFound)?;
    let revision = app.revoke_lease(lease, timeout).await?;
    fulfilled(app, &HeaderResponse { header: Some(app.header(revision)) })
}

/// The endpoint `timetolive`.
pub(super) async fn time_to_live(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<LeaseTimeToLiveRequest>(app, request).await?;
    let lease = LeaseId::new(message.id);
    let time = match lease {
        Some(lease) => app.handle.lease_time(lease, timeout).await?,
        None => None,
    };
    let mut response = LeaseTimeToLiveResponse { id: message.id, ttl: -1, ..Default::default() };
    if let Some(time) = time {
        response.ttl = seconds(time.remaining_millis);
        response.granted_ttl = seconds(time.ttl_millis);
    }
    // Where it is known to be, this node may not know it yet.
    if let (Some(lease), Some(_), true) = (lease, time, message.keys) {
        app.handle.barrier(Consistency::Linearizable, timeout).await?;
        let machine = app.handle.machine().read().expect("no holder of the machine panics");
        response.keys = machine.lease_keys(lease);
    }
    response.header = Some(app.header(app.revision()));
    fulfilled(app, &response)
}

/// The endpoint `leases`.
pub(super) async fn leases(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { timeout, .. } = read::<Empty>(app, request).await?;
    app.handle.barrier(Consistency::Linearizable, timeout).await?;
    let leases = app.off_thread(App::all_leases).await?;
    let header = Some(app.header(app.revision()));
    fulfilled(app, &LeaseLeasesResponse { header, leases })
}

/// The endpoint `keepalive`: an answer to each request of the body, until it ends. The first is awaited
/// before the answer begins, so that what is wrong with it is told with its status.
pub(super) async fn keep_alive(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let timeout = timeout(request.headers());
    let mut requests = Requests::new(request.into_body());
    let first = within(app.limits.read_timeout, requests.next()).await.map_err(|_| {
        let waited = humantime::format_duration(app.limits.read_timeout);
        Refused::with(Refusal::BadBody, format!("no request came within {waited}"))
    })??;
    let (sender, response) = stream();
    if let Some(first) = first {
        let first = app.renew(&first, timeout).await?;
        let session = Session { app: Arc::clone(app), requests, sender, timeout };
        tokio::spawn(session.run(first).in_current_span());
    }
    Ok(response)
}

/// A stream of keepalives.
struct Session {
    app: Arc<App>,
    requests: Requests,
    sender: mpsc::Sender<VecDeque<Bytes>>,
    timeout: Duration,
}

impl Session {
    async fn run(mut self, first: LeaseKeepAliveResponse) {
        let mut next = Some(first);
        while let Some(response) = next {
            let mut batch = Batch::default();
            batch.push(&response);
            if self.sender.send(batch.take()).await.is_err() {
                // The client is gone.
                return;
            }
            let answered = tokio::select! {
                answered = async {
                    match self.requests.next().await? {
                        Some(request) => self.app.renew(&request, self.timeout).await.map(Some),
                        None => Ok(None),
                    }
                } => answered,
                () = self.sender.closed() => return,
                () = self.app.stopped() => Err(Refusal::Stopped.into()),
            };
            next = match answered {
                Ok(next) => next,
                Err(refused) => {
                    let last = VecDeque::from([refused.to_stream_message()]);
                    // A client that does not read is not told.
                    let _ = within(LAST_MESSAGE_TIME_MAX, self.sender.send(last)).await;
                    return;
                }
            };
        }
    }
}

impl App {
    /// Grants a lease for so many seconds. Returns its number, its time in milliseconds, and the revision.
    pub(super) async fn grant_lease(
        &self,
        lease: Option<LeaseId>,
        ttl_seconds: i64,
        timeout: Duration,
    ) -> Result<(LeaseId, u64, Revision), Refused> {
        let ttl_millis = ttl_seconds.max(TTL_SECONDS_MIN).unsigned_abs().saturating_mul(1000);
        let command = Command::Lease(LeaseCommand::Grant { lease, ttl_millis });
        command.check()?;
        let Written { outcome, revision, .. } = self.handle.write(command, None, timeout).await?;
        match outcome {
            Outcome::Granted { lease, ttl_millis } => Ok((lease, ttl_millis, revision)),
            other => Err(Refused::of_outcome(other)),
        }
    }

    /// Ends a lease, and deletes its keys. Returns the revision.
    pub(super) async fn revoke_lease(
        &self,
        lease: LeaseId,
        timeout: Duration,
    ) -> Result<Revision, Refused> {
        let command = Command::Lease(LeaseCommand::Revoke { lease });
        let Written { outcome, revision, .. } = self.handle.write(command, None, timeout).await?;
        match outcome {
            Outcome::LeaseEnded { .. } => Ok(revision),
            other => Err(Refused::of_outcome(other)),
        }
    }

    /// Answers one request of a stream. The revision is one from before the renewal.
    async fn renew(
        &self,
        request: &[u8],
        timeout: Duration,
    ) -> Result<LeaseKeepAliveResponse, Refused> {
        let LeaseRequest { id } = protojson::decode(request)?;
        let header = Some(self.header(self.revision()));
        let renewed = match LeaseId::new(id) {
            Some(lease) => self.handle.keep_alive(lease, timeout).await?,
            None => None,
        };
        Ok(LeaseKeepAliveResponse { header, id, ttl: renewed.map_or(0, seconds) })
    }

    fn all_leases(&self) -> Vec<LeaseStatus> {
        let mut leases = Vec::new();
        let mut last = None;
        loop {
            let machine = self.handle.machine().read().expect("no holder of the machine panics");
            let step = machine.leases(last, STEP_LEASES_MAX);
            drop(machine);
            leases.extend(step.iter().map(|(lease, _)| LeaseStatus { id: lease.get() }));
            match step.last() {
                Some((lease, _)) if step.len() == STEP_LEASES_MAX => last = Some(*lease),
                _ => return leases,
            }
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(millis: u64) -> i64 {
    signed(millis.div_ceil(1000))
}
