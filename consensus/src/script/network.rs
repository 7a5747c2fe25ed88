//! Connections between pairs of nodes, and the frames under way on them.
//!
//! A connection is TCP's: frames arrive once and in order, or the connection breaks. A break loses
//! what was under way, and each end may notice it at a different time. Frames of broken connections
//! are kept for a while, so that a script can deliver them late and see them ignored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{Generation, NodeId};

/// How many late frames are kept in each direction.
const LATE_FRAMES_MAX: usize = 64;

/// A message on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Frame<M> {
    pub(crate) generation: Generation,
    pub(crate) message: M,
}

/// All connections of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Network<M> {
    /// The last connection of each pair, the smaller number first, and whether it is intact.
    connections: BTreeMap<(NodeId, NodeId), (Generation, bool)>,
    /// Pairs that can not connect.
    blocked: BTreeSet<(NodeId, NodeId)>,
    /// Directions in which frames wait.
    held: BTreeSet<(NodeId, NodeId)>,
    queues: BTreeMap<(NodeId, NodeId), VecDeque<Frame<M>>>,
    late: BTreeMap<(NodeId, NodeId), VecDeque<Frame<M>>>,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl<M> Network<M> {
    pub(crate) fn new() -> Self {
        Self {
            connections: BTreeMap::new(),
            blocked: BTreeSet::new(),
            held: BTreeSet::new(),
            queues: BTreeMap::new(),
            late: BTreeMap::new(),
        }
    }

    /// Whether the pair has an intact connection.
    pub(crate) fn connected(&self, a: NodeId, b: NodeId) -> bool {
        self.connections.get(&pair(a, b)).is_some_and(|&(_, intact)| intact)
    }

    /// Opens a new connection, unless there is one or the pair is blocked. Returns its number.
    pub(crate) fn connect(&mut self, a: NodeId, b: NodeId) -> Option<Generation> {
        if self.connected(a, b) || self.blocked.contains(&pair(a, b)) {
            return None;
        }
        let generation =
            self.connections.get(&pair(a, b)).map_or(Generation(1), |&(last, _)| last.next());
        self.connections.insert(pair(a, b), (generation, true));
        Some(generation)
    }

    /// Breaks the connection of a pair. Returns its number if there was one.
    pub(crate) fn break_connection(&mut self, a: NodeId, b: NodeId) -> Option<Generation> {
        let (generation, intact) = self.connections.get_mut(&pair(a, b))?;
        std::mem::take(intact).then_some(*generation)
    }

    /// The number of the last connection of a pair, zero when there was none.
    pub(crate) fn last_generation(&self, a: NodeId, b: NodeId) -> Generation {
        self.connections.get(&pair(a, b)).map_or(Generation(0), |&(last, _)| last)
    }

    pub(crate) fn block(&mut self, a: NodeId, b: NodeId) {
        self.blocked.insert(pair(a, b));
    }

    pub(crate) fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    pub(crate) fn hold(&mut self, from: NodeId, to: NodeId) {
        self.held.insert((from, to));
    }

    pub(crate) fn release(&mut self, from: NodeId, to: NodeId) {
        self.held.remove(&(from, to));
    }

    pub(crate) fn is_held(&self, from: NodeId, to: NodeId) -> bool {
        self.held.contains(&(from, to))
    }

    /// Puts a frame on its way. Returns false, and keeps it as a late one, when its connection is
    /// not intact any more.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, frame: Frame<M>) -> bool {
        if self.connections.get(&pair(from, to)) == Some(&(frame.generation, true)) {
            self.queues.entry((from, to)).or_default().push_back(frame);
            true
        } else {
            self.keep_late(from, to, frame);
            false
        }
    }

    /// The next frame in a direction, if it belongs to this connection.
    pub(crate) fn receive(
        &mut self,
        from: NodeId,
        to: NodeId,
        generation: Generation,
    ) -> Option<Frame<M>> {
        let queue = self.queues.get_mut(&(from, to))?;
        queue.pop_front_if(|frame| frame.generation == generation)
    }

    /// The frames under way in a direction.
    pub(crate) fn under_way(&self, from: NodeId, to: NodeId) -> impl Iterator<Item = &Frame<M>> {
        self.queues.get(&(from, to)).into_iter().flatten()
    }

    /// The directions in which frames are under way, in order.
    pub(crate) fn busy(&self) -> Vec<(NodeId, NodeId)> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(&key, _)| key).collect()
    }

    /// The receiver will read nothing more of this connection: its frames can only be late now.
    /// Returns references to what was lost.
    pub(crate) fn lose(&mut self, from: NodeId, to: NodeId, generation: Generation) -> Vec<M>
    where
        M: Clone,
    {
        let mut lost = Vec::new();
        while let Some(frame) = self.receive(from, to, generation) {
            lost.push(frame.message.clone());
            self.keep_late(from, to, frame);
        }
        lost
    }

    /// Takes the frames of broken connections in a direction.
    pub(crate) fn take_late(&mut self, from: NodeId, to: NodeId) -> VecDeque<Frame<M>> {
        self.late.remove(&(from, to)).unwrap_or_default()
    }

    fn keep_late(&mut self, from: NodeId, to: NodeId, frame: Frame<M>) {
        let late = self.late.entry((from, to)).or_default();
        late.push_back(frame);
        if late.len() > LATE_FRAMES_MAX {
            late.pop_front();
        }
    }
}
