//! One node under the eyes of a test, its peers played by the test.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Consensus, Effects, Entry, Event, Generation, Index, Input, NodeId, Now, Outbound, Payload,
    PersistSequence, Position, Recovered, Settings, Standing, StartError, Status, Term, Timer,
    Token, WallTime, Wire,
};
use consensus_raft::{AppendOutcome, Attempt, Promise, Raft, RaftMessage, Round};

/// The number of every connection that is not about connections.
pub(crate) const FIRST: Generation = Generation(1);

/// A node, its clock, and what it asked to be written.
pub(crate) struct Node {
    pub(crate) raft: Raft,
    pub(crate) now: Now,
    pub(crate) asked: PersistSequence,
    pub(crate) token: u64,
}

/// How a node starts.
pub(crate) struct Start {
    pub(crate) settings: Settings,
    pub(crate) promise: Promise,
    pub(crate) terms: Vec<u64>,
    pub(crate) commit: u64,
}

impl Start {
    /// Node 1 of that many, without a past.
    pub(crate) fn of(voters: u64) -> Self {
        let settings = Settings::new(NodeId(1), (1..=voters).map(NodeId));
        Self { settings, promise: Promise::default(), terms: Vec::new(), commit: 0 }
    }

    /// With entries of these terms, and the last of them promised.
    pub(crate) fn log(mut self, terms: &[u64]) -> Self {
        self.terms = terms.to_vec();
        let last = terms.last().copied().unwrap_or(0);
        self.promise.term = self.promise.term.max(Term(last));
        self
    }

    pub(crate) fn term(mut self, term: u64) -> Self {
        self.promise.term = Term(term);
        self
    }

    pub(crate) fn vote(mut self, vote: u64) -> Self {
        self.promise.vote = Some(NodeId(vote));
        self
    }

    pub(crate) fn commit(mut self, commit: u64) -> Self {
        self.commit = commit;
        self
    }

    pub(crate) fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn recovered(&self) -> Recovered {
        let entries = entries(1, &self.terms);
        let mut terms = BTreeMap::new();
        let mut before = Term(0);
        for entry in &entries {
            if entry.term() != before {
                terms.insert(entry.index(), entry.term());
                before = entry.term();
            }
        }
        Recovered {
            promise: Some(self.promise.to_bytes()),
            terms,
            last: Index(entries.len() as u64),
            tail: entries,
            commit: Index(self.commit),
            ..Recovered::default()
        }
    }

    pub(crate) fn try_start(&self) -> Result<Raft, StartError> {
        Raft::start(Now::default(), self.settings.clone(), self.recovered())
    }

    /// Started at time zero and connected to all.
    pub(crate) fn start(self) -> Node {
        let raft = self.try_start().expect("the past is a possible one");
        let now = Now::default();
        let mut node = Node { raft, now, asked: PersistSequence(0), token: 0 };
        for &peer in self.settings.voters.iter().filter(|&&peer| peer != self.settings.id) {
            node.step(Input::PeerConnected { peer, generation: FIRST, standing: Standing::Voter });
        }
        node
    }
}

impl Node {
    /// One input and its flush.
    pub(crate) fn step(&mut self, input: Input<RaftMessage>) -> Effects<RaftMessage> {
        self.steps([input])
    }

    /// Several inputs and one flush.
    pub(crate) fn steps(
        &mut self,
        inputs: impl IntoIterator<Item = Input<RaftMessage>>,
    ) -> Effects<RaftMessage> {
        let mut effects = Effects::default();
        for input in inputs {
            self.raft.step(self.now, input, &mut effects);
        }
        self.raft.step(self.now, Input::Flush, &mut effects);
        if let Some(persist) = effects.persists.last() {
            self.asked = persist.sequence;
        }
        effects
    }

    pub(crate) fn receive(&mut self, from: u64, message: RaftMessage) -> Effects<RaftMessage> {
        self.step(received(from, message))
    }

    /// Everything asked for is durable.
    pub(crate) fn persist(&mut self) -> Effects<RaftMessage> {
        self.step(Input::Persisted(self.asked))
    }

    pub(crate) fn fire(&mut self, timer: Timer) -> Effects<RaftMessage> {
        self.step(Input::Timer(timer))
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.now.time = self.now.time + Duration::from_millis(millis);
        self.now.wall = WallTime(self.now.wall.0 + millis);
    }

