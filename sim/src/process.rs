//! A process that runs on a node, with what the server has threads for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::invariants::{Durability, LATE, changes_nothing};
use consensus::{
    Consensus, Entry, Generation, Input, NodeId, Now, Persist, PersistSequence, Pledge, Time,
    Violation,
};
use kvcore::replica::{PeerMessage, Replica, ReplicaEffects, ReplicaInput};
use kvcore::store::StoreBatch;
use kvcore::{Machine, RequestId};
use storage::{Wal, WalReader};

use crate::agenda::Life;
use crate::disk::NodeDisk;
use crate::history::OperationId;
use crate::network::ConnectionId;
use crate::ranges::RangeRead;
use crate::snapshots::Snapshots;
use crate::store::SimulatedStore;
use crate::trace::fold;

/// A running process: the replica and everything around it that the server has threads for.
pub(crate) struct Process<C: Consensus> {
    pub(crate) life: Life,
    pub(crate) replica: Replica<C>,
    pub(crate) effects: ReplicaEffects<C::Message>,
    pub(crate) inbox: VecDeque<ReplicaInput<C::Message>>,
    /// When the loop is going to look at its inbox and timers.
    pub(crate) wake_at: Option<Time>,
    /// When something is planned that makes the loop look; too early when an earlier look has put it off.
    pub(crate) looks: BTreeSet<Time>,
    pub(crate) log: LogWriter,
    pub(crate) reader: WalReader<NodeDisk>,
    pub(crate) machine: Machine<SimulatedStore>,
    pub(crate) unapplied: VecDeque<Entry>,
    pub(crate) applying: bool,
    pub(crate) flushing: Option<StoreBatch>,
    pub(crate) snapshots: Snapshots,
    /// The connections that the loop knows to be up.
    peers: BTreeMap<NodeId, Generation>,
    /// The numbers that this process gave to connections, and the other way round.
    pub(crate) generations: BTreeMap<ConnectionId, Generation>,
    pub(crate) connections: BTreeMap<Generation, ConnectionId>,
    pub(crate) generations_given: Generation,
    pub(crate) requests: BTreeMap<RequestId, OperationId>,
    pub(crate) requests_taken: u64,
    /// Ranges that are being read.
    pub(crate) reads: BTreeMap<RequestId, RangeRead>,
}

/// The log writer: one batch at a time, of everything that waits.
pub(crate) struct LogWriter {
    pub(crate) wal: Wal<NodeDisk>,
    pub(crate) waiting: VecDeque<Persist>,
    pub(crate) writing: Vec<Persist>,
    pub(crate) durable: PersistSequence,
    pub(crate) law: Durability,
    /// Messages that wait for a write.
    pub(crate) held: BTreeMap<PersistSequence, Vec<Outgoing>>,
}

/// An encoded message with the connection that was up when it was emitted.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: NodeId,
    pub(crate) connection: ConnectionId,
    pub(crate) frame: Bytes,
    /// The message's name, and how many messages of the papers it is.
    pub(crate) counts: (&'static str, u64),
    /// What it promises by what it says.
    pub(crate) pledge: Pledge,
    /// The message in words, when a transcript is written.
    pub(crate) text: String,
    /// Whether it goes without order and certainty.
    pub(crate) is_datagram: bool,
}

impl<C: Consensus> Process<C> {
    pub(crate) fn new(
        life: Life,
        replica: Replica<C>,
        log: LogWriter,
        reader: WalReader<NodeDisk>,
        machine: Machine<SimulatedStore>,
    ) -> Self {
        Self {
            life,
            replica,
            effects: ReplicaEffects::default(),
            inbox: VecDeque::new(),
            wake_at: None,
            looks: BTreeSet::new(),
            log,
            reader,
            machine,
            unapplied: VecDeque::new(),
            applying: false,
            flushing: None,
            snapshots: Snapshots::default(),
            peers: BTreeMap::new(),
            generations: BTreeMap::new(),
            connections: BTreeMap::new(),
            generations_given: Generation(0),
            requests: BTreeMap::new(),
            requests_taken: 0,
            reads: BTreeMap::new(),
        }
    }

    /// The connection to a peer on which a message leaves that is emitted now.
    pub(crate) fn connection(&self, peer: NodeId) -> Option<ConnectionId> {
        self.peers.get(&peer).map(|generation| self.connections[generation])
    }

    /// The number of the connection to a peer that is up now.
    pub(crate) fn generation(&self, peer: NodeId) -> Option<Generation> {
        self.peers.get(&peer).copied()
    }

    /// The loop is about to take a frame: one of a connection that it has given up must change nothing.
    pub(crate) fn ignores_late(
        &self,
        now: Now,
        input: &ReplicaInput<C::Message>,
    ) -> Result<(), Violation> {
        let ReplicaInput::Received { peer, generation, message } = input else { return Ok(()) };
        if self.peers.get(peer) == Some(generation) {
            return Ok(());
        }
        if let PeerMessage::Consensus(message) = message {
            let (peer, generation, message) = (*peer, *generation, message.clone());
            let input = Input::Received { peer, generation, message };
            return changes_nothing(self.life.node, self.replica.core(), now, input);
        }
        let (mut after, mut effects) = (self.replica.clone(), ReplicaEffects::default());
        after.step(now, input.clone(), &mut effects);
        let is_quiet = effects.conclusions.is_empty() && effects.messages.is_empty();
        if is_quiet && fold(&after) == fold(&self.replica) {
            return Ok(());
        }
        Err(Violation::new(LATE, format!("{} takes {input:?}", self.life.node)))
    }

    /// The loop is about to hear that a connection came or went. What was said to that peer earlier
    /// in the same round belongs to the connection before, and is dropped.
    pub(crate) fn notice_connection(
        &mut self,
        input: &ReplicaInput<C::Message>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let changed = match *input {
            ReplicaInput::PeerConnected { peer, generation, .. } => {
                self.peers.insert(peer, generation);
                peer
            }
            ReplicaInput::PeerLost { peer, generation }
                if self.peers.get(&peer) == Some(&generation) =>
            {
                self.peers.remove(&peer);
                self.snapshots.holds.lost(peer);
                peer
            }
            _ => return,
        };
        effects.consensus.messages.retain(|outbound| outbound.to != changed);
        effects.consensus.snapshots.retain(|offer| offer.to != changed);
        effects.messages.retain(|&(to, _)| to != changed);
    }
}

impl LogWriter {
    pub(crate) fn new(wal: Wal<NodeDisk>, law: Durability) -> Self {
        Self {
            wal,
            waiting: VecDeque::new(),
            writing: Vec::new(),
            durable: PersistSequence(0),
            law,
            held: BTreeMap::new(),
        }
    }
}
