//! What the nodes of a Raft cluster say to one another.
//!
//! The paper has two remote procedure calls, RequestVote and AppendEntries (Figure 2). Here each
//! call is a message and each reply another, because nobody waits for a reply; PreVote is a call of
//! its own (thesis §9.6), and so is the heartbeat: its answer must not wait behind a disk, and it
//! confirms reads (thesis §6.4).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Entry, Index, Message, Position, Snapshot, Term, Time};

/// No term or index of a cluster comes near this: a century at a billion a second is fewer. A message
/// beyond it is absurd, and following it would only bring overflows nearer.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// How far the term of a message may be beyond the receiver's. A term is durable and can only grow,
/// so that one damaged or hostile frame could use up all terms for ever. A node would have to be away
/// for seven weeks of a thousand elections a second before a true term looked like that.
const TERM_LEAP_MAX: u64 = 1 << 32;

/// The number of a broadcast of heartbeats by one leader, dense from 1. A round that a quorum has
/// answered confirms every read that arrived before the round began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// The number of one node's attempts at a PreVote. An answer to an earlier attempt counts for
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u64);

impl Round {
    /// The round after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Attempt {
    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A message between two Raft nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RaftMessage {
    /// "Would you vote for me?" Asked before a campaign, so that a node which can not win does not
    /// disturb a working leader with a higher term (thesis §9.6). It changes nothing at the receiver.
    PreVote {
        /// The term that the sender would campaign in: one more than its own.
        term: Term,
        /// Which attempt this is, so that its answers can be told from earlier ones.
        attempt: Attempt,
        /// The last entry of the sender's log: nobody votes for a log that lacks what its own has.
        last: Position,
    },
    /// The answer to a [`RaftMessage::PreVote`].
    PreVoteResponse {
        /// The sender's own term. If it is the higher one, the asker adopts it and asks again.
        term: Term,
        /// The attempt that this answers.
        attempt: Attempt,
        /// Whether the sender would vote for the asker.
        granted: bool,
    },
    /// A candidate's request for a vote (§5.2). It leaves once the candidate's own vote is durable.
    RequestVote {
        /// The candidate's term.
        term: Term,
        /// The last entry of the candidate's log (§5.4.1).
        last: Position,
        /// Whether the leader of the term before has told the candidate to campaign (thesis §3.10):
        /// then those who still hear that leader vote all the same.
        transfer: bool,
    },
    /// The answer to a [`RaftMessage::RequestVote`]. A granted vote leaves once it is durable.
    RequestVoteResponse {
        /// The sender's own term; lower than the candidate's when the sender still hears a leader
        /// and therefore keeps its term (§6, last paragraph).
        term: Term,
        /// The term of the candidacy that this answers.
        candidacy: Term,
        /// Whether the sender voted for the candidate.
        granted: bool,
    },
    /// Entries to append (§5.3), or none: then it asks whether the logs match, or tells how far the
    /// log is committed.
    AppendEntries {
        /// The leader's term.
        term: Term,
        /// The entry before the first one sent; the receiver's log must hold it.
        previous: Position,
        /// The entries, dense from behind `previous`.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
        /// Whether an answer is wanted. It is not when the message tells nothing but a commit
        /// index: what the receiver holds was or will be acknowledged already.
        answer: bool,
    },
    /// The answer to one or more [`RaftMessage::AppendEntries`]. That entries match leaves once they
    /// and the term are durable.
    AppendEntriesResponse {
        /// The sender's own term: with the index it identifies what is durable.
        term: Term,
        /// What came of it.
        outcome: AppendOutcome,
    },
    /// The leader's word for a state that takes the place of the receiver's log (§7). It travels with
    /// the state, beside the protocol; as a frame of its own it means nothing.
    InstallSnapshot {
        /// The leader's term.
        term: Term,
    },
    /// The leader's sign of life. Besides, it tells the commit index, and its answers confirm reads.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// The leader's commit index. The receiver follows only as far as its log is known to match.
        commit: Index,
        /// The number of this broadcast.
        round: Round,
        /// The leader's clock, to measure the round trip.
        sent: Time,
    },
    /// The answer to a [`RaftMessage::Heartbeat`]. It never waits for a disk.
    HeartbeatResponse {
        /// The sender's own term. A higher one than the leader's deposes it.
        term: Term,
        /// The term of the heartbeat that this answers. Rounds begin anew in each term, so that
        /// an answer confirms a leader only when the heartbeat was one of its present term: the
        /// answer to an earlier one may come when its sender leads again.
        heartbeat: Term,
        /// The broadcast that this answers.
        round: Round,
        /// The leader's clock as the heartbeat brought it.
        sent: Time,
    },
    /// The leader tells its successor, whose log is level with its own, to campaign at once (thesis
    /// §3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
}

