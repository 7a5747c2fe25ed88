//! One core of a cluster, and what its driver keeps for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::disk::Disk;
use crate::invariants::Durability;
use crate::{
    Consensus, Effects, Entry, Fetch, Generation, Index, Leadership, NodeId, PersistSequence,
    Pledge, Standing, Time, Timer,
};

/// A message that waits for a write.
#[derive(Clone, Debug)]
pub(super) struct Held<M> {
    pub(super) to: NodeId,
    pub(super) generation: Generation,
    pub(super) after: PersistSequence,
    pub(super) pledge: Pledge,
    pub(super) message: M,
}

/// One core and its driver.
#[derive(Clone, Debug)]
pub(super) struct Node<C: Consensus> {
    pub(super) core: Option<C>,
    pub(super) twin: Option<C>,
    pub(super) effects: Effects<C::Message>,
    pub(super) twin_effects: Effects<C::Message>,
    pub(super) disk: Disk,
    /// Whether it counts. A voter does until it loses its disk.
    pub(super) standing: Standing,
    pub(super) durability: Durability,
    pub(super) durable: PersistSequence,
    pub(super) held: VecDeque<Held<C::Message>>,
    pub(super) connections: BTreeMap<NodeId, Generation>,
    /// Connections that broke without the node having noticed it yet.
    pub(super) unnoticed: BTreeSet<(NodeId, Generation)>,
    /// A state that is durable and is to take the place of what was applied, before what was
    /// delivered behind it.
    pub(super) installing: Option<Index>,
    pub(super) delivered: VecDeque<Entry>,
    pub(super) applied: Vec<Entry>,
    pub(super) fetches: VecDeque<Fetch>,
    pub(super) leadership: Leadership,
    pub(super) deadline: Option<(Time, Timer)>,
    pub(super) starts: u64,
    pub(super) paused: bool,
    /// How much longer a write takes.
    pub(super) slowness: Duration,
    /// Whether the next write that would become durable fails.
    pub(super) disk_fails: bool,
    /// How far the wall clock is ahead; negative when it is behind.
    pub(super) skew_ms: i64,
}

impl<C: Consensus> Node<C> {
    pub(super) fn new(standing: Standing) -> Self {
        Self {
            standing,
            core: None,
            twin: None,
            effects: Effects::default(),
            twin_effects: Effects::default(),
            disk: Disk::default(),
            durability: Durability::default(),
            durable: PersistSequence(0),
            held: VecDeque::new(),
            connections: BTreeMap::new(),
            unnoticed: BTreeSet::new(),
            installing: None,
            delivered: VecDeque::new(),
            applied: Vec::new(),
            fetches: VecDeque::new(),
            leadership: Leadership::None,
            deadline: None,
            starts: 0,
            paused: false,
            slowness: Duration::ZERO,
            disk_fails: false,
            skew_ms: 0,
        }
    }

    /// Forgets all but the disk, and what the laws know of it. What was wrong with the node is over, as
    /// for a process that ends.
    pub(super) fn stop(&mut self) {
        let former = std::mem::replace(self, Self::new(self.standing));
        self.disk = former.disk;
        self.durability = former.durability;
        self.starts = former.starts;
    }
}
