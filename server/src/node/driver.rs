//! The consensus loop: takes what happened, steps the replica, carries out what it asks for.
//!
//! The loop waits for nothing but its inbox and the clock. Writing the log, applying, fetching old
//! entries and flushing the store each have a thread of their own and report back to the inbox.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as thread_channel;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use consensus::codec::Wire;
use consensus::{
    Consensus, Entry, Event, Fetch, FetchPurpose, Generation, Index, Leadership, Message, NodeId,
    Now, Passage, Persist, PersistSequence, Standing, Term, Time,
};
use kvcore::replica::{PeerMessage, Replica, ReplicaEffects, ReplicaInput};
use kvcore::{Envelope, RequestId};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::applier::{AppliedUpTo, Applier};
use super::handle::NodeStatus;
use super::shared::{ClientInput, Ended, Shared};
use super::trace::{Recorder, Way};
use super::transport::{FrameKind, put_frame};
use crate::metrics::MessageLabel;

/// The inputs taken in one round, so that a flood does not put off the effects.
const ROUND_INPUTS_MAX: usize = 4096;
/// How many inputs may wait; clients are refused beyond, peers are not read from.
pub(crate) const INBOX_INPUTS_MAX: usize = 65_536;
/// The timers fired in one round.
const ROUND_TIMERS_MAX: usize = 16;
/// How old the published status may be while things change quickly.
const STATUS_INTERVAL: Duration = Duration::from_millis(10);

/// Everything that the loop hears of.
pub(crate) enum DriverInput<M> {
    Client(ClientInput),
    PeerConnected {
        peer: NodeId,
        generation: Generation,
        standing: Standing,
        /// What both ends call the connection.
        connection: u64,
        outgoing: mpsc::Sender<Bytes>,
    },
    Received {
        peer: NodeId,
        generation: Generation,
        message: PeerMessage<M>,
    },
    Persisted(PersistSequence),
    Applied(AppliedUpTo),
    Fetched {
        purpose: FetchPurpose,
        entries: Vec<Entry>,
    },
    Stop,
}

/// Where the loop's work goes.
pub(crate) struct Workers {
    pub(crate) log: thread_channel::Sender<Vec<Persist>>,
    pub(crate) applier: thread_channel::Sender<Vec<Entry>>,
    pub(crate) fetcher: thread_channel::Sender<Fetch>,
}

/// A live connection, and what is to be sent on it at the end of the round.
struct Link {
    generation: Generation,
    outgoing: mpsc::Sender<Bytes>,
    buffer: BytesMut,
    connection: u64,
    /// How many messages left and arrived on it.
    sent: u64,
    received: u64,
}

impl Link {
    fn new(generation: Generation, connection: u64, outgoing: mpsc::Sender<Bytes>) -> Self {
        let buffer = BytesMut::new();
        Self { generation, outgoing, buffer, connection, sent: 0, received: 0 }
    }
}

/// A message that waits for something to be durable.
struct Held<M> {
    after: PersistSequence,
    to: NodeId,
    generation: Generation,
    message: M,
}

/// The consensus loop of one node.
pub(crate) struct Driver<C: Consensus> {
    replica: Replica<C>,
    effects: ReplicaEffects<C::Message>,
    inbox: mpsc::Receiver<DriverInput<C::Message>>,
    lost: mpsc::UnboundedReceiver<(NodeId, Generation)>,
    workers: Workers,
    shared: Arc<Shared>,
    links: BTreeMap<NodeId, Link>,
    /// The last connection to each peer that is known to be gone.
    gone: BTreeMap<NodeId, Generation>,
    held: VecDeque<Held<C::Message>>,
    durable: PersistSequence,
    persists_asked: PersistSequence,
    applier: Applier,
    /// What this loop has applied itself, and not yet heard of.
    applied_here: Option<AppliedUpTo>,
    /// Everything up to here was given to be applied, here or on the applier's thread.
    delivered: Index,
    applied: Index,
    leader: Option<NodeId>,
    status_due: Option<Time>,
    status_published: Time,
    recorder: Recorder,
    /// How many of the round's events were recorded already.
    events_recorded: usize,
    /// When the round began.
    round_began: Time,
    /// The last reign of this node whose first write of a client was recorded.
    written: Option<Term>,
    /// Whether this node votes, as the protocol knows it.
    standing: Standing,
}

