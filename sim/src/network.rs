//! Connections between pairs of nodes.
//!
//! A connection is TCP's: what comes out of it comes once and in order, or it breaks. When it does,
//! what is under way in a direction is lost or still arrives, and each end notices at its own time;
//! a newer connection may be up by then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::{NodeId, Time};

use crate::agenda::Life;

/// The number of a connection in the whole cluster. The nodes know it by numbers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

#[derive(Clone, Debug)]
struct Connection {
    ends: [Life; 2],
    broken: bool,
    /// By the receiver: when the last thing arrives, and whether frames under way are lost.
    directions: BTreeMap<NodeId, Direction>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    last_arrival: Time,
    lost: bool,
}

/// All connections of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    /// The last connection of each pair, the smaller number first.
    latest: BTreeMap<(NodeId, NodeId), ConnectionId>,
    /// The intact connections that carry a snapshot, beside the others.
    streams: BTreeSet<ConnectionId>,
    made: u64,
    /// Pairs that can not connect, and in which partition that is so.
    blocked: BTreeSet<(NodeId, NodeId)>,
    /// Directions in which nothing arrives before a moment.
    stalled: BTreeMap<(NodeId, NodeId), Time>,
    /// Directions that are slower by so much before a moment.
    slowed: BTreeMap<(NodeId, NodeId), (Time, Duration)>,
}

pub(crate) fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl Network {
    /// The intact connection of a pair.
    pub(crate) fn intact(&self, a: NodeId, b: NodeId) -> Option<ConnectionId> {
        let id = *self.latest.get(&pair(a, b))?;
        (!self.connections[&id].broken).then_some(id)
    }

    pub(crate) fn is_blocked(&self, a: NodeId, b: NodeId) -> bool {
        self.blocked.contains(&pair(a, b))
    }

    pub(crate) fn connect(&mut self, a: Life, b: Life) -> ConnectionId {
        let id = self.add(a, b);
        self.latest.insert(pair(a.node, b.node), id);
        id
    }

    /// A connection for a snapshot.
    pub(crate) fn connect_stream(&mut self, a: Life, b: Life) -> ConnectionId {
        let id = self.add(a, b);
        self.streams.insert(id);
        id
    }

    fn add(&mut self, a: Life, b: Life) -> ConnectionId {
        self.made += 1;
        let id = ConnectionId(self.made);
        let directions = [(a.node, Direction::default()), (b.node, Direction::default())].into();
        self.connections.insert(id, Connection { ends: [a, b], broken: false, directions });
        id
    }

    /// The intact connections that carry a snapshot.
    pub(crate) fn streams(&self) -> Vec<ConnectionId> {
        self.streams.iter().copied().collect()
    }

    /// The two ends of a connection.
    pub(crate) fn ends(&self, id: ConnectionId) -> [Life; 2] {
        self.connections[&id].ends
    }

    /// The life of an end of a connection.
    pub(crate) fn end(&self, id: ConnectionId, node: NodeId) -> Option<Life> {
        self.connections[&id].ends.into_iter().find(|end| end.node == node)
    }

    /// When something that could arrive at `earliest` does, behind all that is on the way before it;
    /// `None` when it is lost.
    pub(crate) fn arrival(
        &mut self,
        id: ConnectionId,
        from: NodeId,
        to: NodeId,
        earliest: Time,
    ) -> Option<Time> {
        let earliest = self.overtaking(from, to, earliest);
        let connection = self.connections.get_mut(&id).expect("connections are never forgotten");
        if connection.broken {
            return None;
        }
        let direction = connection.directions.get_mut(&to).expect("a connection has two ends");
        direction.last_arrival = direction.last_arrival.max(earliest);
        Some(direction.last_arrival)
    }

    /// When something that could arrive at `earliest` does, whatever is on the way before it.
    pub(crate) fn overtaking(&self, from: NodeId, to: NodeId, earliest: Time) -> Time {
        let stalled = self.stalled.get(&(from, to)).copied().unwrap_or_default();
        let slowed = self.slowed.get(&(from, to)).filter(|(until, _)| earliest < *until);
        slowed.map_or(earliest, |(_, by)| earliest + *by).max(stalled)
    }

    /// Whether the connection broke, though an end may not have noticed.
    pub(crate) fn is_broken(&self, id: ConnectionId) -> bool {
        self.connections[&id].broken
    }

    /// Whether what is on the way to this end is lost.
    pub(crate) fn loses(&self, id: ConnectionId, to: NodeId) -> bool {
        self.connections[&id].directions[&to].lost
    }

    /// Breaks the connection of a pair. `lost` says of each end, the smaller number first, whether
    /// what is under way to it is lost. Returns the connection, and when each end has everything
    /// that still arrives.
    pub(crate) fn break_connection(
        &mut self,
        a: NodeId,
        b: NodeId,
        lost: [bool; 2],
    ) -> Option<(ConnectionId, [(NodeId, Time); 2])> {
        let id = self.intact(a, b)?;
        Some((id, self.break_off(id, lost)))
    }

    /// Breaks a connection; see [`Self::break_connection`].
    pub(crate) fn break_off(&mut self, id: ConnectionId, lost: [bool; 2]) -> [(NodeId, Time); 2] {
        self.streams.remove(&id);
        let connection = self.connections.get_mut(&id).expect("connections are never forgotten");
        connection.broken = true;
        let (a, b) = pair(connection.ends[0].node, connection.ends[1].node);
        [(a, lost[0]), (b, lost[1])].map(|(node, lost)| {
            let direction = connection.directions.get_mut(&node).expect("two ends");
            direction.lost = lost;
            (node, if lost { Time(0) } else { direction.last_arrival })
        })
    }

    pub(crate) fn block(&mut self, a: NodeId, b: NodeId) {
        self.blocked.insert(pair(a, b));
    }

    pub(crate) fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    /// Nothing arrives in this direction before a moment.
    pub(crate) fn stall(&mut self, from: NodeId, to: NodeId, until: Time) {
        self.stalled.insert((from, to), until);
    }

    /// Everything takes longer in this direction before a moment.
    pub(crate) fn slow(&mut self, from: NodeId, to: NodeId, until: Time, by: Duration) {
        self.slowed.insert((from, to), (until, by));
    }

    /// Nothing is stalled or slow any more.
    pub(crate) fn quicken_all(&mut self) {
        self.stalled.clear();
        self.slowed.clear();
    }
}
