//! The query of a request: parsed strictly, by what the call is described to take. What is unknown,
//! given twice or impossible is an error that says what is allowed, because a parameter that is
//! silently ignored is a wrong answer.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use kvcore::{Condition, IdempotencyKey, Keys, LeaseId, Revision};
use percent_encoding::percent_decode_str;

use super::call::{Call, Kind, Parameter, kind};
use super::error::{ApiError, ErrorName};
use crate::node::handle::Consistency;

/// How long a request may take when it does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// How little time a request may ask to take.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// How long a request may ask to take.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Parameters of the API that belong to features which this version does not have.
const LATER: [(&str, &str); 1] = [("wait", "recipes")];

/// How fresh a read can be, by the words for it.
pub(super) const CONSISTENCIES: [(&str, Consistency); 3] = [
    ("linearizable", Consistency::Linearizable),
    ("sync", Consistency::Sync),
    ("local", Consistency::Local),
];

/// The parameters of one request, each of which can be what it is.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(&'static Parameter, Bytes)>,
    described: &'static [Parameter],
}

impl Parameters {
    /// Parses a query string for a call, which may have only the parameters that it is described with.
    pub(super) fn parse(query: Option<&str>, call: &'static Call) -> Result<Self, ApiError> {
        Self::of(query.unwrap_or_default(), call.query)
    }

