//! Faults in running servers: what `/v1/faults` and `/v1/lab` do to real processes, and that all of
//! it ends when it is healed.
//!
//! The timers are slow enough that a busy machine does not depose anybody by itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Processes, eventually, request};

const FLAGS: [&str; 5] = ["--enable-faults", "--heartbeat", "100ms", "--election-timeout", "1s"];
/// Timers so slow that what is asked for happens long before one fires by itself.
const PATIENT: [&str; 5] = ["--enable-faults", "--heartbeat", "3s", "--election-timeout", "15s"];

on_both!(
    a_leader_that_is_cut_off_is_replaced_and_comes_back_when_that_is_healed,
    a_leader_that_nobody_hears_is_replaced_though_it_hears_the_others,
    a_lossy_link_breaks_its_connections_and_loses_no_write,
    no_connection_is_made_through_a_partition,
    late_messages_of_broken_connections_have_no_effect,
    a_slow_link_and_a_slow_disk_are_seen,
    a_disk_that_fails_stops_its_node_which_starts_again,
    a_paused_leader_is_replaced_and_answers_for_its_faults_meanwhile,
    a_crashed_process_is_gone_at_once_and_its_faults_with_it,
    campaigns_change_the_leader_when_a_quorum_has_lost_it,
    aligned_timers_hold_an_election_and_are_spread_again,
);

fn start(protocol: &'static str) -> Processes {
    Processes::start_under(protocol, 3, &[], &FLAGS)
}

/// A cluster that holds its first election because it is told to.
fn start_patient(protocol: &'static str) -> Processes {
    let mut cluster = Processes::prepare(protocol, 3);
    cluster.set_flags(&PATIENT);
    (0..3).for_each(|node| cluster.start_node(node));
    eventually("a node that is told to campaign leads", || {
        let campaign = request(cluster.addresses()[0], "POST", "/v1/lab/campaign?timeout=1s", b"");
        campaign.is_ok_and(|campaign| !campaign.json()["leader"].is_null())
    });
    cluster.wait_until_ready();
    cluster
}

pub(super) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = request(address, method, path, body.as_bytes()).expect("an answer");
    (answer.status, answer.json())
}

/// Begins a fault, at whichever node.
pub(super) fn begin(address: SocketAddr, fault: &Value) -> Value {
    let (status, told) = ask(address, "POST", "/v1/faults", &fault.to_string());
    assert_eq!(status, 201, "{fault}: {told}");
    told
}

fn put(address: SocketAddr, key: &str) {
    eventually("a write succeeds", || {
        request(address, "PUT", &format!("/v1/kv/{key}"), b"v").is_ok_and(|a| a.status < 300)
    });
}

pub(super) fn status(address: SocketAddr) -> Value {
    ask(address, "GET", "/v1/status", "").1
}

/// Waits until one of these nodes leads, which all of them know.
fn other_leader(cluster: &Processes, former: usize) -> usize {
    let others: Vec<usize> = (0..3).filter(|&node| node != former).collect();
    let mut leader = Value::Null;
    eventually("another node leads", || {
        let known: Vec<Value> = others
            .iter()
            .map(|&node| status(cluster.addresses()[node])["leader"].clone())
            .collect();
        leader = known[0].clone();
        let is_other = leader.as_u64().is_some_and(|id| id as usize != former + 1);
        is_other && known.iter().all(|known| *known == leader)
    });
    leader.as_u64().expect("just seen") as usize - 1
}

/// Waits until all nodes follow one leader, and agree.
fn await_peace(cluster: &Processes) {
    cluster.leader();
    cluster.wait_until_all_agree();
}

fn struck(address: SocketAddr, id: &Value) -> u64 {
    let path = format!("/v1/faults/{}", id.as_str().expect("a name"));
    ask(address, "GET", &path, "").1["struck"].as_u64().expect("a number")
}

