//! Claims about clusters in which something fails.

use std::time::Duration;

use bytes::Bytes;

use super::cases::refuses;
use super::{Outcome, agree, elect, elect_other, has_applied, put, run_until};
use crate::script::Cluster;
use crate::{Consensus, NodeId, Refusal, Timer};

/// All nodes but these.
pub(super) fn others<C: Consensus>(cluster: &Cluster<C>, these: &[NodeId]) -> Vec<NodeId> {
    cluster.ids().into_iter().filter(|id| !these.contains(id)).collect()
}

/// The leader and as many others as are not a majority, and the rest.
fn minority_of_leader<C: Consensus>(
    cluster: &Cluster<C>,
    leader: NodeId,
) -> (Vec<NodeId>, Vec<NodeId>) {
    let mut minority = vec![leader];
    let size = (cluster.ids().len() - 1) / 2;
    minority.extend(others(cluster, &[leader]).into_iter().take(size - 1));
    let majority = others(cluster, &minority);
    (minority, majority)
}

/// The leader stops for good in the middle of its work, as often as a majority is left.
pub fn a_crashed_leader_is_replaced_and_nothing_committed_is_lost<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (mut leader, mut term) = elect(cluster)?;
    let failures = (cluster.ids().len() - 1) / 2;
    for round in 0..failures {
        put(cluster, leader, &format!("round {round}"))?;
        cluster.propose(leader, [Bytes::from(format!("under way {round}"))])?;
        let committed = cluster.invariants().committed();
        cluster.crash(leader, 0)?;
        let former = leader;
        (leader, term) = elect_other(cluster, term)?;
        assert_ne!(leader, former);
        assert!(cluster.status(leader).last.index >= committed, "nothing committed is lost");
        put(cluster, leader, &format!("new leader {round}"))?;
    }
    for id in cluster.ids() {
        if !cluster.is_running(id) {
            cluster.restart(id)?;
        }
    }
    agree(cluster)?;
    assert_eq!(elect(cluster)?, (leader, term), "those who come back do not disturb");
    Ok(())
}

/// The leader sleeps through its own replacement. When it wakes it learns of it and follows.
pub fn a_paused_leader_is_replaced_and_steps_down_when_it_wakes<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    cluster.pause(leader);
    let (successor, _) = elect_other(cluster, term)?;
    assert_ne!(successor, leader);
    put(cluster, successor, "meanwhile")?;
    cluster.resume(leader);
    cluster.notice_all()?;
    // Connections that its peers gave up were broken by them; everybody connects again.
    run_until(cluster, "step down", |cluster| {
        cluster.established().iter().all(|&(id, _)| id == successor)
    })?;
    agree(cluster)?;
    assert!(has_applied(cluster, leader, "meanwhile"));
    Ok(())
}

/// A minority commits nothing, not even with its leader, and the leader gives up by itself.
pub fn a_minority_makes_no_progress_and_its_leader_gives_up<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    let (minority, majority) = minority_of_leader(cluster, leader);
    cluster.partition_unnoticed(&[minority.clone(), majority]);
    cluster.propose(leader, [Bytes::from_static(b"into the void")])?;
    // Until the leader's side can have noticed, the others have a leader of their own.
    cluster.run(Duration::from_secs(3))?;
    for &id in &minority {
        assert!(!has_applied(cluster, id, "into the void"), "{id}");
    }
    let established = cluster.established();
    assert!(established.iter().all(|(id, _)| !minority.contains(id)), "{established:?}");
    let (successor, _) = elect_other(cluster, term)?;
    put(cluster, successor, "meanwhile")?;
    cluster.heal()?;
    agree(cluster)?;
    for id in cluster.ids() {
        assert!(has_applied(cluster, id, "meanwhile"), "{id}");
    }
    Ok(())
}

/// What only a cut-off leader appended is removed when it comes back.
pub fn what_a_cut_off_leader_alone_appended_is_gone<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    cluster.partition_unnoticed(&[vec![leader], others(cluster, &[leader])]);
    cluster.propose(leader, (0..5).map(|number| Bytes::from(format!("stray {number}"))))?;
    let (successor, _) = elect_other(cluster, term)?;
    put(cluster, successor, "meanwhile")?;
    cluster.heal()?;
    agree(cluster)?;
    assert!(refuses(cluster, leader, "late")?, "a deposed leader refuses");
    for id in cluster.ids() {
        assert!(has_applied(cluster, id, "meanwhile"), "{id}");
        for number in 0..5 {
            assert!(!has_applied(cluster, id, &format!("stray {number}")), "{id}");
        }
    }
    Ok(())
}

