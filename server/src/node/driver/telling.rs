//! What the loop tells: log lines, the published status, the words of messages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use consensus::{Consensus, Entry, Event, Leadership, Message, Time};
use kvcore::replica::PeerMessage;
use kvcore::{Envelope, RequestId};
use tracing::{info, warn};

use super::Driver;
use crate::node::handle::NodeStatus;

/// How old the published status may be while things change quickly.
const STATUS_INTERVAL: Duration = Duration::from_millis(10);

impl<C: Consensus> Driver<C> {
    /// Looks for the first write of a client in this node's own reign.
    pub(super) fn note_first_write(&mut self, entries: &[Entry]) {
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
    pub(super) fn tell(&mut self, event: &Event) {
        match event {
            Event::Committed { .. } | Event::FirstCommit { .. } => {}
            Event::LeaderSuspected { .. }
            | Event::Truncated { .. }
            | Event::TransferFailed { .. } => warn!("{event}"),
            _ => info!("{event}"),
        }
    }

    pub(super) fn publish_status(&mut self, now: Time) {
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

pub(super) fn name_and_weight<M: Message>(message: &PeerMessage<M>) -> (&'static str, u64) {
    match message {
        PeerMessage::Consensus(message) => (message.name(), message.weight()),
        PeerMessage::Replica(message) => (message.name(), 1),
    }
}

/// Whether traces forget it soon.
pub(super) fn is_routine<M: Message>(message: &PeerMessage<M>) -> bool {
    match message {
        PeerMessage::Consensus(message) => message.is_routine(),
        PeerMessage::Replica(_) => true,
    }
}

/// What a message says.
pub(super) struct Told<'a, M>(pub(super) &'a PeerMessage<M>);

impl<M: fmt::Display> fmt::Display for Told<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PeerMessage::Consensus(message) => message.fmt(f),
            PeerMessage::Replica(message) => message.fmt(f),
        }
    }
}
