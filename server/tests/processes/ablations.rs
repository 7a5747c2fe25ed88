//! What `duorum serve` can do without (docs/ablations.md), seen from outside: by what the nodes count, say
//! and trace.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::diagrams::read_ndjson;
use crate::support::{Load, Processes, assert_kept, eventually, request};

on_both!(
    without_fsync_nothing_is_synced_and_every_user_is_told,
    without_batching_each_entry_is_synced_and_sent_alone,
    without_pipelining_entries_wait_for_those_before_them,
    a_piggybacked_commit_notice_never_travels_alone,
    silence_alone_is_noticed_after_the_election_timeout,
);

/// How long clients write.
const LOAD: Duration = Duration::from_millis(300);
/// Slow enough that a busy machine does not depose anybody by itself.
const TIMERS: [&str; 4] = ["--heartbeat", "100ms", "--election-timeout", "1s"];

fn start(protocol: &'static str, flags: &[&str]) -> Processes {
    Processes::start_under(protocol, 3, &[], &[&TIMERS[..], flags].concat())
}

/// Clients write at all nodes for a while, and everything that they were told is there.
fn write_at(cluster: &Processes) {
    let load = Load::start(cluster, &[0, 1, 2]);
    std::thread::sleep(LOAD);
    assert_kept(cluster, &load.stop());
}

fn put(address: SocketAddr) {
    eventually("a write succeeds", || {
        request(address, "PUT", "/v1/kv/key", b"v").is_ok_and(|answer| answer.status < 300)
    });
}

fn json(address: SocketAddr, path: &str) -> Value {
    request(address, "GET", path, b"").expect("an answer").json()
}

/// A counter at `/metrics`, the sum of all that it has labels for.
fn counter(address: SocketAddr, name: &str) -> f64 {
    let answer = request(address, "GET", "/metrics", b"").expect("an answer");
    let text = String::from_utf8(answer.body).expect("text");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.split_once(' '));
    let own = lines.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'));
    own.map(|(_, number)| number.parse::<f64>().expect("a number")).sum()
}

