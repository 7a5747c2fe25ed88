//! Supervision in both directions: a learner watches its leader, and a leader makes sure that a
//! quorum still follows it, so that one that was cut off stops by itself.
//!
//! Every frame of a session is a sign of life. A leader that has nothing to say sends PING, and learners answer
//! with PONG. A follower that answers but does not acknowledge is as useless as a silent one: it is
//! sent away, and comes back through synchronization.

use std::time::Duration;

use consensus::{Event, NodeId, Suspicion, Time, Timer, Verdict};

use crate::message::{Notification, Reason, ServerState, ZabMessage};
use crate::node::{Context, Opening};
use crate::role::{Flow, Following, Leading, LearnerStage, STAY, Stage, look};

impl Leading {
    /// A message arrived.
    pub(crate) fn received(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        message: ZabMessage,
    ) -> Flow {
        if let Some(session) = message.session()
            && let Some(learner) = self.learner(from, session)
        {
            learner.heard = cx.now.time;
        }
        match message {
            ZabMessage::Notification(theirs) => return self.notified(cx, from, theirs),
            ZabMessage::FollowerInfo { session, accepted_epoch: accepted, standing, .. } => {
                return self.greeted(cx, from, Opening { session, accepted, standing });
            }
            ZabMessage::AckEpoch { session, current_epoch, last, table } => {
                return self.epoch_acknowledged(cx, from, session, current_epoch, last, table);
            }
            ZabMessage::Received { session, up_to } => {
                self.history_received(cx, from, session, up_to);
            }
            ZabMessage::Ack { session, up_to, .. } => self.acknowledged(cx, from, session, up_to),
            ZabMessage::Pong { session, sent } => {
                if let Some(learner) = self.learner(from, session) {
                    learner.round_trip = Some(cx.now.time.since(sent));
                }
            }
            ZabMessage::BarrierAck { session, round } => {
                self.barrier_confirmed(cx, from, session, round);
            }
            ZabMessage::Leave { session } => {
                if self.learner(from, session).is_some() {
                    self.learners.remove(&from);
                }
            }
            // What a leader says to learners: of a session of this server's own that is over.
            ZabMessage::LeaderInfo { .. }
            | ZabMessage::Diff { .. }
            | ZabMessage::Trunc { .. }
            | ZabMessage::Snap { .. }
            | ZabMessage::NewLeader { .. }
            | ZabMessage::UpToDate { .. }
            | ZabMessage::Proposal { .. }
            | ZabMessage::Inform { .. }
            | ZabMessage::Commit { .. }
            | ZabMessage::Ping { .. }
            | ZabMessage::Barrier { .. }
            | ZabMessage::Resign { .. }
            | ZabMessage::Handover { .. } => {}
        }
        STAY
    }

    /// A timer fired that was due then.
    pub(crate) fn timer(&mut self, cx: &mut Context<'_>, timer: Timer, due: Option<Time>) -> Flow {
        match timer {
            Timer::Heartbeat => {
                cx.core
                    .timers
                    .set(Timer::Heartbeat, cx.now.time + cx.core.settings.heartbeat_interval);
                self.ping(cx);
                STAY
            }
            Timer::Phase if self.awaits_snapshots(cx) => {
                cx.core.timers.set(Timer::Phase, cx.now.time + cx.core.phase_timeout());
                STAY
            }
            Timer::Phase if self.established().is_none() => look(format!(
                "no quorum came forward within {} ms",
                cx.core.phase_timeout().as_millis()
            )),
            Timer::Quorum if self.established().is_some() => self.check_quorum(cx, due),
            Timer::Transfer => {
                self.transfer_timer(cx);
                STAY
            }
            Timer::Phase | Timer::Quorum | Timer::Election | Timer::Finalize => STAY,
        }
    }

    fn ping(&mut self, cx: &mut Context<'_>) {
        let patience = cx.core.phase_timeout();
        let stalled: Vec<NodeId> = self
            .learners
            .iter()
            .filter(|(_, learner)| learner.stalled_for(cx.now.time) > patience)
            .map(|(&peer, _)| peer)
            .collect();
        for peer in stalled {
            self.dismiss(cx, peer, Reason::Unresponsive);
        }
        self.offer_snapshots_again(cx);
        for (&peer, learner) in &mut self.learners {
            let (session, sent) = (learner.session, cx.now.time);
            cx.send(peer, ZabMessage::Ping { session, sent });
            learner.carry_commit();
        }
    }

