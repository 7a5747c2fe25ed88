//! Ranges that are longer than what a node holds of one.

use serde_json::json;

use super::Fixture;
use super::support::{base64, keys, number};

/// Enough that an answer is sent in pieces.
const KEYS: usize = 300;

async fn fill(fixture: &Fixture) {
    let value = "v".repeat(8000);
    for key in 0..KEYS {
        fixture.http.put_text(&format!("k{key:04}"), &value).await;
    }
}

async fn a_long_range_is_of_one_moment_and_has_every_key_once(fixture: Fixture) {
    fill(&fixture).await;
    let expected: Vec<_> = (0..KEYS).map(|key| format!("k{key:04}")).collect();
    for http in fixture.all() {
        let found = http.range_text("k", "l", json!({})).await;
        assert_eq!((keys(&found), number(&found["count"])), (expected.clone(), KEYS as i64));
        assert_eq!(found.get("more"), None);
        let descending = json!({"sort_order": "DESCEND", "limit": KEYS - 1});
        let mut found = keys(&http.range_text("k", "l", descending).await);
        found.reverse();
        assert_eq!(found, expected[1..]);
        let bounded = json!({"min_mod_revision": 12, "limit": KEYS - 20});
        let found = http.range_text("k", "l", bounded).await;
        assert_eq!(keys(&found), expected[10..KEYS - 10]);
        assert_eq!((&found["more"], number(&found["count"])), (&json!(true), KEYS as i64));
        let bounded = json!({"min_mod_revision": 12, "limit": KEYS - 10});
        let found = http.range_text("k", "l", bounded).await;
        assert_eq!((keys(&found).len(), found.get("more")), (KEYS - 10, None));
    }
    fixture.stop().await;
}

async fn what_is_written_while_a_long_range_is_sent_is_not_in_it(fixture: Fixture) {
    fill(&fixture).await;
    let http = &fixture.http;
    let request = json!({"key": base64("k"), "range_end": base64("l")}).to_string();
    let mut range = http.open("kv/range", &request).await;
    range.end_body().await;
    assert_eq!(range.head().await.header("content-length"), None, "it is sent in pieces");
    http.ok("kv/deleterange", &json!({"key": base64("k"), "range_end": base64("l")})).await;
    let mut body = Vec::new();
    while let Some(piece) = range.chunk().await {
        assert!(piece.len() < 2 << 20, "a piece has {} bytes", piece.len());
        body.extend_from_slice(&piece);
    }
    let found: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(keys(&found).len(), KEYS);
    fixture.stop().await;
}

super::on_every_protocol!(
    a_long_range_is_of_one_moment_and_has_every_key_once,
    what_is_written_while_a_long_range_is_sent_is_not_in_it,
);
