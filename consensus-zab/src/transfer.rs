//! Leadership transfer. ZooKeeper has none, and its election could not carry one out: among servers
//! with equal logs it elects the one with the largest number, whoever it is that should lead.
//!
//! ```text
//!   leader                       successor                    the others
//!     takes no more proposals
//!     all is committed, the successor holds all of it
//!     HANDOVER(successor) ──────▶  LEADING
//!     HANDOVER(successor) ─────────────────────────────────▶  FOLLOWING the successor
//!     FOLLOWING the successor
//!     FOLLOWERINFO ─────────────▶  ◀──────────────────────── FOLLOWERINFO
//!                                  discovery, synchronization, broadcast
//! ```
//!
//! HANDOVER replaces the election and nothing else. The election is not what makes ZAB safe: the
//! successor leads an epoch only once a quorum has accepted it, and joins it by the same discovery and
//! synchronization as after any election. If that comes to nothing, everybody looks for a leader.
//!
//! A learner's FOLLOWERINFO may come to the successor before the HANDOVER does, for they come from two
//! servers. It says in which epoch it was handed over, and a successor that still follows in that epoch
//! keeps it until it knows more. Everybody counts the handover as a round of elections, so that what
//! is advertised afterwards fits together; a successor that misses its HANDOVER and looks for a leader
//! hears from the others that they follow it.

use std::ops::ControlFlow;

use consensus::{
    Answer, Event, Heir, Leadership, NodeId, Refusal, Timer, Token, Transfer, successor,
};

use crate::message::{Reason, Vote, ZabMessage};
use crate::node::Context;
use crate::role::{Change, Flow, Following, Leading, Learner, STAY, Stage, Stream, look};
use crate::zxid::LogPoint;

impl Learner {
    /// The stream to a learner that delivers what is committed.
    fn broadcast(&self) -> Option<&Stream> {
        self.joined().filter(|stream| stream.up_to_date)
    }
}

impl Leading {
    /// Begins to hand the office over.
    pub(crate) fn transfer_leadership(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        to: Option<NodeId>,
    ) -> Flow {
        let heirs = self.learners.iter().filter_map(|(&id, learner)| {
            let matched = learner.broadcast()?.progress.matched();
            learner.counts().then_some(Heir { id, matched, heard: learner.heard })
        });
        let refusal = match successor(to, heirs) {
            _ if self.established().is_none() => Refusal::NotLeader,
            _ if self.transfer.is_some() => Refusal::Transferring,
            None => Refusal::NoSuccessor,
            Some(to) => {
                self.transfer = Some(Transfer { token, to, told: false });
                let bound = cx.now.time + cx.core.settings.election_timeout;
                cx.core.timers.set(Timer::Transfer, bound);
                cx.effects.events.push(Event::TransferBegun { to });
                return STAY;
            }
        };
        cx.effects.answers.push(Answer::Refused { token, reason: refusal });
        STAY
    }

    /// Hands over once everything is committed and the successor holds it. Nothing is proposed
    /// meanwhile, so that it gets there.
    pub(crate) fn hand_over_when_drained(&mut self, cx: &mut Context<'_>) -> Flow {
        let (Some(epoch), Some(transfer)) = (self.established(), self.transfer) else {
            return STAY;
        };
        let to = transfer.to;
        let Some(stream) = self.learners.get(&to).and_then(Learner::broadcast) else {
            self.fail_transfer(cx, format!("{to} does not follow any more"));
            return STAY;
        };
        let log = &cx.core.log;
        let end = log.last().index;
        if log.commit() < end || stream.progress.matched() < end {
            return STAY;
        }
        let at = LogPoint::of(log, end);
        cx.effects.events.push(Event::HandsOver { to });
        for (&peer, learner) in &self.learners {
            let session = learner.session;
            let message = if learner.broadcast().is_some() {
                ZabMessage::Handover { session, to, at }
            } else {
                // It has yet to find its place; an election tells it who leads.
                ZabMessage::Resign { session, reason: Reason::NotLeading }
            };
            cx.send(peer, message);
        }
        let vote = Vote { peer_epoch: epoch, zxid: at.zxid, leader: to };
        ControlFlow::Break(Change::HandOver(vote))
    }

    /// The leader has waited long enough.
    pub(crate) fn transfer_timer(&mut self, cx: &mut Context<'_>) {
        let millis = cx.core.settings.election_timeout.as_millis();
        self.fail_transfer(cx, format!("it took longer than {millis} ms"));
    }

    /// Leads on.
    fn fail_transfer(&mut self, cx: &mut Context<'_>, cause: String) {
        cx.core.timers.cancel(Timer::Transfer);
        let Some(Transfer { token, to, .. }) = self.transfer.take() else { return };
        cx.effects.events.push(Event::TransferFailed { to, cause });
        cx.effects.answers.push(Answer::TransferFailed { token });
    }

    /// The leader follows its successor.
    pub(crate) fn into_following(mut self, cx: &mut Context<'_>, vote: Vote) -> Following {
        let transfer = self.transfer.take().expect("only a transfer makes a leader follow");
        let Transfer { token, to, .. } = transfer;
        cx.effects.answers.push(Answer::HandedOver { token, to });
        self.refuse_reads(cx, None);
        cx.leave_for(vote, format!("it hands over to {to}"))
    }
}

impl Following {
    /// HANDOVER arrived: the session is over.
    pub(crate) fn handed_over(&mut self, cx: &mut Context<'_>, to: NodeId, at: LogPoint) -> Flow {
        let leader = self.leader;
        self.opened = false;
        let Stage::Broadcast { epoch } = self.stage else {
            return look(format!("{leader} handed over out of turn"));
        };
        let unable = self.observes() && to == cx.core.id();
        if to == leader || unable || !cx.core.quorum.contains(to) {
            return look(format!("{leader} handed over to {to}, who can not follow it"));
        }
        let log = &cx.core.log;
        let level = LogPoint::of(log, log.last().index) == at && log.durable() == at.index;
        if to == cx.core.id() && !level {
            return look(format!("{leader} handed over at {at}, which is not the end of this log"));
        }
        let vote = Vote { peer_epoch: epoch, zxid: at.zxid, leader: to };
        ControlFlow::Break(Change::HandOver(vote))
    }

    /// The successor leads.
    pub(crate) fn into_leading(self, cx: &mut Context<'_>, vote: Vote) -> Leading {
        cx.lead(Leadership::None);
        cx.core.round = cx.core.round.saturating_add(1);
        cx.begin_to_lead(vote, format!("{} hands over to it", self.leader))
    }

    /// The others follow the successor.
    pub(crate) fn into_following(self, cx: &mut Context<'_>, vote: Vote) -> Following {
        cx.leave_for(vote, format!("{} hands over to {}", self.leader, vote.leader))
    }
}

impl Context<'_> {
    /// Follows the successor of the present leader.
    fn leave_for(&mut self, vote: Vote, cause: String) -> Following {
        self.lead(Leadership::None);
        self.core.round = self.core.round.saturating_add(1);
        self.follow(vote, Some(vote.peer_epoch), cause)
    }
}
