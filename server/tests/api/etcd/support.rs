//! A client of `/v3`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::client::{Answer, Http, PATIENCE};

/// Bytes as JSON has them.
pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The text that a field of base64 has; empty if it is left out.
pub(super) fn text(field: &Value) -> String {
    let bytes = STANDARD.decode(field.as_str().unwrap_or_default()).expect("base64");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An integer of 64 bits, which is a string; 0 if it is left out.
pub(super) fn number(field: &Value) -> i64 {
    match field {
        Value::Null => 0,
        field => {
            let text = field.as_str().unwrap_or_else(|| panic!("{field} is no string"));
            text.parse().unwrap_or_else(|error| panic!("{error}: {field}"))
        }
    }
}

/// The revision of an answer's header.
pub(super) fn revision(answer: &Value) -> i64 {
    number(&answer["header"]["revision"])
}

/// The keys of an answer in its order.
pub(super) fn keys(answer: &Value) -> Vec<String> {
    let kvs = answer["kvs"].as_array();
    kvs.into_iter().flatten().map(|kv| text(&kv["key"])).collect()
}

impl Http {
    /// A call of `/v3`.
    pub(super) async fn v3(&self, call: &str, request: &Value) -> Answer {
        self.post(&format!("/v3/{call}"), &request.to_string()).await
    }

    /// The answer to a call that is fulfilled. Its header is checked.
    #[track_caller]
    pub(super) fn ok(&self, call: &str, request: &Value) -> impl Future<Output = Value> {
        let (http, call, request) = (*self, call.to_owned(), request.clone());
        async move {
            let answer = http.v3(&call, &request).await;
            let json = answer.json();
            assert_eq!(answer.status, 200, "{call} {request}: {json}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            answer.assert_signed();
            let header = &json["header"];
            assert_eq!(header["member_id"].as_str(), answer.header("duorum-node"), "{json}");
            assert!(number(&header["raft_term"]) > 0, "{json}");
            assert!(header["cluster_id"].as_str().is_some_and(|id| id != "0"), "{json}");
            json
        }
    }

    /// A call that is refused, with the code, the status and exactly the message.
    pub(super) async fn refused(&self, call: &str, request: &Value, code: u64, message: &str) {
        let answer = self.v3(call, request).await;
        assert_refused(&answer, code, message);
    }

    /// Stores a value.
    pub(super) async fn put_text(&self, key: &str, value: &str) -> Value {
        self.ok("kv/put", &json!({"key": base64(key), "value": base64(value)})).await
    }

    /// Reads keys from `key` up to `end`.
    pub(super) async fn range_text(&self, key: &str, end: &str, options: Value) -> Value {
        let mut request = json!({"key": base64(key), "range_end": base64(end)});
        let fields = request.as_object_mut().expect("an object");
        fields.extend(options.as_object().expect("options").clone());
        self.ok("kv/range", &request).await
    }

    /// Waits until the node has everything that was acknowledged anywhere.
    pub(super) async fn catch_up(&self) -> i64 {
        revision(&self.ok("kv/range", &json!({"key": base64("x"), "count_only": true})).await)
    }

    /// The messages of a stream whose body is whole, and which ends with it.
    pub(super) async fn results(&self, call: &str, body: &str) -> Vec<Value> {
        let answer = self.post(&format!("/v3/{call}"), body).await;
        assert_eq!(answer.status, 200, "{call} {body}");
        let lines = std::str::from_utf8(&answer.body).expect("JSON").lines();
        let result = |line: &str| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            assert!(line["result"].is_object(), "{line}");
            line["result"].take()
        };
        lines.map(result).collect()
    }

    /// Grants a lease of this number for so many seconds.
    pub(super) async fn grant(&self, lease: i64, seconds: i64) -> Value {
        self.ok("lease/grant", &json!({"ID": lease, "TTL": seconds})).await
    }

    /// Begins a stream, whose requests may go on.
    pub(super) async fn open(&self, call: &str, request: &str) -> Stream {
        self.open_on(self.connect().await, call, request).await
    }

    /// The same for a client whose side takes next to nothing as long as it does not read.
    pub(super) async fn open_slowly(&self, call: &str, request: &str) -> Stream {
        self.open_on(self.connect_with_little_room().await, call, request).await
    }

    async fn open_on(&self, mut stream: TcpStream, call: &str, request: &str) -> Stream {
        let head =
            format!("POST /v3/{call} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut stream = Stream { stream, raw: Vec::new(), head: None };
        stream.send(request).await;
        stream
    }

    /// Begins to watch, from now on as every node sees it.
    pub(super) async fn watch(&self, create: Value) -> Stream {
        self.catch_up().await;
        let mut stream = self.open("watch", &json!({"create_request": create}).to_string()).await;
        let created = stream.next().await;
        assert_eq!(created["created"], true, "{created}");
        assert_eq!(created.get("canceled"), None, "{created}");
        assert!(revision(&created) > 0, "{created}");
        stream
    }
}

/// Asks until the node follows: a new leader needs a quorum only, and the other may still be on its way.
pub(super) async fn hand_over(http: &Http, to: u64) {
    let began = std::time::Instant::now();
    loop {
        let answer = http.v3("maintenance/transfer-leadership", &json!({ "targetID": to })).await;
        if answer.status == 200 {
            return assert_eq!(answer.json(), json!({}));
        }
        assert!(began.elapsed() < PATIENCE, "node {to} does not follow: {}", answer.json());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Checks that an answer is a refusal, the same for old and for new clients.
#[track_caller]
pub(super) fn assert_refused(answer: &Answer, code: u64, message: &str) {
    let status = match code {
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        8 => 429,
        12 => 501,
        14 => 503,
        _ => 500,
    };
    let json = answer.json();
    assert_eq!((answer.status, json["code"].as_u64()), (status, Some(code)), "{json}");
    assert_eq!(json["message"].as_str(), Some(message), "{json}");
    assert_eq!(json["error"], json["message"], "{json}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.assert_signed();
    assert_documented(code, message);
}

/// Checks that the table of the documentation has an error.
#[track_caller]
pub(super) fn assert_documented(code: u64, message: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/etcd-api.md");
    let page = std::fs::read_to_string(path).expect("docs/etcd-api.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let text = cells.next()?.strip_suffix('`')?;
        Some((text, cells.next()?.parse::<u64>().ok()?))
    });
    let rows: BTreeSet<_> = rows.collect();
    let found = rows.iter().any(|(text, documented)| {
        let rest = message.strip_prefix(text);
        code == *documented && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
    });
    assert!(found, "{message} with code {code} is not in docs/etcd-api.md");
}

/// A stream of `/v3`. Each of its messages must be a chunk, and each chunk a message.
pub(super) struct Stream {
    stream: TcpStream,
    raw: Vec<u8>,
    head: Option<Answer>,
}

impl Stream {
    /// Sends some of the body, as a chunk of its own.
    pub(super) async fn send(&mut self, text: &str) {
        if !text.is_empty() {
            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
            self.stream.write_all(chunk.as_bytes()).await.expect("sent");
        }
    }

    /// Ends the body.
    pub(super) async fn end_body(&mut self) {
        self.stream.write_all(b"0\r\n\r\n").await.expect("sent");
    }

    /// The head of the answer.
    pub(super) async fn head(&mut self) -> &Answer {
        while self.head.is_none() {
            match self.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => {
                    let head: Vec<u8> = self.raw.drain(..end + 4).collect();
                    self.head = Some(Answer::parse(&head));
                }
                None => assert!(self.fill().await, "the stream has a head"),
            }
        }
        self.head.as_ref().expect("read just now")
    }

    /// The next chunk; `None` at the proper end.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        assert_eq!(self.head().await.status, 200);
        loop {
            if let Some(end) = self.raw.windows(2).position(|two| two == b"\r\n") {
                let size = std::str::from_utf8(&self.raw[..end]).expect("a chunk size");
                let size = usize::from_str_radix(size, 16).expect("a chunk size");
                if self.raw.len() >= end + 2 + size + 2 {
                    let chunk = self.raw[end + 2..end + 2 + size].to_vec();
                    self.raw.drain(..end + 2 + size + 2);
                    return (size > 0).then_some(chunk);
                }
            }
            assert!(self.fill().await, "the stream broke off");
        }
    }

    /// The next message as it is.
    pub(super) async fn line(&mut self) -> Option<Value> {
        let chunk = self.chunk().await?;
        assert_eq!(chunk.iter().position(|byte| *byte == b'\n'), Some(chunk.len() - 1));
        Some(serde_json::from_slice(&chunk).expect("JSON"))
    }

    /// The next result.
    pub(super) async fn next(&mut self) -> Value {
        let mut line = self.line().await.expect("a message");
        let members = line.as_object().map_or(0, serde_json::Map::len);
        assert!(members == 1 && line["result"].is_object(), "{line}");
        line["result"].take()
    }

    /// The events of the next result, which is about this watch: type, key and revision of each.
    pub(super) async fn events(&mut self, watch_id: i64) -> Vec<(&'static str, String, i64)> {
        let result = self.next().await;
        assert_eq!(number(&result["watch_id"]), watch_id, "{result}");
        let events = events(&result);
        assert_eq!(revision(&result), events.last().expect("an event").2, "{result}");
        events
    }

    /// Checks that nothing comes for a while.
    pub(super) async fn assert_silent(&mut self) {
        let wait = std::time::Duration::from_millis(150);
        if let Ok(line) = timeout(wait, self.line()).await {
            panic!("unexpected: {line:?}");
        }
    }

    async fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let count = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("in time");
        let count = count.expect("readable");
        self.raw.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

/// Type, key and revision of each event of a result.
pub(super) fn events(result: &Value) -> Vec<(&'static str, String, i64)> {
    let events = result["events"].as_array().unwrap_or_else(|| panic!("no events in {result}"));
    let event = |event: &Value| {
        let kind = match event.get("type").and_then(Value::as_str) {
            None => "PUT",
            Some("DELETE") => {
                let members = event["kv"].as_object().map_or(0, serde_json::Map::len);
                assert_eq!(members, 2, "of a deletion only key and revision are told: {event}");
                "DELETE"
            }
            other => panic!("{other:?}"),
        };
        (kind, text(&event["kv"]["key"]), number(&event["kv"]["mod_revision"]))
    };
    events.iter().map(event).collect()
}
