//! One server alone; the test plays its peers, its disk and its clock, as ZooKeeper's `Zab1_0Test`
//! plays one side of a socket.

#![allow(dead_code, reason = "each test crate uses a part")]

use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Answer, Consensus, Effects, Entry, Event, Generation, Index, Input, Leadership, NodeId, Now,
    Outbound, Payload, Persist, PersistSequence, Position, Recovered, Settings, Snapshot,
    SnapshotOffer, Standing, StartError, Term, Timer, Token, WallTime, Wire,
};
use consensus_zab::{
    Epoch, EpochTable, LogPoint, Notification, Promise, ServerState, Session, Vote, Zab,
    ZabMessage, Zxid,
};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) entries: Vec<Entry>,
    pub(crate) promise: Promise,
    pub(crate) commit: Index,
    /// What the entries stand behind.
    pub(crate) snapshot: Option<Snapshot>,
}

/// A server, its disk, and what it did since the test last looked.
#[derive(Debug)]
pub(crate) struct Lone {
    pub(crate) zab: Zab,
    pub(crate) disk: Disk,
    pub(crate) settings: Settings,
    pub(crate) now: Duration,
    pub(crate) sent: Vec<(NodeId, ZabMessage)>,
    pub(crate) delivered: Vec<Entry>,
    pub(crate) installs: Vec<Snapshot>,
    pub(crate) offers: Vec<SnapshotOffer<ZabMessage>>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) events: Vec<Event>,
    pub(crate) leadership: Vec<Leadership>,
    pub(crate) writes: Vec<Persist>,
    held: Vec<Outbound<ZabMessage>>,
    durable: PersistSequence,
    deadline: Option<(consensus::Time, Timer)>,
}

impl Lone {
    /// Server `id` of this many voters, started from a disk, connected to all, and looking.
    pub(crate) fn start(id: u64, voters: u64, disk: Disk) -> Self {
        let mut settings = Settings::new(NodeId(id), (1..=voters).map(NodeId));
        settings.finalize_wait = Duration::ZERO;
        Self::start_with(settings, disk)
    }

    /// As [`Lone::start`], with these settings.
    pub(crate) fn start_with(settings: Settings, disk: Disk) -> Self {
        let mut lone = Self::try_start(settings, disk).expect("the disk is sound");
        for peer in lone.settings.voters.clone() {
            if peer != lone.settings.id {
                lone.step(Input::PeerConnected {
                    peer,
                    generation: Generation(1),
                    standing: Standing::Voter,
                });
            }
        }
        lone.fire(Timer::Election);
        lone
    }

    /// Starts without connecting.
    pub(crate) fn try_start(settings: Settings, disk: Disk) -> Result<Self, StartError> {
        let snapshot = disk.snapshot.clone().unwrap_or_default();
        let mut terms = snapshot.terms;
        for entry in &disk.entries {
            entry.note_term(&mut terms);
        }
        let recovered = Recovered {
            promise: Some(disk.promise.to_bytes()),
            terms,
            last: disk.entries.last().map_or(snapshot.position.index, Entry::index),
            tail: disk.entries.clone(),
            compacted: snapshot.position.index,
            commit: disk.commit,
        };
        Ok(Self {
            zab: Zab::start(Now::default(), settings.clone(), recovered)?,
            disk,
            settings,
            now: Duration::ZERO,
            sent: Vec::new(),
            delivered: Vec::new(),
            installs: Vec::new(),
            offers: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
            leadership: Vec::new(),
            writes: Vec::new(),
            held: Vec::new(),
            durable: PersistSequence(0),
            deadline: None,
        })
    }

    /// Gives an input and a flush.
    pub(crate) fn step(&mut self, input: Input<ZabMessage>) {
        self.step_all([input]);
    }

