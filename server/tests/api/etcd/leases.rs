//! Leases, but for keepalives.

use std::time::{Duration, Instant};

use consensus::Protocol;
use serde_json::{Value, json};

use super::super::client::Http;
use super::Fixture;
use super::support::{base64, hand_over, keys, number, revision, text};

const NOT_FOUND: &str = "etcdserver: requested lease not found";

fn with_lease(key: &str, lease: i64) -> Value {
    json!({"key": base64(key), "value": base64("v"), "lease": lease.to_string()})
}

/// What is left of a lease, and its keys.
async fn time_to_live(http: &Http, lease: i64) -> (i64, Vec<String>) {
    let answer = http.ok("lease/timetolive", &json!({"ID": lease, "keys": true})).await;
    assert_eq!(number(&answer["ID"]), lease);
    let keys = answer["keys"].as_array();
    (number(&answer["TTL"]), keys.into_iter().flatten().map(text).collect())
}

async fn a_time_below_the_least_is_raised_to_2_seconds_and_one_beyond_the_most_refused(
    fixture: Fixture,
) {
    for http in fixture.all() {
        for (request, seconds) in [
            (json!({}), "2"),
            (json!({"TTL": -5}), "2"),
            (json!({"TTL": 1}), "2"),
            (json!({"TTL": "3"}), "3"),
            (json!({"TTL": 9_000_000_000_i64}), "9000000000"),
        ] {
            let answer = http.ok("lease/grant", &request).await;
            assert_eq!(answer["TTL"], seconds, "{request}");
            assert!(number(&answer["ID"]) > 0, "a positive number is picked: {answer}");
        }
        for ttl in [9_000_000_001, i64::MAX] {
            let request = json!({"TTL": ttl});
            http.refused("lease/grant", &request, 11, "etcdserver: too large lease TTL").await;
        }
    }
    fixture.stop().await;
}

async fn a_number_may_be_chosen_even_a_negative_one_but_not_twice(fixture: Fixture) {
    for (place, http) in (1..).zip(fixture.all()) {
        for lease in [1000 * place, -1000 * place, i64::MIN + place, i64::MAX - place] {
            assert_eq!(number(&http.grant(lease, 600).await["ID"]), lease);
            let again = json!({"ID": lease, "TTL": 5});
            http.refused("lease/grant", &again, 9, "etcdserver: lease already exists").await;
        }
    }
    fixture.stop().await;
}

async fn all_leases_are_listed_under_both_paths_and_granted_under_one(fixture: Fixture) {
    let mut granted: Vec<i64> = (0..300).map(|number| 1 + 7 * number).collect();
    granted.insert(0, -3);
    for lease in &granted {
        fixture.http.grant(*lease, 600).await;
    }
    for http in fixture.all() {
        for path in ["lease/leases", "kv/lease/leases"] {
            let answer = http.ok(path, &json!({})).await;
            let leases = answer["leases"].as_array().expect("a list").iter();
            let mut listed: Vec<_> = leases.map(|lease| number(&lease["ID"])).collect();
            listed.sort_unstable();
            assert_eq!(listed, granted);
        }
        http.refused("kv/lease/grant", &json!({}), 5, "Not Found").await;
        http.refused("kv/lease/keepalive", &json!({}), 5, "Not Found").await;
    }
    fixture.stop().await;
}

async fn revoking_deletes_all_keys_in_their_order_in_one_revision(fixture: Fixture) {
    for (place, http) in fixture.all().into_iter().enumerate() {
        let lease = 10 + i64::try_from(place).expect("few nodes");
        http.grant(lease, 600).await;
        for key in ["c", "a", "b"] {
            http.ok("kv/put", &with_lease(key, lease)).await;
        }
        let before = http.catch_up().await;
        let mut watch = http.watch(json!({"key": base64("a"), "range_end": base64("z")})).await;
        let path = if place == 1 { "kv/lease/revoke" } else { "lease/revoke" };
        let answer = http.ok(path, &json!({"ID": lease})).await;
        assert_eq!(revision(&answer), before + 1);
        let deleted = ["a", "b", "c"].map(|key| ("DELETE", key.to_owned(), before + 1));
        assert_eq!(watch.events(0).await, deleted);
        for path in ["lease/revoke", "kv/lease/revoke"] {
            http.refused(path, &json!({"ID": lease}), 5, NOT_FOUND).await;
            http.refused(path, &json!({}), 5, NOT_FOUND).await;
        }
        http.refused("kv/put", &with_lease("a", lease), 5, NOT_FOUND).await;
        // Without keys there is nothing to make a revision of.
        http.grant(lease, 600).await;
        let answer = http.ok("lease/revoke", &json!({"ID": lease})).await;
        assert_eq!(revision(&answer), before + 1);
    }
    fixture.stop().await;
}

