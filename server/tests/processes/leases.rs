//! Leases over the loss of their leader: a key outlives it as long as its lease is kept alive, and no
//! longer. And over the loss of all nodes at once, which forget nothing of what is left.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Processes, eventually, request, watch};

/// Slow enough that a busy machine does not depose anybody by itself.
const TIMERS: [&str; 4] = ["--heartbeat", "100ms", "--election-timeout", "1s"];

/// How long a lease lives: longer than it takes to elect, on however busy a machine.
const TTL: Duration = Duration::from_secs(8);
/// How much later than its lease a key may go: the next leader begins to count anew.
const LATE_MAX: Duration = Duration::from_secs(60);

fn grant(address: SocketAddr, ttl: &str) -> i64 {
    let body = format!("{{\"ttl\":\"{ttl}\"}}");
    let path = "/v1/leases?timeout=20s";
    let answer = request(address, "POST", path, body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()["lease"].as_i64().expect("a number")
}

fn put(address: SocketAddr, key: &str, lease: i64) {
    let path = format!("/v1/kv/{key}?lease={lease}&timeout=20s");
    let answer = request(address, "PUT", &path, b"v").expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.json());
}

/// Whether a key exists, by a quorum's word.
fn exists(address: SocketAddr, key: &str) -> bool {
    let path = format!("/v1/kv/{key}?timeout=20s");
    let answer = request(address, "GET", &path, b"").expect("an answer");
    assert!([200, 404].contains(&answer.status), "{}", answer.json());
    answer.status == 200
}

