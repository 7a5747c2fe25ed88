//! Snapshots (§7): a follower that needs entries which the leader has forgotten gets the state that
//! they led to.
//!
//! The paper sends the state in InstallSnapshot, piece by piece. Here the message is only the leader's
//! word; the state itself is streamed beside the protocol, on a connection of its own, so that no
//! heartbeat ever waits behind it. Both reach the follower's core together, once the state is durable
//! there, as one input. An InstallSnapshot that comes alone means nothing.
//!
//! ```text
//!   leader                                    follower
//!     needs entries before the first one
//!     offer InstallSnapshot(term) ═ state ═════▶  durable beside what it has
//!                                                 term current, position unknown here:
//!                                                 log := position, durable; then the machine
//!     ◀────────────── AppendEntriesResponse(matched = position)
//!     AppendEntries(previous = position) ──────▶
//! ```
//!
//! To the leader the answer is like any other: the follower's log equals its own up to there. When the
//! state breaks off or its answer is lost, a probe finds out where the follower is.

use consensus::{Effects, NodeId, Now, Snapshot, SnapshotOffer};

use crate::message::RaftMessage;
use crate::node::Raft;
use crate::role::Role;

/// The leader's side.
impl Raft {
    /// Offers a snapshot to every connected peer that needs one which is not under way.
    pub(crate) fn offer_snapshots(&mut self, effects: &mut Effects<RaftMessage>) {
        let term = self.promise.term;
        let Role::Leader(leader) = &mut self.role else { return };
        for (&to, peer) in &mut leader.peers {
            let connected = self.connections.get(&to).is_some_and(|connection| connection.up);
            if connected && peer.progress.offer_snapshot() {
                let message = RaftMessage::InstallSnapshot { term };
                effects.snapshots.push(SnapshotOffer { to, message });
            }
        }
    }

    /// A snapshot ended. If the follower took it, it has said so or is about to.
    pub(crate) fn snapshot_ended(&mut self, id: NodeId) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(peer) = leader.peers.get_mut(&id) {
            peer.progress.snapshot_ended(&self.log);
        }
    }
}

/// The follower's side.
impl Raft {
    /// A leader's state arrived as a whole.
    pub(crate) fn snapshot_received(
        &mut self,
        now: Now,
        peer: NodeId,
        snapshot: Snapshot,
        message: &RaftMessage,
        effects: &mut Effects<RaftMessage>,
    ) {
        let RaftMessage::InstallSnapshot { term } = *message else { return };
        if !message.is_plausible(self.promise.term) || !message.vouches_for(&snapshot) {
            return;
        }
        if !self.hear_leader(now, peer, term, effects) {
            self.answer_stale_entries(peer, effects);
            return;
        }
        let position = snapshot.position;
        if self.log.contains(position) {
            // What it holds behind the position stays (§7, Figure 13, step 6). The position is
            // committed wherever it is known.
            self.log.commit_to(position.index);
        } else {
            assert!(
                position.index > self.log.commit(),
                "a leader's log holds everything committed (Leader Completeness, §5.4.3): \
                 a snapshot ends with {position}, committed up to {}",
                self.log.commit()
            );
            self.log.install(snapshot);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        follower.matched = follower.matched.max(position.index);
        // An answer that is owed and reaches farther says all of it.
        if follower.owed.is_none_or(|(_, last)| last <= position.index) {
            follower.owed = Some((position.index.next(), position.index));
        }
    }
}
