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
use kvcore::{Command, Delete, DeleteOutcome, Outcome, Put, PutOutcome, Revision};

use crate::http::App;
use crate::http::previous::Previous;
use crate::http::v3::context::{Asked, keys, read, request_bytes_max};
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::fulfilled;
use crate::http::v3::message::{
    CompactionRequest, DeleteRangeRequest, HeaderResponse, KeyValue, PutRequest, signed,
};
use crate::http::v3::protojson::Object;
use crate::node::handle::Written;

/// The endpoint `put`.
pub(in crate::http::v3) async fn put(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<PutRequest>(app, request).await?;
    let return_previous = message.prev_kv;
    let command = put_command(app, message)?;
    let Written { outcome, revision, .. } = app.handle.write(command, None, timeout).await?;
    let Outcome::Put(PutOutcome { previous, .. }) = outcome else {
        return Err(Refused::of_outcome(outcome));
    };
    if !return_previous {
        return fulfilled(app, &HeaderResponse { header: Some(app.header(revision)) });
    }
    let previous = app.fetch_previous(previous.into_iter().collect()).await;
    Ok(app.answer_with_previous(StatusCode::OK, Some(previous), |previous| {
        with_previous(app, revision, previous, |object, key_values| {
            object.field("prev_kv", &key_values.pop());
        })
    }))
}

fn put_command(app: &App, message: PutRequest) -> Result<Command, Refused> {
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
    if ignore_value || ignore_lease {
        return Err(Refused::with(Refusal::Unsupported, "ignore_value and ignore_lease"));
    }
    if lease != 0 {
        return Err(Refusal::LeaseNotFound.into());
    }
    let bytes_max = request_bytes_max(&app.limits);
    if key.len() + value.len() > bytes_max {
        let what = format!("at most {bytes_max} bytes of key and value are allowed here");
        return Err(Refused::with(Refusal::RequestTooLarge, what));
    }
    let put = Put { return_previous: prev_kv, ..Put::new(key, value) };
    let command = Command::Put { put, conditions: Vec::new() };
    command.check()?;
    Ok(command)
}

/// The endpoint `deleterange`.
pub(in crate::http::v3) async fn delete_range(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<DeleteRangeRequest>(app, request).await?;
    let return_previous = message.prev_kv;
    let target = keys(message.key, &message.range_end)?;
    let delete = Delete { target, return_previous };
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
    Ok(app.answer_with_previous(StatusCode::OK, previous, |previous| {
        with_previous(app, revision, previous, |object, key_values| {
            object.field("deleted", &signed(count));
            object.field("prev_kvs", key_values);
        })
    }))
}

/// The answer to a write with what was there before it.
fn with_previous(
    app: &App,
    revision: Revision,
    previous: Option<&Previous>,
    fields: impl Fn(&mut Object<'_>, &mut Vec<KeyValue>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut object = Object::begin(&mut out);
    object.field("header", &app.header(revision));
    let found = previous.map(Previous::key_values).unwrap_or_default();
    let mut key_values = found.iter().cloned().map(KeyValue::from).collect();
    fields(&mut object, &mut key_values);
    object.append(|out| {
        if let Some(previous) = previous {
            previous.missing_member(out);
        }
    });
    object.end();
    out.push(b'\n');
    out
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
