//! What becomes of requests at any node, over both protocols.

mod replicas;

use std::time::Duration;

use consensus::{Consensus, NodeId};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::replica::{Conclusion, Failure};
use replicas::{Cluster, PATIENCE, for_both_protocols};

for_both_protocols!(
    a_write_at_any_node_is_delivered_once_everywhere,
    a_read_at_any_node_waits_for_a_confirmed_barrier,
    a_write_without_a_leader_is_held_and_then_told_that_nothing_happened,
    a_held_write_goes_to_the_next_leader,
    a_write_lost_with_its_leader_goes_to_the_next_one,
    a_write_lost_with_its_leader_that_nobody_takes_is_told_so_definitely,
    a_write_that_can_not_be_settled_in_time_has_an_unknown_outcome,
    a_read_in_a_minority_never_becomes_ready,
    a_leader_that_refuses_is_asked_again_only_after_a_while,
    writes_that_ended_without_a_leader_leave_nothing_behind,
    an_observer_takes_writes_and_reads_like_any_other_node,
    an_observer_without_a_quorum_of_voters_confirms_nothing,
    what_was_asked_on_an_earlier_connection_is_not_answered_on_a_later_one,
);

fn a_write_at_any_node_is_delivered_once_everywhere<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let mut nodes = cluster.others(leader);
    nodes.push(leader);
    for &asked in &nodes {
        let request = cluster.put(asked, "value");
        cluster.advance(Duration::from_millis(10));
        assert_eq!(cluster.conclusion(asked, request), None, "applying it answers it");
        for &node in &nodes {
            assert_eq!(cluster.deliveries(node, request), 1, "asked at {asked}, seen at {node}");
        }
    }
}

fn a_read_at_any_node_waits_for_a_confirmed_barrier<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    for asked in cluster.others(leader).into_iter().chain([leader]) {
        for confirmed in [true, false] {
            let request = cluster.read(asked, confirmed);
            cluster.advance(Duration::from_millis(50));
            assert_eq!(cluster.conclusion(asked, request), Some(Conclusion::ReadReady));
        }
    }
}

fn a_write_without_a_leader_is_held_and_then_told_that_nothing_happened<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    cluster.isolate(asked);
    cluster.advance(Duration::from_secs(1));
    let request = cluster.put(asked, "value");
    cluster.advance(PATIENCE - Duration::from_millis(10));
    assert_eq!(cluster.conclusion(asked, request), None);
    cluster.advance(Duration::from_millis(50));
    let failed = cluster.conclusion(asked, request);
    assert_eq!(failed, Some(Conclusion::Failed(Failure::NoLeader)));
    cluster.heal(asked);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.deliveries(leader, request), 0, "what is told to have failed never happens");
}

fn a_held_write_goes_to_the_next_leader<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    cluster.isolate(leader);
    let request = cluster.put(asked, "value");
    let next = cluster.run_until_led();
    assert_ne!(next, leader);
    cluster.advance(Duration::from_millis(50));
    assert_eq!(cluster.conclusion(asked, request), None);
    assert_eq!(cluster.deliveries(asked, request), 1);
}

fn a_write_lost_with_its_leader_goes_to_the_next_one<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    // The leader appends it, but nobody else ever hears of it.
    cluster.isolate(leader);
    let request = cluster.put(leader, "lost and found");
    assert_ne!(cluster.run_until_led(), leader);
    cluster.heal(leader);
    cluster.advance(Duration::from_secs(1));
    assert_eq!(cluster.conclusion(leader, request), None, "applying it answers it");
    for node in [1, 2, 3].map(consensus::NodeId) {
        assert_eq!(cluster.deliveries(node, request), 1, "once, everywhere");
    }
}

fn a_write_lost_with_its_leader_that_nobody_takes_is_told_so_definitely<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    cluster.isolate(leader);
    let request = cluster.put(leader, "lost");
    let next = cluster.run_until_led();
    assert_ne!(next, leader);
    cluster.refuse_forwarded(Some(next));
    cluster.heal(leader);
    cluster.advance(PATIENCE);
    let failed = cluster.conclusion(leader, request);
    assert_eq!(failed, Some(Conclusion::Failed(Failure::LeaderChanged)));
    assert!(Failure::LeaderChanged.is_definite());
    for node in [1, 2, 3].map(consensus::NodeId) {
        assert_eq!(cluster.deliveries(node, request), 0);
    }
}

fn a_write_that_can_not_be_settled_in_time_has_an_unknown_outcome<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    cluster.isolate(leader);
    let request = cluster.put(leader, "value");
    cluster.advance(PATIENCE + Duration::from_millis(10));
    let failed = cluster.conclusion(leader, request);
    assert_eq!(failed, Some(Conclusion::Failed(Failure::UnknownOutcome)));
    assert!(!Failure::UnknownOutcome.is_definite());
}

