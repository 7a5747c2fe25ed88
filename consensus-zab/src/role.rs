//! The three roles, what each of them alone knows, and the only ways from one to another.
//!
//! ```text
//!                     a quorum proposes it        lost its quorum, or gave up
//!                  ┌───────────────────────▶ LEADING ───────────────────┐
//!   start ──▶ LOOKING ◀─────────────────────────────────────────────────┤
//!                  └───────────────────────▶ FOLLOWING ─────────────────┘
//!                     a quorum proposes another   lost its leader, or was sent away
//! ```
//!
//! A leader that hands over goes from LEADING to FOLLOWING, its successor the other way, and the
//! others from one leader to the next, all without LOOKING.
//!
//! Each `into_…` consumes the old role with all that it knew: nothing of one role's state can leak
//! into another's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use consensus::{
    Answer, Backlog, Event, FailureDetector, Index, Leadership, NodeId, PersistSequence, Progress,
    Refusal, Standing, Time, Timer, Token, Transfer,
};

use crate::barrier::Barriers;
use crate::message::{Notification, Reason, ServerState, Session, Vote, ZabMessage};
use crate::node::Context;
use crate::zxid::{Epoch, EpochTable};

/// What a handler says about the role: stay, or change it.
pub(crate) type Flow = ControlFlow<Change>;

/// Stay in the role.
pub(crate) const STAY: Flow = ControlFlow::Continue(());

/// A change of role, as a handler asks for it.
#[derive(Debug)]
pub(crate) enum Change {
    /// Look for a leader, for this cause.
    Look(String),
    /// The election ended with this vote, which names this server or another one.
    Elect(Vote),
    /// The leader, perhaps this server, hands over: as if an election had ended with this vote.
    HandOver(Vote),
}

/// Asks for a new election.
pub(crate) fn look(cause: impl Into<String>) -> Flow {
    ControlFlow::Break(Change::Look(cause.into()))
}

/// The role of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// It looks for a leader.
    Looking(Looking),
    /// It follows a leader, or tries to.
    Following(Following),
    /// It leads, or tries to.
    Leading(Leading),
}

/// LOOKING: the state of one election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Looking {
    /// The election has not begun here: the vote must name the last durable zxid, so what is being
    /// written is waited for; or earlier attempts failed and this one is held back.
    Settling {
        /// The write to wait for.
        after: PersistSequence,
        /// Whether the timer that holds the election back still runs.
        held_back: bool,
        /// The newest notification of each peer meanwhile.
        held: BTreeMap<NodeId, Notification>,
    },
    /// Votes are exchanged.
    Voting(Voting),
}

/// The votes of one election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Voting {
    /// The vote that this server began with: for itself.
    pub initial: Vote,
    /// The best vote seen in this round.
    pub proposal: Vote,
    /// The votes of this round, one per peer.
    pub received: BTreeMap<NodeId, Notification>,
    /// The votes of peers that follow or lead, of any round.
    pub outside: BTreeMap<NodeId, Notification>,
    /// The vote that each peer was last told while it may have been LOOKING.
    pub told: BTreeMap<NodeId, (u64, Vote)>,
    /// The peers that were told at any time that this server votes for them.
    pub backed: BTreeSet<NodeId>,
    /// How long until the vote is sent again.
    pub resend: Duration,
}

/// FOLLOWING: one session with one leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Following {
    /// The leader.
    pub leader: NodeId,
    /// Whether this server counts in the session.
    pub standing: Standing,
    /// The session.
    pub session: Session,
    /// Whether FOLLOWERINFO was sent; it waits for a connection.
    pub opened: bool,
    /// The epoch whose leader has handed over to this one, if that is why this server follows it.
    pub handed_over: Option<Epoch>,
    /// The vote that whoever looks for a leader is told.
    pub advertised: Notification,
    /// How far the session has come.
    pub stage: Stage,
    /// The last index known committed; delivered from UPTODATE on.
    pub committed: Index,
    /// The last index that the leader was told is durable here.
    pub reported: Index,
    /// The barrier round to be confirmed at the next flush.
    pub barrier: Option<u64>,
    /// Watches the leader.
    pub detector: FailureDetector,
}

