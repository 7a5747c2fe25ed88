//! What servers say to one another, in ZooKeeper's words.
//!
//! Everything but the election's notifications belongs to a *session*: one attempt of one learner to
//! follow one leader. ZooKeeper opens a TCP connection for each attempt and closes it when either
//! side gives up, and closing is what makes sure that nothing of an earlier attempt is ever taken for
//! part of a later one. Here one connection between two servers outlives many attempts, so the
//! attempt has a number, chosen by the learner and larger than each earlier one of its life. It is
//! opened by FOLLOWERINFO and closed by LEAVE (the learner), RESIGN or HANDOVER (the leader), or the
//! loss of the connection. A message of any other session is dropped.

use std::cmp::Ordering;
use std::fmt;

use consensus::{Entry, Index, Message, Mutant, NodeId, Standing, Time, mutant};

use crate::zxid::{Epoch, EpochTable, LogPoint, Zxid};

/// The number of one attempt of a learner to follow a leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// Whom a server proposes as leader, and what speaks for it.
///
/// The order is fast leader election's: the epoch that the candidate has joined, then its last zxid,
/// then its number. So the best vote of a quorum names a server that lacks nothing that a quorum has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The candidate's currentEpoch.
    pub peer_epoch: Epoch,
    /// The candidate's last durable zxid.
    pub zxid: Zxid,
    /// The candidate.
    pub leader: NodeId,
}

impl Vote {
    /// What is compared, in this order.
    fn rank(&self) -> (Epoch, Zxid, NodeId) {
        let Self { peer_epoch, zxid, leader } = *self;
        match () {
            () if mutant::on(Mutant::ZabComparesEpochOnly) => (peer_epoch, Zxid::default(), leader),
            () if mutant::on(Mutant::ZabElectsLargestNumber) => {
                (Epoch::default(), Zxid::default(), leader)
            }
            () => (peer_epoch, zxid, leader),
        }
    }
}

impl Ord for Vote {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Vote {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a server does, as its notifications tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerState {
    /// It looks for a leader.
    Looking,
    /// It follows the leader that it votes for.
    Following,
    /// It leads, or is about to.
    Leading,
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Looking => "LOOKING",
            Self::Following => "FOLLOWING",
            Self::Leading => "LEADING",
        })
    }
}

/// A server's vote, sent whenever it changes and to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// What the sender does. Votes of servers that are not LOOKING count by other rules.
    pub state: ServerState,
    /// The election round; votes of different rounds are never counted together.
    pub round: u64,
    /// The vote.
    pub vote: Vote,
}

/// Why a leader closes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The receiver of the session does not lead, or no longer does.
    NotLeading,
    /// The learner's history is more recent than the leader's, and no quorum says that the surplus
    /// was never committed.
    MoreRecent,
    /// The learner has not acknowledged a proposal for too long.
    Unresponsive,
    /// The learner said what the protocol does not allow.
    Broken,
    /// The leader's log has forgotten what the learner was to be sent next.
    TooFarBehind,
    /// The learner wants to follow, and the leader knows it as an observer.
    NotVoting,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeading => "it does not lead",
            Self::MoreRecent => "the learner's history is more recent",
            Self::Unresponsive => "a proposal was not acknowledged for too long",
            Self::Broken => "the learner broke the protocol",
            Self::TooFarBehind => "what the learner needs next was forgotten",
            Self::NotVoting => "the learner is known as an observer",
        })
    }
}

