//! `/v3` over the death of a leader: a watch at another node tells every write once, and all nodes have the
//! same hashes in the end.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::support::{Processes, etcd_number, etcd_revisions, etcd_watch, eventually, request};

/// "k", and the end of all keys that begin with it.
const KEY: &str = "aw==";
const END: &str = "bA==";

fn call(address: SocketAddr, call: &str, body: &Value) -> Option<Value> {
    let path = format!("/v3/{call}");
    let answer = request(address, "POST", &path, body.to_string().as_bytes()).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// Puts until one is acknowledged. Returns its revision.
fn put(address: SocketAddr) -> u64 {
    let mut revision = 0;
    eventually("a put is acknowledged", || {
        let answer = call(address, "kv/put", &json!({"key": KEY, "value": "dg=="}));
        revision = answer.map_or(0, |answer| etcd_number(&answer["header"]["revision"]));
        revision > 0
    });
    revision
}

fn a_watch_outlives_a_killed_leader(protocol: &'static str) {
    let mut processes = Processes::start(protocol, 3);
    let leader = processes.leader();
    let follower = processes.addresses()[(leader + 1) % 3];
    let mut results = etcd_watch(follower, &json!({"key": KEY, "range_end": END}));
    let mut acknowledged: Vec<u64> = (0..20).map(|_| put(follower)).collect();
    processes.kill(leader);
    acknowledged.extend((0..20).map(|_| put(follower)));
    let last = *acknowledged.last().expect("forty");
    let mut seen: Vec<u64> = Vec::new();
    while seen.last().is_none_or(|revision| *revision < last) {
        seen.extend(etcd_revisions(&results.next().expect("the stream goes on")));
    }
    // A put that was not acknowledged may have happened all the same; nothing happens twice.
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    assert!(
        acknowledged.iter().all(|revision| seen.contains(revision)),
        "{acknowledged:?} {seen:?}"
    );
    processes.start_node(leader);
    processes.wait_until_ready();
    let hash = |address: SocketAddr| {
        let mut answer = Value::Null;
        eventually("the node has the last revision", || {
            let found = call(address, "maintenance/hashkv", &json!({"revision": last}));
            answer = found.unwrap_or_default();
            answer.is_object()
        });
        assert_eq!(etcd_number(&answer["hash_revision"]), last);
        answer["hash"].as_u64().expect("a hash")
    };
    let hashes: Vec<u64> = processes.addresses().iter().map(|address| hash(*address)).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

on_both!(a_watch_outlives_a_killed_leader);
