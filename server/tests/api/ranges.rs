//! Many keys: selection, order, pages.

use serde_json::{Value, json};

use super::Fixture;
use super::client::Http;

/// The keys of an answer.
fn keys(json: &Value) -> Vec<&str> {
    let list = json["kvs"].as_array().expect("a list");
    list.iter().map(|item| item["key"].as_str().expect("text")).collect()
}

async fn range(http: &Http, query: &str) -> Value {
    let answer = http.get(&format!("/v1/kv{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

async fn keys_are_selected_by_prefix_or_by_their_ends(fixture: Fixture) {
    let http = &fixture.http;
    for key in ["a", "b", "b/1", "b/2", "b0", "c"] {
        http.put(&format!("/v1/kv/{key}"), key).await;
    }
    for (query, expected) in [
        ("", vec!["a", "b", "b/1", "b/2", "b0", "c"]),
        ("?prefix=", vec!["a", "b", "b/1", "b/2", "b0", "c"]),
        ("?prefix=b", vec!["b", "b/1", "b/2", "b0"]),
        ("?prefix=b/", vec!["b/1", "b/2"]),
        ("?prefix=none", vec![]),
        ("?from=b/2", vec!["b/2", "b0", "c"]),
        ("?to=b/1", vec!["a", "b"]),
        ("?from=b&to=b0", vec!["b", "b/1", "b/2"]),
        ("?from=c&to=c", vec![]),
        ("?from=d&to=b", vec![]),
        ("?prefix=b&order=desc", vec!["b0", "b/2", "b/1", "b"]),
    ] {
        let json = range(http, query).await;
        assert_eq!(keys(&json), expected, "{query}");
        assert_eq!(json["count"], expected.len(), "{query}");
        assert_eq!((&json["more"], &json["revision"]), (&json!(false), &json!(7)), "{query}");
        assert!(json.get("next").is_none(), "{query}");
    }
    fixture.stop().await;
}

async fn the_limit_counts_after_sorting(fixture: Fixture) {
    let http = &fixture.http;
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("a", "9")] {
        http.put(&format!("/v1/kv/{key}"), value).await;
    }
    for (query, expected) in [
        ("?sort=value&limit=2", ["b", "c"]),
        ("?sort=value&order=desc&limit=2", ["a", "c"]),
        ("?sort=version&order=desc&limit=2", ["a", "c"]),
        ("?sort=mod_revision&limit=2", ["b", "c"]),
        ("?sort=create_revision&order=desc&limit=2", ["c", "b"]),
    ] {
        let json = range(http, query).await;
        assert_eq!(keys(&json), expected, "{query}");
        assert_eq!((&json["count"], &json["more"]), (&json!(3), &json!(true)), "{query}");
        assert!(json.get("next").is_none(), "only an order by key has a next page");
    }
    fixture.stop().await;
}

async fn pages_together_are_the_keys_of_one_moment(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 10).await;
    for order in ["asc", "desc"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let json = range(http, &format!("?prefix=k&limit=3&order={order}{cursor}")).await;
            assert_eq!(json["count"], 10 - seen.len(), "what is left, from the cursor on");
            seen.extend(keys(&json).into_iter().map(str::to_owned));
            // Writes between the pages change nothing.
            http.put(&format!("/v1/kv/k{}x", seen.len()), "new").await;
            http.delete("/v1/kv/k9").await;
            let Some(next) = json["next"].as_str() else { break };
            assert_eq!(json["more"], true);
            cursor = format!("&cursor={next}");
        }
        let mut expected: Vec<String> = (0..10).map(|number| format!("k{number}")).collect();
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!(seen, expected);
        http.delete("/v1/kv?prefix=").await;
        http.fill("k", 10).await;
    }
    fixture.stop().await;
}

