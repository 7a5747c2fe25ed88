//! A node that observes: it serves clients like any other, and nobody waits for it.

use std::time::Duration;

use consensus::Protocol;
use serde_json::json;

use super::Fixture;
use super::client::Http;
use super::quorum::assert_without_quorum;

/// The observer's number.
const OBSERVER: u64 = 4;

async fn an_observer_serves_and_does_not_count(protocol: Protocol) {
    let mut fixture = Fixture::cluster_with_observers(protocol, 1).await;
    let observer = fixture.others.pop().expect("node 4");
    let there = Http::new(observer.http_address());

    let mut watch = there.stream("/v1/watch?prefix=k", &[]).await;
    assert_eq!(watch.json().await, json!({"revision": 1, "started": true}));
    assert_eq!(there.put("/v1/kv/k1", "asked there").await.status, 201, "it hands writes on");
    assert_eq!(there.get("/v1/kv/k1").await.json()["value"], "asked there");
    assert_eq!(fixture.http.put("/v1/kv/k2", "asked elsewhere").await.status, 201);
    for revision in [2, 3] {
        assert_eq!(watch.json().await["revision"], revision, "its watches see everything");
    }
    let local = there.get("/v1/kv/k2?consistency=local").await;
    assert_eq!(local.json()["value"], "asked elsewhere");
    assert_eq!(there.get("/readyz").await.status, 200);
    drop(watch);
    assert_told(&there, &fixture.http, protocol).await;

    let leader = fixture.http.get("/v1/status").await.json()["leader"].clone();
    let before = fixture.http.get("/v1/status").await.json()["term"].clone();
    observer.stop().await;
    assert_eq!(fixture.http.put("/v1/kv/k3", "without it").await.status, 201);
    let status = fixture.http.get("/v1/status").await.json();
    assert_eq!((&status["leader"], &status["term"]), (&leader, &before), "nobody misses it");
    fixture.stop().await;
}

/// What the observer and another node say of it.
async fn assert_told(there: &Http, elsewhere: &Http, protocol: Protocol) {
    let status = there.get("/v1/status").await.json();
    let role = if protocol == Protocol::Raft { "learner" } else { "OBSERVING" };
    assert_eq!((&status["role"], &status["standing"]), (&json!(role), &json!("observer")));
    assert!(status["peers"].as_array().is_some_and(|peers| peers.len() == 3));
    for http in [there, elsewhere] {
        let cluster = http.get("/v1/cluster").await.json();
        assert_eq!(cluster["quorum"], 2, "a majority of the voters");
        for (member, standing) in [(0, "voter"), (2, "voter"), (3, "observer")] {
            assert_eq!(cluster["members"][member]["standing"], standing, "{cluster}");
        }
    }
    let to = format!("{{\"to\": {OBSERVER}}}");
    let refused = elsewhere.post("/v1/cluster/transfer", &to).await;
    refused.assert_error(409, "cannot_lead", "node 4 is an observer");
}

async fn an_observer_is_no_part_of_a_quorum(protocol: Protocol) {
    let mut fixture = Fixture::cluster_with_observers(protocol, 1).await;
    assert_eq!(fixture.http.put("/v1/kv/k", "old").await.status, 201);
    let observer = fixture.others.pop().expect("node 4");
    let there = Http::new(observer.http_address());
    assert_eq!(there.get("/v1/kv/k").await.status, 200);
    while let Some(voter) = fixture.others.pop() {
        voter.stop().await;
    }
    // Nodes 1 and 4 are two of four, and one voter of three.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_without_quorum(&fixture.http).await;
    assert_without_quorum(&there).await;
    observer.stop().await;
    fixture.stop().await;
}

macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod raft {
            $(#[tokio::test] async fn $test() { super::$test(consensus::Protocol::Raft).await; })*
        }
        mod zab {
            $(#[tokio::test] async fn $test() { super::$test(consensus::Protocol::Zab).await; })*
        }
    };
}

on_both!(an_observer_serves_and_does_not_count, an_observer_is_no_part_of_a_quorum);