fn a_read_in_a_minority_never_becomes_ready<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    cluster.isolate(leader);
    let request = cluster.read(leader, true);
    cluster.advance(PATIENCE + Duration::from_millis(10));
    let failed = cluster.conclusion(leader, request);
    assert!(matches!(failed, Some(Conclusion::Failed(Failure::NoLeader | Failure::NoQuorum))));
}

fn a_leader_that_refuses_is_asked_again_only_after_a_while<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    cluster.refuse_forwarded(Some(leader));
    let before = cluster.forwards();
    let request = cluster.put(asked, "value");
    for _ in 0..100 {
        cluster.advance(Duration::from_millis(1));
        // Whatever else happens, the leader is left alone.
        cluster.put(asked, "another");
    }
    let frames = cluster.forwards() - before;
    assert!((5..=11).contains(&frames), "one frame in ten milliseconds, not {frames} in a hundred");
    cluster.refuse_forwarded(None);
    cluster.advance(Duration::from_millis(20));
    assert_eq!(cluster.conclusion(asked, request), None);
    assert_eq!(cluster.deliveries(asked, request), 1, "what was refused is handed over again");
}

fn writes_that_ended_without_a_leader_leave_nothing_behind<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let asked = cluster.others(leader)[0];
    cluster.isolate(asked);
    cluster.advance(Duration::from_secs(1));
    let mut sizes = Vec::new();
    for round in 0..10 {
        let requests: Vec<_> = (0..90).map(|_| cluster.put(asked, "value")).collect();
        cluster.advance(PATIENCE + Duration::from_millis(10));
        for request in requests {
            let failed = cluster.conclusion(asked, request);
            assert_eq!(failed, Some(Conclusion::Failed(Failure::NoLeader)), "in round {round}");
        }
        sizes.push(cluster.describe(asked).len());
    }
    let (first, last) = (sizes[0], sizes[9]);
    assert!(last < first + 200, "the state grew from {first} to {last} characters");
}

/// A node that does not count serves clients all the same: it hands their writes and barriers on.
fn an_observer_takes_writes_and_reads_like_any_other_node<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader_and_observers(1);
    let observer = NodeId(4);
    assert_ne!(leader, observer);
    for _ in 0..3 {
        let request = cluster.put(observer, "value");
        cluster.advance(Duration::from_millis(20));
        assert_eq!(cluster.conclusion(observer, request), None, "applying it answers it");
        for node in cluster.others(observer).into_iter().chain([observer]) {
            assert_eq!(cluster.deliveries(node, request), 1, "seen at {node}");
        }
        for confirmed in [true, false] {
            let request = cluster.read(observer, confirmed);
            cluster.advance(Duration::from_millis(50));
            assert_eq!(cluster.conclusion(observer, request), Some(Conclusion::ReadReady));
        }
    }
    cluster.transfer(leader, Some(observer));
    cluster.advance(Duration::from_millis(50));
    assert_eq!(cluster.run_until_led(), leader, "and it is never handed the office");
}

/// Two nodes of four are left, and one voter of three.
fn an_observer_without_a_quorum_of_voters_confirms_nothing<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader_and_observers(1);
    let observer = NodeId(4);
    for other in cluster.others(leader) {
        if other != observer {
            cluster.isolate(other);
        }
    }
    let write = cluster.put(observer, "value");
    let read = cluster.read(observer, true);
    cluster.advance(PATIENCE + Duration::from_millis(50));
    assert_eq!(cluster.deliveries(observer, write) + cluster.deliveries(leader, write), 0);
    assert!(matches!(cluster.conclusion(observer, write), Some(Conclusion::Failed(_))));
    assert!(matches!(cluster.conclusion(observer, read), Some(Conclusion::Failed(_))));
}

/// A peer that starts anew counts its questions anew: an answer to the one before would release a read
/// that is asked for after it.
fn what_was_asked_on_an_earlier_connection_is_not_answered_on_a_later_one<C: Consensus>() {
    for noticed in [false, true] {
        let (mut cluster, leader) = Cluster::<C>::with_leader();
        let asking = cluster.others(leader)[0];
        let earlier = cluster.generation(leader, asking);
        assert!(cluster.asks(asking, leader, earlier));
        if noticed {
            cluster.reconnect(asking, leader);
        } else {
            cluster.replace_connection(asking, leader);
        }
        cluster.advance(Duration::from_millis(500));
        assert_eq!(cluster.run_until_led(), leader);
        assert!(!cluster.asks(asking, leader, earlier), "it turned up late");
        let present = cluster.generation(leader, asking);
        assert!(cluster.asks(asking, leader, present));
    }
}
