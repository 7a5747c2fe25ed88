//! Servers killed with SIGKILL under load: every acknowledged write is there afterwards.
//!
//! `DUORUM_TEST_KILLS` sets how often the leader is killed (3), and `DUORUM_TEST_KILLS_OF_ALL` how
//! often all nodes are killed at once (2).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{Processes, history, request};

/// Clients that write at once.
const WRITERS: usize = 6;

/// The errors that a write may meet while nodes come and go.
const EXPECTED: [&str; 4] = ["no_leader", "leader_changed", "unknown_outcome", "overloaded"];

/// An acknowledged write: each key is written once, with a value of its own.
struct Acknowledged {
    key: String,
    value: String,
    revision: u64,
}

#[test]
fn raft_keeps_every_acknowledged_write() {
    every_acknowledged_write_is_kept("raft");
}

#[test]
fn zab_keeps_every_acknowledged_write() {
    every_acknowledged_write_is_kept("zab");
}

fn every_acknowledged_write_is_kept(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| start_writer(writer, cluster.addresses().to_vec(), Arc::clone(&stop)))
        .collect();
    for _ in 0..times("DUORUM_TEST_KILLS", 3) {
        std::thread::sleep(Duration::from_millis(300));
        let leader = cluster.leader();
        cluster.kill(leader);
        let next = cluster.leader();
        assert_ne!(next, leader, "the others elect one of themselves");
        cluster.start_node(leader);
        cluster.wait_until_ready();
    }
    for _ in 0..times("DUORUM_TEST_KILLS_OF_ALL", 2) {
        std::thread::sleep(Duration::from_millis(300));
        (0..3).for_each(|node| cluster.kill(node));
        (0..3).for_each(|node| cluster.start_node(node));
        cluster.wait_until_ready();
    }
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<Acknowledged> =
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
    assert!(acknowledged.len() > 100, "only {} writes were acknowledged", acknowledged.len());
    check(&cluster, &acknowledged);
}

fn check(cluster: &Processes, acknowledged: &[Acknowledged]) {
    cluster.wait_until_all_agree();
    let mut revisions = BTreeMap::new();
    for write in acknowledged {
        let former = revisions.insert(write.revision, &write.key);
        assert_eq!(former, None, "revision {} stands for two writes", write.revision);
    }
    // Every revision that ever was, acknowledged or not, is the same on all nodes.
    let status = request(cluster.addresses()[0], "GET", "/v1/status", b"").expect("an answer");
    let last = status.json()["revision"].as_u64().expect("a revision");
    let told = history(cluster.addresses()[0], last);
    assert_eq!(told.len() as u64, last - 1, "from revision 2 on each has one line");
    for address in &cluster.addresses()[1..] {
        let other = history(*address, last);
        let differs = told.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None, "one revision stands for two values");
        assert_eq!(told.len(), other.len());
    }
    for address in cluster.addresses() {
        for write in acknowledged {
            let path = format!("/v1/kv/{}?consistency=local", write.key);
            let found = request(*address, "GET", &path, b"").expect("an answer").json();
            assert_eq!(found["value"], write.value, "{} was acknowledged: {found}", write.key);
            assert_eq!(found["mod_revision"], write.revision, "{found}");
        }
    }
}

fn start_writer(
    writer: usize,
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Vec<Acknowledged>> {
    std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for number in 0_usize.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("writer-{writer}/{number}");
            let value = format!("{writer}-{number}");
            let address = addresses[(writer + number) % addresses.len()];
            let path = format!("/v1/kv/{key}?timeout=2s");
            // Whatever is not acknowledged may or may not have happened; nothing is promised.
            match request(address, "PUT", &path, value.as_bytes()) {
                Ok(answer) if answer.status == 201 => {
                    let revision = answer.json()["revision"].as_u64().expect("a revision");
                    acknowledged.push(Acknowledged { key, value, revision });
                }
                Ok(answer) => {
                    let name = answer.error_name().unwrap_or_default();
                    assert!(EXPECTED.contains(&&name[..]), "of a new key: {}", answer.json());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        acknowledged
    })
}

fn times(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |times| times.parse().expect("a number of times"))
}
