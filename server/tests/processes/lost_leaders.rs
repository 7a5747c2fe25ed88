//! Writes whose leader is lost before it can answer: what is certain is said, and what is not, too.
//!
//! A node that is stopped with SIGSTOP keeps its connections but takes nothing from them, which is
//! the only way to have a write under way when its leader is lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Answer, PATIENCE, Processes, eventually, request, request_with};

/// Slow enough that a busy machine does not depose anybody by itself.
const TIMERS: [&str; 4] = ["--heartbeat", "100ms", "--election-timeout", "1s"];

fn put(address: SocketAddr, path: &str, value: &str) -> Answer {
    request(address, "PUT", path, value.as_bytes()).expect("an answer")
}

fn assert_indefinite(answer: &Answer) {
    let json = answer.json();
    assert_eq!((answer.status, answer.error_name().as_deref()), (504, Some("unknown_outcome")));
    assert_eq!(
        (&json["error"]["definite"], &json["error"]["retryable"]),
        (&false.into(), &false.into())
    );
}

/// The leader has the write but nobody to commit it with.
fn a_write_that_a_leader_can_not_commit_in_time_may_still_happen(protocol: &'static str) {
    let cluster = Processes::start_under(protocol, 3, &[], &TIMERS);
    let leader = cluster.leader();
    let followers: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    let address = cluster.addresses()[leader];
    assert_eq!(put(address, "/v1/kv/before", "v").status, 201);
    for follower in &followers {
        cluster.signal(*follower, Signal::STOP);
    }
    assert_indefinite(&put(address, "/v1/kv/k?timeout=300ms", "perhaps"));
    for follower in &followers {
        cluster.signal(*follower, Signal::CONT);
    }
    // It is decided in the end, and the same on all nodes.
    eventually("the cluster goes on", || put(address, "/v1/kv/after?timeout=1s", "v").status < 300);
    eventually("all agree", || {
        let agreed = request(address, "GET", "/v1/agree?key=k", b"").expect("an answer").json();
        agreed["agree"] == true && agreed["answered"] == 3
    });
    for address in cluster.addresses() {
        let found = request(*address, "GET", "/v1/kv/k", b"").expect("an answer");
        assert!(found.status == 404 || found.json()["value"] == "perhaps", "{}", found.json());
    }
}

/// The write was sent to a leader that never reads it: after the election it is certain that it will
/// not happen.
fn a_write_that_was_lost_with_its_leader_is_told_to_be_lost(protocol: &'static str) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &TIMERS);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let address = cluster.addresses()[follower];
    assert_eq!(put(address, "/v1/kv/before", "v").status, 201);
    cluster.signal(leader, Signal::STOP);
    let lost = std::thread::spawn(move || put(address, "/v1/kv/k?timeout=20s", "lost"));
    // Others write as soon as they can: by what they write in the new term the fate is known.
    let began = Instant::now();
    let third = cluster.addresses()[3 - leader - follower];
    while put(third, "/v1/kv/other?timeout=500ms", "v").status >= 300 {
        assert!(began.elapsed() < PATIENCE, "the other two elect a leader");
    }
    let answer = lost.join().expect("an answer");
    match answer.error_name().as_deref() {
        Some("leader_changed") => assert_eq!(answer.status, 503),
        // The follower had already noticed, kept the write, and handed it to the next leader.
        None => assert_eq!(answer.status, 201),
        Some(_) => panic!("{}", answer.json()),
    }
    // The old leader can not bring it back.
    cluster.signal(leader, Signal::CONT);
    let done = answer.status == 201;
    if !done {
        assert_eq!(answer.json()["error"]["definite"], true);
    }
    std::thread::sleep(Duration::from_millis(500));
    cluster.wait_until_ready();
    for address in cluster.addresses() {
        let status = request(*address, "GET", "/v1/kv/k", b"").expect("an answer").status;
        assert_eq!(status, if done { 200 } else { 404 });
    }
    assert!(cluster.terminate(leader).success());
}

