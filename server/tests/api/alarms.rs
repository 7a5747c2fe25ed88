//! Alarms at `/v1`: what is refused while one stands, what is not, and the end of it.

use serde_json::{Value, json};

use super::Fixture;
use super::client::Http;

/// Raises an alarm by hand.
async fn raise(http: &Http, node: u64) {
    let request = json!({"action": "ACTIVATE", "memberID": node, "alarm": "CORRUPT"});
    let answer = http.post("/v3/maintenance/alarm", &request.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
}

async fn alarms(http: &Http) -> Value {
    let listed = http.get("/v1/alarms").await;
    assert_eq!(listed.status, 200);
    let status = http.get("/v1/status").await.json();
    assert_eq!(listed.json()["alarms"], status["alarms"]);
    listed.json()["alarms"].clone()
}

#[tokio::test]
async fn while_an_alarm_stands_keys_and_leases_are_neither_read_nor_changed() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    assert_eq!(http.put("/v1/kv/k", "v").await.status, 201);
    let lease = http.post("/v1/leases", r#"{"ttl":"1h"}"#).await.json()["lease"].clone();
    assert_eq!(alarms(http).await, json!([]));
    let index = http.get("/v1/status").await.json()["applied_index"].clone();
    raise(http, 1).await;
    let expected = json!({"node": 1, "kind": "corrupt", "index": index, "compared_with": 1});
    assert_eq!(alarms(http).await, json!([expected]));

    let words = "replicas differ";
    for path in ["/v1/kv/k", "/v1/kv/k?consistency=local", "/v1/kv?prefix=k", "/v1/kv/k?revision=2"]
    {
        http.get(path).await.assert_error(500, "corrupt", words);
    }
    http.put("/v1/kv/k", "w").await.assert_error(500, "corrupt", words);
    http.delete("/v1/kv/k").await.assert_error(500, "corrupt", words);
    http.post("/v1/compact", r#"{"revision":2}"#).await.assert_error(500, "corrupt", words);
    let txn = http.post("/v1/txn", r#"{"then":[{"get":{"key":"k"}}]}"#).await;
    txn.assert_error(500, "corrupt", words);
    http.post("/v1/leases", r#"{"ttl":"1h"}"#).await.assert_error(500, "corrupt", words);
    let keepalive = http.post(&format!("/v1/leases/{lease}/keepalive"), "").await;
    keepalive.assert_error(500, "corrupt", words);
    http.delete(&format!("/v1/leases/{lease}")).await.assert_error(500, "corrupt", words);

    let ready = http.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(http.get("/health?exclude=NOSPACE").await.status, 503);
    assert_eq!(http.get("/health?exclude=CORRUPT").await.status, 200);
    assert_eq!(http.get("/health?exclude=CORRUPT&exclude=NOSPACE").await.status, 200);
    assert_eq!(http.get("/readyz?exclude=data_corruption").await.status, 200);
    for path in ["/v1/status", "/v1/cluster"] {
        let trouble = http.get(path).await.json()["trouble"].clone();
        assert_eq!(
            trouble, "replicas differ: an alarm stands about node 1; see /v1/alarms",
            "{path}"
        );
    }
    assert_eq!(http.get("/livez").await.status, 200);
    assert_eq!(http.get("/v1/agree").await.json()["agree"], true);
    let metrics = http.get("/metrics").await.body;
    let metrics = String::from_utf8_lossy(&metrics);
    assert!(metrics.contains("\nduorum_alarms 1\n"));
    assert!(
        metrics.contains("\nduorum_digest_comparisons{result=\"different\"} 0\n"),
        "raised by hand"
    );

    let cleared = http.delete("/v1/alarms/1").await;
    assert_eq!((cleared.status, &cleared.json()["cleared"]), (200, &json!(1)));
    assert_eq!(alarms(http).await, json!([]));
    assert_eq!(http.get("/v1/kv/k").await.json()["value"], "v");
    assert_eq!(http.get("/readyz").await.status, 200);
    fixture.stop().await;
}

#[tokio::test]
async fn an_alarm_outlives_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let start = async || {
        let directory = data.path().join("1");
        let config = server::config::ServeConfig::alone(consensus::Protocol::Null, directory);
        let server = server::serve::Server::start(config).await.expect("a server");
        let http = Http::new(server.http_address());
        (server, http)
    };
    let (server, http) = start().await;
    server.ready().await;
    assert_eq!(http.put("/v1/kv/k", "v").await.status, 201);
    raise(&http, 1).await;
    server.stop().await;
    let (server, http) = start().await;
    // It does not get ready while the alarm stands.
    while server.handle().status().consensus.leadership == consensus::Leadership::None {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    http.get("/v1/kv/k?consistency=local").await.assert_error(500, "corrupt", "replicas differ");
    assert_eq!(http.delete("/v1/alarms/1?timeout=20s").await.status, 200);
    assert_eq!(http.get("/v1/kv/k").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_alarm_that_does_not_stand_can_not_be_ended() {
    let fixture = Fixture::start().await;
    for node in ["1", "9", "x", "-1", "99999999999999999999"] {
        let answer = fixture.http.delete(&format!("/v1/alarms/{node}")).await;
        answer.assert_error(404, "alarm_not_found", "no alarm stands about node");
    }
    fixture.stop().await;
}
