//! Watches: ordered, gapless, without repetition, in whole revisions, resumable.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::Fixture;
use super::client::{Http, Lines};

const A_WHILE: Duration = Duration::from_millis(200);

/// The `(type, key)` of each event of a line.
fn events(line: &Value) -> Vec<(&str, &str)> {
    let list = line["events"].as_array().unwrap_or_else(|| panic!("no events in {line}"));
    list.iter()
        .map(|event| {
            (event["type"].as_str().expect("a type"), event["kv"]["key"].as_str().expect("a key"))
        })
        .collect()
}

async fn a_watch_begins_now_and_tells_every_change_once_in_whole_revisions(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/jobs/0", "before").await;
    let mut watch = http.stream("/v1/watch?prefix=jobs/", &[]).await;
    assert_eq!(watch.json().await, json!({"revision": 2, "started": true}));
    http.put("/v1/kv/jobs/1", "a").await;
    http.put("/v1/kv/other", "x").await;
    http.put("/v1/kv/jobs/1", "b").await;
    http.delete("/v1/kv?prefix=jobs/").await;
    assert_eq!(
        watch.json().await,
        json!({"revision": 3, "events": [{"type": "put", "kv": {
            "key": "jobs/1", "value": "a", "create_revision": 3, "mod_revision": 3, "version": 1,
        }}]})
    );
    let second = watch.json().await;
    assert_eq!((second["revision"].as_u64(), events(&second)), (Some(5), vec![("put", "jobs/1")]));
    assert_eq!(
        watch.json().await,
        json!({"revision": 6, "events": [
            {"type": "delete", "kv": {"key": "jobs/0", "mod_revision": 6}},
            {"type": "delete", "kv": {"key": "jobs/1", "mod_revision": 6}},
        ]})
    );
    watch.assert_silent(A_WHILE).await;
    fixture.stop().await;
}

async fn a_watch_can_begin_in_the_past_and_goes_on_into_the_present(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 5).await;
    let mut watch = http.stream("/v1/watch?from_revision=4", &[]).await;
    assert_eq!(watch.json().await, json!({"revision": 6, "started": true}));
    http.put("/v1/kv/k9", "new").await;
    for (revision, key) in [(4, "k2"), (5, "k3"), (6, "k4"), (7, "k9")] {
        let line = watch.json().await;
        assert_eq!(
            (line["revision"].as_u64(), events(&line)),
            (Some(revision), vec![("put", key)])
        );
    }
    fixture.stop().await;
}

async fn a_watch_from_the_future_waits_and_gets_nothing_earlier(fixture: Fixture) {
    let http = &fixture.http;
    let mut watch = http.stream("/v1/watch?from_revision=4&progress=100ms", &[]).await;
    assert_eq!(watch.json().await["started"], true);
    watch.assert_silent(Duration::from_millis(350)).await;
    http.fill("k", 3).await;
    loop {
        // A bookmark may say first that everything before the future was seen.
        let line = watch.json().await;
        if line["progress"] != true {
            assert_eq!((line["revision"].as_u64(), events(&line)), (Some(4), vec![("put", "k2")]));
            break;
        }
        assert_eq!(line["revision"], 3);
    }
    fixture.stop().await;
}

async fn a_watch_shows_what_it_is_asked_for(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "one").await;
    http.put("/v1/kv/k", "two").await;
    http.delete("/v1/kv/k").await;
    http.put("/v1/kv/kk", "x").await;
    let mut puts = http.stream("/v1/watch?key=k&from_revision=2&filter=put&prev", &[]).await;
    puts.json().await;
    assert!(puts.json().await["events"][0].get("prev").is_none(), "there was nothing before");
    let second = puts.json().await;
    assert_eq!(second["events"][0]["prev"]["value"], "one");
    puts.assert_silent(A_WHILE).await;
    let mut deletes =
        http.stream("/v1/watch?prefix=k&from_revision=2&filter=delete&prev", &[]).await;
    deletes.json().await;
    let line = deletes.json().await;
    assert_eq!(events(&line), [("delete", "k")]);
    assert_eq!(line["events"][0]["prev"]["value"], "two");
    deletes.assert_silent(A_WHILE).await;
    fixture.stop().await;
}

