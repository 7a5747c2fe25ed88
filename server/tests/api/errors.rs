//! Bad requests: each gets its named error at every node, and the node goes on.

use super::Fixture;

/// Method, path, body; status, name, words of the message.
type Row<'a> = (&'a str, &'a str, &'a str, u16, &'a str, &'a str);

const ROWS: &[Row<'_>] = &[
    // Keys.
    ("PUT", "/v1/kv/", "v", 400, "key_empty", "/v1/kv?prefix="),
    ("GET", "/v1/kv/", "", 400, "key_empty", "1 to 4096 bytes"),
    ("GET", "/v1/watch?key=", "", 400, "key_empty", "leave it out"),
    ("GET", "/v1/agree?key=", "", 400, "key_empty", "leave it out"),
    ("PUT", "/v1/kv/a%2", "v", 400, "invalid_encoding", "%25"),
    ("GET", "/v1/kv/a%zz", "", 400, "invalid_encoding", "%zz"),
    ("GET", "/v1/kv?prefix=%", "", 400, "invalid_encoding", "%25"),
    ("GET", "/v1/kv/none", "", 404, "key_not_found", "`none` does not exist"),
    ("GET", "/v1/kv/none?raw", "", 404, "key_not_found", "`none`"),
    // Parameters.
    ("PUT", "/v1/kv/k?if_abset", "v", 400, "invalid_parameter", "if_absent, if_version"),
    ("PUT", "/v1/kv/k?prev&prev", "v", 400, "invalid_parameter", "given twice"),
    ("PUT", "/v1/kv/k?prev=maybe", "v", 400, "invalid_parameter", "true, 1, false or 0"),
    ("PUT", "/v1/kv/k?if_version=-1", "v", 400, "invalid_parameter", "from 0 up"),
    ("PUT", "/v1/kv/k?if_version=1e3", "v", 400, "invalid_parameter", "`1e3`"),
    ("PUT", "/v1/kv/k?timeout=5", "v", 400, "invalid_parameter", "2s or 300ms"),
    ("PUT", "/v1/kv/k?timeout=0s", "v", 400, "invalid_parameter", "from 1ms"),
    ("PUT", "/v1/kv/k?wait=10s", "v", 400, "unsupported_parameter", "allowed here: if_absent"),
    ("PUT", "/v1/kv/k?lease=0", "v", 400, "invalid_parameter", "other than 0"),
    ("PUT", "/v1/kv/k?lease=x", "v", 400, "invalid_parameter", "`x`"),
    ("PUT", "/v1/kv/k?ttl=0s", "v", 400, "invalid_parameter", "from 1ms to 9000000000s"),
    ("PUT", "/v1/kv/k?ttl=9000000001s", "v", 400, "invalid_parameter", "to 9000000000s"),
    ("PUT", "/v1/kv/k?lease=7&ttl=10s", "v", 400, "invalid_parameter", "given together"),
    ("PUT", "/v1/kv/k?lease=7", "v", 404, "lease_not_found", "there is no lease 7"),
    ("PUT", "/v1/kv/k?sequential=yes", "v", 400, "invalid_parameter", "true, 1, false or 0"),
    ("PUT", "/v1/kv/?sequential", "v", 400, "key_empty", "no key"),
    ("GET", "/v1/leases/0", "", 404, "lease_not_found", "other than 0"),
    ("GET", "/v1/leases/x", "", 404, "lease_not_found", "`x` is no lease"),
    ("GET", "/v1/leases/7", "", 404, "lease_not_found", "there is no lease 7"),
    ("GET", "/v1/leases?cursor=x", "", 400, "invalid_parameter", "`next`"),
    ("GET", "/v1/leases?limit=0", "", 400, "invalid_parameter", "from 1 to 10000"),
    ("DELETE", "/v1/leases/7", "", 404, "lease_not_found", "its time ran out"),
    ("POST", "/v1/leases/7/keepalive", "", 404, "lease_not_found", "POST /v1/leases grants"),
    ("POST", "/v1/leases/%zz/keepalive", "", 400, "invalid_encoding", "%zz"),
    ("GET", "/v1/kv/k?prev", "", 400, "invalid_parameter", "allowed here: raw"),
    ("GET", "/v1/kv/k?revision=0", "", 400, "invalid_parameter", "from 1 up"),
    ("GET", "/v1/kv/k?revision=now", "", 400, "invalid_parameter", "`now`"),
    ("GET", "/v1/kv/k?revision=99", "", 400, "future_revision", "the current one is"),
    (
        "GET",
        "/v1/kv/k?consistency=eventual",
        "",
        400,
        "invalid_parameter",
        "linearizable, sync, local",
    ),
    ("GET", "/v1/kv?limit=0", "", 400, "invalid_parameter", "from 1 to 10000"),
    ("GET", "/v1/kv?limit=10001", "", 400, "invalid_parameter", "from 1 to 10000"),
    ("GET", "/v1/kv?order=up", "", 400, "invalid_parameter", "asc, desc"),
    ("GET", "/v1/kv?sort=size", "", 400, "invalid_parameter", "mod_revision"),
    ("GET", "/v1/kv?cursor=x", "", 400, "invalid_parameter", "`next`"),
    ("GET", "/v1/kv?cursor=2.1.aw&sort=value", "", 400, "invalid_parameter", "sort=key"),
    ("GET", "/v1/kv?prefix=a&from=b", "", 400, "invalid_parameter", "either"),
    ("GET", "/v1/kv?revision=99", "", 400, "future_revision", "revision 99"),
    ("DELETE", "/v1/kv", "", 400, "invalid_parameter", "`prefix=` means all"),
    ("DELETE", "/v1/kv/k?raw", "", 400, "invalid_parameter", "no parameter `raw`"),
    ("GET", "/v1/watch?key=a&prefix=b", "", 400, "invalid_parameter", "one of them"),
    ("GET", "/v1/watch?filter=all", "", 400, "invalid_parameter", "put, delete"),
    ("GET", "/v1/watch?progress=1ms", "", 400, "invalid_parameter", "from 100ms"),
    ("GET", "/v1/watch?from_revision=0", "", 400, "invalid_parameter", "from 1 up"),
    ("GET", "/v1/status?verbose", "", 400, "invalid_parameter", "allowed here: timeout"),
    ("GET", "/health?timeout=1h", "", 400, "invalid_parameter", "to 1m"),
    ("GET", "/v1/elections?limit=0", "", 400, "invalid_parameter", "from 1 to 100"),
    ("GET", "/v1/elections?limit=101", "", 400, "invalid_parameter", "from 1 to 100"),
    ("GET", "/v1/elections?format=svg", "", 400, "invalid_parameter", "limit, timeout"),
    ("GET", "/v1/elections?timeout=2h", "", 400, "invalid_parameter", "to 1m"),
    ("GET", "/v1/trace?format=svg", "", 400, "unsupported_parameter", "ndjson, mermaid, shiviz"),
    ("GET", "/v1/trace?format=", "", 400, "invalid_parameter", "ndjson, mermaid, shiviz"),
    ("GET", "/v1/trace?format=SVG", "", 400, "invalid_parameter", "`SVG`"),
    ("GET", "/v1/trace?limit=2001", "", 400, "invalid_parameter", "from 1 to 2000"),
    ("GET", "/v1/trace?messages=some", "", 400, "invalid_parameter", "election, all, none"),
    ("GET", "/v1/trace?key=a", "", 400, "invalid_parameter", "format, limit, messages"),
    // Bodies.
    ("POST", "/v1/compact", "", 400, "invalid_body", "{\"revision\": NUMBER}"),
    ("POST", "/v1/compact", "{", 400, "invalid_body", "column 1"),
    ("POST", "/v1/compact", "{\"revision\": \"1\"}", 400, "invalid_body", "invalid type: string"),
    ("POST", "/v1/compact", "{\"revision\": -1}", 400, "invalid_body", "`-1`"),
    (
        "POST",
        "/v1/compact",
        "{\"revision\": 1, \"x\": 2}",
        400,
        "invalid_body",
        "unknown field `x`",
    ),
    ("POST", "/v1/compact", "[1]", 400, "invalid_body", "no JSON object"),
    ("POST", "/v1/compact", "null", 400, "invalid_body", "no JSON object"),
    ("POST", "/v1/compact", "{\"revision\": 99}", 400, "future_revision", "the current one is"),
    ("POST", "/v1/leases", "", 400, "invalid_body", "{\"ttl\": TIME}"),
    ("POST", "/v1/leases", "{}", 400, "invalid_body", "missing field `ttl`"),
    ("POST", "/v1/leases", "{\"ttl\":10}", 400, "invalid_body", "invalid type: integer"),
    ("POST", "/v1/leases", "{\"ttl\":\"soon\"}", 400, "invalid_body", "2s or 300ms"),
    ("POST", "/v1/leases", "{\"ttl\":\"9s\",\"id\":0}", 400, "invalid_body", "other than 0"),
    ("POST", "/v1/txn", "", 400, "invalid_body", "{\"if\": [CONDITION"),
    ("POST", "/v1/txn", "{\"then\":[{\"puts\":{}}]}", 400, "invalid_body", "`then[0].puts`"),
    ("POST", "/v1/txn", "{\"if\":[{\"key\":\"a\"}]}", 400, "invalid_body", "compares nothing"),
    // Paths and methods.
    ("GET", "/", "", 404, "unknown_path", "/v1/status"),
    ("GET", "/v1/txns", "", 404, "unknown_path", "/v1/kv/{key}"),
    ("POST", "/v1/leases/", "{}", 404, "unknown_path", "/v1/leases"),
    ("POST", "/v3", "{}", 404, "unknown_path", "etcd's calls are below /v3/"),
    ("GET", "/v1/kvs", "", 404, "unknown_path", "keys are at"),
    ("GET", "/%FF", "", 404, "unknown_path", "nothing at `/%FF`"),
    ("OPTIONS", "*", "", 404, "unknown_path", "nothing at `*`"),
];

