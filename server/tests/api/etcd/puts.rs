//! Put.

use serde_json::{Value, json};

use super::Fixture;
use super::support::{base64, number, revision, text};

/// Creation, last write, version and value of a key.
fn numbers(kv: &Value) -> (i64, i64, i64, String) {
    let field = |name: &str| number(&kv[name]);
    (field("create_revision"), field("mod_revision"), field("version"), text(&kv["value"]))
}

async fn every_put_makes_a_revision_and_a_deletion_begins_the_versions_anew(fixture: Fixture) {
    for http in fixture.all() {
        let first = http.catch_up().await;
        assert_eq!(revision(&http.put_text("a", "1").await), first + 1);
        assert_eq!(revision(&http.put_text("a", "1").await), first + 2, "the same value");
        let found = http.range_text("a", "", json!({})).await;
        assert_eq!(numbers(&found["kvs"][0]), (first + 1, first + 2, 2, "1".to_owned()));
        http.ok("kv/deleterange", &json!({"key": base64("a")})).await;
        http.put_text("a", "2").await;
        let found = http.range_text("a", "", json!({})).await;
        assert_eq!(numbers(&found["kvs"][0]), (first + 4, first + 4, 1, "2".to_owned()));
        http.ok("kv/deleterange", &json!({"key": base64("a")})).await;
    }
    fixture.stop().await;
}

async fn prev_kv_tells_what_was_there_before_or_nothing(fixture: Fixture) {
    for (place, http) in fixture.all().into_iter().enumerate() {
        let key = format!("k{place}");
        let put =
            |value: &str| json!({"key": base64(&key), "value": base64(value), "prev_kv": true});
        let first = http.ok("kv/put", &put("1")).await;
        assert_eq!(first.get("prev_kv"), None);
        let second = http.ok("kv/put", &put("2")).await;
        let at = revision(&first);
        assert_eq!(numbers(&second["prev_kv"]), (at, at, 1, "1".to_owned()));
        assert_eq!(http.put_text(&key, "3").await.get("prev_kv"), None, "nobody asked");
    }
    fixture.stop().await;
}

async fn an_empty_value_is_a_value_and_an_empty_key_is_no_key(fixture: Fixture) {
    for http in fixture.all() {
        http.ok("kv/put", &json!({"key": base64("empty")})).await;
        let found = http.range_text("empty", "", json!({})).await;
        assert_eq!(found["kvs"][0].get("value"), None);
        assert_eq!(found["count"], "1");
        let message = "etcdserver: key is not provided";
        for request in [json!({}), json!({"value": "YQ=="}), json!({"key": ""}), Value::Null] {
            http.refused("kv/put", &request, 3, message).await;
        }
    }
    fixture.stop().await;
}

async fn what_is_ignored_can_not_be_given_and_a_lease_must_exist(fixture: Fixture) {
    for http in fixture.all() {
        let put = |field: &str, value: Value, ignored: &str| {
            let mut request = json!({"key": base64("a")});
            request[field] = value;
            request[ignored] = json!(true);
            request
        };
        let value = put("value", json!("YQ=="), "ignore_value");
        http.refused("kv/put", &value, 3, "etcdserver: value is provided").await;
        let lease = put("lease", json!("7"), "ignore_lease");
        http.refused("kv/put", &lease, 3, "etcdserver: lease is provided").await;
        let lease = put("lease", json!(7), "nothing");
        http.refused("kv/put", &lease, 5, "etcdserver: requested lease not found").await;
    }
    assert_eq!(fixture.http.catch_up().await, 1, "nothing was stored");
    fixture.stop().await;
}

async fn what_is_ignored_stays_as_it_is_and_must_be_there(fixture: Fixture) {
    for (place, http) in fixture.all().into_iter().enumerate() {
        let key = format!("k{place}");
        for ignored in ["ignore_value", "ignore_lease"] {
            let request = json!({"key": base64(&key), ignored: true});
            http.refused("kv/put", &request, 3, "etcdserver: key not found").await;
        }
        let lease = 100 + place;
        http.ok("lease/grant", &json!({"ID": lease, "TTL": 600})).await;
        let put = json!({"key": base64(&key), "value": base64("1"), "lease": lease});
        http.ok("kv/put", &put).await;
        let found = async || http.range_text(&key, "", json!({})).await["kvs"][0].take();
        let put = json!({"key": base64(&key), "value": base64("2"), "ignore_lease": true});
        http.ok("kv/put", &put).await;
        let kv = found().await;
        assert_eq!((text(&kv["value"]), number(&kv["lease"])), ("2".to_owned(), lease as i64));
        let put = json!({"key": base64(&key), "ignore_value": true, "prev_kv": true});
        let answer = http.ok("kv/put", &put).await;
        assert_eq!(number(&answer["prev_kv"]["lease"]), lease as i64);
        let kv = found().await;
        assert_eq!((text(&kv["value"]), kv.get("lease")), ("2".to_owned(), None));
        assert_eq!(number(&kv["version"]), 3);
    }
    fixture.stop().await;
}

async fn a_request_has_at_most_a_mebibyte_and_a_half(fixture: Fixture) {
    for http in fixture.all() {
        let put =
            |bytes: usize| json!({"key": base64("large"), "value": base64(vec![b'x'; bytes])});
        http.ok("kv/put", &put(1_500_000)).await;
        let found = http.range_text("large", "", json!({})).await;
        assert_eq!(text(&found["kvs"][0]["value"]).len(), 1_500_000);
        let message = "etcdserver: request is too large";
        for bytes in [1_600_000, 2_200_000, 4_000_000] {
            http.refused("kv/put", &put(bytes), 3, message).await;
        }
        let key = json!({"key": base64(vec![b'k'; 70_000])});
        http.refused("kv/put", &key, 3, message).await;
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    every_put_makes_a_revision_and_a_deletion_begins_the_versions_anew,
    prev_kv_tells_what_was_there_before_or_nothing,
    an_empty_value_is_a_value_and_an_empty_key_is_no_key,
    what_is_ignored_can_not_be_given_and_a_lease_must_exist,
    what_is_ignored_stays_as_it_is_and_must_be_there,
    a_request_has_at_most_a_mebibyte_and_a_half,
);
