//! The query of a request: parsed strictly. What is unknown, given twice or impossible is an error
//! that says what is allowed, because a parameter that is silently ignored is a wrong answer.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use kvcore::{Condition, IdempotencyKey, KEY_BYTES_MAX, Keys, Revision};
use percent_encoding::percent_decode_str;

use super::error::{ApiError, ErrorName};
use crate::node::handle::Consistency;

/// How long a request may take when it does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// How long a request may ask to take.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Parameters of the API that belong to features which this version does not have.
const LATER: [(&str, &str); 4] = [
    ("lease", "leases"),
    ("ttl", "leases"),
    ("sequential", "sequential keys"),
    ("wait", "recipes"),
];

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, Bytes)>,
    allowed: &'static [&'static str],
}

impl Parameters {
    /// Parses a query string, of which only these parameters may be given.
    pub(crate) fn parse(
        query: Option<&str>,
        allowed: &'static [&'static str],
    ) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, Bytes)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = String::from_utf8(decode_query(name)?).map_err(|_| {
                ApiError::new(ErrorName::InvalidEncoding, "a parameter's name is not UTF-8")
            })?;
            if !allowed.contains(&&name[..]) {
                return Err(refuse(&name, allowed));
            }
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                return Err(ApiError::parameter(format!("the parameter `{name}` is given twice")));
            }
            pairs.push((name, decode_query(value)?.into()));
        }
        Ok(Self { pairs, allowed })
    }

    /// The bytes of a parameter.
    pub(crate) fn bytes(&self, name: &str) -> Option<Bytes> {
        debug_assert!(self.allowed.contains(&name), "`{name}` is asked for but not allowed");
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        self.bytes(name)
            .map(|bytes| {
                String::from_utf8(bytes.to_vec()).map_err(|_| {
                    ApiError::parameter(format!("the value of `{name}` is not UTF-8 text"))
                })
            })
            .transpose()
    }

    /// A parameter that is on when it is given: `?prev`, `?prev=true`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.bytes(name).as_deref() {
            None => Ok(false),
            Some(b"" | b"true" | b"1") => Ok(true),
            Some(b"false" | b"0") => Ok(false),
            Some(other) => Err(impossible(name, other, "nothing, true, 1, false or 0")),
        }
    }

    /// A number within bounds.
    pub(crate) fn number(
        &self,
        name: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.bytes(name) else { return Ok(None) };
        let parsed = std::str::from_utf8(&text)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|number| (least..=most).contains(number));
        match parsed {
            Some(number) => Ok(Some(number)),
            None if most == u64::MAX => {
                Err(impossible(name, &text, &format!("a decimal number from {least} up")))
            }
            None => {
                Err(impossible(name, &text, &format!("a decimal number from {least} to {most}")))
            }
        }
    }

    /// A revision, which is at least 1.
    pub(crate) fn revision(&self, name: &str) -> Result<Option<Revision>, ApiError> {
        Ok(self.number(name, 1, u64::MAX)?.map(Revision))
    }

    /// A duration like `2s` or `300ms`, within bounds.
    pub(crate) fn duration(
        &self,
        name: &str,
        least: Duration,
        most: Duration,
    ) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.bytes(name) else { return Ok(None) };
        let parsed = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| humantime::parse_duration(text).ok())
            .filter(|duration| (least..=most).contains(duration));
        parsed.map(Some).ok_or_else(|| {
            let allowed = format!(
                "a number with its unit, as 2s or 300ms, from {} to {}",
                humantime::format_duration(least),
                humantime::format_duration(most)
            );
            impossible(name, &text, &allowed)
        })
    }

    /// How long the request may take.
    pub(crate) fn timeout(&self) -> Result<Duration, ApiError> {
        if self.pairs.is_empty() {
            return Ok(TIMEOUT_DEFAULT);
        }
        let given = self.duration("timeout", Duration::from_millis(1), TIMEOUT_MAX)?;
        Ok(given.unwrap_or(TIMEOUT_DEFAULT))
    }

    /// How fresh a read must be.
    pub(crate) fn consistency(&self) -> Result<Consistency, ApiError> {
        match self.bytes("consistency").as_deref() {
            None | Some(b"linearizable") => Ok(Consistency::Linearizable),
            Some(b"sync") => Ok(Consistency::Sync),
            Some(b"local") => Ok(Consistency::Local),
            Some(other) => Err(impossible("consistency", other, "linearizable, sync or local")),
        }
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.bytes(name) else { return Ok(None) };
        let chosen = choices.iter().find(|(word, _)| word.as_bytes() == &text[..]);
        chosen.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            impossible(name, &text, &words.join(", "))
        })
    }

    /// The conditions of a write.
    pub(crate) fn conditions(&self) -> Result<Vec<Condition>, ApiError> {
        let mut conditions = Vec::new();
        if self.pairs.is_empty() {
            return Ok(conditions);
        }
        if self.flag("if_absent")? {
            conditions.push(Condition::Absent);
        }
        if let Some(version) = self.number("if_version", 0, u64::MAX)? {
            conditions.push(Condition::Version(version));
        }
        if let Some(revision) = self.number("if_mod_revision", 0, u64::MAX)? {
            conditions.push(Condition::ModRevision(Revision(revision)));
        }
        if let Some(value) = self.bytes("if_value") {
            conditions.push(Condition::Value(value));
        }
        Ok(conditions)
    }

    /// The selection of keys by `prefix`, or by `from` and `to`; `None` when none of them is given.
    pub(crate) fn keys(&self) -> Result<Option<Keys>, ApiError> {
        let (prefix, from, to) = (self.bytes("prefix"), self.bytes("from"), self.bytes("to"));
        for (name, bytes) in [("prefix", &prefix), ("from", &from), ("to", &to)] {
            let length = bytes.as_ref().map_or(0, Bytes::len);
            if length > KEY_BYTES_MAX {
                return Err(ApiError::new(
                    ErrorName::KeyTooLarge,
                    format!("`{name}` has {length} bytes; a key has at most {KEY_BYTES_MAX}"),
                ));
            }
        }
        match (prefix, from, to) {
            (None, None, None) => Ok(None),
            (Some(prefix), None, None) => Ok(Some(Keys::Prefix(prefix))),
            (None, from, to) => {
                // An empty `to` is no key; it means the end of all keys, as if it were not given.
                let to = to.filter(|to| !to.is_empty());
                Ok(Some(Keys::Between { from: from.unwrap_or_default(), to }))
            }
            (Some(_), ..) => Err(ApiError::parameter(
                "`prefix` is given together with `from` or `to`; give either `prefix` or `from` \
                 and `to`",
            )),
        }
    }
}

