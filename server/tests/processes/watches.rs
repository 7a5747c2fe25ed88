//! A watch over the loss of its leader, and over its own connection: it goes on where it was, at any node.

use std::net::SocketAddr;

use crate::support::{Processes, eventually, request, request_with, watch};

/// How many writes there are at a time.
const WRITES: usize = 20;

/// Writes, each once whoever leads, and returns the last revision.
fn write(address: SocketAddr, name: &str) -> u64 {
    let mut last = 0;
    for number in 0..WRITES {
        let key = format!("{name}-{number}");
        let path = format!("/v1/kv/{key}?timeout=20s");
        let headers = [("Idempotency-Key", key.as_str())];
        let answer = request_with(address, "PUT", &path, &headers, b"v").expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.json());
        last = answer.json()["revision"].as_u64().expect("a revision");
    }
    last
}

fn a_watch_goes_on_over_leaders_and_connections(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    let leader = cluster.leader();
    let [here, there] = [(leader + 1) % 3, (leader + 2) % 3].map(|node| cluster.addresses()[node]);
    let revisions = |from: u64, to: u64| (from..=to).collect::<Vec<_>>();

    let mut stream = watch(here, 2);
    let mut next = |count: usize| -> Vec<u64> {
        stream.by_ref().map(|(revision, _)| revision).take(count).collect()
    };
    let before = write(there, "before");
    assert_eq!(next(WRITES), revisions(2, before), "one revision a write");
    cluster.kill(leader);
    let after = write(there, "after");
    assert_eq!(next(WRITES), revisions(before + 1, after), "the same stream, under another leader");
    drop(stream);

    // The client goes on elsewhere, with what was written while it was not connected.
    let missed = write(here, "missed");
    let rest = watch(there, after + 1).map(|(revision, _)| revision).take(WRITES);
    assert_eq!(rest.collect::<Vec<_>>(), revisions(after + 1, missed));
    // And at the node that was down.
    cluster.start_node(leader);
    let back = cluster.addresses()[leader];
    eventually("the former leader is ready", || {
        request(back, "GET", "/readyz", b"").is_ok_and(|answer| answer.status == 200)
    });
    let all = watch(back, 2).map(|(revision, _)| revision).take(3 * WRITES);
    assert_eq!(all.collect::<Vec<_>>(), revisions(2, missed));
}

on_both!(a_watch_goes_on_over_leaders_and_connections);
