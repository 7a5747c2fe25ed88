//! Discovery: the leader and a quorum agree on a new epoch, and the leader makes sure that nobody in
//! the quorum knows more than it does (DSN'11 §IV, phase 1).
//!
//! ```text
//!   learner                                     leader
//!     FOLLOWERINFO(acceptedEpoch) ──────────────▶   of a quorum, itself included
//!                                                   e' = largest acceptedEpoch + 1
//!                                                   acceptedEpoch = e' durable
//!     ◀────────────────────────────── LEADERINFO(e')
//!     acceptedEpoch = e' durable
//!     ACKEPOCH(currentEpoch, zxid, table) ──────▶   of a quorum, itself included
//!                                                   currentEpoch = e' durable
//! ```
//!
//! Having accepted e', a server never again acts for a leader of an earlier epoch: once a quorum has,
//! no earlier epoch can commit anything more.

use consensus::{Mutant, NodeId, PersistSequence, Standing, Timer, mutant};

use crate::message::{Reason, Session, Vote, ZabMessage};
use crate::node::{Context, Opening};
use crate::role::{Flow, Following, Leading, Learner, LearnerStage, Phase, STAY, Stage, look};
use crate::zxid::{Epoch, EpochTable, LogPoint, Zxid};

impl Leading {
    /// Takes in the learners that opened a session before this server led.
    pub(crate) fn admit_waiting(&mut self, cx: &mut Context<'_>) -> Flow {
        let opened: Vec<_> = cx
            .core
            .peers
            .iter_mut()
            .filter_map(|(&id, peer)| Some((id, peer.opened.take()?)))
            .collect();
        for (peer, opening) in opened {
            self.greeted(cx, peer, opening)?;
        }
        // A quorum of one is complete without anybody.
        self.choose_epoch(cx)
    }

    /// FOLLOWERINFO arrived: a session is open, and an earlier one of the same learner is over.
    pub(crate) fn greeted(&mut self, cx: &mut Context<'_>, peer: NodeId, opening: Opening) -> Flow {
        let Opening { session, accepted, standing } = opening;
        if standing == Standing::Voter && !cx.core.counts(peer) {
            self.learners.remove(&peer);
            cx.send(peer, ZabMessage::Resign { session, reason: Reason::NotVoting });
            return STAY;
        }
        let known = cx.core.epoch_floor.max(cx.core.promise.accepted);
        if !accepted.is_plausible_after(known) {
            self.learners.remove(&peer);
            cx.send(peer, ZabMessage::Resign { session, reason: Reason::Broken });
            return STAY;
        }
        cx.core.epoch_floor = cx.core.epoch_floor.max(accepted);
        let learner = Learner {
            standing,
            session,
            stage: LearnerStage::Greeted { informed: false },
            heard: cx.now.time,
            round_trip: None,
            barrier_asked: 0,
            barrier_confirmed: 0,
        };
        self.learners.insert(peer, learner);
        self.elsewhere.remove(&peer);
        match self.epoch() {
            None => return self.choose_epoch(cx),
            // This epoch can not be joined by a server that has accepted a later one, which would
            // stay out until the next election. So that election is held now.
            // An observer is no reason for one; it looks for another leader by itself.
            Some(epoch) if accepted > epoch && standing == Standing::Voter => {
                return look(format!("{peer} has accepted epoch {accepted}, later than {epoch}"));
            }
            Some(epoch) => {
                if !matches!(self.phase, Phase::PersistingAccepted { .. }) {
                    self.inform(cx, peer, epoch);
                }
            }
        }
        STAY
    }

    /// Chooses the epoch once a quorum, this server included, has said what it accepted before.
    fn choose_epoch(&mut self, cx: &mut Context<'_>) -> Flow {
        let here = |id| id == cx.core.id() || self.learners.get(&id).is_some_and(Learner::counts);
        if self.phase != Phase::Gathering || !cx.core.quorum.reached(here) {
            return STAY;
        }
        // Larger than each acceptedEpoch, not equal to one (ZOOKEEPER-1343). Those of learners that
        // have left meanwhile still count.
        let largest = cx.core.epoch_floor.max(cx.core.promise.accepted);
        let next = if mutant::on(Mutant::ZabReusesEpoch) && largest > Epoch::default() {
            Some(largest)
        } else {
            largest.next()
        };
        let Some(epoch) = next else {
            return look("the epochs are used up");
        };
        cx.core.epoch_floor = epoch;
        cx.core.promise.accepted = epoch;
        let after = cx.persist_promise();
        self.phase = Phase::PersistingAccepted { epoch, after };
        STAY
    }

    fn inform(&mut self, cx: &mut Context<'_>, peer: NodeId, epoch: Epoch) {
        let Some(learner) = self.learners.get_mut(&peer) else { return };
        if let LearnerStage::Greeted { informed } = &mut learner.stage {
            *informed = true;
            cx.send(peer, ZabMessage::LeaderInfo { session: learner.session, epoch });
        }
    }

    /// A write became durable: what waited for this server's own promise goes on.
    pub(crate) fn persisted(&mut self, cx: &mut Context<'_>) -> Flow {
        let durable = cx.core.log.durable_sequence();
        match self.phase {
            Phase::PersistingAccepted { epoch, after } if durable >= after => {
                self.phase = Phase::AwaitingAcks { epoch };
                let peers: Vec<NodeId> = self.learners.keys().copied().collect();
                for peer in peers {
                    self.inform(cx, peer, epoch);
                }
                self.join_epoch(cx, epoch);
            }
            Phase::PersistingCurrent { epoch, after } if durable >= after => {
                self.synchronize(cx, epoch);
            }
            _ => {}
        }
        STAY
    }

