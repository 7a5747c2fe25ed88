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

pub(crate) use self::bed::ELECTION_TIMEOUT;
pub use self::elections::{ELECTION_SEEDS, Failover, election_cost, failover};
pub use self::ledger::{Cost, Sent};
pub use self::rejoins::rejoin_cost;
pub use self::steady::request_cost;
pub use self::throughput::{Throughput, throughput};

/// How many nodes a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Nodes that vote.
    pub voters: u64,
    /// Nodes that only observe.
    pub observers: u64,
}

/// Which node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// The one that leads.
    Leader,
    /// One that votes and follows.
    Follower,
    /// One that only observes.
    Observer,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// How much of what takes time was waited for, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// Messages from one node to another.
    pub messages: u64,
    /// Syncs of a log.
    pub syncs: u64,
}

/// What something cost, and what it waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What was sent and synced.
    pub cost: Cost,
    /// What was waited for until it was over.
    pub delays: Delays,
    /// How many things happened in the simulator until it was counted: the work that counting it took.
    pub happenings: u64,
}

/// Every cluster whose costs depend on no chance begins with this seed.
const SEED: u64 = 1;