async fn time_to_live_tells_what_is_left_and_the_keys_if_asked(fixture: Fixture) {
    fixture.http.grant(5, 600).await;
    for key in ["b", "a"] {
        fixture.http.ok("kv/put", &with_lease(key, 5)).await;
    }
    for http in fixture.all() {
        for path in ["lease/timetolive", "kv/lease/timetolive"] {
            let answer = http.ok(path, &json!({"ID": "5"})).await;
            assert_eq!((&answer["ID"], &answer["grantedTTL"]), (&json!("5"), &json!("600")));
            assert!((1..=600).contains(&number(&answer["TTL"])), "{answer}");
            assert_eq!(answer.get("keys"), None);
            // There is no such lease.
            let answer = http.ok(path, &json!({"ID": 6, "keys": true})).await;
            assert_eq!((&answer["ID"], &answer["TTL"]), (&json!("6"), &json!("-1")));
            assert_eq!((answer.get("grantedTTL"), answer.get("keys")), (None, None));
        }
        assert_eq!(time_to_live(&http, 5).await.1, ["a", "b"]);
    }
    fixture.stop().await;
}

async fn a_put_without_the_lease_takes_its_key_off_and_one_with_another_moves_it(fixture: Fixture) {
    for http in fixture.all() {
        http.grant(1, 600).await;
        http.grant(2, 600).await;
        for key in ["off", "moved", "stays", "deleted"] {
            http.ok("kv/put", &with_lease(key, 1)).await;
        }
        http.put_text("off", "v").await;
        http.ok("kv/put", &with_lease("moved", 2)).await;
        http.ok("kv/deleterange", &json!({"key": base64("deleted")})).await;
        http.put_text("deleted", "again").await;
        assert_eq!(time_to_live(&http, 1).await.1, ["stays"]);
        assert_eq!(time_to_live(&http, 2).await.1, ["moved"]);
        http.ok("lease/revoke", &json!({"ID": 1})).await;
        let rest = http.range_text("a", "z", json!({})).await;
        assert_eq!(keys(&rest), ["deleted", "moved", "off"]);
        http.ok("lease/revoke", &json!({"ID": 2})).await;
        let rest = json!({"key": base64("a"), "range_end": base64("z")});
        assert_eq!(number(&http.ok("kv/deleterange", &rest).await["deleted"]), 2);
    }
    fixture.stop().await;
}

async fn a_lease_that_is_not_renewed_ends_with_its_keys_but_not_before_its_time(fixture: Fixture) {
    let all = fixture.all();
    let mut watches = Vec::new();
    for http in &all {
        let create = json!({"key": base64("k"), "range_end": base64("l")});
        watches.push(http.watch(create).await);
    }
    let began = Instant::now();
    all[all.len() - 1].grant(9, 2).await;
    let mut last = 0;
    for key in ["k2", "k1"] {
        last = revision(&all[0].ok("kv/put", &with_lease(key, 9)).await);
    }
    for watch in &mut watches {
        let mut seen = Vec::new();
        while seen.len() < 4 {
            seen.extend(watch.events(0).await);
        }
        let deleted = ["k1", "k2"].map(|key| ("DELETE", key.to_owned(), last + 1));
        assert_eq!(seen[2..], deleted);
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    for http in &all {
        assert_eq!(time_to_live(http, 9).await, (-1, vec![]));
    }
    fixture.stop().await;
}

/// A lease outlives each leader, and has less time left under the next one, or as much.
async fn over_changes_of_leaders(protocol: Protocol) {
    const SECONDS: i64 = 20;
    let fixture = Fixture::start_on(protocol).await;
    let all = fixture.all();
    let mut renewed = Instant::now();
    all[0].grant(7, SECONDS).await;
    all[0].ok("kv/put", &with_lease("k", 7)).await;
    for turn in 0..2 * all.len() {
        hand_over(&all[0], turn as u64 % all.len() as u64 + 1).await;
        for http in &all {
            let (left, keys) = time_to_live(http, 7).await;
            // However slow this machine is: nothing may end before its time.
            if renewed.elapsed() < Duration::from_secs(SECONDS.unsigned_abs()) {
                assert!((1..=SECONDS).contains(&left), "{left} after {:?}", renewed.elapsed());
                assert_eq!(keys, ["k"]);
            }
        }
        let now = Instant::now();
        let answer = all[turn % all.len()].results("lease/keepalive", "{\"ID\":7}").await;
        if renewed.elapsed() < Duration::from_secs(SECONDS.unsigned_abs()) {
            assert_eq!(number(&answer[0]["TTL"]), SECONDS);
            renewed = now;
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_lease_outlives_leaders_on_raft() {
    over_changes_of_leaders(Protocol::Raft).await;
}

#[tokio::test]
async fn a_lease_outlives_leaders_on_zab() {
    over_changes_of_leaders(Protocol::Zab).await;
}

super::on_every_protocol!(
    a_time_below_the_least_is_raised_to_2_seconds_and_one_beyond_the_most_refused,
    a_number_may_be_chosen_even_a_negative_one_but_not_twice,
    all_leases_are_listed_under_both_paths_and_granted_under_one,
    revoking_deletes_all_keys_in_their_order_in_one_revision,
    time_to_live_tells_what_is_left_and_the_keys_if_asked,
    a_put_without_the_lease_takes_its_key_off_and_one_with_another_moves_it,
    a_lease_that_is_not_renewed_ends_with_its_keys_but_not_before_its_time,
);
