//! One suite for every protocol: what the layers above rely on, whoever is below.
//!
//! A protocol crate has it as `tests/conformance.rs`:
//!
//! ```text
//! use consensus_raft::Raft;
//!
//! consensus::conformance!(Raft);
//! ```
//!
//! which makes a module of tests for clusters of one, three and five nodes. The cases are short
//! stories with one claim each; the walks are random, and search for what nobody thought of.
//!
//! # Walks
//! A walk does thousands of random steps: frames delivered in any order that TCP allows, writes
//! completed late, entries applied late, timers due and not due, connections broken and noticed at
//! different times, crashes that lose what was not durable, pauses, logs that forget, snapshots that
//! arrive, break off, or come too late. Walks with observers have one or two of them, and some lose
//! the disks of a minority of the voters. Every step is checked against
//! [`crate::Invariants`]. Then all faults end, and within a bounded virtual time there must be a
//! leader, agreement and progress. A failure names its seed and shows the last steps. The
//! environment chooses seeds:
//!
//! - `CONFORMANCE_SEED=17` walks only that seed;
//! - `CONFORMANCE_SEEDS=20000` walks that many in each test.

pub mod cases;
pub mod faults;
mod mixture;
pub mod observers;
pub mod reigns;
pub mod snapshots;
pub mod transfers;
mod walk;
mod wire;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;

pub use walk::{random_walks, random_walks_with_observers};
pub use wire::messages_survive_the_wire_and_garbage_does_not;

use crate::script::{Cluster, Options};
use crate::{Consensus, NodeId, Standing, Term, Violation};

