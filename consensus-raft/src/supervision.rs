//! Who hears whom: heartbeats and their answers, and CheckQuorum (thesis §6.2): a leader that no
//! quorum answers for an election timeout gives up, so that its clients need not wait for it.
//!
//! Heartbeats are messages of their own, not empty AppendEntries as in the paper: an answer to
//! AppendEntries waits for the disk, and a slow disk is not a lost leader.

use consensus::{
    Effects, Index, Log, NodeId, Now, PersistSequence, ProgressState, Suspicion, Term, Time, Timer,
    Verdict,
};

use crate::message::{RaftMessage, Round};
use crate::node::Raft;
use crate::role::{Peer, Role};

impl Peer {
    /// Nothing is known any more about what was under way on the last connection.
    pub(crate) fn forget_connection(&mut self, log: &Log) {
        self.progress.restart(log);
        self.told = Index(0);
        // A read is confirmed only by answers on connections that still stand.
        self.round = Round(0);
        self.round_trip = None;
    }
}

impl Raft {
    /// Takes a message of the leader of `term`. Returns whether the term is current; then this node
    /// follows that leader.
    ///
    /// # Panics
    /// If this term already has another leader.
    pub(crate) fn hear_leader(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        effects: &mut Effects<RaftMessage>,
    ) -> bool {
        if term < self.promise.term {
            return false;
        }
        let newer = term > self.promise.term;
        if newer {
            self.adopt(term);
        }
        assert!(
            self.leader.is_none_or(|leader| leader == peer),
            "at most one leader in a term (Election Safety, §5.2): {peer} and {:?} in term {term}",
            self.leader
        );
        match &mut self.role {
            Role::Follower(follower) if !newer && self.leader.is_some() => {
                follower.detector.heard(now.time);
                follower.intent = None;
                follower.deferred = false;
                self.timers.set(Timer::Election, follower.detector.deadline());
            }
            _ => {
                let cause = format!("{peer} leads term {term}");
                self.become_follower(now, Some(peer), None, cause, effects);
            }
        }
        true
    }

    /// Takes an answer to this leader. Returns whether it belongs to its reign: the answerer is in
    /// its term, and so was this node when it said what is answered. Frames may be under way for
    /// longer than a reign lasts, and the answer to an earlier one says nothing of this one.
    pub(crate) fn hear_follower(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        answers_reign: bool,
        effects: &mut Effects<RaftMessage>,
    ) -> bool {
        if term > self.promise.term {
            self.overtaken(now, peer, term, effects);
            return false;
        }
        let Role::Leader(leader) = &mut self.role else { return false };
        let Some(peer) = leader.peers.get_mut(&peer) else { return false };
        let counts = term == self.promise.term && answers_reign;
        if counts {
            peer.heard = now.time;
        }
        counts
    }

    pub(crate) fn heartbeat_timer(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let Role::Leader(leader) = &mut self.role else { return };
        for peer in leader.peers.values_mut() {
            if now.time.since(peer.awaiting_since) < self.settings.election_timeout {
                continue;
            }
            // The peer's disk is slow, or the messages or their answers are lost, which does not happen
            // within a connection; but Raft can do without connections, and goes on if they do not
            // keep their word.
            match peer.progress.state() {
                ProgressState::Probe { awaiting: true } => peer.progress.probe_again(),
                ProgressState::Replicate if peer.progress.inflight_messages() > 0 => {
                    peer.progress.restart(&self.log);
                }
                _ => {}
            }
        }
        self.broadcast_heartbeats(now, effects);
    }

    /// Sends a sign of life to every peer, in a round of its own.
    pub(crate) fn broadcast_heartbeats(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.round = leader.round.next();
        let round = leader.round;
        self.timers.set(Timer::Heartbeat, now.time + self.settings.heartbeat_interval);
        for peer in self.others() {
            self.send_heartbeat(now, peer, round, effects);
        }
    }

    fn send_heartbeat(
        &self,
        now: Now,
        peer: NodeId,
        round: Round,
        effects: &mut Effects<RaftMessage>,
    ) {
        let message = RaftMessage::Heartbeat {
            term: self.promise.term,
            commit: self.log.commit(),
            round,
            sent: now.time,
        };
        self.send(peer, PersistSequence(0), message, effects);
    }

    /// A peer came (back): it learns at once who leads. What it lacks follows at the next flush.
    pub(crate) fn greet(&mut self, now: Now, peer: NodeId, effects: &mut Effects<RaftMessage>) {
        let Role::Leader(leader) = &self.role else { return };
        self.send_heartbeat(now, peer, leader.round, effects);
    }

    pub(crate) fn heartbeat_response(
        &mut self,
        now: Now,
        peer: NodeId,
        round: Round,
        sent: Time,
        effects: &mut Effects<RaftMessage>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&peer) else { return };
        if round > leader.round || sent > now.time {
            return;
        }
        peer.round_trip = Some(now.time.since(sent));
        peer.round = peer.round.max(round);
        self.confirm_barriers(effects);
    }

    pub(crate) fn quorum_timer(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let wished = self.timers.due(Timer::Quorum).is_none_or(|due| now.time < due);
        let contact = self.quorum_contact(now.time);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(contact) = contact
            && contact > leader.detector.last_heard()
        {
            leader.detector.heard(contact);
            if !wished && now.time < leader.detector.deadline() {
                self.timers.set(Timer::Quorum, leader.detector.deadline());
                return;
            }
        }
        match leader.detector.check(now.time) {
            Verdict::WaitUntil(time) => self.timers.set(Timer::Quorum, time),
            Verdict::Silent(silence) => {
                let silence = Suspicion::Silence {
                    millis: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
                };
                let cause = format!("no quorum answers: {silence}");
                self.become_follower(now, None, None, cause, effects);
            }
        }
    }

    /// When a quorum was last heard: the latest time such that a quorum was heard at or after it;
    /// none if too few of the voters count at all.
    fn quorum_contact(&self, now: Time) -> Option<Time> {
        let Role::Leader(leader) = &self.role else { return None };
        let heard = |id: NodeId| match leader.peers.get(&id) {
            Some(peer) => peer.counts().then_some(peer.heard),
            None => Some(now),
        };
        let times = self.quorum.voters().into_iter().filter_map(heard);
        times.filter(|&time| self.quorum.reached(|id| heard(id).is_some_and(|at| at >= time))).max()
    }
}
