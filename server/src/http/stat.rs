//! `GET /v1/kv/{key}?stat`: what ZooKeeper tells of a node, under its names.
//!
//! ```text
//! $ curl localhost:2379/v1/kv/app?stat
//! {"key":"app","stat":{"czxid":2,"mzxid":3,"pzxid":4,"ctime":1795424441817,"mtime":1795424441839,
//! "version":1,"cversion":1,"aversion":0,"ephemeralOwner":0,"dataLength":6,"numChildren":1},"revision":4}
//! ```
//!
//! What each field is derived from stands at [`kvcore::Stat`].

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use kvcore::{FetchError, LeaseId, ReadError, Revision, RowId, Stat, StatPlanner, Store};

use super::call::{Kind, Parameter};
use super::error::ApiError;
use super::read::{self, MemoryOnly};
use super::{App, answer, json, key};

/// Asks for it.
pub(super) const STAT: Parameter = Parameter {
    name: "stat",
    kind: Kind::Flag,
    meaning: "Whether the answer is what ZooKeeper tells of a node, instead of the value. Not together with \
              `raw` or `revision`.",
};

/// The keys that are looked at under one lock of the state machine.
const STEP_KEYS_MAX: usize = 2048;

/// A stat and the revision that it is of; none if the key does not exist.
type Told = (Option<Stat>, Revision);

/// Answers with the stat of a key as it is now. The barrier is behind.
pub(super) async fn tell(app: &Arc<App>, key: Bytes) -> Result<Response, ApiError> {
    let (told, revision) = match app.stat_in_memory(&key) {
        Some(told) => told,
        None => {
            let key = key.clone();
            app.off_thread(move |app| app.read_stat(&key)).await??
        }
    };
    let stat = told.ok_or_else(|| key::not_found(&key, None))?;
    let body = app.budget.read_answer(to_json(&key, &stat, revision).into())?;
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body))
}

impl App {
    /// The stat of a key with few children whose row is in memory.
    fn stat_in_memory(&self, key: &Bytes) -> Option<Told> {
        let mut planner = StatPlanner::new(key.clone());
        let machine = self.handle.machine().read().expect("no holder of the machine panics");
        machine.plan_stat_step(&mut planner, STEP_KEYS_MAX).ok()?;
        drop(machine);
        planner.is_done().then(|| fetch(planner, &MemoryOnly).ok()).flatten()
    }

    fn read_stat(&self, key: &Bytes) -> Result<Told, ApiError> {
        read::persist(|| {
            let mut planner = StatPlanner::new(key.clone());
            while !planner.is_done() {
                let machine =
                    self.handle.machine().read().expect("no holder of the machine panics");
                match machine.plan_stat_step(&mut planner, STEP_KEYS_MAX) {
                    Ok(()) => {}
                    // What was current at the first step was compacted before this one: all of it is read
                    // anew, so many times.
                    Err(ReadError::Compacted { requested: revision, .. }) => {
                        let gone = RowId { revision, place: 0 };
                        return Ok(Err(FetchError::Vanished(gone)));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(fetch(planner, &*self.handle.store()))
        })
    }
}

fn fetch(planner: StatPlanner, store: &impl Store) -> Result<Told, FetchError> {
    let (revision, plan) = planner.finish();
    Ok((plan.map(|plan| plan.fetch(store)).transpose()?, revision))
}

fn to_json(key: &Bytes, stat: &Stat, revision: Revision) -> Vec<u8> {
    let mut out = Vec::with_capacity(320 + key.len());
    out.push(b'{');
    json::bytes_member(&mut out, "key", key);
    json::field(&mut out, "stat");
    out.extend_from_slice(b"{\"czxid\":");
    json::number(&mut out, stat.czxid.0);
    json::number_field(&mut out, "mzxid", stat.mzxid.0);
    json::number_field(&mut out, "pzxid", stat.pzxid.0);
    json::number_field(&mut out, "ctime", stat.ctime.0);
    json::number_field(&mut out, "mtime", stat.mtime.0);
    json::number_field(&mut out, "version", stat.version);
    json::number_field(&mut out, "cversion", stat.cversion);
    json::number_field(&mut out, "aversion", stat.aversion);
    json::field(&mut out, "ephemeralOwner");
    out.extend_from_slice(LeaseId::number(stat.ephemeral_owner).to_string().as_bytes());
    json::number_field(&mut out, "dataLength", stat.data_length as u64);
    json::number_field(&mut out, "numChildren", stat.num_children);
    out.push(b'}');
    json::end(&mut out, revision);
    out
}