/// A message between two servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ZabMessage {
    /// Fast leader election: the sender's vote.
    Notification(Notification),
    /// The learner opens a session (the paper's CEPOCH). An observer's is called OBSERVERINFO.
    FollowerInfo {
        /// The session that this opens.
        session: Session,
        /// The learner's acceptedEpoch: the new epoch must be larger.
        accepted_epoch: Epoch,
        /// The epoch whose leader has sent the learner here by HANDOVER, if one has. The receiver may
        /// have to wait for its own.
        handed_over: Option<Epoch>,
        /// Whether it follows, or only observes.
        standing: Standing,
    },
    /// The leader proposes an epoch (the paper's NEWEPOCH).
    LeaderInfo {
        /// The session.
        session: Session,
        /// The new epoch, larger than each acceptedEpoch of a quorum.
        epoch: Epoch,
    },
    /// The learner accepts the epoch and describes its history (the paper's ACK-E).
    AckEpoch {
        /// The session.
        session: Session,
        /// The learner's currentEpoch; `None` when it had accepted this epoch before, or is an observer,
        /// which does not count towards the quorum.
        current_epoch: Option<Epoch>,
        /// The learner's last durable zxid; with the currentEpoch it says how recent its history is.
        last: Zxid,
        /// Where each epoch ends in the learner's log, by which the leader finds where the two logs
        /// part.
        table: EpochTable,
    },
    /// Synchronization: the learner's log is a prefix of the leader's; what is missing follows.
    Diff {
        /// The session.
        session: Session,
        /// The end of the history that precedes NEWLEADER.
        to: LogPoint,
    },
    /// Synchronization: the learner must remove everything after this point; what is missing follows.
    Trunc {
        /// The session.
        session: Session,
        /// The last entry that both logs hold.
        to: LogPoint,
    },
    /// Synchronization: the leader's word for a state that takes the place of the learner's whole log,
    /// because what is missing was forgotten. It travels with the state, beside the protocol; as a
    /// frame of its own it means nothing. What is missing behind the state follows.
    Snap {
        /// The session.
        session: Session,
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// The initial history is complete: the learner shall join the epoch.
    NewLeader {
        /// The session.
        session: Session,
        /// `(epoch, 0)`, at the index of the last entry sent before.
        at: LogPoint,
    },
    /// The learner holds this much durably: entries of the history before NEWLEADER, the state of a
    /// SNAP, or, at an observer, what it was informed of. It counts for nothing but the window of what
    /// is under way.
    Received {
        /// The session.
        session: Session,
        /// The last durable index.
        up_to: Index,
    },
    /// The epoch is established (the paper's COMMIT-LD): the learner may deliver.
    UpToDate {
        /// The session.
        session: Session,
        /// The leader's last committed zxid, as far as the learner was sent its log.
        committed: LogPoint,
    },
    /// Proposals, in order: one frame may carry a range, of one epoch.
    Proposal {
        /// The session.
        session: Session,
        /// The base of the entries' epoch, which turns their indexes into zxids.
        base: Index,
        /// The proposals, without gaps.
        entries: Vec<Entry>,
    },
    /// Committed proposals, in order, to an observer: PROPOSAL and COMMIT in one. One frame may carry a
    /// range, of one epoch.
    Inform {
        /// The session.
        session: Session,
        /// The base of the entries' epoch, which turns their indexes into zxids.
        base: Index,
        /// The proposals, without gaps.
        entries: Vec<Entry>,
    },
    /// The learner holds everything up to here durably. The first of a session is for `(epoch, 0)`:
    /// the learner has joined the epoch (the paper's ACK-LD).
    Ack {
        /// The session.
        session: Session,
        /// The first index not acknowledged before; the range is what this frame stands for.
        first: Index,
        /// The last zxid acknowledged.
        up_to: LogPoint,
    },
    /// Everything up to here is committed.
    Commit {
        /// The session.
        session: Session,
        /// The first index not known committed before; the range is what this frame stands for.
        first: Index,
        /// The last zxid committed.
        up_to: LogPoint,
    },
    /// The leader's sign of life.
    Ping {
        /// The session.
        session: Session,
        /// The leader's clock, for its own use when it comes back.
        sent: Time,
    },
    /// The learner's sign of life.
    Pong {
        /// The session.
        session: Session,
        /// The clock of the PING answered, from which the leader reads the round trip.
        sent: Time,
    },
    /// The leader asks whether it is still followed, for the reads that wait.
    Barrier {
        /// The session.
        session: Session,
        /// The number of the attempt, never used before in this session.
        round: u64,
    },
    /// The learner still follows in this epoch.
    BarrierAck {
        /// The session.
        session: Session,
        /// The last attempt seen.
        round: u64,
    },
    /// The learner closes the session.
    Leave {
        /// The session.
        session: Session,
    },
    /// The leader closes the session.
    Resign {
        /// The session.
        session: Session,
        /// Why.
        reason: Reason,
    },
    /// The leader hands its office over and closes the session: the successor shall lead, everybody
    /// else follow it, without an election.
    Handover {
        /// The session.
        session: Session,
        /// The successor.
        to: NodeId,
        /// The end of the leader's log, all of which is committed and durable at the successor.
        at: LogPoint,
    },
}

impl ZabMessage {
    /// The session that the message belongs to; `None` for the election's notifications.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match *self {
            Self::Notification(_) => None,
            Self::FollowerInfo { session, .. }
            | Self::LeaderInfo { session, .. }
            | Self::AckEpoch { session, .. }
            | Self::Diff { session, .. }
            | Self::Trunc { session, .. }
            | Self::Snap { session, .. }
            | Self::NewLeader { session, .. }
            | Self::Received { session, .. }
            | Self::UpToDate { session, .. }
            | Self::Proposal { session, .. }
            | Self::Inform { session, .. }
            | Self::Ack { session, .. }
            | Self::Commit { session, .. }
            | Self::Ping { session, .. }
            | Self::Pong { session, .. }
            | Self::Barrier { session, .. }
            | Self::BarrierAck { session, .. }
            | Self::Leave { session }
            | Self::Resign { session, .. }
            | Self::Handover { session, .. } => Some(session),
        }
    }
}

