//! DeleteRange.

use serde_json::{Value, json};

use super::Fixture;
use super::support::{base64, number, revision, text};

fn range(key: &str, end: &str) -> Value {
    json!({"key": base64(key), "range_end": base64(end), "prev_kv": true})
}

async fn a_deletion_is_one_revision_and_one_of_nothing_is_none(fixture: Fixture) {
    for http in fixture.all() {
        for key in ["a", "b", "c"] {
            http.put_text(key, key).await;
        }
        let before = http.catch_up().await;
        for (key, end) in [("x", ""), ("x", "z"), ("a", "a"), ("c", "a")] {
            let none = http.ok("kv/deleterange", &range(key, end)).await;
            assert_eq!((none.get("deleted"), none.get("prev_kvs")), (None, None), "{key} {end}");
            assert_eq!(revision(&none), before);
        }
        let some = http.ok("kv/deleterange", &range("a", "c")).await;
        assert_eq!((number(&some["deleted"]), revision(&some)), (2, before + 1));
        let previous: Vec<_> = some["prev_kvs"].as_array().expect("a list").iter().collect();
        let values: Vec<_> = previous.iter().map(|kv| text(&kv["value"])).collect();
        assert_eq!(values, ["a", "b"]);
        let rest = json!({"key": base64("\0"), "range_end": base64("\0")});
        let rest = http.ok("kv/deleterange", &rest).await;
        assert_eq!((number(&rest["deleted"]), rest.get("prev_kvs")), (1, None));
    }
    fixture.stop().await;
}

async fn a_deletion_needs_a_key(fixture: Fixture) {
    for http in fixture.all() {
        let message = "etcdserver: key is not provided";
        for request in [json!({}), json!({"range_end": "AA=="}), Value::Null] {
            http.refused("kv/deleterange", &request, 3, message).await;
        }
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    a_deletion_is_one_revision_and_one_of_nothing_is_none,
    a_deletion_needs_a_key,
);
