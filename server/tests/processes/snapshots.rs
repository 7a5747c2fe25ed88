//! A node that was away for so long that the others' logs have forgotten what it lacks: it gets the
//! store itself, while everybody goes on.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Processes, eventually, request, watch};

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

/// A node that stood still keeps its clients: a watch there goes on behind the snapshot without a gap.
fn a_watch_goes_on_over_a_snapshot(protocol: &'static str) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &FORGETFUL);
    let leader = cluster.leader();
    let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let first = put(cluster.addresses()[leader], "before", b"v");
    let told = watch(cluster.addresses()[away], first);

    cluster.signal(away, Signal::STOP);
    // New processes, so that nothing is on its way in the connections that stand still.
    for node in [leader, other] {
        cluster.kill(node);
        cluster.start_node(node);
    }
    write_until_forgotten(&cluster, &[leader, other]);
    let last = put(cluster.addresses()[leader], "last", b"v");
    cluster.signal(away, Signal::CONT);
    let told: Vec<u64> =
        told.map(|(revision, _)| revision).take_while(|&revision| revision < last).collect();
    assert_eq!(told, (first..last).collect::<Vec<_>>(), "each revision once, in order");
    cluster.wait_until_all_agree();
    assert!(metric(cluster.addresses()[away], "etcd_network_snapshot_receive_success") > 0);
}

on_both!(a_node_that_was_away_too_long_gets_a_snapshot, a_watch_goes_on_over_a_snapshot);
