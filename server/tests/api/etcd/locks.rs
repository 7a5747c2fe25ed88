//! Locks.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::client::{Answer, Http};
use super::Fixture;
use super::support::{assert_refused, base64, keys, number, text};

const EXPIRED: &str = "mutex: session is expired";

fn lock(name: &str, lease: i64) -> Value {
    json!({"name": base64(name), "lease": lease})
}

/// Takes a lock that is free.
async fn take(http: &Http, name: &str, lease: i64) -> String {
    text(&http.ok("lock/lock", &lock(name, lease)).await["key"])
}

/// The keys of a lock, from the first that was created on.
async fn queue(http: &Http, name: &str) -> Vec<String> {
    let by_creation = json!({"sort_target": "CREATE"});
    keys(&http.range_text(&format!("{name}/"), &format!("{name}0"), by_creation).await)
}

/// Asks for a lock that is not free. Returns when its key is in the queue.
async fn wait_for(http: &Http, name: &str, lease: i64) -> JoinHandle<Answer> {
    let (http, request) = (*http, lock(name, lease));
    let waiting = tokio::spawn(async move { http.v3("lock/lock", &request).await });
    let key = format!("{name}/{lease:x}");
    while !queue(&http, name).await.contains(&key) {
        assert!(!waiting.is_finished(), "it does not wait");
    }
    waiting
}

async fn the_key_of_a_lock_is_its_name_and_the_lease_in_hex(fixture: Fixture) {
    for http in fixture.all() {
        http.grant(0xabc, 600).await;
        http.grant(-0xabc, 600).await;
        let answer = http.ok("lock/lock", &lock("n", 0xabc)).await;
        assert_eq!(text(&answer["key"]), "n/abc");
        let found = http.range_text("n/abc", "", json!({})).await;
        assert_eq!(number(&found["kvs"][0]["lease"]), 0xabc);
        assert_eq!(take(&http, "other", -0xabc).await, "other/-abc");
        http.ok("lock/unlock", &json!({"key": base64("n/abc")})).await;
        assert_eq!(queue(&http, "n").await, Vec::<String>::new());
        // What is not locked may be unlocked.
        http.ok("lock/unlock", &json!({"key": base64("n/abc")})).await;
        for lease in [0xabc, -0xabc] {
            http.ok("lease/revoke", &json!({"ID": lease})).await;
        }
        assert_eq!(queue(&http, "other").await, Vec::<String>::new());
    }
    fixture.stop().await;
}

async fn a_lock_without_a_lease_has_one_of_its_own_for_60_seconds(fixture: Fixture) {
    for http in fixture.all() {
        let key = take(&http, "n", 0).await;
        let lease = i64::from_str_radix(key.strip_prefix("n/").expect("its name"), 16);
        let lease = json!({"ID": lease.expect("a number"), "keys": true});
        let time = http.ok("lease/timetolive", &lease).await;
        assert_eq!((number(&time["grantedTTL"]), text(&time["keys"][0])), (60, key));
        http.ok("lease/revoke", &lease).await;
        assert_eq!(queue(&http, "n").await, Vec::<String>::new());
    }
    fixture.stop().await;
}

/// What is left of the lease of a lock's key, in seconds.
async fn time_left(http: &Http, key: &str) -> i64 {
    let (_, lease) = key.rsplit_once('/').expect("a name and a lease");
    let lease = i64::from_str_radix(lease, 16).expect("a number");
    let time = http.ok("lease/timetolive", &json!({"ID": lease})).await;
    assert_eq!(number(&time["grantedTTL"]), 60, "{key}: {time}");
    number(&time["TTL"])
}

