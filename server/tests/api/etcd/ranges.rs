//! Range.

use serde_json::{Value, json};

use super::Fixture;
use super::support::{base64, keys, number, revision, text};

async fn a_new_store_is_at_revision_1_and_the_first_put_makes_2(fixture: Fixture) {
    let http = &fixture.http;
    let none = http.range_text("a", "", json!({})).await;
    assert_eq!((revision(&none), none.get("kvs"), none.get("count")), (1, None, None));
    assert_eq!(revision(&http.put_text("a", "1").await), 2);
    for http in fixture.all() {
        let found = http.range_text("a", "", json!({})).await;
        assert_eq!(
            found["kvs"],
            json!([{"key": "YQ==", "create_revision": "2", "mod_revision": "2", "version": "1",
                "value": "MQ=="}])
        );
        assert_eq!((found["count"].as_str(), found.get("more")), (Some("1"), None));
    }
    fixture.stop().await;
}

async fn the_header_has_the_current_revision_whatever_revision_is_read(fixture: Fixture) {
    fixture.http.put_text("a", "1").await;
    fixture.http.put_text("a", "2").await;
    fixture.http.put_text("b", "1").await;
    for http in fixture.all() {
        let old = http.range_text("a", "", json!({"revision": "2"})).await;
        assert_eq!((revision(&old), text(&old["kvs"][0]["value"])), (4, "1".to_owned()));
        let old = http.range_text("a", "z", json!({"revision": 3})).await;
        assert_eq!((revision(&old), keys(&old)), (4, vec!["a".to_owned()]));
    }
    fixture.stop().await;
}

async fn an_end_makes_an_interval_and_zero_is_beyond_every_key(fixture: Fixture) {
    for key in ["a", "b", "b1", "c", "\u{ff}"] {
        fixture.http.put_text(key, "v").await;
    }
    for http in fixture.all() {
        for (key, end, expected) in [
            ("b", "", vec!["b"]),
            ("b", "c", vec!["b", "b1"]),
            ("b", "\0", vec!["b", "b1", "c", "\u{ff}"]),
            ("\0", "\0", vec!["a", "b", "b1", "c", "\u{ff}"]),
            ("c", "c", vec![]),
            ("d", "b", vec![]),
            ("nothing", "", vec![]),
        ] {
            let found = http.range_text(key, end, json!({})).await;
            assert_eq!(keys(&found), expected, "{key:?} {end:?}");
            assert_eq!(number(&found["count"]), expected.len() as i64, "{key:?} {end:?}");
        }
        let message = "etcdserver: key is not provided";
        http.refused("kv/range", &json!({}), 3, message).await;
        http.refused("kv/range", &json!({"key": "", "range_end": "AA=="}), 3, message).await;
        http.refused("kv/range", &Value::Null, 3, message).await;
    }
    fixture.stop().await;
}

async fn a_revision_is_now_or_between_the_compacted_and_the_current_one(fixture: Fixture) {
    for value in ["1", "2", "3"] {
        fixture.http.put_text("a", value).await;
    }
    fixture.http.ok("kv/compaction", &json!({"revision": 3})).await;
    for http in fixture.all() {
        for (revision, value) in [(0, "3"), (-7, "3"), (3, "2"), (4, "3")] {
            for end in ["", "b"] {
                let found = http.range_text("a", end, json!({"revision": revision})).await;
                assert_eq!(text(&found["kvs"][0]["value"]), value, "{revision}");
            }
        }
        for end in ["", "b"] {
            let request = |revision: u64| json!({"key": base64("a"), "range_end": base64(end), "revision": revision});
            let future = "etcdserver: mvcc: required revision is a future revision";
            http.refused("kv/range", &request(5), 11, future).await;
            let compacted = "etcdserver: mvcc: required revision has been compacted";
            http.refused("kv/range", &request(2), 11, compacted).await;
        }
    }
    fixture.stop().await;
}

async fn count_is_of_all_matches_and_more_says_that_the_limit_left_some_out(fixture: Fixture) {
    for number in 0..5 {
        fixture.http.put_text(&format!("k{number}"), "v").await;
    }
    for http in fixture.all() {
        for (limit, shown, more) in
            [(2, 2, true), (5, 5, false), (9, 5, false), (0, 5, false), (-1, 5, false)]
        {
            let found = http.range_text("k", "l", json!({"limit": limit})).await;
            assert_eq!(keys(&found).len(), shown, "{limit}");
            assert_eq!(number(&found["count"]), 5);
            assert_eq!(found.get("more"), more.then_some(&json!(true)), "{limit}");
        }
        let counted = http.range_text("k", "l", json!({"limit": 2, "count_only": true})).await;
        assert_eq!((number(&counted["count"]), counted.get("kvs")), (5, None));
        assert_eq!(counted.get("more"), None);
        let one = http.range_text("k1", "", json!({"count_only": true})).await;
        assert_eq!((number(&one["count"]), one.get("kvs")), (1, None));
        let bounded = json!({"min_mod_revision": 3, "max_mod_revision": "5", "limit": 2});
        let found = http.range_text("k", "l", bounded).await;
        assert_eq!((keys(&found), number(&found["count"])), (vec!["k1".into(), "k2".into()], 5));
        assert_eq!(found["more"], true);
    }
    fixture.stop().await;
}

