//! Watch: what one watch tells.

use serde_json::{Value, json};

use super::Fixture;
use super::support::{base64, events, number, revision, text};

async fn the_first_message_says_that_the_watch_is_created_and_0_is_from_now_on(fixture: Fixture) {
    for http in fixture.all() {
        http.put_text("k", "before").await;
        let mut watch = http.watch(json!({"key": base64("k")})).await;
        watch.assert_silent().await;
        let put = revision(&http.put_text("k", "after").await);
        assert_eq!(watch.events(0).await, [("PUT", "k".to_owned(), put)]);
        let delete = http.ok("kv/deleterange", &json!({"key": base64("k")})).await;
        assert_eq!(watch.events(0).await, [("DELETE", "k".to_owned(), revision(&delete))]);
        http.put_text("kk", "another").await;
        watch.assert_silent().await;
    }
    fixture.stop().await;
}

/// Events until there are so many, whatever messages they come in.
async fn collect(
    watch: &mut super::support::Stream,
    count: usize,
) -> Vec<(&'static str, String, i64)> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(watch.events(0).await);
    }
    all
}

async fn a_watch_begins_at_the_revision_that_it_names_in_the_past_or_in_the_future(
    fixture: Fixture,
) {
    for value in ["2", "3", "4"] {
        fixture.http.put_text("k", value).await;
    }
    for (place, http) in fixture.all().into_iter().enumerate() {
        let now = http.catch_up().await;
        let mut past = http.watch(json!({"key": base64("k"), "start_revision": "3"})).await;
        let seen = collect(&mut past, 2 + 3 * place).await;
        let revisions: Vec<_> = seen.iter().map(|event| event.2).collect();
        assert_eq!(revisions, (3..=now).collect::<Vec<_>>());
        let future = json!({"key": base64("k"), "start_revision": now + 2});
        let mut future = http.watch(future).await;
        http.put_text("k", "too early").await;
        past.events(0).await;
        future.assert_silent().await;
        http.put_text("k", "in time").await;
        assert_eq!(future.events(0).await, [("PUT", "k".to_owned(), now + 2)]);
        http.put_text("k", "after").await;
        assert_eq!(future.events(0).await, [("PUT", "k".to_owned(), now + 3)]);
    }
    fixture.stop().await;
}

async fn from_before_the_compacted_revision_a_watch_is_created_and_canceled(fixture: Fixture) {
    for value in ["2", "3", "4", "5"] {
        fixture.http.put_text("k", value).await;
    }
    fixture.http.ok("kv/compaction", &json!({"revision": 4})).await;
    for http in fixture.all() {
        let mut watch = http.watch(json!({"key": base64("k"), "start_revision": 3})).await;
        let canceled = watch.next().await;
        assert_eq!(
            (canceled["canceled"].as_bool(), number(&canceled["compact_revision"])),
            (Some(true), 4)
        );
        assert_eq!((canceled["header"].get("revision"), canceled.get("events")), (None, None));
        // The stream goes on, and the compacted revision itself is whole.
        let create = json!({"create_request": {"key": base64("k"), "start_revision": 4}});
        watch.send(&create.to_string()).await;
        assert_eq!(watch.next().await["watch_id"], "1");
        let seen = events(&watch.next().await);
        assert_eq!(seen.iter().map(|event| event.2).collect::<Vec<_>>(), [4, 5]);
    }
    fixture.stop().await;
}