    /// When a quorum was last heard, this server included; `None` when too few have joined. A learner
    /// that needs a snapshot is heard as well: to give up would only make it begin anew.
    fn quorum_heard(&self, cx: &Context<'_>) -> Option<Time> {
        let me = cx.core.id();
        let heard = |id| {
            if id == me {
                return Some(cx.now.time);
            }
            let learner = self.learners.get(&id)?;
            let follows = learner.joined().is_some() || learner.began_with_snapshot();
            (follows && learner.counts()).then_some(learner.heard)
        };
        let mut times: Vec<Time> = cx.core.quorum.voters().into_iter().filter_map(heard).collect();
        times.sort_unstable();
        let enough = |&time: &Time| {
            cx.core.quorum.reached(|id| heard(id).is_some_and(|heard| heard >= time))
        };
        times.into_iter().rev().find(enough)
    }

    /// Moves the deadline as far as a quorum was heard.
    pub(crate) fn watch_quorum(&mut self, cx: &mut Context<'_>) {
        if let Some(heard) = self.quorum_heard(cx)
            && heard > self.detector.last_heard()
        {
            self.detector.heard(heard);
            cx.core.timers.set(Timer::Quorum, self.detector.deadline());
        }
    }

    fn check_quorum(&mut self, cx: &mut Context<'_>, due: Option<Time>) -> Flow {
        self.watch_quorum(cx);
        // A timer fired before its time is somebody's wish to see what happens then.
        let early = due.is_none_or(|due| cx.now.time < due);
        if !early && self.detector.deadline() > cx.now.time {
            cx.core.timers.set(Timer::Quorum, self.detector.deadline());
            return STAY;
        }
        match self.detector.check(cx.now.time) {
            Verdict::WaitUntil(deadline) => {
                cx.core.timers.set(Timer::Quorum, deadline);
                STAY
            }
            Verdict::Silent(silence) => {
                look(format!("no sign of life of a quorum for {} ms", silence.as_millis()))
            }
        }
    }
}

impl crate::role::Learner {
    /// A sign of life was sent, behind which a COMMIT may travel.
    pub(crate) fn carry_commit(&mut self) {
        if let LearnerStage::Streaming(stream) = &mut self.stage {
            stream.carries_commit = true;
        }
    }

    /// For how long something is under way without any acknowledgement.
    fn stalled_for(&self, now: Time) -> Duration {
        match &self.stage {
            LearnerStage::Streaming(stream) => {
                stream.waiting_since.map_or(Duration::ZERO, |since| now.since(since))
            }
            LearnerStage::Greeted { .. } | LearnerStage::EpochAcked { .. } => Duration::ZERO,
        }
    }
}

impl Following {
    /// A message arrived.
    pub(crate) fn received(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        message: ZabMessage,
    ) -> Flow {
        match message {
            ZabMessage::Notification(theirs) => self.notified(cx, from, theirs),
            // The leader has sent it here, and this server will hear of it in a moment.
            ZabMessage::FollowerInfo { session, accepted_epoch, handed_over, standing }
                if handed_over.is_some() && handed_over == self.epoch() && !self.observes() =>
            {
                let accepted = accepted_epoch;
                cx.core.session_opened(from, Opening { session, accepted, standing });
                STAY
            }
            ZabMessage::Leave { session } => {
                cx.core.session_left(from, session);
                STAY
            }
            ZabMessage::FollowerInfo { session, .. } => {
                let reason = Reason::NotLeading;
                cx.send(from, ZabMessage::Resign { session, reason });
                STAY
            }
            message
                if from == self.leader
                    && cx.core.counts(from)
                    && message.session() == Some(self.session) =>
            {
                self.heard(cx);
                self.led(cx, message)
            }
            // Of a session that is over.
            _ => STAY,
        }
    }

    /// Somebody looks for a leader. If it is the leader itself, in a later round, it leads no more, or
    /// never came to: in ZooKeeper the learner's attempts to connect would fail. That it talks must
    /// not keep the learner waiting.
    fn notified(&mut self, cx: &mut Context<'_>, from: NodeId, theirs: Notification) -> Flow {
        let looking = theirs.state == ServerState::Looking;
        if from == self.leader && looking && theirs.round > self.advertised.round {
            return look(format!("{from} itself looks for a leader in round {}", theirs.round));
        }
        // An observer's word would count for nothing.
        if !self.observes() {
            cx.advertise(from, theirs, self.advertised);
        }
        STAY
    }

