//! Idempotency keys: a write that is sent again is not done again, at whatever node.

use serde_json::json;

use super::Fixture;
use super::client::{Answer, Http};

async fn send(http: &Http, method: &str, path: &str, key: &str, body: &str) -> Answer {
    http.send(method, path, &[("Idempotency-Key", key)], body.as_bytes()).await
}

fn is_replayed(answer: &Answer) -> bool {
    let header = answer.header("idempotency-replayed");
    assert!(header.is_none_or(|value| value == "true"));
    header.is_some()
}

async fn a_write_that_is_sent_again_is_answered_again_and_not_done_again(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/b", "old").await;
    http.put("/v1/kv/c/1", "old").await;
    let requests = [
        ("PUT", "/v1/kv/a", "create", "1"),
        ("PUT", "/v1/kv/b?prev", "replace", "2"),
        ("PUT", "/v1/kv/b?if_absent", "refused", "3"),
        ("DELETE", "/v1/kv?prefix=c/&prev", "delete", ""),
        ("DELETE", "/v1/kv/none", "nothing", ""),
        ("POST", "/v1/compact", "compact", "{\"revision\": 2}"),
        ("POST", "/v1/compact", "too-early", "{\"revision\": 999}"),
        ("PUT", "/v1/kv/s/?sequential&ttl=1h", "sequential", "4"),
        ("POST", "/v1/leases", "grant", "{\"ttl\": \"1h\", \"id\": 99}"),
        ("PUT", "/v1/kv/d?lease=99", "attach", "5"),
        ("DELETE", "/v1/leases/99", "revoke", ""),
        ("DELETE", "/v1/leases/98", "no-lease", ""),
    ];
    let mut firsts = Vec::new();
    for (method, path, key, body) in requests {
        let first = send(http, method, path, key, body).await;
        assert!(!is_replayed(&first), "{key}");
        firsts.push((first.status, first.json()));
    }
    let statuses: Vec<u16> = firsts.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [201, 200, 412, 200, 200, 200, 400, 201, 201, 201, 200, 404]);
    assert_eq!(firsts[1].1["prev"]["value"], "old");
    assert_eq!(firsts[3].1["deleted"], 1);
    assert_eq!(firsts[7].1["key"], "s/0000000000");
    assert_eq!(firsts[10].1["deleted"], 1);
    // Whatever would be different now.
    for path in ["/v1/kv/a", "/v1/kv/c/1"] {
        http.put(path, "new").await;
    }
    http.send("DELETE", "/v1/kv/b", &[], b"").await;
    let revision = http.revision().await;
    for node in fixture.all() {
        for ((method, path, key, body), (status, first)) in requests.iter().zip(&firsts) {
            let again = send(&node, method, path, key, body).await;
            assert!(is_replayed(&again), "{key}");
            assert_eq!((again.status, &again.json()), (*status, first), "{key}");
        }
        assert_eq!(node.get("/v1/kv/a").await.json()["value"], "new", "nothing was done again");
    }
    assert_eq!(http.revision().await, revision);
    fixture.stop().await;
}

async fn another_request_with_the_same_key_is_a_conflict(fixture: Fixture) {
    let http = &fixture.http;
    assert_eq!(send(http, "PUT", "/v1/kv/k", "name", "v").await.status, 201);
    for (method, path, body) in [
        ("PUT", "/v1/kv/k", "w"),
        ("PUT", "/v1/kv/l", "v"),
        ("PUT", "/v1/kv/k?if_absent", "v"),
        ("DELETE", "/v1/kv/k", ""),
        ("POST", "/v1/compact", "{\"revision\": 2}"),
    ] {
        let answer = send(http, method, path, "name", body).await;
        let json = answer.assert_error(409, "idempotency_conflict", "another request");
        assert_eq!((&json["revision"], &json["error"]["retryable"]), (&2.into(), &false.into()));
        assert!(!is_replayed(&answer));
    }
    assert!(is_replayed(&send(http, "PUT", "/v1/kv/k", "name", "v").await));
    // How long it waits is no part of the request.
    assert!(is_replayed(&send(http, "PUT", "/v1/kv/k?timeout=9s", "name", "v").await));
    assert_eq!(send(http, "PUT", "/v1/kv/k", "Name", "v").await.status, 200);
    assert_eq!(http.revision().await, 3);
    fixture.stop().await;
}

async fn of_many_copies_at_all_nodes_at_once_one_is_done(fixture: Fixture) {
    let nodes = fixture.all();
    let tasks: Vec<_> = (0..30)
        .map(|number| {
            let node = nodes[number % nodes.len()];
            tokio::spawn(async move { send(&node, "PUT", "/v1/kv/k", "name", "v").await })
        })
        .collect();
    let mut replayed = 0;
    for task in tasks {
        let answer = task.await.expect("a task");
        assert_eq!((answer.status, answer.json()), (201, json!({"created": true, "revision": 2})));
        replayed += usize::from(is_replayed(&answer));
    }
    assert_eq!(replayed, 29);
    assert_eq!(fixture.http.get("/v1/kv/k").await.json()["version"], 1);
    fixture.stop().await;
}

super::on_every_protocol!(
    a_write_that_is_sent_again_is_answered_again_and_not_done_again,
    another_request_with_the_same_key_is_a_conflict,
    of_many_copies_at_all_nodes_at_once_one_is_done,
);

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    for (key, words) in [
        ("", "is empty; allowed: 1 to 255"),
        ("a b", "0x20"),
        ("\u{e4}", "0xc3"),
        (&"k".repeat(256), "has 256 bytes"),
    ] {
        for (method, path, body) in [
            ("PUT", "/v1/kv/k", "v"),
            ("DELETE", "/v1/kv/k", ""),
            ("DELETE", "/v1/kv?prefix=", ""),
            ("POST", "/v1/compact", "{\"revision\": 1}"),
        ] {
            let answer = send(http, method, path, key, body).await;
            answer.assert_error(400, "invalid_parameter", words);
        }
    }
    let twice = [("Idempotency-Key", "a"), ("idempotency-key", "b")];
    let answer = http.send("PUT", "/v1/kv/k", &twice, b"v").await;
    answer.assert_error(400, "invalid_parameter", "given twice");
    let transfer = send(http, "POST", "/v1/cluster/transfer", "a", "{}").await;
    transfer.assert_error(400, "invalid_parameter", "takes no header Idempotency-Key");
    assert_eq!(http.revision().await, 1);
    fixture.stop().await;
}

#[tokio::test]
async fn the_status_tells_how_much_is_remembered_and_for_how_long() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    for number in 0..3 {
        send(http, "PUT", "/v1/kv/k", &format!("name-{number}"), "v").await;
    }
    send(http, "PUT", "/v1/kv/k", "name-0", "v").await;
    http.put("/v1/kv/k", "v").await;
    let status = http.get("/v1/status").await.json();
    assert_eq!(
        status["idempotency_keys"],
        json!({"remembered": 3, "remembered_max": 65_536, "window_ms": 600_000})
    );
    fixture.stop().await;
}
