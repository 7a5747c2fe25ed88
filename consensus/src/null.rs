//! The protocol without replication: one node that commits what is durable.
//!
//! It measures the stack below and above a protocol: whatever Raft or ZAB take longer than `Null`
//! is the price of replication.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::codec::{CodecError, Wire};
use crate::{
    Answer, Backlog, Consensus, Effects, Entry, Event, Input, Leadership, Log, Message, NodeId,
    Now, Payload, PersistSequence, Pledge, Position, Protocol, Recovered, Refusal, Settings,
    StartError, Status, Term, Timer, Timers, View,
};

/// A cluster of one node without any protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Null {
    settings: Settings,
    log: Log,
    term: Term,
    phase: Phase,
    timers: Timers,
    backlog: Backlog,
}

/// How far the start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The timer of the start has not fired yet.
    Starting,
    /// The new term is to be durable before anything is appended in it: a crash that lost the term
    /// would let the next start use its positions again. `None` until the write is cut.
    Promising(Option<PersistSequence>),
    /// The node takes proposals.
    Established,
}

/// [`Null`] says nothing to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NullMessage {}

impl Wire for NullMessage {
    fn encode(&self, _out: &mut BytesMut) {
        match *self {}
    }

    fn decode(_input: &mut Bytes) -> Result<Self, CodecError> {
        Err(CodecError::Invalid("message: the null protocol has none"))
    }
}

impl fmt::Display for NullMessage {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Message for NullMessage {
    fn name(&self) -> &'static str {
        match *self {}
    }

    fn weight(&self) -> u64 {
        match *self {}
    }

    fn is_routine(&self) -> bool {
        match *self {}
    }
}

impl Consensus for Null {
    const PROTOCOL: Protocol = Protocol::Null;

    type Message = NullMessage;

    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError> {
        settings.check()?;
        let nodes = settings.voters.len() + settings.observers.len();
        if nodes != 1 {
            return Err(StartError(format!(
                "the null protocol does not replicate, so its cluster is exactly one node, not {nodes}"
            )));
        }
        let term = match recovered.promise.clone() {
            Some(promise) => Term::from_bytes(promise)
                .map_err(|error| StartError(format!("the promise in the log: {error}")))?,
            None => Term(0),
        };
        let mut timers = Timers::default();
        if !settings.observes() {
            timers.set(Timer::Election, now.time);
        }
        Ok(Self {
            log: Log::new(&settings, recovered),
            settings,
            term,
            phase: Phase::Starting,
            timers,
            backlog: Backlog::default(),
        })
    }

    fn step(&mut self, now: Now, input: Input<NullMessage>, effects: &mut Effects<NullMessage>) {
        match input {
            Input::Timer(_) if self.settings.observes() => {}
            Input::Timer(_) => self.promise(),
            Input::Propose { token, command } => {
                let refusal = if !self.established() {
                    Some(Refusal::NotLeader)
                } else if self.backlog.bytes() >= self.settings.uncommitted_bytes_max {
                    Some(Refusal::Overloaded)
                } else {
                    None
                };
                match refusal {
                    Some(reason) => effects.answers.push(Answer::Refused { token, reason }),
                    None => self.append(now, command),
                }
            }
            Input::ReadBarrier { token } | Input::Sync { token } => {
                effects.answers.push(if self.established() {
                    Answer::Barrier { token, index: self.log.commit() }
                } else {
                    Answer::Refused { token, reason: Refusal::NotLeader }
                });
            }
            Input::TransferLeadership { token, .. } => {
                // There is nobody else.
                let reason = Refusal::NoSuccessor;
                effects.answers.push(Answer::Refused { token, reason });
            }
            Input::Persisted(sequence) => {
                self.log.persisted(sequence);
                self.establish(effects);
                if self.log.commit_to(self.log.durable()) {
                    effects.events.push(Event::Committed { index: self.log.commit() });
                }
                self.log.deliver(effects);
            }
            Input::Applied(index) => self.log.applied_to(index, effects),
            Input::Fetched { entries, .. } => self.log.delivery_fetched(entries, effects),
            Input::Flush => {
                self.backlog.settle(&self.log);
                let sequence = self.log.persist(effects);
                if self.phase == Phase::Promising(None) {
                    self.phase = Phase::Promising(Some(sequence));
                }
                // What was known committed at the start but not yet handed over.
                self.log.deliver(effects);
            }
            Input::BecomeVoter => {
                self.settings.become_voter();
                self.timers.set(Timer::Election, now.time);
            }
            Input::Compact(index) => self.log.compact_to(index),
            Input::PeerConnected { .. } | Input::PeerLost { .. } | Input::SnapshotEnded { .. } => {}
            Input::Received { message, .. } | Input::SnapshotReceived { message, .. } => {
                match message {}
            }
        }
        effects.deadline = self.timers.earliest();
    }

    fn status(&self) -> Status {
        Status {
            role: if self.established() { "leader" } else { "starting" },
            standing: self.settings.standing,
            phase: None,
            term: self.term,
            leadership: self.leadership(),
            last: self.log.last(),
            commit: self.log.commit(),
            durable: self.log.durable(),
            delivered: self.log.delivered(),
            trouble: None,
            peers: Vec::new(),
        }
    }

    fn describe(&self, position: Position) -> String {
        format!("run={} index={}", position.term.0, position.index.0)
    }

    fn view(&self) -> View<'_> {
        View {
            id: self.settings.id,
            promised: self.term,
            joined: None,
            leading: self.established().then_some(self.term),
            established: self.established().then_some(self.term),
            log: &self.log,
        }
    }

    fn pledge(&self, _to: NodeId, message: &NullMessage) -> Pledge {
        match *message {}
    }

    fn read_promise(promise: Bytes) -> Result<Pledge, CodecError> {
        Ok(Pledge { promised: Term::from_bytes(promise)?, ..Pledge::default() })
    }
}

impl Null {
    fn established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Each start is a term of its own, so that positions stay unique.
    fn promise(&mut self) {
        self.timers.clear();
        if self.phase != Phase::Starting {
            return;
        }
        self.phase = Phase::Promising(None);
        self.term = self.term.next();
        self.log.set_promise(self.term.to_bytes());
    }

    /// Leads once the new term is durable.
    fn establish(&mut self, effects: &mut Effects<NullMessage>) {
        let Phase::Promising(Some(sequence)) = self.phase else { return };
        if self.log.durable_sequence() < sequence {
            return;
        }
        self.phase = Phase::Established;
        // What is durable in the log of a single node was, or is now, committed.
        self.log.commit_to(self.log.durable());
        self.log.deliver(effects);
        effects.leadership.push(self.leadership());
        effects.events.push(Event::RoleChanged {
            role: "leader",
            phase: None,
            term: self.term,
            leader: Some(self.settings.id),
            cause: "it is the only node".to_owned(),
        });
    }

    fn append(&mut self, now: Now, command: Bytes) {
        let position = Position { term: self.term, index: self.log.last().index.next() };
        let entry = Entry { position, wall: now.wall, payload: Payload::Command(command) };
        self.backlog.proposed(&entry);
        self.log.append(entry);
    }

    fn leadership(&self) -> Leadership {
        if self.established() {
            Leadership::Established { term: self.term }
        } else {
            Leadership::None
        }
    }
}
