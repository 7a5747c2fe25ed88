//! Compaction.

use serde_json::{Value, json};

use super::Fixture;
use super::support::{base64, keys, revision, text};

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

async fn a_compaction_is_to_a_revision_that_there_is_and_was_not_compacted_to(fixture: Fixture) {
    for value in ["1", "2", "3", "4", "5"] {
        fixture.http.put_text("a", value).await;
    }
    let last = revision(&fixture.http.put_text("b", "1").await);
    for (compacted, http) in (3..).zip(fixture.all()) {
        for request in [json!({}), json!({"revision": 0}), json!({"revision": "-1"}), Value::Null] {
            http.refused("kv/compaction", &request, 11, COMPACTED).await;
        }
        http.refused("kv/compaction", &json!({"revision": last + 1}), 11, FUTURE).await;
        let physical = json!({"revision": compacted, "physical": true});
        assert_eq!(revision(&http.ok("kv/compaction", &physical).await), last);
        http.refused("kv/compaction", &json!({"revision": compacted}), 11, COMPACTED).await;
        http.refused("kv/compaction", &json!({"revision": compacted - 1}), 11, COMPACTED).await;
    }
    fixture.stop().await;
}

async fn the_latest_version_of_each_key_outlives_every_compaction(fixture: Fixture) {
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")] {
        fixture.http.put_text(key, value).await;
    }
    fixture.http.ok("kv/deleterange", &json!({"key": base64("c")})).await;
    let last = fixture.http.catch_up().await;
    fixture.http.ok("kv/compaction", &json!({"revision": last})).await;
    for http in fixture.all() {
        let found = http.range_text("a", "z", json!({})).await;
        assert_eq!(keys(&found), ["a", "b"]);
        assert_eq!(text(&found["kvs"][0]["value"]), "2");
        let same = http.range_text("a", "z", json!({"revision": last})).await;
        assert_eq!(same["kvs"], found["kvs"]);
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    a_compaction_is_to_a_revision_that_there_is_and_was_not_compacted_to,
    the_latest_version_of_each_key_outlives_every_compaction,
);
