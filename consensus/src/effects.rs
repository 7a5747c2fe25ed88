//! What goes into a protocol and what comes out of it: the boundary between the pure core and the
//! world.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Entry, Event, Generation, Index, NodeId, PersistSequence, Position, Standing, Term, Time, Token,
};

/// One thing that happened, told to the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<M> {
    /// A timer fired. The driver sends this at or after the deadline that the effects named; a test
    /// or a teacher may fire any timer at any time.
    Timer(Timer),
    /// A connection to a peer is up, in both directions.
    PeerConnected {
        /// The peer.
        peer: NodeId,
        /// The number of the new connection, larger than every earlier one to this peer.
        generation: Generation,
        /// The peer's standing, for as long as the connection lasts. A voter that comes as an observer
        /// has lost its memory: what it was counted for before is not counted any more, while the
        /// size of a quorum stays. A peer that is no voter is an observer, whatever this says.
        standing: Standing,
    },
    /// A connection to a peer broke.
    PeerLost {
        /// The peer.
        peer: NodeId,
        /// The connection that broke; a newer one may already be up.
        generation: Generation,
    },
    /// A message of a peer. Within one generation messages arrive once and in order.
    Received {
        /// The sender.
        peer: NodeId,
        /// The connection it came by.
        generation: Generation,
        /// What the peer says.
        message: M,
    },
    /// Replicate a command. There is no answer on success: the command is delivered, and the layer
    /// above knows its own by what it wrote into it. [`Answer::Refused`] when it was not appended;
    /// that is then the first answer of the step. Refusals of other tokens may follow it, because a
    /// proposal may be what ends a reign: in ZAB the one that the counter of the epoch has no zxid
    /// left for.
    Propose {
        /// The caller's name for the proposal.
        token: Token,
        /// The command, opaque to the protocol.
        command: Bytes,
    },
    /// Ask for a position that includes everything committed before now, confirmed by a quorum:
    /// a linearizable read once it is applied.
    ReadBarrier {
        /// The caller's name for the barrier.
        token: Token,
    },
    /// ZooKeeper's `sync`: as [`Input::ReadBarrier`], but on the leader's word alone. A deposed
    /// leader that does not know it yet answers with a stale position (ZOOKEEPER-1675).
    Sync {
        /// The caller's name for the request.
        token: Token,
    },
    /// Hand the leader's office over to another voter (Raft thesis §3.10; ZAB's HANDOVER). The leader
    /// takes no proposals meanwhile, for an election timeout at most. It is answered once, with
    /// [`Answer::Refused`], [`Answer::HandedOver`] or [`Answer::TransferFailed`].
    TransferLeadership {
        /// The caller's name for the request.
        token: Token,
        /// The successor; `None` for the most advanced voter that is connected.
        to: Option<NodeId>,
    },
    /// Everything up to this number is durable.
    Persisted(PersistSequence),
    /// The layer above has applied everything up to this index.
    Applied(Index),
    /// The layer above holds the effects of all entries up to here durably, and they are far enough
    /// behind: the log may forget them.
    Compact(Index),
    /// A snapshot came from a peer as a whole and is durable, beside what this node holds. Whether it
    /// takes effect is for the protocol to say: it does if a [`Persist`] of the same round has it to
    /// install, and is of no use otherwise.
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
    /// A snapshot to a peer has ended: the peer has dealt with it, or it broke off, some time ago.
    SnapshotEnded {
        /// The peer.
        peer: NodeId,
        /// The connection that it went with.
        generation: Generation,
    },
    /// The entries that a [`Fetch`] asked for; at least the first of them, in order, without gaps.
    Fetched {
        /// Why they were fetched.
        purpose: FetchPurpose,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// This node counts from now on: its standing rises from [`Standing::Observer`] to
    /// [`Standing::Voter`], and never falls again. It is one of the voters, and whoever says this knows
    /// that it has forgotten nothing: it holds whatever it was sent since the cluster was formed, which
    /// may be nothing at all. What its peers think of it changes with their next connection to it.
    BecomeVoter,
    /// The driver has no more input just now: what accumulated is turned into as few writes and
    /// frames as possible. Every series of inputs ends with a flush; nothing else may be lost by a
    /// late one but time.
    Flush,
}

