//! Synchronization: every learner's log is made equal to the leader's (DSN'11 §IV, phase 2).
//!
//! ```text
//!   leader                                        learner
//!     DIFF, or TRUNC(common prefix) ─────────────▶  removes what is not in the leader's log
//!     or SNAP, when the leader has forgotten         replaces its log by a state (`snapshot.rs`)
//!     what comes behind the common prefix
//!     PROPOSAL … PROPOSAL ───────────────────────▶  writes
//!     NEWLEADER(e', 0) ──────────────────────────▶  history durable, then currentEpoch = e' durable
//!     ◀────────────────────────────────── ACK(e', 0)
//!     of a quorum: everything up to here is committed, the epoch is established
//!     UPTODATE(last committed) ──────────────────▶  delivers from now on
//! ```
//!
//! One cursor over the log feeds a learner from the common prefix on and never stops. Deciding how to
//! synchronize, enqueueing what is missing and forwarding what is new are so one act: nothing can be
//! proposed between them (ZOOKEEPER-962, 1319).
//!
//! The learner writes the history first and its currentEpoch in the same atomic write as the end of
//! the history or later, never sooner (ZOOKEEPER-4643). Interrupted, it is left with its old history
//! or with a prefix of the new one, and its old currentEpoch.

use consensus::{
    Entry, Event, FailureDetector, Index, Leadership, Log, Mutant, NodeId, PersistSequence,
    Progress, ProgressState, Timer, mutant,
};

use crate::message::{Reason, Session, ZabMessage};
use crate::node::Context;
use crate::role::{
    Flow, Following, Leading, LearnerStage, NewLeader, Phase, STAY, Snap, Stage, Stream, look,
};
use crate::snapshot::SNAP;
use crate::zxid::{Epoch, EpochTable, LogPoint, Zxid};

impl Leading {
    /// The epoch is joined by this server: the learners' logs are made equal to its own.
    pub(crate) fn synchronize(&mut self, cx: &mut Context<'_>, epoch: Epoch) {
        self.phase = Phase::Synchronizing { epoch };
        cx.core.timers.set(Timer::Phase, cx.now.time + cx.core.phase_timeout());
        cx.role_changed(
            "LEADING",
            Some("synchronization"),
            epoch,
            None,
            format!("a quorum has accepted epoch {epoch}"),
        );
        let peers: Vec<NodeId> = self.learners.keys().copied().collect();
        for peer in peers {
            self.start_stream(cx, peer);
        }
    }

    /// Decides how a learner is synchronized, and starts its stream.
    pub(crate) fn start_stream(&mut self, cx: &mut Context<'_>, peer: NodeId) {
        let Some(epoch) = self.epoch() else { return };
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let LearnerStage::EpochAcked { table, .. } = &learner.stage else { return };
        let log = &cx.core.log;
        // An observer of an established epoch is given what is committed, and nothing else.
        let informed = !learner.counts() && self.phase == (Phase::Broadcasting { epoch });
        let end = if informed { log.commit() } else { log.last().index };
        let common = EpochTable::of(log).common_prefix(table).min(end);
        let surplus = table.last().index > common && !mutant::on(Mutant::ZabNoTruncation);
        let session = learner.session;
        let forgotten = common.next() < log.first();
        let kept = match common {
            Index(0) => common,
            _ if mutant::on(Mutant::ZabTruncatesOneMore) => common.previous(),
            _ => common,
        };
        let (means, message) = match (surplus, end > common) {
            _ if forgotten => (SNAP, None),
            (true, true) => ("TRUNC+DIFF", Some(truncate(session, LogPoint::of(log, kept)))),
            (true, false) => ("TRUNC", Some(truncate(session, LogPoint::of(log, kept)))),
            (false, _) => ("DIFF", Some(ZabMessage::Diff { session, to: LogPoint::of(log, end) })),
        };
        let skips = mutant::on(Mutant::ZabDiffSkipsOne) && end > common.next();
        let first = if skips { common.next().next() } else { common.next() };
        let (progress, snap) = if forgotten {
            (Progress::needing_snapshot(first), Snap::UnderWay)
        } else {
            (Progress::replicating(first), Snap::Needless)
        };
        learner.stage = LearnerStage::Streaming(Stream {
            progress,
            snap,
            behind: end,
            new_leader: NewLeader::Pending,
            up_to_date: false,
            committed: Index(0),
            carries_commit: false,
            means,
            waiting_since: None,
        });
        if let Some(message) = message {
            cx.send(peer, message);
        }
    }