/// The header that names a write.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The key under which a write is to take effect at most once, if it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::parameter("the header Idempotency-Key is given twice"));
    }
    let key = IdempotencyKey::new(value.as_bytes()).map_err(|invalid| {
        ApiError::parameter(format!("the header Idempotency-Key can not be used: {invalid}"))
    })?;
    Ok(Some(key))
}

/// Refuses the header where nothing is written.
pub(crate) fn refuse_idempotency_key(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(ApiError::parameter(
            "this call writes no key and takes no header Idempotency-Key; calling it twice does no \
             harm",
        ));
    }
    Ok(())
}

fn refuse(name: &str, allowed: &[&str]) -> ApiError {
    let allowed = match allowed {
        [] => "this call takes none".to_owned(),
        _ => format!("allowed here: {}", allowed.join(", ")),
    };
    match LATER.iter().find(|(later, _)| *later == name) {
        Some((_, feature)) => ApiError::new(
            ErrorName::UnsupportedParameter,
            format!(
                "the parameter `{name}` is not supported by this version, which has no \
                 {feature}; {allowed}"
            ),
        ),
        None => ApiError::parameter(format!(
            "there is no parameter `{}`; {allowed}",
            excerpt(name.as_bytes())
        )),
    }
}

/// The error for a value that a parameter can not have.
pub(crate) fn impossible(name: &str, value: &[u8], allowed: &str) -> ApiError {
    ApiError::parameter(format!("`{name}` is `{}`; allowed: {allowed}", excerpt(value)))
}