/// How far a learner has come in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// FOLLOWERINFO was sent, LEADERINFO is awaited.
    Discovery,
    /// ACKEPOCH was sent, DIFF, TRUNC or SNAP is awaited.
    EpochAcked {
        /// The epoch.
        epoch: Epoch,
    },
    /// The initial history arrives, NEWLEADER is awaited.
    Receiving {
        /// The epoch.
        epoch: Epoch,
    },
    /// NEWLEADER was acknowledged, UPTODATE is awaited.
    Joined {
        /// The epoch.
        epoch: Epoch,
    },
    /// The epoch is established.
    Broadcast {
        /// The epoch.
        epoch: Epoch,
    },
}

/// LEADING: one attempt to lead an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leading {
    /// The vote that whoever looks for a leader is told.
    pub advertised: Notification,
    /// How recent this leader's history was when it began to lead, as a vote for itself.
    pub initial: Vote,
    /// The end of the initial history: the base of the new epoch.
    pub base: Index,
    /// How far the attempt has come.
    pub phase: Phase,
    /// Those who are known to follow another leader, and that one.
    pub elsewhere: BTreeSet<NodeId>,
    /// The learners with an open session.
    pub learners: BTreeMap<NodeId, Learner>,
    /// Watches the quorum.
    pub detector: FailureDetector,
    /// The reads that wait for a quorum's word.
    pub barriers: Barriers,
    /// The `sync` requests that wait for a commit.
    pub syncs: VecDeque<(Index, Token)>,
    /// What was proposed and still waits for a quorum or for this server's disk.
    pub backlog: Backlog,
    /// How it hands its office over, if it does.
    pub transfer: Option<Transfer>,
}

/// How far a leader has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// FOLLOWERINFO of a quorum is awaited.
    Gathering,
    /// The epoch is chosen; the leader's own acceptedEpoch is being written.
    PersistingAccepted {
        /// The epoch.
        epoch: Epoch,
        /// The write.
        after: PersistSequence,
    },
    /// LEADERINFO was sent; ACKEPOCH of a quorum is awaited.
    AwaitingAcks {
        /// The epoch.
        epoch: Epoch,
    },
    /// The epoch is accepted by a quorum; the leader's own currentEpoch is being written.
    PersistingCurrent {
        /// The epoch.
        epoch: Epoch,
        /// The write.
        after: PersistSequence,
    },
    /// The learners are synchronized; the acknowledgement of NEWLEADER by a quorum is awaited.
    Synchronizing {
        /// The epoch.
        epoch: Epoch,
    },
    /// The epoch is established.
    Broadcasting {
        /// The epoch.
        epoch: Epoch,
    },
}

/// A learner as its leader knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Learner {
    /// Whether it counts.
    pub standing: Standing,
    /// The session.
    pub session: Session,
    /// How far it has come.
    pub stage: LearnerStage,
    /// When it was last heard.
    pub heard: Time,
    /// The last measured time from PING to PONG.
    pub round_trip: Option<Duration>,
    /// The last barrier round that it was asked to confirm.
    pub barrier_asked: u64,
    /// The last barrier round that it confirmed.
    pub barrier_confirmed: u64,
}

/// How far a learner has come, as its leader knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LearnerStage {
    /// FOLLOWERINFO was received.
    Greeted {
        /// Whether LEADERINFO was sent.
        informed: bool,
    },
    /// ACKEPOCH was received.
    EpochAcked {
        /// Where each epoch ends in its log.
        table: EpochTable,
        /// Whether it counts towards the quorum.
        counted: bool,
    },
    /// The log is streamed to it.
    Streaming(Stream),
}

/// The one stream of the log to a learner: the initial history, NEWLEADER, and then the live
/// proposals, read by one cursor. So nothing can fall between synchronization and broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stream {
    /// The cursor and the window.
    pub progress: Progress,
    /// The index behind which NEWLEADER stands.
    pub behind: Index,
    /// What became of NEWLEADER.
    pub new_leader: NewLeader,
    /// Whether UPTODATE was sent.
    pub up_to_date: bool,
    /// The last index that it was told is committed.
    pub committed: Index,
    /// Whether something leaves at the next flush that a COMMIT may travel with, where none travels alone.
    pub carries_commit: bool,
    /// What became of the snapshot that it begins with.
    pub snap: Snap,
    /// By what means it is synchronized.
    pub means: &'static str,
    /// Since when something is under way without any acknowledgement.
    pub waiting_since: Option<Time>,
}

