//! Leases over the loss of their leader: a key outlives it as long as its lease is kept alive, and no
//! longer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{Processes, request};

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

on_both!(a_leased_key_outlives_a_killed_leader_but_not_its_lease);
