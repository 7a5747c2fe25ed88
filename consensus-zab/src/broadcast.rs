//! Broadcast: proposals, acknowledgements, commits (DSN'11 §IV, phase 3).
//!
//! ```text
//!   leader                           follower
//!     PROPOSAL(zxid…) ──────────────▶  writes
//!     ◀──────────────────── ACK(zxid)  once durable
//!     of a quorum, in order of zxids
//!     COMMIT(zxid) ─────────────────▶  delivers
//! ```
//!
//! The exchange is two-phase commit without aborts. A PROPOSAL does not say what precedes it, as
//! Raft's AppendEntries does: the stream is one FIFO channel that began where the two logs were made
//! equal, so whatever arrives continues what arrived before.
//!
//! What happens between two flushes shares frames: one PROPOSAL carries a range of proposals, one ACK
//! and one COMMIT stand for everything up to a zxid.

#[cfg(test)]
mod rollover;

use bytes::Bytes;
use consensus::{
    Answer, Entry, Event, Index, Log, Mutant, NodeId, Payload, PersistSequence, Position, Refusal,
    Term, Token, mutant,
};

use crate::message::{Reason, Session, ZabMessage};
use crate::node::Context;
use crate::role::{Flow, Following, Leading, LearnerStage, NewLeader, STAY, Stage, look};
use crate::zxid::{Epoch, LogPoint, Zxid};

impl Leading {
    /// A client's command: it gets the next zxid.
    pub(crate) fn propose(&mut self, cx: &mut Context<'_>, token: Token, command: Bytes) -> Flow {
        let Some(epoch) = self.established() else {
            let reason = Refusal::NotLeader;
            cx.effects.answers.push(Answer::Refused { token, reason });
            return STAY;
        };
        if self.transfer.is_some() {
            let reason = Refusal::Transferring;
            cx.effects.answers.push(Answer::Refused { token, reason });
            return STAY;
        }
        if self.backlog.bytes() >= cx.core.settings.uncommitted_bytes_max {
            let reason = Refusal::Overloaded;
            cx.effects.answers.push(Answer::Refused { token, reason });
            return STAY;
        }
        let index = cx.core.log.last().index.next();
        if Zxid::at(epoch, self.base, index).is_none() {
            // A new epoch has a new counter (ZOOKEEPER-1277), and this one ends with the refusal.
            let reason = Refusal::NotLeader;
            cx.effects.answers.push(Answer::Refused { token, reason });
            return look(format!("the counter of epoch {epoch} is used up"));
        }
        let stale = mutant::on(Mutant::ZabStampsOldEpoch);
        let term = if stale { cx.core.log.last().term } else { epoch.term() };
        let position = Position { term, index };
        let entry = Entry { position, wall: cx.now.wall, payload: Payload::Command(command) };
        self.backlog.proposed(&entry);
        cx.core.log.append(entry);
        STAY
    }

    /// What accumulated leaves: proposals, commits, barriers.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) -> Flow {
        let peers: Vec<NodeId> = self.learners.keys().copied().collect();
        for &peer in &peers {
            self.stream(cx, peer);
        }
        self.establish_when_joined(cx);
        if self.established().is_some() {
            self.commit(cx);
            self.backlog.settle(&cx.core.log);
            for &peer in &peers {
                self.bring_up_to_date(cx, peer);
                self.tell_committed(cx, peer);
            }
            self.watch_quorum(cx);
            self.ask_barrier(cx);
            return self.hand_over_when_drained(cx);
        }
        STAY
    }

    /// An acknowledgement arrived.
    pub(crate) fn acknowledged(
        &mut self,
        cx: &mut Context<'_>,
        peer: NodeId,
        session: Session,
        up_to: LogPoint,
    ) {
        let Some(learner) = self.learner(peer, session) else { return };
        let observes = !learner.counts();
        let LearnerStage::Streaming(stream) = &mut learner.stage else {
            return self.dismiss(cx, peer, Reason::Broken);
        };
        if stream.new_leader != NewLeader::Acked {
            return self.new_leader_acknowledged(cx, peer, up_to);
        }
        if observes {
            return self.dismiss(cx, peer, Reason::Broken);
        }
        // What was never sent can not be there, nor anything else in its place.
        if up_to.index >= stream.progress.next() || !up_to.is_in(&cx.core.log) {
            return self.dismiss(cx, peer, Reason::Broken);
        }
        stream.acknowledged(cx, up_to.index);
    }

    /// Commits what a quorum of servers that have joined the epoch holds durably.
    fn commit(&mut self, cx: &mut Context<'_>) {
        let held = |id| {
            if id == cx.core.id() {
                let unwritten = mutant::on(Mutant::ZabCountsUnwritten);
                let log = &cx.core.log;
                return if unwritten { log.last().index } else { log.durable() };
            }
            let learner = self.learners.get(&id);
            let stream = learner.and_then(|learner| learner.counted());
            stream.map_or(Index(0), |stream| stream.progress.matched())
        };
        let index = cx.core.quorum.committed(held);
        if !cx.core.log.commit_to(index) {
            return;
        }
        cx.effects.events.push(Event::Committed { index });
        self.answer_syncs(cx);
    }

    /// Tells a learner what is committed: of what it was sent, or, to an observer, all of it. Where a
    /// COMMIT does not travel alone it waits for a PROPOSAL, a PING or a BARRIER; the INFORM of an
    /// observer is the entry itself, and waits for nothing.
    pub(crate) fn tell_committed(&mut self, cx: &mut Context<'_>, peer: NodeId) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        if !learner.counts() {
            return self.stream(cx, peer);
        }
        let session = learner.session;
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        let index = cx.core.log.commit().min(stream.progress.next().previous());
        let carried = std::mem::take(&mut stream.carries_commit);
        if !stream.up_to_date || index <= stream.committed {
            return;
        }
        if !carried && !cx.core.settings.immediate_commit_notices {
            return;
        }
        let first = stream.committed.next();
        stream.committed = index;
        let up_to = LogPoint::of(&cx.core.log, index);
        cx.send(peer, ZabMessage::Commit { session, first, up_to });
    }
}

