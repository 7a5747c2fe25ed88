//! `/v1/txn`: what is compared, what is done, and what is told of it; at any node.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Fixture;
use super::client::{Answer, Http};

async fn transact(http: &Http, body: &Value) -> Answer {
    http.post("/v1/txn", &body.to_string()).await
}

/// The results of a transaction that is done.
async fn done(http: &Http, body: &Value) -> Value {
    let answer = transact(http, body).await;
    assert_eq!(answer.status, 200, "{body}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

async fn one_branch_is_done_in_one_revision_and_told_in_order(fixture: Fixture) {
    let nodes = fixture.all();
    let last = nodes.last().expect("a node");
    let take = json!({
        "if": [{"key": "owner", "exists": false}],
        "then": [
            {"put": {"key": "owner", "value": "me", "prev": true}},
            {"put": {"key": "/wA=", "key_encoding": "base64", "value": "/w==", "value_encoding": "base64"}},
            {"get": {"key": "owner"}},
            {"get": {"prefix": ""}},
            {"delete": {"key": "absent", "prev": true}},
        ],
        "else": [{"get": {"key": "owner"}}],
    });
    let owner = json!({
        "key": "owner", "value": "me", "create_revision": 2, "mod_revision": 2, "version": 1,
    });
    let other = json!({
        "key": "/wA=", "key_encoding": "base64", "value": "/w==", "value_encoding": "base64",
        "create_revision": 2, "mod_revision": 2, "version": 1,
    });
    assert_eq!(
        done(last, &take).await,
        json!({
            "succeeded": true,
            "results": [
                {"put": {"created": true, "prev": null}},
                {"put": {"created": true}},
                {"get": {"kv": owner}},
                {"get": {"kvs": [owner, other], "count": 2, "more": false}},
                {"delete": {"deleted": 0, "prev": null}},
            ],
            "revision": 2,
        })
    );
    for node in &nodes {
        assert_eq!(
            done(node, &take).await,
            json!({"succeeded": false, "results": [{"get": {"kv": owner}}], "revision": 2})
        );
    }
    let replaced = json!({"then": [
        {"put": {"key": "owner", "value": "you", "prev": true}},
        {"delete": {"from": "p", "to": "q", "prev": true}},
        {"delete": {"from": "/w==", "key_encoding": "base64", "prev": true}},
    ]});
    assert_eq!(
        done(last, &replaced).await["results"],
        json!([
            {"put": {"created": false, "prev": owner}},
            {"delete": {"deleted": 0, "prev_kvs": []}},
            {"delete": {"deleted": 1, "prev_kvs": [other]}},
        ])
    );
    // Nothing to do is nothing, and no revision.
    assert_eq!(
        done(last, &json!({})).await,
        json!({"succeeded": true, "results": [], "revision": 3})
    );
    fixture.stop().await;
}

/// Each condition, and whether it holds: as a transaction that only reads, and as one that writes.
async fn every_comparison_holds_as_it_should_with_and_without_the_log(fixture: Fixture) {
    let nodes = fixture.all();
    let http = nodes.last().expect("a node");
    let lease = http.post("/v1/leases", "{\"ttl\":\"1h\",\"id\":5}").await;
    assert_eq!(lease.status, 201);
    http.put("/v1/kv/a", "m").await;
    http.put("/v1/kv/a", "n").await;
    http.put("/v1/kv/c/1?lease=5", "x").await;
    http.put("/v1/kv/c/2?lease=5", "y").await;
    for (condition, holds) in [
        (json!({"key": "a", "exists": true}), true),
        (json!({"key": "a", "exists": false}), false),
        (json!({"key": "b", "exists": false}), true),
        (json!({"prefix": "c/", "exists": true}), true),
        (json!({"prefix": "c/", "exists": false}), false),
        (json!({"prefix": "d/", "exists": false}), true),
        (json!({"key": "a", "version": {"eq": 2}}), true),
        (json!({"key": "a", "version": {"ne": 2}}), false),
        (json!({"key": "a", "version": {"gt": 1, "lt": 3}}), true),
        (json!({"key": "a", "version": {"gt": 1, "lt": 2}}), false),
        (json!({"key": "b", "version": {"eq": 0}}), true),
        (json!({"key": "b", "version": {"lt": 0}}), false),
        (json!({"key": "a", "create_revision": {"eq": 2}}), true),
        (json!({"key": "a", "mod_revision": {"eq": 3}}), true),
        (json!({"key": "a", "mod_revision": {"gt": 3}}), false),
        (json!({"key": "a", "lease": {"eq": 0}}), true),
        (json!({"key": "c/1", "lease": {"eq": 5}}), true),
        (json!({"prefix": "c/", "lease": {"eq": 5}, "version": {"eq": 1}}), true),
        (json!({"from": "a", "to": "c/2", "lease": {"eq": 5}}), false),
        (json!({"key": "a", "value": {"eq": "n"}}), true),
        (json!({"key": "a", "value": {"ne": "n"}}), false),
        (json!({"key": "a", "value": {"lt": "o", "gt": "m"}}), true),
        (json!({"key": "a", "value": {"eq": "bg=="}, "value_encoding": "base64"}), true),
        (json!({"prefix": "c/", "value": {"gt": "w"}}), true),
        (json!({"prefix": "c/", "value": {"gt": "x"}}), false),
        // Nothing that is compared with the value of an absent key holds.
        (json!({"key": "b", "value": {"eq": ""}}), false),
        (json!({"key": "b", "value": {"ne": "n"}}), false),
    ] {
        for node in &nodes {
            let read = done(node, &json!({"if": [condition]})).await;
            assert_eq!(read["succeeded"], holds, "{condition}");
        }
        let put = json!([{"put": {"key": "z", "value": ""}}]);
        let written = done(http, &json!({"if": [condition], "then": put, "else": put})).await;
        assert_eq!(written["succeeded"], holds, "{condition}, by the log");
    }
    fixture.stop().await;
}

async fn reads_within_are_told_as_those_beside_with_and_without_the_log(fixture: Fixture) {
    let nodes = fixture.all();
    let http = nodes.last().expect("a node");
    http.fill("k/", 5).await;
    http.put("/v1/kv/k/3", "later").await;
    let reads = json!({"then": [
        {"get": {"prefix": "k/", "limit": 2}},
        {"get": {"prefix": "k/", "sort": "mod_revision", "order": "desc", "limit": 1, "keys_only": true}},
        {"get": {"prefix": "k/", "sort": "value", "limit": 1}},
        {"get": {"from": "k/1", "to": "k/4", "count_only": true}},
        {"get": {"key": "k/3", "revision": 5}},
        {"get": {"key": "k/3", "keys_only": true}},
        {"get": {"key": "none"}},
        {"txn": {"if": [{"key": "none", "exists": true}], "else": [{"get": {"key": "k/0"}}]}},
    ]});
    let revision = http.revision().await;
    let applied = async || {
        let replicas = http.get("/v1/agree?key=k/0").await.json()["replicas"].clone();
        let replicas = replicas.as_array().expect("a list").clone();
        replicas.iter().filter_map(|replica| replica["applied_index"].as_u64()).max()
    };
    let before = applied().await;
    assert!(before.is_some());
    let mut told = Vec::new();
    for node in &nodes {
        let answer = done(node, &reads).await;
        assert_eq!(answer["revision"], revision);
        told.push(answer["results"].clone());
    }
    assert_eq!(applied().await, before, "what only reads leaves nothing in the log");
    // A read that changes something all the same goes through the log.
    let mut writes = reads.clone();
    let put = json!({"put": {"key": "z", "value": ""}});
    writes["then"].as_array_mut().expect("a list").push(put);
    let mut results = done(http, &writes).await["results"].clone();
    results.as_array_mut().expect("a list").pop();
    told.push(results);
    // And so does one that is to be answered the same again.
    let key = [("Idempotency-Key", "reads")];
    let keyed = http.send("POST", "/v1/txn", &key, reads.to_string().as_bytes()).await;
    told.push(keyed.json()["results"].clone());
    assert!(applied().await > before);
    let first = told[0].clone();
    assert!(told.iter().all(|other| *other == first), "{told:?}");
    assert_eq!((&first[0]["get"]["count"], &first[0]["get"]["more"]), (&json!(5), &json!(true)));
    assert_eq!(first[1]["get"]["kvs"][0]["key"], "k/3");
    assert_eq!(first[1]["get"]["kvs"][0].get("value"), None);
    assert_eq!(first[2]["get"]["kvs"][0]["value"], "later");
    assert_eq!(first[3]["get"], json!({"kvs": [], "count": 3, "more": false}));
    assert_eq!(first[4]["get"]["kv"]["value"], "v3");
    assert_eq!(first[5]["get"]["kv"]["version"], 2);
    assert_eq!(first[6]["get"], json!({"kv": null}));
    assert_eq!(first[7]["txn"]["succeeded"], false);
    assert_eq!(first[7]["txn"]["results"][0]["get"]["kv"]["key"], "k/0");
    fixture.stop().await;
}

async fn every_refusal_has_its_name_and_changes_nothing(fixture: Fixture) {
    let nodes = fixture.all();
    let http = nodes.last().expect("a node");
    http.fill("k", 3).await;
    http.post("/v1/compact", "{\"revision\": 3}").await;
    let put = |key: &str| json!({"put": {"key": key, "value": ""}});
    let get = |members: Value| json!([put("x"), {"get": members}]);
    let many: Vec<_> = (0..129).map(|number| put(&format!("m{number}"))).collect();
    let gets = vec![json!({"get": {"key": "a"}}); 64];
    let nested = vec![json!({"txn": {"then": gets}}); 20];
    for (then, status, name, words) in [
        (json!([put("x"), put("x")]), 400, "duplicate_key", "twice"),
        (json!([put("xy"), {"delete": {"prefix": "x"}}]), 400, "duplicate_key", "twice"),
        (json!(many), 413, "too_many_operations", "at most 128"),
        (json!(nested), 413, "too_many_operations", "1024"),
        (
            json!([{"put": {"key": "x", "value": "", "lease": 9}}]),
            404,
            "lease_not_found",
            "lease 9",
        ),
        (
            json!([put("x"), {"put": {"key": "y", "keep_value": true}}]),
            404,
            "key_not_found",
            "`y` does not exist",
        ),
        (
            json!([{"put": {"key": "y", "value": "", "keep_lease": true}}]),
            404,
            "key_not_found",
            "`y` does not exist",
        ),
        (get(json!({"key": "k0", "revision": 99})), 400, "future_revision", "the current one is 4"),
        (get(json!({"key": "k0", "revision": 2})), 410, "compacted", "revision 2 was compacted"),
        (json!([{"get": {"key": "k0", "revision": 99}}]), 400, "future_revision", "revision 99"),
        (json!([{"get": {"prefix": "", "revision": 2}}]), 410, "compacted", "can be read is 3"),
        (json!([{"put": {"key": "", "value": ""}}]), 400, "key_empty", "`then[0].put.key`"),
    ] {
        let answer = transact(http, &json!({"then": then})).await;
        let json = answer.assert_error(status, name, words);
        assert_eq!(json["revision"], 4, "{then}");
    }
    for body in ["{\"then\":[{\"put\":{\"key\":\"a\",\"valeu\":\"1\"}}]}", "", "[]", "{\"if\":1}"] {
        http.post("/v1/txn", body).await.assert_error(400, "invalid_body", "the body is not");
    }
    assert_eq!(http.get("/v1/kv?prefix=").await.json()["count"], 3, "nothing was changed");
    fixture.stop().await;
}

async fn leases_come_and_stay_with_a_transaction(fixture: Fixture) {
    let nodes = fixture.all();
    let http = nodes.last().expect("a node");
    http.post("/v1/leases", "{\"ttl\":\"1h\",\"id\":5}").await;
    let body = json!({"then": [
        {"put": {"key": "a", "value": "1", "lease": 5}},
        {"put": {"key": "b", "value": "2", "ttl": "1s"}},
    ]});
    let results = done(http, &body).await["results"].clone();
    assert_eq!(results[0], json!({"put": {"created": true}}));
    let brought = &results[1]["put"]["lease"];
    assert_eq!(results[1], json!({"put": {"created": true, "lease": brought, "ttl_ms": 2000}}));
    let body = json!({"then": [
        {"put": {"key": "a", "value": "changed", "keep_lease": true}},
        {"put": {"key": "b", "keep_value": true}},
    ]});
    done(http, &body).await;
    for node in &nodes {
        let (a, b) = (node.get("/v1/kv/a").await.json(), node.get("/v1/kv/b").await.json());
        assert_eq!((&a["value"], &a["lease"]), (&json!("changed"), &json!(5)));
        assert_eq!((&b["value"], b.get("lease")), (&json!("2"), None));
    }
    fixture.stop().await;
}

async fn a_repetition_is_answered_again_and_says_what_is_forgotten(fixture: Fixture) {
    let nodes = fixture.all();
    let http = nodes.last().expect("a node");
    http.put("/v1/kv/a", "old").await;
    let body = json!({"then": [
        {"put": {"key": "a", "value": "new", "prev": true}},
        {"get": {"key": "a"}},
        {"get": {"prefix": "a", "count_only": true}},
    ]});
    let body = body.to_string();
    let send = async |node: &Http| {
        node.send("POST", "/v1/txn", &[("Idempotency-Key", "t")], body.as_bytes()).await
    };
    let first = send(http).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, None));
    let first = first.json();
    assert_eq!(first["results"][1]["get"]["kv"]["value"], "new");
    for value in ["later", "last"] {
        http.put("/v1/kv/a", value).await;
    }
    for node in &nodes {
        let again = send(node).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!(again.json(), first);
    }
    let other = http.send("POST", "/v1/txn", &[("Idempotency-Key", "t")], b"{}").await;
    other.assert_error(409, "idempotency_conflict", "another request");
    assert_eq!(http.post("/v1/compact", "{\"revision\": 5}").await.status, 200);
    for node in &nodes {
        // A node that lags still knows.
        node.get("/v1/kv/a").await;
        let again = send(node).await.json();
        assert_eq!((&again["succeeded"], &again["revision"]), (&json!(true), &json!(3)));
        for read in [1, 2] {
            let told = &again["results"][read]["get"]["unavailable"];
            assert_eq!(told["reason"], "compacted", "{again}");
            let message = told["message"].as_str().expect("text");
            assert!(message.contains("was done"), "{message}");
        }
        assert_eq!(again["results"][0]["put"]["prev_unavailable"]["reason"], "compacted");
    }
    assert_eq!(http.get("/v1/kv/a").await.json()["value"], "last");
    fixture.stop().await;
}

