//! What the protocols cost, exactly: messages, frames, bytes, syncs and message delays.
//!
//! All of it is counted in the simulator, so it depends on no machine: a change of a figure is a change of
//! the protocol. What something costs is what a cluster sends and syncs from the moment at which it happens
//! until nothing follows from it any more; heartbeats are so far apart that none comes in between.

mod bed;
mod elections;
mod ledger;
mod rejoins;
mod steady;
mod throughput;

use std::time::Duration;

pub(crate) use self::bed::ELECTION_TIMEOUT;
pub use self::elections::{Failover, election_cost, failover};
pub use self::ledger::{Cost, Sent};
pub use self::rejoins::rejoin_cost;
pub use self::steady::{delays, request_cost};
pub use self::throughput::{Throughput, throughput};

/// How many nodes a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Nodes that vote.
    pub voters: u64,
    /// Nodes that only observe.
    pub observers: u64,
}

/// Which node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The one that leads.
    Leader,
    /// One that votes and follows.
    Follower,
    /// One that only observes.
    Observer,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A write.
    Put,
    /// A read of everything that was acknowledged anywhere.
    Linearizable,
    /// A read of everything that the leader had committed.
    Sync,
    /// A read of what the node has.
    Local,
}

/// How much of what takes time an answer waits for, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// Messages from one node to another.
    pub messages: u64,
    /// Syncs of a log.
    pub syncs: u64,
}

/// Every cluster whose costs depend on no chance begins with this seed.
const SEED: u64 = 1;
/// The unit in which delays are told apart.
const UNIT: Duration = Duration::from_millis(1);
