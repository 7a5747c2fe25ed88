//! What `/v1/elections` and `/v1/trace` tell of real elections: of leaders that are killed, and of
//! leaders that fall silent.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::diagrams::{read_mermaid, read_ndjson, read_shiviz};
use crate::support::{Processes, eventually, request};

/// Slow enough that a busy machine does not depose anybody by itself.
const TIMERS: [&str; 4] = ["--heartbeat", "100ms", "--election-timeout", "1s"];

/// What a path answers, as text.
fn text(address: SocketAddr, path: &str) -> String {
    let answer = request(address, "GET", path, b"").expect("an answer");
    let text = String::from_utf8(answer.body).expect("text");
    assert_eq!(answer.status, 200, "{path}: {text}");
    text
}

/// The elections that a node tells of, the newest first.
fn elections(address: SocketAddr, query: &str) -> Value {
    serde_json::from_str(&text(address, &format!("/v1/elections{query}"))).expect("JSON")
}

fn put(address: SocketAddr, key: &str) {
    eventually("a write succeeds", || {
        request(address, "PUT", &format!("/v1/kv/{key}"), b"v").is_ok_and(|a| a.status < 300)
    });
}

/// The newest election, once its story is told to the end: the loop hands its records over at the end
/// of its round.
fn newest_complete(address: SocketAddr, leader: u64) -> Value {
    let mut newest = Value::Null;
    eventually("the election is told", || {
        newest = elections(address, "?limit=1")["elections"][0].clone();
        let told = |phase: &str| names(&newest).iter().any(|name| name == phase);
        newest["leader"] == leader && told("first_client_write") && told("last_follower_caught_up")
    });
    newest
}

fn phases(election: &Value) -> &[Value] {
    election["phases"].as_array().expect("phases")
}

fn names(election: &Value) -> Vec<String> {
    phases(election).iter().map(|p| p["phase"].as_str().expect("a name").to_owned()).collect()
}

fn at(election: &Value, name: &str) -> f64 {
    let phase = phases(election).iter().find(|phase| phase["phase"] == name);
    phase.unwrap_or_else(|| panic!("no {name} in {election}"))["at_ms"].as_f64().expect("a time")
}

/// The phases of an election after a fault, each not before the one in front of it.
fn expected(protocol: &str) -> &'static [&'static str] {
    match protocol {
        "raft" => &[
            "fault_seen",
            "suspected",
            "pre_candidate",
            "candidate",
            "elected",
            "first_commit",
            "first_client_write",
        ],
        _ => &[
            "fault_seen",
            "suspected",
            "looking",
            "elected",
            "discovery",
            "synchronization",
            "first_commit",
            "first_client_write",
        ],
    }
}

fn assert_ordered(protocol: &str, election: &Value) {
    let times: Vec<f64> = phases(election).iter().map(|p| p["at_ms"].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] == 0.0, "{election}");
    assert!(election["began_us"].as_u64() > Some(0), "{election}");
    let known: Vec<f64> = expected(protocol).iter().map(|name| at(election, name)).collect();
    assert!(known.is_sorted(), "{election}");
    assert!(at(election, "last_follower_caught_up") >= at(election, "elected"), "{election}");
    let durations = &election["durations_ms"];
    let sum = ["detection", "election"].map(|name| durations[name].as_f64().expect("known"));
    assert!((sum[0] + sum[1] - at(election, "elected")).abs() < 0.01, "{election}");
    assert_eq!(durations["outage"].as_f64(), Some(at(election, "first_client_write")));
}