    /// A message of the leader, in this session.
    fn led(&mut self, cx: &mut Context<'_>, message: ZabMessage) -> Flow {
        let (leader, session) = (self.leader, self.session);
        match message {
            ZabMessage::LeaderInfo { epoch, .. } => self.epoch_proposed(cx, epoch),
            ZabMessage::Diff { .. } => self.synchronization_begun(cx, None),
            ZabMessage::Trunc { to, .. } => self.synchronization_begun(cx, Some(to)),
            // The state that it speaks for did not come with it.
            ZabMessage::Snap { .. } => STAY,
            ZabMessage::NewLeader { at, .. } => self.new_leader(cx, at),
            ZabMessage::UpToDate { committed, .. } => self.up_to_date(cx, committed),
            ZabMessage::Proposal { base, entries, .. } => self.proposed(cx, base, entries),
            ZabMessage::Inform { base, entries, .. } => self.informed(cx, base, entries),
            ZabMessage::Commit { up_to, .. } => match self.stage {
                // The log is not equal to the leader's before it is synchronized.
                Stage::Discovery | Stage::EpochAcked { .. } => {
                    look(format!("{leader} sent COMMIT out of turn"))
                }
                Stage::Receiving { .. } | Stage::Joined { .. } | Stage::Broadcast { .. } => {
                    self.committed_to(cx, up_to)
                }
            },
            ZabMessage::Ping { sent, .. } => {
                cx.send(leader, ZabMessage::Pong { session, sent });
                STAY
            }
            ZabMessage::Barrier { round, .. } => self.barrier_asked(round),
            ZabMessage::Resign { reason, .. } => {
                // The leader has closed the session: there is nothing left to leave.
                self.opened = false;
                look(format!("{leader} sent it away: {reason}"))
            }
            ZabMessage::Handover { to, at, .. } => self.handed_over(cx, to, at),
            // What learners say to a leader: of a session of the peer's own that is over.
            ZabMessage::Notification(_)
            | ZabMessage::FollowerInfo { .. }
            | ZabMessage::AckEpoch { .. }
            | ZabMessage::Received { .. }
            | ZabMessage::Ack { .. }
            | ZabMessage::Pong { .. }
            | ZabMessage::BarrierAck { .. }
            | ZabMessage::Leave { .. } => STAY,
        }
    }

    /// The timer that the detector's deadline runs on.
    fn watch(&self) -> Timer {
        match self.stage {
            Stage::Broadcast { .. } => Timer::Election,
            _ => Timer::Phase,
        }
    }

    pub(crate) fn heard(&mut self, cx: &mut Context<'_>) {
        self.detector.heard(cx.now.time);
        cx.core.timers.set(self.watch(), self.detector.deadline());
    }

    /// A timer fired.
    pub(crate) fn timer(&mut self, cx: &mut Context<'_>, timer: Timer) -> Flow {
        if timer != self.watch() {
            return STAY;
        }
        let leader = self.leader;
        match self.detector.check(cx.now.time) {
            Verdict::WaitUntil(deadline) => {
                cx.core.timers.set(timer, deadline);
                STAY
            }
            Verdict::Silent(silence) => {
                let millis = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
                let cause = Suspicion::Silence { millis };
                cx.effects.events.push(Event::LeaderSuspected { leader, cause });
                look(format!("no sign of life of {leader} for {millis} ms"))
            }
        }
    }

    /// A connection is up.
    pub(crate) fn peer_connected(&mut self, cx: &mut Context<'_>, peer: NodeId) -> Flow {
        if peer != self.leader {
            return STAY;
        }
        if !cx.core.counts(peer) {
            return look(format!("{peer} has become an observer"));
        }
        if self.opened {
            // Without suspicion on connection loss alone: the stream was cut all the same.
            return look(format!("the connection to {peer} broke and is back"));
        }
        self.open(cx);
        STAY
    }

    /// A connection broke.
    pub(crate) fn peer_lost(&mut self, cx: &mut Context<'_>, peer: NodeId) -> Flow {
        if peer != self.leader || !self.opened || !cx.core.settings.suspect_on_connection_loss {
            return STAY;
        }
        let cause = Suspicion::ConnectionLost;
        cx.effects.events.push(Event::LeaderSuspected { leader: peer, cause });
        look(format!("the connection to {peer} broke"))
    }
}
