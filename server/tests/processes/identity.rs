//! Data directories of real servers: a cluster forms once with those of all voters, and one that was
//! wiped never counts again. With it a quorum would forget acknowledged writes; so there is none.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Answer, PATIENCE, Processes, eventually, request};

fn get(cluster: &Processes, node: usize, path: &str) -> Value {
    try_get(cluster, node, path).expect("an answer").json()
}

fn try_get(cluster: &Processes, node: usize, path: &str) -> std::io::Result<Answer> {
    request(cluster.addresses()[node], "GET", path, b"")
}

fn put(cluster: &Processes, node: usize, key: &str, value: &str) -> Answer {
    let path = format!("/v1/kv/{key}?timeout=1s");
    request(cluster.addresses()[node], "PUT", &path, value.as_bytes()).expect("an answer")
}

/// Writes until one is acknowledged.
fn acknowledged(cluster: &Processes, node: usize, key: &str, value: &str) {
    eventually("a write is acknowledged", || {
        let path = format!("/v1/kv/{key}?timeout=1s");
        // A server that has just been started may not answer yet.
        let answer = request(cluster.addresses()[node], "PUT", &path, value.as_bytes());
        answer.is_ok_and(|answer| answer.status < 300)
    });
}

fn wait_for_value(cluster: &Processes, node: usize, key: &str, value: &str) {
    eventually("the node holds the value", || {
        let path = format!("/v1/kv/{key}?consistency=local");
        try_get(cluster, node, &path).is_ok_and(|found| found.json()["value"] == value)
    });
}

/// What `/readyz` says is wrong, in one text.
fn not_ready(cluster: &Processes, node: usize) -> String {
    let answer = try_get(cluster, node, "/readyz").expect("an answer");
    let json = answer.json();
    assert_eq!((answer.status, &json["ready"]), (503, &Value::Bool(false)), "{json}");
    let checks = json["checks"].as_array().expect("checks").iter();
    checks.filter_map(|check| check["reason"].as_str()).collect::<Vec<_>>().join("; ")
}

fn wait_until_it_says(cluster: &Processes, node: usize, words: &str) {
    let mut said = String::new();
    let began = Instant::now();
    while !said.contains(words) {
        assert!(began.elapsed() < PATIENCE, "`{words}` is not in: {said}");
        std::thread::sleep(Duration::from_millis(10));
        // A server that has just been started may not answer yet.
        if try_get(cluster, node, "/livez").is_ok() {
            said = not_ready(cluster, node);
        }
    }
}

fn wipe(cluster: &Processes, node: usize) {
    std::fs::remove_dir_all(cluster.data_directory(node)).expect("removed");
}

fn lines_with(cluster: &Processes, words: &str) -> usize {
    cluster.logs().lines().filter(|line| line.contains(words)).count()
}

fn a_cluster_forms_once_all_voters_are_up(protocol: &'static str) {
    let mut cluster = Processes::prepare(protocol, 3);
    cluster.start_node(0);
    cluster.start_node(1);
    wait_until_it_says(&cluster, 0, "waiting for node 3 to form the cluster");
    wait_until_it_says(&cluster, 1, "waiting for node 3 to form the cluster");
    let refused = put(&cluster, 0, "k", "v");
    assert_eq!(refused.error_name().as_deref(), Some("no_leader"), "{}", refused.json());
    let told = get(&cluster, 0, "/v1/cluster");
    assert_eq!((&told["formed"], &told["members"][2]["directory"]), (&false.into(), &Value::Null));
    cluster.start_node(2);
    cluster.wait_until_ready();
    let directories = |node| {
        let told = get(&cluster, node, "/v1/cluster");
        assert_eq!((&told["formed"], &told["trouble"]), (&true.into(), &Value::Null));
        let members = told["members"].as_array().expect("members").clone();
        members.into_iter().map(|member| member["directory"].clone()).collect::<Vec<_>>()
    };
    for node in 0..3 {
        assert_eq!(directories(node), directories(0));
        assert_eq!(get(&cluster, node, "/v1/status")["directory"], directories(0)[node]);
        assert_eq!(get(&cluster, node, "/v1/status")["standing"], "voter");
    }
    // From then on a majority is enough to start.
    (0..3).for_each(|node| cluster.kill(node));
    cluster.start_node(0);
    cluster.start_node(1);
    acknowledged(&cluster, 0, "k", "v");
}

#[test]
fn a_cluster_of_raft_forms_once_all_voters_are_up() {
    a_cluster_forms_once_all_voters_are_up("raft");
}

#[test]
fn a_cluster_of_zab_forms_once_all_voters_are_up() {
    a_cluster_forms_once_all_voters_are_up("zab");
}

