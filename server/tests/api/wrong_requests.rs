//! A large number of wrong requests of all kinds. Nothing is ever sent that is not described: each
//! answer has a status and a name from the table of errors that its call can give, and the form that
//! the description says ([`super::description`] checks it).

use std::collections::BTreeSet;

use consensus::Protocol;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::Fixture;
use super::client::{Answer, Http, read_to_end};
use super::description::{self, DOCUMENT};

/// Requests to one node; a cluster gets a third.
const REQUESTS: usize = 6000;

/// Numbers that look drawn by chance, the same each time (SplitMix64).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("below a usize")
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "+1",
    "1e3",
    "1.5",
    "007",
    "99",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "true",
    "TRUE",
    "false",
    "null",
    "[]",
    "{}",
    "a",
    "a/b",
    "..",
    "%00",
    "%FF",
    "%F0%9F%98%80",
    "%",
    "%2",
    "%zz",
    "%25",
    "1s",
    "1ms",
    "0s",
    "9999h",
    "1m30s",
    "s",
    "2.1.YQ",
    "9.9.YQ",
    "1-1",
    "'()!",
    "x=y=z",
];

const BODIES: &[&str] = &[
    "",
    " ",
    "{",
    "{}",
    "[]",
    "[1]",
    "null",
    "1",
    "\"x\"",
    "{\"revision\"",
    "{\"revision\":}",
    "{\"revision\":-1}",
    "{\"revision\":1.0}",
    "{\"revision\":\"1\"}",
    "{\"revision\":null}",
    "{\"revision\":1}",
    "{\"revision\":1,\"revision\":2}",
    "{\"revision\":18446744073709551616}",
    "{\"revision\":1e400}",
    "{\"to\":9}",
    "{\"to\":\"1\"}",
    "{\"to\":null}",
    "{\"to\":{}}",
    "{\"x\":1}",
    "{\"ttl\":\"10s\"}",
    "{\"ttl\":\"1ms\",\"id\":1}",
    "{\"ttl\":\"10s\",\"id\":0}",
    "{\"ttl\":10}",
    "{\"ttl\":\"999999999999999h\"}",
    "{\"if\":[]}",
    "{\"if\":[{}]}",
    "{\"if\":[{\"key\":\"a\",\"exists\":true}],\"then\":[{\"get\":{\"key\":\"a\"}}]}",
    "{\"if\":[{\"key\":\"a\",\"version\":{\"eq\":1}}],\"else\":[{\"get\":{\"prefix\":\"\"}}]}",
    "{\"then\":[{\"put\":{\"key\":\"a\",\"value\":\"1\"}}]}",
    "{\"then\":[{\"put\":{\"key\":\"a\",\"value\":\"1\"}},{\"delete\":{\"prefix\":\"\"}}]}",
    "{\"then\":[{\"put\":{\"key\":\"a\",\"valeu\":\"1\"}}]}",
    "{\"then\":[{\"put\":{\"key\":\"b\",\"value\":\"1\",\"lease\":77}}]}",
    "{\"then\":[{\"put\":{\"key\":\"none\",\"keep_value\":true,\"ttl\":\"9s\"}}]}",
    "{\"then\":[{\"put\":{\"key\":\"\",\"value\":\"1\"}}]}",
    "{\"then\":[{\"get\":{\"key\":\"a\",\"revision\":99}}]}",
    "{\"then\":[{\"txn\":{\"then\":[{\"txn\":{}}]}},{\"delete\":{\"key\":\"a\",\"prev\":true}}]}",
    "{\"kind\":\"flood\"}",
    "{\"kind\":\"drop\",\"from\":9}",
    "{\"kind\":[\"drop\"]}",
    "{\"kind\":\"delay\"}",
    "{\"kind\":\"pause\",\"for\":\"soon\"}",
    "{\"kind\":\"pause\",\"from\":1}",
    "\u{feff}{}",
    "{\"\\ud800\":1}",
    "{\"a\":\"\\x\"}",
    "not json",
    "a=b&c=d",
    "<xml/>",
];

const METHODS: &[&str] =
    &["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get", "G!T"];

/// Where a body counts most.
const OF_BODIES: &[&str] = &["/v1/txn", "/v1/leases"];

