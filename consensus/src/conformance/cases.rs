//! Claims that hold for any number of nodes.

use std::time::Duration;

use bytes::Bytes;

use super::{Outcome, agree, elect, elect_other, put, run_until};
use crate::script::Cluster;
use crate::{Consensus, Index, Leadership, NodeId, Refusal};

/// A cluster left to itself has one established leader, and the others name it.
pub fn one_leader_is_elected_and_everybody_follows_it<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    assert_eq!(cluster.established(), [(leader, term)]);
    for id in cluster.ids() {
        let expected = if id == leader {
            Leadership::Established { term }
        } else {
            Leadership::Following { leader, term }
        };
        assert_eq!(cluster.leadership(id), expected, "{id}");
        assert_eq!(cluster.status(id).leadership, expected, "{id}");
    }
    // It stays: without faults nobody has a reason to elect again.
    cluster.run(Duration::from_secs(5))?;
    assert_eq!(cluster.established(), [(leader, term)]);
    Ok(())
}

/// Commands in one batch and commands one by one arrive everywhere, in the order proposed.
pub fn commands_are_applied_in_order_on_every_node<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, _) = elect(cluster)?;
    let commands: Vec<Bytes> = (0..50).map(|number| Bytes::from(format!("{number}"))).collect();
    cluster.propose(leader, commands[..20].iter().cloned())?;
    for command in &commands[20..] {
        cluster.propose(leader, [command.clone()])?;
    }
    agree(cluster)?;
    for id in cluster.ids() {
        let applied: Vec<Bytes> =
            cluster.applied(id).iter().filter_map(|entry| entry.command().cloned()).collect();
        assert_eq!(applied, commands, "{id}");
    }
    Ok(())
}

/// What was committed survives that all nodes stop at once, again and again.
pub fn a_restart_of_all_nodes_keeps_what_was_committed<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let mut former = elect(cluster)?;
    for round in 0..5 {
        put(cluster, former.0, &format!("round {round}"))?;
        let committed = cluster.invariants().committed();
        for id in cluster.ids() {
            cluster.crash(id, 0)?;
        }
        cluster.run(Duration::from_secs(1))?;
        for id in cluster.ids() {
            cluster.restart(id)?;
        }
        former = elect_other(cluster, former.1)?;
        assert!(cluster.status(former.0).last.index >= committed, "nothing committed is lost");
        put(cluster, former.0, &format!("after {round}"))?;
    }
    agree(cluster)
}

/// All nodes lose whatever was not durable, at every stage of a write.
pub fn unsynced_writes_may_be_lost_at_any_moment<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let mut term = elect(cluster)?.1;
    for stage in 0..12 {
        let (leader, now) = elect(cluster)?;
        term = term.max(now);
        cluster.set_auto_persist(false);
        cluster.propose(leader, [Bytes::from(format!("stage {stage}"))])?;
        // The longer the stage, the more of the exchange happens before the end.
        for _ in 0..stage {
            if let Some(&id) = cluster.running().get(stage % cluster.ids().len()) {
                cluster.persist(id, 1)?;
            }
            for (from, to) in cluster.deliverable() {
                cluster.deliver(from, to)?;
            }
        }
        for id in cluster.ids() {
            cluster.crash(id, 0)?;
        }
        cluster.set_auto_persist(true);
        for id in cluster.ids() {
            cluster.restart(id)?;
        }
        let (leader, now) = elect_other(cluster, term)?;
        term = now;
        put(cluster, leader, &format!("after stage {stage}"))?;
        agree(cluster)?;
    }
    Ok(())
}

/// A barrier at the leader is answered, and covers what was committed when it was asked for.
pub fn a_barrier_includes_what_was_committed_before<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, _) = elect(cluster)?;
    for number in 0..10 {
        put(cluster, leader, &format!("{number}"))?;
        let committed = cluster.invariants().committed();
        for token in [cluster.read(leader)?, cluster.sync(leader)?] {
            run_until(cluster, "answer", |cluster| {
                cluster.answered().iter().any(|&(answered, _)| answered == token)
            })?;
            let answers = cluster.answered();
            let (_, index) = answers.iter().find(|answer| answer.0 == token).expect("waited for");
            assert!(*index >= committed, "the answer covers what was committed");
        }
    }
    Ok(())
}

/// When too much waits for a quorum, proposals are refused definitely, and taken again later.
pub fn proposals_beyond_the_limit_are_refused_and_leave_no_trace<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let mut options = cluster.options().clone();
    options.settings.uncommitted_bytes_max = 10_000;
    *cluster = Cluster::new(options)?;
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "first")?;
    cluster.set_auto_persist(false);
    let command = |number: u64| Bytes::from(format!("{number:0>100}"));
    let last = cluster.status(leader).last.index;
    for number in 0..200 {
        cluster.propose(leader, [command(number)])?;
    }
    let appended = cluster.status(leader).last.index.0 - last.0;
    let refused = cluster.refused().to_vec();
    assert!(appended >= 50, "much less than the limit is always taken, not only {appended}");
    assert!(appended <= 110, "the limit holds, not {appended} entries");
    assert_eq!(appended + refused.len() as u64, 200, "each is taken or refused");
    cluster.set_auto_persist(true);
    agree(cluster)?;
    put(cluster, leader, "afterwards")?;
    agree(cluster)?;
    for entry in cluster.applied(leader) {
        let trace = entry.command().is_some_and(|command| refused.contains(command));
        assert!(!trace, "what was refused was never appended");
    }
    Ok(())
}