async fn one_shot_watches_of_data_existence_and_children_are_those_of_zookeeper(fixture: Fixture) {
    let http = &fixture.http;
    http.get("/v1/watch?key=a&once=data").await.assert_error(404, "key_not_found", "once=exists");
    http.get("/v1/watch?prefix=a&once=children").await.assert_error(
        400,
        "invalid_parameter",
        "about one key",
    );
    let mut exists = http.stream("/v1/watch?key=a&once=exists", &[]).await;
    assert_eq!(exists.json().await["started"], true);
    http.put("/v1/kv/a", "1").await;
    assert_eq!(events(&exists.json().await), [("put", "a")]);
    assert_eq!(exists.next().await, None);
    let mut data = http.stream("/v1/watch?key=a&once=data", &[]).await;
    let mut children = http.stream("/v1/watch?key=a&once=children", &[]).await;
    assert_eq!(data.json().await["started"], true);
    assert_eq!(children.json().await["started"], true);
    http.put("/v1/kv/a/b/c", "grandchild").await;
    http.put("/v1/kv/a", "2").await;
    let line = data.json().await;
    assert_eq!(events(&line), [("put", "a")]);
    assert_eq!(line["events"][0]["kv"].get("value"), None, "it does not tell what it is now");
    assert_eq!(data.next().await, None);
    http.put("/v1/kv/a/b", "child").await;
    assert_eq!(events(&children.json().await), [("put", "a/b")]);
    assert_eq!(children.next().await, None);
    let mut children = http.stream("/v1/watch?key=a&once=children", &[]).await;
    assert_eq!(children.json().await["started"], true);
    http.put("/v1/kv/a/b", "stored again, which is no news of children").await;
    http.delete("/v1/kv/a/b").await;
    assert_eq!(events(&children.json().await), [("delete", "a/b")]);
    fixture.stop().await;
}

/// Sets a one-shot watch of this kind on `a`.
async fn set(http: &Http, shot: &str) -> Lines {
    let mut watch = http.stream(&format!("/v1/watch?key=a&once={shot}"), &[]).await;
    assert_eq!(watch.json().await["started"], true, "{shot}");
    watch
}

/// Checks that a one-shot watch tells this deletion, and nothing more.
async fn assert_tells_deletion(mut watch: Lines, key: &str, revision: u64) {
    let deletion = json!({"type": "delete", "kv": {"key": key, "mod_revision": revision}});
    assert_eq!(watch.json().await, json!({"revision": revision, "events": [deletion]}));
    assert_eq!(watch.next().await, None);
}

async fn one_shot_watches_tell_deletions_at_every_node(fixture: Fixture) {
    for http in fixture.all() {
        for key in ["a", "a/b", "a/b/c"] {
            assert_eq!(http.put(&format!("/v1/kv/{key}"), "v").await.status, 201);
        }
        let [exists, data] = [set(&http, "exists").await, set(&http, "data").await];
        // Of a child only who waits for children hears, and of a grandchild nobody.
        let children = set(&http, "children").await;
        assert_eq!(http.delete("/v1/kv/a/b/c").await.status, 200);
        let deleted = http.delete("/v1/kv/a/b").await.json_and_revision().1;
        assert_tells_deletion(children, "a/b", deleted).await;
        // Of the key itself all hear, also while it has a child.
        assert_eq!(http.put("/v1/kv/a/b", "v").await.status, 201);
        let children = set(&http, "children").await;
        let deleted = http.delete("/v1/kv/a").await.json_and_revision().1;
        for watch in [exists, data, children] {
            assert_tells_deletion(watch, "a", deleted).await;
        }
        let gone = http.get("/v1/watch?key=a&once=data").await;
        gone.assert_error(404, "key_not_found", "once=exists");
        // When both go in one revision, one of them is told.
        assert_eq!(http.put("/v1/kv/a", "v").await.status, 201);
        let watches =
            [set(&http, "exists").await, set(&http, "data").await, set(&http, "children").await];
        let deleted = http.delete("/v1/kv?prefix=a").await.json_and_revision().1;
        for watch in watches {
            assert_tells_deletion(watch, "a", deleted).await;
        }
    }
    fixture.stop().await;
}

