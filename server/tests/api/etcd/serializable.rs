//! Serializable reads: what a node answers from what it has, without asking anybody. That a node observes
//! makes no difference to its clients.

use consensus::Protocol;
use serde_json::{Value, json};

use super::super::client::{Answer, Http};
use super::Fixture;
use super::support::{base64, keys, number, revision, text};

fn of_range(more: Value) -> Value {
    let mut request = json!({"key": base64("a"), "range_end": base64("z")});
    request.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
    request
}

async fn a_serializable_read_is_answered_by_the_node_alone(fixture: Fixture) {
    fixture.http.put_text("a", "1").await;
    for http in fixture.all() {
        http.catch_up().await;
        let found = http.range_text("a", "", json!({"serializable": true})).await;
        assert_eq!(text(&found["kvs"][0]["value"]), "1");
    }
    fixture.stop().await;
}

/// A call that ends soon if nobody answers it.
async fn soon(http: &Http, call: &str, request: &Value) -> Answer {
    let path = format!("/v3/{call}");
    let headers = [("grpc-timeout", "300m")];
    http.send("POST", &path, &headers, request.to_string().as_bytes()).await
}

/// What a node says that has neither a leader nor a quorum, and is at revision 4.
async fn assert_alone(http: &Http) {
    let fulfilled = async |call: &str, request: Value| {
        let answer = soon(http, call, &request).await;
        assert_eq!(answer.status, 200, "{call} {request}: {}", answer.json());
        answer.json()
    };
    let local = || json!({"serializable": true});
    let found = fulfilled("kv/range", of_range(local())).await;
    assert_eq!((keys(&found), revision(&found)), (vec!["a".to_owned(), "b".to_owned()], 4));
    let one = json!({"key": base64("a"), "serializable": true});
    assert_eq!(text(&fulfilled("kv/range", one.clone()).await["kvs"][0]["value"]), "2");
    let past = of_range(json!({"serializable": true, "revision": 2}));
    assert_eq!(text(&fulfilled("kv/range", past).await["kvs"][0]["value"]), "1");
    let compare = json!([{"target": "VERSION", "key": base64("a"), "version": 2}]);
    let reads = json!({"compare": compare, "success": [{"request_range": one}]});
    let read = fulfilled("kv/txn", reads).await;
    assert_eq!((read["succeeded"].as_bool(), revision(&read)), (Some(true), 4));
    // A watch tells what the node has.
    let create = json!({"key": base64("a"), "start_revision": 2});
    let request = json!({ "create_request": create }).to_string();
    let mut watch = http.open("watch", &request).await;
    assert_eq!(watch.next().await["created"], true);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(watch.events(0).await.into_iter().map(|event| event.2));
    }
    assert_eq!(seen, [2, 3]);

    let both = json!([{"request_range": one}, {"request_range": {"key": base64("a")}}]);
    for (call, request) in [
        ("kv/range", of_range(json!({}))),
        ("kv/range", json!({"key": base64("a")})),
        ("kv/txn", json!({ "success": both })),
        ("kv/put", json!({"key": base64("a")})),
        ("lease/grant", json!({"TTL": 5})),
        ("cluster/member/list", json!({"linearizable": true})),
    ] {
        let answer = soon(http, call, &request).await;
        let json = answer.json();
        assert_eq!((answer.status, &json["code"]), (503, &json!(14)), "{call} {request}: {json}");
    }
    // Who waits for a lock waits no longer than it said, also where nobody could take it out of the queue.
    let lock = json!({"name": base64("n")}).to_string();
    let headers = [("grpc-timeout", "50m")];
    let answer = http.send("POST", "/v3/lock/lock", &headers, lock.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["code"]), (504, &json!(4)), "{}", answer.json());
}

async fn without_a_quorum_only_serializable_reads_are_answered(protocol: Protocol) {
    let mut fixture = Fixture::cluster_with_observers(protocol, 1).await;
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "1")] {
        fixture.http.put_text(key, value).await;
    }
    let observer = fixture.others.pop().expect("node 4");
    let there = Http::new(observer.http_address());
    there.catch_up().await;
    fixture.http.catch_up().await;
    while let Some(voter) = fixture.others.pop() {
        voter.stop().await;
    }
    for http in [fixture.http, there] {
        assert_alone(&http).await;
    }
    observer.stop().await;
    fixture.stop().await;
}

async fn an_observer_answers_every_call(protocol: Protocol) {
    let mut fixture = Fixture::cluster_with_observers(protocol, 1).await;
    let observer = fixture.others.pop().expect("node 4");
    let there = Http::new(observer.http_address());
    let status = there.ok("maintenance/status", &json!({})).await;
    assert_eq!(status["isLearner"], true, "{status}");
    let elsewhere = fixture.http.ok("maintenance/status", &json!({})).await;
    assert_eq!(elsewhere.get("isLearner"), None, "{elsewhere}");
    for http in [there, fixture.http] {
        let list = http.ok("cluster/member/list", &json!({})).await;
        let learners: Vec<_> = list["members"]
            .as_array()
            .expect("members")
            .iter()
            .filter(|member| member["isLearner"] == true)
            .map(|member| number(&member["ID"]))
            .collect();
        assert_eq!(learners, [4]);
    }

    let mut watch = there.watch(json!({"key": base64("a")})).await;
    let put = revision(&there.put_text("a", "1").await);
    assert_eq!(watch.events(0).await, [("PUT", "a".to_owned(), put)]);
    for options in [json!({}), json!({"serializable": true})] {
        assert_eq!(keys(&there.range_text("a", "z", options).await), ["a"]);
    }
    let write = json!([{"request_delete_range": {"key": base64("a")}}]);
    assert_eq!(revision(&there.ok("kv/txn", &json!({"success": write})).await), put + 1);
    there.grant(7, 600).await;
    assert_eq!(there.results("lease/keepalive", "{\"ID\":7}").await[0]["TTL"], "600");
    let lock = there.ok("lock/lock", &json!({"name": base64("n"), "lease": 7})).await;
    assert_eq!(text(&lock["key"]), "n/7");
    there.ok("lock/unlock", &json!({"key": lock["key"]})).await;
    let compaction = there.catch_up().await;
    there.ok("kv/compaction", &json!({"revision": compaction})).await;
    observer.stop().await;
    fixture.stop().await;
}

macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod of_raft {
            $(#[tokio::test] async fn $test() { super::$test(consensus::Protocol::Raft).await; })*
        }
        mod of_zab {
            $(#[tokio::test] async fn $test() { super::$test(consensus::Protocol::Zab).await; })*
        }
    };
}

on_both!(without_a_quorum_only_serializable_reads_are_answered, an_observer_answers_every_call);

super::on_every_protocol!(a_serializable_read_is_answered_by_the_node_alone);