    /// Gives inputs and one flush.
    pub(crate) fn step_all(&mut self, inputs: impl IntoIterator<Item = Input<ZabMessage>>) {
        let now = Now::from_millis(u64::try_from(self.now.as_millis()).expect("small"));
        let mut effects = Effects::default();
        for input in inputs.into_iter().chain([Input::Flush]) {
            self.zab.step(now, input, &mut effects);
        }
        self.writes.extend(effects.persists);
        self.held.extend(effects.messages);
        self.installs.extend(effects.install);
        self.delivered.extend(effects.deliveries);
        self.offers.extend(effects.snapshots);
        self.answers.extend(effects.answers);
        self.events.extend(effects.events);
        self.leadership.extend(effects.leadership);
        self.deadline = effects.deadline;
        self.release();
    }

    /// Sends what no longer waits for a write. What waits for nothing overtakes.
    fn release(&mut self) {
        let durable = self.durable;
        let (free, held) = self.held.drain(..).partition(|message| message.after <= durable);
        self.held = held;
        let mut free: Vec<Outbound<ZabMessage>> = free;
        free.sort_by_key(|message| message.after);
        self.sent.extend(free.into_iter().map(|message| (message.to, message.message)));
    }

    /// Completes the oldest write under way.
    pub(crate) fn persist_one(&mut self) {
        let write = self.writes.remove(0);
        if let Some(snapshot) = write.install {
            self.disk.entries.clear();
            self.disk.snapshot = Some(snapshot);
        }
        if let Some(from) = write.truncate_from {
            self.disk.entries.retain(|entry| entry.index() < from);
        }
        self.disk.entries.extend(write.entries);
        if let Some(promise) = write.promise {
            self.disk.promise = Promise::from_bytes(promise).expect("a promise");
        }
        self.disk.commit = write.commit;
        self.durable = write.sequence;
        self.step(Input::Persisted(write.sequence));
    }

    /// Completes every write, also those that follow from it.
    pub(crate) fn persist(&mut self) {
        while !self.writes.is_empty() {
            self.persist_one();
        }
    }

    /// Delivers a peer's message on the first connection.
    pub(crate) fn say(&mut self, from: u64, message: ZabMessage) {
        self.say_all([(from, message)]);
    }

    /// Delivers messages of peers, with one flush.
    pub(crate) fn say_all(&mut self, messages: impl IntoIterator<Item = (u64, ZabMessage)>) {
        let received = messages.into_iter().map(|(from, message)| Input::Received {
            peer: NodeId(from),
            generation: Generation(1),
            message,
        });
        self.step_all(received);
    }

    /// Breaks the first connection to a peer.
    pub(crate) fn lose(&mut self, peer: u64) {
        self.step(Input::PeerLost { peer: NodeId(peer), generation: Generation(1) });
    }

    pub(crate) fn fire(&mut self, timer: Timer) {
        self.step(Input::Timer(timer));
    }

