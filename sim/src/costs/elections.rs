//! What it costs to get another leader, and how long that takes.

use std::ops::RangeInclusive;
use std::time::Duration;

use consensus::{Consensus, NodeId, Time, Violation};

use super::bed::{Bed, Timing};
use super::{Cost, Counted, Delays, Shape};
use crate::cluster::Cluster;
use crate::faults::Crash;
use crate::latency::Links;
use crate::options::{Depth, Profile, SimOptions, Span, Surroundings};

/// The elections of so many seeds are looked at for the cheapest.
pub const ELECTION_SEEDS: RangeInclusive<u64> = 1..=8;
/// By how much a message or a sync is slower to see how many of them are waited for.
const TRIFLE: Duration = Duration::from_micros(1);

/// What an election costs, from the death of the leader until all others follow the next; and what it waits for
/// until another one is established, beside the time that a candidate lets pass. Of a few seeds the cheapest,
/// which nobody contests if that is so of any.
///
/// # Errors
/// When a law is broken.
///
/// # Panics
/// If the election would be another one with messages or syncs that take a trifle longer.
pub fn election_cost<C: Consensus>(shape: Shape) -> Result<Counted, Violation> {
    let Timing { link, sync } = Timing::USUAL;
    let held =
        ELECTION_SEEDS.map(|seed| Ok((seed, Held::election::<C>(seed, shape, Timing::USUAL)?)));
    let held = held.collect::<Result<Vec<_>, Violation>>()?;
    let cheapest = held.iter().min_by_key(|(_, held)| held.cost.total().messages);
    let (seed, cheapest) = cheapest.expect("a few seeds");
    // Slower syncs overtake nothing that they did not overtake before, nor do faster messages.
    let faster = Timing { link: link - TRIFLE, sync };
    let slower = Timing { link, sync: sync + TRIFLE };
    let [faster, slower] = [faster, slower].map(|timing| Held::election::<C>(*seed, shape, timing));
    let (faster, slower) = (faster?, slower?);
    assert!(
        faster.cost == cheapest.cost && slower.cost == cheapest.cost,
        "a trifle makes another election of seed {seed}: {cheapest:?}, {faster:?}, {slower:?}"
    );
    let trifles = |more: Duration, less: Duration| {
        u64::try_from((more - less).as_micros() / TRIFLE.as_micros()).expect("a few")
    };
    let delays = Delays {
        messages: trifles(cheapest.took, faster.took),
        syncs: trifles(slower.took, cheapest.took),
    };
    let happenings = held.iter().map(|(_, held)| held.happenings).sum::<u64>();
    let happenings = happenings + faster.happenings + slower.happenings;
    Ok(Counted { cost: cheapest.cost.clone(), delays, happenings })
}

/// One election.
#[derive(Debug)]
struct Held {
    cost: Cost,
    /// From the death of the leader until another one was established.
    took: Duration,
    happenings: u64,
}

impl Held {
    fn election<C: Consensus>(seed: u64, shape: Shape, timing: Timing) -> Result<Self, Violation> {
        let mut bed = Bed::<C>::new(seed, shape, timing)?;
        let leader = bed.leader();
        let (cost, took) = bed.cost_of(|bed| {
            let killed = bed.now();
            bed.cluster.crash(leader, Crash::Kill);
            bed.wait("a new leader is established", |cluster| cluster.leader.is_some())?;
            Ok(bed.now().since(killed))
        })?;
        Ok(Self { cost, took, happenings: bed.cluster.happened })
    }
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
    /// How many things happened in the simulator, from the beginning of the cluster on.
    pub happenings: u64,
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
    Ok(Failover { suspected, established, acknowledged, happenings: cluster.happened })
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
