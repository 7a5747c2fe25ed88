//! Measurements in virtual time: what remains of a protocol's cost when machine, compiler and
//! scheduler are taken away. Equal seeds give equal figures.

use std::time::Duration;

use consensus::{Consensus, NodeId, Time, Violation};

use crate::cluster::Cluster;
use crate::faults::Crash;
use crate::options::{Depth, Profile, SimOptions, Surroundings};
use crate::report::Counters;

/// How long a cluster may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(10);

/// How long it took from the kill of a leader until things were well again. Each part counts from
/// the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionMeasurement {
    /// Until a node suspected the leader.
    pub suspected: Duration,
    /// Until another node was established.
    pub established: Duration,
    /// Until a write was acknowledged that was asked for after the kill.
    pub acknowledged: Duration,
}

/// What a second of writing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteMeasurement {
    /// The virtual time that was measured.
    pub duration: Duration,
    /// What was counted in it.
    pub counters: Counters,
}

impl WriteMeasurement {
    /// Acknowledged writes for each second of virtual time.
    #[must_use]
    pub fn writes_per_second(&self) -> f64 {
        self.counters.acknowledged as f64 / self.duration.as_secs_f64()
    }
}

fn cluster<C: Consensus>(seed: u64, clients: usize) -> Result<Cluster<C>, Violation> {
    let options = SimOptions {
        profile: Profile::Calm,
        depth: Depth::Protocol,
        clients,
        watchers: 0,
        nodes: if C::PROTOCOL == consensus::Protocol::Null { 1 } else { 3 },
        ..SimOptions::new(seed)
    };
    let mut cluster = Cluster::new(&options, Some(Surroundings::for_measurements()), false)?;
    cluster.only_puts = true;
    let begun = cluster.run_until(Time(0) + BEGIN_MAX, |cluster| {
        cluster.leader.is_some() && cluster.counters.acknowledged > 100
    })?;
    if begun { Ok(cluster) } else { Err(late("a cluster begins to serve")) }
}

fn late(law: &'static str) -> Violation {
    Violation::new(law, format!("not within {BEGIN_MAX:?}"))
}

/// Kills the leader of three nodes under load, and measures how long it takes until all is well.
///
/// # Errors
/// When a law is broken, or no new leader appears.
pub fn measure_election<C: Consensus>(seed: u64) -> Result<ElectionMeasurement, Violation> {
    let mut cluster = cluster::<C>(seed, 8)?;
    // At a moment that differs between seeds, compared with the heartbeats.
    let moment = cluster.random.duration_up_to(Duration::from_millis(200));
    cluster.run_until(cluster.agenda.now() + moment, |_| false)?;
    let leader = cluster.leader.ok_or_else(|| late("a cluster has a leader"))?;
    let killed = cluster.agenda.now();
    cluster.suspected = None;
    cluster.crash(leader, Crash::Kill);
    let until = killed + BEGIN_MAX;
    let other = |id: Option<NodeId>| id.is_some_and(|id| id != leader);
    if !cluster.run_until(until, |cluster| other(cluster.leader))? {
        return Err(late("a new leader is established"));
    }
    let established = cluster.agenda.now().since(killed);
    let suspected = cluster.suspected.map_or(established, |at| at.since(killed));
    let fresh =
        |acknowledged: Option<(Time, Time)>| acknowledged.is_some_and(|(asked, _)| asked > killed);
    if !cluster.run_until(until, |cluster| fresh(cluster.last_acknowledged))? {
        return Err(late("a new leader acknowledges"));
    }
    let acknowledged = cluster.agenda.now().since(killed);
    Ok(ElectionMeasurement { suspected, established, acknowledged })
}

/// Lets 64 clients write to three nodes (one for the null protocol) for half a second.
///
/// # Errors
/// When a law is broken.
pub fn measure_writes<C: Consensus>(seed: u64) -> Result<WriteMeasurement, Violation> {
    let mut cluster = cluster::<C>(seed, 64)?;
    let duration = Duration::from_millis(500);
    let before = cluster.counters;
    cluster.run_until(cluster.agenda.now() + duration, |_| false)?;
    Ok(WriteMeasurement { duration, counters: cluster.counters.since(&before) })
}
