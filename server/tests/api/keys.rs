//! One key: storing, reading now and in the past, deleting.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Fixture;

async fn a_value_is_stored_as_it_is_and_read_back_with_its_numbers(fixture: Fixture) {
    let http = &fixture.http;
    let created = http.put("/v1/kv/greeting", "hello").await;
    assert_eq!(created.status, 201);
    assert_eq!(created.json(), json!({"created": true, "revision": 2}));
    created.assert_signed();
    let replaced = http.put("/v1/kv/greeting", "hi").await;
    assert_eq!(replaced.status, 200);
    assert_eq!(replaced.json(), json!({"created": false, "revision": 3}));
    let read = http.get("/v1/kv/greeting").await;
    assert_eq!(read.status, 200);
    read.assert_signed();
    assert_eq!(
        read.json(),
        json!({
            "key": "greeting", "value": "hi",
            "create_revision": 2, "mod_revision": 3, "version": 2, "revision": 3,
        })
    );
    fixture.stop().await;
}

async fn keys_and_values_are_any_bytes_and_json_says_when_they_are_base64(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/a/b%20c%2F%FF", [0xFF, 0x00, 0x01]).await;
    let (json, _) = http.get("/v1/kv/a/b%20c/%ff").await.json_and_revision();
    assert_eq!(json["key"], "YS9iIGMv/w==");
    assert_eq!(json["key_encoding"], "base64");
    assert_eq!((&json["value"], &json["value_encoding"]), (&json!("/wAB"), &json!("base64")));
    assert_eq!(http.get("/v1/kv/a/b%20c/%ff?raw").await.body, [0xFF, 0x00, 0x01]);
    // A plus in a path is a plus.
    http.put("/v1/kv/a+b", "").await;
    let (json, _) = http.get("/v1/kv/a%2Bb").await.json_and_revision();
    assert_eq!((json["key"].as_str(), json["value"].as_str()), (Some("a+b"), Some("")));
    assert!(json.get("value_encoding").is_none());
    fixture.stop().await;
}

async fn raw_is_the_bytes_alone_with_a_tag_that_saves_sending_them_again(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "line\n").await;
    let raw = http.get("/v1/kv/k?raw").await;
    assert_eq!((raw.status, &raw.body[..]), (200, &b"line\n"[..]));
    assert_eq!(raw.header("etag"), Some("\"2\""));
    assert_eq!(raw.header("duorum-revision"), Some("2"));
    assert_eq!(raw.header("content-type"), Some("application/octet-stream"));
    for (tag, status) in
        [("\"2\"", 304), ("W/\"2\"", 304), ("\"1\", \"2\"", 304), ("*", 304), ("\"1\"", 200)]
    {
        let answer = http.send("GET", "/v1/kv/k?raw", &[("if-none-match", tag)], b"").await;
        assert_eq!(answer.status, status, "{tag}");
        assert_eq!(answer.body.is_empty(), status == 304, "{tag}");
        answer.assert_signed();
    }
    http.put("/v1/kv/k", "other").await;
    let changed = http.send("GET", "/v1/kv/k?raw", &[("if-none-match", "\"2\"")], b"").await;
    assert_eq!((changed.status, &changed.body[..]), (200, &b"other"[..]));
    fixture.stop().await;
}

async fn head_is_get_without_the_body(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "value").await;
    let head = http.send("HEAD", "/v1/kv/k?raw", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("5"));
    assert_eq!(head.header("etag"), Some("\"2\""));
    assert_eq!(http.send("HEAD", "/v1/kv/none", &[], b"").await.status, 404);
    fixture.stop().await;
}

async fn the_past_stays_readable_until_it_is_compacted(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "one").await;
    http.put("/v1/kv/k", "two").await;
    http.delete("/v1/kv/k").await;
    let value = async |revision: u64| {
        let answer = http.get(&format!("/v1/kv/k?revision={revision}")).await;
        (answer.status, answer.json()["value"].as_str().map(str::to_owned))
    };
    assert_eq!(value(2).await, (200, Some("one".into())));
    assert_eq!(value(3).await, (200, Some("two".into())));
    assert_eq!(value(4).await, (404, None));
    let future = http.get("/v1/kv/k?revision=5").await;
    future.assert_error(400, "future_revision", "the current one is 4");
    let compacted = http.post("/v1/compact", "{\"revision\": 3}").await;
    assert_eq!(compacted.json(), json!({"compact_revision": 3, "revision": 4}));
    assert_eq!(value(3).await, (200, Some("two".into())));
    let gone = http.get("/v1/kv/k?revision=2").await;
    let json = gone.assert_error(410, "compacted", "revision 2 was compacted");
    assert_eq!(json["compact_revision"], 3);
    fixture.stop().await;
}

async fn compaction_goes_forward_and_not_into_the_future(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 3).await;
    http.post("/v1/compact", "{\"revision\": 5}").await.assert_error(
        400,
        "future_revision",
        "the current one is 4",
    );
    assert_eq!(http.post("/v1/compact", "{\"revision\": 3}").await.status, 200);
    let again = http.post("/v1/compact", "{\"revision\": 3}").await;
    assert_eq!(again.assert_error(410, "compacted", "compacted already")["compact_revision"], 3);
    fixture.stop().await;
}

