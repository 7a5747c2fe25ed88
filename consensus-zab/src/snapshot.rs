//! SNAP: a learner that lacks what the leader has forgotten gets the state that it led to
//! (ZooKeeper's third way to synchronize, beside DIFF and TRUNC).
//!
//! ```text
//!   leader                                        learner
//!     offer SNAP ═══════════ state ══════════════▶  durable beside what it has
//!     PING … (signs of life go on) ──────────────▶
//!                                                   log := position, durable; then the machine
//!     ◀─────────────────────────── RECEIVED(index)
//!     PROPOSAL … from there on, NEWLEADER, UPTODATE
//! ```
//!
//! SNAP is only the leader's word, of one session and epoch; the state is streamed beside the protocol,
//! on a connection of its own. Both reach the learner's core together, once the state is durable
//! there. A SNAP that comes alone means nothing.
//!
//! What ZooKeeper got wrong here is ruled out by the order of things:
//! - The position is exact, and NEWLEADER stands behind it (ZOOKEEPER-3104).
//! - The state replaces the whole log in one atomic write, which is durable before anything behind it
//!   is acknowledged (ZOOKEEPER-2872). Interrupted before, nothing has changed; interrupted after, the
//!   log is a prefix of the leader's history, and currentEpoch is the old one (ZOOKEEPER-3642).
//! - The state holds only what is committed (ZOOKEEPER-1549), so that it may be served at once;
//!   nothing behind it is delivered before UPTODATE.
//! - The cursor of the one stream goes on behind the position, so nothing falls between the state and
//!   the proposals (ZOOKEEPER-962, 1319, 1551).

use consensus::{Event, Generation, Index, Mutant, NodeId, Snapshot, SnapshotOffer, Time, mutant};

use crate::message::{Reason, Session, ZabMessage};
use crate::node::Context;
use crate::promise::check_runs;
use crate::role::{Flow, Following, Leading, LearnerStage, Phase, STAY, Snap, Stage, look};
use crate::zxid::Epoch;

/// The name of synchronization by a snapshot.
pub(crate) const SNAP: &str = "SNAP";

impl Leading {
    /// Offers the snapshot that a learner's stream begins with, unless it is under way. Returns
    /// whether the stream has to wait for it.
    pub(crate) fn offer_snapshot(
        &mut self,
        cx: &mut Context<'_>,
        peer: NodeId,
        epoch: Epoch,
    ) -> bool {
        let Some(learner) = self.learners.get_mut(&peer) else { return false };
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return false };
        if stream.snap == Snap::Needless {
            return false;
        }
        if cx.core.connected(peer) && stream.progress.offer_snapshot() {
            let message = ZabMessage::Snap { session: learner.session, epoch };
            cx.effects.snapshots.push(SnapshotOffer { to: peer, message });
        }
        true
    }

    /// A snapshot to a learner has ended. If the learner took it, its word is on its way.
    pub(crate) fn snapshot_ended(&mut self, cx: &Context<'_>, peer: NodeId) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        if stream.snap != Snap::Needless {
            stream.snap = Snap::Ended(cx.now.time);
        }
    }

    /// Lets the snapshots be offered again that ended a while ago without the learner's word.
    pub(crate) fn offer_snapshots_again(&mut self, cx: &Context<'_>) {
        let pause = cx.core.settings.heartbeat_interval;
        for learner in self.learners.values_mut() {
            let LearnerStage::Streaming(stream) = &mut learner.stage else { continue };
            if let Snap::Ended(ended) = stream.snap
                && cx.now.time.since(ended) >= pause
            {
                stream.snap = Snap::UnderWay;
                stream.progress.offer_again();
            }
        }
    }

    /// The learner holds the state of a snapshot durably: the log follows from there on.
    pub(crate) fn snapshot_acknowledged(
        &mut self,
        cx: &mut Context<'_>,
        peer: NodeId,
        up_to: Index,
    ) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        if up_to < stream.progress.next() || up_to > cx.core.log.last().index {
            return self.dismiss(cx, peer, Reason::Broken);
        }
        stream.snap = Snap::Needless;
        stream.acknowledged(cx, up_to);
        // An established leader goes on meanwhile: the state may be newer than what was to be sent.
        stream.behind = stream.behind.max(up_to);
    }

    /// Whether a quorum has joined the epoch or is about to, as far as that takes the transfer of a
    /// snapshot: however long it takes, whoever gives signs of life meanwhile comes forward.
    pub(crate) fn awaits_snapshots(&self, cx: &Context<'_>) -> bool {
        let Phase::Synchronizing { .. } = self.phase else { return false };
        let (me, now, patience) = (cx.core.id(), cx.now.time, cx.core.phase_timeout());
        let alive = |heard: Time| now.since(heard) < patience;
        cx.core.quorum.reached(|id| {
            id == me
                || self.learners.get(&id).is_some_and(|learner| {
                    learner.counts()
                        && alive(learner.heard)
                        && (learner.joined().is_some() || learner.awaits_snapshot())
                })
        })
    }
}

impl crate::role::Learner {
    /// Whether the learner's stream began with a snapshot, or is about to.
    pub(crate) fn began_with_snapshot(&self) -> bool {
        match &self.stage {
            LearnerStage::Streaming(stream) => stream.means == SNAP,
            LearnerStage::Greeted { .. } | LearnerStage::EpochAcked { .. } => false,
        }
    }

    /// Whether the learner's stream begins with a snapshot that it does not hold yet.
    pub(crate) fn awaits_snapshot(&self) -> bool {
        match &self.stage {
            LearnerStage::Streaming(stream) => stream.snap != Snap::Needless,
            LearnerStage::Greeted { .. } | LearnerStage::EpochAcked { .. } => false,
        }
    }
}

impl Following {
    /// The leader's state arrived as a whole. Of this session it takes effect once, where DIFF or
    /// TRUNC would: another one was sent before the leader heard of the first.
    pub(crate) fn snapshot_received(
        &mut self,
        cx: &mut Context<'_>,
        snapshot: Snapshot,
        of: (Session, Epoch),
    ) -> Flow {
        let Stage::EpochAcked { epoch } = self.stage else { return STAY };
        if of != (self.session, epoch) {
            return STAY;
        }
        let leader = self.leader;
        self.heard(cx);
        let position = snapshot.position;
        let lawful = snapshot.is_consistent()
            && position.term <= epoch.term()
            && check_runs(&snapshot.terms, position.index).is_ok()
            && !cx.core.log.contains(position);
        if !lawful {
            return look(format!("{leader} sent a snapshot that ends with {position}"));
        }
        cx.core.log.install(snapshot);
        self.accept_as_observer(cx, epoch);
        self.stage = Stage::Receiving { epoch };
        // Only the whole of it is worth a word.
        self.reported = position.index.previous();
        self.committed = self.committed.max(position.index);
        cx.role_changed(
            self.name(),
            Some("synchronization"),
            cx.core.promise.current,
            Some(leader),
            format!("{leader} synchronizes it by SNAP"),
        );
        cx.effects.events.push(Event::Committed { index: position.index });
        STAY
    }
}

impl Context<'_> {
    /// Whether a connection is the present one to its peer, and up.
    pub(crate) fn is_current(&self, peer: NodeId, generation: Generation) -> bool {
        let known = self.core.peers.get(&peer);
        known.is_some_and(|known| {
            let present = known.generation == generation;
            known.connected && (present || mutant::on(Mutant::LateFramesCount))
        })
    }
}