    /// Lets time pass up to the next timer and fires it.
    pub(crate) fn sleep(&mut self) -> Effects<RaftMessage> {
        let (due, timer) = self.deadline().expect("a timer runs");
        self.now.time = due;
        self.fire(timer)
    }

    pub(crate) fn deadline(&mut self) -> Option<(consensus::Time, Timer)> {
        self.step(Input::Flush).deadline
    }

    pub(crate) fn propose(&mut self, command: &'static str) -> Effects<RaftMessage> {
        self.token += 1;
        let command = Bytes::from_static(command.as_bytes());
        self.step(Input::Propose { token: Token(self.token), command })
    }

    pub(crate) fn role(&self) -> &'static str {
        self.status().role
    }

    pub(crate) fn term(&self) -> u64 {
        self.status().term.0
    }

    pub(crate) fn status(&self) -> Status {
        self.raft.status()
    }

    /// The terms of the log.
    pub(crate) fn log(&self) -> Vec<u64> {
        let log = self.raft.view().log;
        (1..=log.last().index.0).map(|index| log.term(Index(index)).expect("within").0).collect()
    }

    pub(crate) fn commit(&self) -> u64 {
        self.status().commit.0
    }

    /// Wishes a campaign; everybody would vote for it.
    pub(crate) fn become_candidate(&mut self) -> Effects<RaftMessage> {
        if self.role() != "candidate" {
            let asked = self.fire(Timer::Election);
            if let Some(attempt) = attempt(&asked) {
                for peer in self.peers() {
                    let effects = self.receive(peer, pre_vote_response(0, attempt, true));
                    if self.role() == "candidate" {
                        return effects;
                    }
                }
            }
        }
        assert_eq!(self.role(), "candidate");
        Effects::default()
    }

    /// Wishes a campaign and wins it. The leader's first entry is not durable yet.
    pub(crate) fn become_leader(&mut self) -> Effects<RaftMessage> {
        self.become_candidate();
        let mut effects = self.persist();
        let term = self.term();
        for peer in self.peers() {
            if self.role() != "leader" {
                effects = self.receive(peer, vote_response(term, true));
            }
        }
        assert_eq!(self.role(), "leader");
        effects
    }

    /// Wins an election, and all followers have the first entry.
    pub(crate) fn become_ready_leader(&mut self) {
        self.become_leader();
        self.persist();
        let (term, last) = (self.term(), self.status().last.index.0);
        for peer in self.peers() {
            self.receive(peer, matched(term, last));
        }
        assert_eq!(self.commit(), last);
    }

    pub(crate) fn peers(&self) -> Vec<u64> {
        self.status().peers.iter().map(|peer| peer.id.0).collect()
    }
}

pub(crate) fn received(from: u64, message: RaftMessage) -> Input<RaftMessage> {
    Input::Received { peer: NodeId(from), generation: FIRST, message }
}

/// Entries of these terms, the first at that index.
pub(crate) fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    (first..).zip(terms).map(|(index, &term)| entry(term, index)).collect()
}

pub(crate) fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload::Command(Bytes::from(format!("{index}@{term}")));
    Entry { position: Position::new(term, index), wall: WallTime(0), payload }
}

pub(crate) fn append(
    term: u64,
    previous: (u64, u64),
    entries: Vec<Entry>,
    commit: u64,
) -> RaftMessage {
    RaftMessage::AppendEntries {
        term: Term(term),
        previous: Position::new(previous.0, previous.1),
        entries,
        commit: Index(commit),
        answer: true,
    }
}

pub(crate) fn matched(term: u64, index: u64) -> RaftMessage {
    let outcome = AppendOutcome::Matched { first: Index(1), up_to: Index(index) };
    RaftMessage::AppendEntriesResponse { term: Term(term), outcome }
}

pub(crate) fn conflict(term: u64, previous: u64, hint: (u64, u64)) -> RaftMessage {
    let hint = Position::new(hint.0, hint.1);
    let outcome = AppendOutcome::Conflict { previous: Index(previous), hint };
    RaftMessage::AppendEntriesResponse { term: Term(term), outcome }
}

