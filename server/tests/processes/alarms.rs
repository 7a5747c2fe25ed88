//! A store that was changed behind its server's back, with a digest that fits: the replicas notice it by
//! themselves, nobody is told anything wrong from then on, and there is a way out.

use bytes::Bytes;
use kvcore::store::{RowId, StoreBatch};
use kvcore::{Machine, OpenError, Store};
use serde_json::{Value, json};
use storage::identity::DirectoryId;
use storage::{RealDisk, RedbStore, RedbStoreOptions};

use crate::support::{Processes, eventually, request};

fn ask(cluster: &Processes, node: usize, method: &str, path: &str) -> (u16, Value) {
    let answer = request(cluster.addresses()[node], method, path, b"").expect("an answer");
    (answer.status, answer.json())
}

fn put(cluster: &Processes, node: usize, key: &str, value: &str) {
    let path = format!("/v1/kv/{key}?timeout=20s");
    let answer = request(cluster.addresses()[node], "PUT", &path, value.as_bytes());
    let answer = answer.expect("an answer");
    assert!(answer.status < 300, "{}", answer.json());
}

/// Changes the value of a key in the store of a node that does not run.
fn falsify(cluster: &Processes, node: usize, directory: DirectoryId, key: &[u8]) {
    let disk = RealDisk::open(cluster.data_directory(node)).expect("a data directory");
    let open = || RedbStore::open(&disk, RedbStoreOptions::new(directory)).expect("a store");
    let store = open();
    let state = store.state().expect("a state");
    let rows = store.rows(RowId::default(), 1_000).expect("rows");
    let (id, mut row) = rows.into_iter().find(|(_, row)| row.key == key).expect("a row");
    row.value = Some(Bytes::from_static(b"false"));
    let batch = StoreBatch { state, ..StoreBatch::default() };
    store.write(&StoreBatch { removed: vec![id], ..batch.clone() }).expect("written");
    store.write(&StoreBatch { added: vec![(id, row)], ..batch.clone() }).expect("written");
    // The digest would tell; so it is made to fit.
    drop(store);
    let Err(OpenError::Digest { found, .. }) = Machine::open(open()) else {
        panic!("the digest of the rows is another one");
    };
    let state = kvcore::store::StoreState { digest: found, ..state };
    open().write(&StoreBatch { state, ..batch }).expect("written");
}

fn a_falsified_store_stops_the_cluster_until_it_is_replaced(protocol: &'static str) {
    let mut cluster = Processes::prepare(protocol, 3);
    cluster.set_flags(&["--digest-interval", "100ms"]);
    (0..3).for_each(|node| cluster.start_node(node));
    cluster.wait_until_ready();
    put(&cluster, 0, "k", "true");
    put(&cluster, 0, "other", "value");
    cluster.wait_until_all_agree();
    assert_eq!(ask(&cluster, 1, "GET", "/v1/alarms").1["alarms"], json!([]));
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let directory = ask(&cluster, follower, "GET", "/v1/status").1["directory"].clone();
    let directory = directory.as_str().and_then(|text| u128::from_str_radix(text, 16).ok());
    assert!(cluster.terminate(follower).success());
    falsify(&cluster, follower, DirectoryId(directory.expect("a number")), b"k");
    cluster.start_node(follower);

    put(&cluster, leader, "another", "value");
    let about = json!(follower + 1);
    for node in 0..3 {
        eventually("every node knows of the alarm", || {
            // The node that was started just now may not answer yet.
            let answer = request(cluster.addresses()[node], "GET", "/v1/alarms", b"");
            answer.is_ok_and(|answer| answer.json()["alarms"][0]["node"] == about)
        });
        for path in ["/v1/kv/k", "/v1/kv/k?consistency=local"] {
            let (status, error) = ask(&cluster, node, "GET", path);
            assert_eq!((status, &error["error"]["name"]), (500, &json!("corrupt")), "{error}");
        }
        let (status, ready) = ask(&cluster, node, "GET", "/readyz");
        assert_eq!(status, 503, "{ready}");
    }
    assert!(cluster.logs().contains("replicas differ: alarms about nodes"));

    // What the message of the error says is to be done.
    assert!(cluster.terminate(follower).success());
    std::fs::remove_dir_all(cluster.data_directory(follower)).expect("removed");
    cluster.start_node(follower);
    eventually("the node answers", || {
        request(cluster.addresses()[follower], "GET", "/livez", b"").is_ok()
    });
    let path = format!("/v1/alarms/{}?timeout=20s", follower + 1);
    let (status, cleared) = ask(&cluster, leader, "DELETE", &path);
    assert_eq!((status, &cleared["cleared"]), (200, &about), "{cleared}");
    cluster.wait_until_all_agree();
    put(&cluster, leader, "last", "value");
    cluster.wait_until_all_agree();
    for node in 0..3 {
        let path = "/v1/kv/k?consistency=local";
        eventually("the key is read as it was written", || {
            ask(&cluster, node, "GET", path).1["value"] == "true"
        });
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(ask(&cluster, leader, "GET", "/v1/alarms").1["alarms"], json!([]));
}

#[test]
fn a_falsified_store_stops_a_cluster_of_raft_until_it_is_replaced() {
    a_falsified_store_stops_the_cluster_until_it_is_replaced("raft");
}

#[test]
fn a_falsified_store_stops_a_cluster_of_zab_until_it_is_replaced() {
    a_falsified_store_stops_the_cluster_until_it_is_replaced("zab");
}
