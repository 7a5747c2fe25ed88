//! The roles of a node (Figure 4 of the paper, with thesis §9.6's pre-candidate), what each alone
//! knows, and the ways from one to another.
//!
//! ```text
//!             suspects             a quorum would            a quorum voted,
//!             its leader           vote for it               its own vote is durable
//!   Follower ───────────▶ PreCandidate ───────────▶ Candidate ───────────▶ Leader
//!     ▲ ▲ ▲                   │    ▲                 │    │                  │
//!     │ │ │   hears a leader  │    │ votes are split │    │                  │
//!     │ │ └─── or a new term ─┘    └─────────────────┘    │                  │
//!     │ └───── hears a leader or a new term ──────────────┘                  │
//!     └─────── hears a new term, or no quorum for the election timeout ──────┘
//! ```
//!
//! A follower whose leader tells it to take over becomes a candidate at once (thesis §3.10), and so does every
//! one without PreVote; a candidate whose votes are split is then followed by itself in the next term.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use consensus::{
    Answer, Backlog, Effects, Entry, Event, FailureDetector, Index, Mutant, NodeId, Now, Payload,
    PersistSequence, Position, Progress, Refusal, Standing, Suspicion, Term, Time, Timer, Token,
    Transfer, Wire, mutant,
};

use crate::message::{Attempt, RaftMessage, Round};
use crate::node::Raft;
use crate::promise::Promise;

/// What a node is, with what only that role knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

impl Role {
    /// The role's name, as in the paper; of an observer, as in etcd.
    pub(crate) fn name(&self, standing: Standing) -> &'static str {
        match self {
            Self::Follower(_) if standing == Standing::Observer => "learner",
            Self::Follower(_) => "follower",
            Self::PreCandidate(_) => "pre-candidate",
            Self::Candidate(_) => "candidate",
            Self::Leader(_) => "leader",
        }
    }
}

/// Follows the leader of its term, or waits for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// Watches for silence since the leader was heard, a vote given, or the node started.
    pub(crate) detector: FailureDetector,
    /// Why this node is about to campaign, if it is: then it hears no leader any more, and the
    /// election timer ends a short random delay.
    pub(crate) intent: Option<Intent>,
    /// Whether the delay was already prolonged once in favour of another node.
    pub(crate) deferred: bool,
    /// The candidate that it voted for, which may yet become the leader.
    pub(crate) candidate: Option<NodeId>,
    /// The last index known to equal the log of this term's leader.
    pub(crate) matched: Index,
    /// The range to acknowledge at the next flush, when an answer is owed: the first entry received
    /// since the last flush, and the last index that matches.
    pub(crate) owed: Option<(Index, Index)>,
}

/// Asks whether it would win, without disturbing anybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PreCandidate {
    /// The attempt under way; `None` while waiting for the next.
    pub(crate) attempt: Option<Attempt>,
    /// Those who would vote for it, itself among them.
    pub(crate) granted: BTreeSet<NodeId>,
    /// Those who would not.
    pub(crate) refused: BTreeSet<NodeId>,
    /// How many attempts and campaigns came to nothing since a leader was last heard.
    pub(crate) failures: u32,
    /// Whether the wait was already prolonged once in favour of another node.
    pub(crate) deferred: bool,
}

/// Asks for votes in its term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    /// The write that makes its own vote durable: before, the vote counts for nothing.
    pub(crate) own_vote: PersistSequence,
    /// Those who voted for it, itself not among them.
    pub(crate) granted: BTreeSet<NodeId>,
    /// Those who refused.
    pub(crate) refused: BTreeSet<NodeId>,
    /// As in [`PreCandidate`].
    pub(crate) failures: u32,
    /// Whether the leader of the term before told it to campaign.
    pub(crate) transfer: bool,
    /// Whether no quorum is left that could vote for it. It is a pre-candidate then, but without PreVote
    /// it stays what it is until its next campaign.
    pub(crate) lost: bool,
}

