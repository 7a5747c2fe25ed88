//! `POST /v3/lock/…` and `/v3/election/…`, over transactions and leases as etcd has them.
//!
//! ```text
//! $ curl localhost:2379/v3/lock/lock -d '{"name":"bG9jaw=="}'
//! {"header":{…},"key":"bG9jay81"}
//! $ curl localhost:2379/v3/lock/unlock -d '{"key":"bG9jay81"}'
//! {"header":{…}}
//! ```
//!
//! Who wants a lock or an office stores a key below its name, which has the number of a lease in hex and
//! hangs on that lease. Of the keys there, the one that was created first has the lock. Everybody else
//! waits for the deletion of the key just before their own, so that each deletion wakes one of them
//! (`queue`).
//!
//! It is not: mutual exclusion by itself. Who believes to have a lock may have lost its lease a moment
//! ago. What is written under the lock should be guarded by the revision that created the key, which is
//! higher for each holder than for all before it.

mod election;
mod observe;
mod queue;

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use kvcore::{Command, Delete, DeleteOutcome, KeyValue, Keys, Outcome, Range, Revision};

pub(super) use self::election::{campaign, leader, proclaim, resign};
pub(super) use self::observe::observe;
use self::queue::{Candidacy, Won};
use super::context::{Asked, read, timeout_given};
use super::error::{Refusal, Refused};
use super::fulfilled;
use super::message::{HeaderResponse, LockRequest, LockResponse, UnlockRequest};
use crate::http::App;
use crate::http::read::MemoryOnly;
use crate::node::handle::Written;

/// The endpoint `lock`.
pub(super) async fn lock(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let time_max = timeout_given(request.headers());
    let LockRequest { name, lease } = read(app, request).await?.message;
    let candidacy = Candidacy { name, lease, proclaims: None };
    let Won { key, revision, .. } = queue::win(app, candidacy, time_max).await?;
    fulfilled(app, &LockResponse { header: Some(app.header(revision)), key })
}

/// The endpoint `unlock`. That there is no such key is no matter.
pub(super) async fn unlock(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<UnlockRequest>(app, request).await?;
    let delete = Delete::of(Keys::One(message.key));
    let command = Command::Delete { delete, conditions: Vec::new() };
    command.check()?;
    let Written { outcome, revision, .. } = app.handle.write(command, None, timeout).await?;
    match outcome {
        Outcome::Deleted(DeleteOutcome { .. }) => {
            fulfilled(app, &HeaderResponse { header: Some(app.header(revision)) })
        }
        other => Err(Refused::of_outcome(other)),
    }
}

/// What all keys of a lock or an election begin with.
fn prefix(name: &Bytes) -> Bytes {
    Bytes::from([&name[..], b"/"].concat())
}

/// The first key behind all of these.
fn prefix_end(name: &Bytes) -> Bytes {
    Bytes::from([&name[..], b"0"].concat())
}

/// That a lease does not exist is told of locks and elections under another code.
fn of_session(refused: Refused) -> Refused {
    match refused.refusal {
        Refusal::LeaseNotFound => Refusal::SessionLeaseNotFound.into(),
        _ => refused,
    }
}

impl App {
    /// A key as it is here and now, without its value.
    fn look_at(&self, key: &Bytes) -> Result<Option<KeyValue>, Refused> {
        let range = Range { keys_only: true, ..Range::of(Keys::One(key.clone())) };
        let machine = self.handle.machine().read().expect("no holder of the machine panics");
        let plan = machine.plan_range(&range)?;
        drop(machine);
        let found = plan.fetch(&MemoryOnly);
        Ok(found.expect("the index knows all but the value").key_values.pop())
    }

    /// Whether a key exists here and now that this revision created.
    fn is_there(&self, key: &Bytes, created: Revision) -> Result<bool, Refused> {
        let found = self.look_at(key)?;
        Ok(found.is_some_and(|found| found.create_revision == created))
    }
}