    /// Sends a learner as much of the log as its window allows, and NEWLEADER in its place.
    pub(crate) fn stream(&mut self, cx: &mut Context<'_>, peer: NodeId) {
        let Some(epoch) = self.epoch() else { return };
        if self.offer_snapshot(cx, peer, epoch) {
            return;
        }
        loop {
            self.send_new_leader(cx, peer, epoch);
            let Some(learner) = self.learners.get_mut(&peer) else { return };
            let counts = learner.counts();
            let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
            if stream.progress.next() > stream.end(counts, &cx.core.log) {
                return;
            }
            let known = cx.core.peers.get_mut(&peer).expect("learners are peers");
            if known.fetching && stream.progress.next() < cx.core.log.first_in_memory() {
                return;
            }
            let fetches = cx.effects.fetches.len();
            let (log, settings) = (&cx.core.log, &cx.core.settings);
            let entries = stream.progress.entries(peer, log, settings, cx.effects);
            known.fetching |= cx.effects.fetches.len() > fetches;
            if let ProgressState::Snapshot { .. } = stream.progress.state() {
                // A session has one beginning; in the next one the learner gets a snapshot.
                return self.dismiss(cx, peer, Reason::TooFarBehind);
            }
            let Some(entries) = entries else { return };
            self.send_entries(cx, peer, entries);
        }
    }

    /// Entries of the log on disk arrived for a learner.
    pub(crate) fn fetched(&mut self, cx: &mut Context<'_>, peer: NodeId, entries: Vec<Entry>) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        if let Some(entries) = stream.progress.fetched(entries, &cx.core.log)
            && stream.progress.may_send(&cx.core.settings)
        {
            self.send_entries(cx, peer, entries);
        }
    }