async fn a_negative_revision_or_an_empty_range_is_created_and_canceled_in_one(fixture: Fixture) {
    for http in fixture.all() {
        for (create, reason) in [
            (
                json!({"key": base64("k"), "start_revision": -1}),
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (json!({"key": base64("k"), "range_end": base64("k")}), "mvcc: watcher range is empty"),
            (json!({"key": base64("k"), "range_end": base64("a")}), "mvcc: watcher range is empty"),
        ] {
            let request = json!({"create_request": create}).to_string();
            let mut stream = http.open("watch", &request).await;
            let answer = stream.next().await;
            assert_eq!((&answer["created"], &answer["canceled"]), (&json!(true), &json!(true)));
            assert_eq!(answer["watch_id"], "-1");
            assert_eq!(answer["cancel_reason"], reason);
            stream.send("{\"create_request\":{\"key\":\"aw==\"}}").await;
            assert_eq!(stream.next().await.get("canceled"), None, "the stream goes on");
        }
    }
    fixture.stop().await;
}

async fn an_empty_key_is_the_least_and_zero_is_the_end_of_all(fixture: Fixture) {
    for http in fixture.all() {
        let mut all = http.watch(json!({"range_end": base64("\0")})).await;
        let mut from = http.watch(json!({"key": base64("m"), "range_end": base64("\0")})).await;
        let mut least = http.watch(json!({})).await;
        let prefix = json!({"key": base64("a"), "range_end": base64("b")});
        let mut prefix = http.watch(prefix).await;
        for key in ["aa", "z", "\0"] {
            http.put_text(key, "v").await;
        }
        let seen: String = collect(&mut all, 3).await.into_iter().map(|event| event.1).collect();
        assert_eq!(seen, "aaz\0");
        assert_eq!(from.events(0).await[0].1, "z");
        assert_eq!(least.events(0).await[0].1, "\0");
        assert_eq!(prefix.events(0).await[0].1, "aa");
        from.assert_silent().await;
    }
    fixture.stop().await;
}

async fn all_events_of_a_revision_come_in_one_message(fixture: Fixture) {
    for http in fixture.all() {
        let range = json!({"key": base64("k"), "range_end": base64("l")});
        for key in ["k1", "k2", "k3"] {
            http.put_text(key, "v").await;
        }
        let mut watch = http.watch(range.clone()).await;
        let deleted = revision(&http.ok("kv/deleterange", &range).await);
        let expected = ["k1", "k2", "k3"].map(|key| ("DELETE", key.to_owned(), deleted));
        assert_eq!(watch.events(0).await, expected);
    }
    fixture.stop().await;
}

async fn filters_drop_what_is_not_wanted(fixture: Fixture) {
    for http in fixture.all() {
        let create = |filters: Value| json!({"key": base64("k"), "filters": filters});
        let mut puts = http.watch(create(json!(["NODELETE"]))).await;
        let mut deletes = http.watch(create(json!([0]))).await;
        let mut nothing = http.watch(create(json!(["NOPUT", "NODELETE"]))).await;
        http.put_text("k", "v").await;
        http.ok("kv/deleterange", &json!({"key": base64("k")})).await;
        http.put_text("k", "w").await;
        let seen: Vec<_> = collect(&mut puts, 2).await.iter().map(|event| event.0).collect();
        assert_eq!(seen, ["PUT", "PUT"]);
        assert_eq!(deletes.events(0).await[0].0, "DELETE");
        nothing.assert_silent().await;
        http.ok("kv/deleterange", &json!({"key": base64("k")})).await;
    }
    fixture.stop().await;
}

async fn prev_kv_is_what_was_there_before_if_it_is_not_compacted(fixture: Fixture) {
    for http in fixture.all() {
        let first = revision(&http.put_text("k", "1").await);
        http.put_text("k", "2").await;
        http.ok("kv/deleterange", &json!({"key": base64("k")})).await;
        let create =
            |from: i64| json!({"key": base64("k"), "prev_kv": true, "start_revision": from});
        let previous = async |from: i64, count: usize| {
            let mut watch = http.watch(create(from)).await;
            let mut seen = Vec::new();
            while seen.len() < count {
                let result = watch.next().await;
                let events = result["events"].as_array().expect("events").iter();
                seen.extend(events.map(|event| event.get("prev_kv").map(|kv| text(&kv["value"]))));
            }
            seen
        };
        let expected = [None, Some("1".to_owned()), Some("2".to_owned())];
        assert_eq!(previous(first, 3).await, expected);
        http.ok("kv/compaction", &json!({"revision": first + 1})).await;
        assert_eq!(previous(first + 1, 2).await, [None, Some("2".to_owned())]);
    }
    fixture.stop().await;
}

async fn a_long_message_is_split_only_where_that_is_wanted(fixture: Fixture) {
    let value = "v".repeat(500_000);
    for http in fixture.all() {
        for key in 0..6 {
            http.put_text(&format!("k{key}"), &value).await;
        }
        let range = json!({"key": base64("k"), "range_end": base64("l")});
        let create = |fragment: bool| {
            let mut create = range.clone();
            create["prev_kv"] = json!(true);
            create["fragment"] = json!(fragment);
            create
        };
        let (mut whole, mut parts) =
            (http.watch(create(false)).await, http.watch(create(true)).await);
        http.ok("kv/deleterange", &range).await;
        assert_eq!(events(&whole.next().await).len(), 6);
        let (mut seen, mut messages) = (0, 0);
        loop {
            let part = parts.next().await;
            seen += events(&part).len();
            messages += 1;
            if part.get("fragment").is_none() {
                break;
            }
        }
        assert!((seen, messages) == (6, 3) || (seen, messages) == (6, 6), "{seen} in {messages}");
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    the_first_message_says_that_the_watch_is_created_and_0_is_from_now_on,
    a_watch_begins_at_the_revision_that_it_names_in_the_past_or_in_the_future,
    from_before_the_compacted_revision_a_watch_is_created_and_canceled,
    a_negative_revision_or_an_empty_range_is_created_and_canceled_in_one,
    an_empty_key_is_the_least_and_zero_is_the_end_of_all,
    all_events_of_a_revision_come_in_one_message,
    filters_drop_what_is_not_wanted,
    prev_kv_is_what_was_there_before_if_it_is_not_compacted,
    a_long_message_is_split_only_where_that_is_wanted,
);
