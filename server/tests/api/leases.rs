//! Leases: granted, kept alive, listed, ended; and the keys that go with them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Fixture;
use super::client::{Http, PATIENCE};

/// Grants a lease; its number.
async fn granted(http: &Http, ttl: &str) -> i64 {
    let answer = http.post("/v1/leases", &format!("{{\"ttl\":\"{ttl}\"}}")).await;
    assert_eq!(answer.status, 201);
    answer.json()["lease"].as_i64().expect("a number")
}

async fn a_lease_is_granted_shown_and_ended_at_any_node(fixture: Fixture) {
    let nodes = fixture.all();
    let lease = granted(&nodes[0], "1h").await;
    let last = nodes.last().expect("a node");
    for name in ["b", "a", "%FF"] {
        let answer = last.put(&format!("/v1/kv/{name}?lease={lease}"), "x").await;
        assert_eq!((answer.status, answer.json().get("lease")), (201, None));
    }
    for node in &nodes {
        let answer = node.get(&format!("/v1/leases/{lease}")).await;
        let (mut json, revision) = answer.json_and_revision();
        let remaining = json["remaining_ms"].take().as_u64().expect("a time");
        assert!((1..=3_600_000).contains(&remaining), "{remaining}");
        let keys = json!([{"key": "a"}, {"key": "b"}, {"key": "/w==", "key_encoding": "base64"}]);
        assert_eq!(
            json,
            json!({"lease": lease, "ttl_ms": 3_600_000, "remaining_ms": null, "keys": keys})
        );
        assert_eq!(revision, 4);
        assert_eq!(node.get("/v1/kv/a").await.json()["lease"], lease);
        let answer = node.send("POST", &format!("/v1/leases/{lease}/keepalive"), &[], b"").await;
        assert_eq!(answer.json(), json!({"lease": lease, "ttl_ms": 3_600_000, "revision": 4}));
    }
    // A put without the lease takes its key off.
    last.put("/v1/kv/b", "y").await;
    assert_eq!(nodes[0].get("/v1/kv/b").await.json().get("lease"), None);
    let ended = last.delete(&format!("/v1/leases/{lease}")).await;
    assert_eq!((ended.status, ended.json()), (200, json!({"deleted": 2, "revision": 6})));
    for node in &nodes {
        let path = format!("/v1/leases/{lease}");
        node.get(&path).await.assert_error(404, "lease_not_found", "there is no lease");
        node.delete(&path).await.assert_error(404, "lease_not_found", "there is no lease");
        let answer = node.post(&format!("{path}/keepalive"), "").await;
        answer.assert_error(404, "lease_not_found", "there is no lease");
        let put = node.put(&format!("/v1/kv/c?lease={lease}"), "x").await;
        put.assert_error(404, "lease_not_found", "nothing was changed");
        let range = node.get("/v1/kv?prefix=&keys_only").await.json();
        assert_eq!((&range["count"], &range["kvs"][0]["key"]), (&json!(1), &json!("b")));
    }
    fixture.stop().await;
}

async fn a_number_may_be_chosen_once_and_a_short_time_is_raised(fixture: Fixture) {
    let last = *fixture.all().last().expect("a node");
    let chosen = last.post("/v1/leases", "{\"ttl\": \"1ms\", \"id\": -42}").await;
    assert_eq!((chosen.status, chosen.json()["ttl_ms"].as_u64()), (201, Some(2000)));
    assert_eq!(chosen.json()["lease"], -42);
    let again = fixture.http.post("/v1/leases", "{\"ttl\": \"1h\", \"id\": -42}").await;
    again.assert_error(409, "lease_exists", "leave `id` out");
    let longest = last.post("/v1/leases", "{\"ttl\": \"9000000000s\"}").await;
    assert_eq!(longest.json()["ttl_ms"], 9_000_000_000_000_u64);
    fixture.stop().await;
}

async fn a_put_may_bring_a_lease_with_it(fixture: Fixture) {
    let nodes = fixture.all();
    let last = nodes.last().expect("a node");
    let answer = last.put("/v1/kv/k?ttl=1h&prev", "v").await;
    let (json, revision) = answer.json_and_revision();
    let lease = json["lease"].as_i64().expect("a lease");
    assert_eq!((answer.status, revision), (201, 2));
    assert_eq!(json, json!({"created": true, "lease": lease, "ttl_ms": 3_600_000, "prev": null}));
    let replaced = nodes[0].put("/v1/kv/k?ttl=1s", "w").await.json();
    assert_ne!(replaced["lease"], lease, "each put brings one of its own");
    assert_eq!((&replaced["created"], &replaced["ttl_ms"]), (&json!(false), &json!(2000)));
    let shown = last.get(&format!("/v1/leases/{lease}")).await.json();
    assert_eq!(shown["keys"], json!([]), "the key hangs on the other now");
    // All of it at once.
    let all = last.put("/v1/kv/s/?sequential&ttl=1h", "v").await.json();
    assert_eq!((&all["key"], &all["ttl_ms"]), (&json!("s/0000000000"), &json!(3_600_000)));
    assert_eq!(nodes[0].get("/v1/kv/s/0000000000").await.json()["lease"], all["lease"]);
    fixture.stop().await;
}