pub(crate) fn heartbeat(term: u64, commit: u64) -> RaftMessage {
    RaftMessage::Heartbeat {
        term: Term(term),
        commit: Index(commit),
        round: Round(1),
        sent: consensus::Time(0),
    }
}

pub(crate) fn heartbeat_response(term: u64, round: u64) -> RaftMessage {
    late_heartbeat_response(term, term, round)
}

/// The answer, by somebody in one term, to a heartbeat of another.
pub(crate) fn late_heartbeat_response(term: u64, heartbeat: u64, round: u64) -> RaftMessage {
    let (term, heartbeat, sent) = (Term(term), Term(heartbeat), consensus::Time(0));
    RaftMessage::HeartbeatResponse { term, heartbeat, round: Round(round), sent }
}

pub(crate) fn request_vote(term: u64, last: (u64, u64)) -> RaftMessage {
    RaftMessage::RequestVote {
        term: Term(term),
        last: Position::new(last.0, last.1),
        transfer: false,
    }
}

pub(crate) fn vote_response(term: u64, granted: bool) -> RaftMessage {
    RaftMessage::RequestVoteResponse { term: Term(term), candidacy: Term(term), granted }
}

pub(crate) fn pre_vote(term: u64, last: (u64, u64)) -> RaftMessage {
    let last = Position::new(last.0, last.1);
    RaftMessage::PreVote { term: Term(term), attempt: Attempt(1), last }
}

pub(crate) fn pre_vote_response(term: u64, attempt: Attempt, granted: bool) -> RaftMessage {
    RaftMessage::PreVoteResponse { term: Term(term), attempt, granted }
}

/// The attempt of the PreVotes among what was sent.
pub(crate) fn attempt(effects: &Effects<RaftMessage>) -> Option<Attempt> {
    effects.messages.iter().find_map(|outbound| match outbound.message {
        RaftMessage::PreVote { attempt, .. } => Some(attempt),
        _ => None,
    })
}

/// What was sent to a peer.
pub(crate) fn sent(effects: &Effects<RaftMessage>, to: u64) -> Vec<&RaftMessage> {
    let to_peer = |outbound: &&Outbound<RaftMessage>| outbound.to == NodeId(to);
    effects.messages.iter().filter(to_peer).map(|outbound| &outbound.message).collect()
}

/// The only message that was sent.
pub(crate) fn only(effects: &Effects<RaftMessage>) -> &Outbound<RaftMessage> {
    let [outbound] = &effects.messages[..] else {
        panic!("one message expected: {:?}", effects.messages)
    };
    outbound
}

/// Whether a vote was granted by the only message that was sent.
pub(crate) fn granted(effects: &Effects<RaftMessage>) -> bool {
    match only(effects).message {
        RaftMessage::RequestVoteResponse { granted, .. }
        | RaftMessage::PreVoteResponse { granted, .. } => granted,
        ref other => panic!("an answer to a request for a vote expected: {other}"),
    }
}

/// The entries of an AppendEntries.
pub(crate) fn appended(message: &RaftMessage) -> &[Entry] {
    match message {
        RaftMessage::AppendEntries { entries, .. } => entries,
        other => panic!("AppendEntries expected: {other}"),
    }
}

/// What came of an AppendEntries, by the only message that was sent.
pub(crate) fn outcome(effects: &Effects<RaftMessage>) -> AppendOutcome {
    match only(effects).message {
        RaftMessage::AppendEntriesResponse { outcome, .. } => outcome,
        ref other => panic!("an answer to AppendEntries expected: {other}"),
    }
}

/// The last index acknowledged by the only message that was sent.
pub(crate) fn acknowledged(effects: &Effects<RaftMessage>) -> u64 {
    match outcome(effects) {
        AppendOutcome::Matched { up_to, .. } => up_to.0,
        other => panic!("an acknowledgement expected: {other:?}"),
    }
}

/// The indexes of what was delivered.
pub(crate) fn delivered(effects: &Effects<RaftMessage>) -> Vec<u64> {
    effects.deliveries.iter().map(|entry| entry.index().0).collect()
}

/// The reasons given for changes of role.
pub(crate) fn causes(effects: &Effects<RaftMessage>) -> Vec<String> {
    let cause = |event: &Event| match event {
        Event::RoleChanged { cause, .. } => Some(cause.clone()),
        _ => None,
    };
    effects.events.iter().filter_map(cause).collect()
}
