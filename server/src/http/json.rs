//! JSON written by hand into one buffer: answers are small and many, and this is where their cost
//! is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use kvcore::{Found, KeyValue, LeaseId, Revision};

/// Appends a string with its quotes.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a buffer takes everything written to it");
}

/// Appends `true` or `false`.
pub(super) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `,"name":value`.
pub(super) fn number_field(out: &mut Vec<u8>, name: &str, value: u64) {
    field(out, name);
    number(out, value);
}

/// Appends `,"name":value` of the number of a lease.
pub(super) fn lease_field(out: &mut Vec<u8>, name: &str, lease: LeaseId) {
    field(out, name);
    out.extend_from_slice(lease.to_string().as_bytes());
}

/// Appends `,"name":`.
pub(super) fn field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends `"name":"…"` of a key or a value: text when it is UTF-8, else base64 and
/// `,"name_encoding":"base64"`.
pub(super) fn bytes_member(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    if let Ok(text) = std::str::from_utf8(bytes) {
        string(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.extend_from_slice(b"\",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_encoding\":\"base64\"");
}

/// How much of a key is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// All.
    Whole,
    /// All but the value.
    WithoutValue,
    /// The key and the revision of its deletion.
    Deletion,
}

/// Appends the members of a key, without the braces.
pub(super) fn key_value_members(out: &mut Vec<u8>, key_value: &KeyValue, shown: Shown) {
    bytes_member(out, "key", &key_value.key);
    if shown == Shown::Deletion {
        number_field(out, "mod_revision", key_value.mod_revision.0);
        return;
    }
    if shown == Shown::Whole {
        out.push(b',');
        bytes_member(out, "value", &key_value.value);
    }
    number_field(out, "create_revision", key_value.create_revision.0);
    number_field(out, "mod_revision", key_value.mod_revision.0);
    number_field(out, "version", key_value.version);
    if let Some(lease) = key_value.lease {
        lease_field(out, "lease", lease);
    }
}

/// Appends a key as an object.
pub(super) fn key_value(out: &mut Vec<u8>, key_value: &KeyValue, shown: Shown) {
    out.push(b'{');
    key_value_members(out, key_value, shown);
    out.push(b'}');
}

/// Appends a key as an object, or `null`.
pub(super) fn key_value_or_null(out: &mut Vec<u8>, item: Option<&KeyValue>, shown: Shown) {
    match item {
        Some(item) => key_value(out, item, shown),
        None => out.extend_from_slice(b"null"),
    }
}

/// Ends an object with the revision that every answer has, and its line.
pub(super) fn end(out: &mut Vec<u8>, revision: Revision) {
    number_field(out, "revision", revision.0);
    out.extend_from_slice(b"}\n");
}

/// Appends a list of keys.
pub(super) fn key_values(out: &mut Vec<u8>, list: &[KeyValue], shown: Shown) {
    out.push(b'[');
    for (place, item) in list.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        key_value(out, item, shown);
    }
    out.push(b']');
}

/// Appends what a condition found: `null` for an absent key.
pub(super) fn found(out: &mut Vec<u8>, key: Option<&Bytes>, found: Option<&Found>) {
    let Some(found) = found else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'{');
    if let Some(key) = key {
        bytes_member(out, "key", key);
        out.push(b',');
    }
    out.extend_from_slice(b"\"create_revision\":");
    number(out, found.create_revision.0);
    number_field(out, "mod_revision", found.mod_revision.0);
    number_field(out, "version", found.version);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 4096, u64::MAX] {
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_and_say_so() {
        assert_eq!(written(|out| bytes_member(out, "value", b"a\"\n")), r#""value":"a\"\n""#);
        assert_eq!(
            written(|out| bytes_member(out, "value", &[0xFF, 0])),
            r#""value":"/wA=","value_encoding":"base64""#
        );
    }

    #[test]
    fn a_key_without_its_value_has_no_value_member() {
        let item = KeyValue {
            key: "k".into(),
            value: "v".into(),
            create_revision: Revision(2),
            mod_revision: Revision(3),
            version: 2,
            lease: kvcore::LeaseId::new(-7),
        };
        assert_eq!(
            written(|out| key_value(out, &item, Shown::WithoutValue)),
            r#"{"key":"k","create_revision":2,"mod_revision":3,"version":2,"lease":-7}"#
        );
        assert_eq!(
            written(|out| key_value(out, &item, Shown::Deletion)),
            r#"{"key":"k","mod_revision":3}"#
        );
    }
}
