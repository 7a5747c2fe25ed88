//! `POST /v3/election/observe`: who holds an office, and what they proclaim, from now on.
//!
//! What is told is always so at some moment, in the order in which it came about, and ends with what is so
//! now. What was proclaimed and superseded in between may be left out, as in etcd.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use kvcore::KeyValue;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout as within};
use tracing::Instrument as _;

use crate::http::App;
use crate::http::v3::context::{Asked, read};
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::message::LeaderRequest;
use crate::http::v3::stream::{Batch, stream};
use crate::node::handle::Consistency;

/// How long it is at least from one look at the office to the next.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a client has to take the last message.
const LAST_MESSAGE_TIME_MAX: Duration = Duration::from_secs(1);

/// The endpoint.
pub(in crate::http::v3) async fn observe(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<LeaderRequest>(app, request).await?;
    let place = app.budget.queue()?;
    app.handle.barrier(Consistency::Linearizable, timeout).await?;
    let (sender, response) = stream();
    let app = Arc::clone(app);
    let run = async move {
        let _place = place;
        let end = tokio::select! {
            end = tell_changes(&app, &message.name, &sender) => end,
            () = sender.closed() => None,
            () = app.stopped() => Some(Refusal::Stopped.into()),
        };
        if let Some(refused) = end {
            let last = VecDeque::from([refused.to_stream_message()]);
            // A client that does not read is not told.
            let _ = within(LAST_MESSAGE_TIME_MAX, sender.send(last)).await;
        }
    };
    tokio::spawn(run.in_current_span());
    Ok(response)
}

/// Tells who holds the office, each time that it changes. Returns why it ends; `None` if its client is
/// gone.
async fn tell_changes(
    app: &Arc<App>,
    name: &Bytes,
    sender: &mpsc::Sender<VecDeque<Bytes>>,
) -> Option<Refused> {
    let mut revisions = app.handle.revisions();
    let mut told = None;
    loop {
        revisions.mark_unchanged();
        let first = match app.first_of(name).await {
            Ok(first) => first,
            Err(refused) => return Some(refused),
        };
        let now = first.as_ref().map(|found| (found.key.clone(), found.mod_revision));
        if let Some(found) = first.clone().filter(|_| now != told) {
            let mut batch = Batch::default();
            batch.push(&app.leads(found));
            if sender.send(batch.take()).await.is_err() {
                return None;
            }
        }
        told = now;
        loop {
            if revisions.changed().await.is_err() {
                return Some(Refusal::Stopped.into());
            }
            sleep(PAUSE).await;
            revisions.mark_unchanged();
            match has_changed(app, first.as_ref()) {
                Ok(true) => break,
                Ok(false) => {}
                Err(refused) => return Some(refused),
            }
        }
    }
}

/// Whether the office needs another look: as long as its key is there as it was, nobody else holds it.
fn has_changed(app: &App, first: Option<&KeyValue>) -> Result<bool, Refused> {
    let Some(first) = first else { return Ok(true) };
    let now = app.look_at(&first.key)?;
    Ok(now.is_none_or(|now| now.mod_revision != first.mod_revision))
}