/// A leader that was replaced and does not know it must not vouch for its state.
pub fn a_deposed_leader_never_answers_a_barrier<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    let early = cluster.read(leader)?;
    cluster.settle()?;
    assert!(
        cluster.answered().iter().any(|&(token, _)| token == early),
        "it answered while it led"
    );
    cluster.partition_unnoticed(&[vec![leader], others(cluster, &[leader])]);
    let before = cluster.read(leader)?;
    // The successor is elected before the old leader can have noticed anything.
    for id in others(cluster, &[leader]) {
        while cluster.notice(id, leader)? {}
    }
    cluster.pause(leader);
    let (successor, _) = elect_other(cluster, term)?;
    put(cluster, successor, "meanwhile")?;
    cluster.resume(leader);
    let after = cluster.read(leader)?;
    cluster.run(Duration::from_secs(3))?;
    cluster.heal()?;
    agree(cluster)?;
    for token in [before, after] {
        let answered = cluster.answered().iter().any(|&(answered, _)| answered == token);
        assert!(!answered, "barrier {token} of a deposed leader was answered");
    }
    assert!(cluster.open_barriers().is_empty(), "what can not be answered is refused");
    Ok(())
}

/// All nodes suspect the leader, and all campaign, in the same instant.
pub fn timers_that_fire_together_still_elect_a_leader<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let mut term = elect(cluster)?.1;
    for round in 0..5 {
        for id in cluster.ids() {
            cluster.crash(id, usize::MAX)?;
        }
        for id in cluster.ids() {
            cluster.restart(id)?;
        }
        for _ in 0..3 {
            for id in cluster.ids() {
                cluster.fire(id, Timer::Election)?;
            }
        }
        let (leader, now) = elect_other(cluster, term)?;
        term = now;
        put(cluster, leader, &format!("round {round}"))?;
    }
    agree(cluster)
}

/// The leader's own write may be the slowest: a majority of the others commits without it, and the
/// leader may lose that write in a crash.
pub fn a_majority_that_is_durable_commits_without_the_leaders_disk<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    cluster.set_auto_persist(false);
    cluster.propose(leader, [Bytes::from_static(b"without the leader's disk")])?;
    for _ in 0..10 {
        for id in others(cluster, &[leader]) {
            cluster.complete_all(id)?;
        }
        for (from, to) in cluster.deliverable() {
            cluster.deliver(from, to)?;
        }
    }
    assert!(has_applied(cluster, leader, "without the leader's disk"), "the others suffice");
    assert!(
        cluster.status(leader).durable < cluster.status(leader).commit,
        "the leader's write is still under way"
    );
    cluster.crash(leader, 0)?;
    cluster.set_auto_persist(true);
    for id in cluster.running() {
        cluster.rest(id)?;
    }
    let (successor, _) = elect_other(cluster, term)?;
    cluster.restart(leader)?;
    put(cluster, successor, "afterwards")?;
    agree(cluster)?;
    assert!(has_applied(cluster, leader, "without the leader's disk"));
    Ok(())
}

/// A node that was away for longer than memory lasts is brought up to date from the leader's disk.
pub fn a_lagging_node_catches_up_from_disk<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let mut options = cluster.options().clone();
    options.settings.memory_log_bytes_max = 2_000;
    options.settings.message_bytes_max = 500;
    options.settings.inflight_messages_max = 4;
    options.tail_max = 5;
    *cluster = Cluster::new(options)?;
    let (leader, _) = elect(cluster)?;
    let away = others(cluster, &[leader])[0];
    put(cluster, leader, "before")?;
    cluster.partition(&[vec![away], others(cluster, &[away])])?;
    for number in 0..300 {
        cluster.propose(leader, [Bytes::from(format!("{number:0>50}"))])?;
        cluster.settle()?;
    }
    let first = cluster.core(leader).view().log.first_in_memory();
    assert!(first > cluster.status(away).last.index.next(), "what it needs has left memory");
    cluster.heal()?;
    agree(cluster)?;
    // And again, with a leader that starts with a short memory.
    let (leader, term) = elect(cluster)?;
    cluster.crash(away, 0)?;
    for number in 300..400 {
        cluster.propose(leader, [Bytes::from(format!("{number:0>50}"))])?;
        cluster.settle()?;
    }
    cluster.crash(leader, 0)?;
    cluster.restart(leader)?;
    elect_other(cluster, term)?;
    cluster.restart(away)?;
    agree(cluster)
}