    /// Lets time pass and fires what becomes due.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some((due, timer)) = self.deadline {
            let due = Duration::from_micros(due.0).max(self.now);
            if due > end {
                break;
            }
            self.now = due;
            self.fire(timer);
        }
        self.now = end;
    }

    pub(crate) fn propose(&mut self, commands: &[&str]) {
        let inputs: Vec<_> = commands
            .iter()
            .map(|command| Input::Propose {
                token: Token(1),
                command: Bytes::copy_from_slice(command.as_bytes()),
            })
            .collect();
        self.step_all(inputs);
    }

    /// What was sent to a peer since the test last looked.
    pub(crate) fn sent_to(&mut self, peer: u64) -> Vec<ZabMessage> {
        let peer = NodeId(peer);
        let (to_peer, rest) = self.sent.drain(..).partition(|&(to, _)| to == peer);
        self.sent = rest;
        let to_peer: Vec<(NodeId, ZabMessage)> = to_peer;
        to_peer.into_iter().map(|(_, message)| message).collect()
    }

    /// The same as text, without signs of life.
    pub(crate) fn told(&mut self, peer: u64) -> Vec<String> {
        self.sent_to(peer)
            .iter()
            .filter(|message| !matches!(message, ZabMessage::Ping { .. } | ZabMessage::Pong { .. }))
            .map(ToString::to_string)
            .collect()
    }

    pub(crate) fn role(&self) -> &'static str {
        self.zab.status().role
    }

    pub(crate) fn phase(&self) -> &'static str {
        self.zab.status().phase.unwrap_or("election")
    }

    /// What the server has promised, as its disk has it.
    pub(crate) fn promise(&self) -> (u32, u32) {
        (self.disk.promise.accepted.0, self.disk.promise.current.0)
    }

    /// What the layer above was given, as text.
    pub(crate) fn delivered(&self) -> Vec<String> {
        self.delivered.iter().map(text).collect()
    }

    /// Makes the server lead by the votes of these peers, in the round that it is in.
    pub(crate) fn make_leader(&mut self, peers: &[u64]) {
        let (round, vote) = self.own_vote();
        for &peer in peers {
            self.say(peer, looking(round, vote));
        }
        assert_eq!(self.role(), "LEADING");
        self.sent.clear();
    }

    /// Makes the server follow a peer, which votes for itself with a better zxid.
    pub(crate) fn make_follower(&mut self, leader: u64, voters: &[u64]) -> Session {
        let (round, own) = self.own_vote();
        let vote =
            Vote { peer_epoch: Epoch(own.peer_epoch.0 + 100), leader: NodeId(leader), ..own };
        for &voter in voters {
            self.say(voter, looking(round, vote));
        }
        assert_eq!(self.role(), "FOLLOWING");
        self.session_with(leader)
    }

    /// The session that the server opened with a leader just now.
    pub(crate) fn session_with(&mut self, leader: u64) -> Session {
        let sent = self.sent_to(leader);
        let session = sent.iter().find_map(|message| match *message {
            ZabMessage::FollowerInfo { session, .. } => Some(session),
            _ => None,
        });
        self.sent.clear();
        session.expect("a follower opens a session")
    }

    fn own_vote(&self) -> (u64, Vote) {
        let told = self.sent.iter().rev().find_map(|(_, message)| match message {
            ZabMessage::Notification(notification) => Some(notification),
            _ => None,
        });
        let Notification { round, vote, .. } = told.expect("a LOOKING server tells its vote");
        (*round, *vote)
    }

    /// Leads epoch `epoch` with one follower, up to broadcast. Returns the follower's session.
    pub(crate) fn establish(&mut self, follower: u64) -> Session {
        let session = self.discover(follower, 0, 0);
        self.say(follower, ack_epoch(session, Some(0), &self.disk.entries.clone()));
        self.persist();
        let at = self.new_leader(follower);
        self.say(follower, ack(session, at));
        assert_eq!(self.phase(), "broadcast");
        self.sent.clear();
        session
    }

    /// Leads as far as LEADERINFO to one follower, which has these epochs.
    pub(crate) fn discover(&mut self, follower: u64, number: u64, accepted: u32) -> Session {
        self.make_leader(&[follower]);
        let session = Session(100 * follower + number);
        self.say(follower, follower_info(session, accepted));
        self.persist();
        session
    }

    /// The point of the NEWLEADER that was sent to a peer.
    pub(crate) fn new_leader(&mut self, peer: u64) -> LogPoint {
        let sent = self.sent_to(peer);
        let at = sent.iter().find_map(|message| match *message {
            ZabMessage::NewLeader { at, .. } => Some(at),
            _ => None,
        });
        at.expect("NEWLEADER was sent")
    }

    /// Follows server 3 in an epoch, with nothing to synchronize, up to broadcast.
    pub(crate) fn join(&mut self, epoch: u32) -> Session {
        let session = self.make_follower(3, &[2, 3]);
        let last = self.last();
        self.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(epoch) });
        self.persist();
        self.say(3, ZabMessage::Diff { session, to: last });
        let at = LogPoint { zxid: Zxid::new_leader(Epoch(epoch)), index: last.index };
        self.say(3, ZabMessage::NewLeader { session, at });
        self.persist();
        self.say(3, ZabMessage::UpToDate { session, committed: last });
        assert_eq!(self.phase(), "broadcast");
        self.sent.clear();
        session
    }

    /// The last entry on disk.
    pub(crate) fn last(&self) -> LogPoint {
        table(&self.disk.entries).last()
    }
}

