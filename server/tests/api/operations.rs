//! What operators ask: status, health, agreement, metrics.

use std::time::Duration;

use serde_json::json;

use super::Fixture;

#[tokio::test]
async fn status_tells_what_the_node_is_and_knows() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    http.fill("k", 3).await;
    http.get("/v1/kv/k1").await;
    let answer = http.get("/v1/status").await;
    answer.assert_signed();
    let (json, revision) = answer.json_and_revision();
    assert_eq!(revision, 4);
    for (name, value) in [
        ("node", json!(1)),
        ("protocol", json!("null")),
        ("cluster", json!("duorum")),
        ("leader", json!(1)),
        ("keys", json!(3)),
        ("compact_revision", json!(0)),
        ("peers", json!([])),
        ("trouble", json!(null)),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    for name in ["last_index", "commit_index", "applied_index", "durable_index", "uptime_ms"] {
        assert!(json[name].is_u64(), "{name}: {}", json[name]);
    }
    assert_eq!(json["directory"].as_str().map(str::len), Some(32));
    assert!(json["position"].as_str().is_some_and(|position| !position.is_empty()));
    fixture.stop().await;
}

#[tokio::test]
async fn the_cluster_is_its_members() {
    let fixture = Fixture::start().await;
    let (json, _) = fixture.http.get("/v1/cluster").await.json_and_revision();
    assert_eq!((&json["leader"], &json["quorum"]), (&json!(1), &json!(1)));
    assert_eq!(json["members"][0]["node"], 1);
    assert_eq!(json["members"][0]["this"], true);
    assert_eq!(json["members"][0]["connected"], true);
    fixture.stop().await;
}

#[tokio::test]
async fn a_node_with_a_quorum_is_alive_ready_and_healthy() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    let health = http.get("/health").await;
    assert_eq!(health.status, 200);
    health.assert_signed();
    assert_eq!(health.json(), json!({"health": "true", "reason": "", "revision": 1}));
    let ready = http.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
    let checks = ready.json()["checks"].clone();
    let checks = checks.as_array().expect("a list").iter().map(|check| check["name"].clone());
    let names = ["leader", "node", "data_corruption", "quorum_read"];
    assert!(checks.eq(names), "each by its name");
    let less = http.get("/readyz?exclude=quorum_read&verbose").await.json();
    assert_eq!(less["checks"].as_array().map(Vec::len), Some(3));
    // So somebody asks etcd who wants to know two things only.
    let names =
        "exclude=linearizable_read&exclude=serializable_read&exclude=non_learner&exclude=leader";
    let least = http.get(&format!("/readyz?{names}")).await.json();
    assert_eq!(least["checks"].as_array().map(Vec::len), Some(2));
    // So kubeadm asks etcd.
    let probe = http.get("/health?exclude=NOSPACE&serializable=true").await;
    assert_eq!((probe.status, &probe.json()["health"]), (200, &json!("true")));
    assert_eq!(http.get("/livez").await.json(), json!({"alive": true, "revision": 1}));
    let version = http.get("/version").await.json();
    assert_eq!((&version["server"], &version["protocol"]), (&json!("duorum"), &json!("null")));
    fixture.stop().await;
}

#[tokio::test]
async fn replicas_are_compared_by_key_and_as_a_whole() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    http.fill("k", 3).await;
    let (json, _) = http.get("/v1/agree?key=k1").await.json_and_revision();
    assert_eq!(
        (&json["agree"], &json["answered"], &json["key"]),
        (&json!(true), &json!(1), &json!("k1"))
    );
    let replica = &json["replicas"][0];
    assert_eq!((&replica["value"], &replica["mod_revision"]), (&json!("v1"), &json!(3)));
    assert_eq!((&replica["lag_entries"], &replica["revision"]), (&json!(0), &json!(4)));
    let (json, _) = http.get("/v1/agree?key=none").await.json_and_revision();
    assert_eq!((&json["agree"], &json["replicas"][0]["exists"]), (&json!(true), &json!(false)));
    let digest = async || {
        let (json, _) = http.get("/v1/agree").await.json_and_revision();
        assert_eq!(json["agree"], true, "{json}");
        json["replicas"][0]["digest"].as_str().expect("a digest").to_owned()
    };
    let before = digest().await;
    assert_eq!(before.len(), 32);
    http.put("/v1/kv/k1", "changed").await;
    assert_ne!(digest().await, before);
    fixture.stop().await;
}

#[tokio::test]
async fn metrics_have_etcds_names_and_move() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    http.fill("k", 5).await;
    http.get("/v1/kv/k1").await;
    http.get("/v1/kv/none").await;
    // What the node says of itself is at most some milliseconds old.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = http.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    let text = String::from_utf8(answer.body.clone()).expect("text");
    assert!(text.ends_with("# EOF\n"));
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("{name} is missing in:\n{text}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    for (name, expected) in [
        ("etcd_server_has_leader", 1.0),
        ("etcd_server_is_leader", 1.0),
        ("etcd_debugging_mvcc_keys_total", 5.0),
        ("etcd_debugging_mvcc_current_revision", 6.0),
        ("etcd_debugging_mvcc_compact_revision", 0.0),
        ("etcd_mvcc_range_total", 2.0),
        ("duorum_http_requests_total{route=\"PUT /v1/kv/{key}\",status=\"201\"}", 5.0),
        ("duorum_http_requests_total{route=\"GET /v1/kv/{key}\",status=\"404\"}", 1.0),
        ("duorum_http_request_duration_seconds_count{route=\"PUT /v1/kv/{key}\"}", 5.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    for name in [
        "etcd_server_proposals_committed_total",
        "etcd_server_proposals_applied_total",
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_disk_wal_write_bytes_total",
        "etcd_mvcc_db_total_size_in_bytes",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds_total",
    ] {
        assert!(value(name) > 0.0, "{name}");
    }
    for name in [
        "etcd_server_leader_changes_seen_total",
        "etcd_server_proposals_pending",
        "etcd_server_proposals_failed_total",
        "etcd_disk_backend_commit_duration_seconds_count",
        "etcd_network_peer_sent_bytes_total",
        "etcd_network_peer_received_bytes_total",
        "duorum_peer_frames_sent_total",
    ] {
        assert!(value(name) >= 0.0, "{name}");
    }
    fixture.stop().await;
}
