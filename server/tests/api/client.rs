//! An HTTP client by hand.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::description;

/// No answer of a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A client of one server, with a connection for each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http {
    address: SocketAddr,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Takes an answer apart.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
        let status = head[9..12].parse().expect("a status");
        let mut body = bytes[end + 4..].to_vec();
        let answer = Self { status, head, body: Vec::new() };
        if let Some(length) = answer.header("content-length") {
            body.truncate(length.parse().expect("a length"));
        } else if answer.header("transfer-encoding") == Some("chunked") && !body.is_empty() {
            body = joined(&body);
        }
        Self { body, ..answer }
    }

    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The names of all headers of the answer.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in {}\n{}", self.head, String::from_utf8_lossy(&self.body))
        })
    }

    /// The body as JSON without the revision, which must be there.
    pub(crate) fn json_and_revision(&self) -> (Value, u64) {
        let mut json = self.json();
        let revision = json.as_object_mut().and_then(|object| object.remove("revision"));
        (
            json,
            revision.and_then(|revision| revision.as_u64()).expect("every answer has a revision"),
        )
    }

    /// Checks that this is a certain error, whole and well-formed, and that its message helps.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, name: &str, words: &str) -> Value {
        let json = self.json();
        let error = &json["error"];
        assert_eq!((self.status, error["name"].as_str()), (status, Some(name)), "{json}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(words), "`{words}` is not in: {message}");
        assert_eq!(error["definite"].as_bool(), Some(name != "unknown_outcome"), "{json}");
        assert!(error["retryable"].is_boolean(), "{json}");
        assert!(json["revision"].is_u64(), "{json}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.assert_signed();
        json
    }

    /// Checks the headers that every answer has.
    #[track_caller]
    pub(crate) fn assert_signed(&self) {
        let protocol = self.header("duorum-protocol").expect("a protocol");
        assert!(["null", "raft", "zab"].contains(&protocol), "{protocol}");
        let node = self.header("duorum-node").and_then(|id| id.parse::<u64>().ok());
        assert!(node.is_some_and(|id| (1..=4).contains(&id)), "{node:?}");
        let leader = self.header("duorum-leader").expect("a leader");
        let leaders = if protocol == "null" { 1..=1 } else { 1..=3 };
        assert!(leaders.map(|id: u64| id.to_string()).any(|id| id == leader), "{leader}");
        assert!(self.header("duorum-position").is_some_and(|position| !position.is_empty()));
    }
}

/// A body that came in chunks, up to its proper end.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n").expect("the body broke off");
        let size = std::str::from_utf8(&chunks[..end]).expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// A connection whose side takes a few KiB as long as nobody reads from it.
    pub(crate) async fn connect_with_little_room(&self) -> TcpStream {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.expect("a socket");
        // Before the connection is there: it bounds what the other side is told that it may send.
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(self.address).await.expect("a connection")
    }

    /// Sends bytes as they are, and reads until the server closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("sent");
        read_to_end(&mut stream).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        let answer = Answer::parse(&self.raw(&bytes).await);
        description::check(method, path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("PUT", path, &[], body.as_ref()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[], body.as_bytes()).await
    }

    /// Stores values under keys `{prefix}{number}`.
    pub(crate) async fn fill(&self, prefix: &str, count: usize) {
        for number in 0..count {
            let answer = self.put(&format!("/v1/kv/{prefix}{number}"), format!("v{number}")).await;
            assert_eq!(answer.status, 201);
        }
    }

    /// The store's revision.
    pub(crate) async fn revision(&self) -> u64 {
        self.get("/v1/status").await.json_and_revision().1
    }

    /// Begins a stream and reads its head.
    pub(crate) async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Lines {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let path = path.to_owned();
        let mut lines = Lines { path, stream, raw: Vec::new(), text: Vec::new(), ended: false };
        loop {
            if let Some(end) = lines.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = lines.raw.drain(..end + 4).collect();
                let answer = Answer::parse(&head);
                assert_eq!(answer.status, 200, "{}", answer.head);
                answer.assert_signed();
                return lines;
            }
            assert!(lines.fill().await, "the stream has a head");
        }
    }
}

/// A chunked body, line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    path: String,
    stream: TcpStream,
    /// What came and is not decoded.
    raw: Vec<u8>,
    /// What was decoded and not read.
    text: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The next line; `None` at the proper end of the stream.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(String::from_utf8(line).expect("text").trim_end().to_owned());
            }
            if self.ended {
                return None;
            }
            if !self.decode() {
                assert!(self.fill().await, "the stream broke off");
            }
        }
    }

    /// The next line as JSON, which must be as it is described.
    pub(crate) async fn json(&mut self) -> Value {
        let line = self.next().await.expect("a line");
        let json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        description::check_line(&self.path, "application/x-ndjson", &json);
        json
    }

    /// Checks that nothing comes for a while.
    pub(crate) async fn assert_silent(&mut self, wait: Duration) {
        if let Ok(line) = timeout(wait, self.next()).await {
            panic!("unexpected: {line:?}");
        }
    }

    fn decode(&mut self) -> bool {
        let Some(end) = self.raw.windows(2).position(|two| two == b"\r\n") else { return false };
        let size = std::str::from_utf8(&self.raw[..end]).expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if self.raw.len() < end + 2 + size + 2 {
            return false;
        }
        self.text.extend_from_slice(&self.raw[end + 2..end + 2 + size]);
        self.raw.drain(..end + 2 + size + 2);
        self.ended = size == 0;
        true
    }

    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 8192];
        let count = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("in time");
        let count = count.expect("readable");
        self.raw.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

/// Everything until the server closes the connection.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("in time");
    // A reset after the answer still leaves the answer.
    if let Err(error) = read {
        assert!(!bytes.is_empty(), "nothing was answered: {error}");
    }
    bytes
}