async fn the_limit_comes_after_the_order_and_after_the_bounds_of_revisions(fixture: Fixture) {
    // Created in another order than that of the keys, and written again in yet another.
    for (key, value) in [("c", "1"), ("a", "3"), ("b", "2"), ("a", "9"), ("c", "5"), ("a", "0")] {
        fixture.http.put_text(key, value).await;
    }
    for http in fixture.all() {
        for (options, expected, more) in [
            (json!({"sort_target": "MOD", "sort_order": "DESCEND", "limit": 2}), "ac", true),
            (json!({"sort_target": "MOD", "sort_order": "ASCEND", "limit": 1}), "b", true),
            (json!({"sort_target": "CREATE", "sort_order": "ASCEND"}), "cab", false),
            (json!({"sort_target": "VERSION", "sort_order": "DESCEND", "limit": 1}), "a", true),
            (json!({"sort_target": "VALUE", "sort_order": "ASCEND"}), "abc", false),
            (json!({"sort_target": "KEY", "sort_order": "DESCEND", "limit": 2}), "cb", true),
            (json!({"max_create_revision": 3}), "ac", false),
            (json!({"min_create_revision": 4}), "b", false),
            (json!({"max_create_revision": 3, "limit": 1}), "a", true),
            (json!({"max_create_revision": 2, "limit": 1}), "c", false),
            (
                json!({"min_mod_revision": 6, "sort_target": "MOD", "sort_order": 2, "limit": 1}),
                "a",
                true,
            ),
            (
                json!({"min_mod_revision": 7, "sort_target": "MOD", "sort_order": 2, "limit": 1}),
                "a",
                false,
            ),
            (json!({"max_mod_revision": 6, "sort_target": "VALUE", "limit": 1}), "b", true),
        ] {
            let found = http.range_text("a", "z", options.clone()).await;
            assert_eq!(keys(&found).concat(), expected, "{options}");
            assert_eq!(found.get("more").is_some(), more, "{options}");
            assert_eq!(number(&found["count"]), 3, "{options}");
        }
    }
    fixture.stop().await;
}

async fn a_target_without_an_order_is_ascending_and_an_unknown_one_is_refused(fixture: Fixture) {
    for (key, value) in [("b", "1"), ("a", "\u{ff}"), ("c", "Z")] {
        fixture.http.put_text(key, value).await;
    }
    for http in fixture.all() {
        for (options, expected) in [
            (json!({"sort_target": "CREATE"}), "bac"),
            (json!({"sort_target": 2, "sort_order": "NONE"}), "bac"),
            // By the bytes of the values.
            (json!({"sort_target": "VALUE"}), "bca"),
            (json!({}), "abc"),
            (json!({"sort_order": "DESCEND"}), "cba"),
        ] {
            let found = http.range_text("a", "z", options.clone()).await;
            assert_eq!(keys(&found).concat(), expected, "{options}");
        }
        for wrong in [
            json!({"key": "YQ==", "sort_target": 9}),
            json!({"key": "YQ==", "sort_order": 3}),
            json!({"key": "YQ==", "sort_order": -1}),
            json!({"key": "YQ==", "sort_target": "SIZE"}),
        ] {
            http.refused("kv/range", &wrong, 3, "etcdserver: invalid sort option").await;
        }
    }
    fixture.stop().await;
}

async fn keys_only_leaves_out_the_value_and_nothing_else(fixture: Fixture) {
    fixture.http.put_text("a", "2").await;
    fixture.http.put_text("b", "1").await;
    fixture.http.grant(7, 600).await;
    let put = json!({"key": base64("l"), "value": base64("3"), "lease": 7});
    fixture.http.ok("kv/put", &put).await;
    for http in fixture.all() {
        for (key, end) in [("a", ""), ("a", "b")] {
            let found = http.range_text(key, end, json!({"keys_only": true})).await;
            assert_eq!(
                found["kvs"],
                json!([{"key": "YQ==", "create_revision": "2", "mod_revision": "2",
                    "version": "1"}])
            );
        }
        let leased = http.range_text("l", "m", json!({"keys_only": true})).await;
        assert_eq!((number(&leased["kvs"][0]["lease"]), leased["kvs"][0].get("value")), (7, None));
        let by_value = json!({"keys_only": true, "sort_target": "VALUE"});
        let found = http.range_text("a", "z", by_value).await;
        assert_eq!(keys(&found).concat(), "bal");
        assert_eq!(found["kvs"][0].get("value"), None);
        assert_eq!(number(&found["kvs"][2]["lease"]), 7);
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    a_new_store_is_at_revision_1_and_the_first_put_makes_2,
    the_header_has_the_current_revision_whatever_revision_is_read,
    an_end_makes_an_interval_and_zero_is_beyond_every_key,
    a_revision_is_now_or_between_the_compacted_and_the_current_one,
    count_is_of_all_matches_and_more_says_that_the_limit_left_some_out,
    the_limit_comes_after_the_order_and_after_the_bounds_of_revisions,
    a_target_without_an_order_is_ascending_and_an_unknown_one_is_refused,
    keys_only_leaves_out_the_value_and_nothing_else,
);
