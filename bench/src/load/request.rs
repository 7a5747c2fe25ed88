//! Requests as ready-made bytes in which only the key and a stamp in the value change.

use std::ops::Range;
use std::time::Duration;

use consensus::Random;
use serde::{Deserialize, Serialize};

/// The digits of a key's number.
const KEY_DIGITS: usize = 6;
/// The largest key space: every number that the digits can say.
pub(crate) const KEYS_MAX: u64 = 1_000_000;
/// The bytes of a value that tell one write from the next, when the value has room for them.
pub(crate) const STAMP_BYTES: usize = 16;

/// How all keys begin.
pub(crate) const KEY_PREFIX: &str = "bench/";

/// The bits of a stamp that chance fills, so that two writes of one moment differ.
const STAMP_CHANCE_BITS: u32 = 16;

/// What a value says of its write: when that was due or sent, counted from a moment that the run chose, and something
/// by chance. It is good for three days.
pub(crate) fn stamp_of(after: Duration, chance: u64) -> u64 {
    let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    (nanos << STAMP_CHANCE_BITS) | (chance & ((1 << STAMP_CHANCE_BITS) - 1))
}

/// When a write with this stamp was due or sent.
pub(crate) fn sent_after(stamp: u64) -> Duration {
    Duration::from_nanos(stamp >> STAMP_CHANCE_BITS)
}

/// A kind of operation of a mixed load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A write.
    Put,
    /// A linearizable read of one key.
    Get,
    /// A linearizable read of a hundred keys.
    Range,
}

impl Kind {
    /// All of them, in the order in which a mix names them.
    pub const ALL: [Self; 3] = [Self::Put, Self::Get, Self::Range];

    /// What they are called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "writes",
            Self::Get => "reads",
            Self::Range => "ranges",
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// It sees everything that was acknowledged anywhere.
    #[default]
    Linearizable,
    /// It sees everything that the leader had committed, by its own word.
    Sync,
    /// It sees what the node has.
    Local,
}

impl Freshness {
    /// Its name, as in requests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Sync => "sync",
            Self::Local => "local",
        }
    }

    /// How a request says so; what is said by default is not said.
    fn parameter(self) -> &'static str {
        match self {
            Self::Linearizable => "",
            Self::Sync => "consistency=sync",
            Self::Local => "consistency=local",
        }
    }
}

/// One request, sent again and again with other keys and values.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

/// Where a key lies in a request, and the value that goes with it.
#[derive(Clone, Debug)]
struct Part {
    key: Range<usize>,
    stamp: Range<usize>,
}

impl Request {
    /// `PUT /v1/kv/bench/000123` with a value of letters and digits.
    pub(crate) fn put(host: &str, value_bytes: usize, random: &mut Random) -> Self {
        let mut bytes = b"PUT /v1/kv/bench/".to_vec();
        let key = append_key(&mut bytes);
        let head = format!(" HTTP/1.1\r\nhost: {host}\r\ncontent-length: {value_bytes}\r\n\r\n");
        bytes.extend_from_slice(head.as_bytes());
        let stamp = append_value(&mut bytes, value_bytes, random);
        Self { bytes, parts: vec![Part { key, stamp }] }
    }

