//! Connections between pairs of nodes, and the frames under way on them.
//!
//! A connection is TCP's: frames arrive once and in order, or the connection breaks. A break loses
//! what was under way, and each end may notice it at a different time. Frames of broken connections
//! are kept for a while, so that a script can deliver them late and see them ignored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::{Generation, NodeId, Time};

/// How many late frames are kept in each direction.
const LATE_FRAMES_MAX: usize = 64;

/// A message on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Frame<M> {
    pub(crate) generation: Generation,
    /// It does not arrive before.
    pub(crate) due: Time,
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
    /// Directions in which nothing arrives until everything is healed.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Directions in which everything takes so much longer.
    delays: BTreeMap<(NodeId, NodeId), Duration>,
    queues: BTreeMap<(NodeId, NodeId), VecDeque<Frame<M>>>,
    late: BTreeMap<(NodeId, NodeId), VecDeque<Frame<M>>>,
    /// Frames of broken connections that come behind the first one of the next connection.
    overtaken: BTreeMap<(NodeId, NodeId), Frame<M>>,
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
            cut: BTreeSet::new(),
            delays: BTreeMap::new(),
            queues: BTreeMap::new(),
            late: BTreeMap::new(),
            overtaken: BTreeMap::new(),
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

    /// From now on everything takes so much longer in a direction, besides what it takes already.
    pub(crate) fn delay(&mut self, from: NodeId, to: NodeId, by: Duration) {
        *self.delays.entry((from, to)).or_default() += by;
    }

    /// Nothing arrives in a direction from now on.
    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Ends what was cut or delayed; what is on its way through a delay keeps its time.
    pub(crate) fn mend_all(&mut self) {
        self.cut.clear();
        self.delays.clear();
    }

    pub(crate) fn hold(&mut self, from: NodeId, to: NodeId) {
        self.held.insert((from, to));
    }

    pub(crate) fn release(&mut self, from: NodeId, to: NodeId) {
        self.held.remove(&(from, to));
    }

    pub(crate) fn is_held(&self, from: NodeId, to: NodeId) -> bool {
        self.held.contains(&(from, to)) || self.cut.contains(&(from, to))
    }

    /// Puts a frame on its way. Returns false, and keeps it as a late one, when its connection is
    /// not intact any more.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, mut frame: Frame<M>) -> bool {
        if self.connections.get(&pair(from, to)) == Some(&(frame.generation, true)) {
            let delay = self.delays.get(&(from, to)).copied().unwrap_or_default();
            let queue = self.queues.entry((from, to)).or_default();
            let due = frame.due + delay;
            frame.due = queue.back().map_or(due, |before| before.due.max(due));
            queue.push_back(frame);
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

    /// The directions in which frames are under way that may arrive by now, in order.
    pub(crate) fn busy(&self, now: Time) -> Vec<(NodeId, NodeId)> {
        let fronts = self.queues.iter().filter_map(|(&key, queue)| Some((key, queue.front()?)));
        fronts.filter(|(_, frame)| frame.due <= now).map(|(key, _)| key).collect()
    }

    /// When the next frame may arrive that may not yet.
    pub(crate) fn next_arrival(&self, now: Time) -> Option<Time> {
        let fronts = self.queues.values().filter_map(VecDeque::front);
        fronts.map(|frame| frame.due).filter(|&due| due > now).min()
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

    /// A frame of a broken connection comes behind the first one of the next connection. One waits in
    /// each direction; an earlier one is as any other late frame from now on.
    pub(crate) fn overtake(&mut self, from: NodeId, to: NodeId, frame: Frame<M>) {
        if let Some(former) = self.overtaken.insert((from, to), frame) {
            self.keep_late(from, to, former);
        }
    }

    /// Takes the frame that comes behind the one that has just arrived.
    pub(crate) fn take_overtaken(&mut self, from: NodeId, to: NodeId) -> Option<Frame<M>> {
        self.overtaken.remove(&(from, to))
    }

    fn keep_late(&mut self, from: NodeId, to: NodeId, frame: Frame<M>) {
        let late = self.late.entry((from, to)).or_default();
        late.push_back(frame);
        if late.len() > LATE_FRAMES_MAX {
            late.pop_front();
        }
    }
}
