//! Observers that are killed and wiped, as real processes: nobody waits for one, nobody counts one, and
//! whatever becomes of it, it serves what it has.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Load, Processes, assert_kept, eventually, request};

/// The observer; nodes 0 to 2 vote.
const OBSERVER: usize = 3;

fn get(cluster: &Processes, node: usize, path: &str) -> Answer {
    request(cluster.addresses()[node], "GET", path, b"").expect("an answer")
}

fn put(cluster: &Processes, node: usize, key: &str, timeout: &str) -> Answer {
    let path = format!("/v1/kv/{key}?timeout={timeout}");
    request(cluster.addresses()[node], "PUT", &path, b"v").expect("an answer")
}

/// Who leads, and in which term or epoch.
fn reign(cluster: &Processes) -> (Value, Value) {
    let status = get(cluster, 0, "/v1/status").json();
    (status["leader"].clone(), status["term"].clone())
}

/// All that a node says of itself is that it observes, and that all is well.
fn assert_observes(cluster: &Processes, protocol: &str) {
    let role = if protocol == "raft" { "learner" } else { "OBSERVING" };
    let status = get(cluster, OBSERVER, "/v1/status").json();
    assert_eq!(
        (&status["standing"], &status["role"], &status["trouble"]),
        (&json!("observer"), &json!(role), &Value::Null),
        "{status}"
    );
    let ready = get(cluster, OBSERVER, "/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)), "{}", ready.json());
    for node in 0..=OBSERVER {
        let told = get(cluster, node, "/v1/cluster").json();
        assert_eq!((&told["quorum"], &told["formed"]), (&json!(2), &json!(true)), "{told}");
        assert_eq!(told["members"][OBSERVER]["standing"], "observer", "{told}");
    }
}

/// With two of three voters down, the third and the observer are two of four, and no quorum. What the
/// observer has it still tells who asks for no more.
fn assert_never_counts(cluster: &mut Processes) {
    let leader = cluster.leader();
    let (first, last) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(first);
    assert_eq!(put(cluster, OBSERVER, "without-one", "5s").status, 201, "two voters are a quorum");
    for node in [last, OBSERVER] {
        eventually("the node has it and knows that it is committed", || {
            get(cluster, node, "/v1/kv/without-one?consistency=local").status == 200
        });
    }
    cluster.kill(leader);
    for _ in 0..2 {
        for node in [last, OBSERVER] {
            let refused = put(cluster, node, "without-two", "300ms");
            let name = refused.error_name().unwrap_or_default();
            let expected = ["no_leader", "no_quorum", "unknown_outcome"];
            assert!(expected.contains(&&name[..]), "{}", refused.json());
            let read = get(cluster, node, "/v1/kv/without-one?timeout=300ms");
            assert_eq!(read.status, 503, "{}", read.json());
            let local = get(cluster, node, "/v1/kv/without-one?consistency=local");
            assert_eq!((local.status, &local.json()["value"]), (200, &json!("v")));
        }
    }
    let ready = get(cluster, OBSERVER, "/readyz");
    assert_eq!(ready.status, 503, "nothing can be written there: {}", ready.json());
    for node in [first, leader] {
        cluster.start_node(node);
    }
    cluster.wait_until_ready();
    eventually("writes go on", || put(cluster, OBSERVER, "after", "1s").status < 300);
    cluster.wait_until_all_agree();
}

fn an_observer_that_is_killed_costs_no_write_and_catches_up(protocol: &'static str) {
    let mut cluster = Processes::start_with_observer(protocol, 3);
    let before = reign(&cluster);
    let load = Load::start(&cluster, &[0, 1, 2]);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(200));
        cluster.kill(OBSERVER);
        std::thread::sleep(Duration::from_millis(200));
        cluster.start_node(OBSERVER);
        cluster.wait_until_ready();
    }
    let seen = load.stop();
    for write in &seen {
        assert!(write.result.is_ok(), "{}: {:?}", write.key, write.result);
    }
    assert_eq!(reign(&cluster), before, "nobody was elected");
    assert_kept(&cluster, &seen);
    assert_observes(&cluster, protocol);
}

/// What an observer has forgotten it never promised anybody: without its directory it begins anew, as
/// on its first day.
fn an_observer_that_lost_its_directory_is_an_observer_again(protocol: &'static str) {
    let mut cluster = Processes::start_with_observer(protocol, 3);
    let load = Load::start(&cluster, &[0, 1, 2]);
    std::thread::sleep(Duration::from_millis(300));
    let former = get(&cluster, OBSERVER, "/v1/status").json()["directory"].clone();
    cluster.kill(OBSERVER);
    std::fs::remove_dir_all(cluster.data_directory(OBSERVER)).expect("removed");
    cluster.start_node(OBSERVER);
    cluster.wait_until_ready();
    let seen = load.stop();
    for write in &seen {
        assert!(write.result.is_ok(), "{}: {:?}", write.key, write.result);
    }
    assert_kept(&cluster, &seen);
    assert_observes(&cluster, protocol);
    let now = get(&cluster, OBSERVER, "/v1/status").json()["directory"].clone();
    assert_ne!(now, former, "another directory");
    let log = cluster.logs();
    assert!(!log.contains("wiped"), "it is no voter that forgot: {log}");
    assert_eq!(log.matches("this node observes").count(), 2, "each start says so: {log}");
    assert_never_counts(&mut cluster);
    assert_observes(&cluster, protocol);
}

fn an_observer_is_no_part_of_a_quorum_of_processes(protocol: &'static str) {
    let mut cluster = Processes::start_with_observer(protocol, 3);
    assert_never_counts(&mut cluster);
    assert_observes(&cluster, protocol);
}

on_both!(
    an_observer_that_is_killed_costs_no_write_and_catches_up,
    an_observer_that_lost_its_directory_is_an_observer_again,
    an_observer_is_no_part_of_a_quorum_of_processes,
);
