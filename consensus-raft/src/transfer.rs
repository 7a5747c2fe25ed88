//! Leadership transfer (thesis §3.10): the leader brings its successor level and tells it to campaign
//! at once, so that nobody needs to miss a leader first.
//!
//! ```text
//!   leader                            successor                          the others
//!     holds proposals back
//!     AppendEntries … ──────────────▶
//!     ◀────── AppendEntriesResponse     all that the leader has
//!     TimeoutNow ───────────────────▶
//!                                       RequestVote, told to take over ─▶
//!     ◀─────────────────────────────────┘                                vote, though they hear
//!                                                                        the leader
//! ```
//!
//! The successor skips PreVote, and its requests are marked: whoever still hears the leader would
//! refuse them otherwise (thesis §6.2, §9.6). The mark changes nothing else. A vote is given by the
//! same rules, so that a successor that lacks something is not elected, whatever it was told.
//!
//! A transfer that takes longer than an election timeout, or whose successor's connection breaks, has
//! failed: the leader takes proposals again. A successor that was told all the same is a candidate
//! like any other.

use consensus::{
    Answer, Effects, Event, Heir, NodeId, Now, PersistSequence, Refusal, Term, Timer, Token,
    Transfer, successor,
};

use crate::message::RaftMessage;
use crate::node::Raft;
use crate::role::{Peer, Role};

/// The leader's side.
impl Raft {
    pub(crate) fn transfer_leadership(
        &mut self,
        now: Now,
        token: Token,
        to: Option<NodeId>,
        effects: &mut Effects<RaftMessage>,
    ) {
        let mut refuse = |reason| effects.answers.push(Answer::Refused { token, reason });
        let connected = |id: NodeId| self.connections.get(&id).is_some_and(|peer| peer.up);
        let Role::Leader(leader) = &mut self.role else { return refuse(Refusal::NotLeader) };
        if leader.transfer.is_some() {
            return refuse(Refusal::Transferring);
        }
        let able = |heir: &(&NodeId, &Peer)| connected(*heir.0) && heir.1.counts();
        let heirs = leader.peers.iter().filter(able).map(|(&id, peer)| Heir {
            id,
            matched: peer.progress.matched(),
            heard: peer.heard,
        });
        let Some(to) = successor(to, heirs) else { return refuse(Refusal::NoSuccessor) };
        leader.transfer = Some(Transfer { token, to, told: false });
        self.timers.set(Timer::Transfer, now.time + self.settings.election_timeout);
        effects.events.push(Event::TransferBegun { to });
    }

    /// Tells the successor to campaign once it lacks nothing. Nothing is proposed meanwhile, so that
    /// it gets there.
    pub(crate) fn tell_successor(&mut self, effects: &mut Effects<RaftMessage>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let to = transfer.to;
        let matched = leader.peers.get(&to).map(|peer| peer.progress.matched());
        if transfer.told || matched != Some(self.log.last().index) {
            return;
        }
        transfer.told = true;
        effects.events.push(Event::HandsOver { to });
        let message = RaftMessage::TimeoutNow { term: self.promise.term };
        self.send(to, PersistSequence(0), message, effects);
    }

    /// The leader has waited long enough.
    pub(crate) fn transfer_timer(&mut self, effects: &mut Effects<RaftMessage>) {
        let millis = self.settings.election_timeout.as_millis();
        self.fail_transfer(format!("it took longer than {millis} ms"), effects);
    }

    /// A connection broke: over it the successor was to be told, or to answer.
    pub(crate) fn successor_lost(&mut self, peer: NodeId, effects: &mut Effects<RaftMessage>) {
        if let Role::Leader(leader) = &self.role
            && leader.transfer.is_some_and(|transfer| transfer.to == peer)
        {
            self.fail_transfer(format!("the connection to {peer} broke"), effects);
        }
    }

    /// Leads on.
    fn fail_transfer(&mut self, cause: String, effects: &mut Effects<RaftMessage>) {
        self.timers.cancel(Timer::Transfer);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(Transfer { token, to, .. }) = leader.transfer.take() else { return };
        effects.events.push(Event::TransferFailed { to, cause });
        effects.answers.push(Answer::TransferFailed { token });
    }

    /// The leader steps down, for its successor if that was told.
    pub(crate) fn end_transfer(&mut self, effects: &mut Effects<RaftMessage>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(Transfer { token, to, told }) = leader.transfer.take() else { return };
        effects.answers.push(if told {
            Answer::HandedOver { token, to }
        } else {
            Answer::Refused { token, reason: Refusal::NotLeader }
        });
    }
}

/// The successor's side.
impl Raft {
    /// The leader that this node follows tells it to campaign. It has said before that it leads, or this
    /// node could not be level; from anybody else, or of another term, it means nothing.
    pub(crate) fn take_over(
        &mut self,
        now: Now,
        leader: NodeId,
        term: Term,
        effects: &mut Effects<RaftMessage>,
    ) {
        let follows = matches!(self.role, Role::Follower(_)) && self.leader == Some(leader);
        if follows && term == self.promise.term {
            self.campaign(now, 0, true, format!("{leader} tells it to take over"), effects);
        }
    }
}
