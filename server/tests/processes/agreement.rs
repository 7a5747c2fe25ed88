//! `/v1/agree` finds a replica out that differs in what no read shows.

use kvcore::Store as _;
use kvcore::store::{StoreBatch, StoreState};
use storage::{DirectoryId, RealDisk, RedbStore, RedbStoreOptions};

use crate::support::{Processes, eventually, request, request_with};

/// Has a node that is stopped forget all idempotency keys, so that a write that is sent again would be
/// done again there. Its store is as sound as before.
fn forget_idempotency_keys(cluster: &Processes, node: usize, directory: DirectoryId) {
    let disk = RealDisk::open(cluster.data_directory(node)).expect("a data directory");
    let store = RedbStore::open(&disk, RedbStoreOptions::new(directory)).expect("its store");
    let state = store.state().expect("a state");
    assert_ne!(state.idempotency_digest, 0, "a node that is stopped leaves nothing to the log");
    let state =
        StoreState { idempotency_digest: 0, idempotency_forgotten: state.applied.index, ..state };
    store.write(&StoreBatch { state, ..StoreBatch::default() }).expect("written");
}

fn a_replica_that_forgot_its_idempotency_keys_disagrees(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    let put = |path: &str| {
        let headers = [("Idempotency-Key", "name")];
        let answer = request_with(cluster.addresses()[0], "PUT", path, &headers, b"v");
        assert_eq!(answer.expect("an answer").status, 201);
    };
    put("/v1/kv/k");
    cluster.wait_until_all_agree();
    let told = request(cluster.addresses()[2], "GET", "/v1/status", b"").expect("an answer").json();
    let directory = told["directory"].as_str().and_then(|id| u128::from_str_radix(id, 16).ok());
    assert!(cluster.terminate(2).success());
    forget_idempotency_keys(&cluster, 2, DirectoryId(directory.expect("its number")));
    cluster.start_node(2);
    cluster.wait_until_ready();

    let mut told = serde_json::Value::Null;
    eventually("all three are compared", || {
        told = request(cluster.addresses()[0], "GET", "/v1/agree", b"").expect("an answer").json();
        told["answered"] == 3 && !told["agree"].is_null()
    });
    assert_eq!(told["agree"], false, "{told}");
    let differs = |name: &str| told["replicas"][2][name] != told["replicas"][0][name];
    let found = ["digest", "rows_digest", "idempotency_digest"].map(differs);
    assert_eq!(found, [true, false, true], "it says where they differ: {told}");
    let of_key = request(cluster.addresses()[0], "GET", "/v1/agree?key=k", b"").expect("an answer");
    assert_eq!(of_key.json()["agree"], true, "no read shows it");
}

#[test]
fn a_replica_of_raft_that_forgot_its_idempotency_keys_disagrees() {
    a_replica_that_forgot_its_idempotency_keys_disagrees("raft");
}

#[test]
fn a_replica_of_zab_that_forgot_its_idempotency_keys_disagrees() {
    a_replica_that_forgot_its_idempotency_keys_disagrees("zab");
}
