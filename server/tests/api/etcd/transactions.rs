//! Txn: what it does. What it compares is in `comparisons`.

use serde_json::{Value, json};

use super::Fixture;
use super::support::{base64, keys, number, revision, text};

const TOO_MANY: &str = "etcdserver: too many operations in txn request";
const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";

fn put(key: &str, value: &str) -> Value {
    json!({"request_put": {"key": base64(key), "value": base64(value)}})
}

fn range(key: &str, end: &str) -> Value {
    json!({"request_range": {"key": base64(key), "range_end": base64(end)}})
}

fn delete(key: &str, end: &str) -> Value {
    json!({"request_delete_range": {"key": base64(key), "range_end": base64(end)}})
}

fn within(success: &[Value], failure: &[Value]) -> Value {
    json!({"request_txn": {"success": success, "failure": failure}})
}

/// A comparison that holds if the key has been written so often.
fn has_version(key: &str, version: i64) -> Value {
    json!({"target": "VERSION", "key": base64(key), "version": version})
}

async fn one_revision_for_all_of_it_and_none_if_nothing_changes(fixture: Fixture) {
    for (place, http) in fixture.all().into_iter().enumerate() {
        let key = |name: &str| format!("{place}/{name}");
        let (a, b, c) = (key("a"), key("b"), key("c"));
        let before = http.catch_up().await;
        let request = json!({"success": [
            put(&a, "1"), put(&b, "2"), range(&key(""), &key("\u{7f}")), delete(&key("x"), ""),
            put(&c, "3"), range(&key(""), &key("\u{7f}")),
        ]});
        let answer = http.ok("kv/txn", &request).await;
        assert_eq!((revision(&answer), &answer["succeeded"]), (before + 1, &json!(true)));
        let responses = answer["responses"].as_array().expect("a list");
        assert_eq!(responses.len(), 6);
        // Ranges see what was written before them, and nothing of what is written after.
        let seen = &responses[2]["response_range"];
        assert_eq!((keys(seen), number(&seen["count"])), (vec![a.clone(), b.clone()], 2));
        assert_eq!(keys(&responses[5]["response_range"]), [a.clone(), b.clone(), c.clone()]);
        let kv = &seen["kvs"][0];
        assert_eq!((number(&kv["mod_revision"]), text(&kv["value"])), (before + 1, "1".to_owned()));
        // The headers within have the revision and nothing else.
        for (response, name) in
            [(0, "response_put"), (2, "response_range"), (3, "response_delete_range")]
        {
            let header = &responses[response][name]["header"];
            assert_eq!(header, &json!({"revision": (before + 1).to_string()}));
        }
        assert_eq!(responses[3]["response_delete_range"].get("deleted"), None);
        // Nothing is changed by deleting nothing, nor by a branch that is empty.
        let nothing = json!({"success": [delete(&key("x"), ""), range(&a, "")]});
        let answer = http.ok("kv/txn", &nothing).await;
        assert_eq!(revision(&answer), before + 1);
        let not_taken = json!({"compare": [has_version(&a, 7)], "success": [put(&a, "9")]});
        let answer = http.ok("kv/txn", &not_taken).await;
        assert_eq!((answer.get("succeeded"), answer.get("responses")), (None, None));
        assert_eq!(http.catch_up().await, before + 1);
    }
    fixture.stop().await;
}

async fn the_header_of_a_read_says_what_was_written_before_it(fixture: Fixture) {
    for http in fixture.all() {
        let before = http.catch_up().await;
        let request = json!({"success": [range("a", ""), put("a", "1"), range("a", "")]});
        let answer = http.ok("kv/txn", &request).await;
        let at = |place: usize| revision(&answer["responses"][place]["response_range"]);
        assert_eq!((at(0), at(2), revision(&answer)), (before, before + 1, before + 1));
    }
    fixture.stop().await;
}

async fn a_branch_that_changes_a_key_twice_is_refused_whether_it_is_taken_or_not(fixture: Fixture) {
    for http in fixture.all() {
        let before = http.catch_up().await;
        let wrong = [
            vec![put("a", "1"), put("a", "1")],
            vec![put("a", "1"), delete("a", "")],
            vec![delete("a", ""), put("a", "1")],
            vec![put("b", "1"), delete("a", "c")],
            vec![put("b", "1"), delete("a", "\0")],
            vec![put("a", "1"), within(&[put("a", "2")], &[])],
            vec![within(&[], &[put("a", "2")]), put("a", "1")],
            vec![within(&[put("a", "2")], &[]), within(&[put("a", "2")], &[])],
            vec![within(&[delete("a", "z")], &[]), put("b", "2")],
            vec![within(&[within(&[put("b", "1")], &[])], &[]), delete("b", "")],
        ];
        for operations in wrong {
            for branch in ["success", "failure"] {
                http.refused("kv/txn", &json!({branch: operations}), 3, DUPLICATE).await;
            }
        }
        assert_eq!(http.catch_up().await, before);
        let right = [
            // One of the two is done.
            vec![within(&[put("a", "1")], &[put("a", "2")])],
            vec![delete("a", ""), delete("a", "c"), delete("a", "")],
            vec![put("c", "1"), delete("a", "c")],
        ];
        for operations in right {
            http.ok("kv/txn", &json!({"success": operations})).await;
        }
    }
    fixture.stop().await;
}

