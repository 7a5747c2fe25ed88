//! What goes into a replica and what comes out of it.

use bytes::Bytes;
#[cfg(doc)]
use consensus::Input;
use consensus::{
    Effects, Entry, FetchPurpose, Generation, Index, NodeId, PersistSequence, Snapshot, Standing,
    Time, Timer,
};

use super::{LeaseAnswer, LeaseQuestion, PeerMessage, ReplicaMessage};
#[cfg(doc)]
use crate::Envelope;
use crate::{Progress, RequestId};

/// One thing that happened, told to the replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaInput<M> {
    /// A timer that the effects named is due.
    Timer(ReplicaTimer),
    /// As [`Input::PeerConnected`].
    PeerConnected {
        /// The peer.
        peer: NodeId,
        /// The number of the new connection.
        generation: Generation,
        /// The peer's standing on it.
        standing: Standing,
    },
    /// As [`Input::BecomeVoter`].
    BecomeVoter,
    /// As [`Input::PeerLost`].
    PeerLost {
        /// The peer.
        peer: NodeId,
        /// The connection that broke.
        generation: Generation,
    },
    /// A message of a peer.
    Received {
        /// The sender.
        peer: NodeId,
        /// The connection it came by.
        generation: Generation,
        /// What the peer says.
        message: PeerMessage<M>,
    },
    /// A client's write.
    Write {
        /// The request; also in the envelope.
        request: RequestId,
        /// The encoded [`Envelope`].
        envelope: Bytes,
        /// When the client stops waiting.
        deadline: Time,
    },
    /// A client's read, which waits for a barrier.
    Read {
        /// The request.
        request: RequestId,
        /// Whether a quorum must confirm the barrier.
        confirmed: bool,
        /// When the client stops waiting.
        deadline: Time,
    },
    /// A client's question about a lease.
    Lease {
        /// The request.
        request: RequestId,
        /// What is asked.
        question: LeaseQuestion,
        /// When the client stops waiting.
        deadline: Time,
    },
    /// A client's wish that another node leads.
    Transfer {
        /// The request.
        request: RequestId,
        /// The successor; `None` leaves the choice to the leader.
        to: Option<NodeId>,
        /// When the client stops waiting.
        deadline: Time,
    },
    /// As [`Input::Persisted`].
    Persisted(PersistSequence),
    /// The state machine has applied everything up to here.
    Applied(Progress),
    /// As [`Input::Compact`].
    Compact(Index),
    /// As [`Input::SnapshotReceived`].
    SnapshotReceived {
        /// The peer.
        peer: NodeId,
        /// The connection that it came with.
        generation: Generation,
        /// The snapshot.
        snapshot: Snapshot,
        /// What the peer's protocol said with it.
        message: M,
    },
    /// As [`Input::SnapshotEnded`].
    SnapshotEnded {
        /// The peer.
        peer: NodeId,
        /// The connection that it went with.
        generation: Generation,
    },
    /// As [`Input::Fetched`].
    Fetched {
        /// Why.
        purpose: FetchPurpose,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// As [`Input::Flush`].
    Flush,
}

/// The timers of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplicaTimer {
    /// A timer of the protocol.
    Consensus(Timer),
    /// A request's time is up, or a barrier or a write is due for another attempt.
    Requests,
    /// A lease's time is over, or a checkpoint of some is due.
    Leases,
    /// A compaction is due, or a comparison of digests.
    Upkeep,
}

/// Everything that one or more steps ask of the driver.
#[derive(Clone, Debug)]
pub struct ReplicaEffects<M> {
    /// What the protocol asks for. Its answers and leadership changes were taken out: they concern
    /// the replica alone.
    pub consensus: Effects<M>,
    /// Messages to other replicas; they depend on nothing durable.
    pub messages: Vec<(NodeId, ReplicaMessage)>,
    /// Requests that came to an end.
    pub conclusions: Vec<(RequestId, Conclusion)>,
    /// The earliest timer and when it is due.
    pub deadline: Option<(Time, ReplicaTimer)>,
}

impl<M> Default for ReplicaEffects<M> {
    fn default() -> Self {
        Self {
            consensus: Effects::default(),
            messages: Vec::new(),
            conclusions: Vec::new(),
            deadline: None,
        }
    }
}

impl<M> ReplicaEffects<M> {
    /// Empties the buffer for the next round, keeping its memory and the deadline.
    pub fn clear(&mut self) {
        self.consensus.clear();
        self.messages.clear();
        self.conclusions.clear();
    }
}

/// How a request ended. A successful write has no conclusion: applying it answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conclusion {
    /// The state machine is now as fresh as the read asked for.
    ReadReady,
    /// Another node leads now, as was asked for.
    Transferred {
        /// The leader.
        leader: NodeId,
    },
    /// The leader answered a question about a lease.
    Lease(LeaseAnswer),
    /// The request did not succeed.
    Failed(Failure),
}

/// Why a request did not get its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No leader was known before the time ran out. Nothing happened.
    NoLeader,
    /// Too much is waiting. Nothing happened.
    Overloaded,
    /// The write was handed to a leader that lost its office before committing it, it is certain that
    /// nobody ever will, and no other leader took it in time. Nothing happened.
    LeaderChanged,
    /// The store is full, and the write would store more. Nothing happened.
    NoSpace,
    /// An alarm stands: replicas differ. Nothing happened.
    Corrupt,
    /// The time ran out after the write was handed over: it may or may not happen, or have happened.
    UnknownOutcome,
    /// A read found nobody who could confirm the leader in time.
    NoQuorum,
    /// The node is shutting down. Nothing happened.
    ShuttingDown,
    /// Leadership can not be transferred: the one asked for, or everybody else, is not connected to
    /// the leader or does not follow it yet. Nothing happened.
    NoSuccessor,
    /// The leader is handing over already. Nothing happened.
    TransferUnderWay,
    /// Leadership was not transferred in time, or to another node than was asked for.
    TransferFailed,
}

impl Failure {
    /// Whether it is certain that nothing happened and nothing will.
    #[must_use]
    pub fn is_definite(self) -> bool {
        self != Self::UnknownOutcome
    }
}
