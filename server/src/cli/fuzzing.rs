//! The command line's own parsers, given any text, and what it makes of what servers answer.

use bytes::Bytes;
use hyper::StatusCode;

use super::client::{Answer, accept, parse_endpoint};
use super::{sim, watch};

/// `--endpoint`.
pub fn endpoint(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(address) = parse_endpoint(text) else { return };
    let again = parse_endpoint(&address).ok();
    assert_eq!(again.as_deref(), Some(&address[..]), "an address is an endpoint, too");
}

/// `--only-faults`.
pub fn numbers(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(numbers) = sim::numbers(text) else { return };
    let listed: Vec<String> = numbers.0.iter().map(|number| number.0.to_string()).collect();
    let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(",") };
    let again = sim::numbers(&listed).expect("they were numbers");
    assert_eq!(again.0, numbers.0, "numbers survive being listed");
}

/// What a server answers, or a line of a watch.
pub fn answer(bytes: &[u8]) {
    for status in [StatusCode::OK, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE] {
        let answer = Answer { status, body: Bytes::copy_from_slice(bytes) };
        if let Ok(json) = accept(answer).and_then(|answer| answer.json()) {
            let _ = watch::tell(7, &json);
        }
    }
}
