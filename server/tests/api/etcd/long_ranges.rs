//! Ranges that are longer than what a node holds of one.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::client::read_to_end;
use super::Fixture;
use super::support::{base64, keys, number, revision};

/// Enough that an answer is sent in pieces.
const KEYS: usize = 300;

/// Together far more than what is under way to a client that does not read: 4 MiB in the buffers of the
/// sockets, and a few keys in those of the server.
const LARGE_KEYS: usize = 12;
const LARGE_BYTES: usize = 1_400_000;

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
    let request = json!({"key": base64("k"), "range_end": base64("l")});
    let mut ranges = Vec::new();
    for http in fixture.all() {
        let mut range = http.open("kv/range", &request.to_string()).await;
        range.end_body().await;
        assert_eq!(range.head().await.header("content-length"), None, "it is sent in pieces");
        ranges.push(range);
    }
    fixture.http.ok("kv/deleterange", &request).await;
    for http in fixture.all() {
        assert_eq!(number(&http.ok("kv/range", &request).await["count"]), 0);
    }
    for mut range in ranges {
        let mut body = Vec::new();
        while let Some(piece) = range.chunk().await {
            assert!(piece.len() < 2 << 20, "a piece has {} bytes", piece.len());
            body.extend_from_slice(&piece);
        }
        let found: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(keys(&found).len(), KEYS);
    }
    fixture.stop().await;
}

/// So nobody takes the half of it for a whole answer, which has an end.
async fn a_long_range_whose_revision_is_compacted_while_it_is_sent_ends_within_the_answer(
    fixture: Fixture,
) {
    let value = "v".repeat(LARGE_BYTES);
    for key in 0..LARGE_KEYS {
        fixture.http.put_text(&format!("k{key:04}"), &value).await;
    }
    let body = json!({"key": base64("k"), "range_end": base64("l")}).to_string();
    let request = format!(
        "POST /v3/kv/range HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for http in fixture.all() {
        let mut range = http.connect_with_little_room().await;
        range.write_all(request.as_bytes()).await.expect("sent");
        // Once it has begun it is clear as of which revision it is.
        let mut begun = [0; 15];
        range.read_exact(&mut begun).await.expect("an answer begins");
        assert_eq!(&begun, b"HTTP/1.1 200 OK");
        let last = revision(&http.put_text("other", "").await);
        http.ok("kv/compaction", &json!({"revision": last})).await;
        assert_eq!(http.catch_up().await, last);
        // The client did not ask for it, but the server closes the connection.
        let answer = read_to_end(&mut range).await;
        assert!(!answer.ends_with(b"\r\n0\r\n\r\n"), "the answer has a proper end");
        assert!(answer.len() < LARGE_KEYS * LARGE_BYTES, "all of it was sent");
        let again = http.range_text("k", "l", json!({"keys_only": true})).await;
        assert_eq!(keys(&again).len(), LARGE_KEYS, "who asks again is answered");
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    a_long_range_is_of_one_moment_and_has_every_key_once,
    what_is_written_while_a_long_range_is_sent_is_not_in_it,
    a_long_range_whose_revision_is_compacted_while_it_is_sent_ends_within_the_answer,
);
