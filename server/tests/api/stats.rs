//! What ZooKeeper tells of a node: `GET /v1/kv/{key}?stat`, and sessions.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Fixture;
use super::client::{Http, PATIENCE};

async fn stat(http: &Http, key: &str) -> Value {
    let answer = http.get(&format!("/v1/kv/{key}?stat")).await;
    assert_eq!(answer.status, 200, "{key}");
    answer.json()["stat"].clone()
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(now.as_millis()).expect("it is before the year 584 million")
}

/// Asks for a lease; its number and its time.
async fn granted(http: &Http, body: &Value) -> (i64, u64) {
    let answer = http.post("/v1/leases", &body.to_string()).await;
    assert_eq!(answer.status, 201);
    let json = answer.json();
    (json["lease"].as_i64().expect("a number"), json["ttl_ms"].as_u64().expect("a time"))
}

async fn all_eleven_fields_are_told_alike_by_every_node(fixture: Fixture) {
    let nodes = fixture.all();
    let last = nodes.last().expect("a node");
    let before = now_ms();
    last.put("/v1/kv/app", "one").await;
    last.put("/v1/kv/app", "three").await;
    let (session, _) = granted(last, &json!({"ttl": "10s", "session": true})).await;
    last.put(&format!("/v1/kv/app/member?lease={session}"), "").await;
    last.put("/v1/kv/app/member/of", "").await;
    last.put("/v1/kv/app/other", "").await;
    last.delete("/v1/kv/app/other").await;
    let after = now_ms();
    for node in &nodes {
        let (json, revision) = node.get("/v1/kv/app?stat").await.json_and_revision();
        assert_eq!((&json["key"], revision), (&json!("app"), 7));
        let mut told = json["stat"].clone();
        let (ctime, mtime) = (told["ctime"].take().as_u64(), told["mtime"].take().as_u64());
        let (ctime, mtime) = (ctime.expect("a time"), mtime.expect("a time"));
        assert!(before <= ctime && ctime <= mtime && mtime <= after, "{ctime} {mtime}");
        let expected = json!({
            "czxid": 2, "mzxid": 3, "pzxid": 7, "ctime": null, "mtime": null, "version": 1,
            "cversion": 3, "aversion": 0, "ephemeralOwner": 0, "dataLength": 5, "numChildren": 1,
        });
        assert_eq!(told, expected);
        assert_eq!(stat(node, "app").await, json["stat"], "and each time");
        let member = stat(node, "app/member").await;
        assert_eq!((&member["ephemeralOwner"], &member["cversion"]), (&json!(session), &json!(1)));
        assert_eq!(member["ctime"], member["mtime"]);
        for consistency in ["linearizable", "sync", "local"] {
            let answer = node.get(&format!("/v1/kv/app?stat&consistency={consistency}")).await;
            assert_eq!(answer.json()["stat"], json["stat"], "{consistency}");
        }
        let absent = node.get("/v1/kv/app/other?stat").await;
        absent.assert_error(404, "key_not_found", "app/other");
    }
    // The session ends, and its node with it.
    assert_eq!(last.delete(&format!("/v1/leases/{session}")).await.json()["deleted"], 1);
    for node in &nodes {
        let told = stat(node, "app").await;
        let family = ["cversion", "pzxid", "numChildren"].map(|name| told[name].clone());
        assert_eq!(family, [json!(4), json!(8), json!(0)]);
        let bytes = node.put("/v1/kv/%FF", "").await;
        assert!(bytes.status < 300);
        let bytes = node.get("/v1/kv/%FF?stat").await.json();
        assert_eq!((&bytes["key"], &bytes["key_encoding"]), (&json!("/w=="), &json!("base64")));
    }
    fixture.stop().await;
}

/// A session that nobody keeps alive: the leader says when it is over, and parents count that, too.
async fn children_that_go_with_their_session_are_counted(fixture: Fixture) {
    let nodes = fixture.all();
    nodes[0].put("/v1/kv/app", "").await;
    let (session, _) = granted(&nodes[0], &json!({"ttl": "1s", "id": -9})).await;
    for name in ["a", "b"] {
        nodes[0].put(&format!("/v1/kv/app/{name}?lease={session}"), "").await;
    }
    let until = std::time::Instant::now() + PATIENCE;
    while stat(&nodes[0], "app").await["numChildren"] != 0 {
        assert!(std::time::Instant::now() < until, "the session does not end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for node in &nodes {
        let told = stat(node, "app").await;
        let family = ["cversion", "pzxid", "numChildren"].map(|name| told[name].clone());
        assert_eq!(family, [json!(4), json!(5), json!(0)], "both in one revision");
    }
    fixture.stop().await;
}

async fn a_session_gets_the_nearest_time_that_the_server_allows(fixture: Fixture) {
    for node in fixture.all() {
        for (asked, session, ttl_ms) in [
            ("1ms", true, 4_000),
            ("30s", true, 30_000),
            ("1h", true, 40_000),
            ("1h", false, 3_600_000),
            ("1ms", false, 2_000),
        ] {
            let body = json!({"ttl": asked, "session": session});
            assert_eq!(granted(&node, &body).await.1, ttl_ms, "{body}");
        }
        let wrong = node.post("/v1/leases", "{\"ttl\": \"5s\", \"session\": \"yes\"}").await;
        wrong.assert_error(400, "invalid_body", "`session`");
    }
    fixture.stop().await;
}

async fn a_stat_is_of_now_and_is_json(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "v").await;
    for query in ["stat&raw", "stat&revision=2"] {
        let answer = http.get(&format!("/v1/kv/k?{query}")).await;
        answer.assert_error(400, "invalid_parameter", "`stat` goes neither with");
    }
    assert_eq!(http.get("/v1/kv/k?stat=false&raw").await.status, 200);
    let head = http.send("HEAD", "/v1/kv/k?stat", &[], b"").await;
    assert_eq!((head.status, head.body.is_empty()), (200, true));
    fixture.stop().await;
}

super::on_every_protocol!(
    all_eleven_fields_are_told_alike_by_every_node,
    children_that_go_with_their_session_are_counted,
    a_session_gets_the_nearest_time_that_the_server_allows,
    a_stat_is_of_now_and_is_json,
);

/// More than are looked at under one lock of the state machine, and more than are in memory.
#[tokio::test]
async fn a_parent_of_many_is_told_with_all_of_them() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    http.put("/v1/kv/p", "").await;
    for batch in 0..25 {
        let puts = (0..100).map(|number| {
            let name = batch * 100 + number;
            json!({"put": {"key": format!("p/{name}"), "value": ""}})
        });
        let body = json!({"then": puts.collect::<Vec<_>>()});
        assert_eq!(http.post("/v1/txn", &body.to_string()).await.status, 200);
    }
    let told = stat(http, "p").await;
    assert_eq!((&told["numChildren"], &told["cversion"]), (&json!(2500), &json!(2500)));
    assert_eq!(told["pzxid"], 27);
    fixture.stop().await;
}
