//! Claims about logs that have forgotten their beginning, and about nodes that lack what was
//! forgotten.

use std::time::Duration;

use bytes::Bytes;

use super::faults::others;
use super::{Outcome, agree, elect, elect_other, has_applied, put, run_until};
use crate::script::Cluster;
use crate::{Consensus, Index, NodeId, Violation};

/// A node's log forgets all that it may.
pub(super) fn forget<C: Consensus>(cluster: &mut Cluster<C>, id: NodeId) -> Outcome {
    let index = cluster.compactable(id);
    cluster.compact(id, index)
}

/// One node is cut off while the others write, and forget what they wrote. Returns the leader and that
/// node.
fn leave_behind<C: Consensus>(cluster: &mut Cluster<C>) -> Result<(NodeId, NodeId), Violation> {
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let behind = others(cluster, &[leader])[0];
    let rest = others(cluster, &[behind]);
    cluster.partition(&[vec![behind], rest.clone()])?;
    for number in 0..10 {
        put(cluster, leader, &format!("missed {number}"))?;
    }
    cluster.run(Duration::from_millis(100))?;
    for id in rest {
        assert!(has_applied(cluster, id, "missed 9"), "{id}");
        forget(cluster, id)?;
        let log = cluster.core(id).view().log;
        assert_eq!(log.first(), log.last().index.next(), "{id} has forgotten everything");
    }
    Ok((leader, behind))
}

/// The same, and then the node comes back and is offered a snapshot, which is under way.
fn offer<C: Consensus>(cluster: &mut Cluster<C>) -> Result<(NodeId, NodeId), Violation> {
    let (_, behind) = leave_behind(cluster)?;
    cluster.set_auto_snapshot(false);
    cluster.heal()?;
    run_until(cluster, "snapshot", |cluster| {
        cluster.snapshots().iter().any(|&(_, to)| to == behind)
    })?;
    let from = cluster.snapshots().iter().find(|&&(_, to)| to == behind).expect("waited for").0;
    Ok((from, behind))
}

/// What a node lacks was forgotten everywhere: it gets the state instead.
pub fn a_follower_beyond_the_log_gets_a_snapshot<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (_, behind) = leave_behind(cluster)?;
    assert!(!has_applied(cluster, behind, "missed 0"));
    cluster.heal()?;
    agree(cluster)?;
    assert_eq!(cluster.installed(), 1);
    assert!(has_applied(cluster, behind, "missed 9"));
    let log = cluster.core(behind).view().log;
    assert!(log.first() > Index(1), "its log begins behind the state");
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "afterwards")?;
    agree(cluster)?;
    assert_eq!(cluster.installed(), 1, "one is enough");
    Ok(())
}

/// A leader whose log is empty, because it forgot all of it and was started again, still knows what
/// others lack (openraft #1828).
pub fn a_leader_without_any_entry_left_brings_others_up<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (_, behind) = leave_behind(cluster)?;
    for id in others(cluster, &[behind]) {
        cluster.crash(id, usize::MAX)?;
    }
    for id in others(cluster, &[behind]) {
        cluster.restart(id)?;
        forget(cluster, id)?;
    }
    cluster.heal()?;
    agree(cluster)?;
    assert!(has_applied(cluster, behind, "missed 9"));
    assert!(cluster.installed() > 0);
    Ok(())
}

/// The leader writes on while a snapshot is under way: the follower gets that behind it.
pub fn entries_follow_the_snapshot_without_a_gap<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, behind) = offer(cluster)?;
    for number in 0..10 {
        put(cluster, leader, &format!("during {number}"))?;
    }
    let last = cluster.status(leader).last.index;
    assert!(cluster.complete_snapshot(leader, behind)?);
    let first = cluster.core(behind).view().log.first();
    assert!(first < last, "the state is older than what was written meanwhile");
    cluster.end_snapshot(leader, behind)?;
    put(cluster, leader, "afterwards")?;
    agree(cluster)?;
    assert_eq!(cluster.installed(), 1);
    assert_eq!(cluster.core(behind).view().log.first(), first, "entries followed");
    assert!(has_applied(cluster, behind, "during 0"));
    Ok(())
}