async fn each_bad_request_has_its_named_error_with_what_is_allowed(fixture: Fixture) {
    let all = fixture.all();
    for (method, path, body, status, name, words) in ROWS {
        for http in &all {
            let answer = http.send(method, path, &[], body.as_bytes()).await;
            answer.assert_error(*status, name, words);
        }
    }
    for http in &all {
        assert_eq!(http.revision().await, 1, "nothing was stored");
    }
    fixture.stop().await;
}

async fn a_wrong_method_is_told_the_right_ones(fixture: Fixture) {
    let all = fixture.all();
    for (method, path, allow) in [
        ("POST", "/v1/kv/k", "GET, HEAD, PUT, DELETE"),
        ("PATCH", "/v1/kv/k", "GET, HEAD, PUT, DELETE"),
        ("BREW", "/v1/kv/a/b", "GET, HEAD, PUT, DELETE"),
        ("PUT", "/v1/kv", "GET, HEAD, DELETE"),
        ("GET", "/v1/compact", "POST"),
        ("POST", "/v1/watch", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("PUT", "/v1/leases/7", "GET, HEAD, DELETE"),
        ("GET", "/v1/leases/7/keepalive", "POST"),
        ("GET", "/v1/txn", "POST"),
    ] {
        for http in &all {
            let answer = http.send(method, path, &[], b"").await;
            answer.assert_error(405, "method_not_allowed", allow);
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_key_has_at_most_4096_bytes_in_a_path() {
    let fixture = Fixture::start().await;
    let longest = format!("/v1/kv/{}", "%61".repeat(4096));
    assert_eq!(fixture.http.put(&longest, "v").await.status, 201);
    let (json, _) = fixture.http.get(&longest).await.json_and_revision();
    assert_eq!(json["key"].as_str().map(str::len), Some(4096));
    for method in ["PUT", "GET", "DELETE"] {
        let path = format!("/v1/kv/{}", "a".repeat(4097));
        let answer = fixture.http.send(method, &path, &[], b"").await;
        answer.assert_error(413, "key_too_large", "4097 bytes; at most 4096");
    }
    let path = format!("/v1/kv?prefix={}", "a".repeat(65_000));
    assert_eq!(fixture.http.get(&path).await.status, 200);
    fixture.stop().await;
}

super::on_every_protocol!(
    each_bad_request_has_its_named_error_with_what_is_allowed,
    a_wrong_method_is_told_the_right_ones,
);
