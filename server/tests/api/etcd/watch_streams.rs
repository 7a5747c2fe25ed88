//! Watch: many watches on one stream.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use consensus::Protocol;
use serde_json::json;
use server::config::ServeConfig;

use super::Fixture;
use super::support::{base64, events, hand_over, number, revision};

fn create(key: &str, more: serde_json::Value) -> String {
    let mut create = json!({"key": base64(key)});
    let fields = create.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("options").clone());
    json!({"create_request": create}).to_string()
}

async fn each_watch_has_a_number_of_its_own_that_clients_may_choose(fixture: Fixture) {
    for http in fixture.all() {
        let mut stream = http.watch(json!({"key": base64("k"), "watch_id": 7})).await;
        for (watch_id, given) in [(0, None), (1, Some("1")), (0, Some("2")), (-9, Some("-9"))] {
            stream.send(&create("k", json!({"watch_id": watch_id}))).await;
            let created = stream.next().await;
            assert_eq!((created["watch_id"].as_str(), created.get("canceled")), (given, None));
        }
        for taken in [7, 2, -1] {
            stream.send(&create("k", json!({"watch_id": taken}))).await;
            let refused = stream.next().await;
            assert_eq!(refused["watch_id"], "-1");
            assert_eq!((&refused["created"], &refused["canceled"]), (&json!(true), &json!(true)));
            let reason = "mvcc: duplicate watch ID provided on the WatchStream";
            assert_eq!(refused["cancel_reason"], reason);
        }
    }
    fixture.stop().await;
}

async fn a_canceled_watch_is_silent_and_an_unknown_one_is_no_matter(fixture: Fixture) {
    for http in fixture.all() {
        let mut stream = http.watch(json!({"key": base64("k")})).await;
        stream.send(&create("k", json!({}))).await;
        assert_eq!(stream.next().await["watch_id"], "1");
        for unknown in [5, -1] {
            stream.send(&json!({"cancel_request": {"watch_id": unknown}}).to_string()).await;
        }
        stream.send("{\"cancel_request\":{}}").await;
        let canceled = stream.next().await;
        assert_eq!((canceled.get("watch_id"), &canceled["canceled"]), (None, &json!(true)));
        assert!(revision(&canceled) > 0);
        http.put_text("k", "v").await;
        assert_eq!(stream.events(1).await.len(), 1);
        stream.assert_silent().await;
        // Its number is free again, for whoever asks for it.
        stream.send("{\"cancel_request\":{\"watchId\":\"1\"}}").await;
        assert_eq!(stream.next().await["watch_id"], "1");
        stream.send(&create("k", json!({"watch_id": 1}))).await;
        assert_eq!(stream.next().await["created"], true);
    }
    fixture.stop().await;
}

async fn a_progress_request_is_answered_when_everything_is_told(fixture: Fixture) {
    for http in fixture.all() {
        let mut stream = http.watch(json!({"key": base64("k")})).await;
        let now = revision(&http.put_text("other", "v").await);
        http.catch_up().await;
        stream.send("{\"progress_request\":{}}").await;
        let progress = stream.next().await;
        assert_eq!((progress["watch_id"].as_str(), revision(&progress)), (Some("-1"), now));
        assert_eq!(progress.get("events"), None);
        // Not before the events that it is about.
        let past = json!({"start_revision": 2, "range_end": base64("\0")});
        stream.send(&(create("a", past) + "{\"progressRequest\":{}}")).await;
        assert_eq!(stream.next().await["created"], true);
        let mut last = 0;
        let progress = loop {
            let result = stream.next().await;
            if result["watch_id"] == "-1" {
                break result;
            }
            last = events(&result).last().expect("an event").2;
        };
        assert_eq!((last, revision(&progress)), (now, now));
        // Nor for a watch of which nothing can be said yet.
        stream.send(&create("k", json!({"start_revision": now + 2}))).await;
        stream.next().await;
        stream.send("{\"progress_request\":{}}").await;
        stream.assert_silent().await;
        http.put_text("zzz", "v").await;
        assert_eq!(stream.events(1).await, [("PUT", "zzz".to_owned(), now + 1)]);
        let progress = stream.next().await;
        assert_eq!((progress["watch_id"].as_str(), revision(&progress)), (Some("-1"), now + 1));
    }
    fixture.stop().await;
}

