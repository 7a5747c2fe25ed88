//! What clients send, read from any bytes.

use consensus::Wire as _;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Uri};
use kvcore::{Command, Revision, SessionTimeouts};

use super::parameters::{Parameters, decode, idempotency_key};
use super::range::Cursor;
pub use super::trace::fuzzing::traces;
use super::{
    compact, connection, delete, faults, get, key, lease, put, range, routes, trace, transaction,
    transfer, v3, watch,
};
use crate::node::faults::fuzzing as node_faults;

/// A path and the key in it.
pub fn path(bytes: &[u8]) {
    let path = [b"/v1/kv/", bytes].concat();
    let Ok(uri) = Uri::try_from(path) else { return };
    let Ok(key) = key::from_path(&uri) else { return };
    let encoded: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(decode(&encoded).as_deref(), Ok(&key[..]), "a key survives percent-encoding");
    let uri = Uri::try_from(format!("/v1/kv/{encoded}")).expect("digits and percent signs");
    assert_eq!(key::from_path(&uri), Ok(key), "a key survives being a path");
}

/// A query, as each call that takes many parameters reads it.
pub fn query(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/v1/kv/k?", bytes].concat()) else { return };
    let parse = |call| Parameters::parse(uri.query(), call);
    if let Ok(parameters) = parse(&range::CALL) {
        let _ = range::parse(&parameters);
        let _ = (parameters.consistency(), parameters.timeout());
    }
    if let Ok(parameters) = parse(&watch::CALL) {
        let _ = (watch::parse_filter(&parameters), parameters.revision("from_revision"));
        let _ = parameters.duration("progress");
    }
    if let Ok(parameters) = parse(&get::CALL) {
        let _ = (parameters.flag("raw"), parameters.revision("revision"));
    }
    if let Ok(parameters) = parse(&delete::MANY) {
        let _ = (parameters.keys(), parameters.conditions(), parameters.timeout());
    }
    if let Ok(parameters) = parse(&trace::CALL) {
        trace::fuzzing::query(&parameters);
    }
    let request = axum::extract::Request::builder().uri(uri).body(axum::body::Body::empty());
    let _ = put::parse(&request.expect("a URI"));
}

/// A cursor of a range.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Some(cursor) = Cursor::parse(text) else { return };
    assert_eq!(Cursor::parse(&cursor.text()), Some(cursor), "a cursor survives being sent");
}

/// Headers that are read: each of the first two lines is a value of all of them.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(2) {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        headers.append("idempotency-key", value.clone());
        headers.append("last-event-id", value.clone());
        headers.append("if-none-match", value.clone());
        headers.append("accept", value);
    }
    let _ = (watch::last_event_id(&headers), watch::accepts_events(&headers));
    let _ = get::is_known(&headers, Revision(7));
    if let Ok(Some(key)) = idempotency_key(&headers) {
        let value = headers.get("idempotency-key").map(HeaderValue::as_bytes);
        assert_eq!(Some(key.as_str().as_bytes()), value, "a key is what was sent");
    }
}

/// The bodies that are JSON.
pub fn body(bytes: &[u8]) {
    let _ = (
        compact::parse(bytes),
        transfer::parse(bytes),
        lease::parse(bytes, SessionTimeouts::default()),
    );
}

/// The body of a transaction. What may be done comes out of the log as it went in.
pub fn transaction(bytes: &[u8]) {
    let Ok(transaction) = transaction::parse(bytes, 1 << 10) else { return };
    let command = Command::Transaction(transaction);
    if command.check().is_ok() {
        let again = Command::from_bytes(command.to_bytes());
        assert_eq!(again.as_ref(), Ok(&command), "a transaction survives the log");
    }
}

/// The path of a lease.
pub fn lease(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/v1/leases/", bytes].concat()) else { return };
    let Ok(lease) = lease::from_path(&uri) else { return };
    let uri = Uri::try_from(format!("/v1/leases/{lease}/keepalive")).expect("a number");
    assert_eq!(lease::from_path(&uri), Ok(lease), "a number is a path");
}

/// The bodies of `/v3`.
pub fn v3_body(bytes: &[u8]) {
    v3::fuzzing::body(bytes);
}

/// The body that begins a fault.
pub fn fault(bytes: &[u8]) {
    if let Ok(request) = faults::parse(bytes) {
        node_faults::check(&request);
    }
}

/// The path of a fault.
pub fn fault_name(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/v1/faults/", bytes].concat()) else { return };
    let members = node_faults::members();
    let Ok((node, number, name)) = faults::name(&members, uri.path()) else { return };
    assert!(members.contains_key(&node), "a fault is of a member");
    let again = faults::name(&members, &format!("/v1/faults/{name}"));
    assert_eq!(again, Ok((node, number, name)), "a name is a path, too");
}

/// The path of any request: what it is counted as, and what may be done to it.
pub fn route(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/", bytes].concat()) else { return };
    let allowed = routes::allowed_methods(uri.path());
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE] {
        let is_allowed = allowed.split(", ").any(|one| one == method.as_str());
        let is_counted = routes::asked(&method, uri.path()).call.is_some();
        assert_eq!(is_allowed, is_counted, "what is allowed has a name: {method}");
    }
}

/// The first bytes of a connection.
pub fn beginning(bytes: &[u8]) {
    if connection::begins_as_http(bytes) {
        let half = &bytes[..bytes.len() / 2];
        assert!(connection::begins_as_http(half), "what is HTTP was so from its beginning on");
    }
}
