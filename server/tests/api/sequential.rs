//! Sequential keys: a counter behind a beginning, ZooKeeper's way.

use std::collections::BTreeSet;

use serde_json::json;

use super::Fixture;

async fn each_beginning_has_a_counter_of_ten_digits_that_only_grows(fixture: Fixture) {
    let nodes = fixture.all();
    let mut expected = 0;
    for round in 0..2 {
        for node in &nodes {
            let answer = node.put("/v1/kv/jobs/?sequential", "work").await;
            let key = format!("jobs/{expected:010}");
            assert_eq!(answer.status, 201);
            let revision = expected + round + 2;
            assert_eq!(answer.json(), json!({"created": true, "key": key, "revision": revision}));
            expected += 1;
        }
        // What was deleted is not given out again.
        let last = format!("/v1/kv/jobs/{:010}", expected - 1);
        assert_eq!(nodes[0].delete(&last).await.json()["deleted"], 1);
    }
    let other = nodes[0].put("/v1/kv/job?sequential&prev", "").await.json();
    assert_eq!((&other["key"], &other["prev"]), (&json!("job0000000000"), &json!(null)));
    let bytes = nodes[0].put("/v1/kv/%FF?sequential", "").await.json();
    assert_eq!(
        (&bytes["key"], &bytes["key_encoding"]),
        (&json!("/zAwMDAwMDAwMDA="), &json!("base64"))
    );
    let off = nodes[0].put("/v1/kv/jobs/?sequential=false", "").await.json();
    assert_eq!(off.get("key"), None, "that is the key itself");
    let last = nodes.last().expect("a node");
    last.delete("/v1/kv?prefix=jobs/").await;
    let anew = nodes[0].put("/v1/kv/jobs/?sequential", "").await.json();
    assert_eq!(anew["key"], "jobs/0000000000", "everything that began so was deleted");
    let other = last.put("/v1/kv/job?sequential", "").await.json();
    assert_eq!(other["key"], "job0000000001");
    fixture.stop().await;
}

async fn many_at_all_nodes_at_once_get_a_key_each(fixture: Fixture) {
    let nodes = fixture.all();
    let tasks: Vec<_> = (0..30)
        .map(|number| {
            let node = nodes[number % nodes.len()];
            tokio::spawn(async move { node.put("/v1/kv/q/?sequential", number.to_string()).await })
        })
        .collect();
    let mut keys = BTreeSet::new();
    for task in tasks {
        let answer = task.await.expect("a task");
        assert_eq!(answer.status, 201);
        keys.insert(answer.json()["key"].as_str().expect("a key").to_owned());
    }
    let expected: BTreeSet<_> = (0..30).map(|number| format!("q/{number:010}")).collect();
    assert_eq!(keys, expected);
    for node in nodes {
        assert_eq!(node.get("/v1/kv?prefix=q/").await.json()["count"], 30);
    }
    fixture.stop().await;
}

/// The next 64 keys are taken: somebody stored them by their names.
async fn names_that_are_taken_are_passed_over_as_long_as_they_are_few(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/a/0000000000", "taken").await;
    let answer = http.put("/v1/kv/a/?sequential", "").await;
    assert_eq!(answer.json()["key"], "a/0000000001");
    for number in 0..64 {
        http.put(&format!("/v1/kv/b/{number:010}"), "taken").await;
    }
    let json = http.put("/v1/kv/b/?sequential", "").await;
    let json = json.assert_error(412, "precondition_failed", "the key is absent");
    assert_eq!(json["found"]["key"], "b/0000000063");
    let behind = http.put("/v1/kv/b/?sequential", "").await;
    assert_eq!(behind.json()["key"], "b/0000000064");
    fixture.stop().await;
}

super::on_every_protocol!(
    each_beginning_has_a_counter_of_ten_digits_that_only_grows,
    many_at_all_nodes_at_once_get_a_key_each,
    names_that_are_taken_are_passed_over_as_long_as_they_are_few,
);