/// Node 3 loses its disk. It serves what the others tell it; but when of the other two the one is gone
/// that alone holds a write, then nothing is answered wrong.
fn a_wiped_voter_never_counts(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    acknowledged(&cluster, 0, "before", "1");
    wait_for_value(&cluster, 2, "before", "1");
    // Node 2 does not hear of what nodes 1 and 3 acknowledge.
    cluster.kill(1);
    acknowledged(&cluster, 0, "without-2", "2");
    cluster.kill(2);
    wipe(&cluster, 2);
    cluster.kill(0);
    // The wiped node and the one that missed the write: a majority by number, and not one.
    cluster.start_node(1);
    cluster.start_node(2);
    let trouble = "the cluster formed with";
    wait_until_it_says(&cluster, 2, trouble);
    for node in [1, 2] {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            let refused = put(&cluster, node, "k", "lost");
            let name = refused.error_name().expect("an error");
            assert!(["no_leader", "no_quorum"].contains(&&name[..]), "{}", refused.json());
        }
        let read = try_get(&cluster, node, "/v1/kv/without-2?timeout=1s").expect("an answer");
        assert_eq!(read.status, 503, "{}", read.json());
        not_ready(&cluster, node);
    }
    // The other one is back: everything is there, and the wiped node catches up and serves.
    cluster.start_node(0);
    acknowledged(&cluster, 2, "after", "3");
    for (key, value) in [("before", "1"), ("without-2", "2"), ("after", "3")] {
        for node in 0..3 {
            wait_for_value(&cluster, node, key, value);
            let read = get(&cluster, node, &format!("/v1/kv/{key}"));
            assert_eq!(read["value"], value, "{read}");
        }
    }
    for node in [0, 1] {
        eventually("the voters are ready", || {
            try_get(&cluster, node, "/readyz").is_ok_and(|answer| answer.status == 200)
        });
        eventually("they know that it does not count", || {
            get(&cluster, node, "/v1/cluster")["members"][2]["standing"] == "observer"
        });
    }
    let said = not_ready(&cluster, 2);
    for words in [trouble, "never votes", "put the old data directory back"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    assert_eq!(get(&cluster, 2, "/v1/status")["standing"], "observer");
    assert!(get(&cluster, 2, "/v1/status")["trouble"].as_str().is_some());
    assert_eq!(lines_with(&cluster, trouble), 1, "the log says so once");
    // It stays so after a restart; and it never leads.
    cluster.kill(2);
    cluster.start_node(2);
    wait_until_it_says(&cluster, 2, trouble);
    for _ in 0..2 {
        let leader = cluster.leader();
        assert_ne!(leader, 2);
        cluster.kill(leader);
        let other = 1 - leader;
        assert!(put(&cluster, other, "k", "one is no quorum").status >= 500);
        cluster.start_node(leader);
        acknowledged(&cluster, 2, "k", "v");
    }
}

#[test]
fn a_wiped_voter_of_raft_never_counts() {
    a_wiped_voter_never_counts("raft");
}

#[test]
fn a_wiped_voter_of_zab_never_counts() {
    a_wiped_voter_never_counts("zab");
}

/// The old directory is put back: the node is a voter as before.
fn a_directory_that_is_put_back_counts_again(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    acknowledged(&cluster, 0, "k", "v");
    cluster.kill(2);
    let (directory, aside) = (cluster.data_directory(2), cluster.directory().join("aside"));
    std::fs::rename(&directory, &aside).expect("moved");
    cluster.start_node(2);
    wait_until_it_says(&cluster, 2, "put the old data directory back");
    cluster.kill(2);
    wipe(&cluster, 2);
    std::fs::rename(&aside, &directory).expect("moved");
    cluster.start_node(2);
    cluster.wait_until_ready();
    cluster.kill(0);
    acknowledged(&cluster, 2, "k", "w");
}

#[test]
fn a_directory_of_raft_that_is_put_back_counts_again() {
    a_directory_that_is_put_back_counts_again("raft");
}

#[test]
fn a_directory_of_zab_that_is_put_back_counts_again() {
    a_directory_that_is_put_back_counts_again("zab");
}

#[test]
fn a_voter_wiped_before_the_cluster_formed_is_named_with_what_to_do() {
    let mut cluster = Processes::prepare("raft", 3);
    cluster.start_node(0);
    cluster.start_node(2);
    wait_until_it_says(&cluster, 0, "waiting for node 2 to form");
    wait_until_it_says(&cluster, 2, "waiting for node 2 to form");
    cluster.kill(2);
    wipe(&cluster, 2);
    cluster.start_node(2);
    wait_until_it_says(&cluster, 0, "can not form: node 3 has the data directory");
    wait_until_it_says(&cluster, 2, "can not form: this node has the data directory");
    cluster.start_node(1);
    for node in 0..3 {
        wait_until_it_says(
            &cluster,
            node,
            "so nothing was written yet. Put the old data directory of",
        );
    }
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| wipe(&cluster, node));
    (0..3).for_each(|node| cluster.start_node(node));
    cluster.wait_until_ready();
}

#[test]
fn voters_that_are_configured_otherwise_are_named_in_the_log() {
    let mut cluster = Processes::prepare("zab", 3);
    cluster.start_node(0);
    cluster.start_node_with_cluster(1, &[0, 1]);
    eventually("both say what differs", || {
        lines_with(&cluster, "its --cluster has the voters 1, 2, and the one here 1, 2, 3") > 0
            && lines_with(&cluster, "the voters 1, 2, 3, and the one here 1, 2;") > 0
    });
    std::thread::sleep(Duration::from_millis(600));
    assert!(lines_with(&cluster, "its --cluster has") <= 4, "{}", cluster.logs());
    cluster.kill(1);
    cluster.start_node(1);
    cluster.start_node(2);
    cluster.wait_until_ready();
    // What is formed does not change by a flag.
    cluster.kill(2);
    cluster.start_node_with_cluster(2, &[1, 2]);
    eventually("it is refused", || {
        lines_with(&cluster, "the cluster formed with nodes 1, 2 and 3") > 0
    });
    cluster.await_end(2);
}
