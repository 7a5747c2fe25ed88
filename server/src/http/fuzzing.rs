//! What clients send, read from any bytes.

use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Uri};

use super::parameters::{Parameters, decode, idempotency_key};
use super::range::Cursor;
use super::{compact, delete, get, key, put, range, transfer, watch};

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
    let parse = |allowed| Parameters::parse(uri.query(), allowed);
    if let Ok(parameters) = parse(range::PARAMETERS) {
        let _ = range::parse(&parameters);
        let _ = (parameters.consistency(), parameters.timeout());
    }
    if let Ok(parameters) = parse(watch::PARAMETERS) {
        let _ = (watch::parse_filter(&parameters), parameters.revision("from_revision"));
        let _ = parameters.duration("progress", Duration::from_millis(1), Duration::MAX);
    }
    if let Ok(parameters) = parse(get::PARAMETERS) {
        let _ = (parameters.flag("raw"), parameters.revision("revision"));
    }
    if let Ok(parameters) = parse(delete::RANGE_PARAMETERS) {
        let _ = (parameters.keys(), parameters.conditions(), parameters.timeout());
    }
    let request = axum::extract::Request::builder().uri(uri).body(axum::body::Body::empty());
    let _ = put::parse(&request.expect("a URI"));
}

/// A cursor of a range.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(cursor) = Cursor::parse(text) else { return };
    assert_eq!(Cursor::parse(&cursor.text()), Ok(cursor), "a cursor survives being sent");
}

/// Headers that are read: each of the first two lines is a value of all of them.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(2) {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        headers.append("idempotency-key", value.clone());
        headers.append("last-event-id", value);
    }
    let _ = watch::last_event_id(&headers);
    if let Ok(Some(key)) = idempotency_key(&headers) {
        let value = headers.get("idempotency-key").map(HeaderValue::as_bytes);
        assert_eq!(Some(key.as_str().as_bytes()), value, "a key is what was sent");
    }
}

/// The bodies that are JSON.
pub fn body(bytes: &[u8]) {
    let _ = (compact::parse(bytes), transfer::parse(bytes));
}