    /// ACKEPOCH arrived.
    pub(crate) fn epoch_acknowledged(
        &mut self,
        cx: &mut Context<'_>,
        peer: NodeId,
        session: Session,
        current: Option<Epoch>,
        last: Zxid,
        table: EpochTable,
    ) -> Flow {
        let (phase, initial) = (self.phase, self.initial);
        let Some(learner) = self.learner(peer, session) else { return STAY };
        if learner.stage != (LearnerStage::Greeted { informed: true }) || table.last().zxid != last
        {
            self.dismiss(cx, peer, Reason::Broken);
            return STAY;
        }
        // Until a quorum says otherwise, what a more recent learner has may be committed, and this
        // leader can not fetch it.
        let current = current.filter(|_| learner.counts());
        let theirs = current.map(|peer_epoch| Vote { peer_epoch, zxid: last, ..initial });
        if let Phase::AwaitingAcks { .. } = phase
            && theirs.is_some_and(|theirs| theirs > initial)
            && !mutant::on(Mutant::ZabNoDiscovery)
        {
            self.dismiss(cx, peer, Reason::MoreRecent);
            return self.goes_on_without(cx, peer, "its history is more recent");
        }
        learner.stage = LearnerStage::EpochAcked { table, counted: current.is_some() };
        match phase {
            Phase::AwaitingAcks { epoch } if current.is_some() => self.join_epoch(cx, epoch),
            Phase::AwaitingAcks { epoch } => {
                return self.goes_on_without(cx, peer, &format!("it had accepted {epoch} before"));
            }
            Phase::Synchronizing { .. } | Phase::Broadcasting { .. } => {
                self.start_stream(cx, peer);
            }
            Phase::Gathering
            | Phase::PersistingAccepted { .. }
            | Phase::PersistingCurrent { .. } => {}
        }
        STAY
    }

    /// A voter will not help to begin this epoch. If those who are connected are no quorum without it, another
    /// election is sooner over than the timeout of this attempt. (In ZooKeeper the attempt goes on until
    /// initLimit; the Zab 1.0 wiki has it end as soon as one follower is more recent.)
    fn goes_on_without(&mut self, cx: &mut Context<'_>, peer: NodeId, why: &str) -> Flow {
        if cx.core.counts(peer) {
            self.elsewhere.insert(peer);
        }
        let present = |id| id == cx.core.id() || cx.core.connected(id);
        let refuses = |id| !present(id) || self.elsewhere.contains(&id);
        if cx.core.quorum.unreachable(refuses) {
            return look(format!("{peer} does not join, because {why}, and no quorum is left"));
        }
        STAY
    }

    /// Joins the epoch once a quorum, this server included, has accepted it.
    fn join_epoch(&mut self, cx: &mut Context<'_>, epoch: Epoch) {
        let accepted = |id| {
            id == cx.core.id()
                || self.learners.get(&id).is_some_and(|learner| {
                    matches!(learner.stage, LearnerStage::EpochAcked { counted: true, .. })
                })
        };
        if !cx.core.quorum.reached(accepted) {
            return;
        }
        assert_eq!(cx.core.promise.accepted, epoch, "a leader proposes the epoch it accepted last");
        cx.core.promise.current = epoch;
        let after = cx.persist_promise();
        self.phase = Phase::PersistingCurrent { epoch, after };
    }
}

impl Following {
    /// Opens the session, once there is a connection.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) {
        if !self.opened && cx.core.connected(self.leader) {
            self.opened = true;
            let accepted_epoch = cx.core.promise.accepted;
            let (session, handed_over, standing) = (self.session, self.handed_over, self.standing);
            let message =
                ZabMessage::FollowerInfo { session, accepted_epoch, handed_over, standing };
            cx.send(self.leader, message);
        }
    }

    /// LEADERINFO arrived.
    pub(crate) fn epoch_proposed(&mut self, cx: &mut Context<'_>, epoch: Epoch) -> Flow {
        let leader = self.leader;
        let accepted = cx.core.promise.accepted;
        if self.stage != Stage::Discovery {
            return look(format!("{leader} proposed a second epoch in one session"));
        }
        if epoch < accepted {
            return look(format!("{leader} proposes epoch {epoch}, earlier than {accepted}"));
        }
        if epoch == Epoch::default() || !epoch.is_plausible_after(accepted) {
            return look(format!("{leader} proposes epoch {epoch}, far from {accepted}"));
        }
        // An epoch accepted before is not accepted twice: the acknowledgement does not count, but
        // the learner may still be synchronized. Nor does an observer accept it already.
        let accepts = epoch > accepted && !self.observes();
        let current_epoch = accepts.then_some(cx.core.promise.current);
        if accepts {
            cx.core.promise.accepted = epoch;
            cx.core.epoch_floor = cx.core.epoch_floor.max(epoch);
            if !mutant::on(Mutant::ZabAcceptedForgotten) {
                cx.persist_promise();
            }
        }
        // With nothing to write, this is the number of the last write, which covers the promise.
        let mut after = cx.core.log.persist(cx.effects);
        if mutant::on(Mutant::ZabAckEpochBeforeDurable) {
            after = PersistSequence(0);
        }
        let last = LogPoint::of(&cx.core.log, cx.core.log.last().index).zxid;
        let table = EpochTable::of(&cx.core.log);
        let session = self.session;
        let message = ZabMessage::AckEpoch { session, current_epoch, last, table };
        cx.send_after(leader, after, message);
        self.stage = Stage::EpochAcked { epoch };
        cx.core.timers.set(Timer::Phase, self.detector.deadline());
        STAY
    }
}