/// As in etcd: who is to have the lock for longer renews the lease, by the number in the key.
async fn the_lease_that_a_lock_made_for_itself_is_not_kept_alive_once_it_is_won(fixture: Fixture) {
    let all = fixture.all();
    fixture.http.grant(1, 600).await;
    let mut won = Vec::new();
    for (place, http) in all.iter().enumerate() {
        won.push(take(http, &format!("free{place}"), 0).await);
        // While somebody waits their lease is renewed, which ends with the wait.
        let name = format!("held{place}");
        take(http, &name, 1).await;
        let (asked, request) = (*http, lock(&name, 0));
        let waiting = tokio::spawn(async move { asked.v3("lock/lock", &request).await });
        while queue(http, &name).await.len() < 2 {
            assert!(!waiting.is_finished(), "it does not wait");
        }
        http.ok("lock/unlock", &json!({"key": base64(format!("{name}/1"))})).await;
        let answer = waiting.await.expect("no panic").json();
        won.push(text(&answer["key"]));
    }
    let mut before = Vec::new();
    for key in &won {
        before.push(time_left(&fixture.http, key).await);
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for (key, before) in won.iter().zip(before) {
        for http in &all {
            let left = time_left(http, key).await;
            assert!((1..before).contains(&left), "{key}: {left} s are left of {before} s");
        }
    }
    fixture.stop().await;
}

async fn the_same_lease_takes_a_lock_twice_and_has_it_once(fixture: Fixture) {
    fixture.http.grant(7, 600).await;
    let before = fixture.http.catch_up().await;
    for http in fixture.all() {
        assert_eq!(take(&http, "n", 7).await, "n/7");
        assert_eq!(http.catch_up().await, before + 1, "nothing is written the second time");
    }
    fixture.http.ok("lock/unlock", &json!({"key": base64("n/7")})).await;
    assert_eq!(queue(&fixture.http, "n").await, Vec::<String>::new());
    fixture.stop().await;
}

async fn a_lock_goes_from_one_to_the_next_in_the_order_in_which_they_came(fixture: Fixture) {
    let all = fixture.all();
    for lease in 1..=5 {
        all[0].grant(lease, 600).await;
    }
    take(&all[0], "n", 1).await;
    let mut waiting = Vec::new();
    for (lease, http) in (2..=5).zip(all.iter().cycle()) {
        waiting.push(wait_for(http, "n", lease).await);
    }
    for (lease, waits) in (1..).zip(waiting) {
        assert!(!waits.is_finished());
        let key = json!({"key": base64(format!("n/{lease:x}"))});
        all[lease % all.len()].ok("lock/unlock", &key).await;
        let answer = waits.await.expect("no panic");
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(text(&answer.json()["key"]), format!("n/{:x}", lease + 1));
    }
    fixture.stop().await;
}

/// By that revision whatever a lock guards can refuse who had the lock before.
async fn the_revision_that_created_the_key_grows_from_holder_to_holder(fixture: Fixture) {
    let all = fixture.all();
    let mut last = 0;
    for round in 0..2 {
        for lease in 1..=3 {
            all[0].grant(lease, 600).await;
        }
        // The numbers of the leases grow, or fall: it is not by them that the lock is handed on.
        let leases: [i64; 3] = if round == 0 { [1, 2, 3] } else { [3, 2, 1] };
        take(&all[0], "n", leases[0]).await;
        let second = wait_for(&all[1 % all.len()], "n", leases[1]).await;
        let third = wait_for(&all[2 % all.len()], "n", leases[2]).await;
        let mut waiting = [Some(second), Some(third), None].into_iter();
        for lease in leases {
            let key = format!("n/{lease:x}");
            let found = all[0].range_text(&key, "", json!({})).await;
            let created = number(&found["kvs"][0]["create_revision"]);
            assert!(created > last, "{created} after {last}");
            last = created;
            all[0].ok("lock/unlock", &json!({"key": base64(&key)})).await;
            if let Some(next) = waiting.next().expect("one each") {
                assert_eq!(next.await.expect("no panic").status, 200);
            }
        }
        for lease in leases {
            all[0].ok("lease/revoke", &json!({"ID": lease})).await;
        }
    }
    fixture.stop().await;
}

async fn who_leaves_the_middle_of_the_queue_lets_nobody_in(fixture: Fixture) {
    let all = fixture.all();
    for lease in 1..=3 {
        all[0].grant(lease, 600).await;
    }
    take(&all[0], "n", 1).await;
    let second = wait_for(&all[all.len() - 1], "n", 2).await;
    let third = wait_for(&all[0], "n", 3).await;
    // Its key is deleted, whoever does it.
    all[0].ok("kv/deleterange", &json!({"key": base64("n/2")})).await;
    assert_refused(&second.await.expect("no panic"), 2, EXPIRED);
    for _ in 0..20 {
        assert!(!third.is_finished(), "the first still has the lock");
        all[0].put_text("other", "").await;
    }
    all[0].ok("lease/revoke", &json!({"ID": 1})).await;
    assert_eq!(third.await.expect("no panic").status, 200);
    assert_eq!(queue(&all[0], "n").await, ["n/3"]);
    fixture.stop().await;
}

async fn who_goes_away_while_they_wait_leaves_no_key_behind(fixture: Fixture) {
    for http in fixture.all() {
        for lease in 1..=3 {
            http.grant(lease, 600).await;
        }
        take(&http, "n", 1).await;
        let waiting = wait_for(&http, "n", 2).await;
        let mut own_lease = http.open("lock/lock", "{\"name\":\"bg==\"}").await;
        own_lease.end_body().await;
        while queue(&http, "n").await.len() < 3 {}
        // Both connections are closed, and with them both requests are over.
        drop(own_lease);
        waiting.abort();
        while queue(&http, "n").await.len() > 1 {}
        assert_eq!(queue(&http, "n").await, ["n/1"]);
        let leases = http.ok("lease/leases", &json!({})).await;
        assert_eq!(leases["leases"].as_array().map(Vec::len), Some(3), "{leases}");
        for lease in 1..=3 {
            http.ok("lease/revoke", &json!({"ID": lease})).await;
        }
    }
    fixture.stop().await;
}

async fn a_wait_ends_with_its_lease(fixture: Fixture) {
    let all = fixture.all();
    for (place, http) in all.iter().enumerate() {
        for lease in 1..=2 {
            http.grant(lease, 600).await;
        }
        take(http, "n", 1).await;
        let waiting = wait_for(http, "n", 2).await;
        let revoking = &all[(place + 1) % all.len()];
        revoking.ok("lease/revoke", &json!({"ID": 2})).await;
        assert_refused(&waiting.await.expect("no panic"), 2, EXPIRED);
        http.ok("lease/revoke", &json!({"ID": 1})).await;
    }
    fixture.stop().await;
}

async fn a_wait_ends_when_the_client_says_so(fixture: Fixture) {
    for http in fixture.all() {
        for lease in 1..=2 {
            http.grant(lease, 600).await;
        }
        take(&http, "n", 1).await;
        let body = lock("n", 2).to_string();
        let headers = [("grpc-timeout", "50m")];
        let answer = http.send("POST", "/v3/lock/lock", &headers, body.as_bytes()).await;
        assert_refused(&answer, 4, "etcdserver: context deadline exceeded");
        assert_eq!(queue(&http, "n").await, ["n/1"], "it is out of the queue by then");
        for lease in 1..=2 {
            http.ok("lease/revoke", &json!({"ID": lease})).await;
        }
    }
    fixture.stop().await;
}

async fn a_lock_needs_a_lease_that_exists(fixture: Fixture) {
    for http in fixture.all() {
        let message = "etcdserver: requested lease not found";
        http.refused("lock/lock", &lock("n", 99), 2, message).await;
        http.refused("lock/unlock", &json!({}), 3, "etcdserver: key is not provided").await;
    }
    assert_eq!(queue(&fixture.http, "n").await, Vec::<String>::new());
    fixture.stop().await;
}

async fn a_node_that_stops_lets_go_who_waits_there(fixture: Fixture) {
    for lease in 1..=2 {
        fixture.http.grant(lease, 600).await;
    }
    take(&fixture.http, "n", 1).await;
    let waiting = wait_for(&fixture.http, "n", 2).await;
    let stopping = tokio::spawn(fixture.stop());
    assert_refused(&waiting.await.expect("no panic"), 14, "etcdserver: server stopped");
    stopping.await.expect("it stops");
}

super::on_every_protocol!(
    the_key_of_a_lock_is_its_name_and_the_lease_in_hex,
    a_lock_without_a_lease_has_one_of_its_own_for_60_seconds,
    the_lease_that_a_lock_made_for_itself_is_not_kept_alive_once_it_is_won,
    the_same_lease_takes_a_lock_twice_and_has_it_once,
    a_lock_goes_from_one_to_the_next_in_the_order_in_which_they_came,
    the_revision_that_created_the_key_grows_from_holder_to_holder,
    who_leaves_the_middle_of_the_queue_lets_nobody_in,
    who_goes_away_while_they_wait_leaves_no_key_behind,
    a_wait_ends_with_its_lease,
    a_wait_ends_when_the_client_says_so,
    a_lock_needs_a_lease_that_exists,
    a_node_that_stops_lets_go_who_waits_there,
);