/// Makes a module of tests for each number of nodes.
///
/// `conformance!(Raft)` tests clusters of one, three and five nodes; `conformance!(Null; alone)`
/// tests a protocol that has only clusters of one.
#[macro_export]
macro_rules! conformance {
    ($protocol:ty) => {
        $crate::conformance!($protocol; alone);
        $crate::conformance!(@replicated $protocol, three_nodes, 3);
        $crate::conformance!(@replicated $protocol, five_nodes, 5);
        mod five_nodes_only {
            use super::*;
            $crate::conformance!(@tests $protocol, 5, reigns:
                acknowledgements_of_an_earlier_reign_do_not_count,
            );
        }
    };
    ($protocol:ty; alone) => {
        mod one_node {
            use super::*;
            $crate::conformance!(@any $protocol, 1);
        }
    };
    (@replicated $protocol:ty, $name:ident, $nodes:literal) => {
        mod $name {
            use super::*;
            $crate::conformance!(@any $protocol, $nodes);
            $crate::conformance!(@tests $protocol, $nodes, faults:
                a_crashed_leader_is_replaced_and_nothing_committed_is_lost,
                a_paused_leader_is_replaced_and_steps_down_when_it_wakes,
                a_minority_makes_no_progress_and_its_leader_gives_up,
                what_a_cut_off_leader_alone_appended_is_gone,
                a_deposed_leader_never_answers_a_barrier,
                timers_that_fire_together_still_elect_a_leader,
                a_majority_that_is_durable_commits_without_the_leaders_disk,
                a_lagging_node_catches_up_from_disk,
                frames_of_an_older_connection_are_ignored,
                a_node_with_an_older_log_is_not_elected,
                a_leader_whose_disk_hangs_takes_no_more_and_goes_on_when_it_does,
                each_entry_counts_once_to_a_follower_and_once_back,
            );
            $crate::conformance!(@tests $protocol, $nodes, reigns:
                late_confirmations_do_not_answer_later_barriers,
                confirmations_of_an_earlier_reign_do_not_answer_barriers,
            );
            $crate::conformance!(@tests $protocol, $nodes, snapshots:
                a_follower_beyond_the_log_gets_a_snapshot,
                a_leader_without_any_entry_left_brings_others_up,
                entries_follow_the_snapshot_without_a_gap,
                a_snapshot_that_is_too_old_when_it_arrives_is_followed_by_another,
                a_snapshot_of_an_older_leader_is_refused,
                a_snapshot_of_an_older_connection_is_ignored,
                a_snapshot_that_breaks_off_is_offered_again,
                a_crash_between_receiving_and_installing_loses_nothing,
                a_long_snapshot_costs_nobody_the_leader,
                a_leader_waits_for_a_majority_that_needs_a_snapshot,
                a_follower_whose_next_entries_are_forgotten_gets_a_snapshot,
            );
            $crate::conformance!(@tests $protocol, $nodes, transfers:
                leadership_is_handed_to_whoever_is_asked_for,
                a_transfer_waits_for_no_timer,
                without_a_name_the_most_advanced_takes_over,
                a_lagging_successor_is_brought_level_first,
                a_transfer_to_nobody_is_refused,
                a_transfer_that_fails_leaves_the_leader_in_office,
                a_transfer_may_be_interrupted_at_any_moment,
                a_leader_without_a_quorum_does_not_hand_over,
                a_late_transfer_timer_ends_no_later_transfer,
            );
            mod with_observers {
                use super::*;
                $crate::conformance!(@observed $protocol, $nodes, 2:
                    observers_follow_and_apply_everything,
                    observers_make_no_quorum,
                    a_cluster_without_its_observers_goes_on,
                    an_observer_catches_up_by_the_log,
                    an_observer_catches_up_by_a_snapshot,
                    an_observer_follows_the_next_leader,
                    an_observer_never_campaigns,
                    an_observer_is_never_handed_the_office,
                    a_disk_of_an_observer_is_waited_for_by_nobody,
                    a_voter_without_its_memory_makes_no_quorum,
                    what_a_voter_without_its_memory_acknowledged_is_not_counted,
                );
                #[test]
                fn a_cluster_forms_when_its_voters_become_voters() {
                    $crate::conformance::observers::a_cluster_forms_when_its_voters_become_voters::<$protocol>($nodes);
                }
                #[test]
                fn random_walks() {
                    $crate::conformance::random_walks_with_observers::<$protocol>($nodes);
                }
            }
            #[test]
            fn messages_survive_the_wire_and_garbage_does_not() {
                $crate::conformance::messages_survive_the_wire_and_garbage_does_not::<$protocol>($nodes);
            }
        }
    };
    (@any $protocol:ty, $nodes:literal) => {
        $crate::conformance!(@tests $protocol, $nodes, cases:
            one_leader_is_elected_and_everybody_follows_it,
            commands_are_applied_in_order_on_every_node,
            a_restart_of_all_nodes_keeps_what_was_committed,
            unsynced_writes_may_be_lost_at_any_moment,
            a_barrier_includes_what_was_committed_before,
            proposals_beyond_the_limit_are_refused_and_leave_no_trace,
            delivery_waits_for_a_slow_applier,
            a_log_that_forgot_its_beginning_starts_again,
            a_clone_goes_on_like_the_original,
            without_anybody_else_a_transfer_is_refused,
        );
        #[test]
        fn random_walks() {
            $crate::conformance::random_walks::<$protocol>($nodes);
        }
    };
    (@observed $protocol:ty, $voters:literal, $observers:literal: $($test:ident),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                $crate::conformance::told_with_observers::<$protocol>(
                    $voters,
                    $observers,
                    |cluster| $crate::conformance::observers::$test(cluster),
                );
            }
        )+
    };
    (@tests $protocol:ty, $nodes:literal, $module:ident: $($test:ident),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                $crate::conformance::told::<$protocol>($nodes, |cluster| {
                    $crate::conformance::$module::$test(cluster)
                });
            }
        )+
    };
}

/// How long a cluster without faults may need, in election timeouts, until a leader is established
/// and everybody follows it.
const ELECTION_TIMEOUTS_MAX: u32 = 40;

/// How a case ends.
pub type Outcome = Result<(), Violation>;

