//! Bodies that are too long, too slow, cut off or no HTTP at all; connections that are too many.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Fixture;
use super::client::{Answer, read_to_end};

/// A server that waits for nobody long.
async fn impatient() -> Fixture {
    Fixture::start_with(|config| {
        config.limits.read_timeout = Duration::from_millis(300);
        config.limits.value_bytes_max = 1000;
    })
    .await
}

#[tokio::test]
async fn a_value_is_as_long_as_allowed_and_not_a_byte_longer() {
    let fixture = impatient().await;
    let http = &fixture.http;
    assert_eq!(http.put("/v1/kv/k", vec![b'x'; 1000]).await.status, 201);
    let words = "at most 1000 bytes are allowed here; the body has 1001 bytes";
    http.put("/v1/kv/k", vec![b'x'; 1001]).await.assert_error(413, "value_too_large", words);
    // Ten times what the sockets hold: the client is still sending when the error is clear.
    let long = http.put("/v1/kv/k", vec![b'x'; 20_000_000]).await;
    long.assert_error(413, "value_too_large", "20000000 bytes");
    let long = http.post("/v1/compact", &" ".repeat(5000)).await;
    long.assert_error(413, "body_too_large", "at most 4096");
    assert_eq!(http.revision().await, 2);
    fixture.stop().await;
}

#[tokio::test]
async fn a_chunked_body_is_bounded_too() {
    let fixture = impatient().await;
    let http = &fixture.http;
    let head = "PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = http.raw(format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").as_bytes()).await;
    assert_eq!(Answer::parse(&whole).status, 201);
    assert_eq!(http.get("/v1/kv/k?raw").await.body, b"abcde");
    let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
    let long = http.raw(format!("{head}{}0\r\n\r\n", chunk.repeat(3)).as_bytes()).await;
    Answer::parse(&long).assert_error(413, "value_too_large", "more than that");
    let broken = http.raw(format!("{head}3\r\nabc\r\nZZ\r\n").as_bytes()).await;
    Answer::parse(&broken).assert_error(400, "body_truncated", "nothing was done");
    assert_eq!(http.get("/v1/kv/k?raw").await.body, b"abcde");
    fixture.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_a_long_body_is_not_asked() {
    let fixture = impatient().await;
    let mut stream = fixture.http.connect().await;
    let request =
        "PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let began = Instant::now();
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    answer.assert_error(413, "value_too_large", "5000 bytes");
    assert!(began.elapsed() < Duration::from_secs(1), "it waited for the body");
    let mut stream = fixture.http.connect().await;
    let request = request.replace("5000", "2").replace("host", "connection: close\r\nhost");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.expect("readable");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").await.expect("sent");
    assert_eq!(Answer::parse(&read_to_end(&mut stream).await).status, 201);
    fixture.stop().await;
}

