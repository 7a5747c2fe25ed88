//! `POST /v3/kv/put`, `/v3/kv/deleterange` and `/v3/kv/compaction`.
//!
//! ```text
//! $ curl localhost:2379/v3/kv/put -d '{"key":"Zm9v","value":"YmFy"}'
//! $ curl localhost:2379/v3/kv/deleterange -d '{"key":"Zm9v","prev_kv":true}'
//! $ curl localhost:2379/v3/kv/compaction -d '{"revision":"3"}'
//! ```
//!
//! What was there before a write is told as far as `/v1` tells it; should not all of it fit in the answer,
//! `prev_unavailable` says so, which etcd does not have.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{
    Command, Delete, DeleteOutcome, LeaseId, Outcome, Put, PutLease, PutOutcome, PutValue, Revision,
};

use crate::http::App;
use crate::http::previous::{Missing, Previous};
use crate::http::v3::context::{Asked, keys, read, request_bytes_max};
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::message::{
    CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, HeaderResponse, KeyValue,
    PutRequest, PutResponse, Unavailable, signed,
};
use crate::http::v3::{fulfilled, line};
use crate::node::handle::Written;

/// The endpoint `put`.
pub(in crate::http::v3) async fn put(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<PutRequest>(app, request).await?;
    let return_previous = message.prev_kv;
    let put = put_of(message)?;
    check_size(app, size_of(&put))?;
    let command = Command::Put { put, conditions: Vec::new() };
    command.check()?;
    let Written { outcome, revision, .. } = app.handle.write(command, None, timeout).await?;
    let Outcome::Put(PutOutcome { previous, .. }) = outcome else {
        return Err(Refused::of_outcome(outcome));
    };
    let header = Some(app.header(revision));
    if !return_previous {
        return fulfilled(app, &HeaderResponse { header });
    }
    let previous = app.fetch_previous(previous.into_iter().collect()).await;
    Ok(app.answer_with_previous(StatusCode::OK, Some(previous), |previous| {
        line(&PutResponse {
            header: header.clone(),
            prev_kv: key_values(previous).pop(),
            prev_unavailable: previous.and_then(Unavailable::of),
        })
    }))
}

/// What a request stores.
pub(super) fn put_of(message: PutRequest) -> Result<Put, Refused> {
    let PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = message;
    if key.is_empty() {
        return Err(Refusal::KeyMissing.into());
    }
    if ignore_value && !value.is_empty() {
        return Err(Refusal::ValueProvided.into());
    }
    if ignore_lease && lease != 0 {
        return Err(Refusal::LeaseProvided.into());
    }
    let lease = match LeaseId::new(lease) {
        Some(lease) => PutLease::Attach(lease),
        None if ignore_lease => PutLease::Keep,
        None => PutLease::None,
    };
    let value = if ignore_value { PutValue::Keep } else { PutValue::New(value) };
    Ok(Put { key, value, lease, sequential: false, return_previous: prev_kv })
}

/// The bytes of key and value.
pub(super) fn size_of(put: &Put) -> usize {
    let value = match &put.value {
        PutValue::New(value) => value.len(),
        PutValue::Keep => 0,
    };
    put.key.len() + value
}

/// Checks the bytes of all keys and values of a request.
pub(super) fn check_size(app: &App, bytes: usize) -> Result<(), Refused> {
    let bytes_max = request_bytes_max(&app.limits);
    if bytes > bytes_max {
        let what = format!("at most {bytes_max} bytes of keys and values are allowed here");
        return Err(Refused::with(Refusal::RequestTooLarge, what));
    }
    Ok(())
}

/// The endpoint `deleterange`.
pub(in crate::http::v3) async fn delete_range(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<DeleteRangeRequest>(app, request).await?;
    let delete = delete_of(message)?;
    let return_previous = delete.return_previous;
    let command = Command::Delete { delete, conditions: Vec::new() };
    command.check()?;
    let Written { outcome, revision, .. } = app.handle.write(command, None, timeout).await?;
    let Outcome::Deleted(DeleteOutcome { count, previous }) = outcome else {
        return Err(Refused::of_outcome(outcome));
    };
    let previous = match return_previous {
        true => Some(app.fetch_previous(previous).await),
        false => None,
    };
    let header = Some(app.header(revision));
    Ok(app.answer_with_previous(StatusCode::OK, previous, |previous| {
        line(&DeleteRangeResponse {
            header: header.clone(),
            deleted: signed(count),
            prev_kvs: key_values(previous),
            prev_unavailable: previous.and_then(Unavailable::of),
        })
    }))
}

/// What a request deletes.
pub(super) fn delete_of(message: DeleteRangeRequest) -> Result<Delete, Refused> {
    let target = keys(message.key, &message.range_end)?;
    Ok(Delete { target, return_previous: message.prev_kv })
}

/// What was there before, as far as it can be told.
pub(super) fn key_values(previous: Option<&Previous>) -> Vec<KeyValue> {
    let found = previous.map(Previous::key_values).unwrap_or_default();
    found.iter().cloned().map(KeyValue::from).collect()
}

impl Unavailable {
    /// What of that can not be told.
    pub(super) fn of(previous: &Previous) -> Option<Self> {
        let (count, why) = previous.missing()?;
        Some(Self::because(*count, why, why.message()))
    }

    /// So many keys are left out.
    pub(super) fn because(count: usize, why: &Missing, message: String) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self { reason: why.reason().to_owned(), count, message }
    }
}

/// The endpoint `compaction`. What is forgotten can not be read any more when it answers; the disk is
/// freed later, little by little, so that `physical` has nothing to wait for.
pub(in crate::http::v3) async fn compact(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<CompactionRequest>(app, request).await?;
    let revision = u64::try_from(message.revision).map_err(|_| Refusal::Compacted)?;
    let command = Command::Compact { revision: Revision(revision) };
    let Written { outcome, revision, .. } = app.handle.write(command, None, timeout).await?;
    match outcome {
        Outcome::Compacted => {
            fulfilled(app, &HeaderResponse { header: Some(app.header(revision)) })
        }
        other => Err(Refused::of_outcome(other)),
    }
}
