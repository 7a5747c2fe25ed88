//! What becomes of requests when a snapshot takes the place of the machine, over both protocols.

mod replicas;

use std::time::Duration;

use consensus::{Consensus, Index, NodeId};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::RequestId;
use kvcore::replica::{Conclusion, Failure};
use replicas::{Cluster, PATIENCE, for_both_protocols};

for_both_protocols!(
    a_write_that_a_snapshot_may_hold_has_an_unknown_outcome,
    a_write_that_nobody_took_goes_on_behind_a_snapshot,
    a_read_goes_on_behind_a_snapshot,
    what_a_snapshot_holds_is_not_delivered,
);

/// A node is away while the others write and forget it. `before` is done with the node just before.
fn away<C: Consensus>(
    before: impl FnOnce(&mut Cluster<C>, NodeId) -> Option<RequestId>,
) -> (Cluster<C>, NodeId, Option<RequestId>) {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let away = cluster.others(leader)[0];
    let request = before(&mut cluster, away);
    cluster.isolate(away);
    for number in 0..5 {
        cluster.put(leader, &number.to_string());
        cluster.advance(Duration::from_millis(5));
    }
    (cluster, away, request)
}

/// Heals the node, whoever leads then, and lets it install.
fn rejoin<C: Consensus>(cluster: &mut Cluster<C>, away: NodeId) {
    for id in cluster.others(away) {
        cluster.compact(id);
    }
    cluster.heal(away);
    for _ in 0..400 {
        cluster.advance(Duration::from_millis(5));
        for from in cluster.others(away) {
            cluster.complete_snapshot(from, away);
        }
        if !cluster.installed(away).is_empty() {
            return cluster.advance(Duration::from_millis(100));
        }
    }
    panic!("no snapshot within two seconds");
}

fn a_write_that_a_snapshot_may_hold_has_an_unknown_outcome<C: Consensus>() {
    // Handed over to the leader, who gets it only if the frame was already on its way.
    for arrives in [true, false] {
        let (mut cluster, away, request) = away::<C>(|cluster, away| {
            let request = cluster.put(away, "in the snapshot or not");
            if arrives {
                cluster.deliver_forwards();
            }
            Some(request)
        });
        let request = request.expect("it was made");
        rejoin(&mut cluster, away);
        let failed = Some(Conclusion::Failed(Failure::UnknownOutcome));
        assert_eq!(cluster.conclusion(away, request), failed);
        assert_eq!(cluster.deliveries(away, request), 0, "it is not delivered any more");
        for other in cluster.others(away) {
            assert_eq!(cluster.deliveries(other, request), usize::from(arrives), "at {other}");
        }
    }
}

fn a_write_that_nobody_took_goes_on_behind_a_snapshot<C: Consensus>() {
    let (mut cluster, away, _) = away::<C>(|_, _| None);
    cluster.advance(Duration::from_millis(500));
    let request = cluster.put(away, "held without a leader, and refused by it");
    let leader = cluster.run_until_led();
    cluster.refuse_forwarded(Some(leader));
    rejoin(&mut cluster, away);
    assert_eq!(cluster.conclusion(away, request), None, "it can not be in the snapshot");
    cluster.refuse_forwarded(None);
    cluster.advance(Duration::from_millis(100));
    assert_eq!(cluster.conclusion(away, request), None, "applying it answers it");
    for node in (1..=3).map(NodeId) {
        assert_eq!(cluster.deliveries(node, request), 1, "at {node}");
    }
}

fn a_read_goes_on_behind_a_snapshot<C: Consensus>() {
    for confirmed in [true, false] {
        let (mut cluster, away, _) = away::<C>(|_, _| None);
        cluster.advance(PATIENCE / 4);
        let request = cluster.read(away, confirmed);
        rejoin(&mut cluster, away);
        assert_eq!(cluster.conclusion(away, request), Some(Conclusion::ReadReady));
    }
}

fn what_a_snapshot_holds_is_not_delivered<C: Consensus>() {
    let (mut cluster, away, _) = away::<C>(|_, _| None);
    rejoin(&mut cluster, away);
    let leader = cluster.run_until_led();
    cluster.put(leader, "behind it");
    cluster.advance(Duration::from_millis(50));
    let [position] = cluster.installed(away)[..] else { panic!("one snapshot is enough") };
    let delivered = cluster.delivered_since_install(away);
    assert!(!delivered.is_empty());
    let dense: Vec<Index> = (position.index.0 + 1..).map(Index).take(delivered.len()).collect();
    assert_eq!(delivered, dense);
}
