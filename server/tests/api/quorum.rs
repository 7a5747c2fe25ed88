//! Clusters with and without a quorum: what is still answered, and how the rest is refused.

use std::time::{Duration, Instant};

use consensus::Protocol;
use serde_json::json;
use server::serve::Server;

use super::client::Http;
use super::{Fixture, STARTS_MAX, cluster_of_three};

/// What a node without a quorum says and does.
pub(super) async fn assert_without_quorum(http: &Http) {
    // It takes the leader a moment to notice that it is alone.
    let began = Instant::now();
    while http.get("/v1/status").await.json()["leader"] != json!(null) {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it still takes somebody for the leader"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let put = http.put("/v1/kv/k?timeout=300ms", "new").await;
    assert_eq!((put.status, &put.json()["error"]["name"]), (503, &json!("no_leader")));
    assert_eq!((put.header("duorum-leader"), put.header("retry-after")), (Some("none"), None));
    let delete = http.delete("/v1/kv/k?timeout=300ms").await;
    assert_eq!((delete.status, &delete.json()["error"]["name"]), (503, &json!("no_leader")));
    let get = http.get("/v1/kv/k?timeout=300ms").await;
    assert_eq!(get.status, 503, "{}", get.json());
    assert!(["no_leader", "no_quorum"].iter().any(|name| get.json()["error"]["name"] == *name));
    assert_eq!((&get.json()["error"]["definite"], get.status), (&json!(true), 503));
    let range = http.get("/v1/kv?prefix=k&timeout=300ms").await;
    assert_eq!(range.status, 503, "{}", range.json());
    assert_eq!(http.get("/v1/kv/k?consistency=local").await.status, 200);
    let ready = http.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    let health = http.get("/health").await;
    assert_eq!((health.status, &health.json()["health"]), (503, &json!("false")));
    assert_ne!(health.json()["reason"], "");
    assert_eq!(http.get("/livez").await.status, 200);
    assert_eq!(http.get("/health?serializable").await.status, 200, "the node itself is well");
    assert_eq!(http.get("/metrics").await.status, 200);
    assert_eq!(http.get("/v1/cluster").await.json()["leader"], json!(null));
}

async fn of_three_nodes_two_serve_and_one_does_not(protocol: Protocol) {
    let mut fixture = Fixture::start_on(protocol).await;
    assert_eq!(fixture.http.put("/v1/kv/k", "old").await.status, 201);
    for http in fixture.all() {
        let (json, _) = http.get("/v1/kv/k").await.json_and_revision();
        assert_eq!(json["value"], "old", "any node takes any request");
    }
    // Whoever leads, one of the two that remain does so sooner or later.
    fixture.others.pop().expect("node 3").stop().await;
    let began = Instant::now();
    while fixture.http.put("/v1/kv/two?timeout=1s", "v").await.status >= 300 {
        assert!(began.elapsed() < Duration::from_secs(20), "two are a quorum");
    }
    fixture.others.pop().expect("node 2").stop().await;
    assert_without_quorum(&fixture.http).await;
    fixture.stop().await;
}

#[tokio::test]
async fn of_three_nodes_of_raft_two_serve_and_one_does_not() {
    of_three_nodes_two_serve_and_one_does_not(Protocol::Raft).await;
}

#[tokio::test]
async fn of_three_nodes_of_zab_two_serve_and_one_does_not() {
    of_three_nodes_two_serve_and_one_does_not(Protocol::Zab).await;
}

/// One node of three, which takes only so many requests at a time.
async fn start_one_of_three(
    protocol: Protocol,
    requests_max: usize,
) -> (Server, tempfile::TempDir) {
    for _ in 0..STARTS_MAX {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = cluster_of_three(protocol, data.path()).remove(0);
        config.node.requests_pending_max = requests_max;
        if let Ok(server) = Server::start(config).await {
            return (server, data);
        }
    }
    panic!("{STARTS_MAX} ports were taken");
}

async fn more_requests_than_may_wait_are_told_when_to_come_again(protocol: Protocol) {
    let (server, _data) = start_one_of_three(protocol, 2).await;
    let http = Http::new(server.http_address());
    // Without a leader these two wait for the whole of their time.
    let waiting: Vec<_> = (0..2)
        .map(|number| {
            let path = format!("/v1/kv/{number}?timeout=3s");
            tokio::spawn(async move { http.put(&path, "v").await })
        })
        .collect();
    let began = Instant::now();
    while http.get("/v1/status").await.json()["requests_pending"] != 2 {
        assert!(began.elapsed() < Duration::from_secs(2), "they do not wait");
    }
    let refused = http.put("/v1/kv/other", "v").await;
    assert_eq!(refused.status, 429, "{}", refused.json());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let json = refused.json();
    assert_eq!(json["error"]["name"], "overloaded");
    assert_eq!(
        (&json["error"]["definite"], &json["error"]["retryable"]),
        (&json!(true), &json!(true))
    );
    let read = http.get("/v1/kv/other").await;
    assert_eq!((read.status, read.header("retry-after")), (429, Some("1")));
    // What asks nobody is answered.
    assert_eq!(http.get("/v1/kv/k?consistency=local").await.status, 404);
    for task in waiting {
        assert_eq!(task.await.expect("a task").status, 503);
    }
    server.stop().await;
}

#[tokio::test]
async fn more_requests_than_may_wait_are_told_when_to_come_again_by_raft() {
    more_requests_than_may_wait_are_told_when_to_come_again(Protocol::Raft).await;
}

#[tokio::test]
async fn more_requests_than_may_wait_are_told_when_to_come_again_by_zab() {
    more_requests_than_may_wait_are_told_when_to_come_again(Protocol::Zab).await;
}
