//! Claims about nodes that do not count: observers, and voters that lost their memory.
//!
//! The clusters have two observers, so that a law which counted them would find a quorum where there
//! is none.

use std::time::Duration;

use bytes::Bytes;

use super::faults::others;
use super::snapshots::forget;
use super::{Outcome, agree, elect, elect_other, has_applied, put, run_until};
use crate::script::{Cluster, Options};
use crate::{Consensus, Index, NodeId, Refusal, Standing, Term, Timer, Violation};

/// The observers of a cluster.
fn observers<C: Consensus>(cluster: &Cluster<C>) -> Vec<NodeId> {
    cluster.options().settings.observers.iter().copied().collect()
}

/// The voters other than these.
fn voters_but<C: Consensus>(cluster: &Cluster<C>, but: &[NodeId]) -> Vec<NodeId> {
    cluster.voters().into_iter().filter(|id| !but.contains(id)).collect()
}

/// The size of the largest minority of the voters.
fn minority<C: Consensus>(cluster: &Cluster<C>) -> usize {
    (cluster.voters().len() - 1) / 2
}

/// Longer than any node waits before it gives up or campaigns.
fn wait_for_long<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let timeout = cluster.options().settings.election_timeout;
    cluster.run(timeout * 20)
}

/// Lets a cluster settle but for the disk of one node, with writes that are not durable at once.
fn settle_but<C: Consensus>(cluster: &mut Cluster<C>, hanging: NodeId) -> Outcome {
    for _ in 0..10 {
        for id in cluster.running() {
            if id != hanging {
                cluster.complete_all(id)?;
            }
        }
        for (from, to) in cluster.deliverable() {
            cluster.deliver(from, to)?;
        }
    }
    Ok(())
}

/// An observer has what the voters have, and knows whom they follow.
pub fn observers_follow_and_apply_everything<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "one")?;
    put(cluster, leader, "two")?;
    agree(cluster)?;
    for id in observers(cluster) {
        assert!(has_applied(cluster, id, "two"), "{id}");
        assert_eq!(cluster.leadership(id).term(), Some(term));
        let status = cluster.status(id);
        assert_eq!(status.standing, Standing::Observer);
        assert!(["learner", "OBSERVING"].contains(&status.role), "{}", status.role);
    }
    let known = cluster.status(leader).peers;
    let observing = known.iter().filter(|peer| peer.standing == Standing::Observer);
    assert_eq!(observing.count(), observers(cluster).len());
    Ok(())
}

/// Half of the voters and all observers are more nodes than a majority, and none.
pub fn observers_make_no_quorum<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let lost = voters_but(cluster, &[leader]).into_iter();
    let lost: Vec<NodeId> = lost.take(cluster.voters().len() - minority(cluster)).collect();
    for &id in &lost {
        cluster.crash(id, 0)?;
    }
    let committed = cluster.invariants().committed();
    cluster.propose(leader, [Bytes::from_static(b"to nobody")])?;
    let barrier = cluster.read(leader)?;
    wait_for_long(cluster)?;
    assert_eq!(cluster.invariants().committed(), committed, "observers committed an entry");
    assert!(cluster.answered().iter().all(|&(token, _)| token != barrier), "or confirmed a read");
    assert_eq!(cluster.established(), [], "or kept the leader in office");
    for id in lost {
        cluster.restart(id)?;
    }
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "after")?;
    agree(cluster)
}

/// Nobody needs an observer.
pub fn a_cluster_without_its_observers_goes_on<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    agree(cluster)?;
    for id in observers(cluster) {
        cluster.crash(id, 0)?;
    }
    put(cluster, leader, "alone")?;
    cluster.read(leader)?;
    wait_for_long(cluster)?;
    assert!(cluster.open_barriers().is_empty());
    assert_eq!(cluster.established(), [(leader, term)], "there was no election");
    for id in observers(cluster) {
        cluster.restart(id)?;
    }
    agree(cluster)?;
    assert_eq!(cluster.established(), [(leader, term)]);
    Ok(())
}