/// The command of an entry with its zxid's parts.
pub(crate) fn text(entry: &Entry) -> String {
    let command = entry.command().map_or("", |bytes| std::str::from_utf8(bytes).expect("text"));
    format!("{}@{} {command}", entry.index(), entry.term())
}

/// Entries of these epochs, from index 1 on.
pub(crate) fn entries(epochs: &[u32]) -> Vec<Entry> {
    entries_from(1, epochs)
}

/// Entries of these epochs, from an index on.
pub(crate) fn entries_from(first: u64, epochs: &[u32]) -> Vec<Entry> {
    epochs
        .iter()
        .zip(first..)
        .map(|(&epoch, index)| Entry {
            position: Position { term: Term(u64::from(epoch)), index: Index(index) },
            wall: WallTime(0),
            payload: Payload::Command(Bytes::from(format!("{epoch}-{index}"))),
        })
        .collect()
}

/// A disk with entries of these epochs, and these promises.
pub(crate) fn disk(epochs: &[u32], accepted: u32, current: u32) -> Disk {
    let promise = Promise { accepted: Epoch(accepted), current: Epoch(current) };
    Disk { entries: entries(epochs), promise, ..Disk::default() }
}

/// Where each epoch of these entries ends.
pub(crate) fn table(entries: &[Entry]) -> EpochTable {
    let mut rows: Vec<(Epoch, Index)> = Vec::new();
    for entry in entries {
        let epoch = Epoch(u32::try_from(entry.term().0).expect("small"));
        match rows.last_mut() {
            Some(last) if last.0 == epoch => last.1 = entry.index(),
            _ => rows.push((epoch, entry.index())),
        }
    }
    EpochTable::from_rows(rows).expect("logs ascend")
}

pub(crate) fn notification(state: ServerState, round: u64, vote: Vote) -> ZabMessage {
    ZabMessage::Notification(Notification { state, round, vote })
}

pub(crate) fn looking(round: u64, vote: Vote) -> ZabMessage {
    notification(ServerState::Looking, round, vote)
}

/// A vote for a server with this currentEpoch and the last zxid `(1, counter)`.
pub(crate) fn vote(leader: u64, peer_epoch: u32, counter: u32) -> Vote {
    let epoch = Epoch(u32::from(counter > 0));
    Vote { peer_epoch: Epoch(peer_epoch), zxid: Zxid { epoch, counter }, leader: NodeId(leader) }
}

/// What a voter says first to whom it follows: the last epoch that it accepted.
pub(crate) fn follower_info(session: Session, accepted: u32) -> ZabMessage {
    ZabMessage::FollowerInfo {
        session,
        accepted_epoch: Epoch(accepted),
        handed_over: None,
        standing: Standing::Voter,
    }
}

pub(crate) fn ack_epoch(session: Session, current: Option<u32>, log: &[Entry]) -> ZabMessage {
    let table = table(log);
    let last = table.last().zxid;
    ZabMessage::AckEpoch { session, current_epoch: current.map(Epoch), last, table }
}

pub(crate) fn ack(session: Session, up_to: LogPoint) -> ZabMessage {
    ZabMessage::Ack { session, first: up_to.index, up_to }
}

/// The point of an epoch's entry, whose base is given.
pub(crate) fn point(epoch: u32, base: u64, index: u64) -> LogPoint {
    let index = Index(index);
    LogPoint { zxid: Zxid::at(Epoch(epoch), Index(base), index).expect("behind the base"), index }
}

pub(crate) fn proposal(session: Session, base: u64, entries: Vec<Entry>) -> ZabMessage {
    ZabMessage::Proposal { session, base: Index(base), entries }
}