impl Message for ZabMessage {
    fn name(&self) -> &'static str {
        match self {
            Self::Notification(_) => "NOTIFICATION",
            Self::FollowerInfo { standing: Standing::Voter, .. } => "FOLLOWERINFO",
            Self::FollowerInfo { standing: Standing::Observer, .. } => "OBSERVERINFO",
            Self::LeaderInfo { .. } => "LEADERINFO",
            Self::AckEpoch { .. } => "ACKEPOCH",
            Self::Diff { .. } => "DIFF",
            Self::Trunc { .. } => "TRUNC",
            Self::Snap { .. } => "SNAP",
            Self::NewLeader { .. } => "NEWLEADER",
            Self::Received { .. } => "RECEIVED",
            Self::UpToDate { .. } => "UPTODATE",
            Self::Proposal { .. } => "PROPOSAL",
            Self::Inform { .. } => "INFORM",
            Self::Ack { .. } => "ACK",
            Self::Commit { .. } => "COMMIT",
            Self::Ping { .. } => "PING",
            Self::Pong { .. } => "PONG",
            Self::Barrier { .. } => "BARRIER",
            Self::BarrierAck { .. } => "BARRIERACK",
            Self::Leave { .. } => "LEAVE",
            Self::Resign { .. } => "RESIGN",
            Self::Handover { .. } => "HANDOVER",
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Self::Proposal { entries, .. } | Self::Inform { entries, .. } => entries.len() as u64,
            Self::Ack { first, up_to, .. } | Self::Commit { first, up_to, .. } => {
                up_to.index.0.saturating_sub(first.0).saturating_add(1)
            }
            _ => 1,
        }
    }

    fn is_routine(&self) -> bool {
        // The acknowledgement of NEWLEADER, whose counter is zero, belongs to synchronization.
        if let Self::Ack { up_to, .. } = self {
            return up_to.zxid.counter > 0;
        }
        matches!(
            self,
            Self::Proposal { .. }
                | Self::Inform { .. }
                | Self::Commit { .. }
                | Self::Received { .. }
                | Self::Ping { .. }
                | Self::Pong { .. }
                | Self::Barrier { .. }
                | Self::BarrierAck { .. }
        )
    }
}

impl fmt::Display for ZabMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Notification(Notification { state, round, vote }) => {
                if *vote == Vote::NOBODY {
                    return write!(f, "{name} {state} round={round} vote=nobody");
                }
                let Vote { peer_epoch, zxid, leader } = vote;
                write!(f, "{name} {state} round={round} vote={leader} ")?;
                write!(f, "peerEpoch={peer_epoch} zxid={zxid}")
            }
            Self::FollowerInfo { session, accepted_epoch, handed_over, .. } => {
                write!(f, "{name} acceptedEpoch={accepted_epoch} session={}", session.0)?;
                match handed_over {
                    Some(epoch) => write!(f, " handed over in epoch {epoch}"),
                    None => Ok(()),
                }
            }
            Self::LeaderInfo { epoch, .. } | Self::Snap { epoch, .. } => {
                write!(f, "{name} epoch={epoch}")
            }
            Self::AckEpoch { current_epoch: Some(epoch), last, .. } => {
                write!(f, "{name} currentEpoch={epoch} last={last}")
            }
            Self::AckEpoch { current_epoch: None, last, .. } => {
                write!(f, "{name} currentEpoch=none last={last}")
            }
            Self::Diff { to, .. } | Self::Trunc { to, .. } => write!(f, "{name} {to}"),
            Self::NewLeader { at, .. } => write!(f, "{name} {at}"),
            Self::Received { up_to, .. } => write!(f, "{name} index={up_to}"),
            Self::UpToDate { committed, .. } => write!(f, "{name} committed={committed}"),
            Self::Proposal { base, entries, .. } | Self::Inform { base, entries, .. } => {
                write_entries(f, name, *base, entries)
            }
            Self::Ack { up_to, .. } | Self::Commit { up_to, .. } => write!(f, "{name} {up_to}"),
            Self::Ping { .. } | Self::Pong { .. } => write!(f, "{name}"),
            Self::Barrier { round, .. } | Self::BarrierAck { round, .. } => {
                write!(f, "{name} round={round}")
            }
            Self::Leave { session } => write!(f, "{name} session={}", session.0),
            Self::Resign { session, reason } => {
                write!(f, "{name} session={}: {reason}", session.0)
            }
            Self::Handover { to, at, .. } => write!(f, "{name} to={to} at {at}"),
        }
    }
}

fn write_entries(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    base: Index,
    entries: &[Entry],
) -> fmt::Result {
    let zxid = |entry: &Entry| {
        let epoch = Epoch::from_term(entry.term()).unwrap_or_default();
        Zxid::at(epoch, base, entry.index()).unwrap_or(Zxid::ZERO)
    };
    match entries {
        [] => write!(f, "{name} of nothing"),
        [only] => write!(f, "{name} {}", zxid(only)),
        [first, .., last] => write!(f, "{name} {}..{}", zxid(first), zxid(last)),
    }
}