/// What became of the snapshot at the beginning of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Snap {
    /// None is needed, or not any more.
    Needless,
    /// It is under way, or about to be.
    UnderWay,
    /// It ended then, and the learner has not said that it holds it.
    Ended(Time),
}

/// What became of the NEWLEADER of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NewLeader {
    /// The initial history is not sent yet.
    Pending,
    /// It was sent.
    Sent,
    /// It was acknowledged: the learner counts, if it is a voter.
    Acked,
}

impl Looking {
    /// An election that waits for this write.
    pub(crate) fn settling(after: PersistSequence, held_back: bool) -> Self {
        Self::Settling { after, held_back, held: BTreeMap::new() }
    }

    /// The election ended with a vote for another server.
    pub(crate) fn into_following(self, cx: &mut Context<'_>, vote: Vote) -> Following {
        if let Self::Voting(voting) = &self {
            voting.take_back(cx, vote);
        }
        let cause = format!("a quorum proposes {} in round {}", vote.leader, cx.core.round);
        cx.follow(vote, None, cause)
    }

    /// The election ended with a vote for this server.
    pub(crate) fn into_leading(self, cx: &mut Context<'_>, vote: Vote) -> Leading {
        drop(self);
        let cause = format!("a quorum proposes it in round {}", cx.core.round);
        cx.begin_to_lead(vote, cause)
    }
}

impl Following {
    /// The learner gives its leader up.
    pub(crate) fn into_looking(self, cx: &mut Context<'_>, cause: String) -> Looking {
        if self.opened {
            cx.send(self.leader, ZabMessage::Leave { session: self.session });
        }
        if !matches!(self.stage, Stage::Broadcast { .. }) {
            cx.core.failed_attempts = cx.core.failed_attempts.saturating_add(1);
        }
        cx.settle(cause)
    }

    /// The epoch that the learner has accepted in this session.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self.stage {
            Stage::Discovery => None,
            Stage::EpochAcked { epoch }
            | Stage::Receiving { epoch }
            | Stage::Joined { epoch }
            | Stage::Broadcast { epoch } => Some(epoch),
        }
    }
}

impl Leading {
    /// The leader gives up.
    pub(crate) fn into_looking(self, cx: &mut Context<'_>, cause: String) -> Looking {
        for (&peer, learner) in &self.learners {
            let (session, reason) = (learner.session, Reason::NotLeading);
            cx.send(peer, ZabMessage::Resign { session, reason });
        }
        if !matches!(self.phase, Phase::Broadcasting { .. }) {
            cx.core.failed_attempts = cx.core.failed_attempts.saturating_add(1);
        }
        let transfer = self.transfer.map(|transfer| transfer.token);
        self.refuse_reads(cx, transfer);
        cx.settle(cause)
    }

    /// Refuses the reads that wait, and what else was asked of a leader.
    pub(crate) fn refuse_reads(self, cx: &mut Context<'_>, besides: Option<Token>) {
        let waiting = self.barriers.into_tokens();
        let syncs = self.syncs.into_iter().map(|(_, token)| token);
        for token in waiting.chain(syncs).chain(besides) {
            let reason = Refusal::NotLeader;
            cx.effects.answers.push(Answer::Refused { token, reason });
        }
    }

