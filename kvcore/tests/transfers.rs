//! Transfers of leadership asked for at any node, over both protocols, and what becomes of the writes
//! that come meanwhile.

mod replicas;

use std::time::Duration;

use consensus::Consensus;
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::replica::{Conclusion, Failure};
use replicas::{Cluster, PATIENCE, for_both_protocols};

for_both_protocols!(
    any_node_takes_a_transfer_and_sees_that_it_is_done,
    nobody_named_is_anybody_else,
    writes_that_come_during_a_transfer_are_done_once,
    reads_that_come_during_a_transfer_are_answered,
    a_transfer_to_whom_the_leader_does_not_reach_is_refused,
    a_transfer_without_a_leader_ends_with_its_time,
    a_transfer_whose_leader_is_lost_ends_all_the_same,
);

fn any_node_takes_a_transfer_and_sees_that_it_is_done<C: Consensus>() {
    let (mut cluster, mut leader) = Cluster::<C>::with_leader();
    for round in 0..3 {
        for asked in 0..3 {
            let to = cluster.others(leader)[round % 2];
            let asked = [leader, cluster.others(leader)[0], cluster.others(leader)[1]][asked];
            let request = cluster.transfer(asked, Some(to));
            cluster.advance(Duration::from_millis(20));
            let done = Some(Conclusion::Transferred { leader: to });
            assert_eq!(cluster.conclusion(asked, request), done, "{asked}, {leader} to {to}");
            assert_eq!(cluster.run_until_led(), to);
            leader = to;
            // What is so already needs nobody to be asked.
            let request = cluster.transfer(asked, Some(to));
            assert_eq!(cluster.conclusion(asked, request), done);
        }
    }
}

fn nobody_named_is_anybody_else<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    let request = cluster.transfer(asked, None);
    cluster.advance(Duration::from_millis(20));
    let successor = cluster.run_until_led();
    assert_ne!(successor, leader);
    let done = Some(Conclusion::Transferred { leader: successor });
    assert_eq!(cluster.conclusion(asked, request), done);
}

fn writes_that_come_during_a_transfer_are_done_once<C: Consensus>() {
    let (mut cluster, mut leader) = Cluster::<C>::with_leader();
    for round in 0..4 {
        let to = cluster.others(leader)[round % 2];
        let nodes = [leader, cluster.others(leader)[0], cluster.others(leader)[1]];
        let mut writes = Vec::new();
        for step in 0..10 {
            if step == 2 {
                cluster.transfer(leader, Some(to));
            }
            // Twice, so that some come while messages are under way.
            for asked in nodes.into_iter().chain(nodes) {
                writes.push((asked, cluster.put(asked, "value")));
            }
            cluster.advance(Duration::from_millis(1));
        }
        cluster.advance(Duration::from_millis(50));
        leader = cluster.run_until_led();
        assert_eq!(leader, to);
        for (asked, request) in writes {
            assert_eq!(cluster.conclusion(asked, request), None, "no error: applying answers it");
            for node in nodes {
                assert_eq!(cluster.deliveries(node, request), 1, "of {asked}, seen at {node}");
            }
        }
    }
}

fn reads_that_come_during_a_transfer_are_answered<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let to = cluster.others(leader)[0];
    cluster.transfer(leader, Some(to));
    let mut reads = Vec::new();
    for confirmed in [true, false] {
        for asked in cluster.others(leader).into_iter().chain([leader]) {
            reads.push((asked, cluster.read(asked, confirmed)));
        }
    }
    cluster.advance(Duration::from_millis(50));
    for (asked, request) in reads {
        assert_eq!(cluster.conclusion(asked, request), Some(Conclusion::ReadReady), "at {asked}");
    }
}

fn a_transfer_to_whom_the_leader_does_not_reach_is_refused<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let [asked, lost] = cluster.others(leader)[..] else { panic!("three nodes") };
    cluster.isolate(lost);
    for asked in [leader, asked] {
        let request = cluster.transfer(asked, Some(lost));
        cluster.advance(Duration::from_millis(20));
        let refused = Some(Conclusion::Failed(Failure::NoSuccessor));
        assert_eq!(cluster.conclusion(asked, request), refused);
    }
    assert!(Failure::NoSuccessor.is_definite());
    assert_eq!(cluster.run_until_led(), leader);
}

fn a_transfer_without_a_leader_ends_with_its_time<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    cluster.isolate(asked);
    cluster.advance(Duration::from_secs(1));
    let request = cluster.transfer(asked, None);
    cluster.advance(PATIENCE - Duration::from_millis(10));
    assert_eq!(cluster.conclusion(asked, request), None);
    cluster.advance(Duration::from_millis(50));
    let failed = Some(Conclusion::Failed(Failure::NoLeader));
    assert_eq!(cluster.conclusion(asked, request), failed);
}

fn a_transfer_whose_leader_is_lost_ends_all_the_same<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let [asked, other] = cluster.others(leader)[..] else { panic!("three nodes") };
    let named = cluster.transfer(asked, Some(other));
    let anybody = cluster.transfer(asked, None);
    // Before the leader hears of either.
    cluster.isolate(leader);
    let next = cluster.run_until_led();
    cluster.advance(Duration::from_millis(20));
    let transferred = Conclusion::Transferred { leader: next };
    assert_eq!(cluster.conclusion(asked, anybody), Some(transferred), "another one leads");
    let expected =
        if next == other { transferred } else { Conclusion::Failed(Failure::TransferFailed) };
    assert_eq!(cluster.conclusion(asked, named), Some(expected));
}
