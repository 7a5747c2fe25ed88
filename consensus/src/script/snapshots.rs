//! Logs that forget, and snapshots on their way beside the frames.
//!
//! A snapshot here is the list of all entries up to its position. It travels apart from the frames and
//! takes as long as it likes; it arrives as a whole or not at all.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::drive::state_hash;
use super::transcript::Detail;
use crate::{
    Consensus, Entry, Generation, Index, Input, Message, NodeId, PersistSequence, Position,
    Snapshot, SnapshotOffer, Violation, Wire,
};

/// How many snapshots of broken connections are kept in each direction.
const LATE_SNAPSHOTS_MAX: usize = 4;

/// A snapshot from one node to another.
#[derive(Clone, Debug)]
pub(super) struct Stream<M> {
    /// The connection that it was offered on.
    pub(super) generation: Generation,
    /// What the protocol says with it.
    pub(super) message: M,
    /// What is transferred, once the sender has begun.
    view: Option<(Position, Vec<Entry>)>,
    /// Whether it has ended, and the sender is only to be told.
    pub(super) ended: bool,
}

impl<C: Consensus> Cluster<C> {
    /// Lets a node's log forget the entries up to an index. Those that are not applied or not durable
    /// there are kept.
    ///
    /// # Errors
    /// A broken law.
    pub fn compact(&mut self, id: NodeId, index: Index) -> Result<(), Violation> {
        let index = index.min(self.compactable(id));
        self.line(Detail::Everything, || format!("{id} forgets up to {index}"));
        self.input(id, Input::Compact(index))
    }

    /// The last entry that a node's log may forget.
    ///
    /// # Panics
    /// If the node does not run.
    #[must_use]
    pub fn compactable(&self, id: NodeId) -> Index {
        let log = self.core(id).view().log;
        log.applied().min(log.durable()).max(log.first().previous())
    }