/// The timers of both protocols. Each protocol uses those that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The leader was silent for the election timeout (follower), or a campaign came to nothing
    /// (candidate, LOOKING).
    Election,
    /// It is time for the leader to send a sign of life.
    Heartbeat,
    /// It is time for the leader to check that a quorum still answers it.
    Quorum,
    /// ZAB: the short wait for a better vote after a quorum agrees.
    Finalize,
    /// ZAB: an election, discovery or synchronization phase took too long.
    Phase,
    /// The leader did not get to hand over its office in time.
    Transfer,
}

impl Timer {
    /// The timer's name in scripts and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Election => "election",
            Self::Heartbeat => "heartbeat",
            Self::Quorum => "quorum",
            Self::Finalize => "finalize",
            Self::Phase => "phase",
            Self::Transfer => "transfer",
        }
    }

    /// The timer of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Election, Self::Heartbeat, Self::Quorum, Self::Finalize, Self::Phase, Self::Transfer]
            .into_iter()
            .find(|timer| timer.name() == name)
    }
}

/// Everything that one or more steps ask of the driver. The driver owns the buffer, clears it
/// between rounds, and carries out the parts in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<M> {
    /// Writes to the log, to be made durable in order.
    pub persists: Vec<Persist>,
    /// Messages, each to be sent once its `after` is durable. Messages with equal tags leave in the
    /// order given; a message may overtake one that waits for a larger tag.
    pub messages: Vec<Outbound<M>>,
    /// A snapshot that is durable and takes the place of what the layer above holds, before any of
    /// the deliveries.
    pub install: Option<Snapshot>,
    /// Committed entries, each once, in order, without gaps but for what an install replaced.
    pub deliveries: Vec<Entry>,
    /// Peers that need a snapshot, because entries that they lack were forgotten.
    pub snapshots: Vec<SnapshotOffer<M>>,
    /// Entries wanted from the log on disk because they left the memory tail.
    pub fetches: Vec<Fetch>,
    /// Changes of leadership, in order.
    pub leadership: Vec<Leadership>,
    /// Answers to tokens.
    pub answers: Vec<Answer>,
    /// What happened, in the one vocabulary that logs, traces and transcripts share.
    pub events: Vec<Event>,
    /// The earliest timer and when it is due; `None` when no timer runs. Always current after a step.
    pub deadline: Option<(Time, Timer)>,
}

impl Snapshot {
    /// Whether the terms are those of a log that ends at the position.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let first = self.terms.keys().next() == Some(&Index(1));
        let last = self.terms.last_key_value();
        let mut before = Term(0);
        let ascending = self.terms.values().all(|&term| {
            let ascends = term > before;
            before = term;
            ascends
        });
        first
            && ascending
            && last.is_some_and(|(&first, &term)| {
                first <= self.position.index && term == self.position.term
            })
    }
}

impl<M> Default for Effects<M> {
    fn default() -> Self {
        Self {
            persists: Vec::new(),
            messages: Vec::new(),
            install: None,
            deliveries: Vec::new(),
            snapshots: Vec::new(),
            fetches: Vec::new(),
            leadership: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
            deadline: None,
        }
    }
}

impl<M> Effects<M> {
    /// Empties the buffer for the next round, keeping its memory and the deadline.
    pub fn clear(&mut self) {
        self.persists.clear();
        self.messages.clear();
        self.install = None;
        self.deliveries.clear();
        self.snapshots.clear();
        self.fetches.clear();
        self.leadership.clear();
        self.answers.clear();
        self.events.clear();
    }
}

/// A peer needs a snapshot. The driver streams what the layer above holds, on a connection of its
/// own, so that signs of life never wait behind it, and reports its end with
/// [`Input::SnapshotEnded`]: when the peer has dealt with it, or, if it failed, after a pause, because
/// it may be offered again at once.
///
/// What is streamed must hold everything that the log has forgotten, so it waits for a snapshot
/// that is being installed here. A newer offer to the same peer takes the place of an older one, whose
/// end is not reported any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotOffer<M> {
    /// The peer.
    pub to: NodeId,
    /// What the protocol says with it; the receiving protocol gets it with the snapshot.
    pub message: M,
}

