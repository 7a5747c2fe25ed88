//! What transactions compare.

use serde_json::{Value, json};

use super::super::client::Http;
use super::Fixture;
use super::support::{base64, revision};

/// Whether all of this holds.
async fn holds(http: &Http, compare: &[Value]) -> bool {
    // Once beside the log, and once in it.
    let read = http.ok("kv/txn", &json!({"compare": compare})).await;
    let delete = json!([{"request_delete_range": {"key": base64("none")}}]);
    let write = json!({"compare": compare, "success": delete, "failure": delete});
    let write = http.ok("kv/txn", &write).await;
    assert_eq!(read.get("succeeded"), write.get("succeeded"), "{compare:?}");
    read.get("succeeded").is_some()
}

/// Asks all four comparisons with something less than what is there, the same, and something greater.
async fn check_four(http: &Http, key: &str, target: &str, field: &str, values: [Value; 3]) {
    let expected = [
        ("EQUAL", [false, true, false]),
        ("NOT_EQUAL", [true, false, true]),
        ("GREATER", [true, false, false]),
        ("LESS", [false, false, true]),
    ];
    for (result, expected) in expected {
        for (value, expected) in values.iter().zip(expected) {
            let compare =
                json!({"key": base64(key), "target": target, "result": result, field: value});
            assert_eq!(holds(http, std::slice::from_ref(&compare)).await, expected, "{compare}");
        }
    }
}

async fn each_of_five_targets_is_equal_greater_less_or_another(fixture: Fixture) {
    fixture.http.ok("lease/grant", &json!({"ID": 70, "TTL": 600})).await;
    let created = revision(&fixture.http.put_text("k", "a").await);
    let put = json!({"key": base64("k"), "value": base64("mm"), "lease": 70});
    let written = revision(&fixture.http.ok("kv/put", &put).await);
    for http in fixture.all() {
        let around =
            |number: i64| [json!(number - 1), json!(number.to_string()), json!(number + 1)];
        check_four(&http, "k", "VERSION", "version", around(2)).await;
        check_four(&http, "k", "CREATE", "create_revision", around(created)).await;
        check_four(&http, "k", "CREATE", "createRevision", around(created)).await;
        check_four(&http, "k", "MOD", "mod_revision", around(written)).await;
        check_four(&http, "k", "LEASE", "lease", around(70)).await;
        let values = ["m", "mm", "mma"].map(|value| json!(base64(value)));
        check_four(&http, "k", "VALUE", "value", values).await;
    }
    fixture.stop().await;
}

async fn a_key_that_is_not_there_has_0_for_all_numbers_and_no_value(fixture: Fixture) {
    fixture.http.put_text("gone", "x").await;
    fixture.http.ok("kv/deleterange", &json!({"key": base64("gone")})).await;
    for http in fixture.all() {
        for key in ["none", "gone"] {
            for (target, field) in [
                ("VERSION", "version"),
                ("CREATE", "create_revision"),
                ("MOD", "mod_revision"),
                ("LEASE", "lease"),
            ] {
                let around = [json!(-1), json!("0"), json!(1)];
                check_four(&http, key, target, field, around).await;
            }
            for result in ["EQUAL", "NOT_EQUAL", "GREATER", "LESS"] {
                for value in ["", "x"] {
                    let compare = json!({
                        "key": base64(key), "target": "VALUE", "result": result, "value": base64(value),
                    });
                    assert!(!holds(&http, std::slice::from_ref(&compare)).await, "{compare}");
                }
            }
        }
    }
    fixture.stop().await;
}

async fn all_comparisons_must_hold_and_none_holds(fixture: Fixture) {
    fixture.http.put_text("k", "v").await;
    for http in fixture.all() {
        let right = json!({"key": base64("k"), "target": "VERSION", "version": 1});
        let wrong = json!({"key": base64("k"), "target": "VERSION", "version": 2});
        assert!(holds(&http, &[]).await);
        assert!(holds(&http, &[right.clone(), right.clone()]).await);
        assert!(!holds(&http, &[right.clone(), wrong.clone()]).await);
        assert!(!holds(&http, &[wrong, right]).await);
    }
    fixture.stop().await;
}

async fn a_comparison_of_a_range_holds_if_it_holds_for_every_key(fixture: Fixture) {
    for key in ["r1", "r2", "r3"] {
        fixture.http.put_text(key, "same").await;
    }
    let last = revision(&fixture.http.put_text("r3", "other").await);
    for http in fixture.all() {
        let of = |key: &str, end: &str, target: &str, result: &str, field: &str, value: Value| {
            json!({"key": base64(key), "range_end": base64(end), "target": target, "result": result,
                field: value})
        };
        let same = || json!(base64("same"));
        for (compare, expected) in [
            (of("r1", "r3", "VALUE", "EQUAL", "value", same()), true),
            (of("r1", "r4", "VALUE", "EQUAL", "value", same()), false),
            (of("r1", "r4", "VALUE", "NOT_EQUAL", "value", same()), false),
            (of("r3", "\0", "VALUE", "NOT_EQUAL", "value", same()), true),
            (of("r", "\0", "MOD", "LESS", "mod_revision", json!(last)), false),
            (of("r", "\0", "MOD", "LESS", "mod_revision", json!(last + 1)), true),
            (of("r", "s", "CREATE", "GREATER", "create_revision", json!(0)), true),
            (of("r", "s", "VERSION", "EQUAL", "version", json!(1)), false),
            // A range without keys is like a key that is not there.
            (of("x", "z", "CREATE", "EQUAL", "create_revision", json!(0)), true),
            (of("x", "z", "VERSION", "GREATER", "version", json!(0)), false),
            (of("x", "z", "VALUE", "NOT_EQUAL", "value", same()), false),
            (of("r3", "r1", "VERSION", "EQUAL", "version", json!(0)), true),
        ] {
            assert_eq!(holds(&http, std::slice::from_ref(&compare)).await, expected, "{compare}");
        }
    }
    fixture.stop().await;
}

async fn what_is_given_for_another_target_is_not_looked_at(fixture: Fixture) {
    fixture.http.put_text("k", "").await;
    for http in fixture.all() {
        for (compare, expected) in [
            // Without its own, a number is 0 and a value is empty.
            (json!({"key": base64("k"), "target": "VERSION"}), false),
            (json!({"key": base64("k"), "target": "VERSION", "result": "GREATER"}), true),
            (json!({"key": base64("k"), "target": "LEASE"}), true),
            (json!({"key": base64("k"), "target": "VALUE"}), true),
            (json!({"key": base64("k"), "target": "LEASE", "value": base64("x")}), true),
            (json!({"key": base64("k"), "target": "CREATE", "version": "1"}), false),
            // The target itself is the version if it is not given, and the result is equality.
            (json!({"key": base64("none")}), true),
            (json!({"key": base64("k"), "version": 1}), true),
            (json!({"key": base64("k"), "version": 1, "result": 3, "target": 0}), false),
        ] {
            assert_eq!(holds(&http, std::slice::from_ref(&compare)).await, expected, "{compare}");
        }
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    each_of_five_targets_is_equal_greater_less_or_another,
    a_key_that_is_not_there_has_0_for_all_numbers_and_no_value,
    all_comparisons_must_hold_and_none_holds,
    a_comparison_of_a_range_holds_if_it_holds_for_every_key,
    what_is_given_for_another_target_is_not_looked_at,
);