/// An observer that was away is sent what it missed.
pub fn an_observer_catches_up_by_the_log<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    let away = observers(cluster)[0];
    cluster.crash(away, usize::MAX)?;
    for number in 0..50 {
        put(cluster, leader, &format!("missed {number}"))?;
    }
    cluster.restart(away)?;
    agree(cluster)?;
    assert!(has_applied(cluster, away, "missed 49"));
    assert_eq!(cluster.installed(), 0);
    assert_eq!(cluster.established(), [(leader, term)]);
    Ok(())
}

/// What it missed was forgotten: it gets the state.
pub fn an_observer_catches_up_by_a_snapshot<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    let away = observers(cluster)[0];
    cluster.crash(away, usize::MAX)?;
    for number in 0..10 {
        put(cluster, leader, &format!("missed {number}"))?;
    }
    cluster.run(Duration::from_millis(100))?;
    for id in cluster.running() {
        forget(cluster, id)?;
    }
    cluster.restart(away)?;
    agree(cluster)?;
    assert_eq!(cluster.installed(), 1);
    put(cluster, leader, "behind it")?;
    agree(cluster)?;
    assert!(cluster.core(away).view().log.first() > Index(1));
    assert_eq!(cluster.established(), [(leader, term)]);
    Ok(())
}

/// An observer loses its leader and finds the next one, whoever that is.
pub fn an_observer_follows_the_next_leader<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    cluster.crash(leader, usize::MAX)?;
    let (next, _) = elect_other(cluster, term)?;
    put(cluster, next, "after")?;
    agree(cluster)?;
    cluster.restart(leader)?;
    let (leader, term) = elect(cluster)?;
    let to = voters_but(cluster, &[leader])[0];
    cluster.transfer(leader, Some(to))?;
    elect_other(cluster, term)?;
    put(cluster, to, "handed over")?;
    agree(cluster)
}

/// However long it waits, and whatever timers fire, an observer leaves elections to others.
pub fn an_observer_never_campaigns<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    for id in observers(cluster) {
        for timer in [Timer::Election, Timer::Election, Timer::Phase, Timer::Finalize] {
            cluster.fire(id, timer)?;
            cluster.settle()?;
        }
    }
    assert_eq!(cluster.established(), [(leader, term)]);
    for id in cluster.voters() {
        cluster.crash(id, usize::MAX)?;
    }
    wait_for_long(cluster)?;
    for id in observers(cluster) {
        cluster.fire(id, Timer::Election)?;
        cluster.settle()?;
        let view = cluster.core(id).view();
        assert_eq!((view.leading, view.promised), (None, term), "{id} campaigned");
        assert_eq!(cluster.leadership(id).term(), None, "{id} knows that it has no leader");
    }
    for id in cluster.voters() {
        cluster.restart(id)?;
    }
    agree(cluster)
}

/// Neither asked for nor chosen.
pub fn an_observer_is_never_handed_the_office<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let refusals = cluster.refusals().len();
    for id in observers(cluster) {
        cluster.transfer(leader, Some(id))?;
    }
    let others = voters_but(cluster, &[leader]);
    let rest = [vec![leader], observers(cluster)].concat();
    cluster.partition(&[others, rest])?;
    cluster.transfer(leader, None)?;
    let all = [Refusal::NoSuccessor; 3];
    assert_eq!(cluster.refusals()[refusals..], all, "there is nobody to hand over to");
    cluster.heal()?;
    assert!(cluster.handovers() == 0 && cluster.invariants().leaders()[&term] == leader);
    agree(cluster)
}

/// An observer whose disk hangs holds nobody up.
pub fn a_disk_of_an_observer_is_waited_for_by_nobody<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    agree(cluster)?;
    let hanging = observers(cluster)[0];
    cluster.set_auto_persist(false);
    for number in 0..20 {
        cluster.propose(leader, [Bytes::from(format!("meanwhile {number}"))])?;
        settle_but(cluster, hanging)?;
        assert!(has_applied(cluster, leader, &format!("meanwhile {number}")));
    }
    let status = cluster.status(hanging);
    assert!(status.durable < status.last.index, "its writes are under way: {status:?}");
    assert_eq!(cluster.established(), [(leader, term)]);
    cluster.set_auto_persist(true);
    cluster.rest(hanging)?;
    agree(cluster)
}

