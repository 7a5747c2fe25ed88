//! A full store: what stores something is refused, deletions are done, and then there is room again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Fixture;

const QUOTA_BYTES: u64 = 200_000;

async fn full_store() -> (Fixture, usize) {
    let fixture = Fixture::start_with(|config| config.node.quota_bytes = Some(QUOTA_BYTES)).await;
    let value = vec![b'v'; 1_000];
    for number in 0..1_000 {
        let answer = fixture.http.put(&format!("/v1/kv/k{number:04}"), &value).await;
        if answer.status == 507 {
            return (fixture, number);
        }
        assert_eq!(answer.status, 201);
    }
    panic!("a megabyte fits into {QUOTA_BYTES} bytes");
}

async fn row_bytes(fixture: &Fixture) -> u64 {
    let status = fixture.http.get("/v1/status").await.json();
    assert_eq!(status["store"]["quota_bytes"], QUOTA_BYTES);
    status["store"]["row_bytes"].as_u64().expect("a number")
}

#[tokio::test]
async fn what_stores_something_is_refused_and_everything_else_is_done() {
    let (fixture, stored) = full_store().await;
    let http = &fixture.http;
    assert!((150..=200).contains(&stored), "{stored} values of 1,000 bytes");
    assert!((QUOTA_BYTES..QUOTA_BYTES + 2_000).contains(&row_bytes(&fixture).await));
    let full = "the store is full";
    http.put("/v1/kv/k0000", "1").await.assert_error(507, "no_space", full);
    http.post("/v1/leases", r#"{"ttl":"10s"}"#).await.assert_error(507, "no_space", full);
    let put = json!({"if": [{"key": "k0001", "version": {"gt": 5}}],
                     "then": [{"put": {"key": "x", "value": "1"}}]});
    let txn = http.post("/v1/txn", &put.to_string()).await;
    txn.assert_error(507, "no_space", full);
    let answer = http.post("/v3/kv/put", r#"{"key":"eA==","value":"MQ=="}"#).await;
    assert_eq!(answer.status, 429);
    let error: Value = answer.json();
    assert_eq!(
        (&error["code"], &error["error"]),
        (&json!(8), &json!("etcdserver: mvcc: database space exceeded"),)
    );
    assert_eq!(http.get("/v1/kv/k0000").await.status, 200);
    assert_eq!(http.get("/readyz").await.status, 200, "it answers reads and takes deletions");
    let health = http.get("/health").await;
    assert_eq!((health.status, &health.json()["health"]), (503, &json!("false")));
    assert!(health.json()["reason"].as_str().expect("a text").contains("the store is full"));
    assert_eq!(http.get("/health?exclude=CORRUPT").await.status, 503);
    assert_eq!(http.get("/health?exclude=NOSPACE").await.status, 200, "that is known already");
    let reads = json!({"then": [{"get": {"key": "k0001"}}]});
    assert_eq!(http.post("/v1/txn", &reads.to_string()).await.status, 200);
    let deletes = json!({"then": [{"delete": {"key": "k0002"}}]});
    assert_eq!(http.post("/v1/txn", &deletes.to_string()).await.status, 200);
    assert_eq!(http.delete("/v1/kv/k0003").await.json()["deleted"], 1);
    fixture.stop().await;
}

#[tokio::test]
async fn after_deletions_there_is_room_again_without_anything_else_to_be_done() {
    let (fixture, stored) = full_store().await;
    let http = &fixture.http;
    let deleted = http.delete("/v1/kv?prefix=k").await.json();
    assert_eq!(deleted["deleted"], stored);
    let began = Instant::now();
    while http.put("/v1/kv/again", "room").await.status == 507 {
        assert!(began.elapsed() < Duration::from_secs(20), "history is forgotten by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(row_bytes(&fixture).await < QUOTA_BYTES);
    fixture.stop().await;
}

/// Counters are no keys, but take as much: else they would fill a store that nobody could empty.
#[tokio::test]
async fn counters_of_sequential_keys_fill_the_store_and_go_with_what_begins_so() {
    let quota = 20_000;
    let fixture = Fixture::start_with(|config| config.node.quota_bytes = Some(quota)).await;
    let http = &fixture.http;
    let records = async || {
        let status = http.get("/v1/status").await.json();
        status["store"]["record_bytes"].as_u64().expect("a number")
    };
    let began = Instant::now();
    let mut number = 0;
    // History fills it too, but for a moment.
    while records().await < quota - 1_000 {
        match http.put(&format!("/v1/kv/c{number:04}-?sequential"), "").await.status {
            201 => {
                http.delete(&format!("/v1/kv/c{number:04}-0000000000")).await;
                number += 1;
            }
            status => assert_eq!(status, 507),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{number} counters");
    }
    assert_eq!(http.get("/v1/kv?prefix=c").await.json()["count"], 0);
    let value = vec![b'v'; 1_000];
    while http.put("/v1/kv/k", &value).await.status == 201 {}
    assert!(records().await + 1_000 > quota, "hardly anything but counters fills it");
    http.delete("/v1/kv?prefix=c").await;
    assert_eq!(records().await, 0);
    while http.put("/v1/kv/again", "room").await.status == 507 {
        assert!(began.elapsed() < Duration::from_secs(60), "history is forgotten by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.stop().await;
}

/// Every write makes history, so a store of one key is full as well, and forgets.
#[tokio::test]
async fn history_alone_never_fills_the_store_for_long() {
    let (fixture, _) = full_store().await;
    let http = &fixture.http;
    http.delete("/v1/kv?prefix=k").await;
    let value = vec![b'v'; 1_000];
    let (mut stored, began) = (0, Instant::now());
    while stored < 1_000 {
        match http.put("/v1/kv/one", &value).await.status {
            507 => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => stored += 1,
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{stored} values were taken");
    }
    fixture.stop().await;
}