    /// `GET /v1/kv/bench/000123?consistency=local`.
    pub(crate) fn get(host: &str, freshness: Freshness) -> Self {
        let mut bytes = b"GET /v1/kv/bench/".to_vec();
        let key = append_key(&mut bytes);
        let parameter = freshness.parameter();
        let query = if parameter.is_empty() { String::new() } else { format!("?{parameter}") };
        bytes.extend_from_slice(format!("{query} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes());
        Self { bytes, parts: vec![Part { key, stamp: 0..0 }] }
    }

    /// `GET /v1/kv?from=bench/000123&limit=100`: so many keys from one on.
    pub(crate) fn range(host: &str, keys: u64, freshness: Freshness) -> Self {
        let mut bytes = b"GET /v1/kv?from=bench/".to_vec();
        let key = append_key(&mut bytes);
        let query = format!("&limit={keys}&{}", freshness.parameter());
        bytes.extend_from_slice(format!("{query} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes());
        Self { bytes, parts: vec![Part { key, stamp: 0..0 }] }
    }

    /// `POST /v1/txn` that puts so many keys, whatever is there.
    pub(crate) fn transaction(
        host: &str,
        operations: usize,
        value_bytes: usize,
        random: &mut Random,
    ) -> Self {
        let mut body = b"{\"then\":[".to_vec();
        let mut parts = Vec::with_capacity(operations);
        for number in 0..operations {
            body.extend_from_slice(if number == 0 { b"" } else { b"," });
            body.extend_from_slice(b"{\"put\":{\"key\":\"bench/");
            let key = append_key(&mut body);
            body.extend_from_slice(b"\",\"value\":\"");
            let stamp = append_value(&mut body, value_bytes, random);
            body.extend_from_slice(b"\"}}");
            parts.push(Part { key, stamp });
        }
        body.extend_from_slice(b"]}");
        let body = String::from_utf8(body).expect("made of ASCII");
        let bytes = Self::post_json(host, "/v1/txn", &body);
        let head = bytes.len() - body.len();
        let moved = |range: Range<usize>| range.start + head..range.end + head;
        let parts = parts.into_iter();
        let parts = parts.map(|Part { key, stamp }| Part { key: moved(key), stamp: moved(stamp) });
        Self { bytes, parts: parts.collect() }
    }

    /// `POST /` with a body to be echoed.
    pub(crate) fn echo(host: &str, value_bytes: usize, random: &mut Random) -> Self {
        let mut bytes =
            format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {value_bytes}\r\n\r\n")
                .into_bytes();
        let stamp = append_value(&mut bytes, value_bytes, random);
        Self { bytes, parts: vec![Part { key: 0..0, stamp }] }
    }

    /// Any GET, for the calls that control a measurement.
    pub(crate) fn page(host: &str, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
    }

    /// Any DELETE, for the same.
    pub(crate) fn delete(host: &str, path: &str) -> Vec<u8> {
        format!("DELETE {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
    }

    /// Any POST without a body.
    pub(crate) fn post(host: &str, path: &str) -> Vec<u8> {
        format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n").into_bytes()
    }

    /// Any POST with a body of JSON, whole or several one after the other.
    pub(crate) fn post_json(host: &str, path: &str, body: &str) -> Vec<u8> {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// How many keys it names.
    pub(crate) fn keys(&self) -> usize {
        self.parts.len()
    }

    /// Chooses the first key.
    pub(crate) fn set_key(&mut self, number: u64) {
        self.set_key_at(0, number);
    }

    /// Makes the first value differ from those before, so that no write is the same as another.
    pub(crate) fn set_stamp(&mut self, number: u64) {
        self.set_stamp_at(0, number);
    }

    /// Chooses one of several keys.
    pub(crate) fn set_key_at(&mut self, place: usize, mut number: u64) {
        for byte in self.bytes[self.parts[place].key.clone()].iter_mut().rev() {
            *byte = b'0' + u8::try_from(number % 10).expect("a digit");
            number /= 10;
        }
    }

    /// Makes one of several values differ from those before.
    pub(crate) fn set_stamp_at(&mut self, place: usize, mut number: u64) {
        for byte in self.bytes[self.parts[place].stamp.clone()].iter_mut().rev() {
            *byte = b"0123456789abcdef"[usize::try_from(number % 16).expect("a digit")];
            number /= 16;
        }
    }

    /// The bytes to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn append_key(bytes: &mut Vec<u8>) -> Range<usize> {
    let start = bytes.len();
    bytes.resize(start + KEY_DIGITS, b'0');
    start..bytes.len()
}

/// Appends a value; returns where its stamp lies.
fn append_value(bytes: &mut Vec<u8>, value_bytes: usize, random: &mut Random) -> Range<usize> {
    let stamp = bytes.len()..bytes.len() + value_bytes.min(STAMP_BYTES);
    bytes.extend((0..value_bytes).map(|_| letter(random)));
    stamp
}

fn letter(random: &mut Random) -> u8 {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    LETTERS[usize::try_from(random.below(32)).expect("an index")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_says_when_and_differs_from_others_of_its_moment() {
        for nanos in [0, 1, 999_999_999, 172_800_000_000_000] {
            let after = Duration::from_nanos(nanos);
            let [one, other] = [1, 0x7_0002].map(|chance| stamp_of(after, chance));
            assert_eq!((sent_after(one), sent_after(other)), (after, after));
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_request_keeps_its_length_whatever_the_key() {
        let mut put = Request::put("localhost:1", 20, &mut Random::new(1));
        let length = put.bytes().len();
        put.set_key(123);
        put.set_stamp(0xbeef);
        let text = String::from_utf8(put.bytes().to_vec()).expect("ASCII");
        assert!(text.starts_with("PUT /v1/kv/bench/000123 HTTP/1.1\r\nhost: localhost:1\r\n"));
        let (_, value) = text.split_once("\r\n\r\n").expect("a body");
        assert_eq!(value.len(), 20);
        assert!(value.starts_with("000000000000beef"), "{value}");
        assert_eq!(put.bytes().len(), length);
    }

    #[test]
    fn a_value_may_be_shorter_than_the_stamp_or_empty() {
        for value_bytes in 0..20 {
            let mut put = Request::put("h", value_bytes, &mut Random::new(1));
            put.set_stamp(u64::MAX);
            let text = String::from_utf8(put.bytes().to_vec()).expect("ASCII");
            let (_, value) = text.split_once("\r\n\r\n").expect("a body");
            assert_eq!(value.len(), value_bytes);
            assert!(value.bytes().take(16).all(|byte| byte == b'f'), "{value}");
        }
    }

    #[test]
    fn a_transaction_is_json_with_keys_and_values_of_its_own() {
        let mut transaction = Request::transaction("h", 3, 20, &mut Random::new(1));
        assert_eq!(transaction.keys(), 3);
        for place in 0..3 {
            transaction.set_key_at(place, 7 + place as u64);
            transaction.set_stamp_at(place, place as u64);
        }
        let text = String::from_utf8(transaction.bytes().to_vec()).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        for place in 0..3 {
            let put = &json["then"][place]["put"];
            assert_eq!(put["key"], format!("bench/00000{}", 7 + place));
            let value = put["value"].as_str().expect("text");
            assert!(value.len() == 20 && value.starts_with(&format!("{place:016x}")), "{value}");
        }
    }
}