/// Waits until a key is gone; how long it was there.
async fn gone(http: &Http, path: &str, began: Instant) -> Duration {
    while http.get(path).await.status != 404 {
        assert!(began.elapsed() < PATIENCE, "{path} stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

async fn a_lease_that_is_not_kept_alive_ends_after_its_time_and_not_before(fixture: Fixture) {
    let nodes = fixture.all();
    let last = nodes.last().expect("a node");
    let began = Instant::now();
    let lease = granted(last, "2s").await;
    let longer = granted(last, "1h").await;
    for (name, lease) in [("short/1", lease), ("short/2", lease), ("long", longer)] {
        assert_eq!(last.put(&format!("/v1/kv/{name}?lease={lease}"), "x").await.status, 201);
    }
    let lived = gone(last, "/v1/kv/short/1", began).await;
    assert!(lived >= Duration::from_secs(2), "it lived for {lived:?}");
    for node in &nodes {
        assert_eq!(node.get("/v1/kv?prefix=short/").await.json()["count"], 0);
        assert_eq!(node.get("/v1/kv/long").await.json()["lease"], longer);
        let listed = node.get("/v1/leases").await.json();
        assert_eq!(listed["leases"], json!([{"lease": longer, "ttl_ms": 3_600_000}]));
        // Both keys went in one revision.
        assert_eq!(listed["revision"], 5);
    }
    fixture.stop().await;
}

/// What a watch is told of a key that comes with a lease, of a transaction, and of the lease's end.
async fn a_watch_is_told_in_whole_revisions_and_which_lease(fixture: Fixture) {
    let nodes = fixture.all();
    let (http, last) = (&nodes[0], nodes.last().expect("a node"));
    let mut watch = last.stream("/v1/watch?prefix=k/&prev", &[]).await;
    assert_eq!(watch.json().await["started"], true);
    let lease = granted(http, "1h").await;
    http.put(&format!("/v1/kv/k/b?lease={lease}"), "v").await;
    let put = |key: &str| json!({"put": {"key": key, "value": "w", "lease": lease}});
    let both = json!({"then": [put("k/b"), put("k/a")]}).to_string();
    assert_eq!(http.post("/v1/txn", &both).await.status, 200);
    http.delete(&format!("/v1/leases/{lease}")).await;
    let kv = |key: &str, value: &str, create: u64, modified: u64, version: u64| {
        json!({
            "key": key, "value": value, "lease": lease,
            "create_revision": create, "mod_revision": modified, "version": version,
        })
    };
    let (first, second) = (kv("k/b", "v", 2, 2, 1), kv("k/b", "w", 2, 3, 2));
    let other = kv("k/a", "w", 3, 3, 1);
    assert_eq!(
        watch.json().await,
        json!({"revision": 2, "events": [{"type": "put", "kv": first}]})
    );
    let stored =
        [json!({"type": "put", "kv": second, "prev": first}), json!({"type": "put", "kv": other})];
    assert_eq!(watch.json().await, json!({"revision": 3, "events": stored}));
    let gone = |key: &str, prev: &Value| json!({"type": "delete", "kv": {"key": key, "mod_revision": 4}, "prev": prev});
    let ended = [gone("k/a", &other), gone("k/b", &second)];
    assert_eq!(watch.json().await, json!({"revision": 4, "events": ended}));
    drop(watch);
    fixture.stop().await;
}

async fn leases_are_listed_in_pages(fixture: Fixture) {
    for id in [5, -7, 3, 9_007_199_254_740_993_i64, 1] {
        let body = format!("{{\"ttl\": \"1h\", \"id\": {id}}}");
        assert_eq!(fixture.http.post("/v1/leases", &body).await.status, 201);
    }
    for node in fixture.all() {
        let (mut seen, mut path) = (Vec::new(), "/v1/leases?limit=2".to_owned());
        loop {
            let (page, revision) = node.get(&path).await.json_and_revision();
            assert_eq!((&page["count"], revision), (&json!(5), 1), "a lease is no revision");
            let leases = page["leases"].as_array().expect("a list").clone();
            seen.extend(leases.iter().map(|lease| lease["lease"].as_i64().expect("a number")));
            let next = page["next"].as_str();
            assert_eq!(page["more"], Value::from(next.is_some()));
            let Some(next) = next else { break };
            assert_eq!(leases.len(), 2);
            path = format!("/v1/leases?limit=2&cursor={next}");
        }
        assert_eq!(seen, [-7, 1, 3, 5, 9_007_199_254_740_993]);
        let local = node.get("/v1/leases?consistency=local&limit=10000").await.json();
        assert_eq!((&local["more"], local.get("next")), (&json!(false), None));
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    a_lease_is_granted_shown_and_ended_at_any_node,
    a_number_may_be_chosen_once_and_a_short_time_is_raised,
    a_put_may_bring_a_lease_with_it,
    a_lease_that_is_not_kept_alive_ends_after_its_time_and_not_before,
    a_watch_is_told_in_whole_revisions_and_which_lease,
    leases_are_listed_in_pages,
);

#[tokio::test]
async fn to_keep_a_lease_alive_takes_no_idempotency_key() {
    let fixture = Fixture::start().await;
    let lease = granted(&fixture.http, "1h").await;
    let path = format!("/v1/leases/{lease}/keepalive");
    let answer = fixture.http.send("POST", &path, &[("Idempotency-Key", "a")], b"").await;
    answer.assert_error(400, "invalid_parameter", "takes no header Idempotency-Key");
    fixture.stop().await;
}