/// Entries are delivered no further ahead of a slow applier than allowed, and then all of them.
pub fn delivery_waits_for_a_slow_applier<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let mut options = cluster.options().clone();
    options.settings.unapplied_bytes_max = 2_000;
    options.settings.memory_log_bytes_max = 1_000;
    *cluster = Cluster::new(options)?;
    let (leader, _) = elect(cluster)?;
    cluster.set_auto_apply(false);
    for id in cluster.ids() {
        cluster.apply(id, usize::MAX)?;
    }
    let before = cluster.status(leader).delivered;
    for number in 0..100 {
        cluster.propose(leader, [Bytes::from(format!("{number:0>100}"))])?;
        // Everything but applying.
        for _ in 0..4 {
            for (from, to) in cluster.deliverable() {
                cluster.deliver(from, to)?;
            }
        }
    }
    let status = cluster.status(leader);
    assert!(status.commit.0 >= before.0 + 100, "commits do not wait for the applier");
    let ahead = status.delivered.0 - before.0;
    assert!((1..=20).contains(&ahead), "delivered ahead of the applier: {ahead} entries");
    cluster.set_auto_apply(true);
    for id in cluster.ids() {
        cluster.rest(id)?;
    }
    agree(cluster)
}

/// All nodes forget at every stage of what they wrote, and start again from the rest.
pub fn a_log_that_forgot_its_beginning_starts_again<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let mut options = cluster.options().clone();
    options.tail_max = 3;
    options.settings.memory_log_bytes_max = 200;
    *cluster = Cluster::new(options)?;
    let mut former = elect(cluster)?;
    for round in 0..6 {
        for number in 0..5 {
            put(cluster, former.0, &format!("{round} {number}"))?;
        }
        agree(cluster)?;
        for id in cluster.ids() {
            let index = cluster.compactable(id);
            cluster.compact(id, Index(index.0 - [0, 0, 2][round % 3]))?;
        }
        let last = cluster.status(former.0).last;
        for id in cluster.ids() {
            cluster.crash(id, usize::MAX)?;
        }
        for id in cluster.ids() {
            cluster.restart(id)?;
            assert!(cluster.core(id).view().log.first() > Index(1), "{id} forgot");
            assert!(cluster.status(id).last >= last, "{id} knows where its log ends");
        }
        former = elect_other(cluster, former.1)?;
    }
    put(cluster, former.0, "after all")?;
    agree(cluster)
}

/// Equal states go on equally: nothing hidden has influence.
pub fn a_clone_goes_on_like_the_original<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let go_on = |cluster: &mut Cluster<C>| -> Result<Vec<String>, crate::Violation> {
        cluster.take_lines();
        for round in 0..3 {
            if let Some(&(leader, _)) = cluster.established().first() {
                cluster.propose(leader, [Bytes::from(format!("round {round}"))])?;
                cluster.run(Duration::from_millis(70))?;
                cluster.crash(leader, 0)?;
                cluster.run(Duration::from_secs(2))?;
                cluster.restart(leader)?;
            }
            cluster.run(Duration::from_secs(2))?;
        }
        Ok(cluster.take_lines())
    };
    elect(cluster)?;
    let mut clone = cluster.clone();
    let (lines, others) = (go_on(cluster)?, go_on(&mut clone)?);
    assert!(lines.len() > 10, "something happened");
    assert_eq!(lines, others);
    for id in cluster.ids() {
        assert_eq!(cluster.state_hash(id), clone.state_hash(id), "{id}");
    }
    Ok(())
}

/// With the others down, or in a cluster of one, there is nobody to hand over to.
pub fn without_anybody_else_a_transfer_is_refused<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, _) = elect(cluster)?;
    for id in cluster.ids() {
        if id != leader {
            cluster.crash(id, 0)?;
        }
    }
    for to in [None, Some(leader)] {
        cluster.transfer(leader, to)?;
        assert_eq!(cluster.refusals().last(), Some(&Refusal::NoSuccessor));
        assert!(cluster.open_transfers().is_empty());
    }
    Ok(())
}

/// Whether a proposal at a node is refused as it has to be where nobody leads.
pub(super) fn refuses<C: Consensus>(
    cluster: &mut Cluster<C>,
    id: NodeId,
    command: &str,
) -> Result<bool, crate::Violation> {
    let before = cluster.refused().len();
    let last: Index = cluster.status(id).last.index;
    cluster.propose(id, [Bytes::copy_from_slice(command.as_bytes())])?;
    let refused = cluster.refused().len() > before;
    if refused {
        assert_eq!(cluster.status(id).last.index, last, "what is refused is not appended");
        assert_eq!(cluster.refusals().last(), Some(&Refusal::NotLeader));
    }
    Ok(refused)
}
