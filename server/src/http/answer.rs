//! Answers: what every one of them has, whatever became of the request.

use std::sync::{Arc, RwLock};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use consensus::Leadership;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use kvcore::Revision;

use super::App;
use super::error::ApiError;
use crate::node::handle::{NodeHandle, NodeStatus};

/// The content type of almost everything.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

const PROTOCOL: HeaderName = HeaderName::from_static("duorum-protocol");
const NODE: HeaderName = HeaderName::from_static("duorum-node");
const LEADER: HeaderName = HeaderName::from_static("duorum-leader");
const POSITION: HeaderName = HeaderName::from_static("duorum-position");

/// The headers that say which node answered and what it knows. Those that follow from its status are made once
/// for each status that it publishes, of which there are far fewer than answers.
#[derive(Debug)]
pub(super) struct Signature {
    protocol: HeaderValue,
    node: HeaderValue,
    of_status: RwLock<OfStatus>,
}

#[derive(Debug)]
struct OfStatus {
    status: Arc<NodeStatus>,
    leader: HeaderValue,
    position: Option<HeaderValue>,
}

impl Signature {
    pub(super) fn new(handle: &NodeHandle) -> Self {
        let protocol = HeaderValue::from_static(handle.facts().protocol.name());
        let node = HeaderValue::from(handle.facts().id.0);
        let of_status = RwLock::new(OfStatus::new(handle.status(), &node));
        Self { protocol, node, of_status }
    }

    fn put(&self, status: Arc<NodeStatus>, headers: &mut HeaderMap) {
        headers.insert(PROTOCOL, self.protocol.clone());
        headers.insert(NODE, self.node.clone());
        let of_status = self.of_status.read().expect("no holder of this lock panics");
        if Arc::ptr_eq(&of_status.status, &status) {
            return of_status.put(headers);
        }
        drop(of_status);
        let of_status = OfStatus::new(status, &self.node);
        of_status.put(headers);
        *self.of_status.write().expect("no holder of this lock panics") = of_status;
    }
}

impl OfStatus {
    fn new(status: Arc<NodeStatus>, node: &HeaderValue) -> Self {
        let leader = match status.consensus.leadership {
            Leadership::None => HeaderValue::from_static("none"),
            Leadership::Following { leader, .. } => HeaderValue::from(leader.0),
            Leadership::Established { .. } => node.clone(),
        };
        // A protocol's words for a position are ASCII; were they not, the header would be missing.
        let position = HeaderValue::from_str(&status.position).ok();
        Self { status, leader, position }
    }

    fn put(&self, headers: &mut HeaderMap) {
        headers.insert(LEADER, self.leader.clone());
        if let Some(position) = &self.position {
            headers.insert(POSITION, position.clone());
        }
    }
}

/// An answer of JSON, complete in one buffer: its length is known, so it is sent in one piece.
pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    bytes(status, JSON, body.into())
}

/// An answer of bytes.
pub(crate) fn bytes(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

impl App {
    /// The answer to a request that could not be fulfilled.
    pub(super) fn refuse(&self, error: &ApiError) -> Response {
        self.refuse_at(error, self.revision())
    }

    /// The same for a write that left the store at this revision.
    pub(super) fn refuse_at(&self, error: &ApiError, revision: Revision) -> Response {
        let mut body = error.to_json(revision);
        body.push(b'\n');
        let mut response = json(error.name.status(), body);
        if let Some(methods) = error.allow() {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(seconds) = error.retry_after_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The answer to a request, fulfilled or not.
    pub(super) fn answer(&self, result: Result<Response, ApiError>) -> Response {
        result.unwrap_or_else(|error| self.refuse(&error))
    }

    /// Adds the headers that say which node answered and what it knows.
    pub(super) fn sign(&self, headers: &mut HeaderMap) {
        if self.is_stopping() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.signature.put(self.handle.status(), headers);
    }
}

/// An answer of JSON from a type that says what is in it. For everything that is not asked for
/// often.
pub(super) fn serialized(status: StatusCode, answer: &impl serde::Serialize) -> Response {
    let mut body = serde_json::to_vec(answer).expect("the answer's types can be written as JSON");
    body.push(b'\n');
    json(status, body)
}
