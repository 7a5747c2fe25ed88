//! Writes with an idempotency key, which are sent again when their leader is lost, over both protocols.

mod replicas;

use std::time::Duration;

use consensus::{Consensus, NodeId};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::replica::{Conclusion, Failure};
use kvcore::{Outcome, RequestId};
use replicas::{Cluster, PATIENCE, for_both_protocols};

for_both_protocols!(
    a_write_with_a_key_that_never_reached_its_leader_goes_to_the_next_one,
    a_write_with_a_key_that_was_lost_with_its_leader_is_done_under_the_next_one,
    a_write_with_a_key_is_sent_again_on_the_next_connection_to_the_same_leader,
    a_write_with_a_key_that_is_done_already_is_not_done_again,
    a_write_with_a_key_that_nobody_could_settle_in_time_has_an_unknown_outcome,
    a_write_with_a_key_that_no_leader_ever_had_certainly_did_not_happen,
);

/// The revision that a request made, the same on all these nodes; it was made once.
fn done_once<C: Consensus>(cluster: &Cluster<C>, nodes: &[NodeId], request: RequestId) -> u64 {
    let revisions = nodes.iter().map(|&node| {
        let applied = cluster.applied(node);
        let copies: Vec<_> = applied
            .iter()
            .filter(|applied| applied.header.is_some_and(|header| header.request == request))
            .collect();
        let (first, repeats) = copies.split_first().expect("it was delivered");
        assert!(matches!(first.outcome, Outcome::Put(_)) && !first.repeated);
        for repeat in repeats {
            assert!(repeat.repeated, "{repeat:?}");
            assert_eq!(repeat.revision, first.revision, "every copy tells the same");
        }
        first.revision.0
    });
    let revisions: Vec<u64> = revisions.collect();
    assert!(revisions.iter().all(|revision| *revision == revisions[0]), "{revisions:?}");
    revisions[0]
}

fn nodes() -> Vec<NodeId> {
    (1..=3).map(NodeId).collect()
}

fn a_write_with_a_key_that_never_reached_its_leader_goes_to_the_next_one<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    let request = cluster.put_with_key(asked, "value", "name");
    let bare = cluster.put(asked, "another value");
    // What was sent is lost with the connections.
    cluster.isolate(leader);
    assert_ne!(cluster.run_until_led(), leader);
    cluster.advance(Duration::from_millis(100));
    assert_eq!(cluster.conclusion(asked, request), None, "applying it answers it");
    assert_eq!(cluster.deliveries(asked, request), 1);
    assert_eq!(cluster.deliveries(asked, bare), 1, "without a key once it is certainly lost");
    cluster.heal(leader);
    cluster.advance(Duration::from_secs(1));
    done_once(&cluster, &nodes(), request);
}

fn a_write_with_a_key_that_was_lost_with_its_leader_is_done_under_the_next_one<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    cluster.isolate(leader);
    let request = cluster.put_with_key(leader, "value", "name");
    assert_ne!(cluster.run_until_led(), leader);
    cluster.heal(leader);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.conclusion(leader, request), None);
    assert_eq!(cluster.deliveries(leader, request), 1);
    done_once(&cluster, &nodes(), request);
}

fn a_write_with_a_key_is_sent_again_on_the_next_connection_to_the_same_leader<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    let request = cluster.put_with_key(asked, "value", "name");
    cluster.reconnect(asked, leader);
    cluster.advance(Duration::from_millis(1_500));
    assert_eq!(cluster.conclusion(asked, request), None);
    assert_eq!(cluster.deliveries(asked, request), 1);
    done_once(&cluster, &nodes(), request);
}

fn a_write_with_a_key_that_is_done_already_is_not_done_again<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    let request = cluster.put_with_key(asked, "value", "name");
    cluster.deliver_one();
    // The leader has it and commits it, but who was asked does not hear of that, and sends it again.
    cluster.isolate(asked);
    cluster.advance(Duration::from_millis(50));
    assert_eq!(cluster.deliveries(leader, request), 1);
    assert_eq!(cluster.deliveries(asked, request), 0);
    cluster.heal(asked);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.conclusion(asked, request), None);
    let first = done_once(&cluster, &nodes(), request);
    // So does a client that never got its answer, at any node.
    for node in nodes() {
        let again = cluster.put_with_key(node, "value", "name");
        cluster.advance(Duration::from_millis(50));
        let applied = cluster.applied(node);
        let applied = applied.last().expect("it was applied");
        assert_eq!(applied.header.map(|header| header.request), Some(again));
        assert!(applied.repeated && applied.revision.0 == first, "{applied:?}");
    }
}

fn a_write_with_a_key_that_nobody_could_settle_in_time_has_an_unknown_outcome<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    for other in cluster.others(leader) {
        cluster.isolate(other);
    }
    let request = cluster.put_with_key(leader, "value", "name");
    cluster.advance(PATIENCE - Duration::from_millis(10));
    assert_eq!(cluster.conclusion(leader, request), None, "it waits until its time is up");
    cluster.advance(Duration::from_millis(20));
    let failed = cluster.conclusion(leader, request);
    assert_eq!(failed, Some(Conclusion::Failed(Failure::UnknownOutcome)));
}

fn a_write_with_a_key_that_no_leader_ever_had_certainly_did_not_happen<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    cluster.isolate(asked);
    cluster.advance(Duration::from_secs(1));
    let request = cluster.put_with_key(asked, "value", "name");
    cluster.advance(PATIENCE + Duration::from_millis(10));
    let failed = cluster.conclusion(asked, request);
    assert_eq!(failed, Some(Conclusion::Failed(Failure::NoLeader)));
    cluster.heal(asked);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.deliveries(leader, request), 0);
}
