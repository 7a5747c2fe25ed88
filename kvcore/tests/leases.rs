//! Leases over both protocols: who counts their time, what a change of leader does to it, and when a
//! keepalive goes through the log.

mod replicas;

use std::time::Duration;

use consensus::{Consensus, NodeId};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::replica::{Conclusion, LeaseAnswer};
use kvcore::{Command, Keys, LeaseCommand, LeaseId, Put, PutLease, Range};
use replicas::{Cluster, for_both_protocols};

for_both_protocols!(
    a_lease_ends_when_its_time_is_over_and_not_before,
    every_node_is_told_what_the_leader_says,
    a_next_leader_counts_what_the_checkpoints_left,
    what_a_checkpoint_took_is_given_back_by_a_logged_renewal,
    a_keepalive_beside_the_expiry_is_logged_and_comes_too_late,
    a_renewal_on_its_way_through_the_log_makes_an_expiry_void,
    a_leader_that_was_cut_off_expires_nothing_and_answers_nothing,
    a_next_leader_counts_only_when_it_has_applied_what_it_inherited,
);

const LEASE: i64 = 77;

fn lease() -> LeaseId {
    LeaseId::new(LEASE).expect("not 0")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Grants the lease for so long, hangs two keys on it, and waits until everybody knows.
fn grant<C: Consensus>(cluster: &mut Cluster<C>, at: NodeId, ttl_seconds: u64) {
    let (lease, ttl_millis) = (lease(), ttl_seconds * 1_000);
    cluster.write(at, Command::Lease(LeaseCommand::Grant { lease: Some(lease), ttl_millis }));
    for key in ["b", "a"] {
        let put = Put::new(key.into(), "v".into());
        let put = Put { lease: PutLease::Attach(lease), ..put };
        cluster.write(at, Command::Put { put, conditions: Vec::new() });
    }
    cluster.advance(Duration::from_millis(5));
}

/// Whether the lease is there, and its keys with it.
fn lives<C: Consensus>(cluster: &Cluster<C>, at: NodeId) -> bool {
    let machine = cluster.machine(at);
    let keys = machine.range(&Range::of(Keys::all())).expect("readable").key_values.len();
    let lives = machine.lease(lease()).is_some();
    assert_eq!(keys, if lives { 2 } else { 0 }, "the keys go with the lease");
    lives
}

fn ask<C: Consensus>(cluster: &mut Cluster<C>, at: NodeId, renew: bool) -> LeaseAnswer {
    let request = cluster.ask_about(at, lease(), renew);
    cluster.advance(Duration::from_millis(20));
    match cluster.conclusion(at, request) {
        Some(Conclusion::Lease(answer)) => answer,
        other => panic!("the leader answers, and not {other:?}"),
    }
}

fn renewed(ttl_seconds: u64) -> LeaseAnswer {
    LeaseAnswer::Renewed { ttl_millis: ttl_seconds * 1_000 }
}

fn a_lease_ends_when_its_time_is_over_and_not_before<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    grant(&mut cluster, leader, 3);
    for _ in 0..4 {
        cluster.advance(Duration::from_millis(2_900));
        assert!(lives(&cluster, leader));
        assert_eq!(ask(&mut cluster, leader, true), renewed(3));
    }
    let before = cluster.machine(leader).revision();
    cluster.advance(Duration::from_millis(2_950));
    assert!(lives(&cluster, leader));
    cluster.advance(Duration::from_millis(90));
    assert!(!lives(&cluster, leader));
    let after = cluster.machine(leader).revision();
    assert_eq!(after.0, before.0 + 1, "all of it is one revision");
    assert_eq!(ask(&mut cluster, leader, true), LeaseAnswer::Unknown);
}

fn every_node_is_told_what_the_leader_says<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader_and_observers(1);
    for at in cluster.others(leader).into_iter().chain([leader]) {
        assert_eq!(ask(&mut cluster, at, true), LeaseAnswer::Unknown, "at {at}");
    }
    let follower = cluster.others(leader)[0];
    grant(&mut cluster, follower, 4);
    for at in cluster.others(leader).into_iter().chain([leader]) {
        cluster.advance(seconds(1));
        let LeaseAnswer::Remaining { ttl_millis, remaining_millis } = ask(&mut cluster, at, false)
        else {
            panic!("the lease is there");
        };
        assert_eq!(ttl_millis, 4_000);
        assert!((2_900..=3_000).contains(&remaining_millis), "{remaining_millis} at {at}");
        assert_eq!(ask(&mut cluster, at, true), renewed(4), "at {at}");
    }
}

