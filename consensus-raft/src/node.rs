//! The node: its state, and what each input does to it.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    CodecError, Consensus, Effects, FailureDetector, FetchPurpose, Generation, Index, Input,
    Leadership, Log, Mutant, NodeId, Now, Outbound, PeerStatus, PersistSequence, Pledge, Position,
    ProgressState, Protocol, Quorum, Random, Recovered, Settings, Standing, StartError, Status,
    Term, Timer, Timers, View, Wire, mutant,
};

use crate::message::{AppendOutcome, Attempt, RaftMessage};
use crate::promise::{self, Promise};
use crate::role::{Follower, Intent, Role};

/// A Raft node. The crate's documentation tells the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(crate) settings: Settings,
    pub(crate) quorum: Quorum,
    pub(crate) log: Log,
    /// The paper's currentTerm and votedFor.
    pub(crate) promise: Promise,
    /// The leader of the current term, once it was heard. It stays known while it is suspected, so
    /// that a second leader in the term does not go unnoticed.
    pub(crate) leader: Option<NodeId>,
    pub(crate) role: Role,
    /// The latest connection to each peer.
    pub(crate) connections: BTreeMap<NodeId, Connection>,
    pub(crate) timers: Timers,
    pub(crate) random: Random,
    /// The last attempt at a PreVote.
    pub(crate) attempt: Attempt,
    /// Peers for which entries are being fetched from disk. A fetch outlives the leadership that
    /// asked for it, and there is at most one for each peer.
    pub(crate) fetches: BTreeSet<NodeId>,
    /// The commit index last told in an event.
    pub(crate) told_commit: Index,
    /// The role, term and leader last told in an event.
    pub(crate) told_role: (&'static str, Term, Option<NodeId>),
    /// The leadership last told to the layer above.
    pub(crate) told_leadership: Leadership,
}

/// The latest connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) generation: Generation,
    pub(crate) up: bool,
    pub(crate) standing: Standing,
}

impl Consensus for Raft {
    const PROTOCOL: Protocol = Protocol::Raft;

    type Message = RaftMessage;

    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError> {
        settings.check()?;
        let promise = promise::recover(&recovered)?;
        let detector = FailureDetector::new(now.time, settings.election_timeout);
        let mut timers = Timers::default();
        // Alone, there is nobody to wait for.
        let alone = settings.voters.len() == 1 && !settings.observes();
        timers.set(Timer::Election, if alone { now.time } else { detector.deadline() });
        let role = Role::Follower(Follower {
            detector,
            intent: alone.then_some(Intent::NoLeader),
            deferred: false,
            candidate: None,
            matched: Index(0),
            owed: None,
        });
        let name = role.name(settings.standing);
        Ok(Self {
            told_role: (name, promise.term, None),
            told_commit: recovered.commit,
            told_leadership: Leadership::None,
            quorum: Quorum::new(settings.voters.clone()),
            log: Log::new(&settings, recovered),
            promise,
            leader: None,
            role,
            connections: BTreeMap::new(),
            timers,
            random: Random::new(settings.seed),
            attempt: Attempt(0),
            fetches: BTreeSet::new(),
            settings,
        })
    }

    fn step(&mut self, now: Now, input: Input<RaftMessage>, effects: &mut Effects<RaftMessage>) {
        match input {
            Input::Timer(timer) => self.timer(now, timer, effects),
            Input::PeerConnected { peer, generation, standing } => {
                self.connected(now, peer, generation, standing, effects);
            }
            Input::PeerLost { peer, generation } => self.lost(now, peer, generation, effects),
            Input::Received { peer, generation, message } => {
                if self.is_current(peer, generation)
                    && message.is_plausible(self.promise.term)
                    && self.admits(peer, &message)
                {
                    self.received(now, peer, message, effects);
                }
            }
            Input::Propose { token, command } => self.propose(now, token, command, effects),
            Input::ReadBarrier { token } => self.read_barrier(token, effects),
            Input::Sync { token } => self.sync(token, effects),
            Input::TransferLeadership { token, to } => {
                self.transfer_leadership(now, token, to, effects);
            }
            Input::Persisted(sequence) => {
                self.log.persisted(sequence);
                // A candidate may have waited for its own vote only.
                self.count_votes(now, effects);
            }
            Input::Applied(index) => self.log.applied_to(index, effects),
            Input::Compact(index) => self.log.compact_to(index),
            Input::SnapshotReceived { peer, generation, snapshot, message } => {
                if self.is_current(peer, generation) && self.admits(peer, &message) {
                    self.snapshot_received(now, peer, snapshot, &message, effects);
                }
            }
            Input::SnapshotEnded { peer, generation } => {
                if self.is_current(peer, generation) {
                    self.snapshot_ended(peer);
                }
            }
            Input::Fetched { purpose: FetchPurpose::Deliver, entries } => {
                self.log.delivery_fetched(entries, effects);
            }
            Input::Fetched { purpose: FetchPurpose::Replicate(peer), entries } => {
                self.fetched(now, peer, entries, effects);
            }
            Input::BecomeVoter => self.become_voter(now, effects),
            Input::Flush => self.flush(now, effects),
        }
        self.tell_leadership(effects);
        effects.deadline = self.timers.earliest();
    }