/// The state at one position, instead of the log that led there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The last entry whose effects it holds.
    pub position: Position,
    /// The index of the first entry of each term or epoch up to the position, in order: histories
    /// that part are told apart by it.
    pub terms: BTreeMap<Index, Term>,
    /// The driver's own number of the received state; opaque to the protocols.
    pub handle: u64,
}

/// One atomic write to the log: after a crash either all of it is there or none.
///
/// Promises and entries share one ordered stream (openraft's `io_ordering`: reordering them loses
/// committed data). The parts take effect in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Persist {
    /// The number of the write; dense, in order.
    pub sequence: PersistSequence,
    /// Replace the whole log by this snapshot.
    pub install: Option<Snapshot>,
    /// Forget the entries up to here: their effects are durable elsewhere. Never beyond the commit
    /// position.
    pub compact_to: Option<Index>,
    /// Remove the entry with this index and all after it.
    pub truncate_from: Option<Index>,
    /// Entries to append, continuing the log without a gap.
    pub entries: Vec<Entry>,
    /// The protocol's promise (Raft: term and vote; ZAB: acceptedEpoch and currentEpoch), replacing
    /// the former one.
    pub promise: Option<Bytes>,
    /// The commit position known when this was written. It rides along so that a restart knows what
    /// may be applied at once; it is a hint, and never ahead of the entries.
    pub commit: Index,
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outbound<M> {
    /// The receiver.
    pub to: NodeId,
    /// What must be durable before the message leaves; zero for nothing.
    pub after: PersistSequence,
    /// What to say.
    pub message: M,
}

/// Entries wanted from the log on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Why; comes back with the entries.
    pub purpose: FetchPurpose,
    /// The first entry wanted.
    pub first: Index,
    /// The last entry wanted.
    pub last: Index,
    /// Stop after this many bytes, but return at least one entry.
    pub bytes_max: usize,
}

/// Why entries are fetched from disk. Each purpose has at most one fetch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchPurpose {
    /// To be sent to this peer, which lags behind the memory tail.
    Replicate(NodeId),
    /// To be delivered here: they were committed after they left the memory tail.
    Deliver,
}

/// What the layer above may know of leadership, and its only source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Leadership {
    /// No leader is known.
    #[default]
    None,
    /// Another node leads.
    Following {
        /// The leader.
        leader: NodeId,
        /// Its term or epoch.
        term: Term,
    },
    /// This node leads and takes proposals.
    Established {
        /// Its term or epoch.
        term: Term,
    },
}

impl Leadership {
    /// The term or epoch of the known leader.
    #[must_use]
    pub fn term(self) -> Option<Term> {
        match self {
            Self::None => None,
            Self::Following { term, .. } | Self::Established { term } => Some(term),
        }
    }
}

/// The answer to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A barrier or sync is complete: a read is as fresh as asked for once this index is applied.
    Barrier {
        /// The token of the request.
        token: Token,
        /// The index to wait for.
        index: Index,
    },
    /// The request was refused, and certainly had no effect.
    Refused {
        /// The token of the request.
        token: Token,
        /// Why.
        reason: Refusal,
    },
    /// This node has given up its office for a successor. Who leads next, and that is nearly always
    /// the successor, [`Leadership`] tells.
    HandedOver {
        /// The token of the request.
        token: Token,
        /// The successor.
        to: NodeId,
    },
    /// The office could not be handed over in time: this node leads on and takes proposals again. The
    /// successor may have been told already and yet campaign (Raft).
    TransferFailed {
        /// The token of the request.
        token: Token,
    },
}

impl Answer {
    /// The token of the request that this answers.
    #[must_use]
    pub fn token(&self) -> Token {
        let (Self::Barrier { token, .. }
        | Self::Refused { token, .. }
        | Self::HandedOver { token, .. }
        | Self::TransferFailed { token }) = *self;
        token
    }
}

/// Why a request was refused. All are definite: nothing was appended, nothing was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This node does not lead, or no longer does.
    NotLeader,
    /// Too much is already waiting for a quorum.
    Overloaded,
    /// The leader has not committed an entry of its own term yet (Raft §8).
    NotReady,
    /// The leader is handing over its office: it takes no proposals until that is done or has failed,
    /// and no second transfer.
    Transferring,
    /// Nobody can take over: the one asked for is no other voter, or is not connected.
    NoSuccessor,
}