async fn a_transaction_has_128_operations_of_each_kind_and_those_within_count(fixture: Fixture) {
    for http in fixture.all() {
        let puts = |count: usize| -> Vec<_> {
            (0..count).map(|number| put(&format!("k{number}"), "v")).collect()
        };
        let compares = |count: usize| vec![has_version("none", 0); count];
        let full = json!({"compare": compares(128), "success": puts(128), "failure": puts(128)});
        let answer = http.ok("kv/txn", &full).await;
        assert_eq!(answer["responses"].as_array().map(Vec::len), Some(128));
        let before = http.catch_up().await;
        for request in [
            json!({"success": puts(129)}),
            json!({"failure": puts(129)}),
            json!({"compare": compares(129)}),
            json!({"success": [within(&puts(128), &[])]}),
            json!({"compare": compares(100), "failure": [within(&puts(29), &[])]}),
        ] {
            http.refused("kv/txn", &request, 3, TOO_MANY).await;
        }
        assert_eq!(http.catch_up().await, before);
        http.ok("kv/txn", &json!({"success": [within(&puts(127), &[])]})).await;
    }
    fixture.stop().await;
}

async fn what_can_not_be_done_is_found_out_before_anything_is(fixture: Fixture) {
    for http in fixture.all() {
        let before = http.catch_up().await;
        let with_lease =
            json!({"request_put": {"key": base64("b"), "value": base64("v"), "lease": 77}});
        let kept = |what: &str| json!({"request_put": {"key": base64("none"), what: true}});
        let at =
            |revision: i64| json!({"request_range": {"key": base64("a"), "revision": revision}});
        let wrong = [
            (with_lease, 5, "etcdserver: requested lease not found"),
            (kept("ignore_value"), 3, "etcdserver: key not found"),
            (kept("ignore_lease"), 3, "etcdserver: key not found"),
            (at(before + 1), 11, "etcdserver: mvcc: required revision is a future revision"),
        ];
        for (operation, code, message) in wrong {
            let request = json!({"success": [put("a", "1"), operation]});
            http.refused("kv/txn", &request, code, message).await;
            let request =
                json!({"success": [put("a", "1"), within(std::slice::from_ref(&operation), &[])]});
            http.refused("kv/txn", &request, code, message).await;
            // What is not taken may be impossible.
            let request = json!({"success": [range("a", "")], "failure": [operation]});
            http.ok("kv/txn", &request).await;
        }
        assert_eq!(http.catch_up().await, before, "nothing was written");
        assert_eq!(http.range_text("a", "", json!({})).await.get("kvs"), None);
    }
    fixture.stop().await;
}

async fn the_path_through_transactions_within_is_decided_before_anything_is_done(fixture: Fixture) {
    for (place, http) in fixture.all().into_iter().enumerate() {
        let (a, b) = (format!("{place}/a"), format!("{place}/b"));
        let inner = json!({"request_txn": {
            "compare": [has_version(&a, 1)],
            "success": [put(&b, "it sees the write")],
            "failure": [put(&b, "it does not"), range(&a, "")],
        }});
        let answer = http.ok("kv/txn", &json!({"success": [put(&a, "1"), inner]})).await;
        let within = &answer["responses"][1]["response_txn"];
        assert_eq!(within.get("succeeded"), None, "{within}");
        // What is read within does see it.
        assert_eq!(keys(&within["responses"][1]["response_range"]), [a]);
        assert_eq!(revision(within), revision(&answer));
        let found = http.range_text(&b, "", json!({})).await;
        assert_eq!(text(&found["kvs"][0]["value"]), "it does not");
    }
    fixture.stop().await;
}

