//! Claims about words of one reign that arrive in another.

use std::time::Duration;

use bytes::Bytes;

use super::faults::others;
use super::{Outcome, agree, elect, elect_other, has_applied, put, run_until};
use crate::script::Cluster;
use crate::{Consensus, NodeId, Timer};

/// A leader is deposed and leads again, and only then hears what a follower acknowledged in its
/// first reign. The entries at those indexes are others now: the old answers must not commit them.
/// For clusters of five: of three, leader and follower would have been a quorum the first time.
pub fn acknowledgements_of_an_earlier_reign_do_not_count<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    let late = others(cluster, &[leader])[0];
    let rest = others(cluster, &[leader, late]);
    cluster.hold(late, leader);
    cluster.partition_unnoticed(&[vec![leader, late], rest.clone()]);
    let strays = (0..10).map(|number| Bytes::from(format!("stray {number}")));
    cluster.propose(leader, strays)?;
    cluster.settle()?;
    let (successor, _) = elect_other(cluster, term)?;
    put(cluster, successor, "meanwhile")?;
    cluster.heal()?;
    run_until(cluster, "repair", |cluster| has_applied(cluster, leader, "meanwhile"))?;
    lead_again(cluster, leader)?;
    assert!(cluster.under_way(late, leader).count() > 0, "the old answers are still under way");
    // Only one follower gets the new entries: with the leader that is no quorum.
    let partner = *rest.iter().find(|&&id| cluster.is_running(id)).expect("a majority runs");
    for id in others(cluster, &[leader, partner]) {
        cluster.hold(leader, id);
    }
    let last = cluster.status(leader).last.index;
    let news = (0..30).map(|number| Bytes::from(format!("news {number}")));
    cluster.propose(leader, news)?;
    cluster.settle()?;
    cluster.release(late, leader);
    cluster.settle()?;
    assert!(cluster.status(leader).commit <= last, "two of five are no quorum");
    for id in others(cluster, &[leader]) {
        cluster.release(leader, id);
    }
    agree(cluster)
}

/// Stops whoever else leads until this node is established.
fn lead_again<C: Consensus>(cluster: &mut Cluster<C>, id: NodeId) -> Outcome {
    for _ in 0..20 {
        let stopped: Vec<NodeId> = cluster
            .established()
            .iter()
            .map(|&(other, _)| other)
            .filter(|&other| other != id)
            .collect();
        for &other in &stopped {
            cluster.crash(other, 0)?;
        }
        cluster.fire(id, Timer::Election)?;
        cluster.run(Duration::from_millis(400))?;
        let leads = cluster.established().iter().any(|&(leader, _)| leader == id);
        for other in stopped {
            cluster.restart(other)?;
        }
        if leads {
            return Ok(());
        }
        cluster.run(Duration::from_millis(400))?;
    }
    panic!("{id} does not come to lead again");
}

/// The confirmations of one barrier are under way for long. Meanwhile the leader is replaced, and is
/// asked again: the old confirmations say nothing of the new barrier (etcd #20418).
pub fn late_confirmations_do_not_answer_later_barriers<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, term) = elect(cluster)?;
    put(cluster, leader, "before")?;
    for id in others(cluster, &[leader]) {
        cluster.hold(id, leader);
    }
    cluster.read(leader)?;
    cluster.settle()?;
    cluster.pause(leader);
    let (successor, _) = elect_other(cluster, term)?;
    put(cluster, successor, "meanwhile")?;
    cluster.resume(leader);
    let later = cluster.read(leader)?;
    assert!(cluster.open_barriers().contains(&later), "it does not know better yet");
    for id in others(cluster, &[leader]) {
        assert!(cluster.under_way(id, leader).count() > 0, "the confirmations are under way");
        cluster.release(id, leader);
    }
    // An answer to the later barrier would not include what was committed meanwhile.
    cluster.settle()?;
    agree(cluster)?;
    let answered = cluster.answered().iter().any(|&(token, _)| token == later);
    assert!(!answered, "a deposed leader answered a barrier");
    assert!(cluster.open_barriers().is_empty(), "what can not be answered is refused");
    Ok(())
}

/// What was asked of a follower in one reign is answered only when the same leader leads again, and
/// has been deposed once more without knowing: the old word confirms no read of the later reign, though
/// the follower is in the later term when it gives it, and the later reign comes to the same numbers.
pub fn confirmations_of_an_earlier_reign_do_not_answer_barriers<C: Consensus>(
    cluster: &mut Cluster<C>,
) -> Outcome {
    let (leader, first) = elect(cluster)?;
    put(cluster, leader, "before")?;
    let late = others(cluster, &[leader])[0];
    let rest = others(cluster, &[leader, late]);
    // Long enough that the later reign passes this reign's numbers only while the reads wait.
    for _ in 0..40 {
        cluster.read(leader)?;
        cluster.fire(leader, Timer::Heartbeat)?;
        cluster.settle()?;
    }
    cluster.hold(leader, late);
    cluster.read(leader)?;
    cluster.settle()?;
    let old = cluster.under_way(leader, late).count();
    assert!(old > 0, "the question of the first reign is under way");
    // The first reign ends without a broken connection, and the second one begins.
    for &id in &rest {
        cluster.hold(leader, id);
    }
    cluster.skip(cluster.options().settings.election_timeout + Duration::from_millis(1));
    for _ in 0..2 {
        cluster.fire(rest[0], Timer::Election)?;
    }
    let (successor, _) = elect_other(cluster, first)?;
    assert_ne!(successor, late, "the late follower only follows");
    for &id in &rest {
        cluster.release(leader, id);
    }
    cluster.hold(late, leader);
    for &id in &rest {
        cluster.hold(late, id);
        cluster.hold(id, late);
    }
    lead_again(cluster, leader)?;
    let second = cluster.status(leader).term;
    for &id in &rest {
        cluster.release(late, id);
        cluster.release(id, late);
    }
    // The others tell the late follower of the later term, because they refuse it.
    cluster.run(cluster.options().settings.election_timeout * 2)?;
    for _ in 0..old {
        cluster.deliver(leader, late)?;
    }
    // It is deposed once more, and hears nothing of it.
    cluster.pause(leader);
    let (successor, _) = elect_other(cluster, second)?;
    put(cluster, successor, "meanwhile")?;
    for &id in &rest {
        cluster.hold(id, leader);
    }
    cluster.resume(leader);
    let mut reads = Vec::new();
    for _ in 0..60 {
        reads.push(cluster.read(leader)?);
        cluster.fire(leader, Timer::Heartbeat)?;
    }
    cluster.release(late, leader);
    cluster.settle()?;
    let answered = cluster.answered().iter().any(|(token, _)| reads.contains(token));
    assert!(!answered, "a deposed leader answered a barrier");
    for from in cluster.ids() {
        for to in cluster.ids() {
            cluster.release(from, to);
        }
    }
    cluster.heal()?;
    agree(cluster)
}
