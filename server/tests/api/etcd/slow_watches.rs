//! Watch: a client that does not read, while history is compacted away.

use serde_json::json;

use super::Fixture;
use super::support::{base64, events, number, revision};

/// Together more than the buffers of two sockets hold: 4 MiB on the way out, and next to nothing where a
/// client has asked for that.
const PUTS: usize = 12;
const VALUE_BYTES: usize = 1_400_000;

async fn a_live_watch_that_falls_behind_compaction_is_told_so_and_nothing_wrong_before(
    fixture: Fixture,
) {
    let all = fixture.all();
    let mut slow = Vec::new();
    for http in &all {
        http.catch_up().await;
        let create = json!({"create_request": {"key": base64("k")}});
        let mut stream = http.open_slowly("watch", &create.to_string()).await;
        assert_eq!(stream.next().await["created"], true);
        slow.push(stream);
    }
    // They are live: what happens is told.
    let first = revision(&all[0].put_text("k", "small").await);
    for stream in &mut slow {
        assert_eq!(stream.events(0).await, [("PUT", "k".to_owned(), first)]);
    }
    let value = base64(vec![b'v'; VALUE_BYTES]);
    let mut last = first;
    for _ in 0..PUTS {
        let put = json!({"key": base64("k"), "value": value});
        last = revision(&all[0].ok("kv/put", &put).await);
    }
    assert_eq!(last, first + PUTS as i64, "who does not read holds up no write");
    all[0].ok("kv/compaction", &json!({"revision": last})).await;
    for http in &all {
        http.catch_up().await;
    }
    for (http, stream) in all.iter().zip(&mut slow) {
        let mut told = first;
        let canceled = loop {
            let result = stream.next().await;
            if result.get("canceled").is_some() {
                break result;
            }
            for (_, _, at) in events(&result) {
                assert_eq!(at, told + 1, "each once, in order");
                told = at;
            }
        };
        assert!(told < last, "some of it was compacted before it was told: {told} of {last}");
        assert_eq!(canceled["canceled"], true);
        assert_eq!(number(&canceled["compact_revision"]), last);
        assert_eq!((canceled["header"].get("revision"), canceled.get("events")), (None, None));
        // The stream goes on, and so can the client, from the revision that it was told.
        let again = json!({"create_request": {"key": base64("k"), "start_revision": last}});
        stream.send(&again.to_string()).await;
        let created = stream.next().await;
        assert_eq!((&created["created"], &created["watch_id"]), (&json!(true), &json!("1")));
        assert_eq!(stream.events(1).await, [("PUT", "k".to_owned(), last)]);
        assert_eq!(http.catch_up().await, last);
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    a_live_watch_that_falls_behind_compaction_is_told_so_and_nothing_wrong_before
);
