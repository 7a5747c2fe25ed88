//! Virtual time, and what is going to happen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Fetch, NodeId, Time};
use kvcore::RequestId;

use crate::client::ClientId;
use crate::faults::{Scene, Step};
use crate::history::{OperationId, OperationResult};
use crate::network::ConnectionId;
use crate::snapshots::{OfferId, Part};

/// One start of one node. Whatever was under way in an earlier life concerns nobody any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) number: u64,
}

/// What comes out of a connection at one end.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// The connection is up.
    Up,
    /// A frame of the other end.
    Frame(Bytes),
    /// The connection broke.
    Down,
}

/// One thing that is going to happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A node's loop has something to do, or a timer is due.
    Wake(Life),
    /// The log writer's present batch is done.
    LogWritten(Life),
    /// The applier takes the next entries.
    Apply(Life),
    /// The log reader has found what was asked for.
    Fetched(Life, Fetch),
    /// The store's flusher looks whether there is something to write.
    FlushStore(Life),
    /// The flusher's present batch is done.
    StoreWritten(Life),
    /// Something comes out of a connection.
    Arrive { connection: ConnectionId, from: NodeId, to: NodeId, item: Item },
    /// A frame of a connection that is gone turns up.
    Late { to: Life, connection: ConnectionId, from: NodeId, frame: Bytes },
    /// Two nodes without a connection try to make one.
    Dial(NodeId, NodeId),
    /// A client's request reaches a node.
    Request { node: NodeId, operation: OperationId },
    /// A request handler reads from the state machine.
    Serve { life: Life, request: RequestId },
    /// A request handler goes on with a range that it reads in steps.
    ReadOn { life: Life, request: RequestId },
    /// An answer reaches a client.
    Reply { operation: OperationId, result: Box<OperationResult> },
    /// A client does something.
    ClientTurn(ClientId),
    /// A client's patience may have ended.
    Patience(ClientId),
    /// A watcher pulls.
    WatchTurn(usize),
    /// The faults of this moment.
    Faults,
    /// A fault that something else brought with it.
    Fault(Box<(Step, Scene)>),
    /// A node that is down starts.
    Restart(Life),
    /// A stopped process goes on.
    Resume { node: NodeId, pause: u64 },
    /// A node dials the peer that a snapshot is for.
    Stream(OfferId),
    /// The sender of a snapshot sends the next part.
    SendPart(OfferId, ConnectionId),
    /// Something comes out of a connection that carries a snapshot.
    ArrivePart { connection: ConnectionId, from: NodeId, to: NodeId, part: Part },
    /// The receiver of a snapshot is done with a part.
    TakePart(Life, ConnectionId),
    /// The pause after a snapshot that broke off is over.
    SnapshotOver(OfferId),
    /// A partition ends.
    HealPartition(u64),
    /// A slow part of a node is as fast as before.
    HealSlowness { node: NodeId, slowness: u64 },
    /// There is room again on a node's disk.
    HealFullness(NodeId),
}

impl Happening {
    /// The node in whose process it happens: nothing does while the process is stopped.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self {
            Self::Wake(life)
            | Self::LogWritten(life)
            | Self::Apply(life)
            | Self::Fetched(life, _)
            | Self::FlushStore(life)
            | Self::StoreWritten(life)
            | Self::Late { to: life, .. }
            | Self::TakePart(life, _)
            | Self::Serve { life, .. }
            | Self::ReadOn { life, .. } => Some(life.node),
            Self::Stream(offer) | Self::SendPart(offer, _) | Self::SnapshotOver(offer) => {
                Some(offer.from.node)
            }
            Self::Arrive { to: node, .. }
            | Self::ArrivePart { to: node, .. }
            | Self::Request { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// A number for the trace.
    pub(crate) fn code(&self) -> (u8, u64) {
        match self {
            Self::Wake(life) => (0, life.node.0),
            Self::LogWritten(life) => (1, life.node.0),
            Self::Apply(life) => (2, life.node.0),
            Self::Fetched(life, _) => (3, life.node.0),
            Self::FlushStore(life) => (4, life.node.0),
            Self::StoreWritten(life) => (5, life.node.0),
            Self::Arrive { to, .. } => (6, to.0),
            Self::Late { to, .. } => (7, to.node.0),
            Self::Dial(a, _) => (8, a.0),
            Self::Request { operation, .. } => (9, operation.0 as u64),
            Self::Serve { life, .. } => (10, life.node.0),
            Self::ReadOn { life, .. } => (27, life.node.0),
            Self::Reply { operation, .. } => (11, operation.0 as u64),
            Self::ClientTurn(client) => (12, client.0 as u64),
            Self::Patience(client) => (13, client.0 as u64),
            Self::WatchTurn(watcher) => (14, *watcher as u64),
            Self::Faults => (15, 0),
            Self::Fault(fault) => (20, u64::from(fault.0.number().0)),
            Self::Restart(life) => (16, life.node.0),
            Self::Resume { node, .. } => (17, node.0),
            Self::HealPartition(number) => (18, *number),
            Self::HealSlowness { node, .. } => (19, node.0),
            Self::HealFullness(node) => (21, node.0),
            Self::Stream(offer) => (22, offer.number),
            Self::SendPart(offer, _) => (23, offer.number),
            Self::ArrivePart { connection, .. } => (24, connection.0),
            Self::TakePart(_, connection) => (25, connection.0),
            Self::SnapshotOver(offer) => (26, offer.number),
        }
    }
}

/// The queue of everything that is going to happen, and the present time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    now: Time,
    /// Numbers the happenings, so that those of one moment come in the order of their planning.
    planned: u64,
    /// When, the how manieth that was planned, and its slot: the first comes out first.
    queue: BinaryHeap<Reverse<(Time, u64, usize)>>,
    slots: Vec<Option<Happening>>,
    /// The slots that are empty.
    free: Vec<usize>,
}

impl Agenda {
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Plans something after a while.
    pub(crate) fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// Plans something.
    pub(crate) fn at(&mut self, time: Time, happening: Happening) {
        assert!(time >= self.now, "nothing is planned for the past");
        self.planned += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(happening);
        self.queue.push(Reverse((time, self.planned, slot)));
    }

    /// Goes on to the next thing that happens, unless it is later than `until`: then time goes on to
    /// there, and nothing happens.
    pub(crate) fn next(&mut self, until: Time) -> Option<Happening> {
        if self.queue.peek().is_none_or(|Reverse((time, ..))| *time > until) {
            self.now = until;
            return None;
        }
        let Reverse((time, _, slot)) = self.queue.pop()?;
        self.now = time;
        self.free.push(slot);
        self.slots[slot].take()
    }
}
