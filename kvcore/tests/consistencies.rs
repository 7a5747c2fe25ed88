//! The three consistencies of reads, each with what it promises and no more, over both protocols.

mod replicas;

use std::time::Duration;

use bytes::Bytes;
use consensus::{Consensus, NodeId};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::replica::{Conclusion, Failure};
use kvcore::{Machine, MemoryStore, RequestId};
use replicas::{Cluster, PATIENCE, for_both_protocols};

for_both_protocols!(
    in_a_deposed_leaders_minority_only_linearizable_reads_are_refused,
    a_sync_read_sees_what_its_leader_has_committed,
);

/// What a node reads now: the value that its state machine has.
fn value<C: Consensus>(cluster: &Cluster<C>, at: NodeId) -> Option<Bytes> {
    let mut machine = Machine::open(MemoryStore::new()).expect("an empty store");
    for entry in cluster.delivered(at) {
        machine.apply(entry).expect("memory does not fail");
    }
    let found = machine.get(b"key", None).expect("the present can be read");
    found.map(|key_value| key_value.value)
}

fn put<C: Consensus>(cluster: &mut Cluster<C>, at: NodeId, value: &str) {
    let request: RequestId = cluster.put(at, value);
    cluster.advance(Duration::from_millis(10));
    assert_eq!(cluster.deliveries(at, request), 1, "{value} is committed");
}

fn in_a_deposed_leaders_minority_only_linearizable_reads_are_refused<C: Consensus>() {
    let (mut cluster, deposed) = Cluster::<C>::with_leader();
    put(&mut cluster, deposed, "old");
    // Frames of heartbeats of this moment may be on their way; they do not matter.
    cluster.advance(Duration::from_millis(50));
    cluster.cut_off(deposed);
    let leader = cluster.run_until_led();
    assert_ne!(leader, deposed);
    put(&mut cluster, leader, "new");

    // It believes that it leads: its word is enough for `sync`, and wrong.
    let sync = cluster.read(deposed, false);
    assert_eq!(cluster.conclusion(deposed, sync), Some(Conclusion::ReadReady));
    assert_eq!(value(&cluster, deposed), Some("old".into()), "a stale answer");
    // `local` asks nobody, so it reads the same.
    let linearizable = cluster.read(deposed, true);
    cluster.advance(PATIENCE + Duration::from_millis(10));
    let refused = cluster.conclusion(deposed, linearizable);
    assert!(
        matches!(refused, Some(Conclusion::Failed(Failure::NoLeader | Failure::NoQuorum))),
        "{refused:?}"
    );
    // By now it knows that it does not lead, and `sync` is refused as well.
    let sync = cluster.read(deposed, false);
    cluster.advance(PATIENCE + Duration::from_millis(10));
    let refused = cluster.conclusion(deposed, sync);
    assert_eq!(refused, Some(Conclusion::Failed(Failure::NoLeader)));

    cluster.heal(deposed);
    for confirmed in [true, false] {
        let read = cluster.read(deposed, confirmed);
        cluster.advance(Duration::from_secs(1));
        assert_eq!(cluster.conclusion(deposed, read), Some(Conclusion::ReadReady));
        assert_eq!(value(&cluster, deposed), Some("new".into()));
    }
}

fn a_sync_read_sees_what_its_leader_has_committed<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let follower = cluster.others(leader)[0];
    let request = cluster.put(leader, "committed");
    while cluster.deliveries(leader, request) == 0 {
        cluster.deliver_one();
    }
    assert_eq!(value(&cluster, follower), None, "the follower has not heard of the commit yet");
    let sync = cluster.read(follower, false);
    while cluster.conclusion(follower, sync).is_none() {
        cluster.deliver_one();
    }
    assert_eq!(cluster.conclusion(follower, sync), Some(Conclusion::ReadReady));
    assert_eq!(value(&cluster, follower), Some("committed".into()));
}