async fn the_past_can_be_listed_and_a_page_of_a_compacted_moment_says_so(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 3).await;
    let page = range(http, "?limit=1").await;
    let next = page["next"].as_str().expect("another page").to_owned();
    http.delete("/v1/kv?prefix=").await;
    let past = range(http, "?revision=3").await;
    assert_eq!(keys(&past), ["k0", "k1"]);
    assert_eq!(past["revision"], 5, "the store's revision, not the one that was read");
    http.post("/v1/compact", "{\"revision\": 5}").await;
    let gone = http.get(&format!("/v1/kv?limit=1&cursor={next}")).await;
    assert_eq!(gone.assert_error(410, "compacted", "revision 4")["compact_revision"], 5);
    fixture.stop().await;
}

async fn values_can_be_left_out_and_so_can_keys(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 3).await;
    let json = range(http, "?keys_only&limit=1").await;
    assert_eq!(
        json["kvs"],
        json!([{"key": "k0", "create_revision": 2, "mod_revision": 2, "version": 1}])
    );
    let json = range(http, "?count_only&limit=1").await;
    assert_eq!(json, json!({"kvs": [], "count": 3, "more": false, "revision": 4}));
    fixture.stop().await;
}

/// Writes the keys `k00000`, `k00001`, …, a hundred at a time.
async fn put_numbered(http: Http, hundreds: u64) {
    for hundred in 0..hundreds {
        let writes = (0..100).map(|number| {
            tokio::spawn(async move {
                http.put(&format!("/v1/kv/k{:05}", hundred * 100 + number), "v").await.status
            })
        });
        for write in writes.collect::<Vec<_>>() {
            assert_eq!(write.await.expect("a task"), 201);
        }
    }
}

#[tokio::test]
async fn a_large_range_is_whole_while_others_write() {
    let fixture = Fixture::start().await;
    let http = fixture.http;
    put_numbered(http, 50).await;
    let writer = tokio::spawn(async move {
        for _ in 0..50 {
            http.put("/v1/kv/k00000", "w").await;
        }
    });
    let json = range(&http, "?prefix=k&limit=10000").await;
    assert_eq!(keys(&json).len(), 5000);
    assert_eq!(json["count"], 5000);
    assert!(keys(&json).is_sorted());
    writer.await.expect("a task");
    fixture.stop().await;
}

#[tokio::test]
async fn a_page_of_large_values_ends_before_the_node_does() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    let value = "x".repeat(1 << 20);
    for number in 0..20 {
        assert_eq!(http.put(&format!("/v1/kv/k{number:02}"), &value).await.status, 201);
    }
    let mut seen = 0;
    let mut cursor = String::new();
    loop {
        let json = range(http, &format!("?prefix=k{cursor}")).await;
        assert!(keys(&json).len() <= 8, "{} keys in a page", keys(&json).len());
        seen += keys(&json).len();
        let Some(next) = json["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, 20);
    assert_eq!(keys(&range(http, "?prefix=k&sort=value&keys_only").await).len(), 8);
    fixture.stop().await;
}

super::on_every_protocol!(
    keys_are_selected_by_prefix_or_by_their_ends,
    the_limit_counts_after_sorting,
    pages_together_are_the_keys_of_one_moment,
    the_past_can_be_listed_and_a_page_of_a_compacted_moment_says_so,
    values_can_be_left_out_and_so_can_keys,
);

#[tokio::test]
async fn a_range_of_too_many_keys_is_deleted_in_smaller_ones() {
    let fixture = Fixture::start().await;
    let http = fixture.http;
    put_numbered(http, 101).await;
    let refused = http.delete("/v1/kv?prefix=k").await;
    refused.assert_error(413, "deletion_too_large", "more than 10000 keys");
    assert_eq!(range(&http, "?count_only").await["count"], 10_100, "nothing was deleted");
    let deleted = http.delete("/v1/kv?from=k00100&to=l").await;
    assert_eq!(deleted.json()["deleted"], 10_000);
    fixture.stop().await;
}
