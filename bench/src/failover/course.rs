//! The course of a failover beside the probes: the fault, the wait until writes succeed again, the healing, and the
//! wait until every node has caught up.

use std::time::Instant;

use consensus::NodeId;
use tokio::sync::oneshot;

use super::FailoverOptions;
use super::timeline::{Witnessed, caught_up_us, is_told};
use crate::Error;
use crate::cluster::{Cluster, Election, Fault, HostClock, Struck};

/// How often it is looked whether everybody has caught up. When it was is told by the nodes, but of disks.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

/// What a failover went through.
pub(super) struct Course {
    pub(super) struck: Struck,
    /// Why the leader did not hand over, if that was asked for and refused.
    pub(super) refused: Option<String>,
    /// When the fault was undone.
    pub(super) healed: Option<Instant>,
    /// When the log of the leader whose disk stalled was durable again, if that leader led on.
    pub(super) caught_up: Option<Instant>,
    /// What the nodes tell of their elections.
    pub(super) elections: Vec<Election>,
    /// What could not be waited for.
    pub(super) missed: Vec<String>,
}

/// Words between the course and those who watch the probes.
pub(super) struct Signals {
    /// Told when the fault was done.
    pub(super) struck: oneshot::Sender<Struck>,
    /// Hears that writes succeed again.
    pub(super) back: oneshot::Receiver<()>,
}

/// Takes the cluster through it.
pub(super) async fn run(
    cluster: &mut Cluster,
    leader: NodeId,
    options: &FailoverOptions,
    clock: HostClock,
    signals: Signals,
) -> Result<Course, Error> {
    let asked = Instant::now();
    let (struck, refused) = match cluster.strike(leader, options.fault).await {
        Ok(struck) => (struck, None),
        Err(Error::Node { what, .. }) if options.fault == Fault::Transfer => {
            (Struck::once(asked, Instant::now()), Some(what))
        }
        Err(error) => return Err(error),
    };
    // Whoever watches is gone only when the measurement is.
    let _ = signals.struck.send(struck.clone());
    let limit = tokio::time::Instant::from_std(struck.over + options.limit);
    // Beyond the limit it is healed all the same.
    let _ = tokio::time::timeout_at(limit, signals.back).await;
    let stall = if options.fault == Fault::StallDisk { options.stall } else { options.after };
    tokio::time::sleep(stall).await;
    let durable = match options.fault {
        Fault::StallDisk => Some(cluster.progress(leader).await?.last_index),
        _ => None,
    };
    let healed = options.fault.is_healed().then(Instant::now);
    cluster.heal(leader, options.fault).await?;
    let mut course = Course {
        struck,
        refused,
        healed,
        caught_up: None,
        elections: Vec::new(),
        missed: Vec::new(),
    };
    course.catch_up(cluster, leader, durable, clock).await?;
    tokio::time::sleep(options.after).await;
    Ok(course)
}

impl Course {
    /// What is known without the probes.
    pub(super) fn witnessed(&self, leader: NodeId, nodes: usize, clock: HostClock) -> Witnessed {
        Witnessed {
            fault_us: clock.us(self.struck.at),
            healed_us: self.healed.map(|at| clock.us(at)),
            // A node that is restarted in turn is away from its end on.
            returned_us: clock.us(self.healed.unwrap_or(match self.struck.turns.is_empty() {
                true => self.struck.at,
                false => self.struck.over,
            })),
            caught_up_us: self.caught_up.map(|at| clock.us(at)),
            node: leader.0,
            nodes,
            ..Witnessed::default()
        }
    }

    /// Waits until the elections are told to their end and every node lacks nothing: of a stalled disk, until it has
    /// `durable`.
    async fn catch_up(
        &mut self,
        cluster: &mut Cluster,
        leader: NodeId,
        durable: Option<u64>,
        clock: HostClock,
    ) -> Result<(), Error> {
        let ids = cluster.ids();
        let asked = ids.iter().copied().find(|&id| id != leader).unwrap_or(leader);
        let witnessed = self.witnessed(leader, ids.len(), clock);
        let deadline = Instant::now() + Cluster::CATCH_UP_TIMEOUT;
        loop {
            let late = Instant::now() > deadline;
            let known = match cluster.elections(asked).await {
                Ok(elections) => {
                    self.elections = elections;
                    !self.elections.is_empty()
                }
                Err(error) if late => return Err(error),
                // It has other things to do just now.
                Err(_) => true,
            };
            let told = is_told(&witnessed, &self.elections);
            let is_over = match durable {
                Some(durable) if !told => {
                    let is_durable = cluster.progress(leader).await?.durable_index >= durable;
                    self.caught_up = is_durable.then(Instant::now);
                    is_durable
                }
                _ => told && caught_up_us(&witnessed, &self.elections).is_some(),
            };
            // Where nobody tells of any election there is nothing to wait for, nor where none was to be held.
            if is_over || self.refused.is_some() || !known {
                return Ok(());
            }
            if late {
                let limit = Cluster::CATCH_UP_TIMEOUT.as_secs();
                self.missed.push(format!("not every node had caught up after {limit} s"));
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