fn a_leader_that_is_cut_off_is_replaced_and_comes_back_when_that_is_healed(protocol: &'static str) {
    let cluster = start(protocol);
    let leader = cluster.leader();
    let at = |node: usize| cluster.addresses()[node % 3];
    put(at(leader), "before");
    // Asked of another node, which forwards it.
    let fault = json!({"kind": "partition", "from": leader + 1, "both": true});
    let told = begin(at(leader + 1), &fault);
    assert_eq!(told["node"], leader + 1, "{told}");
    let successor = other_leader(&cluster, leader);
    put(at(successor), "meanwhile");
    let refused =
        request(at(leader), "PUT", "/v1/kv/stray?timeout=500ms", b"v").expect("an answer");
    assert!(refused.status >= 500, "a minority writes nothing: {}", refused.status);
    eventually("the leader that was cut off gives up", || status(at(leader))["leader"].is_null());
    // Everybody sees it, and it is healed across the partition.
    for node in 0..3 {
        let (_, list) = ask(at(node), "GET", "/v1/faults", "");
        assert_eq!(list["faults"][0]["id"], told["id"], "{list}");
        assert!(
            list["nodes"].as_array().expect("nodes").iter().all(|node| node["answered"] == true)
        );
    }
    assert!(struck(at(leader + 2), &told["id"]) > 0);
    let id = told["id"].as_str().expect("a name");
    let (code, healed) = ask(at(leader + 1), "DELETE", &format!("/v1/faults/{id}"), "");
    assert_eq!((code, &healed["healed"][0]["id"]), (200, &told["id"]), "{healed}");
    await_peace(&cluster);
    let read = request(at(leader), "GET", "/v1/kv/meanwhile", b"").expect("an answer");
    assert_eq!(read.status, 200);
    let trace = request(at(leader), "GET", "/v1/trace?limit=2000", b"").expect("an answer");
    let trace = String::from_utf8(trace.body).expect("text");
    for words in ["fault_began", "fault_ended", "nothing arrives between node"] {
        assert!(trace.contains(words), "`{words}` is not in the trace:\n{trace}");
    }
}

fn a_leader_that_nobody_hears_is_replaced_though_it_hears_the_others(protocol: &'static str) {
    let cluster = start(protocol);
    let leader = cluster.leader();
    let at = |node: usize| cluster.addresses()[node % 3];
    let fault = json!({"kind": "partition", "from": leader + 1});
    let told = begin(at(leader), &fault);
    assert!(told["what"].as_str().expect("words").contains("to every other node"), "{told}");
    let successor = other_leader(&cluster, leader);
    put(at(successor), "k");
    // The other direction is open: it hears that it leads no longer.
    eventually("the old leader gives up", || status(at(leader))["leader"] != leader + 1);
    assert_eq!(ask(at(leader + 1), "DELETE", "/v1/faults", "").0, 200);
    await_peace(&cluster);
}

fn a_lossy_link_breaks_its_connections_and_loses_no_write(protocol: &'static str) {
    let cluster = start(protocol);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let at = |node: usize| cluster.addresses()[node % 3];
    let fault = json!({"kind": "drop", "from": leader + 1, "to": follower + 1, "probability": 0.2});
    let told = begin(at(leader + 2), &fault);
    let mut written = 0;
    eventually("messages are lost", || {
        put(at(leader + 2), &format!("k{written}"));
        written += 1;
        struck(at(leader), &told["id"]) >= 3
    });
    assert_eq!(ask(at(follower), "DELETE", "/v1/faults", "").0, 200);
    await_peace(&cluster);
    assert!(cluster.logs().contains("lost a message"), "its log says why");
    for number in 0..written {
        // It may still be catching up.
        let path = format!("/v1/kv/k{number}?consistency=local");
        eventually(&format!("k{number} is there"), || ask(at(follower), "GET", &path, "").0 == 200);
    }
}