async fn one_that_only_reads_is_not_in_the_log_and_one_within_counts_as_a_write(fixture: Fixture) {
    for http in fixture.all() {
        http.put_text("a", "1").await;
        let index = async || {
            http.catch_up().await;
            number(&http.ok("maintenance/status", &json!({})).await["raftIndex"])
        };
        let before = index().await;
        let reads = json!({
            "compare": [has_version("a", 99)], "success": [], "failure": [range("a", "b"), range("a", "")],
        });
        let answer = http.ok("kv/txn", &reads).await;
        assert_eq!(answer.get("succeeded"), None);
        assert_eq!(keys(&answer["responses"][0]["response_range"]), ["a"]);
        assert_eq!(revision(&answer["responses"][1]["response_range"]), revision(&answer));
        http.ok("kv/txn", &json!({})).await;
        assert_eq!(index().await, before);
        http.ok("kv/txn", &json!({"success": [within(&[range("a", "")], &[])]})).await;
        assert_eq!(index().await, before + 1);
    }
    fixture.stop().await;
}

async fn a_read_has_every_option_within_a_transaction_too(fixture: Fixture) {
    let begin = fixture.http.catch_up().await;
    for key in ["a", "b", "c", "d"] {
        fixture.http.put_text(key, key).await;
    }
    fixture.http.put_text("b", "z").await;
    for http in fixture.all() {
        // Once beside the log, and once in it.
        for write in [vec![], vec![delete("none", "")]] {
            let read = async |options: Value| {
                let mut request = json!({"key": base64("a"), "range_end": base64("z")});
                let fields = request.as_object_mut().expect("an object");
                fields.extend(options.as_object().expect("options").clone());
                let mut operations = vec![json!({"request_range": request})];
                operations.extend(write.iter().cloned());
                let mut answer = http.ok("kv/txn", &json!({"success": operations})).await;
                let read = answer["responses"][0]["response_range"].take();
                let more = read.get("more").is_some();
                (keys(&read).concat(), number(&read["count"]), more)
            };
            let is = |keys: &str, more: bool| (keys.to_owned(), 4, more);
            assert_eq!(read(json!({})).await, is("abcd", false));
            assert_eq!(read(json!({"limit": 2})).await, is("ab", true));
            assert_eq!(read(json!({"limit": 4})).await, is("abcd", false));
            let by_value = json!({"sort_target": "VALUE", "sort_order": "DESCEND", "limit": 2});
            assert_eq!(read(by_value).await, is("bd", true));
            let by_version = json!({"sort_target": "VERSION", "sort_order": "DESCEND", "limit": 1});
            assert_eq!(read(by_version).await, is("b", true));
            assert_eq!(read(json!({"count_only": true, "limit": 1})).await, is("", false));
            assert_eq!(read(json!({"revision": begin + 3})).await, ("abc".to_owned(), 3, false));
            // The bounds come before the limit, and the count heeds neither.
            let late = json!({"min_mod_revision": begin + 3});
            assert_eq!(read(late).await, is("bcd", false));
            let late = json!({"min_mod_revision": begin + 3, "limit": 2});
            assert_eq!(read(late).await, is("bc", true));
            let early = json!({"max_create_revision": begin + 2, "limit": 2});
            assert_eq!(read(early).await, is("ab", false));
            assert_eq!(read(json!({"max_mod_revision": begin + 1})).await, is("a", false));
        }
        let only_keys = json!({"key": base64("a"), "keys_only": true});
        let request = json!({"success": [{"request_range": only_keys}]});
        let answer = http.ok("kv/txn", &request).await;
        let kv = &answer["responses"][0]["response_range"]["kvs"][0];
        assert_eq!((kv.get("value"), number(&kv["create_revision"])), (None, begin + 1));
        let wrong = json!({"success": [{"request_range": {"key": "YQ==", "sort_target": 9}}]});
        http.refused("kv/txn", &wrong, 3, "etcdserver: invalid sort option").await;
    }
    fixture.stop().await;
}

async fn what_was_there_before_is_told_of_each_write(fixture: Fixture) {
    for (place, http) in fixture.all().into_iter().enumerate() {
        let key = |name: &str| format!("{place}/{name}");
        for name in ["a", "b", "c"] {
            http.put_text(&key(name), name).await;
        }
        let mut write = put(&key("a"), "new");
        write["request_put"]["prev_kv"] = json!(true);
        let mut deletion = delete(&key("b"), &key("z"));
        deletion["request_delete_range"]["prev_kv"] = json!(true);
        let request = json!({"success": [write, deletion, delete(&key("b"), "")]});
        let answer = http.ok("kv/txn", &request).await;
        let put = &answer["responses"][0]["response_put"];
        assert_eq!(text(&put["prev_kv"]["value"]), "a");
        let deleted = &answer["responses"][1]["response_delete_range"];
        assert_eq!(number(&deleted["deleted"]), 2);
        let previous = deleted["prev_kvs"].as_array().expect("a list");
        let values: Vec<_> = previous.iter().map(|kv| text(&kv["value"])).collect();
        assert_eq!(values, ["b", "c"]);
        let gone = &answer["responses"][2]["response_delete_range"];
        assert_eq!((gone.get("deleted"), gone.get("prev_kvs")), (None, None));
    }
    fixture.stop().await;
}

