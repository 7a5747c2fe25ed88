//! Digests compared by the replicas themselves, over both protocols, and the alarms that follow.

mod replicas;

use std::time::Duration;

use consensus::{Consensus, Index, NodeId, Wire as _};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::replica::DIGEST_INTERVAL_DEFAULT;
use kvcore::{AlarmCommand, Command, Corruption, Envelope, LeaseCommand, LeaseId};
use replicas::{Cluster, for_both_protocols};

for_both_protocols!(
    replicas_that_agree_are_compared_after_changes_and_raise_nothing,
    a_replica_that_lags_compares_its_state_of_that_time,
    a_replica_that_differs_raises_an_alarm_that_everybody_knows,
    all_others_raise_alarms_when_it_is_the_leader_that_differs,
    an_alarm_that_does_not_get_through_is_raised_again,
    an_alarm_that_is_cleared_comes_back_while_the_replica_differs,
    a_next_leader_compares_what_it_inherits,
    leases_stand_still_while_an_alarm_stands_also_under_a_next_leader,
    a_lease_whose_end_is_decided_before_the_leader_hears_of_an_alarm_lives_on,
);

fn compared_soon() -> Duration {
    DIGEST_INTERVAL_DEFAULT + Duration::from_millis(100)
}

/// How many comparisons a node has applied.
fn comparisons<C: Consensus>(cluster: &Cluster<C>, at: NodeId) -> usize {
    let is_comparison = |payload: &bytes::Bytes| {
        let envelope = Envelope::from_bytes(payload.clone()).expect("ours");
        matches!(envelope.command, Command::Alarm(AlarmCommand::Compare { .. }))
    };
    let commands = cluster.delivered(at).iter().filter_map(|entry| entry.command());
    commands.filter(|payload| is_comparison(payload)).count()
}

/// The nodes about which every node knows an alarm.
fn alarms<C: Consensus>(cluster: &Cluster<C>) -> Vec<NodeId> {
    let known: Vec<_> = cluster.ids().iter().map(|&id| cluster.machine(id).alarms()).collect();
    assert!(known.windows(2).all(|pair| pair[0] == pair[1]), "everybody knows the same: {known:?}");
    known[0].keys().copied().collect()
}

/// A node makes something else of the next write than the others do.
fn write_and_rot<C: Consensus>(cluster: &mut Cluster<C>, rotten: NodeId) {
    cluster.rot(rotten);
    cluster.put(rotten, "value");
    cluster.advance(Duration::from_millis(10));
}

fn replicas_that_agree_are_compared_after_changes_and_raise_nothing<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    cluster.advance(compared_soon());
    let at_first = comparisons(&cluster, leader);
    for round in 1..=3 {
        cluster.put(leader, "value");
        cluster.advance(compared_soon());
        assert_eq!(comparisons(&cluster, leader), at_first + round);
    }
    let entries = cluster.delivered(leader).len();
    cluster.advance(20 * DIGEST_INTERVAL_DEFAULT);
    assert_eq!(cluster.delivered(leader).len(), entries, "nothing is left to compare");
    assert_eq!(alarms(&cluster), []);
}

fn a_replica_that_lags_compares_its_state_of_that_time<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let follower = cluster.others(leader)[0];
    cluster.hold_up(follower, true);
    for _ in 0..40 {
        cluster.put(leader, "value");
        cluster.advance(DIGEST_INTERVAL_DEFAULT / 4);
    }
    assert!(comparisons(&cluster, leader) >= 8);
    cluster.hold_up(follower, false);
    cluster.advance(Duration::from_secs(5));
    assert_eq!(alarms(&cluster), []);
}

fn a_replica_that_differs_raises_an_alarm_that_everybody_knows<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let follower = cluster.others(leader)[0];
    write_and_rot(&mut cluster, follower);
    assert_eq!(alarms(&cluster), [], "nothing was compared yet");
    let last = cluster.machine(leader).applied().index;
    cluster.advance(compared_soon());
    assert_eq!(alarms(&cluster), [follower]);
    let corruption = cluster.machine(leader).alarms()[&follower];
    assert_eq!((corruption.index, corruption.compared_with), (last, leader));
}

fn all_others_raise_alarms_when_it_is_the_leader_that_differs<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    write_and_rot(&mut cluster, leader);
    cluster.advance(compared_soon());
    assert_eq!(alarms(&cluster), cluster.others(leader));
}