/// What came of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The sender's log equals the leader's up to an index, durably.
    Matched {
        /// The first entry of the messages that this answers, one behind `up_to` if they had none:
        /// the range is what this frame stands for, as in ZAB's ACK.
        first: Index,
        /// The last index that matches.
        up_to: Index,
    },
    /// The sender's log does not hold the previous entry.
    Conflict {
        /// The index of the previous entry in question, to tell an old answer from a current one.
        previous: Index,
        /// The last entry of the sender's log, before `previous`, with a term of at most the
        /// previous entry's. Nothing between can match, so the leader skips it all (§5.3).
        hint: Position,
    },
    /// The message came from a leader of an earlier term.
    Stale,
}

impl RaftMessage {
    /// The sender's term; of a PreVote the one that it would campaign in.
    fn term(&self) -> Term {
        match *self {
            Self::PreVote { term, .. }
            | Self::PreVoteResponse { term, .. }
            | Self::RequestVote { term, .. }
            | Self::RequestVoteResponse { term, .. }
            | Self::AppendEntries { term, .. }
            | Self::AppendEntriesResponse { term, .. }
            | Self::InstallSnapshot { term }
            | Self::Heartbeat { term, .. }
            | Self::HeartbeatResponse { term, .. }
            | Self::TimeoutNow { term } => term,
        }
    }

    /// Whether a correct peer could have sent this in any history to a node in term `own`. What it
    /// could not is dropped: acting on it could only break this node.
    pub(crate) fn is_plausible(&self, own: Term) -> bool {
        self.term().0 <= own.0.saturating_add(TERM_LEAP_MAX) && self.is_consistent()
    }

    /// Whether a leader could have sent this snapshot with the message.
    pub(crate) fn vouches_for(&self, snapshot: &Snapshot) -> bool {
        let Position { term, index } = snapshot.position;
        let installs = matches!(self, Self::InstallSnapshot { .. });
        installs && snapshot.is_consistent() && term <= self.term() && index.0 < NUMBER_MAX
    }

    /// Whether the parts of the message fit together.
    fn is_consistent(&self) -> bool {
        let near = |number: u64| number < NUMBER_MAX;
        let stands = |position: Position| near(position.term.0) && near(position.index.0);
        match self {
            Self::PreVote { term, attempt, last } => {
                near(term.0) && near(attempt.0) && stands(*last) && last.term < *term
            }
            Self::RequestVote { term, last, .. } => {
                near(term.0) && stands(*last) && last.term < *term
            }
            Self::PreVoteResponse { term, .. } => near(term.0),
            Self::RequestVoteResponse { term, candidacy, granted } => {
                near(term.0) && near(candidacy.0) && (!granted || term >= candidacy)
            }
            Self::AppendEntries { term, previous, entries, commit, .. } => {
                let mut before = *previous;
                near(term.0)
                    && term.0 > 0
                    && stands(before)
                    && near(commit.0)
                    && (before.index == Index(0)) == (before.term == Term(0))
                    && entries.iter().all(|entry| {
                        let follows = entry.index() == before.index.next()
                            && entry.term() >= before.term
                            && entry.term() > Term(0);
                        before = entry.position;
                        follows
                    })
                    && before.term <= *term
            }
            Self::AppendEntriesResponse { term, outcome } => {
                near(term.0)
                    && match outcome {
                        AppendOutcome::Matched { first, up_to } => {
                            near(up_to.0) && first.0 > 0 && *first <= up_to.next()
                        }
                        AppendOutcome::Conflict { previous, hint } => {
                            near(previous.0) && stands(*hint) && hint.index < *previous
                        }
                        AppendOutcome::Stale => true,
                    }
            }
            Self::InstallSnapshot { term } => near(term.0) && term.0 > 0,
            Self::Heartbeat { term, commit, .. } => near(term.0) && term.0 > 0 && near(commit.0),
            Self::HeartbeatResponse { term, heartbeat, .. } => {
                near(term.0) && heartbeat.0 > 0 && heartbeat <= term
            }
            Self::TimeoutNow { term } => near(term.0) && term.0 > 0,
        }
    }
}

