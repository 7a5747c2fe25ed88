//! What every call needs: its message, its time, the header of its answer, the keys that it is about.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use hyper::HeaderMap;
use kvcore::{Keys, Revision};
use twox_hash::xxhash3_128::Hasher;

use super::error::{Refusal, Refused};
use super::message::{ResponseHeader, signed};
use super::protojson::{self, Json};
use crate::http::error::ErrorName;
use crate::http::{App, Limits, body};

/// How long a call may take when the client does not say: etcd's five seconds and two election timeouts.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(7);
/// The longest that a client may say.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// What a request may have beside the longest value. With the default of `--max-value-bytes` it makes the
/// 1.5 MiB that etcd allows.
const REQUEST_BYTES_BESIDE: usize = 512 << 10;
/// The range that begins here has all keys, because no key is empty.
const LEAST: &[u8] = b"\0";

/// The most bytes that a request may have, without what JSON adds.
pub(super) fn request_bytes_max(limits: &Limits) -> usize {
    limits.value_bytes_max + REQUEST_BYTES_BESIDE
}

/// A request, and how long it may take.
pub(super) struct Asked<M> {
    pub(super) message: M,
    pub(super) timeout: Duration,
}

/// Reads the message of a call that has one.
pub(super) async fn read<M: Json + Default>(
    app: &Arc<App>,
    request: Request,
) -> Result<Asked<M>, Refused> {
    let timeout = timeout(request.headers());
    // Base64 makes four bytes of three; the rest is for names, white space and escapes.
    let bytes_max = 2 * request_bytes_max(&app.limits);
    let body = body::read(app, request, bytes_max, ErrorName::BodyTooLarge).await?;
    Ok(Asked { message: protojson::decode(&body.bytes)?, timeout })
}

/// How long a call may take.
pub(super) fn timeout(headers: &HeaderMap) -> Duration {
    timeout_given(headers).unwrap_or(TIMEOUT_DEFAULT)
}

/// How long a client says that a call may take, in gRPC's words: digits and a unit. What is no such time
/// is not heeded, as etcd does not.
pub(super) fn timeout_given(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get("grpc-timeout").and_then(|value| value.to_str().ok());
    given.and_then(parse_timeout)
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = if plain { digits.parse().ok()? } else { return None };
    let time = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(time.clamp(Duration::from_millis(1), TIMEOUT_MAX))
}

/// The keys that `key` and `range_end` stand for.
pub(super) fn keys(key: Bytes, range_end: &Bytes) -> Result<Keys, Refused> {
    if key.is_empty() {
        return Err(Refusal::KeyMissing.into());
    }
    Ok(selected(key, range_end))
}

/// The same for a key that is not empty.
pub(super) fn selected(key: Bytes, range_end: &Bytes) -> Keys {
    match &range_end[..] {
        b"" => Keys::One(key),
        LEAST if key == LEAST => Keys::all(),
        LEAST => Keys::Between { from: key, to: None },
        _ => Keys::Between { from: key, to: Some(range_end.clone()) },
    }
}

/// A revision to read at: none and less is now.
pub(super) fn revision_asked(revision: i64) -> Option<Revision> {
    u64::try_from(revision).ok().filter(|revision| *revision > 0).map(Revision)
}

impl App {
    /// The header of an answer of `/v3`.
    pub(super) fn header(&self, revision: Revision) -> ResponseHeader {
        ResponseHeader { revision: signed(revision.0), ..self.header_without_revision() }
    }

    /// The same where no revision is told.
    pub(super) fn header_without_revision(&self) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id(),
            member_id: self.handle.facts().id.0,
            revision: 0,
            raft_term: self.handle.status().consensus.term.0,
        }
    }

    /// A number that all nodes of the cluster have and no other cluster has: a hash of the cluster's name
    /// and of the data directories that it was formed with. 0 before it is formed.
    fn cluster_id(&self) -> u64 {
        if let Some(id) = self.cluster_id.get() {
            return *id;
        }
        let formation = self.handle.formation();
        if !formation.formed {
            return 0;
        }
        let mut text = self.handle.facts().cluster.clone();
        for (node, directory) in &formation.directories {
            text.push_str(&format!("\n{}={directory}", node.0));
        }
        let hash = Hasher::oneshot(text.as_bytes());
        #[allow(clippy::cast_possible_truncation, reason = "half of it is enough")]
        let id = hash as u64;
        // 0 would be left out of answers.
        *self.cluster_id.get_or_init(|| id.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let parsed = |text: &str| parse_timeout(text).map(|time| time.as_millis());
        assert_eq!(parsed("2S"), Some(2000));
        assert_eq!(parsed("1M"), Some(60_000));
        assert_eq!(parsed("99999999H"), Some(600_000));
        assert_eq!(parsed("250m"), Some(250));
        assert_eq!(parsed("250000u"), Some(250));
        assert_eq!(parsed("1n"), Some(1));
        for wrong in ["", "S", "2", "2s", "-2S", "+2S", "2.5S", "123456789S", "2Sé"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_and_an_end_stand_for_one_key_an_interval_or_all_from_the_key_on() {
        let keys = |key: &'static [u8], end: &'static [u8]| {
            super::keys(Bytes::from_static(key), &Bytes::from_static(end))
        };
        let between = |to: Option<&'static [u8]>| Keys::Between {
            from: Bytes::from_static(b"a"),
            to: to.map(Bytes::from_static),
        };
        assert_eq!(keys(b"a", b""), Ok(Keys::One(Bytes::from_static(b"a"))));
        assert_eq!(keys(b"a", b"b"), Ok(between(Some(b"b"))));
        assert_eq!(keys(b"a", b"\0"), Ok(between(None)));
        assert_eq!(keys(b"\0", b"\0"), Ok(Keys::all()));
        assert_eq!(keys(b"", b"b"), Err(Refusal::KeyMissing.into()));
    }
}
