//! One connection's bytes as messages.

use std::io;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use crate::load::request::Request;
use crate::load::stream::HttpStream;

/// The longest line that is accepted: a message with a value of the largest size many times over.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A connection with watches.
#[derive(Debug)]
pub(super) struct WatchStream {
    stream: HttpStream,
    /// What was received and is not a whole line yet.
    pending: Vec<u8>,
}

/// What a line says.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    result: Option<Message<'a>>,
}

/// A message to one watch. Of numbers the server writes the decimal digits as text.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Message<'a> {
    /// Which watch it is for; left out if 0.
    pub(super) watch_id: Option<&'a str>,
    /// The watch has begun.
    #[serde(default)]
    pub(super) created: bool,
    /// The watch is over.
    #[serde(default)]
    pub(super) canceled: bool,
    /// What happened.
    #[serde(borrow, default)]
    pub(super) events: Vec<Event<'a>>,
}

/// What happened to a key.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Event<'a> {
    /// The key afterwards.
    #[serde(borrow)]
    pub(super) kv: KeyValue<'a>,
}

/// A key, in base64 as its value is.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct KeyValue<'a> {
    pub(super) key: &'a str,
    #[serde(default)]
    pub(super) version: &'a str,
    #[serde(default)]
    pub(super) value: &'a str,
}

impl WatchStream {
    /// Opens a connection with a watch of each of these keys, given in base64. The first watch has the
    /// number 1.
    pub(super) async fn open<'a>(
        address: SocketAddr,
        keys: impl Iterator<Item = &'a str>,
    ) -> io::Result<Self> {
        let create = |(number, key): (usize, &str)| {
            format!(
                "{{\"create_request\":{{\"key\":\"{key}\",\"watch_id\":\"{}\"}}}}\n",
                number + 1
            )
        };
        let body: String = keys.enumerate().map(create).collect();
        Self::open_with(address, &body).await
    }

    /// Opens a connection with one watch, of all keys that begin so.
    pub(super) async fn open_prefix(address: SocketAddr, prefix: &str) -> io::Result<Self> {
        let mut end = prefix.as_bytes().to_vec();
        // The first key behind all of them.
        *end.last_mut().expect("a prefix of some length") += 1;
        let body = format!(
            "{{\"create_request\":{{\"key\":\"{}\",\"range_end\":\"{}\"}}}}\n",
            to_base64(prefix.as_bytes()),
            to_base64(&end)
        );
        Self::open_with(address, &body).await
    }

    async fn open_with(address: SocketAddr, body: &str) -> io::Result<Self> {
        let request = Request::post_json(&address.to_string(), "/v3/watch", body);
        let (status, mut stream) = HttpStream::open(address, &request).await?;
        let mut pending = Vec::new();
        if status != 200 {
            while stream.read(&mut pending).await? {}
            let said = String::from_utf8_lossy(&pending);
            return Err(io::Error::other(format!("/v3/watch answered {status}: {said}")));
        }
        Ok(Self { stream, pending })
    }

    /// Waits until more was received. May be given up while it waits without losing anything.
    pub(super) async fn receive(&mut self) -> io::Result<()> {
        if self.pending.len() > LINE_BYTES_MAX {
            return Err(io::Error::other("a message is longer than 64 MiB"));
        }
        match self.stream.read(&mut self.pending).await? {
            true => Ok(()),
            false => Err(io::Error::other("the server ended the stream of watches")),
        }
    }

    /// Gives the messages that are there whole.
    pub(super) fn take(&mut self, mut take: impl FnMut(&Message<'_>)) -> io::Result<()> {
        let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let text = std::str::from_utf8(&self.pending[..end]);
        let text = text.map_err(|_| io::Error::other("a message is not UTF-8"))?;
        for line in text.split('\n') {
            take(&parse(line)?);
        }
        self.pending.drain(..=end);
        Ok(())
    }
}

fn parse(line: &str) -> io::Result<Message<'_>> {
    let wrong = |why: String| io::Error::other(format!("a message is `{line}`: {why}"));
    let parsed: Line<'_> = serde_json::from_str(line).map_err(|why| wrong(why.to_string()))?;
    parsed.result.ok_or_else(|| wrong("it is no result".to_owned()))
}

/// Bytes as base64, as etcd's API writes them.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The number in the first 16 bytes of a value, which is hexadecimal.
pub(super) fn stamp(value: &str) -> Option<u64> {
    // The 16 bytes are in the first 24 of the letters, with the two that follow them.
    let mut bytes = [0; 18];
    let letters = value.get(..24)?;
    BASE64.decode_slice(letters, &mut bytes).ok()?;
    u64::from_str_radix(std::str::from_utf8(&bytes[..16]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_the_server_writes_them() {
        let line = r#"{"result":{"header":{"revision":"3"},"watch_id":"7","events":[{"kv":{"key":"YQ==","create_revision":"2","mod_revision":"3","version":"2","value":"dg=="}}]}}"#;
        let kv = KeyValue { key: "YQ==", version: "2", value: "dg==" };
        let expected =
            Message { watch_id: Some("7"), events: vec![Event { kv }], ..Message::default() };
        assert_eq!(parse(line).expect("a message"), expected);
        let created = parse(r#"{"result":{"header":{},"watch_id":"1","created":true}}"#);
        assert!(created.expect("a message").created);
        for wrong in ["", "{}", r#"{"error":{"code":14,"message":"etcdserver: server stopped"}}"#] {
            parse(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_stamp_is_found_in_a_value_of_any_length_that_has_one() {
        for tail in ["", "x", "xy", "xyz and more"] {
            let value = to_base64(format!("00000000000beef1{tail}").as_bytes());
            assert_eq!(stamp(&value), Some(0xbeef1), "{tail}");
        }
        assert_eq!(stamp(&to_base64(b"000000000beef1")), None);
        assert_eq!(stamp(&to_base64(b"no number, but long enough")), None);
    }
}
