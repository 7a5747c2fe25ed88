//! History that is retained for a time, and no longer, without anybody writing or asking.

use std::time::{Duration, Instant};

use super::Fixture;

const RETAINED: Duration = Duration::from_millis(400);

#[tokio::test]
async fn what_was_readable_long_ago_is_forgotten_and_what_is_recent_is_not() {
    let fixture = Fixture::start_with(|config| {
        config.node.retain_revisions = None;
        config.node.retain_for = Some(RETAINED);
    })
    .await;
    let http = &fixture.http;
    let began = Instant::now();
    for number in 1..=20 {
        assert!(http.put("/v1/kv/k", &format!("{number}")).await.status < 300);
    }
    let compacted = async || {
        let status = http.get("/v1/status").await.json();
        status["compact_revision"].as_u64().expect("a number")
    };
    while compacted().await < 21 {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing is forgotten");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() >= RETAINED, "what was just stored is forgotten");
    http.get("/v1/kv/k?revision=20").await.assert_error(410, "compacted", "revision 20");
    assert_eq!(http.get("/v1/kv/k?revision=21").await.json()["value"], "20");
    fixture.stop().await;
}