    /// Sends NEWLEADER if everything in front of it was sent.
    fn send_new_leader(&mut self, cx: &mut Context<'_>, peer: NodeId, epoch: Epoch) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        if stream.new_leader == NewLeader::Pending && stream.progress.next() > stream.behind {
            stream.new_leader = NewLeader::Sent;
            stream.waiting_since.get_or_insert(cx.now.time);
            let at = LogPoint { zxid: Zxid::new_leader(epoch), index: stream.behind };
            cx.send(peer, ZabMessage::NewLeader { session: learner.session, at });
        }
    }

    /// Sends entries as one PROPOSAL: of one epoch, and not beyond the place of NEWLEADER.
    fn send_entries(&mut self, cx: &mut Context<'_>, peer: NodeId, mut entries: Vec<Entry>) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let (session, counts) = (learner.session, learner.counts());
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        let first = entries.first().expect("there is at least one entry").position;
        let limit = stream.end(counts, &cx.core.log);
        assert!(first.index <= limit, "NEWLEADER is sent in its place");
        let fits = |entry: &Entry| entry.term() == first.term && entry.index() <= limit;
        let count = entries.iter().take_while(|entry| fits(entry)).count();
        entries.truncate(count);
        let last = entries.last().expect("the first entry fits").index();
        stream.progress.sent(last, entries.iter().map(Entry::size_bytes).sum());
        if mutant::on(Mutant::ZabCountsSent) {
            stream.progress.acknowledged(last);
        }
        stream.waiting_since.get_or_insert(cx.now.time);
        stream.carries_commit = true;
        let base = cx.core.log.first_of_term_at(first.index).previous();
        let informs = !counts && stream.new_leader != NewLeader::Pending;
        cx.send(
            peer,
            if informs {
                ZabMessage::Inform { session, base, entries }
            } else {
                ZabMessage::Proposal { session, base, entries }
            },
        );
    }

    /// RECEIVED arrived: room in the window, and a sign of progress.
    pub(crate) fn history_received(
        &mut self,
        cx: &mut Context<'_>,
        peer: NodeId,
        session: Session,
        up_to: Index,
    ) {
        let synchronizing = matches!(self.phase, Phase::Synchronizing { .. });
        let Some(learner) = self.learner(peer, session) else { return };
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        if stream.snap != Snap::Needless {
            self.snapshot_acknowledged(cx, peer, up_to);
        } else if up_to >= stream.progress.next() {
            return self.dismiss(cx, peer, Reason::Broken);
        } else {
            stream.acknowledged(cx, up_to);
        }
        if synchronizing {
            cx.core.timers.set(Timer::Phase, cx.now.time + cx.core.phase_timeout());
        }
    }

    /// The first ACK of a session arrived: it must be NEWLEADER's (ZOOKEEPER-4685).
    pub(crate) fn new_leader_acknowledged(
        &mut self,
        cx: &mut Context<'_>,
        peer: NodeId,
        up_to: LogPoint,
    ) {
        let epoch = self.epoch();
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        let awaited =
            epoch.map(|epoch| LogPoint { zxid: Zxid::new_leader(epoch), index: stream.behind });
        if stream.new_leader != NewLeader::Sent || Some(up_to) != awaited {
            return self.dismiss(cx, peer, Reason::Broken);
        }
        stream.new_leader = NewLeader::Acked;
        stream.acknowledged(cx, up_to.index);
        if let Phase::Synchronizing { .. } = self.phase {
            cx.core.timers.set(Timer::Phase, cx.now.time + cx.core.phase_timeout());
        }
    }

    /// Establishes the epoch once a quorum, this server included, has joined it: the whole initial
    /// history is committed.
    pub(crate) fn establish_when_joined(&mut self, cx: &mut Context<'_>) {
        let Phase::Synchronizing { epoch } = self.phase else { return };
        let me = cx.core.id();
        let joined = |id| {
            id == me || self.learners.get(&id).is_some_and(|learner| learner.counted().is_some())
        };
        let anybody = mutant::on(Mutant::ZabEstablishedEarly)
            && cx.core.quorum.voters().into_iter().any(|id| id != me && joined(id));
        if !cx.core.quorum.reached(joined) && !anybody {
            return;
        }
        assert!(cx.core.log.durable() >= self.base, "the leader's own history is durable");
        assert_eq!(cx.core.log.last().index, self.base, "nothing is proposed before");
        self.phase = Phase::Broadcasting { epoch };
        self.advertised.vote.peer_epoch = epoch;
        cx.core.failed_attempts = 0;
        cx.core.timers.cancel(Timer::Phase);
        self.detector = FailureDetector::new(cx.now.time, cx.core.settings.election_timeout);
        cx.core.timers.set(Timer::Quorum, self.detector.deadline());
        cx.role_changed(
            "LEADING",
            Some("broadcast"),
            epoch,
            Some(me),
            format!("a quorum has joined epoch {epoch}"),
        );
        cx.lead(Leadership::Established { term: epoch.term() });
        cx.effects.events.push(Event::FirstCommit { term: epoch.term(), index: self.base });
        if cx.core.log.commit_to(self.base) {
            cx.effects.events.push(Event::Committed { index: self.base });
        }
    }

    /// Sends UPTODATE to a learner that has joined the established epoch.
    pub(crate) fn bring_up_to_date(&mut self, cx: &mut Context<'_>, peer: NodeId) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        let session = learner.session;
        let LearnerStage::Streaming(stream) = &mut learner.stage else { return };
        if stream.up_to_date || stream.new_leader != NewLeader::Acked {
            return;
        }
        stream.up_to_date = true;
        stream.committed = cx.core.log.commit().min(stream.progress.next().previous());
        let committed = LogPoint::of(&cx.core.log, stream.committed);
        cx.effects.events.push(Event::PeerSynchronized { peer, means: stream.means });
        cx.send(peer, ZabMessage::UpToDate { session, committed });
    }
}

fn truncate(session: Session, to: LogPoint) -> ZabMessage {
    ZabMessage::Trunc { session, to }
}

impl Stream {
    /// The last entry that the learner may be sent now: of the initial history what stands in front of
    /// NEWLEADER, and then what is proposed, or to an observer what is committed.
    fn end(&self, counts: bool, log: &Log) -> Index {
        match self.new_leader {
            NewLeader::Pending => self.behind,
            NewLeader::Sent | NewLeader::Acked if counts => log.last().index,
            NewLeader::Sent | NewLeader::Acked => self.behind.max(log.commit()),
        }
    }

