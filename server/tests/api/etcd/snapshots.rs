//! Snapshots, in our own format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes};
use consensus::codec::Wire as _;
use kvcore::snapshot::Rows;
use kvcore::store::{Row, StoreState};
use serde_json::json;

use super::Fixture;
use super::support::{base64, number, revision};

/// The contents of the frames of a snapshot.
fn contents(mut snapshot: Bytes) -> Vec<Bytes> {
    assert_eq!(&snapshot.split_to(18)[..], b"duorum snapshot 2\n");
    let mut contents = Vec::new();
    while !snapshot.is_empty() {
        let (length, checksum) = (snapshot.get_u32_le(), snapshot.get_u32_le());
        let content = snapshot.split_to(length as usize);
        assert_eq!(crc32fast::hash(&content), checksum);
        contents.push(content);
    }
    contents
}

async fn a_snapshot_has_every_row_and_the_state_that_goes_with_them(fixture: Fixture) {
    let value = "v".repeat(5000);
    for key in 0..50 {
        fixture.http.put_text(&format!("k{key:02}"), &value).await;
    }
    fixture.http.ok("kv/deleterange", &json!({"key": base64("k07")})).await;
    for http in fixture.all() {
        let now = http.catch_up().await;
        let mut stream = http.open("maintenance/snapshot", "{}").await;
        stream.end_body().await;
        let (mut snapshot, mut left) = (Vec::new(), u64::MAX);
        while let Some(line) = stream.line().await {
            let result = &line["result"];
            assert_eq!(revision(result), now, "{line}");
            let blob = STANDARD.decode(result["blob"].as_str().expect("a blob")).expect("base64");
            assert!(blob.len() <= 32 << 10);
            snapshot.extend_from_slice(&blob);
            left = number(&result["remaining_bytes"]).unsigned_abs();
        }
        assert_eq!(left, 0, "the last one says so");
        let mut contents = contents(snapshot.into());
        let mut state = contents.remove(0);
        assert_eq!(state.get_u8(), 1);
        let state = StoreState::decode(&mut state).expect("a state");
        assert_eq!(state.revision.0, now.unsigned_abs());
        let mut end = contents.pop().expect("an end");
        assert_eq!((end.get_u8(), end.get_u64_le(), end.remaining()), (4, 51, 0));
        let mut rows: Vec<Row> = Vec::new();
        for mut content in contents {
            assert_eq!(content.get_u8(), 2);
            let portion = Rows::decode(&mut content).expect("rows");
            rows.extend(portion.0.into_iter().map(|(_, row)| row));
        }
        assert_eq!(rows.len(), 51);
        let deletions: Vec<_> = rows.iter().filter(|row| row.value.is_none()).collect();
        assert!(deletions.len() == 1 && deletions[0].key == "k07");
    }
    fixture.stop().await;
}

super::on_every_protocol!(a_snapshot_has_every_row_and_the_state_that_goes_with_them);