fn no_connection_is_made_through_a_partition(protocol: &'static str) {
    let mut cluster = start(protocol);
    let leader = cluster.leader();
    let (follower, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let addresses = cluster.addresses().to_vec();
    let connected = |node: usize, peer: usize| {
        let peers = status(addresses[node])["peers"].clone();
        let peers = peers.as_array().expect("peers").clone();
        peers.iter().any(|other| other["node"] == peer + 1 && other["connected"] == true)
    };
    // One direction is enough.
    begin(addresses[third], &json!({"kind": "partition", "from": leader + 1, "to": follower + 1}));
    cluster.kill(follower);
    cluster.start_node(follower);
    eventually("the node connects with the third", || {
        request(addresses[follower], "GET", "/livez", b"").is_ok() && connected(follower, third)
    });
    eventually("its attempts to connect with the leader fail", || {
        cluster.logs().contains("lets nothing through")
    });
    assert!(!connected(follower, leader) && !connected(leader, follower));
    assert_eq!(ask(addresses[follower], "DELETE", "/v1/faults", "").0, 200);
    eventually("they connect once it is healed", || connected(follower, leader));
    await_peace(&cluster);
}

fn late_messages_of_broken_connections_have_no_effect(protocol: &'static str) {
    let cluster = start(protocol);
    let leader = cluster.leader();
    let at = |node: usize| cluster.addresses()[node % 3];
    let mut ids = Vec::new();
    for (kind, to) in [("duplicate", (leader + 1) % 3), ("reorder", (leader + 2) % 3)] {
        let fault = json!({"kind": kind, "to": to + 1, "probability": 0.1});
        let told = begin(at(leader), &fault);
        assert_eq!(told["node"], to + 1, "who receives carries it out: {told}");
        ids.push(told["id"].clone());
    }
    let mut written = 0;
    eventually("messages come late", || {
        put(at(leader), &format!("k{written}"));
        written += 1;
        ids.iter().all(|id| struck(at(leader), id) >= 3)
    });
    assert_eq!(ask(at(leader), "DELETE", "/v1/faults", "").0, 200);
    await_peace(&cluster);
    assert!(cluster.logs().contains("of an earlier connection with peer"), "they did come late");
    let count = ask(at(leader + 1), "GET", "/v1/kv?prefix=k&count_only", "").1;
    assert_eq!(count["count"], written);
}

fn a_slow_link_and_a_slow_disk_are_seen(protocol: &'static str) {
    let cluster = start(protocol);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let at = |node: usize| cluster.addresses()[node % 3];
    let fault = json!({"kind": "delay", "from": follower + 1, "both": true, "ms": 60});
    begin(at(leader), &fault);
    // A write asked of the follower waits there and back.
    let began = Instant::now();
    put(at(follower), "k");
    assert!(began.elapsed() >= Duration::from_millis(120), "{:?}", began.elapsed());
    eventually("the round trip is as long as the delay says", || {
        let peers = status(at(leader))["peers"].clone();
        let peers = peers.as_array().expect("peers");
        let peer = peers.iter().find(|peer| peer["node"] == follower + 1).expect("it");
        peer["round_trip_ms"].as_f64().is_some_and(|ms| ms >= 120.0)
    });
    assert_eq!(ask(at(leader), "DELETE", "/v1/faults", "").0, 200);
    begin(at(follower), &json!({"kind": "slow_disk", "to": leader + 1, "ms": 150}));
    put(at(leader), "k");
    eventually("the last sync took as long as the fault says", || {
        status(at(leader))["last_fsync_ms"].as_f64().is_some_and(|ms| ms >= 150.0)
    });
    assert_eq!(status(at(leader))["faults"], 1);
    assert_eq!(ask(at(leader), "DELETE", "/v1/faults", "").0, 200);
    await_peace(&cluster);
}

fn a_disk_that_fails_stops_its_node_which_starts_again(protocol: &'static str) {
    let mut cluster = start(protocol);
    let leader = cluster.leader();
    let at = |cluster: &Processes, node: usize| cluster.addresses()[node % 3];
    put(at(&cluster, leader), "before");
    begin(at(&cluster, leader + 1), &json!({"kind": "fail_disk", "to": leader + 1}));
    // The write makes the sync; it may be committed by the others, or not.
    let _ = request(at(&cluster, leader), "PUT", "/v1/kv/during", b"v");
    cluster.await_end(leader);
    let logs = cluster.logs();
    assert!(logs.contains("makes this sync fail") && logs.contains("had to stop"), "{logs}");
    let successor = other_leader(&cluster, leader);
    put(at(&cluster, successor), "after");
    cluster.start_node(leader);
    cluster.wait_until_ready();
    assert_eq!(status(at(&cluster, leader))["faults"], 0);
    await_peace(&cluster);
}

fn a_paused_leader_is_replaced_and_answers_for_its_faults_meanwhile(protocol: &'static str) {
    let cluster = start(protocol);
    let leader = cluster.leader();
    let at = |node: usize| cluster.addresses()[node % 3];
    let told = begin(at(leader + 1), &json!({"kind": "pause", "to": leader + 1}));
    let successor = other_leader(&cluster, leader);
    put(at(successor), "meanwhile");
    let standing = status(at(leader));
    assert_eq!(standing["leader"], leader + 1, "it has not heard of anything: {standing}");
    assert_eq!(standing["faults"], 1);
    let local = request(at(leader), "GET", "/v1/kv/meanwhile?consistency=local", b"");
    assert_eq!(local.expect("HTTP still answers").status, 404);
    // The node itself heals it.
    let id = told["id"].as_str().expect("a name");
    assert_eq!(ask(at(leader), "DELETE", &format!("/v1/faults/{id}"), "").0, 200);
    await_peace(&cluster);
    // One that is paused stops all the same when it is told to, and quickly.
    begin(at(leader), &json!({"kind": "pause", "for": "1h"}));
    let mut cluster = cluster;
    assert!(cluster.terminate(leader).success());
}

fn a_crashed_process_is_gone_at_once_and_its_faults_with_it(protocol: &'static str) {
    let mut cluster = start(protocol);
    let leader = cluster.leader();
    let address = cluster.addresses()[leader];
    let other = cluster.addresses()[(leader + 1) % 3];
    begin(address, &json!({"kind": "delay", "ms": 1}));
    let (code, refused) = ask(
        other,
        "POST",
        "/v1/faults",
        &json!({"kind": "crash", "to": leader + 1, "for": "1s"}).to_string(),
    );
    assert_eq!((code, &refused["error"]["name"]), (400, &json!("invalid_body")), "{refused}");
    begin(other, &json!({"kind": "crash", "to": leader + 1}));
    cluster.await_end(leader);
    assert!(!cluster.logs().contains("stopped\n"), "nobody was told to stop");
    other_leader(&cluster, leader);
    let (_, list) = ask(other, "GET", "/v1/faults", "");
    assert_eq!(list["nodes"][leader]["answered"], false, "{list}");
    let healed = ask(other, "DELETE", &format!("/v1/faults/{}-1", leader + 1), "");
    assert_eq!((healed.0, &healed.1["error"]["name"]), (503, &json!("node_unreachable")));
    cluster.start_node(leader);
    cluster.wait_until_ready();
    let (_, list) = ask(other, "GET", "/v1/faults", "");
    assert_eq!(list["faults"], json!([]), "a node that starts has none");
    await_peace(&cluster);
}

/// No timer fires for many seconds: what happens is what was asked for.
fn campaigns_change_the_leader_when_a_quorum_has_lost_it(protocol: &'static str) {
    let cluster = start_patient(protocol);
    let leader = cluster.leader();
    let at = |node: usize| cluster.addresses()[node % 3];
    put(at(leader), "before");
    let (code, alone) = ask(at(leader), "POST", "/v1/lab/campaign", "");
    assert_eq!((code, &alone["elected"]), (200, &json!(true)), "it leads already: {alone}");
    begin(at(leader), &json!({"kind": "pause"}));
    for node in [leader + 1, leader + 2] {
        let (code, campaign) = ask(at(node), "POST", "/v1/lab/campaign?timeout=100ms", "");
        assert_eq!(code, 200, "{campaign}");
    }
    let successor = other_leader(&cluster, leader);
    put(at(successor), "after");
    assert_eq!(ask(at(successor), "DELETE", "/v1/faults", "").0, 200);
    await_peace(&cluster);
    // Nothing is said of what came of a campaign that has not begun.
    let follower = (cluster.leader() + 1) % 3;
    begin(at(follower), &json!({"kind": "pause"}));
    let (code, unheard) = ask(at(follower), "POST", "/v1/lab/campaign?timeout=200ms", "");
    assert_eq!((code, &unheard["elected"]), (200, &json!(false)), "{unheard}");
    assert!(unheard["what"].as_str().expect("words").contains("stand still"), "{unheard}");
    assert_eq!(ask(at(follower), "DELETE", "/v1/faults", "").0, 200);
    await_peace(&cluster);
}

fn aligned_timers_hold_an_election_and_are_spread_again(protocol: &'static str) {
    let cluster = start_patient(protocol);
    let leader = cluster.leader();
    let at = |node: usize| cluster.addresses()[node % 3];
    put(at(leader), "before");
    let term = status(at(leader))["term"].as_u64().expect("a term");
    let roles = || {
        let trace = request(at(leader), "GET", "/v1/trace?limit=2000&messages=none", b"");
        let trace = String::from_utf8(trace.expect("an answer").body).expect("text");
        trace.matches("\"role_changed\"").count()
    };
    let before = roles();
    let timers = |node: usize| {
        let (_, list) = ask(at(node), "GET", "/v1/faults", "");
        let nodes = list["nodes"].as_array().expect("nodes").clone();
        nodes
            .iter()
            .map(|node| node["timers"].as_str().unwrap_or("-").to_owned())
            .collect::<Vec<_>>()
    };
    let (code, aligned) = ask(at(leader + 1), "POST", "/v1/lab/align-timers", "");
    assert_eq!((code, &aligned["timers"]), (200, &json!("aligned")), "{aligned}");
    assert_eq!(timers(leader), ["aligned"; 3]);
    // Both followers begin to look for a leader, and all find one.
    eventually("an election was held", || {
        let led = (0..3).all(|node| !status(at(node))["leader"].is_null());
        led && roles() >= before + 4
    });
    if protocol == "raft" {
        // In ZAB they may find that the leader still leads.
        let now = status(at(leader))["term"].as_u64();
        assert!(now.is_some_and(|now| now > term), "{now:?} after {term}");
    }
    let (code, spread) = ask(at(leader), "POST", "/v1/lab/spread-timers", "");
    assert_eq!((code, &spread["timers"]), (200, &json!("spread")), "{spread}");
    assert_eq!(timers(leader + 1), ["spread"; 3]);
    await_peace(&cluster);
}
