//! `/v3`: etcd's API, as its JSON gateway speaks it.
//!
//! ```text
//! $ curl localhost:2379/v3/kv/put -d '{"key":"Zm9v","value":"YmFy"}'
//! {"header":{"cluster_id":"11587…","member_id":"1","revision":"2","raft_term":"1"}}
//! ```
//!
//! Every call is a POST with a message of JSON (`protojson`, `message`), whatever its content type
//! says. What goes wrong is in one table (`error`). `docs/etcd-api.md` says what is there, where it
//! differs from etcd, and why.
//!
//! A stream of answers is lines of JSON, `{"result":{…}}`, each of them one HTTP chunk (`stream`); the
//! requests of such a call are JSON objects one after another in one body, which may come late
//! (`requests`).

mod alarm;
mod cluster;
mod concurrency;
mod context;
pub mod error;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod kv;
mod lease;
mod maintenance;
pub(crate) mod message;
pub(crate) mod protojson;
mod requests;
mod snapshot;
mod stream;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use hyper::{Method, StatusCode};

use self::error::{Refusal, Refused};
pub(super) use self::maintenance::ETCD_VERSION;
use self::protojson::Json;
use super::{App, State, answer, body};

macro_rules! calls {
    ($($name:ident $path:literal $(| $alias:literal)*;)*) => {
        /// What can be called.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Call {
            $($name,)*
        }

        impl Call {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The call of a path without the version before it.
            fn of(path: &str) -> Option<Self> {
                match path {
                    $($path $(| $alias)* => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name under which it is counted.
            fn name(self) -> &'static str {
                match self { $(Self::$name => concat!("POST /v3/", $path),)* }
            }
        }
    };
}

calls! {
    Range "kv/range";
    Put "kv/put";
    DeleteRange "kv/deleterange";
    Txn "kv/txn";
    Compaction "kv/compaction";
    Watch "watch";
    LeaseGrant "lease/grant";
    LeaseRevoke "lease/revoke" | "kv/lease/revoke";
    LeaseKeepAlive "lease/keepalive";
    LeaseTimeToLive "lease/timetolive" | "kv/lease/timetolive";
    LeaseLeases "lease/leases" | "kv/lease/leases";
    Lock "lock/lock";
    Unlock "lock/unlock";
    Campaign "election/campaign";
    Proclaim "election/proclaim";
    Leader "election/leader";
    Observe "election/observe";
    Resign "election/resign";
    MemberList "cluster/member/list";
    MemberAdd "cluster/member/add";
    MemberRemove "cluster/member/remove";
    MemberUpdate "cluster/member/update";
    MemberPromote "cluster/member/promote";
    Alarm "maintenance/alarm";
    Status "maintenance/status";
    Defragment "maintenance/defragment";
    Hash "maintenance/hash";
    HashKv "maintenance/hashkv";
    Snapshot "maintenance/snapshot";
    TransferLeadership "maintenance/transfer-leadership";
    AuthStatus "auth/status";
    Auth "auth/enable" | "auth/disable" | "auth/authenticate"
        | "auth/user/add" | "auth/user/get" | "auth/user/list" | "auth/user/delete"
        | "auth/user/changepw" | "auth/user/grant" | "auth/user/revoke"
        | "auth/role/add" | "auth/role/get" | "auth/role/list" | "auth/role/delete"
        | "auth/role/grant" | "auth/role/revoke";
}

/// The routes below `/v3`, and below `/v3beta`, where etcd's earlier clients look for them.
pub(super) fn router() -> Router<Arc<App>> {
    ["/v3/", "/v3/{*call}", "/v3beta/", "/v3beta/{*call}"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(answer_call)))
}

/// The names under which requests are counted.
pub(super) fn call_names() -> impl Iterator<Item = &'static str> {
    Call::ALL.iter().map(|call| call.name())
}

/// The place of a request among [`call_names`], if it is a call.
pub(super) fn call(method: &str, path: &str) -> Option<usize> {
    let call = Call::of(below_version(path)?).filter(|_| method == "POST");
    call.map(|call| call as usize)
}

fn below_version(path: &str) -> Option<&str> {
    path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/"))
}

async fn answer_call(app: State, request: Request) -> Response {
    let call = below_version(request.uri().path()).and_then(Call::of);
    let result = match call {
        Some(_) if request.method() != Method::POST => {
            body::discard_all(request).await;
            Err(Refusal::WrongMethod.into())
        }
        Some(call) => carry_out(call, &app, request).await,
        None => {
            body::discard_all(request).await;
            Err(Refusal::UnknownPath.into())
        }
    };
    result.unwrap_or_else(|refused| refuse(&refused))
}

async fn carry_out(call: Call, app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    match call {
        Call::Range => kv::range(app, request).await,
        Call::Put => kv::put(app, request).await,
        Call::DeleteRange => Box::pin(kv::delete_range(app, request)).await,
        Call::Txn => Box::pin(kv::transact(app, request)).await,
        Call::Compaction => Box::pin(kv::compact(app, request)).await,
        Call::Watch => Box::pin(watch::watch(app, request)).await,
        Call::LeaseGrant => Box::pin(lease::grant(app, request)).await,
        Call::LeaseRevoke => Box::pin(lease::revoke(app, request)).await,
        Call::LeaseKeepAlive => Box::pin(lease::keep_alive(app, request)).await,
        Call::LeaseTimeToLive => Box::pin(lease::time_to_live(app, request)).await,
        Call::LeaseLeases => Box::pin(lease::leases(app, request)).await,
        Call::Lock => Box::pin(concurrency::lock(app, request)).await,
        Call::Unlock => Box::pin(concurrency::unlock(app, request)).await,
        Call::Campaign => Box::pin(concurrency::campaign(app, request)).await,
        Call::Proclaim => Box::pin(concurrency::proclaim(app, request)).await,
        Call::Leader => Box::pin(concurrency::leader(app, request)).await,
        Call::Observe => Box::pin(concurrency::observe(app, request)).await,
        Call::Resign => Box::pin(concurrency::resign(app, request)).await,
        Call::MemberList => Box::pin(cluster::list(app, request)).await,
        Call::MemberAdd | Call::MemberRemove | Call::MemberUpdate | Call::MemberPromote => {
            body::discard_all(request).await;
            Err(Refused::with(Refusal::Unsupported, "the members of a cluster can not be changed"))
        }
        Call::Alarm => Box::pin(alarm::alarm(app, request)).await,
        Call::Status => Box::pin(maintenance::status(app, request)).await,
        Call::Defragment => Box::pin(maintenance::defragment(app, request)).await,
        Call::Hash => Box::pin(maintenance::hash(app, request)).await,
        Call::HashKv => Box::pin(maintenance::hash_kv(app, request)).await,
        Call::Snapshot => Box::pin(snapshot::snapshot(app, request)).await,
        Call::TransferLeadership => Box::pin(maintenance::transfer(app, request)).await,
        Call::AuthStatus => Box::pin(maintenance::auth_status(app, request)).await,
        Call::Auth => {
            body::discard_all(request).await;
            Err(Refusal::AuthDisabled.into())
        }
    }
}

/// The answer to a call that is refused.
fn refuse(refused: &Refused) -> Response {
    answer::json(refused.refusal.code().status(), refused.to_json())
}

/// The answer to a call that is fulfilled.
fn fulfilled(app: &App, message: &impl Json) -> Result<Response, Refused> {
    let body = app.budget.read_answer(line(message).into())?;
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body))
}

/// A message as a line of its own.
fn line(message: &impl Json) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    message.write(&mut out);
    out.push(b'\n');
    out
}