fn a_killed_leader_makes_one_election_with_its_phases_and_cause(protocol: &'static str) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &TIMERS);
    let former = cluster.leader();
    put(cluster.addresses()[former], "before");
    let survivor = (0..3).find(|&node| node != former).expect("another node");
    let address = cluster.addresses()[survivor];
    newest_complete(address, former as u64 + 1);
    let known = elections(address, "?limit=100")["elections"].as_array().unwrap().len();
    cluster.kill(former);
    put(address, "after");
    let leader = cluster.leader();
    let election = newest_complete(address, leader as u64 + 1);
    assert_ordered(protocol, &election);
    assert_eq!(election["former_leader"], former + 1, "{election}");
    assert_eq!(election["under_way"], false);
    let cause = election["cause"].as_str().expect("a cause");
    let expected = format!("suspects leader n{}: its connection broke", former + 1);
    assert!(cause.contains(&expected), "{cause}");
    // The answer says who is on which axis, and names who did not answer.
    let all = elections(address, "?limit=100");
    for node in all["nodes"].as_array().unwrap() {
        let is_dead = node["node"] == former + 1;
        assert_eq!((&node["answered"], node["boot"].is_null()), (&json!(!is_dead), is_dead));
        assert!(is_dead || node["boot"] == election["boot"], "{all}");
    }
    let views = election["seen_by"].as_array().unwrap();
    assert_eq!(views.len(), 2, "{election}");
    assert!(views.iter().all(|view| view["shares_axis"] == true), "{election}");
    assert_eq!(all["elections"].as_array().unwrap().len(), known + 1, "one more: {all}");
    assert_eq!(all["elections"][0], election, "the newest is the first");
    traces_can_be_read(&cluster, protocol, survivor, former);
    // The other survivor tells the same.
    let other = (0..3).find(|&node| node != former && node != survivor).expect("a third node");
    assert_eq!(elections(cluster.addresses()[other], "?limit=1")["elections"][0], election);
    // The former leader comes back: it is told as a follower that joined later, not as an election.
    cluster.start_node(former);
    cluster.wait_until_ready();
    eventually("the former leader is told to have joined later", || {
        let now = elections(address, "?limit=1")["elections"][0].clone();
        assert_eq!(now["phases"], election["phases"]);
        let followers = now["followers"].as_array().unwrap();
        followers.iter().any(|f| f["node"] == former + 1 && f["joined_later"] == true)
    });
}

/// Every format, of a cluster whose former leader is dead and whose present one is new.
fn traces_can_be_read(cluster: &Processes, protocol: &str, survivor: usize, former: usize) {
    let address = cluster.addresses()[survivor];
    let dead = format!("n{}", former + 1);
    let request_name = if protocol == "raft" { "RequestVote" } else { "NOTIFICATION" };
    let routine = if protocol == "raft" { "Heartbeat" } else { "PING" };

    let (head, lines) = read_ndjson(&text(address, "/v1/trace?limit=2000"));
    assert_eq!(head["nodes"][former]["answered"], false);
    let is_request = |line: &&Value| line["name"] == request_name && line["matched"] == true;
    assert!(lines.iter().filter(is_request).count() >= 2, "an arrow has two ends");
    assert!(lines.iter().all(|line| line["name"] != routine), "routine is left out");
    eventually("signs of life are told when they are asked for", || {
        let (_, all) = read_ndjson(&text(address, "/v1/trace?limit=2000&messages=all"));
        all.iter().any(|line| line["name"] == routine && line["matched"] == true)
    });
    let (_, none) = read_ndjson(&text(address, "/v1/trace?messages=none&limit=3"));
    assert_eq!(none.len(), 3);
    assert!(none.iter().all(|line| line["frame"].is_null()));

    let diagram = read_mermaid(&text(address, "/v1/trace?format=mermaid&limit=2000"));
    assert_eq!(diagram.participants, ["n1", "n2", "n3"]);
    assert!(diagram.notes.contains(&(dead.clone(), "did not answer".to_owned())));
    let arrow = |arrow: &str| diagram.arrows.iter().any(|(_, kind, ..)| *kind == arrow);
    assert!(arrow("->>") && arrow("-->>") && arrow("-)"), "whole, dashed and open ones");
    let suspects = format!("suspects leader {dead}");
    assert!(diagram.notes.iter().any(|(_, text)| text.contains(&suspects)));
    let short = read_mermaid(&text(address, "/v1/trace?format=mermaid&limit=5&messages=all"));
    assert!(short.arrows.len() + short.notes.len() <= 5 + 2);
    assert!(short.notes[0].1.ends_with("earlier events are left out"), "{:?}", short.notes);
    // As long as it gets, it stays within what Mermaid takes.
    read_mermaid(&text(address, "/v1/trace?format=mermaid&limit=2000&messages=all"));

    let entries = read_shiviz(&text(address, "/v1/trace?format=shiviz&limit=2000"));
    assert!(entries.iter().all(|entry| entry.host != dead));
    assert!(entries.iter().any(|entry| entry.clock.len() == 2), "nodes heard of one another");
    assert!(entries.iter().any(|entry| entry.event.contains(&suspects)));
    assert_eq!(read_shiviz(&text(address, "/v1/trace?format=shiviz&limit=7")).len(), 7);
    let answer = request(address, "GET", "/v1/trace?format=svg", b"").expect("an answer");
    assert_eq!(answer.error_name().as_deref(), Some("unsupported_parameter"));
}