impl<C: Consensus> Driver<C> {
    pub(crate) fn new(
        replica: Replica<C>,
        inbox: mpsc::Receiver<DriverInput<C::Message>>,
        lost: mpsc::UnboundedReceiver<(NodeId, Generation)>,
        workers: Workers,
        shared: Arc<Shared>,
    ) -> Self {
        let applied = replica.core().view().log.applied();
        let mut recorder = Recorder::new(Arc::clone(&shared.ring));
        let last = replica.core().view().log.last().index;
        recorder.event(shared.clock.time(), Event::Started { last });
        recorder.publish();
        let standing = replica.status().standing;
        Self {
            applier: Applier::new(Arc::clone(&shared)),
            applied_here: None,
            delivered: applied,
            applied,
            replica,
            effects: ReplicaEffects::default(),
            inbox,
            lost,
            workers,
            shared,
            links: BTreeMap::new(),
            gone: BTreeMap::new(),
            held: VecDeque::new(),
            durable: PersistSequence(0),
            persists_asked: PersistSequence(0),
            leader: None,
            status_due: None,
            status_published: Time::default(),
            recorder,
            events_recorded: 0,
            round_began: Time::default(),
            written: None,
            standing,
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When the state machine can not go on.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        let mut inputs = Vec::with_capacity(ROUND_INPUTS_MAX);
        loop {
            if !self.round(&mut inputs)? {
                return Ok(());
            }
            if let Some(applied) = self.applied_here.take() {
                inputs.push(DriverInput::Applied(applied));
                continue;
            }
            let timer = self.effects.deadline.map(|(due, _)| due);
            let wake_at = timer.into_iter().chain(self.status_due).min();
            let wake_at = wake_at.map(|time| self.shared.clock.instant(time).into());
            let asleep = async move {
                match wake_at {
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((peer, generation)) = self.lost.recv() => self.peer_lost(peer, generation),
                _ = self.inbox.recv_many(&mut inputs, ROUND_INPUTS_MAX) => {}
                () = asleep => {}
            }
        }
    }

    /// Takes the inputs, fires the timers that are due, and carries out what follows. Returns
    /// whether to go on.
    fn round(&mut self, inputs: &mut Vec<DriverInput<C::Message>>) -> Result<bool, String> {
        let now = self.shared.clock.now();
        self.round_began = now.time;
        for input in inputs.drain(..) {
            let input = match input {
                DriverInput::Client(ClientInput::Write { request, envelope, deadline }) => {
                    ReplicaInput::Write { request, envelope, deadline }
                }
                DriverInput::Client(ClientInput::Read { request, confirmed, deadline }) => {
                    ReplicaInput::Read { request, confirmed, deadline }
                }
                DriverInput::Client(ClientInput::Transfer { request, to, deadline }) => {
                    ReplicaInput::Transfer { request, to, deadline }
                }
                DriverInput::Received { peer, generation, message } => {
                    self.message_received(peer, generation, &message);
                    ReplicaInput::Received { peer, generation, message }
                }
                DriverInput::Persisted(sequence) => {
                    self.durable = self.durable.max(sequence);
                    ReplicaInput::Persisted(sequence)
                }
                DriverInput::Applied(AppliedUpTo { index, revision, compacted }) => {
                    self.applied = index;
                    ReplicaInput::Applied { index, revision, compacted }
                }
                DriverInput::Fetched { purpose, entries } => {
                    ReplicaInput::Fetched { purpose, entries }
                }
                DriverInput::PeerConnected { peer, generation, standing, connection, outgoing } => {
                    if self.gone.get(&peer).is_some_and(|&gone| gone >= generation) {
                        continue;
                    }
                    self.take_standing(now);
                    self.forget_messages_to(peer);
                    let link = Link::new(generation, connection, outgoing);
                    self.links.insert(peer, link);
                    self.recorder.event(now.time, Event::PeerConnected { peer });
                    ReplicaInput::PeerConnected { peer, generation, standing }
                }
                DriverInput::Stop => return Ok(false),
            };
            self.step(now, input);
        }
        for _ in 0..ROUND_TIMERS_MAX {
            match self.effects.deadline {
                Some((due, timer)) if due <= now.time => {
                    self.step(now, ReplicaInput::Timer(timer));
                }
                _ => break,
            }
        }
        self.step(now, ReplicaInput::Flush);
        // Before the answers: whoever is answered after an election finds the new leader named.
        self.publish_status(now.time);
        self.carry_out()?;
        self.recorder.publish();
        Ok(true)
    }

    /// Before the first connection the cluster is formed, and with that it is known whether this node
    /// votes.
    fn take_standing(&mut self, now: Now) {
        let formed_with = self.shared.formation.standing();
        if self.standing == Standing::Observer && formed_with == Standing::Voter {
            self.step(now, ReplicaInput::BecomeVoter);
        }
        assert!(
            self.standing == Standing::Observer || formed_with == Standing::Voter,
            "who votes does not change once the cluster is formed"
        );
        self.standing = formed_with;
    }

    fn step(&mut self, now: Now, input: ReplicaInput<C::Message>) {
        self.replica.step(now, input, &mut self.effects);
        // At once, so that what happened stands between what was heard and what is said.
        for event in &self.effects.consensus.events[self.events_recorded..] {
            self.recorder.event(now.time, event.clone());
        }
        self.events_recorded = self.effects.consensus.events.len();
    }

    fn peer_lost(&mut self, peer: NodeId, generation: Generation) {
        let gone = self.gone.entry(peer).or_default();
        *gone = (*gone).max(generation);
        if self.links.get(&peer).is_some_and(|link| link.generation == generation) {
            self.links.remove(&peer);
            self.forget_messages_to(peer);
        }
        let now = self.shared.clock.now();
        self.recorder.event(now.time, Event::PeerLost { peer });
        self.step(now, ReplicaInput::PeerLost { peer, generation });
    }

    /// What this round said to a peer belongs to the connection that is gone now.
    fn forget_messages_to(&mut self, peer: NodeId) {
        self.effects.consensus.messages.retain(|outbound| outbound.to != peer);
        self.effects.messages.retain(|&(to, _)| to != peer);
    }

    fn carry_out(&mut self) -> Result<(), String> {
        let effects = &mut self.effects.consensus;
        if let Some(last) = effects.persists.last() {
            self.persists_asked = last.sequence;
            // A worker that is gone has failed, and the node with it: the failure is reported there.
            let _ = self.workers.log.send(std::mem::take(&mut effects.persists));
        }
        self.release_held();
        for outbound in std::mem::take(&mut self.effects.consensus.messages) {
            let Some(link) = self.links.get(&outbound.to) else { continue };
            if outbound.after <= self.durable {
                self.put_message(outbound.to, PeerMessage::Consensus(outbound.message));
            } else {
                let (after, to, generation) = (outbound.after, outbound.to, link.generation);
                self.held.push_back(Held { after, to, generation, message: outbound.message });
            }
        }
        for (to, message) in std::mem::take(&mut self.effects.messages) {
            self.put_message(to, PeerMessage::Replica(message));
        }
        self.send_buffers();
        // Before the deliveries: what was durable may have been truncated and written anew, and the
        // flusher must not take the new entries for as durable as the old ones were.
        let durable = self.replica.core().view().log.durable();
        self.shared.durable.store(durable.0, Ordering::Release);
        let effects = &mut self.effects.consensus;
        if !effects.deliveries.is_empty() {
            let entries = std::mem::take(&mut effects.deliveries);
            self.deliver(entries)?;
        }
        for fetch in self.effects.consensus.fetches.drain(..) {
            let _ = self.workers.fetcher.send(fetch);
        }
        if !self.effects.conclusions.is_empty() {
            let conclusions = self.effects.conclusions.drain(..);
            self.shared.end(conclusions.map(|(request, end)| (request, Ended::from(end))));
        }
        for event in std::mem::take(&mut self.effects.consensus.events) {
            self.tell(&event);
        }
        self.effects.clear();
        self.events_recorded = 0;
        Ok(())
    }

    /// Has committed entries applied: here, if that is done at once, or else by the applier.
    fn deliver(&mut self, entries: Vec<Entry>) -> Result<(), String> {
        let Some(last) = entries.last() else { return Ok(()) };
        let applier_is_idle = self.applied == self.delivered;
        self.delivered = last.position.index;
        self.note_first_write(&entries);
        if applier_is_idle {
            self.applied_here = self.applier.try_apply(&entries)?;
            if self.applied_here.is_some() {
                return Ok(());
            }
        }
        // A worker that is gone has failed, and the node with it: the failure is reported there.
        let _ = self.workers.applier.send(entries);
        Ok(())
    }

    /// Sends what waited for something that is durable now, unless its connection is gone.
    ///
    /// Tags need not grow along the queue, but nearly always do: it is scanned only while the front
    /// is ready, and whatever stands behind an unready front keeps its order.
    fn release_held(&mut self) {
        while self.held.front().is_some_and(|held| held.after <= self.durable) {
            let held = self.held.pop_front().expect("looked at just now");
            let current = self.links.get(&held.to).map(|link| link.generation);
            if current == Some(held.generation) {
                self.put_message(held.to, PeerMessage::Consensus(held.message));
            }
        }
    }

    fn put_message(&mut self, to: NodeId, message: PeerMessage<C::Message>) {
        let Some(link) = self.links.get_mut(&to) else { return };
        let (name, weight) = name_and_weight(&message);
        link.sent += 1;
        let passage = Passage { connection: link.connection, frame: link.sent };
        let kind = (name, is_routine(&message));
        self.recorder.message(self.round_began, Way::To(to), passage, kind, Told(&message));
        let metrics = &self.shared.metrics;
        metrics.messages_sent.get_or_create(&MessageLabel { message: name }).inc_by(weight);
        metrics.frames_sent.inc();
        put_frame(&mut link.buffer, FrameKind::Message, |out| message.encode(out));
    }

    fn send_buffers(&mut self) {
        for (peer, link) in &mut self.links {
            if link.buffer.is_empty() {
                continue;
            }
            let chunk = link.buffer.split().freeze();
            self.shared.metrics.peer_sent_bytes.inc_by(chunk.len() as u64);
            if link.outgoing.try_send(chunk).is_err() {
                // Leaving out a frame would break the order that the protocols rely on, so the
                // connection must end: its task sees the channel close.
                warn!("peer {} takes no more frames: its connection is given up", peer.0);
                let (closed, _) = mpsc::channel(1);
                link.outgoing = closed;
            }
        }
    }

    fn message_received(
        &mut self,
        peer: NodeId,
        generation: Generation,
        message: &PeerMessage<C::Message>,
    ) {
        let (name, weight) = name_and_weight(message);
        // What comes of a connection that is gone already is neither acted upon nor told.
        let link = self.links.get_mut(&peer).filter(|link| link.generation == generation);
        if let Some(link) = link {
            link.received += 1;
            let passage = Passage { connection: link.connection, frame: link.received };
            let kind = (name, is_routine(message));
            let way = Way::From(peer);
            self.recorder.message(self.round_began, way, passage, kind, Told(message));
        }
        let label = MessageLabel { message: name };
        self.shared.metrics.messages_received.get_or_create(&label).inc_by(weight);
    }

    /// Looks for the first write of a client in this node's own reign.
    fn note_first_write(&mut self, entries: &[Entry]) {
        let Leadership::Established { term } = self.replica.leadership() else { return };
        if self.written == Some(term) {
            return;
        }
        let is_write = |entry: &&Entry| {
            let header = entry.command().and_then(|payload| Envelope::header(payload).ok());
            // Number 0 is for commands that nobody waits for.
            entry.term() == term && header.is_some_and(|header| header.request != RequestId(0))
        };
        if let Some(first) = entries.iter().find(is_write) {
            let index = first.position.index;
            self.recorder.event(self.round_began, Event::FirstWrite { term, index });
            self.written = Some(term);
        }
    }

    /// One readable line for what a person should know.
    fn tell(&mut self, event: &Event) {
        match event {
            Event::Committed { .. } | Event::FirstCommit { .. } => {}
            Event::LeaderSuspected { .. }
            | Event::Truncated { .. }
            | Event::TransferFailed { .. } => warn!("{event}"),
            _ => info!("{event}"),
        }
    }

    fn publish_status(&mut self, now: Time) {
        let leader = match self.replica.leadership() {
            Leadership::None => None,
            Leadership::Following { leader, .. } => Some(leader),
            Leadership::Established { .. } => Some(self.shared.facts.id),
        };
        let leader_changed = leader != self.leader;
        if leader_changed && leader.is_some() {
            self.shared.metrics.leader_changes.inc();
        }
        self.leader = leader;
        let fresh_enough = now.since(self.status_published) < STATUS_INTERVAL;
        if fresh_enough && !leader_changed {
            self.status_due = Some(self.status_published + STATUS_INTERVAL);
            return;
        }
        self.status_due = None;
        self.status_published = now;
        let consensus = self.replica.status();
        let fsync_micros = self.shared.last_fsync_micros.load(Ordering::Relaxed);
        let persists = self.persists_asked.0 - self.durable.0;
        let status = NodeStatus {
            position: self.replica.core().describe(consensus.last),
            applied: self.applied,
            last_fsync: Duration::from_micros(fsync_micros),
            requests_pending: self.replica.requests_pending(),
            persists_pending: usize::try_from(persists).unwrap_or(usize::MAX),
            trouble: consensus
                .trouble
                .clone()
                .or_else(|| leader.is_none().then(|| "no leader is known".to_owned())),
            consensus,
        };
        *self.shared.status.write().expect("no holder of this lock panics") = Arc::new(status);
    }
}

fn name_and_weight<M: Message>(message: &PeerMessage<M>) -> (&'static str, u64) {
    match message {
        PeerMessage::Consensus(message) => (message.name(), message.weight()),
        PeerMessage::Replica(message) => (message.name(), 1),
    }
}

/// Whether traces forget it soon.
fn is_routine<M: Message>(message: &PeerMessage<M>) -> bool {
    match message {
        PeerMessage::Consensus(message) => message.is_routine(),
        PeerMessage::Replica(_) => true,
    }
}

/// What a message says.
struct Told<'a, M>(&'a PeerMessage<M>);

impl<M: fmt::Display> fmt::Display for Told<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PeerMessage::Consensus(message) => message.fmt(f),
            PeerMessage::Replica(message) => message.fmt(f),
        }
    }
}