/// What a majority acknowledged survives on the others alone when one of them has lost its disk. If
/// they are down as well, nobody leads: unavailable rather than wrong.
pub fn a_voter_without_its_memory_makes_no_quorum<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let ignorant: Vec<NodeId> =
        voters_but(cluster, &[leader]).into_iter().take(minority(cluster)).collect();
    for &id in &ignorant {
        cluster.crash(id, usize::MAX)?;
    }
    put(cluster, leader, "acknowledged")?;
    let holders = voters_but(cluster, &ignorant);
    let wiped = *holders.iter().find(|&&id| id != leader).expect("a majority is more than one");
    for &id in &holders {
        cluster.crash(id, usize::MAX)?;
    }
    cluster.wipe(wiped);
    for &id in ignorant.iter().chain([&wiped]) {
        cluster.restart(id)?;
    }
    let before = cluster.invariants().leaders().len();
    wait_for_long(cluster)?;
    assert_eq!(cluster.established(), [], "{wiped} does not remember what it acknowledged");
    assert_eq!(cluster.invariants().leaders().len(), before);
    for id in holders.into_iter().filter(|&id| id != wiped) {
        cluster.restart(id)?;
    }
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "after")?;
    agree(cluster)?;
    assert!(cluster.voters().into_iter().all(|id| has_applied(cluster, id, "acknowledged")));
    assert_eq!(cluster.status(wiped).standing, Standing::Observer, "and it never counts again");
    Ok(())
}

/// A leader that has counted an acknowledgement, and not committed yet, forgets it with the memory of
/// whoever gave it.
pub fn what_a_voter_without_its_memory_acknowledged_is_not_counted<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let mut others = voters_but(cluster, &[leader]);
    // Just a quorum is left, and of that the leader's own disk is the last.
    let down = others.split_off(minority(cluster));
    for &id in &down {
        cluster.crash(id, usize::MAX)?;
    }
    cluster.set_auto_persist(false);
    cluster.propose(leader, [Bytes::from_static(b"counted once")])?;
    settle_but(cluster, leader)?;
    let wiped = others[0];
    let committed = cluster.invariants().committed();
    cluster.crash(wiped, usize::MAX)?;
    cluster.wipe(wiped);
    cluster.restart(wiped)?;
    settle_but(cluster, leader)?;
    cluster.set_auto_persist(true);
    cluster.rest(leader)?;
    cluster.settle()?;
    assert_eq!(cluster.invariants().committed(), committed, "{wiped} does not count any more");
    for id in down {
        cluster.restart(id)?;
    }
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "after")?;
    agree(cluster)?;
    assert!(cluster.invariants().leaders().contains_key(&term));
    Ok(())
}

/// Nodes of a cluster that is not formed yet wait. As voters they elect a leader, one that learns later
/// that it counts included.
///
/// # Panics
/// When they do not.
pub fn a_cluster_forms_when_its_voters_become_voters<C: Consensus>(nodes: u64) {
    let fresh = Options { formed: false, ..Options::with_observers(nodes, 1) };
    super::told_of::<C>(fresh, |cluster| {
        wait_for_long(cluster)?;
        for id in cluster.ids() {
            let view = cluster.core(id).view();
            assert_eq!((view.promised, view.leading), (Term(0), None), "{id} did not wait");
        }
        let mut early = cluster.voters();
        let late = early.pop().expect("there are voters");
        for id in early {
            form(cluster, id)?;
        }
        let (leader, term) = elect(cluster)?;
        put(cluster, leader, "formed")?;
        agree(cluster)?;
        form(cluster, late)?;
        run_until(cluster, "follower", |cluster| cluster.leadership(late).term() == Some(term))?;
        assert_eq!(cluster.established(), [(leader, term)], "nobody was disturbed");
        let first = voters_but(cluster, &[leader, late]);
        for &id in first.iter().take(minority(cluster)) {
            cluster.crash(id, 0)?;
        }
        put(cluster, leader, "with the last one")?;
        agree(cluster)
    });
}

/// A node becomes a voter, and its peers learn it.
fn form<C: Consensus>(cluster: &mut Cluster<C>, id: NodeId) -> Result<(), Violation> {
    cluster.become_voter(id)?;
    for peer in others(cluster, &[id]) {
        cluster.disconnect(id, peer)?;
        cluster.connect(id, peer)?;
    }
    cluster.settle()
}