async fn what_is_no_operation_is_refused(fixture: Fixture) {
    for http in fixture.all() {
        for empty in [json!({}), json!({"requestRanges": {}}), json!({"request_put": null})] {
            let request = json!({"success": [empty]});
            http.refused("kv/txn", &request, 3, "etcdserver: key not found").await;
        }
        let no_key = "etcdserver: key is not provided";
        for operation in ["request_put", "request_range", "request_delete_range"] {
            http.refused("kv/txn", &json!({"failure": [{operation: {}}]}), 3, no_key).await;
        }
        http.refused("kv/txn", &json!({"compare": [{}]}), 3, no_key).await;
        let key = json!({"key": "YQ=="});
        for (body, word) in [
            (json!({"success": [null]}), "null"),
            (json!({"compare": [null]}), "null"),
            (json!({"success": [{"request_put": key, "request_range": key}]}), "request_put"),
            (json!({"compare": [{"key": "YQ==", "version": 1, "lease": 1}]}), "version"),
            (json!({"compare": [{"key": "YQ==", "target": "NONE"}]}), "NONE"),
            (json!({"compare": [{"key": "YQ==", "result": 4}]}), "4"),
        ] {
            let answer = http.v3("kv/txn", &body).await;
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            assert!(message.contains(word), "{body}: {message}");
            super::support::assert_refused(&answer, 3, &message);
        }
    }
    fixture.stop().await;
}

async fn a_transaction_is_not_larger_than_a_request_may_be(fixture: Fixture) {
    for http in fixture.all() {
        let values = |count: usize| -> Vec<_> {
            let value = base64(vec![b'x'; 500_000]);
            let put =
                |place| json!({"request_put": {"key": base64(format!("{place}")), "value": value}});
            (0..count).map(put).collect()
        };
        http.ok("kv/txn", &json!({"success": values(3)})).await;
        let message = "etcdserver: request is too large";
        http.refused("kv/txn", &json!({"success": values(4)}), 3, message).await;
        let halves = json!({"success": values(2), "failure": values(2)});
        http.refused("kv/txn", &halves, 3, message).await;
    }
    fixture.stop().await;
}

async fn a_read_of_more_than_an_answer_holds_is_refused_or_told_to_be_left_out(fixture: Fixture) {
    for place in 0..12 {
        let value = base64(vec![b'x'; 1_000_000]);
        fixture
            .http
            .ok("kv/put", &json!({"key": base64(format!("k{place:02}")), "value": value}))
            .await;
    }
    for http in fixture.all() {
        let request = json!({"success": [range("k", "l")]});
        let answer = http.v3("kv/txn", &request).await;
        let message = answer.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with("the answer is too large: "), "{message}");
        super::support::assert_refused(&answer, 8, &message);
        // The write happened, so it can not be refused.
        let request = json!({"success": [put("w", ""), range("k", "l"), range("k", "")]});
        let answer = http.ok("kv/txn", &request).await;
        let read = &answer["responses"][1]["response_range"];
        assert_eq!(
            (keys(read).len(), number(&read["count"]), &read["more"]),
            (9, 12, &json!(true))
        );
        let left_out = &read["kvs_unavailable"];
        assert_eq!((&left_out["reason"], &left_out["count"]), (&json!("too_large"), &json!(3)));
        let first = json!({"key": base64("k"), "range_end": base64("l"), "limit": 2});
        let answer = http.ok("kv/txn", &json!({"success": [{"request_range": first}]})).await;
        assert_eq!(keys(&answer["responses"][0]["response_range"]).len(), 2);
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    one_revision_for_all_of_it_and_none_if_nothing_changes,
    the_header_of_a_read_says_what_was_written_before_it,
    a_branch_that_changes_a_key_twice_is_refused_whether_it_is_taken_or_not,
    a_transaction_has_128_operations_of_each_kind_and_those_within_count,
    what_can_not_be_done_is_found_out_before_anything_is,
    the_path_through_transactions_within_is_decided_before_anything_is_done,
    one_that_only_reads_is_not_in_the_log_and_one_within_counts_as_a_write,
    a_read_has_every_option_within_a_transaction_too,
    what_was_there_before_is_told_of_each_write,
    what_is_no_operation_is_refused,
    a_transaction_is_not_larger_than_a_request_may_be,
    a_read_of_more_than_an_answer_holds_is_refused_or_told_to_be_left_out,
);
