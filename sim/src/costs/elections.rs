//! What it costs to get another leader, and how long that takes.

use std::time::Duration;

use consensus::{Consensus, NodeId, Time, Violation};

use super::bed::{Bed, Timing};
use super::{Asked, Cost, Shape, UNIT};
use crate::cluster::Cluster;
use crate::faults::Crash;
use crate::latency::Links;
use crate::options::{Depth, Profile, SimOptions, Span, Surroundings};

/// What it costs to get another leader, from the death of the last one until all others follow the next, with
/// what the seed brings about: most elections are won at the first attempt.
///
/// # Errors
/// When a law is broken.
pub fn election_cost<C: Consensus>(seed: u64, shape: Shape) -> Result<Cost, Violation> {
    let mut bed = Bed::<C>::new(seed, shape, Timing { link: UNIT, sync: UNIT })?;
    let leader = bed.node(Asked::Leader);
    bed.cost_of(|bed| {
        bed.cluster.crash(leader, Crash::Kill);
        Ok(())
    })
}

/// How long it took from the death of a leader until things were well again. Each part counts from the
/// death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Until a node suspected the leader.
    pub suspected: Duration,
    /// Until another node was established.
    pub established: Duration,
    /// Until a write was acknowledged that was asked for after the death.
    pub acknowledged: Duration,
}

/// The cluster whose leader dies, and who asks it.
const NODES: u64 = 3;
const CLIENTS: usize = 4;
/// How long a cluster may take to begin, and to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills the leader at a moment that the seed chooses, and measures how long a client that writes all the
/// time, at any node, has to wait.
///
/// # Errors
/// When a law is broken, or no new leader appears.
pub fn failover<C: Consensus>(seed: u64, links: Links) -> Result<Failover, Violation> {
    let mut cluster = serving::<C>(seed, NODES, CLIENTS, Surroundings::for_failovers(links))?;
    let moment = cluster.random.duration_up_to(Duration::from_millis(200));
    cluster.run_until(cluster.agenda.now() + moment, |_| false)?;
    let Some(leader) = cluster.leader else {
        return Err(Violation::new("a cluster at peace keeps its leader", String::new()));
    };
    let killed = cluster.agenda.now();
    cluster.suspected = None;
    cluster.crash(leader, Crash::Kill);
    // From now on somebody asks all the time, so that what passes unnoticed is little.
    cluster.surroundings.think = Span::micros(0, 500);
    let other = |id: Option<NodeId>| id.is_some_and(|id| id != leader);
    await_that(&mut cluster, "a new leader is established", |cluster| other(cluster.leader))?;
    let established = cluster.agenda.now().since(killed);
    let suspected = cluster.suspected.map_or(established, |at| at.since(killed));
    let fresh = |at: Option<(Time, Time)>| at.is_some_and(|(asked, _)| asked > killed);
    await_that(&mut cluster, "a new leader acknowledges", |cluster| {
        fresh(cluster.last_acknowledged)
    })?;
    let acknowledged = cluster.agenda.now().since(killed);
    Ok(Failover { suspected, established, acknowledged })
}

/// A cluster that serves so many clients, who only write.
pub(super) fn serving<C: Consensus>(
    seed: u64,
    nodes: u64,
    clients: usize,
    surroundings: Surroundings,
) -> Result<Cluster<C>, Violation> {
    let options = SimOptions {
        profile: Profile::Calm,
        depth: Depth::Protocol,
        nodes,
        clients,
        watchers: 0,
        ..SimOptions::new(seed)
    };
    let mut cluster = Cluster::<C>::new(&options, Some(surroundings), false)?;
    cluster.only_puts = true;
    await_that(&mut cluster, "a cluster begins to serve", |cluster| {
        cluster.leader.is_some() && cluster.counters.acknowledged > clients as u64
    })?;
    Ok(cluster)
}

fn await_that<C: Consensus>(
    cluster: &mut Cluster<C>,
    law: &'static str,
    holds: impl Fn(&Cluster<C>) -> bool,
) -> Result<(), Violation> {
    let until = cluster.agenda.now() + PATIENCE;
    match cluster.run_until(until, |cluster| holds(cluster))? {
        true => Ok(()),
        false => Err(Violation::new(law, format!("not within {PATIENCE:?}"))),
    }
}