/// The leader forgets more than a snapshot holds that is under way: another one follows.
pub fn a_snapshot_that_is_too_old_when_it_arrives_is_followed_by_another<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, behind) = offer(cluster)?;
    for number in 0..10 {
        put(cluster, leader, &format!("during {number}"))?;
    }
    forget(cluster, leader)?;
    assert!(cluster.complete_snapshot(leader, behind)?);
    assert!(!has_applied(cluster, behind, "during 0"));
    cluster.end_snapshot(leader, behind)?;
    cluster.set_auto_snapshot(true);
    agree(cluster)?;
    assert_eq!(cluster.installed(), 2);
    assert!(has_applied(cluster, behind, "during 9"));
    Ok(())
}

/// A leader that was replaced can not give its state to anybody any more.
pub fn a_snapshot_of_an_older_leader_is_refused<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, behind) = offer(cluster)?;
    let term = cluster.status(leader).term;
    cluster.pause(leader);
    // What the successor offers arrives.
    cluster.set_auto_snapshot(true);
    let (successor, _) = elect_other(cluster, term)?;
    put(cluster, successor, "meanwhile")?;
    run_until(cluster, "repair", |cluster| has_applied(cluster, behind, "meanwhile"))?;
    cluster.set_auto_snapshot(false);
    let installed = cluster.installed();
    let (last, leadership) = (cluster.status(behind).last, cluster.leadership(behind));
    cluster.resume(leader);
    assert!(cluster.complete_snapshot(leader, behind)?, "it arrives all the same");
    assert_eq!(cluster.installed(), installed, "and takes no effect");
    assert_eq!(cluster.status(behind).last, last);
    assert_eq!(cluster.leadership(behind), leadership);
    cluster.end_snapshot(leader, behind)?;
    cluster.set_auto_snapshot(true);
    agree(cluster)
}

/// A snapshot that comes when its connection is over has no effect at all.
pub fn a_snapshot_of_an_older_connection_is_ignored<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, behind) = offer(cluster)?;
    cluster.disconnect(leader, behind)?;
    assert!(cluster.fail_snapshot(leader, behind));
    cluster.connect(leader, behind)?;
    // Any effect is a broken law.
    assert_eq!(cluster.deliver_late_snapshots(leader, behind)?, 1);
    // Nor has its end, at the sender.
    cluster.end_snapshot(leader, behind)?;
    assert_eq!(cluster.installed(), 0);
    cluster.set_auto_snapshot(true);
    agree(cluster)
}

/// A snapshot that breaks off is offered again, as often as it takes.
pub fn a_snapshot_that_breaks_off_is_offered_again<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, behind) = offer(cluster)?;
    let term = cluster.status(leader).term;
    for _ in 0..3 {
        assert!(cluster.fail_snapshot(leader, behind));
        cluster.end_snapshot(leader, behind)?;
        run_until(cluster, "offer", |cluster| cluster.snapshots() == [(leader, behind)])?;
    }
    assert_eq!(cluster.installed(), 0);
    cluster.set_auto_snapshot(true);
    agree(cluster)?;
    assert_eq!(cluster.status(leader).term, term, "nobody was elected");
    Ok(())
}