/// What the leader sent and heard lately, in order: the event, the peer and the message's name.
fn said_by_leader(cluster: &Processes) -> Vec<(String, u64, String)> {
    let leader = cluster.leader();
    let path = "/v1/trace?limit=2000&messages=all";
    let answer = request(cluster.addresses()[leader], "GET", path, b"").expect("an answer");
    let (_, lines) = read_ndjson(&String::from_utf8(answer.body).expect("text"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let own = lines.iter().filter(|line| line["node"] == leader as u64 + 1);
    own.filter_map(|line| Some((text(&line["event"]), line["peer"].as_u64()?, text(&line["name"]))))
        .collect()
}

fn without_fsync_nothing_is_synced_and_every_user_is_told(protocol: &'static str) {
    let mut cluster = start(protocol, &["--fsync", "off"]);
    write_at(&cluster);
    for &address in cluster.addresses() {
        assert_eq!(counter(address, "duorum_wal_fsyncs_total"), 0.0);
        assert!(counter(address, "etcd_disk_wal_write_bytes_total") > 0.0);
        let status = json(address, "/v1/status");
        assert_eq!(status["mechanisms"]["fsync"], false, "{status}");
        let warning = status["warnings"][0].as_str().expect("a warning");
        assert!(warning.contains("NOT durable"), "{warning}");
    }
    assert_eq!(cluster.logs().matches("NOT durable").count(), 3, "each node says it at start");
    // The system has what a killed process wrote.
    let before = json(cluster.addresses()[0], "/v1/status")["revision"].clone();
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start_node(node));
    cluster.wait_until_ready();
    cluster.wait_until_all_agree();
    assert_eq!(json(cluster.addresses()[0], "/v1/status")["revision"], before);
}

fn without_batching_each_entry_is_synced_and_sent_alone(protocol: &'static str) {
    let cluster = start(protocol, &["--batching", "off"]);
    write_at(&cluster);
    for &address in cluster.addresses() {
        let entries = counter(address, "duorum_applied_entries_total");
        let syncs = counter(address, "duorum_wal_fsyncs_total");
        assert!(entries > 20.0 && syncs >= entries, "{syncs} syncs of {entries} entries");
        // A message that stood for a range would count for each of its entries.
        let frames = counter(address, "duorum_peer_frames_sent_total");
        let messages = counter(address, "duorum_protocol_messages_sent_total");
        assert!(frames >= 0.99 * messages, "{messages} messages in {frames} frames");
        assert_eq!(json(address, "/v1/status")["mechanisms"]["batching"], false);
    }
}

fn without_pipelining_entries_wait_for_those_before_them(protocol: &'static str) {
    // So every AppendEntries carries entries, or asks as if it did.
    let flags = ["--max-inflight-messages", "1", "--commit-notices", "piggybacked"];
    let cluster = start(protocol, &flags);
    write_at(&cluster);
    let mechanisms = &json(cluster.addresses()[0], "/v1/status")["mechanisms"];
    assert_eq!(mechanisms["max_inflight_messages"], 1);
    let mut under_way = BTreeSet::new();
    let mut sent = 0;
    for (event, peer, name) in said_by_leader(&cluster) {
        match (event.as_str(), name.as_str()) {
            ("sent", "AppendEntries" | "PROPOSAL") => {
                assert!(under_way.insert(peer), "two at a time to n{peer}");
                sent += 1;
            }
            ("received", "AppendEntriesResponse" | "ACK") => {
                under_way.remove(&peer);
            }
            _ => {}
        }
    }
    assert!(sent > 20, "only {sent} messages with entries");
}

fn a_piggybacked_commit_notice_never_travels_alone(protocol: &'static str) {
    let cluster = start(protocol, &["--commit-notices", "piggybacked"]);
    let leader = cluster.addresses()[cluster.leader()];
    assert_eq!(json(leader, "/v1/status")["mechanisms"]["commit_notices"], "piggybacked");
    put(leader);
    // Raft's would be an AppendEntries of its own for each follower.
    let appended =
        || counter(leader, "duorum_protocol_messages_sent_total{message=\"AppendEntries\"}");
    let before = appended();
    let writes = 30;
    (0..writes).for_each(|_| put(leader));
    let more = appended() - before;
    if protocol == "raft" {
        assert!(more <= f64::from(2 * writes + 4), "{more} messages for {writes} writes");
    }
    write_at(&cluster);
    check_commits(&said_by_leader(&cluster), protocol);
}

/// ZAB's COMMIT leaves at the same moment as what it goes with: nothing is heard in between.
fn check_commits(said: &[(String, u64, String)], protocol: &str) {
    let mut commits = 0;
    for (at, (event, to, name)) in said.iter().enumerate() {
        if event != "sent" || name != "COMMIT" {
            continue;
        }
        let goes_with = |names: &[&str], (_, peer, name): &(String, u64, String)| {
            peer == to && names.contains(&name.as_str())
        };
        let at_once = |(event, ..): &&(String, u64, String)| event == "sent";
        let before = said[..at].iter().rev().take_while(at_once);
        let mut behind = said[at + 1..].iter().take_while(at_once);
        let carried = before.clone().any(|other| goes_with(&["PROPOSAL", "PING"], other))
            || behind.any(|other| goes_with(&["BARRIER"], other));
        // What stands before the first record that is shown is not known.
        let known = before.count() < at;
        assert!(carried || !known, "a COMMIT to n{to} travels alone: {:?}", &said[..=at]);
        commits += 1;
    }
    assert_eq!(commits > 20, protocol == "zab", "{commits} COMMITs");
}

fn silence_alone_is_noticed_after_the_election_timeout(protocol: &'static str) {
    let mut cluster = start(protocol, &["--failure-detector", "silence"]);
    let former = cluster.leader();
    let survivor = cluster.addresses()[(former + 1) % 3];
    assert_eq!(json(survivor, "/v1/status")["mechanisms"]["failure_detector"], "silence");
    cluster.kill(former);
    put(survivor);
    let election = newest_election(survivor, former);
    let cause = election["cause"].as_str().expect("a cause");
    let (_, behind) = cause.split_once("no sign of life for ").unwrap_or_else(|| panic!("{cause}"));
    let millis: f64 = behind.split_once(" ms").expect("a time").0.parse().expect("a number");
    assert!(millis >= 1_000.0, "{cause}");
    assert!(!cluster.logs().contains("its connection broke"));
}

/// The election that followed the loss of a leader.
fn newest_election(address: SocketAddr, former: usize) -> Value {
    let mut newest = Value::Null;
    eventually("the election is told", || {
        newest = json(address, "/v1/elections?limit=1")["elections"][0].clone();
        newest["former_leader"] == former as u64 + 1 && newest["under_way"] == false
    });
    newest
}

#[test]
fn without_pre_vote_nobody_asks_first() {
    let mut cluster = start("raft", &["--pre-vote", "off"]);
    let former = cluster.leader();
    let survivor = cluster.addresses()[(former + 1) % 3];
    assert_eq!(json(survivor, "/v1/status")["mechanisms"]["pre_vote"], false);
    cluster.kill(former);
    put(survivor);
    let election = newest_election(survivor, former);
    let phases = election["phases"].as_array().expect("phases");
    let has = |name: &str| phases.iter().any(|phase| phase["phase"] == name);
    assert!(has("candidate") && !has("pre_candidate"), "{election}");
    let trace = request(survivor, "GET", "/v1/trace?limit=2000", b"").expect("an answer");
    let trace = String::from_utf8(trace.body).expect("text");
    assert!(trace.contains("RequestVote") && !trace.contains("PreVote"), "{trace}");
}
