//! Requests as ready-made bytes in which only the key and a stamp in the value change.

use std::ops::Range;

use consensus::Random;

/// The digits of a key's number.
const KEY_DIGITS: usize = 6;
/// The largest key space: every number that the digits can say.
pub(crate) const KEYS_MAX: u64 = 1_000_000;
/// The bytes of a value that tell one write from the next, when the value has room for them.
pub(crate) const STAMP_BYTES: usize = 16;

/// One request, sent again and again with another key.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
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
        let stamp = bytes.len()..bytes.len() + value_bytes.min(STAMP_BYTES);
        bytes.extend((0..value_bytes).map(|_| letter(random)));
        Self { bytes, key, stamp }
    }

    /// `GET /v1/kv/bench/000123`, linearizable because that is the default.
    pub(crate) fn get(host: &str) -> Self {
        let mut bytes = b"GET /v1/kv/bench/".to_vec();
        let key = append_key(&mut bytes);
        bytes.extend_from_slice(format!(" HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes());
        Self { bytes, key, stamp: 0..0 }
    }

    /// `POST /` with a body to be echoed.
    pub(crate) fn echo(host: &str, value_bytes: usize, random: &mut Random) -> Self {
        let mut bytes =
            format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {value_bytes}\r\n\r\n")
                .into_bytes();
        let stamp = bytes.len()..bytes.len() + value_bytes.min(STAMP_BYTES);
        bytes.extend((0..value_bytes).map(|_| letter(random)));
        Self { bytes, key: 0..0, stamp }
    }

    /// Any GET, for the calls that control a measurement.
    pub(crate) fn page(host: &str, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
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

    /// Chooses the key.
    pub(crate) fn set_key(&mut self, mut number: u64) {
        for byte in self.bytes[self.key.clone()].iter_mut().rev() {
            *byte = b'0' + u8::try_from(number % 10).expect("a digit");
            number /= 10;
        }
    }

    /// Makes the value differ from those before, so that no write is the same as another.
    pub(crate) fn set_stamp(&mut self, mut number: u64) {
        for byte in self.bytes[self.stamp.clone()].iter_mut().rev() {
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

fn letter(random: &mut Random) -> u8 {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    LETTERS[usize::try_from(random.below(32)).expect("an index")]
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