#[tokio::test]
async fn of_a_body_that_is_cut_off_nothing_is_stored() {
    let fixture = impatient().await;
    let http = &fixture.http;
    let request = b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhello";
    let mut stream = http.connect().await;
    stream.write_all(request).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    answer.assert_error(400, "body_truncated", "nothing was done");
    let mut gone = http.connect().await;
    gone.write_all(request).await.expect("sent");
    drop(gone);
    tokio::time::sleep(Duration::from_millis(100)).await;
    http.get("/v1/kv/k").await.assert_error(404, "key_not_found", "`k`");
    assert_eq!(http.revision().await, 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_given_up() {
    let fixture = impatient().await;
    let http = &fixture.http;
    let mut stream = http.connect().await;
    let head = b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhell";
    stream.write_all(head).await.expect("sent");
    let began = Instant::now();
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    answer.assert_error(408, "body_timeout", "within 300ms");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(http.revision().await, 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let fixture = impatient().await;
    for beginning in ["", "GET /v1/kv/k HT", "GET /v1/kv/k HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut stream = fixture.http.connect().await;
        stream.write_all(beginning.as_bytes()).await.expect("sent");
        let began = Instant::now();
        read_to_end_or_nothing(&mut stream).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{beginning}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn what_does_not_begin_as_http_is_told_so_and_the_node_goes_on() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello tls"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/kv/a b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        Answer::parse(&http.raw(garbage).await).assert_error(400, "not_http", "HTTP/1.1");
    }
    assert_eq!(http.get("/livez").await.status, 200);
    fixture.stop().await;
}

#[tokio::test]
async fn bodies_under_way_are_bounded_together() {
    let fixture = Fixture::start_with(|config| {
        config.limits.body_bytes_max = 100_000;
    })
    .await;
    let http = &fixture.http;
    let mut slow = http.connect().await;
    let head = b"PUT /v1/kv/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 80000\r\nconnection: close\r\n\r\n";
    slow.write_all(head).await.expect("sent");
    slow.write_all(&[b'x'; 79_999]).await.expect("sent");
    let began = Instant::now();
    let refused = loop {
        // The slow one may not have begun yet.
        let answer = http.put("/v1/kv/k", vec![b'y'; 80_000]).await;
        if answer.status == 429 {
            break answer;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "both have room");
    };
    refused.assert_error(429, "overloaded", "nothing happened");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Small ones go on, and the slow one is done when it is there.
    assert!(http.put("/v1/kv/small", "v").await.status < 300);
    slow.write_all(b"x").await.expect("sent");
    assert_eq!(Answer::parse(&read_to_end(&mut slow).await).status, 201);
    assert!(http.put("/v1/kv/k", vec![b'y'; 80_000]).await.status < 300);
    fixture.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_loses_it_and_frees_its_room() {
    let fixture = Fixture::start_with(|config| {
        config.limits.value_bytes_max = 16 << 20;
        config.limits.answer_bytes_max = 20 << 20;
        config.limits.write_timeout = Duration::from_millis(500);
    })
    .await;
    let http = &fixture.http;
    // More than the sockets hold.
    assert_eq!(http.put("/v1/kv/large", vec![b'x'; 16 << 20]).await.status, 201);
    let mut idler = http.connect().await;
    idler.write_all(b"GET /v1/kv/large?raw HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut first = [0; 15];
    idler.read_exact(&mut first).await.expect("an answer begins");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let refused = http.get("/v1/kv/large?raw").await;
    refused.assert_error(429, "overloaded", "have not taken");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let began = Instant::now();
    while http.get("/v1/kv/large?raw").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(10), "the room is not given back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), idler.read_to_end(&mut rest)).await;
    // Closed or reset; in any case the connection has ended, and before the whole answer.
    let _ = read.expect("the connection ends");
    assert!(rest.len() < 16 << 20, "it got everything");
    fixture.stop().await;
}

#[tokio::test]
async fn requests_may_follow_one_another_without_waiting_for_answers() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    let mut requests = String::new();
    for number in 0..50 {
        requests.push_str(&format!(
            "PUT /v1/kv/k{number} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nv"
        ));
    }
    requests.push_str("GET /v1/kv?count_only HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answers = String::from_utf8(http.raw(requests.as_bytes()).await).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 201 Created").count(), 50);
    assert!(answers.contains("\"count\":50"), "{answers}");
    fixture.stop().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_a_freed_place_is_used_again() {
    let fixture = Fixture::start_with(|config| config.limits.connections_max = 3).await;
    let http = &fixture.http;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stream = http.connect().await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut some = [0; 15];
        stream.read_exact(&mut some).await.expect("an answer");
        assert_eq!(&some, b"HTTP/1.1 200 OK");
        kept.push(stream);
    }
    let refused = http.get("/v1/kv/k").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    refused.assert_error(503, "too_many_connections", "has 3 connections");
    kept.pop();
    let began = Instant::now();
    while http.get("/livez").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(5), "the place was not freed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fixture.stop().await;
}

/// As `read_to_end`, for connections that may be closed without an answer.
async fn read_to_end_or_nothing(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // Closed or reset makes no difference here; what counts is that it ends.
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time");
    bytes
}
