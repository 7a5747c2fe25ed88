//! Clusters that run Raft, under every fault. `DUORUM_SIM_SEEDS=10000` makes it a soak.

use crate::support::all_hold;
use consensus_raft::Raft;
use sim::Profile;

#[test]
fn laws_hold_when_nothing_breaks() {
    all_hold::<Raft>(40, 3, Profile::Calm);
}

#[test]
fn laws_hold_through_crashes() {
    all_hold::<Raft>(160, 3, Profile::Crashes);
}

#[test]
fn laws_hold_through_partitions() {
    all_hold::<Raft>(160, 3, Profile::Partitions);
}

#[test]
fn laws_hold_while_leaders_come_and_go() {
    all_hold::<Raft>(120, 3, Profile::Churn);
    all_hold::<Raft>(40, 5, Profile::Churn);
}

#[test]
fn laws_hold_on_slow_and_failing_disks() {
    all_hold::<Raft>(160, 3, Profile::Disks);
}

#[test]
fn laws_hold_when_voters_lose_their_disks() {
    all_hold::<Raft>(160, 3, Profile::WipedDisks);
    all_hold::<Raft>(16, 5, Profile::WipedDisks);
}

#[test]
fn laws_hold_whatever_breaks() {
    all_hold::<Raft>(160, 3, Profile::Hostile);
}

#[test]
fn laws_hold_without_connections_that_keep_the_order() {
    all_hold::<Raft>(160, 3, Profile::Datagrams);
}

#[test]
fn laws_hold_with_five_nodes() {
    all_hold::<Raft>(40, 5, Profile::Hostile);
}

#[test]
fn laws_hold_with_two_nodes_and_with_four() {
    all_hold::<Raft>(8, 2, Profile::Hostile);
    all_hold::<Raft>(8, 4, Profile::Hostile);
}

#[test]
fn laws_hold_with_one_node() {
    all_hold::<Raft>(12, 1, Profile::Hostile);
}
