//! How much is written in virtual time: what remains when machine, compiler and scheduler are taken away.

use std::time::Duration;

use consensus::{Consensus, Protocol, Violation};

use super::elections::serving;
use crate::options::Surroundings;

/// How many clients write at once.
const CLIENTS: usize = 64;
/// For how long.
const WINDOW: Duration = Duration::from_millis(500);

/// What writing for some time came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throughput {
    /// The virtual time.
    pub duration: Duration,
    /// The writes that were acknowledged in it.
    pub acknowledged: u64,
}

impl Throughput {
    /// Acknowledged writes for each second of virtual time.
    #[must_use]
    pub fn writes_per_second(&self) -> f64 {
        self.acknowledged as f64 / self.duration.as_secs_f64()
    }
}

/// Lets 64 clients write to three nodes (one for the null protocol) for half a second.
///
/// # Errors
/// When a law is broken.
pub fn throughput<C: Consensus>(seed: u64) -> Result<Throughput, Violation> {
    let nodes = if C::PROTOCOL == Protocol::Null { 1 } else { 3 };
    let mut cluster = serving::<C>(seed, nodes, CLIENTS, Surroundings::for_measurements())?;
    let before = cluster.counters.acknowledged;
    cluster.run_until(cluster.agenda.now() + WINDOW, |_| false)?;
    Ok(Throughput { duration: WINDOW, acknowledged: cluster.counters.acknowledged - before })
}