fn a_silent_leader_is_suspected_after_its_silence(protocol: &'static str) {
    let cluster = Processes::start_under(protocol, 3, &[], &TIMERS);
    let former = cluster.leader();
    let survivor = (0..3).find(|&node| node != former).expect("another node");
    let address = cluster.addresses()[survivor];
    put(address, "before");
    cluster.signal(former, Signal::STOP);
    // A stopped process answers nobody, so only the survivors are waited for.
    let mut leader = Value::Null;
    eventually("another node leads", || {
        let json = request(address, "GET", "/v1/status", b"").expect("an answer").json();
        leader = json["leader"].clone();
        !leader.is_null() && leader != former + 1
    });
    put(address, "after");
    let election = newest_complete_within(address, &leader);
    cluster.signal(former, Signal::CONT);
    assert_ordered(protocol, &election);
    let cause = election["cause"].as_str().expect("a cause");
    assert!(cause.contains("no sign of life for"), "{cause}");
    let detection = election["durations_ms"]["detection"].as_f64().expect("known");
    assert!(detection >= 900.0, "a silence of a second was waited for: {election}");
}

/// As [`newest_complete`], while a node that keeps its connections answers nothing.
fn newest_complete_within(address: SocketAddr, leader: &Value) -> Value {
    let mut newest = Value::Null;
    eventually("the election is told", || {
        newest = elections(address, "?limit=1&timeout=300ms")["elections"][0].clone();
        newest["leader"] == *leader
            && ["first_client_write", "last_follower_caught_up"]
                .iter()
                .all(|phase| names(&newest).iter().any(|name| name == phase))
    });
    newest
}

fn a_transfer_is_told_from_what_the_old_leader_was_asked(protocol: &'static str) {
    let cluster = Processes::start_under(protocol, 3, &[], &TIMERS);
    let former = cluster.leader();
    let to = (former + 1) % 3;
    let address = cluster.addresses()[(former + 2) % 3];
    put(address, "before");
    let body = format!("{{\"to\": {}}}", to + 1);
    eventually("the leader hands over", || {
        let answer = request(address, "POST", "/v1/cluster/transfer?timeout=20s", body.as_bytes());
        answer.is_ok_and(|answer| answer.status == 200)
    });
    put(address, "after");
    let election = newest_complete(address, to as u64 + 1);
    let first: Vec<_> = names(&election).into_iter().take(2).collect();
    assert_eq!(first, ["transfer_begun", "hands_over"], "{election}");
    assert_eq!(phases(&election)[0]["node"], former + 1, "{election}");
    let times: Vec<f64> = phases(&election).iter().map(|p| p["at_ms"].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] == 0.0, "{election}");
    assert!(at(&election, "elected") >= at(&election, "hands_over"), "{election}");
    let durations = &election["durations_ms"];
    assert_eq!(durations["outage"].as_f64(), Some(at(&election, "first_client_write")));
    assert_eq!(durations["detection"], Value::Null, "nobody was at fault: {election}");
    assert_eq!(election["former_leader"], former + 1, "{election}");
    for view in election["seen_by"].as_array().unwrap() {
        let saw = view["saw"].as_array().unwrap();
        assert!(saw.iter().all(|sight| sight["at_ms"].as_f64().unwrap() >= 0.0), "{election}");
    }
}

on_both!(
    a_transfer_is_told_from_what_the_old_leader_was_asked,
    a_killed_leader_makes_one_election_with_its_phases_and_cause,
    a_silent_leader_is_suspected_after_its_silence,
);