fn an_alarm_that_does_not_get_through_is_raised_again<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let follower = cluster.others(leader)[0];
    write_and_rot(&mut cluster, follower);
    cluster.refuse_forwarded(Some(leader));
    cluster.advance(compared_soon() + Duration::from_secs(3));
    assert_eq!(alarms(&cluster), []);
    assert!((3..=6).contains(&(cluster.forwards() - 1)), "{} attempts", cluster.forwards() - 1);
    cluster.refuse_forwarded(None);
    cluster.advance(Duration::from_secs(2));
    assert_eq!(alarms(&cluster), [follower]);
}

fn an_alarm_that_is_cleared_comes_back_while_the_replica_differs<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let follower = cluster.others(leader)[0];
    write_and_rot(&mut cluster, follower);
    cluster.advance(compared_soon());
    cluster.write(follower, Command::Alarm(AlarmCommand::Clear { node: follower }));
    cluster.advance(Duration::from_secs(5));
    assert_eq!(alarms(&cluster), []);
    cluster.advance(compared_soon());
    assert_eq!(alarms(&cluster), [follower], "what cleared it is a change, which is compared");
}

fn a_next_leader_compares_what_it_inherits<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let follower = cluster.others(leader)[0];
    write_and_rot(&mut cluster, follower);
    cluster.isolate(leader);
    let next = cluster.run_until_led();
    cluster.advance(compared_soon());
    cluster.heal(leader);
    cluster.advance(Duration::from_secs(5));
    let differs: Vec<NodeId> =
        if next == follower { cluster.others(follower) } else { vec![follower] };
    assert_eq!(alarms(&cluster), differs);
}

/// Nobody can keep a lease alive then, and who holds a lock by it can not know how things stand.
fn leases_stand_still_while_an_alarm_stands_also_under_a_next_leader<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let lease = LeaseId::new(7).expect("not 0");
    let grant = LeaseCommand::Grant { lease: Some(lease), ttl_millis: 4_000 };
    cluster.write(leader, Command::Lease(grant));
    cluster.advance(Duration::from_secs(1));
    let node = cluster.others(leader)[0];
    let corruption = Corruption { index: Index(1), compared_with: leader };
    cluster.write(leader, Command::Alarm(AlarmCommand::Raise { node, corruption }));
    cluster.advance(Duration::from_secs(30));
    cluster.isolate(leader);
    let next = cluster.run_until_led();
    cluster.advance(Duration::from_secs(30));
    assert!(cluster.machine(next).lease(lease).is_some(), "it outlives the alarm");
    cluster.heal(leader);
    cluster.write(next, Command::Alarm(AlarmCommand::Clear { node }));
    cluster.advance(Duration::from_secs(2));
    assert!(cluster.machine(next).lease(lease).is_some(), "it has what it had left");
    cluster.advance(Duration::from_secs(4));
    assert!(cluster.machine(next).lease(lease).is_none(), "then it ends");
}

/// The followers refuse keepalives already, while the leader, which is slow to apply, still counts.
fn a_lease_whose_end_is_decided_before_the_leader_hears_of_an_alarm_lives_on<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    let lease = LeaseId::new(7).expect("not 0");
    let grant = LeaseCommand::Grant { lease: Some(lease), ttl_millis: 3_000 };
    cluster.write(leader, Command::Lease(grant));
    cluster.advance(Duration::from_millis(100));
    cluster.hold_up(leader, true);
    let node = cluster.others(leader)[0];
    let corruption = Corruption { index: Index(1), compared_with: leader };
    cluster.write(leader, Command::Alarm(AlarmCommand::Raise { node, corruption }));
    cluster.advance(Duration::from_secs(4));
    let is_expiry = |payload: &bytes::Bytes| {
        let envelope = Envelope::from_bytes(payload.clone()).expect("ours");
        matches!(envelope.command, Command::Lease(LeaseCommand::Expire { .. }))
    };
    let commands = cluster.delivered(node).iter().filter_map(|entry| entry.command());
    assert_eq!(commands.filter(|payload| is_expiry(payload)).count(), 1, "the leader has counted");
    cluster.hold_up(leader, false);
    cluster.advance(Duration::from_secs(30));
    assert!(cluster.machine(leader).lease(lease).is_some(), "no lease ends under an alarm");
    cluster.write(leader, Command::Alarm(AlarmCommand::Clear { node }));
    cluster.advance(Duration::from_secs(2));
    assert!(cluster.machine(leader).lease(lease).is_some(), "it has all of its time again");
    cluster.advance(Duration::from_secs(2));
    assert!(cluster.machine(leader).lease(lease).is_none(), "then it ends");
}
