//! The examples of etcd's handbook (`dev-guide/api_grpc_gateway`) and of its own tests of the gateway
//! (`tests/e2e/v3_curl_*`), as they stand there.

use serde_json::json;

use super::Fixture;
use super::support::{assert_refused, revision};

async fn the_examples_of_the_handbook_work_as_they_stand_there(fixture: Fixture) {
    for http in fixture.all() {
        let post = async |path: &str, body: &str| {
            let answer = http.post(path, body).await;
            assert_eq!(answer.status, 200, "{path} {body}: {}", answer.json());
            answer.json()
        };
        post("/v3/kv/put", r#"{"key": "Zm9v", "value": "YmFy"}"#).await;
        let range = post("/v3/kv/range", r#"{"key": "Zm9v"}"#).await;
        assert_eq!((&range["kvs"][0]["value"], &range["count"]), (&json!("YmFy"), &json!("1")));
        let range = post("/v3/kv/range", r#"{"key": "Zm9v", "range_end": "Zm9w"}"#).await;
        assert_eq!(range["kvs"][0]["key"], "Zm9v");
        let mut watch = http.open("watch", r#"{"create_request": {"key":"Zm9v"} }"#).await;
        assert_eq!(watch.next().await["created"], true);
        let put = post("/v3/kv/put", r#"{"key": "Zm9v", "value": "YmFy"}"#).await;
        let event = watch.next().await;
        assert_eq!(revision(&event), revision(&put));
        assert_eq!(event["events"][0]["kv"]["value"], "YmFy");
    }
    fixture.stop().await;
}

async fn the_refusals_of_the_gateways_own_tests_are_the_same(fixture: Fixture) {
    for http in fixture.all() {
        let answer = http.post("/v3/kv/compaction", r#"{"revision": "10000"}"#).await;
        let message = "etcdserver: mvcc: required revision is a future revision";
        assert_refused(&answer, 11, message);
        let body = r#"{"targetID": "123"}"#;
        let answer = http.post("/v3/maintenance/transfer-leadership", body).await;
        assert_refused(&answer, 9, "etcdserver: bad leader transferee");
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    the_examples_of_the_handbook_work_as_they_stand_there,
    the_refusals_of_the_gateways_own_tests_are_the_same,
);