impl Message for RaftMessage {
    fn name(&self) -> &'static str {
        match self {
            Self::PreVote { .. } => "PreVote",
            Self::PreVoteResponse { .. } => "PreVoteResponse",
            Self::RequestVote { .. } => "RequestVote",
            Self::RequestVoteResponse { .. } => "RequestVoteResponse",
            Self::AppendEntries { .. } => "AppendEntries",
            Self::AppendEntriesResponse { .. } => "AppendEntriesResponse",
            Self::InstallSnapshot { .. } => "InstallSnapshot",
            Self::Heartbeat { .. } => "Heartbeat",
            Self::HeartbeatResponse { .. } => "HeartbeatResponse",
            Self::TimeoutNow { .. } => "TimeoutNow",
        }
    }

    fn weight(&self) -> u64 {
        match self {
            // Without entries it tells a commit index, or asks where the logs match.
            Self::AppendEntries { entries, .. } => entries.len().max(1) as u64,
            Self::AppendEntriesResponse {
                outcome: AppendOutcome::Matched { first, up_to },
                ..
            } => up_to.0.saturating_sub(first.0).saturating_add(1).max(1),
            _ => 1,
        }
    }

    fn is_routine(&self) -> bool {
        matches!(
            self,
            Self::AppendEntries { .. }
                | Self::AppendEntriesResponse { outcome: AppendOutcome::Matched { .. }, .. }
                | Self::Heartbeat { .. }
                | Self::HeartbeatResponse { .. }
        )
    }
}

impl fmt::Display for RaftMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        let verdict = |granted: bool| if granted { "granted" } else { "refused" };
        match self {
            Self::PreVote { term, attempt, last } => {
                write!(f, " term={term} last={last} attempt={}", attempt.0)
            }
            Self::PreVoteResponse { term, attempt, granted } => {
                write!(f, " term={term} {} attempt={}", verdict(*granted), attempt.0)
            }
            Self::RequestVote { term, last, transfer } => {
                let mark = if *transfer { " told to take over" } else { "" };
                write!(f, " term={term} last={last}{mark}")
            }
            Self::RequestVoteResponse { term, candidacy, granted } => {
                write!(f, " term={term} {} in {candidacy}", verdict(*granted))
            }
            Self::AppendEntries { term, previous, entries, commit, answer } => {
                write!(f, " term={term} previous={previous}")?;
                match entries.as_slice() {
                    [] => {}
                    [entry] => write!(f, " {}", entry.position)?,
                    [first, .., last] => write!(f, " {}..{}", first.position, last.position)?,
                }
                write!(f, " commit={commit}{}", if *answer { "" } else { " no answer" })
            }
            Self::AppendEntriesResponse { term, outcome } => match outcome {
                AppendOutcome::Matched { up_to, .. } => write!(f, " term={term} matched={up_to}"),
                AppendOutcome::Conflict { previous, hint } => {
                    write!(f, " term={term} conflict at {previous}, try {hint}")
                }
                AppendOutcome::Stale => write!(f, " term={term} stale"),
            },
            Self::InstallSnapshot { term } => write!(f, " term={term}"),
            Self::Heartbeat { term, commit, round, .. } => {
                write!(f, " term={term} commit={commit} round={}", round.0)
            }
            Self::HeartbeatResponse { term, heartbeat, round, .. } => {
                write!(f, " term={term} round={}", round.0)?;
                if heartbeat == term { Ok(()) } else { write!(f, " of {heartbeat}") }
            }
            Self::TimeoutNow { term } => write!(f, " term={term}"),
        }
    }
}

