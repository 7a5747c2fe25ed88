//! A node that was away for so long that the others' logs have forgotten what it lacks: it gets the
//! store itself, while everybody goes on.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Processes, etcd_number, etcd_revisions, etcd_watch, eventually, lines_of_watch, request, watch,
};

/// The log keeps nothing that the store holds durably, but for the segment in use.
const FORGETFUL: [&str; 4] = ["--retain-log-entries", "1", "--retain-log-bytes", "0"];
/// Together more than two segments of a log: one is freed only once another is in use.
const VALUES: usize = 72;
const VALUE_BYTES: usize = 128 << 10;

fn put(address: SocketAddr, key: &str, value: &[u8]) -> u64 {
    let answer = request(address, "PUT", &format!("/v1/kv/{key}"), value).expect("an answer");
    assert!(answer.status < 300, "{}", answer.json());
    answer.json()["revision"].as_u64().expect("a revision")
}

/// Writes enough for the logs of the running nodes to forget their beginnings, which they do by
/// themselves.
fn write_until_forgotten(cluster: &Processes, nodes: &[usize]) {
    let address = cluster.addresses()[nodes[0]];
    eventually("the node is ready", || {
        request(address, "GET", "/readyz", b"").is_ok_and(|answer| answer.status == 200)
    });
    for number in 0..VALUES {
        let value = vec![b'a' + (number % 26) as u8; VALUE_BYTES];
        put(address, &format!("large-{}", number % 20), &value);
    }
    eventually("the logs forget", || {
        let first = |node| cluster.data_directory(node).join("log-0000000000000001.wal");
        nodes.iter().all(|&node| !first(node).exists())
    });
}

fn metric(address: SocketAddr, name: &str) -> u64 {
    let answer = request(address, "GET", "/metrics", b"").expect("an answer");
    let text = String::from_utf8(answer.body).expect("text");
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    let value = line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next();
    value.and_then(|value| value.parse::<f64>().ok()).expect("a number") as u64
}

/// The node is killed at several moments while it catches up, and each time goes on where it was.
fn a_node_that_was_away_too_long_gets_a_snapshot(protocol: &'static str) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &FORGETFUL);
    let leader = cluster.leader();
    let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
    put(cluster.addresses()[leader], "before", b"v");
    cluster.kill(away);
    write_until_forgotten(&cluster, &[leader, other]);
    let changes = metric(cluster.addresses()[leader], "etcd_server_leader_changes_seen");
    for life in 0..6 {
        cluster.start_node(away);
        std::thread::sleep(Duration::from_millis(20 + 40 * life));
        put(cluster.addresses()[other], "meanwhile", life.to_string().as_bytes());
        cluster.kill(away);
    }
    cluster.start_node(away);
    let address = cluster.addresses()[away];
    cluster.wait_until_ready();
    cluster.wait_until_all_agree();
    let found = request(address, "GET", "/v1/kv/meanwhile?consistency=local", b"").expect("found");
    assert_eq!(found.json()["value"], "5");
    assert_eq!(cluster.leader(), leader, "nobody else was elected");
    let now = metric(cluster.addresses()[leader], "etcd_server_leader_changes_seen");
    assert_eq!(now, changes, "and nobody lost the leader");
    // What it lacked was forgotten everywhere. Whether the sender heard that its last snapshot was whole
    // is another matter: the node may have been killed just behind it.
    let sent = format!("sends a snapshot to n{}", away + 1);
    assert!(cluster.logs().contains(&sent), "no other way leads there");
    // It is a node like the others again: it makes a quorum, and starts from what it has.
    cluster.kill(other);
    put(address, "after", b"v");
    cluster.kill(away);
    cluster.start_node(away);
    eventually("it has what it acknowledged", || {
        request(address, "GET", "/v1/kv/after", b"").is_ok_and(|answer| answer.status == 200)
    });
    cluster.start_node(other);
    cluster.wait_until_ready();
    cluster.wait_until_all_agree();
    let stores = std::fs::read_dir(cluster.data_directory(away)).expect("a directory");
    let stores = stores.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let stores: Vec<String> = stores.filter(|name| name.starts_with("store-")).collect();
    assert_eq!(stores.len(), 1, "one store is left: {stores:?}");
    assert_ne!(stores[0], "store-0.redb");
}