/// Everyone counts up; each by a transaction that only does it if nobody else did meanwhile.
async fn of_many_that_count_at_all_nodes_at_once_none_is_lost(fixture: Fixture) {
    let nodes = fixture.all();
    nodes[0].put("/v1/kv/counter", "0").await;
    let tasks: Vec<_> = (0..6)
        .map(|number| {
            let node = nodes[number % nodes.len()];
            tokio::spawn(async move {
                let mut counted = 0;
                while counted < 5 {
                    let read = node.get("/v1/kv/counter").await.json();
                    let value: u64 = read["value"].as_str().expect("text").parse().expect("digits");
                    let body = json!({
                        "if": [{"key": "counter", "mod_revision": {"eq": read["mod_revision"]}}],
                        "then": [{"put": {"key": "counter", "value": (value + 1).to_string()}}],
                    });
                    counted += u64::from(done(&node, &body).await["succeeded"] == true);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task");
    }
    assert_eq!(nodes[0].get("/v1/kv/counter").await.json()["value"], "30");
    fixture.stop().await;
}

super::on_every_protocol!(
    one_branch_is_done_in_one_revision_and_told_in_order,
    every_comparison_holds_as_it_should_with_and_without_the_log,
    reads_within_are_told_as_those_beside_with_and_without_the_log,
    every_refusal_has_its_name_and_changes_nothing,
    leases_come_and_stay_with_a_transaction,
    a_repetition_is_answered_again_and_says_what_is_forgotten,
    of_many_that_count_at_all_nodes_at_once_none_is_lost,
);

/// Ten values of a megabyte: more than an answer holds.
#[tokio::test]
async fn what_is_read_is_told_up_to_a_bound_with_and_without_the_log() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    for number in 0..10 {
        let value = vec![b'x'; 1_000_000];
        assert_eq!(http.put(&format!("/v1/kv/large/{number}"), value).await.status, 201);
    }
    let get = json!({"get": {"prefix": "large/"}});
    let put = json!({"put": {"key": "large/0", "value": "", "prev": true}});
    for body in [json!({"then": [get, get]}), json!({"then": [get, get, put]})] {
        let results = done(http, &body).await["results"].clone();
        let first = &results[0]["get"];
        let told = first["kvs"].as_array().expect("a list").len();
        assert!((1..10).contains(&told), "{told} were told");
        assert_eq!((&first["count"], &first["more"]), (&json!(10), &json!(true)));
        assert_eq!(results[1]["get"]["unavailable"]["reason"], "too_large");
        if let Some(put) = results.get(2) {
            assert_eq!(put["put"]["prev_unavailable"]["reason"], "too_large");
        }
    }
    assert_eq!(http.get("/v1/kv/large/0").await.json()["value"], "");
    let long = "v".repeat(1_048_577);
    let put = json!({"then": [{"put": {"key": "k", "value": long}}]});
    transact(http, &put).await.assert_error(413, "value_too_large", "`then[0].put.value`");
    let longer = " ".repeat(3 << 20);
    http.post("/v1/txn", &longer).await.assert_error(413, "body_too_large", "3145728 bytes");
    fixture.stop().await;
}

/// There is room for no answer of this size: what only reads is refused, what was done is said to be.
#[tokio::test]
async fn what_was_read_is_left_out_where_there_is_no_room_for_it() {
    let fixture = Fixture::start_with(|config| {
        config.limits.value_bytes_max = 16 << 20;
        config.limits.answer_bytes_max = 1 << 20;
    })
    .await;
    let http = &fixture.http;
    // Somebody asks for more than the sockets hold, and does not take it.
    assert_eq!(http.put("/v1/kv/large", vec![b'x'; 16 << 20]).await.status, 201);
    assert_eq!(http.put("/v1/kv/k", vec![b'x'; 100_000]).await.status, 201);
    let mut idler = http.connect().await;
    idler.write_all(b"GET /v1/kv/large?raw HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    idler.read_exact(&mut [0; 15]).await.expect("an answer begins");
    let get = json!({"get": {"key": "k"}});
    let refused = transact(http, &json!({"then": [get]})).await;
    refused.assert_error(429, "overloaded", "nothing happened");
    let put = json!({"put": {"key": "k", "value": "", "prev": true}});
    let told = done(http, &json!({"then": [{"txn": {"then": [get]}}, put]})).await;
    assert_eq!((&told["succeeded"], &told["revision"]), (&json!(true), &json!(4)));
    let within = &told["results"][0]["txn"]["results"][0];
    assert_eq!(within["get"]["unavailable"]["reason"], "overloaded");
    let put = &told["results"][1]["put"];
    assert_eq!((&put["prev_unavailable"]["count"], put.get("prev")), (&json!(1), None));
    drop(idler);
    fixture.stop().await;
}

/// More keys than a transaction may look at; each refusal by the log and without it.
#[tokio::test]
async fn a_transaction_looks_at_ten_thousand_keys_at_most() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    for batch in 0..79 {
        let puts: Vec<_> = (0..128)
            .map(|n| json!({"put": {"key": format!("k/{batch:02}/{n:03}"), "value": ""}}))
            .collect();
        done(http, &json!({"then": puts})).await;
    }
    let all = json!({"prefix": "k/"});
    let half = json!({"from": "k/00", "to": "k/40", "exists": true});
    let put = json!({"put": {"key": "x", "value": ""}});
    for write in [vec![], vec![put]] {
        let then = |more: Value| [vec![more], write.clone()].concat();
        let read = json!({"then": then(json!({"get": all}))});
        let compared = json!({"if": [half, half], "then": write, "else": write});
        for body in [read, compared] {
            let answer = transact(http, &body).await;
            answer.assert_error(413, "transaction_too_large", "more than 10000 keys");
        }
    }
    // The same of etcd's API: "k/" to "k0".
    let range = json!({"key": "ay8=", "range_end": "azA="});
    let delete = json!({"request_delete_range": {"key": "eA=="}});
    for write in [vec![], vec![delete]] {
        let read = [vec![json!({ "request_range": range })], write].concat();
        let body = json!({ "success": read }).to_string();
        let answer = http.post("/v3/kv/txn", &body).await;
        assert_eq!(answer.status, 400, "{}", answer.json());
        assert_eq!(answer.json()["message"], "etcdserver: request is too large");
        let hint = answer.json()["hint"].as_str().expect("a hint").to_owned();
        assert!(hint.contains("10000 keys"), "{hint}");
    }
    let deleted = json!({"then": [{"delete": all}]});
    transact(http, &deleted).await.assert_error(413, "deletion_too_large", "10000 keys");
    let page = json!({"get": {"from": "k/00", "to": "k/40", "limit": 10_000, "keys_only": true}});
    let told = done(http, &json!({"if": [half], "then": [page]})).await;
    assert_eq!(told["results"][0]["get"]["count"], 40 * 128);
    fixture.stop().await;
}
