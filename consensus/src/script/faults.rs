//! Faults by the names that they have in running servers (`docs/faults.md`). What they do to one
//! message they do at once; what lasts, lasts until [`Cluster::heal`], and what is wrong with a node
//! no longer than the node runs.

use std::time::Duration;

use super::cluster::Cluster;
use super::transcript::Detail;
use crate::{Consensus, NodeId, Violation};

impl<C: Consensus> Cluster<C> {
    /// Nothing arrives in a direction, and nobody is told: the connection stays up, and there is no new
    /// one. What waits arrives in order afterwards.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.network.block(from, to);
        self.network.cut(from, to);
        self.line(Detail::Steps, || format!("nothing of {from} arrives at {to}"));
    }

    /// From now on every frame in a direction arrives so much later. Two delays add up.
    pub fn delay(&mut self, from: NodeId, to: NodeId, by: Duration) {
        self.network.delay(from, to, by);
    }

    /// The next frame in a direction arrives, its connection breaks, and when the next is up it arrives
    /// once more. Returns whether there was one.
    ///
    /// # Errors
    /// A broken law, among them that the second has no effect.
    pub fn duplicate(&mut self, from: NodeId, to: NodeId) -> Result<bool, Violation> {
        let Some(frame) = self.network.under_way(from, to).next().cloned() else {
            return Ok(false);
        };
        if !self.deliver(from, to)? {
            return Ok(false);
        }
        self.disconnect(from, to)?;
        self.connect(from, to)?;
        self.deliver_late_frame(from, to, frame)
    }

    /// A connection breaks before its next frame in a direction arrives, and that comes behind the first
    /// frame of the next connection, which is up at once. Returns whether there was one.
    ///
    /// # Errors
    /// A broken law. That the frame has no effect is a law when it comes.
    pub fn reorder(&mut self, from: NodeId, to: NodeId) -> Result<bool, Violation> {
        let Some(generation) = self.connection(to, from) else { return Ok(false) };
        if !self.deliverable().contains(&(from, to)) {
            return Ok(false);
        }
        let Some(frame) = self.network.receive(from, to, generation) else { return Ok(false) };
        self.network.overtake(from, to, frame);
        self.disconnect(from, to)?;
        self.connect(from, to)?;
        Ok(true)
    }

    /// From now on a node's writes are durable so much later. Two of these add up.
    pub fn slow_disk(&mut self, id: NodeId, by: Duration) {
        self.node(id).slowness += by;
    }

    /// The next write of a node that would become durable fails, and the node stops without it.
    pub fn fail_disk(&mut self, id: NodeId) {
        self.node(id).disk_fails = true;
    }

    /// Sets a node's wall clock ahead, or back if the number is negative, by so much more than it is.
    pub fn skew_clock(&mut self, id: NodeId, ms: i64) {
        let node = self.node(id);
        node.skew_ms = node.skew_ms.saturating_add(ms);
    }

    /// Stops every node whose disk fails and that has a write which would be durable by now.
    ///
    /// # Errors
    /// A broken law.
    pub fn stop_failed(&mut self) -> Result<(), Violation> {
        for id in self.running() {
            let fails = self.is_active(id) && self.nodes[&id].disk_fails;
            if fails && self.options.auto_persist {
                self.persist(id, usize::MAX)?;
            }
        }
        Ok(())
    }
}