impl Following {
    /// Proposals arrived: of the initial history before NEWLEADER, live ones behind it. Whatever does
    /// not continue the log as a correct leader's stream would ends the session.
    pub(crate) fn proposed(
        &mut self,
        cx: &mut Context<'_>,
        base: Index,
        entries: Vec<Entry>,
    ) -> Flow {
        let leader = self.leader;
        let (epoch, live) = match self.stage {
            Stage::Receiving { epoch } => (epoch, false),
            Stage::Joined { epoch } | Stage::Broadcast { epoch } => (epoch, true),
            Stage::Discovery | Stage::EpochAcked { .. } => {
                return look(format!("{leader} sent proposals out of turn"));
            }
        };
        assert_eq!(
            cx.core.promise.accepted, epoch,
            "proposals are taken in the accepted epoch only"
        );
        for entry in entries {
            let last = cx.core.log.last();
            let position = entry.position;
            // A duplicate says nothing new.
            if position.index <= last.index && cx.core.log.contains(position) {
                continue;
            }
            let of_epoch =
                if live { position.term == epoch.term() } else { position.term <= epoch.term() };
            if !of_epoch || !continues(&cx.core.log, base, position) {
                return look(format!("{leader} sent {position}, which does not continue {last}"));
            }
            cx.core.log.append(entry);
        }
        STAY
    }

    /// COMMIT, or the commit position in UPTODATE, arrived. Before UPTODATE it is only noted
    /// (ZOOKEEPER-4394): nothing is delivered until the epoch is established.
    pub(crate) fn committed_to(&mut self, cx: &mut Context<'_>, up_to: LogPoint) -> Flow {
        if !up_to.is_in(&cx.core.log) {
            let leader = self.leader;
            return look(format!("{leader} committed {up_to}, which it has not sent"));
        }
        self.committed = self.committed.max(up_to.index);
        if let Stage::Broadcast { .. } = self.stage
            && cx.core.log.commit_to(self.committed)
        {
            cx.effects.events.push(Event::Committed { index: self.committed });
        }
        STAY
    }

    /// What accumulated leaves: one acknowledgement of all that is durable, and of the last barrier.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) {
        if mutant::on(Mutant::ZabDeliversProposals) && matches!(self.stage, Stage::Broadcast { .. })
        {
            cx.core.log.commit_to(cx.core.log.durable());
        }
        let early = mutant::on(Mutant::ZabAckBeforeDurable);
        let log = &cx.core.log;
        let durable = if early { log.last().index } else { log.durable() };
        let session = self.session;
        if durable > self.reported {
            let first = self.reported.next();
            match self.stage {
                Stage::Discovery | Stage::EpochAcked { .. } => {}
                Stage::Receiving { .. } => {
                    self.reported = durable;
                    cx.send(self.leader, ZabMessage::Received { session, up_to: durable });
                }
                Stage::Joined { .. } | Stage::Broadcast { .. } if self.observes() => {
                    self.report_as_observer(cx);
                }
                Stage::Joined { .. } | Stage::Broadcast { .. } => {
                    self.reported = durable;
                    let up_to = LogPoint::of(&cx.core.log, durable);
                    // The tag keeps it behind NEWLEADER's acknowledgement, which may just have
                    // become free to leave.
                    let after =
                        if early { PersistSequence(0) } else { cx.core.log.durable_sequence() };
                    let message = ZabMessage::Ack { session, first, up_to };
                    cx.send_after(self.leader, after, message);
                }
            }
        }
        if let Some(round) = self.barrier.take() {
            cx.send(self.leader, ZabMessage::BarrierAck { session, round });
        }
    }
}

/// Whether an entry is the next of a log, of an epoch whose base is this one: without a gap, not of
/// an earlier epoch, and with a zxid.
fn continues(log: &Log, base: Index, position: Position) -> bool {
    let last = log.last();
    let expected = if position.term == last.term {
        log.first_of_term_at(last.index).previous()
    } else {
        last.index
    };
    let zxid =
        Epoch::from_term(position.term).and_then(|epoch| Zxid::at(epoch, base, position.index));
    position.index == last.index.next()
        && position.term >= last.term
        && position.term > Term(0)
        && base == expected
        && zxid.is_some()
}