    /// The epoch that this leader proposes, once it is chosen.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Gathering => None,
            Phase::PersistingAccepted { epoch, .. }
            | Phase::AwaitingAcks { epoch }
            | Phase::PersistingCurrent { epoch, .. }
            | Phase::Synchronizing { epoch }
            | Phase::Broadcasting { epoch } => Some(epoch),
        }
    }

    /// The epoch, once a quorum has accepted it from this leader.
    pub(crate) fn accepted(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Gathering | Phase::PersistingAccepted { .. } | Phase::AwaitingAcks { .. } => {
                None
            }
            Phase::PersistingCurrent { epoch, .. }
            | Phase::Synchronizing { epoch }
            | Phase::Broadcasting { epoch } => Some(epoch),
        }
    }

    /// The epoch, once it is established.
    pub(crate) fn established(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Broadcasting { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// The learner, if this is its open session.
    pub(crate) fn learner(&mut self, peer: NodeId, session: Session) -> Option<&mut Learner> {
        self.learners.get_mut(&peer).filter(|learner| learner.session == session)
    }

    /// Closes a learner's session.
    pub(crate) fn dismiss(&mut self, cx: &mut Context<'_>, peer: NodeId, reason: Reason) {
        if let Some(learner) = self.learners.remove(&peer) {
            cx.send(peer, ZabMessage::Resign { session: learner.session, reason });
        }
    }
}

impl Learner {
    /// The stream to a learner that has acknowledged NEWLEADER, whether that counts or not.
    pub(crate) fn joined(&self) -> Option<&Stream> {
        match &self.stage {
            LearnerStage::Streaming(stream) if stream.new_leader == NewLeader::Acked => {
                Some(stream)
            }
            _ => None,
        }
    }
}

impl Context<'_> {
    /// Follows the leader that a vote names.
    pub(crate) fn follow(
        &mut self,
        vote: Vote,
        handed_over: Option<Epoch>,
        cause: String,
    ) -> Following {
        self.refuse_sessions();
        let core = &mut *self.core;
        core.timers.clear();
        core.session = Session(core.session.0 + 1);
        let detector = FailureDetector::new(self.now.time, core.phase_timeout());
        core.timers.set(Timer::Phase, detector.deadline());
        let mut following = Following {
            leader: vote.leader,
            standing: core.settings.standing,
            session: core.session,
            opened: false,
            handed_over,
            advertised: Notification { state: ServerState::Following, round: core.round, vote },
            stage: Stage::Discovery,
            committed: core.log.commit(),
            reported: core.log.durable(),
            barrier: None,
            detector,
        };
        let (phase, epoch) = (Some("discovery"), self.core.promise.current);
        self.role_changed(following.name(), phase, epoch, Some(vote.leader), cause);
        following.open(self);
        following
    }

    /// Leads, as a vote for this server says.
    pub(crate) fn begin_to_lead(&mut self, vote: Vote, cause: String) -> Leading {
        let core = &mut *self.core;
        assert_eq!(
            core.log.durable(),
            core.log.last().index,
            "a leader begins with its whole history durable"
        );
        let now = self.now.time;
        core.timers.clear();
        core.timers.set(Timer::Phase, now + core.phase_timeout());
        core.timers.set(Timer::Heartbeat, now + core.settings.heartbeat_interval);
        let leading = Leading {
            advertised: Notification { state: ServerState::Leading, round: core.round, vote },
            initial: core.own_vote(),
            base: core.log.last().index,
            phase: Phase::Gathering,
            elsewhere: BTreeSet::new(),
            learners: BTreeMap::new(),
            detector: FailureDetector::new(now, core.settings.election_timeout),
            barriers: Barriers::default(),
            syncs: VecDeque::new(),
            backlog: Backlog::default(),
            transfer: None,
        };
        let epoch = core.promise.current;
        self.role_changed("LEADING", Some("discovery"), epoch, None, cause);
        leading
    }

    /// Begins to look for a leader: nothing of the former role goes on.
    pub(crate) fn settle(&mut self, cause: String) -> Looking {
        self.lead(Leadership::None);
        self.core.timers.clear();
        self.role_changed("LOOKING", None, self.core.promise.current, None, cause);
        // Proposals that were received but not yet written are written first, so that the vote, and
        // whatever is said of this log later, counts exactly what is durable (ZOOKEEPER-4712).
        let after = self.core.log.persist(self.effects);
        let delay = self.core.election_delay();
        if !delay.is_zero() {
            self.core.timers.set(Timer::Election, self.now.time + delay);
        }
        Looking::settling(after, !delay.is_zero())
    }

    /// Tells of a change of role.
    pub(crate) fn role_changed(
        &mut self,
        role: &'static str,
        phase: Option<&'static str>,
        epoch: Epoch,
        leader: Option<NodeId>,
        cause: String,
    ) {
        let term = epoch.term();
        self.effects.events.push(Event::RoleChanged { role, phase, term, leader, cause });
    }
}