/// Keeps a lease alive for a while; when it was last renewed at least.
fn keep_alive(address: SocketAddr, lease: i64, lasts: Duration) -> Instant {
    let (until, mut renewed) = (Instant::now() + lasts, Instant::now());
    while Instant::now() < until {
        let began = Instant::now();
        let path = format!("/v1/leases/{lease}/keepalive?timeout=1s");
        let answer = request(address, "POST", &path, b"").expect("an answer");
        if answer.status == 200 {
            renewed = began;
        } else {
            let name = answer.json()["error"]["name"].clone();
            assert_ne!(name, "lease_not_found", "{:?} after it was renewed", renewed.elapsed());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    renewed
}

fn a_leased_key_outlives_a_killed_leader_but_not_its_lease(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    let first = cluster.leader();
    let [here, there] = [(first + 1) % 3, (first + 2) % 3].map(|node| cluster.addresses()[node]);
    let (kept, left) = (grant(here, "8s"), grant(there, "1h"));
    put(there, "kept", kept);
    put(here, "left", left);

    cluster.kill(first);
    let renewed = keep_alive(here, kept, TTL + TTL / 4);
    assert!(exists(there, "kept"), "{:?} after it was renewed", renewed.elapsed());
    assert_ne!(cluster.leader(), first, "there is another leader");

    // Nobody keeps it alive any more, and the leader that counted is gone, too.
    cluster.start_node(first);
    cluster.wait_until_ready();
    let renewed = keep_alive(here, kept, Duration::from_millis(1));
    let second = cluster.leader();
    cluster.kill(second);
    let asked = cluster.addresses()[first];
    while exists(asked, "kept") {
        assert!(renewed.elapsed() < TTL + LATE_MAX, "the key outlives its lease");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(renewed.elapsed() >= TTL, "it went {:?} after it was renewed", renewed.elapsed());
    assert!(exists(asked, "left"), "nothing else went");
    let path = format!("/v1/leases/{kept}");
    let answer = request(asked, "GET", &path, b"").expect("an answer");
    assert_eq!(answer.json()["error"]["name"], "lease_not_found");
}

/// The time and the keys of a lease, as a node tells them.
fn shown(address: SocketAddr, lease: i64) -> Value {
    let path = format!("/v1/leases/{lease}?timeout=20s");
    let answer = request(address, "GET", &path, b"").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

/// Waits until the leader has written down what is left of the leases, as it does every five seconds. What
/// else follows from what was asked for is over by then.
fn wait_for_checkpoint(address: SocketAddr) {
    std::thread::sleep(Duration::from_secs(6));
    let standing = || {
        let status = request(address, "GET", "/v1/status", b"").expect("an answer").json();
        let number = |name: &str| status[name].as_u64().expect("a number");
        (number("term"), number("applied_index"))
    };
    let mut before = standing();
    eventually("what is left of the leases is written down", || {
        let now = standing();
        if now.0 != before.0 {
            // A new leader counts anew from what was written down.
            before = now;
        }
        now.1 > before.1
    });
}

/// What is in the log and in the stores is all that is left of a lease then: no memory outlives it.
fn leases_outlive_the_death_of_all_nodes_with_their_keys_and_what_is_left(protocol: &'static str) {
    const TTL_MILLIS: u64 = 3_600_000;
    let mut cluster = Processes::start_under(protocol, 3, &[], &TIMERS);
    let addresses = cluster.addresses().to_vec();
    let granted = Instant::now();
    let (ended, kept) = (grant(addresses[0], "1h"), grant(addresses[1], "2h"));
    for (address, key) in addresses.iter().zip(["c", "a", "b"]) {
        put(*address, key, ended);
    }
    cluster.wait_until_all_agree();
    wait_for_checkpoint(addresses[0]);
    // Written just before: it is acknowledged, so it is there.
    put(addresses[2], "kept", kept);
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start_node(node));
    cluster.wait_until_ready();

    for address in &addresses {
        let lease = shown(*address, ended);
        assert_eq!(lease["ttl_ms"], TTL_MILLIS);
        assert_eq!(lease["keys"], json!([{"key": "a"}, {"key": "b"}, {"key": "c"}]));
        let left = Duration::from_millis(lease["remaining_ms"].as_u64().expect("a time"));
        // A checkpoint is made when five seconds have passed.
        assert!(left < Duration::from_millis(TTL_MILLIS - 4_000), "it begins anew: {left:?}");
        let passed = granted.elapsed();
        assert!(left + passed >= Duration::from_millis(TTL_MILLIS), "{left:?} after {passed:?}");
        assert_eq!(shown(*address, kept)["keys"], json!([{"key": "kept"}]));
        for (key, lease) in [("a", ended), ("b", ended), ("c", ended), ("kept", kept)] {
            let path = format!("/v1/kv/{key}?timeout=20s");
            let found = request(*address, "GET", &path, b"").expect("an answer").json();
            assert_eq!((&found["value"], &found["lease"]), (&json!("v"), &json!(lease)), "{found}");
        }
    }

    let follower = addresses[(cluster.leader() + 1) % 3];
    let path = format!("/v1/leases/{ended}?timeout=20s");
    let answer = request(follower, "DELETE", &path, b"").expect("an answer");
    let (status, answer) = (answer.status, answer.json());
    // Four puts made the revisions up to 5, and this is one more.
    assert_eq!((status, &answer), (200, &json!({"deleted": 3, "revision": 6})));
    for address in &addresses {
        let (revision, line) = watch(*address, 6).next().expect("a line");
        let line: Value = serde_json::from_str(&line).expect("a line of JSON");
        let deleted = |key: &str| json!({"type": "delete", "kv": {"key": key, "mod_revision": 6}});
        let events = ["a", "b", "c"].map(deleted);
        assert_eq!((revision, line), (6, json!({"revision": 6, "events": events})));
        let gone = request(*address, "GET", &path, b"").expect("an answer");
        assert_eq!(gone.json()["error"]["name"], "lease_not_found");
        assert!(["a", "b", "c"].iter().all(|key| !exists(*address, key)));
        assert!(exists(*address, "kept"), "nothing else went");
    }
}

on_both!(
    a_leased_key_outlives_a_killed_leader_but_not_its_lease,
    leases_outlive_the_death_of_all_nodes_with_their_keys_and_what_is_left,
);
