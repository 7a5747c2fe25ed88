//! Connections made, broken, noticed and used.

use std::time::Duration;

use super::cluster::Cluster;
use super::transcript::Detail;
use crate::{Consensus, Generation, Input, Message, NodeId, Violation};

impl<C: Consensus> Cluster<C> {
    /// Connects two running nodes, if they are not connected and can be.
    ///
    /// # Errors
    /// A broken law.
    pub fn connect(&mut self, a: NodeId, b: NodeId) -> Result<(), Violation> {
        if a == b || !self.is_running(a) || !self.is_running(b) {
            return Ok(());
        }
        let Some(generation) = self.network.connect(a, b) else { return Ok(()) };
        for (id, peer) in [(a.min(b), a.max(b)), (a.max(b), a.min(b))] {
            if let Some(former) = self.node(id).connections.insert(peer, generation) {
                self.network.lose(peer, id, former);
            }
        }
        self.line(Detail::Steps, || format!("{a} ⇄ {b} {generation}"));
        self.told_of(a.min(b), a.max(b), generation)?;
        self.told_of(a.max(b), a.min(b), generation)
    }

    /// A node hears of a connection, and of the peer's standing.
    fn told_of(
        &mut self,
        id: NodeId,
        peer: NodeId,
        generation: Generation,
    ) -> Result<(), Violation> {
        let standing = self.nodes[&peer].standing;
        self.input(id, Input::PeerConnected { peer, generation, standing })
    }

    /// Connects every pair that can be connected.
    ///
    /// # Errors
    /// A broken law.
    pub fn connect_all(&mut self) -> Result<(), Violation> {
        for a in self.running() {
            for b in self.running() {
                if a < b {
                    self.connect(a, b)?;
                }
            }
        }
        Ok(())
    }

    /// Breaks a connection, without either end noticing yet. What is under way may still be read
    /// until it does; what is sent from now on is lost.
    pub fn break_connection(&mut self, a: NodeId, b: NodeId) {
        let Some(generation) = self.network.break_connection(a, b) else { return };
        self.line(Detail::Steps, || format!("{a} ⇹ {b} {generation}"));
        for (id, peer) in [(a, b), (b, a)] {
            if self.is_running(id) {
                self.node(id).unnoticed.insert((peer, generation));
            }
        }
    }

    /// Lets a node notice that a connection broke. Returns whether there was one to notice.
    ///
    /// # Errors
    /// A broken law.
    pub fn notice(&mut self, id: NodeId, peer: NodeId) -> Result<bool, Violation> {
        let node = self.node(id);
        let first = node.unnoticed.iter().find(|&&(other, _)| other == peer).copied();
        let Some((_, generation)) = first else { return Ok(false) };
        node.unnoticed.remove(&(peer, generation));
        if node.connections.get(&peer) == Some(&generation) {
            node.connections.remove(&peer);
        }
        self.lose(peer, id, generation);
        self.line(Detail::Steps, || format!("{id} notices the loss of {generation} to {peer}"));
        self.input(id, Input::PeerLost { peer, generation })?;
        Ok(true)
    }

    /// Lets every running node that is not paused notice every break.
    ///
    /// # Errors
    /// A broken law.
    pub fn notice_all(&mut self) -> Result<(), Violation> {
        for id in self.running() {
            if !self.is_active(id) {
                continue;
            }
            for peer in self.ids() {
                while self.notice(id, peer)? {}
            }
        }
        Ok(())
    }

    /// Breaks a connection and lets both ends notice.
    ///
    /// # Errors
    /// A broken law.
    pub fn disconnect(&mut self, a: NodeId, b: NodeId) -> Result<(), Violation> {
        self.break_connection(a, b);
        self.notice_all()
    }

    /// Breaks every connection between the groups, and prevents new ones until [`Cluster::heal`].
    ///
    /// # Errors
    /// A broken law.
    pub fn partition(&mut self, groups: &[Vec<NodeId>]) -> Result<(), Violation> {
        self.partition_unnoticed(groups);
        self.notice_all()
    }

    /// As [`Cluster::partition`], but nobody notices yet.
    pub fn partition_unnoticed(&mut self, groups: &[Vec<NodeId>]) {
        let names: Vec<String> = groups
            .iter()
            .map(|group| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        self.line(Detail::Everything, || names.join(" ⇹ "));
        for (number, group) in groups.iter().enumerate() {
            for &a in group {
                for &b in groups[number + 1..].iter().flatten() {
                    self.network.block(a, b);
                    self.break_connection(a, b);
                }
            }
        }
    }

    /// Ends every partition, but connects nobody.
    pub fn unblock_all(&mut self) {
        self.network.unblock_all();
    }

    /// Ends every partition and every other fault that lasts, but what is held and who is paused, and
    /// connects every pair of running nodes. What is on its way through a delay, or to a slow disk,
    /// keeps its time.
    ///
    /// # Errors
    /// A broken law.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.network.unblock_all();
        self.network.mend_all();
        for node in self.nodes.values_mut() {
            (node.slowness, node.disk_fails, node.skew_ms) = (Duration::ZERO, false, 0);
        }
        self.notice_all()?;
        self.connect_all()
    }

    /// Lets frames in this direction wait until [`Cluster::release`].
    pub fn hold(&mut self, from: NodeId, to: NodeId) {
        self.network.hold(from, to);
    }

    /// Lets frames in this direction flow again.
    pub fn release(&mut self, from: NodeId, to: NodeId) {
        self.network.release(from, to);
    }

    /// Whether frames in this direction wait.
    #[must_use]
    pub fn is_held(&self, from: NodeId, to: NodeId) -> bool {
        self.network.is_held(from, to)
    }

    /// The directions in which frames are under way that their receiver could read.
    #[must_use]
    pub fn deliverable(&self) -> Vec<(NodeId, NodeId)> {
        let mut busy = self.network.busy(self.time);
        busy.retain(|&(from, to)| self.is_active(to) && self.connection(to, from).is_some());
        busy
    }

    /// Delivers the next frame in a direction without a flush. Returns whether there was one.
    ///
    /// # Errors
    /// A broken law.
    pub fn receive(&mut self, from: NodeId, to: NodeId) -> Result<bool, Violation> {
        let is_due = self.network.under_way(from, to).next().is_some_and(|f| f.due <= self.time);
        if !self.is_active(to) || !is_due {
            return Ok(false);
        }
        let Some(generation) = self.connection(to, from) else { return Ok(false) };
        let Some(frame) = self.network.receive(from, to, generation) else { return Ok(false) };
        let message = frame.message;
        self.line(Detail::Steps, || format!("{to} ← {from} {}", message.name()));
        self.step(to, Input::Received { peer: from, generation, message })?;
        Ok(true)
    }

    /// Delivers the next frame in a direction and lets the receiver come to rest. Returns whether
    /// there was one.
    ///
    /// # Errors
    /// A broken law.
    pub fn deliver(&mut self, from: NodeId, to: NodeId) -> Result<bool, Violation> {
        if !self.receive(from, to)? {
            return Ok(false);
        }
        self.flush(to)?;
        self.rest(to)?;
        if let Some(frame) = self.network.take_overtaken(from, to) {
            self.deliver_late_frame(from, to, frame)?;
        }
        Ok(true)
    }

    fn lose(&mut self, from: NodeId, to: NodeId, generation: Generation) {
        for message in self.network.lose(from, to, generation) {
            self.line(Detail::Everything, || format!("{from} ↛ {to} {message}"));
        }
    }
}
