//! Stopping: cleanly, promptly, and whatever was acknowledged is there afterwards.

use std::time::{Duration, Instant};

use consensus::Protocol;
use serde_json::json;
use server::config::ServeConfig;
use server::serve::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Fixture;
use super::client::Http;

#[tokio::test]
async fn idle_connections_are_closed_and_watches_are_told() {
    let fixture = Fixture::start().await;
    let mut idle = fixture.http.connect().await;
    let mut watch = fixture.http.stream("/v1/watch", &[]).await;
    watch.json().await;
    let began = Instant::now();
    fixture.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    let last = watch.json().await;
    assert_eq!(last["error"]["name"], "shutting_down");
    assert_eq!((&last["error"]["retryable"], &last["revision"]), (&json!(true), &json!(1)));
    assert_eq!(watch.next().await, None);
    assert_eq!(idle.read(&mut [0; 8]).await.expect("closed, not reset"), 0);
}

/// A client that asks one thing after another finds no connection closed on a request of its: it hears
/// of the end with an answer.
#[tokio::test]
async fn whoever_keeps_asking_is_told_before_the_connection_ends() {
    let fixture = Fixture::start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut stream = fixture.http.connect().await;
        clients.push(tokio::spawn(async move {
            let request = b"GET /v1/status HTTP/1.1\r\nhost: test\r\n\r\n";
            for answers in 0_u64.. {
                stream.write_all(request).await.expect("the connection is there");
                let mut answer = Vec::new();
                while !answer.trim_ascii_end().ends_with(b"}") {
                    let read = stream.read_buf(&mut answer).await.expect("an answer");
                    assert!(read > 0, "no answer to request {answers}");
                }
                let text = String::from_utf8(answer).expect("text");
                if text.contains("connection: close") {
                    assert_eq!(stream.read(&mut [0; 8]).await.expect("closed, not reset"), 0);
                    return answers;
                }
            }
            unreachable!("it ends with the server")
        }));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.stop().await;
    for client in clients {
        assert!(client.await.expect("it was told") > 0);
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    for round in 0..3_u64 {
        let config = ServeConfig::alone(Protocol::Null, data.path().join("node"));
        let server = Server::start(config).await.expect("a server");
        server.ready().await;
        let http = Http::new(server.http_address());
        for earlier in 0..round {
            let (json, _) = http.get(&format!("/v1/kv/k{earlier}")).await.json_and_revision();
            assert_eq!(json["mod_revision"], earlier + 2);
        }
        assert_eq!(http.put(&format!("/v1/kv/k{round}"), "v").await.json()["revision"], round + 2);
        server.stop().await;
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_with_what_to_do() {
    let fixture = Fixture::start().await;
    let data = tempfile::tempdir().expect("a directory");
    for http_is_taken in [true, false] {
        let mut config = ServeConfig::alone(Protocol::Null, data.path().join("node"));
        if http_is_taken {
            config.http_address = fixture.server.http_address();
        } else {
            config.node.peer_address = fixture.server.peer_address();
        }
        let Err(error) = Server::start(config).await else { panic!("the address is in use") };
        let message = error.to_string();
        let flag = if http_is_taken { "--http" } else { "--peer" };
        assert!(message.contains("in use") && message.contains(flag), "{message}");
    }
    fixture.stop().await;
}
