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
        }
    }
}
