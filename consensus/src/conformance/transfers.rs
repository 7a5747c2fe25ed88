//! Claims about a leader that hands over its office.

use std::time::Duration;

use bytes::Bytes;

use super::faults::others;
use super::{Outcome, agree, elect, elect_other, has_applied, put, run_until};
use crate::script::Cluster;
use crate::{Consensus, NodeId, Refusal, Term, Timer};

/// Every node can be made the leader, also those that an election would not choose. Nothing is lost
/// on the way.
pub fn leadership_is_handed_to_whoever_is_asked_for<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (mut leader, mut term) = elect(cluster)?;
    for round in 0..2 {
        for to in others(cluster, &[leader]) {
            cluster.propose(leader, [Bytes::from(format!("{to} in {round}"))])?;
            (leader, term) = transfer(cluster, leader, term, to)?;
            put(cluster, leader, &format!("of {to} in {round}"))?;
            assert!(has_applied(cluster, leader, &format!("{to} in {round}")));
        }
    }
    agree(cluster)
}

/// It takes a round trip or two, and no timer: nobody waits for a leader to fall silent.
pub fn a_transfer_waits_for_no_timer<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, _) = elect(cluster)?;
    let to = others(cluster, &[leader])[0];
    let before = cluster.time();
    cluster.transfer(leader, Some(to))?;
    cluster.settle()?;
    assert_eq!(cluster.time(), before);
    let established: Vec<NodeId> = cluster.established().iter().map(|&(id, _)| id).collect();
    assert_eq!(established, [to], "and the former leader has stepped down");
    assert!(cluster.open_transfers().is_empty());
    Ok(())
}

/// Nobody named: a node that lags does not take over.
pub fn without_a_name_the_most_advanced_takes_over<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    for round in 0..3 {
        let (leader, term) = elect(cluster)?;
        let lagging = others(cluster, &[leader])[round % (cluster.ids().len() - 1)];
        cluster.hold(leader, lagging);
        put(cluster, leader, &format!("round {round}"))?;
        cluster.transfer(leader, None)?;
        cluster.settle()?;
        cluster.release(leader, lagging);
        let (successor, _) = elect_other(cluster, term)?;
        assert!(successor != leader && successor != lagging, "{successor}");
        agree(cluster)?;
    }
    Ok(())
}

/// A successor that lags is brought level before it is told, and lacks nothing when it leads.
pub fn a_lagging_successor_is_brought_level_first<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    let to = others(cluster, &[leader])[0];
    cluster.crash(to, 0)?;
    for number in 0..50 {
        put(cluster, leader, &format!("missed {number}"))?;
    }
    cluster.restart(to)?;
    run_until(cluster, "follower", |cluster| cluster.leadership(to).term() == Some(term))?;
    cluster.hold(leader, to);
    put(cluster, leader, "on its way")?;
    cluster.transfer(leader, Some(to))?;
    cluster.settle()?;
    assert_eq!(cluster.established(), [(leader, term)], "it has to wait");
    cluster.release(leader, to);
    cluster.settle()?;
    let (successor, _) = elect_other(cluster, term)?;
    assert_eq!(successor, to);
    assert!(has_applied(cluster, to, "on its way") && has_applied(cluster, to, "missed 49"));
    agree(cluster)
}

/// Nobody hands over to the dead, to itself, or to whom it does not know; and nobody but the leader
/// hands over. The leader leads on as if it had not been asked.
pub fn a_transfer_to_nobody_is_refused<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    let dead = others(cluster, &[leader])[0];
    let follower = others(cluster, &[leader, dead])[0];
    cluster.crash(dead, 0)?;
    for to in [dead, leader, NodeId(99)] {
        cluster.transfer(leader, Some(to))?;
        assert_eq!(cluster.refusals().last(), Some(&Refusal::NoSuccessor), "{to}");
        assert!(cluster.open_transfers().is_empty());
    }
    cluster.transfer(follower, None)?;
    assert_eq!(cluster.refusals().last(), Some(&Refusal::NotLeader));
    put(cluster, leader, "as ever")?;
    assert_eq!(cluster.established(), [(leader, term)]);
    cluster.restart(dead)?;
    agree(cluster)
}