/// The beginning of something that a client sent, to be quoted in a message.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const LENGTH_MAX: usize = 64;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LENGTH_MAX)]).into_owned();
    if bytes.len() > LENGTH_MAX { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// Decodes a part of a query, where `+` stands for a space, as every form and URL library has it.
fn decode_query(text: &str) -> Result<Vec<u8>, ApiError> {
    let text: Cow<'_, str> =
        if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    decode(&text)
}

/// Decodes percent-encoding, strictly.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, ApiError> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Ok(bytes.to_vec());
    }
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let digits = bytes.get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let end = bytes.len().min(at + 3);
            return Err(ApiError::new(
                ErrorName::InvalidEncoding,
                format!(
                    "`{}` is not percent-encoding; a % is followed by two hexadecimal digits, \
                     and a literal % is written %25",
                    excerpt(&bytes[at..end])
                ),
            ));
        }
    }
    Ok(percent_decode_str(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &["prefix", "from", "to", "limit", "prev", "timeout", "consistency"];

    fn parse(query: &str) -> Result<Parameters, ApiError> {
        Parameters::parse(Some(query), ALLOWED)
    }

    #[test]
    fn unknown_later_and_repeated_parameters_are_refused_by_name() {
        for (query, name, word) in [
            ("limits=3", ErrorName::InvalidParameter, "limit, prev"),
            ("ttl=10s", ErrorName::UnsupportedParameter, "leases"),
            ("prev&prev", ErrorName::InvalidParameter, "twice"),
            ("prefix=%zz", ErrorName::InvalidEncoding, "%zz"),
            ("prefix=%e", ErrorName::InvalidEncoding, "%e"),
        ] {
            let error = parse(query).expect_err(query);
            assert_eq!(error.name, name, "{query}");
            assert!(error.message.contains(word), "{query}: {}", error.message);
        }
    }

    #[test]
    fn values_are_bytes_and_a_plus_is_a_space() {
        let parameters = parse("prefix=a+b%2B%FF").expect("a query");
        assert_eq!(parameters.keys(), Ok(Some(Keys::Prefix(Bytes::from_static(b"a b+\xFF")))));
    }

    #[test]
    fn impossible_values_say_what_is_allowed() {
        for (query, word) in [
            ("limit=0", "from 1 to 10"),
            ("limit=11", "from 1 to 10"),
            ("limit=-1", "from 1 to 10"),
            ("limit=%2B1", "from 1 to 10"),
            ("limit=", "from 1 to 10"),
            ("limit=99999999999999999999999", "from 1 to 10"),
        ] {
            let error = parse(query).expect("a query").number("limit", 1, 10).expect_err(query);
            assert!(error.message.contains(word), "{query}: {}", error.message);
        }
        assert!(parse("prev=maybe").expect("a query").flag("prev").is_err());
        assert!(parse("timeout=2").expect("a query").timeout().is_err());
        assert!(parse("timeout=0s").expect("a query").timeout().is_err());
        assert!(parse("timeout=11m").expect("a query").timeout().is_err());
        assert!(parse("consistency=eventual").expect("a query").consistency().is_err());
        assert!(parse("prefix=a&from=b").expect("a query").keys().is_err());
    }

    #[test]
    fn an_idempotency_key_is_one_header_of_visible_characters() {
        let headers = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = hyper::header::HeaderValue::from_bytes(value).expect("a value");
                headers.append(IDEMPOTENCY_KEY, value);
            }
            idempotency_key(&headers)
        };
        assert_eq!(headers(&[]), Ok(None));
        assert_eq!(headers(&[b"a-1"]), Ok(Some(IdempotencyKey::new(b"a-1").expect("a key"))));
        for (values, word) in [
            (&[&b""[..]][..], "is empty"),
            (&[b"a b"], "0x20"),
            (&[b"\xc3\xa4"], "0xc3"),
            (&[&[b'a'; 256]], "256 bytes"),
            (&[b"a", b"a"], "twice"),
        ] {
            let error = headers(values).expect_err(word);
            assert_eq!(error.name, ErrorName::InvalidParameter);
            assert!(error.message.contains(word), "{}", error.message);
        }
    }

    #[test]
    fn a_range_may_be_open_at_either_end() {
        let keys = |query| parse(query).expect("a query").keys().expect("keys");
        assert_eq!(keys("limit=1"), None);
        assert_eq!(
            keys("to=b"),
            Some(Keys::Between { from: Bytes::new(), to: Some(Bytes::from_static(b"b")) })
        );
        assert_eq!(
            keys("from=a&to="),
            Some(Keys::Between { from: Bytes::from_static(b"a"), to: None })
        );
    }
}
