//! What makes the state space finite.

/// How often each thing may happen in one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// The last term or epoch: a state beyond it is not looked at.
    pub(crate) terms: u64,
    /// Entries that clients propose.
    pub(crate) proposals: u8,
    /// Crashes of nodes, each of which may start again at any time. As long as one may still come a write
    /// takes any time, and afterwards none: there is nothing left that could lose it.
    pub(crate) crashes: u8,
    /// Connections that break, each of which may come back at any time.
    pub(crate) breaks: u8,
    /// Timers that make a node suspect its leader, repeat its campaign, or give up to lead.
    pub(crate) suspicions: u8,
    /// Signs of life that a leader sends because its timer fires.
    pub(crate) heartbeats: u8,
    /// Elections that the oracle holds.
    pub(crate) elections: u8,
}

impl Bounds {
    /// Nothing ever happens by itself.
    pub(crate) const NOTHING: Self = Self {
        terms: 0,
        proposals: 0,
        crashes: 0,
        breaks: 0,
        suspicions: 0,
        heartbeats: 0,
        elections: 0,
    };
}