/// Stops a node, and lets it go on when the others have written so much that it needs a snapshot. Meanwhile
/// something else is done, with the number of another node. Returns the last revision.
fn over_a_snapshot(
    cluster: &mut Processes,
    away: usize,
    meanwhile: impl FnOnce(&Processes),
) -> u64 {
    let others = [(away + 1) % 3, (away + 2) % 3];
    cluster.signal(away, Signal::STOP);
    // New processes, so that nothing is on its way in the connections that stand still.
    for node in others {
        cluster.kill(node);
        cluster.start_node(node);
    }
    write_until_forgotten(cluster, &others);
    meanwhile(cluster);
    let last = put(cluster.addresses()[others[0]], "last", b"v");
    cluster.signal(away, Signal::CONT);
    last
}

/// All keys, from a revision on.
fn everything_from(revision: u64) -> Value {
    json!({"key": "AA==", "range_end": "AA==", "start_revision": revision})
}

/// A node that stood still keeps its clients: watches there go on behind the snapshot without a gap.
fn watches_go_on_over_a_snapshot(protocol: &'static str) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &FORGETFUL);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    let first = put(cluster.addresses()[leader], "before", b"v");
    let told = watch(cluster.addresses()[away], first);
    let mut results = etcd_watch(cluster.addresses()[away], &everything_from(first));
    assert_eq!(etcd_revisions(&results.next().expect("it is live")), [first]);

    let last = over_a_snapshot(&mut cluster, away, |_| {});
    let told: Vec<u64> =
        told.map(|(revision, _)| revision).take_while(|&revision| revision < last).collect();
    assert_eq!(told, (first..last).collect::<Vec<_>>(), "each revision once, in order");
    let mut seen = vec![first];
    while seen.last() < Some(&last) {
        seen.extend(etcd_revisions(&results.next().expect("the stream goes on")));
    }
    assert_eq!(seen, (first..=last).collect::<Vec<_>>(), "each revision once, in order");
    cluster.wait_until_all_agree();
    assert!(metric(cluster.addresses()[away], "etcd_network_snapshot_receive_success") > 0);
}

/// What the snapshot does not have any more can not be told, and that is told.
fn watches_hear_that_a_snapshot_has_less_than_they_lack(protocol: &'static str) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &FORGETFUL);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    let there = cluster.addresses()[away];
    let first = put(cluster.addresses()[leader], "before", b"v");
    let mut told = lines_of_watch(there, first);
    let event: Value = serde_json::from_str(&told.next().expect("it is live")).expect("JSON");
    assert_eq!(event["revision"], first);
    let mut results = etcd_watch(there, &everything_from(first));
    assert_eq!(etcd_revisions(&results.next().expect("it is live")), [first]);

    let mut compacted = 0;
    let last = over_a_snapshot(&mut cluster, away, |cluster| {
        let other = cluster.addresses()[leader];
        compacted = put(other, "compacted", b"v");
        let body = json!({ "revision": compacted }).to_string();
        let answer = request(other, "POST", "/v1/compact", body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.json());
    });
    // It may have been told something that was on its way before it stood still, but nothing with a gap.
    let mut next = first + 1;
    let canceled = loop {
        let result = results.next().expect("the stream goes on");
        if result.get("canceled").is_some() {
            break result;
        }
        for revision in etcd_revisions(&result) {
            assert_eq!(revision, next, "{result}");
            next += 1;
        }
    };
    assert!(next < compacted, "it lacks what was compacted");
    assert_eq!(etcd_number(&canceled["compact_revision"]), compacted);
    let mut next = first + 1;
    let end = loop {
        let line = told.next().expect("an end that says why");
        let json: Value = serde_json::from_str(&line).expect("a line of JSON");
        if json["error"].is_object() {
            break json;
        }
        assert_eq!(json["revision"], next, "{line}");
        next += 1;
    };
    assert_eq!(
        (&end["error"]["name"], &end["compact_revision"]),
        (&json!("compacted"), &json!(compacted))
    );
    assert_eq!(told.next(), None);
    // From there on nothing is missing.
    let mut results = etcd_watch(there, &everything_from(compacted));
    let mut seen = Vec::new();
    while seen.last() < Some(&last) {
        seen.extend(etcd_revisions(&results.next().expect("the stream goes on")));
    }
    assert_eq!(seen, (compacted..=last).collect::<Vec<_>>());
    assert!(metric(there, "etcd_network_snapshot_receive_success") > 0);
}

on_both!(
    a_node_that_was_away_too_long_gets_a_snapshot,
    watches_go_on_over_a_snapshot,
    watches_hear_that_a_snapshot_has_less_than_they_lack,
);