/// The follower crashes when the whole snapshot is there, before its log is replaced and after: it has
/// the old state with the old log, or the new one with the new log.
pub fn a_crash_between_receiving_and_installing_loses_nothing<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let options = cluster.options().clone();
    for kept in [0, usize::MAX] {
        *cluster = Cluster::new(options.clone())?;
        let (leader, behind) = offer(cluster)?;
        let before = cluster.status(behind).last;
        cluster.set_auto_persist(false);
        assert!(cluster.complete_snapshot(leader, behind)?);
        assert!(cluster.pending_writes(behind) > 0, "the log is about to be replaced");
        assert!(!has_applied(cluster, behind, "missed 0"), "nothing is installed before that");
        cluster.crash(behind, kept)?;
        cluster.set_auto_persist(true);
        cluster.restart(behind)?;
        let log = cluster.core(behind).view().log;
        if kept == 0 {
            assert_eq!(log.last(), before, "the old log");
            assert_eq!(log.first(), Index(1), "all of it");
            assert!(!has_applied(cluster, behind, "missed 0"), "with the old state");
        } else {
            assert!(log.last() > before, "the new log");
            assert!(has_applied(cluster, behind, "missed 9"), "with the new state");
        }
        cluster.set_auto_snapshot(true);
        agree(cluster)?;
        assert!(has_applied(cluster, behind, "missed 9"));
    }
    Ok(())
}

/// However long a snapshot takes, the leader stays, and writes go on.
pub fn a_long_snapshot_costs_nobody_the_leader<C: Consensus>(cluster: &mut Cluster<C>) -> Outcome {
    let (leader, behind) = offer(cluster)?;
    let term = cluster.status(leader).term;
    for number in 0..30 {
        put(cluster, leader, &format!("second {number}"))?;
        cluster.run(Duration::from_secs(1))?;
        assert_eq!(cluster.established(), [(leader, term)]);
        assert_eq!(cluster.snapshots(), [(leader, behind)], "it is still the first");
    }
    assert!(cluster.complete_snapshot(leader, behind)?);
    cluster.end_snapshot(leader, behind)?;
    agree(cluster)?;
    assert_eq!(cluster.established(), [(leader, term)]);
    assert_eq!(cluster.installed(), 1);
    Ok(())
}

/// The same when no majority is left without the follower: the leader waits for it.
pub fn a_leader_waits_for_a_majority_that_needs_a_snapshot<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, behind) = leave_behind(cluster)?;
    let down = (cluster.ids().len() - 1) / 2;
    for id in others(cluster, &[leader, behind]).into_iter().take(down) {
        cluster.crash(id, usize::MAX)?;
    }
    cluster.set_auto_snapshot(false);
    cluster.heal()?;
    run_until(cluster, "snapshot", |cluster| !cluster.snapshots().is_empty())?;
    let (from, to) = cluster.snapshots()[0];
    assert_eq!(to, behind);
    let promised = cluster.core(from).view().promised;
    cluster.run(Duration::from_secs(30))?;
    assert_eq!(cluster.core(from).view().promised, promised, "nobody was elected meanwhile");
    assert_eq!(cluster.snapshots(), [(from, to)]);
    assert!(cluster.complete_snapshot(from, to)?);
    cluster.end_snapshot(from, to)?;
    let (leader, _) = elect(cluster)?;
    assert_eq!(leader, from);
    put(cluster, leader, "with it")?;
    assert_eq!(cluster.core(from).view().promised, promised, "nor afterwards");
    for id in cluster.ids() {
        if !cluster.is_running(id) {
            cluster.restart(id)?;
        }
    }
    cluster.set_auto_snapshot(true);
    agree(cluster)
}

/// The log of a leader forgets what it was about to send to a slow follower.
pub fn a_follower_whose_next_entries_are_forgotten_gets_a_snapshot<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let mut options = cluster.options().clone();
    options.settings.inflight_messages_max = 2;
    *cluster = Cluster::new(options)?;
    let (leader, _) = elect(cluster)?;
    put(cluster, leader, "before")?;
    agree(cluster)?;
    let slow = others(cluster, &[leader])[0];
    cluster.hold(slow, leader);
    for number in 0..20 {
        cluster.propose(leader, [Bytes::from(format!("{number}"))])?;
        cluster.settle()?;
    }
    assert!(has_applied(cluster, leader, "19"), "the others are a majority");
    assert!(!has_applied(cluster, slow, "19"), "the window is full");
    forget(cluster, leader)?;
    cluster.release(slow, leader);
    agree(cluster)?;
    assert_eq!(cluster.installed(), 1);
    Ok(())
}
