//! Faults of the nodes' disks.

use std::time::Duration;

use consensus::{Consensus, NodeId, Random, Violation};
use storage::WalError;

use super::Crash;
use crate::agenda::Happening;
use crate::cluster::Cluster;
use crate::options::Span;

impl<C: Consensus> Cluster<C> {
    /// A node loses its disk and starts anew. What the peers say to each other before they use a
    /// connection is that this is not the disk with which the cluster formed: so it does not count any
    /// more. Fewer lose theirs than would leave no quorum, for nothing brings one back.
    pub(super) fn wipe_disk(&mut self, id: NodeId, directory: u64, down: Duration) {
        let is_voter = |id: NodeId| id.0 <= self.options.nodes;
        let wiped = self.nodes.values().filter(|node| node.wiped && node.id != id);
        let wiped = wiped.filter(|node| is_voter(node.id)).count() as u64;
        if is_voter(id) && (wiped + 1) * 2 >= self.options.nodes {
            return;
        }
        if self.crash(id, Crash::Kill) {
            self.plan_restart(id, down);
        }
        self.counters.wipes += 1;
        self.nodes.get_mut(&id).expect("a node of the cluster").wipe(directory);
        self.invariants.wiped(id);
    }

    /// After a failed sync a node stops, and its supervisor starts it again.
    pub(crate) fn stop_for_disk_failure(&mut self, id: NodeId) {
        self.crash(id, Crash::Kill);
        let downtime = Span::millis(1, 500).draw(&mut self.random);
        self.plan_restart(id, downtime);
    }

    pub(super) fn slow_disk(&mut self, id: NodeId, times: u32, lasts: Duration) {
        self.slownesses += 1;
        let number = self.slownesses;
        self.nodes.get_mut(&id).expect("a node of the cluster").slow_disk = (times, number);
        self.agenda.after(lasts, Happening::HealSlowness { node: id, slowness: number });
    }

    pub(crate) fn heal_slowness(&mut self, id: NodeId, number: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.slow_disk.1 == number {
            node.slow_disk.0 = 1;
        }
    }

    /// There is no room on a disk for a while.
    pub(super) fn fill_disk(&mut self, id: NodeId, lasts: Duration) {
        let until = self.agenda.now() + lasts;
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        node.disk.fill(true);
        node.disk_full_until = until;
        self.agenda.at(until, Happening::HealFullness(id));
    }

    /// There is room again, unless the disk was filled anew meanwhile.
    pub(crate) fn free_disk(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        if self.agenda.now() >= node.disk_full_until {
            node.disk.fill(false);
        }
    }

    /// A bit flips in what a node wrote and synced long ago. That node must not start: what it would
    /// have forgotten it may have promised. With the disk as it was nothing is lost.
    pub(super) fn flip_bit(
        &mut self,
        id: NodeId,
        place: u64,
        down: Duration,
    ) -> Result<(), Violation> {
        if !self.crash(id, Crash::Kill) {
            return Ok(());
        }
        self.plan_restart(id, down);
        let node = &self.nodes[&id];
        let Some(flip) = node.disk.flip(&mut Random::new(place)) else { return Ok(()) };
        let was_full = node.disk.is_full();
        node.disk.fill(false);
        let opened = node.open_log();
        node.disk.fill(was_full);
        if !matches!(opened, Err(WalError::Damaged { .. })) {
            let law = "a log with a damaged record in front of others is refused";
            return Err(Violation::new(law, format!("{id}: {flip:?}: {opened:?}")));
        }
        node.disk.flip_again(&flip);
        self.counters.flips_refused += 1;
        Ok(())
    }
}