fn a_next_leader_counts_what_the_checkpoints_left<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    grant(&mut cluster, leader, 20);
    cluster.advance(seconds(12));
    let logged = cluster.machine(leader).lease(lease()).expect("it lives").remaining_millis;
    assert!((8_000..13_000).contains(&logged), "the log says that {logged} ms are left");
    let successor = cluster.others(leader)[0];
    cluster.transfer(leader, Some(successor));
    cluster.advance(Duration::from_millis(100));
    assert_eq!(cluster.run_until_led(), successor);
    cluster.advance(Duration::from_millis(7_800));
    assert!(lives(&cluster, successor), "it lives as long as it was promised");
    // At most as much longer as checkpoints are apart.
    cluster.advance(Duration::from_millis(5_400));
    assert!(!lives(&cluster, successor));
}

fn what_a_checkpoint_took_is_given_back_by_a_logged_renewal<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    grant(&mut cluster, leader, 20);
    cluster.advance(seconds(6));
    let follower = cluster.others(leader)[1];
    assert_eq!(ask(&mut cluster, follower, true), LeaseAnswer::MustLog);
    cluster.write(follower, Command::Lease(LeaseCommand::Renew { lease: lease() }));
    cluster.advance(Duration::from_millis(5));
    assert_eq!(ask(&mut cluster, follower, true), renewed(20), "until the next checkpoint");
    cluster.transfer(leader, Some(follower));
    cluster.advance(Duration::from_millis(19_800));
    assert!(lives(&cluster, follower), "a next leader has all of the time to give");
}

fn a_keepalive_beside_the_expiry_is_logged_and_comes_too_late<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    grant(&mut cluster, leader, 3);
    cluster.hold_up(leader, true);
    cluster.advance(Duration::from_millis(3_050));
    let request = cluster.ask_about(leader, lease(), true);
    cluster.advance(Duration::from_millis(5));
    cluster.hold_up(leader, false);
    cluster.advance(Duration::from_millis(5));
    assert_eq!(
        cluster.conclusion(leader, request),
        Some(Conclusion::Lease(LeaseAnswer::Unknown)),
        "its barrier is behind the expiry"
    );
    assert!(!lives(&cluster, leader));
}

fn a_renewal_on_its_way_through_the_log_makes_an_expiry_void<C: Consensus>() {
    let (mut cluster, leader) = Cluster::<C>::with_leader();
    grant(&mut cluster, leader, 3);
    cluster.advance(Duration::from_millis(2_900));
    cluster.hold_up(leader, true);
    cluster.write(leader, Command::Lease(LeaseCommand::Renew { lease: lease() }));
    cluster.advance(Duration::from_millis(500));
    assert!(lives(&cluster, cluster.others(leader)[0]), "followers have applied both");
    cluster.hold_up(leader, false);
    cluster.advance(Duration::from_millis(2_500));
    assert!(lives(&cluster, leader));
    cluster.advance(Duration::from_millis(600));
    assert!(!lives(&cluster, leader));
}

fn a_leader_that_was_cut_off_expires_nothing_and_answers_nothing<C: Consensus>() {
    let (mut cluster, old) = Cluster::<C>::with_leader();
    grant(&mut cluster, old, 3);
    cluster.advance(seconds(1));
    cluster.cut_off(old);
    let request = cluster.ask_about(old, lease(), true);
    let new = cluster.run_until_led();
    for _ in 0..4 {
        cluster.advance(seconds(1));
        assert_eq!(ask(&mut cluster, new, true), renewed(3));
    }
    let answered = matches!(cluster.conclusion(old, request), Some(Conclusion::Lease(_)));
    assert!(!answered, "nobody confirms the old leader");
    cluster.heal(old);
    cluster.advance(seconds(1));
    assert!(lives(&cluster, old) && lives(&cluster, new));
}

fn a_next_leader_counts_only_when_it_has_applied_what_it_inherited<C: Consensus>() {
    let (mut cluster, old) = Cluster::<C>::with_leader();
    grant(&mut cluster, old, 8);
    cluster.advance(Duration::from_millis(6_000));
    let new = cluster.others(old)[0];
    // A checkpoint says that little is left, and the renewal behind it is not applied here.
    cluster.hold_up(new, true);
    cluster.write(old, Command::Lease(LeaseCommand::Renew { lease: lease() }));
    cluster.advance(Duration::from_millis(5));
    cluster.transfer(old, Some(new));
    cluster.advance(Duration::from_millis(4_000));
    assert!(lives(&cluster, old), "nothing was expired by what the next leader did not know");
    cluster.hold_up(new, false);
    cluster.advance(Duration::from_millis(7_900));
    assert!(lives(&cluster, new));
    cluster.advance(Duration::from_millis(200));
    assert!(!lives(&cluster, new));
}