    /// The snapshots that are offered or under way, by sender and receiver.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(NodeId, NodeId)> {
        self.streams.iter().filter(|(_, stream)| !stream.ended).map(|(&key, _)| key).collect()
    }

    /// The snapshots that have ended without their senders' knowing it yet.
    #[must_use]
    pub fn ended_snapshots(&self) -> Vec<(NodeId, NodeId)> {
        self.streams.iter().filter(|(_, stream)| stream.ended).map(|(&key, _)| key).collect()
    }

    /// How many snapshots took the place of what a layer above held.
    #[must_use]
    pub fn installed(&self) -> u64 {
        self.installed
    }

    /// Sets whether snapshots end well as soon as a cluster settles.
    pub fn set_auto_snapshot(&mut self, on: bool) {
        self.options.auto_snapshot = on;
    }

    /// Begins a snapshot that was offered, from what the sender holds now. Returns whether it has
    /// begun: what the sender is still installing itself it can not send.
    pub fn begin_snapshot(&mut self, from: NodeId, to: NodeId) -> bool {
        if !self.is_active(from) {
            return false;
        }
        let durable = self.core(from).view().log.durable();
        let node = self.nodes.get_mut(&from).expect("the node is one of the cluster");
        let Some(stream) = self.streams.get_mut(&(from, to)) else { return false };
        if stream.view.is_some() {
            return true;
        }
        let log = node.core.as_ref().expect("it runs").view().log;
        let index = durable.min(Index(node.applied.len() as u64));
        if index < log.first().previous() || stream.ended {
            return false;
        }
        let term = log.term(index).expect("what is durable is in the log");
        let count = usize::try_from(index.0).expect("a log in memory");
        stream.view = Some((Position { term, index }, node.applied[..count].to_vec()));
        true
    }

    /// Lets a snapshot arrive: what was offered goes to the receiver as a whole. The sender does not
    /// know yet. Returns whether there was one that could.
    ///
    /// # Errors
    /// A broken law.
    pub fn complete_snapshot(&mut self, from: NodeId, to: NodeId) -> Result<bool, Violation> {
        if !self.is_active(to) || !self.begin_snapshot(from, to) {
            return Ok(false);
        }
        let stream = self.streams.get_mut(&(from, to)).expect("it has just begun");
        if stream.ended {
            return Ok(false);
        }
        let generation = stream.generation;
        if self.connection(to, from) != Some(generation) {
            return Ok(self.fail_snapshot(from, to));
        }
        let stream = self.streams.get_mut(&(from, to)).expect("it has just begun");
        stream.ended = true;
        let stream = stream.clone();
        let handle = self.receive_snapshot(from, to, stream)?;
        self.flush(to)?;
        let node = self.node(to);
        if !node.disk.installs(handle) {
            node.disk.discard(handle);
            self.line(Detail::Everything, || format!("{to} has no use for it"));
        }
        self.rest(to)?;
        Ok(true)
    }

    /// Breaks a snapshot off. The sender does not know yet. Returns whether there was one.
    pub fn fail_snapshot(&mut self, from: NodeId, to: NodeId) -> bool {
        let stream = self.streams.get_mut(&(from, to)).filter(|stream| !stream.ended);
        let Some(stream) = stream else { return false };
        stream.ended = true;
        let stream = stream.clone();
        self.keep_late_snapshot(from, to, stream);
        self.line(Detail::Everything, || format!("{from} ⇏ {to} the snapshot breaks off"));
        true
    }

    /// Tells the sender that its snapshot has ended. Returns whether there was one.
    ///
    /// # Errors
    /// A broken law.
    pub fn end_snapshot(&mut self, from: NodeId, to: NodeId) -> Result<bool, Violation> {
        let ended = self.streams.get(&(from, to)).is_some_and(|stream| stream.ended);
        if !ended || !self.is_active(from) {
            return Ok(false);
        }
        let stream = self.streams.remove(&(from, to)).expect("looked at just now");
        self.line(Detail::Steps, || format!("{from} learns that its snapshot to {to} has ended"));
        self.input(from, Input::SnapshotEnded { peer: to, generation: stream.generation })?;
        Ok(true)
    }

    /// Gives snapshots of broken connections to their receiver.
    ///
    /// # Errors
    /// When they have any effect at all.
    pub fn deliver_late_snapshots(&mut self, from: NodeId, to: NodeId) -> Result<usize, Violation> {
        let mut count = 0;
        for stream in self.late_snapshots.remove(&(from, to)).unwrap_or_default() {
            let generation = stream.generation;
            if !self.is_active(to)
                || stream.view.is_none()
                || self.connection(to, from) == Some(generation)
            {
                continue;
            }
            count += 1;
            let before = state_hash(self.core(to));
            let handle = self.receive_snapshot(from, to, stream)?;
            self.expect_no_effect(from, to, before, generation)?;
            self.node(to).disk.discard(handle);
        }
        Ok(count)
    }

    /// Completes or ends what snapshots there are. Returns how many.
    pub(super) fn settle_snapshots(&mut self) -> Result<usize, Violation> {
        let mut count = 0;
        if !self.options.auto_snapshot {
            return Ok(0);
        }
        for (from, to) in self.streams.keys().copied().collect::<Vec<_>>() {
            if self.is_held(from, to) {
                continue;
            }
            count += usize::from(self.complete_snapshot(from, to)?);
            count += usize::from(self.end_snapshot(from, to)?);
        }
        Ok(count)
    }

    /// A node offers a snapshot. An earlier one to the same peer is over.
    pub(super) fn offer(
        &mut self,
        id: NodeId,
        offer: SnapshotOffer<C::Message>,
    ) -> Result<(), Violation> {
        let SnapshotOffer { to, message } = offer;
        self.check_message(id, to, &message)?;
        let Some(generation) = self.connection(id, to) else {
            self.line(Detail::Steps, || format!("{id} ⇏ {to} {message}"));
            return Ok(());
        };
        let pledge = self.core(id).pledge(to, &message);
        self.nodes[&id].durability.leaves(id, PersistSequence(0), &pledge)?;
        self.line(Detail::Everything, || format!("{id} ⇒ {to} offers {message}"));
        *self.weights.entry((id, to)).or_default() += message.weight();
        let stream = Stream { generation, message, view: None, ended: false };
        if let Some(former) = self.streams.insert((id, to), stream) {
            self.keep_late_snapshot(id, to, former);
        }
        self.begin_snapshot(id, to);
        Ok(())
    }

    /// A node stopped, and so did the snapshots from and to it.
    pub(super) fn stop_snapshots(&mut self, id: NodeId) {
        let keys: Vec<_> = self.streams.keys().copied().collect();
        for (from, to) in keys.into_iter().filter(|&(from, to)| from == id || to == id) {
            let stream = self.streams.remove(&(from, to)).expect("it is there");
            self.keep_late_snapshot(from, to, stream);
        }
    }

    /// What is offered, for people.
    pub(super) fn show_snapshots(&self) -> Vec<String> {
        let line = |(&(from, to), stream): (&(NodeId, NodeId), &Stream<C::Message>)| {
            let state = match (&stream.view, stream.ended) {
                (_, true) => " has ended".to_owned(),
                (Some((position, _)), false) => format!(" up to {position}"),
                (None, false) => " has not begun".to_owned(),
            };
            format!("{from} ⇒ {to} {}{state}", stream.message)
        };
        self.streams.iter().map(line).collect()
    }

    /// The whole snapshot is durable at its receiver, and its core is told. Returns the handle.
    fn receive_snapshot(
        &mut self,
        from: NodeId,
        to: NodeId,
        stream: Stream<C::Message>,
    ) -> Result<u64, Violation> {
        let Stream { generation, message, view, .. } = stream;
        let (position, state) = view.expect("only what has begun arrives");
        let mut terms = BTreeMap::new();
        for entry in &state {
            entry.note_term(&mut terms);
        }
        self.last_handle += 1;
        let handle = self.last_handle;
        self.line(Detail::Everything, || format!("{to} ⇐ {from} {message} up to {position}"));
        self.node(to).disk.receive(handle, state);
        let snapshot = Snapshot { position, terms, handle };
        self.step(to, Input::SnapshotReceived { peer: from, generation, snapshot, message })?;
        Ok(handle)
    }

    fn keep_late_snapshot(&mut self, from: NodeId, to: NodeId, stream: Stream<C::Message>) {
        let late = self.late_snapshots.entry((from, to)).or_default();
        late.push_back(stream);
        if late.len() > LATE_SNAPSHOTS_MAX {
            late.pop_front();
        }
    }

    /// What goes out goes to another node, and is the same behind the wire.
    pub(super) fn check_message(
        &mut self,
        id: NodeId,
        to: NodeId,
        message: &C::Message,
    ) -> Result<(), Violation> {
        if to == id || !self.nodes.contains_key(&to) {
            let details = format!("{id} sends {message} to {to}");
            return Err(Violation::new("messages go to other nodes of the cluster", details));
        }
        if C::Message::from_bytes(message.to_bytes()).as_ref() != Ok(message) {
            let details = format!("{id} sends {message:?}");
            return Err(Violation::new("a message is the same behind the wire", details));
        }
        let samples = self.samples.entry(message.name()).or_default();
        if samples.len() < self.options.samples_max {
            samples.push(message.clone());
        }
        Ok(())
    }
}