    /// The learner holds everything up to here durably.
    pub(crate) fn acknowledged(&mut self, cx: &Context<'_>, up_to: Index) {
        self.progress.acknowledged(up_to);
        let waiting = self.progress.inflight_messages() > 0 || self.new_leader == NewLeader::Sent;
        self.waiting_since = waiting.then_some(cx.now.time);
    }
}

impl Following {
    /// DIFF or TRUNC arrived.
    pub(crate) fn synchronization_begun(
        &mut self,
        cx: &mut Context<'_>,
        truncate_to: Option<LogPoint>,
    ) -> Flow {
        let leader = self.leader;
        let Stage::EpochAcked { epoch } = self.stage else {
            return look(format!("{leader} began to synchronize out of turn"));
        };
        let means = match truncate_to {
            None => "DIFF",
            Some(to) => {
                if !to.is_in(&cx.core.log) {
                    return look(format!("{leader} asked to truncate to {to}, which is not here"));
                }
                assert!(
                    to.index >= cx.core.log.commit(),
                    "nothing committed is truncated: every committed entry is in the history of \
                     every later leader"
                );
                let from = to.index.next();
                let last = cx.core.log.truncate_from(from);
                if last >= from {
                    cx.effects.events.push(Event::Truncated { from, last });
                }
                "TRUNC"
            }
        };
        self.accept_as_observer(cx, epoch);
        if mutant::on(Mutant::ZabEpochBeforeHistory) {
            cx.core.promise.current = epoch;
            cx.persist_promise();
        }
        self.stage = Stage::Receiving { epoch };
        self.reported = cx.core.log.durable();
        cx.role_changed(
            self.name(),
            Some("synchronization"),
            cx.core.promise.current,
            Some(leader),
            format!("{leader} synchronizes it by {means}"),
        );
        STAY
    }

    /// NEWLEADER arrived: the history before it and then the epoch become durable, in one write.
    pub(crate) fn new_leader(&mut self, cx: &mut Context<'_>, at: LogPoint) -> Flow {
        let leader = self.leader;
        let Stage::Receiving { epoch } = self.stage else {
            return look(format!("{leader} sent NEWLEADER out of turn"));
        };
        if at.zxid != Zxid::new_leader(epoch) || at.index != cx.core.log.last().index {
            return look(format!("{leader} sent NEWLEADER {at} behind another history"));
        }
        assert_eq!(cx.core.promise.accepted, epoch, "only the accepted epoch is joined");
        cx.core.promise.current = epoch;
        let mut after = cx.persist_promise();
        if mutant::on(Mutant::ZabAckNewLeaderEarly) {
            after = PersistSequence(0);
        }
        self.stage = Stage::Joined { epoch };
        self.reported = at.index;
        let (session, first) = (self.session, at.index);
        cx.send_after(leader, after, ZabMessage::Ack { session, first, up_to: at });
        STAY
    }

    /// UPTODATE arrived: the epoch is established.
    pub(crate) fn up_to_date(&mut self, cx: &mut Context<'_>, committed: LogPoint) -> Flow {
        let leader = self.leader;
        let Stage::Joined { epoch } = self.stage else {
            return look(format!("{leader} sent UPTODATE out of turn"));
        };
        self.stage = Stage::Broadcast { epoch };
        self.advertised.vote.peer_epoch = epoch;
        cx.core.failed_attempts = 0;
        cx.core.timers.cancel(Timer::Phase);
        self.detector = FailureDetector::new(cx.now.time, cx.core.settings.election_timeout);
        cx.core.timers.set(Timer::Election, self.detector.deadline());
        cx.role_changed(
            self.name(),
            Some("broadcast"),
            epoch,
            Some(leader),
            format!("{leader} is established in epoch {epoch}"),
        );
        cx.lead(Leadership::Following { leader, term: epoch.term() });
        if mutant::on(Mutant::ZabDeliversUncommitted) {
            cx.core.log.commit_to(cx.core.log.last().index);
        }
        self.committed_to(cx, committed)
    }
}
