//! The consensus loop: takes what happened, steps the replica, carries out what it asks for.
//!
//! The loop waits for nothing but its inbox and the clock. Writing the log, applying, fetching old
//! entries and flushing the store each have a thread of their own and report back to the inbox.

mod lab;
mod snapshots;
mod telling;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as thread_channel;

use bytes::{Bytes, BytesMut};
use consensus::codec::Wire;
use consensus::{
    Consensus, Entry, Event, Fetch, FetchPurpose, Generation, Index, NodeId, Now, Passage, Persist,
    PersistSequence, Standing, Term, Time,
};
use kvcore::Progress;
use kvcore::replica::{PeerMessage, Replica, ReplicaEffects, ReplicaInput};
use tokio::sync::mpsc;
use tracing::warn;

use self::lab::Aligned;
use self::snapshots::Snapshots;
use self::telling::{Told, is_routine, name_and_weight};
use super::applier::{Applier, ApplierWork};
use super::shared::{ClientInput, Ended, Shared};
use super::snapshots::ReceivedSnapshot;
use super::trace::{Recorder, Way};
use super::transport::{FrameKind, put_frame};
use crate::metrics::MessageLabel;

/// The inputs taken in one round, so that a flood does not put off the effects.
const ROUND_INPUTS_MAX: usize = 4096;
/// How many inputs may wait; clients are refused beyond, peers are not read from.
pub(crate) const INBOX_INPUTS_MAX: usize = 65_536;
/// The timers fired in one round.
const ROUND_TIMERS_MAX: usize = 16;

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
    Applied(Progress),
    Fetched {
        purpose: FetchPurpose,
        entries: Vec<Entry>,
    },
    /// The log may forget up to here, if no peer needs it, and in any case up to `at_least`.
    Compact {
        index: Index,
        at_least: Index,
    },
    /// A snapshot is durable here as a whole.
    SnapshotReceived {
        peer: NodeId,
        generation: Generation,
        message: M,
        received: Box<ReceivedSnapshot>,
    },
    /// A snapshot to a peer came to its end; the number is this node's own for it.
    SnapshotEnded {
        peer: NodeId,
        generation: Generation,
        number: u64,
    },
    Stop,
}

/// Both ends of the loop's inbox: what it starts itself reports there, too.
pub(crate) type Inbox<M> = (mpsc::Sender<DriverInput<M>>, mpsc::Receiver<DriverInput<M>>);

/// Where the loop's work goes.
pub(crate) struct Workers {
    pub(crate) log: thread_channel::Sender<Vec<Persist>>,
    pub(crate) applier: thread_channel::Sender<ApplierWork>,
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
    applied_here: Option<Progress>,
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
    snapshots: Snapshots<C::Message>,
    /// Whether this node votes, as the protocol knows it.
    standing: Standing,
    /// When election timers fire, if not when they are due.
    aligned: Aligned,
}

impl<C: Consensus> Driver<C> {
    pub(crate) fn new(
        replica: Replica<C>,
        (inbox_sender, inbox): Inbox<C::Message>,
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
            snapshots: Snapshots::new(inbox_sender),
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
            aligned: Aligned::default(),
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When the state machine can not go on.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        let most = self.shared.facts.mechanisms.at_a_time(ROUND_INPUTS_MAX);
        let mut inputs = Vec::with_capacity(most);
        loop {
            if self.shared.faults.pauses() {
                self.shared.faults.pause_over().await;
            }
            if self.shared.faults.has_crashed() || !self.round(&mut inputs)? {
                return Ok(());
            }
            if let Some(applied) = self.applied_here.take() {
                inputs.push(DriverInput::Applied(applied));
                continue;
            }
            let timer = self.next_timer().map(|(due, _)| due);
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
                _ = self.inbox.recv_many(&mut inputs, most) => {}
                () = asleep => {}
            }
        }
    }

    /// Takes the inputs, fires the timers that are due, and carries out what follows. Returns
    /// whether to go on.
    fn round(&mut self, inputs: &mut Vec<DriverInput<C::Message>>) -> Result<bool, String> {
        let now = self.shared.now();
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
                DriverInput::Client(ClientInput::Lease { request, question, deadline }) => {
                    ReplicaInput::Lease { request, question, deadline }
                }
                DriverInput::Client(ClientInput::Lab(input)) => match self.lab(now, input) {
                    Some(input) => input,
                    None => continue,
                },
                DriverInput::Received { peer, generation, message } => {
                    self.message_received(peer, generation, &message);
                    ReplicaInput::Received { peer, generation, message }
                }
                DriverInput::Persisted(sequence) => {
                    self.durable = self.durable.max(sequence);
                    ReplicaInput::Persisted(sequence)
                }
                DriverInput::Applied(applied) => {
                    self.applied = applied.index;
                    ReplicaInput::Applied(applied)
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
                DriverInput::Compact { index, at_least } => {
                    match self.compactable(index, at_least) {
                        Some(index) => ReplicaInput::Compact(index),
                        None => continue,
                    }
                }
                DriverInput::SnapshotReceived { peer, generation, message, received } => {
                    let snapshot = self.snapshots.received(received);
                    ReplicaInput::SnapshotReceived { peer, generation, snapshot, message }
                }
                DriverInput::SnapshotEnded { peer, generation, number } => {
                    if !self.snapshots.ended(peer, number) {
                        continue;
                    }
                    ReplicaInput::SnapshotEnded { peer, generation }
                }
                DriverInput::Stop => return Ok(false),
            };
            self.step(now, input);
        }
        for _ in 0..ROUND_TIMERS_MAX {
            match self.next_timer() {
                Some((due, timer)) if due <= now.time => {
                    self.aligned.fired(timer);
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
            self.snapshots.peer_lost(peer);
            self.forget_messages_to(peer);
        }
        let now = self.shared.now();
        self.recorder.event(now.time, Event::PeerLost { peer });
        self.step(now, ReplicaInput::PeerLost { peer, generation });
    }

    /// What this round said to a peer belongs to the connection that is gone now.
    fn forget_messages_to(&mut self, peer: NodeId) {
        self.effects.consensus.messages.retain(|outbound| outbound.to != peer);
        self.effects.consensus.snapshots.retain(|offer| offer.to != peer);
        self.effects.messages.retain(|&(to, _)| to != peer);
    }

    fn carry_out(&mut self) -> Result<(), String> {
        let effects = &mut self.effects.consensus;
        self.snapshots.decide(&effects.persists);
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
        let mut entries = std::mem::take(&mut self.effects.consensus.deliveries);
        if let Some(snapshot) = self.effects.consensus.install.take() {
            // What was delivered earlier in the round is answered as ever.
            let covered = entries.partition_point(|entry| entry.index() <= snapshot.position.index);
            let behind = entries.split_off(covered);
            self.deliver(std::mem::replace(&mut entries, behind))?;
            self.install(&snapshot);
        }
        self.deliver(entries)?;
        self.send_snapshots();
        for fetch in self.effects.consensus.fetches.drain(..) {
            let _ = self.workers.fetcher.send(fetch);
        }
        if !self.effects.conclusions.is_empty() {
            let conclusions = self.effects.conclusions.drain(..);
            self.shared.waiting.end(conclusions.map(|(request, end)| (request, Ended::from(end))));
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
        let _ = self.workers.applier.send(ApplierWork::Apply(entries));
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
}
