//! What a script asks to see of a cluster.

use super::cluster::Cluster;
use super::text;
use crate::{Consensus, Index, NodeId};

impl<C: Consensus> Cluster<C> {
    /// A node's state in one line.
    pub(super) fn show_status(&self, id: NodeId) -> String {
        let node = &self.nodes[&id];
        let Some(core) = &node.core else { return format!("{id} is down") };
        let status = core.status();
        let phase = status.phase.map(|phase| format!("/{phase}")).unwrap_or_default();
        let applied = Index(node.applied.len() as u64);
        let delivered = match status.delivered {
            delivered if delivered == applied => String::new(),
            delivered => format!(" delivered={delivered}"),
        };
        let paused = if node.paused { " paused" } else { "" };
        let forgotten = match core.view().log.first().previous() {
            Index(0) => String::new(),
            index => format!(" forgotten={index}"),
        };
        format!(
            "{id} {}{phase} in {} last={} commit={} durable={}{delivered} \
             applied={applied}{forgotten}{paused}",
            status.role, status.term, status.last, status.commit, status.durable,
        )
    }

    /// What a node knows of its peers, a line each, and its position in the protocol's words.
    pub(super) fn show_peers(&self, id: NodeId) -> Vec<String> {
        if !self.is_running(id) {
            return Vec::new();
        }
        let status = self.status(id);
        let mut lines = vec![format!("  {}", self.core(id).describe(status.last))];
        for peer in status.peers {
            let mut line = format!("  {}", peer.id);
            line += if peer.connected { " connected" } else { " not connected" };
            if let Some(replication) = peer.replication {
                line += &format!(" {replication}");
            }
            if let Some(matched) = peer.matched {
                line += &format!(" matched={matched}");
            }
            lines.push(line);
        }
        lines
    }

    /// A node's log in one line, with a bar behind what it knows to be committed; also with the
    /// milliseconds of the wall clock that entries are stamped with.
    pub(super) fn show_log(&self, id: NodeId, stamps: bool) -> String {
        if !self.is_running(id) {
            return format!("{id} is down");
        }
        let status = self.status(id);
        let mut parts = vec![format!("{id}")];
        let mut index = self.core(id).view().log.first().previous();
        if index > Index(0) {
            parts.push(format!("..{index} forgotten"));
        }
        while index < status.last.index {
            if index == status.commit {
                parts.push("|".to_owned());
            }
            index = index.next();
            parts.push(match self.entry(id, index) {
                Some(entry) if stamps => format!("{} of {}", text::entry(entry), entry.wall.0),
                Some(entry) => text::entry(entry),
                None => format!("{index}@? not written"),
            });
        }
        if status.commit == status.last.index {
            parts.push("|".to_owned());
        }
        parts.join(" ")
    }

    /// The frames under way and the messages that wait.
    pub(super) fn show_messages(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (&from, node) in &self.nodes {
            for &to in self.nodes.keys() {
                let held = if self.is_held(from, to) { " held" } else { "" };
                for message in self.under_way(from, to) {
                    lines.push(format!("{from} → {to}{held} {message}"));
                }
            }
            for held in &node.held {
                lines.push(format!(
                    "{from} → {} waits for {} {}",
                    held.to, held.after, held.message
                ));
            }
        }
        lines.extend(self.show_snapshots());
        lines
    }

    /// Whether all running nodes have the same log, committed and applied, and how it looks.
    ///
    /// # Errors
    /// Two nodes and where they differ.
    pub fn agree(&self) -> Result<String, String> {
        let running = self.running();
        let Some(&first) = running.first() else { return Err("no node runs".to_owned()) };
        let model = self.status(first);
        for &id in &running {
            let status = self.status(id);
            let same = status.last == model.last
                && status.commit == model.commit
                && self.core(id).view().log.terms() == self.core(first).view().log.terms()
                && self.applied(id) == self.applied(first);
            let complete = status.commit == status.last.index
                && self.applied(id).len() as u64 == status.commit.0;
            if !same || !complete {
                return Err(format!(
                    "no agreement:\n{}\n{}",
                    self.show_status(first),
                    self.show_status(id)
                ));
            }
        }
        let commands: Vec<String> = self
            .applied(first)
            .iter()
            .filter_map(|entry| entry.command().map(text::command))
            .collect();
        let names: Vec<String> = running.iter().map(ToString::to_string).collect();
        Ok(format!("{} agree up to {}: {}", names.join(" "), model.last, commands.join(" ")))
    }
}
