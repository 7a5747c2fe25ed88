//! Replicas in one process, whose disks are instant and whose network the test holds in its hands.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use consensus::{
    Consensus, Entry, Generation, Index, Leadership, NodeId, Now, Payload, Position, Recovered,
    Refusal, Settings, Snapshot, SnapshotOffer, Standing, Term, Time, WallTime, Wire,
};
use kvcore::replica::{
    Conclusion, DIGEST_INTERVAL_DEFAULT, LEASE_CHECKPOINT_INTERVAL_DEFAULT, LeaseQuestion,
    PeerMessage, Replica, ReplicaEffects, ReplicaInput, ReplicaMessage, ReplicaSettings,
};
use kvcore::{
    Applied, Command, Envelope, Idempotency, IdempotencyKey, LeaseId, Machine, MemoryStore,
    Progress, RequestId,
};

/// One test for each protocol from one scenario.
macro_rules! for_both_protocols {
    ($($scenario:ident),* $(,)?) => {
        mod raft {
            $(#[test] fn $scenario() { super::$scenario::<super::Raft>(); })*
        }
        mod zab {
            $(#[test] fn $scenario() { super::$scenario::<super::Zab>(); })*
        }
    };
}

pub(crate) use for_both_protocols;

/// How long a client of these tests waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A message under way: from, to, and the connection as its receiver numbers it.
type Frame<M> = (NodeId, NodeId, Generation, PeerMessage<M>);

struct Node<C: Consensus> {
    replica: Replica<C>,
    effects: ReplicaEffects<C::Message>,
    delivered: Vec<Entry>,
    /// What is applied: everything that was delivered, unless the applier is held up.
    machine: Machine<MemoryStore>,
    unapplied: VecDeque<Entry>,
    is_held_up: bool,
    /// The machine makes something else of the next command than it should.
    rots: bool,
    conclusions: BTreeMap<RequestId, Conclusion>,
    /// The snapshots that took the place of the machine, and how many entries were delivered before.
    installed: Vec<(Position, usize)>,
    /// What the protocol last offered to each peer.
    offers: BTreeMap<NodeId, SnapshotOffer<C::Message>>,
}

impl<C: Consensus> Node<C> {
    /// Applies what was delivered. Returns the last index, if there was anything.
    fn apply(&mut self) -> Option<Index> {
        if self.is_held_up {
            return None;
        }
        let mut last = None;
        for mut entry in self.unapplied.drain(..) {
            last = Some(entry.index());
            if self.rots && entry.command().is_some() {
                entry.payload = Payload::Command(rotten());
                self.rots = false;
            }
            // A snapshot has no machine in these tests; what follows one is not applied to any.
            if self.installed.is_empty() {
                self.machine.apply(&entry).expect("the store does not fail");
            }
        }
        last
    }
}

/// Three replicas or more, connected with one another.
pub(crate) struct Cluster<C: Consensus> {
    nodes: BTreeMap<NodeId, Node<C>>,
    time: Time,
    network: VecDeque<Frame<C::Message>>,
    links: BTreeMap<(NodeId, NodeId), Generation>,
    cut: BTreeSet<NodeId>,
    /// A node that refuses every write that is forwarded to it.
    refusing: Option<NodeId>,
    /// Frames with forwarded writes that arrived anywhere.
    forwards: usize,
    requests: u64,
}

impl<C: Consensus> Cluster<C> {
    /// Three replicas that have elected a leader.
    pub(crate) fn with_leader() -> (Self, NodeId) {
        Self::with_leader_and_observers(0)
    }

    /// Three replicas that have elected a leader, and observers with the numbers behind theirs.
    pub(crate) fn with_leader_and_observers(observers: u64) -> (Self, NodeId) {
        let voters: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let observers: BTreeSet<NodeId> = (4..4 + observers).map(NodeId).collect();
        let ids: Vec<NodeId> = voters.iter().chain(&observers).copied().collect();
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            time: Time::default(),
            network: VecDeque::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            refusing: None,
            forwards: 0,
            requests: 0,
        };
        for &id in &ids {
            let observes = observers.contains(&id);
            let settings = Settings {
                observers: observers.clone(),
                standing: if observes { Standing::Observer } else { Standing::Voter },
                ..Settings::new(id, voters.clone())
            };
            let now = Now { time: cluster.time, wall: WallTime(0) };
            let core = C::start(now, settings, Recovered::default()).expect("an empty log");
            let settings = ReplicaSettings {
                id,
                incarnation: 7,
                requests_max: 100,
                request_bytes_max: 1 << 20,
                retain_revisions: None,
                retain_for: None,
                quota_bytes: None,
                lease_checkpoint_interval: LEASE_CHECKPOINT_INTERVAL_DEFAULT,
                digest_interval: Some(DIGEST_INTERVAL_DEFAULT),
            };
            let machine = Machine::open(MemoryStore::new()).expect("a new store opens");
            let replica = Replica::new(core, settings, machine.restored());
            let (delivered, conclusions) = (Vec::new(), BTreeMap::new());
            let effects = ReplicaEffects::default();
            let (installed, offers) = (Vec::new(), BTreeMap::new());
            let node = Node {
                replica,
                effects,
                delivered,
                machine,
                rots: false,
                unapplied: VecDeque::new(),
                is_held_up: false,
                conclusions,
                installed,
                offers,
            };
            cluster.nodes.insert(id, node);
        }
        for &id in &ids {
            cluster.step(id, ReplicaInput::Flush);
        }
        cluster.connect_all();
        let leader = cluster.run_until_led();
        (cluster, leader)
    }

    /// The ids of all nodes.
    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The ids of all nodes but this one.
    pub(crate) fn others(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|&other| other != id).collect()
    }

    /// Runs until one connected node leads and the other connected ones follow it.
    pub(crate) fn run_until_led(&mut self) -> NodeId {
        for _ in 0..2_000 {
            self.advance(Duration::from_millis(5));
            let connected = self.nodes.iter().filter(|(id, _)| !self.cut.contains(id));
            let known: BTreeSet<_> = connected
                .map(|(&id, node)| match node.replica.leadership() {
                    Leadership::None => None,
                    Leadership::Following { leader, .. } => Some(leader),
                    Leadership::Established { .. } => Some(id),
                })
                .collect();
            if let (1, Some(&Some(leader))) = (known.len(), known.first()) {
                return leader;
            }
        }
        panic!("no leader within ten seconds");
    }

    /// A client of this node asks for a put.
    pub(crate) fn put(&mut self, id: NodeId, value: &str) -> RequestId {
        self.put_under(id, value, None)
    }

    /// A client of this node asks for a put that has an idempotency key.
    pub(crate) fn put_with_key(&mut self, id: NodeId, value: &str, key: &str) -> RequestId {
        let key = IdempotencyKey::new(key.as_bytes()).expect("tests use keys");
        self.put_under(id, value, Some(Idempotency { key, since: Index(0) }))
    }

    fn put_under(
        &mut self,
        id: NodeId,
        value: &str,
        idempotency: Option<Idempotency>,
    ) -> RequestId {
        self.write_under(id, Command::put("key", value.to_owned()), idempotency)
    }

    /// A client of this node asks for a write.
    pub(crate) fn write(&mut self, id: NodeId, command: Command) -> RequestId {
        self.write_under(id, command, None)
    }

    fn write_under(
        &mut self,
        id: NodeId,
        command: Command,
        idempotency: Option<Idempotency>,
    ) -> RequestId {
        let request = self.next_request();
        let (origin, incarnation) = (id, 7);
        let envelope = Envelope { origin, incarnation, request, idempotency, command }.to_bytes();
        let deadline = self.time + PATIENCE;
        self.step(id, ReplicaInput::Write { request, envelope, deadline });
        self.step(id, ReplicaInput::Flush);
        request
    }

    /// A client of this node asks about a lease.
    pub(crate) fn ask_about(&mut self, id: NodeId, lease: LeaseId, renew: bool) -> RequestId {
        let request = self.next_request();
        let question = LeaseQuestion { lease, renew };
        let deadline = self.time + PATIENCE;
        self.step(id, ReplicaInput::Lease { request, question, deadline });
        self.step(id, ReplicaInput::Flush);
        request
    }

    /// What a node has applied.
    pub(crate) fn machine(&self, id: NodeId) -> &Machine<MemoryStore> {
        &self.nodes[&id].machine
    }

    /// The machine of a node makes something else of its next command than those of the others.
    pub(crate) fn rot(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).expect("a node of the cluster").rots = true;
    }

    /// From now on a node applies nothing, or everything again.
    pub(crate) fn hold_up(&mut self, id: NodeId, is_held_up: bool) {
        self.nodes.get_mut(&id).expect("a node of the cluster").is_held_up = is_held_up;
        self.step(id, ReplicaInput::Flush);
    }

    /// A client of this node asks for a read.
    pub(crate) fn read(&mut self, id: NodeId, confirmed: bool) -> RequestId {
        let request = self.next_request();
        let deadline = self.time + PATIENCE;
        self.step(id, ReplicaInput::Read { request, confirmed, deadline });
        self.step(id, ReplicaInput::Flush);
        request
    }

    /// A client of this node wants another leader.
    pub(crate) fn transfer(&mut self, id: NodeId, to: Option<NodeId>) -> RequestId {
        let request = self.next_request();
        let deadline = self.time + PATIENCE;
        self.step(id, ReplicaInput::Transfer { request, to, deadline });
        self.step(id, ReplicaInput::Flush);
        request
    }

    /// A node refuses every write that is forwarded to it, as one that does not lead, or does not
    /// any more.
    pub(crate) fn refuse_forwarded(&mut self, by: Option<NodeId>) {
        self.refusing = by;
    }

    /// Lets the forwarded writes arrive that are under way, and nothing else.
    pub(crate) fn deliver_forwards(&mut self) {
        let under_way = std::mem::take(&mut self.network);
        for (from, to, generation, message) in under_way {
            if let PeerMessage::Replica(ReplicaMessage::Forward { .. }) = message {
                self.step(to, ReplicaInput::Received { peer: from, generation, message });
                self.step(to, ReplicaInput::Flush);
            } else {
                self.network.push_back((from, to, generation, message));
            }
        }
    }

    /// How many frames with forwarded writes have arrived.
    pub(crate) fn forwards(&self) -> usize {
        self.forwards
    }

    /// The replica's whole state in words.
    pub(crate) fn describe(&self, id: NodeId) -> String {
        format!("{:?}", self.nodes[&id].replica)
    }

    /// How a request ended, other than by being applied.
    pub(crate) fn conclusion(&self, id: NodeId, request: RequestId) -> Option<Conclusion> {
        self.nodes[&id].conclusions.get(&request).copied()
    }

    /// How often the entry of a request was delivered at a node.
    pub(crate) fn deliveries(&self, at: NodeId, request: RequestId) -> usize {
        let of_request = |entry: &&Entry| {
            let header = entry.command().map(|envelope| Envelope::header(envelope).expect("ours"));
            header.is_some_and(|header| header.request == request)
        };
        self.nodes[&at].delivered.iter().filter(of_request).count()
    }

    /// Breaks the connection of two nodes and makes another.
    pub(crate) fn reconnect(&mut self, a: NodeId, b: NodeId) {
        for (a, b) in [(a, b), (b, a)] {
            let generation = self.links[&(a, b)];
            self.step(a, ReplicaInput::PeerLost { peer: b, generation });
            self.step(a, ReplicaInput::Flush);
        }
        self.network.retain(|&(from, to, ..)| (from, to) != (a, b) && (from, to) != (b, a));
        self.connect(a, b);
    }

    /// What a state machine makes of everything that was delivered at a node: all that it applied.
    pub(crate) fn applied(&self, at: NodeId) -> Vec<Applied> {
        let mut machine = Machine::open(MemoryStore::new()).expect("a new store opens");
        let entries = self.nodes[&at].delivered.iter();
        let applied = entries.map(|entry| machine.apply(entry).expect("the store does not fail"));
        applied.collect()
    }

    /// A node's log forgets everything that it has applied.
    pub(crate) fn compact(&mut self, id: NodeId) {
        let index = self.nodes[&id].replica.core().view().log.applied();
        self.step(id, ReplicaInput::Compact(index));
        self.step(id, ReplicaInput::Flush);
    }

    /// Lets a snapshot arrive that a node offers to another, if it does. Returns whether it did.
    pub(crate) fn complete_snapshot(&mut self, from: NodeId, to: NodeId) -> bool {
        let node = self.nodes.get_mut(&from).expect("a node of the cluster");
        let Some(SnapshotOffer { message, .. }) = node.offers.remove(&to) else { return false };
        let log = node.replica.core().view().log;
        let index = log.applied();
        let term = log.term(index).expect("what is applied is in the log");
        let terms = log.terms().range(..=index).map(|(&first, &term)| (first, term)).collect();
        let snapshot = Snapshot { position: Position { term, index }, terms, handle: 1 };
        let generation = self.links[&(to, from)];
        let input = ReplicaInput::SnapshotReceived { peer: from, generation, snapshot, message };
        self.step(to, input);
        self.step(to, ReplicaInput::Flush);
        let generation = self.links[&(from, to)];
        self.step(from, ReplicaInput::SnapshotEnded { peer: to, generation });
        self.step(from, ReplicaInput::Flush);
        true
    }

    /// The positions of the snapshots that a node installed.
    pub(crate) fn installed(&self, id: NodeId) -> Vec<Position> {
        self.nodes[&id].installed.iter().map(|&(position, _)| position).collect()
    }

    /// The indexes that were delivered to a node since its last install.
    pub(crate) fn delivered_since_install(&self, id: NodeId) -> Vec<Index> {
        let node = &self.nodes[&id];
        let from = node.installed.last().map_or(0, |&(_, delivered)| delivered);
        node.delivered[from..].iter().map(Entry::index).collect()
    }

    /// Breaks every connection of a node.
    pub(crate) fn isolate(&mut self, id: NodeId) {
        self.cut.insert(id);
        for other in self.others(id) {
            for (a, b) in [(id, other), (other, id)] {
                let generation = self.links[&(a, b)];
                self.step(a, ReplicaInput::PeerLost { peer: b, generation });
                self.step(a, ReplicaInput::Flush);
            }
        }
        self.network.retain(|&(from, to, ..)| from != id && to != id);
    }

    /// Breaks every connection of a node, which does not notice.
    pub(crate) fn cut_off(&mut self, id: NodeId) {
        self.cut.insert(id);
        for other in self.others(id) {
            let generation = self.links[&(other, id)];
            self.step(other, ReplicaInput::PeerLost { peer: id, generation });
            self.step(other, ReplicaInput::Flush);
        }
        self.network.retain(|&(from, to, ..)| from != id && to != id);
    }

    /// The entries that were delivered to a node, in order.
    pub(crate) fn delivered(&self, id: NodeId) -> &[Entry] {
        &self.nodes[&id].delivered
    }

    /// Connects a node again.
    pub(crate) fn heal(&mut self, id: NodeId) {
        self.cut.remove(&id);
        for other in self.others(id) {
            self.connect(id, other);
        }
    }

    /// Lets time pass: timers fire, messages arrive.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let until = self.time + duration;
        while self.time < until {
            self.time = self.time + Duration::from_millis(1);
            self.settle();
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            for id in ids {
                if let Some((due, timer)) = self.nodes[&id].effects.deadline
                    && due <= self.time
                {
                    self.step(id, ReplicaInput::Timer(timer));
                    self.step(id, ReplicaInput::Flush);
                }
            }
            self.settle();
        }
    }

    fn connect_all(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for &a in &ids {
            for &b in ids.iter().filter(|&&b| b > a) {
                self.connect(a, b);
            }
        }
    }

    fn connect(&mut self, a: NodeId, b: NodeId) {
        for (a, b) in [(a, b), (b, a)] {
            let generation = self.links.entry((a, b)).or_default();
            *generation = generation.next();
            let generation = *generation;
            self.step(
                a,
                ReplicaInput::PeerConnected { peer: b, generation, standing: Standing::Voter },
            );
            self.step(a, ReplicaInput::Flush);
        }
    }

    /// Delivers the next message.
    pub(crate) fn deliver_one(&mut self) {
        let message = self.network.pop_front().expect("something is under way");
        self.deliver(message);
    }

    /// A node asks another on a connection for a barrier, under a number that no attempt of it has.
    /// Returns whether it is answered; the answer does not arrive.
    pub(crate) fn asks(&mut self, from: NodeId, to: NodeId, generation: Generation) -> bool {
        let attempt = 1_000_000;
        let request = ReplicaMessage::BarrierRequest { attempt, confirmed: true };
        let message = PeerMessage::Replica(request);
        self.step(to, ReplicaInput::Received { peer: from, generation, message });
        self.step(to, ReplicaInput::Flush);
        let mut answered = false;
        for _ in 0..1_000 {
            let Some(frame) = self.network.pop_front() else { break };
            match frame.3 {
                PeerMessage::Replica(ReplicaMessage::BarrierReply { attempt: of, .. })
                    if of == attempt =>
                {
                    answered = true;
                }
                _ => self.deliver(frame),
            }
        }
        answered
    }

    /// The connection of two nodes, as the first numbers it.
    pub(crate) fn generation(&self, at: NodeId, peer: NodeId) -> Generation {
        self.links[&(at, peer)]
    }

    /// A newer connection takes the place of one whose loss nobody has noticed.
    pub(crate) fn replace_connection(&mut self, a: NodeId, b: NodeId) {
        self.connect(a, b);
    }

    /// Delivers messages until there are none.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some(message) = self.network.pop_front() else { return };
            self.deliver(message);
        }
        panic!("the cluster never falls silent");
    }

    fn deliver(&mut self, (from, to, generation, message): Frame<C::Message>) {
        if self.links.get(&(to, from)) != Some(&generation) {
            return;
        }
        if let PeerMessage::Replica(ReplicaMessage::Forward { term, envelopes }) = &message {
            self.forwards += 1;
            if self.refusing == Some(to) {
                let back = self.links[&(from, to)];
                return self.network.push_back((to, from, back, refusal(*term, envelopes)));
            }
        }
        self.step(to, ReplicaInput::Received { peer: from, generation, message });
        self.step(to, ReplicaInput::Flush);
    }

    fn step(&mut self, id: NodeId, input: ReplicaInput<C::Message>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = Now { time: self.time, wall: WallTime(self.time.0 / 1_000) };
            let node = self.nodes.get_mut(&id).expect("a node of the cluster");
            node.replica.step(now, input, &mut node.effects);
            let effects = &mut node.effects;
            let mut send = |to: NodeId, message| {
                if let Some(&generation) = self.links.get(&(to, id))
                    && !self.cut.contains(&id)
                    && !self.cut.contains(&to)
                {
                    self.network.push_back((id, to, generation, message));
                }
            };
            // These disks are instant, so every tag is durable.
            for outbound in effects.consensus.messages.drain(..) {
                send(outbound.to, PeerMessage::Consensus(outbound.message));
            }
            for (to, message) in effects.messages.drain(..) {
                send(to, PeerMessage::Replica(message));
            }
            if let Some(last) = effects.consensus.persists.last() {
                inputs.push_back(ReplicaInput::Persisted(last.sequence));
                inputs.push_back(ReplicaInput::Flush);
            }
            for offer in effects.consensus.snapshots.drain(..) {
                node.offers.insert(offer.to, offer);
            }
            let mut applied = None;
            if let Some(snapshot) = effects.consensus.install.take() {
                applied = Some(snapshot.position.index);
                node.installed.push((snapshot.position, node.delivered.len()));
            }
            node.unapplied.extend(effects.consensus.deliveries.iter().cloned());
            node.delivered.append(&mut effects.consensus.deliveries);
            if let Some(index) = node.apply().or(applied) {
                let progress = Progress { index, ..node.machine.take_progress() };
                inputs.push_back(ReplicaInput::Applied(progress));
                inputs.push_back(ReplicaInput::Flush);
            }
            let effects = &mut node.effects;
            for (request, conclusion) in effects.conclusions.drain(..) {
                let former = node.conclusions.insert(request, conclusion);
                assert_eq!(former, None, "a request ends once");
            }
            effects.clear();
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }
}

/// Something that nobody asked for.
fn rotten() -> Bytes {
    let (origin, incarnation, request) = (NodeId(1), 0, RequestId(0));
    let command = Command::put("key", "rotten");
    Envelope { origin, incarnation, request, idempotency: None, command }.to_bytes()
}

/// What a node that does not lead says to writes.
fn refusal<M>(term: Term, envelopes: &[Bytes]) -> PeerMessage<M> {
    let request = |envelope| Envelope::header(envelope).expect("ours").request;
    let requests = envelopes.iter().map(request).collect();
    let reason = Refusal::NotLeader;
    PeerMessage::Replica(ReplicaMessage::ForwardRefused { term, requests, reason })
}
