//! How a cluster of bare cores is set up.

use super::transcript::Detail;
use crate::{NodeId, Settings};

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The settings of every node; the node's number and the seed are put in for each.
    pub settings: Settings,
    /// The seed of all randomness in the nodes.
    pub seed: u64,
    /// Whether writes are durable as soon as they are asked for.
    pub auto_persist: bool,
    /// Whether delivered entries are applied at once.
    pub auto_apply: bool,
    /// Whether fetches are answered at once.
    pub auto_fetch: bool,
    /// Whether snapshots end well as soon as the cluster settles.
    pub auto_snapshot: bool,
    /// Whether a message may overtake one to the same peer that waits for a larger number. The
    /// contract allows both.
    pub overtaking: bool,
    /// How many entries a starting node is given in memory.
    pub tail_max: usize,
    /// Whether a second core, started apart, gets the same inputs and must give the same effects.
    pub twins: bool,
    /// How many messages of each name to keep as samples.
    pub samples_max: usize,
    /// Whether the voters count from the start. Otherwise they begin as observers, as the nodes of a
    /// cluster that is yet to be formed do.
    pub formed: bool,
    /// How much is written down.
    pub detail: Detail,
}

impl Options {
    /// The defaults for a cluster of this many nodes: everything at once, nothing random.
    #[must_use]
    pub fn new(nodes: u64) -> Self {
        Self::with_observers(nodes, 0)
    }

    /// The defaults for a cluster of this many voters, and of observers with the numbers behind theirs.
    #[must_use]
    pub fn with_observers(voters: u64, observers: u64) -> Self {
        let mut settings = Settings::new(NodeId(1), (1..=voters).map(NodeId));
        settings.observers = (voters + 1..=voters + observers).map(NodeId).collect();
        Self {
            settings,
            seed: 1,
            auto_persist: true,
            auto_apply: true,
            auto_fetch: true,
            auto_snapshot: true,
            overtaking: true,
            tail_max: usize::MAX,
            twins: true,
            samples_max: 0,
            formed: true,
            detail: Detail::Everything,
        }
    }
}
