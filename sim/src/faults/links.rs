//! Faults of the network, and how connections come and go.

use std::time::Duration;

use consensus::{Consensus, NodeId};

use crate::agenda::{Happening, Item};
use crate::cluster::Cluster;
use crate::network::pair;
use crate::options::Span;

/// How soon an end of a connection that broke notices.
const SOON: (u64, u64) = (0, 400);

impl<C: Consensus> Cluster<C> {
    /// All connections of a node break.
    pub(super) fn cut_off(&mut self, id: NodeId) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for peer in ids.into_iter().filter(|&peer| peer != id) {
            self.break_connection(id, peer, Span::millis(0, 50));
        }
    }

    pub(super) fn partition(&mut self, side: &[NodeId], lasts: Duration, breaks: bool, late: bool) {
        let until = self.agenda.now() + lasts;
        let soon = Span::millis(SOON.0, SOON.1);
        // Nobody tells that side: it may believe for long that it is connected.
        let side_notices = if late { Span::millis(400, 2_000) } else { soon };
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for &a in side {
            for &b in ids.iter().filter(|id| !side.contains(id)) {
                self.network.block(a, b);
                if breaks {
                    self.break_connection_noticed((a, side_notices), (b, soon));
                    self.break_streams(a, b, soon);
                } else {
                    self.network.stall(a, b, until);
                    self.network.stall(b, a, until);
                }
            }
        }
        self.partitions += 1;
        self.agenda.after(lasts, Happening::HealPartition(self.partitions));
    }

    /// Breaks the connection of a pair, if it has one; each end notices after a while of its own.
    pub(crate) fn break_connection(&mut self, a: NodeId, b: NodeId, notice: Span) {
        self.break_connection_noticed((a, notice), (b, notice));
    }

    fn break_connection_noticed(&mut self, (a, a_notices): (NodeId, Span), b: (NodeId, Span)) {
        let (b, b_notices) = b;
        let lost = [!self.random.one_in(3), !self.random.one_in(3)];
        let Some((connection, ends)) = self.network.break_connection(a, b, lost) else { return };
        let now = self.agenda.now();
        self.trace.line(now, || format!("{a} ⇹ {b} their connection breaks"));
        if self.random.one_in(2) {
            self.break_streams(a, b, a_notices);
        }
        for (to, everything) in ends {
            let (from, notice) = if to == a { (b, a_notices) } else { (a, b_notices) };
            let travel = match self.surroundings.closing_travels {
                true => self.surroundings.frame_delay(from, to, &mut self.random),
                false => Duration::ZERO,
            };
            let at = (now + notice.draw(&mut self.random) + travel).max(everything);
            self.agenda.at(at, Happening::Arrive { connection, from, to, item: Item::Down });
        }
        self.plan_dial(a, b);
    }

    pub(crate) fn plan_dial(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = pair(a, b);
        let delay = self.surroundings.redial.draw(&mut self.random);
        self.agenda.after(delay, Happening::Dial(a, b));
    }

    /// Two nodes try to connect; if they can not, they try again.
    pub(crate) fn dial(&mut self, a: NodeId, b: NodeId) {
        if self.network.intact(a, b).is_some() {
            return;
        }
        let life = |id: NodeId| {
            let node = &self.nodes[&id];
            node.process.as_ref().filter(|_| node.paused.is_none()).map(|process| process.life)
        };
        let blocked = self.network.is_blocked(a, b);
        let (Some(end_a), Some(end_b), false) = (life(a), life(b), blocked) else {
            self.plan_dial(a, b);
            return;
        };
        let connection = self.network.connect(end_a, end_b);
        let now = self.agenda.now();
        for (from, to) in [(a, b), (b, a)] {
            let delay = self.surroundings.frame_delay(from, to, &mut self.random);
            let at = self.network.arrival(connection, from, to, now + delay);
            let at = at.expect("the connection is new");
            self.agenda.at(at, Happening::Arrive { connection, from, to, item: Item::Up });
        }
    }

    /// Two nodes lose each other and nobody else.
    pub(super) fn sever(&mut self, a: NodeId, b: NodeId, lasts: Duration) {
        self.network.block(a, b);
        let soon = Span::millis(SOON.0, SOON.1);
        self.break_connection(a, b, soon);
        self.break_streams(a, b, soon);
        self.partitions += 1;
        self.agenda.after(lasts, Happening::HealPartition(self.partitions));
    }

    /// Nothing arrives from a node, or nothing at it.
    pub(super) fn isolate(&mut self, id: NodeId, hears: bool, lasts: Duration) {
        let until = self.agenda.now() + lasts;
        for &peer in self.nodes.keys().filter(|&&peer| peer != id) {
            let (from, to) = if hears { (id, peer) } else { (peer, id) };
            self.network.stall(from, to, until);
        }
    }

    pub(crate) fn heal_partition(&mut self, number: u64) {
        // Of partitions that overlap, the last one ends them all.
        if number == self.partitions {
            self.network.unblock_all();
        }
    }
}