    fn status(&self) -> Status {
        Status {
            role: self.role.name(self.settings.standing),
            standing: self.settings.standing,
            phase: None,
            term: self.promise.term,
            leadership: self.told_leadership,
            last: self.log.last(),
            commit: self.log.commit(),
            durable: self.log.durable(),
            delivered: self.log.delivered(),
            trouble: None,
            peers: self.others().map(|id| self.peer_status(id)).collect(),
        }
    }

    fn describe(&self, position: Position) -> String {
        format!("term={} index={}", position.term.0, position.index.0)
    }

    fn view(&self) -> View<'_> {
        View {
            id: self.settings.id,
            promised: self.promise.term,
            joined: None,
            leading: matches!(self.role, Role::Leader(_)).then_some(self.promise.term),
            established: matches!(self.role, Role::Leader(_)).then_some(self.promise.term),
            log: &self.log,
        }
    }

    fn pledge(&self, to: NodeId, message: &RaftMessage) -> Pledge {
        promise::pledge(self.settings.id, to, message, &self.log)
    }

    fn read_promise(promise: bytes::Bytes) -> Result<Pledge, CodecError> {
        let Promise { term, vote } = Promise::from_bytes(promise)?;
        Ok(Pledge { promised: term, vote, ..Pledge::default() })
    }
}

impl Raft {
    fn timer(&mut self, now: Now, timer: Timer, effects: &mut Effects<RaftMessage>) {
        match timer {
            Timer::Election => self.election_timer(now, effects),
            Timer::Heartbeat => self.heartbeat_timer(now, effects),
            Timer::Quorum => self.quorum_timer(now, effects),
            Timer::Transfer => self.transfer_timer(effects),
            // ZAB's.
            Timer::Finalize | Timer::Phase => {}
        }
    }

    fn connected(
        &mut self,
        now: Now,
        peer: NodeId,
        generation: Generation,
        standing: Standing,
        effects: &mut Effects<RaftMessage>,
    ) {
        let former = self.connections.get(&peer);
        let newer = former.is_none_or(|former| former.generation < generation);
        if !newer || !self.others().any(|id| id == peer) {
            return;
        }
        self.forget_connection(peer);
        self.successor_lost(peer, effects);
        let standing = self.settings.standing_of(peer, standing);
        self.connections.insert(peer, Connection { generation, up: true, standing });
        if standing == Standing::Observer {
            self.forget_counted(peer);
        }
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peers.get_mut(&peer)
        {
            peer.standing = standing;
        }
        match &self.role {
            Role::Follower(_) => {}
            Role::PreCandidate(_) | Role::Candidate(_) => self.ask_again(now, peer, effects),
            Role::Leader(_) => self.greet(now, peer, effects),
        }
    }

    fn lost(
        &mut self,
        now: Now,
        peer: NodeId,
        generation: Generation,
        effects: &mut Effects<RaftMessage>,
    ) {
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        if connection.generation != generation || !connection.up {
            return;
        }
        connection.up = false;
        self.forget_connection(peer);
        self.successor_lost(peer, effects);
        match &self.role {
            Role::Follower(_) => self.leader_connection_lost(now, peer, effects),
            // One more that can not answer may mean that the votes are split.
            Role::PreCandidate(_) | Role::Candidate(_) => self.count_votes(now, effects),
            Role::Leader(_) => {}
        }
    }