/// Frames of a broken connection that arrive late change nothing.
pub fn frames_of_an_older_connection_are_ignored<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, _) = elect(cluster)?;
    let mut late = 0;
    for round in 0..20 {
        let leader = cluster.established().first().map_or(leader, |&(id, _)| id);
        cluster.propose(leader, [Bytes::from(format!("round {round}"))])?;
        for (from, to) in cluster.deliverable().into_iter().take(round % 4) {
            cluster.deliver(from, to)?;
        }
        let peer = others(cluster, &[leader])[round % (cluster.ids().len() - 1)];
        cluster.disconnect(leader, peer)?;
        if round % 2 == 0 {
            cluster.connect(leader, peer)?;
        }
        for (from, to) in [(leader, peer), (peer, leader)] {
            // Any effect is a broken law.
            late += cluster.deliver_late(from, to)?;
        }
        cluster.connect(leader, peer)?;
        cluster.run(Duration::from_millis(20))?;
    }
    assert!(late > 10, "there were late frames, not only {late}");
    elect(cluster)?;
    agree(cluster)
}

/// A node that lacks committed entries can not lead, however often it tries.
pub fn a_node_with_an_older_log_is_not_elected<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, term) = elect(cluster)?;
    let behind = others(cluster, &[leader])[0];
    cluster.partition(&[vec![behind], others(cluster, &[behind])])?;
    put(cluster, leader, "missed")?;
    cluster.crash(leader, 0)?;
    cluster.heal()?;
    for _ in 0..3 {
        cluster.fire(behind, Timer::Election)?;
    }
    let (successor, _) = elect_other(cluster, term)?;
    assert_ne!(successor, behind, "it lacks what was committed");
    agree(cluster)?;
    assert!(has_applied(cluster, behind, "missed"));
    Ok(())
}

/// The followers commit without the leader's disk, but what is not durable there can leave neither
/// its memory nor the queue of its disk: beyond the limit it refuses.
pub fn a_leader_whose_disk_hangs_takes_no_more_and_goes_on_when_it_does<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let mut options = cluster.options().clone();
    options.settings.uncommitted_bytes_max = 10_000;
    options.settings.memory_log_bytes_max = 1_000;
    *cluster = Cluster::new(options)?;
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let before = cluster.status(leader).last.index;
    cluster.set_auto_persist(false);
    for number in 0..300 {
        cluster.propose(leader, [Bytes::from(format!("{number:0>100}"))])?;
        for _ in 0..3 {
            for id in others(cluster, &[leader]) {
                cluster.complete_all(id)?;
            }
            for (from, to) in cluster.deliverable() {
                cluster.deliver(from, to)?;
            }
        }
    }
    let status = cluster.status(leader);
    let taken = status.last.index.0 - before.0;
    assert!((50..=110).contains(&taken), "the limit holds, not {taken} entries");
    assert_eq!(status.commit, status.last.index, "nothing waits for a quorum");
    assert_eq!(status.durable, before, "everything waits for the leader's disk");
    assert_eq!(cluster.refusals().last(), Some(&Refusal::Overloaded));
    assert_eq!(taken + cluster.refused().len() as u64, 300, "each is taken or refused");
    let memory = cluster.core(leader).view().log.memory_bytes();
    assert!(memory < 12_000, "{memory} bytes of entries are in memory");
    cluster.set_auto_persist(true);
    cluster.rest(leader)?;
    put(cluster, leader, "afterwards")?;
    agree(cluster)
}

/// The one rule of counting: an entry counts one on its way to a follower, and one in the answer that
/// acknowledges it, however they are batched. See [`crate::Message::weight`].
pub fn each_entry_counts_once_to_a_follower_and_once_back<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    const BATCHES: u64 = 10;
    const BATCH: u64 = 3;
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let followers = others(cluster, &[leader]);
    let sent = |cluster: &Cluster<C>| -> Vec<(u64, u64)> {
        let both =
            |&id: &NodeId| (cluster.weight_sent(leader, id), cluster.weight_sent(id, leader));
        followers.iter().map(both).collect()
    };
    // No time passes, so there are no heartbeats; and nothing is durable, so nothing commits.
    cluster.set_auto_persist(false);
    let before = sent(cluster);
    for batch in 0..BATCHES {
        cluster
            .propose(leader, (0..BATCH).map(|number| Bytes::from(format!("{batch} {number}"))))?;
        for &id in &followers {
            while cluster.deliver(leader, id)? {}
        }
    }
    let there = sent(cluster);
    for (number, &id) in followers.iter().enumerate() {
        // Some writes together, so that some acknowledgements are one.
        while cluster.persist(id, number + 1)? {}
    }
    let back = sent(cluster);
    for ((before, there), back) in before.into_iter().zip(there).zip(back) {
        assert_eq!(there.0 - before.0, BATCHES * BATCH, "entries on their way");
        assert_eq!(back.1 - there.1, BATCHES * BATCH, "acknowledgements on their way back");
        assert_eq!((there.1 - before.1, back.0 - there.0), (0, 0), "and nothing else");
    }
    cluster.set_auto_persist(true);
    for id in cluster.ids() {
        cluster.rest(id)?;
    }
    agree(cluster)
}