/// A watch that asks for it is told from time to time that nothing happened, and only while that is so.
async fn a_quiet_watch_is_told_that_nothing_happened(protocol: Protocol) {
    let interval = Duration::from_millis(300);
    let shorter = |config: &mut ServeConfig| config.limits.watch_progress_interval = interval;
    let fixture = Fixture::start_on_with(protocol, shorter).await;
    for http in fixture.all() {
        let create = json!({"key": base64("k"), "progress_notify": true, "watch_id": 5});
        let mut stream = http.watch(create).await;
        stream.send("{\"create_request\":{\"key\":\"aw==\"}}").await;
        // On a slow machine the first progress may come before.
        while stream.next().await["created"] != true {}
        let now = revision(&http.put_text("other", "v").await);
        let progress = stream.next().await;
        assert_eq!((progress["watch_id"].as_str(), progress.get("events")), (Some("5"), None));
        assert!(revision(&progress) <= now);
        // Who was told something just now is not.
        let began = Instant::now();
        http.put_text("k", "v").await;
        let mut told = Vec::new();
        while told.len() < 2 {
            let result = stream.next().await;
            if result.get("events").is_some() {
                told.push(number(&result["watch_id"]));
            }
        }
        assert_eq!(told, [0, 5]);
        assert_eq!(stream.next().await["watch_id"], "5");
        assert!(began.elapsed() > interval, "{:?}", began.elapsed());
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_quiet_watch_is_told_that_nothing_happened_on_null() {
    a_quiet_watch_is_told_that_nothing_happened(Protocol::Null).await;
}

#[tokio::test]
async fn a_quiet_watch_is_told_that_nothing_happened_on_raft() {
    a_quiet_watch_is_told_that_nothing_happened(Protocol::Raft).await;
}

#[tokio::test]
async fn a_quiet_watch_is_told_that_nothing_happened_on_zab() {
    a_quiet_watch_is_told_that_nothing_happened(Protocol::Zab).await;
}

async fn many_watches_on_one_stream_are_told_everything_once_and_in_order(fixture: Fixture) {
    const WATCHES: i64 = 60;
    const PUTS: usize = 40;
    for http in fixture.all() {
        let begin = http.catch_up().await;
        let mut stream = http.watch(json!({"key": base64("k0")})).await;
        let mut requests = String::new();
        for id in 1..WATCHES {
            // Some from now on, some from the past, some of one key and some of many.
            let more = match id % 4 {
                0 => json!({}),
                1 => json!({"start_revision": begin + 1}),
                2 => json!({"range_end": base64("l")}),
                _ => json!({"range_end": base64("l"), "start_revision": begin + 1}),
            };
            requests.push_str(&create(&format!("k{}", id % 8), more));
        }
        stream.send(&requests).await;
        for id in 1..WATCHES {
            let created = stream.next().await;
            assert_eq!((number(&created["watch_id"]), &created["created"]), (id, &json!(true)));
        }
        let keys: Vec<String> = (0..PUTS).map(|put| format!("k{}", put % 8)).collect();
        for key in &keys {
            http.put_text(key, "v").await;
        }
        let wanted = |id: i64| {
            let own = format!("k{}", id % 8);
            let is_wanted = |key: &str| if id % 4 < 2 { key == own } else { key >= &own[..] };
            let numbered = (begin + 1..).zip(&keys).filter(|(_, key)| is_wanted(key));
            numbered.map(|(at, key)| ("PUT", key.clone(), at)).collect::<Vec<_>>()
        };
        let expected: BTreeMap<i64, _> = (0..WATCHES).map(|id| (id, wanted(id))).collect();
        let mut left: usize = expected.values().map(Vec::len).sum();
        let mut seen: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        while left > 0 {
            let result = stream.next().await;
            let events = events(&result);
            left = left.checked_sub(events.len()).expect("nothing is told twice");
            seen.entry(number(&result["watch_id"])).or_default().extend(events);
        }
        assert_eq!(seen, expected);
        stream.assert_silent().await;
    }
    fixture.stop().await;
}

/// A watch at a node goes on over a change of leadership, without loss or repetition.
async fn over_a_change_of_leaders(protocol: Protocol) {
    let fixture = Fixture::start_on(protocol).await;
    let all = fixture.all();
    let mut streams = Vec::new();
    for http in &all {
        streams.push(http.watch(json!({"key": base64("k")})).await);
    }
    let mut expected = Vec::new();
    for (id, http) in (1..).zip(&all) {
        expected.push(revision(&http.put_text("k", "before").await));
        hand_over(http, id % all.len() as u64 + 1).await;
        expected.push(revision(&http.put_text("k", "after").await));
    }
    for stream in &mut streams {
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            seen.extend(stream.events(0).await.into_iter().map(|event| event.2));
        }
        assert_eq!(seen, expected);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_watch_outlives_a_leader_on_raft() {
    over_a_change_of_leaders(Protocol::Raft).await;
}

#[tokio::test]
async fn a_watch_outlives_a_leader_on_zab() {
    over_a_change_of_leaders(Protocol::Zab).await;
}

super::on_every_protocol!(
    each_watch_has_a_number_of_its_own_that_clients_may_choose,
    a_canceled_watch_is_silent_and_an_unknown_one_is_no_matter,
    a_progress_request_is_answered_when_everything_is_told,
    many_watches_on_one_stream_are_told_everything_once_and_in_order,
);