/// Ten times a client sets a one-shot watch and hears of it, and five writes come meanwhile.
async fn what_a_one_shot_watch_misses_and_a_watch_of_revisions_tells_is_counted(fixture: Fixture) {
    const ROUNDS: usize = 10;
    const WRITES: usize = 5;
    let http = &fixture.http;
    let mut all = http.stream("/v1/watch?key=k", &[]).await;
    assert_eq!(all.json().await["started"], true);
    let mut told_once = 0;
    for round in 0..ROUNDS {
        let mut once = http.stream("/v1/watch?key=k&once", &[]).await;
        assert_eq!(once.json().await["started"], true);
        for write in 0..WRITES {
            http.put("/v1/kv/k", &format!("{round}-{write}")).await;
        }
        told_once += events(&once.json().await).len();
        assert_eq!(once.next().await, None);
    }
    let mut told = Vec::new();
    while told.len() < ROUNDS * WRITES {
        let line = all.json().await;
        told.push(line["events"][0]["kv"]["value"].as_str().expect("text").to_owned());
    }
    all.assert_silent(A_WHILE).await;
    assert_eq!((told_once, told.len()), (10, 50), "four of five changes are never heard of");
    let written = (0..ROUNDS).flat_map(|round| (0..WRITES).map(move |it| format!("{round}-{it}")));
    assert!(told.into_iter().eq(written), "each of them once, and in order");
    fixture.stop().await;
}

async fn once_tells_that_something_happened_and_ends(fixture: Fixture) {
    let http = &fixture.http;
    let mut watch = http.stream("/v1/watch?prefix=k&once", &[]).await;
    watch.json().await;
    http.put("/v1/kv/k1", "secret").await;
    http.put("/v1/kv/k1", "secret").await;
    assert_eq!(
        watch.json().await,
        json!({"revision": 2, "events": [{"type": "put", "kv": {
            "key": "k1", "create_revision": 2, "mod_revision": 2, "version": 1,
        }}]})
    );
    assert_eq!(watch.next().await, None);
    fixture.stop().await;
}

async fn bookmarks_say_that_nothing_was_missed(fixture: Fixture) {
    let http = &fixture.http;
    let mut watch = http.stream("/v1/watch?key=mine&progress=100ms", &[]).await;
    watch.json().await;
    http.fill("others/", 3).await;
    loop {
        let line = watch.json().await;
        assert_eq!(line["progress"], true, "{line}");
        if line["revision"] == 4 {
            break;
        }
    }
    fixture.stop().await;
}

async fn server_sent_events_go_on_where_the_browser_was(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 3).await;
    let accept = ("accept", "text/event-stream");
    let mut first = http.stream("/v1/watch?from_revision=2", &[accept]).await;
    let mut text = Vec::new();
    for _ in 0..6 {
        text.push(first.next().await.expect("a line"));
    }
    assert_eq!(text[..3], ["id: 1", "data: {\"revision\":4,\"started\":true}", ""]);
    assert_eq!((&text[3][..], &text[5][..]), ("id: 2", ""));
    assert!(text[4].starts_with("data: {\"revision\":2,\"events\":["), "{}", text[4]);
    drop(first);
    // What the browser saw last counts more than the query that it repeats.
    let resumed = [accept, ("last-event-id", "2")];
    let mut second = http.stream("/v1/watch?from_revision=2", &resumed).await;
    for expected in ["id: 2", "data: ", "", "id: 3", "data: ", "", "id: 4"] {
        let line = second.next().await.expect("a line");
        assert!(line.starts_with(expected), "{line} instead of {expected}");
    }
    let bad = http.send("GET", "/v1/watch", &[("last-event-id", "x")], b"").await;
    bad.assert_error(400, "invalid_parameter", "Last-Event-ID");
    fixture.stop().await;
}

async fn silent_server_sent_events_say_where_they_are_and_that_they_are_alive(fixture: Fixture) {
    let http = &fixture.http;
    let accept = ("accept", "text/event-stream");
    let mut watch = http.stream("/v1/watch?key=mine", &[accept]).await;
    let mut next = async || watch.next().await.expect("a line");
    assert_eq!(next().await, "id: 1");
    assert_eq!(next().await, "data: {\"revision\":1,\"started\":true}");
    http.fill("others/", 3).await;
    let mut last_id = String::new();
    // A comment, and an id without data: a browser remembers it, and its page hears nothing.
    while last_id != "id: 4" {
        for expected in ["", ": nothing new", "id: "] {
            let line = next().await;
            assert!(line.starts_with(expected), "{line} instead of {expected}");
            last_id = line;
        }
    }
    // Who waits for the future has seen nothing yet that could be gone on after.
    let mut ahead = http.stream("/v1/watch?from_revision=99", &[accept]).await;
    for expected in ["id: 98", "data: {\"revision\":4,\"started\":true}", "", ": nothing new", ""] {
        assert_eq!(ahead.next().await.as_deref(), Some(expected));
    }
    let mut told = http.stream("/v1/watch?key=mine&progress=100ms", &[accept]).await;
    for expected in ["id: 4", "data: {\"revision\":4,\"started\":true}", "", "id: 4"] {
        assert_eq!(told.next().await.as_deref(), Some(expected));
    }
    let bookmark = "data: {\"revision\":4,\"progress\":true}";
    assert_eq!(told.next().await.as_deref(), Some(bookmark));
    fixture.stop().await;
}

