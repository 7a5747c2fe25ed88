//! A client of a few lines: one request on a connection of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an answer in JSON")
    }

    /// The name of the error, if it is one.
    pub(crate) fn error_name(&self) -> Option<String> {
        self.json()["error"]["name"].as_str().map(str::to_owned)
    }
}

/// One request on a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> std::io::Result<Answer> {
    request_with(address, method, path, &[], body)
}

/// The same with headers.
pub(crate) fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    request_within(Duration::from_secs(10), address, method, path, headers, body)
}

/// The same with the time to wait for the answer.
pub(crate) fn request_within(
    time: Duration,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(time))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}content-length: \
         {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let incomplete = || std::io::Error::other("an incomplete answer");
    let end = end.ok_or_else(incomplete)?;
    let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    let status = status.and_then(|digits| digits.parse().ok()).ok_or_else(incomplete)?;
    Ok(Answer { status, body: bytes[end + 4..].to_vec() })
}

/// What a watch tells from a revision on, as long as its connection stands: each revision and its line.
pub(crate) fn watch(address: SocketAddr, from: u64) -> impl Iterator<Item = (u64, String)> {
    lines_of_watch(address, from).map(|line| {
        let json: Value = serde_json::from_str(&line).expect("a line of JSON");
        assert!(json["events"].is_array(), "{line}");
        (json["revision"].as_u64().unwrap_or_else(|| panic!("no revision in {line}")), line)
    })
}

/// The same line by line, with what it says when it ends by itself.
pub(crate) fn lines_of_watch(address: SocketAddr, from: u64) -> impl Iterator<Item = String> {
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(2)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    // HTTP/1.0, so that the lines come as they are.
    let head = format!("GET /v1/watch?from_revision={from} HTTP/1.0\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    // The head, and the line that says that the watch has started.
    let started = lines.by_ref().skip_while(|line| !line.is_empty()).nth(1).expect("a first line");
    assert!(started.contains("\"started\":true"), "{started}");
    lines
}

/// The results of a watch of etcd's API, as long as its connection stands.
pub(crate) fn etcd_watch(
    address: SocketAddr,
    create: &Value,
) -> impl Iterator<Item = Value> + use<> {
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(2)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let body = serde_json::json!({ "create_request": create }).to_string();
    // HTTP/1.0, so that the lines come as they are.
    let length = body.len();
    let head = format!("POST /v3/watch HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).expect("sent");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let mut results = lines.skip_while(|line| !line.is_empty()).skip(1).map(|line| {
        let mut json: Value = serde_json::from_str(&line).expect("a line of JSON");
        assert!(json["result"].is_object(), "{line}");
        json["result"].take()
    });
    assert_eq!(results.next().expect("a first line")["created"], true);
    results
}

/// A number of etcd's API, which is a string.
pub(crate) fn etcd_number(field: &Value) -> u64 {
    field.as_str().unwrap_or_else(|| panic!("{field}")).parse().expect("a number")
}

/// The revisions of the events of such a result.
pub(crate) fn etcd_revisions(result: &Value) -> Vec<u64> {
    let events = result["events"].as_array().unwrap_or_else(|| panic!("no events in {result}"));
    events.iter().map(|event| etcd_number(&event["kv"]["mod_revision"])).collect()
}

/// Everything that ever happened on a node, as a watch from the first revision up to this one tells
/// it: one line a revision.
pub(crate) fn history(address: SocketAddr, up_to: u64) -> Vec<String> {
    let mut history = Vec::new();
    for (revision, line) in watch(address, 1) {
        history.push(line);
        if revision >= up_to {
            return history;
        }
    }
    panic!("the history of {address} ends before revision {up_to}");
}
