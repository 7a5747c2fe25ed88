//! Observers: servers that are synchronized and never count (ZooKeeper's OBSERVING).
//!
//! ```text
//!   observer                                      leader
//!     NOTIFICATION for nobody ───────────▶ every voter answers with its vote
//!     OBSERVERINFO ──────────────────────────────▶
//!     ◀────────────────────────────── LEADERINFO(e')
//!     ACKEPOCH(none, zxid, table) ───────────────▶  not counted
//!     ◀────── DIFF, TRUNC or SNAP, PROPOSAL …, NEWLEADER
//!     ACK(e', 0) ────────────────────────────────▶  not counted
//!     ◀──────────────────────────────── UPTODATE
//!     ◀──────────────────────────────── INFORM(zxid…)  committed
//!     RECEIVED(index) ───────────────────────────▶  room in the window, no more
//! ```
//!
//! An observer is a learner like a follower, and its leader makes its log equal in the same way. Then
//! the two part: a follower hears of everything that is proposed, acknowledges it, and is told what
//! became of it; an observer is told what is committed, in one message, and says only that it has
//! room for more.
//!
//! It takes part in elections with a vote for nobody, to which the voters answer, and follows whom a
//! quorum of them proposes or follows. Nobody counts its vote, not even itself.
//!
//! What it does not promise it need not keep: it accepts an epoch when it is synchronized in it, not
//! when it is proposed. By then a quorum has accepted that epoch, so no leader of an earlier one can
//! ever be established again, and the observer never has to stay out because it once listened to a
//! leader that came to nothing.
//!
//! A voter that has lost its memory is an observer too. It may have accepted an epoch that it does
//! not remember, or acknowledged proposals that it does not hold any more, so a quorum must be found
//! without it. The number that a quorum takes stays.

use std::ops::ControlFlow;

use consensus::{Effects, Entry, Index, Mutant, NodeId, Now, Standing, mutant};

use crate::message::{Vote, ZabMessage};
use crate::node::{Context, Core, Zab};
use crate::role::{Change, Flow, Following, Learner, STAY, Stage, Stream, look};
use crate::zxid::{Epoch, LogPoint, Zxid};

impl Vote {
    /// The vote of whoever does not vote: worse than every other one.
    pub(crate) const NOBODY: Self =
        Self { peer_epoch: Epoch(0), zxid: Zxid::ZERO, leader: NodeId(0) };
}

impl Core {
    /// Whether this server neither votes nor counts.
    pub(crate) fn observes(&self) -> bool {
        self.settings.observes()
    }

    /// A peer's standing by its last connection; before the first one, by the configuration.
    pub(crate) fn standing(&self, peer: NodeId) -> Standing {
        self.peers.get(&peer).map_or(Standing::Observer, |peer| peer.standing)
    }

    /// Whether a peer counts, now that it is connected, or did when it last was.
    pub(crate) fn counts(&self, peer: NodeId) -> bool {
        self.standing(peer) == Standing::Voter || mutant::on(Mutant::ObserverCounts)
    }
}

impl Learner {
    /// The stream to a learner that has acknowledged NEWLEADER, if that counts.
    pub(crate) fn counted(&self) -> Option<&Stream> {
        if self.counts() { self.joined() } else { None }
    }

    /// Whether what the learner says counts.
    pub(crate) fn counts(&self) -> bool {
        self.standing == Standing::Voter || mutant::on(Mutant::ObserverCounts)
    }
}

impl Following {
    /// ZooKeeper's word for the role.
    pub(crate) fn name(&self) -> &'static str {
        if self.observes() { "OBSERVING" } else { "FOLLOWING" }
    }

    /// Whether this server follows as an observer.
    pub(crate) fn observes(&self) -> bool {
        self.standing == Standing::Observer
    }

    /// The learner is about to be synchronized in the epoch: an observer accepts it now. The write goes
    /// ahead of everything that belongs to the epoch.
    pub(crate) fn accept_as_observer(&self, cx: &mut Context<'_>, epoch: Epoch) {
        if !self.observes() || cx.core.promise.accepted == epoch {
            return;
        }
        assert!(epoch > cx.core.promise.accepted, "an accepted epoch never goes back");
        cx.core.promise.accepted = epoch;
        cx.core.epoch_floor = cx.core.epoch_floor.max(epoch);
        cx.persist_promise();
    }

    /// INFORM arrived: proposals that are committed.
    pub(crate) fn informed(
        &mut self,
        cx: &mut Context<'_>,
        base: Index,
        entries: Vec<Entry>,
    ) -> Flow {
        let leader = self.leader;
        let in_turn = matches!(self.stage, Stage::Joined { .. } | Stage::Broadcast { .. });
        if !self.observes() || !in_turn {
            return look(format!("{leader} sent INFORM out of turn"));
        }
        let Some(last) = entries.last().map(Entry::index) else { return STAY };
        self.proposed(cx, base, entries)?;
        if cx.core.log.last().index < last {
            return look(format!("{leader} informed of index {last} with a gap"));
        }
        let up_to = LogPoint::of(&cx.core.log, last);
        self.committed_to(cx, up_to)
    }

    /// Tells the leader that there is room for more: an observer acknowledges nothing.
    pub(crate) fn report_as_observer(&mut self, cx: &mut Context<'_>) {
        let up_to = cx.core.log.durable();
        self.reported = up_to;
        cx.send(self.leader, ZabMessage::Received { session: self.session, up_to });
    }
}

impl Zab {
    /// This server counts from now on. It looks for a leader as one that votes.
    pub(crate) fn become_voter(&mut self, now: Now, effects: &mut Effects<ZabMessage>) {
        self.core.settings.become_voter();
        let change = Change::Look("it has become a voter".to_owned());
        self.settle(now, ControlFlow::Break(change), effects);
    }
}