/// Runs a case on a fresh cluster; when it fails, shows its transcript.
///
/// # Panics
/// When the case fails.
pub fn told<C: Consensus>(nodes: u64, case: impl FnOnce(&mut Cluster<C>) -> Outcome) {
    told_of(Options::new(nodes), case);
}

fn told_of<C: Consensus>(options: Options, case: impl FnOnce(&mut Cluster<C>) -> Outcome) {
    let mut cluster = Cluster::new(options).expect("a fresh cluster breaks no law");
    let result = catch_unwind(AssertUnwindSafe(|| case(&mut cluster)));
    let failure = match result {
        Ok(Ok(())) => return,
        Ok(Err(violation)) => violation.to_string(),
        Err(panic) => words(panic.as_ref()),
    };
    panic!("{failure}\n{}", cluster.last_lines());
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// Lets a cluster run until a condition holds, or as long as [`ELECTION_TIMEOUTS_MAX`] allows.
fn run_until<C: Consensus>(
    cluster: &mut Cluster<C>,
    what: &str,
    holds: impl Fn(&Cluster<C>) -> bool,
) -> Outcome {
    let end = cluster.time() + cluster.options().settings.election_timeout * ELECTION_TIMEOUTS_MAX;
    cluster.settle()?;
    while !holds(cluster) {
        assert!(cluster.time() < end, "no {what} in time");
        cluster.run(Duration::from_millis(5))?;
    }
    Ok(())
}

/// Runs a case on a fresh cluster with observers; when it fails, shows its transcript.
///
/// # Panics
/// When the case fails.
pub fn told_with_observers<C: Consensus>(
    voters: u64,
    observers: u64,
    case: impl FnOnce(&mut Cluster<C>) -> Outcome,
) {
    told_of(Options::with_observers(voters, observers), case);
}

/// The established leader of the largest term that a majority of the voters knows, if there is one.
fn leader_of_majority<C: Consensus>(cluster: &Cluster<C>) -> Option<(NodeId, Term)> {
    let (leader, term) = cluster.established().into_iter().max_by_key(|&(_, term)| term)?;
    let known = cluster
        .running()
        .into_iter()
        .filter(|&id| cluster.standing(id) == Standing::Voter)
        .filter(|&id| cluster.leadership(id).term() == Some(term))
        .count();
    (known > cluster.voters().len() / 2).then_some((leader, term))
}

/// Runs until every running node knows one leader.
fn elect<C: Consensus>(cluster: &mut Cluster<C>) -> Result<(NodeId, Term), Violation> {
    run_until(cluster, "leader that everybody follows", |cluster| {
        leader_of_majority(cluster).is_some_and(|(_, term)| {
            cluster.running().iter().all(|&id| cluster.leadership(id).term() == Some(term))
        })
    })?;
    Ok(leader_of_majority(cluster).expect("just waited for"))
}

/// Runs until a majority follows one leader other than those given.
fn elect_other<C: Consensus>(
    cluster: &mut Cluster<C>,
    former: Term,
) -> Result<(NodeId, Term), Violation> {
    run_until(cluster, "new leader", |cluster| {
        leader_of_majority(cluster).is_some_and(|(_, term)| term > former)
    })?;
    Ok(leader_of_majority(cluster).expect("just waited for"))
}

/// Proposes a command at a node and runs until that node has applied it.
fn put<C: Consensus>(cluster: &mut Cluster<C>, id: NodeId, command: &str) -> Outcome {
    let bytes = Bytes::copy_from_slice(command.as_bytes());
    cluster.propose(id, [bytes])?;
    run_until(cluster, command, |cluster| has_applied(cluster, id, command))
}

/// Whether a node has applied a command.
fn has_applied<C: Consensus>(cluster: &Cluster<C>, id: NodeId, command: &str) -> bool {
    cluster
        .applied(id)
        .iter()
        .any(|entry| entry.command().is_some_and(|bytes| bytes.as_ref() == command.as_bytes()))
}

/// Runs until all running nodes have the same log, all of it applied.
fn agree<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    run_until(cluster, "agreement", |cluster| cluster.agree().is_ok())
}