async fn an_error_ends_server_sent_events_as_an_event_of_its_own(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 5).await;
    http.post("/v1/compact", "{\"revision\": 4}").await;
    let headers = [("accept", "text/event-stream"), ("last-event-id", "2")];
    let mut watch = http.stream("/v1/watch", &headers).await;
    for expected in
        ["id: 2", "data: {", "", "event: error", "data: {\"error\":{\"name\":\"compacted\""]
    {
        let line = watch.next().await.expect("a line");
        assert!(line.starts_with(expected), "{line} instead of {expected}");
    }
    assert_eq!(watch.next().await.as_deref(), Some(""));
    assert_eq!(watch.next().await, None);
    for header in ["-1", "+2", "2.0", "x", "18446744073709551616"] {
        let bad = http.send("GET", "/v1/watch", &[("last-event-id", header)], b"").await;
        bad.assert_error(400, "invalid_parameter", "Last-Event-ID");
    }
    fixture.stop().await;
}

async fn a_watch_from_before_compaction_is_told_where_history_begins(fixture: Fixture) {
    let http = &fixture.http;
    http.fill("k", 5).await;
    http.post("/v1/compact", "{\"revision\": 4}").await;
    let mut watch = http.stream("/v1/watch?from_revision=3", &[]).await;
    assert_eq!(watch.json().await["started"], true);
    let end = watch.json().await;
    assert_eq!((&end["error"]["name"], &end["compact_revision"]), (&json!("compacted"), &json!(4)));
    assert_eq!(watch.next().await, None);
    let mut whole = http.stream("/v1/watch?from_revision=4", &[]).await;
    whole.json().await;
    assert_eq!(whole.json().await["revision"], 4);
    fixture.stop().await;
}

#[tokio::test]
async fn many_watchers_see_the_same() {
    let fixture = Fixture::start().await;
    let http = &fixture.http;
    let mut watches = Vec::new();
    for _ in 0..50 {
        let mut watch = http.stream("/v1/watch", &[]).await;
        watch.json().await;
        watches.push(watch);
    }
    http.fill("k", 20).await;
    for watch in &mut watches {
        for revision in 2..22 {
            assert_eq!(watch.json().await["revision"], revision);
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_and_gets_everything_later() {
    const WRITES: u64 = 1500;
    let fixture = Fixture::start().await;
    let http = fixture.http;
    let mut slow = http.stream("/v1/watch", &[]).await;
    slow.json().await;
    // Far more than socket buffers hold.
    let value = "x".repeat(20_000);
    let mut longest = Duration::ZERO;
    for number in 0..WRITES {
        let began = Instant::now();
        assert!(http.put(&format!("/v1/kv/k{}", number % 10), &value).await.status < 300);
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "a write took {longest:?}");
    for revision in 2..WRITES + 2 {
        assert_eq!(slow.json().await["revision"], revision);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_client_that_left_is_forgotten() {
    let fixture = Fixture::start().await;
    let http = fixture.http;
    let watchers = || fixture.server.handle().metrics().watchers.get();
    let mut watches = Vec::new();
    for _ in 0..10 {
        watches.push(http.stream("/v1/watch", &[]).await);
    }
    assert_eq!(watchers(), 10);
    for watch in &mut watches {
        watch.json().await;
    }
    drop(watches);
    // One that asks for the headers alone is no watcher either.
    let mut head = http.connect().await;
    head.write_all(b"HEAD /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let began = Instant::now();
    while watchers() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "{} are left", watchers());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    a_watch_begins_now_and_tells_every_change_once_in_whole_revisions,
    a_watch_can_begin_in_the_past_and_goes_on_into_the_present,
    a_watch_from_the_future_waits_and_gets_nothing_earlier,
    a_watch_shows_what_it_is_asked_for,
    once_tells_that_something_happened_and_ends,
    one_shot_watches_of_data_existence_and_children_are_those_of_zookeeper,
    one_shot_watches_tell_deletions_at_every_node,
    what_a_one_shot_watch_misses_and_a_watch_of_revisions_tells_is_counted,
    bookmarks_say_that_nothing_was_missed,
    server_sent_events_go_on_where_the_browser_was,
    silent_server_sent_events_say_where_they_are_and_that_they_are_alive,
    an_error_ends_server_sent_events_as_an_event_of_its_own,
    a_watch_from_before_compaction_is_told_where_history_begins,
);