impl Wire for Round {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.0);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        codec::get_u64(input).map(Self)
    }
}

impl Wire for Attempt {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.0);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        codec::get_u64(input).map(Self)
    }
}

impl Wire for AppendOutcome {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Matched { first, up_to } => {
                out.put_u8(0);
                first.encode(out);
                up_to.encode(out);
            }
            Self::Conflict { previous, hint } => {
                out.put_u8(1);
                previous.encode(out);
                hint.encode(out);
            }
            Self::Stale => out.put_u8(2),
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            0 => Self::Matched { first: Index::decode(input)?, up_to: Index::decode(input)? },
            1 => Self::Conflict { previous: Index::decode(input)?, hint: Position::decode(input)? },
            2 => Self::Stale,
            _ => return Err(CodecError::Invalid("outcome of AppendEntries")),
        })
    }
}

impl Wire for RaftMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::PreVote { term, attempt, last } => {
                out.put_u8(1);
                term.encode(out);
                attempt.encode(out);
                last.encode(out);
            }
            Self::PreVoteResponse { term, attempt, granted } => {
                out.put_u8(2);
                term.encode(out);
                attempt.encode(out);
                granted.encode(out);
            }
            Self::RequestVote { term, last, transfer } => {
                out.put_u8(3);
                term.encode(out);
                last.encode(out);
                transfer.encode(out);
            }
            Self::RequestVoteResponse { term, candidacy, granted } => {
                out.put_u8(4);
                term.encode(out);
                candidacy.encode(out);
                granted.encode(out);
            }
            Self::AppendEntries { term, previous, entries, commit, answer } => {
                out.put_u8(5);
                term.encode(out);
                previous.encode(out);
                codec::put_list(out, entries);
                commit.encode(out);
                answer.encode(out);
            }
            Self::AppendEntriesResponse { term, outcome } => {
                out.put_u8(6);
                term.encode(out);
                outcome.encode(out);
            }
            Self::Heartbeat { term, commit, round, sent } => {
                out.put_u8(7);
                term.encode(out);
                commit.encode(out);
                round.encode(out);
                sent.encode(out);
            }
            Self::HeartbeatResponse { term, heartbeat, round, sent } => {
                out.put_u8(8);
                term.encode(out);
                heartbeat.encode(out);
                round.encode(out);
                sent.encode(out);
            }
            Self::InstallSnapshot { term } => {
                out.put_u8(9);
                term.encode(out);
            }
            Self::TimeoutNow { term } => {
                out.put_u8(10);
                term.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let kind = codec::get_u8(input)?;
        let term = Term::decode(input)?;
        Ok(match kind {
            1 => Self::PreVote {
                term,
                attempt: Attempt::decode(input)?,
                last: Position::decode(input)?,
            },
            2 => Self::PreVoteResponse {
                term,
                attempt: Attempt::decode(input)?,
                granted: bool::decode(input)?,
            },
            3 => Self::RequestVote {
                term,
                last: Position::decode(input)?,
                transfer: bool::decode(input)?,
            },
            4 => Self::RequestVoteResponse {
                term,
                candidacy: Term::decode(input)?,
                granted: bool::decode(input)?,
            },
            5 => Self::AppendEntries {
                term,
                previous: Position::decode(input)?,
                entries: codec::get_list(input)?,
                commit: Index::decode(input)?,
                answer: bool::decode(input)?,
            },
            6 => Self::AppendEntriesResponse { term, outcome: AppendOutcome::decode(input)? },
            7 => Self::Heartbeat {
                term,
                commit: Index::decode(input)?,
                round: Round::decode(input)?,
                sent: Time::decode(input)?,
            },
            8 => Self::HeartbeatResponse {
                term,
                heartbeat: Term::decode(input)?,
                round: Round::decode(input)?,
                sent: Time::decode(input)?,
            },
            9 => Self::InstallSnapshot { term },
            10 => Self::TimeoutNow { term },
            _ => return Err(CodecError::Invalid("kind of message")),
        })
    }
}