    /// What was under way on a peer's last connection is gone: answers owed to it, and what it may
    /// not have received.
    fn forget_connection(&mut self, peer: NodeId) {
        match &mut self.role {
            Role::Follower(follower) => {
                if self.leader == Some(peer) {
                    follower.owed = None;
                }
                if follower.candidate == Some(peer) {
                    follower.candidate = None;
                }
            }
            Role::Leader(leader) => {
                if let Some(peer) = leader.peers.get_mut(&peer) {
                    peer.forget_connection(&self.log);
                }
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    fn received(
        &mut self,
        now: Now,
        peer: NodeId,
        message: RaftMessage,
        effects: &mut Effects<RaftMessage>,
    ) {
        match message {
            RaftMessage::PreVote { term, attempt, last } => {
                self.pre_vote(now, peer, term, attempt, last, effects);
            }
            RaftMessage::PreVoteResponse { term, attempt, granted } => {
                self.pre_vote_response(now, peer, term, attempt, granted, effects);
            }
            RaftMessage::RequestVote { term, last, transfer } => {
                self.request_vote(now, peer, term, last, transfer, effects);
            }
            RaftMessage::RequestVoteResponse { term, candidacy, granted } => {
                self.request_vote_response(now, peer, term, candidacy, granted, effects);
            }
            RaftMessage::AppendEntries { term, previous, entries, commit, answer } => {
                if self.hear_leader(now, peer, term, effects) {
                    self.append_entries(peer, previous, entries, commit, answer, effects);
                } else {
                    self.answer_stale_entries(peer, effects);
                }
            }
            RaftMessage::AppendEntriesResponse { term, outcome } => {
                // Nobody refuses as stale what this node said in the term of both: that answers
                // an earlier reign.
                let answers_reign = outcome != AppendOutcome::Stale;
                if self.hear_follower(now, peer, term, answers_reign, effects) {
                    self.append_entries_response(now, peer, outcome, effects);
                }
            }
            // The state that it speaks for did not come with it.
            RaftMessage::InstallSnapshot { .. } => {}
            RaftMessage::Heartbeat { term: heartbeat, commit, round, sent } => {
                if self.hear_leader(now, peer, heartbeat, effects) {
                    self.follow_commit(commit);
                }
                let term = self.promise.term;
                let answer = RaftMessage::HeartbeatResponse { term, heartbeat, round, sent };
                self.send(peer, PersistSequence(0), answer, effects);
            }
            RaftMessage::HeartbeatResponse { term, heartbeat, round, sent } => {
                if self.hear_follower(now, peer, term, heartbeat == term, effects) {
                    self.heartbeat_response(now, peer, round, sent, effects);
                }
            }
            RaftMessage::TimeoutNow { term } => {
                self.take_over(now, peer, term, effects);
            }
        }
    }

    /// Turns what accumulated into one write and as few messages as possible.
    fn flush(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        match &self.role {
            Role::Leader(_) => self.flush_leader(now, effects),
            Role::Follower(_) => self.flush_follower(effects),
            Role::PreCandidate(_) | Role::Candidate(_) => {
                self.log.persist(effects);
            }
        }
        if self.log.commit() > self.told_commit {
            if let Role::Leader(leader) = &self.role
                && self.told_commit < leader.opening
                && self.log.commit() >= leader.opening
            {
                let (term, index) = (self.promise.term, self.log.commit());
                effects.events.push(consensus::Event::FirstCommit { term, index });
            }
            self.told_commit = self.log.commit();
            effects.events.push(consensus::Event::Committed { index: self.told_commit });
        }
        self.log.deliver(effects);
    }

    /// Sends a message on the peer's current connection; without one it is lost, as on the wire.
    pub(crate) fn send(
        &self,
        to: NodeId,
        after: PersistSequence,
        message: RaftMessage,
        effects: &mut Effects<RaftMessage>,
    ) {
        if self.is_connected(to) {
            effects.messages.push(Outbound { to, after, message });
        }
    }

    /// Whether a connection is the present one to its peer, and up.
    fn is_current(&self, peer: NodeId, generation: Generation) -> bool {
        self.connections.get(&peer).is_some_and(|connection| {
            connection.up
                && (connection.generation == generation || mutant::on(Mutant::LateFramesCount))
        })
    }

    pub(crate) fn is_connected(&self, peer: NodeId) -> bool {
        self.connections.get(&peer).is_some_and(|connection| connection.up)
    }

    /// All nodes besides this one, in the order of their numbers.
    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.settings.others().collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether this node knows a leader that it does not suspect; it may be itself.
    pub(crate) fn leads_or_follows(&self) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.intent.is_none() && self.leader.is_some(),
            Role::PreCandidate(_) | Role::Candidate(_) => false,
            Role::Leader(_) => true,
        }
    }

    fn tell_leadership(&mut self, effects: &mut Effects<RaftMessage>) {
        let term = self.promise.term;
        let leadership = match self.leader.filter(|_| self.leads_or_follows()) {
            Some(leader) if leader == self.settings.id => Leadership::Established { term },
            Some(leader) => Leadership::Following { leader, term },
            None => Leadership::None,
        };
        if leadership != self.told_leadership {
            self.told_leadership = leadership;
            effects.leadership.push(leadership);
        }
    }

    fn peer_status(&self, id: NodeId) -> PeerStatus {
        let peer = match &self.role {
            Role::Leader(leader) => leader.peers.get(&id),
            _ => None,
        };
        PeerStatus {
            id,
            standing: self.standing(id),
            connected: self.is_connected(id),
            matched: peer.map(|peer| peer.progress.matched()),
            replication: peer.map(|peer| match peer.progress.state() {
                ProgressState::Probe { .. } => "probe",
                ProgressState::Replicate => "replicate",
                ProgressState::Snapshot { .. } => "snapshot",
            }),
            heard: peer.map(|peer| peer.heard),
            round_trip: peer.and_then(|peer| peer.round_trip),
        }
    }
}
