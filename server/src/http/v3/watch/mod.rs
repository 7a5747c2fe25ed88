//! `POST /v3/watch`: any number of watches on one stream.
//!
//! ```text
//! $ curl -N localhost:2379/v3/watch -d '{"create_request":{"key":"Zm9v"}}'
//! {"result":{"header":{…},"created":true}}
//! {"result":{"header":{…},"events":[{"kv":{"key":"Zm9v",…}}]}}
//! ```
//!
//! The body may hold several requests, also later ones: it is read as long as the client sends. The stream
//! ends when the client leaves; the end of the body does not end it.
//!
//! - [`session`]: a stream's task: requests in, messages out.
//! - [`watchers`]: the watches of a stream, and how far each of them is.
//! - [`pull`]: events out of the state machine.
//! - [`tell`]: events as messages.
//!
//! What a slow client has not taken is not kept for it, but read when it is taken. So it holds up no write
//! and grows no memory; at worst its watches fall behind compaction, and are told so.

mod pull;
mod session;
mod tell;
mod watchers;

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use tokio::time::timeout;
use tracing::Instrument as _;

use self::session::Session;
use super::error::{Refusal, Refused};
use super::message::WatchRequest;
use super::protojson;
use super::requests::Requests;
use super::stream::stream;
use crate::http::App;

/// The endpoint. The answer begins when the first request was read, so that what is wrong with it is told
/// with its status.
pub(super) async fn watch(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let mut requests = Requests::new(request.into_body());
    let first = timeout(app.limits.read_timeout, requests.next()).await.map_err(|_| {
        let waited = humantime::format_duration(app.limits.read_timeout);
        Refused::with(Refusal::BadBody, format!("no request came within {waited}"))
    })??;
    let first = decode(&first.unwrap_or_default())?;
    let (sender, response) = stream();
    let session = Session::new(Arc::clone(app), requests, sender);
    tokio::spawn(session.run(first).in_current_span());
    Ok(response)
}

fn decode(request: &[u8]) -> Result<WatchRequest, Refused> {
    let request: WatchRequest = protojson::decode(request)?;
    if request == WatchRequest::default() {
        let what = "it has none of create_request, cancel_request and progress_request";
        return Err(Refused::with(Refusal::BadBody, what));
    }
    Ok(request)
}