/// Leads its term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// What it knows of each of the other nodes.
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// The index of the empty entry that opened the term (§8). Once that is committed, the leader
    /// knows what is.
    pub(crate) opening: Index,
    /// Watches for a time without a quorum (thesis §6.2).
    pub(crate) detector: FailureDetector,
    /// The last broadcast of heartbeats.
    pub(crate) round: Round,
    /// Reads waiting for a round, in order of arrival.
    pub(crate) barriers: VecDeque<Barrier>,
    /// Syncs waiting for an index to be committed, in order of arrival.
    pub(crate) syncs: VecDeque<(Token, Index)>,
    /// What was proposed and still waits for a quorum or for this node's disk.
    pub(crate) backlog: Backlog,
    /// How it hands its office over, if it does.
    pub(crate) transfer: Option<Transfer>,
}

/// What a leader knows of another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// Whether it counts.
    pub(crate) standing: Standing,
    /// The paper's nextIndex and matchIndex, and the window of what is under way.
    pub(crate) progress: Progress,
    /// Since when an answer to AppendEntries is awaited, if one is: when a probe was sent, or the first
    /// of the messages that are under way; later, when one of them was answered.
    pub(crate) awaiting_since: Time,
    /// The commit index last told on this connection.
    pub(crate) told: Index,
    /// When an answer of this term last came.
    pub(crate) heard: Time,
    /// The last round answered on this connection.
    pub(crate) round: Round,
    /// From a heartbeat to its answer, as last measured.
    pub(crate) round_trip: Option<Duration>,
}

/// A read that waits for the leader to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Barrier {
    pub(crate) token: Token,
    /// The commit index when the read arrived.
    pub(crate) index: Index,
    /// The first round that began after the read arrived.
    pub(crate) round: Round,
}

/// Why a node campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Intent {
    /// Its leader is suspected.
    Suspected(NodeId, Suspicion),
    /// No leader was heard in this term.
    NoLeader,
    /// It led or campaigned until it met a newer term, whose leader, if any, it does not know.
    Overtaken,
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspected(leader, Suspicion::Silence { millis }) => {
                write!(f, "no sign of life of {leader} for {millis} ms")
            }
            Self::Suspected(leader, Suspicion::ConnectionLost) => {
                write!(f, "the connection to {leader} broke")
            }
            Self::NoLeader => write!(f, "no leader was heard"),
            Self::Overtaken => {
                write!(f, "no leader of the newer term was heard")
            }
        }
    }
}