/// The same with an idempotency key: the write goes to the next leader, and is done once, also when the
/// old leader comes back with its copy.
fn a_write_with_a_key_is_sent_to_the_next_leader(protocol: &'static str) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &TIMERS);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let address = cluster.addresses()[follower];
    let put = |address: SocketAddr| {
        let headers = [("Idempotency-Key", "name")];
        request_with(address, "PUT", "/v1/kv/k?timeout=20s", &headers, b"once").expect("an answer")
    };
    assert_eq!(self::put(address, "/v1/kv/before", "v").status, 201);
    cluster.signal(leader, Signal::STOP);
    let first = put(address);
    assert_eq!(first.status, 201, "{}", first.json());
    cluster.signal(leader, Signal::CONT);
    cluster.wait_until_ready();
    for address in cluster.addresses() {
        let again = put(*address);
        assert_eq!((again.status, again.json()), (201, first.json()));
        let found = request(*address, "GET", "/v1/kv/k", b"").expect("an answer").json();
        assert_eq!((&found["value"], &found["version"]), (&"once".into(), &1.into()));
    }
    assert!(cluster.terminate(leader).success());
}

/// A leader that hears nobody answers `sync` from what it has, until it gives up its office: it does not
/// ask whether it still leads. `linearizable` does.
fn a_leader_that_hears_nobody_answers_sync_and_not_linearizable(protocol: &'static str) {
    // Long enough that it stays the leader for the whole test.
    let timers = ["--heartbeat", "100ms", "--election-timeout", "5s"];
    let cluster = Processes::start_under(protocol, 3, &[], &timers);
    let leader = cluster.leader();
    let followers: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    let address = cluster.addresses()[leader];
    assert_eq!(put(address, "/v1/kv/k", "v").status, 201);
    for follower in &followers {
        cluster.signal(*follower, Signal::STOP);
    }
    for path in ["/v1/kv/k?", "/v1/kv?prefix=k&"] {
        let read = |consistency: &str| {
            let path = format!("{path}consistency={consistency}&timeout=300ms");
            request(address, "GET", &path, b"").expect("an answer")
        };
        for consistency in ["sync", "local"] {
            assert_eq!(read(consistency).status, 200, "{path} {consistency}");
        }
        let refused = read("linearizable");
        assert_eq!(
            (refused.status, refused.error_name().as_deref()),
            (503, Some("no_quorum")),
            "{path}: {}",
            refused.json()
        );
    }
    for follower in &followers {
        cluster.signal(*follower, Signal::CONT);
    }
}

/// A follower asks the leader before it answers `sync`; `local` is its own.
fn a_follower_that_hears_no_leader_answers_local_and_not_sync(protocol: &'static str) {
    let timers = ["--heartbeat", "100ms", "--election-timeout", "5s"];
    let cluster = Processes::start_under(protocol, 3, &[], &timers);
    let leader = cluster.leader();
    let address = cluster.addresses()[(leader + 1) % 3];
    assert_eq!(put(address, "/v1/kv/k", "v").status, 201);
    cluster.signal(leader, Signal::STOP);
    let read = |consistency: &str| {
        let path = format!("/v1/kv/k?consistency={consistency}&timeout=300ms");
        request(address, "GET", &path, b"").expect("an answer")
    };
    assert_eq!(read("local").status, 200);
    for consistency in ["sync", "linearizable"] {
        let refused = read(consistency);
        assert_eq!(refused.status, 503, "{consistency}: {}", refused.json());
    }
    cluster.signal(leader, Signal::CONT);
}

on_both!(
    a_write_with_a_key_is_sent_to_the_next_leader,
    a_write_that_a_leader_can_not_commit_in_time_may_still_happen,
    a_write_that_was_lost_with_its_leader_is_told_to_be_lost,
    a_leader_that_hears_nobody_answers_sync_and_not_linearizable,
    a_follower_that_hears_no_leader_answers_local_and_not_sync,
);
