//! The one vocabulary of what happens. Log lines, traces, transcripts and pages all come from it.

use std::fmt;

use crate::{Index, NodeId, Term};

/// Something worth telling a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// The node's role changed.
    RoleChanged {
        /// The new role, in the protocol's own word.
        role: &'static str,
        /// The phase within it, if any.
        phase: Option<&'static str>,
        /// The term or epoch it is in now.
        term: Term,
        /// The leader it knows, if any.
        leader: Option<NodeId>,
        /// Why, as a clause that ends a sentence: `no sign of life of n1 for 312 ms`.
        cause: String,
    },
    /// The leader is suspected to have failed.
    LeaderSuspected {
        /// The suspect.
        leader: NodeId,
        /// The evidence.
        cause: Suspicion,
    },
    /// This node votes (Raft), or now proposes this leader (ZAB).
    Voted {
        /// For whom.
        candidate: NodeId,
        /// In which term or election round.
        term: Term,
    },
    /// Entries that were never committed were removed from the end of the log.
    Truncated {
        /// The first index removed.
        from: Index,
        /// The last index before the removal.
        last: Index,
    },
    /// A peer was brought up to date by its leader.
    PeerSynchronized {
        /// The peer.
        peer: NodeId,
        /// By what means: `DIFF`, `TRUNC`, `TRUNC+DIFF`, `AppendEntries`.
        means: &'static str,
    },
    /// Entries up to here are committed.
    Committed {
        /// The last committed index.
        index: Index,
    },
    /// The leader was asked to hand over its office, and takes no proposals until that has ended.
    TransferBegun {
        /// The successor.
        to: NodeId,
    },
    /// The successor lacks nothing, and is told to take over.
    HandsOver {
        /// The successor.
        to: NodeId,
    },
    /// The office was not handed over: the leader leads on.
    TransferFailed {
        /// Who was to be the successor.
        to: NodeId,
        /// Why, as a clause that ends a sentence.
        cause: String,
    },
    /// At a leader: the first thing of its own reign is committed, and with it all that came before:
    /// the empty entry that opens a term (Raft), or NEWLEADER (ZAB).
    FirstCommit {
        /// The leader's term or epoch.
        term: Term,
        /// The last index committed by it.
        index: Index,
    },
    /// At a leader: the first command of its own reign that a client asked for is committed. The
    /// driver tells it, because a protocol does not look into commands.
    FirstWrite {
        /// The leader's term or epoch.
        term: Term,
        /// Its index.
        index: Index,
    },
    /// The node starts, from what its log holds. The driver tells it.
    Started {
        /// The last index of the log.
        last: Index,
    },
    /// A connection to a peer is up. The driver tells it, and what follows here.
    PeerConnected {
        /// The peer.
        peer: NodeId,
    },
    /// The connection to a peer broke.
    PeerLost {
        /// The peer.
        peer: NodeId,
    },
    /// Something begins to go wrong here on purpose, because somebody asked for it. The driver tells
    /// it.
    FaultBegan {
        /// The fault: its name, and what it does.
        fault: String,
    },
    /// A fault is over: it was healed, or its time has come.
    FaultEnded {
        /// The fault: its name, and how often it struck.
        fault: String,
    },
    /// A message left for a peer.
    Sent {
        /// The receiver.
        to: NodeId,
        /// What the receiver knows the same message by.
        passage: Passage,
        /// The message's name.
        name: &'static str,
        /// What it says, name included; `None` when that was not written down.
        text: Option<Box<str>>,
    },
    /// A message of a peer arrived.
    Received {
        /// The sender.
        from: NodeId,
        /// What the sender knows the same message by.
        passage: Passage,
        /// The message's name.
        name: &'static str,
        /// What it says, name included; `None` when that was not written down.
        text: Option<Box<str>>,
    },
}

/// What both ends of a connection know one message by: together with sender and receiver it is the
/// name of one arrow in a space-time diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Passage {
    /// The connection, by a number that both ends have agreed on.
    pub connection: u64,
    /// The message's place among those sent on that connection in that direction, dense from 1.
    pub frame: u64,
}

/// Why a leader is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// Nothing was heard for the election timeout.
    Silence {
        /// How long nothing was heard.
        millis: u64,
    },
    /// Its connection broke.
    ConnectionLost,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence { millis } => write!(f, "no sign of life for {millis} ms"),
            Self::ConnectionLost => write!(f, "its connection broke"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoleChanged { role, phase, term, leader, cause } => {
                write!(f, "⇨ {role}")?;
                if let Some(phase) = phase {
                    write!(f, "/{phase}")?;
                }
                write!(f, " in {term}")?;
                if let Some(leader) = leader {
                    write!(f, ", leader {leader}")?;
                }
                write!(f, ": {cause}")
            }
            Self::LeaderSuspected { leader, cause } => {
                write!(f, "suspects leader {leader}: {cause}")
            }
            Self::Voted { candidate, term } => write!(f, "votes for {candidate} in {term}"),
            Self::Truncated { from, last } => write!(f, "removes entries {from}..{last}"),
            Self::PeerSynchronized { peer, means } => {
                write!(f, "{peer} is synchronized by {means}")
            }
            Self::Committed { index } => write!(f, "committed up to {index}"),
            Self::TransferBegun { to } => {
                write!(f, "is asked to hand over to {to}, and holds proposals back")
            }
            Self::HandsOver { to } => write!(f, "tells {to}, which lacks nothing, to take over"),
            Self::TransferFailed { to, cause } => {
                write!(f, "does not hand over to {to}, and leads on: {cause}")
            }
            Self::FirstCommit { term, index } => {
                write!(f, "first commit of its own in {term}, up to {index}")
            }
            Self::FirstWrite { term, index } => {
                write!(f, "first write of a client in {term}, at {index}")
            }
            Self::Started { last } => write!(f, "starts with {last} entries"),
            Self::PeerConnected { peer } => write!(f, "connected with {peer}"),
            Self::PeerLost { peer } => write!(f, "lost the connection with {peer}"),
            Self::FaultBegan { fault } => write!(f, "⚡ {fault}"),
            Self::FaultEnded { fault } => write!(f, "✚ {fault}"),
            Self::Sent { to, name, text, .. } => {
                write!(f, "→ {to} {}", text.as_deref().unwrap_or(name))
            }
            Self::Received { from, name, text, .. } => {
                write!(f, "← {from} {}", text.as_deref().unwrap_or(name))
            }
        }
    }
}