/// While it hands over, the leader takes no proposals and no second transfer. That ends after an
/// election timeout at most, and then it leads as before.
pub fn a_transfer_that_fails_leaves_the_leader_in_office<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    let to = others(cluster, &[leader])[0];
    put(cluster, leader, "before")?;
    cluster.hold(leader, to);
    put(cluster, leader, "to catch up with")?;
    cluster.transfer(leader, Some(to))?;
    let refused = cluster.refused().len();
    cluster.propose(leader, [Bytes::from_static(b"meanwhile")])?;
    assert_eq!(cluster.refused().len(), refused + 1);
    assert_eq!(cluster.refusals().last(), Some(&Refusal::Transferring));
    for other in [to, others(cluster, &[leader, to])[0]] {
        cluster.transfer(leader, Some(other))?;
        assert_eq!(cluster.refusals().last(), Some(&Refusal::Transferring));
    }
    let bound = cluster.options().settings.election_timeout;
    cluster.run(bound)?;
    assert!(cluster.open_transfers().is_empty(), "it has ended");
    put(cluster, leader, "as ever")?;
    cluster.release(leader, to);
    agree(cluster)?;
    assert_eq!(elect(cluster)?, (leader, term), "nobody else came to lead");
    Ok(())
}

/// A transfer whose leader or successor fails half way ends as any failure does: with a leader, and
/// with everything that was committed.
pub fn a_transfer_may_be_interrupted_at_any_moment<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (_, mut term) = elect(cluster)?;
    for stage in 0..24 {
        let (leader, now) = elect(cluster)?;
        term = term.max(now);
        let to = others(cluster, &[leader])[stage % (cluster.ids().len() - 1)];
        put(cluster, leader, &format!("before {stage}"))?;
        let committed = cluster.invariants().committed();
        cluster.propose(leader, [Bytes::from(format!("under way {stage}"))])?;
        cluster.transfer(leader, Some(to))?;
        // The later the stage, the more of the exchange happens before the failure.
        for _ in 0..stage / 2 {
            for (from, to) in cluster.deliverable() {
                cluster.deliver(from, to)?;
            }
        }
        let victim = if stage % 2 == 0 { leader } else { to };
        cluster.crash(victim, 0)?;
        run_until(cluster, "leader", |cluster| {
            cluster.established().iter().any(|&(id, leads)| {
                id != victim
                    && leads >= term
                    && cluster
                        .running()
                        .iter()
                        .all(|&id| cluster.leadership(id).term() == Some(leads))
            })
        })?;
        let (successor, now) = elect(cluster)?;
        term = now;
        assert!(cluster.open_transfers().is_empty(), "every transfer ends");
        assert!(cluster.status(successor).last.index >= committed, "nothing committed is lost");
        put(cluster, successor, &format!("after {stage}"))?;
        cluster.restart(victim)?;
        agree(cluster)?;
    }
    Ok(())
}

/// A leader that can not reach a quorum any more hands nothing over, and gives up as ever.
pub fn a_leader_without_a_quorum_does_not_hand_over<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    cluster.partition_unnoticed(&[vec![leader], others(cluster, &[leader])]);
    cluster.transfer(leader, None)?;
    let (successor, _) = elect_other(cluster, term)?;
    assert_ne!(successor, leader);
    cluster.run(Duration::from_secs(2))?;
    assert!(cluster.open_transfers().is_empty());
    cluster.heal()?;
    put(cluster, successor, "after")?;
    agree(cluster)
}

/// The timer that bounds a transfer does nothing to a leader that hands over nothing.
pub fn a_late_transfer_timer_ends_no_later_transfer<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    let to = others(cluster, &[leader])[0];
    cluster.fire(leader, Timer::Transfer)?;
    assert_eq!(cluster.established(), [(leader, term)]);
    let (leader, term) = transfer(cluster, leader, term, to)?;
    for id in cluster.ids() {
        cluster.fire(id, Timer::Transfer)?;
    }
    cluster.run(cluster.options().settings.election_timeout * 2)?;
    assert_eq!(cluster.established(), [(leader, term)]);
    put(cluster, leader, "after")
}

/// Hands over and runs until the successor leads.
fn transfer<C: Consensus>(
    cluster: &mut Cluster<C>,
    leader: NodeId,
    term: Term,
    to: NodeId,
) -> Result<(NodeId, Term), crate::Violation> {
    cluster.transfer(leader, Some(to))?;
    let (successor, next) = elect_other(cluster, term)?;
    assert_eq!(successor, to, "the one asked for");
    elect(cluster)?;
    assert!(cluster.open_transfers().is_empty());
    Ok((successor, next))
}
