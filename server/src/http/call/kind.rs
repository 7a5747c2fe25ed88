//! What a parameter may be: checked when a query is parsed, and described by the same words.

use std::time::Duration;

use kvcore::{KEY_BYTES_MAX, LeaseId};
use serde_json::{Value, json};

use super::super::error::{ApiError, ErrorName};
use super::super::parameters::impossible;

/// The words of a flag; the first is what `?prev` means.
const FLAG: [(&str, bool); 5] =
    [("", true), ("true", true), ("1", true), ("false", false), ("0", false)];

/// What the number of a lease may be.
pub(in crate::http) const LEASE_ALLOWED: &str =
    "a decimal number other than 0, from -9223372036854775808 to 9223372036854775807";

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) enum Kind {
    /// On when it is given: `?prev`, `?prev=true`.
    Flag,
    /// A decimal number within bounds.
    Number { least: u64, most: u64 },
    /// A duration like `2s` or `1m30s` within bounds.
    Duration { least: Duration, most: Duration },
    /// The number of a lease.
    Lease,
    /// One of several words.
    Words(&'static [&'static str]),
    /// Some of several words: the parameter may be given once for each.
    EachOf(&'static [&'static str]),
    /// The bytes of a key. That it is not empty is checked where it is known what to say of that.
    Key,
    /// The first bytes of keys, or where keys begin or end.
    KeyPart,
    /// Any bytes.
    Bytes,
    /// Text that another answer gave, and that matches a pattern.
    Token { pattern: &'static str, allowed: &'static str, parses: fn(&str) -> bool },
}

/// The words of a table of words and what they mean.
pub(in crate::http) const fn words<T: Copy, const N: usize>(
    table: &[(&'static str, T); N],
) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = table[at].0;
        at += 1;
    }
    words
}

/// What a flag's value means; `None` if it means nothing.
pub(in crate::http) fn flag(value: &[u8]) -> Option<bool> {
    FLAG.iter().find(|(word, _)| word.as_bytes() == value).map(|(_, on)| *on)
}

/// A decimal number: digits, and nothing else.
pub(in crate::http) fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// A duration: numbers, each with its unit.
pub(in crate::http) fn duration(value: &[u8]) -> Option<Duration> {
    let mut rest = std::str::from_utf8(value).ok().filter(|text| !text.is_empty())?;
    let mut milliseconds: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
        let (unit, each) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        milliseconds = milliseconds.checked_add(number.checked_mul(each)?)?;
    }
    Some(Duration::from_millis(milliseconds))
}

/// The number of a lease, which is any but 0.
pub(in crate::http) fn lease(value: &[u8]) -> Option<LeaseId> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().and_then(LeaseId::new)
}

/// A bound of durations, for people: what is longer than days is told in seconds.
fn bound(time: Duration) -> String {
    const DAY: Duration = Duration::from_secs(86_400);
    if time > DAY {
        format!("{}s", time.as_secs())
    } else {
        humantime::format_duration(time).to_string()
    }
}

impl Kind {
    /// Checks a value that was given.
    pub(in crate::http) fn check(&self, name: &str, value: &[u8]) -> Result<(), ApiError> {
        let text = std::str::from_utf8(value);
        let fits = match *self {
            Self::Flag => flag(value).is_some(),
            Self::Number { least, most } => {
                number(value).is_some_and(|number| (least..=most).contains(&number))
            }
            Self::Duration { least, most } => {
                duration(value).is_some_and(|duration| (least..=most).contains(&duration))
            }
            Self::Lease => lease(value).is_some(),
            Self::Words(words) | Self::EachOf(words) => {
                words.iter().any(|word| word.as_bytes() == value)
            }
            Self::Key | Self::KeyPart if value.len() > KEY_BYTES_MAX => {
                return Err(ApiError::new(
                    ErrorName::KeyTooLarge,
                    format!(
                        "`{name}` has {} bytes; a key has at most {KEY_BYTES_MAX}",
                        value.len()
                    ),
                ));
            }
            Self::Key | Self::KeyPart | Self::Bytes => true,
            Self::Token { parses, .. } => text.is_ok_and(parses),
        };
        if fits { Ok(()) } else { Err(impossible(name, value, &self.allowed())) }
    }

    /// What is allowed, in words.
    fn allowed(&self) -> String {
        match *self {
            Self::Flag => "nothing, true, 1, false or 0".to_owned(),
            Self::Number { least, most: u64::MAX } => format!("a decimal number from {least} up"),
            Self::Number { least, most } => format!("a decimal number from {least} to {most}"),
            Self::Duration { least, most } => format!(
                "a number with its unit, as 2s or 300ms, from {} to {}",
                bound(least),
                bound(most)
            ),
            Self::Lease => LEASE_ALLOWED.to_owned(),
            Self::Words(words) | Self::EachOf(words) => words.join(", "),
            Self::Key | Self::KeyPart | Self::Bytes => "any bytes, percent-encoded".to_owned(),
            Self::Token { allowed, .. } => allowed.to_owned(),
        }
    }

    /// What is allowed, as a JSON schema.
    pub(in crate::http) fn schema(&self) -> Value {
        match *self {
            Self::Flag => json!({"type": "string", "enum": FLAG.map(|(word, _)| word)}),
            Self::Number { least, most } => {
                json!({"type": "integer", "format": "uint64", "minimum": least, "maximum": most})
            }
            Self::Duration { .. } => json!({
                "type": "string",
                "pattern": "^([0-9]+(ms|s|m|h))+$",
                "examples": ["2s", "300ms"],
            }),
            Self::Lease => json!({"type": "integer", "format": "int64", "not": {"const": 0}}),
            Self::Words(words) => json!({"type": "string", "enum": words}),
            Self::EachOf(words) => {
                json!({"type": "array", "items": {"type": "string", "enum": words}})
            }
            Self::Key => json!({"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX}),
            Self::KeyPart => json!({"type": "string", "maxLength": KEY_BYTES_MAX}),
            Self::Bytes => json!({"type": "string"}),
            Self::Token { pattern, .. } => json!({"type": "string", "pattern": pattern}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units_and_nothing_else() {
        for (text, milliseconds) in
            [("2s", 2000), ("300ms", 300), ("1m30s", 90_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(duration(text.as_bytes()), Some(Duration::from_millis(milliseconds)));
        }
        let huge = "9".repeat(30) + "s";
        for text in ["", "2", "s", "2 s", "2sec", "1d", "-1s", "1.5s", "2S", "s2", "2s3", &huge] {
            assert_eq!(duration(text.as_bytes()), None, "{text}");
        }
        assert_eq!(duration(b"18446744073709551615h"), None, "it is longer than can be counted");
    }

    #[test]
    fn a_lease_is_a_number_other_than_none() {
        for number in [1, -1, i64::MAX, i64::MIN] {
            assert_eq!(lease(number.to_string().as_bytes()), LeaseId::new(number));
        }
        assert_eq!(lease(b"007"), LeaseId::new(7));
        for text in ["", "0", "-0", "-", "+1", "1.0", "1e3", "a", " 1", "9223372036854775808"] {
            assert_eq!(lease(text.as_bytes()), None, "{text}");
        }
    }
}