const NOWHERE: &[&str] = &[
    "/",
    "/v1",
    "/v1/",
    "/v1/kvs",
    "/v1/kv/../status",
    "/v1/status/",
    "/v1/faults/",
    "/v1/faults/1/2",
    "/V1/status",
    "//v1/status",
    "/v2/keys",
    "/v3/kv/range",
    "/%2e%2e/%2e",
    "/%FF",
    "/v1/txns",
    "/v1/leases/",
    "/v1/leases/1/keepalive/",
    "/v1/locks/a",
    "/index.html",
    "/v1/lab",
    "*",
];

/// A method and a path with a query. Most are nearly right, so that they come far.
fn target(draw: &mut Draw) -> (&'static str, String) {
    if draw.one_in(10) {
        return (draw.of(METHODS), draw.of(NOWHERE).to_owned());
    }
    let paths: Vec<_> = DOCUMENT["paths"].as_object().expect("an object").iter().collect();
    // Half of all is about keys, or has a body to go wrong.
    let of_keys = |(path, _): &&(&String, &Value)| path.starts_with("/v1/kv");
    let keys: Vec<_> = paths.iter().filter(of_keys).copied().collect();
    let of_bodies = |(path, _): &&(&String, &Value)| OF_BODIES.contains(&&path[..]);
    let bodies: Vec<_> = paths.iter().filter(of_bodies).copied().collect();
    let paths = match draw.below(8) {
        0..3 => keys,
        3 => bodies,
        _ => paths,
    };
    let (template, operations) = paths[draw.below(paths.len())];
    let known = |method: &&&str| operations.get(method.to_ascii_lowercase()).is_some();
    let known: Vec<&str> = METHODS[..5].iter().filter(known).copied().collect();
    let method = if draw.one_in(6) { draw.of(METHODS) } else { draw.of(&known) };
    let long = "k".repeat(5000);
    let place = match draw.below(40) {
        0 => &long,
        1..10 => draw.of(VALUES),
        _ => draw.of(&["a", "b", "c"]),
    };
    let mut path =
        template.replace("{key}", place).replace("{id}", place).replace("{lease}", place);
    let operation = operations.get(method.to_ascii_lowercase());
    let parameters = operation.and_then(|operation| operation["parameters"].as_array());
    let described = parameters.into_iter().flatten().filter(|parameter| parameter["in"] == "query");
    let described: Vec<_> = described.collect();
    let mut query: Vec<String> = Vec::new();
    for _ in 0..draw.below(3) {
        query.push(match draw.below(12) {
            0 => format!("{}={}", draw.of(VALUES), draw.of(VALUES)),
            1 => draw.of(&["lease=1", "ttl=1s", "sequential", "wait=1s", "x", "=", "%"]).to_owned(),
            _ if described.is_empty() => "timeout=1s".to_owned(),
            _ => {
                let parameter = described[draw.below(described.len())];
                given(draw, parameter)
            }
        });
    }
    if *template == "/v1/watch" && method != "HEAD" {
        // It would go on for ever if nothing were wrong with it.
        query.push("progress=never".to_owned());
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    (method, path)
}

/// A parameter, with a value that it may have, or with another.
fn given(draw: &mut Draw, described: &Value) -> String {
    let name = described["name"].as_str().expect("a name");
    let schema = &described["schema"];
    if draw.one_in(60) {
        return format!("{name}={}", "v".repeat(20_000));
    }
    let value = match schema["enum"].as_array() {
        _ if draw.one_in(5) => draw.of(VALUES),
        Some(words) => words[draw.below(words.len())].as_str().expect("a word"),
        None if schema["type"] == "integer" => draw.of(&["1", "2", "3", "99"]),
        None if name == "timeout" => draw.of(&["1s", "300ms", "1m", "1ms"]),
        None if name == "cursor" => draw.of(&["1.1.YQ", "9999.1.YQ"]),
        None => draw.of(&["", "a", "b"]),
    };
    format!("{name}={value}")
}

/// Sends a request, and tells the name of the error that was the answer, if it was one.
async fn send(draw: &mut Draw, http: &Http) -> Option<String> {
    let (method, path) = target(draw);
    let header_values =
        ["", "x", "1", "a b", "\"1\"", "*", "W/\"2\"", "-1", "\u{e9}", &"n".repeat(300)];
    let names =
        ["idempotency-key", "last-event-id", "if-none-match", "accept", "content-type", "range"];
    let mut headers = Vec::new();
    if draw.one_in(3) {
        headers.push((draw.of(&names), draw.of(&header_values)));
    }
    let long = " ".repeat(5000);
    let body = if draw.one_in(20) { &long } else { draw.of(BODIES) };
    let body = if method == "GET" && !draw.one_in(4) { "" } else { body };
    let answer = http.send(method, &path, &headers, body.as_bytes()).await;
    name(&answer)
}

/// The name of an error.
fn name(answer: &Answer) -> Option<String> {
    if answer.body.is_empty() || answer.status < 400 {
        return None;
    }
    Some(answer.json()["error"]["name"].as_str()?.to_owned())
}

async fn every_answer_is_described(fixture: Fixture, seed: u64, requests: usize, least: &[&str]) {
    let mut draw = Draw(seed);
    let mut seen = BTreeSet::new();
    let all = fixture.all();
    for _ in 0..requests {
        let http = &all[draw.below(all.len())];
        seen.extend(send(&mut draw, http).await);
    }
    for name in least {
        assert!(seen.contains(*name), "{name} was never an answer, only {seen:?}");
    }
    for http in all {
        assert_eq!(http.get("/livez").await.status, 200, "the node goes on");
    }
    fixture.stop().await;
}

/// What so many wrong requests can not miss.
const LEAST: &[&str] = &[
    "invalid_parameter",
    "unsupported_parameter",
    "invalid_encoding",
    "invalid_body",
    "key_empty",
    "future_revision",
    "key_not_found",
    "unknown_path",
    "method_not_allowed",
    "precondition_failed",
    "key_too_large",
    "body_too_large",
    "lease_not_found",
    "duplicate_key",
];

#[tokio::test]
async fn one_node_sends_nothing_that_is_not_described() {
    let fixture = Fixture::start().await;
    let least = [LEAST, &["faults_disabled", "cannot_lead"]].concat();
    every_answer_is_described(fixture, 1, REQUESTS, &least).await;
}

#[tokio::test]
async fn a_node_that_takes_faults_sends_nothing_that_is_not_described() {
    let fixture = Fixture::start_with(|config| config.node.faults.enabled = true).await;
    let least = [LEAST, &["fault_not_found"]].concat();
    every_answer_is_described(fixture, 2, REQUESTS, &least).await;
}

#[tokio::test]
async fn a_cluster_of_raft_sends_nothing_that_is_not_described() {
    every_answer_is_described(Fixture::cluster(Protocol::Raft).await, 3, REQUESTS / 2, LEAST).await;
}

#[tokio::test]
async fn a_cluster_of_zab_sends_nothing_that_is_not_described() {
    every_answer_is_described(Fixture::cluster(Protocol::Zab).await, 4, REQUESTS / 2, LEAST).await;
}

/// Requests that are damaged on their way: cut off, or with a byte that is another one.
#[tokio::test]
async fn a_damaged_request_gets_a_described_answer_or_none() {
    let fixture = Fixture::start_with(|config| {
        config.limits.read_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    let whole: &[&[u8]] = &[
        b"PUT /v1/kv/k?prev HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
          3\r\nabc\r\n0\r\n\r\n",
        b"GET /v1/kv/k?raw HTTP/1.1\r\nhost: x\r\nconnection: close\r\nif-none-match: \"2\"\r\n\r\n",
        b"POST /v1/compact HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 14\r\n\r\n\
          {\"revision\":1}",
    ];
    let mut draw = Draw(5);
    let (mut statuses, mut silent) = (BTreeSet::new(), 0);
    for _ in 0..30 {
        let mut sent = Vec::new();
        for _ in 0..50 {
            let mut bytes = draw.of(whole).to_vec();
            let is_cut_off = draw.one_in(4);
            if is_cut_off {
                bytes.truncate(draw.below(bytes.len()));
            } else {
                for _ in 0..=draw.below(2) {
                    let place = draw.below(bytes.len());
                    bytes[place] = u8::try_from(draw.below(256)).expect("a byte");
                }
            }
            let mut stream = fixture.http.connect().await;
            stream.write_all(&bytes).await.expect("sent");
            if is_cut_off {
                stream.shutdown().await.expect("half closed");
            }
            sent.push((stream, bytes));
        }
        for (mut stream, bytes) in sent {
            let answers = read_all(&mut stream).await;
            if answers.is_empty() {
                silent += 1;
                continue;
            }
            let first = Answer::parse(&answers);
            statuses.insert(first.status);
            if first.status >= 400 && !first.body.is_empty() {
                description::check_error(&first, &String::from_utf8_lossy(&bytes));
            }
        }
    }
    for status in [200, 201, 400, 404, 405] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    assert!(silent < 500, "{silent} requests had no answer");
    assert_eq!(fixture.http.get("/livez").await.status, 200, "the node goes on");
    fixture.stop().await;
}

/// Everything that is answered, which may be nothing when there was no whole head.
async fn read_all(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(super::client::PATIENCE, stream.read_to_end(&mut bytes));
    // A reset after an answer leaves the answer; what counts is that it ends.
    let _ = read.await.expect("in time");
    bytes
}

#[tokio::test]
async fn a_head_that_is_broken_or_too_long_is_refused_by_name() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    let line = "GET /livez HTTP/1.1\r\nhost: x\r\n";
    let long_path = format!("GET /v1/kv?prefix={} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(65_520));
    let long_header = format!("{line}x: {}\r\n\r\n", "y".repeat(300_000));
    let many_headers = format!("{line}{}\r\n", "x: y\r\n".repeat(500));
    for (head, status, name, words) in [
        (format!("{line}no colon\r\n\r\n"), 400, "not_http", "malformed"),
        ("GET /v1/kv/<k> HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "not_http", "URI"),
        (format!("{line}a b: c\r\n\r\n"), 400, "not_http", "malformed"),
        (format!("{line}content-length: -1\r\n\r\n"), 400, "not_http", "malformed"),
        (format!("{line}content-length: 1\r\ncontent-length: 2\r\n\r\nab"), 400, "not_http", ""),
        (format!("{line}transfer-encoding: gzip\r\n\r\n"), 400, "not_http", ""),
        (long_path, 431, "headers_too_large", "too large"),
        (long_header, 431, "headers_too_large", "too large"),
        (many_headers, 431, "headers_too_large", "too large"),
    ] {
        let answer = Answer::parse(&http.raw(head.as_bytes()).await);
        answer.assert_error(status, name, words);
        assert_eq!(answer.header("connection"), Some("close"));
        description::check_error(&answer, name);
    }
    // The answers before it are whole, and come before it.
    let put = "PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nv";
    let answers = http.raw(format!("{put}{put}{line}no colon\r\n\r\n").as_bytes()).await;
    let answers = String::from_utf8(answers).expect("text");
    let places: Vec<_> =
        ["201 Created", "200 OK", "400 Bad Request"].map(|words| answers.find(words)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{answers}");
    assert!(answers.contains("\"name\":\"not_http\""), "{answers}");
    fixture.stop().await;
}

/// A value that looks like a bare refusal of an HTTP server is a value like all others.
#[tokio::test]
async fn a_value_that_looks_like_a_refusal_is_given_as_it_is() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    let value = b"HTTP/1.1 431 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    http.put("/v1/kv/k", value).await;
    assert_eq!(http.get("/v1/kv/k?raw").await.body, value);
    let get = "GET /v1/kv/k?raw HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /v1/kv/k?raw HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let find = |answers: &[u8]| answers.windows(value.len()).filter(|bytes| bytes == value).count();
    // One after the other on one connection, all at once, and before a broken head.
    let mut stream = http.connect().await;
    for _ in 0..3 {
        use tokio::io::AsyncReadExt as _;
        stream.write_all(get.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while find(&answer) == 0 {
            let mut some = [0; 512];
            let count = stream.read(&mut some).await.expect("readable");
            assert!(count > 0, "the answer is whole");
            answer.extend_from_slice(&some[..count]);
        }
    }
    stream.write_all(last.as_bytes()).await.expect("sent");
    assert_eq!(find(&read_to_end(&mut stream).await), 1);
    assert_eq!(find(&http.raw(format!("{get}{get}{last}").as_bytes()).await), 3);
    let answers =
        http.raw(format!("{get}{get}GET / HTTP/1.1\r\nno colon\r\n\r\n").as_bytes()).await;
    assert_eq!(find(&answers), 2);
    assert!(String::from_utf8_lossy(&answers).contains("\"name\":\"not_http\""));
    fixture.stop().await;
}