    /// Parses a query string that may have only these parameters.
    pub(super) fn of(query: &str, described: &'static [Parameter]) -> Result<Self, ApiError> {
        let mut pairs: Vec<(&'static Parameter, Bytes)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = String::from_utf8(decode_query(name)?).map_err(|_| {
                ApiError::new(ErrorName::InvalidEncoding, "a parameter's name is not UTF-8")
            })?;
            let Some(parameter) = described.iter().find(|parameter| parameter.name == name) else {
                return Err(refuse(&name, described));
            };
            let repeats = matches!(parameter.kind, Kind::EachOf(_));
            if !repeats && pairs.iter().any(|(earlier, _)| earlier.name == name) {
                return Err(ApiError::parameter(format!("the parameter `{name}` is given twice")));
            }
            let value = decode_query(value)?;
            parameter.kind.check(&name, &value)?;
            pairs.push((parameter, value.into()));
        }
        Ok(Self { pairs, described })
    }

    /// What was given for a parameter, and how it is described.
    fn given(&self, name: &str) -> Option<(&'static Parameter, &Bytes)> {
        debug_assert!(
            self.described.iter().any(|parameter| parameter.name == name),
            "what is asked for is described: {name}"
        );
        let pair = self.pairs.iter().find(|(parameter, _)| parameter.name == name);
        pair.map(|(parameter, value)| (*parameter, value))
    }

    /// The bytes of a parameter.
    pub(crate) fn bytes(&self, name: &str) -> Option<Bytes> {
        self.given(name).map(|(_, value)| value.clone())
    }

    /// The value of a parameter that was checked to be one of its kind.
    fn value<T>(&self, name: &str, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let (_, value) = self.given(name)?;
        Some(parse(value).expect("a parameter is read as what it is described to be"))
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name, |value| String::from_utf8(value.to_vec()).ok())
    }

    /// Whether a parameter that may be given several times was given with this word.
    pub(crate) fn has(&self, name: &str, word: &str) -> bool {
        let of_name = self.pairs.iter().filter(|(parameter, _)| parameter.name == name);
        of_name.into_iter().any(|(_, value)| value == word)
    }

    /// A parameter that is on when it is given: `?prev`, `?prev=true`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.value(name, kind::flag).unwrap_or(false)
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.value(name, kind::number)
    }

    /// A revision.
    pub(crate) fn revision(&self, name: &str) -> Option<Revision> {
        self.number(name).map(Revision)
    }

    /// The number of a lease.
    pub(crate) fn lease(&self, name: &str) -> Option<LeaseId> {
        self.value(name, kind::lease)
    }

    /// A duration like `2s` or `300ms`.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        self.value(name, kind::duration)
    }

    /// How long the request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.duration("timeout").unwrap_or(TIMEOUT_DEFAULT)
    }

    /// How fresh a read must be.
    pub(crate) fn consistency(&self) -> Consistency {
        self.choice("consistency", &CONSISTENCIES).unwrap_or(Consistency::Linearizable)
    }

    /// What one of several words means.
    pub(crate) fn choice<T: Copy>(&self, name: &str, table: &[(&str, T)]) -> Option<T> {
        self.value(name, |value| {
            table.iter().find(|(word, _)| word.as_bytes() == value).map(|(_, meaning)| *meaning)
        })
    }

    /// The conditions of a write.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        if self.pairs.is_empty() {
            return Vec::new();
        }
        let conditions = [
            self.flag("if_absent").then_some(Condition::Absent),
            self.number("if_version").map(Condition::Version),
            self.revision("if_mod_revision").map(Condition::ModRevision),
            self.bytes("if_value").map(Condition::Value),
        ];
        conditions.into_iter().flatten().collect()
    }

    /// The selection of keys by `prefix`, or by `from` and `to`; `None` when none of them is given.
    pub(crate) fn keys(&self) -> Result<Option<Keys>, ApiError> {
        let (prefix, from, to) = (self.bytes("prefix"), self.bytes("from"), self.bytes("to"));
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

fn refuse(name: &str, described: &[Parameter]) -> ApiError {
    let names: Vec<_> = described.iter().map(|parameter| parameter.name).collect();
    let allowed = match &names[..] {
        [] => "this call takes none".to_owned(),
        names => format!("allowed here: {}", names.join(", ")),
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
    use super::super::call::{self, Kind};
    use super::*;

    const LIMIT: Parameter =
        Parameter { name: "limit", kind: Kind::Number { least: 1, most: 10 }, meaning: "" };
    const DESCRIBED: &[Parameter] =
        &[call::PREFIX, call::FROM, call::TO, LIMIT, call::PREV, call::TIMEOUT, call::CONSISTENCY];

    fn parse(query: &str) -> Result<Parameters, ApiError> {
        Parameters::of(query, DESCRIBED)
    }

    #[test]
    fn unknown_later_and_repeated_parameters_are_refused_by_name() {
        for (query, name, word) in [
            ("limits=3", ErrorName::InvalidParameter, "limit, prev"),
            ("wait=10s", ErrorName::UnsupportedParameter, "recipes"),
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
            ("prev=maybe", "true, 1, false or 0"),
            ("timeout=2", "as 2s or 300ms"),
            ("timeout=0s", "from 1ms to 10m"),
            ("timeout=11m", "from 1ms to 10m"),
            ("consistency=eventual", "linearizable, sync, local"),
        ] {
            let error = parse(query).expect_err(query);
            assert_eq!(error.name, ErrorName::InvalidParameter, "{query}");
            assert!(error.message.contains(word), "{query}: {}", error.message);
        }
        assert!(parse("prefix=a&from=b").expect("a query").keys().is_err());
        let long = format!("prefix={}", "a".repeat(kvcore::KEY_BYTES_MAX + 1));
        assert_eq!(parse(&long).map(|_| ()).map_err(|e| e.name), Err(ErrorName::KeyTooLarge));
    }

    #[test]
    fn what_is_possible_is_read_as_what_it_is() {
        let parameters = parse("limit=010&prev&timeout=1m30s&consistency=sync").expect("a query");
        assert_eq!(parameters.number("limit"), Some(10));
        assert!(parameters.flag("prev"));
        assert_eq!(parameters.timeout(), Duration::from_secs(90));
        assert_eq!(parameters.consistency(), Consistency::Sync);
        assert_eq!(parameters.bytes("prefix"), None);
        assert_eq!(parse("").expect("a query").timeout(), TIMEOUT_DEFAULT);
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