/// Names of nodes for a sentence: `n1, n2`.
pub(crate) fn names(ids: &BTreeSet<NodeId>) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Raft {
    /// Becomes a follower of `leader`, or one that waits for a leader, or, with an intent, one that
    /// soon campaigns.
    pub(crate) fn become_follower(
        &mut self,
        now: Now,
        leader: Option<NodeId>,
        intent: Option<Intent>,
        cause: String,
        effects: &mut Effects<RaftMessage>,
    ) {
        self.end_transfer(effects);
        if let Role::Leader(former) = &mut self.role {
            let barriers = former.barriers.drain(..).map(|barrier| barrier.token);
            let syncs = former.syncs.drain(..).map(|(token, _)| token);
            effects.answers.extend(
                barriers
                    .chain(syncs)
                    .map(|token| Answer::Refused { token, reason: Refusal::NotLeader }),
            );
        }
        self.leader = leader;
        let detector = FailureDetector::new(now.time, self.settings.election_timeout);
        self.timers.clear();
        match intent {
            Some(_) => self.wait_before_campaign(now, 0),
            None => self.timers.set(Timer::Election, detector.deadline()),
        }
        self.role = Role::Follower(Follower {
            detector,
            intent,
            deferred: false,
            candidate: None,
            matched: Index(0),
            owed: None,
        });
        self.tell_role(cause, effects);
    }

    /// Becomes a pre-candidate that waits for its next attempt.
    pub(crate) fn become_pre_candidate(
        &mut self,
        failures: u32,
        cause: String,
        effects: &mut Effects<RaftMessage>,
    ) {
        assert!(!self.observes(), "observers do not campaign");
        assert!(
            !matches!(self.role, Role::Leader(_)),
            "a leader steps down before it campaigns (Figure 4)"
        );
        self.timers.clear();
        self.role = Role::PreCandidate(PreCandidate {
            attempt: None,
            granted: BTreeSet::new(),
            refused: BTreeSet::new(),
            failures,
            deferred: false,
        });
        self.tell_role(cause, effects);
    }

    /// Becomes a candidate in the next term and votes for itself (§5.2). Returns the write that must
    /// be durable before anybody hears of it. With `transfer` the leader has told it to, and it is a
    /// follower still.
    pub(crate) fn become_candidate(
        &mut self,
        failures: u32,
        transfer: bool,
        cause: String,
        effects: &mut Effects<RaftMessage>,
    ) -> PersistSequence {
        assert!(
            match self.role {
                Role::PreCandidate(_) => !transfer,
                Role::Follower(_) => transfer || !self.settings.pre_vote,
                Role::Candidate(_) => !transfer && !self.settings.pre_vote,
                Role::Leader(_) => false,
            },
            "only a quorum of PreVotes (thesis §9.6) or the leader's word (§3.10) makes a candidate"
        );
        assert!(!self.observes(), "observers do not campaign");
        let term = self.promise.term.next();
        self.leader = None;
        self.promise = Promise { term, vote: Some(self.settings.id) };
        self.log.set_promise(self.promise.to_bytes());
        let own_vote = self.log.persist(effects);
        self.timers.clear();
        self.role = Role::Candidate(Candidate {
            own_vote,
            granted: BTreeSet::new(),
            refused: BTreeSet::new(),
            failures,
            transfer,
            lost: false,
        });
        self.tell_role(cause, effects);
        effects.events.push(Event::Voted { candidate: self.settings.id, term });
        own_vote
    }

    /// Becomes the leader of its term, whose first entry is empty (§8).
    pub(crate) fn become_leader(
        &mut self,
        now: Now,
        cause: String,
        effects: &mut Effects<RaftMessage>,
    ) {
        assert!(matches!(self.role, Role::Candidate(_)), "only votes make a leader (§5.2)");
        assert_eq!(self.leader, None, "at most one leader in a term (Election Safety, §5.2)");
        assert_eq!(
            self.promise.vote,
            Some(self.settings.id),
            "a leader voted for itself in its term (§5.2)"
        );
        if mutant::on(Mutant::RaftLeaderTruncates) && self.log.last().index > self.log.commit() {
            self.log.truncate_from(self.log.commit().next());
        }
        let opening = self.log.last().index.next();
        let peer = |standing| Peer {
            standing,
            progress: Progress::probing(opening),
            awaiting_since: now.time,
            told: Index(0),
            heard: now.time,
            round: Round(0),
            round_trip: None,
        };
        self.log.append(Entry {
            position: Position { term: self.promise.term, index: opening },
            wall: now.wall,
            payload: Payload::Empty,
        });
        self.leader = Some(self.settings.id);
        self.timers.clear();
        let peers: BTreeMap<_, _> = self.others().map(|id| (id, peer(self.standing(id)))).collect();
        if !peers.is_empty() {
            self.timers.set(Timer::Heartbeat, now.time + self.settings.heartbeat_interval);
            self.timers.set(Timer::Quorum, now.time + self.settings.election_timeout);
        }
        self.role = Role::Leader(Box::new(Leader {
            peers,
            opening,
            detector: FailureDetector::new(now.time, self.settings.election_timeout),
            round: Round(0),
            barriers: VecDeque::new(),
            syncs: VecDeque::new(),
            backlog: Backlog::default(),
            transfer: None,
        }));
        self.tell_role(cause, effects);
    }

    /// Adopts a newer term, in which this node has not voted and knows no leader. The role stays:
    /// the caller changes it in the same step.
    pub(crate) fn adopt(&mut self, term: Term) {
        assert!(term > self.promise.term, "terms never go back (§5.1)");
        self.promise = Promise { term, vote: None };
        if !mutant::on(Mutant::RaftTermForgotten) {
            self.log.set_promise(self.promise.to_bytes());
        }
        self.leader = None;
    }

    /// Tells of the present role, if the last that was told was another one or knew another leader.
    pub(crate) fn tell_role(&mut self, cause: String, effects: &mut Effects<RaftMessage>) {
        let leader = if self.leads_or_follows() { self.leader } else { None };
        let told = (self.role.name(self.settings.standing), self.promise.term, leader);
        let (role, term, leader) = told;
        if self.told_role.0 == role && (self.told_role == told || leader.is_none()) {
            return;
        }
        self.told_role = told;
        effects.events.push(Event::RoleChanged { role, phase: None, term, leader, cause });
    }
}