async fn deleting_counts_what_was_there_and_nothing_makes_no_revision(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("jobs/", 3).await;
    http.put("/v1/kv/other", "x").await;
    assert_eq!(http.delete("/v1/kv/none").await.json(), json!({"deleted": 0, "revision": 5}));
    assert_eq!(
        http.delete("/v1/kv/other?prev").await.json(),
        json!({
            "deleted": 1,
            "prev": {"key": "other", "value": "x", "create_revision": 5, "mod_revision": 5, "version": 1},
            "revision": 6,
        })
    );
    assert_eq!(
        http.delete("/v1/kv/other?prev").await.json(),
        json!({"deleted": 0, "prev": null, "revision": 6})
    );
    let many = http.delete("/v1/kv?from=jobs/1&to=jobs/9&prev").await.json();
    assert_eq!((&many["deleted"], &many["revision"]), (&json!(2), &json!(7)));
    assert_eq!(many["prev_kvs"][1]["value"], "v2");
    assert_eq!(http.delete("/v1/kv?prefix=").await.json(), json!({"deleted": 1, "revision": 8}));
    fixture.stop().await;
}

async fn every_consistency_reads_what_was_acknowledged_before(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "v").await;
    for word in ["linearizable", "sync", "local"] {
        let (json, _) =
            http.get(&format!("/v1/kv/k?consistency={word}&timeout=2s")).await.json_and_revision();
        assert_eq!(json["value"], "v", "{word}");
    }
    fixture.stop().await;
}

/// Ten values of a megabyte: more than an answer holds.
#[tokio::test]
async fn what_was_deleted_is_told_up_to_a_bound_and_the_rest_is_counted() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    for number in 0..10 {
        let value = vec![b'x'; 1_000_000];
        assert_eq!(http.put(&format!("/v1/kv/large/{number}"), value).await.status, 201);
    }
    let answer = http.delete("/v1/kv?prefix=large/&prev").await;
    assert_eq!(answer.status, 200);
    let (json, revision) = answer.json_and_revision();
    assert_eq!((&json["deleted"], revision), (&json!(10), 12));
    let told = json["prev_kvs"].as_array().expect("a list").len();
    let unavailable = &json["prev_unavailable"];
    assert_eq!(unavailable["reason"], "too_large");
    assert_eq!(unavailable["count"].as_u64(), Some(10 - told as u64));
    assert!((1..10).contains(&told), "{told} were told");
    assert!(unavailable["message"].as_str().is_some_and(|text| text.contains("was done")));
    http.get("/v1/kv/large/0").await.assert_error(404, "key_not_found", "large/0");
    fixture.stop().await;
}

/// There is room for no answer of this size, but the write is done and said to be.
#[tokio::test]
async fn a_write_whose_previous_value_can_not_be_told_is_a_success() {
    let fixture = Fixture::start_with(|config| {
        config.limits.value_bytes_max = 16 << 20;
        config.limits.answer_bytes_max = 1 << 20;
    })
    .await;
    let http = &fixture.http;
    // Somebody asks for more than the sockets hold, and does not take it.
    assert_eq!(http.put("/v1/kv/large", vec![b'x'; 16 << 20]).await.status, 201);
    let mut idler = http.connect().await;
    idler.write_all(b"GET /v1/kv/large?raw HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    idler.read_exact(&mut [0; 15]).await.expect("an answer begins");
    let large = || vec![b'x'; 100_000];
    assert_eq!(http.put("/v1/kv/k?prev", large()).await.json()["prev"], json!(null));
    let replaced = http.put("/v1/kv/k?prev", large()).await;
    let (json, revision) = replaced.json_and_revision();
    assert_eq!((replaced.status, revision, &json["created"]), (200, 4, &json!(false)));
    assert_eq!((&json["prev_unavailable"]["count"], json.get("prev")), (&json!(1), None));
    let deleted = http.delete("/v1/kv/k?prev").await;
    let (json, revision) = deleted.json_and_revision();
    assert_eq!((deleted.status, revision, &json["deleted"]), (200, 5, &json!(1)));
    assert_eq!((&json["prev_unavailable"]["count"], json.get("prev")), (&json!(1), None));
    assert_eq!(json["prev_unavailable"]["reason"], "overloaded");
    drop(idler);
    fixture.stop().await;
}

super::on_every_protocol!(
    a_value_is_stored_as_it_is_and_read_back_with_its_numbers,
    keys_and_values_are_any_bytes_and_json_says_when_they_are_base64,
    raw_is_the_bytes_alone_with_a_tag_that_saves_sending_them_again,
    head_is_get_without_the_body,
    the_past_stays_readable_until_it_is_compacted,
    compaction_goes_forward_and_not_into_the_future,
    deleting_counts_what_was_there_and_nothing_makes_no_revision,
    every_consistency_reads_what_was_acknowledged_before,
);
