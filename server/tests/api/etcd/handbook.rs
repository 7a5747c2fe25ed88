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
        let body = r#"{"compare":[{"target":"CREATE","key":"Zm9v","createRevision":"CREATED"}],
            "success":[{"requestPut":{"key":"Zm9v","value":"YmFy"}}]}"#;
        let created = range["kvs"][0]["create_revision"].as_str().expect("a string").to_owned();
        let txn = post("/v3/kv/txn", &body.replace("CREATED", &created)).await;
        assert_eq!(txn["succeeded"], true);
        assert_eq!(revision(&txn["responses"][0]["response_put"]), revision(&txn));
        let range = post("/v3/kv/range", r#"{"key": "Zm9v"}"#).await;
        let version = range["kvs"][0]["version"].as_str().expect("a string").to_owned();
        let body = r#"{"compare":[{"version":"4","result":"EQUAL","target":"VERSION","key":"Zm9v"}],
            "success":[{"requestRange":{"key":"Zm9v"}}]}"#;
        let txn = post("/v3/kv/txn", &body.replace('4', &version)).await;
        assert_eq!(
            (&txn["succeeded"], &txn["responses"][0]["response_range"]["kvs"]),
            (&json!(true), &range["kvs"])
        );
        let mut watch = http.open("watch", r#"{"create_request": {"key":"Zm9v"} }"#).await;
        assert_eq!(watch.next().await["created"], true);
        let put = post("/v3/kv/put", r#"{"key": "Zm9v", "value": "YmFy"}"#).await;
        let event = watch.next().await;
        assert_eq!(revision(&event), revision(&put));
        assert_eq!(event["events"][0]["kv"]["value"], "YmFy");
    }
    fixture.stop().await;
}

async fn a_lease_is_granted_and_revoked_as_in_the_gateways_own_tests(fixture: Fixture) {
    for http in fixture.all() {
        let body = r#"{"ID":"8695","TTL":"0"}"#;
        let granted = http.post("/v3/lease/grant", body).await.json();
        assert_eq!((&granted["ID"], &granted["TTL"]), (&json!("8695"), &json!("2")));
        let keepalive = http.post("/v3/lease/keepalive", r#"{"ID":"8695"}"#).await.json();
        assert_eq!(keepalive["result"]["ID"], "8695");
        let revoked = http.post("/v3/lease/revoke", r#"{"ID":"8695"}"#).await;
        // It may have ended by itself on a slow machine.
        assert!([200, 404].contains(&revoked.status), "{}", revoked.json());
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
        for call in ["proclaim", "resign"] {
            let answer = http.post(&format!("/v3/election/{call}"), "{}").await;
            assert_refused(&answer, 2, "\"leader\" field must be provided");
        }
        let empty = r#"{"success":[{"requestUnknown":{"key":"Zm9v"}}]}"#;
        let answer = http.post("/v3/kv/txn", empty).await;
        assert_refused(&answer, 3, "etcdserver: key not found");
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    the_examples_of_the_handbook_work_as_they_stand_there,
    a_lease_is_granted_and_revoked_as_in_the_gateways_own_tests,
    the_refusals_of_the_gateways_own_tests_are_the_same,
);
