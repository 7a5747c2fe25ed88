//! Locks of etcd's API over the death of a leader: who waits goes on waiting, in the same order.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{PATIENCE, Processes, etcd_number, eventually, request, request_within};

/// "n", the name of the lock, and what its keys are between.
const NAME: &str = "bg==";
const KEYS: &str = "bi8=";
const KEYS_END: &str = "bjA=";

/// What a call answers if it is fulfilled.
fn call(address: SocketAddr, call: &str, body: &Value) -> Option<Value> {
    let path = format!("/v3/{call}");
    let answer = request(address, "POST", &path, body.to_string().as_bytes()).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// The revisions that created the keys of the lock, in their order: its holder and who waits.
fn queue(address: SocketAddr) -> Vec<u64> {
    let range = json!({"key": KEYS, "range_end": KEYS_END, "sort_target": "CREATE"});
    let found = call(address, "kv/range", &range).unwrap_or_default();
    let keys = found["kvs"].as_array().into_iter().flatten();
    keys.map(|kv| etcd_number(&kv["create_revision"])).collect()
}

/// Who asks for the lock, until they have it. When their node dies they ask another one, with the same lease.
fn wait_for_lock(
    lease: usize,
    mut nodes: Vec<SocketAddr>,
    won: Sender<(usize, Value)>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let body = json!({"name": NAME, "lease": lease}).to_string();
        let (began, mut has_moved) = (Instant::now(), false);
        loop {
            let (node, path) = (nodes[0], "/v3/lock/lock");
            match request_within(PATIENCE, node, "POST", path, &[], body.as_bytes()) {
                Ok(answer) if answer.status == 200 => {
                    won.send((lease, answer.json())).expect("the test waits for it");
                    return;
                }
                // Who asks anew may find no leader.
                Ok(answer) if has_moved && answer.status == 503 => {}
                // But who waits goes on waiting while the others elect one.
                Ok(answer) => panic!("{lease}: {} {}", answer.status, answer.json()),
                Err(_) => {
                    nodes.rotate_left(1);
                    has_moved = true;
                }
            }
            assert!(began.elapsed() < PATIENCE, "{lease} reaches no node");
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

/// Who has the lock next. Nobody else does.
fn next(won: &Receiver<(usize, Value)>, node: SocketAddr) -> (usize, Value) {
    let next = won.recv_timeout(PATIENCE).expect("the lock is free");
    // Whoever had it by mistake would have it at once: some rounds of the whole cluster are time enough.
    for _ in 0..5 {
        eventually("a write", || {
            call(node, "kv/put", &json!({"key": "eA==", "value": ""})).is_some()
        });
    }
    assert!(won.try_recv().is_err(), "only one has the lock");
    next
}

fn who_waits_for_a_lock_outlives_a_killed_leader(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    let leader = cluster.leader();
    let at = |offset: usize| cluster.addresses()[(leader + offset) % 3];
    let (here, there, dying) = (at(1), at(2), at(0));
    let leases = 1..=6;
    for lease in leases.clone() {
        call(here, "lease/grant", &json!({"ID": lease, "TTL": 600})).expect("granted");
    }
    let held = json!({"name": NAME, "lease": 1});
    let mut key = call(here, "lock/lock", &held).expect("it is free")["key"].take();
    let (sender, won) = channel();
    let mut waiting = Vec::new();
    for (lease, nodes) in
        leases.clone().skip(1).zip([[there, here], [dying, there], [here, there]].iter().cycle())
    {
        waiting.push(wait_for_lock(lease, nodes.to_vec(), sender.clone()));
        eventually("it waits", || queue(here).len() == lease);
    }
    let order = queue(here);
    assert!(won.try_recv().is_err(), "the first has the lock");

    cluster.kill(leader);
    let next_leader = cluster.leader();
    assert_ne!(next_leader, leader);
    assert!(won.try_recv().is_err(), "the first still has the lock");
    for (place, expected) in leases.enumerate().skip(1) {
        // The first unlocks as soon as anybody can.
        eventually("it is unlocked", || {
            call(here, "lock/unlock", &json!({ "key": key })).is_some()
        });
        let (lease, mut answer) = next(&won, there);
        assert_eq!(lease, expected, "in the order in which they came");
        assert_eq!(queue(there), order[place..], "with the keys that they had before");
        key = answer["key"].take();
    }
    for thread in waiting {
        thread.join().expect("no panic");
    }
    // Who leads has no part in it: the node that was killed knows who has the lock.
    cluster.start_node(leader);
    cluster.wait_until_ready();
    assert_eq!(queue(dying), order[5..]);
    cluster.wait_until_all_agree();
}

on_both!(who_waits_for_a_lock_outlives_a_killed_leader);
