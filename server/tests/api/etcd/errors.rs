//! What is refused before it is a call: paths, methods, broken JSON. And what is not refused, because etcd's
//! clients do it.

use serde_json::{Value, json};

use super::Fixture;
use super::support::{assert_refused, base64, text};

/// Every call of Auth but `status`.
const AUTH: [&str; 16] = [
    "enable",
    "disable",
    "authenticate",
    "user/add",
    "user/get",
    "user/list",
    "user/delete",
    "user/changepw",
    "user/grant",
    "user/revoke",
    "role/add",
    "role/get",
    "role/list",
    "role/delete",
    "role/grant",
    "role/revoke",
];

async fn an_unknown_path_and_a_wrong_method_are_told_at_once(fixture: Fixture) {
    let http = &fixture.http;
    for path in [
        "/v3/",
        "/v3/kv",
        "/v3/kv/rang",
        "/v3/kv/range/",
        "/v3beta/kv/x",
        "/v3/maintenance/downgrade",
    ] {
        assert_refused(&http.post(path, "{}").await, 5, "Not Found");
        assert_refused(&http.get(path).await, 5, "Not Found");
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in ["/v3/kv/range", "/v3/watch", "/v3beta/kv/put", "/v3/auth/user/add"] {
            let answer = http.send(method, path, &[], b"").await;
            assert_refused(&answer, 12, "Method Not Allowed");
        }
    }
    fixture.stop().await;
}

async fn bad_json_is_told_with_where_it_is_bad(fixture: Fixture) {
    let http = &fixture.http;
    for (body, place) in [
        ("{", "line 1, column 2"),
        ("{\"key\":\"YQ==\"", "line 1, column 14"),
        ("{\n\"key\": 7}", "line 2, column 8: a string of base64 is expected, not `7}`"),
        ("{\"key\":\"Y\"}", "line 1, column 8"),
        ("{\"lease\":\"x\"}", "line 1, column 10: an integer of 64 bits is expected"),
        ("{\"prev_kv\":1}", "line 1, column 12: true or false is expected"),
        ("{\"key\":\"YQ==\"} x", "line 1, column 16: nothing more may stand here"),
        ("[]", "an object is expected"),
        ("7", "an object is expected"),
        ("{\"key\":\"YQ==\",\"key\":\"YQ==\"}", "`key` is given twice"),
    ] {
        let answer = http.post("/v3/kv/put", body).await;
        let message = answer.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(place), "{body}: {message}");
        assert_refused(&answer, 3, &message);
    }
    assert_eq!(http.catch_up().await, 1, "nothing was stored");
    fixture.stop().await;
}

async fn what_clients_of_etcd_do_is_taken(fixture: Fixture) {
    let http = &fixture.http;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("{{\"key\":\"{}\",\"value\":\"YmFy\"}}", base64("foo"));
    assert_eq!(http.send("POST", "/v3/kv/put", &form, body.as_bytes()).await.status, 200);
    for request in [
        json!({"key": "Zm9v", "rangeEnd": "Zm9w", "keysOnly": null, "what": {"is": ["this"]}}),
        json!({"key": "Zm9v", "range_end": "Zm9w", "limit": "7", "sort_order": 1}),
        json!({"key": "Zm9v", "range_end": "", "revision": "0", "sortOrder": "NONE"}),
    ] {
        for version in ["v3", "v3beta"] {
            let answer = http.post(&format!("/{version}/kv/range"), &request.to_string()).await;
            assert_eq!(answer.status, 200, "{request}");
            assert_eq!(text(&answer.json()["kvs"][0]["value"]), "bar", "{request}");
        }
    }
    for empty in ["", "null", " ", "{}"] {
        let answer = http.post("/v3/maintenance/status", empty).await;
        assert_eq!(answer.status, 200, "{empty:?}");
    }
    let timed = [("grpc-timeout", "5S")];
    assert_eq!(http.send("POST", "/v3/kv/put", &timed, body.as_bytes()).await.status, 200);
    fixture.stop().await;
}

async fn there_is_no_authentication_and_no_change_of_members(fixture: Fixture) {
    for http in fixture.all() {
        for call in AUTH {
            let message = "etcdserver: authentication is not enabled";
            http.refused(&format!("auth/{call}"), &json!({"name": "root"}), 9, message).await;
            // Nobody looks at what is asked.
            let answer = http.post(&format!("/v3beta/auth/{call}"), "{").await;
            assert_refused(&answer, 9, message);
        }
        let status = http.ok("auth/status", &json!({})).await;
        assert_eq!(status.get("enabled"), None);
        for call in ["add", "remove", "update", "promote"] {
            let message = "not part of this version: the members of a cluster can not be changed";
            http.refused(&format!("cluster/member/{call}"), &Value::Null, 12, message).await;
        }
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    an_unknown_path_and_a_wrong_method_are_told_at_once,
    bad_json_is_told_with_where_it_is_bad,
    what_clients_of_etcd_do_is_taken,
    there_is_no_authentication_and_no_change_of_members,
);
